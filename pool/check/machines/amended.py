"""The two that the differential machine compares, and every intended difference.

Theory.  `Ours` and `Theirs` stand over the same scripted driver, each with a clock of its own.
An intended difference is an amendment to playhouse: a few lines in `Amended`, under a name that
`DIFFERENCES` explains and `docs/peewee.md` has a row for.  So what differs is said exactly.

playhouse's module is executed once more, as a private copy whose `time` is a clock that can be
turned: nobody else's playhouse notices.
"""

from __future__ import annotations

import heapq
import importlib.util
import math
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic
from types import ModuleType
from typing import Any

import peewee
import playhouse.pool
from playhouse.pool import MaxConnectionsExceeded

from pool.peewee import PooledDatabase

DIFFERENCES = {
    "dead": (
        "A connection found dead when it would be lent",
        "connecting meets a dead connection: it is closed",
    ),
    "check": (
        "`_is_closed` or `_can_reuse` raises",
        "connecting or returning meets a hook that raises: the connection counts as dead",
    ),
    "interrupted": (
        "An exception out of nowhere (Ctrl-C, a time limit) while connecting or returning",
        "a hook raises what is no `Exception`: the connection at hand is closed, not lost",
    ),
    "asked": (
        "What the hooks are asked",
        "a stale connection is not asked whether it is dead; one that comes back is asked"
        " whether it can be reused before anything else",
    ),
    "transaction": (
        "`manual_close()` inside a transaction",
        "`manual_close` in a transaction: nothing is lost",
    ),
    "close_all": (
        "`close_all()`",
        "`close_all` with a connection that cannot be returned: it is one step",
    ),
    "twice": (
        "`manual_close()` of a connection that was closed meanwhile, by `close_stale()`",
        "`manual_close` of what the pool has closed while it was lent: it is closed once",
    ),
    "exactly": (
        "Stale",
        "lending or returning a connection exactly as old as `stale_timeout`: it is stale",
    ),
    "slow": (
        "The age of a connection",
        "a connect that takes its time: the age counts from its beginning",
    ),
    "text": (
        "The text of `MaxConnectionsExceeded`",
        "no connection to be had: the numbers are told",
    ),
    "impossible": (
        "Settings that cannot be (`max_connections=-1`, `stale_timeout=-1`)",
        "a negative setting, at run time or by `init`: `ValueError`",
    ),
    "surplus": (
        "A lower maximum at run time",
        "more idle connections than the maximum leaves room for: the youngest are closed,"
        " at once or, if they were put in by hand, with the next thing that happens",
    ),
}
"""Every intended difference: its row in `docs/peewee.md`, and when it may appear."""


class Stop(BaseException):
    """Neither an error nor an interruption that anybody knows."""


# ---------------------------------------------------------------- the clock and the driver


class Clock(threading.local):
    """What stands where playhouse's module has `time`. A thread has its own."""

    now = 0.0

    def time(self) -> float:
        return self.now

    monotonic = staticmethod(monotonic)


def _copy(module: ModuleType) -> Any:
    """The module once more, known to nobody, with a `Clock`."""
    spec = importlib.util.find_spec(module.__name__)
    assert spec is not None
    assert spec.loader is not None
    copy: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy.time = Clock()
    copy.MaxConnectionsExceeded = MaxConnectionsExceeded
    return copy


_playhouse = _copy(playhouse.pool)

FAULTS: dict[str, Callable[[], BaseException]] = {
    "peewee's": lambda: sqlite3.OperationalError("away"),
    "another": lambda: OSError("no route"),
    "no Exception": lambda: Stop("now"),
}


class Connection:
    """A connection of a scripted driver. `alive`, `reusable` and `closable` are what its hooks
    answer, or the name of the fault that they raise."""

    def __init__(self, number: int, database: Any) -> None:
        self.number = number
        self.database = database
        self.alive: Any = True
        self.reusable: Any = True
        self.closable: Any = True
        self.moved = False  # by hand

    @property
    def reuse(self) -> Any:
        """A lease that was moved by hand may have left a handle behind. Who is interrupted while
        returning that one keeps the new lease here, and loses it with playhouse: too far-fetched
        for an amendment, so it does not happen."""
        stops = self.reusable == "no Exception"
        return "another" if self.moved and stops else self.reusable

    def cursor(self) -> Connection:
        return self

    def execute(self, sql: str, parameters: Any = ()) -> None:
        self.database.log.append(f"{sql.split()[0]} on {self.number}")
        self.database.stumble("execute")


def answer(script: Any) -> Any:
    if script in FAULTS:
        raise FAULTS[script]()
    return script


class Scripted(peewee.Database):
    """A peewee database whose driver does what it was told to."""

    clock: Clock

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.made: list[Connection] = []
        self.log: list[str] = []
        self.closes: list[int] = []
        self.faults: dict[str, str] = {}
        self.slowness = 0.0
        self.contexts: list[Any] = []
        super().__init__(*arguments, **settings)

    def stumble(self, where: str) -> None:
        """Raise what was planned for the next call, if anything was."""
        if where in self.faults:
            raise FAULTS[self.faults.pop(where)]()

    def make(self) -> Connection:
        connection = Connection(len(self.made) + 1, self)
        self.made.append(connection)
        return connection

    def _connect(self) -> Connection:
        self.clock.now += self.slowness
        self.slowness = 0.0
        self.stumble("connect")
        return self.make()

    def _set_server_version(self, connection: Connection) -> None:
        self.stumble("version")
        self.server_version = connection.number

    def _initialize_connection(self, connection: Connection) -> None:
        self.log.append(f"prepared {connection.number}")
        self.stumble("initialize")

    def _close(self, connection: Connection) -> None:
        self.closes.append(connection.number)
        answer(connection.closable)


class Hooks:
    """What a subclass of a pool has of its own."""

    def _is_closed(self, connection: Connection) -> Any:
        return not answer(connection.alive)

    def _can_reuse(self, connection: Connection) -> Any:
        return answer(connection.reuse)


class Verdict:
    """And what some have."""

    clock: Clock
    _stale_timeout: Any

    def _is_stale(self, timestamp: float) -> bool:
        """Later than others."""
        return bool(self.clock.now - timestamp > 2 * self._stale_timeout)


class OwnState(peewee._ConnectionState):
    """What some put in the place of `_state`."""


# ---------------------------------------------------------------- the two


class Ours(Hooks, PooledDatabase, Scripted):
    """The pool of this project."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.clock = Clock()
        super().__init__(*arguments, **settings)
        self._purepool.runtime.clock = self.clock.time


class Amended(_playhouse.PooledDatabase):  # type: ignore[misc,name-defined]
    """playhouse's pool with the intended differences, each where it belongs."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.without: frozenset[str] = frozenset()
        self.differences: Counter[str] = Counter()
        self.borrowed: set[Any] = set()
        self.ended: set[Any] = set()
        """Keys of connections that `close_stale` closed while they were lent."""
        self.closes_for_good: Any = None
        """The key of what `manual_close` is about to close."""
        super().__init__(*arguments, **settings)

    def differs(self, name: str) -> bool:
        """Here is an intended difference. False if it is left out, to see that it is missed."""
        if name in self.without:
            return False
        self.differences[name] += 1
        return True

    # Hooks

    def _is_closed(self, connection: Any) -> Any:
        try:
            dead = super()._is_closed(connection)
        except Exception:
            if not self.differs("check"):
                raise
            dead = True
        except BaseException:
            if self.differs("interrupted"):
                self._close_raw(connection)
            raise
        if dead and self.differs("dead"):
            self._close_raw(connection)
        return dead

    def _can_reuse(self, connection: Any) -> Any:
        try:
            return super()._can_reuse(connection)
        except Exception:
            if not self.differs("check"):
                raise
            return False
        except BaseException:
            if self.differs("interrupted"):
                self._close_raw(connection)
            raise

    def _is_stale(self, timestamp: float) -> Any:
        exactly = self.clock.now - timestamp == self._stale_timeout
        return super()._is_stale(timestamp) or (exactly and self.differs("exactly"))

    # Connecting

    def connect(self, reuse_if_open: bool = False) -> Any:
        try:
            return super().connect(reuse_if_open)
        except Exception:
            raise
        except BaseException:
            if not self.is_closed() and self.differs("interrupted"):
                connection = self._state.conn
                self._in_use.pop(self.conn_key(connection), None)
                self._state.reset()
                self._close_raw(connection)
            raise

    def _connect(self) -> Any:
        self.trim()
        self.close_stale_before_they_stop()
        began, made = self.clock.now, len(self.made)
        connection = super()._connect()
        key = self.conn_key(connection)
        self.borrowed.add(key)
        self.ended.discard(key)
        if len(self.made) > made and self.clock.now > began and self.differs("slow"):
            self._in_use[key] = self._in_use[key]._replace(timestamp=began)
        return connection

    def close_stale_before_they_stop(self) -> None:
        """Where asking a stale connection would stop everything, and only there, it shows."""
        stale = [one[2] for one in self._connections if self.is_out_of_date(one[0])]
        if any(connection.alive == "no Exception" for connection in stale) and self.differs(
            "asked"
        ):
            while self._connections and self._connections[0][2] in stale:
                self._close_raw(heapq.heappop(self._connections)[2])

    def is_out_of_date(self, timestamp: float) -> Any:
        return self._stale_timeout and not isinstance(self, Verdict) and self._is_stale(timestamp)

    # Returning and closing

    def _close(self, connection: Any, close_conn: bool = False) -> None:
        key = self.conn_key(connection)
        lease = self._in_use.get(key)
        if not close_conn and connection.reuse == "no Exception":
            stale = lease is not None and self.is_out_of_date(lease.timestamp)
            lost = lease is None and key in self.borrowed
            if (stale or lost) and self.differs("asked"):
                self.borrowed.discard(key)
                self.trim()
                self._in_use.pop(key, None)
                if stale:
                    self._close_raw(connection)
                answer(connection.reuse)
        self.borrowed.discard(key)
        self.trim()
        ended = key in self.ended and not self.is_back(key)
        if self.closes_for_good is None:
            self.ended.discard(key)
        if not (ended and close_conn and self.differs("twice")):
            super()._close(connection, close_conn)
        self.trim()

    def _close_raw(self, connection: Any) -> None:
        key = self.conn_key(connection)
        again = self.closes_for_good == key and key in self.ended
        if not (again and self.differs("twice")):
            super()._close_raw(connection)

    def manual_close(self) -> Any:
        if not self.is_closed() and self.in_transaction() and self.differs("transaction"):
            return self.close()  # which raises
        if not self.is_closed():
            self.borrowed.discard(self.conn_key(self._state.conn))
            self.trim()
        key = None if self.is_closed() else self.conn_key(self._state.conn)
        if self.is_back(key):
            self.ended.discard(key)
        self.closes_for_good = key
        try:
            return super().manual_close()
        finally:
            self.closes_for_good = None
            self.ended.discard(key)

    def is_back(self, key: Any) -> bool:
        """Whether somebody has put it by hand where lent or idle ones are."""
        idle = (self.conn_key(entry[2]) for entry in self._connections)
        return key in self._in_use or key in idle

    def close_idle(self) -> None:
        self.trim()
        super().close_idle()

    def close_stale(self, age: float = 600) -> Any:
        self.trim()
        lent = self.borrowed & set(self._in_use)
        count = super().close_stale(age)
        self.ended |= lent - set(self._in_use)
        return count

    def close_all(self) -> None:
        if not (self.is_closed() or self.deferred or self.in_transaction()):
            key = self.conn_key(self._state.conn)
            self.borrowed.discard(key)
            stops = key in self._in_use and self._state.conn.reuse == "no Exception"
            if stops and self.differs("close_all"):
                self._state.reset()
        super().close_all()
        self.borrowed.clear()
        self.ended.clear()

    def dispose(self) -> None:
        super().dispose()
        self.borrowed.clear()
        self.ended.clear()

    # Settings

    @property
    def _max_connections(self) -> Any:
        return self.__max_connections

    @_max_connections.setter
    def _max_connections(self, value: Any) -> None:
        self.refuse_impossible("max_connections", value)
        before = vars(self).get("_Amended__max_connections", value)
        if math.ceil(before or 0) != math.ceil(value or 0):
            self.trim()  # what was put in by hand is told first
            self.__max_connections = value
            self.trim()
        self.__max_connections = value

    @property
    def _stale_timeout(self) -> Any:
        return self.__stale_timeout

    @_stale_timeout.setter
    def _stale_timeout(self, value: Any) -> None:
        self.refuse_impossible("stale_timeout", value)
        before, self.__stale_timeout = vars(self).get("_Amended__stale_timeout", value), value
        if (before or None) != (value or None) and not isinstance(self, Verdict):
            self.trim()

    def refuse_impossible(self, name: str, value: Any) -> None:
        if value is not None and not value >= 0 and self.differs("impossible"):
            raise ValueError(f"{name}={value!r}: allowed is a number above 0, or 0 or None")

    def trim(self) -> None:
        """Close what is idle above the maximum."""
        most = math.ceil(self._max_connections or 0)
        while most and self._connections and len(self._connections) + len(self._in_use) > most:
            if not self.differs("surplus"):
                return
            youngest = max(self._connections)
            self._connections.remove(youngest)
            heapq.heapify(self._connections)
            self._close_raw(youngest[2])

    def explain(self, text: str) -> str:
        """What `MaxConnectionsExceeded` says."""
        if not self.differs("text"):
            return text
        most = math.ceil(self._max_connections)
        used, idle = len(self._in_use), len(self._connections)
        numbers = f"max {most}, in use {used}, idle {idle}, opening 0, waiting 0"
        return f"{text.rstrip('.')}: ... ({numbers}"


class Theirs(Amended, Hooks, _playhouse.PooledDatabase, Scripted):  # type: ignore[misc,name-defined]
    """playhouse's pool, amended."""

    clock = _playhouse.time


class OursWithVerdict(Verdict, Ours):
    """The same, with a subclass that decides itself what is stale."""


class TheirsWithVerdict(Verdict, Theirs):
    """The same, with a subclass that decides itself what is stale."""
