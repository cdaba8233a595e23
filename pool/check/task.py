"""A check as a task, and how tasks are run and shown.

Theory.  A task knows its name before it runs and gives a `Result`.  Tasks that need Java run in
threads, for all they do is wait for it; the others run one after another, here.  Each looks by
itself whether a signal came (`interrupts.py`) and then is stopped; those that have not begun do
not begin, and say so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import attrs
from rich.console import Console
from rich.table import Table

from pool.check import interrupts
from pool.check.explore.explorer import Exploration
from pool.check.explore.mutants import MutantError
from pool.check.explore.notation import write, write_history
from pool.check.explore.tlc import TlcError
from pool.check.interrupts import PATIENCE, came
from pool.check.results import (
    NOT_BEGUN,
    PARTS,
    Counts,
    Progress,
    Result,
    Status,
    Underway,
    count,
    shown,
    totals,
    verdict,
)
from pool.check.usage import legend

Run = Callable[[Progress | None], tuple[Status, Counts, str]]


@attrs.frozen
class Task:
    """A check that has not run yet."""

    part: str
    name: str
    body: Run
    needs_java: bool = False

    def run(self, progress: Progress | None = None) -> Result:
        """Do it. A tool that cannot be run is a failure, with its one line as the message."""
        began = time.perf_counter()
        status: Status
        try:
            status, counts, message = self.body(progress)
        except interrupts.Stopped as stopped:
            after = f" after {stopped}" if str(stopped) else ""
            status, counts, message = "stopped", {}, f"stopped{after}"
        except (TlcError, MutantError, OSError) as error:
            status, counts, message = "failed", {}, str(error)
        seconds = time.perf_counter() - began
        return Result(self.part, self.name, status, round(seconds, 3), counts, message)

    def not_begun(self) -> Result:
        """What it comes to when there was no time for it."""
        return Result(self.part, self.name, "stopped", 0.0, {}, NOT_BEGUN)


def told(found: Exploration) -> tuple[Status, Counts, str]:
    """What an exploration came to."""
    status: Status = "passed" if found.complete else "stopped"
    counts = {"states": found.states, "edges": found.edges, "transitions": found.transitions}
    return "failed" if found.violation else status, counts, describe(found)


def describe(found: Exploration) -> str:
    """A violation, with a history to paste; or that not everything was explored."""
    violation = found.violation
    if violation is None:
        if found.complete:
            return ""
        frontier = f"{found.frontier:,} of them not explored"
        return f"stopped at --most-states: {found.states:,} states found, {frontier}"
    lines = [f"{violation.property} does not hold in {found.configuration.name}"]
    if violation.explanation:
        lines[0] += f": {violation.explanation}"
    if violation.others:
        lines.append(f"# nor do: {', '.join(violation.others)}")
    if violation.history or violation.property != "Goals":
        lines.append("# shortest history, for `purepool check --replay -`:")
        lines.append(write_history(found.configuration.limits[0], violation.history))
    if violation.property == "Live" or violation.cycle:
        lines.append("# and then, for ever:")
        lines += [f"# {write(event)}" for event in violation.cycle] or ["# nothing"]
    return "\n".join(lines)


def jobs() -> int:
    """How many tasks that need Java run at one time."""
    return max(1, min(4, os.cpu_count() or 1))


def run_tasks(console: Console, tasks: list[Task]) -> list[Result]:
    """A result for each of the tasks, in their order; also for those that were not begun."""
    results: dict[int, Result] = {}
    with console.status("") as status, ThreadPoolExecutor(jobs()) as threads:

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
