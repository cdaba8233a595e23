"""A call of every public method at every instant of a checkout, on the same thread. (RUN-10)

Theory.  The handler of a signal, a finalizer, the callback of a weak reference, a generator that
is collected: each runs wherever the interpreter comes to it, in the middle of the pool's own code
too, and may call the pool.  Whatever it calls, nobody ever waits for the thread that he is on.
What gives back takes effect, then or a little later; an acquire gets a connection or an error; and
the checkout that was interrupted goes on as if nothing had happened.

The instants are those of `instants.py`; here nothing is raised, but a method is called.  A call
that hangs is ended by the limit of the whole test, with the stacks of all threads.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from pool import LeaseEnded, PoolClosed, PoolTimeout, step
from tests.integration.drivers import FOR_EVER, lent, until
from tests.integration.instants import every_instant
from tests.integration.pools import Scripted, is_whole

SIZE = 3
BRIEFLY = 0.001

Method = Callable[[Scripted, list[Any]], Any]
"""Given the pool, and leases that this thread has besides, which it may take."""


# ---------------------------------------------------------------- what is called


def acquire_and_release(pool: Scripted, held: list[Any]) -> None:
    with suppress(PoolTimeout):  # this thread may have all there is
        pool.acquire(BRIEFLY).release()


def acquire_at_once(pool: Scripted, held: list[Any]) -> None:
    with suppress(PoolTimeout):
        pool.acquire(0).release()


def acquire_and_forget(pool: Scripted, held: list[Any]) -> None:
    with suppress(PoolTimeout):
        pool.acquire(BRIEFLY)


def acquire_what_there_is_not(pool: Scripted, held: list[Any]) -> None:
    """With nothing free, it would have to wait for its own thread: refused, at once or in time."""
    more: list[Any] = []
    with suppress(PoolTimeout):
        for _ in range(SIZE + 1):
            more.append(pool.acquire(0))
    with suppress(PoolTimeout):
        more.append(pool.acquire(BRIEFLY))
    while more:
        more.pop().release()


def block(pool: Scripted, held: list[Any]) -> None:
    with suppress(PoolTimeout), pool.connection(BRIEFLY) as connection:
        connection.number += 0


def release(pool: Scripted, held: list[Any]) -> None:
    lease = held.pop()
    assert lease.release() is True
    assert lease.release() is False
    with pytest.raises(LeaseEnded):
        assert lease.connection


def discard(pool: Scripted, held: list[Any]) -> None:
    lease = held.pop()
    assert lease.discard() is True
    assert lease.discard() is False


def end_of_block(pool: Scripted, held: list[Any]) -> None:
    held.pop().__exit__(None, None, None)


def lose(pool: Scripted, held: list[Any]) -> None:
    held.pop()


def read(pool: Scripted, held: list[Any]) -> None:
    assert pool.statistics().max_size == SIZE
    assert pool.holders()
    assert repr(pool)
    assert held[0].connection
    assert repr(held[0])


def wait(pool: Scripted, held: list[Any]) -> None:
    with suppress(PoolTimeout):  # this thread may have all there is
        pool.wait(BRIEFLY)


def resize(pool: Scripted, held: list[Any]) -> None:
    pool.resize(max_size=SIZE + 1)
    pool.resize(max_size=SIZE)


def refused_resize(pool: Scripted, held: list[Any]) -> None:
    with pytest.raises(ValueError, match="max_size=-1"):
        pool.resize(max_size=-1)


def drain(pool: Scripted, held: list[Any]) -> None:
    pool.drain()


def suspend_and_resume(pool: Scripted, held: list[Any]) -> None:
    pool.suspend()
    pool.resume()


def listen(pool: Scripted, held: list[Any]) -> None:
    pool.listen("checkin", print_nothing)


def close_at_once(pool: Scripted, held: list[Any]) -> None:
    pool.close(0)


def close_and_wait(pool: Scripted, held: list[Any]) -> None:
    """For ever, if need be; but never for what this thread holds."""
    assert pool.close(None) is False
    held.pop().release()


def print_nothing(notice: Any) -> None:
    pass


METHODS: list[Method] = [
    acquire_and_release,
    acquire_at_once,
    acquire_and_forget,
    acquire_what_there_is_not,
    block,
    release,
    discard,
    end_of_block,
    lose,
    read,
    wait,
    resize,
    refused_resize,
    drain,
    suspend_and_resume,
    listen,
    close_at_once,
    close_and_wait,
]

# ---------------------------------------------------------------- from where it is called


def by_a_handler(call: Callable[[], Any]) -> None:
    call()


class Finalized:
    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __del__(self) -> None:
        self.call()


def by_a_finalizer(call: Callable[[], Any]) -> None:
    Finalized(call)


def by_a_collected_generator(call: Callable[[], Any]) -> None:
    def suspended() -> Iterator[None]:
        try:
            yield
        finally:
            call()

    class Page:
        rows: Any
        me: Any

    page = Page()
    page.me, page.rows = page, suspended()
    next(page.rows)
    del page
    gc.collect()


WAYS = [by_a_handler, by_a_finalizer, by_a_collected_generator]

# ---------------------------------------------------------------- in the middle of what


def with_block(pool: Scripted) -> None:
    with pool.connection() as connection:
        connection.number += 0


def with_lease(pool: Scripted) -> None:
    with pool.acquire() as lease:
        assert lease.connection


def discarded(pool: Scripted) -> None:
    pool.acquire().discard()


def forgotten(pool: Scripted) -> None:
    pool.acquire()


def refused(pool: Scripted) -> None:
    with suppress(PoolTimeout):
        leases = [pool.acquire(BRIEFLY) for _ in range(SIZE)]
        del leases


WORKS = [with_block, with_lease, discarded, forgotten]


# ---------------------------------------------------------------- the test


def one_by_one(
    record: Any, opener: str, work: Callable[[Scripted], None], method: Method, way: Any
) -> None:
    made: list[Scripted] = []
    held: list[Any] = []
    errors: list[BaseException] = []

    def prepare() -> Callable[[], None]:
        held.clear()
        # The first of those made of each pool is held by this thread meanwhile, another is idle,
        # has rested, and is asked whether it is alive.
        pool = Scripted(SIZE, opener=opener, check_after=0.0, check_timeout=None)
        held.append(pool.acquire())
        pool.acquire().release()
        if work is with_block:
            pool._runtime.step = step  # so that the shortcuts are taken
        made[:] = [pool]

        def interrupted() -> None:
            with suppress(PoolClosed):
                work(pool)

        return interrupted

    def happen() -> None:
        try:
            method(made[0], held)
        except BaseException as error:  # a finalizer tells nobody
            errors.append(error.with_traceback(None))

    def check() -> None:
        (pool,) = made
        closed = pool.statistics().phase == "closed"
        assert errors == []
        if not closed:
            while held:
                held.pop().release()
            until(lambda: not lent(pool))
            is_whole(pool, SIZE)
        held.clear()
        assert pool.close(FOR_EVER)
        assert pool.broken == []
        assert pool.driver.mistakes == []
        until(lambda: all(connection.closed == 1 for connection in pool.driver.opened))

    count = every_instant(prepare, check, lambda: way(happen))
    assert count > 20
    record("instants", count)


@pytest.mark.sampled
@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_by_a_signal_handler(record_property: Any, opener: str, method: Method) -> None:
    one_by_one(record_property, opener, with_block, method, by_a_handler)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("work", WORKS[1:], ids=lambda work: work.__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_in_the_middle_of_other_calls(
    record_property: Any, opener: str, work: Callable[[Scripted], None], method: Method
) -> None:
    one_by_one(record_property, opener, work, method, by_a_handler)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [acquire_and_forget, release, lose, close_and_wait],
    ids=lambda method: method.__name__,
)
def test_in_the_middle_of_a_wait(record_property: Any, method: Method) -> None:
    """These take long, for at most instants somebody waits for something a while."""
    one_by_one(record_property, "caller", refused, method, by_a_handler)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: way.__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_by_the_garbage_collector(
    record_property: Any, opener: str, method: Method, way: Any
) -> None:
    one_by_one(record_property, opener, with_block, method, way)
