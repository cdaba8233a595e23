"""`make run`: one peewee application over this pool and over playhouse's, side by side.

Theory.  A pool is easily praised with the wrong number: one that lets a thread take back what
it just returned has fine throughput and a fine median wait, and most of its threads stand still.
So the display shows the turns of every single thread while it happens.  The rounds alternate, for
the machine's speed changes.  And since this pool claims that what it does is what its
specification says, it is recorded all the time (its figures include what that costs), and at the
end each event of each round is checked.

Ctrl-C only sets a flag, which the loops here look at: nothing is ever interrupted halfway, so
nothing is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.application import Figures, Round
    from benchmarks.demo_tasks import TaskFigures

NAMES = ("purepool", "playhouse.pool")
REFRESH = 0.1
BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "_.-:=+*#"


class Interrupted(Exception):
    """Somebody pressed Ctrl-C, or asked this process to end."""


class Interrupts:
    """Signals that ask for an end, as a flag."""

    def __init__(self) -> None:
        self.came: int | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        def note(number: int, _: Any) -> None:
            self.came = number

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, note) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def look(self, *_: object) -> None:
        if self.came is not None:
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        self.look()
        time.sleep(seconds)
        self.look()


def blocks(counts: list[int], characters: str) -> str:
    """A bar for each number, the highest full; a thread without a turn has none."""
    highest = max([*counts, 1])
    steps = len(characters)
    return "".join(
        characters[min(steps - 1, count * steps // highest)] if count else " " for count in counts
    )


class Display:
    """What is shown meanwhile: bars in a terminal, a line for each round elsewhere."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self.console = console
        self.characters = BLOCKS if console.encoding.lower().startswith("utf") else PLAIN_BLOCKS
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            # As wide as what will be in them, so that nothing jumps, and not above 80 in all.
            TextColumn("[cyan]{task.fields[threads]}", table_column=Column(min_width=32)),
            TextColumn("{task.fields[note]}", table_column=Column(min_width=14, justify="right")),
            console=console,
            disable=not console.is_terminal,
        )
        self.progress.console.print(title, highlight=False)

    def add(self, description: str, total: float) -> Any:
        return self.progress.add_task(description, total=total, threads="", note="")

    def update(self, task: Any, done: float, threads: str = "", note: str = "") -> None:
        self.progress.update(task, completed=done, threads=threads, note=note)

    def finish(self, task: Any, threads: str, note: str) -> None:
        bar = self.progress._tasks[task]
        self.progress.update(task, completed=bar.total, threads=threads, note=note)
        if not self.console.is_terminal:
            self.console.print(f"{bar.description}: {note}", highlight=False, markup=False)


def play(
    name: str,
    path: Path,
    options: argparse.Namespace,
    display: Display,
    task: Any,
    interrupts: Interrupts,
) -> tuple[Figures, Round]:
    """One round, shown while it lasts."""
    from benchmarks.application import Round
    from benchmarks.measure import now

    round_ = Round(name, path, options.threads, options.connections)
    try:
        while (gone := now() - round_.began) < options.seconds:
            interrupts.sleep(min(REFRESH, options.seconds - gone))
            threads = blocks([len(mine) for mine in round_.turns], display.characters)
            display.update(task, gone, threads, f"{round_.waiting()} waiting")
    finally:
        round_.end()
    interrupts.look()
    figures = round_.figures(options.seconds)
    threads = blocks([len(mine) for mine in round_.turns], display.characters)
    display.finish(task, threads, f"{figures.throughput:,.0f} checkouts/s")
    return figures, round_


def play_tasks(
    options: argparse.Namespace, display: Display, task: Any, interrupts: Interrupts
) -> tuple[TaskFigures, Any]:
    """The round of tasks, shown while it lasts."""
    from benchmarks.demo_tasks import TaskRound

    round_ = TaskRound(options.threads, options.connections)

    def look(gone: float) -> None:
        interrupts.look()
        display.update(task, gone, blocks(round_.turns, display.characters))

    figures = round_.play(options.seconds, look)
    interrupts.look()
    turns = blocks(round_.turns, display.characters)
    display.finish(task, turns, f"{figures.throughput:,.0f} checkouts/s")
    return figures, round_.recorder


def run(options: argparse.Namespace, console: Console, interrupts: Interrupts) -> dict[str, Any]:
    """All rounds, then the check of the history: everything that is to be said."""
    from benchmarks.application import Figures

    began = time.perf_counter()
    figures: dict[str, list[Figures]] = {name: [] for name in NAMES}
    recorders = []
    title = (
        f"[bold]purepool beside playhouse.pool[/]: {options.threads} threads of a peewee shop, "
        f"{options.connections} connections.\n"
        "A bar for each thread: its checkouts, beside the thread with most. No bar: none."
    )
    display = Display(console, title)
    with (
        tempfile.TemporaryDirectory(prefix="purepool-") as directory,
        display.progress,
    ):
        plan = [(number, name) for number in range(options.rounds) for name in NAMES]
        tasks = [
            display.add(f"round {number + 1} {name}", options.seconds) for number, name in plan
        ]
        in_tasks = display.add("asyncio, purepool", options.seconds)
        for (number, name), task in zip(plan, tasks, strict=True):
            path = Path(directory) / f"{name}-{number}.db"
            result, round_ = play(name, path, options, display, task, interrupts)
            figures[name].append(result)
            if round_.recorder is not None:
                recorders.append(round_.recorder)
        result_of_tasks, recorder = play_tasks(options, display, in_tasks, interrupts)
        history = check([*recorders, recorder], display, interrupts)
    medians = {name: Figures.medians(rounds) for name, rounds in figures.items()}
    return {
        "settings": {
            name: getattr(options, name) for name in ("threads", "connections", "seconds", "rounds")
        },
        "rounds": figures,
        "medians": medians,
        "tasks": result_of_tasks,
        "history": history,
        "took": time.perf_counter() - began,
    }


def check(recorders: list[Any], display: Display, interrupts: Interrupts) -> dict[str, Any]:
    """Give every recorded event to `step` again."""
    from pool import INVARIANTS, STEP_INVARIANTS

    total = sum(len(recorder.history) for recorder in recorders)
    task = display.add("check of the history", total)
    kinds: Counter[str] = Counter()
    violations: list[str] = []
    before = 0
    for number, recorder in enumerate(recorders, 1):

        def progress(done: int, before: int = before) -> None:
            interrupts.look()
            display.update(task, before + done, f"{before + done:,} of {total:,} events")

        kinds.update(type(event).__name__ for event, _ in recorder.history)
        found = recorder.check(progress)
        violations += [f"round {number}: {violation}" for violation in found]
        before += len(recorder.history)
    display.finish(task, f"{total:,} events", "not sound" if violations else "sound")
    return {
        "events": total,
        "kinds": dict(kinds.most_common()),
        "invariants": [*INVARIANTS, *STEP_INVARIANTS],
        "violations": violations,
    }


def report(result: dict[str, Any], console: Console) -> None:
    """The table, what it means, and the verdict."""
    from rich import box
    from rich.table import Table

    from benchmarks.measure import milliseconds

    settings, medians, history = result["settings"], result["medians"], result["history"]
    table = Table(
        title=f"Medians of {settings['rounds']} rounds of {settings['seconds']:g} s",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        title_style="bold",
        show_edge=False,
    )
    table.add_column("")
    for name in NAMES:
        table.add_column(name, justify="right")

    def row(label: str, show: Any, *fields: str, better: str = "") -> None:
        """A line; the one whose `better` is the greater, or whose first is the less, is green."""
        values = [getattr(medians[name], better or fields[0]) for name in NAMES]
        best = max(values) if better else min(values)
        # Within a tenth nobody is better: the machine alone makes such differences.
        close = [abs(value - best) <= 0.1 * abs(best) for value in values]
        cells = []
        for name, near in zip(NAMES, close, strict=True):
            shown = " to ".join(show(getattr(medians[name], field)) for field in fields)
            cells.append(f"[green]{shown}[/]" if near and not all(close) else shown)
        table.add_row(label, *cells)

    # First what a thread meets. Percentiles over checkouts hide threads that hardly had any.
    count = "{:,.0f}".format
    row("longest wait", milliseconds, "wait_max")
    row("mean wait, median thread to worst", milliseconds, "wait_thread", "wait_worst")
    row("checkouts, fewest to most", count, "fewest", "most", better="fewest")
    row("wakeup: given back, waiter runs", milliseconds, "wakeup")
    row("wait of all checkouts, p50 to p99", milliseconds, "wait_p50", "wait_p99")
    row("throughput, checkouts/s of all", count, "throughput", better="throughput")
    console.print(table)

    theirs = medians["playhouse.pool"]
    if theirs.fewest * 10 < theirs.most:
        console.print(
            "Over playhouse.pool few threads take back what they just returned, and the others "
            "wait: that makes its wait over all checkouts short.",
            highlight=False,
        )
    tasks, connections = result["tasks"], settings["connections"]
    console.print(
        f"asyncio, {settings['threads']} tasks: {tasks.fewest:,} to {tasks.most:,} checkouts, "
        f"longest wait {milliseconds(tasks.wait_max)}; {tasks.delivered:,} of "
        f"{tasks.cancelled:,} cancellations of others came through; afterwards {tasks.whole} of "
        f"{connections} connections.",
        highlight=False,
    )
    console.print(
        f"The history of this pool: {history['events']:,} events, each given to the pure function "
        f"`step` again. Verdict: {VERDICTS[not history['violations']]} "
        f"[dim]{result['took']:.0f} s in all.[/]",
        highlight=False,
    )
    for violation in history["violations"]:
        console.print(f"  {violation}", markup=False, highlight=False)


VERDICTS = {
    True: "[bold green]sound.[/] Same effects, same states, all invariants.",
    False: "[bold red]not sound.[/]",
}


def positive(kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < 1e6:
            raise ValueError
        return value

    parse.__name__ = "positive number"  # what argparse calls it in its message
    return parse


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo",
        description="A peewee application over this pool and over playhouse.pool, side by side; "
        "then a check of everything this pool did against its specification.",
    )
    number = parser.add_argument
    number("--seconds", type=positive(float), default=4.0, help="length of a round (default: 4)")
    number("--rounds", type=positive(int), default=2, help="rounds of each pool (default: 2)")
    number("--threads", type=positive(int), default=32, help="threads (default: 32)")
    number("--connections", type=positive(int), default=4, help="connections (default: 4)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0: sound. 1: the check found something. 130: interrupted."""
    options = parse(arguments)
    interrupts = Interrupts()
    with interrupts.noted():
        try:
            from rich.console import Console

            result = run(options, Console(stderr=options.json), interrupts)
        except Interrupted:
            print("interrupted; nothing is left behind", file=sys.stderr)
            return 128 + (interrupts.came or signal.SIGINT)
        if options.json:
            import attrs

            print(json.dumps(result, default=attrs.asdict, indent=2))
        else:
            report(result, Console())
    return 1 if result["history"]["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
