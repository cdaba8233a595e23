"""`purepool size` as its user has it: what it is given, what it prints, draws and returns."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool.check import cli, interrupts
from pool.check.sizing import command, given
from pool.size.loads import poisson
from tests.integration.drivers import ROOT

pytestmark = pytest.mark.once

SMALL = ["size", "--rate", "40/s", "--hold", "50ms", "--calls", "2000"]


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as left:  # argparse
        return int(left.code or 0)


# ---------------------------------------------------------------- what it is given


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (given.seconds, "50ms", 0.05),
        (given.seconds, "1.5s", 1.5),
        (given.seconds, "2min", 120.0),
        (given.seconds, "800us", 0.0008),
        (given.seconds, "0s", 0.0),
        (given.rate, "400/s", 400.0),
        (given.rate, "24000/min", 400.0),
        (given.rate, "1e6/h", 1e6 / 3600),
        (given.sizes, "8", (8,)),
        (given.sizes, "2..5", (2, 3, 4, 5)),
        (given.sizes, "16, 4,8..9", (4, 8, 9, 16)),
        (given.factor, "2x", 2.0),
        (given.factor, "0.5", 0.5),
        (given.part, "0", 0.0),
        (given.part, "0.1%", 0.001),
        (given.part, "0.25", 0.25),
    ],
)
def test_what_is_written_is_understood(read: Callable[[str], Any], text: str, value: Any) -> None:
    assert read(text) == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("read", "texts", "allowed"),
    [
        (given.seconds, ["50", "ms", "-1s", "1d", "", "1e3s", "50 ms"], "a time with its unit"),
        (given.rate, ["400", "/s", "0/s", "-1/s", "nan/s", "4/d", "inf/s"], "calls in a time"),
        (
            given.hold,
            ["0ms", "50ms,round", "50ms,fixed,2", "50ms,lognormal,0", "50ms,lognormal,x"],
            "a time above 0",
        ),
        (given.sizes, ["0", "5..2", "x", "1..9999", "", "-1", "1.5"], "sizes from 1 on"),
        (given.factor, ["0x", "x", "-1x", "nan"], "a factor above 0"),
        (given.part, ["2", "-1", "101%", "x"], "a part of the callers"),
    ],
)
def test_what_cannot_be_is_refused(
    read: Callable[[str], Any], texts: list[str], allowed: str
) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=f"allowed is {allowed}") as caught:
            read(text)
        assert str(caught.value).startswith(f"{text}: ")


@pytest.mark.parametrize(
    ("text", "mean", "name", "spread"),
    [
        ("50ms", 0.05, "exponential", 1.0),
        ("50ms,fixed", 0.05, "fixed", 0.0),
        ("2s,lognormal,2", 2.0, "lognormal, spread 2", 2.0),
        ("2s,lognormal", 2.0, "lognormal, spread 1", 1.0),
    ],
)
def test_hold_times_have_the_shape_that_was_asked_for(
    text: str, mean: float, name: str, spread: float
) -> None:
    average, called, shape = given.hold(text)
    assert (average, called) == (mean, name)
    holds = [call.hold for call in poisson(1.0, average, calls=50_000, shape=shape).calls]
    middle = math.fsum(holds) / len(holds)
    deviation = math.sqrt(math.fsum((hold - middle) ** 2 for hold in holds) / len(holds))
    assert middle == pytest.approx(mean, rel=0.05)
    assert deviation / middle == pytest.approx(spread, rel=0.2, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (0.00028, "280 us"),
        (0.0059, "5.9 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.534, "1.53 s"),
        (4321.0, "4,321 s"),
        (math.nan, "-"),
    ],
)
def test_times_are_told_with_their_unit(seconds: float, text: str) -> None:
    assert given.spoken(seconds) == text


# ---------------------------------------------------------------- what it says


def test_the_smallest_that_is_enough_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--max-size", "1..8", "--json", "-") == 0
    out, shown = capsys.readouterr()
    said = json.loads(out)
    enough = said["enough"]
    rows = {row["max_size"]: row for row in said["settings"]}
    assert rows[enough]["waits"]["p99"] <= 0.01 < rows[enough - 1]["waits"]["p99"]
    assert f"max_size={enough} is enough." in shown
    assert re.search(rf"^ *-> {enough} ", shown, re.M)
    longer = said["if_held_longer"]
    assert longer["max_size"] == enough
    assert longer["waits"]["p99"] > rows[enough]["waits"]["p99"]
    assert given.spoken(longer["waits"]["p99"]) in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_none_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--max-size", "1..2") == 1
    assert "None of these is enough." in capsys.readouterr().out


def test_refusals_count_as_much_as_waits(capsys: pytest.CaptureFixture[str]) -> None:
    strict = (*SMALL, "--max-size", "4", "--timeout", "1ms")
    assert run(*strict) == 1
    assert run(*strict, "--refused", "50%") == 0
    assert "timeout 1 ms" in capsys.readouterr().out


def test_twice_the_load(tmp_path: Path) -> None:
    for name, more in (("once", ()), ("twice", ("--load", "2x"))):
        assert run(*SMALL, *more, "--max-size", "12", "--json", str(tmp_path / name)) == 0
    once, twice = (json.loads((tmp_path / name).read_text()) for name in ("once", "twice"))
    assert twice["load"]["rate"] == pytest.approx(2 * once["load"]["rate"])
    assert twice["load"]["hold"] == once["load"]["hold"]


def test_the_limits_that_are_given_are_those_that_are_tried(tmp_path: Path) -> None:
    report = tmp_path / "report"
    limits = ("--min-idle", "3", "--max-waiting", "1", "--opener", "background")
    run(*SMALL, "--max-size", "2,6", *limits, "--connect", "1s", "--json", str(report))
    small, large = json.loads(report.read_text())["settings"]
    assert (small["min_idle"], large["min_idle"]) == (2, 3)
    assert small["refused"]["too_many_waiting"] > 0
    assert {row["opener"] for row in (small, large)} == {"background"}


def test_limits_that_cannot_be_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--min-idle", "1", "--opener", "caller") == 2
    assert "min_idle=1: allowed is 0 with opener='caller'" in capsys.readouterr().err


@pytest.mark.parametrize("busy", [0.01, 1.0, 2.0, 20.0, 1000.0])
def test_sizes_that_nobody_gave_surround_what_is_kept_busy(busy: float) -> None:
    sizes = command.likely(busy)
    assert sizes[0] <= max(1, busy) < sizes[-1]
    assert len(sizes) <= 2 * command.SETTINGS
    assert sizes == sorted(set(sizes))


def test_both_pictures_are_drawn(tmp_path: Path) -> None:
    if sys.version_info < (3, 15):
        import matplotlib  # noqa: F401  # to be had: else this test is not to be passed over
    else:
        pytest.importorskip("matplotlib", reason="no wheels for this Python yet")
    png, svg = tmp_path / "size.png", tmp_path / "size.svg"
    assert run(*SMALL, "--max-size", "1..9", "--png", str(png), "--svg", str(svg)) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    drawn = svg.read_text()
    assert "goal for p99: 10 ms" in drawn
    assert "40 calls/s that hold for 50 ms (exponential)" in drawn


def test_a_missing_package_is_named_before_anything_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "pool.check.sizing.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*SMALL, "--png", str(tmp_path / "size.png")) == 2
    out, err = capsys.readouterr()
    assert "purepool[size]" in err
    assert not out


def test_a_picture_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--png", "-") == 2
    assert "--png: -: allowed is a file" in capsys.readouterr().err


def test_stopped_is_not_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate, done = command.simulate, []

    def stop_in_the_third(*given: Any) -> Any:
        done.append(given)
        if len(done) == 3:
            raise interrupts.Stopped
        return simulate(*given)

    monkeypatch.setattr(command, "simulate", stop_in_the_third)
    assert run(*SMALL, "--max-size", "1..6", "--json", "-") == 130
    out, shown = capsys.readouterr()
    assert "stopped: the other sizes were not tried" in shown
    assert [row["max_size"] for row in json.loads(out)["settings"]] == [1, 2]
    assert "None of these is enough" not in shown


# ---------------------------------------------------------------- the page


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/pool-size.md").read_text()
    found = re.search(r"```console\n\$ purepool (size [^\n]*)\n(.*?)```", page, re.S)
    assert found is not None
    arguments = found[1].replace(" --svg pool-size.svg", "").split()
    assert run(*arguments) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == found[2].rstrip("\n").split("\n")
    drawn = (ROOT / "docs/pool-size.svg").read_text()
    assert "400 calls/s that hold for 20 ms" in drawn
