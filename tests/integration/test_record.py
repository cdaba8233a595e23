"""The recorder: what it writes down is what happened, and what did not happen is found.

Theory.  A recorder is good for something only if its check can fail.  So half of these tests
record a real run with threads and find it sound, and half spoil such a history in one place
and must be told the place.
"""

from __future__ import annotations

import gc
import heapq
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool import (
    Acquire,
    Adopt,
    Close,
    CloseIdle,
    Discard,
    Forked,
    Grant,
    Leaked,
    Limits,
    Opened,
    Pool,
    PoolTimeout,
    Release,
    State,
    Tick,
    step,
)
from pool.core import heap, shortcuts
from pool.core.limits import IdleOrder
from pool.core.state import state_of
from pool.record import Recorder, Violation, recorder, replay
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Gate,
    ScriptedDriver,
    Storm,
    assert_sound,
    in_child,
    park,
    until,
    watch,
    weather,
)


@pytest.fixture
def database() -> Iterator[Any]:
    """A pooled peewee database, up to two connections, whose transitions nobody else watches."""
    database = scripted(2)
    database._purepool.runtime.step = step
    yield database
    assert_sound(database)


def turns(database: Any, threads: int = 6, times: int = 20) -> None:
    """Threads that compete for connections."""

    def work() -> None:
        for _ in range(times):
            database.connect()
            database.close()

    for call in [Call(work) for _ in range(threads)]:
        call.result()


def kinds(recorder: Recorder) -> list[str]:
    return [type(event).__name__ for event, _ in recorder.history]


# ---------------------------------------------------------------- off


def test_off_it_is_not_there(database: Any) -> None:
    recorder = Recorder(database)
    assert database._purepool.runtime.step is not step
    recorder.stop()
    assert database._purepool.runtime.step is step
    recorder.stop()
    turns(database)
    assert recorder.history == []
    assert recorder.check() == []


def test_as_a_context_manager(database: Any) -> None:
    with Recorder(database) as recorder:
        turns(database, 1, 1)
    assert database._purepool.runtime.step is step
    assert kinds(recorder) == ["Acquire", "Opened", "Release"]


# ---------------------------------------------------------------- a history that is sound


def test_a_run_with_threads_is_sound(database: Any) -> None:
    progress: list[int] = []
    with Recorder(database) as recorder:
        turns(database)
    assert recorder.check(progress.append) == []
    assert kinds(recorder).count("Acquire") == kinds(recorder).count("Release") == 120
    assert progress[-1] == len(recorder.history)


def test_it_can_begin_and_end_in_the_middle(database: Any) -> None:
    """With connections idle, lent, being opened, and callers in the queue."""
    hold = Gate()

    def work() -> None:
        database.connect()
        hold()
        database.close()

    turns(database, 1, 1)
    database.driver.on_connect = slow = Gate()
    calls = [Call(work)]
    until(lambda: hold.standing == 1)
    calls.append(Call(work))
    until(lambda: slow.standing == 1)
    calls += [park(database, work) for _ in range(2)]
    recorder = Recorder(database)
    assert recorder.initial.opening == 1
    assert len(recorder.initial.in_use) == 1
    slow.open()
    until(lambda: hold.standing == 2)
    calls += [park(database, work) for _ in range(3)]
    recorder.stop()
    hold.open()
    for call in calls:
        call.result()
    assert recorder.check() == []
    assert kinds(recorder) == ["Opened", "Acquire", "Acquire", "Acquire"]


def test_leaks_and_owners_are_recorded_by_name() -> None:
    now = [1.0]
    runtime = Runtime(ScriptedDriver(), Limits(leak_after=1.0), clock=lambda: now[0])
    runtime.on_leak = lambda leak: None
    with Recorder(runtime) as recorder:
        handle = runtime.acquire(owner=object())
        now[0] = 9.0
        runtime.apply(Tick(9.0))
        runtime.release(handle)
    assert recorder.check() == []
    acquired, opened, ticked, _ = recorder.history
    assert acquired[0] == Acquire(1.0, 1, True, "owner of 1")
    assert opened[1] == (Grant(1, 1, "connection 1", None),)
    assert ticked[1] == (Leaked(1, 1, "owner of 1", 8.0),)


@pytest.mark.parametrize("order", ["lifo", "fifo", "oldest"])
def test_a_pool_with_very_many_idle_is_recorded(order: IdleOrder) -> None:
    """Their heap is deeper than Python recurses."""
    pool: Any = Pool(lambda: Connection(1), max_size=None, opener="caller", idle_order=order)
    for lease in [pool.acquire() for _ in range(2000)]:
        lease.release()
    with Recorder(pool) as record:
        pool.acquire().release()
    assert record.check() == []
    assert [type(event) for event, _ in record.history][-2:] == [Acquire, Release]
    pool.close()


def test_it_keeps_no_connection_alive(database: Any) -> None:
    recorder = Recorder(database)
    database.connect()
    connection = weakref.ref(database.connection())
    database.driver.opened.clear()
    database.manual_close()
    gc.collect()
    assert connection() is None
    assert any(isinstance(effect, Close) for _, effects in recorder.history for effect in effects)
    assert recorder.check() == []


def test_a_child_process_goes_on_with_its_own_history(database: Any) -> None:
    with Recorder(database) as recorder:
        turns(database, 1, 1)

        def child() -> str:
            turns(database, 1, 1)
            return f"{recorder.check()} {Forked.__name__ in kinds(recorder)}"

        assert in_child(child) == "[] True"
    assert recorder.check() == []


# ---------------------------------------------------------------- beside the mirror


def change_the_mirror(database: Any) -> None:
    """As a program does that keeps playhouse's books itself: one more, one changed, one gone."""
    turns(database, 1, 1)
    made, counter, connection = database._connections[0]
    database._connections[:] = []
    heapq.heappush(database._connections, (made - 1, counter + 7, connection))
    heapq.heappush(database._connections, (made - 2, counter + 8, database.driver.connect()))
    turns(database, 1, 2)
    database._connections.pop()
    turns(database, 1, 1)


@pytest.mark.parametrize("when", ["before", "after", "around"])
def test_beside_the_mirror(database: Any, when: str) -> None:
    """The mirror may come before the recorder, or leave before it."""
    turns(database, 1, 1)
    if when != "after":
        assert len(database._connections) == 1  # from here on the mirror is in front of `step`
    recorder = Recorder(database)
    change_the_mirror(database)
    if when == "around":
        assert database._in_use == {}
    recorder.stop()
    turns(database, 1, 2)
    assert database._purepool.runtime.step is step
    assert recorder.check() == []
    assert kinds(recorder).count("Adopt") == 2
    adopted = [event for event, _ in recorder.history if isinstance(event, Adopt)]
    assert {item.connection for item in adopted[0].idle} == {"connection 1", "connection 12"}


def test_it_stays_when_the_mirror_goes(database: Any) -> None:
    """A mirror that nobody changed takes itself away, and only itself."""
    assert database._connections == []
    with Recorder(database) as recorder:
        turns(database, 2, 5)
    assert database._purepool.runtime.step is step
    assert kinds(recorder).count("Acquire") == 10
    assert recorder.check() == []


def test_one_who_came_later_does_not_hold_it_back(database: Any) -> None:
    """Somebody else stands in front when the recorder stops: it records no more."""
    recorder = Recorder(database)
    broken = watch(database._purepool.runtime)
    turns(database, 1, 1)
    recorder.stop()
    turns(database, 1, 1)
    assert len(recorder.history) == 3
    assert recorder.check() == []
    assert broken == []


def test_two_recorders(database: Any) -> None:
    one = Recorder(database)
    turns(database, 1, 1)
    other = Recorder(database)
    turns(database, 1, 1)
    one.stop()
    turns(database, 1, 1)
    other.stop()
    assert (len(one.history), len(other.history)) == (5, 4)
    assert one.check() == other.check() == []


# ---------------------------------------------------------------- what never happened


def test_an_event_that_never_took_effect_is_taken_back(database: Any) -> None:
    """As when an asynchronous exception comes between `step` and the assignment."""
    runtime = database._purepool.runtime
    with Recorder(runtime) as recorder:
        turns(database, 1, 1)
        with runtime.monitor.lock:
            runtime.step(runtime.state, CloseIdle(1.0))
            runtime.step(runtime.state, Acquire(1.0, 9))
        turns(database, 1, 1)
        with runtime.monitor.lock:
            runtime.step(runtime.state, Acquire(1.0, 9))
    assert kinds(recorder) == ["Acquire", "Opened", "Release", "Acquire", "Release"]
    assert recorder.check() == []


def test_a_change_of_the_mirror_that_never_took_effect_is_taken_back(database: Any) -> None:
    runtime = database._purepool.runtime
    with Recorder(runtime) as recorder:
        turns(database, 1, 1)
        database._connections.clear()
        with runtime.monitor.lock:
            runtime.step(runtime.state, Tick(1.0))
            runtime.step(runtime.state, Tick(1.0))
        turns(database, 1, 1)
    assert kinds(recorder)[3:] == ["Adopt", "Acquire", "Opened", "Release"]
    assert recorder.check() == []


def test_a_run_under_asynchronous_exceptions_is_sound(database: Any) -> None:
    storm = Storm()

    def work() -> None:
        database.connect(reuse_if_open=True)
        database.close()

    with weather(), Recorder(database) as recorder:
        thread = threading.Thread(target=storm.endure, args=(work,), daemon=True)
        thread.start()
        until(lambda: database._purepool.runtime.state.issued)  # now it is where it endures
        storm.strike(thread, 200)
        gc.collect()
        turns(database, 2, 2)
    assert recorder.check() == []


# ---------------------------------------------------------------- what is wrong is found


@pytest.fixture
def recorded() -> tuple[State, list[Any], Any]:
    """The history of two callers over one connection: its beginning, its events, its end."""
    database = scripted(1)
    hold = Gate()

    def work() -> None:
        database.connect()
        hold()
        database.close()

    with Recorder(database) as recorder:
        first = Call(work)
        until(lambda: hold.standing)
        second = park(database, work)
        hold.open()
        first.result()
        second.result()
    assert kinds(recorder) == ["Acquire", "Opened", "Acquire", "Release", "Release"]
    assert recorder.check() == []
    return recorder.initial, recorder.history, recorder._final


def other_key(history: list[Any]) -> None:
    event, effects = history[3]
    history[3] = event._replace(key=2), effects


def other_ticket(history: list[Any]) -> None:
    event, effects = history[3]
    history[3] = event._replace(ticket=2), effects


def other_kind(history: list[Any]) -> None:
    event, effects = history[3]
    history[3] = Discard(event.now, event.ticket, event.key), effects


def left_out(history: list[Any]) -> None:
    del history[3]


def came_twice(history: list[Any]) -> None:
    history.insert(3, history[2])


def other_grant(history: list[Any]) -> None:
    """The connection went to somebody who was not the first in the queue."""
    event, _ = history[3]
    history[3] = event, (Grant(3, 1, "connection 1", 0.0),)


def other_connection(history: list[Any]) -> None:
    event, effects = history[1]
    history[1] = event._replace(connection="connection 2"), effects


CORRUPTIONS: dict[str, tuple[Callable[[list[Any]], None], int, str]] = {
    # what is done to it, and where and as what it is found
    "another key": (other_key, 3, "Effects"),
    "another ticket": (other_ticket, 3, "Effects"),
    "another event": (other_kind, 3, "Effects"),
    "an event left out": (left_out, 3, "Effects"),
    "an event twice": (came_twice, 3, "Effects"),
    "another grant": (other_grant, 3, "Effects"),
    "another connection": (other_connection, 1, "Effects"),
    "the last event left out": (list.pop, 4, "State"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupted_history_is_found(recorded: Any, name: str) -> None:
    state, history, final = recorded
    corrupt, index, invariant = CORRUPTIONS[name]
    corrupt(history)
    found = replay(state, history, final)[0]
    assert (found.index, found.invariant) == (index, invariant)
    assert str(index) in str(found)
    if found.event is not None:
        assert found.event is history[index][0]
        assert repr(found.event) in str(found)


def test_a_corrupted_recorder_says_so(database: Any) -> None:
    with Recorder(database) as recorder:
        turns(database, 1, 3)
    event, effects = recorder.history[4]
    recorder._scribe.notes[4] = event._replace(reusable=False), effects
    (found,) = recorder.check()
    assert (found.index, found.event, found.invariant) == (
        4,
        event._replace(reusable=False),
        "Effects",
    )


def test_a_corrupted_beginning_is_found(recorded: Any) -> None:
    state, history, final = recorded
    assert replay(state._replace(issued=7), history, final) == [Violation(0, None, "Conserved")]


def test_a_broken_invariant_is_named(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `step` that keeps a connection from who waits for it: in the pool and in the check."""
    state, history, _ = recorded

    def unfair(before: State, event: Any) -> Any:
        after, effects = step(before, event)
        if isinstance(event, Release) and before.waiters:
            idle, _ = step(before._replace(waiters=None, issued=before.issued - 1), event)
            return idle._replace(waiters=before.waiters, issued=before.issued), ()
        return after, effects

    monkeypatch.setattr(recorder, "plain_step", unfair)
    history[3] = history[3][0], ()
    assert [(found.index, found.invariant) for found in replay(state, history)] == [(3, "Served")]


def test_a_step_that_raises_is_named(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(before: State, event: Any) -> Any:
        if isinstance(event, Opened):
            raise ZeroDivisionError("a bug")
        return step(before, event)

    monkeypatch.setattr(recorder, "plain_step", failing)
    state, history, final = recorded
    (found,) = replay(state, history, final)
    assert (found.index, found.invariant, found.detail) == (1, "Step", "ZeroDivisionError: a bug")
    assert str(found).startswith("Step does not hold at event 1: Opened(")


# ---------------------------------------------------------------- with shortcuts and without


class Detour:
    """A `step` that is not the plain one: no shortcut is taken behind it."""

    def __call__(self, state: State, event: Any) -> Any:
        return step(state, event)


def many_turns(runtime: Runtime) -> None:
    """At rest, handed over, refused, lost, dead, discarded: with owners and without."""
    first, second = (runtime.acquire(FOR_EVER, owner) for owner in (None, object()))
    with pytest.raises(PoolTimeout):
        runtime.acquire(0)
    calls = [park(runtime, lambda who=who: turn(runtime, who)) for who in (None, object(), None)]
    runtime.release(first)
    for call in calls:  # one connection wanders: the order of events is always the same
        call.result()
    runtime.release(second)
    runtime.discard(runtime.acquire(FOR_EVER))
    lost: Any = runtime.acquire(FOR_EVER)
    del lost
    gc.collect()
    turn(runtime, None)


def turn(runtime: Runtime, owner: Any) -> None:
    runtime.release(runtime.acquire(FOR_EVER, owner))


def recorded_turns(takes_shortcuts: bool) -> tuple[Recorder, int]:
    """And how many events took a shortcut."""
    runtime = Runtime(
        ScriptedDriver(),
        Limits(max_size=2),
        check_after=FOR_EVER,
        clock=lambda: 1.0,
        jitter=float,
    )
    if not takes_shortcuts:
        runtime.step = Detour()
    taken: list[Any] = []
    with Recorder(runtime) as record:
        many_turns(runtime)
        taken = [note for note in record._scribe.notes if len(note) != 2]
    return record, len(taken)


def test_with_shortcuts_and_without_the_history_is_the_same() -> None:
    (quick, many), (slow, none) = recorded_turns(True), recorded_turns(False)
    assert many >= 10
    assert none == 0
    assert quick.history == slow.history
    assert {type(event) for event, _ in quick.history} >= {Acquire, Release, Opened, Discard}
    assert quick.check() == slow.check() == []


def test_what_is_written_down_is_what_who_reads_gets() -> None:
    """Each kind of event that takes a shortcut, in full."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER, clock=lambda: 2.0)
    turn(runtime, None)
    with Recorder(runtime) as record:
        first = runtime.acquire(owner=object())
        call = park(runtime, lambda: turn(runtime, object()))
        runtime.release(first)
        call.result()
    assert record.history == [
        (Acquire(2.0, 2, True, "owner of 2"), (Grant(2, 1, "connection 1", 0.0),)),
        (Acquire(2.0, 3, True, "owner of 3"), ()),
        (Release(2.0, 2, 1, True), (Grant(3, 1, "connection 1", 0.0),)),
        (Release(2.0, 3, 1, True), ()),
    ]
    assert all(len(note) != 2 for note in record._scribe.notes)
    assert record.check() == []


def to_nobody(outcome: Any) -> Any:
    """As if nobody waited: the grant is lost."""
    return outcome and (outcome[0], ())


def to_another(outcome: Any) -> Any:
    """The connection goes to one who is not the first."""
    if not outcome or not outcome[1]:
        return outcome
    return outcome[0], (outcome[1][0]._replace(ticket=9),)


@pytest.mark.parametrize("spoil", [to_nobody, to_another])
def test_a_shortcut_that_decides_otherwise_is_found(
    spoil: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the pool got is what was written down."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER)
    monkeypatch.setattr(
        shortcuts, "release", lambda *event, plain=shortcuts.release: spoil(plain(*event))
    )
    with Recorder(runtime) as record:
        first = runtime.acquire()
        runtime.monitor.apply(Acquire(1.0, 7))
        runtime.release(first)
    monkeypatch.undo()
    (found,) = record.check()
    assert (found.index, found.invariant) == (3, "Effects")


def test_a_state_that_a_shortcut_got_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER)
    turn(runtime, None)

    def miscounted(*event: Any, plain: Any = shortcuts.release) -> Any:
        fields, effects = plain(*event)
        return state_of(fields)._replace(next_seq=99), effects

    monkeypatch.setattr(shortcuts, "release", miscounted)
    with Recorder(runtime) as record:
        turn(runtime, None)
    monkeypatch.undo()
    (found,) = record.check()
    assert (found.index, found.invariant) == (2, "State")
    assert "next_seq" in found.detail


@pytest.mark.parametrize("is_first", [True, False])
def test_a_shortcut_that_never_took_effect_is_taken_back(is_first: bool) -> None:
    """Struck after the decision, once or twice; the next event takes a shortcut, or does not."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER)
    turn(runtime, None)
    with Recorder(runtime) as record:
        if not is_first:
            turn(runtime, None)
        monitor = runtime.monitor
        for follow in (lambda: turn(runtime, None), lambda: runtime.apply(Tick(1.0))):
            for ticket in (8, 9):
                assert monitor.shortcuts.acquire(monitor.current[0], 1.0, ticket, True, None)
            follow()
        handle = runtime.acquire()
        monitor.shortcuts.release(monitor.current[0], 1.0, handle.ticket, handle.key, True)
        runtime.release(handle)
        assert monitor.shortcuts.acquire(monitor.current[0], 1.0, 99, True, None)
        if is_first:  # else it is found when it stops
            assert kinds(record)[-1] == "Release"
    expected = ["Acquire", "Release", "Tick", "Acquire", "Release"]
    assert kinds(record) == ([] if is_first else ["Acquire", "Release"]) + expected
    assert record.check() == []


def test_only_what_never_took_effect_is_taken_back() -> None:
    """Where the runtime has a whole state, after an event that takes no shortcut, too."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER)
    with Recorder(runtime) as record:
        for now in (1.0, 2.0):
            runtime.apply(Tick(now))
            with runtime.monitor.lock:
                runtime.step(runtime.state, Tick(9.0))
    assert [event for event, _ in record.history] == [Tick(1.0), Tick(2.0)]


def test_a_child_that_comes_back_to_its_parents_call_is_not_recorded() -> None:
    """That goes on with the state from before the fork, which is nobody's any more."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER)
    turn(runtime, None)
    with Recorder(runtime) as record:
        of_the_parent = runtime.monitor
        fields = of_the_parent.current[0]
        runtime._begin_anew()
        turn(runtime, None)
        assert of_the_parent.shortcuts.acquire(fields, 1.0, 99, True, None) is not None
    assert kinds(record) == ["Forked", "Acquire", "Opened", "Release"]
    assert record.check() == []


def test_one_that_was_stopped_writes_nothing_down_where_it_is_still_asked() -> None:
    """By a runtime that had it at hand while it was stopped."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1), check_after=FOR_EVER)
    turn(runtime, None)
    record = Recorder(runtime)
    behind = runtime.monitor.shortcuts
    assert behind is not shortcuts
    record.stop()
    assert runtime.monitor.shortcuts is shortcuts
    fields = runtime.monitor.current[0]
    assert behind.acquire(fields, 1.0, 9, True, None) is not None
    assert record.history == []
    assert record._scribe.last[0] is None, "it keeps no state"


def test_a_change_of_the_mirror_told_with_another_is_taken_back_whole(database: Any) -> None:
    """`believe` tells what was changed by an `Adopt`, which goes with an `Adopt`."""
    runtime = database._purepool.runtime
    with Recorder(runtime) as record:
        turns(database, 1, 1)
        database._connections.clear()
        with runtime.monitor.lock:
            runtime.step(runtime.state, Adopt(1.0))
        database._purepool.believe()
    assert kinds(record) == ["Acquire", "Opened", "Release", "Adopt", "Adopt"]
    assert record.check() == []


def test_a_state_changed_behind_its_back_is_found(database: Any) -> None:
    """Nobody may change the state but by an event: whoever does is found at the end."""
    runtime = database._purepool.runtime
    with Recorder(runtime) as recorder:
        turns(database, 1, 1)
        with runtime.monitor.lock:
            settled = runtime.state
            runtime.monitor.current = (settled._replace(idle=heap.build([])), ())
    assert [found.invariant for found in recorder.check()] == ["State"]
    with runtime.monitor.lock:
        runtime.monitor.current = (settled, ())
