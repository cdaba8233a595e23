"""Every invariant rejects states that break it, and accepts those that do not.

Theory.  A predicate that is always true would pass every other test.  So for each there is
a table of bad states, each one change away from a good one, and of good states close by.
"""

from __future__ import annotations

from typing import Any

import pytest

from pool import (
    INVARIANTS,
    STEP_INVARIANTS,
    Acquire,
    Adopt,
    AdoptIdle,
    Configure,
    Effect,
    Event,
    Grant,
    Limits,
    Open,
    Opened,
    Release,
    Resume,
    Shutdown,
    Suspend,
    Tick,
    initial,
    step,
)
from pool.core import heap, waiters
from pool.core.maps import Map
from pool.core.state import Entry, Idle, Lease, State
from tests.model.notation import Run


def entry(key: int) -> Entry:
    return Entry(key, f"c{key}", 0.0, 0.0)


def idle(*keys: int) -> heap.Heap:
    return heap.build(Idle(float(key), key, entry(key), 0.0) for key in keys)


def line(first: int, others: dict[int, int], place: int) -> Any:
    items = {n: Idle(float(key), key, entry(key), 0.0) for n, key in others.items()}
    return 1 + len(items), Idle(float(first), first, entry(first), 0.0), Map(items), place


def leases(*keys: int) -> Map[int, Lease]:
    return Map({key: Lease(entry(key), 0.0, key, None, False) for key in keys})


def queue(*tickets: int) -> waiters.Queue:
    made: waiters.Queue = None
    for ticket in tickets:
        made = waiters.insert(made, ticket, None)
    return made


def state(**fields: Any) -> State:
    """A state that need not be reachable; `limits` as a dict, counters by name."""
    limits = Limits(**fields.pop("limits", {}))
    made = initial(limits)
    counters = {name: fields.pop(name) for name in made.counters._fields if name in fields}
    fields = {"next_seq": 100, "next_ticket": 100, "retry_at": None, **fields}
    return made._replace(counters=made.counters._replace(**counters), **fields)


TWO_CONNECT = {"opener": "background", "max_size": 3}

BAD: dict[str, dict[str, State]] = {
    "Exclusive": {
        "idle twice": state(idle=idle(1, 1)),
        "idle and in use": state(idle=idle(1), in_use=leases(1)),
        "in use twice": state(in_use=leases(1).set(2, leases(1)[1])),
        "in use under another's name": state(in_use=Map({2: leases(1)[1]})),
    },
    "Shrunk": {
        "idle above max_size": state(limits={"max_size": 1}, idle=idle(1, 2)),
        "in use counts": state(limits={"max_size": 1}, idle=idle(1), in_use=leases(2)),
        "opening counts": state(
            limits={"max_size": 1}, idle=idle(1), opening_tickets=Map({5: None})
        ),
        "nobody's opens count": state(limits={"max_size": 1}, idle=idle(1), opening_background=1),
    },
    "Served": {
        "somebody waits for what is idle": state(idle=idle(1), waiters=queue(5)),
    },
    "Covered": {
        "caller: nobody opens": state(waiters=queue(5)),
        "caller: too few open": state(
            limits={"max_size": 2}, waiters=queue(5), opening_tickets=Map({4: None})
        ),
        "caller: fewer than max_opening": state(
            limits={"max_opening": 2},
            waiters=queue(5),
            in_use=leases(1),
            opening_tickets=Map({4: None}),
        ),
        "caller: empty, so max_opening does not bind": state(
            limits={"max_opening": 1, "max_size": 3},
            waiters=queue(5),
            opening_tickets=Map({4: None}),
        ),
        "caller: empty, so max_connecting alone binds": state(
            limits={"max_opening": 1, "max_connecting": 3},
            waiters=queue(5),
            opening_tickets=Map({3: None, 4: None}),
        ),
        "caller: fewer than max_connecting": state(
            limits={"max_connecting": 2},
            waiters=queue(5),
            in_use=leases(1),
            opening_tickets=Map({4: None}),
        ),
        "background: fewer than max_connecting": state(
            limits={**TWO_CONNECT, "max_connecting": 2}, waiters=queue(5, 6), opening_background=1
        ),
        "background: fewer than wait": state(
            limits=TWO_CONNECT, waiters=queue(5, 6), opening_background=1
        ),
        "background: fewer than are owed": state(
            limits={**TWO_CONNECT, "min_idle": 2}, idle=idle(1), opening_background=0
        ),
        "background: owed and wanted": state(
            limits={**TWO_CONNECT, "min_idle": 1}, waiters=queue(5), opening_background=1
        ),
        "background: no limit": state(
            limits={"opener": "background", "max_size": None}, waiters=queue(5)
        ),
    },
    "Conserved": {
        "one idle too many": state(idle=idle(1)),
        "one in use too many": state(in_use=leases(1), issued=1, granted=1),
        "one opened and lost": state(opened=1),
        "one adopted and lost": state(adopted=1),
        "closed without being opened": state(closed=1),
        "forgotten without being opened": state(forgotten=1),
        "a ticket lost": state(issued=1),
        "a waiter too many": state(waiters=queue(5), opening_tickets=Map()),
        "one opening too many": state(opening_tickets=Map({5: None})),
        "answered twice": state(issued=1, granted=1, refused=1),
        "refused unasked": state(refused=1),
        "cancelled unasked": state(cancelled=1),
        "a grant taken back and not given again": state(issued=1, granted=1, dead=1),
    },
    "Fifo": {
        "it does not begin with the oldest": state(waiters=(Map({5: None, 6: None}), 6)),
        "it begins with one that does not wait": state(waiters=(Map({5: None, 6: None}), 4)),
        "it is empty, and does not say so": state(waiters=(Map(), 4)),
        "waiting and opening": state(waiters=queue(5), opening_tickets=Map({5: None})),
        "waiting but never issued": state(waiters=queue(5), next_ticket=5),
        "opening but never issued": state(opening_tickets=Map({5: None}), next_ticket=5),
    },
    "HeapOrdered": {
        "a line out of order": state(idle=line(1, {1: 3, 2: 2}, 1)),
        "a line whose first comes later": state(idle=line(2, {1: 1}, 1)),
        "a line with a gap": state(idle=line(1, {1: 2, 3: 3}, 1)),
        "a line that begins elsewhere": state(idle=line(1, {1: 2}, 2)),
        "a line of another size": state(idle=(3, *line(1, {1: 2}, 1)[1:])),
        "a child before its parent": state(
            idle=(
                2,
                Idle(2.0, 2, entry(2), 0.0),
                (1, Idle(1.0, 1, entry(1), 0.0), None, None),
                None,
            )
        ),
        "a right child before its parent": state(
            idle=(
                3,
                Idle(2.0, 2, entry(2), 0.0),
                (1, Idle(3.0, 3, entry(3), 0.0), None, None),
                (1, Idle(1.0, 1, entry(1), 0.0), None, None),
            )
        ),
        "a wrong size": state(idle=(2, Idle(1.0, 1, entry(1), 0.0), None, None)),
        "the heavier child on the right": state(
            idle=(
                2,
                Idle(1.0, 1, entry(1), 0.0),
                None,
                (1, Idle(2.0, 2, entry(2), 0.0), None, None),
            )
        ),
        "deep down": state(
            idle=(
                3,
                Idle(1.0, 1, entry(1), 0.0),
                (
                    2,
                    Idle(3.0, 3, entry(3), 0.0),
                    (1, Idle(2.0, 2, entry(2), 0.0), None, None),
                    None,
                ),
                None,
            )
        ),
    },
    "Shut": {
        "something idle": state(phase="closed", idle=idle(1)),
        "somebody waits": state(phase="closed", waiters=queue(5)),
        "somebody connects": state(phase="closed", opening_tickets=Map({5: None})),
    },
}

GOOD: dict[str, dict[str, State]] = {
    "Exclusive": {"apart": state(idle=idle(1, 2), in_use=leases(3, 4))},
    "Shrunk": {
        "above max_size, nothing idle": state(limits={"max_size": 1}, in_use=leases(1, 2)),
        "at max_size": state(limits={"max_size": 2}, idle=idle(1), in_use=leases(2)),
        "no limit": state(limits={"max_size": None}, idle=idle(*range(1, 30))),
    },
    "Served": {
        "nobody waits": state(idle=idle(1)),
        "suspended": state(phase="suspended", idle=idle(1), waiters=queue(5)),
        "nothing is idle": state(waiters=queue(5)),
    },
    "Covered": {
        "suspended": state(phase="suspended", waiters=queue(5)),
        "closed": state(phase="closed", limits={**TWO_CONNECT, "min_idle": 2}),
        "caller: full": state(limits={"max_size": 1}, in_use=leases(1), waiters=queue(5)),
        "caller: above max_size": state(
            limits={"max_size": 1}, in_use=leases(1, 2, 3), waiters=queue(5)
        ),
        "caller: max_opening": state(
            limits={"max_opening": 1},
            in_use=leases(1),
            waiters=queue(5),
            opening_tickets=Map({4: None}),
        ),
        "caller: max_connecting, in an empty pool": state(
            limits={"max_connecting": 1}, waiters=queue(5), opening_tickets=Map({4: None})
        ),
        "caller: the smaller of both": state(
            limits={"max_opening": 1, "max_connecting": 2},
            in_use=leases(1),
            waiters=queue(5),
            opening_tickets=Map({4: None}),
        ),
        "background: max_connecting, in an empty pool": state(
            limits={**TWO_CONNECT, "min_idle": 2, "max_connecting": 1},
            opening_background=1,
            waiters=queue(5, 6),
        ),
        "background: backing off": state(limits=TWO_CONNECT, waiters=queue(5), retry_at=9.0),
        "background: more than needed": state(limits=TWO_CONNECT, opening_background=2),
        "background: full": state(
            limits=TWO_CONNECT, in_use=leases(1, 2), opening_background=1, waiters=queue(5, 6)
        ),
        "background: max_opening binds": state(
            limits={**TWO_CONNECT, "max_opening": 1},
            in_use=leases(1),
            opening_background=1,
            waiters=queue(5, 6),
        ),
        "background: enough idle": state(limits={**TWO_CONNECT, "min_idle": 2}, idle=idle(1, 2)),
    },
    "Conserved": {
        "all accounted for": state(
            opened=4,
            adopted=1,
            closed=1,
            forgotten=1,
            idle=idle(1),
            in_use=leases(2, 3),
            issued=7,
            granted=4,
            dead=1,
            refused=1,
            cancelled=1,
            waiters=queue(5),
            opening_tickets=Map({6: None}),
        )
    },
    "Fifo": {"in order": state(waiters=queue(3, 5, 9), opening_tickets=Map({4: None}))},
    "HeapOrdered": {"empty": state(), "many": state(idle=idle(*range(40, 1, -3)))},
    "Shut": {
        "closed, leases left": state(phase="closed", in_use=leases(1), opening_background=1),
        "open": state(idle=idle(1), waiters=queue(5), opening_tickets=Map({6: None})),
    },
}


def cases(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}: {what}")
        for name, states in table.items()
        for what, case in states.items()
    ]


@pytest.mark.parametrize(("name", "bad"), cases(BAD))
def test_an_invariant_rejects_a_bad_state(name: str, bad: State) -> None:
    assert not INVARIANTS[name](bad)


@pytest.mark.parametrize(("name", "good"), cases(GOOD))
def test_an_invariant_accepts_a_good_state(name: str, good: State) -> None:
    assert INVARIANTS[name](good)


# ---------------------------------------------------------------- of a step

Step = tuple[State, Event, tuple[Effect, ...], State]

FULL = state(limits={"max_size": 1}, in_use=leases(1))
GROWN = state(limits={"max_size": 1}, in_use=leases(1, 2))
WAITING = state(waiters=queue(5, 6))
ONE_CONNECTS = state(limits={"max_connecting": 1}, opening_tickets=Map({5: None}))
TWO_DO = ONE_CONNECTS._replace(opening_tickets=Map({5: None, 6: None}))

BAD_STEPS: dict[str, dict[str, Step]] = {
    "Bounded": {
        "one more than max_size": (FULL, Acquire(0, 5), (Open(5),), GROWN),
        "opening counts": (FULL, Acquire(0, 5), (Open(None),), FULL._replace(opening_background=1)),
        "a ticket's open counts": (
            FULL,
            Acquire(0, 5),
            (Open(5),),
            FULL._replace(opening_tickets=Map({5: None})),
        ),
        "idle counts": (FULL, Release(0, 1, 1), (), FULL._replace(idle=idle(2))),
        "growth after a shrink": (
            state(in_use=leases(1, 2)),
            Configure(0, Limits(max_size=1)),
            (),
            state(limits={"max_size": 1}, in_use=leases(1, 2, 3)),
        ),
        "one connect more than max_connecting": (ONE_CONNECTS, Acquire(0, 6), (), TWO_DO),
        "nobody's connects count": (
            ONE_CONNECTS,
            Acquire(0, 6),
            (),
            ONE_CONNECTS._replace(opening_background=1),
        ),
        "one more, after an adapter's change": (ONE_CONNECTS, Adopt(0), (Open(6),), TWO_DO),
        "one more, after max_connecting was lowered": (
            TWO_DO,
            Configure(0, Limits(max_connecting=1)),
            (),
            TWO_DO._replace(opening_background=1),
        ),
    },
    "FifoStep": {
        "the younger is granted": (
            WAITING,
            Tick(0),
            (Grant(6, 1, "c1", None),),
            state(waiters=queue(5)),
        ),
        "the younger is told to open": (WAITING, Tick(0), (Open(6),), state(waiters=queue(5))),
        "granted, and waits again": (WAITING, Tick(0), (Grant(5, 1, "c1", None),), WAITING),
        "a newcomer barges": (WAITING, Acquire(0, 7), (Grant(7, 1, "c1", 0.0),), WAITING),
        "one of several": (
            state(waiters=queue(4, 5, 6)),
            Tick(0),
            (Grant(4, 1, "c1", 0.0), Grant(6, 2, "c2", 0.0)),
            state(waiters=queue(5)),
        ),
    },
}

GOOD_STEPS: dict[str, dict[str, Step]] = {
    "Bounded": {
        "up to max_size": (state(limits={"max_size": 1}), Acquire(0, 5), (), FULL),
        "no more than before": (GROWN, Acquire(0, 5), (), GROWN),
        "an adapter may put in what it likes": (
            FULL,
            Adopt(0, (AdoptIdle(None, "c2", 0.0, 1),)),
            (),
            GROWN,
        ),
        "up to max_connecting": (
            state(limits={"max_connecting": 1}),
            Acquire(0, 5),
            (Open(5),),
            ONE_CONNECTS,
        ),
        "no more connects than before": (TWO_DO, Acquire(0, 7), (), TWO_DO),
        "no limit": (
            state(limits={"max_size": None}),
            Acquire(0, 5),
            (),
            state(limits={"max_size": None}, in_use=leases(*range(1, 40))),
        ),
    },
    "FifoStep": {
        "the oldest is granted": (
            WAITING,
            Tick(0),
            (Grant(5, 1, "c1", 0.0),),
            state(waiters=queue(6)),
        ),
        "its own connection overtakes nobody": (
            WAITING._replace(opening_tickets=Map({9: None})),
            Opened(0, 9, "c1", 0),
            (Grant(9, 1, "c1", None),),
            WAITING,
        ),
        "nobody is left": (WAITING, Tick(0), (Open(6), Open(5)), state()),
        "nobody's open is nobody's turn": (WAITING, Tick(0), (Open(None),), WAITING),
    },
}


@pytest.mark.parametrize(("name", "bad"), cases(BAD_STEPS))
def test_a_step_invariant_rejects_a_bad_step(name: str, bad: Step) -> None:
    assert not STEP_INVARIANTS[name](*bad)


@pytest.mark.parametrize(("name", "good"), cases(GOOD_STEPS))
def test_a_step_invariant_accepts_a_good_step(name: str, good: Step) -> None:
    assert STEP_INVARIANTS[name](*good)


# ---------------------------------------------------------------- the tables are complete


def test_every_invariant_has_bad_and_good_states() -> None:
    assert list(BAD) == list(GOOD) == list(INVARIANTS)
    assert list(BAD_STEPS) == list(GOOD_STEPS) == list(STEP_INVARIANTS)
    tables: list[dict[str, dict[str, Any]]] = [BAD, GOOD, BAD_STEPS, GOOD_STEPS]
    assert all(cases for table in tables for cases in table.values())


def test_all_hold_along_an_ordinary_run() -> None:
    run = Run(max_size=2)
    run.lend(1, 2)
    for event in (Acquire(1, 3), Suspend(2), Release(3, 1, 1), Resume(4), Shutdown(5)):
        before = run.state
        effects = tuple(run(event))
        assert all(holds(run.state) for holds in INVARIANTS.values())
        assert all(holds(before, event, effects, run.state) for holds in STEP_INVARIANTS.values())


def test_a_new_pool_is_good_even_before_it_opened_what_it_owes() -> None:
    new = initial(Limits(opener="background", min_idle=2))
    assert all(holds(new) for holds in INVARIANTS.values())
    assert all(holds(step(new, Tick(0.0))[0]) for holds in INVARIANTS.values())


def test_the_tables_cannot_be_changed() -> None:
    for table in (INVARIANTS, STEP_INVARIANTS):
        with pytest.raises(TypeError):
            table["Bounded"] = None  # type: ignore[index]
