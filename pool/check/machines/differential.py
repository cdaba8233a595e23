"""The differential machine: `pool.peewee` beside `playhouse.pool`, told the same.

Theory.  Two databases over scripted drivers are given the same operations.  After each one
everything that a program can see must be equal: what was returned or raised, which connections
were made, lent and closed (by the number of their making), what was executed on them,
`_connections`, `_in_use`, the settings, and peewee's own state of the thread.

The intended differences are no exceptions to this comparison: they are amendments to playhouse
(`amended.py`), so nothing else may differ, and one that is left out must be missed.

There is one thread and nobody waits (`timeout` is None, or over at once), so the operations
decide all.  Times are multiples of a quarter: sums of such floats are exact.  Not compared:
the text of `MaxConnectionsExceeded` beyond its numbers, which names threads and ages; how often
the hooks are asked; in what order one call closes several connections; `_heap_counter`, which
counts more here.

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(DifferentialMachine, settings=...)
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
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
from pool.core import heap


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
    own = getattr(database, "_purepool", None)
    mirror, runtime = (own._mirror, own.runtime) if own else (None, None)
    if runtime is None or look or (mirror is not None and mirror.fields is runtime.fields):
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


# ---------------------------------------------------------------- the machine

PICK = st.integers(0, 15)
AGES = st.sampled_from([0.0, 0.25, 1.0, 2.0, 4.0, 5.0, 20.0])
FAULT = st.sampled_from(sorted(FAULTS))
MAXIMA = st.sampled_from([1, 2, 3, 4, 2, 3, 0, None, 1.5, "2"])
STALE = st.sampled_from([None, 2.0, 4.0, 2.0, 4.0, 0, "4"])
WAIT = st.sampled_from([None, None, 1e-9])


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
                "own_state": st.sampled_from([False, False, False, True]),
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

    @rule(
        kind=st.sampled_from(["in use", "in use", "in use", "any"]), pick=PICK, close=st.booleans()
    )
    def give_back(self, kind: str, pick: int, close: bool) -> None:
        number = self.pick(kind, pick)
        if number:
            self.do("give_back", number, close and pick % 2 == 0)

    @rule(seconds=st.sampled_from([0.25, 1.0, 1.75, 2.0, 3.75, 4.0, 5.0, -1.0, -4.0]))
    def later(self, seconds: float) -> None:
        self.do("later", seconds)

    @rule(
        kind=st.sampled_from(["idle", "in use"]), pick=PICK, off=st.sampled_from([-0.25, 0.0, 0.25])
    )
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

    @rule(
        kind=st.sampled_from(
            ["connection", "database", "atomic", "atomic", "transaction", "manual"]
        )
    )
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
        script=st.sampled_from([False, *sorted(FAULTS), "no Exception"]),
        later=st.sampled_from([0.0, 0.0, 4.0, -1.0]),
        then=st.sampled_from(["", "use", "use", "close_all"]),
    )
    def sicken(self, kind: str, pick: int, script: Any, later: float, then: str) -> None:
        """A connection goes bad; and then what it is asked next matters."""
        if kind == "idle" and not self.pair.view["idle"]:
            self.do("close")
        number = self.pick(kind, pick)
        if number is None:
            return
        hook = "alive" if kind == "idle" else "reusable"
        if pick % 4 == 0 and script != "no Exception":
            hook = "closable"
        self.do("sicken", number, hook, script)
        if later:
            self.do("later", later)
        if then == "close_all" and kind == "own":
            self.do("close_all")
        elif then and kind == "idle":
            self.do("step_aside", False)
            self.do("connect", False)
        elif then:
            self.do("give_back", number, False)

    @rule(seconds=st.sampled_from([0.25, 2.0, 4.0]))
    def slow(self, seconds: float) -> None:
        self.do("slow", seconds)
        self.do("connect", False)

    # ------------------------------------------------------------ who runs the pool

    @rule(pick=st.integers(0, 11), age=AGES)
    def housekeeping(self, pick: int, age: float) -> None:
        """What empties the pool seldom: histories are to get deep."""
        if pick < 3:
            leases = self.pair.view["in use"]
            ages = [self.pair.view["clock"] - lease[2] for lease in leases]  # a boundary each
            self.do("close_stale", [*ages, age][-pick - 1 :][0] if pick else -0.25)
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
            for what in pair.reached:
                event(what)
            self.collect(pair)
