"""The rooms of the package and who imports whom, drawn: docs/architecture.svg.

Theory.  A picture of an architecture that somebody drew says what they believed.  Here the files in
a room are those of the folder, and an arrow is there because a file of the one room imports one of
the other.  Only where a room stands in the picture, and what it is for, is said by hand.  An arrow
that says no more than others do together is left out.

    python -m tests.model.rooms > docs/architecture.svg
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from tests.model.rules import ROOT

PACKAGE = ROOT / "pool"


class Room(NamedTuple):
    """Where a room is drawn, and what it is for."""

    title: str
    purpose: str
    left: int
    right: int
    row: int
    colour: str


GREEN, BLUE, VIOLET, SAND, GREY = "#e3f4e6", "#e4eefb", "#efe8fa", "#fdf3dc", "#eef0f3"

ROOMS = {
    "check": Room("check/", "all that checks the pool", 40, 960, 0, "#f7f8fa"),
    "check.commands": Room("", "the command purepool", 60, 940, 0, GREY),
    "check.timeline": Room("timeline/", "purepool timeline", 60, 940, 1, GREY),
    "check.conformance": Room("conformance/", "ports: vectors, protocol", 60, 640, 2, GREY),
    "check.sizing": Room("sizing/", "purepool size", 660, 940, 2, GREY),
    "check.recordings": Room("recordings/", "purepool replay", 660, 940, 3, GREY),
    "check.calls": Room("calls/", "is there an order", 660, 940, 4, GREY),
    "check.machines": Room("machines/", "random histories", 60, 640, 3, GREY),
    "check.proof": Room("proof/", "purepool prove", 60, 340, 4, GREY),
    "check.schedules": Room("schedules/", "every order of threads", 360, 640, 4, GREY),
    "check.task": Room("", "one check as a task", 60, 340, 5, GREY),
    "check.explore": Room("explore/", "every state; TLC", 60, 340, 6, GREY),
    "check.results": Room("", "what they all use", 60, 940, 7, GREY),
    "record": Room("record/", "what a pool did", 60, 240, 8, SAND),
    "peewee": Room("peewee/", "in the place of playhouse.pool", 260, 520, 8, SAND),
    "size": Room("size/", "in virtual time", 540, 720, 8, SAND),
    "metrics": Room("metrics/", "OTel, Prometheus", 740, 940, 8, SAND),
    "face": Room("pool/", "Pool, Lease", 300, 490, 10, VIOLET),
    "aio": Room("aio/", "the same for asyncio", 510, 700, 9, VIOLET),
    "drivers": Room("drivers/", "each in its own way", 300, 490, 11, VIOLET),
    "threads": Room("threads/", "the runtime, for threads", 60, 490, 12, BLUE),
    "tasks": Room("tasks/", "for asyncio", 510, 700, 12, BLUE),
    "shared": Room("shared/", "what both runtimes need", 60, 700, 13, BLUE),
    "core": Room("core/", "pure: step(state, event) -> (state', effects)", 60, 940, 14, GREEN),
}
INSIDE = [name for name in ROOMS if name.startswith("check.")]
OWN = {"task": "check.task", "usage": "check.results", "results": "check.results"}
OWN |= {"interrupts": "check.results"}
"""Files of `check/` itself that are no commands."""


def room_of(module: str) -> str:
    """The room of a module, which is named without `pool.`."""
    parts = module.split(".")
    if parts[0] == "check":
        whole = ".".join(parts[:2])
        if len(parts) > 2:
            return whole
        return OWN.get(parts[-1]) or (whole if whole in ROOMS else "check.commands")
    return parts[0] if parts[0] in ROOMS else "face"


def modules() -> dict[str, Path]:
    """Those of the package, by name without `pool.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Iterable[str]) -> Iterator[str]:
    """What a file imports of the package, wherever in it, also for types alone."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("pool."):
                short = name.removeprefix("pool.")
                yield short if short in known else short.rpartition(".")[0]


def arrows() -> set[tuple[str, str]]:
    """From a room to each whose files one of its own imports."""
    known = modules()
    found = set()
    for name, path in known.items():
        for other in imported(path, known):
            if name and other:
                one, another = room_of(name), room_of(other)
                found.add((one, another) if another in INSIDE else (one.partition(".")[0], another))
    return {(one, other) for one, other in found if one != other}


def reduced(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without those that go the same way as some others together."""

    def reached(start: str, without: tuple[str, str]) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            one = left.pop()
            for other in {b for a, b in found if a == one and (a, b) != without} - seen:
                seen.add(other)
                left.append(other)
        return seen

    return {arrow for arrow in found if arrow[1] not in reached(arrow[0], arrow)}


# ---------------------------------------------------------------- as a picture

LINE, HEAD, GAP, FIRST = 17, 38, 30, 122
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"


def files(room: str) -> list[str]:
    """Names of the files in a room, without what only gathers names."""
    return [
        name.rpartition(".")[2]
        for name, path in modules().items()
        if room_of(name) == room and path.name != "__init__.py"
    ]


def lines(room: str) -> list[str]:
    """The names of its files, as wide as the room is."""
    place = ROOMS[room]
    return wrap("  ".join(files(room)), (place.right - place.left - 24) // 7) or [""]


def svg() -> str:
    """The picture."""
    boxes = {name: room for name, room in ROOMS.items() if name != "check"}
    heights = {
        row: HEAD + LINE * max(len(lines(name)) for name, room in boxes.items() if room.row == row)
        for row in {room.row for room in boxes.values()}
    }
    places, top = {}, FIRST
    last = max(ROOMS[name].row for name in INSIDE)
    for row, height in sorted(heights.items()):
        for name, room in boxes.items():
            if room.row == row:
                places[name] = Box(room.left, room.right, top, top + height)
        top += height + GAP + (24 if row == last else 0)
    inside = [places[name] for name in INSIDE]
    first, end = min(box.top for box in inside), max(box.bottom for box in inside)
    places["check"] = Box(ROOMS["check"].left, ROOMS["check"].right, first - 46, end + 16)
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1000 {top}' {FONT}>",
            "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='8'"
            " markerHeight='8' orient='auto'><path d='M0 1L9 5L0 9z' fill='#5b6673'/></marker>"
            "</defs>",
            f"<rect width='1000' height='{top}' fill='#ffffff'/>",
            "<text x='40' y='36' font-size='19' font-weight='bold' fill='#1f2933'>The packages of"
            " pool/</text>",
            "<text x='40' y='57' font-size='13' fill='#5b6673'>An arrow: files of the one import"
            " files of the other. What several arrows say together is left out.</text>",
            *_room("check", places["check"]),
            *_arrows(places),
            *(line for name in boxes for line in _room(name, places[name])),
            "</svg>",
            "",
        ]
    )


class Box(NamedTuple):
    """Where something is in the picture."""

    left: int
    right: int
    top: int
    bottom: int


def _room(name: str, box: Box) -> Iterator[str]:
    room = ROOMS[name]
    x, y = box.left + 12, box.top + 22
    yield (
        f"<rect x='{box.left}' y='{box.top}' width='{box.right - box.left}'"
        f" height='{box.bottom - box.top}' rx='8' fill='{room.colour}' stroke='#9aa5b1'/>"
    )
    yield (
        f"<text x='{x}' y='{y}' font-size='14' font-weight='bold' fill='#1f2933'>"
        f"{escape(room.title)}<tspan dx='{10 if room.title else 0}' font-size='11.5'"
        f" font-weight='normal' fill='#52606d'>{escape(room.purpose)}</tspan></text>"
    )
    for number, line in enumerate(lines(name) if name != "check" else []):
        yield (
            f"<text x='{x}' y='{y + 22 + LINE * number}' font-size='11.5' fill='#334e68'"
            f" font-family='DejaVu Sans Mono, Consolas, monospace'>{escape(line)}</text>"
        )


def _arrows(places: dict[str, Box]) -> Iterator[str]:
    for one, other in sorted(reduced(arrows())):
        upper, lower = places[one], places[other]
        left, right = max(upper.left, lower.left), min(upper.right, lower.right)
        if right - left > 20:  # one is above the other
            start = end = (left + right) // 2
        else:
            leftwards = lower.right < upper.left
            start = upper.left + 40 if leftwards else upper.right - 40
            end = lower.right - 40 if leftwards else lower.left + 40
        bend = min(40, (lower.top - upper.bottom) // 2)
        yield (
            f"<path d='M{start} {upper.bottom}C{start} {upper.bottom + bend} {end}"
            f" {lower.top - bend} {end} {lower.top - 1}' fill='none' stroke='#5b6673'"
            " stroke-width='1.4' marker-end='url(#tip)'/>"
        )


if __name__ == "__main__":
    sys.stdout.write(svg())
