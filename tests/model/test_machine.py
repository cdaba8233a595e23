"""The pool beside the reference model, in random histories; and what those histories reach.

Theory.  A random test that never gets anywhere passes.  So a run with a fixed seed must
reach every rule of the specification and every goal below, each of them a situation in
which some pool once lost a connection or a caller.
"""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import Phase, settings

from pool import Acquire, AdoptIdle, Discard, Limits, Opened, Release, Tick
from pool.check.machines.step import PoolMachine
from pool.check.machines.twin import Broken, Twin, replay
from pool.core.effects import CloseReason, RefuseReason
from pool.core.events import Event
from tests.model.rounds import run
from tests.model.rules import RULES, names

TestPool = pytest.mark.timeout(3600)(PoolMachine.TestCase)  # `nightly` takes its time
# The settings of the profile, less `explain`, which costs minutes and says less than the history.
TestPool.settings = settings(phases=set(Phase) - {Phase.explain})

ELSEWHERE = {
    "LIM-1",  # invalid limits never reach a pool: test_limits.py
}
"""Rules that no history can meet."""

GOALS = {
    "Leaked",
    "Grant by Acquire",
    "Grant by Dead",
    "Grant by Opened",  # its own ticket's
    "Grant by Opened to another",  # nobody's
    "Grant by Release to another",
    "Grant by Cancel to another",  # a grant that was never delivered goes to the next
    "Grant by Resume to another",
    "Grant by Adopt to another",
    "Open by Acquire",
    "Open by Dead",
    "Open by OpenFailed to another",  # a failed connect strands nobody
    "Open by Cancel to another",  # nor does a cancelled one
    "Open by Discard to another",
    "Open by CloseStale to another",
    "Open by CloseAll to another",
    "Open by Configure to another",
    "Open by Resume to another",
    "Open by Opened to another",  # max_opening had held it back
    "Open by Release to another",  # what came back was closed
    "Open by Tick",
    "Open by Forked",
}


NEVER_IGNORED = {"Opened", "CloseIdle", "CloseStale", "CloseAll", "Tick", "Forked"}
"""Events that no guard stops."""

EVENTS = {kind.__name__ for kind in get_args(Event)}
MACHINE_RULES = {rule for rule in RULES if not rule.startswith("RUN-")} - ELSEWHERE
WANTED = {
    *GOALS,
    *MACHINE_RULES,
    *(f"Ignored {name}" for name in EVENTS - NEVER_IGNORED),
    *(f"Refuse {reason}" for reason in get_args(RefuseReason)),
    *(f"Close {reason}" for reason in get_args(CloseReason)),
}


@pytest.fixture(scope="module")
def reached() -> Counter[str]:
    """What up to ten rounds of histories reach; their seeds are fixed."""
    total: Counter[str] = Counter()
    for number in range(101, 111):

        class Reached(PoolMachine):
            @classmethod
            def collect(cls, twin: Twin) -> None:
                total.update(twin.reached)
                total["longest"] = max(total["longest"], len(twin.history))

        run(Reached, number, 100, steps=50)
        if set(total) >= WANTED:
            break
    return total


@pytest.mark.slow
def test_every_rule_is_reached(reached: Counter[str]) -> None:
    assert MACHINE_RULES - set(reached) == set()


@pytest.mark.slow
def test_every_goal_is_reached(reached: Counter[str]) -> None:
    assert GOALS - set(reached) == set()


@pytest.mark.slow
@pytest.mark.parametrize("reason", get_args(RefuseReason))
def test_every_reason_to_refuse_is_reached(reached: Counter[str], reason: str) -> None:
    assert reached[f"Refuse {reason}"]


@pytest.mark.slow
@pytest.mark.parametrize("reason", get_args(CloseReason))
def test_every_reason_to_close_is_reached(reached: Counter[str], reason: str) -> None:
    assert reached[f"Close {reason}"]


def test_every_guard_is_reached(reached: Counter[str]) -> None:
    assert {name for name in EVENTS if reached[f"Ignored {name}"]} == EVENTS - NEVER_IGNORED


def test_histories_get_deep(reached: Counter[str]) -> None:
    assert reached["longest"] >= 60


# ---------------------------------------------------------------- without Hypothesis


def test_a_history_is_replayed() -> None:
    twin = replay(
        Limits(max_size=1),
        [Acquire(0, 1), Opened(0, 1, "c1", 0), Acquire(0, 2), Release(1, 1, 1)],
    )
    assert twin.reached["Grant by Release to another"] == 1
    assert [row[4] for row in twin.view["in_use"].values()] == [2]


def test_a_broken_promise_prints_a_history_that_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pool.core.transition.discard", lambda state, event: (state, ()))
    history = [Acquire(0, 1), Opened(0, 1, "c1", 0), Discard(1, 1, 1), Tick(2)]
    with pytest.raises(Broken) as broken:
        replay(Limits(), history)
    assert (broken.value.promise, broken.value.history) == ("SameEffects", tuple(history[:3]))
    pasted = [eval(line, names()) for line in str(broken.value).splitlines()[2:]]
    assert pasted == [Limits(), *history[:3]]


def test_nobody_waits_for_ever_after_a_clean_run() -> None:
    twin = replay(Limits(max_size=1), [Acquire(0, ticket) for ticket in range(1, 9)])
    twin.answer_everybody(1.0, iter(f"c{n}" for n in range(99)).__next__)
    assert {twin.tickets.place(ticket) for ticket in twin.tickets} == {"granted"}


def test_names_that_a_pasted_history_needs() -> None:
    assert {kind.__name__ for kind in get_args(Event)} <= set(names())
    assert names()["AdoptIdle"] is AdoptIdle
