"""What a benchmark says: a claim, its figures, the target, and whether it is met.

Theory.  A figure alone invites belief.  So each is a row with what it has to be, and
those of the other pools beside it, measured in the same process on the same work. A claim is
a function that gives such rows; it knows nothing of tables and terminals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from benchmarks.measure import milliseconds

OURS = "purepool"

SHOW: dict[str, Callable[[float], str]] = {
    "s": milliseconds,
    "us": lambda value: f"{value * 1e6:.2f} us",
    "ratio": "{:.2f}".format,
    "count": lambda value: f"{value:,.0f}" if value == int(value) else f"{value:,.1f}",
    "%": "{:.0f} %".format,
}
"""How people are shown a figure, by its unit."""


@attrs.frozen
class Row:
    """One figure of each pool. Seconds for the units `s` and `us`."""

    what: str
    unit: str
    figures: Mapping[str, float | str]
    """By pool; a text where there is no number."""
    target: str = ""
    """What ours has to be, for people. Empty: only reported."""
    met: bool | None = None

    def show(self, name: str) -> str:
        value = self.figures.get(name, "")
        if isinstance(value, str):
            return value
        return "-" if math.isnan(value) else SHOW[self.unit](value)

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "reported"}[self.met]


def at_most(what: str, unit: str, figures: Mapping[str, Any], most: float, why: str = "") -> Row:
    """A row whose target is an upper bound for ours."""
    value = figures[OURS]
    target = f"<= {SHOW[unit](most)}" + (f" ({why})" if why else "")
    return Row(what, unit, figures, target, not isinstance(value, str) and value <= most)


def at_least(what: str, unit: str, figures: Mapping[str, Any], least: float) -> Row:
    """A row whose target is a lower bound for ours."""
    value = figures[OURS]
    met = not isinstance(value, str) and value >= least
    return Row(what, unit, figures, f">= {SHOW[unit](least)}", met)


@attrs.define
class Plan:
    """How much to measure, and whom to tell how far it is."""

    quick: bool = False
    tell: Callable[[float, str], None] = lambda part, what: None
    """Is told the part that is done, from 0 to 1, and what is being done."""

    def some(self, many: int, few: int) -> int:
        """How often to do something."""
        return few if self.quick else many

    def seconds(self, long: float, short: float) -> float:
        return short if self.quick else long


@attrs.frozen
class Claim:
    """Something that is claimed, and how it is measured."""

    name: str
    title: str
    about: str
    """How it is measured, in a sentence or two."""
    measure: Callable[[Plan], list[Row]]
