"""What a task holds: a lease, or the `async with` block of `pool.connection()`.

Theory.  As `pool/lease.py`; what is added is that the end of a block may not always be awaited.
The end by a cancellation is like any other: the pool's own task resets the connection, and nobody
waits for it.  At the end by `GeneratorExit` (an asynchronous generator that is closed) nothing may
be awaited at all.

A block that is interrupted in the middle of a query leaves a connection with half an answer
still to come: it is closed, unless its driver knows that it is at rest.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pool import meant
from pool.core.text import repr_of
from pool.shared.errors import LeaseEnded
from pool.shared.handles import Handle

if TYPE_CHECKING:
    from pool.tasks.runtime import Runtime

Connection = TypeVar("Connection")


class Lease(Handle, Generic[Connection]):
    """A borrowed connection. Made by `Pool.acquire`, which gives it the pool's `runtime`; belongs
    to one task at a time.

    As an asynchronous context manager it is released at the end of the block, which rolls back what
    was not committed; it never commits. Keep a reference to it as long as the connection is in use.
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

    async def release(self) -> bool:
        """Give the connection back: roll back what is open, reset, and lend it to the next.

        False if there was nothing to give back: it was given back before, or its event loop is
        closed. A caller that is cancelled meanwhile has given it back all the same. Raises
        `WrongLoop` from another loop or thread; the lease is then still held."""
        if not self._is_held():
            return self._forget()
        ended = self._give_back(False)
        return ended if type(ended) is bool else await ended

    def discard(self) -> bool:
        """Have the connection closed instead of lent again; not to be awaited. False, and
        `WrongLoop`, as with `release`."""
        if not self._is_held():
            return self._forget()
        driver: Any = self.runtime.driver
        self.runtime.bind()  # first: who is refused still holds it
        if driver.watches_returns:
            driver.returned(self, "discarded")
        discarded = self.runtime.discard(self)
        self.held = None
        return discarded

    def _is_held(self) -> bool:
        return not self.ended and self.monitor is self.runtime.monitor

    def _give_back(self, clean: bool) -> bool | asyncio.Future[bool]:
        driver: Any = self.runtime.driver
        self.runtime.bind()
        if driver.watches_returns:
            clean = driver.returned(self) and clean  # who was told may have used it
        ended = self.runtime.give_back(self, clean)
        self.held = None
        if driver.leaks:
            driver.end_leak(self.ticket)
        return ended

    def _forget(self) -> bool:
        self.ended, self.held = True, None
        return False

    async def _end(self, error: BaseException | None) -> None:
        """The end of a block that nobody has committed."""
        if not self._is_held():
            self._forget()
        elif error is None or isinstance(error, Exception):
            await self.release()
        elif isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            driver: Any = self.runtime.driver
            if driver.is_at_rest(self.held):
                self._give_back(False)  # and go on: nobody waits for what comes of it
            else:
                self.discard()
        else:
            self.discard()

    async def __aenter__(self) -> Lease[Connection]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end(error)

    def __repr__(self) -> str:
        if self.ended:
            return "<Lease: ended>"
        held = getattr(self, "held", None)  # not set where another task waits with it
        return "<Lease: waiting>" if held is None else f"<Lease: {repr_of(held)}>"


class Lending(Protocol):
    """What a block needs of its pool."""

    _runtime: Runtime

    async def _fill(self, lease: Any, timeout: float | None) -> object:
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

    async def __aenter__(self) -> Connection:  # type: ignore[override]  # a block is about that
        if not self.ended:
            raise RuntimeError("this block holds a connection: ask the pool for another one")
        await self._pool._fill(self, self._timeout)
        connection: Connection = self.held
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None or not self._is_held():
            await self._end(error)
            return
        driver: Any = self.runtime.driver
        try:
            clean = driver.is_clean(self.held) or await driver.commit(self.held)
        except BaseException as failure:
            await self._end(failure)
            raise
        ended = self._give_back(clean)
        if type(ended) is not bool:
            await ended

    def __await__(self) -> Any:
        raise TypeError(
            "a block is not awaited: `async with pool.connection() as connection`; without one: "
            "`lease = await pool.acquire()`"
        )


meant.point(
    Lease,
    meant.OF_CONNECTIONS,
    "it holds the connection, which is `lease.connection`; for a block with the connection itself, "
    "that commits: `async with pool.connection() as connection:`",
    meant.ElsewhereToSet,
)
meant.point(
    Borrowing,
    meant.OF_CONNECTIONS,
    "it is what `pool.connection()` gives, for a block: `async with pool.connection() as "
    "connection:`; without a block: `lease = await pool.acquire()`, then `lease.connection` and "
    "`await lease.release()`",
    meant.ElsewhereToSet,
)
meant.point(
    Lease,
    meant.WITH,
    "`async with pool.connection() as connection:`, or `async with await pool.acquire() as "
    "lease:`; with threads there is `pool.Pool`",
    meant.OfTheOtherBlock,
)
