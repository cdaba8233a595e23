"""The queue of waiting callers against a plain sorted list: places, persistence, cost."""

from __future__ import annotations

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


def backwards(queue: waiters.Queue) -> list[int]:
    """The tickets by the other links."""
    tickets = []
    ticket = queue.last if queue else 0
    while queue and ticket:
        tickets.append(ticket)
        ticket = queue.links[ticket].previous
    return tickets


def check(queue: waiters.Queue, model: list[int]) -> None:
    assert list(waiters.items(queue)) == [(ticket, owner_of(ticket)) for ticket in model]
    assert backwards(queue) == model[::-1]
    assert waiters.size(queue) == len(model)
    assert all(waiters.contains(queue, ticket) == (ticket in model) for ticket in range(42))
    if queue:
        assert (queue.first, queue.last) == (model[0], model[-1])
        assert (queue.links[queue.first].previous, queue.links[queue.last].next) == (0, 0)
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
    """Stands in for the map of links and counts what is done to it."""

    touched = 0

    def __init__(self, content: dict[int, Any]) -> None:
        self.content = content

    def __len__(self) -> int:
        return len(self.content)

    def __contains__(self, key: int) -> bool:
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


def test_every_operation_touches_few_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the length: at the back, at the front, and for a cancel in the middle."""
    monkeypatch.setattr(waiters, "Map", CountedMap)
    queue: Any = None
    for ticket in range(2, 202):
        CountedMap.touched = 0
        queue = waiters.insert(queue, ticket, None)
        assert CountedMap.touched <= 5
    costs = []
    for act in (
        lambda: waiters.insert(queue, 1, None),
        lambda: waiters.remove(queue, 100),
        lambda: waiters.remove(queue, 2),
        lambda: waiters.remove(queue, 201),
        lambda: waiters.pop(queue),
    ):
        CountedMap.touched = 0
        act()
        costs.append(CountedMap.touched)
    assert max(costs) <= 6


def test_only_those_in_front_are_walked_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes up its old place walks past those before it, not past those behind."""
    monkeypatch.setattr(waiters, "Map", CountedMap)
    queue: Any = None
    for ticket in [1, 2, *range(10, 200)]:
        queue = waiters.insert(queue, ticket, None)
    CountedMap.touched = 0
    waiters.insert(queue, 5, None)
    assert CountedMap.touched <= 7


def test_an_owner_may_be_anything() -> None:
    queue = waiters.insert(waiters.insert(None, 1, None), 2, [])
    assert list(waiters.items(queue)) == [(1, None), (2, [])]
