"""`purepool check`: look at every state, compare with the specification, find the mutants.

Theory.  The command picks tasks (`suite.py`), runs them, shows how they get on, and says what they
came to; it knows nothing else.  Tasks that need Java run in threads, for all they do is wait for
it; the others run one after another, here, where Ctrl-C stops an exploration and
keeps what it found.

Exit status: 0 all is well, 1 something does not hold, 2 the command was wrong, 130 stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table

from pool.check import coverage as covering
from pool.check import suite
from pool.check.configurations import CONFIGURATIONS, DEEP, LIVENESS, Configuration
from pool.check.notation import read_history, replay, write
from pool.check.results import Progress, Result, Underway, as_json, as_junit, save, totals
from pool.check.suite import Task

ALL = {**CONFIGURATIONS, **DEEP, **LIVENESS}


class UsageError(Exception):
    """The command line asks for what there is not; the message says what there is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add = parser.add_argument
    add("configurations", nargs="*", metavar="CONFIGURATION", help="which to check; none: all")
    add("--list", action="store_true", help="show the configurations and stop")
    add("--profile", choices=("ci", "nightly"), help="everything that runs there")
    add("--against-tla", action="store_true", help="compare with the graph of the specification")
    add("--spec", type=Path, metavar="DIRECTORY", help="another specification to compare with")
    add("--pin", action="store_true", help="with --against-tla: pin what was found equal")
    add("--mutants", action="store_true", help="see that every mutant is found")
    add("--coverage", action="store_true", help="lines and branches of the pure core reached")
    add("--replay", metavar="FILE", help="replay a pasted history (-: standard input)")
    bounds = parser.add_argument_group("bounds, instead of the configuration's")
    bounds.add_argument("--callers", type=int, metavar="N", help="tickets alive at one time")
    bounds.add_argument("--max-size", type=int, metavar="N", help="connections")
    bounds.add_argument("--ticks", type=int, metavar="N", help="units of time that may pass")
    bounds.add_argument("--events", metavar="A,B,...", help="what can happen")
    bounds.add_argument("--most-states", type=int, metavar="N", help="stop after so many states")
    add("--json", metavar="FILE", help="write the results as JSON (-: standard output)")
    add("--junit", metavar="FILE", help="write the results as JUnit XML")


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    console = Console(stderr=arguments.json == "-", highlight=False)
    if arguments.list:
        _list(console)
        return 0
    if arguments.replay:
        return _replay(console, arguments.replay)
    if arguments.coverage:
        return covering.show(console)
    tasks = _tasks(arguments)
    began = time.perf_counter()
    results = _run(console, tasks)
    seconds = time.perf_counter() - began
    _show(console, results, seconds, len(tasks))
    if arguments.json:
        save(arguments.json, as_json(results, seconds))
    if arguments.junit:
        save(arguments.junit, as_junit(results, seconds))
    if len(results) < len(tasks) or any(r.message.startswith("stopped") for r in results):
        return 130
    return 0 if all(result.passed for result in results) else 1


def _tasks(arguments: argparse.Namespace) -> list[Task]:
    if arguments.profile:
        if arguments.configurations:
            raise UsageError("a profile has its own configurations")
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
            tasks.append(suite.liveness_task(configuration))
        else:
            tasks.append(suite.explore_task(configuration, arguments.most_states))
    return tasks


def _bounded(arguments: argparse.Namespace) -> bool:
    names = ("callers", "max_size", "ticks", "events", "most_states")
    return any(getattr(arguments, name) is not None for name in names)


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
        if arguments.most_states is not None and arguments.most_states < 1:
            raise ValueError("--most-states: allowed is a whole number, at least 1")
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


def _run(console: Console, tasks: list[Task]) -> list[Result]:
    """Results in the order of the tasks; fewer, if stopped."""
    results: dict[int, Result] = {}
    beside: dict[int, Future[Result]] = {}
    with console.status("") as status, ThreadPoolExecutor(suite.jobs()) as threads:

        def finished(number: int, result: Result) -> None:
            results[number] = result
            show_line(console, result)

        def progress_of(task: Task) -> Progress:
            def progress(found: Underway) -> None:
                status.update(f"{task.part} {task.name}: {found.progress}")

            return progress

        try:
            for number, task in enumerate(tasks):
                if task.needs_java:
                    beside[number] = threads.submit(task.run)
            for number, task in enumerate(tasks):
                if not task.needs_java:
                    status.update(f"{task.part} {task.name}")
                    finished(number, task.run(progress_of(task)))
                    if results[number].message.startswith("stopped"):
                        raise KeyboardInterrupt
            for number, future in beside.items():
                status.update(f"{tasks[number].part} {tasks[number].name}")
                finished(number, future.result())
        except KeyboardInterrupt:
            threads.shutdown(wait=False, cancel_futures=True)
    return [results[number] for number in sorted(results)]


def show_line(console: Console, result: Result) -> None:
    """What one check came to."""
    mark = "[green]ok[/]" if result.passed else "[red]FAILED[/]"
    counts = ", ".join(f"{count:,} {name}" for name, count in result.counts.items())
    line = f"{mark} {result.part} {result.name}  {counts}  {result.seconds:.1f} s"
    console.print(line, soft_wrap=True)
    if result.message:
        console.print(result.message, markup=False, soft_wrap=True)


def _show(console: Console, results: list[Result], seconds: float, wanted: int) -> None:
    table = Table(box=None)
    for title in ("part", "checks", "failed", "counts", "seconds"):
        table.add_column(title, justify="left" if title in ("part", "counts") else "right")
    for part in dict.fromkeys(result.part for result in results):
        mine = [result for result in results if result.part == part]
        table.add_row(
            part,
            str(len(mine)),
            str(sum(not result.passed for result in mine)),
            ", ".join(f"{count:,} {name}" for name, count in totals(mine).items()),
            f"{sum(result.seconds for result in mine):.1f}",
        )
    console.print(table)
    failed = sum(not result.passed for result in results)
    verdict = f"[red]{failed} failed[/]" if failed else "[green]all passed[/]"
    if len(results) < wanted:
        verdict += f", [red]stopped before the other {wanted - len(results)}[/]"
    console.print(f"{len(results)} checks, {verdict}, {seconds:.1f} s")


def _list(console: Console) -> None:
    table = Table(box=None)
    for title in ("configuration", "opener", "callers", "max_size", "about"):
        table.add_column(title)
    for configuration in ALL.values():
        sizes = sorted({str(limits.max_size) for limits in configuration.limits})
        table.add_row(
            configuration.name,
            configuration.opener,
            str(configuration.callers),
            ", ".join(sizes),
            configuration.about,
        )
    console.print(table)


def _replay(console: Console, path: str) -> int:
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
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
