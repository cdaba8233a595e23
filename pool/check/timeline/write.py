"""One page that shows time lines: everything that it needs is in it, and nothing is fetched.

Theory.  The columns go into the page as they are, compressed, for there may be millions of numbers;
the browser unpacks them with what it has for that.  Numbers that only grow are written as
differences, which compresses better.  The page forbids itself any network, by its own policy.
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

from pool.check.conformance.rules import rules
from pool.check.timeline.columns import KINDS, Timeline

MADE_BY = "<!-- made by purepool timeline -->"

PAGE = Path(__file__).parent / "page"

SCRIPTS = ("data.js", "painting.js", "looking.js", "hands.js")

GROWING = ("at", "line", "first")
"""Columns that are written as differences."""


def page(timelines: Sequence[Timeline], title: str) -> str:
    """The page."""
    return assemble(base64.b64encode(zlib.compress(json.dumps(data(timelines)).encode(), 9)), title)


def assemble(packed: bytes, title: str) -> str:
    """The page of these data, packed as they are in it."""
    parts = {
        "{{TITLE}}": html.escape(title),
        "{{STYLE}}": _file("page.css"),
        "{{SCRIPT}}": "\n\n".join(map(_file, SCRIPTS)),
        "{{DATA}}": packed.decode(),
    }
    text = _file("page.html")
    for place, part in parts.items():
        text = text.replace(place, part)
    return text


def _file(name: str) -> str:
    return (PAGE / name).read_text("utf-8").rstrip()


def data(timelines: Sequence[Timeline]) -> dict[str, Any]:
    """What goes into the page, as values of JSON."""
    known = rules()
    cited = {rule for one in timelines for what in one.whats for rule in what[2]}
    return {
        "kinds": KINDS,
        "rules": {rule: known[rule].text for rule in sorted(cited)},
        "pools": [_pool(one) for one in timelines],
    }


def _pool(one: Timeline) -> dict[str, Any]:
    value = attrs.asdict(one, recurse=False)
    for table in ("events", "spans"):
        value[table] = {
            name: _differences(column) if name in GROWING else column
            for name, column in value[table].items()
        }
    return value


def _differences(column: list[int]) -> list[int]:
    return column[:1] + [after - before for before, after in pairwise(column)]
