"""`opener="background"`: callers wait for the pool only, never for the database.

Theory.  A scripted driver hangs wherever the test wants it to, for as long as the test wants.  A
call that comes back while the driver still stands at its gate did not wait for it; no stop-watch
is needed for that.  (RUN-8: the helpers also send the `Tick`s.)
"""

from __future__ import annotations

import _thread
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool import Close, Leaked, Limits, Open, Pool, Shutdown
from pool.shared.errors import OpenError, PoolTimeout
from pool.threads import helpers
from pool.threads.helpers import Helpers
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    Gate,
    ScriptedDriver,
    Stop,
    Thrown,
    assert_sound,
    idle,
    lent,
    nothing,
    park,
    raising,
    until,
    waiting,
    watch,
)

Make = Callable[..., Any]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes runtimes with helpers; at the end they are shut, and their helpers must be gone."""
    made: list[tuple[Any, list[str]]] = []

    def make(max_size: int = 2, *, check_after: float = 0.0, **limits: Any) -> Any:
        runtime = Runtime(
            ScriptedDriver(),
            Limits(max_size=max_size, opener="background", **limits),
            check_after=check_after,
        )
        made.append((runtime, watch(runtime)))
        return runtime

    yield make
    for runtime, broken in made:
        runtime.apply(Shutdown(runtime.clock()))
        assert_sound(runtime)
        assert broken == []
        assert runtime.driver.mistakes == []
        until(lambda runtime=runtime: all(item.closed == 1 for item in runtime.driver.opened))


def turn(runtime: Any, timeout: float = FOR_EVER) -> Any:
    handle = runtime.acquire(timeout)
    connection = handle.connection
    runtime.release(handle)
    return connection


# ---------------------------------------------------------------- who hands out is interrupted


class Interrupting(dict[int, Any]):
    """Jobs of which one that is handed out is at once begun by a helper, as far as that may be;
    then whoever hands it out is interrupted, as by Ctrl-C."""

    def __init__(self, runtime: Any, kind: type) -> None:
        super().__init__(runtime.monitor.jobs)
        self.runtime, self.kind, self.calm = runtime, kind, False

    def __setitem__(self, number: int, job: Any) -> None:
        super().__setitem__(number, job)
        if type(job) is self.kind and not self.calm:
            self.calm = True
            helper = Call(self.runtime.perform, job)
            helper.result()
            raise Thrown


def test_a_close_that_is_handed_out_twice_is_done_once(make: Make) -> None:
    runtime = make(1, max_lifetime=FOR_EVER)
    handle = runtime.acquire(FOR_EVER)
    connection = handle.connection
    runtime.monitor.jobs = Interrupting(runtime, Close)
    with pytest.raises(Thrown):
        runtime.discard(handle)
    assert runtime.monitor.jobs.calm
    until(lambda: connection.closed)
    assert turn(runtime) is not connection  # and `mistakes` would tell of a second close


def test_a_connect_that_is_handed_out_twice_is_done_once(make: Make) -> None:
    runtime = make(1)
    runtime.monitor.jobs = Interrupting(runtime, Open)
    with pytest.raises(Thrown):
        runtime.acquire(FOR_EVER)
    assert runtime.monitor.jobs.calm
    turn(runtime)
    until(lambda: runtime.state.opening == 0 and not runtime.monitor.jobs)
    assert len(runtime.driver.opened) == 1


# ---------------------------------------------------------------- a database that hangs


def test_a_hanging_connect_does_not_keep_anybody(make: Make) -> None:
    runtime = make(1)
    gate = Gate()
    runtime.driver.on_connect = gate
    for _ in range(3):
        with pytest.raises(PoolTimeout, match=r"no connection within 0.01 s"):
            runtime.acquire(0.01)
    with pytest.raises(PoolTimeout, match="without waiting"):
        runtime.acquire(0)
    until(lambda: gate.standing)
    assert gate.arrived == 1
    waiter = park(runtime, turn, runtime)
    gate.open()
    assert waiter.result().number == 1


def test_a_hanging_ping_does_not_keep_anybody(make: Make) -> None:
    """The connection is closed then, but not while the driver is still busy with it."""
    runtime = make(1)
    first = turn(runtime)
    gate = Gate()
    runtime.driver.on_alive = gate
    with pytest.raises(PoolTimeout, match="did not answer a check in time"):
        runtime.acquire(0.01)
    until(lambda: gate.standing)
    assert lent(runtime) == []
    runtime.driver.on_alive = nothing
    assert turn(runtime) is not first
    assert (gate.standing, first.closed) == (1, 0)
    gate.open()
    until(lambda: first.closed == 1)


def test_a_hanging_close_does_not_keep_anybody(make: Make) -> None:
    runtime = make(1)
    gate = Gate()
    runtime.driver.on_close = gate
    runtime.discard(runtime.acquire(FOR_EVER))
    until(lambda: gate.standing)
    assert turn(runtime).number == 2
    assert gate.standing == 1
    gate.open()


def test_so_many_closes_at_once(make: Make) -> None:
    """As many as `max_size`; the rest wait behind them, and connects do not."""
    runtime = make(3)
    gate = Gate()
    runtime.driver.on_close = gate
    for _ in range(8):
        runtime.discard(runtime.acquire(FOR_EVER))
    until(lambda: gate.standing == 3)
    handles = [runtime.acquire(FOR_EVER) for _ in range(3)]
    assert (gate.arrived, runtime.helpers.closing, len(runtime.monitor.jobs)) == (3, 3, 5)
    gate.open()
    until(lambda: gate.arrived == 8)
    for handle in handles:
        runtime.release(handle)


def test_a_hanging_connect_does_not_hold_up_another(make: Make) -> None:
    runtime = make(2)
    gate = Gate()

    def hang_once() -> None:
        runtime.driver.on_connect = nothing
        gate()

    runtime.driver.on_connect = hang_once
    waiters = [park(runtime, turn, runtime)]
    until(lambda: gate.standing)
    waiters.append(Call(turn, runtime))
    for waiter in waiters:
        waiter.result()
    assert gate.standing == 1
    gate.open()


def test_a_check_that_is_interrupted_before_it_began(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is closed all the same."""
    runtime = make(1)
    first = turn(runtime)
    start = helpers._start

    def interrupted(sync: Any, job: Any, what: str) -> None:
        if what == "check":  # the watch may start others meanwhile
            raise Stop
        start(sync, job, what)

    with monkeypatch.context() as patch:
        patch.setattr(helpers, "_start", interrupted)
        with pytest.raises(Stop):
            runtime.acquire(FOR_EVER)
    assert turn(runtime) is not first
    until(lambda: first.closed == 1)


def test_no_thread_to_be_had(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses threads for a while: callers are told, nothing is lost."""
    monkeypatch.setattr("pool.threads.helpers.RETRY_AFTER", 0.01)
    runtime = make(2)
    with monkeypatch.context() as patch:
        patch.setattr(
            "pool.threads.helpers._start", raising(RuntimeError("can't start new thread"))
        )
        for _ in range(3):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                runtime.acquire(FOR_EVER)
    assert waiting(runtime) == 0
    handles = [runtime.acquire(FOR_EVER) for _ in range(2)]
    for handle in handles:
        runtime.release(handle)


# ---------------------------------------------------------------- a database that fails


def test_a_wrong_password_shows_at_once(make: Make) -> None:
    """While there never was a connection, everybody is told what the driver said."""
    runtime = make(3)
    gate = Gate()

    def refuse() -> None:
        gate()
        raise PermissionError("wrong password")

    runtime.driver.on_connect = refuse
    waiters = [park(runtime, runtime.acquire, FOR_EVER) for _ in range(3)]
    gate.open()
    for waiter in waiters:
        with pytest.raises(OpenError, match="PermissionError: wrong password"):
            waiter.result()


def test_an_outage_refuses_nobody(make: Make) -> None:
    """There was a connection once: callers wait, with pauses that grow, until one is there."""
    runtime = make(2, backoff_initial=0.001, backoff_max=0.004)
    runtime.discard(runtime.acquire(FOR_EVER))
    attempts: list[float] = []

    def fail() -> None:
        attempts.append(runtime.clock())
        raise OSError("no route")

    runtime.driver.on_connect = fail
    waiter = park(runtime, turn, runtime)
    until(lambda: len(attempts) > 5)
    assert waiting(runtime) == 1
    assert runtime.state.failures >= 1
    runtime.driver.on_connect = nothing
    waiter.result()
    assert (runtime.state.failures, runtime.state.retry_at) == (0, None)


def test_who_is_out_of_time_is_told_why(make: Make) -> None:
    runtime = make(1, backoff_initial=0.001, backoff_max=0.002)
    runtime.discard(runtime.acquire(FOR_EVER))
    runtime.driver.on_connect = raising(OSError("no route"))
    patient = park(runtime, turn, runtime)
    until(lambda: runtime.state.last_error)
    with pytest.raises(PoolTimeout, match="the last connect failed: OSError: no route"):
        runtime.acquire(0.01)
    runtime.driver.on_connect = nothing
    patient.result()


def test_a_return_is_as_good_as_a_connect(make: Make) -> None:
    """During an outage those that are left are shared."""
    runtime = make(2, backoff_initial=0.01, backoff_max=0.01)
    kept = runtime.acquire(FOR_EVER)
    runtime.driver.on_connect = raising(OSError("no route"))
    waiters = [park(runtime, turn, runtime) for _ in range(5)]
    runtime.release(kept)
    assert {waiter.result().number for waiter in waiters} == {1}
    runtime.driver.on_connect = nothing


# ---------------------------------------------------------------- growing


def test_a_spike_opens_few(make: Make) -> None:
    """Forty callers at once and slow connects: they are served by the connection there is, and
    no more than `max_opening` are being opened."""
    runtime = make(50, max_opening=2)
    kept = runtime.acquire(FOR_EVER)
    gate = Gate()
    runtime.driver.on_connect = gate
    waiters = [park(runtime, turn, runtime) for _ in range(40)]
    runtime.release(kept)
    assert {waiter.result().number for waiter in waiters} == {1}
    until(lambda: gate.standing == 2)
    assert gate.arrived == 2
    gate.open()
    until(lambda: len(idle(runtime)) == 3)


def test_an_empty_pool_opens_for_all(make: Make) -> None:
    runtime = make(5, max_opening=1)
    together = threading.Barrier(5)
    runtime.driver.on_connect = lambda: together.wait(PATIENCE)
    hold = Gate()

    def work() -> None:
        handle = runtime.acquire(FOR_EVER)
        hold()
        runtime.release(handle)

    calls = [Call(work) for _ in range(5)]
    until(lambda: hold.standing == 5)
    hold.open()
    for call in calls:
        call.result()


def test_the_first_who_is_done_serves_the_first_who_waits(make: Make) -> None:
    """A connect belongs to nobody: one that hangs is nobody's bad luck."""
    runtime = make(2)
    kept = runtime.acquire(FOR_EVER)
    gate = Gate()
    runtime.driver.on_connect = gate
    first, second = park(runtime, turn, runtime), park(runtime, turn, runtime)
    runtime.release(kept)
    assert (first.result().number, second.result().number) == (1, 1)
    gate.open()


def test_as_many_idle_as_asked_for(make: Make) -> None:
    """RUN-8: from the beginning, and again when they were closed; nobody has to call."""
    runtime = make(5, min_idle=3)
    until(lambda: len(idle(runtime)) == 3)
    for _ in range(3):
        runtime.discard(runtime.acquire(FOR_EVER))
    until(lambda: len(idle(runtime)) == 3)


# ---------------------------------------------------------------- the clock


def test_what_rests_too_long_is_closed(make: Make) -> None:
    """RUN-8."""
    runtime = make(3, max_idle=0.02, min_idle=1)
    handles = [runtime.acquire(FOR_EVER) for _ in range(3)]
    for handle in handles:
        runtime.release(handle)
    until(lambda: len(runtime.driver.closed) >= 2 and len(idle(runtime)) == 1)


def test_what_is_too_old_is_closed(make: Make) -> None:
    """RUN-8."""
    runtime = make(2, max_lifetime=0.02)
    first = turn(runtime)
    until(lambda: first.closed == 1)


def test_a_leak_is_reported_once(make: Make) -> None:
    """RUN-8."""
    runtime = make(2, leak_after=0.01)
    reports: list[Leaked] = []
    runtime.on_leak = reports.append
    handle = runtime.acquire(FOR_EVER, owner="somebody")
    until(lambda: reports)
    other = runtime.acquire(FOR_EVER)
    until(lambda: len(reports) == 2)
    assert [report.owner for report in reports] == ["somebody", None]
    assert reports[0].held >= 0.01
    runtime.release(handle)
    runtime.release(other)


# ---------------------------------------------------------------- threads come and go


class Watches:
    """How many watches are at work."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at_work = 0
        self._lock = threading.Lock()
        self._keep_watch = Helpers._keep_watch
        patch.setattr(Helpers, "_keep_watch", lambda helpers: self._count(helpers))

    def _count(self, helpers: Helpers) -> None:
        with self._lock:
            self.at_work += 1
        try:
            self._keep_watch(helpers)
        finally:
            with self._lock:
                self.at_work -= 1


def test_the_watch_ends_with_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    watches = Watches(monkeypatch)
    runtime: Any = Runtime(ScriptedDriver(), Limits(max_size=1, opener="background"))
    turn(runtime)
    until(lambda: watches.at_work == 1)
    known = weakref.ref(runtime)
    del runtime
    until(lambda: gc.collect() is not None and known() is None)
    until(lambda: watches.at_work == 0)


def test_the_watch_ends_when_the_pool_is_closed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches = Watches(monkeypatch)
    runtime = make(2)
    turn(runtime)
    until(lambda: watches.at_work == 1)
    runtime.apply(Shutdown(runtime.clock()))
    until(lambda: watches.at_work == 0)


@pytest.mark.parametrize("observed", [False, True])
def test_the_watch_ends_when_an_empty_pool_is_closed(
    observed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left to be done, so nothing else wakes it."""
    watches = Watches(monkeypatch)
    pool = Pool(ScriptedDriver().connect, max_size=1)
    if observed:
        pool.observe(lambda event, effects: None)
    pool.acquire().discard()
    runtime: Any = pool._runtime
    helpers = runtime.helpers
    until(lambda: not runtime.monitor.jobs and not helpers.closing and helpers._signal.locked())
    assert watches.at_work == 1
    assert pool.close()
    until(lambda: watches.at_work == 0)


def test_one_watch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    watches = Watches(monkeypatch)
    runtime = make(4)
    everybody = threading.Barrier(8)

    def work() -> None:
        everybody.wait(PATIENCE)
        turn(runtime)

    for call in [Call(work) for _ in range(8)]:
        call.result()
    until(lambda: watches.at_work == 1)


def test_without_helpers_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """`opener="caller"`: not for anything there is."""
    refuse = raising(AssertionError("a thread was started"))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    driver = ScriptedDriver()
    runtime = Runtime(driver, Limits(max_size=2, max_lifetime=1000, max_idle=1000, leak_after=1000))
    for _ in range(3):
        turn(runtime)
        runtime.discard(runtime.acquire(FOR_EVER))
    handle = runtime.acquire(1)
    driver.on_connect = raising(OSError("no route"))
    with pytest.raises(OSError, match="no route"):
        runtime.acquire(1)
    driver.on_connect = nothing
    other = runtime.acquire(1)
    with pytest.raises(PoolTimeout):
        runtime.acquire(0.01)
    del handle
    handle = runtime.acquire(1)
    handle.connection.alive = False
    runtime.release(handle)
    runtime.release(other)
    other.connection.alive = False
    turn(runtime)
    runtime.apply(Shutdown(runtime.clock()))
    assert all(connection.closed == 1 for connection in driver.opened)
