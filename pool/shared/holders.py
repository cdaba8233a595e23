"""Who holds a connection, and since when: the owners of leases, as people read them.

Theory.  The machine carries an owner and never looks at it.  Here it is a `Holder`: a weak
reference to the lease that knows its thread.  With leak tracking it also knows the lines of code
that led to the acquire: code objects and line numbers, not frames, for a frame keeps alive all
that its function holds.  Text is made of it only when somebody reads it.

A thread is known by a `Thread` of our own, made when it first asks for a connection, and by the
name that it had when it took this one.  Not by its number: the system gives that of a thread that
has ended to the next one, who would be blamed.  And not by looking for it when a message is made:
that would be a walk over all threads for each name, in the middle of a storm of refusals.

It is a weak reference for the sake of one instant.  A lease that is lost says so in its finalizer;
an exception that comes on the first step of that, a second misfortune, ends it unsaid.  But then
the interpreter calls the weak reference's callback, which is the append of the runtime's
inbox: not a step of Python is in it, so no exception can come there.
"""

from __future__ import annotations

import contextlib
import itertools
import linecache
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import attrs

from pool.core.state import Lease, Leases, State, leased
from pool.core.text import repr_of

DEEPEST = 40
"""Lines of a stack that are kept, the innermost."""

MOST = 5
"""Holders named in a message, those who hold longest."""

_OURS = (str(Path(__file__).parents[1]) + os.sep, contextlib.__file__)
"""What the paths of frames begin with that are not the user's: an `ExitStack` enters blocks."""


class Taker:
    """Who takes connections: a thread, by the name that it has then. Immutable."""

    __slots__ = ("name", "thread")

    KIND = "thread"

    def __init__(self, name: str, thread: weakref.ref[Any]) -> None:
        self.name = name
        self.thread = thread

    def __repr__(self) -> str:
        text = f"thread {repr_of(self.name)}"
        return text if self.thread() else f"{text} (a thread that has ended)"

    @property
    def is_here(self) -> bool:
        """Whether it is the thread that asks."""
        return self.thread is introduce().reference


class Thread:
    """A thread, of whatever kind, that takes connections. Only its own locals refer to this, so
    that it is gone when the thread has ended."""

    __slots__ = ("__weakref__", "known", "reference", "taker")

    def __init__(self) -> None:
        known: Any = threading.current_thread()
        # What `name` gives, in a third of the time, for this is read at every checkout.
        self.known = known if isinstance(getattr(known, "_name", None), str) else _Nameless()
        self.reference = weakref.ref(self)
        self.rename()

    def rename(self) -> Taker:
        """It has a new name."""
        self.taker = Taker(self.known._name, self.reference)
        return self.taker


class _Nameless:
    """In the place of a thread whose `threading` does not keep the name where ours does."""

    @property
    def _name(self) -> str:
        return str(threading.current_thread().name)


here = threading.local()
"""Its `thread` is the `Thread` that asks, once that was introduced."""


def introduce() -> Thread:
    """The thread that asks. Others may ask meanwhile on the same thread: a signal handler does."""
    mine = here.__dict__
    return mine.get("thread") or mine.setdefault("thread", Thread())  # type: ignore[no-any-return]


def askers() -> list[weakref.ref[Any]]:
    """By which takers who asks is known: the thread, and the task that runs on it."""
    thread: weakref.ref[Any] = introduce().reference
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return [thread]
    task = asyncio.current_task()
    return [thread] if task is None else [thread, weakref.ref(task)]


class Holder(weakref.ref[Any]):
    """A weak reference to a lease, which knows who took it. Thread-safe."""

    __slots__ = ("taker",)

    taker: Taker
    lines: tuple[tuple[CodeType, int], ...] = ()

    def __repr__(self) -> str:
        return repr(self.taker)

    @property
    def line(self) -> str | None:
        """The line of code that took the connection."""
        if not self.lines:
            return None
        return _line(*self.lines[0])

    @property
    def stack(self) -> str | None:
        """All of it, in the order of a traceback."""
        text = []
        for code, number in reversed(self.lines):
            text.append(f'  File "{code.co_filename}", line {number}, in {code.co_name}')
            if source := linecache.getline(code.co_filename, number).strip():
                text.append(f"    {source}")
        return "\n".join(text) or None


class TracedHolder(Holder):
    """One that also knows where the thread was."""

    __slots__ = ("lines",)


def is_mine(owner: Any) -> bool:
    """Whether the thread that asks took what is this owner's."""
    return isinstance(owner, Holder) and owner.taker.is_here


def lines_here() -> tuple[tuple[CodeType, int], ...]:
    """The lines of code that led into this package, the innermost first."""
    lines: list[tuple[CodeType, int]] = []
    frame = _outside()
    while frame is not None and len(lines) < DEEPEST:
        lines.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)


def line_here() -> str:
    """The line of code that called this package."""
    frame = _outside()
    return _line(frame.f_code, frame.f_lineno) if frame is not None else "an unknown line"


def _outside() -> FrameType | None:
    """The innermost frame that is not of this package."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame


def _line(code: CodeType, number: int) -> str:
    return f"{code.co_filename}:{number} in {code.co_name}"


@attrs.frozen(kw_only=True)
class Holding:
    """One connection in use. Immutable."""

    key: int
    """The number of the connection: 1 is the first that was opened."""
    connection: Any = attrs.field(repr=repr_of, eq=id)
    thread: str
    """The thread that took it, by the name that it had then, and whether it has ended."""
    is_here: bool = False
    """Whether that is the thread that asks."""
    seconds: float
    """For how long."""
    line: str | None
    """The line of code that took it, where leak tracking is on."""
    stack: str | None
    """The stack that led there, where leak tracking is on."""

    def __str__(self) -> str:
        place = f" at {self.line}" if self.line else ""
        return f"{'this ' if self.is_here else ''}{self.thread} for {self.seconds:.1f} s{place}"


def holdings(state: State, now: float, most: int | None = None) -> list[Holding]:
    """Who holds what, those who hold longest first; before them, where only so many are asked
    for, the thread that asks. The numbers are the machine's keys."""
    ranking = _ranking(state.in_use)
    chosen = ranking.longest
    if most is not None:
        # A few, though it may hold many; and then all there are of it are no more than a few.
        mine = list(itertools.islice(ranking.of(askers()), most))
        others = (key for key in chosen if key not in mine)
        chosen = list(itertools.islice(itertools.chain(mine, others), most))
    return [_holding(Lease._make(state.in_use[key]), now) for key in chosen]


class _Ranking:
    """Who holds what, in order. As long as nobody takes or returns, and that is when callers are
    refused one after the other, there is no need to walk over all leases for each of them."""

    def __init__(self, in_use: Leases) -> None:
        self.in_use = weakref.ref(in_use)
        leases = sorted(leased(in_use).items(), key=lambda item: (item[1].checked_out, item[0]))
        self.longest = [key for key, _ in leases]
        self._by_thread: dict[int, list[int]] = {}
        """By the `id` of the reference to a thread, which lives as long as its leases do."""
        for key, lease in leases:
            if taker := _taker(lease.owner):
                self._by_thread.setdefault(id(taker.thread), []).append(key)

    def of(self, takers: list[weakref.ref[Any]]) -> Iterator[int]:
        """Keys of what these have taken, each one's in the same order."""
        return (key for one in takers for key in self._by_thread.get(id(one), ()))


_rankings: dict[int, _Ranking] = {}
"""By the `id` of what they rank: one for each pool whose callers are refused. Those of what is gone
are dropped when the next one is made."""


def _ranking(in_use: Leases) -> _Ranking:
    known = _rankings.get(id(in_use))
    if known is not None and known.in_use() is in_use:
        return known
    for number, ranking in list(_rankings.items()):
        if ranking.in_use() is None:
            _rankings.pop(number, None)
    made = _rankings[id(in_use)] = _Ranking(in_use)
    return made


def taken_here(state: State, ticket: int) -> Any:
    """The owner of a connection that the thread that asks has taken, but by another ticket than
    this; or None."""
    leases = map(state.in_use.__getitem__, _ranking(state.in_use).of(askers()))
    return next((owner for _, _, taken, owner, _ in leases if taken != ticket), None)


def _taker(owner: Any) -> Taker | None:
    if isinstance(owner, Holder):
        return owner.taker
    return owner if isinstance(owner, Taker) else None


def _holding(lease: Lease, now: float) -> Holding:
    holder = lease.owner if isinstance(lease.owner, Holder) else None
    taker = _taker(lease.owner)
    return Holding(
        key=lease.entry.key,
        connection=lease.entry.connection,
        thread=repr(taker) if taker else "somebody",
        is_here=taker is not None and taker.is_here,
        seconds=max(0.0, now - lease.checked_out),
        line=holder.line if holder else None,
        stack=holder.stack if holder else None,
    )


def describe_holders(state: State, now: float) -> str:
    """One line, or nothing if nothing is lent."""
    told = holdings(state, now, MOST)
    more = len(state.in_use) - len(told)
    text = "; ".join(map(str, told)) + (f"; and {more} more" if more else "")
    return f"held by {text}" if told else ""
