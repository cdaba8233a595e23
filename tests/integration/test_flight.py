"""The flight recorder: what it kept is what happened, whatever became of the process or the disk.

Theory.  `Reader` replays what was kept, so each of these tests makes something happen to a
recording, and has it replayed.  That it finds faults is shown by planting them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

import pool.aio
from pool import Limits, PoolTimeout
from pool.check import cli
from pool.check.explore.configurations import CONFIGURATIONS
from pool.check.explore.moves import moves
from pool.core.events import Acquire
from pool.core.state import initial
from pool.core.transition import step
from pool.record import FlightRecorder, flight, format
from pool.record.flight import segments_of
from pool.record.recording import Divergence, Reader, RecordingError
from pool.shared import named, regularly
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted as scripted_database
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    ROOT,
    Call,
    ScriptedDriver,
    in_child,
    until,
    waiting,
)
from tests.integration.pools import Scripted
from tests.integration.processes import SECONDS, process

SMALL = 100_000


def turns(subject: Any, times: int = 50) -> None:
    for _ in range(times):
        with subject.connection(FOR_EVER):
            pass


def recorded(path: Path, times: int = 50, **settings: Any) -> Path:
    """The recording of a pool of one thread."""
    with Scripted(2, name="shop") as subject, FlightRecorder(subject, path, **settings) as recorder:
        turns(subject, times)
    return recorder.path


def many(path: Path, segments: int = 4) -> Path:
    """One of several segments."""
    with Scripted(2, name="shop") as subject, FlightRecorder(subject, path, keep=SMALL) as recorder:
        for _ in range(segments * 3):
            turns(subject, 60)
            recorder.flush()
    assert len(segments_of(path)) >= segments
    return path


# ---------------------------------------------------------------- sound


def test_what_threads_did_is_replayed(tmp_path: Path) -> None:
    with (
        Scripted(2) as subject,
        FlightRecorder(subject, tmp_path / "app.rec") as recorder,
    ):
        calls = [Call(turns, subject) for _ in range(6)]
        for call in calls:
            call.result()
        subject.acquire()
        with subject.acquire(), subject.acquire(), pytest.raises(PoolTimeout):
            subject.acquire(0.001)
        subject.drain()
        subject.suspend()
        subject.resume()
        subject.resize(1)
        subject.close()
    report = Reader(recorder.path).check()
    assert (report.segments, report.notes, report.faults) == (1, [], [])
    assert report.transitions > 600
    assert b"object at 0x" not in segments_of(recorder.path)[0].read_bytes()


def test_what_tasks_did_is_replayed(tmp_path: Path) -> None:
    class Plain:
        def close(self) -> None:
            pass

    async def main() -> None:
        subject = pool.aio.Pool(Plain, max_size=2)
        with FlightRecorder(subject, tmp_path / "app.rec"):

            async def work() -> None:
                for _ in range(20):
                    async with subject.connection():
                        await asyncio.sleep(0)

            await asyncio.gather(*(work() for _ in range(5)))
            await subject.close()

    asyncio.run(main())
    assert Reader(tmp_path / "app.rec").check().transitions > 200


def test_what_a_pooled_database_did_is_replayed(tmp_path: Path) -> None:
    database = scripted_database(2)
    with FlightRecorder(database, tmp_path / "app.rec"):
        for _ in range(3):
            database.connect()
            database.close()
            database._connections.clear()
    text = segments_of(tmp_path / "app.rec")[0].read_text()
    assert '"Adopt"' in text
    Reader(tmp_path / "app.rec").check()


def test_it_is_bounded_and_any_segment_can_be_the_first(tmp_path: Path) -> None:
    path = many(tmp_path / "app.rec", 4)
    before = Reader(path).check()
    assert before.segments == len(segments_of(path))
    assert segments_of(path)[0].name != "00000001.purepool" or before.segments < 9
    while len(segments_of(path)) > 1:
        segments_of(path)[0].unlink()
        Reader(path).check()
    Reader(segments_of(path)[0]).check()


def test_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "app.rec"
    with Scripted(2) as subject, FlightRecorder(subject, path, keep=SMALL) as recorder:
        for _ in range(60):
            turns(subject, 40)
            recorder.flush()
        recorder.flush()
        size = sum(one.stat().st_size for one in segments_of(path))
        assert size <= 1.5 * SMALL
    assert segments_of(path)[0].name != "00000001.purepool"
    Reader(path).check()


def test_without_a_flush_it_is_there_soon(tmp_path: Path) -> None:
    with Scripted(1) as subject, FlightRecorder(subject, tmp_path / "app.rec"):
        turns(subject, 3)
        until(lambda: segments_of(tmp_path / "app.rec"))
        until(lambda: Reader(tmp_path / "app.rec").check().transitions == 7)


def test_another_run_goes_on_behind_the_first(tmp_path: Path) -> None:
    recorded(tmp_path / "app.rec")
    recorded(tmp_path / "app.rec")
    report = Reader(tmp_path / "app.rec").check()
    assert report.segments == 2
    assert [note.partition(": ")[2] for note in report.notes] == ["another run begins before it"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_event_of_the_explorer_can_be_written_and_read(name: str) -> None:
    configuration = CONFIGURATIONS[name]
    possible = moves(configuration)
    states, seen = [initial(configuration.limits[0])], 0
    while states and seen < 1000:
        state = states.pop(0)
        encoded = format.encode_state(state)
        assert format.encode_state(format.decode_state(told(encoded))) == encoded
        for one in possible(state, 1 + seen // 200):
            after, effects = step(state, one)
            event = named.event(state, one, after, effects, owner_of)
            after, effects = step(state, event)
            assert format.decode(told(format.encode(event, effects)), state) == (event, effects)
            states.append(after)
            seen += 1
    assert seen > 100


def owner_of(ticket: int, _: Any) -> str:
    return f"owner of {ticket}"


def told(value: Any) -> Any:
    return format.parse(format.line(value)[:-1])


def test_each_line_is_as_the_schema_says(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "spec" / "recording.schema.json").read_text("utf-8"))
    check = jsonschema.Draft202012Validator(schema)
    for one in segments_of(recorded(tmp_path / "app.rec"))[0].read_bytes().splitlines():
        check.validate(format.parse(one))
    assert not check.is_valid([["Aquire", 1.0]])


# ---------------------------------------------------------------- following


class Enough(Exception):
    """Nothing comes any more."""


def test_a_running_recording_is_followed_from_segment_to_segment(tmp_path: Path) -> None:
    path, seen = tmp_path / "app.rec", []
    with Scripted(2, name="shop") as subject, FlightRecorder(subject, path, keep=SMALL) as recorder:
        turns(subject)
        recorder.flush()

        def wait() -> None:
            if len(seen) > 2000:
                raise Enough
            turns(subject)
            recorder.flush()

        reader = Reader(path, wait=wait)
        with pytest.raises(Enough):
            seen.extend(reader.transitions())
    assert reader.report.segments > 2
    assert (reader.report.notes, reader.report.faults) == ([], [])
    tickets = [one.event.ticket for one in seen if isinstance(one.event, Acquire)]
    assert tickets == list(range(1, len(tickets) + 1))


def test_a_line_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = segments_of(recorded(tmp_path / "app.rec"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    asked = 0

    def wait() -> None:
        nonlocal asked
        asked += 1
        path.write_bytes(whole)
        if asked > 1:
            raise Enough

    reader = Reader(tmp_path / "app.rec", wait=wait)
    with pytest.raises(Enough):
        list(reader.transitions())
    assert reader.report.transitions == whole.count(b"\n") - 2
    assert reader.report.notes == []


def test_a_run_that_was_killed_is_followed_by_another(tmp_path: Path) -> None:
    path = recorded(tmp_path / "app.rec")
    (first,) = segments_of(path)
    first.write_bytes(first.read_bytes()[:-5])
    lines = len(first.read_bytes().splitlines())
    recorded(path)
    report = Reader(path).check()
    assert report.segments == 2
    assert [note.partition(": ")[2] for note in report.notes] == [
        f"line {lines}: the last line was cut off",
        "another run begins before it",
    ]


def test_the_command_follows_until_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "app.rec"
    command = [sys.executable, "-m", "pool.check.cli", "replay", "--follow", str(path)]
    with Scripted(2, name="shop") as subject, FlightRecorder(subject, path) as recorder:
        turns(subject)
        recorder.flush()
        with process(command, cwd=ROOT) as running:
            assert running.stdout is not None
            assert "max 2, in use 0, idle 1" in running.stdout.readline()
            with subject.connection(FOR_EVER):
                recorder.flush()
                assert "max 2, in use 1, idle 0" in running.stdout.readline()
            running.send_signal(signal.SIGINT)
            rest, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 130
    assert "each is what the machine does" in rest


def test_the_command_ends_where_what_it_follows_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path / "app.rec")
    (segment,) = segments_of(path)
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:50], *lines[51:]]))
    assert cli.main(["replay", "--follow", str(path)]) == 1
    assert "the last 20 events" in capsys.readouterr().err
    assert cli.main(["replay", "--follow", "--at", "+1s", str(path)]) == 2
    assert "--at has no meaning with --follow" in capsys.readouterr().err


# ---------------------------------------------------------------- processes

PROGRAM = """
import sqlite3, sys, threading
import pool
from pool.record import FlightRecorder

subject = pool.Pool(lambda: sqlite3.connect(":memory:", check_same_thread=False), max_size=2)
FlightRecorder(subject, sys.argv[1], keep=200_000)

def work():
    while True:
        with subject.connection():
            pass

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
print("begun", flush=True)
work()
"""


def kill_one(path: Path, seconds: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        until(lambda: path.is_dir() and segments_of(path))
        time.sleep(seconds)  # no order is hoped for: any instant will do
        process.kill()
        process.wait(PATIENCE)


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_sound_recording(tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(8):
        path = tmp_path / f"{number // 2}.rec"  # each second program goes on where one was killed
        kill_one(path, draw.uniform(0.0, 0.7))
        report = Reader(path).check()
        assert report.segments
        assert report.faults == []


def test_a_child_has_a_recording_of_its_own(tmp_path: Path) -> None:
    with Scripted(2) as subject:
        subject._runtime.step = step  # a child without those who check in front
        recorder = FlightRecorder(subject, tmp_path / "app.rec")
        turns(subject, 3)

        def child() -> str:
            turns(subject, 2)
            recorder.flush()
            return str(recorder.path)

        theirs = Path(in_child(child))
        turns(subject, 3)
        recorder.stop()
    assert theirs != recorder.path
    assert theirs.name.startswith("app.rec-")
    assert Reader(theirs).check().transitions == 5
    report = Reader(recorder.path).check()
    assert report.segments == 1


def test_the_end_of_a_program_is_in_it(tmp_path: Path) -> None:
    program = PROGRAM.partition("def work")[0] + "with subject.connection(): pass\n"
    path = tmp_path / "app.rec"
    subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, check=True, timeout=PATIENCE
    )
    assert Reader(path).check().transitions >= 3


# ---------------------------------------------------------------- disks


def test_a_disk_that_is_full_costs_the_recording_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    with Scripted(1) as subject:
        recorder = FlightRecorder(subject, tmp_path / "app.rec")
        turns(subject, 2)
        recorder.flush()

        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(flight, "AGAIN_AFTER", 0.0)
        with monkeypatch.context() as broken:
            broken.setattr("pool.record.flight.os.write", full)
            turns(subject, 2)
            recorder.flush()
        assert "cannot be written" in caplog.text
        for _ in range(3):
            turns(subject, 2)
            recorder.flush()
        recorder.stop()
    report = Reader(recorder.path, salvage=True).check()
    assert len(segments_of(recorder.path)) >= 2
    assert report.transitions > 5


# ---------------------------------------------------------------- in memory


def test_in_memory_nothing_is_written_until_it_is_dumped(tmp_path: Path) -> None:
    with Scripted(1) as subject:
        recorder = FlightRecorder(subject, tmp_path / "app.rec", in_memory=True)
        assert recorder.dump() is None
        turns(subject, 3)
        assert not recorder.path.exists()
        assert recorder.dump() == recorder.path
        assert Reader(recorder.path).check().transitions == 7
        turns(subject, 1)
        recorder.dump()
        assert Reader(recorder.path).check().transitions == 9
        recorder.stop()


def test_a_timeout_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(1) as subject:
        recorder = FlightRecorder(
            subject, tmp_path / "app.rec", in_memory=True, dump_on=("timeout",)
        )
        with subject.connection(), pytest.raises(PoolTimeout):
            subject.acquire(0.001)
        until(lambda: recorder.path.exists() and segments_of(recorder.path))
        recorder.stop()
    Reader(recorder.path).check()


def test_the_ring_is_bounded(tmp_path: Path) -> None:
    with Scripted(1) as subject:
        recorder = FlightRecorder(subject, tmp_path / "app.rec", in_memory=True, keep=SMALL)
        for _ in range(60):
            turns(subject, 40)
            recorder.flush()
        assert sum(len(one) for _, lines in recorder._ring for one in lines) < 1.5 * SMALL
        recorder.dump()
        recorder.stop()
    Reader(recorder.path).check()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no signals to send")
def test_a_signal_dumps(tmp_path: Path) -> None:
    with Scripted(1) as subject:
        recorder = FlightRecorder(subject, tmp_path / "app.rec", in_memory=True)
        before = signal.signal(signal.SIGUSR1, lambda *_: recorder.dump())
        try:
            turns(subject, 2)
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda: recorder.path.exists())
        finally:
            signal.signal(signal.SIGUSR1, before)
        recorder.stop()
    Reader(recorder.path).check()


@pytest.mark.parametrize(
    "given",
    [
        {"keep": 10},
        {"keep": "64 apples"},
        {"keep": True},
        {"dump_on": ("timeout",)},
        {"dump_on": ("boredom",), "in_memory": True},
    ],
)
def test_what_is_not_allowed_is_refused(given: Any, tmp_path: Path) -> None:
    with Scripted(1) as subject, pytest.raises(ValueError, match=next(iter(given))):
        FlightRecorder(subject, tmp_path / "app.rec", **given)


def test_sizes_as_people_write_them() -> None:
    assert flight.bytes_of("64 MB") == 64_000_000
    assert flight.bytes_of("1.5GB") == 1_500_000_000
    assert flight.bytes_of(" 200 kb ") == 200_000
    assert flight.bytes_of(123_456) == 123_456


# ---------------------------------------------------------------- what is wrong is found


def spoil(path: Path, number: int, change: Any) -> None:
    """Change a line, counted from 1; with the right checksum."""
    lines = path.read_bytes().splitlines(keepends=True)
    value = format.parse(lines[number - 1][:-1])
    lines[number - 1] = format.line(change(value))
    path.write_bytes(b"".join(lines))


def test_a_line_that_is_damaged_has_a_place(tmp_path: Path) -> None:
    path = segments_of(recorded(tmp_path / "app.rec"))[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[9] = lines[9].replace(b"1", b"2", 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(RecordingError, match=r"00000001\.purepool: line 10: a damaged line"):
        Reader(tmp_path / "app.rec").check()
    report = Reader(tmp_path / "app.rec", salvage=True).check()
    assert report.transitions == 7
    assert len(report.faults) == 1


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    """At any byte: it is readable up to there."""
    path = segments_of(recorded(tmp_path / "app.rec", 4))[0]
    text = path.read_bytes()
    second = text.index(b"\n", text.index(b"\n") + 1)
    for end in range(0, len(text), 7):
        path.write_bytes(text[:end])
        if end > second:
            report = Reader(path).check()
            assert len(report.notes) == (text[end - 1 : end] != b"\n")
        else:
            with pytest.raises(RecordingError, match=r"line [12]: "):
                Reader(path).check()


def test_a_segment_in_the_middle_that_is_cut_off(tmp_path: Path) -> None:
    path = many(tmp_path / "app.rec")
    first = segments_of(path)[0]
    first.write_bytes(first.read_bytes()[:-5])
    with pytest.raises(RecordingError, match=f"{first.name}: line .*: the file ends in the middle"):
        Reader(path).check()
    report = Reader(path, salvage=True).check()
    assert report.segments == len(segments_of(path))


def test_a_segment_that_is_missing_is_noted(tmp_path: Path) -> None:
    path = many(tmp_path / "app.rec")
    segments_of(path)[1].unlink()
    notes = Reader(path).check().notes
    assert [note.partition(": ")[2] for note in notes] == ["a segment is missing before it"]


def test_a_state_that_does_not_follow_is_found(tmp_path: Path) -> None:
    path = many(tmp_path / "app.rec")
    spoil(segments_of(path)[1], 2, lambda state: {**state, "failures": 3})
    with pytest.raises(RecordingError, match=r"line 2: begins with another failures than"):
        Reader(path).check()


def test_another_decision_is_found(tmp_path: Path, capsys: Any) -> None:
    path = recorded(tmp_path / "app.rec")
    spoil(segments_of(path)[0], 6, lambda value: [value[0], ["Refuse", 2, "timeout", None]])
    with pytest.raises(Divergence, match=r"line 6: recorded \(Refuse"):
        Reader(path).check()
    assert cli.main(["replay", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "line 6: recorded" in err
    assert out.splitlines()[0].startswith("Limits(max_size=2")
    assert out.splitlines()[-1].startswith("Acquire(")


def test_what_is_no_recording(tmp_path: Path, capsys: Any) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("dear diary\n")
    assert cli.main(["replay", str(foreign)]) == 1
    assert "line 1: this is no recording of purepool" in capsys.readouterr().err
    assert cli.main(["replay", str(tmp_path)]) == 2
    assert "it has no *.purepool files" in capsys.readouterr().err
    assert cli.main(["replay", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_one_from_the_future(tmp_path: Path, capsys: Any) -> None:
    path = recorded(tmp_path / "app.rec")
    spoil(segments_of(path)[0], 1, lambda header: {**header, "version": 2})
    assert cli.main(["replay", str(path)]) == 1
    err = capsys.readouterr().err
    assert "line 1: version 2 of the format; this purepool reads up to 1" in err


@pytest.mark.parametrize(
    "value", [[], [["Acquire"]], [["Nothing", 1.0]], {}, 7, [["Tick", 1.0, 2]]]
)
def test_what_is_no_transition_is_refused(value: Any, tmp_path: Path) -> None:
    path = recorded(tmp_path / "app.rec")
    spoil(segments_of(path)[0], 5, lambda _: value)
    with pytest.raises(RecordingError, match="line 5: "):
        Reader(path).check()


def test_a_checksum_is_of_the_bytes_before_the_tab() -> None:
    text, tab, check = format.line({"ä": 1})[:-1].rpartition(b"\t")
    assert (tab, int(check, 16)) == (b"\t", zlib.crc32(text))


# ---------------------------------------------------------------- the command


def test_the_pool_at_a_time(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    runtime = Runtime(
        ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER, clock=lambda: now[0]
    )
    # Not `PAUSE`: the thread would sleep so long, also for the tests to come.
    monkeypatch.setattr(regularly, "_tell_of", lambda runtime: None)
    recorder = FlightRecorder(runtime, tmp_path / "app.rec")
    handle = runtime.acquire(owner=object())
    now[0] = 1005.0
    other = Call(runtime.acquire, FOR_EVER)
    until(lambda: waiting(runtime) == 1)
    now[0] = 1020.0
    runtime.release(handle)
    runtime.release(other.result())
    recorder.stop()
    assert cli.main(["replay", str(recorder.path), "--at=+12s"]) == 0
    out = capsys.readouterr().out
    assert "each is what the machine does" in out
    assert "open, max 1, in use 1, idle 0, opening 0, waiting 1" in out
    assert "connection 1       for 12.000 s  owner of 1" in out
    assert "ticket 2            for 7.000 s  somebody" in out
    assert cli.main(["replay", str(recorder.path), "--at=-0s"]) == 0
    assert "in use 0, idle 1" in capsys.readouterr().out
    assert cli.main(["replay", str(recorder.path), "--at=yesterday"]) == 2
    assert "--at yesterday: allowed is" in capsys.readouterr().err
    assert cli.main(["replay", str(recorder.path), "--at=2001-01-01"]) == 2
    assert "before the first transition" in capsys.readouterr().err


def test_salvaging_says_what_it_leaves_out(tmp_path: Path, capsys: Any) -> None:
    path = many(tmp_path / "app.rec")
    spoil(segments_of(path)[1], 5, lambda _: [])
    assert cli.main(["replay", str(path)]) == 1
    assert "--salvage shows what can be read" in capsys.readouterr().err
    assert cli.main(["replay", str(path), "--salvage"]) == 1
    out = capsys.readouterr().out
    assert "each is what the machine does" in out
    assert "left out: " in out


def test_a_segment_has_its_name_only_with_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed in between leaves nothing that cannot be read."""
    seen: list[list[Path]] = []
    write = os.write

    def look(descriptor: int, text: bytes) -> int:
        seen.append(segments_of(tmp_path / "app.rec"))
        return write(descriptor, text)

    monkeypatch.setattr("pool.record.flight.os.write", look)
    path = recorded(tmp_path / "app.rec")
    assert seen[0] == []
    assert len(segments_of(path)) == 1
    assert list(path.iterdir()) == segments_of(path)
