"""TLC as a judge of recordings: what the pool did is accepted, and what is planted is found there.

Theory.  TLC takes a second or two for each part, so each of these asks it once.  That no kind of
event is written wrongly is tried with walks through the worlds of the explorer, whose states have
all that states can have.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from pool.check import cli, interrupts, suite
from pool.check.explore import tlc
from pool.check.explore.configurations import CONFIGURATIONS, EVENTS
from pool.check.explore.moves import moves
from pool.check.interrupts import Stopped
from pool.check.recordings import stress, trace
from pool.check.recordings.trace import Part, Times, fault, parts
from pool.check.suite import profile
from pool.core.state import State, initial
from pool.core.transition import step
from pool.record import format
from pool.record.flight import segments_of
from pool.record.recording import Header, Reader, Transition
from pool.shared import named

WALKS = ("phases-background", "ages", "resize-background", "adopt", "strangers")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What threads did."""
    path = tmp_path_factory.mktemp("trace") / "app.rec"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stress, "ROUNDS", 20)
        stress.threads(path)
    return path


def changed(recording: Path, path: Path, change: Callable[[list[Any]], range]) -> range:
    """A copy in which something is changed, and the lines where that is to be found."""
    path.mkdir()
    lines = segments_of(recording)[0].read_bytes().splitlines()
    values = [format.parse(one) for one in lines]
    place = change(values)
    (path / "00000001.purepool").write_bytes(b"".join(map(format.line, values)))
    return place


@pytest.mark.slow
def test_what_threads_did_is_a_behaviour_of_the_specification(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "EVENTS", 250)  # so that there are two parts
    report = tmp_path / "report.json"
    assert cli.main(["check", "--trace", str(recording), "--json", str(report)]) == 0
    (result,) = json.loads(report.read_text())["results"]
    assert (result["part"], result["name"]) == ("recorded", "app.rec")
    assert result["counts"]["events"] > 250


def to_another(values: list[Any]) -> range:
    """A connection goes to another ticket than the oldest."""
    for number, value in enumerate(values[2:], 3):
        for effect in value[1:]:
            if value[0][0] == "Release" and effect[0] == "Grant":
                effect[1] += 1000
                return range(number, number + 1)
    raise AssertionError("nothing was handed over")


def lost(values: list[Any]) -> range:
    """An event was not written, and what comes of it differs from what is written next of it."""
    for number, value in enumerate(values[2:], 2):
        if value[0][0] == "Acquire" and value[1:] and value[1][0] == "Grant":
            ticket = value[1][1]
            del values[number]
            for later, one in enumerate(values[number:], number + 1):
                if one[0][0] in ("Release", "Discard", "Dead") and one[0][2] == ticket:
                    return range(number, later + 1)
    raise AssertionError("nothing was granted at once")


@pytest.mark.slow
@pytest.mark.parametrize("change", [to_another, lost])
def test_what_is_planted_is_refused_with_its_place(
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[Any]], range],
) -> None:
    lines = changed(recording, tmp_path / "app.rec", change)
    assert cli.main(["check", "--trace", str(tmp_path / "app.rec")]) == 1
    said = capsys.readouterr().out
    place = re.search(r"00000001\.purepool: line (\d+): the specification does otherwise", said)
    assert place is not None
    assert int(place[1]) in lines
    assert "was recorded" in said


@pytest.mark.slow
def test_a_specification_that_does_otherwise_refuses_what_the_pool_did(
    recording: Path, tmp_path: Path
) -> None:
    text = (tlc.spec_directory() / "Pool.tla").read_text()
    old = 'IF o.pool.phase # "open" THEN o'
    assert text.count(old) == 1
    for name in trace.MODULES:
        copy = (tlc.spec_directory() / name).read_text()
        (tmp_path / name).write_text(copy.replace(old, old.replace('"open"', '"closed"')))
    said = fault(next(parts(recording)), tmp_path)
    assert ": the specification does otherwise" in said


@pytest.mark.slow
def test_another_state_at_the_end_is_named(recording: Path) -> None:
    part = next(parts(recording))
    *taken, last = part.transitions
    after = last.after._replace(granted=last.after.granted + 1)
    said = fault(attrs.evolve(part, transitions=(*taken, attrs.evolve(last, after=after))))
    assert said.endswith(
        f"line {last.line}: the specification is then in a state with another granted"
    )


def walk(name: str, length: int = 300) -> Part:
    """A random history of a world of the explorer."""
    configuration, choice = CONFIGURATIONS[name], random.Random(name)
    possible = moves(configuration)
    start: State = initial(configuration.limits[0])
    state, now, taken = start, 5, []
    header = Header(Path(f"{name}.purepool"), "run", 1, 1, name, 0.0, 0.0)
    for number in range(length):
        now += choice.random() < 0.3
        if state.phase == "closed":
            state = start
            break
        event: Any = choice.choice(list(possible(state, now)))
        if type(event).__name__ == "Shutdown" and number < length - 10:
            continue
        after, effects = step(state, event)
        event = named.event(state, event, after, effects, lambda ticket, _: f"owner of {ticket}")
        after, effects = step(state, event)
        taken.append(Transition(header, number + 3, state, event, effects, after))
        state = after
    return Part(header.path, tuple(taken))


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_walks_through_the_worlds_of_the_explorer_are_accepted(name: str) -> None:
    part = walk(name)
    assert len(part.transitions) > 100
    assert fault(part) == ""


def test_walks_have_every_event() -> None:
    seen = {type(one.event).__name__ for name in WALKS for one in walk(name).transitions}
    text = (tlc.spec_directory() / "Trace.tla").read_text()
    assert seen >= set(EVENTS) - {"Shutdown"}
    assert all(f'e.name = "{event}"' in text for event in EVENTS)


# ---------------------------------------------------------------- times


def test_times_keep_their_order_and_their_distances() -> None:
    times = Times([100.0, 100.000001, 100.0000011, 102.5], [2.0])
    assert [times.of(t) for t in times.instants] == [1, 2, 3, 2_500_001]
    assert times.of(102.4999) == 2_500_001
    assert times.length(2.0) == 2_000_000


def test_long_pauses_and_long_lives_fit() -> None:
    times = Times([0.0, 1e9, 1e9 + 1800], [1800.0])
    assert times.unit == 1e-5
    assert times.of(1e9 + 1800) - times.of(1e9) == times.length(1800.0)
    assert times.of(1e9) - times.of(0.0) == times.length(1801.0)


# ---------------------------------------------------------------- the command


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.purepool").write_text("hello\n")
    assert cli.main(["check", "--trace", str(tmp_path)]) == 1
    assert cli.main(["check", "--trace", str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    assert cli.main(["check", "--trace", str(tmp_path / "empty")]) == 2


def test_it_stops_between_two_parts(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: str = "") -> None:
        raise Stopped("")

    monkeypatch.setattr(interrupts, "checkpoint", stop)
    assert suite.recorded_task("app.rec", recording).run().status == "stopped"


def test_the_nightly_profile_has_each_program() -> None:
    names = {task.name for task in profile("nightly") if task.part == "recorded"}
    assert names == set(stress.PROGRAMS)
    assert not [task for task in profile("ci") if task.part == "recorded"]


@pytest.mark.parametrize("name", stress.PROGRAMS)
def test_each_program_of_stress_is_recorded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stress, "ROUNDS", 15)
    stress.PROGRAMS[name](tmp_path / name)
    assert Reader(tmp_path / name).check().transitions > 100
