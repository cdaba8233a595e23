"""Exceptions at any instant: whatever they hit, the whole capacity can be lent afterwards.

Theory.  A signal handler that raises strikes the main thread between any two steps of the
interpreter; `PyThreadState_SetAsyncExc` does so to any thread.  Both are thrown at random
microseconds into everything a caller can do, while other threads keep the pool busy, so that the
caller is also struck in the queue.  Then every connection is borrowed at once.

`PUREPOOL_HITS` says how many signals to throw in all: 10,000 by default, which is what `make
thorough` does; `make test` and `make quick` throw 1,000. Seeds and openers share them.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from pool import Pool, PoolTimeout
from pool.shared.handles import Handle
from tests.integration.drivers import (
    FOR_EVER,
    FREE_THREADED,
    PATIENCE,
    Call,
    Storm,
    Thrown,
    lent,
    newborn,
    park,
    raise_in,
    until,
    waiting,
    weather,
)
from tests.integration.pools import Scripted, is_whole, scripted

HITS = int(os.environ.get("PUREPOOL_HITS", "10000"))
SEEDS = [1, 2, 3, 4, 5]
SIZE = 20


@pytest.fixture(autouse=True)
def stormy() -> Iterator[None]:
    """A signal that strikes in `Thread.start` may end the new thread before it ran anything: that
    is the standard library's, Python prints it, and the pool has to ask again. Nothing else that
    nobody could catch is forgiven, not even from within a thread's work."""
    with weather(forgiven=lambda ignored: newborn(ignored) or in_a_finalizer(ignored)):
        yield


def in_a_finalizer(ignored: Any) -> bool:
    """Whether it struck as the interpreter made a thread collect, before anything else, what others
    had dropped. What it was to end goes on."""
    return FREE_THREADED and ignored.exc_type is Thrown


def borrow(pool: Pool[Any], dice: random.Random) -> None:
    with pool.connection() as connection:
        connection.number += 0


def lease(pool: Pool[Any], dice: random.Random) -> None:
    with pool.acquire() as lease:
        assert lease.connection


def by_hand(pool: Pool[Any], dice: random.Random) -> None:
    lease = pool.acquire()
    try:
        assert lease.connection
    finally:
        lease.release()


def discard(pool: Pool[Any], dice: random.Random) -> None:
    pool.acquire().discard()


def impatient(pool: Pool[Any], dice: random.Random) -> None:
    try:
        with pool.connection(dice.choice([0, 0.00005, 0.001])):
            pass
    except PoolTimeout:
        pass


def fail(pool: Pool[Any], dice: random.Random) -> None:
    try:
        with pool.connection():
            raise LookupError
    except LookupError:
        pass


def forget(pool: Pool[Any], dice: random.Random) -> None:
    """The finalizer of the lease may be struck too: see `test_a_finalizer_is_struck`."""
    pool.acquire()


WORK: list[Callable[[Pool[Any], random.Random], None]] = [
    borrow,
    borrow,
    lease,
    by_hand,
    discard,
    forget,
    impatient,
    fail,
]


class Company:
    """Threads that keep a pool busy meanwhile: at times all of it."""

    def __init__(self, pool: Pool[Any], threads: int) -> None:
        self.calm = threading.Event()
        self.calls = [Call(self.work, pool) for _ in range(threads)]

    def work(self, pool: Pool[Any]) -> None:
        while not self.calm.is_set():
            leases = [pool.acquire() for _ in range(SIZE // 4)]
            for lease in leases:
                lease.release()

    def leave(self) -> None:
        self.calm.set()
        for call in self.calls:
            call.result()


def whole_again(pool: Scripted) -> None:
    gc.collect()
    until(lambda: not lent(pool))
    is_whole(pool, SIZE)


def unraisable(function: Callable[[], Any]) -> list[tuple[type, bool]]:
    """What nobody could catch on a thread that runs this, and whether that is forgiven."""
    told: list[tuple[type, bool]] = []

    def tell(ignored: Any) -> None:
        told.append((ignored.exc_type, newborn(ignored)))

    hook, sys.unraisablehook = sys.unraisablehook, tell
    try:
        _thread.start_new_thread(function, ())
        until(lambda: told)
    finally:
        sys.unraisablehook = hook
    return told


def test_what_is_forgiven() -> None:
    """Only that a thread did not come to run; not the same error from anywhere else."""

    kind = KeyError if sys.version_info >= (3, 11) else RuntimeError

    def fail(*_: object) -> None:
        raise kind

    unborn: Any = threading.Thread()
    unborn._started._cond._is_owned = lambda: False
    assert unraisable(unborn._bootstrap) == [(kind, True)]
    assert unraisable(fail) == [(kind, False)]
    born: Any = threading.Thread(target=fail)
    born._invoke_excepthook = fail
    threading._limbo[born] = born  # type: ignore[attr-defined]  # as `start` does
    assert unraisable(born._bootstrap) == [(kind, False)]


@pytest.mark.sampled
@pytest.mark.parametrize("opener", ["background", "caller"])
def test_signals_at_random_microseconds(opener: str) -> None:
    """A handler that raises, as that of Ctrl-C does. After each seed's share of the hits the full
    capacity can be lent."""
    thrown = [0]

    def strike(*_: object) -> None:
        thrown[0] += 1
        raise Thrown

    handler = signal.signal(signal.SIGALRM, strike)
    try:
        stormy = opener == "caller"
        with scripted(
            SIZE, stormy=stormy, opener=opener, max_opening=None, check_after=0.0
        ) as pool:
            for seed in SEEDS:
                company = Company(pool, 3)
                suffer(pool, random.Random(seed), thrown, HITS // len(SEEDS) // 2)
                company.leave()
                whole_again(pool)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert thrown[0] == HITS // len(SEEDS) // 2 * len(SEEDS)


def suffer(pool: Scripted, dice: random.Random, thrown: list[int], hits: int) -> None:
    storm = Storm()
    aim = thrown[0] + hits

    def work_until_struck() -> None:
        before = thrown[0]
        if before >= aim:
            storm.over.set()
            return
        work = dice.choice(WORK)
        signal.setitimer(signal.ITIMER_REAL, dice.randrange(1, 500) * 1e-6)
        while thrown[0] == before:
            try:
                work(pool, dice)
            except RuntimeError:  # what becomes of it in the waits of the standard library
                assert thrown[0] > before

    storm.endure(work_until_struck)


@pytest.mark.sampled
@pytest.mark.parametrize("opener", ["background", "caller"])
def test_storms_over_threads(opener: str) -> None:
    """`PyThreadState_SetAsyncExc` against eight threads at once, on a pool too small for them, so
    that most of them wait. (No checks: one that strikes in `Thread.start` may hit the newborn.)"""
    threads, dice = 8, random.Random(6)
    stormy = opener == "caller"
    with scripted(SIZE, stormy=stormy, opener=opener, max_opening=None, check_after=1000.0) as pool:
        is_whole(pool, SIZE)
        storms = [Storm() for _ in range(threads)]

        def work() -> None:
            held = [pool.acquire() for _ in range(3)]  # all but the last never fill the pool
            for one in held:
                one.release()
            dice.choice([borrow, lease, impatient])(pool, dice)

        workers = [Call(storm.endure, work) for storm in storms]
        strikers = [
            Call(storm.strike, worker, HITS // 4 // threads)
            for storm, worker in zip(storms, workers, strict=True)
        ]
        for striker in strikers:
            striker.result(10 * PATIENCE)
        whole_again(pool)


def test_waiters_are_struck() -> None:
    """In the queue: each gives up what it was granted in that instant, for the next."""
    with scripted(2) as pool:
        for _ in range(10):
            leases = [pool.acquire() for _ in range(2)]
            struck = [park(pool, pool.acquire, FOR_EVER) for _ in range(6)]
            spared = [park(pool, pool.acquire, FOR_EVER) for _ in range(2)]
            for call in struck:
                raise_in(call, Thrown)
            for held in leases:
                held.release()
            for call in struck:
                call.join(PATIENCE)
                if FREE_THREADED and call.error is None:
                    call.value.release()  # see `in_a_finalizer`
                    continue
                with pytest.raises(Thrown):
                    call.result()
            for call in spared:
                call.result().release()
        is_whole(pool, 2)


# ---------------------------------------------------------------- two misfortunes at one instant


@contextlib.contextmanager
def struck_finalizers() -> Iterator[list[tuple[type, bool]]]:
    """Every finalizer of a lease ends on its first step; the list says of what, and whether it was
    there."""
    told: list[tuple[type, bool]] = []
    finalizer = Handle.__del__.__code__

    def strike(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is finalizer:
            raise Thrown

    def tell(ignored: Any) -> None:
        # By its frame: from 3.14 on `ignored.object` is None.
        told.append((ignored.exc_type, ignored.exc_traceback.tb_frame.f_code is finalizer))

    # A trace function that raised is no more: what others left is not to be struck in its place.
    gc.collect()
    gc.disable()
    hook, sys.unraisablehook = sys.unraisablehook, tell
    sys.settrace(strike)
    try:
        yield told
    finally:
        sys.settrace(None)
        sys.unraisablehook = hook
        gc.enable()


@pytest.mark.parametrize("opener", ["background", "caller"])
@pytest.mark.parametrize("leak_after", [None, 1000.0])
def test_a_finalizer_is_struck(opener: str, leak_after: float | None) -> None:
    """A lease is lost, and an exception ends its finalizer before that has said so. Nothing of it
    was run, and still its place is free for the next caller."""
    with scripted(1, opener=opener, leak_after=leak_after) as pool:
        lost = pool.acquire()
        until(lambda: not pool.runtime.monitor.connecting)  # who connected does not look any more
        with struck_finalizers() as told:
            number = lost.connection.number
            del lost
        assert told == [(Thrown, True)]
        assert [connection.number for connection in lent(pool)] == [number]  # nobody said so yet
        with pool.acquire(PATIENCE) as lease:
            assert lease.connection.number != number


def test_a_finalizer_is_struck_while_others_wait() -> None:
    """Nobody tells those who wait at that instant; whoever uses the pool next does, be it one who
    gives up."""
    with scripted(1) as pool:
        for patience in (0, 0.02):
            lost = pool.acquire()
            until(lambda: not pool.runtime.monitor.connecting)
            parked: list[int] = []
            pool.runtime.on_wait = parked.append
            waiter = park(pool, pool.acquire)
            until(lambda parked=parked: parked)  # it does not look any more, either
            with struck_finalizers():
                del lost
            assert waiting(pool) == 1
            with pytest.raises(PoolTimeout):
                pool.acquire(patience)
            waiter.result().release()


def test_a_finalizer_is_struck_in_a_cycle() -> None:
    """What only the garbage collector finds."""
    with scripted(1) as pool:
        cycle: list[Any] = [pool.acquire()]
        cycle.append(cycle)
        with struck_finalizers() as told:
            del cycle
            gc.collect()
        assert told == [(Thrown, True)]
        is_whole(pool, 1)
