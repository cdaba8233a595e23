"""Who holds a connection, and since when: the owners of leases, as people read them.

Theory.  The machine carries an owner and never looks at it.  Here it is a `Holder`: a weak
reference to the lease that knows its thread.  With leak tracking it also knows the lines of code
that led to the acquire: code objects and line numbers, not frames, for a frame keeps alive all
that its function holds.  Text is made of it only when somebody reads it.

It is a weak reference for the sake of one instant.  A lease that is lost says so in its finalizer;
an exception that strikes on the first step of that, a second misfortune, ends it unsaid.  But then
the interpreter calls the weak reference's callback, which is the append of the runtime's
inbox: not a step of Python is in it, so nothing can strike there.
"""

from __future__ import annotations

import heapq
import linecache
import os
import sys
import threading
import weakref
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import attrs

from pool.state import State

DEEPEST = 40
"""Lines of a stack that are kept, the innermost."""

MOST = 5
"""Holders named in a message, those who hold longest."""

_HERE = str(Path(__file__).parent) + os.sep


class Holder(weakref.ref[Any]):
    """A weak reference to a lease, which knows the thread that took it. Thread-safe."""

    __slots__ = ("thread",)

    thread: int
    lines: tuple[tuple[CodeType, int], ...] = ()

    def __repr__(self) -> str:
        return thread_name(self.thread)

    @property
    def line(self) -> str | None:
        """The line of code that took the connection."""
        if not self.lines:
            return None
        code, number = self.lines[0]
        return f"{code.co_filename}:{number} in {code.co_name}"

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


def lines_here() -> tuple[tuple[CodeType, int], ...]:
    """The lines of code that led into this package, the innermost first."""
    lines: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    while frame is not None and len(lines) < DEEPEST:
        lines.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)


@attrs.frozen(kw_only=True)
class Holding:
    """One connection in use. Immutable."""

    key: int
    """The pool's number for the connection."""
    connection: Any
    thread: str
    """The name of the thread that took it, or its number if it has ended."""
    seconds: float
    """For how long."""
    line: str | None
    """The line of code that took it, where leak tracking is on."""
    stack: str | None
    """The stack that led there, where leak tracking is on."""

    def __str__(self) -> str:
        place = f" at {self.line}" if self.line else ""
        return f"{self.thread} for {self.seconds:.1f} s{place}"


def holdings(state: State, now: float, most: int | None = None) -> list[Holding]:
    """Who holds what, those who hold longest first."""
    leases = [(lease.checked_out, key) for key, lease in state.in_use.items()]
    leases = sorted(leases) if most is None else heapq.nsmallest(most, leases)
    return [_holding(state, key, now) for _, key in leases]


def _holding(state: State, key: int, now: float) -> Holding:
    lease = state.in_use[key]
    holder = lease.owner if isinstance(lease.owner, Holder) else None
    return Holding(
        key=key,
        connection=lease.entry.connection,
        thread=thread_name(holder.thread if holder else lease.owner),
        seconds=max(0.0, now - lease.checked_out),
        line=holder.line if holder else None,
        stack=holder.stack if holder else None,
    )


def thread_name(number: Any) -> str:
    """How people call the thread with this number."""
    for thread in threading.enumerate():
        if thread.ident == number:
            return f"thread {thread.name!r}"
    return "somebody" if number is None else f"a thread that has ended ({number})"


def describe_holders(state: State, now: float) -> str:
    """One line, or nothing if nothing is lent."""
    told = holdings(state, now, MOST)
    more = len(state.in_use) - len(told)
    text = "; ".join(map(str, told)) + (f"; and {more} more" if more else "")
    return f"held by {text}" if told else ""
