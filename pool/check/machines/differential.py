"""The differential machine: `pool.peewee` beside `playhouse.pool`, told the same.

Theory.  The machine only chooses operations; `pair.py` does them to both, and compares.

The intended differences are no exceptions to this comparison: they are amendments to playhouse
(`amended.py`), so nothing else may differ, and one that is left out must be missed.

There is one thread and nobody waits (`timeout` is None, or over at once), so the operations
decide all.  Times are multiples of a quarter: sums of such floats are exact.

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(DifferentialMachine, settings=...)
"""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pool.check.machines.amended import FAULTS
from pool.check.machines.drawn import PICK
from pool.check.machines.pair import Pair

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
