"""`purepool conform -- COMMAND...`: is this pool, in whatever language, the specified one?

Theory.  First all vectors, then random histories until the time is up; each answer of the
port is compared with the one that is due.  Nothing stops at the first wrong answer, for a
porter wants to know which rules are right and which are not: a case ends there, and the next
begins with a new pool.  The divergence with the shortest history is shrunk and shown.

A port says which events and openers it knows and is asked no others.  Rules that are not reached
for that are reported as missing: a port can be checked from its first day, and conforms
when nothing is missing.

Exit status: 0 it conforms, 1 it does not, 2 it could not be asked, 130 or 143 a signal stopped it:
what is known by then is reported, and is no verdict on the port.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

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

from pool.check import interrupts
from pool.check.conformance import report
from pool.check.conformance.encoding import Json, changed, decode_limits, encode_state
from pool.check.conformance.files import File, read
from pool.check.conformance.histories import Enough, histories
from pool.check.conformance.judgement import (
    IGNORED,
    Divergence,
    Exchange,
    History,
    Shrinker,
    examine,
    exchanges,
)
from pool.check.conformance.needs import needs
from pool.check.conformance.port import ANSWERING, OPENERS, Hello, Port, PortFailure
from pool.check.conformance.verdict import Verdict
from pool.check.interrupts import Stopped
from pool.check.machines.rounds import home
from pool.check.results import save
from pool.check.usage import UsageError, reports_to_output
from pool.core.state import initial

MOST_FAILURES = 3
"""So often a port may die or hang before it is given up."""


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
    verdict.files = {file.name: len(file.cases) for file in files}
    for file in files:
        for case in file.cases:
            hello = port.start()
            tick()
            opener = case["limits"].get("opener", "caller")
            if opener in OPENERS and opener not in hello.openers:
                verdict.skipped += 1
                verdict.asked[file.name] += 1
                continue
            asked, whole = case_exchanges(case, hello)
            found = examine(port, asked, f"{file.name}/{case['case']}", verdict.seen)
            verdict.cases += 1
            verdict.asked[file.name] += 1
            verdict.cut += not whole
            if found is not None:
                verdict.wrong_cases[file.name] += 1
                verdict.found(found)
                if verdict.failures >= MOST_FAILURES:
                    verdict.gave_up = True
                    break
        if verdict.gave_up:
            break


# ---------------------------------------------------------------- histories


def run_histories(
    port: Port, seconds: float, first_seed: int, verdict: Verdict, tick: Tick
) -> None:
    """Random histories until the time is up, or one goes wrong."""
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

    with home():
        histories(port.start(), first_seed, seconds, ask)


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
    timeout: float = ANSWERING,
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
    with Port(command, timeout) as port, bars, _seconds(verdict, "seconds"):
        try:
            verdict.hello = port.start()
            verdict.needs = needs(files, verdict.hello)
            with _seconds(verdict, "vectors_seconds"):
                total = sum(len(file.cases) for file in files)
                run_vectors(port, files, verdict, Tick(bars, bars.add_task("vectors", total=total)))
            if verdict.divergence is None and seconds > 0:
                task = bars.add_task("histories", total=round(seconds))
                with _seconds(verdict, "histories_seconds"):
                    tick = Tick(bars, task, time.monotonic())
                    run_histories(port, seconds, first_seed, verdict, tick)
            if verdict.divergence is None:
                port.stop()
        except PortFailure as failure:  # at a start after a crash, or at the stop
            if verdict.hello is None:
                raise
            if verdict.divergence is None:
                verdict.divergence = _unasked(failure, "stop")
            verdict.gave_up = True
        except Stopped:
            verdict.stopped = True
        if verdict.divergence is not None and not verdict.stopped:
            bars.add_task("shrinking", total=None)
            _shrink(port, verdict, verdict.divergence, shrinking)
    return verdict


def _shrink(port: Port, verdict: Verdict, found: Divergence, seconds: float) -> None:
    shrinker = Shrinker(port, found, seconds)
    try:
        shrinker.run()
    except Stopped:
        verdict.stopped = True
    if found.events:
        verdict.divergence = attrs.evolve(shrinker.best, shrunk_from=found.events)


@contextlib.contextmanager
def _seconds(verdict: Verdict, name: str) -> Iterator[None]:
    """Note how long something takes, however it ends."""
    began = time.monotonic()
    try:
        yield
    finally:
        setattr(verdict, name, time.monotonic() - began)


def _unasked(failure: PortFailure, command: str) -> Divergence:
    """A port that failed outside of any history."""
    return Divergence(failure.kind, "", ({"command": command},), {}, None, str(failure), ())


def run(arguments: argparse.Namespace) -> int:
    """`purepool conform`. The exit status."""
    command: list[str] = arguments.command
    console = Console(stderr=reports_to_output(arguments), highlight=False)
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
        said = report.readable(str(failure))
        print(f"{shlex.join(command)}: {failure.kind}\n{said}", file=sys.stderr)
        verdict = Verdict(command, divergence=_unasked(failure, "hello"))
        status = 2
    except ValueError as error:
        raise UsageError(str(error)) from None
    else:
        report.show(verdict, console)
        status = interrupts.status() if verdict.stopped else 0 if verdict.conforms else 1
    save(arguments.json, json.dumps(report.as_json(verdict), indent=2))
    save(arguments.junit, report.as_junit(verdict))
    return status
