"""The differential machine: `pool.peewee` beside `playhouse.pool`, told the same.

Theory.  Two databases, each over a scripted driver and a clock of its own, are given the same
operations.  After each one everything that a program can see must be equal: what was returned
or raised, which connections were made, lent and closed (by the number of their making), what
was executed on them, `_connections`, `_in_use`, the settings and peewee's own state of the
thread.

The intended differences are not exceptions to the comparison.  Each is an amendment to
playhouse: a few lines in `Amended`, under a name that `DIFFERENCES` explains and
`docs/peewee.md` has a row for.  So what differs is said exactly, nothing else may differ, and
an amendment that is taken away must be missed.

playhouse's module is executed once more, as a private copy whose `time` is a clock that the
machine turns: nobody else's playhouse notices.  There is one thread and nobody waits
(`timeout` is None, or over at once), so all is decided by the operations.

Times are multiples of a quarter: sums of such floats are exact.  The text of
`MaxConnectionsExceeded` is compared up to the numbers, for the rest of it names threads and
ages.  How often the hooks are asked is not compared, nor in what order one call closes
several connections.
"""

from __future__ import annotations

import heapq
import importlib.util
import math
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from types import ModuleType
from typing import Any, ClassVar

import peewee
import playhouse.pool
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from playhouse.pool import MaxConnectionsExceeded, PoolConnection

from pool import heap
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


class Different(AssertionError):
    """The two databases differ. `history` leads there; `replay` repeats it."""

    def __init__(self, what: str, settings: dict[str, Any], history: Sequence[tuple[Any, ...]]):
        self.what = what
        self.settings = settings
        self.history = tuple(history)
        lines = [what, "replay(", f"    {settings!r},", "    ["]
        super().__init__("\n".join([*lines, *(f"        {step!r}," for step in history), "    ]", ")"]))


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

    def cursor(self) -> Connection:
        return self

    def execute(self, sql: str, parameters: Any = ()) -> None:
        self.database.log.append(f"{sql.split()[0]} on {self.number}")
        self.database.stumble("execute")


def answer(script: Any) -> Any:
    if script in FAULTS:
        raise FAULTS[script]()
    return script


class Scripted(peewee.Database):  # type: ignore[misc]  # peewee has no types
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
        return answer(connection.reusable)


class Verdict:
    """And what some have."""

    clock: Clock
    _stale_timeout: Any

    def _is_stale(self, timestamp: float) -> bool:
        """Later than others."""
        return self.clock.now - timestamp > 2 * self._stale_timeout


# ---------------------------------------------------------------- the two


class Ours(Hooks, PooledDatabase, Scripted):
    """The pool of this project."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.clock = Clock()
        super().__init__(*arguments, **settings)
        self._runtime.clock = self.clock.time


class Amended(_playhouse.PooledDatabase):  # type: ignore[misc,name-defined]
    """playhouse's pool with the intended differences, each where it belongs."""

    without: ClassVar[frozenset[str]] = frozenset()
    """Differences that are left out, to see that they are missed."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.differences: Counter[str] = Counter()
        self.borrowed: set[Any] = set()
        super().__init__(*arguments, **settings)

    def differs(self, name: str) -> bool:
        """Here is an intended difference. False if it was left out."""
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
        if len(self.made) > made and self.clock.now > began and self.differs("slow"):
            self._in_use[key] = self._in_use[key]._replace(timestamp=began)
        return connection

    def close_stale_before_they_stop(self) -> None:
        """Where asking a stale connection would stop everything, and only there, it shows."""
        stale = [one[2] for one in self._connections if self.is_out_of_date(one[0])]
        if any(connection.alive == "no Exception" for connection in stale) and self.differs("asked"):
            while self._connections and self._connections[0][2] in stale:
                self._close_raw(heapq.heappop(self._connections)[2])

    def is_out_of_date(self, timestamp: float) -> Any:
        return self._stale_timeout and not isinstance(self, Verdict) and self._is_stale(timestamp)

    # Returning and closing

    def _close(self, connection: Any, close_conn: bool = False) -> None:
        key = self.conn_key(connection)
        lease = self._in_use.get(key)
        if not close_conn and connection.reusable == "no Exception":
            stale = lease is not None and self.is_out_of_date(lease.timestamp)
            lost = lease is None and key in self.borrowed
            if (stale or lost) and self.differs("asked"):
                self.borrowed.discard(key)
                self.trim()
                self._in_use.pop(key, None)
                if stale:
                    self._close_raw(connection)
                answer(connection.reusable)
        self.borrowed.discard(key)
        self.trim()
        super()._close(connection, close_conn)
        self.trim()

    def manual_close(self) -> Any:
        if not self.is_closed() and self.in_transaction() and self.differs("transaction"):
            return self.close()  # which raises
        if not self.is_closed():
            self.borrowed.discard(self.conn_key(self._state.conn))
            self.trim()
        return super().manual_close()

    def close_idle(self) -> None:
        self.trim()
        super().close_idle()

    def close_stale(self, age: float = 600) -> Any:
        self.trim()
        return super().close_stale(age)

    def close_all(self) -> None:
        may_close = not (self.is_closed() or self.deferred or self.in_transaction())
        if may_close:
            lease = self._in_use.get(self.conn_key(self._state.conn))
            stops = lease is not None and lease.connection.reusable == "no Exception"
            if stops and self.differs("close_all"):
                self._state.reset()
        super().close_all()
        self.borrowed.clear()

    def dispose(self) -> None:
        super().dispose()
        self.borrowed.clear()

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


# ---------------------------------------------------------------- operations


def step_aside(database: Any, forget: bool) -> None:
    """As peewee's own suite pretends to be another thread; the lease stays."""
    if forget:
        database._state.reset()
    else:
        database._state.closed = True


def borrow(database: Any) -> Any:
    """What a program does that keeps peewee's state out of it."""
    return None if database._wait_timeout else database._connect()


def give_back(database: Any, number: int, close: bool) -> Any:
    return database._close(database.made[number - 1], close)


def enter(database: Any, kind: str) -> None:
    context = {
        "connection": database.connection_context,
        "database": lambda: database,
        "atomic": database.atomic,
        "manual": database.manual_commit,
        "transaction": database.transaction,
    }[kind]()
    context.__enter__()
    database.contexts.append(context)


def leave(database: Any, fault: str | None) -> Any:
    """The end of the innermost `with`, by an error or not."""
    if not database.contexts:
        return None
    error = FAULTS[fault]() if fault else None
    return database.contexts.pop().__exit__(error and type(error), error, None)


def plan(database: Any, where: str, fault: str) -> None:
    """The next call of this kind fails."""
    database.faults[where] = fault


def sicken(database: Any, number: int, hook: str, script: Any) -> None:
    setattr(database.made[number - 1], hook, script)


def later(database: Any, seconds: float) -> None:
    """Time passes, or the clock is put back."""
    database.clock.now += seconds


def slow(database: Any, seconds: float) -> None:
    """The next connect takes so long."""
    database.slowness = seconds


def setting(database: Any, name: str, value: Any) -> None:
    setattr(database, name, value)


def begin_again(database: Any, name: str | None, settings: dict[str, Any]) -> Any:
    return database.init(name, **settings)


def known(database: Any) -> set[int]:
    idle = {connection.number for _, _, connection in database._connections}
    return idle | {lease.connection.number for lease in database._in_use.values()}


def push(database: Any, age: float, number: int | None) -> None:
    """By hand into `_connections`: a new connection, or one that the pool does not have."""
    if number is None:
        connection = database.make()
    elif number in known(database):
        return
    else:
        connection = database.made[number - 1]
    database._heap_counter += 1
    entry = (database.clock.now - age, database._heap_counter, connection)
    heapq.heappush(database._connections, entry)


def pop(database: Any) -> Any:
    """By hand out of `_connections`."""
    return heapq.heappop(database._connections)[2] if database._connections else None


def change_age(database: Any, number: int, age: float) -> None:
    entries = database._connections
    for index, (_, counter, connection) in enumerate(entries):
        if connection.number == number:
            entries[index] = (database.clock.now - age, counter, connection)
    heapq.heapify(entries)


def put_in_use(database: Any, age: float, number: int | None) -> None:
    """By hand into `_in_use`."""
    if number is None:
        connection = database.make()
    elif number in known(database):
        return
    else:
        connection = database.made[number - 1]
    made = database.clock.now - age
    lease = PoolConnection(made, connection, made + age / 2)
    database._in_use[database.conn_key(connection)] = lease


def take_out_of_use(database: Any, number: int, rest: bool) -> None:
    """By hand out of `_in_use`; and perhaps into `_connections`."""
    lease = database._in_use.pop(database.conn_key(database.made[number - 1]), None)
    if lease and rest:
        database._heap_counter += 1
        entry = (lease.timestamp, database._heap_counter, lease.connection)
        heapq.heappush(database._connections, entry)


def change_lease(database: Any, number: int, age: float, held: float) -> None:
    key = database.conn_key(database.made[number - 1])
    now = database.clock.now
    if key in database._in_use:
        lease = database._in_use[key]
        database._in_use[key] = lease._replace(timestamp=now - age, checked_out=now - held)


def replace(database: Any, name: str) -> None:
    setattr(database, name, {"_connections": [], "_in_use": {}}[name])


OPERATIONS: dict[str, Callable[..., Any]] = {
    "connect": lambda database, reuse: database.connect(reuse_if_open=reuse),
    "connection": lambda database: database.connection(),
    "close": lambda database: database.close(),
    "manual_close": lambda database: database.manual_close(),
    "close_idle": lambda database: database.close_idle(),
    "close_stale": lambda database, age: database.close_stale(age),
    "close_all": lambda database: database.close_all(),
    "dispose": lambda database: database.dispose(),
    "execute": lambda database: database.execute_sql("select 1"),
    "init": begin_again,
    **{
        function.__name__: function
        for function in (
            *(step_aside, borrow, give_back, enter, leave, plan, sicken, later, slow, setting),
            *(push, pop, change_age, put_in_use, take_out_of_use, change_lease, replace),
        )
    },
}
"""What a history is made of, by name: each is done to both databases."""


# ---------------------------------------------------------------- comparing


def shown(value: Any) -> Any:
    """A connection by its number."""
    return f"connection {value.number}" if isinstance(value, Connection) else value


def view(database: Any, look: bool) -> dict[str, Any]:
    """What a program sees. `look` at `_connections` and `_in_use`, which makes our pool show
    them, and believe them afterwards; else the same from its state."""
    state = database._state
    mirror = getattr(database, "_mirror", None)
    runtime = getattr(database, "_runtime", None)
    if runtime is None or look or (mirror is not None and mirror.state is runtime.state):
        in_use = database._in_use
        idle = [(entry[0], entry[2].number) for entry in sorted(database._connections)]
        key = database.conn_key
        wrong = [name for name, lease in in_use.items() if name != key(lease.connection)]
        leases = sorted((one.connection.number, one[0], one[2]) for one in in_use.values())
    else:
        entries = [item.entry for item in sorted(heap.items(runtime.state.idle))]
        idle = [(entry.created, entry.connection.number) for entry in entries]
        wrong = []
        leases = sorted(
            (one.entry.connection.number, one.entry.created, one.checked_out)
            for one in runtime.state.in_use.values()
        )
    return {
        "idle": idle,
        "in use": leases,
        "wrong keys": wrong,
        "is_closed()": database.is_closed(),
        "connection()": shown(state.conn),
        "contexts": len(state.ctx),
        "transactions": len(state.transactions),
        "deferred": database.deferred,
        "server_version": database.server_version,
        "_max_connections": database._max_connections,
        "_stale_timeout": database._stale_timeout,
        "_wait_timeout": database._wait_timeout,
        "faults planned": database.faults,
        "made": len(database.made),
        "clock": database.clock.now,
    }


def outcome(database: Any, name: str, arguments: Iterable[Any]) -> dict[str, Any]:
    """Do it, and say what came of it."""
    database.closes.clear()
    database.log.clear()
    said: dict[str, Any] = {"returned": None, "raised": None}
    try:
        said["returned"] = shown(OPERATIONS[name](database, *arguments))
    except BaseException as error:  # what a driver raises, `Stop`, and bugs: all are compared
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        text = str(error)
        if isinstance(error, MaxConnectionsExceeded) and isinstance(database, Amended):
            text = database.explain(text)
        elif isinstance(error, MaxConnectionsExceeded):
            sentence, _, rest = text.partition(": ")
            text = f"{sentence}: ... ({rest.partition('(')[2].partition(')')[0].partition(';')[0]}"
        said["raised"] = f"{type(error).__module__}.{type(error).__qualname__}: {text}"
        if isinstance(error, Stop):
            database.close_stale(math.inf)  # what it left undone is done with the next thing
    return said | {"closed": sorted(database.closes), "log": list(database.log)}


class Pair:
    """The two databases, told the same. Raises `Different`. Knows nothing of Hypothesis.

    `settings` are those of a pooled database, and `verdict` (a subclass decides what is
    stale), `numbers` (`conn_key` is one of its own), `look` (at the mirrors after every
    operation)."""

    def __init__(self, settings: dict[str, Any], without: Iterable[str] = ()) -> None:
        self.settings = settings
        rest = dict(settings)
        verdict, numbers = rest.pop("verdict", False), rest.pop("numbers", False)
        self.look = rest.pop("look", True)
        ours, theirs = (OursWithVerdict, TheirsWithVerdict) if verdict else (Ours, Theirs)
        _playhouse.time.now = 1000.0
        self.ours: Any = ours("tested", **rest)
        self.theirs: Any = theirs("tested", **rest)
        self.theirs.without = frozenset(without)
        self.ours.clock.now = 1000.0
        if numbers:
            self.ours.conn_key = self.theirs.conn_key = lambda connection: connection.number
        self.history: list[tuple[Any, ...]] = []
        self.reached: Counter[str] = Counter()
        self.view: dict[str, Any] = {}
        self.broken = False
        self.compare({}, {})

    def do(self, name: str, *arguments: Any) -> dict[str, Any]:
        """One operation on both. What came of it."""
        self.history.append((name, *arguments))
        theirs = outcome(self.theirs, name, arguments)
        ours = outcome(self.ours, name, arguments)
        self.compare(theirs, ours)
        how = theirs["raised"].partition(":")[0] if theirs["raised"] else "done"
        self.reached[f"{name} {how}"] += 1
        return ours

    def compare(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        theirs = theirs | view(self.theirs, True)
        ours = ours | view(self.ours, self.look)
        differ = [name for name in ours if ours[name] != theirs[name]]
        self.view = ours
        if differ:
            self.broken = True
            said = [f"  {name}: {theirs[name]!r} there, {ours[name]!r} here" for name in differ]
            what = "\n".join(["playhouse.pool there, pool.peewee here:", *said])
            raise Different(what, self.settings, self.history)

    def differences(self) -> set[str]:
        """The intended ones that this history met."""
        return set(self.theirs.differences)


def replay(
    settings: dict[str, Any], history: Iterable[Sequence[Any]], without: Iterable[str] = ()
) -> Pair:
    """Repeat a history that a `Different` printed; raises it again if it still holds."""
    pair = Pair(settings, without)
    for name, *arguments in history:
        pair.do(name, *arguments)
    return pair


# ---------------------------------------------------------------- the machine

PICK = st.integers(0, 15)
AGES = st.sampled_from([0.0, 0.25, 1.0, 2.0, 4.0, 5.0, 20.0])
FAULT = st.sampled_from(sorted(FAULTS))
MAXIMA = st.sampled_from([1, 2, 3, 4, 2, 3, 0, None, 1.5, "2"])
STALE = st.sampled_from([None, 2.0, 4.0, 2.0, 4.0, 0, "4"])
WAIT = st.sampled_from([None, None, -1])


class DifferentialMachine(RuleBasedStateMachine):
    """Chooses operations; `Pair` compares. Subclass to count (`collect`), or to leave
    intended differences out (`without`)."""

    without: ClassVar[frozenset[str]] = frozenset()

    pair: Pair

    @classmethod
    def collect(cls, pair: Pair) -> None:
        """Called at the end of every history without a difference."""

    @initialize(
        settings=st.fixed_dictionaries(
            {
                "max_connections": MAXIMA,
                "stale_timeout": STALE,
                "timeout": WAIT,
                "thread_safe": st.sampled_from([True, True, True, False]),
                "verdict": st.sampled_from([False, False, False, True]),
                "numbers": st.booleans(),
                "look": st.booleans(),
            }
        )
    )
    def begin(self, settings: dict[str, Any]) -> None:
        self.pair = Pair(settings, self.without)

    def do(self, name: str, *arguments: Any) -> None:
        self.pair.do(name, *arguments)

    def pick(self, kind: str, pick: int) -> int | None:
        """The number of a connection: idle, in use, this thread's, or any that was ever made."""
        here = self.pair.view
        if kind == "idle":
            numbers = [number for _, number in here["idle"]]
        elif kind == "in use":
            numbers = [lease[0] for lease in here["in use"]]
        elif kind == "own":
            own = self.pair.ours._state.conn
            numbers = [own.number] if own else []
        else:
            numbers = list(range(1, here["made"] + 1))
        return numbers[pick % len(numbers)] if numbers else None

    # ------------------------------------------------------------ what every program does

    @rule(reuse=st.sampled_from([False, False, True]))
    def connect(self, reuse: bool) -> None:
        self.do("connect", reuse)

    @rule(name=st.sampled_from(["close", "close", "close", "connection", "execute"]))
    def use(self, name: str) -> None:
        self.do(name)

    @rule(forget=st.booleans())
    def another(self, forget: bool) -> None:
        """One more lease."""
        self.do("step_aside", forget)
        self.do("connect", False)

    @rule(kind=st.sampled_from(["in use", "in use", "in use", "any"]), pick=PICK, close=st.booleans())
    def give_back(self, kind: str, pick: int, close: bool) -> None:
        number = self.pick(kind, pick)
        if number:
            self.do("give_back", number, close and pick % 2 == 0)

    @rule(seconds=st.sampled_from([0.25, 1.0, 1.75, 2.0, 3.75, 4.0, 5.0, -1.0, -4.0]))
    def later(self, seconds: float) -> None:
        self.do("later", seconds)

    @rule(kind=st.sampled_from(["idle", "in use"]), pick=PICK, off=st.sampled_from([-0.25, 0.0, 0.25]))
    def grow_old(self, kind: str, pick: int, off: float) -> None:
        """Until a connection is stale, or nearly; and then it is wanted, or comes back."""
        here, number = self.pair.view, self.pick(kind, pick)
        if number is None or not here["_stale_timeout"]:
            return
        times = {one[-1]: one[0] for one in here["idle"]} | {
            one[0]: one[1] for one in here["in use"]
        }
        self.do("later", times[number] + here["_stale_timeout"] + off - here["clock"])
        if kind == "idle":
            self.do("step_aside", False)
            self.do("connect", False)
        else:
            self.do("give_back", number, False)

    @rule(kind=st.sampled_from(["connection", "database", "atomic", "atomic", "transaction", "manual"]))
    def enter(self, kind: str) -> None:
        self.do("enter", kind)

    @rule(fault=st.sampled_from([None, None, *sorted(FAULTS)]))
    def leave(self, fault: str | None) -> None:
        self.do("leave", fault)

    # ------------------------------------------------------------ drivers

    @rule(
        where=st.sampled_from(["connect", "connect", "execute", "initialize", "version"]),
        fault=FAULT,
        then=st.sampled_from(["connect", "enter", "execute", None]),
    )
    def fault(self, where: str, fault: str, then: str | None) -> None:
        self.do("plan", where, fault)
        if then:
            self.do(then, *{"connect": (False,), "enter": ("atomic",)}.get(then, ()))

    @rule(
        kind=st.sampled_from(["idle", "in use", "own"]),
        pick=PICK,
        hook=st.sampled_from(["alive", "reusable", "closable"]),
        script=st.sampled_from([False, *sorted(FAULTS)]),
        then=st.sampled_from(["", "use", "later and use", "close_all"]),
    )
    def sicken(self, kind: str, pick: int, hook: str, script: Any, then: str) -> None:
        """A connection goes bad; and then what it is asked next matters."""
        number = self.pick(kind, pick)
        if number is None or (hook == "closable" and script == "no Exception"):
            return
        self.do("sicken", number, hook, script)
        if then.startswith("later"):
            self.do("later", 4.0)
        if then == "close_all":
            self.do("close_all")
        elif then:
            self.do(*(("connect", False) if kind == "idle" else ("give_back", number, False)))

    @rule(seconds=st.sampled_from([0.25, 2.0, 4.0]))
    def slow(self, seconds: float) -> None:
        self.do("slow", seconds)
        self.do("connect", False)

    # ------------------------------------------------------------ who runs the pool

    @rule(pick=st.integers(0, 11), age=AGES)
    def housekeeping(self, pick: int, age: float) -> None:
        """What empties the pool seldom: histories are to get deep."""
        if pick < 3:
            self.do("close_stale", age if pick else -0.25)
        else:
            names = ["manual_close", "close_idle", "close_all", "dispose", "borrow"]
            self.do([*names, "manual_close", "manual_close", "close_idle", "borrow"][pick - 3])

    @rule(maximum=MAXIMA, stale=STALE, wait=WAIT, pick=st.integers(0, 9))
    def settings(self, maximum: Any, stale: Any, wait: Any, pick: int) -> None:
        """`init` takes text for numbers, the attributes do not."""
        if pick == 0:
            self.do("init", "named", {"max_connections": maximum, "stale_timeout": stale})
        elif pick == 1:
            self.do("init", "named", {"timeout": wait})
        elif pick == 2:
            self.do("init", None, {})
            self.do("connect", False)
            self.do("close_all")
            self.do("init", "again", {"max_connections": maximum})
        elif pick == 3:
            self.do("setting", "_wait_timeout", wait)
        elif pick == 4:
            self.do("init", "named", {"stale_timeout": -1})
        elif pick == 5:
            self.do("setting", "_max_connections", -1)
        elif pick == 6:
            self.do("setting", "autoconnect", not self.pair.ours.autoconnect)
        elif pick == 7:
            self.do("setting", "_stale_timeout", None if stale is None else int(stale))
        else:
            self.do("setting", "_max_connections", maximum and int(maximum))

    # ------------------------------------------------------------ changes by hand

    @rule(age=AGES, old=st.booleans(), pick=PICK)
    def push(self, age: float, old: bool, pick: int) -> None:
        self.do("push", age, self.pick("any", pick) if old else None)

    @rule(kind=st.sampled_from(["idle", "in use"]), age=AGES, held=AGES, pick=PICK)
    def change(self, kind: str, age: float, held: float, pick: int) -> None:
        number = self.pick(kind, pick)
        if number and kind == "idle":
            self.do("change_age", number, age)
        elif number:
            self.do("change_lease", number, age, held)

    @rule(age=AGES, old=st.booleans(), pick=PICK, what=st.integers(0, 7))
    def by_hand(self, age: float, old: bool, pick: int, what: int) -> None:
        number = self.pick("in use", pick)
        if what < 2:
            self.do("put_in_use", age, self.pick("any", pick) if old else None)
        elif what < 5 and number:
            self.do("take_out_of_use", number, what > 2)
        elif what == 5:
            self.do("pop")
        elif what > 5:
            self.do("replace", "_connections" if what == 6 else "_in_use")

    # ------------------------------------------------------------ the end of a history

    def teardown(self) -> None:
        pair = getattr(self, "pair", None)
        if pair is not None and not pair.broken:
            self.collect(pair)
