"""A world of threads in which nothing happens by itself: locks, a clock, and who goes on.

Theory.  A threaded program whose threads meet only at locks can be run on one thread: each of
its threads is a greenlet, which stops at what it does to a lock, and somebody outside
chooses who goes on: all orders, one after the other (`orders.py`), or one at random
(`machines/runtime.py`).  The runtime takes its locks, its clock and its threads from a `sync`
namespace; here it is a `World`.

* Before a lock is taken, blocking or not, any other thread may come first.  That is enough where
  what is shared is touched under a lock only.  In a `fine` world others may also come before a
  lock is given back by the one who took it, so that they see it held, and after it: then whatever
  is done without a lock (the inbox of lost handles, the reading of an answer) lies between two
  such points.  A lock that nobody else can know yet is taken without ado.
* A wait with a deadline can also end by time, even if the lock is free by then: so it is with
  the system's locks.  Time stands still, except that it then jumps to the deadline.
* An asynchronous exception can be thrown at every such point, but not just before a lock is given
  back: there the interpreter throws none.

What it refuses to know: the pool.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, Literal

import attrs
from greenlet import GreenletExit, getcurrent, greenlet

How = Literal["go", "timeout", "interrupt"]
Choice = tuple[int, How]
"""Which thread, and how: `go` on, have its wait end by `timeout`, or be interrupted."""

MOST_STEPS = 20_000
"""Steps of one run after which it is said never to end."""


class Interrupted(BaseException):
    """What is thrown into a thread: like `KeyboardInterrupt`, not an `Exception`."""


class Violated(AssertionError):
    """A promise was broken: `promise` is its name."""

    def __init__(self, promise: str, detail: str) -> None:
        self.promise = promise
        super().__init__(f"{promise}: {detail}")


@attrs.define(eq=False)
class Thread:
    """A thread of a world, and where it stands."""

    number: int
    name: str
    daemon: bool
    """Its end is not waited for."""
    interruptible: bool
    greenlet: Any = None
    at: str = "start"
    """`acquire`, `try`, `release`: about to; `released`: just now; `pause`: elsewhere."""
    lock: Lock | None = None
    deadline: float | None = None
    frames: tuple[FrameType, ...] = ()
    done: bool = False
    error: BaseException | None = None

    def __str__(self) -> str:
        until = "" if self.deadline is None else f" until {self.deadline:g}"
        lock = "" if self.lock is None else f" {self.lock}"
        return f"{self.name}: {self.at}{lock}{until}"


class Lock:
    """A primitive lock of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.maker = world.current
        self.holder: Thread | None = None
        self.is_held = False
        self.is_new = True

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        world = self.world
        if world.is_dead and not blocking:
            return False
        deadline = world.now + timeout if timeout >= 0 else None
        if self.is_new and self.maker is world.current:
            pass  # only we know it
        elif world.point("acquire" if blocking else "try", self, deadline) == "timeout":
            return False
        if self.is_held and not blocking:
            return False
        if self.is_held:
            raise Violated("Deadlock", "nobody is left who could give this lock back")
        self.is_held, self.holder, self.is_new = True, world.current, False
        return True

    def release(self) -> None:
        world = self.world
        if world.fine and self.holder is world.current:
            world.point("release", self)
        if not self.is_held and not world.is_dead:
            raise RuntimeError("release unlocked lock")
        self.is_held, self.holder = False, None
        if world.fine:
            world.point("released", self)

    def locked(self) -> bool:
        return self.is_held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __str__(self) -> str:
        maker = "a lock" if self.maker is None else f"a lock of {self.maker.name}"
        return f"{maker}, {'held' if self.is_held else 'free'}"


class ReentrantLock(Lock):
    """One that its owner may take again. Nobody else can tell: it is no point of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.depth = 0

    def _is_owned(self) -> bool:
        return self.is_held and self.holder is self.world.current

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._is_owned() and not super().acquire(blocking, timeout):
            return False
        self.depth += 1
        return True

    def release(self) -> None:
        if self.depth == 1:
            self.depth = 0
            super().release()
        else:
            self.depth -= 1


class World:
    """Threads, their locks, and the time; and the `sync` namespace of a runtime in it.

    Whoever makes it is its hub: what the hub itself does is not scheduled. `fine`: others may come
    first also before and after a lock is given back."""

    def __init__(self, *, fine: bool = True) -> None:
        self.fine = fine
        self.now = 0.0
        self.threads: list[Thread] = []
        self.current: Thread | None = None
        self.interrupts = 0
        """How many more exceptions may be thrown."""
        self.last: Thread | None = None
        self.failure: Violated | None = None
        self._hub = getcurrent()
        self.is_dead = False
        """It was abandoned: its threads are being ended, and its locks mean nothing."""

    # ------------------------------------------------------------ the namespace

    def lock(self) -> Lock:
        return Lock(self)

    def rlock(self) -> Lock:
        return ReentrantLock(self)

    def ident(self) -> Any:
        return self.current

    def monotonic(self) -> float:
        return self.now

    def is_waited_for(self) -> bool:
        return False

    def start(self, target: Callable[[], object], name: str) -> None:
        """A helper's thread."""
        self.spawn(target, name, daemon=True)

    # ------------------------------------------------------------ threads

    def fail(self, promise: str, detail: str) -> None:
        """Say that a promise was broken; what is raised may be caught on its way, or ignored."""
        if not self.is_dead:
            self.failure = self.failure or Violated(promise, detail)
            raise self.failure

    def begin(self) -> None:
        """Let every thread come to its first point, where nobody has seen anything of it."""
        for thread in self.threads:
            if thread.at == "start":
                self.take((thread.number, "go"))
        self.last = None

    def spawn(
        self,
        target: Callable[[], object],
        name: str,
        *,
        daemon: bool = False,
        interruptible: bool = False,
    ) -> Thread:
        """A new thread, which stands at its start."""
        thread = Thread(len(self.threads), name, daemon, interruptible)
        thread.greenlet = greenlet(lambda _: self._live(thread, target), self._hub)
        self.threads.append(thread)
        return thread

    def _live(self, thread: Thread, target: Callable[[], object]) -> None:
        try:
            target()
        except BaseException as error:
            thread.error = _pressed(error) or (None if type(error) is GreenletExit else error)
        thread.done = True

    def point(self, at: str, lock: Lock | None = None, deadline: float | None = None) -> How:
        """Stand here until the scheduler says how to go on."""
        thread = self.current
        if self.is_dead and at == "acquire":
            raise GreenletExit
        if thread is None or self.is_dead:
            return "go"
        thread.at, thread.lock, thread.deadline = at, lock, deadline
        thread.frames = tuple(_stack(sys._getframe(1)))
        try:
            how: How | Literal["end"] = self._hub.switch()
        finally:
            thread.frames = ()
        if how == "end":
            raise GreenletExit
        if how == "interrupt":
            raise Interrupted
        return how

    def pause(self) -> None:
        """Something that takes time and touches nothing: a driver at work."""
        self.point("pause")

    def options(self) -> list[Choice]:
        """What can happen next, the thread that ran last first."""
        threads = [thread for thread in self.threads if not thread.done]
        threads.sort(key=lambda thread: thread is not self.last)
        return [(thread.number, how) for thread in threads for how in self._ways(thread)]

    def _ways(self, thread: Thread) -> Iterator[How]:
        lock = thread.lock
        if thread.at != "acquire" or lock is None or not lock.is_held:
            yield "go"
        if thread.deadline is not None:
            yield "timeout"
        if self.interrupts and thread.interruptible and thread.at not in ("start", "release"):
            yield "interrupt"

    def take(self, choice: Choice) -> None:
        """Let a thread go on to its next point, or to its end."""
        number, how = choice
        thread = self.last = self.current = self.threads[number]
        if how == "timeout":
            assert thread.deadline is not None
            self.now = max(self.now, thread.deadline)
        self.interrupts -= how == "interrupt"
        try:
            thread.greenlet.switch(how)
        finally:
            self.current = None
        if self.failure is not None:
            raise self.failure
        if isinstance(thread.error, KeyboardInterrupt):
            raise thread.error

    def settle(self) -> None:
        """Let whoever can go on do so, first come first; time passes only for helpers, while
        others wait for them. Nobody is interrupted."""
        for _ in range(MOST_STEPS):
            options = self.options()
            choices = [choice for choice in options if choice[1] == "go"]
            if not choices and self.stuck():
                choices = [(n, how) for n, how in options if self.threads[n].daemon]
            if not choices:
                return
            self.take(choices[0])
        self.fail("Livelock", f"still not done after {MOST_STEPS:,} steps")

    def abandon(self) -> None:
        """End every thread."""
        self.is_dead = True
        for thread in self.threads:
            if thread.done:
                continue
            if thread.at == "start":
                thread.greenlet.throw(GreenletExit)
            else:
                thread.greenlet.switch("end")
        pressed = any(isinstance(thread.error, KeyboardInterrupt) for thread in self.threads)
        for thread in self.threads:
            thread.error = None  # a traceback keeps all of this
        if pressed:
            raise KeyboardInterrupt

    def stuck(self) -> list[Thread]:
        """Who is not done, of those whose end is waited for."""
        return [thread for thread in self.threads if not (thread.done or thread.daemon)]

    # ------------------------------------------------------------ where all of it stands

    def key(self, freeze: Freeze) -> Hashable:
        """The time, and of each thread where it stands."""
        return self.now, self.interrupts, *(_place(thread, freeze) for thread in self.threads)


def _pressed(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that somebody was about to tell of, when it was ended."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


Freeze = Callable[[Any], Hashable]


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None and frame.f_code is not _ROOT:
        yield frame
        frame = frame.f_back


_ROOT: CodeType = World._live.__code__


def _place(thread: Thread, freeze: Freeze) -> Hashable:
    if thread.done:
        return type(thread.error).__name__
    frames = tuple(
        (id(frame.f_code), frame.f_lasti, *_inside(frame, freeze)) for frame in thread.frames
    )
    return thread.at, freeze(thread.lock), thread.deadline, frames


def _inside(frame: FrameType, freeze: Freeze) -> Iterator[Hashable]:
    """What is in a frame of the pool. The frames of those who use it are not looked into: before
    Python 3.13 that would keep alive what they let go of, as long as they run."""
    module = frame.f_globals["__name__"]
    if module.startswith("pool.") and not module.startswith("pool.check."):
        for name, value in sorted(frame.f_locals.items()):  # else in the order of being looked at
            yield name, freeze(value)


def frozen(value: Any, known: Mapping[type, Callable[[Any], Hashable]]) -> Hashable:
    """A value as what can be compared between two runs. Of what is neither plain data nor in
    `known`, only the class."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value  # type: ignore[no-any-return]
    if kind is Lock:
        return "lock", value.maker and value.maker.number, value.is_held
    if kind in known:
        return known[kind](value)
    if isinstance(value, (tuple, list, deque)):
        return (kind.__name__, *(frozen(item, known) for item in value))
    if isinstance(value, BaseException):
        return kind.__name__, str(value)
    return kind.__name__


class Collector:
    """Keeps the garbage collector out of a world: it comes at times of its own, and the finalizers
    and weak references of what it finds are steps that nobody chose. What no circle keeps goes at
    once all the same."""

    def __init__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def between_worlds(self) -> None:
        """Let it come now: to what is new, which is what the last worlds have left."""
        gc.collect(0)

    def close(self) -> None:
        """As it was before."""
        if self._was_enabled:
            gc.enable()


@contextlib.contextmanager
def quiet_finalizers(*kinds: type[BaseException]) -> Iterator[list[BaseException]]:
    """What is raised in a finalizer ends there, and the interpreter would print it: not what is
    thrown in a world, nor `kinds`. Gives the list of what ended so."""
    before = sys.unraisablehook
    known = (Interrupted, GreenletExit, Violated, KeyboardInterrupt, *kinds)
    ended: list[BaseException] = []

    def hook(ignored: Any) -> None:
        if isinstance(ignored.exc_value, known):
            ended.append(ignored.exc_value.with_traceback(None))
        else:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield ended
    finally:
        sys.unraisablehook = before
