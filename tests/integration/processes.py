"""Processes that tests start: with the signals of a foreground job, and none outlives its test.

Theory.  A shell without a terminal (`nohup make test &`, most of CI) starts its jobs with SIGINT
ignored, and what is ignored every child inherits: Python then installs no handler for Ctrl-C, and a
signal that a test sends is lost.  So whatever is started here has the dispositions that a
terminal would give it, and a test that raises a signal in its own process says so
(`foreground_signals`).

A process leads a session of its own, and the end of the block kills all of that, whatever became
of the test: what one test leaves behind, another is blamed for.  `SECONDS` is far more than
anything here takes on a busy machine, and less than a test is given (`timeout` in pyproject.toml):
that limit ends all of pytest, and cleans up nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS = 300.0
"""Until a process is given up. Never what one takes."""


@contextlib.contextmanager
def foreground_signals() -> Iterator[None]:
    """In this block this process, and what it starts, handles signals as if it had been started
    in a terminal. For the main thread only."""
    usual = {
        signal.SIGINT: signal.default_int_handler,  # another program starts with the default
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def process(command: Sequence[str] | str, **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """A running process and its text; at the end it is killed, with all of its session."""
    usual = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "encoding": "utf-8",
    }
    with foreground_signals():
        started = subprocess.Popen(command, **{**usual, **how}, start_new_session=True)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        for pipe in (started.stdin, started.stdout, started.stderr):
            if pipe is not None:
                pipe.close()


def run(
    command: Sequence[str] | str, seconds: float = SECONDS, **how: Any
) -> subprocess.CompletedProcess[Any]:
    """The same until it has ended. Raises `subprocess.TimeoutExpired`, and then kills it."""
    with process(command, **how) as started:
        out, err = started.communicate(timeout=seconds)
    return subprocess.CompletedProcess(command, started.returncode, out, err)


def is_gone(number: int) -> bool:
    """Whether a process does not run; one whose end nobody has looked at yet is gone, too."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
