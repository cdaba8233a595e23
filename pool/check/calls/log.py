"""A log of calls: what callers asked a running pool, what they were told, and when.

Theory.  A caller sees neither state nor lock: it calls, and some time later it knows something.  So
a call is kept as two times with an answer between them, taken outside of whatever the pool does.
The answer carries the ticket and the key, which is what makes it quick to check (`order.py`).
A call that was interrupted has no answer; what it had asked for may have been done, or not.

`CallLog` stands in front of the runtime for threads, `TaskLog` of that for tasks.  They look at
nothing but what a caller has.

What it refuses to know: in which order anything was done.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from pool.core.events import Shutdown
from pool.core.limits import Limits
from pool.shared.errors import PoolClosed, PoolError, PoolSuspended, PoolTimeout, TooManyWaiting
from pool.shared.handles import Handle

Kind = Literal["acquire", "connect", "release", "discard", "lose", "shutdown"]
KINDS = get_args(Kind)

INTERRUPTED = "interrupted"
GRANTED = "granted"

REASONS: dict[type[PoolError], str] = {
    PoolClosed: "closed",
    TooManyWaiting: "too_many_waiting",
    PoolSuspended: "suspended",
    PoolTimeout: "timeout",
}
"""What a caller is told, by the error that it gets; the first that fits."""


@attrs.frozen
class Call:
    """One call. Times are in seconds, on one monotonic clock."""

    call: Kind
    """`connect`: the driver's, by nobody's order (a helper's). `lose`: a handle was dropped."""
    begin: float
    end: float = math.inf
    """Infinite: it was interrupted, or has not come back."""
    ticket: int = 0
    """0: none was drawn."""
    key: int = 0
    """Of the connection. 0: none."""
    timeout: float | None = None
    """Of `acquire`."""
    answer: str | bool = INTERRUPTED
    """`granted`, the reason of a refusal, or `interrupted`; of `release` and `discard` also whether
    it was still the caller's."""
    connected: float | None = None
    """When the driver's connect came back that `acquire` did itself. None: it did none that did."""


class CallLogError(Exception):
    """A file that is no log of calls, or not one that can be checked; the message says why."""


class Note:
    """A call that may be under way. It is on the list before anything is asked: an exception may
    come at any step, and until there is an answer it is a call that was interrupted."""

    __slots__ = ("answer", "begin", "call", "connected", "end", "key", "ticket", "timeout")

    def __init__(
        self, call: Kind, ticket: int = 0, key: int = 0, timeout: float | None = None
    ) -> None:
        self.call = call
        self.ticket = ticket
        self.key = key
        self.timeout = timeout
        self.answer: str | bool = INTERRUPTED
        self.connected: float | None = None
        self.end = math.inf
        self.begin = time.monotonic()

    def answered(self, answer: str | bool) -> None:
        self.end = time.monotonic()
        self.answer = answer


class Claim(Handle):
    """A handle that notes what it was given, for it knows no more when it is refused or lost."""

    __slots__ = ("_key", "_ticket", "note")

    def __init__(self, runtime: Any, note: Note) -> None:
        self.note = note
        super().__init__(runtime)

    @property
    def ticket(self) -> int:
        return self._ticket

    @ticket.setter
    def ticket(self, ticket: int) -> None:
        self._ticket = ticket
        if ticket:
            self.note.ticket = ticket

    @property
    def key(self) -> int:
        return self._key

    @key.setter
    def key(self, key: int) -> None:
        self._key = key
        if key:
            self.note.key = key


class _Driver:
    """A driver that tells the log when a connect has come back."""

    def __init__(self, log: CallLog, driver: Any) -> None:
        self._log = log
        self._driver = driver

    def connect(self) -> Any:
        return self._log.connect(self._driver.connect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


class CallLog:
    """A runtime's callers, with a log of what they are told. Thread-safe.

    Call `acquire`, `release`, `discard`, `lose` and `shutdown` here instead of there. The runtime
    is to be new, with connections that need no check (`check_after=math.inf`)."""

    _wrap: type[_Driver] = _Driver

    def __init__(self, runtime: Any) -> None:
        self.limits: Limits = runtime.state.limits
        self._runtime = runtime
        self._notes: list[Note] = []
        self._here = threading.local()
        runtime.driver = self._wrap(self, runtime.driver)

    @property
    def calls(self) -> list[Call]:
        """Those so far."""
        names = [field.name for field in attrs.fields(Call)]
        return [Call(**{name: getattr(note, name) for name in names}) for note in self._notes]

    def _note(self, *about: Any) -> Note:
        note = Note(*about)
        self._notes.append(note)
        return note

    def connect(self, connect: Callable[[], Any]) -> Any:
        """The driver's connect, on this thread."""
        if self.limits.opener == "background":
            note = self._note("connect")
            connection = connect()
            note.answered("")
        else:
            connection = connect()
            self._here.note.connected = time.monotonic()
        return connection

    def acquire(self, timeout: float | None = None) -> Claim:
        """As the runtime's."""
        note = self._here.note = self._note("acquire", 0, 0, timeout)
        claim = Claim(self._runtime, note)
        try:
            self._runtime.acquire(timeout, handle=claim)
        except PoolError as error:
            note.answered(_reason(error, timeout))
            raise
        except Exception:  # the driver's own
            note.answered("open_failed")
            raise
        note.answered(GRANTED)
        return claim

    def release(self, claim: Claim) -> bool:
        """As the runtime's."""
        note = self._note("release", claim.note.ticket, claim.note.key)
        ended: bool = self._runtime.release(claim)
        note.answered(ended)
        return ended

    def discard(self, claim: Claim) -> bool:
        """As the runtime's."""
        note = self._note("discard", claim.note.ticket, claim.note.key)
        ended: bool = self._runtime.discard(claim)
        note.answered(ended)
        return ended

    def lose(self, claim: Claim) -> None:
        """Its holder is gone, and gives nothing back."""
        self._note("lose", claim.note.ticket, claim.note.key)
        self._runtime.lose(claim)

    def shutdown(self) -> None:
        """Close the pool for ever."""
        note = self._note("shutdown")
        self._runtime.apply(Shutdown(self._runtime.clock()))
        note.answered("")

    def write(self, path: Path) -> None:
        """Into a file of JSON, the limits and then each call on a line."""
        lines = [json.dumps({"limits": attrs.asdict(self.limits)})]
        lines += [json.dumps(attrs.asdict(call)) for call in self.calls]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class _TaskDriver(_Driver):
    async def connect(self) -> Any:
        note = self._log._note("connect")
        connection = await self._driver.connect()
        note.answered("")
        return connection


class TaskLog(CallLog):
    """The same of a runtime for asyncio. A call that is cancelled is one that was interrupted."""

    _wrap = _TaskDriver

    async def acquire(self, timeout: float | None = None) -> Claim:  # type: ignore[override]
        note = self._note("acquire", 0, 0, timeout)
        claim = Claim(self._runtime, note)
        try:
            await self._runtime.acquire(timeout, handle=claim)
        except PoolError as error:
            note.answered(_reason(error, timeout))
            raise
        note.answered(GRANTED)
        return claim

    async def release(self, claim: Claim) -> bool:  # type: ignore[override]
        note = self._note("release", claim.note.ticket, claim.note.key)
        ended: bool = await self._runtime.release(claim)
        note.answered(ended)
        return ended


def _reason(error: PoolError, timeout: float | None) -> str:
    reason = next((r for kind, r in REASONS.items() if isinstance(error, kind)), "error")
    return "exhausted" if reason == "timeout" and timeout == 0 else reason


def read(lines: Iterable[str]) -> tuple[Limits, list[Call]]:
    """What `CallLog.write` wrote. Raises `CallLogError`."""
    limits: Limits | None = None
    calls: list[Call] = []
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            if limits is None:
                limits = Limits(**fields["limits"])
            else:
                call = Call(**fields)
                if call.call not in KINDS:
                    raise ValueError(call.call)
                calls.append(call)
        except (ValueError, TypeError, KeyError, UnicodeError) as error:
            raise CallLogError(f"line {number} is not of a log of calls: {error}") from None
    if limits is None:
        raise CallLogError("it is empty; a log of calls begins with the limits")
    return limits, calls
