"""The flight recorder: what a pool did last, on disk or in memory, for as long as it runs.

Theory.  An observer that writes lines (`format.py`).  It is told by a thread of its own, so a
checkout pays for two tuples and no file.  A recording is a directory of segments; each begins with
the state of the pool, so that any of them can be the first, and the oldest can go.  What was
written is the system's: a process that is killed leaves all but its last quarter of a second.

A recording is one process's.  A child begins another beside it, with its number behind the name.

Where a segment cannot be written, that is logged, and the recorder begins another one a while
later, with the state of that time.  A pool never waits for a disk, nor fails with it.

What it refuses to know: who reads it.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import time
import uuid
import weakref
from collections import deque
from pathlib import Path
from typing import Any, Literal

from pool.core.effects import Effect, Leaked, Refuse
from pool.core.events import Event
from pool.core.state import State
from pool.record import format
from pool.shared.arguments import refuse
from pool.shared.log import logger
from pool.shared.members import members
from pool.shared.observation import Observing, runtime_of
from pool.shared.regularly import BATCH, tell_regularly

SEGMENTS = 8
"""Into how many a recording is divided: each has an eighth of it, and what happens until the next
transition after that is told."""

SUFFIX = ".purepool"

AGAIN_AFTER = 10.0
"""Seconds until a recorder begins again that could not write, or dumps again what it has dumped."""

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

Trigger = Literal["timeout", "leak"]


class FlightRecorder:
    """Records what a pool does, always the last part of it, until `stop`. Thread-safe.

    * `pool`: a `Pool`, one for asyncio, or a pooled database of peewee.
    * `path`: the directory of the recording; made if it is not there. In a child process its number
      comes behind it: `app.rec-4711`.
    * `keep`: how much of it, as a number of bytes or a text like `"64 MB"`; at least 100 KB.
    * `in_memory`: write nothing until `dump`; then what there is goes to `path`.
    * `dump_on`: with `in_memory`, dump by itself when a caller's timeout passes (`"timeout"`), or a
      leak is reported (`"leak"`); at most every ten seconds.

    It holds no connection and no secret: connections are numbers, owners names of threads or tasks,
    with their line of code where `leak_after` is set. What the last failed connect said is in it as
    text. Raises `ValueError` for what is not allowed, `OSError` where the directory cannot be made.
    As a context manager it stops at the end.
    """

    def __init__(
        self,
        pool: Any,
        path: str | os.PathLike[str],
        *,
        keep: int | str = "64 MB",
        in_memory: bool = False,
        dump_on: tuple[Trigger, ...] = (),
    ) -> None:
        self._keep = bytes_of(keep)
        for trigger in dump_on:
            if trigger not in ("timeout", "leak") or not in_memory:
                allowed = "'timeout' and 'leak', with in_memory=True"
                raise refuse("dump_on", dump_on, allowed)
        self._dump_on = dump_on
        self._base = Path(path)
        self._in_memory = in_memory
        runtime = runtime_of(pool)
        self._runtime = weakref.ref(runtime)
        self._clock = runtime.clock  # also when the pool is gone
        self._about = {"pool": name_of(pool), "python": sys.version.split()[0]}
        self._begin(self._base)
        if not in_memory:
            self.path.mkdir(parents=True, exist_ok=True)
            self._number = _last_number(self.path)
        self._observing: Observing | None = Observing(runtime, self._record, BATCH, self._write)
        self._observing.mark(self._begin_segment)
        self._end = weakref.finalize(runtime, _end, self, self._observing)
        self._end.atexit = False
        _recorders.add(self)
        tell_regularly(runtime)

    def _begin(self, path: Path) -> None:
        self.path = path
        """The directory of this process's recording."""
        self._pid = os.getpid()
        self._run = uuid.uuid4().hex[:12]
        self._number = 0
        self._file: int | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self._is_ending = False
        self._last: Event | None = None
        self._ring: deque[tuple[str, list[bytes]]] = deque()
        self._broken_at: float | None = None
        self._dumped_at: float | None = None

    # ------------------------------------------------------------ for users

    def flush(self) -> None:
        """Have all that has been so far on disk, or in memory."""
        observing = self._observing
        if observing is not None:
            observing.flush()

    def dump(self) -> Path | None:
        """With `in_memory`: write what there is to `path`, in the place of what was dumped before.
        The directory; None where there is nothing yet. May be called by a signal's handler. Raises
        `OSError`."""
        self.flush()
        segments = [(name, b"".join(lines)) for name, lines in list(self._ring)]
        if not segments:
            return None
        self.path.mkdir(parents=True, exist_ok=True)
        for old in segments_of(self.path):
            old.unlink(missing_ok=True)
        for name, text in segments:
            (self.path / name).write_bytes(text)
        return self.path

    def stop(self) -> None:
        """Write what there is, then record no more. May be called again."""
        observing, self._observing = self._observing, None
        if observing is not None:
            observing.stop()
            self._end.detach()
            self._close()
            _recorders.discard(self)

    def __enter__(self) -> FlightRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------ told by one thread at a time

    def _record(self, event: Event, effects: tuple[Effect, ...]) -> None:
        if event is self._last:  # told again, after an interrupt
            return
        self._last = event
        if not self._number_is_open():
            self._try_again()
            return
        one = format.line(format.encode(event, effects))
        self._lines.append(one)
        self._size += len(one)
        if self._size >= self._keep // SEGMENTS and not self._is_ending:
            self._is_ending = True
            self._mark()
        if len(self._lines) >= 256:
            self._write()
        for effect in effects:
            kind = "leak" if isinstance(effect, Leaked) else ""
            kind = "timeout" if isinstance(effect, Refuse) and effect.reason == "timeout" else kind
            if kind in self._dump_on:
                self._dump_soon()

    def _number_is_open(self) -> bool:
        return self._file is not None or bool(self._ring)

    def _mark(self) -> None:
        observing = self._observing
        if observing is not None:
            observing.mark(self._begin_segment)

    def _try_again(self) -> None:
        """Nothing can be written, or nothing has been begun."""
        if self._broken_at is not None and time.monotonic() >= self._broken_at + AGAIN_AFTER:
            self._broken_at = None
            self._mark()

    def _begin_segment(self, state: State) -> None:
        if os.getpid() != self._pid:  # as in `_write`
            return
        self._write()
        self._close()
        self._number += 1
        while not self._in_memory and (self.path / f"{self._number:08}{SUFFIX}").exists():
            self._number += 1  # another recorder's, which was given the same path
        self._is_ending = False
        name = f"{self._number:08}{SUFFIX}"
        runtime = self._runtime()
        header = {
            "kind": format.KIND,
            "version": format.VERSION,
            "run": self._run,
            "segment": self._number,
            "pid": self._pid,
            **self._about,
            "wall": time.time(),
            "now": self._clock() if runtime is None else runtime.clock(),
        }
        lines = [format.line(header), format.line(format.encode_state(state))]
        self._size = sum(map(len, lines))
        if self._in_memory:
            self._ring.append((name, lines))
            sizes = [sum(map(len, kept)) for _, kept in self._ring]
            left = sum(sizes) + self._keep // SEGMENTS
            while left > self._keep and len(self._ring) > 1:
                self._ring.popleft()
                left -= sizes.pop(0)
            return
        try:
            # Under its name only with its head: who reads, or comes after a crash, finds it whole.
            unfinished = self.path / f"{name}.new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(unfinished, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
            self._lines[:0] = lines
            self._write()
            if self._file is not None:
                os.replace(unfinished, self.path / name)
            self._drop_old()
        except OSError as error:
            self._fail(error)

    def _write(self) -> None:
        """What there is, as one write. Where it fails, what follows would make no sense."""
        if os.getpid() != self._pid:  # a child that has none of its own yet: this is the parent's
            return
        lines, self._lines = self._lines, []
        if self._in_memory and self._ring:
            self._ring[-1][1].extend(lines)
        elif self._file is not None and lines:
            text = b"".join(lines)
            try:
                while text:
                    text = text[os.write(self._file, text) :]
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._close()
        self._number += 1  # none has this number: what comes next does not follow
        self._broken_at = time.monotonic()
        logger.warning("the recording %s cannot be written: %s", self.path, error)

    def _close(self) -> None:
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)

    def _drop_old(self) -> None:
        segments = [(one, one.stat().st_size) for one in segments_of(self.path)]
        left = sum(size for _, size in segments) + self._keep // SEGMENTS
        for one, size in segments[:-1]:
            if left > self._keep:
                one.unlink(missing_ok=True)
                left -= size

    def _dump_soon(self) -> None:
        now = time.monotonic()
        if self._dumped_at is None or now >= self._dumped_at + AGAIN_AFTER:
            self._dumped_at = now
            try:
                self.dump()
            except OSError as error:
                logger.warning("the recording %s cannot be written: %s", self.path, error)

    # ------------------------------------------------------------ a child process

    def _after_fork(self) -> None:
        """The file is the parent's. What the child does goes to one of its own."""
        inherited = self._file
        self._begin(self._base.with_name(f"{self._base.name}-{os.getpid()}"))
        if inherited is not None:
            os.close(inherited)
        if not self._in_memory:
            self.path.mkdir(parents=True, exist_ok=True)
            self._number = _last_number(self.path)
        self._mark()


def _end(recorder: FlightRecorder, observing: Observing) -> None:
    """The pool is collected: what it did last is still to be written."""
    observing.tell_rest()
    recorder._write()
    recorder._close()


_recorders: weakref.WeakSet[FlightRecorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for recorder in members(_recorders):
        try:
            recorder._after_fork()
        except OSError as error:
            logger.warning("the recording %s cannot be written: %s", recorder.path, error)
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _recorders:
        # Its processes end without exit handlers, and forget first what was to be called instead.
        util.register_after_fork(_at_exit, lambda _: util.Finalize(None, _at_exit, exitpriority=0))


def _at_exit() -> None:
    """The program ends: its last quarter of a second is worth having, too."""
    for recorder in members(_recorders):
        recorder.flush()


atexit.register(_at_exit)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def segments_of(path: Path) -> list[Path]:
    """The segments of a recording, in their order."""
    return sorted(path.glob(f"*{SUFFIX}"))


def _last_number(path: Path) -> int:
    """Of the segments that are there, of whatever run."""
    return max((int(one.stem) for one in segments_of(path) if one.stem.isdigit()), default=0)


def name_of(pool: Any) -> str:
    """What a pool, or a pooled database, is called."""
    own = getattr(pool, "_purepool", None)
    return str(getattr(pool, "name", "") if own is None else own.label() or "database")


def bytes_of(keep: int | str) -> int:
    """How many bytes that is. Raises `ValueError` where they are too few to keep anything."""
    allowed = "a number of bytes, or a text like '64 MB', of at least 100 KB"
    number: Any = keep
    if isinstance(keep, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", keep)
        if found is None or found[2].upper() not in _UNITS:
            raise refuse("keep", keep, allowed)
        number = float(found[1]) * _UNITS[found[2].upper()]
    if type(number) not in (int, float) or number < 100_000:
        raise refuse("keep", keep, allowed)
    return int(number)
