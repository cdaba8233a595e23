"""`pool.aio.Pool`: the machine for drivers of asyncio, with the names of `pool.Pool`.

Theory.  As `pool/api.py`: arguments become limits, each method is one event, numbers are read off
the state.  Here is only how a task waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

from pool import meant
from pool.aio.holders import introduce, is_mine
from pool.aio.lease import Borrowing, Lease
from pool.core.events import Shutdown, Tick
from pool.core.limits import IdleOrder, Limits
from pool.drivers.async_callables import AsyncCallables
from pool.face import DEFAULT, Connection, Face
from pool.shared.arguments import check_seconds, is_seconds
from pool.shared.errors import OpenError, PoolClosed, PoolError, PoolTimeout
from pool.shared.holders import Holder, TracedHolder, lines_here
from pool.shared.listeners import Kind, Listener
from pool.tasks.runtime import Runtime


class Pool(Face[Connection]):
    """Connections that are made by `connect` and lent to one task at a time. Belongs to the event
    loop that first uses it; to make one needs no running loop.

    `connect` is a function without parameters whose result is awaited, where that can be, and is a
    new connection of any kind; psycopg's `AsyncConnection`, asyncpg, aiosqlite, aiomysql and
    asyncmy are recognised. It and the hooks run in tasks of the pool's own; a hook may be a
    coroutine function or a plain one, which must not block. Times are in seconds.

    * `max_size`: most connections idle, in use and being opened; None for no limit.
    * `min_idle`: idle connections to keep ready, from the first use on.
    * `timeout`: how long `acquire` waits; None for ever, 0 not at all (but for the check of a
      connection that rested, at most a tenth of a second).
    * `max_lifetime`: a connection of this age is replaced (up to a tenth earlier, so that those
      made together do not end together); None never.
    * `max_idle`: idle connections above `min_idle` are closed after it; None never.
    * `max_waiting`: most callers that may wait; None for no limit.
    * `max_opening`: most connects at once while anything is idle or in use; None for no limit. An
      empty pool connects for all its waiters at once.
    * `max_connecting`: most connects at once, always, in an empty pool too; None for no limit.
    * `check`: function of a connection, called before it is lent; False or an exception: it is
      closed and the caller gets another. By default what the driver offers, for most a round trip.
    * `check_after`: a connection that was idle for so long is checked before it is lent; 0: always.
    * `check_timeout`: no answer of `check` within it means False; None: wait for ever.
    * `reset`: function of a returned connection, called after a rollback of what was open; False
      or an exception: it is closed. What the function leaves open is committed. `pool.NO_RESET`: do
      nothing on return, no rollback either.
    * `configure`: function of a new connection; what it leaves open is committed.
    * `close`: function that closes a connection; by default what the driver offers. After five
      seconds the connection is dropped without goodbye.
    * `idle_order`: which idle connection is lent first: `"lifo"` the last returned, `"fifo"` the
      first returned, `"oldest"` the first made.
    * `leak_after`: a connection held so long is reported once, with the stack of its holder; None
      for never. Also makes errors name the lines that took the connections.
    * `backoff_initial`, `backoff_max`: pause after a failed connect; it doubles.
    * `name`: for messages; by default that of the function `connect`.
    * `listeners`: plain functions of a `Notice` by kind: `connect`, `connect_failed`,
      `checkout`, `checkin`, `rolled_back`, `not_reusable`, `close`, `refuse`, `leak`. They
      run on the loop; their exceptions are logged.

    Raises `ValueError` for an argument that is not allowed, naming it. Every method but
    `statistics`, `holders` and `listen` raises `WrongLoop` where the pool belongs to another event
    loop; when that one is closed the pool begins anew with the next.
    """

    _runtime: Runtime

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection] | Connection],
        *,
        max_size: int | None = 10,
        min_idle: int = 0,
        timeout: float | None = 30.0,
        max_lifetime: float | None = 3600.0,
        max_idle: float | None = 600.0,
        max_waiting: int | None = None,
        max_opening: int | None = 1,
        max_connecting: int | None = None,
        check: Callable[[Connection], object] | None = None,
        check_after: float = 0.5,
        check_timeout: float | None = 5.0,
        reset: Callable[[Connection], object] | None = None,
        configure: Callable[[Connection], object] | None = None,
        close: Callable[[Connection], object] | None = None,
        idle_order: IdleOrder = "lifo",
        leak_after: float | None = None,
        backoff_initial: float = 0.1,
        backoff_max: float = 1.0,
        name: str | None = None,
        listeners: Mapping[Kind, Listener] | None = None,
    ) -> None:
        limits = Limits(
            max_size=max_size,
            min_idle=min_idle,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
            max_waiting=max_waiting,
            max_opening=max_opening,
            max_connecting=max_connecting,
            leak_after=leak_after,
            idle_order=idle_order,
            opener="background",
            backoff_initial=backoff_initial,
            backoff_max=backoff_max,
        )
        self._set_up(
            AsyncCallables,
            Runtime,
            connect,
            limits,
            timeout=timeout,
            check_after=check_after,
            check_timeout=check_timeout,
            name=name,
            listeners=listeners,
            check=check,
            reset=reset,
            configure=configure,
            close=close,
        )

    # ------------------------------------------------------------ borrowing

    def connection(self, timeout: float | None = DEFAULT) -> Borrowing[Connection]:
        """A connection for a block: `async with pool.connection() as connection:`.

        The end of the block commits, or rolls back after an exception (neither if the connection
        is in autocommit), and gives the connection back. `timeout` and what it raises: as
        `acquire`. A block that is cancelled gives it back too, without waiting for that; in the
        middle of a query the connection is closed, unless its driver knows that nothing is still to
        come.
        """
        return Borrowing(self, timeout)

    async def acquire(self, timeout: float | None = DEFAULT) -> Lease[Connection]:
        """Borrow a connection until the lease is released, discarded or lost.

        `timeout` in seconds, by default the pool's own: None waits for ever, 0 not at all. Raises
        `PoolTimeout` if there was none in time (`PoolSuspended` while the pool is suspended),
        `TooManyWaiting`, `PoolClosed`; `OpenError` if a connect failed while the pool has never had
        a connection; `ValueError` for a timeout that is none. A cancellation goes on, always, and
        costs nothing.
        """
        lease: Lease[Connection] = Lease(self._runtime)
        await self._fill(lease, timeout)
        return lease

    async def _fill(self, lease: Lease[Connection], timeout: float | None) -> None:
        if timeout is DEFAULT:
            timeout = self._timeout
        elif timeout is not None and not is_seconds(timeout):
            check_seconds("timeout", timeout, "to wait for ever")
        runtime, watched, began = self._runtime, self._watched, 0.0
        runtime.bind()
        try:
            if watched:
                began = time.monotonic()
            if watched and self._tracks:
                holder: Holder = TracedHolder(lease, runtime.lost)
                holder.lines = lines_here()
            else:
                holder = Holder(lease, runtime.lost)
            holder.taker = introduce()
            await runtime.acquire(timeout, holder, lease)
            if watched and self._listeners.hears_turns:
                waited = time.monotonic() - began
                self._listeners.begin(lease.connection, waited, lease.is_new, lease.has_waited)
        except BaseException as error:
            if not lease.ended:
                runtime.give_up(lease)
            if isinstance(error, PoolError):
                self._refuse(error)
            raise

    # ------------------------------------------------------------ running it

    async def wait(self, timeout: float | None = DEFAULT) -> None:
        """Until `min_idle` connections are there, idle or in use; with `min_idle=0`, until one can
        be had: that one is acquired and given back.

        `timeout` as with `acquire`. Until then failed connects are tried again. Raises
        `PoolTimeout`, with the last connect's error as cause, or `PoolClosed`."""
        if timeout is DEFAULT:
            timeout = self._timeout
        check_seconds("timeout", timeout, "to wait for ever")
        runtime = self._runtime
        runtime.bind()
        if not runtime.state.limits.min_idle:
            await self._wait_for_one(timeout)
            return

        runtime.apply(Tick(runtime.clock()))
        ready = await runtime.until(self._is_filled, timeout)
        state = runtime.state
        if not ready:
            text = f"min_idle={state.limits.min_idle} not reached within {timeout:g} s"
            raise self._error(PoolTimeout, text)
        if state.phase == "closed":
            raise self._error(PoolClosed, "the pool is closed")

    async def _wait_for_one(self, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        left, deadline = timeout, None if timeout is None else loop.time() + timeout
        while True:
            try:
                await (await self.acquire(left)).release()
                return
            except OpenError:
                pass  # tried again
            except PoolTimeout:
                if left == timeout:
                    raise
            if deadline is not None:
                left = max(0.0, deadline - loop.time())
                if not left:
                    text = f"no connection could be made within {timeout:g} s"
                    raise self._error(PoolTimeout, text)

    async def close(self, timeout: float | None = 5.0) -> bool:
        """Close the pool for ever: callers that wait get `PoolClosed`, idle connections are closed
        now, lent ones when they come back. Waits for that for `timeout` seconds (None: for ever,
        0: not at all); whether all of it is done. May be called again, to wait again.

        It does not wait for what the calling task itself has borrowed."""
        check_seconds("timeout", timeout, "to wait for ever")
        runtime = self._runtime
        runtime.bind()
        runtime.apply(Shutdown(runtime.clock()))

        def is_alone() -> bool:
            return runtime.is_at_rest(lambda lease: is_mine(lease.owner))

        return await runtime.until(is_alone, timeout) and runtime.is_at_rest()

    def _apply(self, event: Any) -> None:
        self._runtime.bind_if_running()
        super()._apply(event)

    async def __aenter__(self) -> Pool[Connection]:
        self._runtime.bind()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


meant.point(
    Pool,
    [*meant.OF_CONNECTIONS, *meant.LENDING],
    "it lends connections: `async with pool.connection() as connection:`, or `lease = await "
    "pool.acquire()`, then `lease.connection` and `await lease.release()`",
)
meant.point(Pool, meant.RETURNING, "a lease is given back by `await lease.release()`")
meant.point(
    Pool,
    meant.WITH,
    "it lends to tasks of asyncio: `async with`, or with threads `pool.Pool`",
    meant.OfTheOtherBlock,
)
