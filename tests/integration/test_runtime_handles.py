"""Handles that are lost come back to the pool, however they were lost.

Theory.  A handle that is collected leaves a note and tries the lock; it never waits and never
talks to the database, for a finalizer runs anywhere: in the middle of a transition, on the thread
that holds the lock.  Here handles are lost in every way there is, and each time the whole capacity
has to be there again and every lost connection closed, once.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool import Limits
from pool.shared.errors import PoolTimeout
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    FREE_THREADED,
    Call,
    Gate,
    ScriptedDriver,
    assert_sound,
    lent,
    park,
    settle,
    until,
    waiting,
    watch,
)

SIZE = 3


@pytest.fixture(params=["caller", "background"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Three connections at most; at the end all three can be had, and no invariant was broken."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=SIZE, opener=request.param))
    broken = watch(runtime)
    yield runtime
    settle(runtime)
    handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    with pytest.raises(PoolTimeout):
        runtime.acquire(0)
    for handle in handles:
        runtime.release(handle)
    assert_sound(runtime)
    assert broken == []
    assert runtime.driver.mistakes == []  # type: ignore[attr-defined]


def all_closed(runtime: Runtime, number: int) -> None:
    """So many were closed, once."""
    driver: Any = runtime.driver

    def are_closed() -> bool:
        settle(runtime)
        return len(driver.closed) == number

    until(are_closed)
    assert all(connection.closed == 1 for connection in driver.closed)


def test_deleted(runtime: Runtime) -> None:
    for number in range(1, 6):
        handle = runtime.acquire(FOR_EVER)
        del handle
        all_closed(runtime, number)
        assert lent(runtime) == []


def test_its_room_is_free_at_once(runtime: Runtime) -> None:
    """Not only when somebody gets round to it: the finalizer itself makes the transition."""
    handle = runtime.acquire(FOR_EVER)
    assert len(lent(runtime)) == 1
    del handle
    if FREE_THREADED or runtime.helpers is not None:
        until(lambda: not lent(runtime))  # a helper may have the lock: then it makes the transition
    assert lent(runtime) == []


def test_a_waiter_gets_its_room(runtime: Runtime) -> None:
    handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    waiter = park(runtime, lambda: runtime.release(runtime.acquire(FOR_EVER)))
    handles.pop()
    assert waiter.result() is True
    for handle in handles:
        runtime.release(handle)


def test_in_a_cycle(runtime: Runtime) -> None:
    handle = runtime.acquire(FOR_EVER)
    cycle: list[Any] = [handle]
    cycle.append(cycle)
    del handle, cycle
    gc.collect()
    all_closed(runtime, 1)


def test_with_its_thread(runtime: Runtime) -> None:
    """A thread that ends, with handles in its locals and in its `threading.local`."""
    mine = threading.local()

    def work() -> None:
        mine.handle = runtime.acquire(FOR_EVER)
        local = runtime.acquire(FOR_EVER)
        assert local.connection is not mine.handle.connection

    Call(work).result()
    all_closed(runtime, 2)


def test_with_an_exception(runtime: Runtime) -> None:
    def work() -> None:
        handle = runtime.acquire(FOR_EVER)
        raise LookupError(handle.ticket)

    with pytest.raises(LookupError):
        work()
    all_closed(runtime, 1)


def test_by_a_generator_that_is_not_finished(runtime: Runtime) -> None:
    def rows() -> Iterator[int]:
        handle = runtime.acquire(FOR_EVER)
        yield handle.ticket
        runtime.release(handle)

    iterator = rows()
    next(iterator)
    assert len(lent(runtime)) == 1
    del iterator
    all_closed(runtime, 1)


def test_given_to_another_thread(runtime: Runtime) -> None:
    """That is allowed: a handle belongs to one thread at a time."""
    handles = [runtime.acquire(FOR_EVER)]
    Call(lambda: runtime.release(handles.pop())).result()
    assert lent(runtime) == []
    handles = [runtime.acquire(FOR_EVER)]
    Call(handles.clear).result()
    all_closed(runtime, 1)


def in_the_next_transition(runtime: Runtime, what: Callable[[], Any], when: str) -> None:
    """Run this under the lock, on the thread that makes the next transition."""
    plain_step = runtime.step

    def step(state: Any, event: Any) -> Any:
        runtime.step = plain_step  # type: ignore[method-assign]
        if when == "before":
            what()
        outcome = plain_step(state, event)
        if when == "after":
            what()
        return outcome

    runtime.step = step  # type: ignore[method-assign]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["deleted", "collected"])
def test_under_the_lock_on_the_same_thread(runtime: Runtime, when: str, how: str) -> None:
    """The finalizer finds the lock taken, by its own thread; whoever leaves the lock sees its
    note. With a lock that lets its owner in again it would enter the running transition."""
    handles = [runtime.acquire(FOR_EVER), runtime.acquire(FOR_EVER)]
    kept = handles.pop()
    if how == "collected":
        handles.append(handles)  # type: ignore[arg-type]
        keeper = [handles]
        del handles
        in_the_next_transition(runtime, lambda: (keeper.clear(), gc.collect()), when)
    else:
        in_the_next_transition(runtime, handles.clear, when)
    assert runtime.release(kept) is True
    assert lent(runtime) == []
    all_closed(runtime, 1)


def test_under_the_lock_while_acquiring(runtime: Runtime) -> None:
    """The note is for the very room that the acquiring caller needs."""
    handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    lost = [handles.pop()]
    in_the_next_transition(runtime, lost.clear, "after")
    handles.append(runtime.acquire(FOR_EVER))
    assert len({handle.connection for handle in handles}) == SIZE
    for handle in handles:
        runtime.release(handle)
    all_closed(runtime, 1)


def test_while_another_thread_has_the_lock(runtime: Runtime) -> None:
    """The finalizer does not wait for it; who has it finds the note when it leaves."""
    handles = [runtime.acquire(FOR_EVER), runtime.acquire(FOR_EVER)]
    gate = Gate()
    in_the_next_transition(runtime, gate, "after")
    other = handles.pop()
    call = Call(runtime.release, other)
    until(lambda: gate.standing)
    del other
    handles.clear()  # comes back though the lock is taken
    assert gate.standing == 1
    assert len(lent(runtime)) >= 1
    gate.open()
    assert call.result() is True
    assert lent(runtime) == []
    all_closed(runtime, 1)


def test_a_finalizer_talks_to_no_database(runtime: Runtime) -> None:
    """With `caller` the close waits for the next one who uses the pool; with `background` it is
    a helper's. Neither happens on the thread where the garbage was found."""
    driver: Any = runtime.driver
    closers: list[threading.Thread] = []
    driver.on_close = lambda _: closers.append(threading.current_thread())
    handle = runtime.acquire(FOR_EVER)
    del handle
    if runtime.helpers is None:
        assert closers == []
        runtime.release(runtime.acquire(FOR_EVER))
    until(lambda: closers)
    assert (closers[0] is threading.current_thread()) == (runtime.helpers is None)


def test_many_in_many_threads(runtime: Runtime) -> None:
    def work() -> None:
        for number in range(50):
            handle = runtime.acquire(FOR_EVER)
            if number % 2:
                runtime.release(handle)
            del handle

    for call in [Call(work) for _ in range(8)]:
        call.result()
    assert lent(runtime) == []
    all_closed(runtime, 200)


def test_a_cell_is_forgotten_with_its_caller(runtime: Runtime) -> None:
    """Callers that gave up leave nothing behind."""
    handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    for _ in range(10):
        with pytest.raises(PoolTimeout):
            runtime.acquire(0.001)
    assert waiting(runtime) == 0
    assert runtime.monitor.cells == {}
    for handle in handles:
        runtime.release(handle)


def test_a_handle_is_held_by_nobody_but_its_caller(runtime: Runtime) -> None:
    """The pool knows tickets: with a reference to handles it would keep them from being lost."""
    handle = runtime.acquire(FOR_EVER)
    known = weakref.ref(handle)
    runtime.release(handle)
    del handle
    assert known() is None
