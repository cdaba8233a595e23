"""`value`: makes a NamedTuple equal to its own kind only.

Theory.  On the hot path a NamedTuple is the cheapest immutable record there is, but
plain tuples compare by content alone: `Suspend(1.0) == Resume(1.0)`.  A checker that
compares events and effects must not be fooled by that.
"""

from __future__ import annotations

from typing import TypeVar

Kind = TypeVar("Kind", bound=type)


def value(kind: Kind) -> Kind:
    """Class decorator: equality and hash of the NamedTuple take its class into account."""

    def equal(self: tuple[object, ...], other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)

    def unequal(self: tuple[object, ...], other: object) -> bool:
        return not equal(self, other)

    def digest(self: tuple[object, ...]) -> int:
        return hash((type(self).__name__, *self))

    for name, method in (("__eq__", equal), ("__ne__", unequal), ("__hash__", digest)):
        setattr(kind, name, method)
    return kind
