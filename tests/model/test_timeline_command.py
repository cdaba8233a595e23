"""`purepool timeline` as its user has it: what it is given, what it says, writes and returns."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from pool.check import cli, interrupts
from pool.check.timeline import command
from pool.record import format
from tests.model.recorded import record
from tests.model.test_timeline import LIMITS, STORY


def run(*arguments: object) -> int:
    try:
        return cli.main([str(one) for one in ("timeline", *arguments)])
    except SystemExit as left:  # argparse
        return int(left.code or 0)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "shop.rec"
    state = record(place, LIMITS, STORY[:6], segment=1)
    state = record(place, LIMITS, STORY[6:12], state=state, segment=2, now=6.5)
    record(place, LIMITS, STORY[12:], state=state, segment=3, now=11.7)
    monkeypatch.chdir(tmp_path)
    return place


def test_a_page_of_the_name_of_the_recording(recording: Path, capsys: Any) -> None:
    assert run(recording) == 0
    page = recording.parent / "shop.html"
    assert page.read_text().startswith("<!doctype html>")
    assert capsys.readouterr().out == f"shop.html: {len(STORY)} transitions\n"
    assert not list(recording.parent.glob(".timeline*"))


def test_where_it_is_told(recording: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(recording / "00000002.purepool", "-o", tmp_path / "x.htm", "--title", "a < b") == 0
    assert "<title>a &lt; b</title>" in (tmp_path / "x.htm").read_text()
    assert run(recording, "-o", "-") == 0
    assert capsys.readouterr().out.count("<!doctype html>") == 1


def test_the_page_may_be_read_by_whom_other_files_may(recording: Path) -> None:
    before = os.umask(0o022)
    try:
        assert run(recording) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("shop.html").stat().st_mode) == 0o644


def test_a_page_of_before_is_replaced_and_nothing_else(recording: Path, capsys: Any) -> None:
    assert run(recording) == 0
    assert run(recording) == 0
    Path("notes.html").write_text("my notes")
    assert run(recording, "-o", "notes.html") == 2
    assert Path("notes.html").read_text() == "my notes"
    said = capsys.readouterr().err
    assert (
        said == "purepool: notes.html: is there already, and is no time line: it is left as it is\n"
    )
    first = recording / "00000001.purepool"
    before = first.read_bytes()
    assert run(recording, "-o", first) == 2
    assert first.read_bytes() == before


def test_who_is_interrupted_has_the_page_of_before(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(recording) == 0
    before = Path("shop.html").read_bytes()

    def stopped(*_: object) -> None:
        raise interrupts.Stopped

    monkeypatch.setattr(command.interrupts, "checkpoint", stopped)
    assert run(recording, "--title", "another") == 130
    assert Path("shop.html").read_bytes() == before
    assert not list(recording.parent.glob(".timeline*"))


def test_several_go_into_one_page(recording: Path, tmp_path: Path, capsys: Any) -> None:
    place = tmp_path / "program.rec"
    place.mkdir()
    for name in ("a", "b"):
        record(place / f"{name}-12", LIMITS, STORY, pool=name)
    assert run(place) == 0
    assert f"program.html: {2 * len(STORY)} transitions of 2 pools" in capsys.readouterr().out
    assert (
        "<title>pool &#x27;a&#x27;, pool &#x27;b&#x27;</title>" in Path("program.html").read_text()
    )
    assert run(recording, place / "a-12", "-o", "two.html") == 0


@pytest.mark.parametrize("given", [["nothing.rec"], ["empty"], []])
def test_what_is_no_recording(given: list[str], recording: Path, capsys: Any) -> None:
    Path("empty").mkdir()
    assert run(*given) == 2
    said = capsys.readouterr().err
    assert {
        "nothing.rec": "nothing.rec: there is no such file or directory",
        "empty": "empty: no recording: it has no *.purepool files",
    }.get(next(iter(given), ""), "RECORDING") in said


def test_where_it_cannot_be_written(recording: Path, capsys: Any) -> None:
    assert run(recording, "-o", "no/such/place.html") == 2
    assert "no/such/place.html: there is no directory no/such" in capsys.readouterr().err
    assert run(recording, "-o", recording) == 2
    assert "is a directory" in capsys.readouterr().err


# ---------------------------------------------------------------- what cannot be read


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"Expire"', b'"Expirf"'))


def lie(path: Path) -> None:
    """A line that is whole, and not what the machine decides."""
    lines = path.read_bytes().splitlines(keepends=True)
    value = format.parse(lines[2][:-1])
    lines[2] = format.line(value[:1])
    path.write_bytes(b"".join(lines))


def be_from_the_future(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[0] = format.line({**format.parse(lines[0][:-1]), "version": 99})
    path.write_bytes(b"".join(lines))


def be_another(path: Path) -> None:
    path.write_bytes(b"a letter\n" + path.read_bytes())


WRONG = {
    cut: "00000002.purepool: line 8: the file ends in the middle of a line",
    damage: "00000002.purepool: line 3: a damaged line: its checksum is another",
    lie: "00000002.purepool: line 3: recorded",
    be_from_the_future: "00000002.purepool: line 1: version 99 of the format; this purepool reads",
    be_another: "00000002.purepool: line 1: this is no recording of purepool",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_is_said_as_replay_says_it(
    spoil: Any, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(recording / "00000002.purepool")
    assert run(recording) == 1
    said = capsys.readouterr().err.splitlines()
    assert WRONG[spoil] in said[0]
    assert said[0].startswith("purepool timeline: ")
    assert "--salvage" in said[1] or "purepool replay" in said[1]
    assert not Path("shop.html").exists()
    assert cli.main(["replay", str(recording)]) == 1
    assert capsys.readouterr().err.splitlines()[0].partition(": ")[2] == said[0].partition(": ")[2]

    assert run(recording, "--salvage") == 1
    seen = capsys.readouterr()
    assert f"left out: {recording}" in seen.err
    assert WRONG[spoil] in seen.err
    assert "shop.html: " in seen.out
    assert "<!doctype html>" in Path("shop.html").read_text()


def test_a_last_line_that_was_cut_off_is_no_fault(recording: Path, capsys: Any) -> None:
    cut(recording / "00000003.purepool")
    assert run(recording) == 0
    assert "note: " in (said := capsys.readouterr().err)
    assert "the last line was cut off" in said


def test_where_nothing_happened_there_is_nothing_to_draw(recording: Path, capsys: Any) -> None:
    record(Path("still"), LIMITS, [])
    assert run("still") == 1
    said = capsys.readouterr().err
    assert "note: still: nothing happened in it" in said
    assert "purepool timeline: nothing happened there that could be drawn" in said
    assert not Path("still.html").exists()
    assert run("still", recording, "-o", "both.html") == 0
    assert capsys.readouterr().out == f"both.html: {len(STORY)} transitions\n"


def test_where_nothing_can_be_salvaged(recording: Path, capsys: Any) -> None:
    for path in recording.iterdir():
        be_another(path)
    assert run(recording, "--salvage") == 1
    assert capsys.readouterr().err.count("left out: ") == 3
    assert not Path("shop.html").exists()


# ---------------------------------------------------------------- pictures


def test_pictures(recording: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    assert run(recording, "--png", "shop.png", "--svg", "shop.svg") == 0
    assert Path("shop.png").read_bytes().startswith(b"\x89PNG")
    drawn = Path("shop.svg").read_text()
    for text in ("in use", "queue", "lane 1", "outage: 2 connects failed", "max_size 1"):
        assert text in drawn
    assert not Path("shop.html").exists()
    assert capsys.readouterr().out == f"shop.png, shop.svg: {len(STORY)} transitions\n"


def test_several_pools_and_a_page_beside(recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    record(tmp_path / "other", LIMITS, STORY, pool="other")
    assert run(recording, "other", "-o", "both.html", "--svg", "both.svg") == 0
    assert "'other', process 4711" in Path("both.svg").read_text()
    assert Path("both.html").exists()


def test_a_picture_without_what_draws_it(
    recording: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "pool.check.timeline.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(recording, "--png", "x.png") == 2
    assert "`pip install 'purepool[size]'` brings it" in capsys.readouterr().err


# ---------------------------------------------------------------- patience


def test_it_says_how_far_it_has_come(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    told = command._Told()
    told.of(Path("a.rec"))(500)
    assert capsys.readouterr().err == ""
    told.begun -= command.QUIET
    told.of(Path("a.rec"))(12_000)
    told.say("drawing")
    told.end()
    said = capsys.readouterr().err
    assert said.startswith("\ra.rec: 12,000 transitions\rdrawing ")
    assert said.endswith("\r")
