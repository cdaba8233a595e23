"""What a caller holds: a lease, or the `with` block of `pool.connection()`.

Theory.  A lease is the runtime's handle with public methods, so that a checkout makes one object.
Whoever holds it holds the connection; when the last reference goes, for whatever reason (an
exception, a thread that ended, a variable that was overwritten), the connection is closed and its
place is free again.  So nothing in the pool refers to a lease, and a lease refers to no
frame.

A lease that has ended is fenced off: it gives no connection, and giving it back again does
nothing, even if the same connection has found its next holder.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pool import meant
from pool.core.text import repr_of
from pool.shared.errors import LeaseEnded
from pool.shared.handles import Handle

if TYPE_CHECKING:
    from pool.threads.runtime import Runtime

Connection = TypeVar("Connection")

_IN_ORDER = (Exception, GeneratorExit, SystemExit)
"""What ends a block between two calls of the driver. Anything else (`KeyboardInterrupt`, a
`gevent.Timeout`) may have come in the middle of one, with half an answer still to be read."""


class Lease(Handle, Generic[Connection]):
    """A borrowed connection. Made by `Pool.acquire`, which gives it the pool's `runtime`; belongs
    to one thread at a time.

    As a context manager it is released at the end of the block, which rolls back what was not
    committed; it never commits. Keep a reference to it as long as the connection is in use.
    """

    __slots__ = ()

    runtime: Runtime

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.ended = True  # until it has been given to an acquire, which sets the rest

    @property
    def connection(self) -> Connection:
        """The driver's own connection object. Raises `LeaseEnded` after its release."""
        if self.ended:
            raise LeaseEnded("this lease has ended: its connection may be somebody else's by now")
        connection: Connection = self.held
        return connection

    def release(self) -> bool:
        """Give the connection back: roll back what is open, reset, and lend it to the next.

        False if there was nothing to give back: it was given back before, or it belongs to the
        parent of this process."""
        runtime = self.runtime
        driver: Any = runtime.driver
        if driver.watches_returns and not self.ended and self.monitor is runtime.monitor:
            driver.returned(self)
        released = runtime.release(self)
        self.held = None
        if released and driver.leaks:  # afterwards, as it may be reported until then
            driver.end_leak(self.ticket)
        return released

    def discard(self) -> bool:
        """Have the connection closed instead of lent again. False as with `release`."""
        driver: Any = self.runtime.driver
        if self.ended or self.monitor is not self.runtime.monitor:
            return self._forget()
        if driver.watches_returns:
            driver.returned(self, "discarded")
        discarded = self.runtime.discard(self)
        self.held = None
        return discarded

    def _forget(self) -> bool:
        self.ended, self.held = True, None
        return False

    def __enter__(self) -> Lease[Connection]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, _IN_ORDER):
            self.release()
        else:
            self.discard()

    def __repr__(self) -> str:
        if getattr(self, "ended", True):  # neither is set where a debugger shows a call's variables
            return "<Lease: ended>"
        held = getattr(self, "held", None)
        return "<Lease: waiting>" if held is None else f"<Lease: {repr_of(held)}>"


class Lending(Protocol):
    """What a block needs of its pool."""

    _runtime: Runtime

    def _fill(self, lease: Any, timeout: float | None) -> object:
        """Acquire for this lease."""


class Borrowing(Lease[Connection]):
    """The context manager of `Pool.connection()`, and the lease in it: acquires at the start of the
    block; at its end commits, or rolls back after an exception, and releases.

    May be used again, but not within itself."""

    __slots__ = ("_pool", "_timeout")

    def __init__(self, pool: Lending, timeout: float | None) -> None:
        self.runtime = pool._runtime
        self._pool = pool
        self._timeout = timeout
        self.ended = True

    def __enter__(self) -> Connection:  # type: ignore[override]  # a block is about that
        if not self.ended:
            raise RuntimeError("this block holds a connection: ask the pool for another one")
        self._pool._fill(self, self._timeout)
        connection: Connection = self.held
        return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        runtime = self.runtime
        if error is not None:
            super().__exit__(kind, error, traceback)
        elif not self.ended and self.monitor is runtime.monitor:
            driver: Any = runtime.driver
            connection = self.held
            try:
                clean = driver.commit(connection)
            except BaseException as failure:
                super().__exit__(type(failure), failure, None)
                raise
            # As `release`, written out, for this is one half of every block.
            if driver.watches_returns:
                clean = driver.returned(self) and clean  # who was told may have used it
            released = runtime.release(self, clean)
            self.held = None
            if released and driver.leaks:
                driver.end_leak(self.ticket)
        else:
            self._forget()


meant.point(
    Lease,
    meant.OF_CONNECTIONS,
    "it holds the connection, which is `lease.connection`; for a block with the connection itself, "
    "that commits: `with pool.connection() as connection:`",
    meant.ElsewhereToSet,
)
meant.point(
    Borrowing,
    meant.OF_CONNECTIONS,
    "it is what `pool.connection()` gives, for a block: `with pool.connection() as connection:`; "
    "without a block: `lease = pool.acquire()`, then `lease.connection` and `lease.release()`",
    meant.ElsewhereToSet,
)
meant.point(
    Lease,
    meant.ASYNC_WITH,
    "`with pool.connection() as connection:`, or `with pool.acquire() as lease:`; with asyncio "
    "there is `pool.aio.Pool`",
    meant.OfTheOtherBlock,
)
