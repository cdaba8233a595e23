"""What the runtime owes its callers where a mutant of it showed that no test asked.

Theory.  Each of these kills mutants that `make mutation-runtime` found alive: a mark that is not
taken away, a deadline forgotten by the second try, a message about the wrong connection.  As in
`test_runtime_corners.py`, the two things that hardly ever come together are brought together.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from pool import Limits, PoolReentered, PoolSuspended, PoolTimeout, initial, step
from pool.core import waiters
from pool.core.effects import Close, Leaked, Open, Refuse
from pool.core.events import (
    Acquire,
    CloseAll,
    Opened,
    OpenFailed,
    Release,
    Resume,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.state import Failure, leased
from pool.shared.handles import Cell, Handle
from pool.threads.monitor import Monitor
from pool.threads.onlookers import Onlookers, wait
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Clock,
    Connection,
    Gate,
    ScriptedDriver,
    Stop,
    lent,
    noted,
    nothing,
    park,
    raising,
    until,
    waiting,
)

OPENERS = pytest.mark.parametrize("opener", ["caller", "background"])


def running(opener: Any = "caller", max_size: int | None = 1, **more: Any) -> Any:
    limits = {name: more.pop(name) for name in list(more) if hasattr(Limits, name)}
    return Runtime(ScriptedDriver(), Limits(max_size=max_size, opener=opener, **limits), **more)


def by_every_event(runtime: Any) -> None:
    """Nothing takes a shortcut any more."""
    runtime.step = lambda state, event: step(state, event)


def ended(runtime: Any) -> None:
    runtime.apply(Shutdown(runtime.clock()))
    until(lambda: not runtime.monitor.jobs)


# ---------------------------------------------------------------- what is logged


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, bool]]:
    return [
        (one.levelname, one.getMessage(), bool(one.exc_info))
        for one in caplog.records
        if one.name == "pool" and not one.getMessage().startswith("shop: closing connection")
    ]


@pytest.fixture
def shop(caplog: pytest.LogCaptureFixture) -> Any:
    """A runtime with a name, whose connections have numbers of their own."""
    caplog.set_level(logging.DEBUG, "pool")
    runtime = running()
    runtime.label = "shop: "
    runtime.number_of = lambda key, connection: f"{key}/{connection!r}"
    return runtime


def test_a_dead_connection_is_logged(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop.release(shop.acquire(None))
    shop.driver.on_alive = raising(OSError("gone"))
    shop.release(shop.acquire(None))
    assert logged(caplog) == [("DEBUG", "shop: connection 1/<connection 1> is dead", True)]


def test_a_failed_reset_is_logged(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    handle = shop.acquire(None)
    shop.driver.on_reset = raising(OSError("gone"))
    assert shop.release(handle) is True
    assert logged(caplog) == [("DEBUG", "shop: connection 1/<connection 1> cannot be reset", True)]
    assert [one.closed for one in shop.driver.opened] == [1]


def test_a_close_is_logged(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop.driver.on_close = raising(OSError("gone"))
    shop.discard(shop.acquire(None))
    said = [(one.levelname, one.getMessage(), bool(one.exc_info)) for one in caplog.records]
    assert said == [
        ("DEBUG", "shop: closing connection 1/<connection 1>: discarded", False),
        ("WARNING", "shop: closing connection 1/<connection 1> failed", True),
    ]


def test_a_failed_connect_is_logged(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop.driver.on_connect = raising(OSError("gone"))
    shop._connect(shop.monitor, None)  # nobody's: of a caller's own it is the caller that is told
    assert logged(caplog) == [("INFO", "shop: connect failed: OSError: gone", False)]


def test_a_report_that_fails_is_logged(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop.on_leak = raising(OSError("gone"))
    leak = Leaked(1, 1, "somebody", 3.0)
    shop.monitor.jobs[id(leak)] = leak
    shop.perform(leak)
    assert logged(caplog) == [("WARNING", "shop: reporting a leak failed", True)]


def test_a_leak_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    running().on_leak(Leaked(1, 7, "somebody", 3.04))
    text = "connection 7 has been held for 3.0 s by somebody"
    assert logged(caplog) == [("WARNING", text, False)]


def test_without_a_name_a_message_begins_with_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pool")
    runtime = running()
    runtime.driver.on_connect = raising(OSError("gone"))
    runtime._connect(runtime.monitor, None)
    assert [one.getMessage() for one in caplog.records] == ["connect failed: OSError: gone"]


# ---------------------------------------------------------------- who is in the middle of what


def test_who_waits_is_within_a_call() -> None:
    """As long as it waits, and no longer; and a call on top of it takes that mark not away."""
    runtime, seen = running("background"), list[Any]()
    holder = runtime.acquire(FOR_EVER)

    def look(_: int) -> None:
        if not seen:
            seen.append(runtime.is_within())
            with pytest.raises(PoolReentered):
                runtime.acquire(FOR_EVER)
            seen.append(runtime.is_within())

    runtime.on_wait = look
    waiter = park(runtime, runtime.acquire, FOR_EVER)
    until(lambda: len(seen) == 2)
    runtime.release(holder)
    runtime.release(waiter.result())
    assert seen == [True, True]
    until(lambda: not runtime.monitor.callers)  # the helper that has connected is within one, too
    ended(runtime)


def test_another_thread_in_the_middle_is_no_reason_to_refuse() -> None:
    runtime, gate = running(max_size=2), Gate()
    first = runtime.acquire(None)

    def stand(state: Any, event: Any) -> Any:
        if type(event) is Tick:
            gate()
        return step(state, event)

    runtime.step = stand
    ticking = Call(runtime.apply, Tick(runtime.clock()))
    until(lambda: gate.standing)
    assert runtime.monitor.applying
    assert not runtime.is_reentered()
    calls = [Call(runtime.acquire, None), Call(runtime.release, first)]
    calls[1].join(0.1)
    assert all(call.is_alive() for call in calls), "they wait for the lock"
    gate.open()
    ticking.result()
    runtime.release(calls[0].result())
    assert calls[1].result() is True


def in_the_middle(runtime: Any, call: Callable[[], Any]) -> Any:
    """What a call gives that comes in the middle of a transition, from a finalizer for example."""
    said = list[Any]()

    def interrupted(state: Any, event: Any) -> Any:
        if type(event) is Tick and not said:
            said.append(None)
            said[0] = call()
        return step(state, event)

    runtime.step = interrupted
    runtime.apply(Tick(runtime.clock()))
    return said[0]


@pytest.mark.parametrize("reset", [True, False])
def test_a_release_in_the_middle_of_a_transition(reset: bool) -> None:
    runtime = running()
    runtime.driver.on_reset = lambda _: reset
    handle = runtime.acquire(None)
    assert in_the_middle(runtime, lambda: runtime.release(handle)) is True
    assert handle.ended
    assert not runtime.state.in_use, "it takes effect after the transition"
    assert [one.closed for one in runtime.driver.opened] == [0 if reset else 1]
    assert runtime.release(handle) is False


def test_a_release_in_the_middle_of_what_is_no_longer_held() -> None:
    runtime = running()
    handle = runtime.acquire(None)
    runtime.apply(CloseAll(runtime.clock()))
    assert in_the_middle(runtime, lambda: runtime.release(handle)) is False
    assert handle.ended


def test_a_release_that_is_served_in_the_middle_of_a_transition() -> None:
    """Its effects are not nothing, and are no refusal: somebody waits for the connection."""
    runtime = running()
    handle = runtime.acquire(None)
    waiter = park(runtime, runtime.acquire, FOR_EVER)
    assert in_the_middle(runtime, lambda: runtime.release(handle)) is True
    assert waiter.result().connection.number == 1


def test_an_acquire_in_the_middle_of_a_transition_says_why_not() -> None:
    runtime = running()

    def acquire() -> str:
        with pytest.raises(PoolReentered, match="in the middle of another call") as refused:
            runtime.acquire(0)
        return str(refused.value)

    assert "cannot wait" in in_the_middle(runtime, acquire)


def test_an_end_in_the_middle_of_a_transition() -> None:
    runtime = running()
    handle = runtime.acquire(None)
    assert in_the_middle(runtime, lambda: runtime.discard(handle)) is True
    assert [one.closed for one in runtime.driver.opened] == [1]


def refused(runtime: Any) -> str:
    try:
        runtime.acquire(0)
    except PoolReentered:
        return "refused"
    return "let in"


def test_nobody_enters_while_the_inbox_is_emptied() -> None:
    runtime, said = running(), list[str]()

    def interrupted(state: Any, event: Any) -> Any:
        if type(event) is Tick:
            said.append(refused(runtime))
        return step(state, event)

    runtime.step = interrupted
    runtime.monitor.inbox.append((Tick(runtime.clock()),))
    runtime.monitor.drain(runtime.clock)
    assert said == ["refused"]
    assert not runtime.monitor.applying
    assert not runtime.monitor.inbox


class Parker:
    """A parked caller's lock that does something when its answer is there."""

    def __init__(self, release: Callable[[], Any]) -> None:
        self.release = release


def undelivered(runtime: Any, at_delivery: Callable[[], Any]) -> Cell:
    """What one left behind who was struck between a decision and its delivery."""
    cell = Cell(5)
    cell.parker = Parker(at_delivery)
    runtime.monitor.cells[5] = cell
    runtime.monitor.current = (runtime.monitor.current[0], (Refuse(5, "closed", None),))
    return cell


def test_an_interrupted_call_delivers_what_was_decided() -> None:
    """And nobody enters meanwhile."""
    runtime, said = running(), list[Any]()

    def at_delivery() -> None:
        said.append(refused(runtime))
        runtime._abort(runtime.monitor)  # another one, of a finalizer that is struck, too
        said.append(runtime.monitor.applying)

    cell = undelivered(runtime, at_delivery)
    runtime._abort(runtime.monitor)
    assert type(cell.answer) is Refuse
    assert said == ["refused", True]
    assert not runtime.monitor.applying
    assert (runtime.monitor.cells, runtime.monitor.current[1]) == ({}, ())
    assert not runtime.monitor.lock._is_owned()


def test_an_interrupted_call_looks_at_the_inbox_after_the_delivery() -> None:
    runtime = running()
    undelivered(runtime, nothing)
    runtime.monitor.inbox.append((7, 0))
    runtime._abort(runtime.monitor)
    assert (runtime.monitor.cells, list(runtime.monitor.inbox)) == ({}, [])


def test_what_a_state_does_not_allow_is_no_error_of_whoever_empties_the_inbox() -> None:
    runtime, states = running(), list[Any]()

    def made(state: Any) -> Any:
        states.append(state)
        raise ValueError("not of this state")

    runtime.monitor.inbox.append((made,))
    runtime.monitor.drain(runtime.clock)
    assert (states, list(runtime.monitor.inbox)) == ([runtime.state], [])


def test_what_is_discarded_too_late_is_said() -> None:
    runtime = running()
    handle = runtime.acquire(None)
    runtime.apply(CloseAll(runtime.clock()))
    assert runtime.discard(handle) is False


def test_who_is_struck_before_it_has_a_ticket_takes_nothing_from_others() -> None:
    runtime = running(max_size=2)
    first = runtime.acquire(None)
    assert (first.ticket, first.key) == (1, 1)
    free = runtime.monitor.turnstile

    def struck() -> Any:
        raise KeyboardInterrupt

    runtime.monitor.turnstile = iter(struck, None)
    with pytest.raises(KeyboardInterrupt):
        runtime.acquire(None)
    runtime.monitor.turnstile = free
    assert lent(runtime) == [first.connection]
    assert runtime.release(first) is True


# ---------------------------------------------------------------- at rest


def test_a_connect_under_way_is_no_rest() -> None:
    runtime = running("background")
    gate = runtime.driver.on_connect = Gate()
    waiter = park(runtime, runtime.acquire, FOR_EVER)
    until(lambda: gate.standing)
    assert (runtime.state.opening, lent(runtime), runtime.monitor.jobs) == (1, [], {})
    assert not runtime.is_at_rest()
    gate.open()
    runtime.release(waiter.result())
    until(runtime.is_at_rest)
    ended(runtime)


def test_what_is_decided_and_not_delivered_is_no_rest() -> None:
    runtime = running()
    assert runtime.is_at_rest()
    close = Close(1, Connection(1), "lifetime")
    runtime.monitor.current = (runtime.monitor.current[0], (close,))
    assert not runtime.is_at_rest()
    runtime.take_over()


def test_jobs_of_one_who_was_interrupted_are_taken_over() -> None:
    runtime = running()
    close = Close(1, Connection(1), "lifetime")
    runtime.monitor.jobs[id(close)] = close
    runtime.take_over()
    assert (close.connection.closed, runtime.monitor.jobs) == (1, {})


def test_who_acquires_does_what_others_left_undone() -> None:
    runtime = running(check_after=math.inf)
    runtime.release(runtime.acquire(None))
    close = Close(9, Connection(9), "lifetime")
    runtime.monitor.jobs[id(close)] = close
    runtime.monitor.orphans = True
    handle = runtime.acquire(0)  # of what is idle: nobody else is concerned
    assert (close.connection.closed, runtime.monitor.jobs) == (1, {})
    assert handle.connection is runtime.driver.opened[0]


def test_what_an_interrupted_thread_hands_out_late_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another leaves the lock in between, and finds nothing to take over yet."""
    runtime = running()
    monitor = runtime.monitor
    close = Close(9, Connection(9), "close_all")
    monitor.current = (monitor.current[0], (close,))
    deliver = Monitor.deliver

    def another_leaves(self: Monitor) -> None:
        monkeypatch.undo()
        runtime._leave(self, ())
        deliver(self)

    monkeypatch.setattr(Monitor, "deliver", another_leaves)
    monitor.abort(runtime.clock)
    assert (close.connection.closed, list(monitor.jobs.values())) == (0, [close])
    runtime.apply(Tick(runtime.clock()))  # whoever comes next
    assert (close.connection.closed, monitor.jobs) == (1, {})


def test_what_is_just_being_handed_out_is_not_begun() -> None:
    """Who does that may be interrupted, and hands it out again (RUN-4): a helper that had begun it
    would do it twice."""
    monitor = running().monitor
    before, close = (Close(key, Connection(key), "close_all") for key in (8, 9))
    monitor.jobs[id(before)] = before
    assert monitor.ready() == [before]
    monitor.jobs[id(close)] = close
    monitor.current = (monitor.current[0], (close,))
    assert monitor.ready() == [before]
    assert [monitor.claim(job) for job in (close, before, before)] == [False, True, False]
    monitor.deliver()
    assert monitor.ready() == [close]
    assert [monitor.claim(close) for _ in range(2)] == [True, False]
    assert monitor.ready() == []


def test_an_event_that_is_made_in_the_middle_of_a_transition_is_made_of_the_state() -> None:
    """Twice: to say what it would do, and when it takes effect."""
    runtime, seen = running(), list[Any]()

    def make(state: Any) -> Tick:
        seen.append(state)
        return Tick(runtime.clock())

    runtime.monitor.lock.acquire()
    runtime.monitor.applying = True
    effects = runtime.apply(make)
    assert (effects, len(seen)) == ((), 1)
    runtime.monitor.applying = False
    runtime.monitor.lock.release()
    runtime.apply(Tick(runtime.clock()))
    assert [type(state).__name__ for state in seen] == ["State", "State"]


# ---------------------------------------------------------------- checks, and the second try


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize(("rested", "asked"), [(9.0, 0), (10.0, 1), (11.0, 1)])
def test_what_rested_just_so_long_is_asked(short: bool, rested: float, asked: int) -> None:
    clock, asks = Clock(), list[Any]()
    runtime = running(sync=clock, clock=clock.monotonic, check_after=10.0)
    if not short:
        by_every_event(runtime)
    runtime.release(runtime.acquire(None))
    runtime.driver.on_alive = asks.append
    clock.now = rested
    runtime.release(runtime.acquire(None))
    assert len(asks) == asked


def test_who_begins_anew_waits_if_it_must() -> None:
    """Its grant was closed while it was being checked, and another was quicker: it is not one
    that is in the middle of a call, and what it gets is as its caller said."""
    runtime = running()
    by_every_event(runtime)
    runtime.release(runtime.acquire(None))
    others = list[Any]()

    def another_is_quicker(_: Any) -> bool:
        if not others:
            runtime.apply(CloseAll(runtime.clock()))
            others.append(Call(runtime.acquire, 0).result())
        return False

    runtime.driver.on_alive = another_is_quicker
    kept = runtime.acquire  # a method: the recursion goes by the class
    made = type(others)()
    waiter = Call(lambda: made.append(kept(FOR_EVER, "the owner")))
    until(lambda: waiting(runtime) == 1)
    runtime.driver.on_alive = lambda _: True
    runtime.release(others[0])
    waiter.result()
    (lease,) = leased(runtime.state.in_use).values()
    assert lease.owner == "the owner"
    assert made[0].connection.number == 2
    assert runtime.monitor.callers == set()


def test_who_begins_anew_keeps_its_handle() -> None:
    runtime = running()
    runtime.release(runtime.acquire(None))

    def closed(_: Any) -> bool:
        runtime.apply(CloseAll(runtime.clock()))
        return False

    runtime.driver.on_alive = closed
    handle = Handle(runtime)
    assert runtime.acquire(None, "me", handle) is handle


def test_who_does_not_wait_does_not_after_a_dead_connection() -> None:
    runtime = running()
    runtime.release(runtime.acquire(None))

    def suspended(_: Any) -> bool:
        runtime.apply(Suspend(runtime.clock()))
        return False

    runtime.driver.on_alive = suspended
    with pytest.raises(PoolSuspended):
        Call(runtime.acquire, 0).result()


def test_a_deadline_holds_after_a_dead_connection() -> None:
    runtime = running("background")
    runtime.release(runtime.acquire(FOR_EVER))
    gate = runtime.driver.on_connect = Gate()
    runtime.helpers.is_alive = lambda *_: False  # at once, on no thread
    with pytest.raises(PoolTimeout, match=r"no connection within 0\.5 s"):
        Call(runtime.acquire, 0.5).result()
    gate.open()
    until(lambda: not runtime.state.opening)
    ended(runtime)


def test_a_release_resets_unless_told_that_it_is_clean() -> None:
    runtime, resets = running(), list[Any]()
    runtime.driver.on_reset = resets.append
    runtime.release(runtime.acquire(None), True)
    assert resets == []
    runtime.release(runtime.acquire(None))
    assert len(resets) == 1


# ---------------------------------------------------------------- jobs, and marks of them


def test_a_note_that_comes_while_the_lock_is_left_is_looked_at() -> None:
    runtime, told = running(), list[Any]()

    class Late(Onlookers):
        def notify(self) -> None:
            told.append(None)
            if len(told) == 1:
                runtime.monitor.inbox.append((9, 0))

    runtime.monitor.onlookers = Late()
    runtime.monitor.inbox.append((8, 0))
    runtime.monitor.drain(runtime.clock)
    assert (len(told), list(runtime.monitor.inbox)) == (2, [])


def test_a_job_that_another_has_is_not_done_twice() -> None:
    runtime = running()
    close = Close(1, Connection(1), "lifetime")
    runtime.perform(close)
    assert (close.connection.closed, runtime.monitor.closing) == (0, {})


def test_a_close_among_losses_of_others() -> None:
    runtime, _, lost = losing()
    runtime.monitor.losses[99] = ("another", 1.0)
    runtime.discard(runtime.acquire(None))
    assert (runtime.driver.opened[0].closed, lost, list(runtime.monitor.losses)) == (1, [], [99])


def test_a_mark_that_was_never_noted_is_no_error() -> None:
    """The mark of a call that was interrupted before it was noted: its object is gone, and it has
    no hash."""
    runtime = running()
    mark = weakref.ref(runtime.driver.__class__())
    with pytest.raises(TypeError):
        hash(mark)
    monitor = runtime.monitor
    others = monitor.closing, monitor.connecting = {"another": 1}, {"another": (1, 0.0)}
    runtime.monitor.closed(mark)
    runtime.monitor.connected(mark)
    assert (monitor.closing, monitor.connecting) == others
    assert others == ({"another": 1}, {"another": (1, 0.0)})


def test_no_mark_is_left_of_a_connect() -> None:
    runtime, during = running(), list[Any]()
    runtime.driver.on_connect = lambda: during.append(list(runtime.monitor.connecting.values()))
    runtime.release(runtime.acquire(None))
    ((me, began),) = during[0]
    assert (me, type(began)) == (runtime.sync.ident(), float)
    assert (runtime.monitor.connecting, runtime.monitor.callers) == ({}, set())


@pytest.mark.parametrize("name", ["connected", "closed"])
def test_a_mark_goes_with_its_call_if_its_end_is_interrupted(name: str) -> None:
    struck = list[Any]()

    def interrupted(monitor: Any, mark: Any) -> None:
        if not struck:
            struck.append(None)
            raise KeyboardInterrupt
        getattr(Monitor, name)(monitor, mark)

    kind: Any = type("Interrupted", (Monitor,), {name: interrupted})
    runtime = running()
    runtime._begin_with(kind(runtime.fields, runtime.sync))

    def use() -> None:
        with suppress(KeyboardInterrupt):
            runtime.discard(runtime.acquire(None))

    use()
    gc.collect()
    assert (len(struck), runtime.monitor.connecting, runtime.monitor.closing) == (1, {}, {})


@pytest.mark.parametrize("what", ["connect", "close"])
def test_who_keeps_what_a_call_raised_keeps_no_mark_of_it(what: str) -> None:
    """An exception keeps the frames through which it went."""
    runtime = running()
    setattr(runtime.driver, f"on_{what}", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) as kept:
        runtime.discard(runtime.acquire(None))
    assert (runtime.monitor.connecting, runtime.monitor.closing) == ({}, {})
    assert runtime.is_at_rest() is True
    assert kept.value.__traceback__ is not None


def test_who_connects_for_nobody_in_particular_is_within_a_call() -> None:
    """A hook that acquires there would wait for what comes of itself."""
    runtime, seen = running("background"), list[Any]()
    runtime.driver.on_connect = lambda: seen.append(runtime.is_within())
    runtime.release(runtime.acquire(FOR_EVER))
    assert seen == [True]
    until(lambda: not runtime.monitor.callers)
    ended(runtime)


def test_nobody_connects_in_a_child_for_what_was_begun_in_its_parent() -> None:
    """A signal's handler forks right before the connect."""
    runtime, before = running(), list[Any]()

    def clock() -> float:
        if not before and runtime.state.opening:
            before.append(runtime.monitor)
            runtime._after_fork()
        return 1.0

    runtime.clock = clock
    handle = runtime.acquire(None)
    assert runtime.monitor is not before[0]
    assert runtime.driver.opened == [handle.held] == lent(runtime)
    runtime.release(handle)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_a_connect_whose_error_cannot_be_made_text_has_failed() -> None:
    runtime = running()
    runtime.driver.on_connect = raising(Unspeakable())
    with pytest.raises(KeyboardInterrupt):
        runtime.acquire(None)
    assert runtime.state.opening == 0
    assert runtime.state.last_error == Failure("Exception", "")
    runtime.driver.on_connect = nothing
    runtime.release(runtime.acquire(None))


def test_the_jitter_of_a_failed_connect_is_up_to_a_half() -> None:
    runtime = running(jitter=lambda: 0.5)
    events = noted(runtime)
    runtime.driver.on_connect = raising(OSError("down"))
    with pytest.raises(OSError, match="down"):
        runtime.acquire(None)
    assert [one.jitter for one in events if type(one) is OpenFailed] == [0.25]


def test_the_jitter_of_a_connection_is_up_to_a_tenth() -> None:
    runtime = running(jitter=lambda: 0.5)
    events = noted(runtime)
    runtime.release(runtime.acquire(None))
    assert [one.jitter for one in events if type(one) is Opened] == [0.05]


# ---------------------------------------------------------------- losses, and what is not one's own


def losing() -> tuple[Any, Any, list[Any]]:
    clock, lost = Clock(), list[Any]()
    runtime = running(max_size=3, sync=clock, clock=clock.monotonic)
    runtime.on_lost = lambda close, *more: lost.append((close.key, *more))
    return runtime, clock, lost


def test_a_loss_is_told_with_its_owner_and_how_long_it_was_held() -> None:
    runtime, clock, lost = losing()
    clock.now = 2.0
    handles = [runtime.acquire(None, owner) for owner in ("one", "two")]
    clock.now = 7.0
    del handles[1]
    runtime.take_over()
    assert lost == [(2, "two", 5.0)]
    assert runtime.monitor.collected == set()
    assert runtime.driver.opened[1].closed == 1
    runtime.discard(handles[0])
    assert len(lost) == 1, "what is given back is no loss"


def test_what_was_given_back_is_not_lost_when_it_is_collected() -> None:
    runtime, _, lost = losing()
    handle = runtime.acquire(None, "one")
    with pytest.raises(TypeError, match=r"^a Handle cannot be copied or pickled"):
        handle.__reduce__()
    runtime.release(handle)
    del handle
    assert (runtime.monitor.collected, list(runtime.monitor.inbox), lost) == (set(), [], [])


def test_what_is_given_up_is_no_loss() -> None:
    runtime, clock, lost = losing()
    events = list[Any]()

    def seen(state: Any, event: Any) -> Any:
        events.append(event)
        return step(state, event)

    handle = runtime.acquire(None, "one")
    clock.now = 4.0
    runtime.step = seen
    runtime.lose(handle)
    assert [(type(one).__name__, one.now) for one in events] == [("Discard", 4.0), ("Cancel", 4.0)]
    runtime.take_over()
    assert (lost, runtime.monitor.losses) == ([], {})
    assert runtime.driver.opened[0].closed == 1


def test_all_of_an_owner_that_is_gone_is_lost() -> None:
    runtime, clock, lost = losing()
    owner, other = object(), object()
    handles = [runtime.acquire(None, each) for each in (owner, other, owner)]
    clock.now = 1.0
    runtime.lost(owner)
    runtime.apply(Tick(1.0))
    assert lost == [(1, owner, 1.0), (3, owner, 1.0)]
    assert lent(runtime) == [handles[1].connection]
    times = [lease.checked_out for lease in leased(runtime.state.in_use).values()]
    assert times == [0.0]


def test_who_is_gone_neither_waits_nor_connects_any_more() -> None:
    """Nor does whoever queues behind it wait for that."""
    runtime, connecting, queued, other = running(), object(), object(), object()
    cells = [Cell(ticket) for ticket in (1, 2, 3)]
    for cell, owner in zip(cells, (connecting, queued, other), strict=True):
        runtime.apply(Acquire(runtime.clock(), cell.ticket, True, owner), cell)
    assert [type(cell.answer) for cell in cells] == [Open, type(None), type(None)]
    assert dict(runtime.state.opening_tickets) == {1: connecting}
    assert [owner for _, owner in waiters.items(runtime.state.waiters)] == [queued, other]
    runtime.lost(queued)
    runtime.apply(Tick(runtime.clock()))
    assert [owner for _, owner in waiters.items(runtime.state.waiters)] == [other]
    runtime.lost(connecting)
    runtime.apply(Tick(runtime.clock()))
    assert dict(runtime.state.opening_tickets) == {3: other}, "its place is the next one's"


def test_who_waits_when_its_process_forks_is_told_in_the_child() -> None:
    """Each by its own ticket: an answer will never come, and it comes back to its wait."""
    runtime = running()
    cells = [Cell(7), Cell(8)]
    monitor = runtime.monitor
    for cell in cells:
        monitor.expect(cell)
    runtime._after_fork()
    assert runtime.monitor is not monitor
    for cell in cells:
        assert cell.answer == Refuse(cell.ticket, "forked", None)
        assert cell.parker.acquire(False), "it is awake"


def test_tickets_go_on_in_a_child() -> None:
    """A handle of the parent's, or what was noted of it, is never taken for one of the child's."""
    runtime = running()
    before = runtime.acquire(None)
    runtime._after_fork()
    assert runtime.acquire(None).ticket > before.ticket


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_handle_of_the_parents_has_ended_when_it_is_given_back(end: str) -> None:
    runtime = running()
    handle = runtime.acquire(None)
    runtime._after_fork()
    assert not handle.ended
    assert getattr(runtime, end)(handle) is False
    assert handle.ended is True
    assert handle.connection.closed == 0


def test_a_release_says_plainly_whether_it_may_be_lent_again() -> None:
    """True or False: it is recorded."""
    runtime, events = running(), list[Any]()

    def seen(state: Any, event: Any) -> Any:
        events.append(event)
        return step(state, event)

    runtime.step = seen
    for reset in (lambda _: True, lambda _: False, raising(OSError("gone"))):
        runtime.driver.on_reset = reset
        runtime.release(runtime.acquire(None))
    assert [one.reusable for one in events if type(one) is Release] == [True, False, False]


class Unasked(Connection):
    """A connection that says nothing of its truth, as one that counts what waits in it might."""

    def __bool__(self) -> bool:
        raise AssertionError("it was asked whether it is true")


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_what_rests_is_lent_to_its_owner_whatever_it_is(opener: Any) -> None:
    runtime = running(opener, check_after=FOR_EVER)
    runtime.driver.connect = lambda: Unasked(1)
    for owner in ("one", "another"):
        handle = runtime.acquire(FOR_EVER, owner)
        assert [lease.owner for lease in leased(runtime.state.in_use).values()] == [owner]
        assert type(handle.held) is Unasked
        runtime.release(handle)
    ended(runtime)


def test_who_has_the_lock_may_acquire_and_release() -> None:
    """A program that holds `_pool_lock` of the drop-in: no call leaves it in the middle of one."""
    runtime = running(check_after=FOR_EVER)
    with runtime.monitor.lock:
        for _ in range(3):
            handle = runtime.acquire(0)
            assert not runtime.is_reentered()
            runtime.release(handle)
            assert not runtime.is_reentered()


def test_an_event_takes_effect_before_its_call_is_over() -> None:
    """Also where its thread has the lock and is not yet, or not any more, in the middle of a
    transition; that of another thread is waited for."""
    runtime = running()
    monitor = runtime.monitor
    with monitor.lock:
        monitor.apply(Suspend(1.0))
        assert (runtime.state.phase, list(monitor.inbox)) == ("suspended", [])
    monitor.applying = True  # another thread's, which is about to leave the lock
    monitor.apply(Resume(2.0))
    assert (runtime.state.phase, list(monitor.inbox)) == ("open", [])


def test_in_a_child_the_lock_of_a_thread_that_is_not_there_is_free() -> None:
    """One that is this thread's stays so: it comes back to where it holds it."""
    monitor, gate = running().monitor, Gate()

    def hold() -> None:
        with suppress(RuntimeError), monitor.lock:  # it cannot leave what is taken away from it
            gate()

    holder = Call(hold)
    until(lambda: gate.standing)
    monitor.abandon()
    assert monitor.lock.acquire(False)
    monitor.lock.release()
    gate.open()
    holder.result()

    monitor = running().monitor
    with monitor.lock:
        monitor.abandon()
        assert monitor.lock._is_owned()
    assert not monitor.lock._is_owned()


def test_who_holds_the_lock_is_in_the_middle_of_nothing() -> None:
    """As with `_pool_lock` of the drop-in: what it does takes effect at once, again and again."""
    runtime = running()
    for _ in range(2):
        with runtime.monitor.lock:
            runtime.apply(Suspend(runtime.clock()))
            assert runtime.state.phase == "suspended"
            assert not runtime.is_reentered()
            runtime.apply(Resume(runtime.clock()))
            assert runtime.state.phase == "open"
        assert not runtime.monitor.applying


@pytest.mark.parametrize("where", ["connect", "check"])
def test_who_comes_back_in_a_child_begins_again(where: str) -> None:
    """From a connect or a check in the middle of which the process was forked."""
    runtime = running(check_after=0.0)
    forks = [runtime._after_fork]
    if where == "check":
        runtime.release(runtime.acquire(None))
        runtime.driver.on_alive = lambda _: forks and forks.pop()()
    else:
        runtime.driver.on_connect = lambda: forks and forks.pop()()
    handle = runtime.acquire(None)
    assert forks == []
    assert handle.monitor is runtime.monitor
    assert handle.connection is runtime.driver.opened[-1]
    assert (lent(runtime), len(runtime.driver.opened)) == ([handle.connection], 2)


def test_a_check_that_cannot_be_made_is_a_no() -> None:
    """Where the system has no thread for it, say: the caller gets another connection."""
    runtime = running("background", max_size=2, check_after=0.0)
    runtime.release(runtime.acquire(FOR_EVER))
    first = runtime.driver.opened[0]
    runtime.helpers.is_alive = raising(RuntimeError("can't start new thread"))
    handle = runtime.acquire(FOR_EVER)
    assert handle.connection is not first
    until(lambda: first.closed)
    ended(runtime)


@pytest.mark.parametrize("timeout", [None, 5.0, 0])
def test_who_does_not_wait_does_not_wait_for_a_check(timeout: Any) -> None:
    """But for an instant; who waits has until its deadline."""
    clock, given = Clock(), list[Any]()
    runtime = running("background", check_after=0.0, sync=clock)
    runtime.release(runtime.acquire(FOR_EVER))

    def is_alive(handle: Handle, deadline: float | None, waits: bool = True) -> bool:
        given.append((deadline, waits))
        return True

    runtime.helpers.is_alive = is_alive
    runtime.acquire(timeout)
    assert given == [(5.0 if timeout else None, timeout != 0)]
    ended(runtime)


def test_who_waits_is_told_of_by_its_ticket_at_once_and_once_more_if_it_lasts() -> None:
    runtime = running()
    handle = runtime.acquire(None)
    waits, long = list[int](), list[int]()
    runtime.on_wait, runtime.on_long_wait = waits.append, long.append
    call = park(runtime, runtime.acquire, FOR_EVER)
    until(lambda: long)
    runtime.release(handle)
    ticket = call.result().ticket
    assert (waits, long) == ([ticket], [ticket])


class Parks(Clock):
    """Its locks write down for how long one parks, and then so much time has passed."""

    def __init__(self) -> None:
        self.parked: list[float] = []
        self.before: list[Callable[[], Any]] = []
        """What happens while one parks, the first time, the second time and so on."""

    def lock(self) -> Any:  # type: ignore[override]
        return Noting(self)


class Noting:
    def __init__(self, sync: Parks) -> None:
        self.sync = sync
        self.is_taken = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.is_taken:
            self.sync.parked.append(timeout)
            self.sync.now += max(timeout, 0.0)
            if self.sync.before:
                self.sync.before.pop(0)()
        self.is_taken = True
        return False

    def release(self) -> None:
        """Whoever parks here is awake already."""


@pytest.mark.parametrize(
    ("timeout", "tells", "parked"),
    [
        *((None, False, [-1]), (5.0, False, [5.0])),
        *((None, True, [0.1, -1]), (5.0, True, [0.1, 4.9]), (0.05, True, [0.05])),
    ],
)
def test_a_wait_is_told_of_when_it_has_lasted(
    timeout: Any, tells: bool, parked: list[float]
) -> None:
    """A tenth of a second, if it may last so long; with or without it one waits as long."""
    sync, told = Parks(), list[int]()
    runtime = running(sync=sync)
    handle = runtime.acquire(None)
    if tells:
        runtime.on_long_wait = told.append
    last = timeout is None
    sync.before = [nothing] * (len(parked) - 1) + [lambda: last and runtime.release(handle)]
    if last:
        assert runtime.acquire(None).connection is handle.connection
    else:
        with pytest.raises(PoolTimeout):
            runtime.acquire(timeout)
    assert sync.parked == pytest.approx(parked)
    assert len(told) == tells


def test_a_wait_that_did_not_last_is_not_told_of() -> None:
    sync, told = Parks(), list[int]()
    runtime = running(sync=sync)
    handle = runtime.acquire(None)
    runtime.on_long_wait = told.append
    sync.before = [lambda: runtime.release(handle)]
    assert runtime.acquire(None).connection is handle.connection
    assert (sync.parked, told) == ([0.1], [])


def test_a_note_that_comes_as_the_inbox_is_left_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its finalizer had found the lock taken, and left it to whoever has it."""
    runtime = running(max_size=2)
    first, second = (runtime.acquire(None) for _ in range(2))
    monitor, empty = runtime.monitor, Monitor.empty_inbox

    def meanwhile(self: Monitor, clock: Any) -> None:
        empty(self, clock)
        monkeypatch.undo()
        monitor.inbox.append((second.ticket, second.key))

    monkeypatch.setattr(Monitor, "empty_inbox", meanwhile)
    monitor.inbox.append((first.ticket, first.key))
    monitor.drain(runtime.clock)
    assert (list(monitor.inbox), lent(runtime)) == ([], [])


def test_what_waits_for_this_very_thread_is_no_reason_for_it_to_wait() -> None:
    """What it holds, what it is asking, and what it connects; but what others do is. Such a wait
    would be in its own way, and is never over."""
    runtime, me = running("background"), threading.get_ident()

    def is_in_its_own_way(holds: bool = False) -> bool:
        return bool(runtime.is_in_its_own_way(lambda lease: holds))

    handle = runtime.acquire(FOR_EVER)
    assert runtime.is_at_rest() is False
    until(lambda: runtime.is_at_rest(lambda lease: True) is True)  # the helper has just connected
    assert runtime.is_at_rest(lambda lease: False) is False
    assert (is_in_its_own_way(True), is_in_its_own_way()) == (True, False)
    asking = {me: {handle.key}}
    runtime.helpers.checked_by = lambda ident: asking.get(ident, set())
    assert runtime.is_at_rest(lambda lease: False) is True
    assert is_in_its_own_way()
    asking[-1] = asking.pop(me)
    assert runtime.is_at_rest(lambda lease: False) is False
    assert not is_in_its_own_way()
    runtime.release(handle)
    assert runtime.is_at_rest() is True
    assert not is_in_its_own_way(True)
    connecting, mark = runtime.monitor.connecting, weakref.ref(handle)
    for thread in (me, -1):
        connecting[mark] = thread, runtime.clock()
        assert runtime.is_at_rest() is False
        assert runtime.is_at_rest(lambda lease: False) is (thread == me)
        assert is_in_its_own_way() is (thread == me)
    connecting.clear()
    ended(runtime)


def test_a_close_is_no_reason_to_wait_for_the_thread_that_closes() -> None:
    """When it is over, it is told."""
    runtime, seen, told = running(), list[Any](), list[Any]()

    def close(_: Any) -> None:
        others = Call(runtime.is_at_rest, lambda lease: False).result()
        seen.append((runtime.is_at_rest(lambda lease: False), others, len(told)))

    runtime.driver.on_close = close
    runtime.on_close = told.append
    runtime.discard(runtime.acquire(None))
    assert seen == [(True, False, 0)]
    assert [(effect.key, effect.reason) for effect in told] == [(1, "discarded")]


@pytest.mark.parametrize("where", ["connect", "close"])
def test_what_a_child_may_not_touch_is_kept(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For good: to collect it would tell the server something on the parent's wire."""
    kept: list[Any] = []
    monkeypatch.setattr("pool.shared.forks.keep", lambda *these: kept.extend(these))
    runtime = running()
    forks = [runtime._after_fork]
    if where == "connect":
        runtime.driver.on_connect = lambda: forks and forks.pop()()
        runtime.acquire(None)
    else:
        close = Close(9, runtime.driver.connect(), "close_all")
        runtime.monitor.jobs[id(close)] = close
        runtime.number_of = lambda key, _: (forks and forks.pop()()) or key
        runtime.perform(close)
    first = runtime.driver.opened[0]
    assert first in kept
    assert first.closed == 0


def test_what_the_parent_has_is_kept_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rests and what is lent."""
    kept: list[Any] = []
    monkeypatch.setattr("pool.shared.forks.keep", lambda *these: kept.extend(these))
    runtime = running(max_size=2)
    handles = [runtime.acquire(None), runtime.acquire(None)]
    runtime.release(handles[0])
    runtime._after_fork()
    assert {one.number for one in kept} == {1, 2}
    assert [one.closed for one in runtime.driver.opened] == [0, 0]


@pytest.mark.parametrize(
    ("ticket", "error", "reported"),
    [(None, Stop(), True), (None, OSError("down"), True), (1, Stop(), False), (1, OSError(), True)],
)
def test_a_connect_that_does_not_succeed_is_reported_or_given_up(
    ticket: Any, error: BaseException, reported: bool
) -> None:
    """One that is nobody's has failed, whatever it was; one whose caller is interrupted goes with
    its caller."""
    runtime, seen = running(), list[Any]()
    runtime.step = lambda state, event: seen.append(type(event)) or step(state, event)
    if ticket:
        runtime.apply(Acquire(runtime.clock(), ticket, True, None), Cell(ticket))
    runtime.driver.on_connect = raising(error)
    with suppress(Stop, OSError):
        runtime._connect(runtime.monitor, ticket)
    assert (OpenFailed in seen) is reported


def test_what_is_lost_has_ended() -> None:
    """A handle that is given back after that is none any more."""
    runtime = running()
    handle = runtime.acquire(None)
    runtime.lose(handle)
    assert handle.ended is True
    assert runtime.release(handle) is False
    assert lent(runtime) == []


def test_a_child_has_helpers_of_its_own() -> None:
    runtime = running("background")
    before = runtime.helpers
    runtime._after_fork()
    assert before.is_abandoned
    assert runtime.helpers is not None
    assert runtime.helpers is not before
    runtime.release(runtime.acquire(FOR_EVER))
    ended(runtime)


def test_no_io_is_performed_in_the_middle_of_a_transition() -> None:
    runtime = running()
    monitor, close = runtime.monitor, Close(9, Connection(9), "close_all")
    monitor.jobs[id(close)] = close
    monitor.orphans = True  # nobody has it: it is for whoever leaves the lock
    monitor.lock.acquire()
    monitor.applying = True
    runtime.apply(Suspend(runtime.clock()))
    assert close.connection.closed == 0
    monitor.applying = False
    monitor.lock.release()
    runtime.take_over()
    assert close.connection.closed == 1
    assert runtime.state.phase == "suspended"


def test_a_handle_knows_whether_it_is_new_and_whether_it_has_waited() -> None:
    runtime = running()
    unused = Handle(runtime)
    assert (unused.is_new, unused.has_waited) == (False, False)
    handle = runtime.acquire(None)
    assert (handle.is_new, handle.has_waited) == (True, False)
    call = park(runtime, runtime.acquire, FOR_EVER)
    runtime.release(handle)
    other = call.result()
    assert (other.is_new, other.has_waited) == (False, True)
    call = park(runtime, runtime.acquire, FOR_EVER)
    runtime.discard(other)
    last = call.result()
    assert (last.is_new, last.has_waited) == (True, True)
    runtime.release(last)
    again = runtime.acquire(None)
    assert (again.is_new, again.has_waited) == (False, False)


def test_one_may_wait_for_longer_than_a_lock_can() -> None:
    """Three hundred years are as good as any number."""
    runtime = running()
    handle = runtime.acquire(None)
    call = park(runtime, runtime.acquire, 1e12)
    runtime.release(handle)
    assert call.result().connection is handle.connection


def test_who_waits_for_the_pool_is_told_that_what_is_wanted_has_changed() -> None:
    """An event that asks for no Io, and with nothing in the inbox."""
    runtime, looks = running("background"), list[str]()

    def holds() -> bool:
        looks.append(runtime.state.phase)
        return looks[-1] == "suspended"

    call = Call(runtime.wait_until, holds, None)
    until(lambda: len(looks) >= 2)  # from now on it parks
    runtime.apply(Suspend(runtime.clock()))
    assert call.result() is True


def test_a_loss_that_was_no_lease_any_more_is_none() -> None:
    """Its connection was closed by others; the next one with that handle's key is somebody's."""
    runtime, _, lost = losing()
    handle = runtime.acquire(None, "one")
    runtime.apply(CloseAll(runtime.clock()))
    del handle
    runtime.take_over()
    assert (lost, runtime.monitor.losses) == ([], {})


def test_what_was_discarded_is_given_back() -> None:
    runtime = running()
    handle = runtime.acquire(None)
    assert runtime.discard(handle) is True
    assert handle.ended is True
    assert runtime.discard(handle) is False
    assert runtime.release(handle) is False


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_handle_of_another_pool_is_refused_by_its_number(end: str) -> None:
    runtime, other = running(), running()
    runtime.number_of = lambda key, connection: f"{key}/{connection!r}"
    handle = runtime.acquire(None)
    with pytest.raises(ValueError, match=r"^connection 1/<connection 1> belongs to another pool$"):
        getattr(other, end)(handle)
    assert runtime.release(handle) is True


# ---------------------------------------------------------------- who looks on


class Parking(Clock):
    """A clock that goes on while somebody is parked, and by nothing else."""

    def __init__(self) -> None:
        self.parked: list[float] = []

    def lock(self) -> Any:  # type: ignore[override]
        return self

    def acquire(self, blocking: bool, seconds: float) -> None:
        self.parked.append(seconds)
        self.now += max(0.0, seconds)


@pytest.mark.parametrize(
    ("timeout", "parked"), [(0.5, [0.5]), (5.0, [5.0]), (0, []), (None, [-1.0])]
)
def test_who_looks_on_parks_for_as_long_as_it_may(timeout: Any, parked: list[float]) -> None:
    sync, onlookers, looks = Parking(), Onlookers(), iter([False, timeout is None, False])
    assert wait(lambda: onlookers, sync, lambda: next(looks), timeout) is (timeout is None)
    assert sync.parked == parked
    assert onlookers == []


def test_the_initial_state_of_a_runtime_is_that_of_its_limits() -> None:
    limits = Limits(max_size=3)
    assert Runtime(ScriptedDriver(), limits).state == initial(limits)
    assert Release(1.0, 1, 1, True).reusable
