"""A recording read again: its segments, its transitions, and whether they are those of the machine.

Theory.  A second pool, without threads, begins where a segment begins, and is given its events.
What it decides must be what was recorded, at each event, and the state it is in at the end of a
segment must be that with which the next one begins.  Whatever is wrong has a place: a file, a line.

What cannot be read is refused with that place.  To salvage means to go on with the next segment.

What it refuses to know: who asks, and how it is shown.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.limits import Limits
from pool.core.state import State
from pool.core.transition import step
from pool.record import format
from pool.record.flight import SUFFIX, segments_of

KEPT = 20
"""Events that are shown of a history that diverges."""

EVERY = 500
"""Transitions between two reports of how far it has come."""


class RecordingError(Exception):
    """What cannot be read, or is not what the machine does; its text names the place."""


class Divergence(RecordingError):
    """A transition that is not the machine's."""

    def __init__(self, text: str, latest: list[Event], limits: Limits) -> None:
        super().__init__(text)
        self.latest = latest
        """The last events up to the one where it diverges."""
        self.limits = limits


@attrs.frozen
class Header:
    """What a segment says of itself."""

    path: Path
    run: str
    segment: int
    pid: int
    pool: str
    wall: float
    now: float

    def wall_of(self, now: float) -> float:
        """The wall clock, in seconds since 1970, at this time of the pool's clock."""
        return self.wall + now - self.now


@attrs.frozen
class Transition:
    """One line of a recording, and the states around it."""

    header: Header
    line: int
    before: State
    event: Event
    effects: tuple[Effect, ...]
    after: State
    """What the machine makes of it."""


@attrs.define
class Report:
    """What was found in a recording."""

    segments: int = 0
    transitions: int = 0
    first: float | None = None
    last: float | None = None
    """Times on the wall clock."""
    notes: list[str] = attrs.field(factory=list)
    """What is not as it could be, and no fault: a last line that was cut, a gap."""
    faults: list[str] = attrs.field(factory=list)
    """What was left out to salvage the rest."""


class Reader:
    """Reads a recording, a directory or one of its segments. In a directory it goes on with what
    is written meanwhile.

    * `salvage`: note what cannot be read, and go on with the next segment.
    * `judges`: each transition has to be the machine's; otherwise somebody else will judge.
    * `wait`: called where there is no more to read; what it raises ends the reading. None: the end
      of what there is, is the end."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        salvage: bool = False,
        judges: bool = True,
        wait: Callable[[], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.salvage = salvage
        self.judges = judges
        self.wait = wait
        self.report = Report()
        self.is_directory = self.path.is_dir()
        if self.is_directory and not segments_of(self.path):
            raise RecordingError(f"{self.path}: no recording: it has no *{SUFFIX} files")

    def after(self, path: Path | None) -> Path | None:
        """The segment that comes next; None: there is none yet."""
        if not self.is_directory:
            return self.path if path is None else None
        later = (one for one in segments_of(self.path) if path is None or one.name > path.name)
        return next(later, None)

    def transitions(self, progress: Callable[[int], None] | None = None) -> Iterator[Transition]:
        """Each of them, in order, checked. Raises `RecordingError`; `OSError`."""
        previous: tuple[Header, State] | None = None
        path = self.after(None)
        while path is not None:
            try:
                lines = _Lines(path, self)
                header, state = lines.head()
                if previous is not None:
                    self._join(previous, header, state)
                self.report.segments += 1
                for transition in lines.transitions(header, state):
                    state = transition.after
                    self._count(transition, progress)
                    yield transition
                previous = header, state
            except RecordingError as error:
                if not self.salvage:
                    raise
                self.report.faults.append(str(error))
                previous = None
            except FileNotFoundError:
                if not self.is_directory:
                    raise
                # The oldest goes; that it is missing is told by `_join`.
            path = self.after(path)
        if progress is not None:
            progress(self.report.transitions)

    def check(self, progress: Callable[[int], None] | None = None) -> Report:
        """Read all of it."""
        for _ in self.transitions(progress):
            pass
        return self.report

    def _count(self, transition: Transition, progress: Callable[[int], None] | None) -> None:
        report = self.report
        report.transitions += 1
        report.last = transition.header.wall_of(transition.event.now)
        if report.first is None:
            report.first = report.last
        if progress is not None and report.transitions % EVERY == 0:
            progress(report.transitions)

    def _join(self, previous: tuple[Header, State], header: Header, state: State) -> None:
        before, reached = previous
        if before.run != header.run or before.segment + 1 != header.segment:
            text = "another run begins" if before.run != header.run else "a segment is missing"
            self.report.notes.append(f"{header.path}: {text} before it")
            return
        expected, found = format.encode_state(reached), format.encode_state(state)
        names = [name for name in expected if expected[name] != found[name]]
        if names:  # what follows makes sense by itself
            text = f"begins with another {', '.join(names)} than the segment before it ended with"
            error = RecordingError(f"{header.path}: line 2: {text}")
            if not self.salvage:
                raise error
            self.report.faults.append(str(error))


class _Lines:
    """Those of one segment."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path, self.reader = path, reader
        self.number = 0
        self.run: object = None
        with path.open("rb") as file:
            self.start = file.read(64)
        self.file = self._read()

    def _read(self) -> Iterator[bytes]:
        begun = b""
        with self.path.open("rb") as file:
            while True:
                later = self.reader.after(self.path)  # then all that this one gets is in it
                for one in file:
                    begun += one
                    if one.endswith(b"\n"):
                        self.number += 1
                        yield begun[:-1]
                        begun = b""
                if later is not None or self.reader.wait is None:
                    break
                self.reader.wait()
        if begun:
            self.number += 1
            if self.number < 3 or (later is not None and _run_of(later) == self.run):
                raise RecordingError(f"{self._place()}: the file ends in the middle of a line")
            # The process was killed, or writes it just now.
            self.reader.report.notes.append(f"{self._place()}: the last line was cut off")

    def _place(self) -> str:
        return f"{self.path}: line {self.number}"

    def _parse(self, one: bytes) -> Any:
        try:
            return format.parse(one)
        except format.FormatError as error:
            raise RecordingError(f"{self._place()}: {error}") from None

    def head(self) -> tuple[Header, State]:
        """The first two lines."""
        if not self.start.startswith(b'{"kind":"purepool recording"'):
            raise RecordingError(f"{self.path}: line 1: this is no recording of purepool")
        value = self._parse(self._next())
        version = value.get("version")
        if type(version) is not int or version > format.VERSION:
            text = f"version {version} of the format; this purepool reads up to {format.VERSION}"
            raise RecordingError(f"{self.path}: line 1: {text}")
        try:
            names = ("run", "segment", "pid", "pool", "wall", "now")
            header = Header(self.path, *(value[name] for name in names))
            self.run = header.run
        except KeyError as error:
            raise RecordingError(f"{self.path}: line 1: {error} is missing") from None
        one = self._parse(self._next())
        try:
            return header, format.decode_state(one)
        except format.FormatError as error:
            raise RecordingError(f"{self._place()}: {error}") from None

    def _next(self) -> bytes:
        try:
            return next(self.file)
        except StopIteration:
            where = f"{self.path}: line {self.number + 1}"
            raise RecordingError(
                f"{where}: the file ends before the state it begins with"
            ) from None

    def transitions(self, header: Header, state: State) -> Iterator[Transition]:
        latest: deque[Event] = deque(maxlen=KEPT)
        for one in self.file:
            value = self._parse(one)
            try:
                event, effects = format.decode(value, state)
            except format.FormatError as error:
                raise RecordingError(f"{self._place()}: {error}") from None
            latest.append(event)
            if self.reader.judges:
                wrong, after = _judged(state, event, effects)
            else:
                wrong, after = _made(state, event)
            if wrong is not None:
                raise Divergence(f"{self._place()}: {wrong}", list(latest), state.limits)
            yield Transition(header, self.number, state, event, effects, after)
            state = after


def _run_of(path: Path) -> object:
    """Which run wrote this segment, as its first line says; None: it does not say."""
    try:
        with path.open("rb") as file:
            header = format.parse(file.readline().rstrip(b"\n"))
        return header.get("run")
    except (OSError, format.FormatError, AttributeError):
        return None


def _made(state: State, event: Event) -> tuple[str | None, State]:
    """What the machine makes of it, whatever was recorded."""
    try:
        return None, step(state, event)[0]
    except Exception as error:
        return f"`step` raises {type(error).__name__}: {error}", state


def _judged(state: State, event: Event, effects: tuple[Effect, ...]) -> tuple[str | None, State]:
    """What is wrong with this transition, if anything, and the state after it."""
    try:
        after, expected = step(state, event)
    except Exception as error:
        return f"`step` raises {type(error).__name__}: {error}", state
    if expected != effects:
        return f"recorded {effects!r}, `step` gives {expected!r}", after
    for name, holds in INVARIANTS.items():
        if not holds(after):
            return f"{name} does not hold", after
    for name, holds_between in STEP_INVARIANTS.items():
        if not holds_between(state, event, effects, after):
            return f"{name} does not hold", after
    return None, after
