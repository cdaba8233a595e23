"""A `connect()` under way, step by step: what it waits for, how long, and what it leaves behind.

Theory.  As `test_peewee_mutants.py`.  Where a wait has a length that matters, a clock that only the
test turns says how late it is, and what would park writes down for how long.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool import PoolReentered, PoolTimeout
from pool.core import waiters
from pool.core.effects import Grant
from pool.core.events import Acquire, Dead, Expire
from pool.core.transition import step
from pool.peewee import arrivals as module
from pool.peewee.adapter import Adapter
from pool.peewee.arrivals import Arrivals, exceeded
from pool.peewee.leases import ARRIVING, Leases
from pool.record import Recorder
from pool.shared.errors import WITHIN
from pool.threads.performer import Performer
from pool.threads.runtime import Runtime
from tests.integration.databases import PooledScriptedDatabase, events_of
from tests.integration.drivers import FOR_EVER, Call, Stop, lent, park, raising, until, waiting
from tests.integration.instants import every_instant


class Hooked(PooledScriptedDatabase):
    """One whose `_connect` does something first: the next of `before`, if there is one. And
    something behind: the next of `behind`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.before: list[Callable[[], Any]] = []
        self.behind: list[Callable[[], Any]] = []
        super().__init__(*arguments, **settings)

    def _connect(self) -> Any:
        if self.before:
            self.before.pop(0)()
        connection = super()._connect()
        if self.behind:
            self.behind.pop(0)()
        return connection


def hooked(most: int = 1, timeout: Any = FOR_EVER, **settings: Any) -> Any:
    return Hooked("hooked", max_connections=most, timeout=timeout, **settings)


def arrivals_of(database: Any) -> Arrivals:
    found: Arrivals = database._purepool.arrivals
    return found


def runtime_of(database: Any) -> Runtime:
    found: Runtime = database._purepool.runtime
    return found


def refuse() -> None:
    raise MaxConnectionsExceeded("a limit of the program's own")


def assert_nothing_is_left(database: Any) -> None:
    runtime = runtime_of(database)
    assert arrivals_of(database).by_thread == {}
    assert runtime.monitor.callers == set()
    assert (waiting(database), lent(database), dict(runtime.state.opening_tickets)) == (0, [], {})
    assert runtime.monitor.cells == {}


# ---------------------------------------------------------------- a hook with a limit of its own


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """For how long those would wait whom a subclass refuses, and with which deadline."""
    seen: list[Any] = []

    def look(self: Arrivals, pause: float, deadline: float | None) -> None:
        database = self._adapter.database
        seen.append((pause, deadline, waiting(database), lent(database)))

    monkeypatch.setattr(Arrivals, "_look", look)
    return seen


@pytest.mark.parametrize("timeout", [0, 30.0])
def test_who_is_refused_tries_again_after_longer_and_longer_pauses(
    looks: list[Any], timeout: float
) -> None:
    """From a hundredth of a second up to a second; meanwhile it takes nobody's place."""
    database = hooked(timeout=timeout)
    database.before = [refuse] * 10
    assert database.connect() is True
    assert [pause for pause, *_ in looks] == [
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0)
    ]
    assert {deadline is None for _, deadline, *_ in looks} == {timeout == 0}
    assert [(waits, held) for *_, waits, held in looks] == [(0, [])] * 10
    database.close()
    assert_nothing_is_left(database)


def test_what_was_lent_to_one_that_is_then_refused_goes_back_before_it_waits(
    looks: list[Any],
) -> None:
    database = hooked()
    database.behind = [refuse, refuse]
    assert database.connect() is True
    assert [(waits, held) for *_, waits, held in looks] == [(0, []), (0, [])]
    assert [pause for pause, *_ in looks] == [0.01, 0.02]
    assert [one.closed for one in database.driver.opened] == [1, 1, 0], "its state is not known"
    database.close()
    assert_nothing_is_left(database)


@pytest.mark.parametrize("timeout", [None, FOR_EVER])
def test_a_hook_that_fails_is_not_tried_again(timeout: Any) -> None:
    database = hooked(timeout=timeout)
    for place in (database.before, database.behind):
        place.append(raising(OSError("down")))
        with pytest.raises(OSError, match="down"):
            database.connect()
        gc.collect()
        assert_nothing_is_left(database)


def test_who_waits_for_a_subclass_is_told_of_changes_and_of_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits until anything has changed, and for no longer than it has."""
    clock, waits = SimpleNamespace(now=10.0), list[Any]()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def wait_until(_: Any, holds: Callable[[], bool], timeout: float | None) -> bool:
        waits.append(([holds() for _ in range(3)], timeout))
        return True

    monkeypatch.setattr(Performer, "wait_until", wait_until)
    look = arrivals_of(hooked())._look
    look(0.5, None)
    look(0.5, 10.25)
    look(0.5, 12.0)
    woken_by_the_first_change = [False, True, True]
    assert waits == [(woken_by_the_first_change, left) for left in (0.5, 0.25, 0.5)]
    for now in (10.0, 11.0):
        clock.now = now
        with pytest.raises(MaxConnectionsExceeded, match=r"timed out attempting to conn.*") as met:
            look(0.5, 10.0)
        assert met.value.reason == "timeout"
    assert len(waits) == 3


# ---------------------------------------------------------------- parking


class Parker:
    """In the place of the lock where one parks: it writes down for how long, and then time has
    passed, or an answer has come."""

    def __init__(self, clock: Any, cell: Any, answer: Any = None) -> None:
        self.clock, self.cell, self.answer = clock, cell, answer
        self.waits: list[float] = []

    def acquire(self, blocking: bool, timeout: float) -> bool:
        assert blocking is True
        self.waits.append(timeout)
        self.clock.now += max(timeout, 0.0)
        if self.answer is not None:
            self.cell.answer = self.answer
        return False

    def release(self) -> None:
        """It is told of its answer."""


@pytest.fixture
def parked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parks with this deadline in a full pool; how long each wait was, and what came of it."""
    clock = SimpleNamespace(now=10.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def park_until(
        deadline: float | None, answer: Any = None, **settings: Any
    ) -> tuple[list[float], Any, Any]:
        database = hooked(**settings)
        database.connect()
        arrivals = arrivals_of(database)
        arrival = module.Arrival(Leases(runtime_of(database), shared=True))
        place: Any = arrivals._queue(arrival)
        place.cell.parker = parker = Parker(clock, place.cell, answer)
        clock.now = 10.0
        try:
            result: Any = arrivals._park(place, 3.5, deadline)
        except MaxConnectionsExceeded as error:
            result = error
        database.close()
        return parker.waits, result, place

    return park_until


def granted() -> Any:
    return SimpleNamespace(reason="nothing: it is granted")


@pytest.mark.parametrize(
    ("deadline", "waits"), [(None, [-1.0]), (13.5, [3.5]), (10.5, [0.5]), (1e18, [9223372036.0])]
)
def test_one_parks_for_as_long_as_it_may(parked: Any, deadline: Any, waits: list[float]) -> None:
    """Up to what a lock can wait, which is for longer than anybody lives."""
    found, result, place = parked(deadline, granted())
    assert found == pytest.approx(waits)
    assert result is True
    assert place.handle.has_waited is True


@pytest.mark.parametrize(("deadline", "waits"), [(None, [1.0]), (13.5, [1.0]), (10.5, [0.5])])
def test_who_waits_looks_after_leaks_each_second(
    parked: Any, deadline: Any, waits: list[float]
) -> None:
    """Where they are asked for: without threads of its own, nobody else would report one."""
    found, result, _ = parked(deadline, granted(), leak_after=1000)
    assert (found, result) == (waits, True)


@pytest.mark.parametrize(("deadline", "waits"), [(10.0, []), (9.0, []), (10.75, [0.75])])
def test_a_deadline_that_has_passed_ends_the_wait(
    parked: Any, deadline: float, waits: list[float]
) -> None:
    """With playhouse's words, how long it was, and why."""
    found, error, place = parked(deadline)
    assert found == waits
    assert str(error).startswith(
        "Max connections exceeded, timed out attempting to connect: no connection within 3.5 s "
    )
    assert error.reason == "timeout"
    assert not place.handle.ticket, "there is nothing left to be given up"


def test_who_gives_up_says_when() -> None:
    """A recording has the time of each event."""
    database = hooked(timeout=0.001)
    database.connect()
    seen = events_of(database)
    with pytest.raises(MaxConnectionsExceeded, match=r"no connection within 0\.001 s"):
        Call(database.connect).result()
    (expired,) = [event for event in seen if type(event) is Expire]
    (began,) = [event for event in seen if type(event) is Acquire]
    assert expired.now >= began.now > 0.0
    database.close()


def test_who_waits_is_a_caller_whom_others_can_see() -> None:
    """A handler that runs on top of it must not wait for it."""
    database = hooked(2)
    seen: list[Any] = []
    database.before = [lambda: seen.append(set(runtime_of(database).monitor.callers))]

    def use() -> int:
        database.connect()
        database.close()
        return threading.get_ident()

    me = Call(use).result()
    assert seen == [{me}]
    assert_nothing_is_left(database)


def test_what_one_waits_for_names_it_and_its_lines() -> None:
    """Where somebody asked who holds connections for long."""
    database = hooked(leak_after=1000)
    database.connect()
    call = park(database, database.connect)
    ((_, owner),) = waiters.items(runtime_of(database).state.waiters)
    assert any("test_peewee_arrivals" not in str(line) for line in owner.lines)
    assert owner.taker is not None
    database.close()
    call.result()


# ---------------------------------------------------------------- the place in the queue


def test_who_waits_when_the_pool_is_disposed_of_begins_again() -> None:
    database = hooked()
    database.connect()
    call = park(database, database.connect)
    database.dispose()
    assert call.result() is True
    assert len(database.driver.opened) == 2
    gc.collect()
    assert_nothing_is_left(database)


def test_who_has_a_place_when_the_pool_is_disposed_of_begins_again() -> None:
    """Before it has come to take what it was answered."""
    database = hooked()
    database.before = [database.dispose]
    assert database.connect() is True
    database.close()
    assert_nothing_is_left(database)


def test_an_interrupt_while_one_queues_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    database = hooked()
    queue = Runtime.queue

    def interrupted(self: Any, *arguments: Any) -> Any:
        queue(self, *arguments)
        raise Stop

    monkeypatch.setattr(Runtime, "queue", interrupted)
    with pytest.raises(Stop):
        database.connect()
    monkeypatch.undo()
    gc.collect()
    runtime_of(database).apply(Expire(runtime_of(database).clock(), 0))
    assert_nothing_is_left(database)


def test_an_interrupt_before_one_has_a_ticket_takes_nothing_from_others() -> None:
    database = hooked()
    arrivals, runtime = arrivals_of(database), runtime_of(database)
    first, second = (module.Arrival(Leases(runtime, shared=True)) for _ in range(2))
    place: Any = arrivals._queue(first)
    assert list(runtime.state.opening_tickets) == [place.handle.ticket] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "queue", raising(Stop()))
        with pytest.raises(Stop):
            arrivals._queue(second)
    assert second.place is None
    gc.collect()
    runtime.apply(Expire(runtime.clock(), 0))
    assert list(runtime.state.opening_tickets) == [1]
    arrivals._leave(first)
    assert_nothing_is_left(database)


def test_a_connect_that_finds_itself_in_a_child_process_has_nothing_to_take_away() -> None:
    """A fork forgets who was connecting; who comes back from it connects all the same."""
    database = hooked()
    database.before = [arrivals_of(database).by_thread.clear]
    assert database.connect() is True
    database.close()
    assert_nothing_is_left(database)


def test_who_calls_the_hook_while_another_waits_is_answered_at_once() -> None:
    """Each thread has an arrival of its own, or none."""
    database = hooked()
    database.connect()
    call = park(database, database.connect)
    with pytest.raises(MaxConnectionsExceeded):
        database._connect()
    database.close()
    assert call.result() is True
    gc.collect()
    assert_nothing_is_left(database)


def test_a_connect_within_another_leaves_it_its_place() -> None:
    """As from a hook, for an owner of its own."""
    database = hooked(2)
    arrivals, seen = arrivals_of(database), list[Any]()

    def another() -> None:
        outer = arrivals.here()
        leases = Leases(runtime_of(database), shared=True)
        connection = arrivals.connect(leases)
        seen.extend([outer, arrivals.here(), connection, leases])

    database.before = [another]
    assert database.connect() is True
    outer, after, connection, _ = seen
    assert outer is after is not None
    assert sorted(lent(database), key=id) == sorted([connection, database.connection()], key=id)
    assert arrivals.by_thread == {}


def test_a_connect_within_another_does_not_wait_for_it() -> None:
    database = hooked(1)
    arrivals, met = arrivals_of(database), list[Any]()

    def another() -> None:
        with pytest.raises(MaxConnectionsExceeded, match="Exceeded maximum connections") as found:
            arrivals.connect(Leases(runtime_of(database), shared=True))
        met.append(found.value)

    database.behind = [another]
    assert database.connect() is True
    assert WITHIN in str(met[0])
    assert met[0].reason == "reentered"
    assert isinstance(met[0].__cause__, MaxConnectionsExceeded)
    database.close()
    assert_nothing_is_left(database)


def test_a_place_that_nobody_has_answered_says_that_all_are_in_use() -> None:
    """And is kept."""
    database = hooked()
    database.connect()
    arrivals = arrivals_of(database)
    arrival = module.Arrival(Leases(runtime_of(database), shared=True))
    assert (arrival.reached, arrival.got) == (False, False)
    place = arrivals._queue(arrival)
    with pytest.raises(MaxConnectionsExceeded, match=r"^Exceeded maximum connections\.$"):
        arrivals.take(arrival)
    assert (arrival.place, arrival.reached, arrival.got) == (place, True, False)
    arrivals._leave(arrival)
    assert (arrival.place, waiting(database)) == (None, 0)
    database.close()


def test_a_place_is_kept_in_the_middle_of_a_transition() -> None:
    """Nothing that is done there would be answered."""
    database = hooked()
    arrivals, runtime = arrivals_of(database), runtime_of(database)
    arrival = module.Arrival(Leases(runtime, shared=True))
    place = arrivals._queue(arrival)
    runtime.monitor.lock.acquire()
    runtime.monitor.applying = True
    with pytest.raises(MaxConnectionsExceeded) as met:
        arrivals.take(arrival)
    runtime.monitor.applying = False
    runtime.monitor.lock.release()
    assert str(met.value) == f"Exceeded maximum connections: {WITHIN}"
    assert arrival.place is place
    assert arrivals.take(arrival) is place.handle
    runtime.release(place.handle)
    assert_nothing_is_left(database)


def plain(most: int = 1) -> Any:
    """A database without hooks of its own, whose transitions nobody watches."""
    database = PooledScriptedDatabase("plain", max_connections=most, timeout=FOR_EVER)
    runtime_of(database).step = step
    return database


def asked(database: Any, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether there was an answer, of each place that `_connect` has looked at from now on."""
    seen: list[bool] = []
    take = Arrivals.take

    def looked_at(self: Arrivals, arrival: Any) -> Any:
        seen.append(arrival.place is not None and arrival.place.cell.answer is not None)
        return take(self, arrival)

    monkeypatch.setattr(Arrivals, "take", looked_at)
    return seen


def test_a_hook_of_ours_is_not_asked_before_there_is_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It could only say that there is none. One of a program's own is, as in playhouse."""
    for database, expected in ((plain(), [True]), (hooked(), [False, True])):
        database.connect()
        with pytest.MonkeyPatch.context() as patch:
            seen = asked(database, patch)
            call = park(database, database.connect)
            before = len(expected) - 1
            until(lambda seen=seen, before=before: len(seen) == before)
            database.close()
            assert call.result() is True
        assert seen == expected
        gc.collect()
        assert_nothing_is_left(database)


def test_a_hook_that_is_put_in_for_one_database_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    database = plain()
    database._connect = database._connect
    database.connect()
    seen = asked(database, monkeypatch)
    call = park(database, database.connect)
    until(lambda: seen)
    database.close()
    assert call.result() is True
    assert seen == [False, True]


def no_handler(database: Any) -> None:
    """Whatever takes no shortcut is a fault from now on."""
    runtime_of(database).monitor.step = raising(AssertionError("this takes no shortcut"))


def test_who_waits_in_a_full_pool_takes_the_shortcut() -> None:
    database = plain()
    database.connect()
    no_handler(database)
    calls = [park(database, used, database) for _ in range(3)]
    database.close()
    assert [call.result() for call in calls] == [True] * 3
    assert len(database.driver.opened) == 1
    assert lent(database) == []
    assert runtime_of(database).monitor.cells == {}


def used(database: Any) -> Any:
    return database.connect() and database.close()


def test_who_queues_while_something_is_idle_is_answered_by_the_shortcut() -> None:
    database = plain()
    used(database)
    no_handler(database)
    arrivals, runtime = arrivals_of(database), runtime_of(database)
    arrival = module.Arrival(Leases(runtime, shared=True))
    place: Any = arrivals._queue(arrival)
    answer = place.cell.answer
    assert type(answer) is Grant
    assert answer[:3] == (place.handle.ticket, 1, database.driver.opened[0])
    assert answer.rested >= 0.0
    assert runtime.monitor.cells == {}
    assert arrivals.take(arrival) is place.handle
    assert lent(database) == [place.handle.held]
    runtime.release(place.handle)
    assert_nothing_is_left(database)


def test_who_queues_with_shortcuts_or_without_does_the_same() -> None:
    told: list[Any] = []
    for database in (plain(), plain()):
        runtime = runtime_of(database)
        runtime.clock = lambda: 5.0
        if told:
            runtime.step = lambda state, event: step(state, event)
        with Recorder(database) as recorder:
            database.connect()
            calls = [park(database, used, database) for _ in range(3)]
            database.close()
            for call in calls:
                call.result()
            used(database)
        assert recorder.check() == []
        told.append(recorder.history)
    assert told[0] == told[1]
    assert len(told[0]) == 11


def test_what_lost_handles_left_is_seen_to_by_who_queues() -> None:
    """Whoever leaves the lock looks at the inbox, and at who waits for a change of the pool."""
    database = plain(2)
    database.connect()
    runtime, arrivals = runtime_of(database), arrivals_of(database)
    other: Any = runtime.acquire(0)
    runtime.monitor.inbox.append((other.ticket, other.key))
    arrival = module.Arrival(Leases(runtime, shared=True))
    arrivals._queue(arrival)
    assert not runtime.monitor.inbox
    other.ended = True
    assert [one.closed for one in database.driver.opened] == [0, 1]
    arrivals._leave(arrival)
    database.close()


@pytest.mark.parametrize("is_full", [True, False])
def test_an_exception_at_every_instant_of_a_connect_that_queues(is_full: bool) -> None:
    """Nothing is lost, whether it was to wait or was answered at once."""
    made: list[Any] = []

    def prepare() -> Callable[[], None]:
        database = plain()
        runtime, other = runtime_of(database), Leases(runtime_of(database), shared=True)
        used(database)
        made[:] = [database, None]
        if is_full:
            connection = database._connect()

            def give_back() -> None:
                database._close(connection)

            runtime.driver.count_wait = give_back  # type: ignore[attr-defined]  # of peewee
            made[1] = give_back
            return lambda: database.connect() and None
        made[1] = other
        return lambda: arrivals_of(database).connect(other, True) and None

    def check() -> None:
        database, other = made
        if is_full and lent(database):
            runtime_of(database).driver.count_wait = lambda: None  # type: ignore[attr-defined]
            other()
        database.close()
        made[:] = []
        del other
        gc.collect()
        used(database)
        by_thread = arrivals_of(database).by_thread
        assert [arrival() for arrival in by_thread.values()] == [None] * len(by_thread)
        by_thread.clear()
        assert_nothing_is_left(database)

    assert every_instant(prepare, check) > 50


def test_who_is_answered_by_a_connect_of_its_own_has_a_new_connection() -> None:
    database = plain()
    arrivals, runtime = arrivals_of(database), runtime_of(database)
    for is_new in (True, False):
        arrival = module.Arrival(Leases(runtime, shared=True))
        arrivals._queue(arrival)
        handle: Any = arrivals.take(arrival)
        assert (handle.is_new, handle.has_waited) == (is_new, False)
        runtime.release(handle)


def test_who_waits_is_known_by_the_name_that_its_thread_has_by_now() -> None:
    database = plain()
    database.connect()

    def renamed() -> None:
        database._purepool.owners.session(database._state)
        threading.current_thread().name = "by another name"
        used(database)

    call = park(database, renamed)
    ((_, owner),) = waiters.items(runtime_of(database).state.waiters)
    assert owner.name == "by another name"
    database.close()
    call.result()


def test_who_waits_reports_what_is_held_for_long(
    parked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    monkeypatch.setattr(Adapter, "look", lambda self: looks.append(self.tracks))
    parked(None, granted())
    assert looks == [False] * len(looks)
    looks.clear()
    parked(None, granted(), leak_after=1000)
    assert looks.count(True) == 2, "as it connects, and after each wait"


def test_nobody_queues_in_the_middle_of_a_transition() -> None:
    """As from a signal's handler: it would wait for what comes behind it."""
    database = plain()
    used(database)
    runtime = runtime_of(database)
    held = runtime.acquire(0)
    with Recorder(database) as recorder:
        runtime.monitor.lock.acquire()
        runtime.monitor.applying = True
        try:
            with pytest.raises(MaxConnectionsExceeded, match="is in the middle of") as met:
                arrivals_of(database).connect(Leases(runtime, shared=True), True)
        finally:
            runtime.monitor.applying = False
            runtime.monitor.lock.release()
    assert met.value.reason == "reentered"
    assert recorder.history == []
    runtime.release(held)
    assert_nothing_is_left(database)


# ---------------------------------------------------------------- what is taken is asked


def served_after(database: Any, script: Callable[..., Any]) -> Call:
    """Another waits; what it is then given is asked with this script."""
    database.connect()
    call = park(database, database.connect)
    database.driver.on_alive = script
    database.close()
    return call


def once(answer: Any, do: Callable[[], Any] = lambda: None) -> Callable[..., Any]:
    left = [answer]

    def script(_: Any) -> Any:
        if left:
            do()
            return left.pop()
        return None

    return script


def test_what_is_found_dead_is_replaced_for_the_one_who_asked() -> None:
    database = hooked()
    seen = events_of(database)
    call = served_after(database, once(False))
    assert call.result() is True
    first, _ = database.driver.opened  # the other may be closed by now: its thread has ended
    assert first.closed == 1
    (dead,) = [event for event in seen if type(event) is Dead]
    tickets = [event.ticket for event in seen if type(event) is Acquire]
    assert dead[1:] == (tickets[-1], 1, False)
    assert dead.now > 0.0
    gc.collect()
    assert_nothing_is_left(database)


def test_a_check_that_raises_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """By the connection's number, with the error."""
    caplog.set_level(logging.DEBUG, "peewee.pool")

    def fail(_: Any) -> None:
        database.driver.on_alive = lambda _: None
        raise OSError("gone")

    database = hooked()
    call = served_after(database, fail)
    assert call.result() is True
    (record,) = [one for one in caplog.records if "is dead" in one.getMessage()]
    assert record.getMessage() == "connection 1 is dead"
    assert record.exc_info
    assert record.exc_info[0] is OSError
    assert len(database.driver.opened) == 2


@pytest.mark.parametrize("answer", [True, False])
def test_what_is_closed_while_it_is_asked_is_not_taken(answer: bool) -> None:
    """Whatever it says. The one who asked begins again, and loses nothing on the way."""
    database = hooked()
    call = served_after(database, once(answer, lambda: database.close_all()))
    assert call.result() is True
    gc.collect()
    assert_nothing_is_left(database)
    assert database.driver.mistakes == []


def test_who_finds_its_connection_dead_and_no_room_waits_on() -> None:
    """The limit was lowered meanwhile: it queues again, and is served by the next return."""
    database = hooked(2)
    database.connect()
    other = Call(database._connect).result()
    call = park(database, database.connect)

    def lower() -> None:
        database._max_connections = 1

    database.driver.on_alive = once(False, lower)
    database.close()
    until(lambda: waiting(database) == 1)
    assert lent(database) == [other]
    database._close(other)
    assert call.result() is True
    gc.collect()
    assert_nothing_is_left(database)


def test_an_interrupted_check_gives_the_connection_back() -> None:
    database = hooked()
    call = served_after(database, raising(Stop()))
    with pytest.raises(Stop):
        call.result()
    gc.collect()
    assert_nothing_is_left(database)


# ---------------------------------------------------------------- what is said


def test_playhouses_error_says_what_ours_does() -> None:
    error = PoolTimeout("no connection to be had without waiting (max 1)")
    error.reason = "exhausted"
    assert str(exceeded(error)) == f"Exceeded maximum connections: {error}"
    assert exceeded(error).reason == "exhausted"  # type: ignore[attr-defined]
    within = PoolReentered("whatever it says")
    assert str(exceeded(within)) == f"Exceeded maximum connections: {WITHIN}"


def test_who_holds_the_lock_does_not_wait() -> None:
    """Nobody could return anything meanwhile."""
    database = hooked()
    database.connect()
    connection = database.connection()
    with database._pool_lock, pytest.raises(MaxConnectionsExceeded):
        arrivals_of(database).connect(Leases(runtime_of(database), shared=True))
    assert lent(database) == [connection]
    assert database._purepool.owners.session(database._state).leases.arriving is not ARRIVING
    database.close()
    assert_nothing_is_left(database)
