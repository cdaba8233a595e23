"""`purepool fuzz`: a planted fault is found, kept, tried first, and seen again by what is printed.

Theory.  What is printed is for pasting, so it is pasted: into a shell, where `purepool` is the
command of this environment.  The fault is planted from outside, by a `sitecustomize` that only
the processes of these tests find, and is taken out by not naming its directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pool.check.cli import main
from pool.check.machines import MACHINES
from pool.check.machines.rounds import machine, run_machine
from tests.integration.drivers import ROOT, until
from tests.integration.processes import SECONDS, process

COMMANDS = Path(sys.executable).parent
FAULT = """
import pool.core.transition as machine
right = machine.discard
def discard(state, event):
    after, effects = right(state, event)
    return after, tuple(one for one in effects if type(one).__name__ != "Close")
machine.discard = discard
"""
"""A right state with a dropped `Close`."""


class Shell:
    """A shell where `purepool` is this environment's, in a directory of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.fault = place / "fault"
        self.fault.mkdir()
        (self.fault / "sitecustomize.py").write_text(FAULT)

    def start(
        self, command: str, faulty: bool
    ) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        path = os.pathsep.join([str(COMMANDS), os.environ["PATH"]])
        python = os.pathsep.join([str(self.fault), str(ROOT)] if faulty else [str(ROOT)])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": python}
        return process(command, shell=True, cwd=self.place, env=environment)

    def kept(self) -> list[Path]:
        """What Hypothesis keeps."""
        place = self.place / ".purepool" / "step"
        return [path for path in place.rglob("*") if path.is_file()]

    def __call__(self, command: str, *, faulty: bool = True) -> tuple[int, str]:
        with self.start(command, faulty) as running:
            out, err = running.communicate(timeout=SECONDS)
        assert not err, err
        return running.returncode, out


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.slow
def test_a_fault_is_found_kept_tried_first_and_seen_again(shell: Shell) -> None:
    status, out = shell("purepool fuzz --seconds 60 --machine step --json a.json --junit a.xml")
    assert status == 1
    assert "1 failed" in out
    assert "state.teardown()" in out
    assert "state.Exclusive()" not in out  # rules, and not what was asked between them
    assert re.search(r"^  Discard\(", out, re.M)  # the history, event by event
    report = json.loads((shell.place / "a.json").read_text())
    assert (report["passed"], report["stopped"]) == (False, False)
    assert f"seed {report['seed']}" in out
    assert report["results"][0]["message"] in out
    assert report["totals"]["examples"] > 1
    assert ElementTree.parse(shell.place / "a.xml").getroot()[0].get("failures") == "1"

    # The printed command, pasted.
    command = re.findall(r"^purepool fuzz .*--replay .*$", out, re.M)
    assert len(command) == 1
    status, again = shell(command[0])
    assert status == 1
    assert re.findall(r"^  \w+\(.*$", again, re.M) == re.findall(r"^  \w+\(.*$", out, re.M)
    assert command[0] in again

    # The next run, with another seed, has it at once.
    status, out = shell("purepool fuzz --machine step --json b.json")
    assert (status, command[0] in out) == (1, True)
    second = json.loads((shell.place / "b.json").read_text())
    assert second["seed"] != report["seed"]
    assert second["totals"]["examples"] < 20

    # Once it is mended it is tried, and forgotten.
    before = len(shell.kept())
    assert before > 0
    status, out = shell(command[0], faulty=False)
    assert (status, "does not fail any more" in out) == (3, True)
    status, out = shell("purepool fuzz --machine step --seconds 0.1", faulty=False)
    assert status == 0
    assert "first seen in this run, the 3rd: " in out
    assert len(shell.kept()) < before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_there_is(shell: Shell, number: signal.Signals) -> None:
    command = "exec purepool fuzz --seconds 600 --json part.json"
    with shell.start(command, faulty=False) as running:
        assert running.stdout is not None
        assert f"{600 / len(MACHINES):.3g} s each" in running.stdout.readline()
        until((shell.place / ".purepool" / "hypothesis").exists, SECONDS)  # step has begun
        running.send_signal(number)
        out, err = running.communicate(timeout=SECONDS)
    assert (running.returncode, err) == (128 + number, "")
    assert "stopped" in out
    report = json.loads((shell.place / "part.json").read_text())
    assert (report["passed"], report["stopped"], report["signal"]) == (False, True, number.name)
    assert {one["status"] for one in report["results"]} == {"stopped"}
    assert [one["name"] for one in report["results"]] == list(MACHINES)
    assert not (shell.place / ".hypothesis").exists()
    assert json.loads((shell.place / ".purepool" / "step.json").read_text())["runs"] == 1


@pytest.mark.slow
def test_the_same_seed_tries_the_same() -> None:
    one, other = (run_machine("step", 50, seed=7) for _ in range(2))
    assert one == other
    assert one.examples >= 50


def test_the_time_is_asked_before_each_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However short it is, something is tried: one example."""
    database, report = tmp_path / "kept", tmp_path / "report.json"
    command = ["fuzz", "--machine", "step", "--seconds", "0.000001", "--seed", "7"]
    assert main([*command, "--database", str(database), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["totals"]["examples"] == 1
    assert "seed 7" in capsys.readouterr().out
    reached = json.loads((database / "step.json").read_text())["reached"]
    assert all("Rule(" not in what and len(what) < 80 for what in reached)


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_says_what_it_reached(name: str) -> None:
    outcome = run_machine(name, 5, seed=1)
    assert outcome.failed is None
    assert len(outcome.reached) > 5


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_is_where_it_is_said_to_be(name: str) -> None:
    assert machine(name).TestCase


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--machine", "pump"], "no machine pump. There are step, differential, runtime, tasks"),
        (["--machine", "step", "--replay", "AXic"], "--replay: this is no program"),
        (["--machine", "step", "--replay", "ä"], "--replay: this is no program"),
        (["--machine", "step", "--replay", "AXic", "--json", "-"], "--json has no meaning with"),
        (["--database", "/proc/none/there"], "/proc/none: No such file or directory"),
    ],
)
def test_a_wrong_command_gets_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fuzz", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_it_did_not_write_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "step.json").write_text("[]")
    assert main(["fuzz", "--database", str(tmp_path)]) == 2
    assert "step.json: this is not what `purepool fuzz` wrote" in capsys.readouterr().err
