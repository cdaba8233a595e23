"""The picture that `purepool size` draws: waits over sizes, and how much of the pool is in use.

Theory.  One picture answers one question: how many connections until waits stop mattering?  So the
waits are above, on a logarithmic scale with the goal as a line, and below what that costs: the part
of the connections that is in use.  It is drawn without a display.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from pool.check.sizing.given import spoken
from pool.check.sizing.goal import Goal
from pool.size.loads import Load
from pool.size.simulation import Result

LEAST = 1e-5
"""Waits shorter than this, in seconds, are drawn as this: none is none on no logarithmic scale."""

LINES = {"p50": (0.5, "#9ecae1"), "p95": (0.95, "#4292c6"), "p99": (0.99, "#08519c")}


def draw(
    paths: Sequence[str | Path],
    load: Load,
    goal: Goal,
    results: Sequence[Result],
    best: Result | None,
) -> None:
    """Draw it into each of these files; the ending says in which format."""
    figure = Figure(figsize=(8, 5.5), layout="constrained", dpi=120)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    sizes = [result.limits.max_size or 0 for result in results]
    for name, (part, colour) in LINES.items():
        waits = [max(LEAST, result.quantile(part)) for result in results]
        above.plot(sizes, waits, "o-", label=name, color=colour, markersize=4)
    above.axhline(goal.p99, color="#cb181d", linewidth=1, linestyle="--")
    above.annotate(
        f"goal for p99: {spoken(goal.p99)}",
        (sizes[-1], goal.p99),
        color="#cb181d",
        ha="right",
        va="bottom",
        xytext=(0, 2),
        textcoords="offset points",
    )
    above.set_yscale("log")
    above.set_ylim(bottom=LEAST / 1.5)
    above.yaxis.set_major_formatter(FuncFormatter(_wait))
    above.yaxis.set_minor_locator(NullLocator())
    above.set_ylabel("wait for a connection")
    above.set_title(load.origin, fontsize=11)
    # Where the waits have fallen. To look for the best place takes long, and a warning says so.
    above.legend(frameon=False, loc="upper right")
    used = [result.used / (result.limits.max_size or 1) for result in results]
    below.bar(sizes, used, color="#c6dbef", label="in use")
    below.plot(
        sizes, [result.refused_part for result in results], ".-", color="#cb181d", label="refused"
    )
    below.set_ylim(0, 1)
    below.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{part:.0%}"))
    below.set_ylabel("of connections\nand of calls")
    below.set_xlabel("max_size")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.legend(frameon=False, loc="upper right")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        if best is not None:
            axes.axvline(best.limits.max_size or 0, color="#41ab5d", linewidth=6, alpha=0.25)
    with rc_context({"svg.fonttype": "none"}):  # text that can be searched
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else {})


def _wait(seconds: float, _: Any) -> str:
    return "none" if seconds <= LEAST else spoken(seconds)
