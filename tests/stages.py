"""`make test`, `make thorough`: every stage, whatever became of others; then what became of each.

Theory.  Who runs everything wants to know everything: a missing space must not hide that the pool
lost a connection.  So no stage depends on another, each is a target of the Makefile that can be
given alone, and the verdict of all is the worst.  A stage runs in a session of its own, for its
processes have to end together: Ctrl-C comes here, is passed on to all of that session once,
so that each can take away what it made, and what has not ended after `GRACE` is killed.  How a
stage does its work is not known here.

`test` is what one waits for: every test but the longest, and those that walk to every instant of an
operation go to a sample of them; what is pure is compared with its specification as that was last
pinned.  `thorough` is the rest, to be run before a push: all of these, and the comparison itself.

    python -m tests.stages test make PYTHON=python3.12     which, and the command that runs a target

Ends with 0 if every stage passed, 1 if one failed, and 128 + the number of the signal that
interrupted it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

GRACE = 10.0
"""Seconds that a stage is given to end after a signal. Another signal ends it at once."""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@attrs.frozen
class Stage:
    target: str
    title: str


STAGES = {
    "test": (
        Stage("check-lint", "style, format and types"),
        Stage("docs", "the site: every page, link and docstring"),
        Stage("test-model", "the pure half: models and properties"),
        Stage("test-threads", "threads and SQLite"),
        Stage("test-databases", "real PostgreSQL and MariaDB"),
    ),
    "thorough": (
        Stage("test-thorough", "every instant, and long searches"),
        Stage("check", "the function against its specification: purepool check --profile ci"),
    ),
}
DURATION = {
    "test": "about 6 minutes on an idle machine with two cores, 12 to 18 on a busy one",
    "thorough": "about 8 minutes on an idle machine with two cores, 14 on a busy one",
}


class Stages:
    """Runs each stage once. Use it on the main thread: it handles signals meanwhile."""

    def __init__(
        self, command: Sequence[str], stages: Sequence[Stage], grace: float = GRACE
    ) -> None:
        self.command = command
        self.stages = stages
        self.grace = grace
        self.came: int | None = None
        """The first signal that asked for an end."""
        self.results: list[tuple[Stage, str, float]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._killed_at: float | None = None

    def run(self, say: Callable[[str], None]) -> int:
        """The exit status."""
        # One who is ignored stays so (`nohup`, a job of a shell's background): that was asked for.
        handlers = {
            number: signal.signal(number, self._stop)
            for number in STOPS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            for number, stage in enumerate(self.stages, 1):
                if self.came is None:
                    say(f"==> {number}/{len(self.stages)} {stage.title}")
                    self._run(stage)
                else:
                    self.results.append((stage, "not run", 0.0))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for line in self.summary():
            say(line)
        if self.came is not None:
            return 128 + self.came
        return int(any(verdict != "passed" for _, verdict, _ in self.results))

    def _run(self, stage: Stage) -> None:
        began = time.monotonic()
        self._process = subprocess.Popen(
            [*self.command, stage.target],
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        if self.came is not None:  # while it was being started
            self._signal(self.came)
        while (status := self._wait()) is None:
            pass
        if self.came is not None:
            self._signal(signal.SIGKILL)  # the rest of its session
        self._process = None
        verdict = "passed" if status == 0 else "interrupted" if self.came else "FAILED"
        self.results.append((stage, verdict, time.monotonic() - began))

    def _wait(self) -> int | None:
        """Its status, or None when it is time to look again."""
        assert self._process is not None
        if self._killed_at is not None and time.monotonic() > self._killed_at:
            self._signal(signal.SIGKILL)
        try:
            return self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            return None

    def _stop(self, number: int, _: Any) -> None:
        if self.came is None:
            self.came = number
            self._killed_at = time.monotonic() + self.grace
            self._signal(number)
        else:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def summary(self) -> list[str]:
        width = max(len(stage.title) for stage in self.stages)
        lines = ["==> stage, verdict, seconds; again, alone"]
        lines += [
            f"    {stage.title:{width}}  {verdict:11} {seconds:6.0f}  make {stage.target}"
            for stage, verdict, seconds in self.results
        ]
        failed = sum(verdict == "FAILED" for _, verdict, _ in self.results)
        seconds = sum(seconds for *_, seconds in self.results)
        if self.came is not None:
            said = f"interrupted by {signal.Signals(self.came).name}"
        elif failed:
            said = f"{failed} of {len(self.stages)} stages FAILED"
        else:
            said = f"all {len(self.stages)} stages passed"
        return [*lines, f"==> {said}, after {seconds:.0f} s, with {sys.executable}"]


def environment() -> dict[str, str]:
    """Ours, but for the job slots of `make -j`, which only a recipe of make itself can share."""
    flags = re.sub(r"(^| )(-j\d*|--jobserver-\S+)", "", os.environ.get("MAKEFLAGS", ""))
    ours = {name: value for name, value in os.environ.items() if name != "MAKELEVEL"}
    return {**ours, "MAKEFLAGS": flags}


def main(arguments: Sequence[str]) -> int:
    def say(line: str) -> None:
        print(line, flush=True)

    name, *command = arguments
    stages = STAGES[name]
    say(f"==> {len(stages)} stages; all of them take {DURATION[name]}")
    return Stages(command, stages).run(say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
