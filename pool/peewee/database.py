"""`PooledDatabase`: playhouse's class with the pool replaced.

Theory.  It inherits from its namesake, so `isinstance` checks, the driver hooks (`_is_closed`,
`_can_reuse`, `_close_raw`) and `except MaxConnectionsExceeded` clauses hold.  Whatever playhouse's
pool and `peewee.Database` call on `self`, so that a subclass may have its own, is called here with
the same arguments and in the same order.  The pool behind it is `pool.threads.runtime` with
`opener="caller"`: no thread is ever started, and whoever has to connect does it itself.

`peewee.Database.connect()` and `close()` hold `Database._lock` around `_connect` and
`_close`, which makes all I/O serial and would make a wait a deadlock.  So both are
written out here without it, and otherwise exactly as there.

There is nothing here but what programs know of playhouse's pool; all else is behind `_purepool`:
whose a lease is (`pool.peewee.leases`), how one waits (`arrivals`), what is shown of `_connections`
and `_in_use` (`mirror`), and what holds it together (`adapter`).

Where this pool differs from playhouse on purpose, `docs/peewee.md` says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import peewee
from playhouse.pool import MaxConnectionsExceeded
from playhouse.pool import PooledDatabase as Stock  # for good: others may take its name later

from pool.core.effects import Close
from pool.core.events import CloseStale
from pool.peewee.adapter import UNNAMED, Adapter
from pool.peewee.leases import ARRIVING, Session
from pool.shared.holders import Holding, holdings
from pool.shared.listeners import Kind, Listener
from pool.shared.observation import made
from pool.statistics import Statistics, statistics_of

if TYPE_CHECKING:
    from threading import Condition

_errors = peewee.__dict__["__exception_wrapper__"]  # driver errors become peewee's
_NOT_INITIALIZED = "Error, database must be initialized before opening a connection."
_WHILE_IN_TRANSACTION = "Attempting to close database while transaction is open."
_WITHIN_CONNECT = (
    "Connection is being opened: called from inside connect() of the same thread, by a signal's "
    "handler, a finalizer or a hook"
)


def _setting(name: str) -> Any:
    """What the pool is asked for, and told, under another name."""
    return property(
        lambda self: getattr(self._purepool, name),
        lambda self, value: self._purepool.configure(name, value),
    )


def _mirrored(name: str) -> Any:
    """What is shown of the pool's state, and believed when it was changed."""
    return property(
        lambda self: getattr(self._purepool.mirrored(), name),
        lambda self, value: setattr(self._purepool.mirrored(), name, value),
    )


class PooledDatabase(Stock):  # type: ignore[misc]  # peewee has no types
    """`playhouse.pool.PooledDatabase`, over a pool that is fair and loses nothing. Thread-safe.

    `database`: as peewee's own: a name, or None for one that is given later by `init`.
    `max_connections`: 0 or None for no limit. `stale_timeout`: seconds after which a connection is
    not lent again, counted from when it was made. `timeout`: seconds to wait for a
    connection; None raises at once, 0 waits for ever; then `MaxConnectionsExceeded`, a
    `ValueError`. `leak_after`: a connection held for so many seconds is reported once, with the
    stack of its holder, and errors name the lines that took the connections; None for never.

    Raises `ValueError` for a setting that is not allowed, naming it.
    """

    def __init__(
        self,
        database: Any,
        max_connections: Any = 20,
        stale_timeout: Any = None,
        timeout: Any = None,
        *,
        leak_after: Any = None,
        **kwargs: Any,
    ) -> None:
        self._purepool = own = Adapter(self)
        self.conn_key: Callable[[Any], Any] = id
        own.configure("max_connections", max_connections)
        own.configure("stale_timeout", stale_timeout)
        own.configure("timeout", timeout)
        own.configure("leak_after", leak_after)
        super(Stock, self).__init__(database, **kwargs)
        own.runtime.on_fork = own.after_fork  # last: it needs all of the above
        made(self)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _HOOKS:  # as suites of tests do
            self._purepool.patched = True

    def init(
        self,
        database: Any,
        max_connections: Any = None,
        stale_timeout: Any = None,
        timeout: Any = None,
        *,
        leak_after: Any = None,
        **connect_kwargs: Any,
    ) -> None:
        """As `Database.init` with this `database`; pool settings that are None (`max_connections`,
        `stale_timeout`, `timeout`, `leak_after`) stay as they are."""
        super(Stock, self).init(database, **connect_kwargs)
        self._purepool.configure_all(
            max_connections=max_connections,
            stale_timeout=stale_timeout,
            timeout=timeout,
            leak_after=leak_after,
        )

    # ------------------------------------------------------------ connect and close

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Borrow a connection for the owner of `_state`. False if it has one and `reuse_if_open`.

        Raises `MaxConnectionsExceeded` if there is none to be had in time, a peewee error
        if the driver cannot connect or there is a connection already.
        """
        if self.deferred:
            raise peewee.InterfaceError(_NOT_INITIALIZED)
        own, state = self._purepool, self._state
        try:
            session = own.sessions.__dict__["session"]
            if session.given is not state:
                session = own.owners.session(state)
        except KeyError:
            session = own.owners.session(state)
        state, leases = session.state, session.leases
        if not state.closed:
            if reuse_if_open:
                return False
            raise peewee.OperationalError("Connection already opened.")
        if leases.arriving is not None and _is_within(PooledDatabase.connect, session):
            raise peewee.OperationalError(_WITHIN_CONNECT)
        try:
            leases.arriving = ARRIVING
            if not state.closed:  # since it was asked, a signal's handler has connected
                leases.arriving = None
                return PooledDatabase.connect(self, reuse_if_open)
            began = own.begin_checkout() if own.told else 0.0
            plain = session.plain
            if not plain or state.ctx or state.transactions or state.commit_callbacks:
                state.reset()
            is_ours = type(self)._connect is _CONNECT and not own.patched
            if plain and own.runtime.monitor.current[0][2]:  # something is idle: no need to queue
                try:
                    connection = own.lend(leases) if is_ours else self._connect()
                except MaxConnectionsExceeded:  # another was quicker
                    connection = own.arrivals.connect(leases, is_ours)
            else:
                connection = own.arrivals.connect(leases, is_ours)
            if plain:  # as `set_connection`, but for making three lists that are empty already
                state.conn, state.closed = connection, False
            else:
                state.set_connection(connection)
                own.owners.settle(state, leases, connection)
            if self.server_version is None:
                self._set_server_version(connection)
            self._initialize_connection(connection)
            if began:
                own.end_checkout(connection, began, leases.arriving)
            leases.arriving = None
        except BaseException as error:
            own.give_up_arrival(leases, error)
            _errors.__exit__(type(error), error, error.__traceback__)
            raise
        return True

    def close(self) -> bool:
        """Give this owner's connection back. False if it had none. Raises
        `OperationalError` inside a transaction."""
        if self.deferred:
            raise peewee.InterfaceError(_NOT_INITIALIZED)
        own, kind, state = self._purepool, type(self), self._state
        try:
            session = own.sessions.__dict__["session"]
            if session.given is not state:
                session = own.owners.session(state)
        except KeyError:
            session = own.owners.session(state)
        state, leases = session.state, session.leases
        if (
            state.transactions or kind.in_transaction is not _IN_TRANSACTION or own.patched
        ) and self.in_transaction():
            raise peewee.OperationalError(_WHILE_IN_TRANSACTION)
        if leases.leaving and _is_within(PooledDatabase.close, session):
            return False  # a signal's handler: what it interrupted gives the connection back
        outer = leases.leaving
        try:
            leases.leaving = True
            is_open = not state.closed
            if is_open:
                if kind._close is _CLOSE and not own.patched:
                    own.closing.close(leases, state.conn)
                else:
                    self._close(state.conn)
        except BaseException as error:
            own.closing.give_up(state)
            _errors.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            if not session.plain or state.ctx or state.transactions or state.commit_callbacks:
                state.reset()
            else:  # the same, as in `connect`
                state.closed, state.conn = True, None
            leases.leaving = outer
        return is_open

    def _connect(self) -> Any:
        """A connection, if one is to be had; waits for nobody. Raises `MaxConnectionsExceeded`."""
        own = self._purepool
        arrival = own.arrivals.here() if own.by_thread else None
        try:
            session = arrival or own.sessions.__dict__["session"]
            leases = session.leases
            if leases.arriving is not ARRIVING:
                leases = own.owners.nobody  # somebody calls it himself
        except KeyError:
            leases = own.owners.nobody
        return own.lend(leases, arrival)

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        self._purepool.closing.close(None, conn, close_conn)

    # ------------------------------------------------------------ housekeeping

    def manual_close(self) -> bool | None:
        """Close this owner's connection for good; it is closed on return. False if it has none.
        Raises `OperationalError` inside a transaction, where nothing changes."""
        if self.is_closed():
            return False
        own, state = self._purepool, self._state
        if _is_within(PooledDatabase.close, own.owners.session(state)):
            return False  # as in `close`
        connection = self.connection()
        if own.closing.manual_close(connection):
            PooledDatabase._close(self, connection, True)
        return None

    def close_idle(self) -> None:
        """Close every idle connection; they are closed on return."""
        self._purepool.closing.close_idle()

    def close_stale(self, age: float = 600) -> int:
        """Close connections borrowed more than `age` seconds ago, in use or not; how many."""
        runtime = self._purepool.runtime
        now = runtime.clock()
        effects = runtime.apply(CloseStale(now, now - age))
        return sum(type(effect) is Close and effect.reason == "stale" for effect in effects)

    def close_all(self) -> None:
        """Close every connection, this owner's too; they are closed on return. Raises
        `OperationalError` inside a transaction, where nothing changes."""
        self._purepool.closing.close_all()

    def dispose(self) -> None:
        """Forget every connection without closing it: for a process that was forked."""
        above = super(Stock, self).dispose
        if above.__func__ is not peewee.Database.dispose:  # which only takes a lock and resets
            above()
        self._purepool.dispose()

    # ------------------------------------------------------------ what an operator sees

    def statistics(self) -> Statistics:
        """The numbers of this instant, frozen."""
        return statistics_of(self._purepool.runtime, self._purepool.label() or UNNAMED)

    def holders(self) -> list[Holding]:
        """Who holds connections right now, those who hold longest first; with the lines of code
        that took them, if `leak_after` is set."""
        runtime = self._purepool.runtime
        return holdings(runtime.state, runtime.clock())

    def listen(self, kind: Kind, function: Listener) -> None:
        """Call `function` with a `pool.Notice` whenever something of this `kind` happens: see
        `Notice.kind`. Raises `ValueError` for another kind. Thread-safe."""
        self._purepool.listen(kind, function)

    # ------------------------------------------------------------ what programs look at

    _max_connections = _setting("max_connections")
    _stale_timeout = _setting("stale_timeout")
    _wait_timeout = _setting("wait_timeout")
    _connections = _mirrored("connections")
    _in_use = _mirrored("in_use")
    _heap_counter = _mirrored("heap_counter")

    @property
    def _pool_lock(self) -> Any:
        return self._purepool.lock()

    @_pool_lock.setter
    def _pool_lock(self, value: Any) -> None:
        self._purepool.replaced["lock"] = value

    @property
    def _pool_available(self) -> Condition:
        return self._purepool.available()

    @_pool_available.setter
    def _pool_available(self, value: Any) -> None:
        self._purepool.replaced["available"] = value


# A hook that nobody has replaced need not be called: what it would do is done at once, which saves
# a tenth of a checkout.
_HOOKS = {"_connect", "_close", "in_transaction"}
_CONNECT = PooledDatabase._connect
_CLOSE = PooledDatabase._close
_IN_TRANSACTION = peewee.Database.in_transaction


def _is_within(method: Any, session: Session) -> bool:
    """Whether this thread is in the middle of this method, with this state."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code is method.__code__:
            other = frame.f_locals.get("session")
            if other is not None and other.given is session.given:
                return True
        frame = frame.f_back
    return False
