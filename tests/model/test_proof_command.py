"""`purepool prove`: what it says of what is shown, and of what is not."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.check.cli import main
from pool.check.explore.configurations import CONFIGURATIONS
from pool.check.explore.notation import read_history, read_run, replay, write
from pool.check.proof import binding, command, obligations, solvers
from pool.check.suite import Task, profile
from pool.core.state import State
from tests.model.proof_faults import FAULTS, UNPROMISED, Fault
from tests.model.test_proof import changed, needs_solvers

pytestmark = needs_solvers
BOTH = ("z3", "cvc5")

ABSTRACT = {
    "Opened/ClosedOnce": "the relation closes a key that was never idle",
    "Resume/ClosedOnce": "one connection is closed and lent",
    "Resume/NothingAfterClose": "one connection is closed and lent",
}
"""Counterexamples that may be of the relation alone, for its choices contradict each other."""


@pytest.fixture
def planted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fault]:
    """The relation has a fault, for the proof and for the binding."""
    about: str = request.param
    fault = next(fault for fault in (*FAULTS, *UNPROMISED) if fault.about == about)
    faulty: types.ModuleType = changed(fault)
    binding.relation.cache_clear()
    monkeypatch.setattr(obligations, "step", faulty.step)
    monkeypatch.setattr(binding, "step", faulty.step)
    yield fault
    binding.relation.cache_clear()


def few(monkeypatch: pytest.MonkeyPatch) -> None:
    def tasks(names: list[str] | None = None) -> list[Task]:
        world = CONFIGURATIONS["unbounded"]
        return [command.proof_task("Suspend", names or BOTH), command.binding_task(world)]

    monkeypatch.setattr(command, "tasks", tasks)


def test_it_says_what_it_has_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few(monkeypatch)
    report = tmp_path / "r.json"
    assert main(["prove", "--json", str(report)]) == 0
    said = capsys.readouterr().out
    assert "ok proved Suspend" in said
    assert "ok bound unbounded  982 transitions" in said
    assert "2 checks: all passed" in said
    found = json.loads(report.read_text())
    assert (found["command"], found["passed"]) == ("prove", True)
    assert [result["part"] for result in found["results"]] == ["proved", "bound"]
    assert found["totals"]["obligations"] > 15


@pytest.mark.parametrize("planted", ["who discards wakes nobody"], indirect=True)
def test_what_is_not_shown_has_a_counterexample_that_step_does_not_do(planted: Fault) -> None:
    result = command.proof_task("Discard", BOTH).run()
    assert result.status == "failed"
    first, short, how, before, event, after, really, written, why, *_ = result.message.splitlines()
    assert first == "Covered need not hold after Discard (z3: sat, cvc5: sat)"
    assert short.startswith("# Limits(")
    assert "wait: " in short
    assert "for `purepool check --replay -`" in how
    state, history = read_run(f"{before}\n{event}")
    assert isinstance(state, State)
    assert type(history[0]).__name__ == "Discard"
    assert after.startswith("# after, as the relation has it: ")
    assert "in_use 1 -> 0" in after
    assert really.startswith("# `step` does not do that: Limits(")
    (step,) = replay(state, history)  # all of it together can be pasted, too
    assert written == f"# {write(step.state)}"
    assert step.broken == ()
    assert why.startswith("# Discard (DIS-2): ")


def test_a_counterexample_can_be_replayed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = command.explain(not_so(), {"z3": "sat"})
    file = tmp_path / "counterexample"
    file.write_text("\n".join(said.splitlines()[1:]))
    assert main(["check", "--replay", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("State(Limits(")
    assert "\nAcquire(now=" in shown
    assert "1 events, nothing violated" in shown


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.about)
def test_of_each_fault_a_state_is_shown_or_it_is_said_that_there_is_none(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `step` itself, of which the relation is not true then, breaks nothing in it."""
    faulty = changed(fault)
    binding.relation.cache_clear()
    monkeypatch.setattr(obligations, "step", faulty.step)
    monkeypatch.setattr(binding, "step", faulty.step)
    try:
        for name in fault.found:
            event, _, promise = name.partition("/")
            one = next(one for one in obligations.of_event(event) if one.promise == promise)
            said = command.explain(one, {"z3": "sat"})
            if name in ABSTRACT:
                assert " no state of `step` was found" in said or " not do that: " in said, name
                continue
            assert "# `step` does not do that: " in said, name
            (step,) = replay(*read_run(said.partition("\n")[2]))
            assert step.broken == (), name
    finally:
        binding.relation.cache_clear()


def not_so() -> obligations.Obligation:
    """A promise that is none: nobody ever waits while the pool is open."""
    draft = obligations.step("Acquire")
    wrong = (draft.waiting == 0) | (draft.phase != 0)
    facts = tuple(obligations.premises(draft))
    return obligations.Obligation("Acquire", "Idle", facts, wrong, draft=draft)


def test_a_counterexample_that_step_does_do_is_called_so() -> None:
    said = command.explain(not_so(), {"z3": "sat"})
    assert said.startswith("Idle need not hold after Acquire (z3: sat)\n# Limits(")
    assert "\n# `step` does that: Limits(" in said


@pytest.mark.parametrize("planted", ["a caller that may not wait waits"], indirect=True)
def test_a_step_that_is_not_the_proofs_is_shown_with_its_history(planted: Fault) -> None:
    result = command.binding_task(CONFIGURATIONS["base-caller"]).run()
    assert result.status == "failed"
    assert "Bound does not hold in base-caller: Acquire (" in result.message
    limits, history = read_history(result.message.partition("--replay -`:\n")[2])
    assert (limits.max_size, type(history[-1]).__name__) == (3, "Acquire")


def test_solvers_that_disagree_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "SOLVERS", {**solvers.SOLVERS, "cvc5": lambda text: ("sat", {})})
    result = command.proof_task("(any)", BOTH).run()
    assert result.status == "failed"
    assert result.message.startswith("Helped need not hold")
    assert "(z3: unsat, cvc5: sat)" in result.message


def test_a_solver_that_gives_up_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    unsure = {name: (lambda text: ("unknown", {})) for name in BOTH}
    monkeypatch.setattr(solvers, "SOLVERS", unsure)
    result = command.proof_task("(any)", BOTH).run()
    assert result.message == "Helped need not hold after (any) (z3: unknown, cvc5: unknown)"


def test_without_the_solvers_it_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(solvers, "there", lambda: ["z3"])
    assert main(["prove"]) == 2
    assert capsys.readouterr().err == (
        "purepool: cvc5 is missing: `pip install 'purepool[prove]'` brings it\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(solvers, "there", list)
        proof = next(task for task in profile("ci") if task.part == "proved").run()
    assert proof.status == "failed"
    assert "pip install 'purepool[prove]'" in proof.message
    few(monkeypatch)
    assert main(["prove", "--solver", "z3"]) == 0


def test_help_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prove", "--help"])
    said = capsys.readouterr().out
    assert "pip install 'purepool[prove]'" in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_obligations_can_be_given_to_any_solver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prove", "--smt", str(tmp_path / "smt")]) == 0
    files = sorted((tmp_path / "smt").iterdir())
    assert len(files) == len(list(obligations.obligations()))
    text = (tmp_path / "smt" / "Discard-Covered.smt2").read_text()
    assert text.startswith("; Discard/Covered: unsat\n(set-logic QF_LIA)\n")
    assert text.endswith("(check-sat)\n")
    assert solvers.z3(text.replace("(check-sat)", ""))[0] == "unsat"
