"""`PooledDatabase`: playhouse's class with the pool replaced.

Theory.  It inherits from its namesake, so `isinstance` checks, the driver hooks
(`_is_closed`, `_can_reuse`, `_close_raw`) and `except MaxConnectionsExceeded` clauses hold.
The pool behind it is `pool.runtime` with `opener="caller"`: no thread is ever started, and
whoever has to connect does it itself.

`peewee.Database.connect()` and `close()` hold `Database._lock` around `_connect` and
`_close`, which makes all I/O serial and would make a wait a deadlock.  So both are
written out here without it, and otherwise exactly as there.

A lease is a handle, and handles live in a session per thread: when a thread ends, its
session goes, and what it held comes back to the pool.  What programs read and write of
playhouse's pool (`_connections`, `_in_use`, `_pool_lock`, ...) is in `pool.peewee.mirror`.

Where this pool differs from playhouse on purpose, `docs/peewee.md` says so.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import peewee
import playhouse.pool
from playhouse.pool import MaxConnectionsExceeded, make_int

from pool.effects import Close, Effect
from pool.errors import PoolForked, PoolTimeout
from pool.events import (
    Adopt,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Event,
    Forked,
)
from pool.handles import Handle
from pool.holders import introduce
from pool.limits import Limits
from pool.peewee.mirror import Mirror
from pool.runtime import Runtime
from pool.state import State

_errors = peewee.__dict__["__exception_wrapper__"]  # driver errors become peewee's
_INFINITY = math.inf
_NOT_INITIALIZED = "Error, database must be initialized before opening a connection."


class _Driver:
    """What the runtime asks of a database: the hooks of its class, none under a lock."""

    def __init__(self, database: PooledDatabase) -> None:
        self.database = database

    def connect(self) -> Any:
        return self.database._open()

    def is_alive(self, connection: Any) -> bool:
        return not self.database._is_closed(connection)

    def reset(self, connection: Any) -> bool:
        return True if self.database._can_reuse(connection) else False  # noqa: SIM210  # faster

    def close(self, connection: Any) -> None:
        self.database._close_raw(connection)


class _StaleDriver(_Driver):
    """For a class with an `_is_stale` of its own: ask it, as playhouse does, and nobody else."""

    def is_alive(self, connection: Any) -> bool:
        return super().is_alive(connection) and not self._is_stale(connection)

    def reset(self, connection: Any) -> bool:
        return not self._is_stale(connection) and super().reset(connection)

    def _is_stale(self, connection: Any) -> bool:
        database = self.database
        database._believe()
        leases = database._runtime.state.in_use.values()
        created = [lease.entry.created for lease in leases if lease.entry.connection is connection]
        return bool(database._stale_timeout and created and database._is_stale(created[0]))


class _Session:
    """What a thread has of a database: its handle, used again from turn to turn; those of
    further leases, by `conn_key`; and peewee's own state of the thread.

    `state` is a plain object that shares the attributes of `Database._state`: those of a
    `threading.local` take three times as long to reach, and there are a dozen per turn. Of a
    class that is not peewee's nothing is known, so it is used itself."""

    def __init__(self, state: Any, runtime: Runtime, shared: bool) -> None:
        self.first = Handle(runtime)
        self.first.ended = not shared  # threads that share a session each need their own
        self.others: dict[Any, Handle] = {}
        self.thread = None if shared else introduce()
        self.arriving: Handle | None = None  # that of the last `connect`, until it succeeded
        self.given = self.state = state
        if type(state) in (peewee._ConnectionLocal, peewee._ConnectionState):
            self.state = object.__new__(peewee._ConnectionState)
            self.state.__dict__ = state.__dict__

    def handles(self) -> list[Handle]:
        """Those with a lease."""
        first = [self.first] if self.first.ticket and not self.first.ended else []
        return [*first, *self.others.values()]

    def abandon(self) -> None:
        """What was lent to a `connect` that did not succeed goes back."""
        handle = self.arriving
        if handle is not None and not handle.ended:
            handle.runtime.lose(handle)
            self.drop(handle)

    def drop(self, handle: Handle) -> None:
        """Without a word to the pool."""
        handle.ended, handle.held = True, None
        self.others = {key: other for key, other in self.others.items() if other is not handle}


class _SessionPerThread(threading.local):
    def __init__(self, state: Any, runtime: Runtime) -> None:
        self.mine = _Session(state, runtime, shared=False)


class _SharedSession:
    """For `thread_safe=False`, where all threads share one connection."""

    def __init__(self, state: Any, runtime: Runtime) -> None:
        self.mine = _Session(state, runtime, shared=True)


class PooledDatabase(playhouse.pool.PooledDatabase):  # type: ignore[misc]  # peewee has no types
    """`playhouse.pool.PooledDatabase`, over a pool that is fair and loses nothing. Thread-safe.

    `max_connections`: 0 or None for no limit. `stale_timeout`: seconds after which a connection is
    not lent again, counted from when it was made. `timeout`: seconds to wait for a
    connection; None raises at once, 0 waits for ever. Waiting in vain raises
    `MaxConnectionsExceeded`, a `ValueError`.
    """

    def __init__(
        self,
        database: Any,
        max_connections: Any = 20,
        stale_timeout: Any = None,
        timeout: Any = None,
        **kwargs: Any,
    ) -> None:
        self._judges = type(self)._is_stale is not playhouse.pool.PooledDatabase._is_stale
        driver = _StaleDriver(self) if self._judges else _Driver(self)
        self._runtime = Runtime(
            driver,
            Limits(idle_order="oldest"),
            check_after=-math.inf,  # all are asked, also when the clock was put back meanwhile
            clock=_wall_clock,
            jitter=float,  # 0.0: a connection lives exactly as long as `stale_timeout` says
        )
        self._mirror: Mirror | None = None
        self.__available: tuple[Any, threading.Condition] | None = None
        self._lock_is_known = False  # to somebody who may hold it while it connects
        self.conn_key: Callable[[Any], Any] = id
        self._max_connections = make_int(max_connections)
        self._stale_timeout = make_int(stale_timeout)
        self._wait_timeout = _wait_timeout(timeout)
        super(playhouse.pool.PooledDatabase, self).__init__(database, **kwargs)
        self._sessions: dict[int, Any] = {}
        self._session_of(self._state)
        self._runtime.on_fork = self._after_fork  # last: it needs all of the above

    def init(
        self,
        database: Any,
        max_connections: Any = None,
        stale_timeout: Any = None,
        timeout: Any = None,
        **connect_kwargs: Any,
    ) -> None:
        """As `Database.init`; pool settings that are None stay as they are."""
        super(playhouse.pool.PooledDatabase, self).init(database, **connect_kwargs)
        if max_connections is not None:
            self._max_connections = make_int(max_connections)
        if stale_timeout is not None:
            self._stale_timeout = make_int(stale_timeout)
        if timeout is not None:
            self._wait_timeout = _wait_timeout(timeout)

    def _session_of(self, state: Any) -> _Session:
        """This thread's session with this `_state`, which is the one from now on: programs put
        one of their own in place, such as one for each asyncio task."""
        kind = _SessionPerThread if self.thread_safe else _SharedSession
        self._session = self._sessions.setdefault(id(state), kind(state, self._runtime))
        session: _Session = self._session.mine
        return session

    # ------------------------------------------------------------ connect and close

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Borrow a connection for this thread. False if it has one and `reuse_if_open`.

        Raises `MaxConnectionsExceeded` if there is none to be had in time, a peewee error
        if the driver cannot connect or this thread already has a connection.
        """
        if self.deferred:
            raise peewee.InterfaceError(_NOT_INITIALIZED)
        session = self._session.mine
        if session.given is not self._state:
            session = self._session_of(self._state)
        state = session.state
        if not state.closed:
            if reuse_if_open:
                return False
            raise peewee.OperationalError("Connection already opened.")
        session.arriving = None
        try:
            connection = self._connect()
            if state.ctx or state.transactions or state.commit_callbacks:
                state.set_connection(connection)
            else:  # the same, but for making three lists again that are empty already
                state.conn, state.closed = connection, False
            if self.server_version is None:
                self._set_server_version(connection)
            self._initialize_connection(connection)
        except BaseException as error:
            if state.closed or not isinstance(error, Exception):
                state.reset()
                session.abandon()
            _errors.__exit__(type(error), error, error.__traceback__)
            raise
        return True

    def close(self) -> bool:
        """Give this thread's connection back. False if it had none. Raises
        `OperationalError` inside a transaction."""
        session = self._session.mine
        if session.given is not self._state:
            session = self._session_of(self._state)
        state = session.state
        if self.deferred or state.transactions:
            self._check_may_close()
        is_open = not state.closed
        try:
            if is_open:
                self._close(state.conn)
        except BaseException as error:
            for handle in session.handles():
                if handle.held is state.conn:  # interrupted before it was given back
                    self._runtime.lose(handle)
                    session.drop(handle)
            _errors.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            if state.ctx or state.transactions or state.commit_callbacks:
                state.reset()
            else:  # the same, as in `connect`
                state.closed, state.conn = True, None
        return is_open

    def _check_may_close(self) -> None:
        if self.deferred:
            raise peewee.InterfaceError(_NOT_INITIALIZED)
        if self.in_transaction():
            raise peewee.OperationalError("Attempting to close database while transaction is open.")

    def _connect(self) -> Any:
        timeout = self._wait_timeout
        if not timeout:
            timeout = 0
        elif timeout == _INFINITY:
            timeout = None
        if self._lock_is_known and self._runtime.lock._is_owned():
            timeout = 0  # who holds `_pool_lock` cannot wait: nobody could return anything
        session = self._session.mine
        handle = session.first if session.first.ended else Handle(self._runtime)
        session.arriving = handle
        try:
            thread = session.thread or introduce()
            taker = thread.taker
            if taker.name is not thread.known._name:
                taker = thread.rename()
            self._runtime.acquire(timeout, taker, handle)
        except PoolTimeout as error:
            text = "Max connections exceeded, timed out attempting to connect"
            if timeout == 0:
                text = "Exceeded maximum connections"
            raise MaxConnectionsExceeded(f"{text}: {error}") from None
        except PoolForked:  # `dispose()` wakes those who wait: they begin again
            return self._connect()
        if handle is not session.first:
            session.others[self.conn_key(handle.held)] = handle
        return handle.held

    def _open(self) -> Any:
        """A new connection of the driver's."""
        return super(playhouse.pool.PooledDatabase, self)._connect()

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        session = self._session.mine
        handle: Handle | None = session.first
        if session.first.held is not conn or session.first.ended:
            handle = session.others.pop(self.conn_key(conn), None)
        ended = False
        if handle is not None:
            ended = self._runtime.discard(handle) if close_conn else self._runtime.release(handle)
            handle.held = None  # it may be kept for the next turn, the connection is not
        if not ended:
            ended = self._end_lease_of_another(conn, close_conn)
            if close_conn and not ended:
                self._close_raw(conn)

    def _end_lease_of_another(self, conn: Any, close_conn: bool) -> bool:
        """For a connection that this thread did not borrow, or whose lease was ended: another
        thread did, or the user put it into `_in_use`. Whether there was such a lease."""
        self._believe()
        runtime, key = self._runtime, self.conn_key(conn)
        for lease in runtime.state.in_use.values():
            if self.conn_key(lease.entry.connection) == key:
                handle = Handle(runtime)
                handle.ticket, handle.key = lease.ticket, lease.entry.key
                handle.held = conn
                return runtime.discard(handle) if close_conn else runtime.release(handle)
        return False

    def _believe(self) -> None:
        """Before the state is looked at: tell it what the user changed in what it showed."""
        if self._mirror is not None:
            self._runtime.apply(Adopt(self._runtime.clock()))

    # ------------------------------------------------------------ housekeeping

    def manual_close(self) -> bool | None:
        """Close this thread's connection for good; it is closed on return. False if it has none."""
        if self.is_closed():
            return False
        self._check_may_close()
        self._close(self.connection(), close_conn=True)
        self.close()
        return None

    def close_idle(self) -> None:
        """Close every idle connection; they are closed on return."""
        self._runtime.apply(CloseIdle(self._runtime.clock()))

    def close_stale(self, age: float = 600) -> int:
        """Close connections borrowed more than `age` seconds ago, in use or not; how many."""
        now = self._runtime.clock()
        effects = self._runtime.apply(CloseStale(now, now - age))
        return sum(type(effect) is Close and effect.reason == "stale" for effect in effects)

    def close_all(self) -> None:
        """Close every connection, this thread's too; they are closed on return."""
        self._check_may_close()
        self._runtime.apply(CloseAll(self._runtime.clock()))
        self._forget_own()

    def dispose(self) -> None:
        """Forget every connection without closing it: for a process that was forked."""
        super(playhouse.pool.PooledDatabase, self).dispose()
        forgotten = self._runtime.state  # it may end their lives: not under the lock
        self._runtime.apply(Forked(self._runtime.clock()))
        self._forget_own()
        del forgotten

    def _forget_own(self) -> None:
        session = self._session.mine
        for handle in session.handles():
            session.drop(handle)
        self._state.reset()

    def _after_fork(self) -> None:
        if self.thread_safe:
            self._lock = threading.Lock()  # whoever held it is not in this process
        self._forget_own()

    # ------------------------------------------------------------ what programs look at

    @property
    def _max_connections(self) -> Any:
        return self.__max_connections

    @_max_connections.setter
    def _max_connections(self, value: Any) -> None:
        bound = value and value != _INFINITY
        whole = math.ceil(value) if bound and value == value else value or None
        self._configure("max_connections", value, max_size=whole if bound else None)
        self.__max_connections = value

    @property
    def _stale_timeout(self) -> Any:
        return self.__stale_timeout

    @_stale_timeout.setter
    def _stale_timeout(self, value: Any) -> None:
        bound = value and value != _INFINITY
        self._configure("stale_timeout", value, max_lifetime=value if bound else None)
        self.__stale_timeout = value

    def _configure(self, name: str, value: Any, **changes: Any) -> None:
        runtime = self._runtime
        try:
            limits = attrs.evolve(runtime.state.limits, **changes)
        except ValueError:
            raise ValueError(
                f"{name}={value!r}: allowed is a number above 0, or 0 or None"
            ) from None
        if self._judges:  # then the machine must not: it would close what may live on
            limits = attrs.evolve(limits, max_lifetime=None)
        if limits != runtime.state.limits:
            runtime.apply(Configure(runtime.clock(), limits))

    def _mirrored(self) -> Mirror:
        """The mirror of the state: the same until the state changes."""
        runtime = self._runtime
        while True:
            mirror, fields = self._mirror, runtime.fields
            if mirror is not None and mirror.fields is fields:
                return mirror
            fresh = Mirror(fields, self.conn_key)
            for _ in runtime.turnstile:
                try:
                    if runtime.fields is fields and self._mirror is mirror:
                        if runtime.step != self._absorb:  # asked of itself: a blow may part the two
                            self._plain_step, runtime.step = runtime.step, self._absorb
                        self._mirror = fresh
                finally:
                    runtime.lock.release()
                break

    def _absorb(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        """`step`, once a mirror was handed out: first tell the machine what was changed."""
        mirror, step = self._mirror, self._plain_step
        adopt: Adopt | None = None
        first: tuple[Effect, ...] = ()
        try:
            forgets = type(event) is Forked  # and closes nothing, not what was put in either
            if mirror is not None and mirror.fields is self._runtime.fields and not forgets:
                adopt = mirror.difference(event.now)
        finally:
            if adopt is None:  # nothing was changed, or nonsense was put in
                self._mirror, self._runtime.step = None, step
        if adopt is not None:
            state, first = step(state, adopt)
        state, then = step(state, event)
        return state, first + then

    @property
    def _connections(self) -> Any:
        return self._mirrored().connections

    @_connections.setter
    def _connections(self, value: Any) -> None:
        self._mirrored().connections = value

    @property
    def _in_use(self) -> Any:
        return self._mirrored().in_use

    @_in_use.setter
    def _in_use(self, value: Any) -> None:
        self._mirrored().in_use = value

    @property
    def _heap_counter(self) -> int:
        return self._mirrored().heap_counter

    @_heap_counter.setter
    def _heap_counter(self, value: int) -> None:
        self._mirrored().heap_counter = value

    @property
    def _pool_lock(self) -> Any:
        """The pool's own lock, which is re-entrant: while a thread holds it, its own calls pass and
        all others wait."""
        self._lock_is_known = True
        return self._runtime.lock

    @property
    def _pool_available(self) -> threading.Condition:
        lock = self._pool_lock
        if self.__available is None or self.__available[0] is not lock:
            self.__available = lock, threading.Condition(lock)
        return self.__available[1]


def _wall_clock() -> float:
    """`time.time` as it is now, as in playhouse: test suites put another in its place."""
    return time.time()


def _wait_timeout(timeout: Any) -> Any:
    value = make_int(timeout)
    return math.inf if value == 0 else value
