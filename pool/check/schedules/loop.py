"""An event loop in which nothing happens by itself: callbacks, timers, answers, and who is next.

Theory.  A program of tasks is changed only between two callbacks, so all its runs can be had by
choosing, each time, which of the callbacks that are ready comes next, or which timer rings, or
which answer of the driver arrives, or which task is cancelled.  asyncio's own loop takes them in
the order in which they became ready; here every order is tried, of which that is one.  It stands
in the place of a `World` of threads (`scheduler.py`) before `orders.py`.

* Tasks and futures are those that asyncio has in Python, so that what they wait for can be seen.
* Time stands still, and jumps to a timer that rings; of several the earliest rings first.
* Tasks may be eager: then one runs before whoever makes it knows it, up to where it first waits.
* A task can be cancelled at any time between two callbacks, `cancels` times in all: before what it
  waits for is there, in the same turn of the loop, and again while it cleans up.

What it refuses to know: the pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import weakref
from asyncio import futures, tasks
from collections.abc import Callable, Coroutine, Hashable, Iterator
from typing import Any

import attrs

from pool.check.schedules.scheduler import Choice, Freeze, Violated

PyFuture: Any = futures._PyFuture  # type: ignore[attr-defined]
PyTask: Any = tasks._PyTask  # type: ignore[attr-defined]


def _enter(loop: Any, task: Any) -> None:
    if sys.version_info >= (3, 14):
        tasks._py_enter_task(loop, task)
    tasks._enter_task(loop, task)


def _leave(loop: Any, task: Any) -> None:
    tasks._leave_task(loop, task)
    if sys.version_info >= (3, 14):
        tasks._py_leave_task(loop, task)


class _SeenTask(PyTask):  # type: ignore[misc]
    """From Python 3.14 on, `asyncio.current_task` knows a task that Python runs only if it is
    told."""

    def _Task__step(self, exc: BaseException | None = None) -> None:
        tasks._enter_task(self._loop, self)
        try:
            super()._Task__step(exc)
        finally:
            tasks._leave_task(self._loop, self)


MadeTask: Any = _SeenTask if sys.version_info >= (3, 14) else PyTask


@attrs.define(eq=False)
class Pause:
    """An answer of the driver that has not come yet."""

    what: str
    future: Any

    def __str__(self) -> str:
        return f"the driver: {self.what}"


@attrs.define(eq=False)
class Live:
    """A task of the program, whose end is waited for."""

    number: int
    name: str
    task: Any
    is_cancelled: bool = False
    """Somebody asked for it."""
    can_be_cancelled: bool = False

    @property
    def done(self) -> bool:
        return bool(self.task.done())

    @property
    def error(self) -> BaseException | None:
        if not self.done or self.task.cancelled():
            return None
        error: BaseException | None = self.task.exception()
        return error

    def __str__(self) -> str:
        return self.name


class LoopWorld(asyncio.AbstractEventLoop):
    """A loop, and what can happen next in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cancels = 0
        """How many more there may be."""
        self.again = False
        """A cancellation comes again wherever its task awaits something, as a scope of anyio sends
        it."""
        self.eager = False
        """Tasks begin where they are made (but for those of the program)."""
        self.ready: list[asyncio.Handle] = []
        self.timers: list[asyncio.TimerHandle] = []
        self.pauses: list[Pause] = []
        self.threads: list[Any] = []
        """What can be chosen, as text, by the number of the choice."""
        self.lives: list[Live] = []
        self.failure: Violated | None = None
        self.made = 0
        """Tasks so far."""
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._acts: list[Callable[[], None]] = []

    # ------------------------------------------------------------ what asyncio asks of a loop

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.timers.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return self.call_at(self.now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: Any) -> None:
        if handle in self.timers:
            self.timers.remove(handle)

    def create_future(self) -> Any:
        return PyFuture(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
        task = self._make(coro, name)
        if self.eager:
            self._begin(task, self.ready.pop())
        return task

    def _make(self, coro: Any, name: str | None) -> Any:
        task = MadeTask(coro, loop=self, name=name)
        task.made = self.made = self.made + 1
        self._made.add(task)
        return task

    def _begin(self, task: Any, first: asyncio.Handle) -> None:
        """As asyncio's own eager tasks from Python 3.12 on, within whichever task is at work."""
        current: Any = asyncio.current_task(self)
        if current is not None:
            _leave(self, current)
        try:
            first._run()
        finally:
            if current is not None:
                _enter(self, current)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Violated):
            self.failure = self.failure or error
        else:
            self.failure = self.failure or Violated("Raised", f"{context['message']}: {error!r}")

    # ------------------------------------------------------------ the program

    def fail(self, promise: str, detail: str) -> None:
        """Say that a promise was broken; what is raised may be caught on its way, or ignored."""
        self.failure = self.failure or Violated(promise, detail)
        raise self.failure

    def spawn(self, body: Coroutine[Any, Any, None], name: str, *, cancellable: bool) -> Live:
        """A task of the program."""
        task = self._make(body, name)
        live = Live(len(self.lives), name, task, can_be_cancelled=cancellable)
        self.lives.append(live)
        return live

    async def pause(self, what: str) -> None:
        """Something that takes time: a driver at work."""
        pause = Pause(what, self.create_future())
        self.pauses.append(pause)
        try:
            await pause.future
        finally:
            if pause in self.pauses:
                self.pauses.remove(pause)

    # ------------------------------------------------------------ what can happen next

    def options(self) -> list[Choice]:
        """What can happen next: a callback or an answer ("go"), a timer, a cancellation."""
        self.threads, self._acts = [], []
        choices: list[Choice] = []
        self.ready = [handle for handle in self.ready if not handle.cancelled()]
        for how, text, act in self._possible():
            choices.append((len(self.threads), how))  # type: ignore[arg-type]
            self.threads.append(text)
            self._acts.append(act)
        return choices

    def _possible(self) -> Iterator[tuple[str, Any, Callable[[], None]]]:
        for handle in self.ready:
            yield "go", handle, functools.partial(self._run, handle)
        for pause in self.pauses:
            if not pause.future.done():
                yield "go", pause, functools.partial(self._answer, pause)
        earliest = min((timer.when() for timer in self.timers), default=None)
        for timer in self.timers:
            if timer.when() == earliest:
                yield "timeout", timer, functools.partial(self._ring, timer)
        for live in self.lives:
            can_be = live.can_be_cancelled and not live.done
            if can_be and (self.cancels or self._comes_again(live)):
                yield "interrupt", live, functools.partial(self._cancel, live)

    def take(self, choice: Choice) -> None:
        asyncio._set_running_loop(self)
        try:
            self._acts[choice[0]]()
        finally:
            asyncio._set_running_loop(None)
        if self.failure is not None:
            raise self.failure

    def _run(self, handle: asyncio.Handle) -> None:
        self.ready.remove(handle)
        handle._run()

    def _answer(self, pause: Pause) -> None:
        self.pauses.remove(pause)
        pause.future.set_result(None)

    def _ring(self, timer: asyncio.TimerHandle) -> None:
        self.timers.remove(timer)
        self.now = max(self.now, timer.when())
        timer._run()

    def _comes_again(self, live: Live) -> bool:
        waits = live.task._fut_waiter
        return self.again and live.is_cancelled and waits is not None and not waits.done()

    def _cancel(self, live: Live) -> None:
        if not self._comes_again(live):
            self.cancels -= 1
        live.is_cancelled = bool(live.task.cancel()) or live.is_cancelled

    def settle(self, most: int = 10_000) -> None:
        """Let happen what can, first come first; no timer, no cancellation."""
        for _ in range(most):
            choices = [choice for choice in self.options() if choice[1] == "go"]
            if not choices:
                return
            self.take(choices[0])
        self.fail("Livelock", f"still not done after {most:,} callbacks")

    def stuck(self) -> list[Live]:
        """Who is not done."""
        return [live for live in self.lives if not live.done]

    def abandon(self) -> None:
        """Nobody goes on: what is left is dropped without a word."""
        while found := self._under_way():  # what ends may start another
            for task in found:
                task._log_destroy_pending = False
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
                task._state = "CANCELLED"
        self.ready, self.timers, self.pauses, self.lives = [], [], [], []

    def _under_way(self) -> list[Any]:
        return [task for task in self._made if not task.done()]

    # ------------------------------------------------------------ where all of it stands

    def key(self, freeze: Freeze) -> Hashable:
        """The time, what is ready and what is waited for, and where each task stands."""
        known: dict[int, int] = {}

        def number(thing: Any) -> int:
            return known.setdefault(id(thing), len(known))

        def shown(thing: Any) -> Hashable:
            if isinstance(thing, functools.partial):
                return (shown(thing.func), *map(shown, thing.args))
            if isinstance(thing, (PyTask, PyFuture)):
                return type(thing).__name__, number(thing), thing._state
            owner = getattr(thing, "__self__", None)
            if owner is not None:
                return thing.__name__, shown(owner)
            if isinstance(thing, (tuple, list)):
                return tuple(map(shown, thing))
            if isinstance(thing, Live):
                return "live", thing.number
            return freeze(thing)

        def task(one: Any) -> Hashable:
            waits = one._fut_waiter
            return (
                number(one),
                one._state,
                one._must_cancel,
                None if waits is None else (number(waits), waits._state),
                tuple(_frames(one.get_coro(), shown)),
                tuple(shown(callback) for callback, _ in one._callbacks),
            )

        lives = tuple((live.is_cancelled, task(live.task)) for live in self.lives)
        ready = tuple((shown(_callback(handle)), shown(handle._args)) for handle in self.ready)
        timers = tuple((t.when(), shown(_callback(t)), shown(t._args)) for t in self.timers)
        pauses = tuple((pause.what, shown(pause.future)) for pause in self.pauses)
        mine = {id(live.task) for live in self.lives}
        others: list[Any] = [one for one in self._under_way() if id(one) not in mine]
        others.sort(key=lambda one: one.made)
        return self.now, self.cancels, lives, ready, timers, pauses, tuple(map(task, others))


def _callback(handle: Any) -> Any:
    return handle._callback


def _frames(coroutine: Any, shown: Callable[[Any], Hashable]) -> Iterator[Hashable]:
    """Where a coroutine stands, and in what it awaits; with what is in the frames of the pool."""
    while coroutine is not None and getattr(coroutine, "cr_frame", None) is not None:
        frame = coroutine.cr_frame
        module = frame.f_globals["__name__"]
        inside: tuple[Hashable, ...] = ()
        if module.startswith("pool.") and not module.startswith("pool.check."):
            inside = tuple((name, shown(value)) for name, value in sorted(frame.f_locals.items()))
        yield id(frame.f_code), frame.f_lasti, inside
        coroutine = coroutine.cr_await
