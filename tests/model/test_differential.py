"""The drop-in beside playhouse's pool, in random histories; and that the comparison sees.

Theory.  A comparison proves as much as it can see.  So each intended difference must be met, be
in the table of `docs/peewee.md`, and be missed when it is left out: the list holds no dead
excuse.  And faults planted in the drop-in or below it must be found.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import playhouse.pool
import pytest
from hypothesis import Phase, settings

import pool.peewee.database as drop_in
from pool import Limits
from pool.check.machines import amended
from pool.check.machines.amended import DIFFERENCES
from pool.check.machines.differential import DifferentialMachine
from pool.check.machines.pair import OPERATIONS, Different, Pair, replay
from pool.core import transition
from pool.peewee import adapter, arrivals, closing, leases
from pool.peewee.mirror import Mirror
from pool.threads.runtime import Runtime
from tests.conftest import PROFILE
from tests.model.rounds import run

EXAMPLES = {"dev": 200, "ci": 1000, "nightly": 10_000}

TestDropIn = pytest.mark.timeout(3600)(DifferentialMachine.TestCase)  # `nightly` takes its time
TestDropIn.settings = settings(
    max_examples=EXAMPLES.get(PROFILE, EXAMPLES["dev"]),
    stateful_step_count=40,
    phases=set(Phase) - {Phase.explain},
)


def hunt(without: Iterable[str] = ()) -> None:
    """Random histories until the two differ (or there are none left)."""

    class Hunter(DifferentialMachine):
        pass

    Hunter.without = frozenset(without)
    run(Hunter, 1, 1000)


# ---------------------------------------------------------------- what is reached

GOALS = {
    *(f"{name} done" for name in OPERATIONS),
    "connect peewee.OperationalError",
    "connect peewee.InterfaceError",
    "connect builtins.OSError",
    "connect pool.check.machines.amended.Stop",
    "connect playhouse.pool.MaxConnectionsExceeded",
    "borrow playhouse.pool.MaxConnectionsExceeded",
    "enter playhouse.pool.MaxConnectionsExceeded",
    "enter builtins.OSError",
    "enter builtins.ValueError",  # `atomic` inside `manual_commit`
    "leave peewee.OperationalError",
    "leave builtins.IndexError",  # closed inside its `with`
    "close peewee.OperationalError",  # in a transaction
    "close_all peewee.OperationalError",
    "close_all peewee.InterfaceError",  # deferred
    "manual_close peewee.OperationalError",
    "init peewee.OperationalError",
    "init builtins.ValueError",
    "setting builtins.ValueError",
}


RARE: dict[str, list[tuple[Any, ...]]] = {
    "twice": [("connect", False), ("close_stale", -0.25), ("manual_close",)],
}
"""Differences that random histories seldom come to, each with one that does."""

OFTEN = [name for name in DIFFERENCES if name not in RARE]


@pytest.fixture(scope="module")
def reached() -> Counter[str]:
    """What up to ten rounds of histories reach; their seeds are fixed."""
    total: Counter[str] = Counter()
    for number in range(201, 211):

        class Reached(DifferentialMachine):
            @classmethod
            def collect(cls, pair: Pair) -> None:
                total.update(pair.reached)
                total.update(pair.theirs.differences)

        run(Reached, number, 100)
        if set(total) >= GOALS | set(OFTEN):
            break
    return total


@pytest.mark.thorough
@pytest.mark.slow
def test_every_goal_is_reached(reached: Counter[str]) -> None:
    assert GOALS - set(reached) == set()


@pytest.mark.parametrize("name", RARE)
def test_a_rare_intended_difference_is_seen_and_missed(name: str) -> None:
    assert replay({"max_connections": 3}, RARE[name]).theirs.differences[name]
    with pytest.raises(Different):
        replay({"max_connections": 3}, RARE[name], without={name})


CONNECT, STALE = ("connect", False), ("close_stale", -0.25)
BEGINNINGS: list[list[tuple[Any, ...]]] = [
    [CONNECT],
    [CONNECT, ("step_aside", False), CONNECT],
    [("put_in_use", 0.0, None)],
    [("borrow",)],
    [CONNECT, ("step_aside", False)],
    [CONNECT, ("take_out_of_use", 1, False)],
    [CONNECT, ("close",)],
    [CONNECT, ("put_in_use", 0.0, None)],
    [CONNECT, ("take_out_of_use", 1, True), ("step_aside", False), CONNECT],
    [CONNECT, ("take_out_of_use", 1, True), ("step_aside", True), CONNECT],
    [CONNECT, ("take_out_of_use", 1, True), ("step_aside", False)],
    [
        *[CONNECT, ("step_aside", False), CONNECT, ("take_out_of_use", 2, True)],
        *[("give_back", 1, True), ("step_aside", False), CONNECT],
    ],
]
MIDDLES: list[list[tuple[Any, ...]]] = [
    [STALE],
    [STALE, ("connect", True)],
    [("close_all",)],
    [STALE, ("close",)],
    [STALE, ("replace", "_in_use")],
    [STALE, ("put_in_use", 0.0, 1)],
    [STALE, ("push", 20.0, 1)],
    [STALE, ("push", 20.0, 1), ("pop",)],
    [STALE, ("dispose",)],
]
ENDS: list[list[tuple[Any, ...]]] = [
    [("manual_close",)],
    [("manual_close",), ("manual_close",)],
    [("manual_close",), ("give_back", 1, True)],
    [("give_back", 1, True)],
    [("give_back", 1, True), ("give_back", 1, True)],
    [("give_back", 1, False)],
    [("give_back", 1, False), ("manual_close",)],
    [("give_back", 2, True)],
    [("manual_close",), ("give_back", 2, True)],
    [("close",), ("give_back", 1, True)],
]


@pytest.mark.parametrize("own_state", [False, True])
@pytest.mark.parametrize("look", [False, True])
def test_a_connection_is_closed_as_often_as_with_playhouse(own_state: bool, look: bool) -> None:
    """By whatever ends its lease, and is done with it then: in every combination."""
    same = 0
    settings = {"max_connections": 3, "own_state": own_state, "look": look}
    for parts in itertools.product(BEGINNINGS, MIDDLES, ENDS):
        with contextlib.suppress(IndexError):  # there is no such connection
            replay(settings, itertools.chain(*parts))
            same += 1
    assert same > 250


@pytest.mark.slow
@pytest.mark.parametrize("name", OFTEN)
def test_each_intended_difference_is_seen(name: str, reached: Counter[str]) -> None:
    assert reached[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", OFTEN)
def test_each_intended_difference_is_missed_when_left_out(name: str) -> None:
    with pytest.raises(Different):
        hunt(without={name})


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_intended_difference_is_in_the_table(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "peewee.md"
    row, when = DIFFERENCES[name]
    assert f"\n| {row} | " in page.read_text(encoding="utf-8")
    assert when


# ---------------------------------------------------------------- planted faults

Patch = Callable[[pytest.MonkeyPatch], None]
Database = drop_in.PooledDatabase


def lends_the_newest_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adapter, "Limits", lambda **_: Limits(idle_order="lifo"))


def close_stale_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    """What was borrowed exactly `age` seconds ago is closed, too."""
    honest = Database.close_stale
    patch.setattr(Database, "close_stale", lambda self, age=600: honest(self, age - 0.125))


def close_stale_counts_wrong(patch: pytest.MonkeyPatch) -> None:
    honest = Database.close_stale
    patch.setattr(Database, "close_stale", lambda self, age=600: bool(honest(self, age)))


def another_class_of_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arrivals, "MaxConnectionsExceeded", ValueError)


def errors_of_the_driver_stay(patch: pytest.MonkeyPatch) -> None:
    """They do not become peewee's."""
    patch.setattr(drop_in, "_errors", contextlib.nullcontext())


def discard_keeps_the_connection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Runtime, "discard", Runtime.release)


def close_all_spares_ones_own(patch: pytest.MonkeyPatch) -> None:
    def close_all(self: Any) -> None:
        self.is_closed() or self.in_transaction()
        self.close_idle()
        for connection in [lease.connection for lease in self._in_use.values()]:
            if self.is_closed() or connection is not self._state.conn:
                self._close(connection, close_conn=True)

    patch.setattr(Database, "close_all", close_all)


def the_maximum_is_not_live(patch: pytest.MonkeyPatch) -> None:
    honest = adapter.Adapter.configure

    def configure(self: Any, name: str, value: Any) -> None:
        if not hasattr(self.database, "connect_params"):
            honest(self, name, value)

    patch.setattr(adapter.Adapter, "configure", configure)


def reuse_says_true(patch: pytest.MonkeyPatch) -> None:
    honest = Database.connect
    patch.setattr(Database, "connect", lambda self, reuse_if_open=False: (
        honest(self, reuse_if_open) or True
    ))  # fmt: skip


def stale_is_inverted(patch: pytest.MonkeyPatch) -> None:
    """For those that decide themselves."""
    honest = adapter.Adapter.is_stale
    patch.setattr(adapter.Adapter, "is_stale", lambda self, it: not honest(self, it))


def stale_is_what_has_jitter(patch: pytest.MonkeyPatch) -> None:
    """As it was: lives were up to a tenth shorter than `stale_timeout`."""
    patch.setattr(adapter, "Runtime", runtime_with(jitter=lambda: 0.9))


def nobody_is_asked_when_the_clock_goes_back(patch: pytest.MonkeyPatch) -> None:
    """As it was."""
    patch.setattr(adapter, "Runtime", runtime_with(check_after=0.0))


def runtime_with(**instead: Any) -> Any:
    return lambda *arguments, **settings: Runtime(*arguments, **(settings | instead))


def a_verdict_counts_only_for_less(patch: pytest.MonkeyPatch) -> None:
    """As it was: `_is_stale` of a subclass could not make a life longer."""
    honest = adapter.Adapter.configure

    def configure(self: Any, name: str, value: Any) -> None:
        self.judges, judges = False, self.judges
        try:
            honest(self, name, value)
        finally:
            self.judges = judges

    patch.setattr(adapter.Adapter, "configure", configure)


def a_dead_one_is_lent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adapter.Driver, "is_alive", lambda self, connection: True)


def what_cannot_be_reused_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adapter.Driver, "reset", lambda self, connection: True)


def dispose_closes(patch: pytest.MonkeyPatch) -> None:
    honest = Database.dispose

    def dispose(self: Any) -> None:
        self.close_idle()
        honest(self)

    patch.setattr(Database, "dispose", dispose)


def closes_in_a_transaction(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Database, "in_transaction", lambda self: False, raising=False)


def what_was_taken_out_by_hand_stays(patch: pytest.MonkeyPatch) -> None:
    honest = Mirror.difference

    def difference(self: Mirror, now: float) -> Any:
        adopt = honest(self, now)
        return adopt and adopt._replace(removed=())

    patch.setattr(Mirror, "difference", difference)


def a_lease_of_another_never_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(closing.Closing, "end_lease_of_another", lambda self, connection, close: False)


def a_failed_connect_keeps_its_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transition, "open_failed", lambda state, event: (state, ()))
    patch.setattr(transition, "cancel", lambda state, event: (state, ()))  # it would help


def the_state_of_a_failed_connect_stays(patch: pytest.MonkeyPatch) -> None:
    """What the thread had before its `connect` that failed."""
    honest = Database._connect

    def connect(self: Any) -> Any:
        self._state.closed = False
        return honest(self)

    patch.setattr(Database, "_connect", connect)


def a_state_of_ones_own_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """As it was."""
    patch.setattr(leases.Owners, "settle", lambda self, state, leases, connection: None)


FAULTY: list[Patch] = [
    a_state_of_ones_own_is_not_looked_at,
    lends_the_newest_first,
    close_stale_is_off_by_one,
    close_stale_counts_wrong,
    another_class_of_error,
    errors_of_the_driver_stay,
    discard_keeps_the_connection,
    close_all_spares_ones_own,
    the_maximum_is_not_live,
    reuse_says_true,
    stale_is_inverted,
    stale_is_what_has_jitter,
    nobody_is_asked_when_the_clock_goes_back,
    a_verdict_counts_only_for_less,
    a_dead_one_is_lent,
    what_cannot_be_reused_is,
    dispose_closes,
    closes_in_a_transaction,
    what_was_taken_out_by_hand_stays,
    a_lease_of_another_never_ends,
    a_failed_connect_keeps_its_place,
    the_state_of_a_failed_connect_stays,
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTY)
def test_a_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    with pytest.raises(Different):
        hunt()


# ---------------------------------------------------------------- without Hypothesis


def test_a_difference_prints_a_history_that_can_be_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"max_connections": 2, "stale_timeout": None}
    history = [("connect", False), ("close",), ("sicken", 1, "alive", False), ("connect", False)]
    assert replay(settings, history).reached["connect done"] == 2
    with pytest.raises(Different, match=r"closed: \[\] there, \[1\] here") as different:
        replay(settings, history, without={"dead"})
    printed = str(different.value)
    monkeypatch.setattr(amended.Ours, "_is_closed", lambda self, connection: False)
    with pytest.raises(Different):
        eval(printed[printed.index("replay(") :])


def test_nobody_elses_playhouse_notices() -> None:
    replay({"stale_timeout": 2}, [("connect", False), ("later", 5.0), ("close",)])
    assert playhouse.pool.__dict__["time"] is time
    assert sys.modules["playhouse.pool"] is playhouse.pool is not amended._playhouse
    assert amended._playhouse not in sys.modules.values()
    assert amended._playhouse.PooledDatabase is not playhouse.pool.PooledDatabase
