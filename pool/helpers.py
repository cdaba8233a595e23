"""Helper threads, for `opener="background"`.

Theory.  A caller of such a pool blocks on the pool only, never on the database.  So
connecting, closing and asking whether a connection is alive happen on threads of the
pool's own: one that keeps watch, started when first needed, and a short-lived one for each
job, so that a job that hangs never holds up another.  Connects are as many as the machine
asked for; of closes at most `max_size` run at once, and the rest wait behind them.

The watch also sends `Tick` when `wake_at` says so.  It holds the runtime by a weak
reference: a pool that nobody uses any more is collected, and its watch ends.

What it refuses to know: why anything is opened or closed.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import TYPE_CHECKING, Any

from pool.effects import Close
from pool.errors import PoolTimeout, describe
from pool.events import Tick
from pool.state import State, expires_at
from pool.transition import wake_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.effects import Effect
    from pool.handles import Handle
    from pool.runtime import Runtime

logger = logging.getLogger("pool")

RETRY_AFTER = 1.0
"""Seconds until the watch tries again after the system refused it a thread."""

CLOSES_WITHOUT_LIMIT = 8
"""Closes at once for a pool without `max_size`."""


class Helpers:
    """The helper threads of one runtime. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._sync = runtime.sync
        self._signal = runtime.sync.lock()  # free: the watch is asked to look
        self._runtime = weakref.ref(runtime, lambda _: self.nudge())
        self._lock = runtime.sync.lock()  # for the two counts below; no I/O under it either
        self._watching = False
        self._asked: dict[int, _Question] = {}
        self.closing = 0
        """Threads that close something, or are about to: those that `max_size` bounds."""

    # ------------------------------------------------------------ for the runtime

    def nudge(self) -> None:
        """Let the watch look. Never blocks: for finalizers."""
        with contextlib.suppress(RuntimeError):  # it was asked already
            self._signal.release()

    def wake(self) -> None:
        """As `nudge`, and start the watch if there is none."""
        self.nudge()
        if not self._watching:
            _start(self._sync, self._keep_watch, "watch")

    def is_alive(self, handle: Handle, deadline: float | None) -> bool:
        """Ask the driver on a thread of its own. No answer within `check_timeout` is a no; none
        by the deadline, a `PoolTimeout`. The connection is then closed, but not before the
        driver came back."""
        runtime = handle.runtime
        question = _Question(self, runtime, handle.key, handle.held)
        self._asked[handle.key] = question
        try:
            _start(self._sync, question, "check")
        except BaseException:  # the system has no thread for us, or we were interrupted
            question.withdraw()
            raise
        left = None if deadline is None else max(0.0, deadline - runtime.sync.monotonic())
        waits = [seconds for seconds in (left, runtime.check_timeout) if seconds is not None]
        question.done.acquire(True, min(waits, default=-1.0))
        if question.answer is None and (left is None or left > min(waits)):
            return False
        if question.answer is None:
            reason = "the database did not answer a check in time"
            raise PoolTimeout(f"{reason} ({describe(runtime.state, runtime.clock())})")
        return question.answer

    # ------------------------------------------------------------ the watch

    def _keep_watch(self) -> None:
        """What the watch's thread does: `Tick` at `wake_at` (RUN-8)."""
        with self._lock:
            if self._watching:
                return
            self._watching = True
        try:
            while (runtime := self._runtime()) is not None and runtime.helpers is self:
                pause = self._look(runtime)
                if pause is None and runtime.state.phase == "closed" and not runtime.jobs:
                    break
                del runtime  # so that a pool nobody uses can be collected meanwhile
                self._signal.acquire(True, -1 if pause is None else pause)
        finally:
            self._watching = False
        if runtime is not None and runtime.jobs:  # of somebody who saw this watch still there
            self.wake()

    def _look(self, runtime: Runtime) -> float | None:
        """Start what is to be done, tick if that is due; the seconds until the next look."""
        try:
            for effect in list(runtime.jobs.values()):
                self._begin(runtime, effect)
        except RuntimeError:  # the system has no thread for us
            logger.warning("cannot start a helper thread", exc_info=True)
            return RETRY_AFTER
        now = runtime.clock()
        due = wake_at(runtime.state)
        if due is not None and now >= due:
            runtime.apply(Tick(now))
        return next_look(runtime.state, now)

    def _begin(self, runtime: Runtime, effect: Effect) -> None:
        if type(effect) is not Close:
            _start(self._sync, lambda: self._perform(runtime, effect), "connect")
            return
        most = runtime.state.limits.max_size or CLOSES_WITHOUT_LIMIT
        with self._lock:
            if self.closing >= most or effect.key in self._asked:
                return
            self.closing += 1
        try:
            _start(self._sync, lambda: self._close(runtime, effect), "close")
        except RuntimeError:
            with self._lock:
                self.closing -= 1
            raise

    def _perform(self, runtime: Runtime, effect: Effect) -> None:
        try:
            runtime.perform(effect)
        finally:
            self.nudge()

    def _close(self, runtime: Runtime, effect: Close) -> None:
        try:
            runtime.perform(effect)
        finally:
            with self._lock:
                self.closing -= 1
            self.nudge()


class _Question:
    """Is this connection alive? As long as it is asked, the connection is not closed."""

    def __init__(self, helpers: Helpers, runtime: Runtime, key: int, connection: Any) -> None:
        self.helpers = helpers
        self.driver = runtime.driver
        self.key = key
        self.connection = connection
        self.answer: bool | None = None
        self.done = runtime.sync.lock()
        self.done.acquire()
        self._turn = [True]  # whoever takes it out asks, or sees to it that nobody does

    def __call__(self) -> None:
        if not self._take_turn():
            return
        answer = False
        try:
            answer = bool(self.driver.is_alive(self.connection))
        except Exception:
            logger.debug("connection %s is dead", self.key, exc_info=True)
        finally:
            self.answer = answer
            self._end()

    def withdraw(self) -> None:
        """Don't ask, if the thread that was to ask has not begun; it may never do so."""
        if self._take_turn():
            self._end()

    def _take_turn(self) -> bool:
        try:
            return self._turn.pop()
        except IndexError:
            return False

    def _end(self) -> None:
        self.helpers._asked.pop(self.key, None)
        self.done.release()
        self.helpers.nudge()


def next_look(state: State, now: float) -> float | None:
    """In how many seconds the first `Tick` can be due, of what is there and of what comes
    without anybody telling: a connection lent or returned. None: never."""
    limits, due = state.limits, wake_at(state)
    waits = [] if due is None else [max(0.0, due - now)]
    if state.phase != "closed":
        waits += [wait for wait in (limits.max_idle, limits.leak_after) if wait is not None]
        ends = (expires_at(limits, lease.entry) for lease in state.in_use.values())
        waits += [end - now for end in ends if end is not None and end > now]
    return min(waits, default=None)


def _start(sync: Any, target: Callable[[], None], what: str) -> None:
    sync.start(target, f"purepool {what}")
