"""The protocol of tasks in TLA+: each promise can break, and what is planted fits.

Theory.  As `test_protocol.py`, for `spec/Tasks.tla`: `purepool check --profile ci` runs every world
and fault, and here one of each.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pool.check.explore import tlc
from pool.check.explore.mutants import replaced
from pool.check.explore.protocol import Fault
from pool.check.explore.task_protocol import (
    DEEP,
    PROMISES,
    WORLDS,
    TaskWorld,
    check,
    faults,
    scope,
)
from pool.check.suite import protocol_mutant_tasks, protocol_task, protocol_tasks
from tests.model import task_faults

ROOT = Path(__file__).parents[2]
TEXT = (tlc.spec_directory() / "Tasks.tla").read_text()
FAULTS = faults()


def test_every_promise_is_broken_by_a_fault() -> None:
    assert {fault.breaks for fault in FAULTS.values()} == {*PROMISES}


def test_in_every_world_a_fault_shows() -> None:
    assert {fault.world.name for fault in FAULTS.values()} == {*WORLDS}


ELSEWHERE = {
    "ignores_the_reset": "what a driver says is no step of the protocol",
    "believes_what_rested": "what a driver says is no step of the protocol",
    "gives_up_early": "times are left out",
    "tells_everybody_the_same": "which error a caller gets is left out",
    "connects_twice": "the driver is called by a task that is one step here",
    "gives_back_if_it_is_let": "as `resets_in_the_callers_task`, with more cancellations",
    "wakes_twice": "as `wakes_the_cancelled`",
    "says_too_early_that_it_is_closed": "as `told_too_early`",
}
"""Faults that are planted in the code and not, or under another name, in the protocol; and why."""


def test_every_fault_of_the_code_is_one_of_the_protocol() -> None:
    code = {
        name
        for name, function in vars(task_faults).items()
        if getattr(function, "__module__", "") == task_faults.__name__ and callable(function)
    }
    here = {name.removeprefix("tasks-") for name in FAULTS}
    assert len(code) > 20
    assert code - here == ELSEWHERE.keys(), "plant it in spec/mutants/tasks, or say where it is"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_fault_fits_what_it_changes(fault: Fault[TaskWorld]) -> None:
    text = TEXT
    for change in fault.changes:
        assert change.file == "Tasks.tla"
        text = replaced(change, text)
    assert text != TEXT


def test_every_action_is_a_step() -> None:
    actions = set(re.findall(r"^(\w+(?:\((?:t|task)\))?) ==\n    /\\", TEXT, re.M))
    actions -= {"Begins", "Commit", "NothingLost", "NotTheParents", "OneHolder", "TasksInit"}
    actions -= {"IsOver", "Calms"}
    steps = TEXT[TEXT.index("\nSteps ==") : TEXT.index("\nIsOver ==")]
    assert len(actions) > 30
    assert all(action in steps for action in actions), {a for a in actions if a not in steps}


def test_what_it_names_is_in_the_code() -> None:
    named = set(re.findall(r"\b(Monitor|Store|Performer|Runtime)\.(\w+)", TEXT)) - {
        ("Runtime", "tla")
    }
    code = {
        "Monitor": "pool/tasks/monitor.py",
        "Store": "pool/shared/store.py",
        "Performer": "pool/tasks/performer.py",
        "Runtime": "pool/tasks/runtime.py",
    }
    assert len(named) > 20
    for kind, name in named:
        assert f"def {name}(" in (ROOT / code[kind]).read_text(), f"{kind}.{name}"


def test_only_tasks_that_do_the_same_are_taken_for_one_another() -> None:
    assert "SYMMETRY" in scope(WORLDS["tasks-three"])[1]
    assert "SYMMETRY" not in scope(WORLDS["tasks-twice"])[1]
    assert "SYMMETRY" not in scope(TaskWorld("odd", "", (("any",),), (("any",),)))[1]


@pytest.mark.parametrize("world", [*WORLDS.values(), *DEEP.values()], ids=lambda world: world.name)
def test_the_states_of_each_world_are_noted(world: TaskWorld) -> None:
    assert world.states > 500


def test_names_are_given_once() -> None:
    tasks = [*protocol_tasks(deep=True), *protocol_mutant_tasks()]
    assert len({(task.part, task.name) for task in tasks}) == len(tasks)


@pytest.mark.slow
def test_every_promise_is_kept() -> None:
    result = protocol_task(WORLDS["tasks-loop-closed"], check).run()
    assert result.passed, result.message


@pytest.mark.slow
def test_a_planted_fault_is_found() -> None:
    (task,) = [task for task in protocol_mutant_tasks() if task.name == "tasks-loses_a_grant"]
    result = task.run()
    assert result.passed, result.message
