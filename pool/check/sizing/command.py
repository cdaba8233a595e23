"""`purepool size`: the smallest pool that keeps what is asked of it, and what the others do.

Theory.  Every size is tried with the same callers in virtual time (`pool.size`):
what differs between two rows of the table is the size alone.  Then the smallest is named that
meets the goal, together with what it would do if every call held its connection a quarter longer:
hold times depend on how busy the database is, which no simulation of a pool can know.

Exit status: 0 a size was found, 1 none of those tried is enough.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pool.check import interrupts
from pool.check.results import save
from pool.check.sizing.given import spoken
from pool.check.sizing.goal import Goal
from pool.check.sizing.recorded import Recorded, read
from pool.check.usage import UsageError, extra, refuse
from pool.core.limits import Limits
from pool.size.loads import Load, poisson
from pool.size.simulation import Result, simulate

LONGER = 1.25
"""How much longer calls hold in the second opinion on the size that is named."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}

CALLS, CONNECT = 100_000, 0.005
"""How many callers are made up, and how many seconds a connect takes, where that is not said."""

SETTINGS = 16
"""Sizes that are tried when none are given, about."""


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    pictures = [path for path in (arguments.png, arguments.svg) if path]
    draw = _drawing() if pictures else None
    recorded = _recorded(arguments)
    load, goal = load_from(arguments, recorded), Goal(arguments.p99, arguments.refused)
    settings = limits_from(arguments, load, recorded)
    to_output = arguments.json == "-"
    console = Console(stderr=to_output, highlight=False)
    shown = Console(stderr=True)
    if recorded is not None and not to_output:
        compare(console, recorded, shown)
    results, stopped = simulate_all(settings, load, shown)
    best = next((result for result in results if goal.is_met(result)), None)
    longer, cut = None, stopped
    if best is not None and not stopped:
        if_longer, cut = simulate_all([best.limits], _held_longer(load), shown)
        longer = if_longer[0] if if_longer else None
    show(console, load, goal, results, best, longer, stopped)
    save(arguments.json, json.dumps(as_json(load, goal, results, best, longer), indent=2))
    if results and draw is not None:
        draw(pictures, load, goal, results, best)
    if cut:
        return interrupts.status()
    return 0 if best is not None else 1


def _drawing() -> Callable[..., None]:
    """What draws. That it cannot be had is said before anything is simulated."""
    with extra("size"):
        from pool.check.sizing.picture import draw
    return draw


# ---------------------------------------------------------------- what is asked


def _recorded(arguments: argparse.Namespace) -> Recorded | None:
    """What the recording says, if one is given. It says all that would be made up."""
    if arguments.recording is None:
        if arguments.rate is None or arguments.hold is None:
            raise UsageError("who are the callers? Give a RECORDING, or --rate and --hold")
        return None
    refuse(arguments, "with a recording", "rate", "hold", "calls", "seed", "connect")

    def told(_: int) -> None:
        interrupts.checkpoint()

    return read(arguments.recording, told)


def load_from(arguments: argparse.Namespace, recorded: Recorded | None = None) -> Load:
    """The callers that the command line describes, or that were recorded."""
    if recorded is not None:
        load = recorded.load if arguments.load == 1 else recorded.load.scaled(arguments.load)
        return load if arguments.timeout is None else attrs.evolve(load, timeout=arguments.timeout)
    mean, shape_name, shape = arguments.hold
    rate = arguments.rate * arguments.load
    return poisson(
        rate,
        mean,
        calls=CALLS if arguments.calls is None else arguments.calls,
        shape=shape,
        connect=CONNECT if arguments.connect is None else arguments.connect,
        timeout=arguments.timeout,
        seed=arguments.seed or 0,
        origin=f"{rate:g} calls/s that hold for {spoken(mean)} ({shape_name})",
    )


def limits_from(
    arguments: argparse.Namespace, load: Load, recorded: Recorded | None = None
) -> list[Limits]:
    """The settings to try, smallest first: those of the recorded pool, but for what is given."""
    own = Limits(opener="background") if recorded is None else recorded.limits
    opener = own.opener if arguments.opener is None else arguments.opener
    least = own.min_idle if arguments.min_idle is None else arguments.min_idle
    longest = own.max_waiting if arguments.max_waiting is None else arguments.max_waiting
    try:
        return [
            attrs.evolve(
                own,
                max_size=size,
                min_idle=min(least, size),
                max_waiting=longest,
                opener=opener,
            )
            for size in arguments.max_size or likely(load.busy)
        ]
    except ValueError as error:
        raise UsageError(str(error)) from None


def compare(console: Console, recorded: Recorded, shown: Console) -> None:
    """Whether the simulation makes of the recorded callers what was recorded of them."""
    for note in recorded.notes:
        console.print(f"note: {note}")
    simulated, _ = simulate_all([recorded.limits], recorded.load, shown)
    if not simulated or not recorded.waits:
        return
    (result,) = simulated
    names = [name for name in QUANTILES if name != "p95"]
    was = ", ".join(f"{name} {spoken(recorded.quantile(QUANTILES[name]))}" for name in names)
    now = ", ".join(f"{name} {spoken(result.quantile(QUANTILES[name]))}" for name in names)
    most = recorded.limits.max_size
    console.print(
        f"recorded with max_size={most}:  waits {was}; {recorded.refused.total()} refused"
    )
    console.print(f"simulated with the same: waits {now}; {result.refused.total()} refused")


def likely(busy: float) -> list[int]:
    """Sizes around that which such a load keeps busy: fewer cannot do, many more need not be."""
    least = max(1, math.floor(busy))
    most = math.ceil(busy + 6.0 * math.sqrt(busy) + 4.0)
    pace = max(1, round((most - least) / SETTINGS))
    return list(range(least, most + pace, pace))


def _held_longer(load: Load) -> Load:
    calls = tuple(attrs.evolve(call, hold=call.hold * LONGER) for call in load.calls)
    return attrs.evolve(load, calls=calls)


# ---------------------------------------------------------------- trying


def simulate_all(
    settings: Sequence[Limits], load: Load, console: Console
) -> tuple[list[Result], bool]:
    """The result of each, and whether a signal ended it before the last."""
    results: list[Result] = []
    calls = len(load.calls)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=calls * len(settings))
        try:
            for number, limits in enumerate(settings):
                progress.update(task, description=f"max_size {limits.max_size}")

                def came_to(so_far: int, before: int = number * calls) -> None:
                    interrupts.checkpoint()
                    progress.update(task, completed=before + so_far)

                came_to(0)
                results.append(simulate(limits, load, came_to))
        except interrupts.Stopped:
            return results, True
    return results, False


# ---------------------------------------------------------------- telling


def show(
    console: Console,
    load: Load,
    goal: Goal,
    results: Sequence[Result],
    best: Result | None,
    longer: Result | None,
    stopped: bool = False,
) -> None:
    """The table, and what follows from it."""
    timeout = "" if load.timeout is None else f", timeout {spoken(load.timeout)}"
    console.print(f"load: {load.origin}{timeout}")
    if load.outages:
        down = math.fsum(until - since for since, until in load.outages)
        number = f"{len(load.outages)} outages" if len(load.outages) > 1 else "one outage"
        console.print(f"      {number}, {spoken(down)} in all, in which connects fail")
    console.print(f"      {load.busy:.3g} connections busy at a time where nobody has to wait")
    console.print(f"goal: {goal}\n")
    table = Table(box=None, pad_edge=False)
    headings = ("size", *(f"wait {name}" for name in QUANTILES))
    for heading in (*headings, "refused", "opened", "in use", "queue"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        most = result.limits.max_size or 0
        table.add_row(
            f"-> {most}" if result is best else str(most),
            *(spoken(result.quantile(part)) for part in QUANTILES.values()),
            f"{result.refused_part:.2%}" if result.refused else "0",
            f"{result.opened:,}",
            f"{result.used / most:.0%}",
            f"{result.full:.1%}",
        )
    console.print(table)
    console.print(
        "\nsize: max_size; in use: connections, of these, on average;"
        "\nqueue: part of the time in which somebody waited",
        style="dim",
    )
    if stopped:
        console.print("stopped: the other sizes were not tried", style="bold")
        return
    if best is None:
        console.print("None of these is enough.", style="bold")
        return
    console.print(
        f"max_size={best.limits.max_size} is enough."
        f" Waits: {spoken(best.mean)} ± {spoken(best.margin)} on average.",
        style="bold",
    )
    if longer is not None:
        refused = f", {longer.refused_part:.2%} refused" if longer.refused else ""
        console.print(
            f"If each held its connection {LONGER - 1:.0%} longer, 99 of 100 would wait at most"
            f" {spoken(longer.quantile(0.99))}{refused}.\nA database that is asked more at once"
            " answers slower, which is not simulated:\ntake the two as a band."
        )


def as_json(
    load: Load, goal: Goal, results: Sequence[Result], best: Result | None, longer: Result | None
) -> dict[str, object]:
    """The same for programs; times are in seconds, parts from 0 to 1."""
    return {
        "load": {
            "origin": load.origin,
            "calls": len(load.calls),
            "rate": load.rate,
            "hold": load.hold,
            "busy": load.busy,
            "timeout": load.timeout,
            "outages": load.outages,
        },
        "goal": attrs.asdict(goal),
        "settings": [_row(result) for result in results],
        "enough": None if best is None else best.limits.max_size,
        "if_held_longer": None if longer is None else {"by": LONGER, **_row(longer)},
    }


def _row(result: Result) -> dict[str, object]:
    limits = result.limits
    waits = {
        name: result.quantile(part) if result.waits else None for name, part in QUANTILES.items()
    }
    known = bool(result.waits) and math.isfinite(result.margin)
    return {
        "max_size": limits.max_size,
        "min_idle": limits.min_idle,
        "max_waiting": limits.max_waiting,
        "opener": limits.opener,
        "calls": result.calls,
        "waits": {
            **waits,
            "mean": result.mean if result.waits else None,
            "margin": result.margin if known else None,
        },
        "refused": dict(result.refused),
        "opened": result.opened,
        "failed": result.failed,
        "closed": result.closed,
        "used": result.used,
        "most_used": result.most_used,
        "queue": result.full,
    }
