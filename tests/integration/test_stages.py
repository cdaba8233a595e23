"""`make test`, `make thorough`: each runs its stages, says what became of them, and can be ended.

Theory.  The stages here are those of a make that is a script of three lines, so that each of them
does at once what a real one does in minutes.  How they end is read as a person reads it: from what
is printed, and from the exit status.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.drivers import ROOT, until
from tests.integration.processes import SECONDS, is_gone, process, run
from tests.stages import STAGES, environment

pytestmark = pytest.mark.once

TITLES = {"one": "the first", "two": "the second", "three": "the third"}

MAKE = """
import os, signal, subprocess, sys, time
from pathlib import Path
place, failing, ignored = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split()
target = sys.argv[4]
def mark(name):
    (place / f"{name}.new").write_text(str(os.getpid()))
    (place / f"{name}.new").rename(place / name)
if target == "sleeps":
    for number in map(int, ignored):
        signal.signal(number, signal.SIG_IGN)
    name = "stage" if os.fork() else "child"
    if name == "child" and "child" in failing:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        mark(name)
        while True:
            time.sleep(0.05)  # not long: a signal that comes just before a sleep does not end it
    except KeyboardInterrupt:
        mark(name + " cleaned up")
        sys.exit(130)
(place / target).touch()
sys.exit(2 * (target in failing.split()))
"""

RUN = """
import json, sys
from tests.stages import Stage, Stages
grace, command, stages, place = json.loads(sys.argv[1])
class Told(Stages):
    def _stop(self, number, frame):
        super()._stop(number, frame)
        open(f"{place}/told", "w").close()
print = lambda line: (sys.stdout.write(line + "\\n"), sys.stdout.flush())
sys.exit(Told(command, [Stage(*one) for one in stages], grace).run(print))
"""


def command(
    place: Path, targets: str, failing: str = "", ignored: str = "", grace: float = 1000.0
) -> list[str]:
    """Runs these stages, with the make from above."""
    make = [sys.executable, "-c", MAKE, str(place), failing, ignored]
    named = [[target, TITLES.get(target, target)] for target in targets.split()]
    return [sys.executable, "-c", RUN, json.dumps([grace, make, named, str(place)])]


def verdicts(out: str) -> dict[str, str]:
    """By target, from the summary."""
    line = r"^    .+?  (passed|FAILED|interrupted|not run) +\d+  make (\w+)$"
    found = re.findall(line, out, re.M)
    return {target: verdict for verdict, target in found}


def test_all_pass(tmp_path: Path) -> None:
    done = run(command(tmp_path, "one two three"), cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert verdicts(done.stdout) == dict.fromkeys(TITLES, "passed")
    assert re.match(r"==> all 3 stages passed, after \d+ s, with ", done.stdout.splitlines()[-1])


@pytest.mark.parametrize("failing", ["one", "two", "three", "one three"])
def test_the_others_run_after_one_that_fails(failing: str, tmp_path: Path) -> None:
    done = run(command(tmp_path, "one two three", failing), cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")
    assert all((tmp_path / target).exists() for target in TITLES)
    failed = failing.split()
    assert verdicts(done.stdout) == {
        target: "FAILED" if target in failed else "passed" for target in TITLES
    }
    assert f"==> {len(failed)} of 3 stages FAILED" in done.stdout.splitlines()[-1]


# ---------------------------------------------------------------- interrupted


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """A stage has a session of its own: where it was not ended, the end of its runner's is none."""
    yield
    for mark in (tmp_path / "stage", tmp_path / "child"):
        if mark.exists() and not is_gone(int(mark.read_text())):
            os.kill(int(mark.read_text()), signal.SIGKILL)


def sleeps(place: Path) -> list[int]:
    """The processes of a stage that sleeps, once they do."""
    marks = [place / "stage", place / "child"]
    until(lambda: all(mark.exists() for mark in marks))
    return [int(mark.read_text()) for mark in marks]


def ended(runner: subprocess.Popen[str], sleeping: list[int]) -> str:
    """What it printed; nothing of the stage is left."""
    out, err = runner.communicate(timeout=SECONDS)
    assert err == ""
    until(lambda: all(map(is_gone, sleeping)))
    return out


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it(stop: signal.Signals, tmp_path: Path) -> None:
    with process(command(tmp_path, "one sleeps three"), cwd=ROOT) as runner:
        sleeping = sleeps(tmp_path)
        runner.send_signal(stop)
        out = ended(runner, sleeping)
    assert runner.returncode == 128 + stop
    assert verdicts(out) == {"one": "passed", "sleeps": "interrupted", "three": "not run"}
    assert out.splitlines()[-1].startswith(f"==> interrupted by {stop.name}, after ")
    # the stage itself had the signal, and time to take away what it made
    assert (tmp_path / "stage cleaned up").exists() == (stop == signal.SIGINT)
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("grace", "signals"), [(0.01, 1), (1000.0, 2)], ids=["after its grace", "by a second signal"]
)
def test_a_stage_that_does_not_listen_is_killed(grace: float, signals: int, tmp_path: Path) -> None:
    deaf = str(signal.SIGINT.value)
    with process(command(tmp_path, "sleeps", ignored=deaf, grace=grace), cwd=ROOT) as runner:
        sleeping = sleeps(tmp_path)
        for _ in range(signals):
            runner.send_signal(signal.SIGINT)
            until((tmp_path / "told").exists)  # two that come at once would be one
        out = ended(runner, sleeping)
    assert runner.returncode == 130
    assert verdicts(out) == {"sleeps": "interrupted"}


def test_what_a_stage_leaves_behind_is_killed(tmp_path: Path) -> None:
    """It ends by the signal, but one of its processes does not."""
    with process(command(tmp_path, "sleeps", failing="child"), cwd=ROOT) as runner:
        sleeping = sleeps(tmp_path)
        runner.send_signal(signal.SIGINT)
        ended(runner, sleeping)
    assert runner.returncode == 130
    assert not (tmp_path / "child cleaned up").exists()


def test_a_signal_that_is_ignored_from_the_beginning_stays_so(tmp_path: Path) -> None:
    """A job in the background of a shell: Ctrl-C is for another one."""
    with process(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command(tmp_path, "sleeps")], cwd=ROOT
    ) as runner:
        sleeping = sleeps(tmp_path)
        runner.send_signal(signal.SIGINT)
        runner.send_signal(signal.SIGTERM)
        ended(runner, sleeping)
    assert runner.returncode == 128 + signal.SIGTERM


# ---------------------------------------------------------------- what it is given


def test_every_stage_is_a_target_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)[0].split()
    for stage in itertools.chain(*STAGES.values()):
        assert re.search(f"^{stage.target}: .*\n\t@", makefile, re.M), stage.target
        assert stage.target in phony


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("", ""),
        (" -j4 --jobserver-auth=3,4", ""),
        (
            "ks -j --jobserver-auth=fifo:/tmp/GMfifo1 -- PYTHON=python3.12",
            "ks -- PYTHON=python3.12",
        ),
    ],
)
def test_a_stage_has_no_job_slots(given: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", given)
    monkeypatch.setenv("MAKELEVEL", "1")
    made = environment()
    assert made["MAKEFLAGS"] == left
    assert "MAKELEVEL" not in made
