"""What the pool's face owes its users where a mutant of it showed that no test asked.

Theory.  As `test_runtime_mutants.py`.  Defaults and messages are promises: the first are what
programs run with that set nothing, the second are all that an operator sees.
"""

from __future__ import annotations

import gc
import inspect
import math
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pool import (
    Lease,
    LeaseEnded,
    Limits,
    OpenError,
    Pool,
    PoolClosed,
    PoolError,
    PoolTimeout,
    step,
)
from pool.core.effects import Leaked
from pool.core.events import Shutdown, Tick
from pool.core.state import initial, leased
from pool.drivers.callables import Callables
from pool.lease import Borrowing
from pool.shared.store import Store
from pool.threads.runtime import Runtime
from tests.integration.drivers import FOR_EVER, Connection, idle, lent, park, raising
from tests.integration.pools import Scripted, scripted

# ---------------------------------------------------------------- settings


def test_the_defaults_are_those_of_the_documentation() -> None:
    parameters = inspect.signature(Pool.__init__).parameters
    wanted = {
        **{"max_size": 10, "min_idle": 0, "timeout": 30.0},
        **{"max_lifetime": 3600.0, "max_idle": 600.0, "max_waiting": None},
        **{"max_opening": 1, "max_connecting": None},
        **{"check": None, "check_after": 0.5, "check_timeout": 5.0},
        **{"reset": None, "configure": None, "close": None},
        **{"idle_order": "lifo", "opener": "background", "leak_after": None},
        **{"backoff_initial": 0.1, "backoff_max": 1.0, "name": None, "listeners": None},
    }
    found = {n: p.default for n, p in parameters.items() if n not in ("self", "connect")}
    assert found == wanted
    assert inspect.signature(Pool.close).parameters["timeout"].default == 5.0
    with Pool(lambda: Connection(1)) as pool:  # what programs get that set nothing
        limits = pool._runtime.state.limits
        assert {name: getattr(limits, name, wanted[name]) for name in wanted} == wanted
        assert (pool._timeout, pool._runtime.check_after) == (30.0, 0.5)


def test_each_setting_is_what_was_given() -> None:
    given: dict[str, Any] = {
        **{"max_size": 9, "min_idle": 0, "max_lifetime": 31.0, "max_idle": 32.0},
        **{"max_waiting": 33, "max_opening": 3, "max_connecting": 4, "leak_after": 34.0},
        **{"idle_order": "fifo", "opener": "caller"},
        **{"backoff_initial": 0.25, "backoff_max": 3.5},
    }
    pool = Pool(lambda: Connection(1), check_after=35.0, check_timeout=36.0, **given)
    assert pool._runtime.state.limits == Limits(**given)
    assert (pool._runtime.check_after, pool._runtime.check_timeout) == (35.0, 36.0)
    pool.close()


@pytest.mark.parametrize("timeout", [-1.0, math.nan, "soon"])
@pytest.mark.parametrize("method", ["acquire", "wait", "close"])
def test_a_timeout_that_is_none_is_refused_with_what_is_allowed(method: str, timeout: Any) -> None:
    with scripted(1) as pool:
        with pytest.raises(ValueError, match=r"^timeout=.*, or None to wait for ever$") as refused:
            getattr(pool, method)(timeout)
        assert repr(timeout) in str(refused.value)
        assert pool.statistics().phase == "open"


# ---------------------------------------------------------------- acquire


def at(monkeypatch: pytest.MonkeyPatch, *times: float) -> Any:
    """These are the times that `pool.api` sees, the last one from then on."""
    left = list(times)
    clock = SimpleNamespace(monotonic=lambda: left.pop(0) if len(left) > 1 else left[0])
    monkeypatch.setattr("pool.api.time", clock)
    return left


def test_a_listener_is_told_how_long_its_caller_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[Any] = []
    with scripted(1, opener="caller", listeners={"checkout": notices.append}) as pool:
        at(monkeypatch, 100.0, 103.5)
        pool.acquire().release()
        monkeypatch.undo()
    (notice,) = notices
    assert (notice.seconds, notice.connection) == (3.5, pool.driver.opened[0])


# ---------------------------------------------------------------- wait


class Waiting(Scripted):
    """One whose acquires go by a script."""

    script: Any = ()

    def acquire(self, timeout: Any = ...) -> Any:
        one = self.script[len(self.asked)]
        self.asked.append(timeout)
        if isinstance(one, PoolError):
            raise one
        return SimpleNamespace(release=lambda: self.given_back.append(one))


def wait(monkeypatch: pytest.MonkeyPatch, script: list[Any], *times: float, **how: Any) -> Any:
    pool = Waiting(1, name="shop", opener=how.pop("opener", "background"))
    pool.script, pool.asked, pool.given_back = script, [], []  # type: ignore[attr-defined]
    at(monkeypatch, *times)
    error = None
    try:
        pool.wait(**how)
    except PoolError as raised:
        error = raised
    monkeypatch.undo()
    pool.close()
    return pool, error


def test_a_wait_tries_again_with_what_is_left_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [OpenError("one"), OpenError("two"), "a connection"]
    pool, error = wait(monkeypatch, script, 100.0, 103.0, 109.0, timeout=10.0)
    assert (pool.asked, pool.given_back, error) == ([10.0, 7.0, 1.0], ["a connection"], None)
    pool, error = wait(monkeypatch, script, 100.0, timeout=None)
    assert (pool.asked, pool.given_back, error) == ([None] * 3, ["a connection"], None)


@pytest.mark.parametrize("last", [110.0, 111.0])
def test_a_wait_ends_with_its_time(monkeypatch: pytest.MonkeyPatch, last: float) -> None:
    script = [OpenError("one"), PoolTimeout("in what was left")]
    pool, error = wait(monkeypatch, script, 100.0, 103.0, last, timeout=10.0)
    assert pool.asked == [10.0, 7.0]
    assert type(error) is PoolTimeout
    assert str(error).startswith("pool 'shop': no connection could be made within 10 s")


def test_a_wait_that_was_refused_in_all_of_its_time_says_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = [PoolTimeout("no connection within 10 s")]
    pool, error = wait(monkeypatch, script, 100.0, timeout=10.0)
    assert (pool.asked, error) == ([10.0], script[0])


def test_who_connects_itself_waits_for_no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [OpenError("one")]
    pool, error = wait(monkeypatch, script, 100.0, timeout=10.0, opener="caller")
    assert (pool.asked, error) == ([10.0], script[0])


def test_a_wait_is_by_default_as_long_as_an_acquire(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, _ = wait(monkeypatch, ["a connection"], 100.0)
    assert pool.asked == [FOR_EVER]


def test_what_is_lent_counts_for_a_wait() -> None:
    with scripted(2, min_idle=1, max_idle=None) as pool, pool.acquire():
        pool.resize(1)
        pool.wait(0.0)
        assert (len(lent(pool)), len(idle(pool))) == (1, 0)


def test_a_wait_for_a_closed_pool_says_so() -> None:
    pool = Scripted(1, min_idle=1, name="shop")
    pool.close()
    with pytest.raises(PoolClosed, match=r"^pool 'shop': the pool is closed"):
        pool.wait()


# ---------------------------------------------------------------- close


def test_a_close_in_the_middle_of_a_transition_is_not_over() -> None:
    pool, said = Scripted(1, opener="caller"), list[bool]()

    def interrupted(state: Any, event: Any) -> Any:
        if type(event) is Tick and not said:
            said.append(True)
            said[0] = pool.close(FOR_EVER)
        return step(state, event)

    runtime = pool.runtime
    runtime.step = interrupted
    runtime.apply(Tick(runtime.clock()))
    assert said == [False]
    assert pool.statistics().phase == "closed"


# ---------------------------------------------------------------- leases


@pytest.fixture
def pool() -> Any:
    with scripted(2, opener="caller", reset=None) as pool:
        yield pool


ENDED = r"^this lease has ended: its connection may be somebody else's by now$"


def test_a_lease_that_was_never_lent_has_ended(pool: Any) -> None:
    lease = Lease[Any](pool._runtime)
    assert repr(lease) == "<Lease: ended>"
    with pytest.raises(LeaseEnded, match=ENDED):
        lease.connection  # noqa: B018
    assert lease.ended is True
    lease.ticket = 0
    assert (lease.release(), lease.discard()) == (False, False)


@pytest.fixture(params=["release", "discard", "the end of a block"])
def ending(request: pytest.FixtureRequest, pool: Any) -> tuple[str, Callable[[], object]]:
    """What ends a lease: the method of the runtime, and the call."""
    if request.param == "the end of a block":
        lease = pool.connection()
        lease.__enter__()
        return "release", lambda: lease.__exit__(None, None, None)
    lease = pool.acquire()
    return request.param, getattr(lease, request.param)


def test_a_leak_that_is_reported_while_its_lease_ends_has_ended(
    pool: Any, ending: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By another thread, when it has been asked whether anybody wants to know."""
    method, end = ending
    driver, inner = pool._driver, getattr(Runtime, method)

    def meanwhile(self: Runtime, handle: Any, *clean: bool) -> Any:
        driver.report_leak(Leaked(handle.ticket, handle.key, None, 3.0))
        assert list(driver.leaks) == [handle.ticket]
        return inner(self, handle, *clean)

    monkeypatch.setattr(Runtime, method, meanwhile)
    end()
    assert driver.leaks == {}
    assert caplog.messages[-1].startswith("pool 'connect': connection 1 is no longer held, after 3")


def test_a_leak_of_the_next_holder_is_another_one(
    pool: Any, ending: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who took the same connection before its last holder had looked."""
    method, end = ending
    driver, inner, others = pool._driver, getattr(Runtime, method), []

    def meanwhile(self: Runtime, handle: Any, *clean: bool) -> Any:
        ended = inner(self, handle, *clean)
        others.append(pool.acquire())
        driver.report_leak(Leaked(others[0].ticket, others[0].key, None, 3.0))
        return ended

    monkeypatch.setattr(Runtime, method, meanwhile)
    end()
    assert list(driver.leaks) == [others[0].ticket]
    monkeypatch.undo()
    others[0].release()
    assert driver.leaks == {}


def test_a_leak_whose_lease_is_lost_ends_with_its_connection(pool: Any) -> None:
    other, lease = pool.acquire(), pool.acquire()
    driver = pool._driver
    for each in (other, lease):
        driver.report_leak(Leaked(each.ticket, each.key, None, 3.0))
    pool._runtime.lose(lease)  # as who is interrupted while it releases
    pool._runtime.take_over()
    assert list(driver.leaks) == [other.ticket]
    other.release()


def test_a_release_that_gives_nothing_back_ends_nothing(pool: Any) -> None:
    never, lease = Lease[Any](pool._runtime), pool.acquire()
    never.ticket = lease.ticket  # or a parent's, in a child process
    pool._driver.report_leak(Leaked(lease.ticket, lease.key, None, 3.0))
    assert (never.release(), never.discard()) == (False, False)
    assert list(pool._driver.leaks) == [lease.ticket]
    lease.release()


def test_a_timeout_that_is_refused_leaves_nothing_to_be_given_back(
    pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for the finalizer of the lease that never was one."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with pytest.raises(ValueError, match="timeout=-1"):
        pool.acquire(-1)
    gc.collect()
    assert unraisable == []
    assert lent(pool) == []


def test_who_is_interrupted_before_it_asked_has_nothing_to_lose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets what came, and no error about a lease that never was one."""
    with Scripted(1, opener="caller", leak_after=9.0) as pool:
        monkeypatch.setattr("pool.api.lines_here", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            pool.acquire()
        with pytest.raises(KeyboardInterrupt), pool.connection():
            pass
        assert (lent(pool), pool.statistics().waiting) == ([], 0)


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_who_listens_from_the_middle_of_a_checkout_on_hears_of_the_next(opener: Any) -> None:
    """Of one that nobody listened to as it began, neither its beginning nor its end is noted."""
    heard: list[str] = []

    def connect() -> Connection:
        for kind in ("checkout", "checkin"):
            pool.listen(kind, lambda notice: heard.append(notice.kind))
        return Connection(1)

    with Pool(connect, max_size=1, opener=opener) as pool:
        pool.acquire().release()
        assert (heard, pool._listeners.lent) == ([], {})
        pool.acquire().release()
        assert (heard, pool._listeners.lent) == (["checkout", "checkin"], {})


def test_who_says_nothing_of_it_waits_as_long_as_the_pool_says() -> None:
    with Scripted(1, opener="caller", timeout=0) as pool:
        lease = pool.acquire()
        with pytest.raises(PoolTimeout, match="without waiting"):
            pool.acquire()
        with pytest.raises(PoolTimeout, match="without waiting"), pool.connection():
            pass
        lease.release()


@pytest.mark.parametrize(
    "settings", [{}, {"listeners": {"checkout": lambda _: None}}, {"leak_after": 9.0}]
)
def test_whoever_holds_a_lease_is_known_by_it_and_lost_with_it(settings: dict[str, Any]) -> None:
    """Weakly, whatever else is noted; and by the name that its thread has at the time."""
    with Scripted(1, opener="caller", **settings) as pool:
        thread = threading.current_thread()
        before = thread.name
        try:
            for name in (before, "another", "another"):
                thread.name = name
                lease = pool.acquire()
                (held,) = leased(pool._runtime.state.in_use).values()
                assert held.owner() is lease
                assert held.owner.__callback__ == pool._runtime.lost
                assert held.owner.taker.name == name
                lease.release()
        finally:
            thread.name = before


def test_a_block_may_be_made_by_its_class() -> None:
    """As a pool makes it, which writes that out."""
    with Scripted(1, opener="caller") as pool:
        block: Any = Borrowing(pool, 0)
        assert (block.runtime, block.ended) == (pool._runtime, True)
        with block as connection:
            assert lent(pool) == [connection]
            with pytest.raises(PoolTimeout), Borrowing(pool, 0):
                pass
        assert block.ended is True


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_lease_that_has_ended_holds_nothing(pool: Any, end: str) -> None:
    lease = pool.acquire()
    assert getattr(lease, end)() is True
    assert lease.held is None
    with pytest.raises(LeaseEnded, match=ENDED):
        lease.connection  # noqa: B018
    assert getattr(lease, end)() is False
    block = pool.connection()
    with block as connection:
        assert block.held is connection
        with pytest.raises(
            RuntimeError, match=r"^this block holds a connection: ask the pool for a"
        ):
            block.__enter__()
    assert block.held is None


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_lease_of_the_parents_is_only_forgotten(pool: Any, end: str) -> None:
    lease = pool.acquire()
    lease.monitor = Store(initial(Limits()))
    connection = lease.connection
    assert getattr(lease, end)() is False
    assert (lease.ended, lease.held, lent(pool), connection.closed) == (True, None, [connection], 0)
    lease.monitor = pool.runtime.monitor
    lease.ended = False
    lease.discard()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no")], ids=repr)
def test_a_commit_that_fails_ends_the_block_as_that_error_does(
    pool: Any, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    resets: list[Any] = []
    monkeypatch.setattr(Callables, "reset", lambda _, connection: not resets.append(connection))
    monkeypatch.setattr(Callables, "commit", lambda *_: True)
    with pool.connection() as connection:
        pass
    assert resets == [], "it is clean"
    monkeypatch.setattr(Callables, "commit", raising(error))
    with pytest.raises(type(error)), pool.connection():
        pass
    closed = int(isinstance(error, KeyboardInterrupt))
    assert (connection.closed, lent(pool), len(resets)) == (closed, [], 1 - closed)


# ---------------------------------------------------------------- the face


SECONDS = "a finite number of seconds, at least 0"
REFUSED = [
    ({"timeout": -1.0}, f"timeout=-1.0: allowed is {SECONDS}, or None to wait for ever"),
    ({"check_timeout": "x"}, f"check_timeout='x': allowed is {SECONDS}, or None to wait for ever"),
    ({"check_after": math.inf}, f"check_after=inf: allowed is {SECONDS}"),
    ({"name": 5}, "name=5: allowed is a text, or None"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_a_setting_that_is_not_allowed_is_refused_with_what_is(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match="allowed is") as refused:
        Pool(lambda: Connection(1), **given)
    assert str(refused.value) == text


def test_a_pool_shows_its_name_and_what_is_going_on() -> None:
    pool = Scripted(3, name="shop", opener="caller")
    numbers = "max 3, in use 0, idle 0, opening 0, waiting 0"
    assert repr(pool) == f"<Pool 'shop': open, {numbers}>"
    assert pool._runtime.label == "pool 'shop': "
    with pool.acquire():
        assert repr(pool).startswith("<Pool 'shop': open, max 3, in use 1, idle 0, opening 0")
        error = pool._error(PoolTimeout, "no such thing")
        assert type(error) is PoolTimeout
        assert str(error).startswith("pool 'shop': no such thing")
    pool.close()


def test_holders_have_the_numbers_of_messages(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Callables, "number_of", lambda _, key, connection: (key, connection))
    with pool.acquire() as lease:
        assert [one.key for one in pool.holders()] == [(1, lease.connection)]


CHANGES = [("resize", 1), ("drain",), ("suspend",), ("resume",)]


@pytest.mark.parametrize(("change", "arguments"), [(name, more) for name, *more in CHANGES])
def test_a_change_comes_at_its_time_and_not_after_the_close(change: str, arguments: Any) -> None:
    pool, events = Scripted(2, name="shop", opener="caller"), list[Any]()

    def seen(state: Any, event: Any) -> Any:
        events.append(event)
        return step(state, event)

    pool.runtime.step = seen
    before = pool.runtime.clock()
    getattr(pool, change)(*arguments)
    assert before <= events[0].now <= pool.runtime.clock()
    pool.close()
    with pytest.raises(PoolClosed, match=r"^pool 'shop': the pool is closed"):
        getattr(pool, change)(*arguments)


def test_a_close_comes_at_its_time() -> None:
    events: list[Any] = []
    pool = Scripted(1, opener="caller")
    observing = pool.observe(lambda event, effects: events.append(event))
    pool.runtime.clock = lambda: 107.5
    pool.close()
    observing.stop()
    assert events == [Shutdown(107.5)]


def test_a_refusal_is_told_to_all(caplog: pytest.LogCaptureFixture) -> None:
    notices: list[Any] = []
    pool = Scripted(1, name="shop", opener="caller", listeners={"refuse": notices.append})
    text = "no connection to be had without waiting"
    with pool.acquire(), pytest.raises(PoolTimeout, match=f"^pool 'shop': {text}") as refused:
        pool.acquire(0)
    (record,) = caplog.records
    assert record.getMessage().startswith("pool 'shop': a caller was refused, the first one in ")
    assert f": {text} (max 1, " in record.getMessage()
    assert [notice.error for notice in notices] == [refused.value]
    with pool.acquire(), pytest.raises(PoolTimeout, match=text):
        pool.acquire(0)
    assert len(caplog.records) == 1, "it is the same burst"
    pool.close()


def test_refusals_with_a_pause_between_them_are_told_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    with Scripted(1, name="shop", opener="caller") as pool:
        pool.runtime.clock = lambda: now
        with pool.acquire():
            for pause, told in ((0.0, 1), (9.0, 1), (10.5, 2), (0.5, 2)):
                now += pause
                with pytest.raises(PoolTimeout):
                    pool.acquire(0)
                assert len(caplog.records) == told


def test_the_health_of_a_busy_pool_says_for_how_long_the_oldest_lease_lasts() -> None:
    now = 100.0
    with Scripted(1, opener="caller") as pool:
        pool.runtime.clock = lambda: now
        lease = pool.acquire()
        waiter = park(pool.runtime, pool.acquire, FOR_EVER)
        now = 107.5
        health = pool.health()
        lease.release()
        waiter.result().release()
    text = "1 wait, all 1 connections are in use, the oldest lease for 7.5 s"
    assert (health.status, health.reasons) == ("degraded", (text,))


@pytest.mark.parametrize("batch", [None, 3])
def test_an_observer_is_told_as_often_as_it_asked_for(batch: int | None) -> None:
    """By default of each event at once."""
    told: list[str] = []
    with Scripted(1, opener="caller") as pool:
        more = {} if batch is None else {"batch": batch}
        observing = pool.observe(lambda event, effects: told.append(type(event).__name__), **more)
        counts = []
        for _ in range(4):
            pool.suspend()
            counts.append(len(told))
        observing.stop()
    assert counts == ([1, 2, 3, 4] if batch is None else [0, 0, 3, 3])


def test_a_copy_is_refused_by_name(pool: Any) -> None:
    with pytest.raises(TypeError, match=r"^a Scripted cannot be copied or pickled: it stands for "):
        pool.__reduce__()


@pytest.mark.parametrize(("leak_after", "kind"), [(None, "Holder"), (60.0, "TracedHolder")])
@pytest.mark.parametrize("listens", [True, False])
def test_the_lines_of_a_holder_are_for_who_asked(leak_after: Any, kind: str, listens: bool) -> None:
    """They cost more than all the rest of a checkout."""
    listeners: Any = {"checkout": lambda notice: None} if listens else None
    made = scripted(1, opener="caller", leak_after=leak_after, listeners=listeners)
    with made as pool, pool.acquire():
        (lease,) = leased(pool.runtime.state.in_use).values()
        assert type(lease.owner).__name__ == kind


def test_a_block_whose_connection_was_given_back_in_it_has_nothing_to_commit(
    pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Callables, "commit", raising(AssertionError("there is nothing to commit")))
    block = pool.connection()
    with block:
        assert block.release() is True
        other = pool.acquire()
    assert lent(pool) == [other.connection]
    other.release()


def test_without_helpers_the_next_look_is_when_something_is_due() -> None:
    with scripted(1, opener="caller", max_idle=0.25, max_lifetime=None) as pool:
        pool.runtime.clock = lambda: 50.0
        pool.acquire().release()
        assert pool._next_look == 50.25
        pool.runtime.clock = lambda: 51.0
        pool.acquire().release()
        assert [one.closed for one in pool.driver.opened] == [1, 0]
