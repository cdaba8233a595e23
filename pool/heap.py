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
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Node(NamedTuple):
    """A heap that is not empty. `top` is its smallest item."""

    size: int
    top: Any
    left: Node | None
    right: Node | None


Heap = Node | None


def size(heap: Heap) -> int:
    """How many items the heap holds. O(1)."""
    return heap.size if heap else 0


def merge(one: Heap, other: Heap) -> Heap:
    """The heap of all items of both. O(log n)."""
    if one is None:
        return other
    if other is None:
        return one
    if other.top < one.top:
        one, other = other, one
    total, top, left, right = one
    right = merge(right, other)
    if left is None or left.size < right.size:  # type: ignore[union-attr]  # right holds other
        left, right = right, left
    return tuple.__new__(Node, (total + other.size, top, left, right))


def push(heap: Heap, item: Any) -> Node:
    """The heap with one item more. O(log n), O(1) for an item smaller than all."""
    if heap is None or item < heap.top:
        return tuple.__new__(Node, (size(heap) + 1, item, heap, None))
    return merge(heap, Node(1, item, None, None))  # type: ignore[return-value]  # not empty


def pop(heap: Node) -> tuple[Any, Heap]:
    """The smallest item, and the heap without it. O(log n)."""
    return heap.top, merge(heap.left, heap.right)


def build(items: Iterable[Any]) -> Heap:
    """The heap of these items. O(n log n)."""
    heap: Heap = None
    for item in items:
        heap = push(heap, item)
    return heap


def items(heap: Heap) -> Iterator[Any]:
    """Every item, in no particular order. O(n), with a stack of O(n)."""
    nodes = [heap] if heap else []
    while nodes:
        node = nodes.pop()
        yield node.top
        nodes.extend(child for child in (node.left, node.right) if child)
