"""Persistent maps from whole numbers: what the state keeps leases and waiting callers in.

Theory.  A map is a value: `set` and `delete` give a new one, which shares with the old one all but
what they touch.  `immutables` has the best there is, written in C, and is used wherever it can be
had ready-made.  From Python 3.14 on it would have to be compiled, and on a free-threaded build
importing it switches the GIL on again for the whole process; there `NumberMap` stands in, the same
in Python.  It is a dict that is copied as long as it is small, which a pool's maps nearly always
are; a large one is a tree of such dicts, by five bits of the key at each branch.

It refuses to know anything of connections and callers; and no map has an order that another
language could reproduce.
"""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ("Map", "NumberMap")

Value = TypeVar("Value")

BITS = 5
BRANCHES = 1 << BITS
MANY = 32
"""Entries that a dict has at most. Measured: to copy so many takes as long as to copy a branch."""
FEW = MANY // 2
"""A tree that has no more entries becomes a dict again."""


class NumberMap(Mapping[int, Value]):
    """A map from whole numbers. Never changes; may be read by every thread at once."""

    __slots__ = ("__weakref__", "_count", "_root")

    def __init__(self, items: Mapping[int, Value] | None = None) -> None:
        self._root: Any = _tree(dict(items or ()), 0)
        self._count = len(items or ())

    def set(self, key: int, value: Value) -> NumberMap[Value]:
        """The map with this value at this key. O(log n)."""
        root = self._root
        if type(root) is dict:
            root = {**root, key: value}
            count = len(root)
            return _made(root if count <= MANY else _tree(root, 0), count)
        return _made(_put(root, 0, key, value), self._count + (key not in self))

    def delete(self, key: int) -> NumberMap[Value]:
        """The map without this key; KeyError if it has none. O(log n)."""
        root = self._root
        if type(root) is dict:
            root = root.copy()
            del root[key]
            return _made(root, len(root))
        left, count = _without(root, 0, key), self._count - 1
        return _made(left if count > FEW else _whole(left), count)

    def get(self, key: int, default: Any = None) -> Any:
        """The value at this key, or the default. O(log n)."""
        return _leaf(self._root, key).get(key, default)

    def __getitem__(self, key: int) -> Value:
        found: Value = _leaf(self._root, key)[key]
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and key in _leaf(self._root, key)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(_whole(self._root))

    def items(self) -> ItemsView[int, Value]:
        """Keys with their values, in no particular order."""
        return _whole(self._root).items()

    def values(self) -> ValuesView[Value]:
        """The values, in no particular order."""
        return _whole(self._root).values()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NumberMap):
            return NotImplemented
        return _whole(self._root) == _whole(other._root)

    def __hash__(self) -> int:
        return hash(frozenset(_whole(self._root).items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return NumberMap, (_whole(self._root),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_whole(self._root)!r})"


def _made(root: Any, count: int) -> NumberMap[Any]:
    new = object.__new__(NumberMap)
    new._root, new._count = root, count
    return new


def _tree(entries: dict[int, Any], shift: int) -> Any:
    """A node with these entries: a dict, or branches by the bits above `shift`."""
    if len(entries) <= MANY:
        return entries
    branches: list[dict[int, Any]] = [{} for _ in range(BRANCHES)]
    for key, value in entries.items():
        branches[key >> shift & BRANCHES - 1][key] = value
    return tuple(_tree(branch, shift + BITS) for branch in branches)


def _leaf(node: Any, key: int) -> Any:
    """The dict that would have the key."""
    shift = 0
    while type(node) is tuple:
        node = node[key >> shift & BRANCHES - 1]
        shift += BITS
    return node


def _put(node: Any, shift: int, key: int, value: Any) -> Any:
    if type(node) is dict:
        return _tree({**node, key: value}, shift)
    index = key >> shift & BRANCHES - 1
    branches = list(node)
    branches[index] = _put(node[index], shift + BITS, key, value)
    return tuple(branches)


def _without(node: Any, shift: int, key: int) -> Any:
    if type(node) is dict:
        left = node.copy()
        del left[key]
        return left
    index = key >> shift & BRANCHES - 1
    branches = list(node)
    branches[index] = _without(node[index], shift + BITS, key)
    return tuple(branches)


def _whole(node: Any) -> dict[int, Any]:
    """All entries below a node, as one dict, which must not be changed."""
    if type(node) is dict:
        return node
    entries: dict[int, Any] = {}
    for branch in node:
        entries.update(_whole(branch))
    return entries


IS_FREE_THREADED = "t" in getattr(sys, "abiflags", "")

if TYPE_CHECKING:
    from immutables import Map
elif IS_FREE_THREADED:
    Map = NumberMap
else:
    try:
        from immutables import Map
    except ImportError:
        Map = NumberMap
