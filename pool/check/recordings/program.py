"""`purepool record -- COMMAND`: run a program, and record its pools, without a change to it.

Theory.  The program gets one variable of the environment (`pool.record.program`), and is otherwise
what it would be: its input and output, its place in the terminal, its signals and its exit status
are its own.  What is sent to this process instead is passed on.  A terminal sends what is typed,
and that it is gone, to both by itself.

The exit status is the program's; 128 and the number of the signal that ended it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pool.check.usage import UsageError
from pool.record.flight import bytes_of, segments_of
from pool.record.program import DIRECTORY, KEEP

TYPED = ("SIGINT", "SIGQUIT", "SIGHUP")
"""Signals that a terminal sends to all of its foreground group."""

SENT = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status of the program."""
    command = _command(arguments.command)
    keep = _keep(arguments.keep)
    directory = _directory(arguments.output, command)
    environment = {**os.environ, DIRECTORY: str(directory.resolve()), KEEP: str(keep)}
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        directory.rmdir()
        missing = "there is no such program"
        why = missing if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(f"{command[0]}: {why}") from None
    with _passing_on(process):
        status = process.wait()
    _say(directory, command)
    return status if status >= 0 else 128 - status


def _command(given: Sequence[str]) -> list[str]:
    """What is run. A script is run by the Python that runs this."""
    command = list(given[1:] if given[:1] == ["--"] else given)
    if not command:
        raise UsageError("what is to be recorded? As in: purepool record -- python app.py")
    script = Path(command[0])
    if script.suffix == ".py" and script.is_file() and not os.access(script, os.X_OK):
        command.insert(0, sys.executable)
    return command


def _keep(given: str) -> int:
    try:
        return bytes_of(given)
    except ValueError as error:
        raise UsageError(f"--keep: {error}") from None


def _directory(given: str | None, command: Sequence[str]) -> Path:
    """Where to: a directory that nothing is in yet."""
    if given is not None:
        directory = Path(given)
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(f"{given}: is there already: choose another, or remove it")
    else:
        names = [Path(word).stem for word in command if word.endswith(".py")]
        name, number = [*names, Path(command[0]).stem][0], 1
        directory = Path(f"{name}.rec")
        while directory.exists():
            number += 1
            directory = Path(f"{name}-{number}.rec")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _passing_on(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Signals that come to this process go to that one."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        if signal.Signals(number).name not in TYPED or not _is_in_foreground():
            process.send_signal(number)

    before: dict[int, Any] = {}
    for name in (*TYPED, *SENT):
        number = getattr(signal, name)
        there = signal.getsignal(number)
        if there is not signal.SIG_IGN:  # it is ignored there, too
            before[number] = there
            signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    """Whether a terminal sends what is typed there to this process, and so to the program."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _say(directory: Path, command: Sequence[str]) -> None:
    """What came of it, where it disturbs no output of the program's."""
    recordings = [one for one in directory.iterdir() if segments_of(one)]
    if not recordings:
        shutil.rmtree(directory, ignore_errors=True)
        why = "used no pool of purepool, or one of a version that does not record"
        print(f"purepool record: nothing was recorded: {command[0]} {why}", file=sys.stderr)
        return
    size = sum(file.stat().st_size for one in recordings for file in segments_of(one))
    count = f"{len(recordings)} recording{'s' * (len(recordings) != 1)}"
    print(
        f"purepool record: {count}, {size / 1e6:.1f} MB: purepool timeline {directory}",
        file=sys.stderr,
    )
