"""States, events and effects are values: they cannot be changed, and are equal by kind."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest

from pool import Acquire, Grant, Limits, Resume, Suspend, Tick, initial, step
from pool.core.effects import Close, Effect, Ignored, Leaked, Open, Refuse
from pool.core.events import AdoptIdle, AdoptLease, Event
from pool.core.state import Counters, Entry, Failure, Idle, Lease, State, at_rest

RECORDS = [*get_args(Event), *get_args(Effect), AdoptIdle, AdoptLease]
RECORDS += [State, Counters, Entry, Idle, Lease, Failure]


def fields_of(kind: Any) -> list[str]:
    return [each.name for each in attrs.fields(kind)] if attrs.has(kind) else [*kind._fields]


@pytest.mark.parametrize("kind", RECORDS)
def test_a_field_cannot_be_assigned(kind: Any) -> None:
    made = kind(*range(len(fields_of(kind))))
    for field in fields_of(kind):
        with pytest.raises(AttributeError):
            setattr(made, field, None)
    assert not hasattr(made, "__dict__") or not made.__dict__


def test_limits_cannot_be_assigned() -> None:
    limits = Limits()
    for field in attrs.fields(Limits):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(limits, field.name, None)


def test_a_state_cannot_be_assigned_where_it_counts() -> None:
    state = initial(Limits())
    with pytest.raises(AttributeError):
        state.phase = "closed"  # type: ignore[misc]
    with pytest.raises(TypeError):
        state.in_use[1] = None  # type: ignore[index]


def test_equal_content_of_another_kind_is_another_value() -> None:
    assert Suspend(1.0) != Resume(1.0)
    assert Suspend(1.0) == Suspend(1.0)
    assert Tick(1.0) != (1.0,)
    assert not Suspend(1.0) == Resume(1.0)  # noqa: SIM201  # both operators are our own
    assert not Suspend(1.0) != Suspend(1.0)  # noqa: SIM202
    assert Open(None) != Ignored(None)  # type: ignore[arg-type]


KINDS = [kind for kind in RECORDS if kind not in (State, Idle, Lease, AdoptIdle, AdoptLease)]
"""All but the state, of which there is one kind, and what occurs in one place only, within a state
or an `Adopt`."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_own_equality(kind: Any) -> None:
    values = tuple(range(len(fields_of(kind))))
    made = kind(*values)
    twins = [other(*values) for other in KINDS if len(fields_of(other)) == len(values)]
    assert [type(twin) for twin in twins if twin == made] == [kind]
    assert made != values


def test_hashes_agree_with_equality_and_tell_kinds_apart() -> None:
    assert hash(Suspend(1.0)) == hash(Suspend(1.0))
    assert len({hash(kind(1.0)) for kind in (Suspend, Resume, Tick)}) == 3
    assert len({Suspend(1.0), Resume(1.0), Tick(1.0), Tick(1.0)}) == 3
    assert len({Grant(1, 2, "c", None), Leaked(1, 2, "c", 0.0), Close(1, "c", "dead")}) == 3


def test_states_are_equal_by_content() -> None:
    one, other = initial(Limits()), initial(Limits())
    assert one == other
    assert one is not other
    assert hash(one) == hash(other)
    assert step(one, Acquire(0.0, 1)) == step(other, Acquire(0.0, 1))
    assert step(one, Acquire(0.0, 1))[0] != one


def test_a_value_prints_as_what_makes_it() -> None:
    refused = Refuse(1, "timeout", Failure("OSError", "away"))
    assert eval(repr(refused)) == refused
    assert eval(repr(Limits(max_size=3))) == Limits(max_size=3)


@pytest.mark.parametrize("order", ["lifo", "fifo", "oldest"])
def test_a_state_with_thousands_idle_can_be_read(order: Any) -> None:
    limits = Limits(max_size=3000, idle_order=order)
    idle = [Idle(each, each, Entry(each, f"c{each}", 0.0, 0.0), 0.0) for each in range(3000)]
    state = initial(limits)._replace(idle=at_rest(limits, idle))
    shown = {**state._asdict(), "idle": idle}
    assert repr(state) == f"State({', '.join(f'{name}={shown[name]!r}' for name in state._fields)})"
