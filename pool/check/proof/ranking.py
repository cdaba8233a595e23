"""Why nobody waits for ever: a rank of the ticket `a` that steps lower and none raises.

Theory.  While `a` waits it has a rank, four numbers of which the first that differs decides:

1. how many wait before it, itself included;
2. how many connections there are above `max_size` (after a shrink, or what an adapter put in);
3. what is under way before its turn: connections in use, and twice the connects of tickets;
4. whether the pool rests: backing off, or suspended.

A step of anybody lowers the rank or leaves it (`Ranked`). What drivers, holders and the clock owe
lowers it (`Lowered`): an end of a connect, a release, the `Tick` when the pause is over,
`Resume`. And one of these can always come (`Helped`). Ranks are whole numbers, not below 0, so it
cannot go on for ever; what ends it is that `a` waits no more. If `a` was told to connect, its own
connect answers it (`OwnOutcome`). In `background` a ticket never connects, so `Expire` answers
it, whatever it is (`Deadline`).

What may raise a rank, and so must not come again and again for ever:

* `Dead` of an older ticket, which takes its place again;
* `Configure` and `Adopt`, which may leave more connections than there may be;
* of the fourth number alone, `Suspend`, and `OpenFailed` of a connect that is nobody's. These may
  come for ever: as long as connects succeed and holders release, the first three go down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pool.check.proof.picture import OPEN, SUSPENDED, Draft, Picture, above
from pool.check.proof.terms import FALSE, TRUE, Term, as_number, choice, every, implies, some, truth

Rank = tuple[Term, Term, Term, Term]


def rank(p: Picture) -> Rank:
    """Of the ticket `a`."""
    return (
        choice(p.a_waits > 0, p.a_older + 1, 0),
        choice(p.no_max_size, 0, above(p.size - p.max_size)),
        p.in_use + p.opening_tickets + p.opening_tickets,
        as_number(p.backing_off) + as_number(p.phase == SUSPENDED),
    )


def lower(one: tuple[Term, ...], other: tuple[Term, ...]) -> Term:
    """The first number that differs is smaller."""
    if not one:
        return FALSE
    return some(one[0] < other[0], every(one[0] == other[0], lower(one[1:], other[1:])))


def not_higher(one: tuple[Term, ...], other: tuple[Term, ...]) -> Term:
    """Lower, or the same."""
    same = every(*(mine == its for mine, its in zip(one, other, strict=True)))
    return lower(one, other) | same


def stays(after: Draft) -> Term:
    """`a` waits, before and after."""
    return (after.before.a_waits > 0) & (after.a_waits > 0)


def ranked(after: Draft) -> Term:
    """The rank is not higher afterwards."""
    numbers = 3 if after.event in ("Suspend", "OpenFailed") else 4
    was, now = rank(after.before)[:numbers], rank(after)[:numbers]
    excepted = {"Configure": TRUE, "Adopt": TRUE}.get(after.event, FALSE)
    if after.event == "Dead":
        excepted = after.t < after.a
    return implies(stays(after) & ~excepted, not_higher(now, was))


def lowered(after: Draft) -> Term:
    """What is owed lowers it."""
    before = after.before
    is_open = before.phase == OPEN
    nobody = truth("is_nobody")
    asked: Mapping[str, Callable[[], Term]] = {
        "Release": lambda: ~after.ignored,
        "Discard": lambda: ~after.ignored,
        "Dead": lambda: ~after.ignored & (after.t > after.a),
        "Opened": lambda: some(
            ~nobody & (before.t_opens > 0), nobody & (before.opening_background > 0) & is_open
        ),
        "OpenFailed": lambda: ~nobody & (before.t_opens > 0),
        "Tick": lambda: is_open & before.backing_off & ~truth("is_early"),
        "Resume": lambda: ~after.ignored,
    }
    owed = asked[after.event]() if after.event in asked else FALSE
    return implies(stays(after) & owed, lower(rank(after), rank(before)))


def helped(p: Picture) -> Term:
    """Somebody waits, the pool is open and not backing off: something is lent or under way."""
    rests = (p.phase != OPEN) | p.backing_off
    return implies((p.a_waits > 0) & ~rests, p.in_use + p.opening > 0)


def own_outcome(after: Draft) -> Term:
    """Who connects does not wait again, and the end of its connect answers it."""
    opens = after.before.a_opens > 0
    ends = FALSE
    if after.event in ("Opened", "OpenFailed"):
        ends = ~truth("is_nobody") & (after.t == after.a)
    elif after.event == "Cancel":
        ends = after.t == after.a
    answered = (after.a_opens == 0) & (after.a_answered == 1)
    return implies(opens, every(after.a_waits == 0, implies(ends, answered)))


def deadline(after: Draft) -> Term:
    """In `background`, `Expire` answers who is not answered yet."""
    if after.event != "Expire":
        return TRUE
    before = after.before
    pending = (before.a_waits > 0) | (before.a_opens > 0)
    asked = before.background & (after.t == after.a) & pending
    return implies(asked, (after.a_waits == 0) & (after.a_opens == 0) & (after.a_answered == 1))


RANKING: Mapping[str, Callable[[Draft], Term]] = MappingProxyType(
    {"Ranked": ranked, "Lowered": lowered, "OwnOutcome": own_outcome, "Deadline": deadline}
)
"""Of each step. (`Helped` is of a state.)"""
