"""Ctrl-C and SIGTERM in `purepool`: what was interrupted is stopped, never failed; nothing stays.

Theory.  A signal may come at any instant, so it comes at random ones, in each part of `check`: each
runs in a process of its own which says when it has begun, and then is told to end.  It has more to
do than any machine gets done until then.  What it says in the end is read in all outputs.
(`conform` is in `test_conform_bad_ports.py`, `fuzz` also in `test_fuzz.py`.)
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pool.check import interrupts, suite
from tests.integration.drivers import ROOT, until
from tests.integration.processes import SECONDS, process

PROGRAM = """
import signal, sys
if {ignored}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from pool.check import checking, suite
from pool.check.cli import main
tasks = [task for task in [*suite.profile("ci"), *suite.without_java()] if task.part == {part!r}]
def many(arguments):
    print("begins", flush=True)
    return tasks * (1 + 2000 // len(tasks))
checking._tasks = many
sys.exit(main(["check", "--json", "r.json", "--junit", "r.xml"]))
"""
PARTS = sorted({task.part for task in [*suite.profile("ci"), *suite.without_java()]})


def start(
    script: str, place: Path, *arguments: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    temporary = place / "temporary"
    temporary.mkdir()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)}
    return process([sys.executable, "-c", script, *arguments], cwd=place, env=environment)


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
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
    assert f"({number.name})" in out
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


NEVER_LOOKS = """
import sys, time
from pool.check import checking, interrupts, suite
from pool.check.cli import main

def body(progress):
    with interrupts.temporary_directory():
        open("begun", "w").close()
        while True:
            time.sleep(0.01)

checking._tasks = lambda arguments: [suite.Task("explore", "stuck", body)]
sys.exit(main(["check"]))
"""


def test_a_second_one_ends_it_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with start(NEVER_LOOKS, tmp_path) as running:
        until((tmp_path / "begun").exists, SECONDS)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGINT)  # who says it twice at once has said it once
        until(lambda: (running.send_signal(signal.SIGINT), running.poll())[1] is not None, SECONDS)
    assert running.returncode == 130
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_comes_twice_at_once_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    now = [10.0]
    monkeypatch.setattr(interrupts, "_end_at_once", lambda: ended.append(1))
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    with interrupts.noted():
        assert interrupts.came() is None
        interrupts.look()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.came(), interrupts.status(), ended) == (signal.SIGTERM, 143, [])
        now[0] += 1.0
        signal.raise_signal(signal.SIGTERM)
        assert ended == [1]
        with pytest.raises(interrupts.Stopped, match=r"^half$"):
            interrupts.look("half")
    assert interrupts.came() is None


def test_help_and_version_need_nothing_but_the_pool(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['rich', 'hypothesis', 'greenlet']));"
    script = f"{hidden} from pool.check.cli import main; sys.exit(main())"
    for number, words in enumerate((["--help"], ["check", "--help"], ["--version"])):
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
