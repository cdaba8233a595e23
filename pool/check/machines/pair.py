"""Two databases, the drop-in and playhouse's, that are told the same and compared.

Theory.  After each operation everything that a program can see must be equal: what was returned or
raised, which connections were made, lent and closed (by the number of their making), what was
executed on them, `_connections`, `_in_use`, the settings, and peewee's own state of the thread.

Not compared: the text of `MaxConnectionsExceeded` beyond its numbers, which names threads and ages;
how often the hooks are asked; in what order one call closes several connections; `_heap_counter`,
which counts more here.

Nothing here knows Hypothesis: a history can be replayed without it (`replay`).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from playhouse.pool import MaxConnectionsExceeded, PoolConnection

from pool.check.machines.amended import (
    FAULTS,
    Amended,
    Connection,
    Ours,
    OursWithVerdict,
    OwnState,
    Stop,
    Theirs,
    TheirsWithVerdict,
)
from pool.core.state import leased, resting


class Different(AssertionError):
    """The two databases differ. `history` leads there; `replay` repeats it."""

    def __init__(self, what: str, settings: dict[str, Any], history: Sequence[tuple[Any, ...]]):
        self.what = what
        self.settings = settings
        self.history = tuple(history)
        lines = [what, "replay(", f"    {settings!r},", "    ["]
        super().__init__(
            "\n".join([*lines, *(f"        {step!r}," for step in history), "    ]", ")"])
        )


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


def later(database: Any, seconds: float) -> None:
    """Time passes, or the clock is put back."""
    database.clock.now += seconds


def known(database: Any) -> set[int]:
    idle = {connection.number for _, _, connection in database._connections}
    return idle | {lease.connection.number for lease in database._in_use.values()}


def brought(database: Any, number: int | None) -> Any:
    """What is put in by hand: a new connection, or this one; None if the pool has it already."""
    if number is not None and number in known(database):
        return None
    connection = database.make() if number is None else database.made[number - 1]
    connection.moved = True
    return connection


def push(database: Any, age: float, number: int | None) -> None:
    """By hand into `_connections`: a new connection, or one that the pool does not have."""
    connection = brought(database, number)
    if connection is None:
        return
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
    connection = brought(database, number)
    if connection is None:
        return
    made = database.clock.now - age
    lease = PoolConnection(made, connection, made + age / 2)
    database._in_use[database.conn_key(connection)] = lease


def take_out_of_use(database: Any, number: int, rest: bool) -> None:
    """By hand out of `_in_use`; and perhaps into `_connections`."""
    database.made[number - 1].moved = True
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


def _method(name: str) -> Callable[..., Any]:
    return lambda database, *arguments: getattr(database, name)(*arguments)


OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _method(name) for name in ("connect", "connection", "close", "manual_close")},
    **{name: _method(name) for name in ("close_idle", "close_stale", "close_all", "dispose")},
    "execute": lambda database: database.execute_sql("select 1"),
    "init": lambda database, name, settings: database.init(name, **settings),
    "setting": setattr,
    "give_back": lambda database, number, close: database._close(database.made[number - 1], close),
    "sicken": lambda database, number, hook, script: setattr(
        database.made[number - 1], hook, script
    ),
    "slow": lambda database, seconds: setattr(database, "slowness", seconds),
    "replace": lambda database, name: setattr(
        database, name, {"_connections": [], "_in_use": {}}[name]
    ),
    **{
        function.__name__: function
        for function in (
            *(step_aside, borrow, enter, leave, plan, later),
            *(push, pop, change_age, put_in_use, take_out_of_use, change_lease),
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
    own = getattr(database, "_purepool", None)
    mirror, runtime = (own._mirror, own.runtime) if own else (None, None)
    if runtime is None or look or (mirror is not None and mirror.fields is runtime.fields):
        in_use = database._in_use
        idle = [(entry[0], entry[2].number) for entry in sorted(database._connections)]
        key = database.conn_key
        wrong = [name for name, lease in in_use.items() if name != key(lease.connection)]
        leases = sorted((one.connection.number, one[0], one[2]) for one in in_use.values())
    else:
        entries = [item.entry for item in sorted(resting(runtime.state.idle))]
        idle = [(entry.created, entry.connection.number) for entry in entries]
        wrong = []
        leases = sorted(
            (one.entry.connection.number, one.entry.created, one.checked_out)
            for one in leased(runtime.state.in_use).values()
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
    stale), `numbers` (`conn_key` is one of its own), `own_state` (so is `_state`), `look` (at
    the mirrors after every operation)."""

    def __init__(self, settings: dict[str, Any], without: Iterable[str] = ()) -> None:
        self.settings = settings
        rest = dict(settings)
        verdict, numbers = rest.pop("verdict", False), rest.pop("numbers", False)
        self.look, own_state = rest.pop("look", True), rest.pop("own_state", False)
        ours, theirs = (OursWithVerdict, TheirsWithVerdict) if verdict else (Ours, Theirs)
        Theirs.clock.now = 1000.0
        self.ours: Any = ours("tested", **rest)
        self.theirs: Any = theirs("tested", **rest)
        self.theirs.without = frozenset(without)
        self.ours.clock.now = 1000.0
        if own_state:
            self.ours._state, self.theirs._state = OwnState(), OwnState()
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
