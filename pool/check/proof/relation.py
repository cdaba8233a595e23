"""What each event does, rule by rule, as formulas over pictures (`spec/README.md`, 4 to
6.

Theory. A function below is an event, a `with` in it a rule of the specification, with the rule's
id. It is written from the prose and shares nothing with `pool/core/transition.py`; that the two
agree is what the binding shows. Where the prose has a loop, here is what it comes to: how many are
lent, how many connect. So a step of any size is one formula without a loop.

The result is a function, not a mere relation: before, event and choices say exactly what is
after. A choice is what a picture leaves out. `assume` says which choices there are; no more than
that is assumed of anything.

Choices by name: `met` how many idle connections were met that have expired, `swept` how many an
event looked for, `rested`, `stale`, `gone_idle` and `gone_in_use` likewise; `is_key_...` whether
the followed key is one of them; `is_early` whether the pause is not over; `taker` who is lent the
followed key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pool.check.proof.picture import (
    CLOSED,
    LIMITS,
    OPEN,
    SUSPENDED,
    Draft,
    Picture,
    above,
    at_most,
    reaches,
    valid,
)
from pool.check.proof.terms import (
    FALSE,
    TRUE,
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
    d.closed += 1
    d.closes += 1
    with d.when(d.key == key):
        d.key_closed += 1
        d.key_closes += 1


def refuse(d: Draft, ticket: Term) -> None:
    """A ticket that is nowhere any more gets nothing."""
    d.refused += 1
    d.refusals += 1
    for which, its in d.each():
        with d.when(which == ticket):
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
    for which, its in d.each():
        with d.when(which == ticket):
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


def some_idle(d: Draft, count: Term, is_key: Term) -> None:
    """So many of the idle, the followed key among them or not, are so many of the idle."""
    d.assume(
        (count >= 0) & (count <= d.idle),
        implies(is_key, (d.key_idle >= 1) & (count >= 1)),
        implies(~is_key, count <= d.idle - d.key_idle),
    )


def close_some_idle(d: Draft, count: Term, is_key: Term) -> None:
    """So many of the idle are closed."""
    some_idle(d, count, is_key)
    d.idle -= count
    d.closed += count
    d.closes += count
    with d.when(is_key):
        d.key_idle -= 1
        d.key_closed += 1
        d.key_closes += 1


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
    for which, its in d.each():
        with d.when(which == ticket):
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
        some_idle(d, lent, is_key_lent)
        d.idle -= lent
        d.in_use += lent
        d.granted += lent
        d.grants += lent
        with d.when(is_key_lent):
            d.assume((d.taker_waits == 1) & (d.taker_older < lent))
            d.key_idle -= 1
            d.key_in_use += 1
            d.key_ticket = d.taker
            d.key_grants += 1
        for _, its in d.each():
            with d.when((its.waits > 0) & (its.older < lent)):
                its.leases += 1
                its.answered += 1
                its.grants += 1
        leave_first(d, lent)


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


# ---------------------------------------------------------------- events


def acquire(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(d.t >= d.next_ticket, "ACQ-1")
    wait = d.choose("is_wait")
    d.cite("ACQ-2")
    d.next_ticket = d.t + 1
    d.issued += 1
    for which, its in d.each():
        with d.when(which == d.t):
            its.asked += 1
    with d.when(d.phase == CLOSED):
        refuse(d, d.t)
    with d.when(d.phase != CLOSED, "ACQ-3"):
        join(d, d.t)
        serve(d)
        still = d.t_waits > 0
        too_many = still & wait & ~d.no_max_waiting & (d.waiting > d.max_waiting)
        with d.when(still & ~wait, "ACQ-4"):
            send_away(d, d.t)
        with d.when(too_many, "ACQ-5"):
            send_away(d, d.t)


def opened(d: Draft) -> None:
    d.follow("t")
    nobody = d.choose("is_nobody")
    own = ~nobody & (d.t_opens > 0)
    anybody = nobody & (d.opening_background > 0)
    key = d.next_seq
    d.opened += 1
    d.next_seq += 1
    with d.when(d.key == key):
        d.key_came += 1
    with d.when(~own & ~anybody, "OPN-1"):
        close(d, key)
    with d.when(own, "OPN-2"):
        d.opening_tickets -= 1
        for which, its in d.each():
            with d.when(which == d.t):
                its.opens -= 1
        grant(d, d.t, key)
    fresh: Term = as_term(0)
    is_key_fresh = FALSE
    with d.when(anybody, "OPN-3"):
        d.opening_background -= 1
        d.backing_off = FALSE
        first = (d.phase == OPEN) & (d.waiting > 0) & ~is_full(d)
        with d.when(~first, "OPN-4"):
            fresh, is_key_fresh = settle(d, key)
        with d.when(first):
            grant_to_the_oldest(d, key)
    serve(d, fresh, is_key_fresh)


def grant_to_the_oldest(d: Draft, key: Term) -> None:
    """The oldest waiter is granted a new connection."""
    d.in_use += 1
    d.granted += 1
    d.grants += 1
    with d.when(d.key == key):
        d.assume((d.taker_waits == 1) & (d.taker_older == 0))
        d.key_in_use += 1
        d.key_ticket = d.taker
        d.key_grants += 1
    for _, its in d.each():
        with d.when((its.waits > 0) & (its.older == 0)):
            its.leases += 1
            its.answered += 1
            its.grants += 1
    leave_first(d, as_term(1))


def open_failed(d: Draft) -> None:
    d.follow("t")
    nobody = d.choose("is_nobody")
    own = ~nobody & (d.t_opens > 0)
    anybody = nobody & (d.opening_background > 0)
    d.ignore_unless(own | anybody, "OPF-1")
    with d.when(own, "OPF-2"):
        d.opening_tickets -= 1
        for which, its in d.each():
            with d.when(which == d.t):
                its.opens -= 1
        refuse(d, d.t)
    with d.when(anybody, "OPF-3"):
        d.opening_background -= 1
        d.backing_off = TRUE
        with d.when((d.phase == OPEN) & (d.opened == 0), "OPF-4"):
            d.refused += d.waiting
            d.refusals += d.waiting
            for _, its in d.each():
                its.answered += its.waits
                its.refusals += its.waits
                its.waits, its.older = 0, 0
            d.waiting = 0
    serve(d)


def dead(d: Draft) -> None:
    d.follow("t")
    wait = d.choose("is_wait")
    d.ignore_unless(is_held(d), "DEA-1")
    d.ignore_unless(d.t != 0, "DEA-2")
    q = d.choose("q")
    d.cite("DEA-3")
    end_lease(d, d.t, q)
    close(d, q)
    d.dead += 1
    for which, its in d.each():
        with d.when(which == d.t):
            its.answered -= 1
    with d.when(d.phase == CLOSED, "DEA-4"):
        refuse(d, d.t)
    with d.when(d.phase != CLOSED, "DEA-5"):
        join(d, d.t)
        serve(d)
        with d.when((d.t_waits > 0) & ~wait, "DEA-6"):
            send_away(d, d.t)


def release(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(is_held(d), "REL-1")
    q, reusable = d.choose("q"), d.choose("is_reusable")
    end_lease(d, d.t, q)
    with d.when(~reusable, "REL-2"):
        close(d, q)
    with d.when(reusable, "REL-3"):
        fresh, is_key_fresh = settle(d, q)
    serve(d, fresh, is_key_fresh)


def discard(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(is_held(d), "DIS-1")
    q = d.choose("q")
    d.cite("DIS-2")
    end_lease(d, d.t, q)
    close(d, q)
    serve(d)


def expire(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(d.t_waits > 0, "EXP-1")
    d.cite("EXP-2")
    send_away(d, d.t)
    serve(d)


def cancel(d: Draft) -> None:
    d.follow("t")
    held = is_held(d)
    d.assume(implies(d.t_leases > 0, held))
    waits, opens = d.t_waits > 0, d.t_opens > 0
    holds = ~waits & ~opens & held & (d.t != 0)
    q = d.choose("q")
    d.ignore_unless(waits | opens | holds, "CAN-1")
    with d.when(waits, "CAN-2"):
        leave(d, d.t)
    with d.when(~waits & opens, "CAN-3"):
        d.opening_tickets -= 1
        for which, its in d.each():
            with d.when(which == d.t):
                its.opens -= 1
    with d.when(waits | opens):
        d.cancelled += 1
        for which, its in d.each():
            with d.when(which == d.t):
                its.answered += 1
    with d.when(holds, "CAN-4"):
        end_lease(d, d.t, q)
        fresh, is_key_fresh = settle(d, q)
    serve(d, fresh, is_key_fresh)


def close_idle(d: Draft) -> None:
    d.cite("CLI-1")
    close_all_idle(d)
    serve(d)


def close_all_idle(d: Draft) -> None:
    """Every idle connection is closed."""
    d.closed += d.idle
    d.closes += d.idle
    d.key_closed += d.key_idle
    d.key_closes += d.key_idle
    d.idle, d.key_idle = 0, 0


def close_stale(d: Draft) -> None:
    d.cite("CST-1")
    stale, is_key_stale = d.choose("stale"), d.choose("is_key_stale")
    end_some_leases(d, "stale", stale, is_key_stale)
    d.closed += stale
    d.closes += stale
    with d.when(is_key_stale):
        d.key_closed += 1
        d.key_closes += 1
    serve(d)


def close_all(d: Draft) -> None:
    d.cite("CAL-1")
    close_all_idle(d)
    d.cite("CAL-2")
    d.closed += d.in_use
    d.closes += d.in_use
    d.key_closed += d.key_in_use
    d.key_closes += d.key_in_use
    forget_leases(d)
    serve(d)


def forget_leases(d: Draft) -> None:
    """No lease is there any more."""
    d.in_use, d.key_in_use = 0, 0
    for _, its in d.each():
        its.leases = 0


def retire(d: Draft) -> None:
    d.ignore_unless(d.phase != CLOSED, "RET-1")
    d.cite("RET-2", "RET-3")
    sweep(d)
    serve(d, d.idle, TRUE)


def sweep(d: Draft) -> None:
    """Every idle connection that has expired is closed."""
    close_some_idle(d, d.choose("swept"), d.choose("is_key_swept"))


def tick(d: Draft) -> None:
    d.cite("TIC-1")
    sweep(d)
    d.cite("TIC-2")
    rested = d.between("rested", 0, above(d.idle - d.min_idle))
    close_some_idle(d, rested, d.choose("is_key_rested"))
    d.cite("TIC-3")  # what is reported as leaked is in use as before
    serve(d, d.idle, TRUE)


def configure(d: Draft) -> None:
    new = {name: d.choose(f"new_{name}") for name in LIMITS}
    d.assume(*valid(Picture(new)))
    d.ignore_unless(d.phase != CLOSED, "CFG-1")
    d.ignore_unless(new["background"] == d.background, "CFG-2")
    d.cite("CFG-3")
    for name, limit in new.items():
        setattr(d, name, limit)
    trim(d)
    serve(d)


def trim(d: Draft) -> None:
    """CFG-4: the idle above `max_size` are closed, those lent last first."""
    d.cite("CFG-4")
    surplus = choice(d.no_max_size, 0, least(d.idle, above(d.size - d.max_size)))
    close_some_idle(d, surplus, d.choose("is_key_trimmed"))


def suspend(d: Draft) -> None:
    d.ignore_unless(d.phase == OPEN, "SUS-1")
    d.cite("SUS-2")
    d.phase = SUSPENDED
    serve(d)


def resume(d: Draft) -> None:
    d.ignore_unless(d.phase == SUSPENDED, "RES-1")
    d.cite("RES-2")
    d.phase = OPEN
    serve(d)


def shutdown(d: Draft) -> None:
    d.ignore_unless(d.phase != CLOSED, "SHU-1")
    d.cite("SHU-2", "SHU-3", "SHU-4")
    d.phase = CLOSED
    refuse_everybody(d)
    close_all_idle(d)
    serve(d)


def forked(d: Draft) -> None:
    d.cite("FRK-1")
    refuse_everybody(d)
    d.cite("FRK-2")
    d.forgotten += d.idle + d.in_use
    d.key_forgotten += d.key_idle + d.key_in_use
    d.idle, d.key_idle = 0, 0
    forget_leases(d)
    d.opening_background = 0
    d.backing_off = FALSE
    serve(d)


def adopt(d: Draft) -> None:
    d.ignore_unless(d.phase != CLOSED, "ADO-1")
    d.cite("ADO-2")
    gone_idle, is_key_idle = d.choose("gone_idle"), d.choose("is_key_gone_idle")
    gone_in_use, is_key_in_use = d.choose("gone_in_use"), d.choose("is_key_gone_in_use")
    some_idle(d, gone_idle, is_key_idle)
    d.idle -= gone_idle
    with d.when(is_key_idle):
        d.key_idle -= 1
        d.key_forgotten += 1
    end_some_leases(d, "gone", gone_in_use, is_key_in_use)
    with d.when(is_key_in_use):
        d.key_forgotten += 1
    d.forgotten += gone_idle + gone_in_use
    d.cite("ADO-3")
    d.next_seq += d.count("jump")
    put_idle = d.count("put_idle")
    with d.when((d.key >= d.next_seq) & (d.key < d.next_seq + put_idle)):
        d.key_idle += 1
        d.key_came += 1
    d.idle += put_idle
    d.adopted += put_idle
    d.next_seq += put_idle
    d.cite("ADO-4")
    put_in_use = d.count("put_in_use")
    with d.when((d.key >= d.next_seq) & (d.key < d.next_seq + put_in_use)):
        d.key_in_use += 1
        d.key_ticket = 0
        d.key_came += 1
    d.in_use += put_in_use
    d.adopted += put_in_use
    d.next_seq += put_in_use
    d.cite("ADO-5")
    trim(d)
    serve(d)


RELATION: Mapping[str, Callable[[Draft], None]] = MappingProxyType(
    {
        "Acquire": acquire,
        "Opened": opened,
        "OpenFailed": open_failed,
        "Dead": dead,
        "Release": release,
        "Discard": discard,
        "Expire": expire,
        "Cancel": cancel,
        "CloseIdle": close_idle,
        "CloseStale": close_stale,
        "CloseAll": close_all,
        "Retire": retire,
        "Tick": tick,
        "Configure": configure,
        "Suspend": suspend,
        "Resume": resume,
        "Shutdown": shutdown,
        "Forked": forked,
        "Adopt": adopt,
    }
)
"""By the name of the event."""


def step(event: str) -> Draft:
    """The picture after this event, of any picture before."""
    draft = Draft(event)
    RELATION[event](draft)
    return draft
