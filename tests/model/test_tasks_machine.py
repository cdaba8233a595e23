"""Random callers of a `pool.aio.Pool` against the reference model; what they reach, and faults.

Theory.  As `test_runtime_machine.py`: runs with a fixed seed must reach every goal below, and every
fault must be found, by the claim that is named.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

from pool.check.machines.calls import TOLD
from pool.check.machines.tasks import TasksMachine
from pool.check.machines.twin import Broken
from tests.model import faults, task_faults
from tests.model.faults import Fault
from tests.model.rounds import not_reached, run

TestTasks = pytest.mark.timeout(3600)(TasksMachine.TestCase)  # `nightly` takes its time
TestTasks.settings = settings(phases=set(Phase) - {Phase.explain})

GOALS = {
    "acquire",
    *(f"acquire {error.__name__}" for error in TOLD.values()),
    *(f"block {error.__name__}" for error in TOLD.values()),
    *(f"{kind} CancelledError" for kind in ("acquire", "block", "release", "close")),
    "block",
    "block Away",
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
    "Grant by Dead",
    "Grant by Opened to another",
    "Grant by Cancel to another",
    "Grant by Release to another",
    "Grant by Resume to another",
    *(f"Open by {event}" for event in ("Acquire", "Cancel", "CloseAll", "Configure", "Dead")),
    *(f"Open by {event}" for event in ("Discard", "Expire", "Opened", "Release", "Resume", "Tick")),
    "Ignored Release",  # of what was closed while it was lent
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
        )
    ),
}


@pytest.mark.thorough
@pytest.mark.slow
def test_every_goal_is_reached() -> None:
    assert not_reached(TasksMachine, GOALS, 20) == set()


FAULTS: list[tuple[Fault, set[str]]] = [
    (task_faults.swallows_a_cancellation, {"Cancelled"}),
    (task_faults.keeps_no_task, {"Connecting"}),
    (task_faults.believes_the_clock, {"Answered"}),
    (task_faults.leaves_a_check_to_nobody, {"Tidy"}),
    (task_faults.lends_in_secret, {"Tidy"}),
    (task_faults.notes_a_loss_in_secret, {"Tidy"}),
    (task_faults.closes_what_is_busy, {"Busy"}),
    (task_faults.wakes_twice, {"Raised"}),
    (task_faults.forgets_a_connect, {"Connecting"}),
    (task_faults.ignores_the_reset, {"Sent"}),
    (task_faults.believes_what_rested, {"Checked"}),
    (task_faults.closes_twice, {"Closed"}),
    (task_faults.gives_up_early, {"InTime"}),
    (task_faults.has_all_the_time, {"Punctual"}),
    (task_faults.never_ticks, {"Ticked"}),
    (task_faults.tells_everybody_the_same, {"Answered"}),
    (task_faults.connects_twice, {"Told"}),
    (task_faults.says_too_early_that_it_is_closed, {"Answered"}),
    (faults.drains_only_the_idle, {"Sent"}),
    (faults.counts_wrong, {"Statistics"}),
]


@pytest.mark.parametrize(
    ("fault", "claims"), FAULTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_fault_is_found(fault: Fault, claims: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    with pytest.raises(Broken) as broken:
        run(type("Hunter", (TasksMachine,), {}), 1, 400)
    assert broken.value.promise in claims
