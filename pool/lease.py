"""What a caller holds: a lease, or the `with` block of `pool.connection()`.

Theory.  A lease is the runtime's handle with a public face, so that a turn makes one object.
Whoever holds it holds the connection; when the last reference goes, for whatever reason (an
exception, a thread that ended, a variable that was overwritten), the connection is closed and its
place is free again.  So nothing in the pool refers to a lease, and a lease refers to no
frame.

A lease that has ended is fenced off: it gives no connection, and giving it back again does
nothing, even if the same connection has found its next holder.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pool.errors import LeaseEnded
from pool.runtime import Handle, Runtime

if TYPE_CHECKING:
    from pool.api import Pool
    from pool.callables import Callables

Connection = TypeVar("Connection")

_IN_ORDER = (Exception, GeneratorExit, SystemExit)
"""What ends a block between two calls of the driver. Anything else (`KeyboardInterrupt`, a
`gevent.Timeout`) may have come in the middle of one, with half an answer still to be read."""


class Lease(Handle, Generic[Connection]):
    """A borrowed connection. Made by `Pool.acquire`; belongs to one thread at a time.

    As a context manager it is released at the end of the block, which rolls back what was not
    committed; it never commits. Keep a reference to it as long as the connection is in use.
    """

    ended = True  # until it has been given to an acquire
    _connection: Connection | None = None

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._driver: Callables = runtime.driver  # type: ignore[assignment]  # a pool's is one
        self._process = self._driver.process

    @property  # the runtime assigns to it, as to that of any handle
    def connection(self) -> Connection:
        """The driver's own connection object. Raises `LeaseEnded` after its release."""
        if self.ended:
            raise LeaseEnded("this lease has ended: its connection may be somebody else's by now")
        return self._connection  # type: ignore[return-value]  # it has one while it lasts

    @connection.setter
    def connection(self, value: Connection) -> None:
        self._connection = value

    def release(self) -> bool:
        """Give the connection back: roll back what is open, reset, and lend it to the next.

        False if there was nothing to give back: it was given back before, or it belongs to the
        parent of this process."""
        if self.ended or self._is_the_parents():
            return False
        if self._driver.listeners.by_kind["checkin"]:
            self._driver.listeners.tell("checkin", connection=self._connection)
        released = self.runtime.release(self)
        self._connection = None
        return released

    def discard(self) -> bool:
        """Have the connection closed instead of lent again. False as with `release`."""
        if self.ended or self._is_the_parents():
            return False
        discarded = self.runtime.discard(self)
        self._connection = None
        return discarded

    def _is_the_parents(self) -> bool:
        """After a fork the connection is the parent's: this process must not touch it."""
        if self._process is self._driver.process:
            return False
        self.ended = True
        return True

    def _finish(self, error: BaseException | None, commits: bool) -> None:
        """The end of a `with` block."""
        if self.ended or self._is_the_parents():
            return
        if error is not None and not isinstance(error, _IN_ORDER):
            self.discard()
            return
        if commits and error is None:
            try:
                self._driver.recipe(self._connection).commit(self._connection)
            except _IN_ORDER:
                self.release()
                raise
            except BaseException:
                self.discard()
                raise
        self.release()

    def __enter__(self) -> Lease[Connection]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finish(error, commits=False)

    def __repr__(self) -> str:
        return "<Lease: ended>" if self.ended else f"<Lease: {self._connection!r}>"


class Borrowing(Generic[Connection]):
    """The context manager of `Pool.connection()`: acquires at the start of the block; at its end
    commits, or rolls back after an exception, and releases."""

    __slots__ = ("_lease", "_pool", "_timeout")

    def __init__(self, pool: Pool[Connection], timeout: Any) -> None:
        self._pool = pool
        self._timeout = timeout
        self._lease: Lease[Connection] | None = None

    def __enter__(self) -> Connection:
        lease = None
        try:
            self._lease = lease = self._pool.acquire(self._timeout)
            return lease.connection
        except BaseException:
            self._lease = None
            if lease is not None:  # interrupted on the last step
                lease.runtime.lose(lease)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease._finish(error, commits=True)
