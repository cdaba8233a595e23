"""What `make run` and `make bench` start: they run, say what they should, and clean up.

Theory.  Figures are not tested here; those depend on the machine, and are what the benchmarks are
for.  What is tested is that a person gets a table and a verdict, that a program gets JSON, that a
file gets no control codes, and that who presses Ctrl-C is left with nothing to clean up.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as bench
from benchmarks import demo
from benchmarks.claims import Claim, Plan, Row, at_least, at_most
from benchmarks.measure import Turn, percentile, wakeups
from pool import Release
from pool.record import Recorder
from tests.integration.drivers import ROOT, until
from tests.integration.processes import SECONDS, foreground_signals, process
from tests.integration.processes import run as run_process

SMALL = ("--seconds", "0.2", "--rounds", "1", "--threads", "8", "--connections", "2")


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", module, *arguments]


def finish(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_process(command(module, *arguments), cwd=ROOT, env={**os.environ, **environment})


def run(module: str, *arguments: str, **environment: str) -> str:
    """What it printed; it must end well."""
    done = finish(module, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
def test_the_demo_fits_a_small_terminal_and_leads_with_what_a_thread_meets() -> None:
    small = ("--seconds", "0.2")  # and as many rounds, threads and connections as ever
    lines = run("benchmarks.demo", *small, COLUMNS="80").splitlines()
    assert len(lines) < 24, "the first line scrolls away"
    assert max(map(len, lines)) <= 80
    rows = [line.split(",")[0].split("  ")[0].strip() for line in lines]
    first, last = rows.index("longest wait"), rows.index("throughput")
    assert rows.index("wait of all checkouts") > first
    assert last > first


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
    tasks = result["tasks"]
    assert 0 < tasks["fewest"] <= tasks["most"]
    assert tasks["delivered"] == tasks["cancelled"] > 0
    assert tasks["whole"] == 2
    assert result["history"]["violations"] == []
    assert result["history"]["events"] == sum(result["history"]["kinds"].values()) > 0


def has_rows(file: Path) -> bool:
    """Whether a turn was done: the round is under way."""
    with (
        contextlib.suppress(sqlite3.OperationalError),  # no table yet, or no file any more
        contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection,
    ):
        return bool(connection.execute("select count(*) from orders").fetchone()[0])
    return False


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_interrupted(tmp_path: Path, signal_: signal.Signals) -> None:
    """One line, nothing left behind, and the exit status that shells expect."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    long = command("benchmarks.demo", "--seconds", str(2 * SECONDS))
    with process(long, cwd=ROOT, env=environment) as running:
        until(lambda: any(map(has_rows, tmp_path.glob("purepool-*/*.db"))), SECONDS)
        running.send_signal(signal_)
        _, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 128 + signal_
    assert err.splitlines() == ["interrupted; nothing is left behind"]
    assert list(tmp_path.iterdir()) == []


def test_the_demo_says_when_the_history_is_not_sound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Recorder.check

    def corrupt(recorder: Recorder, progress: Any) -> Any:
        number, (event, effects) = next(
            (number, record)
            for number, record in enumerate(recorder.history)
            if isinstance(record[0], Release)
        )
        recorder._scribe.notes[number] = event._replace(key=999), effects
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
    assert {"cold-start", "fairness", "interrupts", "peewee-checkout", "spike", "wakeups"} <= {
        *names
    }


def test_the_commands_of_the_page_about_the_comparison_are_commands() -> None:
    page = (ROOT / "docs" / "measured.md").read_text("utf-8")
    named = re.findall(r"`python -m benchmarks --only (\S+)`", page)
    assert len(named) == 5
    assert {*named} <= {line.split()[0] for line in run("benchmarks", "--list").splitlines()}


def test_the_benchmarks_have_help() -> None:
    assert "--only" in run("benchmarks", "--help")


@pytest.mark.slow
def test_one_claim_as_a_table() -> None:
    done = finish("benchmarks", "--quick", "--only", "peewee-checkout")
    assert "verdict" in done.stdout
    assert "targets met" in done.stdout
    assert "\x1b" not in done.stdout
    # Whether it is met depends on what else the machine does; what is said then does not.
    missed = re.search(r"\bmissed\b", done.stdout) is not None
    assert done.returncode == missed
    assert ("--only peewee-checkout" in done.stderr) == missed


@pytest.mark.slow
def test_one_claim_for_programs() -> None:
    done = finish("benchmarks", "--quick", "--json", "--only", "cold-start")
    rows = json.loads(done.stdout)["cold-start"]["rows"]
    assert len(rows) == 2
    for row in rows:
        assert row["figures"]["purepool"] > 0
        assert row["verdict"] in ("met", "missed")
    assert done.returncode == any(row["verdict"] == "missed" for row in rows)


def claim(name: str, *verdicts: bool | None) -> Claim:
    """Measures nothing, with these results."""

    def measure(_: Plan) -> list[Row]:
        return [Row(name, "s", {"purepool": 1.0}, met=met) for met in verdicts]

    return Claim(name, name, name, measure)


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    ("only", "status", "said"),
    [
        ([], 1, "1 of 3 targets met."),
        (["good"], 0, "1 of 1 targets met."),
        (["reported"], 0, "0 of 0 targets met."),
        (["bad"], 1, "0 of 2 targets met."),
    ],
)
def test_a_missed_target_fails(
    only: list[str],
    status: int,
    said: str,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    claims = [claim("good", True, None), claim("reported", None), claim("bad", False, False)]
    monkeypatch.setattr(bench, "all_claims", lambda: {one.name: one for one in claims})
    arguments = [word for name in only for word in ("--only", name)]
    assert bench.main([*arguments, *options]) == status
    out, err = capsys.readouterr()
    assert ("-m benchmarks --only bad\n" in err) == (status == 1)
    assert (f"takes {bench.DURATION}" in err) == (not only)
    if options:
        assert len(json.loads(out)) == len(only or claims)
    else:
        assert said in out


@pytest.mark.parametrize("figure", ["not installed", math.nan])
def test_a_figure_that_there_is_not_meets_no_target(figure: Any) -> None:
    figures = {"purepool": figure}
    assert at_most("waits", "s", figures, 1.0).verdict == "missed"
    assert at_least("rate", "count", figures, 1.0).verdict == "missed"


def test_ctrl_c_in_a_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Plan) -> list[Row]:
        signal.raise_signal(signal.SIGINT)
        return []

    claims = {"one": Claim("one", "one", "one", interrupted)}
    monkeypatch.setattr(bench, "all_claims", lambda: claims)
    with foreground_signals():
        assert bench.main([]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_an_unknown_claim_is_refused() -> None:
    done = finish("benchmarks", "--only", "everything")
    assert done.returncode == 2
    assert "'everything'" in done.stderr
    assert "fairness" in done.stderr


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
