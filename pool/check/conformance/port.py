"""A port under test: a process that answers one JSON object per line with another.

Theory.  The port is not to be trusted with anything: it may be missing, die, hang, babble,
or answer something else than it was asked.  Each of those becomes a `PortFailure` with a
`kind`, within the time allowed, and never an exception of ours.  So each of its three pipes
has a thread of its own: the port may leave one full, another empty and the third open, and
whoever waits for an answer waits for a queue, with a deadline.  Of what it says on standard
error only the end is kept.

Whoever waits for a port looks every now and then whether a signal came, and raises `Stopped`: what
the port then says, or that it ended, means nothing any more.

Requests are written ahead, up to `WINDOW` of them, for most of the time of a request is
spent on switching between two processes.

What an answer means is not known here (`conform.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import attrs

from pool.check.conformance.encoding import Json, parse
from pool.check.explore.configurations import EVENTS
from pool.check.interrupts import PATIENCE, at_once, checkpoint

PROTOCOL = 1
SPEC = "1.0"
WINDOW = 24
STARTING = 4
"""So many times the time of an answer a port may take to start and greet."""

ANSWERING = 20.0
"""Seconds that an answer may take, if not told otherwise. It takes milliseconds; but on a busy
machine a process may wait long for a core, and a port is not wrong for that."""
BUSY = "if the machine is busy, allow more with --timeout"

LONGEST_LINE = 4_000_000
DEEPEST = 100
OPENERS = ("caller", "background")


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

    def __init__(self, command: Sequence[str], timeout: float = ANSWERING) -> None:
        self.command = list(command)
        self.timeout = timeout
        self.sent = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.complaints: deque[bytes] = deque(maxlen=2)
        self.readers: list[threading.Thread] = []
        self.greeting: Hello | None = None

    def __enter__(self) -> Port:
        self._ends = contextlib.ExitStack()
        self._ends.enter_context(at_once(self._kill))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._ends.close()

    # ------------------------------------------------------------ its life

    def start(self) -> Hello:
        """Run it and shake hands. Raises `PortFailure`; does nothing if it runs."""
        if self.greeting is not None and self.process is not None:
            return self.greeting
        self.requests = queue.SimpleQueue()
        self.answers = queue.Queue(maxsize=4 * WINDOW)
        self.complaints = deque(maxlen=2)
        self.sent = 0
        checkpoint()  # after a first signal nothing begins that a second one would have to end
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is for us
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise PortFailure("start", f"{self.command[0] or 'no command'}: {why}") from None
        _in_a_thread(_feed, self.process.stdin, self.requests)
        self.readers = [
            _in_a_thread(_read, self.process.stdout, self.answers),
            _in_a_thread(_listen, self.process.stderr, self.complaints),
        ]
        try:
            self._write(iter([{"id": 1, "command": "hello", "protocol": PROTOCOL, "spec": SPEC}]))
            answer = self._answer(1, STARTING * self.timeout)
            self.greeting = _hello(answer)
        except PortFailure:
            self.close()
            raise
        return self.greeting

    def close(self) -> None:
        """End it, whatever it does, and what it has started."""
        self._kill()
        process, self.process, self.greeting = self.process, None, None
        if process is None:
            return
        process.wait()
        self.requests.put(None)
        deadline = time.monotonic() + 1.0  # for what left its session may hold its output open
        for thread in self.readers:
            while thread.is_alive() and time.monotonic() < deadline:
                _take(self.answers, 0.0)  # it may be waiting for room
                thread.join(0.01)

    def _kill(self) -> None:
        """Its group, which outlives it: what it has started may still run."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def stop(self) -> None:
        """Ask it to end, as it should be able to. Raises `PortFailure`."""
        process = self.process
        if process is None:
            return
        answer = self.ask({"command": "stop"})
        if answer.get("stopped") is not True:
            raise PortFailure("rubbish", f"the answer to stop is {json.dumps(answer)[:200]}")
        status = _ended(process, self.timeout)
        if status is None:
            raise PortFailure("hang", f"it still runs {self.timeout:g} s after stop; {BUSY}")
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
        lines = [json.dumps(request, separators=(",", ":")) + "\n" for request in requests]
        self.sent += len(lines)
        self.requests.put("".join(lines).encode())

    def _answer(self, number: int, timeout: float) -> Json:
        assert self.process is not None
        line = _wait(self.answers, timeout)
        if line is None and self.process.poll() is None:
            raise self._failure("hang", f"no answer within {timeout:g} s; {BUSY}")
        if not line:
            status = _ended(self.process, self.timeout)
            if status is None:
                raise self._failure("crash", "it closed its standard output")
            raise self._failure("crash", f"it ended {self._status(status)}")
        shown = line[:200].decode(errors="backslashreplace").rstrip("\n")
        if not line.endswith(b"\n"):
            raise self._failure("rubbish", f"not a whole line: {shown}")
        try:
            answer = parse(line)
            _check_that_it_can_be_shown(answer, line)
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
        self.close()
        said = b"".join(self.complaints)[-4000:].decode(errors="replace").strip().splitlines()
        words = [f"stderr: {line[:200]}" for line in said[-8:]]
        return PortFailure(kind, "\n".join([why, *words]))

    @staticmethod
    def _status(status: int) -> str:
        if status >= 0:
            return f"with status {status}"
        try:
            return f"by signal {signal.Signals(-status).name}"
        except ValueError:
            return f"by signal {-status}"


def _in_a_thread(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def _feed(requests: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    """In a thread: write all that comes; the answer that does not come says what is wrong."""
    with contextlib.suppress(OSError, ValueError), requests:
        while (line := lines.get()) is not None:
            requests.write(line)
            requests.flush()


def _listen(complaints: IO[bytes], kept: deque[bytes]) -> None:
    """In a thread: what it says on standard error."""
    with contextlib.suppress(OSError, ValueError), complaints:
        while said := os.read(complaints.fileno(), 4096):
            kept.append(said)


def _read(output: IO[bytes], answers: queue.Queue[bytes]) -> None:
    """In a thread: every line, and at the end an empty one."""
    with contextlib.suppress(OSError, ValueError), output:
        while line := output.readline(LONGEST_LINE):
            answers.put(line)
    answers.put(b"")


def _wait(answers: queue.Queue[bytes], timeout: float) -> bytes | None:
    """The next answer; None: it did not come in time. Raises `Stopped`."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        answer = _take(answers, min(left, PATIENCE))
        checkpoint()
        if answer is not None or left <= PATIENCE:
            return answer


def _ended(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """The status of a process once it has ended; None: it still runs. Raises `Stopped`."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(max(0.0, min(left, PATIENCE)))
        checkpoint()
        if left <= PATIENCE:
            return None


def _take(answers: queue.Queue[bytes], timeout: float) -> bytes | None:
    try:
        return answers.get(timeout > 0, timeout)
    except queue.Empty:
        return None


def _check_that_it_can_be_shown(answer: Any, line: bytes) -> None:
    """Half of a surrogate pair is no text; what is nested deeply is too much for JSON's writer."""
    if b"\\u" in line:
        json.dumps(answer, ensure_ascii=False).encode()
    if line.count(b"[") + line.count(b"{") > DEEPEST:
        parts = [answer]
        for _ in range(DEEPEST):
            lists = [part for part in parts if isinstance(part, list)]
            lists += [list(part.values()) for part in parts if isinstance(part, dict)]
            parts = [part for one in lists for part in one]
        if parts:
            raise ValueError("it is nested too deeply")


def _hello(answer: Json) -> Hello:
    """The answer to hello, checked. Raises `PortFailure`."""
    for name, ours in (("protocol", PROTOCOL), ("spec", SPEC)):
        theirs: Any = answer.get(name)
        if theirs != ours:
            why = f"{name}: this runner has {ours!r}, the port {theirs!r:.100}"
            error = answer.get("error")
            raise PortFailure("handshake", f"{why}: {error!s:.400}" if error else why)
    lists = []
    for name, all_names in (("events", EVENTS), ("openers", OPENERS)):
        names = answer.get(name)
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise PortFailure("handshake", f"{name}: a list of texts is wanted, not {names!r:.100}")
        if strange := [one for one in names if one not in all_names]:
            known = ", ".join(all_names)
            raise PortFailure(
                "handshake", f"{name}: there is no {strange[0]!r:.100}; there are {known}"
            )
        lists.append(tuple(names))
    if not lists[1]:
        raise PortFailure("handshake", "openers: there must be one; caller is the easier one")
    return Hello(str(answer.get("port", "a port without a name")), *lists)
