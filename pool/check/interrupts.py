"""Ctrl-C, and whatever else asks a check to end: noted by a handler, obeyed at the next safe place.

Theory.  A handler that raises does so anywhere: inside a callback of Hypothesis, which takes the
exception for a fault of what it tests, or inside a finalizer, which swallows it.  So the handler
only sets a flag.  Whatever takes long calls `checkpoint` where it can stop: between examples,
states and steps, and while it waits for another process.  `checkpoint` raises `Stopped`, and nobody
on the way out concludes anything from it: what was stopped is neither right nor wrong.

A second signal means that the first did not help.  It ends the process at once: what others have to
be rid of (processes, directories) is registered here, and is ended and removed first.  Some
senders say everything twice (`timeout` tells the process and then its group), so what comes
within `REPEATED` seconds of the first is the first.

A shell starts background jobs with SIGINT ignored, and `nohup` does so with SIGHUP; that is kept.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
REPEATED = 0.5
"""Seconds after the first signal during which another one says nothing new."""

PATIENCE = 0.1
"""Seconds between two checkpoints while another process is waited for."""

STOPPING = "\npurepool: stopping; once more to end at once\n"


class Stopped(KeyboardInterrupt):
    """A signal came; the text says how far it had come, if that is known.

    A `KeyboardInterrupt`, for Hypothesis keeps whatever else ends an example as a failure."""


_came: signal.Signals | None = None
_since = 0.0
_at_once: dict[object, Callable[[], object]] = {}


def came() -> signal.Signals | None:
    """The signal that asked for an end, if one did."""
    return _came


def status() -> int:
    """The exit status of what was stopped: 128 and the number of the signal."""
    return 128 + (_came or signal.SIGINT)


def checkpoint(progress: str = "") -> None:
    """Raise `Stopped` if a signal came. Cheap: one comparison."""
    if _came is not None:
        raise Stopped(progress)


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Within this, signals are noted. Does nothing outside of the main thread."""
    global _came
    before: dict[signal.Signals, Any] = {}
    _came = None
    try:
        for number in SIGNALS:
            there = signal.getsignal(number)
            if there is not signal.SIG_IGN or number is signal.SIGTERM:
                signal.signal(number, _note)
                before[number] = there
    except ValueError:  # not the main thread
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _came = None


def _note(number: int, frame: FrameType | None) -> None:
    global _came, _since
    if _came is None:
        _came, _since = signal.Signals(number), time.monotonic()
        _say_on_terminal(STOPPING)
    elif time.monotonic() - _since > REPEATED:
        _end_at_once()


def _end_at_once() -> None:
    for callback in reversed(list(_at_once.values())):
        with contextlib.suppress(Exception):
            callback()
    _say_on_terminal("\x1b[?25h")  # the cursor, which a progress bar hides
    os._exit(status())


def _say_on_terminal(what: str) -> None:
    """To standard error, around its buffer: a handler may have come while that is written to."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), what.encode())


def read_standard_input() -> str:
    """All of it. A handler that only notes would let the read go on: so it is waited for first."""
    try:
        number = sys.stdin.fileno()
        select.select([number], [], [], 0.0)
    except (OSError, ValueError):  # it is no file, or here only sockets can be waited for
        return sys.stdin.read()
    parts: list[bytes] = []
    while True:
        if select.select([number], [], [], PATIENCE)[0]:
            parts.append(os.read(number, 65536))
            if not parts[-1]:
                return b"".join(parts).decode(errors="replace")
        checkpoint()


# ---------------------------------------------------------------- what has to go


@contextlib.contextmanager
def at_once(callback: Callable[[], object]) -> Iterator[None]:
    """Within this, a second signal calls it before the process ends."""
    key = object()
    _at_once[key] = callback
    try:
        yield
    finally:
        del _at_once[key]


@contextlib.contextmanager
def temporary_directory(prefix: str = "purepool-") -> Iterator[Path]:
    """A directory that is gone afterwards, also after a second signal."""
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as place,
        at_once(lambda: shutil.rmtree(place, ignore_errors=True)),
    ):
        yield Path(place)


def run_process(command: Sequence[str], **how: Any) -> tuple[int, str]:
    """Run it to its end: its exit status and what it wrote. It ends when we are stopped.

    It has a session of its own, for Ctrl-C in a terminal goes to everybody in ours: it would end
    before it is known why. May be called on any thread. Raises `OSError` and `Stopped`."""
    checkpoint()  # after a first signal nothing begins that a second one would have to end
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )
    with at_once(lambda: kill_session(process)):
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    checkpoint()
                else:
                    checkpoint()  # it may have been told to end, too
                    return process.returncode, out + err
        finally:
            end_process(process)


def kill_session(process: subprocess.Popen[Any]) -> None:
    """Tell a process that leads a session, and what it has started, to end, whatever they do."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def end_process(process: subprocess.Popen[Any]) -> None:
    """End it, wait for its end, and close what it wrote to."""
    kill_session(process)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
