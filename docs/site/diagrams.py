"""State diagrams as pictures: a block of mermaid becomes an SVG when the site is built.

Theory.  Where the Markdown is read on its own such a block is a diagram already, or text that can
be read.  The site has no script that could draw it, and fetches none.  A state diagram of ours is
small, so it needs no general layout: each state stands in a column by how far it is from the
beginning, and an arrow is named by a letter, which the legend beside it spells out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape
from typing import Any

from docutils import nodes

ARROW = re.compile(r"^\s*(\S+) --> (\S+?)(?:: (.*))?$", re.M)
WIDTH, HEIGHT, ACROSS, DOWN = 128, 40, 300, 120


def arrows(text: str) -> list[tuple[str, str, str]]:
    """From, to, and by what, of the arrows of a state diagram."""
    return [(start, end, label or "") for start, end, label in ARROW.findall(text)]


def places(found: list[tuple[str, str, str]]) -> dict[str, tuple[int, int]]:
    """Where the middle of each state is. What ends is in the last column."""
    ends = {start for start, end, _ in found if end == "[*]"}
    starts = [end for start, end, _ in found if start == "[*]" and end not in ends]
    others = [start for start, _, _ in found if start not in ends and start != "[*]"]
    middle = list(dict.fromkeys([*starts, *others]))
    columns: dict[int, list[str]] = defaultdict(list)
    for number, state in enumerate(middle):
        columns[1 + number % 2].append(state)
    columns[3] = sorted(ends)
    most = max(map(len, columns.values()))
    where = {"[*]": (40, 60 + (most - 1) * DOWN // 2)}
    for column, states in columns.items():
        for row, state in enumerate(states):
            shift = (most - len(states)) * DOWN / 2 + (DOWN / 3 if column == 2 else 0)
            where[state] = (int(200 + (column - 1) * ACROSS), int(60 + shift + row * DOWN))
    return where


def svg(text: str) -> str:
    """A picture of a state diagram, whose arrows are numbered."""
    found = [arrow for arrow in arrows(text) if arrow[1] != "[*]"]
    where = places(arrows(text))
    height = max(y for _, y in where.values()) + 60
    both = {(start, end) for start, end, _ in found}
    drawn = []
    for number, (start, end, label) in enumerate(found, 1):
        drawn += _arrow(number, where[start], where[end], (end, start) in both, label)
    boxes = [_box(name, place) for name, place in where.items()]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 -30 920 {height}' class='states'"
        " role='img'><defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='9'"
        " markerHeight='9' orient='auto'><path d='M0 1L9 5L0 9z'/></marker></defs>"
        + "".join(drawn + boxes)
        + "</svg>"
    )


def legend(text: str) -> str:
    """What the numbers of the arrows stand for."""
    rows = []
    for number, (start, end, label) in enumerate(
        (arrow for arrow in arrows(text) if arrow[1] != "[*]"), 1
    ):
        came = "new" if start == "[*]" else start.replace("_", " ")
        went = end.replace("_", " ")
        rows.append(f"<li value='{number}'>{escape(came)} → {escape(went)}: {escape(label)}</li>")
    return f"<ol class='states'>{''.join(rows)}</ol>"


def _box(name: str, place: tuple[int, int]) -> str:
    x, y = place
    if name == "[*]":
        return f"<circle cx='{x}' cy='{y}' r='9'/>"
    left, top = x - WIDTH // 2, y - HEIGHT // 2
    return (
        f"<rect x='{left}' y='{top}' width='{WIDTH}' height='{HEIGHT}' rx='8'/>"
        f"<text x='{x}' y='{y + 5}' class='state'>{escape(name.replace('_', ' '))}</text>"
    )


def _edge(place: tuple[int, int], to: tuple[float, float]) -> tuple[float, float]:
    """Where a line from the middle of a box leaves it."""
    x, y = place
    dx, dy = to[0] - x, to[1] - y
    scale = min(
        (WIDTH / 2 + 3) / abs(dx) if dx else 1e9,
        (HEIGHT / 2 + 3) / abs(dy) if dy else 1e9,
    )
    return x + dx * scale, y + dy * scale


def _arrow(
    number: int, start: tuple[int, int], end: tuple[int, int], back: bool, label: str
) -> list[str]:
    title = f"<title>{escape(label)}</title>"
    if start == end:
        x, y = start
        path = f"M{x - 22} {y - 20}C{x - 40} {y - 62} {x + 40} {y - 62} {x + 22} {y - 21}"
        at = (x, y - 52)
    else:
        (x1, y1), (x2, y2) = start, end
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        bend = 44 if back else (110 if length > ACROSS * 1.3 else 14)
        cx = (x1 + x2) / 2 + bend * (y2 - y1) / length
        cy = (y1 + y2) / 2 - bend * (x2 - x1) / length
        a, b = _edge(start, (cx, cy)), _edge(end, (cx, cy))
        if start[0] == 40:
            a = (start[0] + 10, start[1])
        path = f"M{a[0]:.0f} {a[1]:.0f}Q{cx:.0f} {cy:.0f} {b[0]:.0f} {b[1]:.0f}"
        t = 0.38
        at = tuple(
            (1 - t) ** 2 * p + 2 * (1 - t) * t * q + t**2 * r
            for p, q, r in zip(a, (cx, cy), b, strict=True)
        )
    return [
        f"<path class='arrow' d='{path}' marker-end='url(#tip)'>{title}</path>"
        f"<circle class='number' cx='{at[0]:.0f}' cy='{at[1]:.0f}' r='10'/>"
        f"<text class='number' x='{at[0]:.0f}' y='{at[1] + 4:.0f}'>{number}</text>"
    ]


def draw(app: Any, doctree: nodes.document) -> None:
    """Put a picture in the place of each diagram."""
    for block in list(doctree.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            text = block.astext()
            html = f"<figure class='states'>{svg(text)}</figure>{legend(text)}"
            block.replace_self(nodes.raw("", html, format="html"))


def setup(app: Any) -> None:
    app.connect("doctree-read", draw)
