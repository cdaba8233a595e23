"""What `make run` and `make bench` start: they run, say what they should, and clean up.

Theory.  Figures are not tested here; those depend on the machine, and are what the benchmarks are
for.  What is tested is that a person gets a table and a verdict, that a program gets JSON, that a
file gets no control codes, and that who presses Ctrl-C is left with nothing to clean up.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import demo
from benchmarks.claims import Row, at_most
from benchmarks.measure import Turn, percentile, wakeups
from pool import Release
from pool.record import Recorder
from tests.integration.drivers import PATIENCE, ROOT, until

SMALL = ("--seconds", "0.2", "--rounds", "1", "--threads", "8", "--connections", "2")


def start(module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(module: str, *arguments: str, **environment: str) -> str:
    """What it printed; it must end well."""
    process = start(module, *arguments, **environment)
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    return out


# ---------------------------------------------------------------- make run


def test_the_demo_shows_a_table_and_a_verdict(tmp_path: Path) -> None:
    out = run("benchmarks.demo", *SMALL, TMPDIR=str(tmp_path))
    for words in ("throughput", "p50", "p99", "longest", "fewest", "most", "wakeup"):
        assert words in out
    assert "purepool" in out
    assert "playhouse.pool" in out
    assert "Verdict: sound." in out
    assert "\x1b" not in out, "control codes, though this is no terminal"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_needs_no_unicode() -> None:
    assert "Verdict: sound." in run("benchmarks.demo", *SMALL, PYTHONIOENCODING="ascii")


@pytest.mark.slow
def test_the_demo_in_a_terminal() -> None:
    assert "\x1b[" in run("benchmarks.demo", *SMALL, FORCE_COLOR="1", TERM="xterm")


@pytest.mark.slow
def test_the_demo_for_programs() -> None:
    result = json.loads(run("benchmarks.demo", *SMALL, "--json"))
    assert result["settings"]["threads"] == 8
    assert set(result["medians"]) == set(demo.NAMES)
    for figures in result["medians"].values():
        assert figures["throughput"] > 0
        assert figures["fewest"] <= figures["most"]
    assert result["history"]["violations"] == []
    assert result["history"]["events"] == sum(result["history"]["kinds"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_interrupted(tmp_path: Path, signal_: signal.Signals) -> None:
    """One line, nothing left behind, and the exit status that shells expect."""
    process = start("benchmarks.demo", "--seconds", "60", TMPDIR=str(tmp_path))
    until(lambda: list(tmp_path.glob("purepool-*/*.db")))
    time.sleep(0.2)
    process.send_signal(signal_)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal_
    assert err.splitlines() == ["interrupted; nothing is left behind"]
    assert list(tmp_path.iterdir()) == []


def test_the_demo_says_when_the_history_is_not_sound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Recorder.check

    def corrupt(recorder: Recorder, progress: Any) -> Any:
        number, (event, effects) = next(
            (number, record)
            for number, record in enumerate(recorder._history)
            if isinstance(record[0], Release)
        )
        recorder._history[number] = event._replace(key=999), effects
        return honest(recorder, progress)

    monkeypatch.setattr(Recorder, "check", corrupt)
    assert demo.main([*SMALL]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "Verdict: not sound." in out
    assert "key=999" in out


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many"])
def test_the_demo_refuses_nonsense(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        demo.main(["--seconds", value])
    assert exit_.value.code == 2
    assert f"'{value}'" in capsys.readouterr().err


def test_the_demo_has_help() -> None:
    assert "--seconds" in run("benchmarks.demo", "--help")


# ---------------------------------------------------------------- make bench


def test_the_benchmarks_are_listed() -> None:
    names = [line.split()[0] for line in run("benchmarks", "--list").splitlines()]
    assert len(names) == len(set(names)) >= 8
    assert {"cold-start", "fairness", "interrupts", "peewee-turn", "spike", "wakeups"} <= {*names}


def test_the_benchmarks_have_help() -> None:
    assert "--only" in run("benchmarks", "--help")


@pytest.mark.slow
def test_one_claim_as_a_table() -> None:
    out = run("benchmarks", "--quick", "--only", "peewee-turn")
    assert "verdict" in out
    assert "targets met" in out
    assert "\x1b" not in out


@pytest.mark.slow
def test_one_claim_for_programs() -> None:
    result = json.loads(run("benchmarks", "--quick", "--json", "--only", "cold-start"))
    rows = result["cold-start"]["rows"]
    assert len(rows) == 2
    for row in rows:
        # twenty slow connects or checks side by side, with a tenfold bound: never one by one
        assert row["figures"]["purepool"] < 0.5
        assert row["verdict"] in ("met", "missed")


def test_an_unknown_claim_is_refused() -> None:
    process = start("benchmarks", "--only", "everything")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "'everything'" in err
    assert "fairness" in err


# ---------------------------------------------------------------- the arithmetic


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 1) == 7.0
    assert math.isnan(percentile([], 50))


def test_wakeups_go_to_who_waited() -> None:
    """One who asked after the connection came back, and was quicker, is not the answer."""
    holder = Turn(thread=1, connection=1, asked=0.0, running=0.0, returned=10.0)
    barger = Turn(thread=1, connection=1, asked=10.0, running=10.0, returned=20.0)
    waiter = Turn(thread=2, connection=1, asked=5.0, running=20.5, returned=30.0)
    elsewhere = Turn(thread=3, connection=2, asked=5.0, running=11.0, returned=12.0)
    assert Counter(wakeups([waiter, holder, elsewhere, barger])) == Counter([10.5, 0.5])
    assert wakeups([holder, barger]) == []


def test_wakeups_by_brute_force() -> None:
    """The quick way gives what the obvious way gives."""
    import random

    dice = random.Random(1)
    turns = []
    clock = 0.0
    for number in range(300):
        running = clock + dice.random()
        clock = running + dice.random()
        turns.append(Turn(number, 1, running - 6 * dice.random(), running, clock))
    obvious = [
        min(later.running for later in turns if later.running > turn.returned > later.asked)
        - turn.returned
        for turn in turns
        if any(later.running > turn.returned > later.asked for later in turns)
    ]
    assert sorted(wakeups(turns)) == sorted(obvious)


def test_a_target_is_met_or_missed() -> None:
    assert at_most("wait", "s", {"purepool": 0.004}, 0.005).verdict == "met"
    assert at_most("wait", "s", {"purepool": 0.006}, 0.005).verdict == "missed"
    assert at_most("wait", "s", {"purepool": "never"}, 0.005).verdict == "missed"
    assert Row("wait", "s", {"purepool": 0.006}).verdict == "reported"
    shown = Row("wait", "s", {"one": 0.0061, "two": 1.5, "three": "pip install three"})
    assert [shown.show(name) for name in ("one", "two", "three", "four")] == [
        "6.10 ms",
        "1.50 s",
        "pip install three",
        "",
    ]
