"""Random callers of a `Pool` against the reference model; what they reach, and faults they find.

Theory.  As with `test_machine.py`: a random test that gets nowhere passes, so runs with a fixed
seed must reach every goal below, and every fault must be found, by the claim that is named.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

from pool.check.machines.calls import TOLD
from pool.check.machines.runtime import RuntimeMachine
from pool.check.machines.twin import Broken
from tests.model.faults import (
    Fault,
    believes_what_rested,
    closes_twice,
    connects_twice,
    counts_wrong,
    drains_only_the_idle,
    forgets_who_is_gone,
    gives_up_early,
    ignores_the_reset,
    lends_what_was_lost,
    release_without_deliver,
    tells_everybody_the_same,
    trusts_the_wait,
)
from tests.model.rounds import not_reached, run

TestRuntime = pytest.mark.timeout(3600)(RuntimeMachine.TestCase)  # `nightly` takes its time
TestRuntime.settings = settings(phases=set(Phase) - {Phase.explain})


GOALS = {
    "acquire",
    *(f"acquire {error.__name__}" for error in TOLD.values()),
    "acquire Interrupted",
    "release",
    "discard",
    "lose",
    "suspend",
    "resume",
    "drain",
    "resize",
    "close",
    "resize PoolClosed",
    "Grant by Acquire",
    "Grant by Opened",
    "Grant by Dead",
    "Grant by Release to another",
    "Grant by Resume to another",
    "Open by Acquire",
    "Open by Dead",
    "Open by OpenFailed to another",
    "Open by Cancel to another",
    "Open by Configure to another",
    "Open by Discard to another",
    "Open by Release to another",
    "Open by Resume to another",
    "Ignored Release",  # of what was closed meanwhile
    *(f"Refuse {reason}" for reason in TOLD),
    *(
        f"Close {reason}"
        for reason in (
            "close_all",
            "close_idle",
            "closed",
            "dead",
            "discarded",
            "lifetime",
            "not_reusable",
            "rested",
            "retired",
            "surplus",
            "unasked",
        )
    ),
}


@pytest.mark.thorough
@pytest.mark.slow
def test_every_goal_is_reached() -> None:
    assert not_reached(RuntimeMachine, GOALS, 10) == set()


FAULTS: list[tuple[Fault, set[str]]] = [
    (trusts_the_wait, {"Answered"}),
    (release_without_deliver, {"Parked", "Closed", "Answered"}),
    (forgets_who_is_gone, {"Tidy"}),
    (ignores_the_reset, {"Sent"}),
    (believes_what_rested, {"Checked"}),
    (closes_twice, {"Closed"}),
    (gives_up_early, {"InTime"}),
    (tells_everybody_the_same, {"Answered"}),
    (drains_only_the_idle, {"Sent"}),
    (counts_wrong, {"Statistics"}),
    (lends_what_was_lost, {"Lost"}),
    (connects_twice, {"Told"}),
]


@pytest.mark.parametrize(
    ("fault", "claims"), FAULTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_fault_is_found(fault: Fault, claims: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    with pytest.raises(Broken) as broken:
        run(type("Hunter", (RuntimeMachine,), {}), 1, 400)
    assert broken.value.promise in claims
