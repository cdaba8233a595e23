"""Ctrl-C and SIGTERM in `purepool`: what was interrupted is stopped, never failed; nothing stays.

Theory.  A signal may come at any instant, so it comes at random ones, in each part of `check`: each
runs in a process of its own which says when it has begun, and then is told to end.  It has more to
do than any machine gets done until then.  What it says in the end is read in all outputs.
(`conform` is in `test_conform_bad_ports.py`, `fuzz` also in `test_fuzz.py`.)
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest
from rich.console import Console
from rich.status import Status

from pool.check import interrupts, suite
from pool.check.cli import COMMANDS, main
from pool.check.conformance import vectors
from pool.check.explore.configurations import DEEP
from pool.check.machines import fuzz
from pool.check.results import Result, as_json, as_junit, exit_status, verdict
from pool.check.schedules.programs import PROGRAMS
from tests.integration.drivers import ROOT, until
from tests.integration.processes import SECONDS, foreground_signals, process

PROGRAM = """
import signal, sys
if {ignored}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from pool.check import runner, suite
from pool.check.cli import main
tasks = [task for task in [*suite.profile("ci"), *suite.without_java()] if task.part == {part!r}]
def many(arguments):
    print("begins", flush=True)
    return tasks * (1 + 2000 // len(tasks))
runner._tasks = many
sys.exit(main(["check", "--json", "r.json", "--junit", "r.xml"]))
"""
PARTS = sorted({task.part for task in [*suite.profile("ci"), *suite.without_java()]})


def start(
    script: str, place: Path, *arguments: str, **how: Any
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    temporary = place / "temporary"
    temporary.mkdir()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", script, *arguments]
    return process(command, cwd=place, env=environment, **how)


def processes_of(place: Path) -> list[str]:
    """The processes that were started with something of this directory on their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue
        if str(place).encode() in words and f"/proc/{os.getpid()}/" not in str(file):
            found.append(str(file))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize("part", PARTS)
def test_a_signal_in_each_part(part: str, number: signal.Signals, tmp_path: Path) -> None:
    with start(PROGRAM.format(part=part, ignored=False), tmp_path) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "begins\n"
        time.sleep(random.uniform(0.0, 1.5))  # any instant will do
        running.send_signal(number)
        out, err = running.communicate(timeout=SECONDS)
        assert processes_of(tmp_path) == []
    assert (running.returncode, err) == (128 + number, "")
    assert "FAILED" not in out
    assert "failed," not in out
    assert f"stopped by {number.name}" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["passed"], report["stopped"], report["signal"]) == (False, True, number.name)
    statuses = {result["status"] for result in report["results"]}
    assert "stopped" in statuses
    assert "failed" not in statuses
    suites = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert {suite.get("failures") for suite in suites} == {"0"}
    assert int(suites[0].get("skipped", "0")) > 0
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / ".hypothesis").exists()


def test_in_the_background_ctrl_c_is_ignored_and_sigterm_is_not(tmp_path: Path) -> None:
    """A shell starts `... &` so that Ctrl-C is for what is in the foreground."""
    with start(PROGRAM.format(part="live", ignored=True), tmp_path) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "begins\n"
        running.send_signal(signal.SIGINT)
        assert "ok live" in running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=SECONDS)
    assert running.returncode == 143


ENDLESS = """
import os, sys
from pool.check import interrupts, runner, suite
from pool.check.cli import main

if {deaf}:
    interrupts.checkpoint = lambda progress="": None

def body(progress):
    with interrupts.temporary_directory():
        interrupts.run_process([sys.executable, "-c", sys.argv[1], os.getcwd()])

runner._tasks = lambda arguments: [suite.Task("equal", "endless", body, needs_java={java})]
sys.exit(main(["check"]))
"""
"""Waits for a process that ends when it is ended. What is deaf has no checkpoint."""

SLEEPS = """
import os, time
if os.fork():  # two processes: all that it started has to end
    open("begun", "w").close()
time.sleep(3600)
"""


@pytest.mark.parametrize("java", [False, True], ids=["here", "in a thread"])
def test_the_first_one_ends_the_processes_that_are_waited_for(java: bool, tmp_path: Path) -> None:
    with start(ENDLESS.format(deaf=False, java=java), tmp_path, SLEEPS) as running:
        until((tmp_path / "begun").exists, SECONDS)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=SECONDS)
        until(lambda: processes_of(tmp_path) == [])
    assert (running.returncode, err) == (130, "")
    assert "1 stopped, stopped by SIGINT" in out
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("java", [False, True], ids=["here", "in a thread"])
def test_a_second_one_ends_it_at_once_and_leaves_nothing_behind(java: bool, tmp_path: Path) -> None:
    with start(ENDLESS.format(deaf=True, java=java), tmp_path, SLEEPS) as running:
        until((tmp_path / "begun").exists, SECONDS)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGINT)  # who says it twice at once has said it once
        until(lambda: (running.send_signal(signal.SIGINT), running.poll())[1] is not None, SECONDS)
        until(lambda: processes_of(tmp_path) == [])
    assert running.returncode == 130
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_input_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with start(
        "import sys; from pool.check.cli import main; sys.exit(main())",
        tmp_path,
        *("check", "--replay", "-"),
        stdin=subprocess.PIPE,
    ) as running:
        assert running.stdin is not None
        running.stdin.write("Limits(max_size=1)\n")
        running.stdin.flush()
        until(lambda: unread(running.stdin.fileno()) == 0, SECONDS)  # it waits for more
        running.send_signal(signal.SIGINT)
        running.wait(SECONDS)  # its input stays open
        out, err = running.communicate(timeout=SECONDS)
    assert (running.returncode, out, err) == (130, "", "purepool: stopped\n")


def unread(pipe: int) -> int:
    """How many bytes of a pipe nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_what_comes_twice_at_once_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    now = [10.0]
    monkeypatch.setattr(interrupts, "_end_at_once", lambda: ended.append(1))
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    with interrupts.noted():
        assert interrupts.came() is None
        interrupts.checkpoint()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.came(), interrupts.status(), ended) == (signal.SIGTERM, 143, [])
        now[0] += 1.0
        signal.raise_signal(signal.SIGTERM)
        assert ended == [1]
        with pytest.raises(interrupts.Stopped, match=r"^half$"):
            interrupts.checkpoint("half")
    assert interrupts.came() is None


@pytest.mark.parametrize("command", ["check", "fuzz"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_the_first_check(
    command: str,
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was not begun is not failed; people and programs are told that it was stopped."""

    def status(*_: Any) -> Any:
        signal.raise_signal(number)
        return contextlib.nullcontext(Status("", console=Console(file=io.StringIO())))

    monkeypatch.chdir(tmp_path)
    if command == "check":
        monkeypatch.setattr(Console, "status", status)
    else:
        monkeypatch.setattr(fuzz.Kept, "read", status)
    with foreground_signals():
        assert main([command, "--json", "r.json", "--junit", "r.xml"]) == 128 + number
    said = capsys.readouterr()
    assert "checks: 0 passed, " in said.out
    assert f" not begun, stopped by {number.name}, " in said.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert {one["status"] for one in report["results"]} == {"stopped"}
    assert (report["passed"], report["stopped"], report["signal"]) == (False, True, number.name)
    for one in ElementTree.parse(tmp_path / "r.xml").getroot():
        assert (one.get("failures"), one.get("skipped")) == ("0", one.get("tests"))


@pytest.mark.parametrize(
    ("task", "progress"),
    [
        (suite.explore_task(DEEP["deep-caller"]), r"[\d,]+ states, frontier [\d,]+, "),
        (suite.liveness_task(DEEP["deep-caller"]), r"[\d,]+ states, frontier [\d,]+, "),
        (suite.schedules_task(PROGRAMS["deadlines"]), r"[\d,]+ interleavings, [\d,]+ states, "),
        (suite.machine_task("step", 100_000), r"\d of 100,000 examples$"),
        (suite.machine_task("runtime", 100_000), r"\d of 100,000 examples$"),
    ],
    ids=lambda value: f"{value.part}-{value.name}" if isinstance(value, suite.Task) else "",
)
def test_it_stops_where_it_is(task: suite.Task, progress: str) -> None:
    """Not at the end of what it is doing, which may take hours; and it says how far it had come."""
    with foreground_signals(), interrupts.noted():
        result = task.run(lambda underway: signal.raise_signal(signal.SIGTERM))
    assert result.status == "stopped"
    assert re.match(f"stopped after {progress}", result.message), result.message


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_while_vectors_are_generated(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is written by halves, and nothing is missing that was not looked for."""

    def few(*_: Any) -> list[Any]:
        signal.raise_signal(signal.SIGTERM)
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vectors, "limit_cases", few)
    reports = ["--json", "r.json", "--junit", "r.xml"]
    with foreground_signals():
        assert main(["vectors", *options, "--vectors", "made", *reports]) == 143
    assert "stopped" in capsys.readouterr().out
    assert not (tmp_path / "made").exists()
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["stopped"], [one["status"] for one in report["results"]]) == (True, ["stopped"])
    (element,) = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert (element.get("failures"), element.get("skipped")) == ("0", "1")


def test_what_was_stopped_is_counted_as_such_by_all() -> None:
    passed, stopped = (
        Result("explore", status, status, 1.0, {"states": 1}, "why")
        for status in ("passed", "stopped")
    )
    failed = attrs.evolve(passed, name="failed", status="failed")
    assert exit_status([passed, stopped]) == 3
    assert exit_status([failed, stopped]) == 1
    assert verdict([passed, stopped], 1.0) == "2 checks: 1 passed, [yellow]1 stopped[/], 1.0 s"
    report = json.loads(as_json([passed, stopped], 1.0, "check"))
    assert (report["passed"], report["stopped"], report["signal"]) == (False, True, None)
    (element,) = ElementTree.fromstring(as_junit([passed, stopped, failed], 1.0, "check"))
    assert [element.get(name) for name in ("tests", "failures", "skipped")] == ["3", "1", "1"]
    children = [{child.tag for child in case} - {"properties"} for case in element]
    assert children == [set(), {"skipped"}, {"failure"}]


def test_help_and_version_need_nothing_but_the_pool(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['rich', 'hypothesis', 'greenlet']));"
    script = f"{hidden} from pool.check.cli import main; sys.exit(main())"
    helps = ([name, "--help"] for name in COMMANDS)
    for number, words in enumerate((["--version"], ["--help"], *helps)):
        place = tmp_path / str(number)
        place.mkdir()
        with start(script, place, *words) as running:
            out, err = running.communicate(timeout=SECONDS)
        assert (running.returncode, err) == (0, "")
        assert "purepool" in out
        assert max(map(len, out.splitlines())) <= 80
    place = tmp_path / "run"
    place.mkdir()
    with start(script, place, "check", "strangers") as running:
        out, err = running.communicate(timeout=SECONDS)
    assert (running.returncode, out) == (2, "")
    assert err.endswith("is missing: `pip install 'purepool[check]'` brings it\n")
    assert err.count("\n") == 1
