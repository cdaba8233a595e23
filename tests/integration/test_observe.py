"""The seam: an observer is told each transition, in order, and a pool without one knows of none.

Theory.  What an observer was told is right if the machine, applied to it, gives the same effects
and ends in the state of the pool.  So most of these tests replay what was told.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import pool.aio
from pool import Acquire, Grant, Limits, PoolTimeout, Release, observe
from pool.core import shortcuts
from pool.core.state import leased
from pool.core.transition import step
from pool.record import Recorder, replay
from pool.record.recorder import Record
from pool.shared import named
from pool.shared.observation import _owner
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Gate,
    ScriptedDriver,
    in_child,
    until,
)
from tests.integration.instants import every_instant
from tests.integration.pools import Scripted


class Told:
    """What an observer was told, each thing once."""

    def __init__(self, subject: Any, batch: int = 1) -> None:
        self.history: list[Record] = []
        runtime = getattr(subject, "_runtime", subject)
        runtime = subject._purepool.runtime if hasattr(subject, "_purepool") else runtime
        self.runtime = runtime
        self.initial = named.state(runtime.state, _owner)
        self.last: Any = None
        self.observing = observe(subject, self, batch=batch)

    def __call__(self, event: Any, effects: Any) -> None:
        if event is not self.last:
            self.history.append((event, effects))
        self.last = event

    def is_sound(self) -> None:
        self.observing.flush()
        final = named.state(self.runtime.state, _owner)
        assert replay(self.initial, self.history, final) == []

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event, _ in self.history]


def turns(runtime: Runtime, times: int = 50) -> None:
    for _ in range(times):
        with suppress(PoolTimeout):
            runtime.release(runtime.acquire(FOR_EVER))


def test_each_transition_is_told_in_order_with_shortcuts_and_without() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(max_size=2), check_after=FOR_EVER)
    told = Told(runtime)
    calls = [Call(turns, runtime) for _ in range(6)]
    for call in calls:
        call.result()
    told.is_sound()
    assert told.kinds().count("Acquire") == told.kinds().count("Release") == 300


def test_it_is_told_at_once() -> None:
    """A checkout that takes the shortcut, too."""
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    turns(runtime, 1)
    told = Told(runtime)
    handle = runtime.acquire()
    assert told.kinds() == ["Acquire"]
    event, (grant,) = told.history[0]
    assert isinstance(grant, Grant)
    assert event == Acquire(event.now, handle.ticket)
    assert grant.connection == "connection 1"
    runtime.release(handle)
    assert told.kinds() == ["Acquire", "Release"]


def test_in_batches_and_on_demand() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    told = Told(runtime, batch=10)
    turns(runtime, 4)
    assert told.history == []
    turns(runtime, 1)
    assert len(told.history) >= 10
    turns(runtime, 1)
    told.observing.flush()
    assert len(told.history) == 13  # the first one connected
    told.is_sound()


def test_without_one_nothing_stands_in_front_of_the_machine() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    turns(runtime, 1)
    before = runtime.step, runtime.monitor.shortcuts, runtime.monitor.observed
    assert before == (step, shortcuts, None)
    one, two = Told(runtime), Told(runtime)
    turns(runtime, 1)
    one.observing.stop()
    turns(runtime, 1)
    two.observing.stop()
    two.observing.stop()
    turns(runtime, 1)
    assert (len(one.history), len(two.history)) == (2, 4)
    assert (runtime.step, runtime.monitor.shortcuts, runtime.monitor.observed) == before
    assert not runtime.monitor.inbox


def test_what_it_raises_is_logged_once_and_nothing_is_lost(caplog: Any) -> None:
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)

    def broken(*_: Any) -> None:
        raise LookupError("a bug")

    observe(runtime, broken)
    told = Told(runtime)
    turns(runtime, 5)
    told.is_sound()
    assert [record.message for record in caplog.records] == [
        "an observer failed; what it does again is not logged"
    ]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("observer", (None, 1)), ("batch", (print, 0)), ("batch", (print, True))],
)
def test_what_is_not_allowed_is_refused(name: str, arguments: Any) -> None:
    runtime = Runtime(ScriptedDriver(), Limits())
    with pytest.raises(ValueError, match=f"^{name}="):
        observe(runtime, arguments[0], batch=arguments[1])


def test_one_that_is_slow_holds_up_nobody_else() -> None:
    """One thread at a time tells; the others go on, and leave theirs to it."""
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    turns(runtime, 1)
    gate = Gate()
    told = Told(runtime)
    observe(runtime, gate)
    slow = Call(turns, runtime, 1)
    until(lambda: gate.standing)
    Call(turns, runtime, 20).result()
    assert len(told.history) == 1
    gate.open()
    slow.result()
    told.is_sound()
    assert len(told.history) == 43  # and one connected


def test_an_observer_may_use_the_pool() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(max_size=2), check_after=FOR_EVER)
    told = Told(runtime)
    within: list[str] = []

    def curious(event: Any, _: Any) -> None:
        if isinstance(event, Release) and not within:
            within.append(repr(runtime.state.limits))
            turns(runtime, 1)

    observe(runtime, curious)
    turns(runtime, 2)
    assert within
    told.is_sound()


def test_a_loss_is_told_by_who_comes_next_and_not_by_the_finalizer() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    told = Told(runtime)
    handle: Any = runtime.acquire()
    before = len(told.history)
    del handle
    gc.collect()
    assert len(told.history) == before
    turns(runtime, 1)
    assert "Discard" in told.kinds()
    told.is_sound()


def test_a_lease_is_not_kept_by_what_was_told() -> None:
    """With a state that somebody has, the end of each lease would look like a loss."""
    subject = Scripted(1)
    told = Told(subject, batch=1000)
    for _ in range(5):
        with subject.connection():
            pass
        assert not subject.runtime.monitor.inbox
    told.is_sound()


def test_owners_are_named_by_thread_and_line() -> None:
    subject = Scripted(1, leak_after=FOR_EVER)
    told = Told(subject)
    for _ in range(2):
        with subject.connection():
            pass
    told.observing.flush()  # the thread that has connected may be at it still
    owners = [event.owner for event, _ in told.history if isinstance(event, Acquire)]
    name = threading.current_thread().name
    assert len(owners) == 2
    for owner in owners:
        assert owner.startswith(f"thread {name!r} at {__file__}:")
    told.is_sound()


def test_a_state_can_be_had_at_its_place_in_the_order() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(max_size=2), check_after=FOR_EVER)
    told = Told(runtime)
    states: list[Any] = []
    handle = runtime.acquire(owner=object())
    told.observing.mark(lambda state: states.append((len(told.history), state)))
    assert states == []
    runtime.release(handle)
    ((index, state),) = states
    assert [lease.owner for lease in leased(state.in_use).values()] == ["owner of 1"]
    assert replay(state, told.history[index:], named.state(runtime.state, _owner)) == []


def test_with_a_recorder_in_front_and_behind() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    before = Told(runtime)
    with Recorder(runtime) as recorder:
        after = Told(runtime)
        turns(runtime, 3)
        before.observing.stop()
        after.observing.stop()
        turns(runtime, 3)
    assert recorder.check() == []
    turns(runtime, 1)
    assert (len(before.history), len(recorder.history)) == (7, 13)
    before = Told(runtime)
    turns(runtime, 1)
    before.is_sound()
    assert len(before.history) == 2


def test_what_peewees_user_changes_is_told_as_an_event() -> None:
    database = scripted(3)
    database._purepool.runtime.step = step
    told = Told(database)
    database.connect()
    database.close()
    database._connections.clear()
    database.connect()
    database.close()
    told.is_sound()
    assert "Adopt" in told.kinds()
    told.observing.stop()


def test_a_child_process_tells_what_is_its_own() -> None:
    runtime = Runtime(ScriptedDriver(), Limits(max_size=2), check_after=FOR_EVER)
    told = Told(runtime, batch=100)
    turns(runtime, 3)
    handle = runtime.acquire()

    def child() -> str:
        told.observing.flush()
        turns(runtime, 1)
        told.observing.flush()
        kinds = told.kinds()
        return f"{os.getpid() != parent} {kinds}"

    parent = os.getpid()
    assert in_child(child) == f"True {['Forked', 'Acquire', 'Opened', 'Release']}"
    runtime.release(handle)
    told.is_sound()
    assert "Forked" not in told.kinds()


def test_a_fork_in_the_middle_of_telling() -> None:
    """The lock of the one who tells is not the child's."""
    runtime = Runtime(ScriptedDriver(), Limits(), check_after=FOR_EVER)
    gate = Gate()
    observe(runtime, gate)
    slow = Call(turns, runtime, 1)
    until(lambda: gate.standing)

    def child() -> str:
        gate.begin_anew()
        gate.open()
        told = Told(runtime)
        turns(runtime, 1)
        return str(len(told.history))

    assert in_child(child) == "3"
    gate.open()
    slow.result()


@pytest.mark.parametrize("batch", [1, 1000])
def test_the_runtime_for_asyncio(batch: int) -> None:
    async def main() -> None:
        subject = pool.aio.Pool(Connection, max_size=2, check_after=FOR_EVER)
        told = Told(subject, batch)

        async def turn(_: int) -> None:
            for _ in range(10):
                async with subject.connection():
                    await asyncio.sleep(0)

        await asyncio.gather(*map(turn, range(5)))
        lease: Any = await subject.acquire()
        assert len(told.history) == 0 if batch > 1 else told.kinds()[-1] == "Acquire"
        del lease
        with suppress(PoolTimeout):
            one, two = await subject.acquire(), await subject.acquire()
            await subject.acquire(0)
        del one, two
        gc.collect()
        async with subject.connection():
            pass
        assert await subject.close()
        told.is_sound()
        assert told.kinds().count("Acquire") == 55
        owners = {event.owner for event, _ in told.history if isinstance(event, Acquire)}
        assert all(owner.startswith("task 'Task-") for owner in owners)

    asyncio.run(main())


class Connection:
    def close(self) -> None:
        pass


# ---------------------------------------------------------------- interrupted anywhere


def one_turn(runtime: Runtime) -> None:
    runtime.release(runtime.acquire(FOR_EVER))


def dead(runtime: Runtime) -> None:
    runtime.driver.opened[-1].alive = False  # type: ignore[attr-defined]  # it is a scripted one
    one_turn(runtime)


def discarded(runtime: Runtime) -> None:
    runtime.discard(runtime.acquire(FOR_EVER))


@pytest.mark.sampled
@pytest.mark.parametrize("work", [one_turn, dead, discarded], ids=lambda work: work.__name__)
@pytest.mark.parametrize("batch", [1, 1000])
def test_an_exception_at_every_instant(batch: int, work: Callable[[Runtime], None]) -> None:
    """What was told is what happened: an event that was decided and never came is not in it."""
    made: list[tuple[Runtime, Told]] = []

    def prepare() -> Callable[[], None]:
        check_after = 0.0 if work is dead else FOR_EVER
        runtime = Runtime(ScriptedDriver(), Limits(max_size=2), check_after=check_after)
        made[:] = [(runtime, Told(runtime, batch))]
        one_turn(runtime)
        return lambda: work(runtime)

    def check() -> None:
        ((runtime, told),) = made
        for _ in range(2):
            one_turn(runtime)
        told.is_sound()
        last = told.history[-1]
        assert isinstance(last[0], Release)

    assert every_instant(prepare, check) > 20


@pytest.mark.sampled
@pytest.mark.parametrize("batch", [1, 1000])
def test_an_exception_at_every_instant_of_a_pooled_database(batch: int) -> None:
    made: list[tuple[Any, Told]] = []

    def prepare() -> Callable[[], None]:
        database = scripted(2)
        database._purepool.runtime.step = step
        database.connect()
        database.close()
        made[:] = [(database, Told(database, batch))]

        def work() -> None:
            len(database._connections)
            database._connections.clear()
            database.connect()
            database.close()

        return work

    def check() -> None:
        ((database, told),) = made
        for _ in range(2):
            with suppress(Exception):
                database.close()
            database.connect()
            database.close()
        told.is_sound()

    assert every_instant(prepare, check) > 20


@pytest.mark.parametrize("is_planted", [False, True])
def test_what_was_decided_and_never_came_is_taken_back(
    is_planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the test that looks for it finds it."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=2), check_after=FOR_EVER)
    one_turn(runtime)
    told = Told(runtime, 1000)
    handle = runtime.acquire()
    before = runtime.monitor.current
    now = runtime.clock()
    runtime.monitor.shortcuts.release(before[0], now, handle.ticket, handle.key, True)
    assert runtime.monitor.current is before  # struck before it was assigned
    if is_planted:
        monkeypatch.setattr("pool.shared.observation._same", lambda *_: True)
    runtime.release(handle)
    if is_planted:
        with pytest.raises(AssertionError):
            told.is_sound()
    else:
        told.is_sound()
        assert told.kinds() == ["Acquire", "Release"]
