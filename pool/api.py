"""`Pool`: the machine for any driver, with names that people expect.

Theory.  This is the thinnest layer that gives the machine a face: arguments are checked and become
limits, each method is one event, numbers are read off the state.  What a driver needs is in
`pool.callables`, what a caller holds in `pool.lease`.  There is no decision here: whether a
pool is open, full or empty is `step`'s business, and what it answers is reported.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs

from pool import heap, meant
from pool.arguments import check_seconds, is_seconds, name_of, refuse
from pool.callables import Callables
from pool.effects import Ignored
from pool.errors import (
    WITHIN,
    OpenError,
    PoolClosed,
    PoolError,
    PoolReentered,
    PoolTimeout,
    describe,
    error_of,
)
from pool.events import Configure, Event, Resume, Retire, Shutdown, Suspend, Tick
from pool.holders import (
    Holder,
    Holding,
    TracedHolder,
    here,
    holdings,
    introduce,
    is_mine,
    lines_here,
)
from pool.journal import Journal
from pool.lease import Borrowing, Lease
from pool.limits import IdleOrder, Limits, Opener
from pool.listeners import Kind, Listener, Listeners
from pool.outlook import next_look
from pool.runtime import Made, Runtime
from pool.state import State
from pool.statistics import Statistics, statistics_of
from pool.text import kind_of

Connection = TypeVar("Connection")

DEFAULT: Any = ...
"""Stands for the pool's own setting."""

LOOK_EVERY = 1.0
"""Seconds between two looks at what rests, of a pool without threads of its own."""


class Pool(Generic[Connection]):
    """Connections that are made by `connect` and lent to one caller at a time. Thread-safe.

    `connect` is a function without parameters that returns a new connection, of any kind; sqlite3,
    psycopg, psycopg2 and pymysql are recognised. Times are in seconds.

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
    * `check`: function of a connection that rested for `check_after`, called before it is lent;
      False or an exception: it is closed and the caller gets another. By default what the driver
      offers. With `opener="background"` no answer within `check_timeout` (None: for ever) means
      False.
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
      looked at when the pool is next used.
    * `leak_after`: a connection held so long is reported once, with the stack of its holder; None
      for never. Also makes errors name the lines that took the connections.
    * `backoff_initial`, `backoff_max`: `"background"`: pause after a failed connect; it doubles.
    * `name`: for messages; by default that of the function `connect`.
    * `listeners`: functions of a `Notice` by kind: `connect`, `checkout`, `checkin`, `close`,
      `refuse`, `leak`. They run outside the pool's lock; their exceptions are logged.

    Raises `ValueError` for an argument that is not allowed, naming it.
    """

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
        check_seconds("timeout", timeout, "to wait for ever")
        check_seconds("check_timeout", check_timeout, "to wait for ever")
        if not is_seconds(check_after):
            raise refuse("check_after", check_after, "a finite number of seconds, at least 0")
        if name is not None and not isinstance(name, str):
            raise refuse("name", name, "a text, or None")
        self.name = name = name or name_of(connect)
        self._timeout = timeout
        journal = Journal(name)
        self._journal = journal
        self._listeners = Listeners(journal, listeners)
        self._heard = self._listeners.by_kind
        self._driver = Callables(
            connect,
            check=check,
            reset=reset,
            configure=configure,
            close=close,
            listeners=self._listeners,
            journal=journal,
            keeps_errors=opener == "background",
        )
        self._connects = opener == "caller"
        self._tracks = leak_after is not None
        self._runtime = runtime = Runtime(
            self._driver, limits, check_after=check_after, check_timeout=check_timeout
        )
        self._driver.belongs_to(runtime)
        runtime.on_fork = self._driver.after_fork
        runtime.on_leak = self._driver.report_leak
        runtime.on_close = self._driver.report_close
        runtime.on_lost = self._driver.report_loss
        runtime.on_wait = self._driver.report_wait
        runtime.number_of = self._driver.number_of
        runtime.label = f"pool {name!r}: "
        self._next_look = 0.0
        self._watch()

    # ------------------------------------------------------------ borrowing

    def connection(self, timeout: float | None = DEFAULT) -> Borrowing[Connection]:
        """A connection for a `with` block: `with pool.connection() as connection:`.

        The end of the block commits, or rolls back after an exception (neither if the connection
        is in autocommit), and gives the connection back. Raises as `acquire`.
        """
        return Borrowing(self, timeout)

    def acquire(self, timeout: float | None = DEFAULT) -> Lease[Connection]:
        """Borrow a connection until the lease is released, discarded or lost.

        `timeout` in seconds: None waits for ever, 0 not at all. Raises `PoolTimeout` if there
        was none in time (`PoolSuspended` while the pool is suspended), `TooManyWaiting`,
        `PoolClosed`; `OpenError` if this caller's connect failed, or one while the pool has
        never had a connection; `ValueError` for a timeout that is none.
        """
        lease: Lease[Connection] = Lease(self._runtime)
        self._fill(lease, timeout)
        return lease

    def _fill(self, lease: Lease[Connection], timeout: float | None) -> None:
        if timeout is DEFAULT:
            timeout = self._timeout
        elif timeout is not None and not is_seconds(timeout):
            check_seconds("timeout", timeout, "to wait for ever")
        runtime, watched, began = self._runtime, self._watched, 0.0
        try:
            if self._connects:
                self._look()
            if watched:
                began = time.monotonic()
            if watched and self._tracks:
                holder: Holder = TracedHolder(lease, runtime.lost)
                holder.lines = lines_here()
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
            if watched and self._heard["checkout"]:
                waited = time.monotonic() - began
                self._listeners.tell("checkout", connection=lease.connection, seconds=waited)
        except BaseException as error:
            thread = None  # the traceback must not keep it: it is gone when the thread has ended
            if not lease.ended:
                runtime.lose(lease)
            if isinstance(error, PoolError):
                self._refuse(error)
            elif self._connects and isinstance(error, Exception):
                failed = self._driver.failed(error)
                self._refuse(failed)
                raise failed from error
            raise

    def _refuse(self, error: PoolError) -> None:
        """Tell everybody of it but the caller."""
        text = self._driver.explain(error, self.name)
        self._journal.refused(error, text, self._runtime.clock())
        self._listeners.tell("refuse", error=error)

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

        def is_ready() -> bool:
            state = runtime.state
            there = heap.size(state.idle) + len(state.in_use)
            return there >= state.limits.min_idle or state.phase == "closed"

        runtime.apply(Tick(runtime.clock()))  # after a fork nobody else may have begun
        if runtime.is_within() and not is_ready():
            raise PoolReentered(WITHIN)
        ready = runtime.onlookers.wait(runtime.sync, is_ready, timeout)
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

    def _error(self, kind: type[PoolError], text: str) -> PoolError:
        runtime = self._runtime
        state = runtime.state
        error = error_of(kind, text, state, runtime.clock(), state.last_error)
        self._driver.explain(error, self.name)
        return error

    def statistics(self) -> Statistics:
        """The numbers of this instant, frozen."""
        return statistics_of(self._runtime, self.name)

    def holders(self) -> list[Holding]:
        """Who holds connections right now, those who hold longest first."""
        found = holdings(self._runtime.state, self._runtime.clock())
        number_of = self._driver.number_of
        return [attrs.evolve(one, key=number_of(one.key, one.connection)) for one in found]

    def resize(self, max_size: int | None = DEFAULT, min_idle: int = DEFAULT) -> None:
        """Change how many connections there may be. What is idle in surplus is closed now, what is
        in use in surplus when it comes back. Raises `ValueError`, `PoolClosed`."""
        given: dict[str, Any] = {"max_size": max_size, "min_idle": min_idle}
        changes = {field: value for field, value in given.items() if value is not DEFAULT}
        now = self._runtime.clock()

        def configure(state: State) -> Configure:
            return Configure(now, attrs.evolve(state.limits, **changes))

        configure(self._runtime.state)  # what is not allowed is refused before the lock is taken
        self._apply(configure)

    def drain(self) -> None:
        """Replace every connection: idle ones are closed now, lent ones when they come back.
        For a fail-over, or new credentials. Raises `PoolClosed`."""
        self._apply(Retire(self._runtime.clock()))

    def suspend(self) -> None:
        """Let callers wait and lend nothing, until `resume`. Raises `PoolClosed`."""
        self._apply(Suspend(self._runtime.clock()))

    def resume(self) -> None:
        """End a `suspend`. Raises `PoolClosed`."""
        self._apply(Resume(self._runtime.clock()))

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
        runtime.take_over()
        alone = functools.partial(runtime.is_at_rest, lambda lease: is_mine(lease.owner))
        return runtime.onlookers.wait(runtime.sync, alone, timeout) and runtime.is_at_rest()

    def listen(self, kind: Kind, function: Listener) -> None:
        """Call `function` with a `Notice` whenever this happens: see `Notice.kind`."""
        self._listeners.add(kind, function)
        self._watch()

    def _watch(self) -> None:
        """Find out once, not in every turn, whether somebody wants to know of each acquire."""
        self._watched = self._tracks or bool(self._heard["checkout"])
        self._driver.watch()

    def _apply(self, event: Event | Made) -> None:
        effects = self._runtime.apply(event)
        if effects and type(effects[-1]) is Ignored and self._runtime.state.phase == "closed":
            error = PoolClosed("the pool is closed")
            self._driver.explain(error, self.name)
            raise error

    def _look(self) -> None:
        """Without helpers, the one who uses the pool looks after it."""
        runtime = self._runtime
        now = runtime.clock()
        if now >= self._next_look:
            runtime.apply(Tick(now))
            pause = next_look(runtime.state, now)
            self._next_look = now + min(LOOK_EVERY, pause or LOOK_EVERY)

    def __reduce__(self) -> Any:
        """For `copy`, `deepcopy` and `pickle`."""
        raise TypeError(
            f"a {kind_of(self)} cannot be copied or pickled: it stands for connections of this "
            "process; share the object between threads, and make one in each process that is "
            "started anew (after a fork the child's begins empty by itself)"
        )

    def __enter__(self) -> Pool[Connection]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self._runtime.state
        name = f" {self.name!r}" if self.name else ""
        return f"<Pool{name}: {state.phase}, {describe(state, self._runtime.clock())}>"


meant.point(
    Pool,
    [*meant.OF_CONNECTIONS, *meant.LENDING],
    "it lends connections: `with pool.connection() as connection:`, or `lease = pool.acquire()`, "
    "then `lease.connection` and `lease.release()`",
)
meant.point(Pool, meant.RETURNING, "a lease is given back by `lease.release()`")
