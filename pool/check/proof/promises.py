"""The invariants of `spec/README.md`, section 8, as formulas over pictures.

Theory. Each is written from the specification's table, by the name it has there. `Exclusive` and
`ClosedOnce` speak of the one key that is followed, `Fifo` and `AnsweredOnce` of one ticket, and
`FifoStep` of two. Because these are arbitrary, that says it of all. For the same reason they may
be assumed of every ticket that plays a part in a step, not of `a` and `b` alone.

`Valid` is in no table: it says that counts are counts and limits are limits. `HeapOrdered` is not
here: how the idle connections are laid out is in no picture, and stays with the random histories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pool.check.proof.picture import CLOSED, OPEN, Draft, Picture, Ticket, above, at_most, valid
from pool.check.proof.terms import TRUE, Term, choice, every, greatest, implies, least

OfState = Callable[[Picture], Term]
OfTicket = Callable[[Picture, str], Term]
OfStep = Callable[[Draft], Term]


def is_valid(p: Picture) -> Term:
    """Counts are not negative; what one opener has, the other has not; names were all given."""
    return every(
        *valid(p),
        *(count >= 0 for count in (p.idle, p.in_use, p.waiting, p.closed, p.forgotten)),
        *(count >= 0 for count in (p.opening_tickets, p.opening_background, p.opened, p.adopted)),
        *(count >= 0 for count in (p.granted, p.refused, p.cancelled, p.dead)),
        (p.phase >= OPEN) & (p.phase <= CLOSED),
        implies(~p.background, ~p.backing_off & (p.opening_background == 0)),
        implies(p.background, p.opening_tickets == 0),
        p.opened + p.adopted < p.next_seq,
        p.issued < p.next_ticket,
    )


def shrunk(p: Picture) -> Term:
    return implies(~p.no_max_size & (p.size > p.max_size), p.idle == 0)


def served(p: Picture) -> Term:
    return implies((p.phase == OPEN) & (p.waiting > 0), p.idle == 0)


def covered(p: Picture) -> Term:
    def most(count: Term) -> Term:
        """So many, or what may be."""
        room = choice(p.no_max_size, count, above(p.max_size - p.idle - p.in_use))
        count = at_most(p, least(count, room), "max_connecting")
        binds = p.idle + p.in_use > 0
        return choice(binds, at_most(p, count, "max_opening"), count)

    wanted = p.waiting + above(p.min_idle - p.idle)
    return implies(
        p.phase == OPEN,
        every(
            implies(p.background & ~p.backing_off, p.opening >= most(wanted)),
            implies(~p.background & (p.waiting > 0), p.opening >= most(p.opening + 1)),
        ),
    )


def conserved(p: Picture) -> Term:
    return every(
        p.opened + p.adopted == p.closed + p.forgotten + p.idle + p.in_use,
        p.issued == p.granted - p.dead + p.refused + p.cancelled + p.waiting + p.opening_tickets,
    )


def shut(p: Picture) -> Term:
    nothing = (p.idle == 0) & (p.waiting == 0) & (p.opening_tickets == 0)
    return implies(p.phase == CLOSED, nothing)


def exclusive(p: Picture) -> Term:
    return p.key_idle + p.key_in_use <= 1


def closed_once(p: Picture) -> Term:
    """The key came in at most once, and is closed once, or forgotten once, or held."""
    held = p.key_idle + p.key_in_use
    return every(
        p.key_came == p.key_closed + p.key_forgotten + held,
        p.key_came <= 1,
        *(count >= 0 for count in (p.key_idle, p.key_in_use, p.key_closed, p.key_forgotten)),
        implies(p.key >= p.next_seq, p.key_came == 0),
    )


def fifo(p: Picture, ticket: str) -> Term:
    """It does not wait and connect at once; if it is not below `next_ticket`, it has not come, and
    all who wait are older. (That those who wait are in order is what `older` means.)"""
    its = Ticket(p, ticket)
    nowhere = (its.waits == 0) & (its.opens == 0) & (its.leases == 0) & (its.asked == 0)
    unused = nowhere & (its.older == p.waiting)
    return implies(
        getattr(p, ticket) >= 1,
        every(
            its.waits + its.opens <= 1,
            implies(getattr(p, ticket) >= p.next_ticket, unused),
        ),
    )


def answered_once(p: Picture, ticket: str) -> Term:
    """It came at most once, and waits, or connects, or was answered once; who holds a connection
    holds one, and that was the answer."""
    its = Ticket(p, ticket)
    return implies(
        getattr(p, ticket) >= 1,
        every(
            its.asked == its.answered + its.waits + its.opens,
            its.asked <= 1,
            *(count >= 0 for count in (its.waits, its.opens, its.answered, its.leases)),
            its.leases <= its.answered,
        ),
    )


COUNTING: Mapping[str, OfState] = MappingProxyType(
    {
        "Valid": is_valid,
        "Shrunk": shrunk,
        "Served": served,
        "Covered": covered,
        "Conserved": conserved,
        "Shut": shut,
    }
)
"""What counts alone say."""

OF_KEY: Mapping[str, OfState] = MappingProxyType(
    {"Exclusive": exclusive, "ClosedOnce": closed_once}
)
"""Of the followed key."""

OF_TICKET: Mapping[str, OfTicket] = MappingProxyType({"Fifo": fifo, "AnsweredOnce": answered_once})
"""Of one ticket."""


# ---------------------------------------------------------------- of a step


def bounded(after: Draft) -> Term:
    before = after.before

    def within(count: Term, was: Term, bound: str) -> Term:
        none: Term = getattr(after, f"no_{bound}")
        return none | (count <= greatest(getattr(after, bound), was))

    return every(
        TRUE if after.event == "Adopt" else within(after.size, before.size, "max_size"),
        within(after.opening, before.opening, "max_connecting"),
    )


def fifo_step(after: Draft) -> Term:
    served_now = (after.b_grants > 0) | (after.b_opens_now > 0)
    return ~(served_now & (after.before.b_opens == 0) & (after.a_waits > 0))


def nothing_after_close(after: Draft) -> Term:
    """What is granted is in use then, and was never closed nor forgotten."""
    alive = (after.key_closed == 0) & (after.key_forgotten == 0) & (after.key_in_use == 1)
    return implies(after.key_grants > 0, alive & (after.key_grants == 1))


STEP: Mapping[str, OfStep] = MappingProxyType(
    {"Bounded": bounded, "FifoStep": fifo_step, "NothingAfterClose": nothing_after_close}
)
"""Of before and after."""
