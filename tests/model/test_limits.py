"""Limits are checked once, where they are made: `step` never meets a bad one (LIM-1)."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool import Configure, Limits, Tick, initial, step

BAD_WHOLE: list[Any] = [-1, 1.0, 1.5, "3", True, math.nan, math.inf]
BAD_SECONDS: list[Any] = [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, "3", True, 1j]
BAD_SECONDS += [10**400, -(10**400), Decimal(3), Decimal("NaN")]  # the first is no float

BAD = [
    *(("max_size", bad, "at least 1") for bad in [0, *BAD_WHOLE]),
    *(("min_idle", bad, "at least 0") for bad in [None, *BAD_WHOLE]),
    *(("max_waiting", bad, "at least 0") for bad in BAD_WHOLE),
    *(("max_opening", bad, "at least 1") for bad in [0, *BAD_WHOLE]),
    *(("max_connecting", bad, "at least 1") for bad in [0, *BAD_WHOLE]),
    *(("max_lifetime", bad, "above 0") for bad in BAD_SECONDS),
    *(("max_idle", bad, "above 0") for bad in BAD_SECONDS),
    *(("leak_after", bad, "above 0") for bad in BAD_SECONDS),
    *(("backoff_initial", bad, "above 0") for bad in [None, *BAD_SECONDS]),
    *(("backoff_max", bad, "above 0") for bad in [None, *BAD_SECONDS]),
    *(("idle_order", bad, "'oldest', 'lifo', 'fifo'") for bad in ["LIFO", "", None, 1]),
    *(("opener", bad, "'caller', 'background'") for bad in ["thread", "", None, 1]),
]


class Hostile:
    """A value that cannot be compared, nor shown."""

    def __eq__(self, *_: object) -> Any:
        raise LookupError

    __hash__ = __bool__ = __repr__ = __lt__ = __float__ = __index__ = __eq__  # type: ignore[assignment]


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Limits)])
def test_a_value_that_can_be_asked_nothing_is_refused(field: str) -> None:
    """LIM-1: without what it raises."""
    value: Any = Hostile()
    shown = re.escape(f"{field}=<Hostile that cannot be made text: LookupError>: allowed is ")
    with pytest.raises(ValueError, match=shown):
        Limits(**{field: value})


@pytest.mark.parametrize(("field", "value", "allowed"), BAD)
def test_a_bad_value_is_refused(field: str, value: Any, allowed: str) -> None:
    """LIM-1: with the name of the field, its value and what is allowed."""
    with pytest.raises(ValueError, match=field) as refused:
        Limits(**{field: value})
    message = str(refused.value)
    assert message.startswith(f"{field}={value!r}: allowed is ")
    assert allowed in message


CONDITIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"min_idle": 3, "max_size": 2, "opener": "background"},
        "min_idle=3: allowed is at most max_size=2",
    ),
    ({"min_idle": 1}, "min_idle=1: allowed is 0 with opener='caller'"),
    (
        {"backoff_initial": 2.0, "backoff_max": 1.5},
        "backoff_max=1.5: allowed is at least backoff_initial=2.0",
    ),
]


@pytest.mark.parametrize(("fields", "message"), CONDITIONS)
def test_values_that_do_not_go_together_are_refused(fields: dict[str, Any], message: str) -> None:
    """LIM-1: the three conditions."""
    with pytest.raises(ValueError, match=r"allowed is") as refused:
        Limits(**fields)
    assert str(refused.value).startswith(message)


GOOD: list[dict[str, Any]] = [
    {},
    {"max_size": None},
    {"max_size": 1, "max_waiting": 0, "max_opening": 1, "max_connecting": 1},
    {"max_size": 2, "max_connecting": 3},
    {"max_size": 2, "min_idle": 2, "opener": "background"},
    {"max_size": None, "min_idle": 50, "opener": "background"},
    {"max_lifetime": 1, "max_idle": 0.001, "leak_after": 1e9},
    {"max_waiting": None, "max_opening": None, "max_connecting": None, "leak_after": None},
    {"idle_order": "oldest"},
    {"idle_order": "lifo"},
    {"idle_order": "fifo"},
    {"backoff_initial": 2, "backoff_max": 2},
]


@pytest.mark.parametrize("fields", GOOD)
def test_a_good_value_is_kept(fields: dict[str, Any]) -> None:
    """LIM-1: as it was given."""
    limits = Limits(**fields)
    assert {name: getattr(limits, name) for name in fields} == fields
    assert step(initial(limits), Tick(0.0))[0].limits is limits


ANYTHING = st.none() | st.integers(-3, 3) | st.floats() | st.sampled_from(["lifo", "caller", "x"])


@given(field=st.sampled_from([field.name for field in attrs.fields(Limits)]), value=ANYTHING)
def test_any_value_is_kept_or_refused_with_its_name(field: str, value: Any) -> None:
    """LIM-1: nothing else happens."""
    answer: Any
    try:
        answer = getattr(Limits(**{field: value}), field)
    except ValueError as refused:
        answer = str(refused)
    assert answer is value or (f"{field}={value!r}" in answer and ": allowed is " in answer)


def test_a_changed_copy_is_checked_too() -> None:
    """LIM-1: `evolve`, and so what `Configure` brings."""
    with pytest.raises(ValueError, match="max_size=0"):
        Configure(0.0, attrs.evolve(Limits(), max_size=0))


def test_fields_must_be_named() -> None:
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[misc]
