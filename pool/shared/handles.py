"""What stands for a caller in the runtime: its handle, and the cell where its answer is put.

Theory.  The caller has the handle, and nobody else: when it is lost, so is the claim, and its
finalizer says so.  The runtime has the cell, and only until it is answered.  Neither refers to
the other, for the runtime must not keep a handle alive; a ticket is all they share.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from pool.core.text import kind_of
from pool.shared.store import Answer


class Lender(Protocol):
    """What a handle needs to know of the runtime that lends."""

    driver: Any
    monitor: Any
    """Its store, which is another one after a fork."""
    number_of: Callable[[int, Any], int]

    def lose(self, handle: Any) -> None: ...


class Cell:
    """Where a caller's answer is put. Known to the runtime while the caller has none."""

    __slots__ = ("answer", "parker", "ticket")

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.answer: Answer | None = None
        self.parker: Any = None

    def wake(self) -> None:
        """Its answer is there."""
        try:  # noqa: SIM105  # `suppress` takes longer, and others wait for the lock meanwhile
            self.parker.release()
        except RuntimeError:  # released before, by one interrupted
            pass


class Handle:
    """A caller's claim: a place in the queue, then a lease. Belongs to one thread at a time.

    When it is collected before it was given back, its connection is closed and its
    place in the pool freed.
    """

    # Slots, as a checkout makes and fills one handle: on CPython 3.12 a sixth less for all of it.
    __slots__ = ("__weakref__", "ended", "held", "key", "met", "monitor", "runtime", "ticket")

    met: tuple[int, bool, bool]
    """What its caller met with who was not served at once: its ticket, whether it had to wait, and
    whether the connection is a new one. What was served at once writes nothing here."""

    def __init__(self, runtime: Lender) -> None:
        self.runtime: Any = runtime
        self.monitor: Any = runtime.monitor
        """Where its claim is known. If that is not its runtime's any more, it is a claim of the
        process from which this one was forked."""
        self.ticket = 0
        self.key = 0
        """Known once the connection may have been touched."""
        self.held: Any = None
        """The connection."""
        self.ended = False

    def __reduce__(self) -> Any:
        """For `copy`, `deepcopy` and `pickle`. When a copy went, it would be a loss."""
        raise TypeError(
            f"a {kind_of(self)} cannot be copied or pickled: it is the one claim to its "
            "connection; pass on the object itself, or acquire another"
        )

    @property
    def connection(self) -> Any:
        """What is held, under the name that a lease gives it."""
        return self.held

    @property
    def has_waited(self) -> bool:
        """Whether its caller had to wait, for what others held or for a connect."""
        return self._met(1)

    @property
    def is_new(self) -> bool:
        """Whether the connection was made for it: nobody had it before."""
        return self._met(2)

    def _met(self, what: int) -> bool:
        met: Any = getattr(self, "met", None)
        return bool(met and met[0] == self.ticket and met[what])

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        try:
            if self.ended:
                return
            lost = self.ticket
        except AttributeError:  # interrupted before it was made
            return
        # Where the interpreter ends, modules may be gone before this (those of a free-threaded
        # build are), and nobody is left for whom its place would be free.
        if lost and not is_finalizing():
            self.monitor.collected.add(self.key)
            self.runtime.lose(self)
