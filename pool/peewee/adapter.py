"""What a pooled database has of ours, behind the one attribute `_purepool`.

Theory.  A database is the program's: subclasses add attributes and methods of any name. So all that
this pool needs is here: the runtime with what it asks of a driver, the owners of leases, who waits,
the settings as limits, the mirror that is shown, and what is told to listeners and the log.

The logger `peewee.pool` gets at DEBUG what playhouse's pool says there, word for word.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import threading
import time
from typing import Any

import attrs
import peewee
import playhouse.pool
from playhouse.pool import PooledDatabase as Stock  # for good: others may take its name later

from pool.core.effects import Close, Effect, Leaked
from pool.core.events import Adopt, Configure, Event, Forked, Tick
from pool.core.limits import Limits
from pool.core.outlook import next_look
from pool.core.state import State, lease_of, leased
from pool.peewee import settings
from pool.peewee.arrivals import Arrival, Arrivals, exceeded
from pool.peewee.closing import Closing
from pool.peewee.leases import Leases, Owners
from pool.peewee.mirror import Mirror
from pool.shared.errors import PoolForked, PoolTimeout
from pool.shared.handles import Handle
from pool.shared.holders import Holder, TracedHolder, introduce, lines_here
from pool.shared.journal import Journal
from pool.shared.listeners import Kind, Listener, Listeners
from pool.threads.runtime import Runtime

logger = logging.getLogger("peewee.pool")

LOOK_EVERY = 1.0
"""Seconds between two looks at connections that are held for long, if somebody wants to know."""

LOCK_WITHIN = 0.02
"""Seconds to wait for the lock with a look: no transition takes so long, only a user of
`_pool_lock` does, and playhouse's attributes can be read meanwhile."""

_PEEWEE = (peewee.__file__, *playhouse.__path__)


class Driver:
    """What the runtime asks of a database: the hooks of its class, none under a lock."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.database = adapter.database
        self.failed_connects = self.waits = 0
        self._failures, self._waits = itertools.count(1), itertools.count(1)

    def count_wait(self) -> None:
        self.waits = next(self._waits)

    def connect(self) -> Any:
        began = time.monotonic()
        listeners = self.adapter.listeners
        try:
            connection = super(Stock, self.database)._connect()  # type: ignore[misc]  # a subclass
        except Exception as error:
            self.failed_connects = next(self._failures)
            listeners.tell("connect_failed", error=error, seconds=time.monotonic() - began)
            raise
        self.adapter.log("Created new connection %s.", connection)
        listeners.tell("connect", connection=connection, seconds=time.monotonic() - began)
        return connection

    def is_alive(self, connection: Any) -> bool:
        if self.database._is_closed(connection):
            self.adapter.log("Connection %s was closed, discarding.", connection)
            return False
        if self.adapter.stale_timeout and self.adapter.is_stale(connection):
            self.adapter.log("Connection %s was stale, closing.", connection)
            return False
        return True

    def reset(self, connection: Any) -> bool:
        if self.adapter.stale_timeout and self.adapter.is_stale(connection):
            self.adapter.log("Closing stale connection %s on check-in.", connection)
            return False
        if not self.database._can_reuse(connection):
            self.adapter.log("Connection %s not reusable, closing.", connection)
            return False
        return True

    def close(self, connection: Any) -> None:
        self.database._close_raw(connection)


class Lock:
    """The pool's lock, as a program has it: who leaves it sees to what was noted meanwhile."""

    def __init__(self, adapter: Adapter, monitor: Any) -> None:
        self.monitor = monitor
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        """Whatever else a lock has: each Python's `threading.Condition` asks for other things."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.monitor.lock, name)

    def __enter__(self) -> bool:
        return bool(self.monitor.lock.acquire())

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self.monitor.lock.release()
        self._adapter.has_left(self.monitor)

    def _release_save(self) -> Any:
        kept = self.monitor.lock._release_save()
        self._adapter.has_left(self.monitor)
        return kept


UNNAMED = "database"
"""In the place of a name that is no text, or in which there can be a password."""


class Adapter:
    """The pool of one database. Thread-safe."""

    def __init__(self, database: Stock) -> None:
        self.database = database
        self.patched = False
        """Whether hooks of this very database were replaced."""
        self.journal = Journal(UNNAMED)
        self.listeners = Listeners(self.journal, None)
        self.runtime = Runtime(
            Driver(self),
            Limits(idle_order="oldest"),
            check_after=-math.inf,  # all are asked, also when the clock was put back meanwhile
            clock=_wall_clock,
            jitter=float,  # 0.0: a connection lives exactly as long as `stale_timeout` says
        )
        self.runtime.on_close = self._report_close
        self.runtime.on_leak = self._report_leak
        self.owners = Owners(self.runtime)
        self.sessions = self.owners.sessions
        self.arrivals = Arrivals(self)
        self.by_thread = self.arrivals.by_thread
        self.closing = Closing(self)
        self.doomed = self.closing.doomed
        self.max_connections: Any = None
        self.stale_timeout: Any = None
        self.wait_timeout: Any = None
        self.tracks = False
        """Whether somebody wants to know who holds connections for long."""
        self.told = False
        """Whether that, or a listener, makes a checkout more than ordinary."""
        self.hears_returns = False
        self.judges = type(database)._is_stale is not Stock._is_stale
        """Whether the class decides itself what is stale; then nobody else does."""
        self.is_lock_known = False
        """To somebody who may hold it while connecting."""
        self.replaced: dict[str, Any] = {}
        """What programs put in the place of playhouse's lock and condition."""
        self.forgotten: set[int] = set()
        """Keys of leases that a user took out of `_in_use`, until they are closed."""
        self.returning: dict[int, Any] = {}
        """By identity, what is being given back, for the log."""
        self._available: threading.Condition | None = None
        self._lock: Lock | None = None
        self._mirror: Mirror | None = None
        self._plain_step = self.runtime.step
        self._next_look = 0.0

    # ------------------------------------------------------------ borrowing

    def lend(self, leases: Leases, arrival: Arrival | None = None) -> Any:
        """What `_connect` does, for this owner. Raises `MaxConnectionsExceeded`."""
        try:
            if arrival is None or (handle := self.arrivals.take(arrival)) is None:
                handle = leases.first if leases.first.ended else Handle(self.runtime)
                if leases.arriving:
                    leases.arriving = handle
                thread = leases.thread or introduce()
                owner = thread.taker
                if self.tracks or owner.name is not thread.known._name:
                    owner = self.owner(handle)
                self.runtime.acquire(0, owner, handle)
        except PoolForked:  # `dispose()` wakes those who wait: they begin again
            return self.database._connect()
        except PoolTimeout as error:
            raise exceeded(error) from None
        if arrival is not None:
            arrival.got = True
        connection = handle.held
        if handle is not leases.first:
            leases.keep(handle)
        return connection

    def patience(self) -> float | None:
        """How many seconds a caller may wait now: 0 not at all, None for ever."""
        if self.is_lock_known and self.runtime.monitor.lock._is_owned():
            return 0  # who holds `_pool_lock` cannot wait: nobody could return anything
        return settings.patience(self.wait_timeout)

    def owner(self, handle: Handle) -> Any:
        """Whom the machine is told: the thread, and its lines of code if somebody wants to know."""
        thread = introduce()
        taker = thread.taker
        if taker.name is not thread.known._name:
            taker = thread.rename()
        if not self.tracks:
            return taker
        holder = TracedHolder(handle, self.runtime.lost)
        holder.taker = taker
        lines = lines_here()
        while lines and lines[0][0].co_filename.startswith(_PEEWEE):
            lines = lines[1:]
        holder.lines = lines
        return holder

    def is_stale(self, connection: Any) -> bool:
        """What `_is_stale` of a subclass, or one put in its place later, says."""
        database = self.database
        if not self.judges and getattr(database._is_stale, "__func__", None) is Stock._is_stale:
            return False  # the machine knows
        self.believe()
        leases = leased(self.runtime.state.in_use).values()
        created = [lease.entry.created for lease in leases if lease.entry.connection is connection]
        return bool(created and database._is_stale(created[0]))

    def give_up_arrival(self, leases: Leases, error: BaseException) -> None:
        """A `connect` did not succeed. What it was lent goes back, unless it is the owner's by
        now, and only what peewee does with a new connection has failed."""
        state = self.database._state
        if state.closed and self.told and isinstance(error, Exception):
            is_ours = isinstance(error, playhouse.pool.MaxConnectionsExceeded)
            reason = getattr(error, "reason", "exhausted") if is_ours else "open_failed"
            self.listeners.tell("refuse", error=error, reason=reason)
        if state.closed or not isinstance(error, Exception):
            state.reset()
            leases.give_up_arrival()
        leases.arriving = None

    def after_fork(self) -> None:
        if self.database.thread_safe:
            self.database._lock = threading.Lock()  # whoever held it is not in this process
        self._available = None
        self.closing.after_fork()
        self.forgotten.clear()
        self.by_thread.clear()
        # A `_state` of somebody's own may be nowhere outside a request: it has nothing to forget.
        with contextlib.suppress(Exception):
            self._forget_own()

    # ------------------------------------------------------------ housekeeping

    def dispose(self) -> None:
        forgotten = self.runtime.state  # it may end their lives: not under the lock
        self.runtime.apply(Forked(self.runtime.clock()))
        self._forget_own()
        del forgotten

    def _forget_own(self) -> None:
        """The pool has taken everything back; so have the owner and `_state`."""
        self.owners.forget_what_ended(self.database._state)
        self.database._state.reset()

    # ------------------------------------------------------------ settings

    def configure_all(self, **given: Any) -> None:
        """All of these that are not None. Raises `ValueError`; then they are as before."""
        numbers = {name: settings.number(name, value) for name, value in given.items()}
        given = {name: value for name, value in numbers.items() if value is not None}
        for name, value in given.items():
            self._limits(name, value, self.runtime.state.limits)
        for name, value in given.items():
            self.configure(name, value)

    def configure(self, name: str, value: Any) -> None:
        """Let this setting be the value, from now on. Raises `ValueError`; then it is as before.
        `wait_timeout` is `timeout` as it is kept: where there is to be no end, infinity."""
        value = settings.number("timeout" if name == "wait_timeout" else name, value)
        runtime = self.runtime
        before = runtime.state.limits
        # What is noted, in the middle of a transition, may change them yet.
        if self._limits(name, value, before) != before or runtime.monitor.inbox:
            now = runtime.clock()
            # Of the state that it meets: others may set something else meanwhile.
            runtime.apply(lambda state: Configure(now, self._limits(name, value, state.limits)))
        if name == "max_connections":
            self.max_connections = value
        elif name == "stale_timeout":
            self.stale_timeout = value
        elif name == "leak_after":
            self.tracks = value is not None
            self._hear()
        else:
            self.wait_timeout = math.inf if value == 0 and name == "timeout" else value

    def _limits(self, name: str, value: Any, limits: Limits) -> Limits:
        """These with this setting. Raises `ValueError` for a value that they do not allow."""
        try:
            limits = attrs.evolve(limits, **settings.limits_of(name, value))
        except ValueError:
            raise settings.refused(name, value) from None
        # What the database judges the machine must not: it would close what may live on.
        return attrs.evolve(limits, max_lifetime=None) if self.judges else limits

    # ------------------------------------------------------------ what is shown

    def mirrored(self) -> Mirror:
        """The mirror of the state: the same until the state changes. Waits for nobody."""
        runtime = self.runtime
        while True:
            mirror, fields = self._mirror, runtime.fields
            if mirror is not None and mirror.fields is fields:
                return mirror
            lock = runtime.monitor.lock
            fresh = Mirror(fields, self.database.conn_key)
            try_lock = functools.partial(lock.acquire, True, LOCK_WITHIN)
            for _ in iter(try_lock, False):
                try:
                    self._show(mirror, fresh)
                finally:
                    lock.release()
                    self.has_left(runtime.monitor)
                break
            else:  # somebody holds `_pool_lock` for long: nothing happens meanwhile
                self._show(mirror, fresh)

    def _show(self, before: Mirror | None, fresh: Mirror) -> None:
        runtime = self.runtime
        if runtime.fields is fresh.fields and self._mirror is before:
            step = runtime.step  # once: a signal's handler may come in between, and look too
            if step != self._absorb:  # asked of itself: an exception may part the two
                self._plain_step, runtime.step = step, self._absorb
            self._mirror = fresh

    def _absorb(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        """`step`, once a mirror was handed out: first tell the machine what was changed."""
        mirror, step = self._mirror, self._plain_step
        adopt: Adopt | None = None
        first: tuple[Effect, ...] = ()
        try:
            forgets = type(event) is Forked  # and closes nothing, not what was put in either
            if mirror is not None and mirror.fields is self.runtime.fields and not forgets:
                adopt = mirror.difference(event.now)
        finally:
            if adopt is None:  # nothing was changed, or nonsense was put in
                # Not `step`: somebody may have begun to observe meanwhile.
                self._mirror, self.runtime.step = None, self._plain_step
        if adopt is not None:
            self.forgotten.update(key for key in adopt.removed if key in state.in_use)
            state, first = step(state, adopt)
        state, then = step(state, event)
        return state, first + then

    def believe(self) -> None:
        """Before the state is looked at: tell it what the user changed in what it showed."""
        if self._mirror is not None:
            self.runtime.apply(Adopt(self.runtime.clock()))

    def lock(self) -> Any:
        """The pool's own lock, which is re-entrant: while a thread holds it, its own calls pass and
        all others wait."""
        self.is_lock_known = True
        monitor = self.runtime.monitor
        if self._lock is None or self._lock.monitor is not monitor:
            self._lock = Lock(self, monitor)
        return self.replaced.get("lock", self._lock)

    def has_left(self, monitor: Any) -> None:
        """This thread had the lock without a transition: what others have noted meanwhile, for it
        was taken, is left to it."""
        if monitor.inbox and not monitor.lock._is_owned():
            self.runtime.see_to_notes(monitor)

    def available(self) -> threading.Condition:
        """A condition over it."""
        if self._available is None:
            self._available = threading.Condition(self.lock())
        available: threading.Condition = self.replaced.get("available", self._available)
        return available

    # ------------------------------------------------------------ what is told

    def log(self, text: str, connection: Any) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(text, self.name_of(connection))

    def label(self) -> str | None:
        """What people call the database, if there can be no password in it."""
        name = self.database.database
        return name if isinstance(name, str) and "=" not in name and ":/" not in name else None

    def listen(self, kind: Kind, function: Listener) -> None:
        self.journal.name = self.label() or UNNAMED
        self.listeners.add(kind, function)
        self._hear()
        self.listeners.catch_up(self.runtime.state, self.runtime.clock())

    def _hear(self) -> None:
        hear = self.listeners.by_kind
        self.told = bool(self.tracks or self.listeners.hears_turns or hear["refuse"])
        self.hears_returns = self.listeners.hears_turns

    def begin_checkout(self) -> float:
        self.look()
        return time.monotonic()

    def end_checkout(self, connection: Any, began: float, handle: Any) -> None:
        if self.listeners.hears_turns:
            waited = time.monotonic() - began
            how = (
                (handle.is_new, handle.has_waited) if isinstance(handle, Handle) else (False, False)
            )
            self.listeners.begin(connection, waited, *how)

    def name_of(self, connection: Any) -> Any:
        """As playhouse's log calls it."""
        try:
            return self.database.conn_key(connection)
        except Exception:  # a function of the user's, of a connection that is closed
            return id(connection)

    def look(self) -> None:
        """Without threads of its own, the one who uses the pool looks after what is held long."""
        if self.tracks and time.monotonic() >= self._next_look:
            runtime, now = self.runtime, self.runtime.clock()
            runtime.apply(Tick(now))
            pause = next_look(runtime.state, now)
            self._next_look = time.monotonic() + min(LOOK_EVERY, pause or LOOK_EVERY)

    def _report_close(self, close: Close) -> None:
        name = self.returning.pop(id(close.connection), None)
        if close.reason == "lifetime" and name is not None:
            logger.debug("Closing stale connection %s on check-in.", name)
        elif close.reason == "lifetime":
            self.log("Connection %s was stale, closing.", close.connection)
        if self.listeners.lent:  # of a lease that nobody has given back
            is_forced = close.reason in ("stale", "close_all")
            self.listeners.end(close.connection, close.reason if is_forced else "lost")
        self.listeners.tell("close", connection=close.connection, reason=close.reason)

    def _report_leak(self, leak: Leaked) -> None:
        stack = leak.owner.stack if isinstance(leak.owner, Holder) else None
        lease = lease_of(self.runtime.state.in_use, leak.key)
        connection = lease.entry.connection if lease else None
        text = "Connection %s has been held for %.1f s; it was taken here:\n%s"
        logger.warning(text, self.name_of(connection), leak.held, stack)
        self.listeners.tell("leak", connection=connection, seconds=leak.held, stack=stack)


def _wall_clock() -> float:
    """`time.time` as it is now, as in playhouse: test suites put another in its place."""
    return time.time()
