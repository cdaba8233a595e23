"""What is asked of every program whose orders are tried, of threads and of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool.check.schedules.orders import explore


def with_slow_ones_marked(counts: dict[str, tuple[int, int]]) -> list[Any]:
    """The names of programs; those with many orders are marked."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if orders > 1500 else name
        for name, (orders, _) in counts.items()
    ]


def assert_every_order_keeps_every_promise(
    make: Callable[[], Any], wanted: tuple[int, int]
) -> None:
    """`wanted`: how many orders, and how many outcomes."""
    found = explore(make)
    assert found.violation is None, "\n".join([str(found.violation), *found.story])
    assert found.complete
    assert (found.interleavings, len(found.outcomes)) == wanted


def assert_the_cache_cuts_off_nothing(make: Callable[[], Any]) -> None:
    """What it cuts off leads nowhere else: every order, from every place, anew."""
    with_cache = explore(make)
    without = explore(make, cached=False)
    assert with_cache.complete
    assert without.complete
    assert (with_cache.violation, without.violation) == (None, None)
    assert without.outcomes == with_cache.outcomes
    assert without.interleavings >= with_cache.interleavings


def assert_it_is_found(make: Callable[[], Any], promise: str) -> int:
    """A fault that was planted breaks this promise in some order, which is told: in which one."""
    found = explore(make)
    assert found.violation is not None
    assert found.violation.promise == promise, "\n".join([str(found.violation), *found.story])
    assert found.story
    return found.interleavings
