"""A port under test: a process that answers one JSON object per line with another.

Theory.  The port is not to be trusted with anything: it may be missing, die, hang, babble,
or answer something else than it was asked.  Each of those becomes a `PortFailure` with a
`kind`, within the time allowed, and never an exception of ours.  So a thread reads its
output, and whoever waits for an answer waits for that thread, with a deadline.

Requests are written ahead, up to `WINDOW` of them, for most of the time of a request is
spent on switching between two processes.  The window is small enough for the pipe to
hold it, so writing does not block on a port that does not read.

What an answer means is not known here (`conform.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

import attrs

from pool.check.encoding import Json, parse

PROTOCOL = 1
SPEC = "1.0"
WINDOW = 24
STARTING = 4
"""So many times the time of an answer a port may take to start and greet."""

LONGEST_LINE = 4_000_000


class PortFailure(Exception):
    """The port cannot be talked to any more; `kind` says why in a word.

    `start`: it cannot be run. `crash`: it ended. `hang`: no answer in time. `rubbish`: not a JSON
    object on a line. `order`: the answer to something else. `handshake`: it speaks another
    protocol or specification."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@attrs.frozen
class Hello:
    """What a port says of itself."""

    port: str
    events: tuple[str, ...]
    openers: tuple[str, ...]


class Port:
    """A running port. Not thread-safe. Use as a context manager, or `close` it."""

    def __init__(self, command: Sequence[str], timeout: float = 5.0) -> None:
        self.command = list(command)
        self.timeout = timeout
        self.sent = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.complaints: IO[bytes] | None = None
        self.greeting: Hello | None = None

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ its life

    def start(self) -> Hello:
        """Run it and shake hands. Raises `PortFailure`; does nothing if it runs."""
        if self.greeting is not None and self.process is not None:
            return self.greeting
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close
        self.answers = queue.Queue(maxsize=4 * WINDOW)
        self.sent = 0
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.complaints,
                start_new_session=True,  # a Ctrl-C is for us
            )
        except (OSError, ValueError) as error:
            self.close()
            raise PortFailure("start", f"{self.command[0]}: {error}") from None
        reader = threading.Thread(
            target=_read, args=(self.process.stdout, self.answers), daemon=True
        )
        reader.start()
        try:
            self._write(iter([{"id": 1, "command": "hello", "protocol": PROTOCOL, "spec": SPEC}]))
            answer = self._answer(1, STARTING * self.timeout)
            self.greeting = _hello(answer)
        except PortFailure:
            self.close()
            raise
        return self.greeting

    def close(self) -> None:
        """End it, whatever it does."""
        process, self.process, self.greeting = self.process, None, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # a shell's children, too
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            while _take(self.answers, 1.0):  # the reader may be waiting for room
                pass
        if self.complaints is not None:
            self.complaints.close()
            self.complaints = None

    def stop(self) -> None:
        """Ask it to end, as it should be able to. Raises `PortFailure`."""
        process = self.process
        if process is None:
            return
        answer = self.ask({"command": "stop"})
        if answer.get("stopped") is not True:
            raise PortFailure("rubbish", f"the answer to stop is {json.dumps(answer)[:200]}")
        try:
            status = process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise PortFailure("hang", f"it still runs {self.timeout:g} s after stop") from None
        if status:
            raise PortFailure("crash", f"after stop it ended {self._status(status)}")

    # ------------------------------------------------------------ asking

    def ask(self, request: Json) -> Json:
        """One request and its answer. Raises `PortFailure`."""
        return next(self.ask_all([request]))

    def ask_all(self, requests: Sequence[Json]) -> Iterator[Json]:
        """The answers, in order. Take them all. Raises `PortFailure` at the first that is none."""
        first = self.sent + 1
        written = 0
        for number in range(len(requests)):
            if written - number < WINDOW // 2:
                ahead = requests[written : number + WINDOW]
                self._write(
                    {"id": first + written + place, **request}
                    for place, request in enumerate(ahead)
                )
                written += len(ahead)
            yield self._answer(first + number, self.timeout)

    def _write(self, requests: Iterator[Json]) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        lines = [json.dumps(request, separators=(",", ":")) + "\n" for request in requests]
        self.sent += len(lines)
        with contextlib.suppress(OSError):  # the answer that will not come says it better
            self.process.stdin.write("".join(lines).encode())
            self.process.stdin.flush()

    def _answer(self, number: int, timeout: float) -> Json:
        line = _take(self.answers, timeout)
        if line is None:
            raise self._failure("hang", f"no answer within {timeout:g} s")
        if not line:
            assert self.process is not None
            try:
                status = self.process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                raise self._failure("crash", "it closed its standard output") from None
            raise self._failure("crash", f"it ended {self._status(status)}")
        shown = line[:200].decode(errors="backslashreplace").rstrip("\n")
        if not line.endswith(b"\n"):
            raise self._failure("rubbish", f"not a whole line: {shown}")
        try:
            answer = parse(line)
        except (ValueError, RecursionError) as error:
            raise self._failure("rubbish", f"not JSON ({error}): {shown}") from None
        if not isinstance(answer, dict):
            raise self._failure("rubbish", f"not a JSON object: {shown}")
        if answer.get("id") != number or isinstance(answer.get("id"), bool):
            wrong = f"asked was {number}, the answer is to {answer.get('id')!r}: {shown}"
            raise self._failure("order", wrong)
        return answer

    def _failure(self, kind: str, why: str) -> PortFailure:
        """The failure, with the last words of the port; it is then ended."""
        words = self._last_words()
        self.close()
        return PortFailure(kind, f"{why}\n{words}" if words else why)

    def _last_words(self, lines: int = 8) -> str:
        if self.complaints is None:
            return ""
        size = self.complaints.seek(0, 2)
        self.complaints.seek(max(0, size - 4000))
        said = self.complaints.read().decode(errors="replace").strip().splitlines()
        return "\n".join(f"stderr: {line[:200]}" for line in said[-lines:])

    @staticmethod
    def _status(status: int) -> str:
        if status >= 0:
            return f"with status {status}"
        try:
            return f"by signal {signal.Signals(-status).name}"
        except ValueError:
            return f"by signal {-status}"


def _read(output: IO[bytes], answers: queue.Queue[bytes]) -> None:
    """In a thread: every line, and at the end an empty one."""
    with contextlib.suppress(OSError, ValueError), output:
        while line := output.readline(LONGEST_LINE):
            answers.put(line)
    answers.put(b"")


def _take(answers: queue.Queue[bytes], timeout: float) -> bytes | None:
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        return None


def _hello(answer: Json) -> Hello:
    """The answer to hello, checked. Raises `PortFailure`."""
    for name, ours in (("protocol", PROTOCOL), ("spec", SPEC)):
        theirs: Any = answer.get(name)
        if theirs != ours:
            why = f"{name}: this runner has {ours!r}, the port {theirs!r}"
            error = answer.get("error")
            raise PortFailure("handshake", f"{why}: {error}" if error else why)
    lists = []
    for name in ("events", "openers"):
        names = answer.get(name)
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise PortFailure("handshake", f"{name}: a list of texts is wanted, not {names!r}")
        lists.append(tuple(names))
    return Hello(str(answer.get("port", "a port without a name")), *lists)
