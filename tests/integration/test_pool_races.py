"""Outside the lock: one thread stands still at a line, and another does whatever it may.

Theory.  What the lock guards is explored by `purepool check`.  Around it are lists and flags that
threads share, and between any two lines of one thread all of another's may come.  Each test stops a
thread where a fault was, which costs no promise, and lets the other one go on.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pool import PoolClosed, PoolTimeout, observe
from pool.core.events import CloseAll, Tick
from pool.record import FlightRecorder
from pool.record.flight import segments_of
from pool.shared import regularly
from pool.shared.members import members
from pool.shared.observation import NUDGE, Observation, Observing
from pool.shared.store import Store
from pool.threads.helpers import Helpers
from pool.threads.performer import Performer
from tests.integration.drivers import FOR_EVER, PATIENCE, Call, Gate, until
from tests.integration.pools import Scripted, is_whole, scripted

# ---------------------------------------------------------------- connections


def test_a_check_that_is_answered_as_its_caller_leaves_lends_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The claim is the watch's by then, which gives it back."""
    leave, gate = Helpers._leave, Gate()

    def slow(*arguments: Any) -> None:
        leave(*arguments)
        (question,) = arguments[0]._left
        gate.open()
        until(lambda: question.answer)

    with scripted(1, check_after=0.0, check_timeout=FOR_EVER) as pool:
        pool.acquire().release()
        monkeypatch.setattr(Helpers, "_leave", slow)
        pool.driver.on_alive = gate
        with pytest.raises(PoolTimeout, match="did not answer a check in time"):
            pool.acquire(0.01)
        monkeypatch.undo()
        is_whole(pool, 1)


def test_who_is_refused_before_its_connect_can_be_seen_does_not_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who closes the pool meanwhile sees nothing to wait for, and is told that all is done."""
    gate, connect = Gate(), Performer._connect

    def slow(*arguments: Any) -> None:
        gate()
        connect(*arguments)

    monkeypatch.setattr(Performer, "_connect", slow)
    pool = Scripted(1, opener="caller")
    caller = Call(pool.acquire)
    until(lambda: gate.standing)
    assert pool.close(PATIENCE)
    gate.open()
    with pytest.raises(PoolClosed):
        caller.result()
    assert pool.driver.opened == []


def test_what_is_lost_when_the_pool_is_closed_is_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The finalizer starts no thread: there has to be one."""
    plain, found = Helpers._is_over, list[bool]()

    def is_over(runtime: Any) -> bool:
        answer = plain(runtime)
        if runtime.state.phase == "closed":
            found.append(answer)
        return answer

    monkeypatch.setattr(Helpers, "_is_over", staticmethod(is_over))
    with scripted(1) as pool:
        lease = pool.acquire()
        connection = lease.connection
        assert pool.close(0) is False
        until(lambda: False in found or (found and not pool.runtime.helpers._watching))
        del lease
        gc.collect()
        until(lambda: connection.closed == 1)


def test_what_is_left_to_a_watch_that_is_just_ending_is_looked_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who leaves it sees the watch still there."""
    over, gate, plain = Gate(), Gate(), Helpers._is_over

    def is_over(runtime: Any) -> bool:
        if found := runtime is pool.runtime and runtime.state.phase == "closed":
            over()
        return found or plain(runtime)

    monkeypatch.setattr(Helpers, "_is_over", staticmethod(is_over))
    pool = Scripted(1, check_after=0.0, check_timeout=FOR_EVER)
    pool.acquire().release()
    pool.driver.on_alive = gate
    caller = Call(pool.acquire, 0.5)
    until(lambda: gate.standing)
    assert pool.close(0) is False
    until(lambda: over.standing)
    with pytest.raises(PoolTimeout):
        caller.result()
    monkeypatch.undo()
    over.open()
    until(lambda: not pool.runtime.helpers._watching or over.standing == 0)
    gate.open()
    assert pool.close(PATIENCE)


def test_who_begins_again_after_its_deadline_is_told_that_it_is_over() -> None:
    """Its connection was dead and closed meanwhile; nothing else was in its way."""
    gate = Gate()

    def check(_: Any) -> bool:
        gate()
        return False

    with scripted(1, opener="caller", check_after=0.0) as pool:
        pool.acquire().release()
        pool.driver.on_alive = check
        caller = Call(pool.acquire, 0.05)
        until(lambda: gate.standing)
        pool.runtime.apply(CloseAll(pool.runtime.clock()))
        other = pool.acquire()
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 0.1)
        gate.open()
        with pytest.raises(PoolTimeout) as caught:
            caller.result()
        assert caught.value.reason == "exhausted"
        pool.driver.on_alive = lambda _: None
        other.release()


# ---------------------------------------------------------------- what is due


def fail(*_: object) -> None:
    raise ConnectionRefusedError("the database is down")


@pytest.mark.parametrize("noted", [False, True])
def test_a_retry_comes_though_the_pool_was_suspended_when_the_connect_failed(
    noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN-8: the watch sees nothing to wait for then, and has to be told when it is resumed; also
    by a signal's handler, in the middle of a transition."""
    looks: list[Any] = []
    look = Helpers._look

    def looked(self: Helpers, runtime: Any) -> Any:
        pause = look(self, runtime)
        looks.append(pause)
        return pause

    monkeypatch.setattr(Helpers, "_look", looked)
    with scripted(1, backoff_initial=0.2, backoff_max=0.2) as pool:
        pool.acquire().discard()
        gate = Gate()

        def connect() -> None:
            gate()
            fail()

        pool.driver.on_connect = connect
        caller = Call(pool.acquire, PATIENCE)
        until(lambda: gate.standing)
        pool.suspend()
        gate.open()
        until(lambda: pool.runtime.state.retry_at is not None)
        pool.driver.on_connect = lambda: None
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 0.05)  # the watch has looked
        if noted:
            monitor = pool.runtime.monitor
            step = monitor.step

            def resumed(state: Any, event: Any) -> Any:
                monitor.step = step
                before = len(looks)
                pool.resume()
                until(lambda: len(looks) > before)  # it looks, and nothing has been resumed yet
                return step(state, event)

            monitor.step = resumed
            pool.runtime.apply(Tick(pool.runtime.clock()))
        else:
            pool.resume()
        caller.result().release()


# ---------------------------------------------------------------- notes


class Inbox(Store):
    """A store whose notes are taken, and nothing else."""

    def __init__(self, *notes: Any) -> None:
        self.inbox = deque(notes)
        self.taken: list[Any] = []
        self.meanwhile: Any = lambda: None

    def take(self, note: Any, clock: Any) -> None:
        self.taken.append(note)
        self.meanwhile()


def test_a_nudge_that_is_taken_back_while_it_is_taken_costs_no_other_note() -> None:
    """Who is observed takes it back without the lock."""
    lost = (7, 1)
    for notes in ((NUDGE, lost), (NUDGE,)):
        inbox = Inbox(*notes)

        def take_back(inbox: Inbox = inbox) -> None:
            if NUDGE in inbox.inbox:
                inbox.inbox.remove(NUDGE)

        inbox.meanwhile = take_back
        inbox.empty_inbox(time.monotonic)
        assert inbox.taken == list(notes)
        assert not inbox.inbox


def test_notes_that_are_gone_before_they_are_looked_at_are_none() -> None:
    class Gone(deque[Any]):
        def __getitem__(self, index: Any) -> Any:
            self.clear()
            return super().__getitem__(index)

    inbox = Inbox()
    inbox.inbox = Gone([NUDGE])
    inbox.empty_inbox(time.monotonic)
    assert inbox.taken == []


@pytest.mark.parametrize("error", [IndexError, ValueError])
def test_an_error_of_the_machine_is_not_taken_for_a_note_that_is_gone(error: type) -> None:
    """The note would never be struck off, and its thread never leave the lock."""
    inbox = Inbox((7, 1))

    def fail() -> None:
        assert len(inbox.taken) < 10, "for ever"
        raise error("of the machine")

    inbox.meanwhile = fail
    with pytest.raises(error, match="of the machine"):
        inbox.empty_inbox(time.monotonic)


# ---------------------------------------------------------------- observers


def test_two_who_begin_to_observe_at_once_are_both_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, int] = {"one": 0, "other": 0}
    begun, belongs_to = Gate(), Observation.belongs_to

    def slow(self: Observation, monitor: Any) -> None:
        if not begun.arrived:
            begun.open()
            other.append(Call(look, "other"))
            begun()
            other[0].join(0.1)
        belongs_to(self, monitor)

    def look(name: str) -> None:
        observe(pool, lambda *_: told.__setitem__(name, told[name] + 1))

    other: list[Call] = []
    monkeypatch.setattr(Observation, "belongs_to", slow)
    with scripted(1, opener="caller") as pool:
        look("one")
        other[0].result()
        pool.acquire().release()
        assert told["one"] == told["other"] > 0


def test_who_begins_to_observe_as_the_last_one_stops_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    remove, begun = Observation.remove, list[Call]()

    def slow(self: Observation, one: Any) -> bool:
        found = remove(self, one)
        begun.append(Call(observe, pool, lambda *_: told.append(1)))
        begun[0].join(0.1)
        return found

    with scripted(1, opener="caller") as pool:
        last = observe(pool, lambda *_: None)
        monkeypatch.setattr(Observation, "remove", slow)
        last.stop()
        monkeypatch.undo()
        begun[0].result()
        pool.acquire().release()
        assert told


def test_a_child_that_was_forked_while_its_thread_told_goes_on() -> None:
    """The observer, or a signal's handler in it, forks: there is another lock by then."""
    pool = Scripted(1, opener="caller")
    told: list[Any] = []

    def forks(event: Any, _: Any) -> None:
        if not told:
            seam = pool.runtime.monitor.observed
            seam._pid = 0  # as in a child process
            seam.begin_anew()
        told.append(event)

    with observe(pool, forks):
        pool.acquire().release()
        assert told
        assert not pool.runtime.monitor.observed._telling.locked()
    assert pool.close(PATIENCE)


def test_two_listeners_that_come_at_once_are_both_told() -> None:
    pool = Scripted(1, opener="caller")
    listeners, told = pool._listeners, list[str]()

    class Slow(dict[str, Any]):
        def __getitem__(self, kind: str) -> Any:
            found = super().__getitem__(kind)
            if once:
                once.pop()
                Call(pool.listen, "close", lambda _: told.append("other")).result()
            return found

    once = [True]
    listeners.by_kind = Slow(listeners.by_kind)
    pool.listen("close", lambda _: told.append("one"))
    pool.acquire().discard()
    assert sorted(told) == ["one", "other"]
    assert pool.close(PATIENCE)


@pytest.mark.parametrize("time_asked", [1, 2])
def test_who_finds_no_listener_does_not_undo_what_another_found(time_asked: int) -> None:
    pool = Scripted(1, opener="caller")
    told: list[Any] = []
    hears = type(pool._listeners).hears_turns.fget  # type: ignore[attr-defined]

    class Late(type(pool._listeners)):  # type: ignore[misc]
        @property
        def hears_turns(self) -> bool:
            found = bool(hears(self))
            asked.append(found)
            if len(asked) == time_asked:
                Call(pool.listen, "checkin", told.append).result()
            return found

    asked: list[bool] = []
    pool._listeners.__class__ = Late
    pool.listen("close", lambda _: None)
    pool.acquire().release()
    assert len(told) == 1
    assert pool._watched
    assert pool.close(PATIENCE)


# ---------------------------------------------------------------- regularly


def test_who_begins_to_be_observed_as_it_is_struck_off_is_told_regularly(
    nobody_tells: None,
) -> None:
    told: list[Any] = []

    class Beginning:
        """Observed by the second time that somebody asks."""

        asked = 0

        @property
        def observed(self) -> Any:
            self.asked += 1
            return None if self.asked == 1 else SimpleNamespace(tell=told.append)

    class Runtime:
        label, monitor = "", Beginning()

    runtime = Runtime()
    regularly._runtimes.add(runtime)
    regularly._tell_of(runtime)
    assert runtime in regularly._runtimes
    assert told == [runtime.monitor]


def test_a_set_that_others_add_to_is_walked_over_again() -> None:
    class One:
        pass

    kept = [One(), One(), One()]
    late = One()

    class Growing(weakref.WeakSet[Any]):
        walks = 0

        def __iter__(self) -> Any:
            self.walks += 1
            for one in super().__iter__():
                yield one
                if self.walks == 1:
                    raise RuntimeError("Set changed size during iteration")

    assert set(members(Growing([*kept, late]))) == {*kept, late}


# ---------------------------------------------------------------- recordings


def test_a_recorder_that_stops_waits_for_who_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would close the file, and the number of that may be another file's at once."""
    pool = Scripted(3, opener="caller")
    recorder = FlightRecorder(pool, tmp_path / "app.rec")
    pool.acquire().release()
    recorder.flush()
    seam, flush, writing = pool.runtime.monitor.observed, Observing.flush, Gate()
    tellers: list[int] = []

    def tell() -> None:
        tellers.append(threading.get_ident())
        seam.tell(pool.runtime.monitor)

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, text: bytes) -> int:
            if threading.get_ident() in tellers:
                writing()
                kept.append(recorder._file == file)
            return os.write(file, text)

    def flushed(self: Observing) -> None:
        flush(self)
        if not tellers:
            pool.acquire().release()
            calls.append(Call(tell))
            until(lambda: writing.standing)

    calls: list[Call] = []
    kept: list[bool] = []
    monkeypatch.setattr(regularly, "_tell_of", lambda _: None)
    monkeypatch.setattr("pool.record.flight.os", Slow())
    monkeypatch.setattr(Observing, "flush", flushed)
    stopping = Call(recorder.stop)
    until(lambda: writing.standing)
    stopping.join(0.05)
    writing.open()
    calls[0].result()
    stopping.result()
    assert kept == [True], "it was still open when that was written"
    assert pool.close(PATIENCE)


def test_a_child_writes_nothing_into_the_recording_of_its_parent(tmp_path: Path) -> None:
    """Nor before it has begun one of its own."""
    pool = Scripted(1, opener="caller")
    with FlightRecorder(pool, tmp_path / "app.rec") as recorder:
        pool.acquire().release()
        recorder.flush()
        (file,) = segments_of(recorder.path)
        before = file.read_bytes()
        recorder._pid = os.getpid() + 1  # as in a child that has just been forked
        pool.acquire().release()
        recorder.flush()
        recorder._mark()
        pool.acquire().release()
        recorder.flush()
        assert [one.read_bytes() for one in segments_of(recorder.path)] == [before]
        recorder._pid = os.getpid()
    assert pool.close(PATIENCE)
