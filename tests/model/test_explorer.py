"""The explorer looks at every state, and what it says can be used.

Theory.  That the configurations hold is the point of the explorer, so they are explored here,
too: together they take seconds.  The rest asks what a user would: is the history a shortest one,
can it be pasted back, does Ctrl-C keep what was found, are the numbers those that are pinned?
"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from xml.etree import ElementTree

import attrs
import pytest

from pool import INVARIANTS, Acquire, Limits, Opened
from pool.check import interrupts
from pool.check.cli import main
from pool.check.explore import coverage, tlc
from pool.check.explore.configurations import CONFIGURATIONS, DEEP, EVENTS, LIVENESS, Configuration
from pool.check.explore.explorer import Exploration, Wishes, explore
from pool.check.explore.graphs import pin_of, python_graph, read_pins
from pool.check.explore.liveness import check_liveness
from pool.check.explore.mutants import machine, mutants
from pool.check.explore.notation import (
    NotationError,
    check_history,
    read_history,
    read_run,
    replay,
    write,
    write_history,
)
from pool.core.state import State, initial

SMALL = CONFIGURATIONS["strangers"]


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=lambda c: c.name)
def test_everything_holds_everywhere(configuration: Configuration) -> None:
    found = explore(configuration)
    assert found.violation is None
    assert found.complete
    assert found.frontier == 0


@pytest.mark.parametrize("configuration", LIVENESS.values(), ids=lambda c: c.name)
def test_everybody_is_answered_in_the_end(configuration: Configuration) -> None:
    found = check_liveness(configuration)
    assert found.violation is None
    assert found.complete


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=lambda c: c.name)
def test_the_graph_is_the_pinned_one(configuration: Configuration) -> None:
    """The one that was found equal to the specification's: `purepool check --against-tla`."""
    pins = read_pins(tlc.spec_directory())
    assert pin_of(python_graph(configuration)) == pins[configuration.name]


def test_the_configurations_have_every_event_and_both_openers() -> None:
    events = {name for c in CONFIGURATIONS.values() for name in c.events}
    assert events == set(EVENTS)
    assert {c.opener for c in CONFIGURATIONS.values()} == {"caller", "background"}
    assert {limits.max_size for c in CONFIGURATIONS.values() for limits in c.limits} >= {1, 2, 3}
    assert any(
        c.callers >= (limits.max_size or 99) + 2 and {"Dead", "Cancel", "Expire"} <= c.events
        for c in CONFIGURATIONS.values()
        for limits in c.limits[:1]
    )


def test_every_reason_is_seen_somewhere() -> None:
    """Each reason to close or refuse that the effects know is given in some reached state."""
    from typing import get_args

    from pool.core.effects import CloseReason, RefuseReason

    seen = {goal for c in CONFIGURATIONS.values() for goal in explore(c).goals()}
    reasons = {goal.partition(">")[2] for goal in seen}
    assert {f"Close:{reason}" for reason in get_args(CloseReason)} <= reasons
    assert {f"Refuse:{reason}" for reason in get_args(RefuseReason)} <= reasons
    assert set(EVENTS) <= seen
    assert "Tick>Leaked" in seen


def test_a_goal_that_is_never_met_is_a_failure() -> None:
    found = explore(attrs.evolve(SMALL, goals=("Tick>Leaked",)))
    assert found.violation is not None
    assert found.violation.property == "Goals"
    assert "Tick>Leaked" in found.violation.explanation


def test_bounds_bound() -> None:
    few = explore(attrs.evolve(SMALL, callers=1, goals=()))
    more = explore(attrs.evolve(SMALL, callers=2, goals=()))
    assert few.states < more.states < explore(SMALL).states
    ages = attrs.evolve(CONFIGURATIONS["ages"], goals=())
    still = explore(attrs.evolve(ages, ticks=0))
    assert still.states < explore(attrs.evolve(ages, ticks=1)).states
    some = explore(ages, Wishes(most_states=50))
    assert not some.complete
    assert some.states >= 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"callers": 0}, "callers=0"),
        ({"ticks": -1}, "ticks=-1"),
        ({"events": ("Aquire",)}, "Aquire"),
    ],
)
def test_a_wrong_bound_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attrs.evolve(SMALL, **changes)  # type: ignore[arg-type]  # that is the point


def test_stopping_keeps_what_was_found() -> None:
    def stop(found: Exploration) -> None:
        assert found.states
        signal.raise_signal(signal.SIGTERM)

    with interrupts.noted(), pytest.raises(interrupts.Stopped, match=r"[0-9,]+ states, front"):
        explore(DEEP["deep-caller"], Wishes(progress=stop))


# ---------------------------------------------------------------- histories


def test_a_violation_comes_with_a_shortest_history() -> None:
    mutant = mutants()["lifo_waiters"]
    core = machine(mutant)
    found = explore(mutant.configuration, Wishes(machine=core))
    assert found.violation is not None
    assert found.violation.property == "FifoStep"
    # three connections, two that wait, and one that makes room
    assert len(found.violation.history) == 6
    text = write_history(mutant.configuration.limits[0], found.violation.history, core)
    assert "FifoStep" in check_history(text, core)
    assert check_history(text) == []  # the real pool does better


@pytest.mark.parametrize("name", ["adopt", "ages", "phases-caller", "resize"])
def test_histories_can_be_pasted_back(name: str) -> None:
    configuration = CONFIGURATIONS[name]
    found = explore(configuration)
    for number in range(0, found.states, 17):
        history = found.history(number)
        text = write_history(configuration.limits[0], history)
        assert read_history(text) == (configuration.limits[0], history)
        assert check_history(text) == []


def test_a_history_reads_like_this() -> None:
    limits, events = read_history("""
        # from a report
        Limits(max_size=2)
        Acquire(now=0, ticket=1)  # Open(ticket=1)

        Opened(now=0.5, ticket=1, connection='c1', created=0)
    """)
    assert limits == Limits(max_size=2)
    assert events == (Acquire(0, 1), Opened(0.5, 1, "c1", 0))


def test_a_state_is_read_as_it_is_written() -> None:
    for name in ("phases-caller", "phases-background", "adopt"):
        found = explore(CONFIGURATIONS[name], Wishes())
        first = initial(CONFIGURATIONS[name].limits[0])
        for number in range(0, found.states, 7):
            state = (first, *(step.state for step in replay(first, found.history(number))))[-1]
            text = write(state)
            again, _ = read_run(text)
            assert isinstance(again, State)
            assert write(again) == text
            assert holds_all(again)
    with pytest.raises(NotationError, match="begins with limits, and this with a state"):
        read_history("State(Limits())")


def holds_all(state: State) -> bool:
    return all(holds(state) for holds in INVARIANTS.values())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("State(Limits(), waits=())", "line 1: a state has no waits"),
        ("State(Limits(), in_use=(3,))", "line 1: 'int' object has no attribute 'entry'"),
        ("State()", "line 1: State: missing a required argument: 'limits'"),
        ("Aquire(now=0, ticket=1)", "line 1: no such event: Aquire"),
        ("Acquire(now=0)", "line 1: Acquire: missing a required argument: 'ticket'"),
        ("Acquire(now=0, ticket=1", "line 1: '\\(' was never closed"),
        ("Acquire(now=0, ticket=other)", "line 1: other is not a literal"),
        ("Limits(max_size=0)", "line 1: max_size=0: allowed is"),
        ("Tick(now=0)\nLimits()", "line 2: limits come once"),
        ("ticket = 1", "line 1: not an event"),
        ("42", "line 1: not an event"),
        ("Tick(**{})", "line 1: \\*\\* has no place"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(line: str, why: str) -> None:
    with pytest.raises(NotationError, match=why):
        read_history(line)


# ---------------------------------------------------------------- the command


def test_the_command_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_path, junit_path = tmp_path / "r.json", tmp_path / "r.xml"
    status = main(
        ["check", "strangers", "live-caller", "--json", str(json_path), "--junit", str(junit_path)]
    )
    assert status == 0
    assert "56 states" in capsys.readouterr().out
    report = json.loads(json_path.read_text())
    assert report["passed"]
    assert report["results"][0]["counts"]["states"] == 56
    assert report["totals"]["states"] == 56 + report["results"][1]["counts"]["states"]
    suites = ElementTree.parse(junit_path).getroot()
    assert [suite.get("name") for suite in suites] == ["explore", "live"]
    assert {suite.get("failures") for suite in suites} == {"0"}


@pytest.mark.parametrize(("option", "begins"), [("--json", "{"), ("--junit", "<?xml ")])
def test_a_report_alone_on_standard_output(
    option: str, begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "strangers", option, "-"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(begins)
    assert "all passed" not in said.out
    assert "all passed" in said.err


def test_the_command_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history"
    path.write_text("Limits(max_size=1)\nAcquire(now=0, ticket=1)\nAcquire(now=0, ticket=2)\n")
    assert main(["check", "--replay", str(path)]) == 0
    assert "Acquire(now=0, ticket=1)  # Open(ticket=1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strange"], "no configuration strange. There are base-caller"),
        (["strangers", "--events", "Acquire,Foo"], "Foo: no such event"),
        (["--replay", "/there/is/none"], "/there/is/none: No such file"),
        (["strangers", "--profile", "ci"], "CONFIGURATION has no meaning with --profile"),
        (["--mutants", "--most-states", "9"], "--most-states has no meaning with --mutants"),
        (["--list", "--json", "-"], "--json has no meaning with --list"),
        (["--against-tla", "--ticks", "0"], "--ticks has no meaning with --against-tla"),
        (["--json", "-", "--junit", "-"], "--json and --junit cannot both go to standard output"),
        (["--pin"], "--pin has no meaning without --against-tla"),
    ],
)
def test_a_wrong_command_gets_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_replayed_line_that_makes_no_sense_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history"
    path.write_text("Aquire(now=0)\n")
    assert main(["check", "--replay", str(path)]) == 2
    assert "line 1: no such event: Aquire" in capsys.readouterr().err


def test_unfinished_is_not_passed() -> None:
    assert main(["check", "base-caller", "--most-states", "20"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--profile", "weekly"], "--profile: invalid choice: 'weekly' (choose from"),
        (
            ["check", "--most-states", "0"],
            "--most-states: 0: allowed is a whole number, at least 1",
        ),
        (["check", "--callers", "many"], "--callers: many: allowed is a whole number, at least 1"),
        (["check", "--max-size", "0"], "--max-size: 0: allowed is a whole number, at least 1"),
        (["check", "--ticks", "-1"], "--ticks: -1: allowed is a whole number, at least 0"),
        (["check", "--mutants", "--list"], "--list: not allowed with argument --mutants"),
        (["fuzz", "--json", "/no/such/x"], "--json: /no/such/x: there is no directory /no/such"),
        (["conform", "--junit", "/", "--", "x"], "--junit: /: is a directory"),
        (["inspect"], "invalid choice: 'inspect' (choose from"),
    ],
)
def test_a_choice_that_there_is_not_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.slow
def test_every_line_and_branch_of_step_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--coverage"]) == 0
    out = capsys.readouterr().out
    for name in coverage.DECIDES:
        assert re.search(rf"{name}\.py +\d+ +0 +\d+ +0 +100%", out), out


def test_a_line_that_is_not_reached_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coverage, "CONFIGURATIONS", {SMALL.name: SMALL})
    assert main(["check", "--coverage"]) == 1
    assert re.search(r"TOTAL.* [0-9]{1,2}%", capsys.readouterr().out)
