"""`purepool size RECORDING`: what was recorded comes out again, and other sizes are tried.

Theory.  A simulation of recorded callers with the limits that the pool had is right if it gives the
waits that were recorded.  The pool here is a real one, on a clock of the test's own, and what its
callers do are events, so that nothing depends on how busy the machine is.
"""

from __future__ import annotations

import heapq
import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sizing
from pool import Limits
from pool.check import cli
from pool.check.sizing.recorded import read
from pool.core.effects import Grant, Open
from pool.core.events import Acquire, Expire, Opened, Release
from pool.record import FlightRecorder
from pool.record.flight import segments_of
from pool.shared import regularly
from pool.size import simulate
from pool.threads.runtime import Runtime
from tests.integration.drivers import ScriptedDriver


def record(path: Path, size: int, calls: int = 2000, timeout: float | None = None) -> Path:
    """Callers that come at random and hold for a while, put to a runtime as events."""
    now = [1000.0]
    runtime = Runtime(
        ScriptedDriver(), Limits(max_size=size, opener="caller"), clock=lambda: now[0]
    )
    recorder = FlightRecorder(runtime, path, keep="100 MB")
    draw, at = random.Random(5), 1000.0
    due: list[tuple[float, int, Any]] = []
    for number in range(calls):
        at += draw.expovariate(100.0)
        heapq.heappush(due, (at, number, None))
    holds = [draw.expovariate(1 / 0.04) for _ in range(calls)]
    numbers: dict[int, int] = {}
    order = iter(range(calls, 10 * calls))
    waiting: set[int] = set()

    def obey(effects: Any) -> None:
        for effect in effects:
            if isinstance(effect, Grant):
                waiting.discard(effect.ticket)
                end = now[0] + holds[numbers[effect.ticket]]
                heapq.heappush(due, (end, next(order), (effect.ticket, effect.key)))
            elif isinstance(effect, Open):
                obey(runtime.apply(Opened(now[0], effect.ticket, object(), now[0])))

    while due:
        now[0], number, what = heapq.heappop(due)
        if what is None:
            ticket = next(runtime.monitor.tickets)
            numbers[ticket] = number
            waiting.add(ticket)
            if timeout is not None:
                heapq.heappush(due, (now[0] + timeout, next(order), ticket))
            obey(runtime.apply(Acquire(now[0], ticket)))
        elif isinstance(what, int):
            if what in waiting:
                waiting.discard(what)
                obey(runtime.apply(Expire(now[0], what)))
        else:
            obey(runtime.apply(Release(now[0], *what)))
    recorder.stop()
    return recorder.path


@pytest.fixture(autouse=True)
def _told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not `PAUSE`: the thread would sleep so long, also for the tests to come.
    monkeypatch.setattr(regularly, "_tell_of", lambda runtime: None)


def test_with_its_own_limits_the_recorded_waits_come_out(tmp_path: Path) -> None:
    recorded = read(str(record(tmp_path / "app.rec", 5)))
    result = simulate(recorded.limits, recorded.load)
    assert recorded.waits[-1] > 0.01
    assert len(result.waits) == len(recorded.waits) == 1800
    for part in (0.5, 0.95, 0.99, 1.0):
        assert result.quantile(part) == pytest.approx(recorded.quantile(part), rel=0.05, abs=1e-6)


def test_a_recording_whose_holds_are_longer_would_be_noticed(tmp_path: Path) -> None:
    recorded = read(str(record(tmp_path / "app.rec", 5)))
    result = simulate(recorded.limits, recorded.load.scaled(1.1))
    assert result.quantile(0.99) != pytest.approx(recorded.quantile(0.99), rel=0.05)


def test_another_size_is_what_it_would_have_been(tmp_path: Path) -> None:
    """The same callers, recorded with that size."""
    recorded = read(str(record(tmp_path / "five.rec", 5)))
    other = read(str(record(tmp_path / "seven.rec", 7)))
    result = simulate(other.limits, recorded.load)
    assert result.quantile(0.99) == pytest.approx(other.quantile(0.99), rel=0.2)


@pytest.mark.slow
def test_real_threads_meet_what_was_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounds that a busy machine keeps; docs/pool-size.md has figures of a longer run. Where the
    machine stands still for a second in one run, that was another load than the other run's: so
    there are three pairs of runs. What predicts wrongly does so for each."""
    monkeypatch.undo()  # here the recorder is told as it is in a program

    def is_met(row: sizing.Row) -> bool:
        recorded, predicted = row.recorded[-1], row.predicted[-1]
        is_the_same = row.own == pytest.approx(row.recorded, rel=0.1, abs=0.005)
        return is_the_same and recorded / 3 - 0.03 <= predicted <= 3 * recorded + 0.03

    tried: list[list[sizing.Row]] = []
    while not tried or not all(map(is_met, tried[-1])):
        assert len(tried) < 3, tried
        tried.append(sizing.compare(2.5))
    rows = tried[-1]
    assert all(len(line.split("|")) == 6 for line in sizing.table(rows).splitlines())


def test_those_who_gave_up_give_up_again(tmp_path: Path) -> None:
    recorded = read(str(record(tmp_path / "app.rec", 3, timeout=0.2)))
    assert recorded.load.timeout == pytest.approx(0.2)
    assert recorded.refused["timeout"] > 100
    result = simulate(recorded.limits, recorded.load)
    assert result.refused["timeout"] == pytest.approx(recorded.refused["timeout"], rel=0.1)


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    path = str(record(tmp_path / "app.rec", 5))
    assert cli.main(["size", path, "--max-size", "4..9", "--p99", "20ms"]) == 0
    out = capsys.readouterr().out
    assert "recorded with max_size=5:  waits p50" in out
    lines = out.splitlines()
    was = next(line for line in lines if line.startswith("recorded with")).partition("waits ")[2]
    now = next(line for line in lines if line.startswith("simulated with")).partition("waits ")[2]
    assert was == now
    assert "load: 2,000 recorded calls, 1" in out
    assert "is enough" in out


def test_more_of_them(tmp_path: Path, capsys: Any) -> None:
    path = str(record(tmp_path / "app.rec", 5, 500))
    assert cli.main(["size", path, "--max-size", "20", "--load", "2x", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "at 2 times the rate" in told["load"]["origin"]


def test_two_runs_are_not_one(tmp_path: Path) -> None:
    record(tmp_path / "app.rec", 5, 300)
    record(tmp_path / "app.rec", 4, 200)
    recorded = read(str(tmp_path / "app.rec"))
    assert len(segments_of(tmp_path / "app.rec")) == 2
    assert (len(recorded.load.calls), recorded.limits.max_size) == (200, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["size"], "who are the callers? Give a RECORDING, or --rate and --hold"),
        (["size", "--rate", "4/s"], "who are the callers?"),
        (["size", "RECORDING", "--rate", "4/s"], "--rate has no meaning with a recording"),
        (["size", "RECORDING", "--seed", "0"], "--seed has no meaning with a recording"),
        (["size", "nothing.rec"], "nothing.rec"),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: list[str], said: str, tmp_path: Path, capsys: Any
) -> None:
    path = str(record(tmp_path / "app.rec", 5, 20))
    assert cli.main([path if one == "RECORDING" else one for one in given]) == 2
    assert said in capsys.readouterr().err


def test_a_recording_in_which_nobody_got_anything(tmp_path: Path, capsys: Any) -> None:
    runtime = Runtime(ScriptedDriver(), Limits(opener="caller"))
    with FlightRecorder(runtime, tmp_path / "app.rec") as recorder:
        held = runtime.acquire()
    assert held.held
    assert cli.main(["size", str(recorder.path)]) == 2
    assert "no call was granted a connection and returned it" in capsys.readouterr().err
