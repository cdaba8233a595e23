"""What helper threads owe the runtime where a mutant of them showed that no test asked.

Theory.  As `test_runtime_mutants.py`.  No thread runs here: the system takes down what it is to
start, and the test does that itself, when it likes.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pool import Limits
from pool.core.effects import Close
from pool.core.events import Shutdown
from pool.shared.handles import Handle
from pool.shared.running import AT_ONCE
from pool.threads.driver import Sync
from pool.threads.helpers import LOOK_FOR_THE_END, RETRY_AFTER, _least, _pause
from pool.threads.runtime import Runtime
from tests.integration.drivers import Connection, ScriptedDriver, raising


class Lock:
    """One that nobody waits for: how long somebody would have, is taken down."""

    def __init__(self, parked: list[float]) -> None:
        self.parked = parked
        self.taken = False

    def acquire(self, blocking: bool = True, seconds: float = -1.0) -> bool:
        if self.taken:
            self.parked.append(seconds)
        self.taken = True
        return True

    def release(self) -> None:
        if not self.taken:
            raise RuntimeError("release unlocked lock")
        self.taken = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()


class Played(Sync):
    """A system whose threads and whose time are the test's."""

    now = 100.0
    waited_for = False

    def __init__(self) -> None:
        self.started: list[tuple[str, Callable[[], Any]]] = []
        self.parked: list[float] = []
        self.refuses = False

    def start(self, target: Callable[[], Any], name: str) -> None:  # type: ignore[override]
        if self.refuses:
            raise RuntimeError("can't start new thread")
        self.started.append((name, target))

    def lock(self) -> Any:  # type: ignore[override]
        return Lock(self.parked)

    def monotonic(self) -> float:  # type: ignore[override]
        return self.now

    def is_waited_for(self) -> bool:  # type: ignore[override]
        return self.waited_for

    def names(self) -> list[str]:
        names = [name for name, _ in self.started]
        self.started.clear()
        return names


class Loose(Runtime):
    """One whose methods a test may replace."""


def played(max_size: int | None = 2, **more: Any) -> tuple[Any, Any, Played]:
    sync = Played()
    limits = {name: more.pop(name) for name in list(more) if hasattr(Limits, name)}
    runtime = Loose(
        ScriptedDriver(),
        Limits(max_size=max_size, opener="background", **limits),
        sync=sync,
        clock=sync.monotonic,
        jitter=lambda: 0.5,
        **more,
    )
    runtime.label = "shop: "
    runtime.number_of = lambda key, connection: f"{key}/{connection!r}"
    return runtime, runtime.helpers, sync


def holding(runtime: Any, key: int = 7) -> Handle:
    handle = Handle(runtime)
    handle.ticket, handle.key, handle.held = 5, key, Connection(key)
    return handle


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, bool]]:
    return [(one.levelname, one.getMessage(), bool(one.exc_info)) for one in caplog.records]


# ---------------------------------------------------------------- how long a check may take


@pytest.mark.parametrize(
    ("waits", "left", "patience", "parked", "answer", "is_left"),
    [
        (False, None, None, AT_ONCE, None, False),
        (False, 50.0, None, AT_ONCE, None, False),
        (False, None, 9.0, AT_ONCE, None, True),
        (False, None, 0.01, 0.01, False, False),
        (True, None, None, -1.0, False, False),
        (True, None, 9.0, 9.0, False, False),
        (True, 3.0, None, 3.0, None, False),
        (True, 3.0, 9.0, 3.0, None, True),
        (True, 9.0, 3.0, 3.0, False, False),
        (True, 3.0, 3.0, 3.0, None, True),
        (True, -2.0, 9.0, 0.0, None, True),
        (True, 0.5, None, 0.5, None, False),
    ],
)
def test_how_long_a_check_is_waited_for(
    waits: bool, left: Any, patience: Any, parked: float, answer: Any, is_left: bool
) -> None:
    """No answer by the deadline is none (None), and the claim is left to the watch if that can
    give it up; none within `check_timeout` is a no."""
    runtime, helpers, sync = played(check_timeout=patience)
    handle = holding(runtime)
    deadline = None if left is None else sync.now + left
    assert helpers.is_alive(handle, deadline, waits) is answer
    assert sync.parked == [pytest.approx(parked)]
    assert len(helpers._left) == is_left
    assert [question.connection for question in helpers._asked] == [handle.held]
    names = [name for name, _ in sync.started]
    assert names == ["purepool check", "purepool watch"][: 1 + is_left]
    if is_left:
        (question,) = helpers._left
        assert (question.claim, question.until) == ((5, 7), pytest.approx(sync.now + patience))
        assert question.handle is handle
        assert (handle.ticket, handle.key) == (0, 0), "what is collected is no loss of this one"
    else:
        handle.ticket = 0


def test_who_says_nothing_of_it_waits() -> None:
    runtime, helpers, sync = played(check_timeout=9.0)
    handle = holding(runtime)
    assert helpers.is_alive(handle, sync.now + 3.0) is None
    assert sync.parked == [pytest.approx(3.0)]


@pytest.mark.parametrize("alive", [True, False])
def test_an_answer_is_the_drivers(alive: bool) -> None:
    runtime, helpers, sync = played()
    handle = holding(runtime)
    seen: list[Any] = []

    def ask(connection: Any) -> bool:
        seen.append((connection, helpers.checked_by(sync.ident()), helpers.checked_by("another")))
        return alive

    runtime.driver.on_alive = ask
    sync.start = lambda target, name: target()  # type: ignore[method-assign]
    assert helpers.is_alive(handle, None) is alive
    assert seen == [(handle.held, {7}, set())]
    assert helpers._asked == {}
    assert sync.parked == [], "it was there already"
    handle.ticket = 0


def test_a_check_that_raises_is_a_no_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pool")
    runtime, helpers, sync = played()
    handle = holding(runtime)
    runtime.driver.on_alive = raising(KeyboardInterrupt())
    sync.start = lambda target, name: target()  # type: ignore[method-assign]
    assert helpers.is_alive(handle, None) is False
    assert said(caplog) == [("DEBUG", "shop: connection 7/<connection 7> is dead", True)]
    handle.ticket = 0


def test_a_check_that_gets_no_thread_is_not_asked_later() -> None:
    runtime, helpers, sync = played()
    handle = holding(runtime)
    kept: list[Callable[[], Any]] = []

    def refuse(target: Callable[[], Any], name: str) -> None:
        kept.append(target)
        raise RuntimeError("can't start new thread")

    sync.start = refuse  # type: ignore[method-assign]
    runtime.driver.on_alive = raising(AssertionError("it is asked"))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        helpers.is_alive(handle, None)
    assert helpers._asked == {}
    helpers._signal.acquire()
    kept[0]()
    assert helpers._signal.taken, "nothing has come of it"
    handle.ticket = 0


def test_two_checks_with_one_key_both_end() -> None:
    """The first hung until its connection had been given up, and its key was another's."""
    runtime, helpers, sync = played()
    handles = [holding(runtime), holding(runtime)]
    for handle in handles:
        helpers.is_alive(handle, sync.now)
    for _, job in sync.started:
        job()
    assert helpers._asked == {}
    for handle in handles:
        handle.ticket = 0


@pytest.mark.parametrize("begun", [False, True])
def test_a_check_under_way_when_the_process_forks_is_a_no_in_the_child(begun: bool) -> None:
    """By a signal's handler on the thread that waits for it: the one that asks is not there."""
    runtime, helpers, sync = played(check_timeout=9.0)
    handle = holding(runtime)

    class Forking(list[float]):
        def append(self, seconds: float) -> None:
            if begun:
                next(iter(helpers._asked))._take_turn()
            helpers.abandon()

    sync.parked = Forking()
    runtime.driver.on_alive = raising(AssertionError("it is asked"))
    assert helpers.is_alive(handle, sync.now + 3.0) is False
    assert (helpers._left, handle.ticket, handle.key) == ({}, 5, 7), "nobody is to look after it"
    for _, job in sync.started:
        job()
    helpers.wake()
    assert [name for name, _ in sync.started] == ["purepool check"], "no watch of the parent's"
    handle.ticket = 0


# ---------------------------------------------------------------- what is left to the watch


def test_the_watch_looks_after_what_was_left() -> None:
    runtime, helpers, sync = played(check_timeout=9.0)
    events: list[Any] = []
    runtime.apply = lambda event, cell=None: events.append(event)
    for key, later in ((1, 3.0), (2, 1.0), (3, 2.0)):
        sync.now = 100.0 + later
        helpers.is_alive(holding(runtime, key), sync.now)
    sync.now = 105.0
    assert helpers._look_after_left(runtime) == 5.0, "the second is given up first, at 110"
    left = {question.key: question for question in helpers._left}
    assert (events, set(left)) == ([], {1, 2, 3})
    left[1].answer = True
    left[3].answer = False
    assert helpers._look_after_left(runtime) == 5.0
    assert [type(event).__name__ for event in events] == ["Cancel", "Discard"]
    assert [event.ticket for event in events] == [5, 5]
    assert (events[1].key, [event.now for event in events]) == (3, [105.0, 105.0])
    events.clear()
    sync.now = 110.0
    assert helpers._look_after_left(runtime) is None
    assert [(type(event).__name__, event.key) for event in events] == [("Discard", 2)]
    assert helpers._left == {}


def test_what_is_left_again_at_once_is_looked_after_again() -> None:
    """Its connection is alive, so it is idle, and the next one's, who does not wait either."""
    runtime, helpers, sync = played(check_timeout=9.0)
    tickets: list[int] = []

    def apply(event: Any, cell: Any = None) -> None:
        tickets.append(event.ticket)
        if len(tickets) == 1:
            another = holding(runtime)
            another.ticket = 6
            helpers.is_alive(another, sync.now)

    runtime.apply = apply
    helpers.is_alive(holding(runtime), sync.now)
    for _ in range(2):
        for question in helpers._left:
            question.answer = True
        helpers._look_after_left(runtime)
    assert (tickets, helpers._left) == ([5, 6], {})


# ---------------------------------------------------------------- the watch


def test_the_first_look_is_asked_for() -> None:
    _, helpers, sync = played()
    helpers.wake()
    assert sync.names() == ["purepool watch"]
    assert not helpers._signal.taken
    helpers.nudge()
    helpers.nudge()  # twice does no harm
    helpers._watching = True
    helpers._signal.acquire()
    helpers.wake()
    assert (sync.names(), helpers._signal.taken) == ([], False)


def test_a_watch_that_gets_no_thread_says_so() -> None:
    _, helpers, sync = played()
    sync.refuses = True
    with pytest.raises(RuntimeError, match="can't start new thread"):
        helpers.wake()


def test_at_the_end_of_the_program_who_wakes_the_watch_looks_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime, helpers, sync = played()
    monkeypatch.setattr("pool.threads.helpers.is_ending", lambda: True)
    close = Close(1, Connection(1), "lifetime")
    runtime.monitor.jobs[id(close)] = close
    sync.refuses = True
    helpers.wake()
    assert (close.connection.closed, runtime.monitor.jobs, helpers.closing) == (1, {}, 0)


def watching(helpers: Any, sync: Played, looks: list[Any], until: int) -> list[float]:
    """Let it keep watch; each of its looks gives or raises one of these. How long it parked."""
    runtime = helpers._runtime()

    def look(_: Any) -> Any:
        one = looks.pop(0)
        if not looks:
            runtime.helpers = None  # it is no longer the one
        if isinstance(one, BaseException):
            raise one
        return one

    helpers._look = look
    helpers._signal.acquire()
    sync.parked.clear()
    helpers._keep_watch()
    assert len(sync.parked) == until
    return sync.parked


def test_the_watch_parks_for_as_long_as_nothing_is_due() -> None:
    _runtime, helpers, sync = played()
    assert watching(helpers, sync, [3.0, None, 0.0], 3) == [3.0, -1.0, 0.0]
    assert not helpers._watching


def test_a_watch_that_the_end_waits_for_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _runtime, helpers, sync = played()
    sync.waited_for = True
    assert watching(helpers, sync, [3.0, 0.1, None], 3) == [LOOK_FOR_THE_END, 0.1, LOOK_FOR_THE_END]
    monkeypatch.setattr("pool.threads.helpers.is_ending", lambda: True)
    helpers._runtime().helpers = helpers
    assert watching(helpers, sync, [3.0, 3.0], 0) == []
    assert not helpers._watching


def test_a_watch_that_fails_goes_on_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    _runtime, helpers, sync = played()
    assert watching(helpers, sync, [OSError("odd"), 3.0], 2) == [RETRY_AFTER, 3.0]
    assert said(caplog) == [("ERROR", "shop: the watch failed; it goes on", True)]


def test_the_watch_of_a_closed_pool_ends_when_all_is_done() -> None:
    runtime, helpers, sync = played()
    runtime.apply(Shutdown(sync.now))
    close = Close(1, Connection(1), "lifetime")
    runtime.monitor.jobs[id(close)] = close
    looked: list[Any] = []

    def look(_: Any) -> None:
        looked.append(len(runtime.monitor.jobs))
        if len(looked) == 2:
            runtime.monitor.jobs.clear()

    helpers._look = look
    helpers._keep_watch()
    assert looked == [1, 1], "it stays for what is to be done, and no longer"
    assert not helpers._watching


def test_a_thread_that_is_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    runtime, helpers, sync = played()
    close = Close(1, Connection(1), "lifetime")
    runtime.monitor.jobs[id(close)] = close
    sync.refuses = True
    assert helpers._look(runtime) == RETRY_AFTER
    assert said(caplog) == [("WARNING", "shop: cannot start a helper thread", True)]


@pytest.mark.parametrize("what", ["connect", "close"])
def test_what_ends_a_thread_is_logged(what: str, caplog: pytest.LogCaptureFixture) -> None:
    runtime, helpers, sync = played()
    runtime.perform = raising(KeyboardInterrupt())
    effect: Any = Close(1, Connection(1), "lifetime") if what == "close" else object()
    helpers._begin(runtime, effect)
    ((name, job),) = sync.started
    assert (name, helpers.closing) == (f"purepool {what}", int(what == "close"))
    helpers._signal.acquire()
    job()
    assert said(caplog) == [("WARNING", "shop: an exception ended a thread", True)]
    assert (helpers.closing, helpers._signal.taken) == (0, False), "the watch looks again"


def test_what_is_asked_is_not_closed_meanwhile() -> None:
    runtime, helpers, sync = played()
    helpers.is_alive(handle := holding(runtime), sync.now)
    sync.names()
    close = Close(7, handle.held, "lifetime")
    helpers._begin(runtime, close)
    assert (sync.names(), helpers.closing) == ([], 0)
    next(iter(helpers._asked)).withdraw()
    helpers._begin(runtime, close)
    assert (sync.names(), helpers.closing) == (["purepool close"], 1)
    handle.ticket = 0


def test_what_is_asked_anew_is_not_closed_when_the_check_before_ends() -> None:
    """That one is answered before it is taken off: by then its connection may be lent again."""
    runtime, helpers, sync = played()
    handles = [holding(runtime), holding(runtime)]
    for handle in handles:
        helpers.is_alive(handle, sync.now)
    (_, first), (_, second) = sync.started
    first()
    sync.names()
    close = Close(7, handles[1].held, "lifetime")
    helpers._begin(runtime, close)
    assert sync.names() == []
    second()
    helpers._begin(runtime, close)
    assert sync.names() == ["purepool close"]
    for handle in handles:
        handle.ticket = 0


@pytest.mark.parametrize("what", ["nothing", "a job", "no pool"])
def test_a_check_wakes_the_watch_if_there_is_something_to_do(what: str) -> None:
    """Most are made for a caller that goes on: to wake a thread for each would cost as much."""
    runtime, helpers, sync = played()
    helpers.is_alive(handle := holding(runtime), sync.now)
    handle.ticket = 0
    (_, ask), *_ = sync.started
    if what == "a job":
        close = Close(7, handle.held, "lifetime")
        runtime.monitor.jobs[id(close)] = close
    if what == "no pool":  # nobody uses it any more
        del runtime, handle
        gc.collect()
        assert helpers._runtime() is None
    helpers._signal.acquire()
    ask()
    assert helpers._asked == {}
    assert helpers._signal.taken is (what != "a job")


def test_the_watch_of_a_pool_that_nobody_uses_is_told() -> None:
    runtime, helpers, _ = played()
    helpers._signal.acquire()
    del runtime
    gc.collect()
    assert not helpers._signal.taken
    assert helpers._runtime() is None


def test_who_closes_a_pool_starts_no_watch_for_nothing() -> None:
    runtime, helpers, sync = played()
    helpers._signal.acquire()
    runtime.apply(Shutdown(sync.now))
    runtime.take_over()
    assert (sync.names(), helpers._signal.taken) == ([], False), "one that is there looks"


# ---------------------------------------------------------------- small things


def test_the_smaller_of_two_waits() -> None:
    assert [_least(1.0, 2.0), _least(2.0, 1.0)] == [1.0, 1.0]
    assert [_least(None, 2.0), _least(2.0, None), _least(None, None)] == [2.0, 2.0, None]


def test_a_wait_as_a_lock_wants_it() -> None:
    assert [_pause(None), _pause(0.5), _pause(1e300)] == [-1.0, 0.5, threading.TIMEOUT_MAX]
