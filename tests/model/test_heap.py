"""The heap, and the line, against a sorted list: order, persistence, balance, cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core import heap
from pool.core.limits import Limits
from pool.core.state import Entry, Idle, at_rest

ITEMS = st.lists(st.integers(), unique=True, max_size=60)


def drained(kept: heap.Heap) -> list[Any]:
    items = []
    while kept:
        item, kept = heap.pop(kept)
        items.append(item)
    return items


def right_spine(kept: heap.Heap) -> int:
    """How many nodes `merge` can walk."""
    length = 0
    while kept:
        length, kept = length + 1, kept[3]
    return length


def check_shape(kept: heap.Heap) -> None:
    if kept is None:
        return
    size, top, left, right = kept
    assert size == 1 + heap.size(left) + heap.size(right)
    assert heap.size(left) >= heap.size(right)
    for child in (left, right):
        assert child is None or top < child[1]
        check_shape(child)


@given(ITEMS)
def test_what_goes_in_comes_out_in_order(items: list[int]) -> None:
    kept = heap.build(items)
    check_shape(kept)
    assert heap.size(kept) == len(items)
    assert sorted(heap.items(kept)) == sorted(items)
    assert drained(kept) == sorted(items)


@given(ITEMS, st.integers(0, 60))
def test_merge_is_the_heap_of_both(items: list[int], cut: int) -> None:
    one, other = heap.build(items[:cut]), heap.build(items[cut:])
    both = heap.merge(one, other)
    check_shape(both)
    assert drained(both) == sorted(items)
    assert (drained(one), drained(other)) == (sorted(items[:cut]), sorted(items[cut:]))


@given(st.lists(st.one_of(st.integers(), st.none()), max_size=80))
def test_every_version_stays_as_it_was(script: list[int | None]) -> None:
    """A number is pushed, None pops; every version is compared with its own list."""
    kept: heap.Heap = None
    model: list[int] = []
    versions = [(kept, list(model))]
    for item in script:
        if item is None and kept is not None:
            smallest, kept = heap.pop(kept)
            assert smallest == model.pop(0)
        elif item is not None and item not in model:
            kept = heap.push(kept, item)
            model = sorted([*model, item])
        check_shape(kept)
        versions.append((kept, list(model)))
    for version, expected in versions:
        assert drained(version) == expected


@given(ITEMS)
def test_the_right_spine_is_logarithmic(items: list[int]) -> None:
    kept = heap.build(items)
    assert right_spine(kept) <= math.log2(len(items) + 1)


class Counted(int):
    """An integer that counts how often it was compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Counted.compared += 1
        return int.__lt__(self, other)


def test_push_and_pop_are_logarithmic_in_the_worst_case() -> None:
    for items in (range(1000), range(999, -1, -1), [(n * 617) % 1000 for n in range(1000)]):
        kept: heap.Heap = None
        for item in items:
            Counted.compared = 0
            kept = heap.push(kept, Counted(item))
            assert Counted.compared <= 2 + 2 * math.log2(heap.size(kept))
        while kept:
            Counted.compared = 0
            bound = 2 + 2 * math.log2(heap.size(kept))
            _, kept = heap.pop(kept)
            assert Counted.compared <= bound


def test_a_push_shares_the_old_heap() -> None:
    kept = heap.build(range(1, 100))
    assert heap.push(kept, 0)[2] is kept


def test_the_empty_heap_is_none() -> None:
    assert heap.build([]) is None
    assert heap.size(None) == 0
    assert list(heap.items(None)) == []
    assert heap.merge(None, None) is None
    assert heap.pop(heap.push(None, 1)) == (1, None)


def test_a_deep_left_spine_is_walked_without_recursion() -> None:
    """Pushed in falling order a heap is a list."""
    many = 50_000
    kept = heap.build(range(many, 0, -1))
    assert sum(1 for _ in heap.items(kept)) == many
    assert heap.size(kept) == many


# ---------------------------------------------------------------- a line


def check_line(kept: heap.Heap) -> None:
    if kept is None:
        return
    size, top, others, place = kept
    if size == 1:
        assert (others, place) == (None, None)
    else:
        assert sorted(others) == list(range(place, place + size - 1))
        assert [top, *(others[n] for n in sorted(others))] == sorted(heap.items(kept))


@given(st.lists(st.booleans(), max_size=80))
def test_every_version_of_a_line_stays_as_it_was(script: list[bool]) -> None:
    """True appends the next number, False pops; every version is compared with its own list."""
    kept: heap.Heap = None
    model: list[int] = []
    versions = [(kept, list(model))]
    for number, is_new in enumerate(script):
        if is_new:
            kept = heap.append(kept, number)
            model.append(number)
        elif kept is not None:
            smallest, kept = heap.pop(kept)
            assert smallest == model.pop(0)
        check_line(kept)
        assert heap.size(kept) == len(model)
        versions.append((kept, list(model)))
    for version, expected in versions:
        assert sorted(heap.items(version)) == expected
        assert drained(version) == expected


@given(ITEMS)
def test_a_heap_becomes_a_line_with_the_first_that_is_appended(items: list[int]) -> None:
    last = max(items, default=0) + 1
    kept = heap.append(heap.build(items), last)
    check_line(kept)
    assert drained(kept) == [*sorted(items), last]
    assert kept == heap.line([*sorted(items), last])


def test_a_line_compares_nothing() -> None:
    kept = heap.line([Counted(n) for n in range(1000)])
    Counted.compared = 0
    for number in range(1000, 2000):
        _, kept = heap.pop(heap.append(kept, Counted(number)))
    assert Counted.compared == 0
    assert heap.size(kept) == 1000


@pytest.mark.parametrize(("order", "is_line"), [("fifo", True), ("lifo", False), ("oldest", False)])
def test_only_what_is_lent_in_the_order_of_return_is_a_line(order: Any, is_line: bool) -> None:
    items = [Idle(float(n), n, Entry(n, "c", 0.0, 0.0), 0.0) for n in (3, 1, 2)]
    kept = at_rest(Limits(idle_order=order), items)
    assert kept is not None
    assert (type(kept[3]) is int) is is_line
    assert drained(kept) == sorted(items)


def test_the_empty_line_is_none() -> None:
    assert heap.line([]) is None
    assert heap.line([1]) == heap.build([1]) == heap.append(None, 1)
