"""Lines of the runtime that matter once in a thousand hours.

Theory.  Each of these was taken out by hand, and every test still passed: what it is for takes two
things that hardly ever come together.  So here they are brought together, one test for each such
line, and for its neighbours of the same kind.  (`make mutation-runtime` looks for more of them.)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pool import Acquire, Limits, Opened, OpenError, Pool, PoolClosed, Release, initial, step
from pool.core.effects import Close
from pool.core.events import CloseAll, Shutdown
from pool.core.outlook import next_look
from pool.core.state import Failure, State
from pool.shared.errors import error_of
from pool.threads.driver import Sync
from pool.threads.helpers import CLOSES_WITHOUT_LIMIT, RETRY_AFTER
from pool.threads.onlookers import Onlookers, wait
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    Clock,
    Connection,
    Gate,
    ScriptedDriver,
    lent,
    park,
    until,
)
from tests.integration.pools import Scripted

# ---------------------------------------------------------------- who looks on is told


def give_back(runtime: Runtime, handle: Any) -> None:
    runtime.release(handle)


def throw_away(runtime: Runtime, handle: Any) -> None:
    runtime.discard(handle)


def lose(runtime: Runtime, handle: Any) -> None:
    runtime.lose(handle)


def close_all(runtime: Runtime, handle: Any) -> None:
    runtime.apply(CloseAll(runtime.clock()))


@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("end", [give_back, throw_away, lose, close_all])
def test_who_looks_on_is_told_of_every_end(opener: Any, end: Callable[..., None]) -> None:
    """Who waits for the pool as a whole is told also where there is nothing else to do."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1, opener=opener), check_after=1000.0)
    runtime.release(runtime.acquire(FOR_EVER))
    handle = runtime.acquire(FOR_EVER)
    # It is told by whatever ends the lease, or never: nothing else happens meanwhile.
    looking = Call(runtime.wait_until, lambda: not runtime.state.in_use, None)
    until(lambda: runtime.monitor.onlookers and runtime.monitor.onlookers[0].locked())
    end(runtime, handle)
    assert looking.result() is True
    runtime.apply(Shutdown(runtime.clock()))


def test_a_wait_may_be_longer_than_a_lock_allows() -> None:
    onlookers, told = Onlookers(), threading.Event()
    looking = Call(wait, lambda: onlookers, Sync, told.is_set, 1e300)
    until(lambda: onlookers or not looking.is_alive())
    told.set()
    onlookers.notify()
    assert looking.result() is True
    assert Call(wait, lambda: onlookers, Sync, lambda: False, 0).result() is False
    assert onlookers == []


# ---------------------------------------------------------------- a lease that ended meanwhile


@pytest.mark.parametrize(("timeout", "left"), [(10.0, 4.0), (None, None), (math.inf, math.inf)])
def test_who_begins_anew_has_what_is_left_of_its_time(timeout: Any, left: Any) -> None:
    """Its grant was closed while it was being checked: the check took 6 of its 10 seconds."""
    asked: list[Any] = []

    class Seen(Runtime):
        def acquire(self, timeout: Any = None, *given: Any) -> Any:
            asked.append(timeout)
            return super().acquire(timeout, *given)

    sync, driver = Clock(), ScriptedDriver()
    runtime = Seen(driver, Limits(max_size=1), sync=sync)
    runtime.release(runtime.acquire(None))
    asked.clear()

    def all_are_closed_meanwhile(_: Any) -> bool:
        sync.now += 6.0
        runtime.apply(CloseAll(runtime.clock()))
        return False

    driver.on_alive = all_are_closed_meanwhile
    handle = runtime.acquire(timeout)
    assert asked == [timeout, left]
    assert handle.connection is driver.opened[1]
    runtime.release(handle)
    assert driver.mistakes == []


def test_who_begins_anew_and_does_not_wait_still_does_not() -> None:
    driver = ScriptedDriver()
    runtime = Runtime(driver, Limits(max_size=1), check_after=0.0)
    runtime.release(runtime.acquire(None))

    def the_pool_is_closed_meanwhile(_: Any) -> bool:
        runtime.apply(Shutdown(runtime.clock()))
        return False

    driver.on_alive = the_pool_is_closed_meanwhile
    with pytest.raises(PoolClosed):
        runtime.acquire(0)
    assert [connection.closed for connection in driver.opened] == [1]


# ---------------------------------------------------------------- an interrupted acquire


@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("how", ["acquire", "block"])
def test_who_keeps_the_exception_keeps_no_connection(opener: Any, how: str) -> None:
    """Interrupted between its grant and its return: the lease is in the frames of the traceback,
    so no finalizer tells of it as long as somebody keeps that."""
    pool = Scripted(1, opener=opener)

    def interrupt(notice: Any) -> None:
        raise KeyboardInterrupt

    pool.listen("checkout", interrupt)
    block = pool.connection()
    borrow = block.__enter__ if how == "block" else pool.acquire
    with pytest.raises(KeyboardInterrupt) as kept:
        borrow()
    assert kept.value.__traceback__ is not None
    until(lambda: not lent(pool))
    pool._listeners.by_kind["checkout"] = ()
    pool._watch()
    pool.acquire(PATIENCE).release()
    assert pool.close(PATIENCE)
    assert pool.broken == []


# ---------------------------------------------------------------- the watch


def at(limits: Limits, *events: Any) -> State:
    state = initial(limits)
    for event in events:
        state, _ = step(state, event)
    return state


def lent_once(limits: Limits) -> State:
    return at(
        limits,
        Acquire(now=0.0, ticket=1),
        Opened(now=1.0, ticket=1, connection="one", created=1.0),
    )


def test_the_next_look_is_at_the_end_of_what_is_lent() -> None:
    """If it comes back a moment before its end, nobody tells the watch."""
    state = lent_once(Limits(max_size=2, max_lifetime=60.0, opener="caller"))
    assert next_look(state, 11.0) == 50.0
    assert next_look(state, 61.0) is None, "that is over: it is closed when it comes back"


def test_the_next_look_is_not_before_anything_can_be_due() -> None:
    nothing = Limits(max_size=2, opener="caller")
    assert next_look(lent_once(nothing), 5.0) is None
    assert next_look(lent_once(Limits(max_size=2, max_idle=7.0, opener="caller")), 5.0) == 7.0
    leak = lent_once(Limits(max_size=2, leak_after=9.0, opener="caller"))
    assert next_look(leak, 5.0) == 5.0, "9 after its checkout at 1"
    closed, _ = step(lent_once(Limits(max_size=2, max_lifetime=60.0)), Shutdown(now=2.0))
    assert next_look(closed, 11.0) is None


def test_the_next_look_at_what_is_due_is_now() -> None:
    state = lent_once(Limits(max_size=2, max_lifetime=60.0, opener="caller"))
    state, _ = step(state, Release(now=3.0, ticket=1, key=1, reusable=True))
    assert next_look(state, 100.0) == 0.0


class NoThreads(Sync):
    """A system that has no thread left, until told otherwise."""

    def __init__(self) -> None:
        self.refuses = True
        self.started: list[tuple[Callable[[], object], str]] = []

    def start(self, target: Callable[[], object], name: str) -> None:  # type: ignore[override]
        if self.refuses:
            raise RuntimeError("can't start new thread")
        self.started.append((target, name))

    def names(self) -> list[str]:
        return [name for _, name in self.started]


def without_threads(**limits: Any) -> tuple[Any, Any, NoThreads]:
    """A runtime whose watch the test plays, with a connect to do."""
    sync = NoThreads()
    sync.refuses = False
    runtime = Runtime(
        ScriptedDriver(), Limits(min_idle=1, opener="background", **limits), sync=sync
    )
    runtime.state  # noqa: B018  # what is to be done comes of the first tick
    return runtime, runtime.helpers, sync


def test_a_watch_that_gets_no_thread_looks_again() -> None:
    runtime, helpers, sync = without_threads(max_size=2)
    helpers._look(runtime)  # its tick asks for a connect
    assert runtime.monitor.jobs
    sync.refuses = True
    assert helpers._look(runtime) == RETRY_AFTER
    assert runtime.monitor.jobs, "it is still to be done"
    sync.refuses = False
    sync.started.clear()
    assert helpers._look(runtime) != RETRY_AFTER
    assert sync.names() == ["purepool connect"]


def test_a_close_that_gets_no_thread_does_not_count() -> None:
    runtime, helpers, sync = without_threads(max_size=1)
    close = Close(1, Connection(1), "lifetime")
    runtime.monitor.jobs[id(close)] = close
    sync.refuses = True
    assert [helpers._look(runtime) for _ in range(3)] == [RETRY_AFTER] * 3
    assert helpers.closing == 0
    sync.refuses = False
    helpers._begin(runtime, close)
    assert helpers.closing == 1
    helpers._begin(runtime, close)
    assert helpers.closing == 1, "as many as max_size at once"


def test_closes_at_once_of_a_pool_without_limit() -> None:
    runtime, helpers, sync = without_threads(max_size=None)
    sync.started.clear()
    for key in range(CLOSES_WITHOUT_LIMIT + 3):
        helpers._begin(runtime, Close(key, Connection(key), "lifetime"))
    assert sync.names() == ["purepool close"] * CLOSES_WITHOUT_LIMIT


def test_a_watch_that_ends_leaves_no_job_behind() -> None:
    """Somebody saw it still there, and started no other."""
    runtime, helpers, sync = without_threads(max_size=1)
    runtime.apply(Shutdown(runtime.clock()))
    runtime.monitor.jobs.clear()
    close = Close(1, Connection(1), "lifetime")

    class Late(type(helpers)):  # type: ignore[misc]
        """A job comes in the instant in which the watch has seen that there is none."""

        @property
        def _watching(self) -> bool:
            return self.__dict__.get("is_watching", False)  # type: ignore[no-any-return]

        @_watching.setter
        def _watching(self, value: bool) -> None:
            self.__dict__["is_watching"] = value
            if not value:
                runtime.monitor.jobs[id(close)] = close

    helpers.__dict__.pop("_watching")
    helpers.__class__ = Late
    sync.started.clear()
    helpers._keep_watch()
    assert sync.names() == ["purepool watch"]
    runtime.monitor.jobs.clear()


def test_two_watches_are_one() -> None:
    _runtime, helpers, sync = without_threads(max_size=1)
    sync.started.clear()
    helpers._watching = True
    helpers.wake()
    assert sync.started == []
    assert helpers._keep_watch() is None, "the second goes at once"
    assert helpers._watching


# ---------------------------------------------------------------- the cause of a refusal


def test_the_last_error_is_the_cause_only_of_its_own_failure() -> None:
    """It may be that of a later connect, or of an earlier one: then it would be a wrong cause."""
    pool = Pool(Connection, opener="background")  # type: ignore[arg-type]  # never called
    driver, state = pool._driver, pool._runtime.state
    driver.last_error = OSError("the later one")

    def refused(failure: Failure | None) -> Any:
        error = error_of(OpenError, "no", state, 0.0, failure)
        driver.explain(error, "shop")
        assert "shop" in str(error)
        return error.__cause__

    assert refused(Failure("OSError", "the later one")) is driver.last_error
    another = refused(Failure("OSError", "the earlier one"))
    assert (type(another), str(another)) == (OpenError, "OSError: the earlier one")
    another = refused(Failure("ValueError", "the later one"))
    assert (type(another), str(another)) == (OpenError, "ValueError: the later one")
    assert refused(None) is None
    driver.last_error = None
    assert str(refused(Failure("OSError", "forgotten"))) == "OSError: forgotten"
    pool.close(PATIENCE)


# ---------------------------------------------------------------- closes by others


def test_a_close_that_another_performs_is_waited_for() -> None:
    pool = Scripted(2, opener="caller")
    lease, gate = pool.acquire(), Gate()
    pool.driver.on_close = gate
    discarding = Call(lease.discard)
    until(lambda: gate.standing)
    closing = Call(pool.close, None)
    until(lambda: pool.runtime.monitor.onlookers)
    gate.open()
    assert discarding.result() is True
    assert closing.result() is True


def test_a_waiter_is_served_by_a_lost_owner() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1))
    handle = runtime.acquire(None)
    waiter = park(runtime, runtime.acquire, FOR_EVER)
    runtime.lose(handle)
    assert waiter.result().connection.number == 2
