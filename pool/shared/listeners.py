"""Telling others what happens to connections.

Theory.  A listener is somebody else's code: it may be slow, and it may raise.  So it is called
outside the pool's lock, on the thread where the thing happens, and what it raises is logged and
goes no further: a broken metric must not cost a connection, nor a log a line for each checkout.  It
gets one frozen object.

Each checkout that is told has exactly one end: whoever takes the connection out of `lent` tells it,
and that is one operation of a dict.  Of what was lent before anybody listened, the end is told too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from pool.core.state import State, leased
from pool.core.text import repr_of
from pool.shared.arguments import check_answer, check_hook, refuse

if TYPE_CHECKING:
    from pool.shared.journal import Journal

Kind = Literal[
    "connect",
    "connect_failed",
    "checkout",
    "checkin",
    "rolled_back",
    "not_reusable",
    "close",
    "refuse",
    "leak",
]


@attrs.frozen(kw_only=True)
class Notice:
    """Something that happened. Immutable; what does not apply is None."""

    kind: Kind
    """`connect`: made and configured, not yet in the pool. `connect_failed`: not made. `checkout`:
    about to reach its holder. `checkin`: no longer its holder's, once for each checkout; one that
    is given back is about to be reset. `rolled_back`: its holder had left a transaction open, where
    the driver shows that. `not_reusable`: its reset failed, so it is going to be closed. `close`:
    closed. `refuse`: a caller got an error. `leak`: held for `leak_after`."""
    pool: str
    """The pool's name."""
    connection: Any = attrs.field(default=None, repr=repr_of, eq=id)
    seconds: float | None = None
    """How long the connect took, the caller waited, or the connection has been held."""
    reason: str | None = None
    """Why it was closed, or the caller refused. Of a `checkin`: `released`, `discarded`, or `lost`,
    which nobody had given back; `stale` and `close_all` where the pool took it away."""
    error: BaseException | None = attrs.field(default=None, repr=repr_of, eq=id)
    """What the caller got instead of a connection, or the connect or the reset raised. Keeping it
    keeps its frames."""
    stack: str | None = None
    """The stack of the holder, as text."""
    is_new: bool | None = None
    """Of a `checkout`: whether the connection was made for it."""
    has_waited: bool | None = None
    """Of a `checkout`: whether its caller had to wait, for others or for a connect."""


Listener = Callable[[Notice], object]


class Listeners:
    """Functions by kind of notice. Thread-safe: they are only added to, by one operation."""

    def __init__(self, journal: Journal, listeners: Mapping[Kind, Listener] | None) -> None:
        self._journal = journal
        self.by_kind: dict[str, list[Listener]] = {known: [] for known in get_args(Kind)}
        if listeners is not None and not isinstance(listeners, Mapping):
            raise refuse("listeners", listeners, "a mapping of kinds of notice to functions")
        self.lent: dict[int, float] = {}
        """By the `id` of each connection that is lent, since when, on the monotonic clock; as long
        as somebody listens to what is lent or returned."""
        for kind, function in (listeners or {}).items():
            self.add(kind, function)

    @property
    def hears_turns(self) -> bool:
        """Whether somebody wants to know of each checkout, or of its end."""
        return bool(self.by_kind["checkout"] or self.by_kind["checkin"])

    def begin(self, connection: Any, seconds: float, is_new: bool, has_waited: bool) -> None:
        """A checkout, after so many seconds."""
        self.lent[id(connection)] = time.monotonic()
        facts = {"seconds": seconds, "is_new": is_new, "has_waited": has_waited}
        self.tell("checkout", connection=connection, **facts)

    def end(self, connection: Any, reason: str) -> bool:
        """Its end, unless that was told. Whether anybody had the connection in hand."""
        since = self.lent.pop(id(connection), None)
        if since is None or not self.by_kind["checkin"]:
            return False
        held = time.monotonic() - since
        self.tell("checkin", connection=connection, seconds=held, reason=reason)
        return True

    def catch_up(self, state: State, now: float) -> None:
        """Somebody listens from now on: what is lent already will come back, too."""
        if self.hears_turns:
            began = time.monotonic()
            for lease in leased(state.in_use).values():
                since = began - max(0.0, now - lease.checked_out)
                self.lent.setdefault(id(lease.entry.connection), since)

    def add(self, kind: Kind, function: Listener) -> None:
        if not isinstance(kind, str) or kind not in self.by_kind:  # type: ignore[redundant-expr]
            raise refuse("kind", kind, "one of " + ", ".join(map(repr, self.by_kind)))
        if not callable(function):
            raise refuse(kind, function, "a function that takes a Notice")
        check_hook(kind, function, "a Notice")
        self.by_kind[kind].append(function)

    def tell(self, kind: Kind, **facts: Any) -> None:
        """Call those who want to hear it; never raises an `Exception`."""
        functions = self.by_kind[kind]
        if not functions:
            return
        notice = Notice(kind=kind, pool=self._journal.name, **facts)
        for function in list(functions):
            try:
                check_answer(f"a {kind} listener", function(notice))
            except Exception as error:
                self._journal.listener_failed(kind, error)
