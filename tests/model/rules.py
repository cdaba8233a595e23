"""The rules of `spec/README.md`, and other things that several tests read from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pool

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "spec" / "README.md").read_text(encoding="utf-8")
ID = re.compile(r"\b[A-Z]{3}-\d+\b")
RULES = tuple(re.findall(r"(?:^\n|^\| )`([A-Z]{3}-\d+)`", SPEC, flags=re.MULTILINE))
"""Every rule that the specification defines: its id in backticks begins a paragraph, or a
row of a table."""


def table(heading: str) -> dict[str, list[str]]:
    """The first table after a heading (or after any text): first column -> other columns."""
    after = SPEC.split(heading, 1)[1]
    lines = [
        line for line in re.split(r"\n(?=\|)", after, maxsplit=1)[1].split("\n\n")[0].split("\n")
    ]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in rows[2:]}


def names() -> dict[str, Any]:
    """What a pasted history may name."""
    return {name: getattr(pool, name) for name in pool.__all__}
