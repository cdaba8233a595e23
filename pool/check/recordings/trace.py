"""Has TLC accept a recording as a behaviour of the specification: `purepool check --trace`.

Theory.  `purepool replay` asks the function that decided in the first place; the specification was
not derived from it, so TLC is another judge.  A recording becomes the constants of
`spec/Trace.tla`, in parts.  The state between two parts is what `step` makes of it: TLC is asked to
end the one in it, and begins the other with it, so nothing rests on `step`.

TLC's numbers are whole and have 32 bits.  Times are numbered in their order, in a unit that is as
small as fits, and pauses in which nothing could come due are shortened.  Deadlines that a random
number takes part in are times of their own.  So whatever compares two of these finds in TLC what it
found in the pool; only `max_idle` and `leak_after` are compared within a unit or two.

Texts and connections are names here: which there are does not matter, only which are the same.
"""

from __future__ import annotations

import bisect
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from pool.check.explore import tlc
from pool.check.explore.canonical import most_failures
from pool.check.explore.notation import write
from pool.check.interrupts import temporary_directory
from pool.core import events, waiters
from pool.core.effects import Effect
from pool.core.limits import Limits
from pool.core.state import Entry, State, leased, resting
from pool.record.recording import Reader, Transition

MODULES = ("Pool.tla", "Trace.tla")

EVENTS = 5_000
"""Of a part: TLC begins anew with each, and takes the longer to read it the longer it is."""

UNITS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Seconds that are one, of which the first is taken that fits."""

LARGEST = 2**30

SHOWN = ("ticket", "key", "reason")
"""Of an effect, where one differs."""

DURATIONS = ("max_lifetime", "max_idle", "leak_after", "backoff_initial", "backoff_max")


@attrs.frozen
class Part:
    """Some events of a recording that follow each other in one segment."""

    segment: Path
    transitions: tuple[Transition, ...]

    @property
    def name(self) -> str:
        first, last = self.transitions[0], self.transitions[-1]
        return f"{self.segment.name} {first.line}-{last.line}"


def parts(path: Path) -> Iterator[Part]:
    """A recording in parts. What was decided is not looked at. Raises `RecordingError`."""
    kept: list[Transition] = []
    for transition in Reader(path, judges=False).transitions():
        if kept and (len(kept) == EVENTS or kept[-1].header is not transition.header):
            yield Part(kept[0].header.path, tuple(kept))
            kept = []
        kept.append(transition)
    if kept:
        yield Part(kept[0].header.path, tuple(kept))


def fault(part: Part, specification: Path | None = None) -> str:
    """Why this is no behaviour of the specification, as TLC says; empty: it is one. Raises
    `TlcError`."""
    source = specification or tlc.spec_directory()
    with temporary_directory() as place:
        for name in MODULES:
            shutil.copy(source / name, place / name)
        module, settings = _written(part)
        (place / "Part.tla").write_text(module)
        (place / "Part.cfg").write_text(settings)
        options = ("-Xss64m", *tlc.QUICK)
        return _fault(part, tlc.run(place, "Part.tla", "Part.cfg", workers=1, java_options=options))


def _fault(part: Part, verdict: tlc.Verdict) -> str:
    said = re.search(r'<<\s*"(accepted|otherwise|ends otherwise)".*', verdict.output, re.DOTALL)
    value = tlc.read_first(said[0]) if said else ()
    if value and value[0] == "otherwise":
        transition = part.transitions[value[1] - 1]
        place = f"{part.segment}: line {transition.line}"
        recorded = [{"effect": type(one).__name__, **one._asdict()} for one in transition.effects]
        return "\n".join(
            [
                f"{place}: the specification does otherwise",
                f"  the event       {write(transition.event)}",
                f"  was recorded    {_shown(recorded)}",
                f"  specification   {_shown(value[2])}",
            ]
        )
    place = f"{part.segment}: line {part.transitions[-1].line}"
    if value and value[0] == "ends otherwise":
        fields = ", ".join(sorted(value[1]))
        return f"{place}: the specification is then in a state with another {fields}"
    if verdict.violated:
        return f"{part.name}: {verdict.violated} does not hold"
    return "" if value else f"{part.name}: TLC did not come to its end"


def _shown(effects: Iterable[dict[str, Any]]) -> str:
    def one(effect: dict[str, Any]) -> str:
        given = (f"{name}={effect[name]!r}" for name in SHOWN if name in effect)
        return f"{effect['effect']}({', '.join(given)})"

    return ", ".join(map(one, effects)) or "nothing"


# ---------------------------------------------------------------- times


class Times:
    """Times and durations, in seconds, as whole numbers."""

    def __init__(self, instants: Iterable[float], durations: Iterable[float]) -> None:
        self.instants = sorted(set(instants))
        longest = max(durations, default=0.0) + 1.0
        for unit in UNITS:
            self.unit = unit
            self.numbers = self._numbered(longest)
            if max(self.numbers[-1], longest / unit) < LARGEST:
                break

    def _numbered(self, longest: float) -> list[int]:
        numbers, left_out, before = [1], 0.0, self.instants[0]
        for instant in self.instants[1:]:
            left_out += max(0.0, instant - before - longest)  # nothing can come due in it
            exact = round((instant - self.instants[0] - left_out) / self.unit) + 1
            numbers.append(max(numbers[-1] + 1, exact))
            before = instant
        return numbers

    def of(self, instant: float) -> int:
        """The number of an instant: one of those given, or the nearest."""
        place = bisect.bisect_left(self.instants, instant)
        near = range(max(0, place - 1), min(len(self.instants), place + 1))
        return self.numbers[min(near, key=lambda one: abs(self.instants[one] - instant))]

    def length(self, duration: float) -> int:
        return max(1, round(duration / self.unit))


# ---------------------------------------------------------------- constants


class _Writer:
    """Writes a part as the constants of `Trace.tla`."""

    def __init__(self, part: Part) -> None:
        taken = part.transitions
        self.begin, self.end = taken[0].before, taken[-1].after
        self.choices = list(
            dict.fromkeys(
                [self.begin.limits]
                + [one.event.limits for one in taken if isinstance(one.event, events.Configure)]
            )
        )
        self.names: dict[Any, str] = {}
        self.entries = [*_entries(self.begin)]
        for one in taken:
            if isinstance(one.event, events.Opened):
                event = one.event
                key = one.before.next_seq
                self.entries.append(Entry(key, None, event.created, event.jitter))
        durations = {
            getattr(limits, name)
            for limits in self.choices
            for name in DURATIONS
            if getattr(limits, name) is not None
        }
        self.times = Times(self._instants(taken), durations)
        self.rows: list[tuple[int, ...]] = []
        self.row_of: dict[int, int] = {}
        for entry in self.entries:
            row = tuple(self._denied(entry, limits) for limits in self.choices)
            if any(row):
                self.rows.append(row)
                self.row_of[entry.key] = len(self.rows)
        self.many = max(map(most_failures, self.choices))

    def _instants(self, taken: tuple[Transition, ...]) -> Iterator[float]:
        for state in (self.begin, self.end):
            yield from (item.since for item in resting(state.idle))
            yield from (lease.checked_out for lease in leased(state.in_use).values())
            yield from (entry.created for entry in _entries(state))
            if state.retire_before:
                yield state.retire_before
            if state.retry_at is not None:
                yield state.retry_at
        for entry in self.entries:
            yield entry.created
            for limits in self.choices:
                if limits.max_lifetime is not None:
                    yield _ends(entry, limits.max_lifetime)
        for one in taken:
            event: Any = one.event
            yield event.now
            if isinstance(event, events.CloseStale):
                yield event.before
            elif isinstance(event, events.Adopt):
                yield from (put.created for put in event.idle)
                yield from (put.created for put in event.in_use)
                yield from (put.checked_out for put in event.in_use)
            elif isinstance(event, events.OpenFailed) and one.after.retry_at is not None:
                yield one.after.retry_at

    def _denied(self, entry: Entry, limits: Limits) -> int:
        """What is taken away from `max_lifetime`, so that it ends when it ends."""
        lifetime = limits.max_lifetime
        if lifetime is None or not entry.jitter:
            return 0
        lives = self.times.of(_ends(entry, lifetime)) - self.times.of(entry.created)
        return self.times.length(lifetime) - lives

    def name(self, value: Any) -> str | None:
        return None if value is None else self.names.setdefault(value, f"n{len(self.names) + 1}")

    def limits(self, limits: Limits) -> dict[str, Any]:
        fields = attrs.asdict(limits)
        for name in DURATIONS:
            if fields[name] is not None:
                fields[name] = self.times.length(fields[name])
        return fields

    # ------------------------------------------------------------ states

    def state(self, state: State) -> dict[str, Any]:
        at = self.times.of
        fields = state._asdict()
        return {
            **fields,
            "limits": self.choices.index(state.limits) + 1,
            "idle": tuple(
                {"entry": self.entry(item.entry), "since": at(item.since), "seq": item.seq}
                for item in sorted(resting(state.idle))
            ),
            "in_use": [
                {
                    "entry": self.entry(lease.entry),
                    "checked_out": at(lease.checked_out),
                    "ticket": lease.ticket,
                    "owner": self.name(lease.owner),
                    "leaked": lease.leaked,
                }
                for lease in leased(state.in_use).values()
            ],
            "waiters": self.callers(waiters.items(state.waiters)),
            "opening_tickets": self.callers(state.opening_tickets.items()),
            "failures": min(state.failures, self.many),
            "retry_at": None if state.retry_at is None else at(state.retry_at),
            "last_error": self.name(state.last_error),
            "retire_before": at(state.retire_before) if state.retire_before else 0,
            "counters": state.counters._asdict(),
        }

    def callers(self, items: Iterable[tuple[int, Any]]) -> list[dict[str, Any]]:
        return [{"ticket": ticket, "owner": self.name(owner)} for ticket, owner in items]

    def entry(self, entry: Entry) -> dict[str, Any]:
        jitter = self.row_of.get(entry.key, 0)
        created = self.times.of(entry.created)
        return {"key": entry.key, "connection": "c", "created": created, "jitter": jitter}

    # ------------------------------------------------------------ transitions

    def transition(self, one: Transition) -> dict[str, Any]:
        event: Any = one.event
        fields = {name: self.field(name, value) for name, value in event._asdict().items()}
        if isinstance(event, events.Opened):
            fields["jitter"] = self.row_of.get(one.before.next_seq, 0)
            del fields["connection"]
        elif isinstance(event, events.OpenFailed):
            fields["jitter"] = self.lacking(one)
        effects = tuple(self.effect(effect, event.now) for effect in one.effects)
        return {"name": type(event).__name__, **fields, "effects": effects}

    def field(self, name: str, value: Any) -> Any:
        if name in ("now", "created", "checked_out", "before"):
            return self.times.of(value)
        if name in ("owner", "error"):
            return self.name(value)
        if name == "limits":
            return self.choices.index(value) + 1
        if name == "connection":
            return "c"
        if name in ("idle", "in_use"):
            return tuple(
                {part: self.field(part, content) for part, content in put._asdict().items()}
                for put in value
            )
        return value

    def lacking(self, one: Transition) -> int:
        """What a pause lacks, so that it ends when it ends."""
        before, after, event = one.before, one.after, one.event
        if after.retry_at is None or after.failures == before.failures:
            return 0
        limits = before.limits
        pause = self.times.length(limits.backoff_initial) * (1 << min(before.failures, self.many))
        pause = min(self.times.length(limits.backoff_max), pause)
        return pause - (self.times.of(after.retry_at) - self.times.of(event.now))

    def effect(self, effect: Effect, now: float) -> dict[str, Any]:
        fields = effect._asdict()
        for name, value in fields.items():
            if name in ("rested", "held"):
                fields[name] = (
                    None if value is None else self.times.of(now) - self.times.of(now - value)
                )
            else:
                fields[name] = self.field(name, value)
        fields.pop("why", None)
        return {"effect": type(effect).__name__, **fields}


def _entries(state: State) -> Iterator[Entry]:
    yield from (item.entry for item in resting(state.idle))
    yield from (lease.entry for lease in leased(state.in_use).values())


def _ends(entry: Entry, lifetime: float) -> float:
    return entry.created + lifetime * (1.0 - entry.jitter)


def _written(part: Part) -> tuple[str, str]:
    """The module and its .cfg."""
    writer = _Writer(part)
    values = {
        "Begin": tlc.tla(writer.state(writer.begin)),
        "End": tlc.tla(writer.state(writer.end)),
        "Recorded": "<<\n"
        + ",\n".join(tlc.tla(writer.transition(one)) for one in part.transitions)
        + "\n>>",
        "Choices": tlc.tla(tuple(writer.limits(limits) for limits in writer.choices)),
        "Denied": tlc.tla(tuple(writer.rows)),
        "ManyFailures": tlc.tla(writer.many),
        "Start": "0",
    }
    lines = ["---- MODULE Part ----", "EXTENDS Trace"]
    lines += [f"Part{name} == {value}" for name, value in values.items()]
    lines.append("====")
    settings = ["CONSTANTS", "  None = None", "  Shape <- TraceShape", "  Clock <- TraceClock"]
    settings += [f"  {name} <- Trace{name}" for name in ("Aged", "Shortened", "Sorted")]
    settings += [f"  {name} <- Part{name}" for name in values]
    settings += ["INIT TraceInit", "NEXT TraceNext"]
    settings += [f"INVARIANTS {' '.join(tlc.INVARIANTS)}"]
    settings += [f"PROPERTIES {' '.join(tlc.STEP_PROPERTIES)}"]
    return "\n".join(lines) + "\n", "\n".join(settings) + "\n"
