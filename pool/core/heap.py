"""A persistent heap: the order in which idle connections are lent.

Theory.  The pool's state must not change under a reader, so the heap is a value:
`push` and `pop` give a new heap and share all but O(log n) nodes with the old one.
It is the weight-biased leftist heap of Cho and Sahni.  Every node knows how many
items it holds, which makes `size` O(1), and keeps the heavier child on the left, so
that `merge`, which walks right spines only, is O(log n) in the worst case, not merely
on average.  The empty heap is `None`: `if heap:` asks whether anything is there.

It refuses to know what an item is.  Items are compared with `<` and must never be
equal; the pool gives tuples that begin with (order, sequence number).  The three idle
orders of the pool (`oldest`, `lifo`, `fifo`) are three ways to make `order`.

Where each newcomer comes last (`fifo`), every push would walk to the end of the heap, and
every pop rebuild what is left.  Such a heap is kept as a line: its smallest item, a map of the
others by their places, and the place of the next one.  A node says itself which it is, and
whoever asks for the smallest item, or how many there are, need not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pool.core.maps import Map

Node = tuple[int, Any, Any, Any]
"""A heap that is not empty: its size, its smallest item, and two smaller heaps; a line has
the others by place instead, and the place of the next. A plain tuple, because nearly every event of
a pool makes one."""

Heap = Node | None


def size(heap: Heap) -> int:
    """How many items the heap holds. O(1)."""
    return heap[0] if heap else 0


def merge(one: Heap, other: Heap) -> Heap:
    """The heap of all items of both, of which none is a line. O(log n)."""
    if one is None:
        return other
    if other is None:
        return one
    if other[1] < one[1]:
        one, other = other, one
    count, top, left, right = one
    right = merge(right, other)
    if size(left) < size(right):
        left, right = right, left
    return count + other[0], top, left, right


def push(heap: Heap, item: Any) -> Node:
    """The heap, which is no line, with one item more. O(log n), O(1) for an item smaller
    than all."""
    if heap is None or item < heap[1]:
        return size(heap) + 1, item, heap, None
    pushed = merge(heap, (1, item, None, None))
    assert pushed is not None
    return pushed


def append(heap: Heap, item: Any) -> Node:
    """The line with one item more, which is greater than all."""
    if heap is None:
        return 1, item, None, None
    count, top, others, place = heap
    if type(place) is int:
        return count + 1, top, others.set(place + count - 1, item), place
    made = line(sorted([*items(heap), item]))
    assert made is not None
    return made


def pop(heap: Node) -> tuple[Any, Heap]:
    """The smallest item, and the heap without it. O(log n)."""
    _, top, left, right = heap
    return top, rest(left, right)


def rest(left: Any, right: Any) -> Heap:
    """What is left below a smallest item. O(log n)."""
    if type(right) is not int:
        return merge(left, right)
    others = left.delete(right)
    return 1 + len(others), left[right], others or None, right + 1 if others else None


def build(items: Iterable[Any]) -> Heap:
    """The heap of these items. O(n log n)."""
    heap: Heap = None
    for item in items:
        heap = push(heap, item)
    return heap


def line(items: Iterable[Any]) -> Heap:
    """The line of these items, which come in order. O(n)."""
    others = Map(dict(enumerate(items)))
    return rest(others, 0) if others else None


def items(heap: Heap) -> Iterator[Any]:
    """Every item, in no particular order. O(n), with a stack of O(n)."""
    nodes = [heap]
    while nodes:
        node = nodes.pop()
        while node:
            _, top, node, right = node
            yield top
            if type(right) is int:
                yield from node.values()
                return
            if right:
                nodes.append(right)
