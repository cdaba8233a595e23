"""The protocol of threads in TLA+: each promise can break, and what is planted fits.

Theory.  TLC takes seconds for each world and fault, so `purepool check --profile ci` runs them all,
and here two of each.  That the module speaks of this runtime is a matter of reading; what can be
read off the text is that what it names is there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pool.check.explore import protocol, tlc
from pool.check.explore.mutants import MutantError, replaced
from pool.check.explore.protocol import DEEP, PROMISES, WORLDS, World, faults, scope
from pool.check.suite import protocol_mutant_tasks, protocol_task

ROOT = Path(__file__).parents[2]
TEXT = (tlc.spec_directory() / "Runtime.tla").read_text()
FAULTS = faults()


def test_every_promise_is_broken_by_a_fault() -> None:
    assert {fault.breaks for fault in FAULTS.values()} == {*PROMISES}


def test_every_world_but_the_largest_has_a_fault_that_shows_there() -> None:
    shown = {fault.world.name for fault in FAULTS.values()}
    assert set(WORLDS) - shown == {"helpers-closes", "three-callers"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_fault_fits_what_it_changes(fault: protocol.Fault[World]) -> None:
    text = TEXT
    for change in fault.changes:
        assert change.file == "Runtime.tla"
        text = replaced(change, text)
    assert text != TEXT


def test_a_fault_that_does_not_fit_says_so() -> None:
    change = FAULTS["told_too_early"].changes[0]
    with pytest.raises(MutantError, match=r"its old lines are not once in Runtime\.tla"):
        replaced(change, "")


def test_every_action_is_a_step() -> None:
    actions = set(re.findall(r"^(\w+)\(t\) ==\n    /\\", TEXT, re.M))
    actions -= {"CanBeStruck"}
    steps = TEXT[TEXT.index("\nSteps(t) ==") :]
    assert len(actions) > 35
    assert all(f"{action}(t)" in steps for action in actions)


def test_what_it_names_is_in_the_code() -> None:
    named = set(re.findall(r"\b(Monitor|Store|Performer|Runtime)\.(\w+)", TEXT)) - {
        ("Runtime", "tla")
    }
    code = {
        "Monitor": "pool/threads/monitor.py",
        "Store": "pool/shared/store.py",
        "Performer": "pool/threads/performer.py",
        "Runtime": "pool/threads/runtime.py",
    }
    assert len(named) > 8
    for kind, name in named:
        assert f"def {name}(" in (ROOT / code[kind]).read_text(), f"{kind}.{name}"


def test_only_threads_that_do_the_same_are_taken_for_one_another() -> None:
    assert "SYMMETRY" in scope(WORLDS["two-callers"])[1]
    assert "SYMMETRY" not in scope(WORLDS["end"])[1]
    assert "SYMMETRY" not in scope(World("odd", "", (("any",), ("any",)), hurried=(0,)))[1]


@pytest.mark.parametrize("world", [*WORLDS.values(), *DEEP.values()], ids=lambda world: world.name)
def test_the_states_of_each_world_are_noted(world: World) -> None:
    assert world.states > 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["helpers", "closes"])
def test_every_promise_is_kept(name: str) -> None:
    result = protocol_task(WORLDS[name], protocol.check).run()
    assert result.passed, result.message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["orphans_too_early", "child_asks_too_early"])
def test_a_planted_fault_is_found(name: str) -> None:
    (task,) = [task for task in protocol_mutant_tasks() if task.name == name]
    result = task.run()
    assert result.passed, result.message


def test_what_is_not_found_and_other_states_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = iter([tlc.Verdict(None, 7, 7, 0.0, ""), tlc.Verdict("Told", 7, 7, 0.0, "Error: so")])
    monkeypatch.setattr(protocol, "check", lambda *_: tlc.Verdict(None, 7, 7, 0.0, ""))
    (task,) = [task for task in protocol_mutant_tasks() if task.name == "told_too_early"]
    assert "Wanted Deadlock, found nothing" in task.run().message
    assert (
        "has other states than were noted"
        in protocol_task(WORLDS["end"], protocol.check).run().message
    )
    monkeypatch.setattr(protocol, "check", lambda *_: next(verdicts))
    assert not protocol_task(WORLDS["end"], protocol.check).run().passed
    assert (
        "Told does not hold in end\nError: so"
        in protocol_task(WORLDS["end"], protocol.check).run().message
    )
