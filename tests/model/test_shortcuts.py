"""A shortcut adds no behaviour: where it applies, the handler says the same.

Theory.  Random histories meet each shortcut hundreds of times, and each refusal to take it
as often.  The explorer's tests compare them once more, in every state it reaches.
"""

from __future__ import annotations

from collections import Counter
from operator import is_
from typing import Any

import attrs
import pytest

from pool import Acquire, Configure, Effect, Event, Grant, Limits, Release, State
from pool.check.machines.step import PoolMachine
from pool.check.machines.twin import view
from pool.core import shortcuts, transition
from pool.core.maps import Map
from pool.core.state import fields_of, state_of
from tests.model.notation import Run
from tests.model.rounds import run

PAIRS: dict[type, tuple[Any, Any]] = {
    Acquire: (shortcuts.acquire, transition.acquire),
    Release: (shortcuts.release, transition.release),
}


def compare(state: State, event: Event) -> bool | None:
    """Whether the shortcut of this event applied, after comparing; None: it has none."""
    if type(event) not in PAIRS:
        return None
    shortcut, handler = PAIRS[type(event)]
    before = view(state)
    short = shortcut(state, *event)
    if short is None:
        return False
    if type(event) is Acquire:
        after, *grant = short
        short = after, (Grant(event.ticket, *grant),) if grant[0] else ()
    long = handler(state, event)
    assert short[1] == long[1], f"{event} in {before}"
    reached = state_of(short[0])
    assert view(reached) == view(long[0]), f"{event} in {before}"
    assert all(type(one) is type(other) for one, other in zip(reached, long[0], strict=True))
    fields = fields_of(state)
    again = shortcut(fields, *event)[0]
    assert state_of(again) == reached, "a State, or its fields: it is the same"
    assert again[0] is fields[0], "what does not change is reckoned once"
    assert all(map(is_, state_of(fields), state)), "they are the very values of the state"
    assert view(state) == before
    return True


def test_shortcut_and_handler_agree_in_random_histories(
    record_property: Any,
) -> None:
    met: Counter[str] = Counter()

    class Comparing(PoolMachine):
        compare = False  # the reference model is asked elsewhere

        def tell(self, event: Event) -> tuple[Effect, ...]:
            assert self.twin is not None
            applied = compare(self.twin.state, event)
            if applied is not None:
                taken = "taken" if applied else "not taken"
                met[f"{type(event).__name__} {taken}"] += 1
            return super().tell(event)

    run(Comparing, 1, 120)
    for what, count in sorted(met.items()):
        record_property(what, count)
    assert set(met) == {
        f"{kind.__name__} {taken}" for kind in PAIRS for taken in ("taken", "not taken")
    }
    assert min(met.values()) >= 20, met


# Each condition of a shortcut by itself: the state in which only it stands in the way.


def resting(**limits: Any) -> Run:
    """Three connections idle, made at 0, 1, 2, returned at 3."""
    run = Run(**limits)
    for ticket in (1, 2, 3):
        run.lend(ticket, now=ticket - 1)
    for ticket in (1, 2, 3):
        run(Release(3, ticket, ticket))
    return run


@pytest.mark.parametrize("order", ["lifo", "fifo", "oldest"])
@pytest.mark.parametrize("max_lifetime", [None, 100])
def test_the_ordinary_acquire_and_release_are_short(order: Any, max_lifetime: Any) -> None:
    run = resting(idle_order=order, max_lifetime=max_lifetime)
    for ticket in (4, 5, 6):
        assert compare(run.state, Acquire(5, ticket, owner="me"))
        (granted,) = run(Acquire(5, ticket))
        assert isinstance(granted, Grant)
        if ticket > 4:
            assert compare(run.state, Release(6, ticket, granted.key))
            run(Release(6, ticket, granted.key))


BACKGROUND = {"opener": "background", "max_size": 5}

ACQUIRES: list[tuple[str, dict[str, Any], Event]] = [
    ("an old ticket", {}, Acquire(5, 3)),
    ("nothing idle", {"idle": None}, Acquire(5, 4)),
    ("suspended", {"phase": "suspended"}, Acquire(5, 4)),
    ("closed", {"phase": "closed"}, Acquire(5, 4)),
    ("backing off", {"retry_at": 9.0}, Acquire(5, 4)),
    ("min_idle", {"limits": Limits(**BACKGROUND, min_idle=3)}, Acquire(5, 4)),
    ("retired", {"retire_before": 10.0}, Acquire(5, 4)),
    ("expired", {"limits": Limits(max_lifetime=1)}, Acquire(5, 4)),
]


@pytest.mark.parametrize(("why", "change", "event"), ACQUIRES, ids=[row[0] for row in ACQUIRES])
def test_an_acquire_that_is_not_ordinary(why: str, change: dict[str, Any], event: Event) -> None:
    state = resting().state
    assert compare(state, Acquire(5, 4))
    assert not compare(state._replace(**change), event)


RELEASES: list[tuple[str, dict[str, Any], Event]] = [
    ("a wrong ticket", {}, Release(5, 3, 3)),
    ("a wrong key", {}, Release(5, 4, 9)),
    ("not reusable", {}, Release(5, 4, 3, reusable=False)),
    ("suspended", {"phase": "suspended"}, Release(5, 4, 3)),
    ("closed", {"phase": "closed"}, Release(5, 4, 3)),
    ("backing off", {"retry_at": 9.0}, Release(5, 4, 3)),
    ("min_idle", {"limits": Limits(**BACKGROUND, min_idle=4)}, Release(5, 4, 3)),
    ("retired", {"retire_before": 10.0}, Release(5, 4, 3)),
    ("expired", {"limits": Limits(max_lifetime=1)}, Release(5, 4, 3)),
    ("surplus", {"limits": Limits(max_size=2)}, Release(5, 4, 3)),
    ("surplus, counting opens", {"opening_background": 8}, Release(5, 4, 3)),
]


@pytest.mark.parametrize(("why", "change", "event"), RELEASES, ids=[row[0] for row in RELEASES])
def test_a_release_that_is_not_ordinary(why: str, change: dict[str, Any], event: Event) -> None:
    run = resting()
    run(Acquire(4, 4))  # key 3
    assert compare(run.state, Release(5, 4, 3))
    assert not compare(run.state._replace(**change), event)


MADE_GOOD: list[tuple[str, dict[str, Any], bool]] = [
    ("a connect begins", {"min_idle": 5}, True),
    ("there is no room", {"min_idle": 3, "max_size": 3}, False),
    ("there is room", {"min_idle": 3, "max_size": 4}, True),
    ("one is under way", {"min_idle": 3, "opening": 1}, False),
    ("one is under way where two are needed", {"min_idle": 4, "opening": 1}, True),
    ("as many as may are under way", {"min_idle": 5, "max_opening": 1, "opening": 1}, False),
    ("one more may", {"min_idle": 5, "max_opening": 2, "opening": 1}, True),
    ("max_connecting are under way", {"min_idle": 5, "max_connecting": 1, "opening": 1}, False),
    ("max_connecting lets one more", {"min_idle": 5, "max_connecting": 2, "opening": 1}, True),
    ("those under way fill it", {"min_idle": 5, "max_size": 5, "opening": 2}, False),
]


@pytest.mark.parametrize(("why", "limits", "begins"), MADE_GOOD, ids=[r[0] for r in MADE_GOOD])
def test_a_pool_that_lacks_idle_ones(why: str, limits: dict[str, Any], begins: bool) -> None:
    """Its events are ordinary where no connect can begin: it is full, or enough are under way."""
    given = {**BACKGROUND, "max_size": 8, "max_opening": None, **limits}
    opening = given.pop("opening", 0)
    run = resting()
    changed = {"limits": Limits(**given)}
    state = run.state._replace(**changed, opening_background=opening)
    assert compare(state, Acquire(5, 4)) is not begins
    run(Acquire(4, 4))  # key 3
    run(Acquire(4, 5))  # key 2
    state = run.state._replace(**changed, opening_background=opening)
    assert compare(state, Release(5, 4, 3)) is not begins


def full(waiting: int = 0, **limits: Any) -> Run:
    """Two connections, both lent; so many callers wait."""
    run = Run(max_size=2)
    run.lend(1, 2)
    run(Configure(2, attrs.evolve(run.state.limits, **limits)))
    for ticket in range(3, 3 + waiting):
        run(Acquire(2, ticket, owner=f"caller {ticket}"))
    return run


def test_to_join_the_queue_of_a_full_pool_is_ordinary() -> None:
    run = full()
    for ticket in (3, 4, 7):
        assert compare(run.state, Acquire(2, ticket, owner="me"))
        in_background = attrs.evolve(run.state.limits, opener="background")
        assert compare(run.state._replace(limits=in_background), Acquire(2, ticket, owner="me"))
        assert run(Acquire(2, ticket, owner="me")) == []


JOINS: list[tuple[str, dict[str, Any], Event]] = [
    ("an old ticket", {}, Acquire(5, 3)),
    ("who does not wait", {}, Acquire(5, 4, wait=False)),
    ("there is room", {"limits": Limits(max_size=3)}, Acquire(5, 4)),
    ("there is no limit", {"limits": Limits()}, Acquire(5, 4)),
    ("as many wait as may", {"limits": Limits(max_size=2, max_waiting=1)}, Acquire(5, 4)),
    ("nobody may wait", {"limits": Limits(max_size=2, max_waiting=0)}, Acquire(5, 4)),
    ("suspended", {"phase": "suspended"}, Acquire(5, 4)),
    ("closed", {"phase": "closed"}, Acquire(5, 4)),
    ("backing off", {"retry_at": 9.0}, Acquire(5, 4)),
]


@pytest.mark.parametrize(("why", "change", "event"), JOINS, ids=[row[0] for row in JOINS])
def test_to_join_a_queue_that_is_not_ordinary(
    why: str, change: dict[str, Any], event: Event
) -> None:
    state = full(1).state
    assert compare(state, Acquire(5, 4))
    assert not compare(state._replace(**change), event)


def test_one_more_may_wait() -> None:
    state = full(1).state._replace(limits=Limits(max_size=2, max_waiting=2))
    assert compare(state, Acquire(5, 4))


@pytest.mark.parametrize(
    "opening",
    [
        {"opening_background": 1},
        {"opening_background": 2},
        {"opening_tickets": Map({3: None}), "waiters": None},
    ],
)
def test_what_is_being_opened_fills_a_pool_too(opening: dict[str, Any]) -> None:
    state = full(1).state._replace(limits=Limits(max_size=3), **opening)
    assert compare(state, Acquire(5, 4))


@pytest.mark.parametrize("waiting", [1, 2, 3])
@pytest.mark.parametrize("max_lifetime", [None, 100])
def test_to_hand_a_connection_over_is_ordinary(waiting: int, max_lifetime: Any) -> None:
    run = full(waiting, max_lifetime=max_lifetime)
    lent = {1: 1, 2: 2}  # tickets by key
    for ticket in range(3, 3 + waiting):
        key = 1 + ticket % 2
        returned = Release(4.5, lent[key], key)
        in_background = attrs.evolve(run.state.limits, opener="background")
        assert compare(run.state._replace(limits=in_background), returned)
        assert compare(run.state, returned)
        (granted,) = run(returned)
        assert granted == Grant(ticket, key, f"c{key}", 0.0)
        lent[key] = ticket


HANDS: list[tuple[str, dict[str, Any], Event]] = [
    ("a wrong ticket", {}, Release(5, 2, 1)),
    ("a wrong key", {}, Release(5, 1, 9)),
    ("not reusable", {}, Release(5, 1, 1, reusable=False)),
    ("suspended", {"phase": "suspended"}, Release(5, 1, 1)),
    ("closed", {"phase": "closed"}, Release(5, 1, 1)),
    ("backing off", {"retry_at": 9.0}, Release(5, 1, 1)),
    ("retired", {"retire_before": 10.0}, Release(5, 1, 1)),
    ("expired", {"limits": Limits(max_size=2, max_lifetime=1)}, Release(5, 1, 1)),
    ("surplus", {"limits": Limits(max_size=1)}, Release(5, 1, 1)),
    ("surplus, counting opens", {"opening_background": 1}, Release(5, 1, 1)),
    ("there is room for another", {"limits": Limits(max_size=3)}, Release(5, 1, 1)),
    ("there is no limit", {"limits": Limits()}, Release(5, 1, 1)),
]


@pytest.mark.parametrize(("why", "change", "event"), HANDS, ids=[row[0] for row in HANDS])
def test_a_hand_over_that_is_not_ordinary(why: str, change: dict[str, Any], event: Event) -> None:
    state = full(1).state
    assert compare(state, Release(5, 1, 1))
    assert not compare(state._replace(**change), event)


def test_the_last_place_of_a_full_pool_is_taken() -> None:
    """Full is counted without the connection that comes back."""
    run = Run(max_size=1)
    run.lend(1)
    assert compare(run.state, Release(2, 1, 1))
    assert compare(
        run.state._replace(limits=attrs.evolve(run.state.limits, max_size=None)), Release(2, 1, 1)
    )
