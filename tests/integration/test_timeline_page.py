"""The page of `purepool timeline` in a real browser: it loads, zooms, and says what is there.

Theory.  What the page has in it is tested without a browser (`tests/model/test_timeline.py`); here
is what a script makes of it.  So a person's hands are played: a mouse, a wheel, keys.

Needs Chromium: `make browser` fetches it.  Without one all of this is skipped, or fails where
`PUREPOOL_REQUIRE_BROWSER` is set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pool.check.timeline import spans, write
from pool.check.timeline.columns import KINDS, WAIT, Timeline
from tests.integration.browser import Browser, browser
from tests.integration.servers import Unavailable
from tests.model.recorded import record
from tests.model.test_timeline import LIMITS, STORY

pytestmark = pytest.mark.slow

SHIFT = 8
"""As the developer tools number it."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with browser() as one:
            yield one
    except Unavailable as reason:
        if os.environ.get("PUREPOOL_REQUIRE_BROWSER"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Timeline, Path]:
    place = tmp_path_factory.mktemp("story")
    record(place / "shop.rec", LIMITS, STORY)
    found = spans.read(place / "shop.rec")
    page = place / "shop.html"
    page.write_text(write.page([found], "pool 'shop'"), "utf-8")
    return found, page


@pytest.fixture
def shown(chromium: Browser, story: tuple[Timeline, Path]) -> Browser:
    chromium.open(story[1])
    return chromium


def view(shown: Browser) -> tuple[float, float]:
    """From when to when, in seconds."""
    begin, end = shown.ask("timeline.view()")
    return begin / 1e6, end / 1e6


def place_of(shown: Browser, span: int) -> tuple[float, float]:
    """Where on the screen it is drawn."""
    x, y = shown.ask(f"timeline.where(timeline.pools[0], {span})")
    return x, y + shown.ask("document.getElementById('view').getBoundingClientRect().top")


def text_of(shown: Browser, name: str) -> str:
    element = f"document.getElementById('{name}')"
    return str(shown.ask(f"{element}.hidden ? '' : {element}.innerText"))


# ---------------------------------------------------------------- it loads


def test_it_loads_without_a_word_and_fetches_nothing(
    shown: Browser, story: tuple[Timeline, Path]
) -> None:
    assert shown.said == []
    assert shown.requests == [story[1].resolve().as_uri()]
    assert "18 transitions" in text_of(shown, "about")
    assert shown.ask("document.title") == "pool 'shop'"
    assert text_of(shown, "message") == ""


def test_what_it_says_would_be_heard(chromium: Browser, tmp_path: Path) -> None:
    """Each way in which a page can complain."""
    page = tmp_path / "bad.html"
    for script in ("console.error('broken')", "throw new Error('broken')"):
        page.write_text(f"<script>window.timeline = 1; {script}</script>")
        chromium.open(page)
        assert "broken" in str(chromium.said)
    page.write_text("<script>window.timeline = 1</script><img src='missing.png'>")
    chromium.open(page)
    assert "ERR_FILE_NOT_FOUND" in str(chromium.said)
    assert chromium.requests[1].endswith("missing.png")


def test_a_browser_that_is_too_old_is_told(chromium: Browser, tmp_path: Path, story: Any) -> None:
    text = story[1].read_text("utf-8")
    page = tmp_path / "old.html"
    page.write_text(text.replace("new DecompressionStream", "new NoSuchThing"), "utf-8")
    chromium.open(page, until="!document.getElementById('message').hidden")
    assert "needs a browser that has DecompressionStream" in text_of(chromium, "message")


def test_nothing_can_be_fetched_even_if_it_wanted_to(shown: Browser) -> None:
    refused = "fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'refused')"
    assert shown.ask(refused) == "refused"
    assert "Content Security Policy" in str(shown.said)


def test_dark_and_light(chromium: Browser, story: tuple[Timeline, Path]) -> None:
    def ground() -> Any:
        return chromium.ask("getComputedStyle(document.body).backgroundColor")

    chromium.open(story[1])
    light, bright = ground(), chromium.picture()
    chromium.prefer(dark=True)
    dark = ground()
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(17, 22, 29)")
    chromium.until("matchMedia('(prefers-color-scheme: dark)').matches")
    assert chromium.picture() != bright
    chromium.key("t")
    assert ground() == light
    chromium.key("t")
    assert ground() == dark


# ---------------------------------------------------------------- what is where


def test_a_tooltip_shows_the_event_of_what_is_below(
    shown: Browser, story: tuple[Timeline, Path]
) -> None:
    found = story[0]
    columns = found.spans
    names = {"wait": "Waits", "connect": "Connecting", "idle": "Idle", "use": "In use"}
    names["check"] = "Checked, and found dead"
    for span in range(len(columns["kind"])):
        x, y = place_of(shown, span)
        shown.mouse("mouseMoved", x, y)
        told = text_of(shown, "tip")
        kind = KINDS[columns["kind"][span]]
        assert told.startswith(names[kind])
        if columns["owner"][span] >= 0:
            assert found.owners[columns["owner"][span]] in told.splitlines()[0]
        assert found.ends[columns["end"][span]] in told
        if columns["ticket"][span]:
            assert re.search(rf"ticket\s+{columns['ticket'][span]}\b", told)
        for event in (columns["first"][span], columns["last"][span]):
            name, _, rules = found.whats[found.events["what"][event]]
            assert name in told
            assert " ".join(rules) in told
    assert shown.said == []


def test_where_nothing_is_there_is_no_tooltip(shown: Browser) -> None:
    x, y = place_of(shown, 0)
    shown.mouse("mouseMoved", x, y)
    assert text_of(shown, "tip")
    shown.mouse("mouseMoved", 60, y)  # the names on the left
    assert not text_of(shown, "tip")


def test_a_click_keeps_it_with_its_rules_and_its_line(shown: Browser) -> None:
    span = 4  # checked, and found dead
    shown.click(*place_of(shown, span))
    told = text_of(shown, "detail")
    assert "Checked, and found dead by bob" in told
    assert "00000001.purepool: line 7" in told
    assert "DEA-3" in told
    assert "The lease ends, the connection is closed as dead, and dead grows by 1." in told
    shown.key("Escape")
    assert text_of(shown, "detail") == ""


# ---------------------------------------------------------------- hands


def test_keys(shown: Browser) -> None:
    begin, end = view(shown)
    assert begin < 0 < 17 < end
    shown.key("+")
    closer = view(shown)
    assert closer[1] - closer[0] == pytest.approx(0.6 * (end - begin))
    shown.key("ArrowRight")
    assert view(shown)[0] == pytest.approx(closer[0] + 0.15 * (closer[1] - closer[0]))
    shown.key("ArrowLeft")
    assert view(shown) == pytest.approx(closer)
    shown.key("-")
    shown.key("0")
    assert view(shown) == pytest.approx((begin, end))
    shown.key("?")
    assert shown.ask("document.getElementById('help').open")
    shown.key("Escape")
    shown.ask("document.getElementById('help').close()")
    assert shown.said == []


def test_the_wheel_zooms_where_the_pointer_is(shown: Browser) -> None:
    x, y = map(round, place_of(shown, 2))
    ask = f"timeline.hit({x}, 0).t"
    before = shown.ask(ask)
    width = view(shown)[1] - view(shown)[0]
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-240)
    shown.until(f"timeline.view()[1] - timeline.view()[0] < {width * 1e6 * 0.9}")
    assert shown.ask(ask) == pytest.approx(before)


def test_a_drag_moves_and_with_shift_it_chooses(shown: Browser) -> None:
    shown.ask("timeline.show(4e6, 8e6)")
    shown.drag(700, 700, 400, 700)
    begin, end = view(shown)
    assert end - begin == pytest.approx(4.0)
    assert begin == pytest.approx(4.0 + 300 / (1400 - 146) * 4.0, abs=0.02)
    shown.drag(500, 700, 700, 700, modifiers=SHIFT)
    closer = view(shown)
    assert closer[1] - closer[0] == pytest.approx(200 / (1400 - 146) * 4.0, abs=0.02)


def test_the_overview_chooses_a_part(shown: Browser) -> None:
    shown.ask("timeline.show(2e6, 3e6)")
    y = shown.ask("document.getElementById('over').getBoundingClientRect().top") + 30
    shown.drag(900, y, 1100, y)
    begin, end = view(shown)
    scale = 17.0 / (1400 - 146)
    assert (begin, end) == pytest.approx(((900 - 132) * scale, (1100 - 132) * scale), abs=0.05)


def test_search_by_thread(shown: Browser, story: tuple[Timeline, Path]) -> None:
    found = story[0]
    shown.key("/")
    for letter in "bob":
        shown.key(letter)
    number = found.owners.index("bob")
    expected = [span for span, owner in enumerate(found.spans["owner"]) if owner == number]
    assert text_of(shown, "found") == f"{len(expected)} spans"
    seen = []
    for index in range(len(expected)):
        shown.key("Enter")
        assert text_of(shown, "found") == f"{index + 1} of {len(expected)}"
        seen.append(text_of(shown, "detail").splitlines()[0])
    assert seen == ["Waits: bob", "Checked, and found dead by bob", "Waits: bob"]
    assert shown.said == []


@pytest.mark.parametrize(
    ("wanted", "spans_found"),
    [
        ("ticket 3", 1),
        ("connection 3", 2),
        ("timeout", 1),
        ("opf-3", 2),
        ("dead", 3),
        ("nobody", 0),
    ],
)
def test_search_by_something_else(shown: Browser, wanted: str, spans_found: int) -> None:
    shown.ask(f"document.getElementById('search').value = '{wanted}'; timeline.search()")
    plural = "" if spans_found == 1 else "s"
    assert text_of(shown, "found") == f"{spans_found} span{plural}"


def test_from_event_to_event(shown: Browser) -> None:
    shown.ask("timeline.show(3.5e6, 9e6)")
    told = []
    for _ in range(3):
        shown.key("]")
        told.append(text_of(shown, "detail").splitlines()[0])
    assert told == [
        "Release (ticket 1, connection 1) → Grant",
        "Dead (ticket 2, connection 1) → Close dead, Open",
        "OpenFailed",
    ]
    shown.key("[")
    assert text_of(shown, "detail").splitlines()[0] == told[1]
    assert "0 in use, 0 idle, 1 opening, 1 waiting" in text_of(shown, "detail")


# ---------------------------------------------------------------- much of it


def busy(spans_of_each: int = 8_000, lanes: int = 14) -> Timeline:
    """What 112,000 leases, one after the other, would give, and somebody who waits for each."""
    many = spans_of_each * lanes
    use = KINDS.index("use")
    names = ("used", "idle", "opening", "waiting")
    return Timeline(
        pool="busy",
        source="busy.rec",
        pid=1,
        began=1_800_000_000.0,
        events={
            "at": [index * 100 for index in range(many + lanes)],
            "what": [0] * (many + lanes),
            "ticket": list(range(many + lanes)),
            "key": [index % lanes for index in range(many + lanes)],
            "line": list(range(3, many + lanes + 3)),
            **{name: [lanes if name == "used" else 1] * (many + lanes) for name in names},
        },
        whats=[("Release", ("Grant",), ("REL-3", "SRV-2"))],
        files=[(0, "00000001.purepool")],
        spans={
            "kind": [use if index % 2 else KINDS.index(WAIT) for index in range(many)],
            "place": [index % lanes for index in range(many)],
            "first": list(range(many)),
            "last": [index + lanes for index in range(many)],
            "ticket": list(range(many)),
            "owner": [index % 7 for index in range(many)],
            "end": [0] * many,
        },
        earlier={},
        owners=[f"thread 'worker-{number}'" for number in range(7)],
        ends=["returned"],
        connections=[[key, key, 0, many, 0] for key in range(lanes)],
        lanes=lanes,
        rows=lanes,
        marks=[],
        bands=[],
        limits=[(0, lanes)],
        notes=[],
    )


def test_a_frame_costs_what_is_on_the_screen(chromium: Browser, tmp_path: Path) -> None:
    """Not one rectangle for each of 112,000 spans: at most some for each pixel of a lane."""
    page = tmp_path / "busy.html"
    found = busy()
    page.write_text(write.page([found], "busy"), "utf-8")
    chromium.open(page)
    count = (
        "(() => { let drawn = 0; const pen = CanvasRenderingContext2D.prototype;"
        " for (const name of ['fillRect', 'fill', 'fillText', 'stroke']) { const was = pen[name];"
        " pen[name] = function (...all) { drawn += 1; return was.apply(this, all); }; }"
        " window.drawn = (from, to) => { timeline.show(from, to); drawn = 0; timeline.paint();"
        " return drawn; }; })()"
    )
    chromium.ask(count)
    last = found.events["at"][-1]
    everything = chromium.ask(f"drawn(0, {last})")
    a_bit = chromium.ask(f"drawn({last} / 2, {last} / 2 + 20000)")
    assert 28 <= everything <= 30_000
    assert 28 <= a_bit <= 3_000
    assert chromium.said == []
