"""`purepool check`: explore every state, compare with the specification, find the mutants.

Theory.  The command picks tasks (`suite.py`), runs them, shows how they get on, and says what they
came to (`task.py`); it knows nothing else.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from pool.check import suite
from pool.check.calls.log import CallLogError
from pool.check.calls.log import read as read_calls
from pool.check.calls.order import explain
from pool.check.explore import coverage as covering
from pool.check.explore.configurations import CONFIGURATIONS, DEEP, LIVENESS, Configuration
from pool.check.explore.notation import read_run, replay, write
from pool.check.interrupts import checkpoint, read_standard_input
from pool.check.results import report
from pool.check.task import Task, run_tasks, show
from pool.check.usage import UsageError, legend, refuse, reports_to_output
from pool.record.recording import Reader, RecordingError

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
    if arguments.linearizable:
        return _explain(console, arguments.linearizable)
    if arguments.coverage:
        return covering.show(console)
    tasks = _tasks(arguments)
    began = time.perf_counter()
    results = run_tasks(console, tasks)
    seconds = time.perf_counter() - began
    show(console, results, seconds)
    return report(arguments, results, seconds)


BOUNDS = ("callers", "max_size", "ticks", "events", "most_states")
MODES = ("profile", "mutants", "coverage", "replay", "linearizable", "trace", "list")
"""What has configurations of its own, or none."""


def _refuse_what_does_nothing(arguments: argparse.Namespace) -> None:
    for mode in MODES:
        if getattr(arguments, mode):
            refuse(arguments, f"with --{mode}", "configurations", *BOUNDS)
            if mode in ("coverage", "replay", "linearizable", "list"):
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
        return [
            *suite.mutant_tasks("specification"),
            *suite.protocol_mutant_tasks(),
            *suite.mutant_tasks("code"),
        ]
    if arguments.trace:
        return [_recorded(arguments.trace)]
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


def _recorded(path: Path) -> Task:
    try:
        Reader(path)
    except RecordingError as error:
        raise UsageError(str(error)) from None
    path.stat()
    return suite.recorded_task(path.name, path)


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


def _read(path: str) -> str:
    if path == "-":
        return read_standard_input()
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _explain(console: Console, path: str) -> int:
    try:
        limits, calls = read_calls(_read(path).splitlines())
        with console.status("") as status:

            def progress(number: int) -> None:
                checkpoint()
                status.update(f"{number:,} of {len(calls):,} calls")

            verdict = explain(limits, calls, progress=progress)
    except CallLogError as error:
        raise UsageError(f"{path}: {error}") from None
    if verdict.explained:
        tried = f"{verdict.tried:,} transitions tried"
        console.print(f"{len(calls):,} calls: there is an order that explains them ({tried})")
        return 0
    console.print(f"no order explains these calls; {verdict.calls:,} before them can be explained:")
    for call in verdict.stuck:
        console.print(f"  {call}", markup=False, soft_wrap=True)
    console.print(f"when the pool is {verdict.state}", markup=False, soft_wrap=True)
    return 1


def _replay(console: Console, path: str) -> int:
    text = _read(path)
    first, history = read_run(text)
    console.print(write(first), markup=False, soft_wrap=True)
    broken: list[str] = []
    for step in replay(first, history):
        effects = ", ".join(map(write, step.effects))
        console.print(
            write(step.event) + (f"  # {effects}" if effects else ""), markup=False, soft_wrap=True
        )
        if step.broken:
            console.print(f"# does not hold: {', '.join(step.broken)}", markup=False)
            broken.extend(step.broken)
    console.print(f"{len(history)} events, " + ("violated" if broken else "nothing violated"))
    return 1 if broken else 0
