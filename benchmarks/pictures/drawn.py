"""Recordings as pictures: SVG on a white ground, readable in a light page and in a dark one.

Theory.  A picture is a function of its recording, so that a test can draw it again and compare.  It
has no script, no font of its own and nothing from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

INK, FAINT, LINE = "#1f2933", "#5b6673", "#cbd2d9"
OURS, OTHER = "#2b5f9e", "#9aa5b1"
COLOURS = {
    "waiting": "#f4c542",
    "holding": "#2b5f9e",
    "connecting": "#9ac2ea",
    "failed": "#d64545",
    "refused": "#d64545",
    "up": "#6fbf8b",
    "down": "#d64545",
}
NAMES = {
    "waiting": "waits",
    "holding": "holds a connection",
    "connecting": "connects",
    "failed": "connect fails",
    "refused": "is refused",
    "up": "database up",
    "down": "database down",
}
LINES = ("#2b5f9e", "#c2571a", "#6b4fa0", "#3f7d58", "#a33a5e")
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
WIDTH = 860


def draw(recording: dict[str, Any]) -> str:
    """The picture of a recording."""
    from benchmarks.pictures import panels  # which is made of what is here

    kinds = {
        "fairness": _fairness,
        "capacity": _capacity,
        "lanes": _lanes,
        "dashboard": panels.draw,
    }
    height, lines = kinds[recording["kind"]](recording)
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' {FONT}>",
            f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
            *lines,
            "</svg>",
            "",
        ]
    )


def text(x: float, y: float, words: str, size: int = 12, fill: str = FAINT, more: str = "") -> str:
    return (
        f"<text x='{x:.0f}' y='{y:.0f}' font-size='{size}' fill='{fill}'{more}>"
        f"{escape(words)}</text>"
    )


def rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' fill='{fill}'/>"
    )


BOLD = " font-weight='bold'"
MIDDLE = " text-anchor='middle'"
END = " text-anchor='end'"


# ---------------------------------------------------------------- who got how much


def _fairness(recording: dict[str, Any]) -> tuple[int, list[str]]:
    """A row for each pool: a bar for each thread, then its longest wait."""
    pools = recording["pools"]
    top, row, left, bar = 62, 74, 130, 11
    lines = [
        text(16, 26, "40 threads share 4 connections for 3 seconds", 16, INK, BOLD),
        text(16, 45, "a bar for each thread: how often it got one, beside the luckiest of its row"),
        text(WIDTH - 16, 45, "longest wait of a thread", more=END),
    ]
    for number, each in enumerate(pools):
        base = top + row * (number + 1) - 14
        highest = max(each["checkouts"])
        ours = each["pool"] == "purepool"
        lines.append(text(16, base - 18, each["pool"], 13, INK, BOLD if ours else ""))
        for place, count in enumerate(each["checkouts"]):
            height = (row - 20) * count / highest
            colour = OURS if ours else OTHER
            lines.append(rect(left + bar * place, base - height, bar - 2, height, colour))
        lines.append(rect(left, base, bar * 40 - 2, 1, LINE))
        words = f"{min(each['checkouts']):,} to {highest:,} each"
        lines.append(text(left + bar * 40 + 12, base - 18, words, 13, INK))
        words = f"{sum(each['checkouts']):,} checkouts in all"
        lines.append(text(left + bar * 40 + 12, base - 2, words, 11))
        lines.append(text(WIDTH - 16, base - 10, _seconds(each["longest"]), 15, INK, END + BOLD))
    return top + row * len(pools) + 6, lines


def _seconds(number: float) -> str:
    return f"{number:.1f} s" if number >= 1 else f"{1000 * number:.0f} ms"


# ---------------------------------------------------------------- what is left


def _capacity(recording: dict[str, Any]) -> tuple[int, list[str]]:
    """A line for each pool: its capacity over the number of exceptions."""
    left, right, top, bottom = 60, 640, 60, 300
    hits, most = recording["hits"], recording["of"]

    def at(hit: float, count: float) -> tuple[float, float]:
        x = left + (right - left) * hit / hits[-1]
        return x, bottom - (bottom - top) * count / most

    lines = [
        text(16, 26, "What is left of a pool of 20 after exceptions from outside", 16, INK, BOLD),
        text(16, 45, "connections that can be had at once, by number of exceptions so far"),
    ]
    for count in range(0, most + 1, 5):
        _, y = at(0, count)
        lines += [rect(left, y, right - left, 1, LINE), text(left - 8, y + 4, str(count), more=END)]
    for hit in hits:
        x, _ = at(hit, 0)
        lines.append(text(x, bottom + 18, str(hit), more=MIDDLE))
    labels: list[tuple[float, str, str]] = []
    for number, each in enumerate(recording["pools"]):
        points = [at(hit, count) for hit, count in zip(hits, each["left"], strict=True)]
        path = " ".join(f"{x:.1f},{y - 2 * number + 4:.1f}" for x, y in points)
        colour = LINES[number]
        width = 4 if each["pool"] == "purepool" else 2
        lines.append(
            f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{width}'/>"
        )
        labels.append((points[-1][1], f"{each['pool']}: {each['left'][-1]}", colour))
    last = 0.0
    for y, words, colour in sorted(labels):
        last = max(y + 4, last + 18)
        lines.append(text(right + 14, last, words, 13, colour, BOLD))
    return bottom + 64, lines


# ---------------------------------------------------------------- time lines


def _lanes(recording: dict[str, Any]) -> tuple[int, list[str]]:
    """Panels below one another, each with a lane for each who does something."""
    left, lane = 120, 22
    margin = 100 if any("ticks" in panel for panel in recording["panels"]) else 20
    scale = (WIDTH - left - margin) / recording["seconds"]
    kinds: list[str] = []
    lines: list[str] = []
    top = 40
    for panel in recording["panels"]:
        if panel["title"]:
            lines.append(text(16, top + 6, panel["title"], 14, INK, BOLD))
            top += 16
        for each in panel["lanes"]:
            lines.append(text(16, top + 15, each["name"], 12, INK))
            lines.append(rect(left, top + 10, WIDTH - left - margin, 1, LINE))
            for since, until, kind in each["spans"]:
                kinds.append(kind)
                x, width = left + since * scale, max((until - since) * scale, 2.5)
                lines.append(rect(x, top + 3, width, lane - 7, COLOURS[kind]))
            top += lane
        top = _ticks(panel, recording, left, scale, top, lines)
    shown = [kind for kind in NAMES if kind in kinds and kind != "refused"]
    return top, [*_legend(shown), *lines]


def _ticks(
    panel: dict[str, Any],
    recording: dict[str, Any],
    left: int,
    scale: float,
    top: int,
    lines: list[str],
) -> int:
    """What stands below a panel: seconds, or the events that it is made of."""
    if "ticks" not in panel:
        step = 0.5 if recording["seconds"] < 5 else 1.0
        for number in range(int(recording["seconds"] / step) + 1):
            x = left + number * step * scale
            lines += [rect(x, top, 1, 5, FAINT), text(x, top + 18, f"{number * step:g} s", 11)]
        return top + 38
    for number, words in enumerate(panel["ticks"]):
        x = left + number * scale
        turned = f" transform='rotate(40 {x + 3:.0f} {top + 14})'"
        lines += [rect(x, top, 1, 5, FAINT), text(x + 3, top + 14, words, 10, FAINT, turned)]
    return top + 165


def _legend(kinds: list[str]) -> Iterator[str]:
    x = 16.0
    for kind in kinds:
        words = NAMES[kind]
        yield rect(x, 12, 12, 12, COLOURS[kind])
        yield text(x + 17, 22, words, 12)
        x += 40 + 7 * len(words)
