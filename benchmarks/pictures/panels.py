"""The dashboard as a picture: the panels of docs/grafana.json, with what was scraped in a run.

Theory.  A panel is a title, a place, a unit and queries, and all four are the dashboard's.  What is
drawn here is what Grafana would draw of it, in this project's colours.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from benchmarks.pictures import dashboard
from benchmarks.pictures.drawn import (
    BOLD,
    END,
    FAINT,
    INK,
    LINE,
    LINES,
    MIDDLE,
    WIDTH,
    rect,
    text,
)

HEAD, ROW, GAP = 66, 178, 12
COLUMNS = 24
"""Into how many parts Grafana divides a row."""

SHADES = ("#f7f9fb", "#fdf1d8", "#f7f9fb", "#fbe3e3", "#f7f9fb")
"""Of the phases of the run, behind the lines."""


def draw(recording: dict[str, Any]) -> tuple[int, list[str]]:
    """All panels, and what happened when."""
    panels, seconds = dashboard.panels(), _seconds_of(recording)
    lines = [
        text(16, 26, "The dashboard, over two minutes of a run", 16, INK, BOLD),
        text(16, 45, _story(recording["phases"])),
    ]
    bottom = 0.0
    for panel in panels:
        place = panel["gridPos"]
        x, width = place["x"] * WIDTH / COLUMNS, place["w"] * WIDTH / COLUMNS
        y = HEAD + place["y"] / 8 * ROW
        lines += _panel(panel, recording, seconds, (x + GAP, y, width - 2 * GAP, ROW - GAP))
        bottom = max(bottom, y + ROW)
    return round(bottom), lines


def _story(phases: list[list[Any]]) -> str:
    (_, rush), (_, outage) = phases[1][:2], phases[3][:2]
    return (
        f"yellow: {rush}, from {phases[1][0]:.0f} s; red: {outage}, from {phases[3][0]:.0f} s; "
        "from 90 s on somebody keeps a connection"
    )


def _seconds_of(recording: dict[str, Any]) -> float:
    return float((len(recording["series"][0]["values"]) - 1) * recording["every"])


def _panel(
    panel: dict[str, Any],
    recording: dict[str, Any],
    seconds: float,
    box: tuple[float, float, float, float],
) -> list[str]:
    x, y, width, height = box
    found = [
        (dashboard.named(target["legendFormat"], labels), line)
        for target in panel["targets"]
        for labels, line in dashboard.answer(
            target["expr"], recording["series"], recording["every"]
        ).items()
    ]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    highest = max((value or 0.0 for _, line in found for value in line), default=0.0)
    most = _round_up(1.05 * highest)
    left, right, top, bottom = x + 46, x + width - 16, y + 26, y + height - 34

    def at(second: float, value: float) -> tuple[float, float]:
        return (
            left + (right - left) * second / seconds,
            bottom - (bottom - top) * value / most,
        )

    lines = [text(x + 4, y + 12, panel["title"], 13, INK, BOLD)]
    starts = [phase[0] for phase in recording["phases"]] + [seconds]
    for number, since in enumerate(starts[:-1]):
        (since_x, _), (until_x, _) = at(since, 0), at(starts[number + 1], 0)
        lines.append(rect(since_x, top, until_x - since_x, bottom - top, SHADES[number]))
    for part in (0.0, 0.5, 1.0):
        _, level = at(0, part * most)
        lines += [
            rect(left, level, right - left, 1, LINE),
            text(left - 6, level + 4, _value(part * most, unit), 10, FAINT, END),
        ]
    for second in range(0, round(seconds) + 1, 30):
        lines.append(text(at(second, 0)[0], bottom + 13, f"{second} s", 10, FAINT, MIDDLE))
    legend_x = left
    for number, (name, line) in enumerate(found):
        colour = LINES[number % len(LINES)]
        for points in _pieces(line):
            path = " ".join(
                "{:.1f},{:.1f}".format(*at(place * recording["every"], value))
                for place, value in points
            )
            lines.append(
                f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.6'/>"
            )
        lines += [
            rect(legend_x, bottom + 20, 10, 3, colour),
            text(legend_x + 13, bottom + 25, name, 10, INK),
        ]
        legend_x += 22 + 5.8 * len(name)
    return lines


def _pieces(line: dashboard.Line) -> list[list[tuple[int, float]]]:
    """Where there are values: a line is not drawn across a gap."""
    grouped = groupby(enumerate(line), key=lambda one: one[1] is None)
    return [
        [(place, value) for place, value in piece if value is not None]
        for is_gap, piece in grouped
        if not is_gap
    ]


def _round_up(most: float) -> float:
    """The end of an axis: 1, 2 or 5 times a power of ten."""
    power = 1e-6
    while most > 0 and power * 10 < most:
        power *= 10
    return next((step * power for step in (1, 2, 5, 10) if step * power >= most), 1.0) or 1.0


def _value(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:g} %"
    if unit == "s":
        return f"{value:g} s" if value >= 1 or not value else f"{1000 * value:g} ms"
    return f"{value:g}/s" if unit == "ops" else f"{value:g}"
