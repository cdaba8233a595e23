"""What a runtime owes the machine: RUN-1 to RUN-9 of `spec/README.md`, one test or more for each.

Theory.  The machine cannot check these by itself.  Here `step` is wrapped, the driver is scripted,
and sometimes the clock and the locks are too (`Sync`), so that the rare moment each obligation is
about is made to happen.  `test_every_obligation_is_cited` holds this folder's tests to the list.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool import Acquire, Expire, Ignored, Limits, Refuse, Shutdown
from pool.shared.errors import PoolClosed, PoolTimeout
from pool.shared.handles import Handle
from pool.threads.driver import Sync
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    ROOT,
    Call,
    Gate,
    ScriptedDriver,
    Stop,
    assert_sound,
    idle,
    lent,
    park,
    switching_often,
    until,
    waiting,
    watch,
)

Make = Callable[..., Runtime]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes runtimes that at the end must be found whole."""
    made: list[tuple[Runtime, list[str]]] = []

    def make(
        max_size: int = 2, *, sync: Any = Sync, check_after: float = 0.0, **limits: Any
    ) -> Any:
        runtime = Runtime(
            ScriptedDriver(),
            Limits(max_size=max_size, **limits),
            sync=sync,
            check_after=check_after,
        )
        made.append((runtime, watch(runtime)))
        return runtime

    yield make
    for runtime, broken in made:
        assert_sound(runtime)
        assert broken == []
        assert runtime.driver.mistakes == []  # type: ignore[attr-defined]


def turn(runtime: Runtime) -> Any:
    """Acquire and release; which connection it was."""
    handle = runtime.acquire(FOR_EVER)
    connection = handle.connection
    runtime.release(handle)
    return connection


# ---------------------------------------------------------------- RUN-1


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_one_transition_at_a_time(make: Make, opener: str) -> None:
    """RUN-1: each `step` begins in the state that the last one returned."""
    runtime = make(3, opener=opener)
    plain_step = runtime.step
    last = [runtime.state]
    inside: list[str] = []
    faults: list[str] = []

    def step(state: Any, event: Any) -> Any:
        if inside:
            faults.append("two at once")
        if state is not last[0]:
            faults.append("not the last state")
        inside.append("in")
        state, effects = plain_step(state, event)
        last[0] = state
        inside.clear()
        return state, effects

    runtime.step = step  # type: ignore[method-assign]
    with switching_often():
        calls = [Call(lambda: [turn(runtime) for _ in range(100)]) for _ in range(8)]
        for call in calls:
            call.result()
    assert faults == []
    assert runtime.state.issued >= 800


# ---------------------------------------------------------------- RUN-2


class FaultyLock:
    """A lock whose `release` is interrupted once: before or after it has done its work."""

    def __init__(self, sync: FaultySync) -> None:
        self._sync = sync
        self._lock = threading.Lock()

    def acquire(self, *arguments: Any) -> bool:
        return self._lock.acquire(*arguments)

    def release(self) -> None:
        when, self._sync.when = self._sync.when, None
        if when == "before":
            raise Stop
        self._lock.release()
        if when == "after":
            raise Stop


class FaultySync(Sync):
    """Locks of the usual kind, until told to interrupt the one who wakes a waiter."""

    def __init__(self) -> None:
        self.faulty = False
        self.when: str | None = None

    def lock(self) -> Any:  # type: ignore[override]
        return FaultyLock(self) if self.faulty else threading.Lock()


@pytest.mark.parametrize("when", ["before", "after"])
def test_answers_are_delivered_on_the_way_out(make: Make, when: str) -> None:
    """RUN-2: whoever is interrupted while it delivers answers delivers them all the same."""
    sync = FaultySync()
    runtime = make(1, sync=sync)
    handle = runtime.acquire(0)
    sync.faulty = True
    waiter = park(runtime, turn, runtime)
    sync.when = when
    with pytest.raises(Stop):
        runtime.release(handle)
    assert sync.when is None
    waiter.result()


def test_who_fails_in_a_transition_leaves_the_old_state(make: Make) -> None:
    """RUN-2: and what the handle held is free all the same."""
    runtime = make(1)
    handle = runtime.acquire(0)
    waiter = park(runtime, turn, runtime)
    plain_step = runtime.step

    def step(state: Any, event: Any) -> Any:
        runtime.step = plain_step  # type: ignore[method-assign]
        raise Stop

    runtime.step = step  # type: ignore[method-assign]
    with pytest.raises(Stop):
        runtime.release(handle)
    assert waiter.result().number == 2


# ---------------------------------------------------------------- RUN-3


def take_and_give_back(lock: Any) -> bool:
    if lock.acquire(False):
        lock.release()
        return True
    return False


def test_nothing_of_the_drivers_runs_under_the_lock(make: Make) -> None:
    """RUN-3: in each hook the lock can be had."""
    runtime = make(2)
    driver: Any = runtime.driver
    seen: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def script(*_: Any) -> None:
            assert Call(take_and_give_back, runtime.monitor.lock).result() is True
            turn_of_another = Call(lambda: runtime.state)
            turn_of_another.result()
            seen.append(name)

        return script

    for name in ("connect", "alive", "reset", "close"):
        setattr(driver, f"on_{name}", look(name))
    runtime.release(runtime.acquire(0))
    runtime.discard(runtime.acquire(0))
    assert seen == ["connect", "reset", "alive", "close"]


def test_closes_come_before_opens_and_in_order(make: Make) -> None:
    """RUN-3: Io is performed in the order in which the machine asked for it."""
    runtime = make(4)
    handles = [runtime.acquire(0) for _ in range(4)]
    for handle in handles:
        runtime.release(handle)
    order = [connection.number for connection in idle(runtime)]
    closed: list[int] = []
    runtime.driver.on_close = lambda connection: closed.append(connection.number)  # type: ignore[attr-defined]
    runtime.apply(Shutdown(runtime.clock()))
    assert closed == order
    with pytest.raises(PoolClosed):
        runtime.acquire(0)


# ---------------------------------------------------------------- RUN-4


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_every_connection_is_closed_once(make: Make, opener: str) -> None:
    """RUN-4: eight threads return, throw away, lose; at the end all are closed, each once."""
    runtime = make(3, opener=opener)

    def work(number: int) -> None:
        for turn_number in range(60):
            handle = runtime.acquire(FOR_EVER)
            match (number + turn_number) % 3:
                case 0:
                    runtime.release(handle)
                case 1:
                    runtime.discard(handle)
            del handle

    with switching_often():
        for call in [Call(work, number) for number in range(8)]:
            call.result()
    runtime.apply(Shutdown(runtime.clock()))
    driver: Any = runtime.driver
    until(runtime.is_at_rest)  # nor is any connect under way
    until(lambda: all(connection.closed for connection in driver.opened))
    assert {connection.closed for connection in driver.opened} == {1}
    assert len(driver.opened) == runtime.state.counters.closed


def test_what_one_leaves_undone_another_does(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN-4: the one whose `Close` it was is interrupted before it got to it."""
    runtime = make(2)
    handle = runtime.acquire(0)
    connection = handle.connection

    def interrupted(self: Any, monitor: Any, effects: Any) -> None:
        monkeypatch.undo()
        raise Stop

    monkeypatch.setattr(type(runtime), "_leave", interrupted)
    with pytest.raises(Stop):
        runtime.discard(handle)
    assert connection.closed == 0
    turn(runtime)
    assert connection.closed == 1


# ---------------------------------------------------------------- RUN-5


@pytest.mark.parametrize("error", [OSError("no route"), Stop("stop")], ids=repr)
def test_every_open_has_one_outcome(make: Make, error: BaseException) -> None:
    """RUN-5: `Opened`, `OpenFailed`, or the `Cancel` of its ticket."""
    runtime = make(1)
    driver: Any = runtime.driver

    def fail() -> None:
        raise error

    driver.on_connect = fail
    for _ in range(3):
        with pytest.raises(type(error)):
            runtime.acquire(0)
        assert runtime.state.opening == 0
    driver.on_connect = lambda: None
    turn(runtime)
    counters = runtime.state.counters
    assert (counters.opened, counters.refused + counters.cancelled) == (1, 3)


# ---------------------------------------------------------------- RUN-6


class ScriptedSync(Sync):
    """A monotonic clock that the test reads out, one time after the other."""

    def __init__(self) -> None:
        self.times: Iterator[Any] = iter(())

    def monotonic(self) -> float:  # type: ignore[override]
        time = next(self.times)
        return float(time() if callable(time) else time)


def test_a_grant_that_comes_with_the_deadline_is_kept(make: Make) -> None:
    """RUN-6: the caller was answered after it saw that its time was up, and before it said so.
    What it was answered holds."""
    sync = ScriptedSync()
    runtime = make(1, sync=sync)
    holder = runtime.acquire(None)
    connection = holder.connection
    expired: list[Any] = []
    plain_step = runtime.step

    def step(state: Any, event: Any) -> Any:
        outcome = plain_step(state, event)
        if isinstance(event, Expire):
            expired.append(outcome[1])
        return outcome

    runtime.step = step  # type: ignore[method-assign]

    def now_it_is_returned() -> float:
        runtime.release(holder)
        return 100.0

    sync.times = iter([0.0, now_it_is_returned, 101.0, 102.0])
    handle = runtime.acquire(5.0)
    assert handle.connection is connection
    assert [type(effects[0]) for effects in expired] == [Ignored]
    runtime.release(handle)


def test_a_deadline_that_passes_is_a_refusal(make: Make) -> None:
    """RUN-6: and the error says what was going on."""
    sync = ScriptedSync()
    runtime = make(1, sync=sync)
    holder = runtime.acquire(None)
    sync.times = iter([0.0, 100.0, 101.0, 102.0])
    with pytest.raises(PoolTimeout, match=r"no connection within 5 s \(max 1, in use 1, idle 0"):
        runtime.acquire(5.0)
    runtime.release(holder)


def test_a_wait_that_ends_too_early_goes_on(make: Make) -> None:
    """RUN-6: the wait's own result means nothing: before the deadline it is simply repeated."""
    sync = ScriptedSync()
    runtime = make(1, sync=sync)
    holder = runtime.acquire(None)
    looks = iter([0.0, 4.999, 4.9999, 4.99999])

    def later() -> float:
        runtime.release(holder)
        return 4.999999

    sync.times = iter([*looks, later, 5.5])
    assert runtime.acquire(5.0).connection is not None


# ---------------------------------------------------------------- RUN-7


def test_an_interrupted_caller_leaves_no_trace(make: Make) -> None:
    """RUN-7: one who is interrupted with a connection in its hands has it closed, and its room
    goes to the next. (Interruptions at random instants: `test_runtime_interrupts.py`.)"""
    runtime = make(1)
    holder = runtime.acquire(0)
    waiter = park(runtime, turn, runtime)

    def interrupt(*_: Any) -> None:
        runtime.driver.on_reset = lambda _: None  # type: ignore[attr-defined]
        raise Stop

    runtime.driver.on_reset = interrupt  # type: ignore[attr-defined]
    with pytest.raises(Stop):
        runtime.release(holder)
    assert waiter.result().number == 2
    assert runtime.state.counters.closed == 1


# ---------------------------------------------------------------- RUN-8


def test_ticks_come_by_themselves(make: Make) -> None:
    """RUN-8: connections that rest too long are closed though nobody calls."""
    runtime = make(3, opener="background", max_idle=0.02)
    handles = [runtime.acquire(FOR_EVER) for _ in range(3)]
    for handle in handles:
        runtime.release(handle)
    driver: Any = runtime.driver
    until(lambda: len(driver.closed) == 3)
    assert idle(runtime) == []


def test_without_helpers_whoever_calls_notices(make: Make) -> None:
    """RUN-8 with `caller`: nothing waits for a `Tick`, for an expired connection is noticed when
    it would be lent."""
    runtime = make(1, max_lifetime=1e-9)
    first = turn(runtime)
    assert first.closed == 1
    assert turn(runtime) is not first


# ---------------------------------------------------------------- the list


def test_every_obligation_is_cited() -> None:
    """Each RUN-n of the specification is named in a test of this folder."""
    text = (ROOT / "spec" / "README.md").read_text()
    obligations = set(re.findall(r"^\| `(RUN-\d+)` \|", text, re.MULTILINE))
    tests = Path(__file__).parent.glob("test_*.py")
    cited = {name for test in tests for name in re.findall(r"RUN-\d+", test.read_text())}
    assert len(obligations) >= 9
    assert cited >= obligations
    assert cited - {"RUN-n"} <= obligations


# ---------------------------------------------------------------- wrong use


def test_releasing_twice(make: Make) -> None:
    runtime = make(1)
    handle = runtime.acquire(0)
    assert runtime.release(handle) is True
    assert runtime.release(handle) is False
    assert runtime.discard(handle) is False
    assert len(idle(runtime)) == 1


def test_a_ticket_fences(make: Make) -> None:
    """What was lent to the next one cannot be returned with the old ticket."""
    runtime = make(1)
    old = runtime.acquire(0)
    ticket, key, connection = old.ticket, old.key, old.connection
    runtime.release(old)
    new = runtime.acquire(0)
    assert new.connection is connection
    stale = Handle(runtime)
    stale.ticket, stale.key, stale.held = ticket, key, connection
    assert runtime.release(stale) is False
    assert lent(runtime) == [connection]
    assert runtime.release(new) is True


def test_a_handle_of_another_pool(make: Make) -> None:
    ours, theirs = make(1), make(1)
    mine, foreign = ours.acquire(0), theirs.acquire(0)
    foreign_state = theirs.state
    for give_back in (ours.release, ours.discard):
        with pytest.raises(ValueError, match="another pool"):
            give_back(foreign)
    assert theirs.state is foreign_state
    assert ours.release(mine) is True
    assert theirs.release(foreign) is True


def test_a_closed_pool(make: Make) -> None:
    runtime = make(2)
    kept = runtime.acquire(0)
    runtime.release(runtime.acquire(0))
    runtime.apply(Shutdown(runtime.clock()))
    assert [type(effect) for effect in runtime.apply(Shutdown(runtime.clock()))] == [Ignored]
    for timeout in (None, 0, 1.0):
        with pytest.raises(PoolClosed, match="the pool is closed"):
            runtime.acquire(timeout)
    assert runtime.release(kept) is True
    driver: Any = runtime.driver
    assert [connection.closed for connection in driver.opened] == [1, 1]


def test_closing_refuses_who_waits_and_who_connects(make: Make) -> None:
    """A connect that succeeds too late is closed."""
    runtime = make(1)
    gate = Gate()
    driver: Any = runtime.driver
    driver.on_connect = gate
    connecting = Call(runtime.acquire, FOR_EVER)
    until(lambda: gate.standing)
    waiter = park(runtime, runtime.acquire, FOR_EVER)
    runtime.apply(Shutdown(runtime.clock()))
    with pytest.raises(PoolClosed):
        waiter.result()
    gate.open()
    with pytest.raises(PoolClosed):
        connecting.result()
    assert [connection.closed for connection in driver.opened] == [1]


def test_an_unknown_ticket_changes_nothing(make: Make) -> None:
    runtime = make(1)
    turn(runtime)
    before = runtime.state
    effects = runtime.apply(Acquire(runtime.clock(), 1, True, None))
    assert [type(effect) for effect in effects] == [Ignored]
    assert runtime.state is before


def test_too_many_waiting(make: Make) -> None:
    runtime = make(1, max_waiting=0)
    handle = runtime.acquire(0)
    plain_step = runtime.step
    refused: list[str] = []

    def step(state: Any, event: Any) -> Any:
        outcome = plain_step(state, event)
        refused.extend(effect.reason for effect in outcome[1] if isinstance(effect, Refuse))
        return outcome

    runtime.step = step  # type: ignore[method-assign]
    with pytest.raises(Exception, match="too many callers wait already"):
        runtime.acquire(FOR_EVER)
    assert refused == ["too_many_waiting"]
    assert waiting(runtime) == 0
    runtime.release(handle)


def test_first_come_first_served(make: Make) -> None:
    runtime = make(1)
    handle = runtime.acquire(0)
    order: list[int] = []

    def work(number: int) -> None:
        mine = runtime.acquire(FOR_EVER)
        order.append(number)
        runtime.release(mine)

    calls = [park(runtime, work, number) for number in range(20)]
    runtime.release(handle)
    for call in calls:
        call.result()
    assert order == list(range(20))


def test_twenty_at_once(make: Make) -> None:
    runtime = make(20)
    together = threading.Barrier(20)
    runtime.driver.on_connect = lambda: together.wait(PATIENCE)  # type: ignore[attr-defined]
    calls = [Call(turn, runtime) for _ in range(20)]
    for call in calls:
        call.result()
