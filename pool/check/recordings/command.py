"""`purepool replay`: is a recording what the machine does, and what was the pool doing at a time?

Theory.  All of it is `pool.record.recording`; here it is asked for, and shown.

Who follows a running recording is told each second what came; a thousand transitions a second are
not to be read one by one.  It ends with Ctrl-C, or where a transition is not the machine's.

Exit status: 0 each transition is the machine's, 1 one is not, or something cannot be read.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from pool.check import interrupts
from pool.check.explore.notation import write
from pool.check.usage import UsageError, refuse
from pool.core import heap, waiters
from pool.core.effects import Close, Leaked, Refuse
from pool.core.events import Acquire, Expire, Opened, OpenFailed, Release, Tick
from pool.core.state import State, leased, resting
from pool.core.text import text_of
from pool.record.recording import Divergence, Reader, RecordingError, Report, Transition

QUIET = 2.0
"""Seconds without a word of how far it has come."""

SECOND = 1.0
"""Between two lines of what is followed."""

DAILY = (Acquire, Opened, OpenFailed, Release, Expire, Tick)
"""Events that say nothing by themselves: what comes of them does."""


class Instant:
    """The pool at an instant: the last transition before it, and who had asked when."""

    def __init__(self) -> None:
        self.at: Transition | None = None
        self.asked: dict[int, float] = {}

    def take(self, transition: Transition) -> None:
        self.at = transition
        if isinstance(transition.event, Acquire):
            self.asked[transition.event.ticket] = transition.event.now
        if len(self.asked) > 100_000:
            waiting = {ticket for ticket, _ in waiters.items(transition.after.waiters)}
            self.asked = {one: at for one, at in self.asked.items() if one in waiting}


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    if arguments.follow:
        refuse(arguments, "with --follow", "at")
        return follow(arguments)
    reader, told = _open(arguments), _Told()
    try:
        report = reader.check(told)
    except RecordingError as error:
        told.end()
        return _complain(arguments, error)
    told.end()
    _show(reader, report)
    if arguments.at is not None:
        _show_instant(arguments, report)
    for fault in report.faults:
        print(f"left out: {fault}")
    return 1 if report.faults else 0


def _open(arguments: argparse.Namespace, wait: Callable[[], None] | None = None) -> Reader:
    try:
        return Reader(arguments.recording, salvage=arguments.salvage, wait=wait)
    except RecordingError as error:
        raise UsageError(str(error)) from None


def _complain(arguments: argparse.Namespace, error: RecordingError) -> int:
    print(f"purepool replay: {error}", file=sys.stderr)
    if isinstance(error, Divergence):
        print(f"the last {len(error.latest)} events, up to that one:", file=sys.stderr)
        print("\n".join(map(write, (error.limits, *error.latest))))
    elif not arguments.salvage:
        print("--salvage shows what can be read", file=sys.stderr)
    return 1


class _Told:
    """Says how far it has come, and obeys a signal."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.has_said = False

    def __call__(self, transitions: int) -> None:
        interrupts.checkpoint()
        if sys.stderr.isatty() and time.monotonic() > self.begun + QUIET:
            print(f"\r{transitions:,} transitions", end="", file=sys.stderr, flush=True)
            self.has_said = True

    def end(self) -> None:
        if self.has_said:
            print(file=sys.stderr)


# ---------------------------------------------------------------- following


def follow(arguments: argparse.Namespace) -> int:
    """Go on with what is written, until a signal comes, or what is written is wrong."""
    came = Since()

    def wait() -> None:
        came.tell()
        interrupts.checkpoint()
        time.sleep(interrupts.PATIENCE)

    reader = _open(arguments, wait)
    try:
        for transition in reader.transitions(lambda _: interrupts.checkpoint()):
            came.take(transition)
    except RecordingError as error:
        came.tell(at_once=True)
        return _complain(arguments, error)
    except interrupts.Stopped:
        came.tell(at_once=True)
        _show(reader, reader.report)
        for fault in reader.report.faults:
            print(f"left out: {fault}")
        return interrupts.status()
    raise AssertionError("a recording that is followed has no end")


class Since:
    """What came since it was told last, and where the pool is now."""

    def __init__(self) -> None:
        self.last: Transition | None = None
        self.told = time.monotonic() - SECOND
        self.is_first = True
        self._clear()

    def _clear(self) -> None:
        self.transitions = 0
        self.rare: Counter[str] = Counter()

    def take(self, transition: Transition) -> None:
        self.last = transition
        self.transitions += 1
        event = transition.event
        if isinstance(event, OpenFailed):
            self.rare[f"connect failed ({event.error.kind}: {event.error.text})"] += 1
        elif not isinstance(event, DAILY):
            self.rare[type(event).__name__] += 1
        for effect in transition.effects:
            if isinstance(effect, (Refuse, Close)):
                done = "refused" if isinstance(effect, Refuse) else "closed"
                self.rare[f"{done} ({effect.reason})"] += 1
            elif isinstance(effect, Leaked):
                self.rare["held too long"] += 1
        if not self.is_first:  # what was there before is told as one
            self.tell()

    def tell(self, *, at_once: bool = False) -> None:
        """Say it, if there is something to say and the last time is a second ago."""
        now = time.monotonic()
        if self.last is None or not self.transitions or not (at_once or now >= self.told + SECOND):
            return
        state, header = self.last.after, self.last.header
        line = [
            f"{_clock(header.wall_of(self.last.event.now))}  {_counts(state)}",
            f"{self.transitions:,} transitions",
            *(f"{what} x{number}" if number > 1 else what for what, number in self.rare.items()),
        ]
        print("; ".join(line), flush=True)
        self.told, self.is_first = now, False
        self._clear()


# ---------------------------------------------------------------- showing


def _show(reader: Reader, report: Report) -> None:
    for note in report.notes:
        print(f"note: {note}")
    count = f"{report.segments} segment{'s' * (report.segments != 1)}"
    text = f"{reader.path}: {count}, {report.transitions:,} transitions"
    if report.first is not None and report.last is not None:
        text += f", {_clock(report.first)} to {_clock(report.last)}"
    print(text)
    if report.transitions:
        print("each is what the machine does, and every invariant holds")


def _show_instant(arguments: argparse.Namespace, report: Report) -> None:
    if report.first is None or report.last is None:
        raise UsageError(f"--at {arguments.at}: the recording has no transition")
    wall = _time_of(arguments.at, report.first, report.last)
    instant, told = Instant(), _Told()
    for transition in Reader(arguments.recording, salvage=arguments.salvage).transitions(told):
        if transition.header.wall_of(transition.event.now) > wall:
            break
        instant.take(transition)
    told.end()
    if instant.at is None:
        raise UsageError(f"--at {arguments.at}: that is before the first transition")
    print("\n".join(_lines(instant, wall)))


def _lines(instant: Instant, wall: float) -> list[str]:
    transition = instant.at
    assert transition is not None
    state, header = transition.after, transition.header
    now = wall - header.wall + header.now
    lines = [
        "",
        f"at {_clock(wall)}, after {type(transition.event).__name__} "
        f"({header.path.name}: line {transition.line})",
        f"pool {header.pool!r}, process {header.pid}: {_counts(state)}",
    ]
    leases = sorted(leased(state.in_use).items(), key=lambda item: item[1].checked_out)
    for key, lease in leases:
        held = f"for {max(0.0, now - lease.checked_out):.3f} s"
        lines.append(f"  in use   connection {key:<5} {held:>14}  {_who(lease.owner)}")
    for item in sorted(resting(state.idle)):
        rested = f"for {max(0.0, now - item.since):.3f} s"
        lines.append(f"  idle     connection {item.entry.key:<5} {rested:>14}")
    for ticket, owner in waiters.items(state.waiters):
        asked = instant.asked.get(ticket)
        since = "since before" if asked is None else f"for {max(0.0, now - asked):.3f} s"
        lines.append(f"  waiting  ticket {ticket:<9} {since:>14}  {_who(owner)}")
    for ticket, owner in sorted(state.opening_tickets.items()):
        lines.append(f"  connects ticket {ticket:<9} {'':>14}  {_who(owner)}")
    if state.last_error is not None:
        lines.append(f"  the last connect failed: {state.last_error.kind}: {state.last_error.text}")
    return lines


def _counts(state: State) -> str:
    most = "no limit" if state.limits.max_size is None else state.limits.max_size
    return (
        f"{state.phase}, max {most}, in use {len(state.in_use)}, idle {heap.size(state.idle)}, "
        f"opening {state.opening}, waiting {waiters.size(state.waiters)}"
    )


def _who(owner: object) -> str:
    return "somebody" if owner is None else text_of(owner)


def _clock(wall: float) -> str:
    return datetime.fromtimestamp(wall).isoformat(" ", "milliseconds")


def _time_of(given: str, first: float, last: float) -> float:
    """`+90s` after the first transition, `-5s` before the last, `14:03:20`, or a date and time."""
    found = re.fullmatch(r"([+-])(\d+(?:\.\d+)?)s?", given)
    if found is not None:
        seconds = float(found[2])
        return first + seconds if found[1] == "+" else last - seconds
    try:
        day = datetime.fromtimestamp(last).date()
        is_time = re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", given) is not None
        text = f"{day} {given}" if is_time else given
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        allowed = "+90s after the beginning, -5s before the end, 14:03:20, or 2027-01-31 14:03:20"
        raise UsageError(f"--at {given}: allowed is {allowed}") from None
