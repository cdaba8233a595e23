"""What a time line shows is what the recording says: spans, rules, and what goes into the page.

Theory.  Spans are made of events and effects; the state is not asked.  So the state is what they
are compared with, after each transition of every history of the vectors.  The rules of each step
stand in the vectors too.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pictures import last_night
from pool.check.conformance.encoding import decode_event, decode_limits
from pool.check.conformance.files import read as read_vectors
from pool.check.timeline import spans, write
from pool.check.timeline.columns import CHECK, CONNECT, IDLE, KINDS, USE, WAIT, Timeline
from pool.check.timeline.rules import Rules
from pool.core import waiters
from pool.core.events import (
    Acquire,
    Configure,
    Dead,
    Event,
    Expire,
    Opened,
    OpenFailed,
    Release,
    Resume,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.limits import Limits
from pool.core.state import Failure, State, initial, leased, resting
from pool.core.transition import step
from pool.record.recording import Reader
from tests.model.recorded import WALL, record

CASES = [
    pytest.param(case, id=case["case"])
    for file in read_vectors()
    if file.name != "limits"
    for case in file.cases
]
DOWN = Failure("OperationalError", "connection refused")


def events_of(case: Any) -> list[Event]:
    return [decode_event(one["event"]) for one in case["steps"]]


# ---------------------------------------------------------------- the rules


def test_the_rules_of_each_step_are_those_of_the_vectors() -> None:
    compared = 0
    for parameters in CASES:
        (case,) = parameters.values
        state = initial(decode_limits(case["limits"]))  # type: ignore[index, call-overload]
        for one in case["steps"]:  # type: ignore[index, call-overload]
            event = decode_event(one["event"])
            found = Rules(state).of(event)  # from the middle, each time
            assert set(found) == set(one["rules"].split()) - {"ORD-1", "WAK-1"}, event
            state, _ = step(state, event)
            compared += 1
    assert compared > 5_000


# ---------------------------------------------------------------- spans, and the state


def same_as(state: State, builder: spans.Builder) -> None:
    """What the spans say now is what the state says."""
    kinds = {key: one.kind for key, one in builder.lives.items()}
    idle = {item.entry.key for item in resting(state.idle)}
    assert {key for key, kind in kinds.items() if kind == IDLE} == idle
    held = {key: one.ticket for key, one in builder.lives.items() if one.kind == USE}
    assert held == {key: lease.ticket for key, lease in leased(state.in_use).items()}
    assert set(builder.waits) == {ticket for ticket, _ in waiters.items(state.waiters)}
    assert set(builder.connecting) == {ticket for ticket, _ in state.opening_tickets.items()}
    assert len(builder.background) == state.opening_background


def is_sound(found: Timeline) -> None:
    """Nothing overlaps in a lane or a row, and all of it lies within the recording."""
    at, columns = found.events["at"], found.spans
    assert at == sorted(at)
    assert columns["first"] == sorted(columns["first"])
    places: dict[tuple[bool, int], list[tuple[int, int]]] = {}
    for kind, place, first, last in zip(
        columns["kind"], columns["place"], columns["first"], columns["last"], strict=True
    ):
        is_wait = KINDS[kind] == WAIT
        lane = place if is_wait else found.connections[place][1]
        assert 0 <= first <= last < len(at)
        assert 0 <= lane < (found.rows if is_wait else found.lanes)
        places.setdefault((is_wait, lane), []).append((first, last))
    for there in places.values():
        for (_, end), (begin, _) in pairwise(sorted(there)):
            assert end <= begin
    for key, lane, first, last, why in found.connections:
        assert key >= -1
        assert 0 <= lane < found.lanes
        assert first <= last
        assert found.ends[why]


def test_after_each_transition_the_spans_are_what_the_state_says(tmp_path: Path) -> None:
    for number, parameters in enumerate(CASES):
        (case,) = parameters.values
        limits = decode_limits(case["limits"])  # type: ignore[index, call-overload]
        place = tmp_path / str(number)
        record(place, limits, events_of(case))
        builder = spans.Builder()
        for transition in Reader(place).transitions():
            builder.take(transition)
            same_as(transition.after, builder)
            columns, state = builder.events, transition.after
            assert columns["used"][-1] == len(state.in_use)
            assert columns["waiting"][-1] == waiters.size(state.waiters)
        is_sound(builder.finish("x"))


def test_any_state_may_be_the_first(tmp_path: Path) -> None:
    """A segment in the middle: what it begins with has spans, too."""
    tried = 0
    for parameters in CASES[::7]:
        (case,) = parameters.values
        limits = decode_limits(case["limits"])  # type: ignore[index, call-overload]
        state, events = initial(limits), events_of(case)
        for middle, event in enumerate(events):
            if middle == len(events) // 2:
                break
            state, _ = step(state, event)
        place = tmp_path / str(tried)
        record(place, limits, events[len(events) // 2 :], state=state)
        builder = spans.Builder()
        for transition in Reader(place).transitions():
            builder.take(transition)
            same_as(transition.after, builder)
        is_sound(builder.finish("x"))
        tried += 1
    assert tried > 20


# ---------------------------------------------------------------- a story


def told(found: Timeline) -> list[str]:
    """The spans in words, in their order."""

    def words() -> Iterator[str]:
        for values in zip(*found.spans.values(), strict=True):
            kind, place, first, last, ticket, owner, end = values
            at = found.events["at"]
            name = "" if owner < 0 else f" by {found.owners[owner]}"
            where = "" if KINDS[kind] == WAIT else f" {found.connections[place][0]}"
            number = f" ticket {ticket}" if ticket else ""
            times = f"{at[first] / 1e6:g}-{at[last] / 1e6:g}"
            yield f"{KINDS[kind]}{where}{number}{name} {times}: {found.ends[end]}"

    return list(words())


LIMITS = Limits(max_size=1, opener="background", backoff_initial=1.0)
STORY: list[Event] = [
    Acquire(1.0, 1, True, "ann"),
    Opened(2.0, None, "c", 2.0),
    Acquire(3.0, 2, True, "bob"),
    Release(4.0, 1, 1),
    Dead(5.0, 2, 1),
    OpenFailed(6.0, None, DOWN),
    Expire(7.0, 2),
    Acquire(8.0, 3, False, "eve"),
    Tick(9.0),
    OpenFailed(9.5, None, DOWN),
    Acquire(10.0, 4, True, "joe"),
    Tick(11.6),
    Opened(12.0, None, "d", 12.0),
    Configure(13.0, Limits(max_size=2, opener="background", backoff_initial=1.0)),
    Suspend(14.0),
    Release(15.0, 4, 3, reusable=False),
    Resume(16.0),
    Shutdown(17.0),
]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    record(tmp_path / "shop.rec", LIMITS, STORY)
    return tmp_path / "shop.rec"


def test_a_story(story: Path) -> None:
    found = spans.read(story)
    assert told(found) == [
        "wait ticket 1 by ann 1-2: got a connection",
        "connect 1 1-2: connected",
        "use 1 ticket 1 by ann 2-4: returned",
        "wait ticket 2 by bob 3-4: got a connection",
        "check 1 ticket 2 by bob 4-5: found dead, closed: dead",
        "connect -1 5-6: failed: OperationalError: connection refused",
        "wait ticket 2 by bob 5-7: refused: timeout",
        "wait ticket 3 by eve 8-8: refused: exhausted",
        "connect -1 8-9.5: failed: OperationalError: connection refused",
        "wait ticket 4 by joe 10-12: got a connection",
        "connect 3 11.6-12: connected",
        "use 3 ticket 4 by joe 12-15: returned, closed: not_reusable",
    ]
    at = [round(one / 1e6, 3) for one in found.events["at"]]
    bands = [(at[first], at[last], kind, text) for first, last, kind, text in found.bands]
    assert bands == [
        (6.0, 12.0, "outage", "2 connects failed: OperationalError: connection refused"),
        (14.0, 16.0, "suspended", "suspended"),
    ]
    marks = [(at[event], kind, text) for event, kind, text, _ in found.marks]
    assert marks == [(13.0, "limits", "max_size 1 → 2"), (17.0, "order", "Shutdown")]
    assert [(at[event], most) for event, most in found.limits] == [(0.0, 1), (13.0, 2)]
    assert (found.pool, found.pid, found.lanes, found.began) == ("shop", 4711, 1, WALL)
    assert found.transitions == len(STORY)
    released = found.whats[found.events["what"][4]]
    assert released == ("Release", ("Grant",), ("AGE-1", "REL-3", "SET-1", "SRV-2", "SRV-4"))


def test_what_began_before_the_recording(tmp_path: Path) -> None:
    state = initial(LIMITS)
    for event in STORY[:3]:
        state, _ = step(state, event)
    record(tmp_path / "late", LIMITS, STORY[3:5], state=state, now=3.5)
    found = spans.read(tmp_path / "late")
    assert told(found)[:2] == [
        "wait ticket 2 by bob 0-0.5: got a connection",
        "use 1 ticket 1 by ann 0-0.5: returned",
    ]
    assert found.earlier[1] == 1_500_000  # held since 2.0
    assert found.began == WALL + 3.5


def test_between_two_runs_nothing_is_known(tmp_path: Path) -> None:
    place = tmp_path / "twice"
    record(place, LIMITS, STORY[:3], run="one", segment=1)
    record(place, LIMITS, STORY[:2], run="two", segment=2, wall=WALL + 100)
    found = spans.read(place)
    assert told(found) == [
        "wait ticket 1 by ann 1-2: got a connection",
        "connect 1 1-2: connected",
        "use 1 ticket 1 by ann 2-3: (the recording ends)",
        "wait ticket 2 by bob 3-3: (the recording ends)",
        "wait ticket 1 by ann 101-102: got a connection",
        "connect 1 101-102: connected",
        "use 1 ticket 1 by ann 102-102: (the recording ends)",
    ]
    assert [name for _, name in found.files] == ["00000001.purepool", "00000002.purepool"]
    assert found.lanes == 1
    assert "another run begins" in found.notes[0]


def test_segments_that_follow_each_other_are_one(tmp_path: Path) -> None:
    place = tmp_path / "parts"
    state = record(place, LIMITS, STORY[:3], segment=1)
    record(place, LIMITS, STORY[3:], state=state, segment=2, now=3.5)
    record(tmp_path / "whole", LIMITS, STORY)
    assert told(spans.read(place)) == told(spans.read(tmp_path / "whole"))


def test_a_clock_that_is_put_back_draws_nothing_backwards(tmp_path: Path) -> None:
    events = [Acquire(5.0, 1, True, "ann"), Opened(2.0, None, "c", 2.0), Release(3.0, 1, 1)]
    record(tmp_path / "back", LIMITS, events)
    is_sound(spans.read(tmp_path / "back"))


# ---------------------------------------------------------------- the page


def unpacked(page: str) -> Any:
    found = re.search(r'<script id="data" type="text/plain">([A-Za-z0-9+/=]+)</script>', page)
    assert found
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def test_the_page_has_everything_and_asks_for_nothing(story: Path) -> None:
    found = spans.read(story)
    page = write.page([found], "pool 'shop'")
    (shown,) = unpacked(page)["pools"]
    assert shown["ends"] == found.ends
    assert shown["owners"] == ["ann", "bob", "eve", "joe"]
    assert shown["spans"]["kind"] == found.spans["kind"]
    total, times = 0, []
    for difference in shown["events"]["at"]:
        total += difference
        times.append(total)
    assert times == found.events["at"]
    assert unpacked(page)["kinds"] == [WAIT, CONNECT, IDLE, USE, CHECK]
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|src=|\bfetch\(|XMLHttpRequest", page)
    assert "{{" not in page


def test_each_rule_that_is_named_is_explained(story: Path) -> None:
    found = spans.read(story)
    named = {rule for _, _, rules in found.whats for rule in rules}
    explained = unpacked(write.page([found], "x"))["rules"]
    assert set(explained) == named
    assert {"ACQ-3", "OPF-3", "EXP-2", "DEA-3", "CFG-3"} <= named
    assert all(len(text) > 10 for text in explained.values())


def test_names_cannot_become_html(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    record(tmp_path / "evil", LIMITS, [Acquire(1.0, 1, True, evil)], pool=evil)
    found = spans.read(tmp_path / "evil")
    page = write.page([found], f"pool '{found.pool}'")
    assert evil not in page
    assert "<title>pool &#x27;&lt;/script&gt;" in page
    assert unpacked(page)["pools"][0]["owners"] == [evil]


def test_the_page_in_the_docs_is_as_it_would_be_made_now() -> None:
    """Its data are of a real outage of five minutes; `--draw` makes the rest anew."""
    page = last_night.PAGE.read_text("utf-8")
    made = write.assemble(last_night.packed(page), last_night.TITLE)
    assert page == made, "python -m benchmarks.pictures.last_night --draw"
    (shown,) = unpacked(page)["pools"]
    times, total = [], 0
    for difference in shown["events"]["at"]:
        total += difference
        times.append(total / 1e6)
    ((first, last, kind, text),) = shown["bands"]
    assert kind == "outage"
    assert last_night.AWAY - 5 < times[last] - times[first] < last_night.AWAY + 30
    assert text.startswith("1611 connects failed: OperationalError")
    assert "1,611 in five minutes" in (last_night.PLACE.parent / "timeline.md").read_text("utf-8")
