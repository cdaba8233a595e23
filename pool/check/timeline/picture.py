"""Time lines as a picture, for a report: what the page shows, as far as it can without a hand.

Theory.  The same columns, drawn by matplotlib without a display.  A picture has some thousand dots
in a row, so what is shorter than a dot is not drawn one by one: neighbours become one bar, which is
as opaque as the part of its time that is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pool.check.timeline.columns import CHECK, CONNECT, IDLE, KINDS, USE, WAIT, Timeline

COLOURS = {
    **{USE: "#3273c9", IDLE: "#c9d1da", CONNECT: "#2ba3a8", WAIT: "#eda72c", CHECK: "#8a4fc4"},
    **{"bad": "#d3343f", "cancelled": "#98a3af"},
}
LEGEND = {
    USE: "in use",
    IDLE: "idle",
    CONNECT: "connecting",
    CHECK: "checked, found dead",
    WAIT: "waits",
    "bad": "refused, or connect failed",
    "cancelled": "cancelled",
}
BANDS = {"outage": "#d3343f", "suspended": "#8a4fc4"}
TALL = {IDLE: 0.2, CONNECT: 0.5}
"""Heights, of those that are not 0.8 of a lane."""

DOTS = 1600
"""In a row. What is shorter than one is joined with its neighbours."""

Bar = tuple[float, float, float, str, float]
"""From, to, where, what, and which part of that time it is."""


def draw(paths: Sequence[str | Path], timelines: Sequence[Timeline], title: str) -> None:
    """Draw them into each of these files; the ending says in which format."""
    heights = [height for one in timelines for height in (1.3, _tall(one))]
    figure = Figure(figsize=(12, 1.2 + sum(heights)), layout="constrained", dpi=120)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)
    for number, one in enumerate(timelines):
        above, below = (each[0] for each in axes[2 * number : 2 * number + 2])
        _counts(above, one)
        _lanes(below, one)
        name = f"pool '{one.pool}', process {one.pid}"
        above.set_title(title if len(timelines) == 1 else name, fontsize=11, loc="left")
    last: Any = axes[-1][0].xaxis
    locator: Any = _untyped(AutoDateLocator)()
    last.set_major_locator(locator)
    last.set_major_formatter(_untyped(ConciseDateFormatter)(locator))
    used = {kind for one in timelines for _, _, _, kind, _ in [*_bars(one)]}
    handles = [
        Patch(color=COLOURS[kind], label=text) for kind, text in LEGEND.items() if kind in used
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9
    )
    with rc_context({"svg.fonttype": "none"}):  # text that can be searched
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else {})


def _untyped(function: Any) -> Any:
    """What matplotlib gives no types for."""
    return function


def _tall(one: Timeline) -> float:
    return 0.5 + 0.22 * one.lanes + min(2.5, 0.12 * one.rows)


def _day(one: Timeline, at: float) -> float:
    """As matplotlib counts: days, on the clock of this machine."""
    local: float = _untyped(date2num)(datetime.fromtimestamp(one.began + at / 1e6))
    return local


def _end(one: Timeline) -> int:
    return one.events["at"][-1] if one.events["at"] else 1


def _counts(axes: Axes, one: Timeline) -> None:
    times = [_day(one, at) for at in one.events["at"]]
    used, opening = one.events["used"], one.events["opening"]
    both = [a + b for a, b in zip(used, opening, strict=True)]
    axes.fill_between(times, both, step="post", color=COLOURS[CONNECT], alpha=0.6, linewidth=0)
    axes.fill_between(times, used, step="post", color=COLOURS[USE], alpha=0.8, linewidth=0)
    known = [(event, most) for event, most in one.limits if most is not None]
    if known:
        ends = [*(event for event, _ in known[1:]), len(times) - 1]
        for (event, most), end in zip(known, ends, strict=True):
            axes.hlines(
                most, times[event], times[end], color="#1b2430", linestyle="--", linewidth=1
            )
    axes.set_ylabel("in use", fontsize=9)
    axes.set_ylim(0, 1.2 * max([1, *both, *(most for _, most in known)]))
    _overlays(axes, one)
    axes.spines[["top", "right"]].set_visible(False)


def _lanes(axes: Axes, one: Timeline) -> None:
    polygons, colours = [], []
    step = _step(one)
    for begin, end, place, kind, part in _bars(one):
        half = (TALL.get(kind, 0.8) if place > 0 else 0.8 * step) / 2
        left, right = _day(one, begin), _day(one, end)
        low, high = place - half, place + half
        polygons.append([(left, low), (left, high), (right, high), (right, low)])
        colours.append(to_rgba(COLOURS[kind], max(0.25, part)))
    axes.add_collection(PolyCollection(polygons, facecolors=colours, edgecolors="none"))
    rows = _rows(one)
    axes.set_ylim(one.lanes + 0.6, -rows - 1.2 if rows else 0.2)
    axes.set_xlim(_day(one, 0), _day(one, _end(one)))
    axes.set_yticks(
        [*([-rows / 2 - 0.5] if rows else []), *range(1, one.lanes + 1)],
        [*(["queue"] if rows else []), *(f"lane {lane + 1}" for lane in range(one.lanes))],
        fontsize=8,
    )
    axes.axhline(0.2, color="#dfe4ea", linewidth=1)
    _overlays(axes, one, is_named=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _overlays(axes: Axes, one: Timeline, is_named: bool = True) -> None:
    """Outages, and what is so of the whole pool."""
    at = one.events["at"]
    top = axes.get_xaxis_transform()
    for first, last, kind, text in one.bands:
        left, right = _day(one, at[first]), _day(one, at[last])
        axes.axvspan(left, right, color=BANDS[kind], alpha=0.12, linewidth=0)
        if is_named:
            said = f"{kind}: {' '.join(text.split())}" if kind == "outage" else text
            said = said if len(said) < 150 else f"{said[:150]}…"
            axes.text(left, 1.02, said, transform=top, color=BANDS[kind], fontsize=8, clip_on=False)
    free = -1.0
    for event, _, text, connection in one.marks:
        if connection >= 0:
            continue
        line = _day(one, at[event])
        axes.axvline(line, color="#0d7f6c", linestyle=":", linewidth=1)
        if is_named and at[event] > free:
            free = at[event] + _end(one) / 8
            how: dict[str, Any] = {"color": "#0d7f6c", "fontsize": 8, "ha": "right", "va": "top"}
            how["bbox"] = {"color": "#ffffff", "alpha": 0.7, "pad": 1, "linewidth": 0}
            axes.text(line, 0.97, f"{text} ", transform=top, **how)


def _rows(one: Timeline) -> float:
    """How tall the queue is, in lanes."""
    return min(one.rows, 20) * 0.55


def _step(one: Timeline) -> float:
    """How tall one of its rows is."""
    return _rows(one) / max(1, one.rows)


def _kind(one: Timeline, span: int) -> str:
    kind, end = KINDS[one.spans["kind"][span]], one.ends[one.spans["end"][span]]
    if end.startswith(("refused", "failed")):
        return "bad"
    return "cancelled" if end == "cancelled" and kind == WAIT else kind


def _bars(one: Timeline) -> Iterator[Bar]:
    """All spans, those of a lane that are shorter than a dot joined."""
    at, spans = one.events["at"], one.spans
    dot = max(1.0, _end(one) / DOTS)
    step = _step(one)
    open_: dict[tuple[float, str], list[float]] = {}
    for span, (first, last) in enumerate(zip(spans["first"], spans["last"], strict=True)):
        kind, place = _kind(one, span), spans["place"][span]
        is_wait = KINDS[spans["kind"][span]] == WAIT
        where = -1.0 - place * step if is_wait else 1.0 + one.connections[place][1]
        begin, end = float(at[first]), float(max(at[last], at[first]))
        joined = open_.get((where, kind))
        if joined is not None and begin - joined[1] < dot and end - joined[0] < 4 * dot:
            joined[1] = max(joined[1], end)
            joined[2] += end - begin
            continue
        if joined is not None:
            yield _bar(joined, where, kind, dot)
        open_[where, kind] = [begin, end, end - begin]
    for (where, kind), joined in open_.items():
        yield _bar(joined, where, kind, dot)


def _bar(joined: list[float], where: float, kind: str, dot: float) -> Bar:
    begin, end, taken = joined
    end = max(end, begin + dot)
    return begin, end, where, kind, min(1.0, taken / (end - begin))
