"""Helper threads, for `opener="background"`.

Theory.  A caller of such a pool blocks on the pool only, never on the database.  So
connecting, closing and asking whether a connection is alive happen on threads of the
pool's own: one that keeps watch, started when first needed, and one to itself for each job
(`workers.py`), so that a job that hangs never holds up another.  Connects are as many as the
machine asked for; of closes at most `max_size` run at once, and the rest wait behind them.

The watch also sends `Tick` when `wake_at` says so.  It holds the runtime by a weak
reference: a pool that nobody uses any more is collected, and its watch ends.

What it refuses to know: why anything is opened or closed.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from pool.core.effects import Close, Effect
from pool.core.events import Cancel, Discard, Event, Tick
from pool.core.outlook import Outlook, walk
from pool.core.state import State
from pool.core.transition import wake_at
from pool.shared.handles import Handle
from pool.shared.log import logger
from pool.shared.running import AT_ONCE
from pool.threads.driver import Driver
from pool.threads.monitor import Monitor
from pool.threads.workers import is_ending

RETRY_AFTER = 1.0
"""Seconds until the watch tries again after the system refused it a thread."""

LOOK_FOR_THE_END = 0.5
"""Seconds between two looks whether the program ends, of a watch that is no daemon."""

CLOSES_WITHOUT_LIMIT = 8
"""Closes at once for a pool without `max_size`."""


class Helped(Protocol):
    """What helpers need of the runtime they help."""

    driver: Driver
    sync: Any
    check_timeout: float | None
    clock: Callable[[], float]
    monitor: Monitor
    label: str
    number_of: Callable[[int, Any], int]

    @property
    def helpers(self) -> Any: ...
    @property
    def state(self) -> State: ...
    def apply(self, event: Event) -> tuple[Effect, ...]: ...
    def perform(self, effect: Effect) -> None: ...


class Helpers:
    """The helper threads of one runtime. Thread-safe."""

    def __init__(self, runtime: Helped) -> None:
        self._sync = runtime.sync
        self._signal = runtime.sync.lock()  # free: the watch is asked to look
        self._runtime = weakref.ref(runtime, lambda _: self.nudge())
        self._lock = runtime.sync.lock()  # for the two counts below; no I/O under it either
        self._watching = False
        # Not by their keys: once it is answered, its connection may be idle, lent and asked anew
        # before it is taken off.
        self._asked: dict[_Question, None] = {}
        self._left: dict[_Question, None] = {}  # those whose callers are gone
        self._outlook: Outlook | None = None
        self.closing = 0
        """Threads that close something, or are about to: those that `max_size` bounds."""
        self.is_abandoned = False
        """They are threads of the process that this one was forked from."""

    # ------------------------------------------------------------ for the runtime

    def nudge(self) -> None:
        """Let the watch look. Never blocks: for finalizers."""
        try:  # noqa: SIM105  # a free-threaded build may come here when `contextlib` is gone
            self._signal.release()
        except RuntimeError:  # it was asked already
            pass

    def wake(self) -> None:
        """As `nudge`, and start the watch if there is none."""
        self.nudge()
        if not self._watching and not self.is_abandoned:
            try:
                _start(self._sync, self._keep_watch, "watch")
            except RuntimeError:
                if not is_ending():
                    raise
                if (runtime := self._runtime()) is not None:
                    self._look(runtime)

    def is_alive(self, handle: Handle, deadline: float | None, waits: bool = True) -> bool | None:
        """Ask the driver on a thread of its own. No answer within `check_timeout` is a no: the
        connection is to be closed, but that waits until the driver came back. None: no answer by
        the deadline; or, for a caller that does not wait, within `AT_ONCE`."""
        runtime = handle.runtime
        question = _Question(self, runtime, handle.key, handle.held)
        self._asked[question] = None
        try:
            _have_done(self._sync, question, "check")
        except BaseException:  # the system has no thread for us, or we were interrupted
            question.withdraw()
            raise
        now = runtime.sync.monotonic()
        left = AT_ONCE if not waits else None if deadline is None else max(0.0, deadline - now)
        patience = runtime.check_timeout
        question.done.acquire(True, _pause(_least(left, patience)))
        answer = question.answer  # once: from here on it is the watch that obeys a later one
        if answer is None and (left is None or (patience is not None and patience < left)):
            return False
        if answer is None and patience is not None:
            self._leave(question, handle, now + patience)
        return answer

    def _leave(self, question: _Question, handle: Handle, until: float) -> None:
        """Its caller is gone: leave the claim to the watch. A slow database must not
        cost a good connection, and the connects that follow, for each caller in a hurry."""
        question.claim, question.until = (handle.ticket, handle.key), until
        question.handle = handle  # what is collected counts as lost
        self._left[question] = None
        handle.ticket = handle.key = 0
        self.wake()

    def _look_after_left(self, runtime: Helped) -> float | None:
        """Connections whose callers did not wait for the answer: those that live go to the
        next, the others are closed. The seconds until the next of them is to be given up."""
        now = runtime.sync.monotonic()
        for question in list(self._left):
            (ticket, key), answer = question.claim, question.answer
            if answer is not None or now >= question.until:
                at = runtime.clock()
                runtime.apply(Cancel(at, ticket) if answer else Discard(at, ticket, key))
                del self._left[question]
        return min((question.until - now for question in list(self._left)), default=None)

    def checked_by(self, ident: Any) -> set[int]:
        """Keys of the connections that this thread is asking."""
        return {question.key for question in list(self._asked) if question.asker == ident}

    def abandon(self) -> None:
        """In a child, which has none of these threads: who waits for what they find out may come
        back to that."""
        self.is_abandoned = True
        for question in list(self._asked):
            question.answer = False
            question.withdraw()
            with contextlib.suppress(RuntimeError):  # it has just been answered
                question.done.release()

    # ------------------------------------------------------------ the watch

    def _keep_watch(self) -> None:
        """What the watch's thread does: `Tick` at `wake_at` (RUN-8)."""
        with self._lock:
            if self._watching:
                return
            self._watching = True
        try:
            while (runtime := self._runtime()) is not None and runtime.helpers is self:
                try:
                    pause = self._look(runtime)
                except Exception:  # nobody else would notice, and nobody be served
                    logger.error("%sthe watch failed; it goes on", runtime.label, exc_info=True)
                    pause = RETRY_AFTER
                if pause is None and self._is_over(runtime):
                    break
                del runtime  # so that a pool nobody uses can be collected meanwhile
                if self._sync.is_waited_for():  # then the end waits for this thread
                    if is_ending():
                        return
                    pause = _least(pause, LOOK_FOR_THE_END)
                self._signal.acquire(True, _pause(pause))
        finally:
            self._watching = False
        # Of somebody who saw this watch still there.
        if runtime is not None and (runtime.monitor.jobs or self._left):
            self.wake()

    @staticmethod
    def _is_over(runtime: Helped) -> bool:
        """Nothing is to be done any more; what is lost later would have to be closed."""
        state = runtime.state
        return state.phase == "closed" and not state.in_use and not runtime.monitor.jobs

    def _look(self, runtime: Helped) -> float | None:
        """Start what is to be done, tick if that is due; the seconds until the next look."""
        try:
            for effect in runtime.monitor.ready():
                self._begin(runtime, effect)
        except RuntimeError:  # the system has no thread for us
            logger.warning("%scannot start a helper thread", runtime.label, exc_info=True)
            return RETRY_AFTER
        left = self._look_after_left(runtime)
        now = runtime.clock()
        if self._outlook is None or not self._outlook.holds(runtime.state, now):
            self._outlook = self._walk(runtime)
        return _least(left, self._outlook.pause(runtime.state, now))

    @staticmethod
    def _walk(runtime: Helped) -> Outlook:
        now = runtime.clock()
        due = wake_at(runtime.state)
        if due is not None and now >= due:
            runtime.apply(Tick(now))
        # In this order: a connect that is not under way any more is seen in the state, and one
        # that is not yet under way begins after now.
        under_way = [began for _, began in list(runtime.monitor.connecting.values())]
        return walk(runtime.state, now, min([now, *under_way]))

    def _begin(self, runtime: Helped, effect: Effect) -> None:
        if type(effect) is not Close:
            _have_done(self._sync, lambda: self._perform(runtime, effect), "connect")
            return
        most = runtime.state.limits.max_size or CLOSES_WITHOUT_LIMIT
        with self._lock:
            if self.closing >= most or any(each.key == effect.key for each in list(self._asked)):
                return
            self.closing += 1
        try:
            _have_done(self._sync, lambda: self._close(runtime, effect), "close")
        except BaseException:
            with self._lock:
                self.closing -= 1
            raise

    def _perform(self, runtime: Helped, effect: Effect) -> None:
        try:
            runtime.perform(effect)
        except BaseException:  # there is nobody on this thread to whom it could go
            logger.warning("%san exception ended a thread", runtime.label, exc_info=True)
        finally:
            self.nudge()

    def _close(self, runtime: Helped, effect: Close) -> None:
        try:
            runtime.perform(effect)
        except BaseException:  # as above
            logger.warning("%san exception ended a thread", runtime.label, exc_info=True)
        finally:
            with self._lock:
                self.closing -= 1
            self.nudge()


class _Question:
    """Is this connection alive? As long as it is asked, the connection is not closed."""

    def __init__(self, helpers: Helpers, runtime: Helped, key: int, connection: Any) -> None:
        self.helpers = helpers
        self.driver = runtime.driver
        self.names = (runtime.label, runtime.number_of(key, connection))
        self.key = key
        self.connection = connection
        self.answer: bool | None = None
        self.claim = (0, 0)
        self.until = 0.0
        """For who comes to look after it when its caller is gone."""
        self.handle: Handle | None = None
        self.ident = runtime.sync.ident
        self.asker: Any = None
        """The thread that asks, once it does."""
        self.done = runtime.sync.lock()
        self.done.acquire()
        self._turn = [True]  # whoever takes it out asks, or sees to it that nobody does

    def __call__(self) -> None:
        if not self._take_turn():
            return
        answer = False
        self.asker = self.ident()
        try:
            if not self.helpers.is_abandoned:
                answer = bool(self.driver.is_alive(self.connection))
        except BaseException:  # whatever it is: there is nobody else on this thread
            logger.debug("%sconnection %s is dead", *self.names, exc_info=True)
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
        helpers = self.helpers
        helpers._asked.pop(self, None)
        self.done.release()
        # Nearly always there is nothing for the watch to do: its caller goes on.
        runtime = helpers._runtime()
        if helpers._left or (runtime is not None and runtime.monitor.jobs):
            helpers.nudge()


def _least(one: float | None, other: float | None) -> float | None:
    """The smaller of two waits; None: for ever."""
    return other if one is None else one if other is None else min(one, other)


def _pause(seconds: float | None) -> float:
    """As a lock wants it, which cannot wait for more than some 292 years."""
    return -1.0 if seconds is None else min(seconds, threading.TIMEOUT_MAX)


def _start(sync: Any, target: Callable[[], None], what: str) -> None:
    sync.start(target, f"purepool {what}")


def _have_done(sync: Any, job: Callable[[], None], what: str) -> None:
    """On a thread of its own; or here and now, where a program that ends cannot have one."""
    try:
        _start(sync, job, what)
    except RuntimeError:
        if not is_ending():
            raise
        job()
