"""Scripted drivers, and the few helpers that every test with threads needs.

Theory.  A test with threads must not hope for an order, it has to make one.  So a driver here
does nothing by itself: each of its hooks first runs a script that the test put there, and a script
usually is a `Gate`, where the caller stands until the test opens it.  Nobody sleeps to let
something happen: `until` looks again and again until it has, and fails after `PATIENCE`.

Connections are plain objects that know whether they were closed, and how often.  A driver that is
asked for anything on a closed connection says so in `mistakes`, where the test looks at the end.

`watch` puts the invariants of the specification behind a running pool: each of its transitions is
checked as it happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import logging
import os
import random
import signal
import sys
import sysconfig
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pool import INVARIANTS, STEP_INVARIANTS, Tick
from pool.core import waiters
from pool.core.state import leased, resting
from pool.record.recorder import runtime_of
from pool.threads.driver import Sync
from pool.threads.runtime import Runtime
from tests.integration import processes

ROOT = Path(__file__).resolve().parents[2]

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
"""Whether this interpreter was built to run without a GIL. What a thread drops that another made
goes later there: when that one comes to it, in the middle of anything."""

PATIENCE = 60.0
"""Seconds until a test gives up on what ought to happen at once. Never what a test takes, and never
what tells right from wrong: on a busy machine everything takes many times as long."""

FOR_EVER = 1000.0
"""A timeout for waiters that are to be woken: nobody in these tests may ever get that far."""


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Look until `condition` holds; `AssertionError` if it does not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.0005)


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """What is in this block comes to an end, and not by running out of `PATIENCE`.

    No stop-watch: to tell a wait that ends with its own timeout from one for something else, let
    that something never come, or after `FOR_EVER`."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < PATIENCE / 2, "it did not come to an end by itself"


class Gate:
    """Whoever calls it stands there until it is open. Made closed."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a child process: the locks may have been held by another thread as it was forked."""
        self.standing = 0
        """How many stand at it right now."""
        self.arrived = 0
        """How many ever came."""
        self._lock = threading.Lock()
        self._closed = threading.Lock()  # no event: a signal finds that in the middle of something
        self._closed.acquire()

    def __call__(self, *_: Any) -> None:
        with self._lock:
            self.arrived += 1
            self.standing += 1
        try:
            assert self._closed.acquire(timeout=PATIENCE), "nobody opened the gate"
            self.open()  # for the next
        finally:
            with self._lock:
                self.standing -= 1

    def open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is open
            self._closed.release()


class Call(threading.Thread):
    """A function at work on a thread of its own, which keeps its result or its error.

    Errors are kept without their traceback: that would keep the frames, and what they hold."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._arguments = arguments
        self.value: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self._function(*self._arguments)
        except BaseException as error:
            error.__context__ = None
            self.error = error.with_traceback(None)
        finally:
            del self._function, self._arguments

    def result(self, seconds: float = PATIENCE) -> Any:
        """What the function returned, or its error, raised."""
        self.join(seconds)
        assert not self.is_alive(), "the call did not come back in time"
        if self.error is not None:
            raise self.error
        return self.value


class Connection:
    """A connection of a scripted driver."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.alive = True
        self.closed = 0
        """How often it was closed."""

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class Clock(Sync):
    """Threads as they are, and a clock that only the test turns."""

    now = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return self.now


def nothing(*_: Any) -> None:
    """The script of a hook that just works."""


class ScriptedDriver:
    """A driver for `Runtime`. Each hook first runs its script, with the connection if there is
    one; what the script raises, the hook raises. What the script of `is_alive` or `reset`
    returns is the answer, if it is not None."""

    def __init__(self) -> None:
        self.on_connect: Callable[..., Any] = nothing
        self.on_alive: Callable[..., Any] = nothing
        self.on_reset: Callable[..., Any] = nothing
        self.on_close: Callable[..., Any] = nothing
        self.opened: list[Connection] = []
        self.mistakes: list[str] = []
        self._numbers = itertools.count(1)

    def connect(self) -> Connection:
        self.on_connect()
        connection = Connection(next(self._numbers))
        self.opened.append(connection)
        return connection

    def is_alive(self, connection: Connection) -> bool:
        self._ought_to_be_open(connection, "asked whether it is alive")
        answer = self.on_alive(connection)
        return connection.alive if answer is None else bool(answer)

    def reset(self, connection: Connection) -> bool:
        answer = self.on_reset(connection)
        return connection.alive if answer is None else bool(answer)

    def close(self, connection: Connection) -> None:
        self._ought_to_be_open(connection, "closed")
        connection.closed += 1
        connection.alive = False
        self.on_close(connection)

    def _ought_to_be_open(self, connection: Connection, what: str) -> None:
        if connection.closed:
            self.mistakes.append(f"{connection} was {what} after it had been closed")

    @property
    def closed(self) -> list[Connection]:
        return [connection for connection in self.opened if connection.closed]


def watch(runtime: Runtime) -> list[str]:
    """Check each transition from now on. The list gets what was broken, and must stay empty."""
    broken: list[str] = []
    plain_step = runtime.step

    def checked_step(before: Any, event: Any) -> Any:
        after, effects = plain_step(before, event)
        names = [name for name, holds in INVARIANTS.items() if not holds(after)]
        names += [
            name
            for name, holds in STEP_INVARIANTS.items()
            if not holds(before, event, effects, after)
        ]
        broken.extend(f"{name} after {event!r}" for name in names)
        return after, effects

    runtime.step = checked_step  # type: ignore[method-assign]
    return broken


def waiting(pool: Any) -> int:
    """How many callers are parked in the queue."""
    return waiters.size(runtime_of(pool).state.waiters)


def idle(pool: Any) -> list[Any]:
    """The idle connections, in the order they would be lent."""
    return [item.entry.connection for item in sorted(resting(runtime_of(pool).state.idle))]


def noted(runtime: Any) -> list[Any]:
    """Each event of this runtime from now on."""
    seen, step = list[Any](), runtime.step

    def noting(state: Any, event: Any) -> Any:
        seen.append(event)
        return step(state, event)

    runtime.step = noting
    return seen


def lent(pool: Any) -> list[Any]:
    """The connections in use."""
    return [lease.entry.connection for lease in leased(runtime_of(pool).state.in_use).values()]


def park(pool: Any, function: Callable[..., Any], *arguments: Any) -> Call:
    """Start a call that has to wait in the queue; back when it stands there."""
    before = waiting(pool)
    call = Call(function, *arguments)
    until(lambda: waiting(pool) == before + 1)
    return call


def settle(pool: Any) -> None:
    """What lost handles left to do is done by whoever uses the pool next: here, us."""
    runtime = runtime_of(pool)

    def is_settled() -> bool:
        runtime.apply(Tick(runtime.clock()))
        if runtime.helpers is not None and runtime.state.opening:
            return False  # theirs, and nobody's: it ends by itself
        return not (runtime.monitor.jobs or runtime.monitor.inbox)

    until(is_settled)


def assert_sound(pool: Any) -> None:
    """Nobody waits, nothing is under way, no job is left over, and every invariant holds."""
    runtime = runtime_of(pool)
    settle(pool)
    state = runtime.state
    assert [name for name, holds in INVARIANTS.items() if not holds(state)] == []
    assert waiting(pool) == 0
    assert state.opening == 0
    assert not runtime.monitor.jobs
    assert not runtime.monitor.inbox
    assert not runtime.monitor.cells


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """An asynchronous exception: it is raised in that thread before one of its next steps."""
    identity = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(error))


class Stop(BaseException):
    """Neither an error nor an interruption that anybody knows."""


class Thrown(BaseException):
    """What `Storm` throws."""


def raising(error: BaseException) -> Callable[..., None]:
    """A script that always raises this error."""

    def script(*_: Any) -> None:
        raise error

    return script


class Storm:
    """Throws asynchronous exceptions at a thread, one at a time, at whatever it is doing.

    The thread runs `endure(work)`, which calls `work` again and again, whatever was thrown. One
    that strikes in a finalizer ends there, as the interpreter has it; `weather` counts it too."""

    victims: dict[int, Storm] = {}  # noqa: RUF012  # by thread, for all of them

    def __init__(self) -> None:
        self.begun = False  # no `Event`: setting one is not proof against what is thrown here
        self.over = threading.Event()
        self.arrived = 0
        """How many have arrived."""
        self.struck = 0
        """The same, said by the thread when it is ready for the next one."""

    def endure(self, work: Callable[[], Any]) -> None:
        self.victims[threading.get_ident()] = self
        while not self.over.is_set():
            try:
                self._work_on(work)
            except Thrown:
                self.arrived += 1
        del self.victims[threading.get_ident()]

    def _work_on(self, work: Callable[[], Any]) -> None:
        # In a frame of its own: not every jump of a loop within a `try` is covered by it.
        while not self.over.is_set():
            self.struck = self.arrived
            self.begun = True
            work()

    def strike(self, thread: threading.Thread, times: int) -> None:
        """Throw so many; back when each has arrived, and `endure` has ended."""
        pause = random.Random(times)
        until(lambda: self.begun)
        try:
            for number in range(times):
                for _ in range(pause.randrange(400)):
                    pass
                raise_in(thread, Thrown)
                until(lambda number=number: self.struck > number)
        finally:
            self.over.set()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the thread that was struck did not come back"


def newborn(ignored: Any) -> bool:
    """Whether this is a thread that ended before it ran anything of ours: in the standard library's
    own first lines, because an exception struck `Thread.start` of the one who started it, with
    the new thread's lock in hand. From Python 3.11 on it then also fails to strike itself off a
    list it is not on yet."""
    frames = traceback.extract_tb(ignored.exc_traceback)
    kind, where = (KeyError, "_delete") if sys.version_info >= (3, 11) else (RuntimeError, "set")
    return (
        ignored.exc_type is kind
        and [frame.name for frame in frames[:3]] == ["_bootstrap", "_bootstrap_inner", where]
        and {frame.filename for frame in frames} == {threading.__file__}
    )


@contextlib.contextmanager
def weather(forgiven: Callable[[Any], bool] = lambda ignored: False) -> Iterator[None]:
    """For storms: threads change places often, and what strikes in a finalizer is counted.
    Whatever else nobody could catch is raised at the end, but what is forgiven.

    The pool's logger says nothing meanwhile: `logging` takes the lock of a handler outside its
    `try`, and an exception right there leaves it locked. Whoever logs after that, in any test,
    hangs."""
    before = sys.unraisablehook
    logger = logging.getLogger("pool")
    was_disabled, logger.disabled = logger.disabled, True
    others: list[Any] = []

    def count(ignored: Any) -> None:
        storm = Storm.victims.get(threading.get_ident())
        if storm is not None and ignored.exc_type is Thrown:
            storm.arrived += 1
        elif not forgiven(ignored):
            others.append((ignored.exc_value, ignored.exc_traceback))

    sys.unraisablehook = count
    try:
        with switching_often():
            yield
    finally:
        logger.disabled = was_disabled
        sys.unraisablehook = before
    for error, trace in others:
        raise error.with_traceback(trace)


def run_script(source: str, *arguments: str) -> str:
    """Run a script in an interpreter of its own: what it printed. It must end well, and
    silently on stderr."""
    done = processes.run(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}: {done.stderr}"
    return str(done.stdout)


def in_child(function: Callable[[], Any], seconds: float = PATIENCE) -> str:
    """Fork, run `function` in the child, and return the text of what it returned there.

    The child leaves by `os._exit`: no test framework, no buffer of the parent's is run twice. One
    that hangs is ended by the system, even where its parent, or the parent of that, is gone."""
    reader, writer = os.pipe()
    child = fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(round(seconds) + 1)
            os.close(reader)
            try:
                text = str(function())
                status = 0
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(writer, text.encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        ended = Call(os.waitpid, child, 0)
        try:
            _, status = ended.result(seconds)
        except AssertionError:
            os.kill(child, 9)
            raise
        text = pipe.read().decode()
    assert status == 0, f"the child failed: {text or 'it said nothing'}"
    return text


class _Cycle:
    def __init__(self) -> None:
        self.me = self


def nobody_collects() -> bool:
    """Whether no other thread is in the middle of a collection, in a finalizer that waits."""
    cycle = weakref.ref(_Cycle())
    gc.collect(0)
    return cycle() is None


def fork() -> int:
    """`os.fork`, without the warning of Python 3.12 and later about threads: that they exist, and
    what becomes of them, is what these tests are about. Not while another thread collects garbage:
    in the child that collection would never end, and another never begin."""
    import warnings

    automatic = gc.isenabled()
    gc.disable()
    try:
        until(nobody_collects)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*multi-threaded, use of fork.*", category=DeprecationWarning
            )
            return os.fork()
    finally:
        if automatic:
            gc.enable()


@contextlib.contextmanager
def switching_often() -> Iterator[None]:
    """Threads change places as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
