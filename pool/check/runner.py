"""`purepool check`: explore every state, compare with the specification, find the mutants.

Theory.  The command picks tasks (`suite.py`), runs them, shows how they get on, and says what they
came to; it knows nothing else.  Tasks that need Java run in threads, for all they do is wait for
it; the others run one after another, here.  Each looks by itself whether a signal came
(`interrupts.py`) and then is stopped; those that have not begun do not begin, and say so.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table

from pool.check import suite
from pool.check.explore import coverage as covering
from pool.check.explore.configurations import CONFIGURATIONS, DEEP, LIVENESS, Configuration
from pool.check.interrupts import PATIENCE, came, read_standard_input
from pool.check.notation import read_history, replay, write
from pool.check.options import UsageError, legend, refuse, reports_to_output
from pool.check.results import (
    PARTS,
    Progress,
    Result,
    Underway,
    as_json,
    as_junit,
    count,
    exit_status,
    save,
    shown,
    totals,
    verdict,
)
from pool.check.suite import Task

ALL = {**CONFIGURATIONS, **DEEP, **LIVENESS}


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    console = Console(stderr=reports_to_output(arguments), highlight=False)
    _refuse_what_does_nothing(arguments)
    if arguments.list:
        _list(console)
        return 0
    if arguments.replay:
        return _replay(console, arguments.replay)
    if arguments.coverage:
        return covering.show(console)
    tasks = _tasks(arguments)
    began = time.perf_counter()
    results = run_tasks(console, tasks)
    seconds = time.perf_counter() - began
    show(console, results, seconds)
    save(arguments.json, as_json(results, seconds, "check"))
    save(arguments.junit, as_junit(results, seconds, "check"))
    return exit_status(results)


BOUNDS = ("callers", "max_size", "ticks", "events", "most_states")
MODES = ("profile", "mutants", "coverage", "replay", "list")
"""What has configurations of its own, or none."""


def _refuse_what_does_nothing(arguments: argparse.Namespace) -> None:
    for mode in MODES:
        if getattr(arguments, mode):
            refuse(arguments, f"with --{mode}", "configurations", *BOUNDS)
            if mode in ("coverage", "replay", "list"):
                refuse(arguments, f"with --{mode}", "json", "junit")
    if arguments.against_tla:
        refuse(arguments, "with --against-tla", *BOUNDS)
    else:
        refuse(arguments, "without --against-tla", "spec", "pin")
    if arguments.spec:
        refuse(arguments, "with --spec: only the specification itself is pinned", "pin")


def _tasks(arguments: argparse.Namespace) -> list[Task]:
    if arguments.profile:
        return suite.profile(arguments.profile)
    if arguments.mutants:
        return [*suite.specification_mutant_tasks(), *suite.code_mutant_tasks()]
    unknown = [name for name in arguments.configurations if name not in ALL]
    if unknown:
        raise UsageError(f"no configuration {', '.join(unknown)}. There are {', '.join(ALL)}")
    chosen = [ALL[name] for name in arguments.configurations]
    if arguments.against_tla:
        return [
            suite.equality_task(configuration, arguments.spec, pin=arguments.pin)
            for configuration in chosen or CONFIGURATIONS.values()
        ]
    bounded = _bounded(arguments)
    if not chosen and not bounded:
        return suite.without_java()
    tasks = []
    for configuration in chosen or CONFIGURATIONS.values():
        if bounded:
            configuration = _with_bounds(configuration, arguments)
        if configuration.name in LIVENESS:
            tasks.append(suite.liveness_task(configuration, arguments.most_states))
        else:
            tasks.append(suite.explore_task(configuration, arguments.most_states))
    return tasks


def _bounded(arguments: argparse.Namespace) -> bool:
    return any(getattr(arguments, name) is not None for name in BOUNDS)


def _with_bounds(configuration: Configuration, arguments: argparse.Namespace) -> Configuration:
    """The configuration with the bounds of the command line; its goals may be out of reach."""
    changes: dict[str, Any] = {"goals": ()}
    if arguments.callers is not None:
        changes["callers"] = arguments.callers
    if arguments.ticks is not None:
        changes["ticks"] = arguments.ticks
    if arguments.events is not None:
        changes["events"] = tuple(filter(None, arguments.events.split(",")))
    try:
        if arguments.max_size is not None:
            changes["limits"] = tuple(
                dict.fromkeys(
                    attrs.evolve(limits, max_size=arguments.max_size)
                    for limits in configuration.limits
                )
            )
        return attrs.evolve(configuration, **changes)
    except ValueError as error:
        raise UsageError(str(error)) from None


# ---------------------------------------------------------------- running


def run_tasks(console: Console, tasks: list[Task]) -> list[Result]:
    """A result for each of the tasks, in their order; also for those that were not begun."""
    results: dict[int, Result] = {}
    with console.status("") as status, ThreadPoolExecutor(suite.jobs()) as threads:

        def finished(number: int, result: Result) -> None:
            results[number] = result
            show_line(console, result)

        def progress_of(task: Task) -> Progress:
            def progress(found: Underway) -> None:
                status.update(f"{task.part} {task.name}: {found.progress}")

            return progress

        beside = {
            number: threads.submit(task.run) for number, task in enumerate(tasks) if task.needs_java
        }
        for number, task in enumerate(tasks):
            if not task.needs_java and not came():
                status.update(f"{task.part} {task.name}")
                finished(number, task.run(progress_of(task)))
        for number, future in beside.items():
            status.update(f"{tasks[number].part} {tasks[number].name}")
            while not (future.done() or (came() and future.cancel())):
                wait([future], PATIENCE)
            if not future.cancelled():
                finished(number, future.result())
    return [results.get(number) or task.not_begun() for number, task in enumerate(tasks)]


MARKS = {"passed": "[green]ok[/]", "failed": "[red]FAILED[/]", "stopped": "[yellow]stopped[/]"}


def show_line(console: Console, result: Result) -> None:
    """What one check came to."""
    said = ", ".join([*shown(result.counts), f"{result.seconds:.1f} s"])
    line = f"{MARKS[result.status]} {result.part} {result.name}  {said}"
    console.print(line, soft_wrap=True)
    if result.message:
        console.print(result.message, markup=False, soft_wrap=True)


def show(console: Console, results: list[Result], seconds: float) -> None:
    """All results in a table, a part on a row, with what the parts are."""
    parts = list(dict.fromkeys(result.part for result in results))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("part", "checks", "failed", "seconds", "counts"):
        table.add_column(title, justify="left" if title in ("part", "counts") else "right")
    for part in parts:
        mine = [result for result in results if result.part == part]
        table.add_row(
            part,
            str(len(mine)),
            str(count(mine, "failed")),
            f"{sum(result.seconds for result in mine):.1f} s",
            ", ".join(said.replace(" ", "\u00a0") for said in shown(totals(mine))),
        )
    console.print()
    console.print(table)
    console.print()
    console.print(legend({part: PARTS[part] for part in parts}), markup=False, soft_wrap=True)
    console.print()
    console.print(verdict(results, seconds))


def _list(console: Console) -> None:
    for title, worlds in (
        ("checked if none is named, and with --profile ci", CONFIGURATIONS),
        ("for liveness, likewise", LIVENESS),
        ("larger, with --profile nightly", DEEP),
    ):
        names = {}
        for world in worlds.values():
            sizes = sorted({str(limits.max_size or "without limit") for limits in world.limits})
            bounds = f"{world.callers} callers, max_size {', '.join(sizes)}, opener {world.opener}"
            names[world.name] = f"{world.about} ({bounds})"
        console.print(f"{title}:\n{legend(names)}\n", markup=False, soft_wrap=True)


def _replay(console: Console, path: str) -> int:
    if path == "-":
        text = read_standard_input()
    else:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    limits, history = read_history(text)
    console.print(write(limits), markup=False, soft_wrap=True)
    broken: list[str] = []
    for step in replay(limits, history):
        effects = ", ".join(map(write, step.effects))
        console.print(
            write(step.event) + (f"  # {effects}" if effects else ""), markup=False, soft_wrap=True
        )
        if step.broken:
            console.print(f"# does not hold: {', '.join(step.broken)}", markup=False)
            broken.extend(step.broken)
    console.print(f"{len(history)} events, " + ("violated" if broken else "nothing violated"))
    return 1 if broken else 0
