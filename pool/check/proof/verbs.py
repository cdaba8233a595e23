"""What the rules are written in, as formulas: close, refuse, grant, serve, settle, send away.

Theory. These are sections 4 and 5 of `spec/README.md`: what all events share. Where the prose has
a loop, here is what it comes to: how many are lent, how many connect. So a step of any size is
one formula without a loop. A picture follows one key and a few tickets, so each word says three
things: what becomes of the counts, of the key if it is the one, and of each ticket if it is the
one.
"""

from __future__ import annotations

from pool.check.proof.picture import (
    CLOSED,
    OPEN,
    Draft,
    above,
    at_most,
    reaches,
)
from pool.check.proof.terms import (
    FALSE,
    Term,
    as_number,
    as_term,
    choice,
    every,
    implies,
    least,
)

# ---------------------------------------------------------------- effects


def close(d: Draft, key: Term) -> None:
    """Close one connection, which is nowhere any more."""
    close_some(d, 1, d.key == key)


def close_some(d: Draft, count: Term | int, is_key: Term) -> None:
    """Close so many, which are nowhere any more, the followed key among them or not."""
    d.closed += count
    d.closes += count
    with d.when(is_key):
        d.key_closed += 1
        d.key_closes += 1


def close_every(d: Draft, count: Term, its: Term) -> None:
    """Close so many, which are nowhere any more, as often the followed key as it is there."""
    d.closed += count
    d.closes += count
    d.key_closed += its
    d.key_closes += its


def refuse(d: Draft, ticket: Term) -> None:
    """A ticket that is nowhere any more gets nothing."""
    d.refused += 1
    d.refusals += 1
    for its in d.its(ticket):
        its.answered += 1
        its.refusals += 1


def grant(d: Draft, ticket: Term, key: Term) -> None:
    """A grant makes a lease."""
    d.in_use += 1
    d.granted += 1
    d.grants += 1
    with d.when(d.key == key):
        d.key_in_use += 1
        d.key_ticket = ticket
        d.key_grants += 1
    for its in d.its(ticket):
        its.leases += 1
        its.answered += 1
        its.grants += 1


# ---------------------------------------------------------------- the queue


def join(d: Draft, ticket: Term) -> None:
    """The ticket waits, in its place in ticket order."""
    d.waiting += 1
    for which, its in d.each():
        with d.when(which == ticket):
            its.waits += 1
        with d.when(which > ticket):
            its.older += 1


def leave(d: Draft, ticket: Term) -> None:
    """The ticket waits no more."""
    d.waiting -= 1
    for which, its in d.each():
        with d.when(which == ticket):
            its.waits -= 1
        with d.when(which > ticket):
            its.older -= 1


def stop_opening(d: Draft, ticket: Term) -> None:
    """The ticket connects no more."""
    d.opening_tickets -= 1
    for its in d.its(ticket):
        its.opens -= 1


def send_away(d: Draft, ticket: Term) -> None:
    """AWY-1: it leaves the queue and is refused. (For which reason is not in a picture.)"""
    d.cite("AWY-1")
    leave(d, ticket)
    refuse(d, ticket)


def refuse_everybody(d: Draft) -> None:
    """Every ticket that waits or is opening is refused, and is neither any more."""
    everybody = d.waiting + d.opening_tickets
    d.refused += everybody
    d.refusals += everybody
    for _, its in d.each():
        pending = its.waits + its.opens
        its.answered += pending
        its.refusals += pending
        its.waits, its.opens, its.older = 0, 0, 0
    d.waiting, d.opening_tickets = 0, 0


# ---------------------------------------------------------------- some of the idle, of the leases


def take_some_idle(d: Draft, count: Term, is_key: Term) -> None:
    """So many of the idle, the followed key among them or not, are idle no more."""
    d.assume(
        (count >= 0) & (count <= d.idle),
        implies(is_key, (d.key_idle >= 1) & (count >= 1)),
        implies(~is_key, count <= d.idle - d.key_idle),
    )
    d.idle -= count
    with d.when(is_key):
        d.key_idle -= 1


def close_some_idle(d: Draft, count: Term, is_key: Term) -> None:
    """So many of the idle are closed."""
    take_some_idle(d, count, is_key)
    close_some(d, count, is_key)


def end_some_leases(d: Draft, what: str, count: Term, is_key: Term) -> None:
    """So many leases end, of whatever tickets."""
    is_in_use = d.key_in_use > 0
    d.assume(
        (count >= 0) & (count <= d.in_use),
        implies(is_key, is_in_use & (count >= 1)),
        implies(~is_key, count <= d.in_use - d.key_in_use),
    )
    ended: list[tuple[Term, Term]] = []
    for which, its in d.each():
        mine = d.between(f"{its._name}_{what}", 0, least(its.leases, count))
        is_mine = is_in_use & (d.key_ticket == which)
        d.assume(
            its.leases - mine <= d.in_use - count,
            implies(is_key & is_mine, mine >= 1),
            implies(is_key & ~is_mine, mine <= count - 1),
            implies(~is_key & is_mine, mine <= its.leases - 1),
            implies(~is_key & is_in_use & ~is_mine, its.leases - mine <= d.in_use - count - 1),
            *(implies(which == other, mine == theirs) for other, theirs in ended),
            *(implies(which != other, mine + theirs <= count) for other, theirs in ended),
        )
        ended.append((which, mine))
    for (_, its), (_, mine) in zip(d.each(), ended, strict=True):
        its.leases -= mine
    d.in_use -= count
    with d.when(is_key):
        d.key_in_use -= 1


def end_lease(d: Draft, ticket: Term, key: Term) -> None:
    """One lease ends."""
    d.in_use -= 1
    with d.when(d.key == key):
        d.key_in_use -= 1
    for its in d.its(ticket):
        its.leases -= 1


def is_held(d: Draft) -> Term:
    """Whether key `q` is in use by the event's ticket."""
    held = d.choose("is_held")
    is_mine = (d.key_in_use > 0) & (d.key_ticket == d.t)
    q = d.choose("q")
    d.assume(
        implies(held, (d.in_use >= 1) & (d.t_leases >= 1)),
        implies(d.key == q, held == is_mine),
        implies(held & (d.key != q), d.in_use >= d.key_in_use + 1),
        implies(held & (d.key != q) & is_mine, d.t_leases >= 2),
    )
    return held


# ---------------------------------------------------------------- what all transitions share


def serve(d: Draft, fresh: Term | int = 0, is_key_fresh: Term = FALSE) -> None:
    """Nobody waits for what is there or could be opened. So many of the idle, and perhaps the
    followed key, are known not to have expired."""
    with d.when(d.phase != OPEN, "SRV-1"):
        pass
    with d.when(d.phase == OPEN):
        lend(d, as_term(fresh), is_key_fresh)
        with d.when(~d.background & (d.waiting > 0), "SRV-3"):
            tell_to_open(d, room(d, d.waiting))
        with d.when(d.background, "SRV-4"), d.when(~(d.backing_off & d.choose("is_early"))):
            d.backing_off = FALSE
            demand = d.waiting + above(d.min_idle - d.idle)
            more = room(d, above(demand - d.opening_background))
            d.opening_background += more
            d.opens_background += more


def lend(d: Draft, fresh: Term, is_key_fresh: Term) -> None:
    """SRV-2: those lent first go to the oldest waiters, but what has expired is closed."""
    met, is_key_met, is_key_lent = map(d.choose, ("met", "is_key_met", "is_key_lent"))
    lends = (d.waiting > 0) & (d.idle > 0)
    with d.when(~lends):
        d.assume((met == 0) & ~is_key_met & ~is_key_lent)
    with d.when(lends, "SRV-2"):
        d.assume(met <= d.idle - fresh, implies(is_key_met, ~is_key_fresh))
        close_some_idle(d, met, is_key_met)
        lent = least(d.waiting, d.idle)
        take_some_idle(d, lent, is_key_lent)
        grant_to_the_oldest(d, lent, is_key_lent)


def grant_to_the_oldest(d: Draft, count: Term, is_key: Term) -> None:
    """So many of the oldest waiters are granted connections, the followed key among them or not."""
    d.in_use += count
    d.granted += count
    d.grants += count
    with d.when(is_key):
        d.assume((d.taker_waits == 1) & (d.taker_older < count))
        d.key_in_use += 1
        d.key_ticket = d.taker
        d.key_grants += 1
    for _, its in d.each():
        with d.when((its.waits > 0) & (its.older < count)):
            its.leases += 1
            its.answered += 1
            its.grants += 1
    leave_first(d, count)


def leave_first(d: Draft, count: Term) -> None:
    """So many of the oldest leave the queue."""
    d.waiting -= count
    for _, its in d.each():
        with d.when(its.older < count):
            its.waits = 0
        its.older = above(its.older - count)


def tell_to_open(d: Draft, count: Term) -> None:
    """So many of the oldest leave the queue to connect."""
    for _, its in d.each():
        with d.when((its.waits > 0) & (its.older < count)):
            its.opens += 1
            its.opens_now += 1
    d.opening_tickets += count
    d.opens += count
    leave_first(d, count)


def is_full(d: Draft) -> Term:
    """As many as `max_size` allows."""
    return reaches(d, d.size, "max_size")


def room(d: Draft, wanted: Term) -> Term:
    """SRV-5: how many of the wanted connects there is room for."""
    d.cite("SRV-5")
    some_are_there = d.idle + d.in_use > 0
    count = at_most(d, wanted, "max_size", d.size)
    count = at_most(d, count, "max_connecting", d.opening)
    count = choice(some_are_there, at_most(d, count, "max_opening", d.opening), count)
    return above(count)


def settle(d: Draft, key: Term) -> tuple[Term, Term]:
    """SET-1: a connection that comes back. Whether it is idle now, as a number, and whether it is
    the followed key that is."""
    d.cite("SET-1")
    stays = every(d.phase != CLOSED, ~d.choose("is_expired"), ~is_full(d))
    with d.when(~stays):
        close(d, key)
    with d.when(stays):
        d.idle += 1
        d.next_seq += 1
        with d.when(d.key == key):
            d.key_idle += 1
    return as_number(every(d.condition, stays)), every(d.condition, stays, d.key == key)


def close_all_idle(d: Draft) -> None:
    """Every idle connection is closed."""
    close_every(d, d.idle, d.key_idle)
    d.idle, d.key_idle = 0, 0


def forget_leases(d: Draft) -> None:
    """No lease is there any more."""
    d.in_use, d.key_in_use = 0, 0
    for _, its in d.each():
        its.leases = 0


def sweep(d: Draft) -> None:
    """Every idle connection that has expired is closed."""
    close_some_idle(d, d.choose("swept"), d.choose("is_key_swept"))


def trim(d: Draft) -> None:
    """CFG-4: the idle above `max_size` are closed, those lent last first."""
    d.cite("CFG-4")
    surplus = choice(d.no_max_size, 0, least(d.idle, above(d.size - d.max_size)))
    close_some_idle(d, surplus, d.choose("is_key_trimmed"))
