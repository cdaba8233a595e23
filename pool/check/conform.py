"""`purepool conform -- COMMAND...`: is this pool, in whatever language, the specified one?

Theory.  First all vectors, then random histories until the time is up; each answer of the
port is compared with the one that is due.  Nothing stops at the first wrong answer, for a
porter wants to know which rules are right and which are not: a case ends there, and the next
begins with a new pool.  The divergence with the shortest history is shrunk and shown.

A port says which events and openers it knows and is asked no others.  Rules that are not reached
for that are reported as missing: a port can be checked from its first day, and conforms
when nothing is missing.

Exit status: 0 it conforms, 1 it does not, 2 it could not be asked, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from pool.check import report
from pool.check.configurations import EVENTS
from pool.check.encoding import Json, changed, decode_limits, encode_state
from pool.check.histories import Enough, histories
from pool.check.judgement import (
    IGNORED,
    Divergence,
    Exchange,
    History,
    examine,
    exchanges,
    shrink,
)
from pool.check.needs import Lack, needs
from pool.check.port import OPENERS, Hello, Port, PortFailure
from pool.check.rules import judged
from pool.check.vectors import File, read
from pool.state import initial

MOST_FAILURES = 3
"""So often a port may die or hang before it is given up."""


@attrs.define
class Verdict:
    """What is known about a port so far."""

    command: list[str]
    hello: Hello | None = None
    right: Counter[str] = attrs.field(factory=Counter)
    """Of each rule, how many answers that it had a say in were right."""
    wrong: Counter[str] = attrs.field(factory=Counter)
    cases: int = 0
    cut: int = 0
    """Cases that end before an event that the port does not know."""
    skipped: int = 0
    """Cases that begin with an opener that it does not know."""
    wrong_cases: Counter[str] = attrs.field(factory=Counter)
    """By file of vectors."""
    files: dict[str, int] = attrs.field(factory=dict)
    """Cases by file."""
    needs: dict[str, Lack] = attrs.field(factory=dict)
    """Of each rule, what the port has to learn before a vector can reach it."""
    answers: int = 0
    histories: int = 0
    events: int = 0
    seed: int | None = None
    failures: int = 0
    divergence: Divergence | None = None
    gave_up: bool = False
    vectors_seconds: float = 0.0
    histories_seconds: float = 0.0

    @property
    def missing_events(self) -> list[str]:
        return [name for name in EVENTS if self.hello and name not in self.hello.events]

    @property
    def missing_openers(self) -> list[str]:
        return [name for name in OPENERS if self.hello and name not in self.hello.openers]

    @property
    def missing_rules(self) -> list[str]:
        """Rules that no answer had to do with."""
        return [rule for rule in judged() if not self.right[rule] and not self.wrong[rule]]

    @property
    def conforms(self) -> bool:
        return (
            self.divergence is None
            and not self.missing_events
            and not self.missing_openers
            and not self.missing_rules
        )

    def seen(self, exchange: Exchange, is_right: bool) -> None:
        self.answers += 1
        (self.right if is_right else self.wrong).update(exchange.rules)

    def found(self, divergence: Divergence) -> None:
        """Keep the shortest; of a port that cannot be asked, and one that answers wrongly, the
        first."""
        self.failures += divergence.actual is None
        best = self.divergence
        if best is None or divergence.events < best.events:
            self.divergence = divergence


# ---------------------------------------------------------------- vectors


def case_exchanges(case: Json, hello: Hello) -> tuple[list[Exchange], bool]:
    """What to ask for a case, as far as the port knows its events; whether that is all of it."""
    reset = {"command": "reset", "limits": case["limits"]}
    if "invalid" in case:
        return [Exchange(reset, {"invalid": case["invalid"]}, ("LIM-1",))], True
    state = encode_state(initial(decode_limits(case["limits"])))
    if "valid" in case:
        return [Exchange(reset, {"state": state}, ("LIM-1",))], True
    wake_at = case["start"]["wake_at"]
    start: Json = {"state": state, "wake_at": wake_at}
    rules = ("INI-1",) if wake_at is None else ("INI-1", "WAK-1")
    asked = [Exchange(reset, start, rules), *_ignored(case["start"], start, hello)]
    for step in case["steps"]:
        if step["event"]["event"] not in hello.events:
            return asked, False
        state = changed(state, step["change"])
        wake_at = step.get("wake_at", wake_at)
        after = {"state": state, "wake_at": wake_at}
        request = {"command": "event", "event": step["event"]}
        due = {"effects": step["effects"], **after}
        asked.append(Exchange(request, due, tuple(step["rules"].split())))
        asked += _ignored(step, after, hello)
    return asked, True


def _ignored(step: Json, state: Json, hello: Hello) -> Iterator[Exchange]:
    for rules, events in step.get("ignored", {}).items():
        for event in events:
            if event["event"] in hello.events:
                request = {"command": "event", "event": event}
                yield Exchange(request, {"effects": IGNORED, **state}, tuple(rules.split()))


def run_vectors(port: Port, files: Sequence[File], verdict: Verdict, tick: Tick) -> None:
    """Every case of every file."""
    began = time.monotonic()
    for file in files:
        verdict.files[file.name] = len(file.cases)
        for case in file.cases:
            hello = port.start()
            tick()
            opener = case["limits"].get("opener", "caller")
            if opener in OPENERS and opener not in hello.openers:
                verdict.skipped += 1
                continue
            asked, whole = case_exchanges(case, hello)
            found = examine(port, asked, f"{file.name}/{case['case']}", verdict.seen)
            verdict.cases += 1
            verdict.cut += not whole
            if found is not None:
                verdict.wrong_cases[file.name] += 1
                verdict.found(found)
                if verdict.failures >= MOST_FAILURES:
                    verdict.gave_up = True
                    break
        if verdict.gave_up:
            break
    verdict.vectors_seconds = time.monotonic() - began


# ---------------------------------------------------------------- histories


def run_histories(
    port: Port, seconds: float, first_seed: int, verdict: Verdict, tick: Tick
) -> None:
    """Random histories until the time is up, or one goes wrong."""
    began = time.monotonic()
    verdict.seed = first_seed

    def ask(history: History) -> None:
        port.start()
        found = examine(port, exchanges(history), "histories", verdict.seen)
        verdict.histories += 1
        verdict.events += len(history.events)
        tick()
        if found is not None:
            verdict.found(found)
            raise Enough

    try:
        histories(port.start(), first_seed, seconds, ask)
    finally:
        verdict.histories_seconds = time.monotonic() - began


# ---------------------------------------------------------------- progress


class Tick:
    """Called for each case or history; moves a bar, if anybody can see it."""

    def __init__(self, progress: Progress, task: TaskID, began: float | None = None) -> None:
        self.progress = progress
        self.task = task
        self.began = began

    def __call__(self) -> None:
        if self.began is None:
            self.progress.advance(self.task)
        else:
            self.progress.update(self.task, completed=round(time.monotonic() - self.began))


def conform(
    command: Sequence[str],
    *,
    seconds: float = 20.0,
    first_seed: int = 0,
    timeout: float = 5.0,
    shrinking: float = 10.0,
    directory: Path | None = None,
    console: Console | None = None,
) -> Verdict:
    """Ask a port everything. Raises `PortFailure` if it cannot even be started.

    `console` shows the progress, if it is a terminal."""
    files = read(directory)
    verdict = Verdict(list(command))
    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    shown = console or Console(stderr=True)
    bars = Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
    with Port(command, timeout) as port, bars:
        verdict.hello = port.start()
        verdict.needs = needs(files, verdict.hello)
        total = sum(len(file.cases) for file in files)
        tick = Tick(bars, bars.add_task("vectors", total=total))
        try:
            run_vectors(port, files, verdict, tick)
            if verdict.divergence is None and seconds > 0:
                task = bars.add_task("histories", total=round(seconds))
                tick = Tick(bars, task, time.monotonic())
                run_histories(port, seconds, first_seed, verdict, tick)
            if verdict.divergence is None:
                port.stop()
        except PortFailure as failure:  # at a start after a crash, or at the stop
            if verdict.divergence is None:
                verdict.divergence = _unasked(failure, "stop")
            verdict.gave_up = True
        if verdict.divergence is not None and verdict.divergence.events:
            bars.add_task("shrinking", total=None)
            verdict.divergence = shrink(port, verdict.divergence, shrinking)
    return verdict


def _unasked(failure: PortFailure, command: str) -> Divergence:
    """A port that failed outside of any history."""
    return Divergence(failure.kind, "", ({"command": command},), {}, None, str(failure), ())


# ---------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `purepool conform`."""
    parser.add_argument(
        "--seconds",
        type=_not_negative,
        default=20.0,
        metavar="S",
        help="for random histories, after the vectors (default: 20; 0: none)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the random histories (default: 0)"
    )
    parser.add_argument(
        "--timeout",
        type=_positive,
        default=5.0,
        metavar="S",
        help="for each answer of the port (default: 5; the first may take four times as long)",
    )
    parser.add_argument(
        "--shrink",
        type=_not_negative,
        default=10.0,
        metavar="S",
        help="to look for a shorter history that diverges (default: 10)",
    )
    parser.add_argument(
        "--vectors", type=Path, default=None, metavar="DIR", help="default: spec/vectors"
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument(
        "--junit", type=Path, default=None, metavar="FILE", help="also a JUnit report"
    )
    parser.add_argument(
        "command",
        nargs="+",
        metavar="COMMAND",
        help="starts the port; after --, so that its own options are its own",
    )


def _positive(given: str) -> float:
    seconds = float(given)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{given}: a number of seconds above 0 is wanted")
    return seconds


def _not_negative(given: str) -> float:
    return 0.0 if float(given) == 0 else _positive(given)


def run(arguments: argparse.Namespace) -> int:
    """`purepool conform`. The exit status."""
    command: list[str] = arguments.command
    console = Console(highlight=False, soft_wrap=True)
    try:
        verdict = conform(
            command,
            seconds=arguments.seconds,
            first_seed=arguments.seed,
            timeout=arguments.timeout,
            shrinking=arguments.shrink,
            directory=arguments.vectors,
        )
    except PortFailure as failure:
        told: Any = {"port": shlex.join(command), "kind": failure.kind, "why": str(failure)}
        if arguments.json:
            print(json.dumps({"conforms": False, **told}, indent=2))
        else:
            said = report.readable(str(failure))
            print(f"{shlex.join(command)}: {failure.kind}\n{said}", file=sys.stderr)
        if arguments.junit is not None:
            verdict = Verdict(command, divergence=_unasked(failure, "hello"))
            arguments.junit.write_text(report.as_junit(verdict), encoding="utf-8")
        return 2
    except (OSError, ValueError) as error:
        print(f"purepool conform: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(report.as_json(verdict), indent=2))
    else:
        report.show(verdict, console)
    if arguments.junit is not None:
        arguments.junit.write_text(report.as_junit(verdict), encoding="utf-8")
    return 0 if verdict.conforms else 1
