"""Telling others what happens to connections.

Theory.  A listener is somebody else's code: it may be slow, and it may raise.  So it is called
outside the pool's lock, on the thread where the thing happens, and what it raises is logged and
goes no further: a broken metric must not cost a connection, nor a log a line for each turn.  It
gets one frozen object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from pool.core.text import repr_of
from pool.shared.arguments import check_answer, check_hook, refuse

if TYPE_CHECKING:
    from pool.shared.journal import Journal

Kind = Literal["connect", "checkout", "checkin", "close", "refuse", "leak"]


@attrs.frozen(kw_only=True)
class Notice:
    """Something that happened. Immutable; what does not apply is None."""

    kind: Kind
    """`connect`: made and configured, not yet in the pool. `checkout`: about to reach its
    holder. `checkin`: about to be reset and come back. `close`: closed. `refuse`: a caller
    got an error. `leak`: held for `leak_after`."""
    pool: str
    """The pool's name."""
    connection: Any = attrs.field(default=None, repr=repr_of, eq=id)
    seconds: float | None = None
    """How long the connect took, the caller waited, or the connection has been held."""
    reason: str | None = None
    """Why it was closed."""
    error: BaseException | None = attrs.field(default=None, repr=repr_of, eq=id)
    """What the caller got instead of a connection. Keeping it keeps its frames."""
    where: str | None = None
    """The stack of the holder, as text."""


Listener = Callable[[Notice], object]


class Listeners:
    """Functions by kind of notice. Thread-safe: the tuples are replaced, never changed."""

    def __init__(self, journal: Journal, listeners: Mapping[Kind, Listener] | None) -> None:
        self._journal = journal
        self.by_kind: dict[str, tuple[Listener, ...]] = dict.fromkeys(get_args(Kind), ())
        if listeners is not None and not isinstance(listeners, Mapping):
            raise refuse("listeners", listeners, "a mapping of kinds of notice to functions")
        for kind, function in (listeners or {}).items():
            self.add(kind, function)

    def add(self, kind: Kind, function: Listener) -> None:
        if not isinstance(kind, str) or kind not in self.by_kind:  # type: ignore[redundant-expr]
            raise refuse("kind", kind, "one of " + ", ".join(map(repr, self.by_kind)))
        if not callable(function):
            raise refuse(kind, function, "a function that takes a Notice")
        check_hook(kind, function, "a Notice")
        self.by_kind[kind] += (function,)

    def tell(self, kind: Kind, **facts: Any) -> None:
        """Call those who want to hear it; never raises an `Exception`."""
        functions = self.by_kind[kind]
        if not functions:
            return
        notice = Notice(kind=kind, pool=self._journal.name, **facts)
        for function in functions:
            try:
                check_answer(f"a {kind} listener", function(notice))
            except Exception as error:
                self._journal.listener_failed(kind, error)
