"""The seam at which observers are told, transition by transition; and names in the place of things.

Theory.  `test_observe.py` looks at a running pool.  Here transitions are made by hand, and some of
them never come into force, as when an exception comes between a decision and its assignment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from pool import Limits, initial
from pool.core import heap, shortcuts, waiters
from pool.core.effects import Close, Grant, Leaked, Open
from pool.core.events import (
    Acquire,
    Adopt,
    AdoptIdle,
    AdoptLease,
    CloseAll,
    Opened,
    Release,
    Resume,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.state import leased, resting, state_of
from pool.core.transition import step
from pool.shared import named, observation, regularly
from pool.shared.holders import TracedHolder, introduce
from pool.shared.observation import NUDGE, Observation, Observing, _owner, observe, slots
from pool.shared.store import NoShortcuts
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted
from tests.integration.drivers import FOR_EVER, Call, Gate, ScriptedDriver, raising, until


class Weakly:
    """In the place of a lease."""


class Machine:
    """A state, and what stands in front of the function that changes it."""

    def __init__(self, plain: Any = step, batch: int = 1, **limits: Any) -> None:
        self.seam = Observation(plain, "shop: ")
        self.inbox: deque[Any] = deque()
        self.observed: Any = None
        self.current: tuple[Any, Any] = (initial(Limits(**{"max_size": 2, **limits})), ())
        self.seam.belongs_to(self)
        self.told: list[Any] = []
        self.one = self.seam.add(lambda *told: self.told.append(told), batch, None)

    @property
    def fields(self) -> Any:
        return self.current[0]

    def apply(self, event: Any) -> Any:
        self.current = self.seam(state_of(self.fields), event)
        return self.current[1]

    def lose(self, event: Any) -> None:
        """It is decided, and never comes into force."""
        self.seam(state_of(self.fields), event)

    def acquire(self, now: float, ticket: int, owner: Any = None, comes: bool = True) -> None:
        taken = self.seam.acquire(self.fields, now, ticket, True, owner)
        assert taken is not None
        if comes:
            self.current = (taken[0], ())

    def release(self, now: float, ticket: int, key: int, comes: bool = True) -> None:
        outcome = self.seam.release(self.fields, now, ticket, key, True)
        assert outcome is not None
        if comes:
            self.current = outcome

    def hear(self) -> list[Any]:
        self.seam.tell(self)
        told, self.told[:] = self.told.copy(), []
        return told


def filled(**more: Any) -> Machine:
    """With one idle connection, of which nothing is to be told any more."""
    machine = Machine(**more)
    machine.apply(Acquire(1.0, 1, True, None))
    machine.apply(Opened(2.0, 1, "a secret", 1.0))
    machine.apply(Release(3.0, 1, 1))
    machine.hear()
    machine.inbox.clear()
    return machine


# ---------------------------------------------------------------- what is told


def test_what_was_decided_and_came_is_told_in_order() -> None:
    """By the function and by its shortcuts; with names in the place of connections."""
    machine = filled()
    machine.acquire(4.0, 2)
    machine.release(5.0, 2, 1)
    machine.apply(Tick(6.0))
    assert machine.hear() == [
        (Acquire(4.0, 2), (Grant(2, 1, "connection 1", 1.0),)),
        (Release(5.0, 2, 1), ()),
        (Tick(6.0), ()),
    ]
    assert machine.hear() == []


def test_who_is_handed_a_connection_is_told_by_its_key() -> None:
    machine = filled(max_size=1)
    machine.acquire(4.0, 2)
    machine.apply(Acquire(4.5, 3))
    machine.release(5.0, 2, 1)
    assert machine.hear()[-1] == (Release(5.0, 2, 1), (Grant(3, 1, "connection 1", 0.0),))


@pytest.mark.parametrize("first", ["acquire", "release", "the function"])
@pytest.mark.parametrize("then", ["acquire", "the function"])
def test_what_was_decided_and_never_came_is_taken_back(first: str, then: str) -> None:
    machine = filled()
    if first == "release":
        machine.acquire(4.0, 2)
        machine.hear()
        machine.release(5.0, 2, 1, comes=False)
    elif first == "acquire":
        machine.acquire(5.0, 2, comes=False)
    else:
        machine.lose(Suspend(5.0))
    assert machine.hear() == [], "it is told when it is seen to be in force"
    if then == "acquire" and first != "release":
        machine.acquire(6.0, 3)
    elif first == "release":
        machine.release(6.0, 2, 1)
    else:
        machine.apply(Suspend(6.0))
    assert [event.now for event, _ in machine.hear()] == [6.0]


def test_only_the_last_can_be_taken_back() -> None:
    machine = filled()
    machine.apply(Suspend(4.0))
    machine.apply(Resume(5.0))
    machine.lose(Suspend(6.0))
    machine.apply(Tick(7.0))
    assert [event.now for event, _ in machine.hear()] == [4.0, 5.0, 7.0]


def test_what_an_adapter_adopts_is_told_with_what_follows() -> None:
    """In one go: both came, or neither."""
    machine = filled()
    state = state_of(machine.fields)
    adopted, _ = machine.seam(state, Adopt(4.0))
    assert machine.hear() == []
    machine.current = machine.seam(adopted, Suspend(4.0))
    assert [type(event) for event, _ in machine.hear()] == [Adopt, Suspend]


def test_what_was_adopted_is_taken_back_with_what_followed_and_never_came() -> None:
    machine = filled()
    adopted, _ = machine.seam(state_of(machine.fields), Adopt(4.0, (), (), (1,)))
    machine.seam(adopted, Suspend(4.0))
    machine.apply(Tick(5.0))
    assert [type(event) for event, _ in machine.hear()] == [Tick]


@pytest.mark.parametrize("comes", [True, False])
def test_what_was_adopted_is_told_if_it_came_though_nothing_followed(comes: bool) -> None:
    machine = filled()
    adopted, _ = machine.seam(state_of(machine.fields), Adopt(4.0, (), (), (1,)))
    if comes:
        machine.current = (adopted, ())
    machine.apply(Tick(5.0))
    machine.apply(Tick(6.0))
    kinds = [type(event) for event, _ in machine.hear()]
    assert kinds == ([Adopt] if comes else []) + [Tick, Tick]


def test_a_state_is_told_at_its_place_in_the_order() -> None:
    """With names, and before the event that comes with it."""
    machine = filled()
    seen: list[Any] = []
    machine.seam.mark(seen.append)
    machine.acquire(4.0, 2)
    machine.seam.mark(seen.append)
    machine.release(5.0, 2, 1)
    machine.seam.mark(seen.append)
    machine.apply(Suspend(6.0))
    assert [event.now for event, _ in machine.hear()] == [4.0, 5.0, 6.0]
    idle = [[item.entry.connection for item in resting(state.idle)] for state in seen]
    lent = [[lease.entry.connection for lease in state.in_use.values()] for state in seen]
    assert idle == [["connection 1"], [], ["connection 1"]]
    assert lent == [[], ["connection 1"], []]
    assert {state.phase for state in seen} == {"open"}


def test_who_does_the_deciding_without_us_decides_on_every_event() -> None:
    """Shortcuts are those of our function alone."""
    assert Machine().seam.shortcuts.acquire is not None
    other = Machine(lambda state, event: step(state, event))
    assert other.seam.shortcuts is NoShortcuts
    mine = Machine()
    assert mine.seam.shortcuts is mine.seam
    full = filled(max_size=1)
    full.acquire(4.0, 2)
    fields = full.fields
    for wait in (True, False):
        found = full.seam.acquire(fields, 5.0, 3, wait, None)
        assert (found is None) == (shortcuts.acquire(fields, 5.0, 3, wait, None) is None)


# ---------------------------------------------------------------- when it is told


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_note_asks_for_telling_when_there_is_enough(batch: int) -> None:
    for kind in ("the function", "acquire", "release"):
        machine = filled(batch=batch, max_size=9)
        if kind == "release":
            machine.acquire(4.0, 2)
            machine.hear()
            machine.inbox.clear()
        for number in range(1, batch + 1):
            assert list(machine.inbox) == [], (kind, number)
            if kind == "the function" or number < batch:
                machine.apply(Tick(4.0 + number))
            elif kind == "acquire":
                machine.acquire(9.0, 2)
            else:
                machine.release(9.0, 2, 1)
        assert list(machine.inbox) == [NUDGE], kind
        machine.seam.tell_batch(machine)
        assert len(machine.told) == batch


def test_the_smallest_batch_is_for_all() -> None:
    machine = filled(batch=3)
    other = machine.seam.add(lambda *_: None, 2, None)
    machine.apply(Tick(4.0))
    machine.apply(Tick(5.0))
    assert list(machine.inbox) == [NUDGE]
    assert len(machine.seam.observers()) == 2
    assert machine.seam.remove(other) is False
    machine.inbox.clear()
    machine.hear()
    for now in (6.0, 7.0, 8.0):
        assert list(machine.inbox) == []
        machine.apply(Tick(now))
    assert list(machine.inbox) == [NUDGE]
    assert machine.seam.remove(machine.one) is True
    assert machine.seam.observers() == []


@pytest.mark.parametrize("error", [ValueError, IndexError])
def test_a_note_that_another_has_taken_is_not_missed(error: type[Exception]) -> None:
    class Taken(deque[Any]):
        def remove(self, note: Any) -> None:
            assert note is NUDGE
            raise error

    machine = filled()
    machine.inbox = Taken([NUDGE])
    machine.seam.belongs_to(machine)
    machine.seam.calm()
    machine.inbox = deque([NUDGE, "another"])
    machine.seam.belongs_to(machine)
    machine.seam.calm()
    assert list(machine.inbox) == ["another"]
    assert machine.observed is machine.seam


def test_one_thread_tells_at_a_time_and_the_others_go_on() -> None:
    machine, gate = filled(), Gate()
    machine.seam.add(gate, 1, None)
    machine.apply(Tick(4.0))
    call = Call(machine.hear)
    until(lambda: gate.standing)
    machine.apply(Tick(5.0))
    machine.seam.tell(machine)  # comes back: another is at it
    assert machine.seam._teller == call.ident
    gate.open()
    assert [event.now for event, _ in call.result()] == [4.0, 5.0]
    assert machine.seam._teller is None


def test_what_comes_while_the_last_word_is_told_is_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread left it to the one that tells, which had looked for more just before."""
    machine, tell = filled(), Observation._tell

    def meanwhile(self: Observation, monitor: Any) -> None:
        tell(self, monitor)
        monkeypatch.undo()
        machine.apply(Tick(5.0))

    monkeypatch.setattr(Observation, "_tell", meanwhile)
    machine.apply(Tick(4.0))
    assert [event.now for event, _ in machine.hear()] == [4.0, 5.0]


def test_who_flushes_waits_for_who_tells_but_not_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, slept = [10.0], list[float]()
    module = __import__("pool.shared.observation", fromlist=["time"])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += 1.0

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    seam = filled().seam
    seam.await_teller()
    assert slept == []
    seam._telling.acquire()
    seam._teller = threading.get_ident()
    seam.await_teller()
    assert slept == []
    seam._teller = -1
    seam.await_teller()
    assert slept == [0.0005] * 5, "for five seconds at most"


@pytest.mark.parametrize("end", ["flush", "stop"])
def test_what_came_when_another_had_told_all_is_told_by_who_flushes(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one goes on to look again, but may take its time for that."""
    runtime, told, done, late = running(), list[float](), Gate(), Gate()

    observing = Observing(runtime, lambda event, _: told.append(event.now), 100, at_end=done)
    seam = runtime.monitor.observed
    lock = seam._telling

    def leave() -> None:
        lock.release()
        if threading.current_thread() is other:
            late()

    seam._telling = SimpleNamespace(acquire=lock.acquire, release=leave, locked=lock.locked)
    runtime.apply(Tick(1.0))
    other = Call(lambda: seam.tell(runtime.monitor))
    until(lambda: done.standing)
    runtime.apply(Tick(2.0))

    def sleep(_: float) -> None:
        done.open()
        until(lambda: late.standing)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr("pool.shared.observation.time", clock)
    getattr(observing, end)()
    assert told == [1.0, 2.0]
    late.open()
    other.result()


def test_what_an_observer_raises_is_logged_once_for_each_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the others are told all the same."""
    errors = [ValueError("one"), ValueError("two"), KeyError("three")]

    def fail(*_: Any) -> None:
        raise errors.pop(0)

    machine = filled()
    failing = machine.seam.add(fail, 1, None)
    for now in (4.0, 5.0, 6.0):
        machine.apply(Tick(now))
    assert len(machine.hear()) == 3
    machine.seam.remove(failing)
    texts = [(one.levelname, one.getMessage(), bool(one.exc_info)) for one in caplog.records]
    text = "shop: an observer failed; what it does again is not logged"
    assert texts == [("WARNING", text, True)] * 2
    machine.seam.mark(fail)
    errors.append(ValueError("a mark's"))
    machine.apply(Tick(7.0))
    machine.seam.tell(machine)
    assert len(caplog.records) == 3


def test_what_is_called_at_the_end_is_called_when_all_is_told() -> None:
    machine, seen = filled(), list[Any]()
    machine.seam.add(lambda event, _: seen.append(event.now), 1, lambda: seen.append("end"))
    machine.apply(Tick(4.0))
    machine.apply(Tick(5.0))
    machine.seam.tell(machine)
    assert seen == [4.0, 5.0, "end"]


# ---------------------------------------------------------------- names


def test_owners_are_told_as_text() -> None:
    """The thread where it is known, else the ticket; nobody stays nobody."""
    machine = filled()
    machine.acquire(4.0, 2, owner=object())
    machine.release(5.0, 2, 1)
    machine.acquire(6.0, 3, owner=None)
    machine.release(7.0, 3, 1)
    machine.apply(Acquire(8.0, 4, True, object()))
    owners = [event.owner for event, _ in machine.hear() if type(event) is Acquire]
    assert owners == ["owner of 2", None, "owner of 4"]


def test_an_owner_is_told_by_its_thread_and_the_line_that_took_the_connection() -> None:
    """Where somebody asked for lines; else by its thread."""
    thread = introduce()
    code = test_an_owner_is_told_by_its_thread_and_the_line_that_took_the_connection.__code__
    lease = Weakly()
    holder = TracedHolder(lease, lambda _: None)
    holder.taker, holder.lines = thread.taker, ((code, 7),)
    name = f"thread {threading.current_thread().name!r}"
    place = f"{name} at {code.co_filename}:7 in {code.co_name}"
    machine = filled()
    for ticket, (owner, text) in ((10, (holder, place)), (30, (thread.taker, name))):
        machine.acquire(4.0, ticket, owner=owner)
        machine.release(5.0, ticket, 1)
        assert machine.hear()[0][0].owner == text
        assert _owner(ticket, owner) == text
        machine.apply(Acquire(6.0, ticket + 10, True, owner))
        machine.release(7.0, ticket + 10, 1)
        assert machine.hear()[0][0].owner == text
    assert _owner(9, object()) == "owner of 9"


def test_an_observer_that_has_to_be_awaited_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    machine = filled()
    machine.seam.add(lambda *told: later(*told), 1, None)
    machine.apply(Tick(4.0))
    machine.seam.tell(machine)
    (record,) = caplog.records
    assert record.exc_info
    assert str(record.exc_info[1]).startswith("an observer returned something to be awaited")


def test_one_is_told_at_once_unless_it_wants_more() -> None:
    runtime, seen = running(), list[Any]()
    observe(runtime, lambda event, _: seen.append(event))
    runtime.apply(Tick(1.0))
    assert seen == [Tick(1.0)]


def test_a_leak_is_told_with_its_owner_as_text() -> None:
    machine = filled(leak_after=5.0)
    machine.acquire(4.0, 2, owner=object())
    machine.apply(Tick(20.0))
    (leak,) = machine.hear()[-1][1]
    assert leak == Leaked(2, 1, "owner of 2", 16.0)


def test_each_connection_is_called_by_the_key_that_it_gets() -> None:
    machine = Machine(max_size=4)
    machine.apply(Acquire(1.0, 1))
    machine.apply(Opened(2.0, 1, "a secret", 1.5))
    idle = (AdoptIdle(None, "brought", 1.0, 1),)
    in_use = (AdoptLease(1, "a secret", 1.0, 1.0), AdoptLease(None, "another", 1.0, 1.0))
    event = Adopt(3.0, idle, in_use, (), 2)
    adopted, _ = machine.seam(state_of(machine.fields), event)
    machine.current = machine.seam(adopted, CloseAll(4.0))
    told = machine.hear()
    assert told[0] == (Acquire(1.0, 1), (Open(1),))
    assert told[1][0] == Opened(2.0, 1, "connection 1", 1.5)
    assert told[1][1] == (Grant(1, 1, "connection 1", None),)
    adopted_event, closes = told[2][0], told[3][1]
    texts = [item.connection for item in (*adopted_event.idle, *adopted_event.in_use)]
    assert sorted(texts) == ["connection 1", "connection 2", "connection 3"]
    assert texts[1] == "connection 1"
    assert adopted_event.in_use[0].key == 1
    assert {close.connection for close in closes if type(close) is Close} <= set(texts)


def test_a_state_with_names_has_everything_else_as_it_was() -> None:
    machine = Machine(max_size=2)
    state: Any = machine.fields
    for event in (
        *(Acquire(1.0, 1, True, "one"), Opened(2.0, 1, "a secret", 1.5)),
        *(Acquire(3.0, 2, True, None), Opened(4.0, 2, "another", 3.5), Release(5.0, 1, 1)),
        *(Acquire(6.0, 3, True, "three"), Acquire(7.0, 4, True, "four")),
        *(Acquire(7.5, 5, True, None), Release(8.0, 3, 1)),
    ):
        state, _ = step(state_of(state), event)
    found = named.state(state_of(state), lambda ticket, who: f"{who} of {ticket}")
    named_leases = leased(found.in_use).items()
    leases = {key: (one.entry.connection, one.owner) for key, one in named_leases}
    assert leases == {2: ("connection 2", None), 1: ("connection 1", "four of 4")}
    assert dict(waiters.items(found.waiters)) == {5: None}
    lent = state_of(state)
    assert found._replace(in_use=lent.in_use, waiters=lent.waiters) == lent
    for key, lease in named_leases:
        entry = leased(lent.in_use)[key].entry
        assert attrs.evolve(lease.entry, connection=entry.connection) == entry
    idle, _ = step(state_of(state), Release(9.0, 4, 1))
    idle, _ = step(idle, Release(9.0, 5, 1))
    idle, _ = step(idle, Release(10.0, 2, 2))
    found = named.state(idle, _owner)
    before = sorted(resting(idle.idle))
    after = sorted(resting(found.idle))
    assert {item.entry.connection for item in after} == {"connection 1", "connection 2"}
    assert [item._replace(entry=None) for item in after] == [
        item._replace(entry=None) for item in before
    ]
    assert heap.size(found.idle) == heap.size(idle.idle) == 2
    empty = named.state(initial(Limits()), _owner)
    assert empty == initial(Limits())
    connecting, _ = step(initial(Limits()), Acquire(1.0, 1, True, "one"))
    assert dict(named.state(connecting, _owner).opening_tickets) == {1: "owner of 1"}


@pytest.mark.parametrize("order", ["lifo", "fifo"])
def test_each_of_many_that_rest_has_its_name(order: Any) -> None:
    state = initial(Limits(max_size=7, idle_order=order))
    for key in range(1, 8):
        state, _ = step(state, Acquire(1.0, key))
        state, _ = step(state, Opened(2.0, key, f"secret {key}", 1.5))
    for key in range(1, 8):
        state, _ = step(state, Release(2.0 + key, key, key))
    found = named.state(state, _owner)
    names = {item.entry.key: item.entry.connection for item in resting(found.idle)}
    assert names == {key: f"connection {key}" for key in range(1, 8)}
    assert heap.size(found.idle) == 7


def test_what_a_closed_pool_does_not_adopt_has_no_key() -> None:
    before, _ = step(initial(Limits(max_size=2)), Shutdown(1.0))
    brought = Adopt(2.0, (AdoptIdle(None, "a secret", 1.0, 1),), (AdoptLease(None, "x", 1.0, 1.5),))
    after, effects = step(before, brought)
    found: Any = named.event(before, brought, after, effects, _owner)
    assert [one.connection for one in (*found.idle, *found.in_use)] == ["connection 0"] * 2
    assert found._replace(idle=brought.idle, in_use=brought.in_use) == brought


# ---------------------------------------------------------------- coming and going


def running(**limits: Any) -> Runtime:
    return Runtime(ScriptedDriver(), Limits(**{"max_size": 2, **limits}), check_after=FOR_EVER)


def test_an_observer_that_stops_is_told_what_was_before_and_no_more() -> None:
    runtime, seen = running(), list[Any]()
    plain = runtime.step
    with observe(runtime, lambda event, _: seen.append(type(event)), batch=100) as observing:
        assert isinstance(observing, Observing)
        runtime.apply(Tick(1.0))
        assert seen == []
    assert seen == [Tick]
    assert (runtime.step, runtime.monitor.observed) == (plain, None)
    assert runtime.monitor.shortcuts is shortcuts
    observing.stop()
    runtime.apply(Tick(2.0))
    observing.flush()
    assert seen == [Tick]


def test_the_last_observer_to_stop_takes_the_seam_away() -> None:
    runtime = running()
    first, second = (observe(runtime, lambda *_: None) for _ in range(2))
    first.stop()
    assert runtime.monitor.observed is not None
    second.stop()
    assert runtime.monitor.observed is None
    assert [name for _, name in slots(runtime)] == ["step"]


def test_who_stands_in_front_of_it_keeps_it_as_a_detour() -> None:
    runtime = running()
    observing = observe(runtime, lambda *_: None)
    behind = runtime.step
    runtime.step = in_front = lambda state, event: behind(state, event)  # type: ignore[method-assign]
    observing.stop()
    assert runtime.step is in_front
    runtime.apply(Suspend(1.0))
    assert runtime.state.phase == "suspended"


def test_who_wants_to_know_of_new_pools_may_fail(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are told all the same, and it is logged."""
    seen: list[Any] = []
    fail = raising(ValueError("not this one"))
    monkeypatch.setattr(observation, "on_made", [fail, seen.append])
    observation.made("a pool")
    assert seen == ["a pool"]
    (record,) = caplog.records
    assert record.getMessage() == f"what is told of new pools failed: {fail}"
    assert record.exc_info
    assert record.levelname == "WARNING"


def test_it_stands_next_to_the_machine_behind_what_an_adapter_adds() -> None:
    """So a change by hand of what peewee's users see is told as an event."""
    database: Any = scripted(1, timeout=None)
    own, seen = database._purepool, list[Any]()
    database.connect()
    plain = own.runtime.step
    assert database._in_use != {}
    assert own.runtime.step == own._absorb
    observing = observe(database, lambda event, _: seen.append(type(event)))
    assert [(holder, name) for holder, name in slots(own.runtime)] == [
        (own.runtime, "step"),
        (own, "_plain_step"),
    ]
    assert own._plain_step is own.runtime.monitor.observed
    database._in_use.clear()
    own.runtime.apply(Suspend(own.runtime.clock()))
    assert seen == [Adopt, Suspend]
    observing.stop()
    assert plain in (own.runtime.step, own._plain_step)


async def later(*_: Any) -> None:
    """What a user of asyncio gives by mistake."""


@pytest.mark.parametrize(
    ("observer", "batch", "text"),
    [
        (later, 1, r"observer=.*: allowed is a plain function that takes an event and its effects"),
        (7, 1, "observer=7.*a function that takes an event and its effects"),
        (print, 0, "batch=0.*a whole number, at least 1"),
        (print, True, "batch=True.*a whole number, at least 1"),
        (print, 1.5, "batch=1.5.*a whole number, at least 1"),
    ],
)
def test_what_is_not_allowed_is_refused_by_its_name(observer: Any, batch: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        observe(running(), observer, batch=batch)


# ---------------------------------------------------------------- regularly


def test_who_tells_regularly_leaves_who_is_not_observed(
    caplog: pytest.LogCaptureFixture, nobody_tells: None
) -> None:
    """What goes wrong there is logged, and it goes on."""
    runtime = running()
    runtime.label = "shop: "
    told: list[Any] = []
    observing = observe(runtime, lambda event, _: told.append(event), batch=100)
    regularly._runtimes.add(runtime)
    runtime.apply(Tick(1.0))
    regularly._tell_of(runtime)
    assert told == [Tick(1.0)]
    assert runtime in regularly._runtimes
    seam = runtime.monitor.observed
    runtime.monitor.observed = SimpleNamespace(tell=lambda _: 1 / 0)
    regularly._tell_of(runtime)
    assert [(one.levelname, one.getMessage(), bool(one.exc_info)) for one in caplog.records] == [
        ("WARNING", "shop: observers could not be told", True)
    ]
    assert caplog.records[0].levelno == logging.WARNING
    runtime.monitor.observed = seam
    observing.stop()
    regularly._tell_of(runtime)
    assert runtime not in regularly._runtimes


@pytest.mark.parametrize("tell", [regularly._tell_of, Runtime.take_over])
def test_what_is_not_in_force_is_not_told(tell: Any) -> None:
    """A transition is written down before it takes effect; until then it may be interrupted."""
    runtime = running()
    told: list[Any] = []
    observing = observe(runtime, lambda event, _: told.append(event))
    runtime.monitor.observed(runtime.state, Tick(1.0))
    tell(runtime)
    assert told == []
    runtime.apply(Tick(2.0))
    tell(runtime)
    assert told == [Tick(2.0)]
    observing.stop()


@pytest.mark.parametrize("others", [0, 1])
def test_a_flush_tells_what_is_in_force_and_no_more(others: int) -> None:
    """Also where what is in force waits before it."""
    runtime = running()
    told: list[Any] = []
    observing = observe(runtime, lambda event, _: told.append(event), batch=100)
    for number in range(others):
        runtime.apply(Tick(float(number)))
    runtime.monitor.observed(runtime.state, Tick(9.0))
    observing.flush()
    assert told == [Tick(float(number)) for number in range(others)]
    observing.stop()


def test_one_thread_tells_as_long_as_anybody_is_observed(
    monkeypatch: pytest.MonkeyPatch, nobody_tells: None
) -> None:
    """Then it ends; who is observed later gets another, and so does who came as it ended."""
    one, other, last = running(), running(), running()
    rounds: list[Any] = []
    begun: list[Any] = []

    class Thread:
        def __init__(self, target: Any, name: str, daemon: bool) -> None:
            self.target, self.shown = target, (name, daemon)

        def start(self) -> None:
            begun.append(self)

    class Ending(list[Any]):
        def remove(self, thread: Any) -> None:
            super().remove(thread)
            if len(begun) == 2:
                regularly._runtimes.add(last)

    fake = SimpleNamespace(Thread=Thread, current_thread=lambda: begun[-1])
    monkeypatch.setattr(regularly, "threading", fake)
    monkeypatch.setattr(regularly, "time", SimpleNamespace(sleep=rounds.append))
    monkeypatch.setattr(regularly, "_threads", Ending())
    for runtime in (one, other):  # of which neither is observed any more
        regularly.tell_regularly(runtime)
    assert [thread.shown for thread in begun] == [("purepool observer", True)]
    assert regularly._threads == begun
    begun[0].target()
    assert (regularly._threads, rounds) == ([], [regularly.PAUSE])
    regularly.tell_regularly(one)
    begun[1].target()
    assert len(begun) == 3
    assert regularly._threads == begun[2:], "it tells of the one that came in between"
