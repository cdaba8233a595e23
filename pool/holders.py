"""Who holds a connection, and since when: the owners of leases, as people read them.

Theory.  The machine carries an owner and never looks at it.  Without leak tracking that is the
number of a thread, which costs nothing.  With it, it is a `Holder`, which also knows the lines of
code that led to the acquire: code objects and line numbers, not frames, for a frame keeps
alive all that its function holds.  Text is made of it only when somebody reads it.
"""

from __future__ import annotations

import heapq
import linecache
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import attrs

from pool.state import State

DEEPEST = 40
"""Lines of a stack that are kept, the innermost."""

MOST = 5
"""Holders named in a message, those who hold longest."""

_HERE = str(Path(__file__).parent)


class Holder:
    """A thread, and where it was when it took a connection. Immutable, thread-safe."""

    __slots__ = ("lines", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        lines: list[tuple[CodeType, int]] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_HERE):
            frame = frame.f_back
        while frame is not None and len(lines) < DEEPEST:
            lines.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        self.lines = tuple(lines)

    @property
    def line(self) -> str | None:
        """The line of code that took the connection."""
        if not self.lines:
            return None
        code, number = self.lines[0]
        return f"{code.co_filename}:{number} in {code.co_name}"

    @property
    def stack(self) -> str:
        """All of it, in the order of a traceback."""
        text = []
        for code, number in reversed(self.lines):
            text.append(f'  File "{code.co_filename}", line {number}, in {code.co_name}')
            if source := linecache.getline(code.co_filename, number).strip():
                text.append(f"    {source}")
        return "\n".join(text)


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
    owner = lease.owner
    holder = owner if isinstance(owner, Holder) else None
    return Holding(
        key=key,
        connection=lease.entry.connection,
        thread=thread_name(holder.thread if holder else owner),
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
