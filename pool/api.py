"""`Pool`: the machine for any driver, with names that people expect.

Theory.  This is the thinnest layer between users and the machine: arguments are checked and become
limits, each method is one event, numbers are read off the state.  What a driver needs is in
`pool.drivers.callables`, what a caller holds in `pool.lease`.  There is no decision here: whether a
pool is open, full or empty is `step`'s business, and what it answers is reported.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from pool import meant
from pool.core.events import Shutdown, Tick
from pool.core.limits import IdleOrder, Limits, Opener
from pool.core.outlook import next_look
from pool.drivers.callables import Callables
from pool.face import DEFAULT, Connection, Face
from pool.lease import Borrowing, Lease
from pool.shared.arguments import check_seconds, is_seconds
from pool.shared.errors import WITHIN, OpenError, PoolClosed, PoolError, PoolReentered, PoolTimeout
from pool.shared.holders import Holder, TracedHolder, here, introduce, is_mine, lines_here
from pool.shared.listeners import Kind, Listener
from pool.threads.runtime import Runtime

# Measured: this takes half the time of calling the class.
_new: Any = object.__new__

LOOK_EVERY = 1.0
"""Seconds between two looks at what rests, of a pool without threads of its own."""


class Pool(Face[Connection]):
    """Connections that are made by `connect` and lent to one caller at a time. Thread-safe.

    `connect` is a function without parameters that returns a new connection, of any kind; sqlite3,
    psycopg, psycopg2, pymysql, mysql.connector and mariadb are recognised. Times are in seconds.

    * `max_size`: most connections idle, in use and being opened; None for no limit.
    * `min_idle`: idle connections to keep ready; needs `opener="background"`.
    * `timeout`: how long `acquire` waits; None for ever, 0 not at all (with `"background"`, for the
      check of a connection that rested at most a tenth of a second).
    * `max_lifetime`: a connection of this age is replaced (up to a tenth earlier, so that those
      made together do not end together); None never.
    * `max_idle`: idle connections above `min_idle` are closed after it; None never.
    * `max_waiting`: most callers that may wait; None for no limit.
    * `max_opening`: most connects at once while anything is idle or in use; None for no limit. An
      empty pool connects for all its waiters at once.
    * `max_connecting`: most connects at once, always, in an empty pool too; None for no limit. Who
      may not connect yet waits, which counts for `timeout` and `max_waiting`.
    * `check`: function of a connection, called before it is lent; False or an exception: it is
      closed and the caller gets another. By default what the driver offers, for most a round trip.
    * `check_after`: a connection that was idle for so long is checked before it is lent; 0: always.
    * `check_timeout`: with `opener="background"` no answer within it means False; None: wait for
      ever.
    * `reset`: function of a returned connection, called after a rollback of what was open; False
      or an exception: it is closed. What the function leaves open is committed. `pool.NO_RESET`: do
      nothing on return, no rollback either, for a database without transactions.
    * `configure`: function of a new connection; what it leaves open is committed.
    * `close`: function that closes a connection; by default its method `close`.
    * `idle_order`: which idle connection is lent first: `"lifo"` the last returned, `"fifo"` the
      first returned, `"oldest"` the first made.
    * `opener`: who connects. `"background"`: threads of the pool's own, so that `acquire` keeps
      its timeout whatever the database does. `"caller"`: the caller, and no thread is started
      (but one, for an instant, at the first connect of sqlite3); what rests too long is then
      closed when the pool is next used.
    * `leak_after`: a connection held so long is reported once, with the stack of its holder; None
      for never. Also makes errors name the lines that took the connections.
    * `backoff_initial`, `backoff_max`: `"background"`: pause after a failed connect; it doubles.
    * `name`: for messages; by default that of the function `connect`.
    * `listeners`: functions of a `Notice` by kind: `connect`, `connect_failed`,
      `checkout`, `checkin`, `rolled_back`, `not_reusable`, `close`, `refuse`, `leak`. They
      run outside the pool's lock; their exceptions are logged.

    Raises `ValueError` for an argument that is not allowed, naming it.
    """

    _runtime: Runtime

    def __init__(
        self,
        connect: Callable[[], Connection],
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
        opener: Opener = "background",
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
            opener=opener,
            backoff_initial=backoff_initial,
            backoff_max=backoff_max,
        )
        self._connects = self._is_attended = opener == "caller"
        self._next_look = 0.0
        self._set_up(
            Callables,
            functools.partial(Runtime, begins=False),
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
        self._runtime.begin()  # helpers may connect at once, and everything is told by now

    # ------------------------------------------------------------ borrowing

    def connection(self, timeout: float | None = DEFAULT) -> Borrowing[Connection]:
        """A connection for a `with` block: `with pool.connection() as connection:`.

        The end of the block commits, or rolls back after an exception (neither if the connection
        is in autocommit), and gives the connection back. `timeout` and what it raises: as
        `acquire`.
        """
        block: Borrowing[Connection] = _new(Borrowing)
        block._pool, block._timeout = self, timeout  # as its `__init__`, written out
        block.runtime, block.ended = self._runtime, True
        return block

    def acquire(self, timeout: float | None = DEFAULT) -> Lease[Connection]:
        """Borrow a connection until the lease is released, discarded or lost.

        `timeout` in seconds, by default the pool's own: None waits for ever, 0 not at all. Raises
        `PoolTimeout` if there was none in time (`PoolSuspended` while the pool is suspended),
        `TooManyWaiting`, `PoolClosed`; `OpenError` if this caller's connect failed, or one
        while the pool has never had a connection; `ValueError` for a timeout that is none.
        """
        return self._fill(_new(Lease), timeout)

    def _fill(self, lease: Lease[Connection], timeout: float | None) -> Lease[Connection]:
        """Acquire for a lease that has ended, or one of which nothing is set yet."""
        if timeout is DEFAULT:
            timeout = self._timeout
        elif timeout is not None and not is_seconds(timeout):
            check_seconds("timeout", timeout, "to wait for ever")
        lease.runtime = runtime = self._runtime
        began = 0.0
        try:
            holder: Holder | None
            if self._is_attended:
                began, holder = self._attend(lease)
            else:
                holder = Holder(lease, runtime.lost)
            try:
                thread = here.thread
            except AttributeError:
                thread = introduce()
            holder.taker = taker = thread.taker
            if taker.name is not thread.known._name:
                holder.taker = thread.rename()
            runtime.acquire(timeout, holder, lease)
            if began:
                waited = time.monotonic() - began
                self._listeners.begin(lease.connection, waited, lease.is_new, lease.has_waited)
            return lease
        except BaseException as error:
            # The traceback must not keep them: a thread is gone when it has ended, and a holder
            # that is there longer than its lease says that it was lost.
            thread = holder = None
            if not getattr(lease, "ended", True):
                runtime.lose(lease)
            if isinstance(error, PoolError):
                self._refuse(error)
            elif self._connects and isinstance(error, Exception):
                failed = self._driver.failed(error)
                self._refuse(failed)
                raise failed from error
            raise

    def _watch(self) -> None:
        super()._watch()
        if self._watched:
            self._is_attended = True

    def _attend(self, lease: Lease[Connection]) -> tuple[float, Holder]:
        """What an acquire does besides, if anything: look after a pool without helpers, take the
        time for listeners (else it is 0), and remember the lines."""
        if self._connects:
            self._look()
        began = time.monotonic() if self._listeners.hears_turns else 0.0
        if not self._tracks:
            return began, Holder(lease, self._runtime.lost)
        holder = TracedHolder(lease, self._runtime.lost)
        holder.lines = lines_here()
        return began, holder

    # ------------------------------------------------------------ running it

    def wait(self, timeout: float | None = DEFAULT) -> None:
        """Until `min_idle` connections are there, idle or in use; with `min_idle=0`, until one can
        be had: that one is acquired and given back.

        `timeout` as with `acquire`. Until then failed connects are tried again (with
        `opener="caller"` not: who connects here gets the `OpenError`). Raises `PoolTimeout`,
        with the last connect's error as cause, or `PoolClosed`."""
        if timeout is DEFAULT:
            timeout = self._timeout
        check_seconds("timeout", timeout, "to wait for ever")
        runtime = self._runtime
        if not runtime.state.limits.min_idle:
            self._wait_for_one(timeout)
            return

        runtime.apply(Tick(runtime.clock()))  # after a fork nobody else may have begun
        if runtime.is_within() and not self._is_filled():
            raise PoolReentered(WITHIN)
        ready = runtime.wait_until(self._is_filled, timeout)
        state = runtime.state
        if ready and state.phase != "closed":
            return
        kind: type[PoolError] = PoolClosed
        text = "the pool is closed"
        if not ready:
            kind, text = PoolTimeout, f"min_idle={state.limits.min_idle} not reached"
            text += f" within {timeout:g} s"
        raise self._error(kind, text)

    def _wait_for_one(self, timeout: float | None) -> None:
        left, deadline = timeout, None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self.acquire(left).release()
                return
            except OpenError:
                if self._connects:
                    raise
            except PoolTimeout:
                if left == timeout:
                    raise
            if deadline is not None:
                left = max(0.0, deadline - time.monotonic())
                if not left:
                    text = f"no connection could be made within {timeout:g} s"
                    raise self._error(PoolTimeout, text)

    def close(self, timeout: float | None = 5.0) -> bool:
        """Close the pool for ever: callers that wait get `PoolClosed`, idle connections are closed
        now, lent ones when they come back. Waits for that for `timeout` seconds (None: for ever,
        0: not at all); whether all of it is done. May be called again, to wait again.

        It does not wait for what the calling thread itself has borrowed, or is in the middle of: a
        hook, a listener or a signal's handler that calls it gets False at once."""
        check_seconds("timeout", timeout, "to wait for ever")
        runtime = self._runtime
        runtime.apply(Shutdown(runtime.clock()))
        if runtime.is_reentered():
            return False  # it takes effect when this thread leaves the lock

        def mine(lease: Any) -> bool:
            return is_mine(lease.owner)

        def is_alone() -> bool:
            # Each time: who lost a lease meanwhile, or was interrupted, closes nothing itself.
            runtime.see_to_jobs()
            return runtime.is_at_rest(mine)

        runtime.take_over()
        # Not whether it is at rest once more: another may be in the middle of an event by now.
        return runtime.wait_until(is_alone, timeout) and not runtime.is_in_its_own_way(mine)

    def _look(self) -> None:
        """Without helpers, the one who uses the pool looks after it."""
        runtime = self._runtime
        now = runtime.clock()
        if now >= self._next_look:
            runtime.apply(Tick(now))
            pause = next_look(runtime.state, now)
            self._next_look = now + min(LOOK_EVERY, pause or LOOK_EVERY)

    def __enter__(self) -> Pool[Connection]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


meant.point(
    Pool,
    [*meant.OF_CONNECTIONS, *meant.LENDING],
    "it lends connections: `with pool.connection() as connection:`, or `lease = pool.acquire()`, "
    "then `lease.connection` and `lease.release()`",
)
meant.point(Pool, meant.RETURNING, "a lease is given back by `lease.release()`")
meant.point(
    Pool,
    meant.ASYNC_WITH,
    "it lends to threads: `with`, or with asyncio `pool.aio.Pool`",
    meant.OfTheOtherBlock,
)
