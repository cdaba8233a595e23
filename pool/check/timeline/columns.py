"""What can be drawn of one recording, in columns; and words for what stands in them.

Theory.  There may be millions of spans, so there are no objects for them: columns of whole numbers,
of which texts are numbers, too, each text once.  Times are microseconds.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

import attrs

from pool.core.effects import Close, Effect, Ignored, Refuse
from pool.core.limits import Limits

WAIT, CONNECT, IDLE, USE, CHECK = KINDS = ("wait", "connect", "idle", "use", "check")


Word = TypeVar("Word")


class Words(Generic[Word]):
    """Texts, or other values, each once; a number for each."""

    def __init__(self) -> None:
        self.all: list[Word] = []
        self._numbers: dict[Word, int] = {}

    def number(self, word: Word) -> int:
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self.all)
            self.all.append(word)
        return found


class Places:
    """Lanes, or rows: the lowest that is free."""

    def __init__(self) -> None:
        self.most = 0
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self.most += 1
        return self.most - 1

    def free(self, place: int) -> None:
        heapq.heappush(self._free, place)


SPAN = ("kind", "place", "first", "last", "ticket", "owner", "end")
EVENT = ("at", "what", "ticket", "key", "line", "used", "idle", "opening", "waiting")


What = tuple[str, tuple[str, ...], tuple[str, ...]]
"""An event's name, its effects, and the rules that it kept."""


@attrs.define
class Timeline:
    """What is drawn of one recording."""

    pool: str
    source: str
    pid: int
    began: float
    """Of time 0, on the wall clock."""
    events: dict[str, list[int]]
    """By column: `at`, `what` (a number in `whats`), its `ticket` and `key` (-1: none), its `line`
    in the recording, and how many were in use, idle, opening and waiting behind it."""
    whats: list[What]
    files: list[tuple[int, str]]
    """The first event of each segment."""
    spans: dict[str, list[int]]
    """By column: `kind` (a number in `KINDS`), `place` (a connection; of a wait, its row), `first`
    and `last` (events), `ticket`, `owner` and `end` (in `owners` and `ends`); by `first`."""
    earlier: dict[int, int]
    """By span: for how many microseconds before the recording begins."""
    owners: list[str]
    ends: list[str]
    connections: list[list[int]]
    """Of each: key (-1: it never came to be), lane, first and last event, why (in `ends`)."""
    lanes: int
    rows: int
    marks: list[tuple[int, str, str, int]]
    """Event, kind, text, connection (-1: of the whole pool)."""
    bands: list[tuple[int, int, str, str]]
    """First and last event, kind, text."""
    limits: list[tuple[int, int | None]]
    """Event, `max_size` from then on."""
    notes: list[str]
    """What could not be read, and what is not as it could be."""

    @property
    def transitions(self) -> int:
        """How many were read: all events but those that say where it begins and ends."""
        return sum(line > 2 for line in self.events["line"])


def said(effect: Effect) -> str:
    """An effect without what the spans say."""
    name = type(effect).__name__
    if isinstance(effect, (Refuse, Close)):
        return f"{name} {effect.reason}"
    return f"{name}: {effect.why}" if isinstance(effect, Ignored) else name


def differences(before: Limits, after: Limits) -> str:
    names = [
        name for name in attrs.fields_dict(Limits) if getattr(before, name) != getattr(after, name)
    ]
    said = [f"{name} {getattr(before, name)} → {getattr(after, name)}" for name in names]
    return ", ".join(said) or "the same limits"
