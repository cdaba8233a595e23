"""The queue of waiting callers against a plain sorted list: places, persistence, cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core import waiters

SCRIPTS = st.lists(
    st.tuples(st.sampled_from(["insert", "remove", "pop"]), st.integers(1, 40)), max_size=80
)


def owner_of(ticket: int) -> str:
    return f"thread {ticket}"


def check(queue: waiters.Queue, model: list[int]) -> None:
    assert list(waiters.items(queue)) == [(ticket, owner_of(ticket)) for ticket in model]
    assert waiters.size(queue) == len(model)
    assert all(waiters.contains(queue, ticket) == (ticket in model) for ticket in range(42))
    assert queue is None or queue[1] == model[0]
    assert (queue is None) == (not model)


@given(SCRIPTS)
def test_the_queue_is_a_sorted_list_and_its_old_versions_stay(
    script: list[tuple[str, int]],
) -> None:
    queue: waiters.Queue = None
    model: list[int] = []
    versions: list[tuple[waiters.Queue, list[int]]] = [(queue, [])]
    for act, ticket in script:
        if act == "insert" and ticket not in model:
            queue = waiters.insert(queue, ticket, owner_of(ticket))
            model = sorted([*model, ticket])
        elif act == "remove" and queue and model:
            ticket = model[ticket % len(model)]
            queue = waiters.remove(queue, ticket)
            model = [one for one in model if one != ticket]
        elif act == "pop" and queue:
            first, owner, queue = waiters.pop(queue)
            assert (first, owner) == (model[0], owner_of(first))
            model = model[1:]
        versions.append((queue, model))
    for version, expected in versions:
        check(version, expected)


class CountedMap:
    """Stands in for the map of owners and counts what is done to it."""

    touched = 0

    def __init__(self, content: dict[int, Any]) -> None:
        self.content = content

    def __len__(self) -> int:
        return len(self.content)

    def __iter__(self) -> Iterator[int]:
        CountedMap.touched += len(self.content)
        return iter(self.content)

    def __contains__(self, key: int) -> bool:
        CountedMap.touched += 1
        return key in self.content

    def __getitem__(self, key: int) -> Any:
        CountedMap.touched += 1
        return self.content[key]

    def set(self, key: int, value: Any) -> CountedMap:
        CountedMap.touched += 1
        return CountedMap({**self.content, key: value})

    def delete(self, key: int) -> CountedMap:
        CountedMap.touched += 1
        return CountedMap({k: v for k, v in self.content.items() if k != key})


def queue_of(tickets: Iterable[int]) -> Any:
    queue: waiters.Queue = None
    for ticket in tickets:
        queue = waiters.insert(queue, ticket, None)
    return queue


def cost(act: Callable[[], Any]) -> int:
    CountedMap.touched = 0
    act()
    return CountedMap.touched


def test_every_operation_touches_few_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the length: at the back, at the front, and for a cancel in the middle."""
    monkeypatch.setattr(waiters, "Map", CountedMap)
    queue = queue_of(range(2, 202))
    assert cost(lambda: waiters.insert(queue, 202, None)) == 1
    assert cost(lambda: waiters.insert(queue, 1, None)) == 1
    assert cost(lambda: waiters.remove(queue, 100)) == 1
    assert cost(lambda: waiters.remove(queue, 201)) == 1
    assert cost(lambda: waiters.remove(queue, 2)) == 2
    assert cost(lambda: waiters.pop(queue)) == 3


def test_numbers_that_nobody_waits_with_are_walked_past_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who were refused in between, or gave up: shared out, each costs a step."""
    monkeypatch.setattr(waiters, "Map", CountedMap)
    tickets = [*range(0, 100, 2), *range(200, 5000, 100)]
    queue, popped = queue_of(tickets), []
    CountedMap.touched = 0
    while queue:
        ticket, _, queue = waiters.pop(queue)
        popped.append(ticket)
    assert popped == tickets
    assert CountedMap.touched <= 3 * len(tickets) + tickets[-1]


def test_a_million_refusals_between_two_who_wait_are_not_walked_past(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiters, "Map", CountedMap)
    queue = queue_of([1, 10**6, 2 * 10**6])
    assert cost(lambda: waiters.pop(queue)) <= 10
    assert waiters.pop(queue)[2][1] == 10**6


def test_an_owner_may_be_anything() -> None:
    queue = waiters.insert(waiters.insert(None, 1, None), 2, [])
    assert list(waiters.items(queue)) == [(1, None), (2, [])]
