"""How fast every state is explored: the explorer of `step`, and TLC on the same configuration.

Theory.  What is quick is done on every push.  The explorer looks at the real function, so each
transition is a call of `step`, with every invariant and run property asked of it.  It uses one
core; its time here is that of the processor, so that it does not matter what else the machine does.
TLC uses two, and counts a state again for each way to reach it; its time is by the clock, less what
it takes to start, which is the time for a world with one caller.
"""

from __future__ import annotations

import gc
import time

import attrs

from benchmarks.claims import OURS, Claim, Plan, Row, at_least
from pool.check.explore import tlc
from pool.check.explore.configurations import CONFIGURATIONS, Configuration
from pool.check.explore.explorer import explore

TLC = "TLC (2 cores)"


def rate(configuration: Configuration, times: int) -> float:
    """Transitions per second of the processor: the best of so many explorations."""
    rates = []
    for _ in range(times):
        gc.collect()
        began = time.process_time()
        found = explore(configuration)
        rates.append(found.transitions / (time.process_time() - began))
    return max(rates)


def rate_of_tlc(configuration: Configuration) -> float | str:
    """States generated per second, or why there is no such figure."""
    try:
        empty = tlc.check(attrs.evolve(configuration, callers=1, goals=()))
        verdict = tlc.check(configuration)
    except tlc.TlcError as error:
        return str(error)
    return verdict.generated / max(0.001, verdict.seconds - empty.seconds)


def measure(plan: Plan) -> list[Row]:
    base = CONFIGURATIONS["base-caller"]
    larger = attrs.evolve(base, name="larger", callers=7, limits=_sized(base, 4))
    worlds = [("base configuration", base), ("4 connections, 7 callers", larger)]
    rows = []
    for number, (what, configuration) in enumerate(worlds):
        plan.tell(number / len(worlds), what)
        figures: dict[str, float | str] = {
            OURS: rate(configuration, plan.some(20, 3) if number == 0 else 1),
            TLC: rate_of_tlc(configuration),
        }
        if number == 0:
            rows.append(at_least(f"{what}: transitions/s", "count", figures, 50_000))
        else:
            rows.append(Row(f"{what}: transitions/s", "count", figures))
    return rows


def _sized(configuration: Configuration, size: int) -> tuple[object, ...]:
    return tuple(attrs.evolve(limits, max_size=size) for limits in configuration.limits)


CLAIMS = (
    Claim(
        "explorer",
        "Every state of a small configuration is explored in an instant",
        "Calls of step per second, each with all invariants and run properties, on one core, "
        "beside the states that TLC generates on two. The base configuration is over in a tenth "
        "of a second, within which TLC has not begun.",
        measure,
    ),
)
