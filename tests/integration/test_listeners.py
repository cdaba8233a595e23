"""What listeners are told is whole: each checkout has one end, each refusal its reason.

Theory.  A gauge that is made of notices drifts if one is missing.  So each way in which a lease can
end is tried, with threads, on a loop and for peewee, and checkouts and ends are counted.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import pool.aio
from pool import Notice, OpenError, Pool, PoolClosed, PoolTimeout, TooManyWaiting
from pool.core.events import CloseAll, CloseStale
from pool.drivers.callables import NO_RESET
from tests.integration.databases import scripted as scripted_database
from tests.integration.drivers import FOR_EVER, Call, Gate, until, waiting
from tests.integration.pools import Scripted

KINDS: Any = (
    *("connect", "connect_failed", "checkout", "checkin", "rolled_back", "not_reusable"),
    *("close", "refuse", "leak"),
)


def listen(subject: Any, kinds: Any = KINDS) -> list[Notice]:
    told: list[Notice] = []
    for kind in kinds:
        subject.listen(kind, told.append)
    return told


def of(told: list[Notice], kind: str) -> list[Notice]:
    return [notice for notice in told if notice.kind == kind]


def released(subject: Any) -> None:
    subject.acquire().release()


def block(subject: Any) -> None:
    with subject.connection():
        pass


def failed(subject: Any) -> None:
    with suppress(LookupError), subject.connection():
        raise LookupError


def interrupted(subject: Any) -> None:
    with suppress(KeyboardInterrupt), subject.connection():
        raise KeyboardInterrupt


def discarded(subject: Any) -> None:
    subject.acquire().discard()


def lost(subject: Any) -> None:
    subject.acquire()
    gc.collect()


def taken_away(subject: Any) -> None:
    lease = subject.acquire()
    subject.runtime.apply(CloseAll(subject.runtime.clock()))
    until(lambda: not subject._listeners.lent)  # or its holder is quicker: one of the two
    assert not lease.release()


def stale(subject: Any) -> None:
    lease = subject.acquire()
    now = subject.runtime.clock()
    subject.runtime.apply(CloseStale(now, now + 1.0))
    until(lambda: not subject._listeners.lent)  # as above
    assert not lease.discard()


def kept(subject: Any) -> None:
    """Closed while it is lent."""
    lease = subject.acquire()
    subject.close(0)
    assert lease.release()


REASONS: dict[Callable[[Any], None], str] = {
    released: "released",
    block: "released",
    failed: "released",
    interrupted: "discarded",
    discarded: "discarded",
    lost: "lost",
    taken_away: "close_all",
    stale: "stale",
    kept: "released",
}


@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("end", REASONS, ids=lambda end: end.__name__)
def test_each_checkout_has_one_end(end: Callable[[Any], None], opener: str) -> None:
    subject = Scripted(2, opener=opener)
    told = listen(subject)
    end(subject)
    if end is lost and opener == "caller":  # who comes next closes it
        subject.resume()
    until(lambda: of(told, "checkin"))
    with suppress(PoolClosed):
        released(subject)
    subject.close()
    until(lambda: len(of(told, "checkin")) == len(of(told, "checkout")))
    first = of(told, "checkin")[0]
    assert first.reason == REASONS[end]
    assert first.seconds is not None
    assert first.seconds >= 0
    assert first.connection is of(told, "checkout")[0].connection
    assert not subject._listeners.lent


@pytest.mark.parametrize("kind", ["checkout", "checkin"])
def test_who_listens_from_now_on_is_told_of_the_end_of_what_is_lent(kind: Any) -> None:
    subject = Scripted(1)
    lease = subject.acquire()
    told = listen(subject, [kind])
    lease.release()
    assert len(told) == (kind == "checkin")
    assert not subject._listeners.lent


def test_a_connection_that_was_not_lent_has_no_end() -> None:
    subject = Scripted(1)
    told = listen(subject)
    released(subject)
    subject.drain()
    until(lambda: of(told, "close"))
    assert len(of(told, "checkin")) == 1


def test_threads_that_end_their_leases_in_all_ways() -> None:
    subject = Scripted(3)
    told = listen(subject)
    ways = (released, block, failed, discarded, lost)

    def work(number: int) -> None:
        for each in range(20):
            ways[(number + each) % len(ways)](subject)

    for call in [Call(work, number) for number in range(6)]:
        call.result()
    subject.close(FOR_EVER)
    until(lambda: len(of(told, "checkin")) == 120)
    assert len(of(told, "checkout")) == 120
    assert Counter(each.reason for each in of(told, "checkin")) == {
        "released": 72,
        "discarded": 24,
        "lost": 24,
    }


def test_on_a_loop() -> None:
    async def main() -> None:
        subject = pool.aio.Pool(Plain, max_size=2)
        told = listen(subject)
        async with subject.connection():
            pass
        (await subject.acquire()).discard()
        lease: Any = await subject.acquire()
        del lease
        gc.collect()
        with suppress(LookupError):
            async with subject.connection():
                raise LookupError
        assert await subject.close()
        reasons = ["released", "discarded", "lost", "released"]
        assert sorted(str(each.reason) for each in of(told, "checkin")) == sorted(reasons)
        assert len(of(told, "checkout")) == 4
        assert not subject._listeners.lent

    asyncio.run(main())


class Plain:
    def close(self) -> None:
        pass


def sqlite() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


def test_of_a_pooled_database() -> None:
    database = scripted_database(2)
    told = listen(database)
    for _ in range(2):
        database.connect()
        database.close()
    database.connect()
    database.manual_close()
    ends = [(each.reason, each.seconds is not None) for each in of(told, "checkin")]
    assert ends == [("released", True), ("released", True), ("discarded", True)]
    assert [each.is_new for each in of(told, "checkout")] == [True, False, False]


# ---------------------------------------------------------------- how it was to be had


def test_a_lease_says_whether_it_is_new_and_whether_its_caller_waited() -> None:
    subject = Scripted(1, opener="caller")
    told = listen(subject)
    first = subject.acquire()
    assert (first.is_new, first.has_waited) == (True, False)

    def wait() -> tuple[bool, bool]:
        with subject.acquire() as lease:
            return lease.is_new, lease.has_waited

    other = Call(wait)
    until(lambda: waiting(subject) == 1)
    first.release()
    assert other.result() == (False, True)
    with subject.acquire() as lease:
        assert (lease.is_new, lease.has_waited) == (False, False)
    ways = [(each.is_new, each.has_waited) for each in of(told, "checkout")]
    assert ways == [(True, False), (False, True), (False, False)]
    assert subject.statistics().waits == 1


def test_a_block_that_is_used_again_does_not_remember() -> None:
    subject = Scripted(1)
    again = subject.connection()
    with again:
        assert (again.is_new, again.has_waited) == (True, True)
    with again:
        assert (again.is_new, again.has_waited) == (False, False)


def test_a_task_that_waited() -> None:
    async def main() -> None:
        subject = pool.aio.Pool(Plain, max_size=1)
        first = await subject.acquire()
        assert (first.is_new, first.has_waited) == (True, True)
        other = asyncio.ensure_future(subject.acquire())
        await asyncio.sleep(0)
        await first.release()
        lease = await other
        assert (lease.is_new, lease.has_waited) == (False, True)
        await lease.release()
        lease = await subject.acquire()
        assert (lease.is_new, lease.has_waited) == (False, False)
        await lease.release()
        assert subject.statistics().waits == 2
        await subject.close()

    asyncio.run(main())


# ---------------------------------------------------------------- why not


def test_a_refusal_has_its_reason() -> None:
    subject = Scripted(1, opener="caller", max_waiting=0)
    told = listen(subject)
    with subject.connection():
        with pytest.raises(PoolTimeout):
            subject.acquire(0)
        with pytest.raises(TooManyWaiting):
            subject.acquire()
    subject.suspend()
    with pytest.raises(PoolTimeout):
        subject.acquire(0)
    subject.resume()
    subject.drain()
    subject.driver.on_connect = broken
    with pytest.raises(OpenError) as caught:
        subject.acquire()
    subject.close()
    with pytest.raises(PoolClosed):
        subject.acquire()
    reasons = ["exhausted", "too_many_waiting", "suspended", "open_failed", "closed"]
    assert [each.reason for each in of(told, "refuse")] == reasons
    assert caught.value.reason == "open_failed"


def test_one_that_waits_too_long() -> None:
    subject = Scripted(1)
    told = listen(subject)
    with subject.connection(), pytest.raises(PoolTimeout) as caught:
        subject.acquire(0.001)
    assert [each.reason for each in of(told, "refuse")] == ["timeout"]
    assert caught.value.reason == "timeout"


def broken() -> None:
    raise ConnectionRefusedError("nobody there")


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_a_connect_that_fails_is_told_and_counted(opener: str) -> None:
    subject = Scripted(1, opener=opener)
    told = listen(subject)
    subject.driver.on_connect = broken
    for _ in range(2):
        with pytest.raises(OpenError):
            subject.acquire()
    until(lambda: len(of(told, "connect_failed")) >= 2)
    notice = of(told, "connect_failed")[0]
    assert type(notice.error) is ConnectionRefusedError
    assert notice.seconds is not None
    subject.close()
    assert subject.statistics().connects_failed == len(of(told, "connect_failed"))
    assert subject.statistics().opened == 0


# ---------------------------------------------------------------- what was left behind


def test_what_is_rolled_back_is_told() -> None:
    with Pool(sqlite, max_size=1) as subject:
        told = listen(subject)
        with subject.acquire() as lease:
            lease.connection.execute("CREATE TABLE t (a)")
        with subject.acquire() as lease:
            lease.connection.execute("INSERT INTO t VALUES (1)")
            connection = lease.connection
        (notice,) = of(told, "rolled_back")
        assert notice.connection is connection
        with subject.connection() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
        assert len(of(told, "rolled_back")) == 1


def test_what_is_rolled_back_on_a_loop() -> None:
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main() -> None:
        async with pool.aio.Pool(lambda: aiosqlite.connect(":memory:"), max_size=1) as subject:
            told = listen(subject)
            async with await subject.acquire() as lease:
                await lease.connection.execute("CREATE TABLE t (a)")
                await lease.connection.execute("INSERT INTO t VALUES (1)")
            assert len(of(told, "rolled_back")) == 1

    asyncio.run(main())


def wrong(_: Any) -> bool:
    return False


def raises(_: Any) -> bool:
    raise sqlite3.OperationalError("no")


@pytest.mark.parametrize("reset", [wrong, raises])
def test_what_cannot_be_reset_is_told(reset: Any) -> None:
    with Pool(sqlite, max_size=1, reset=reset) as subject:
        told = listen(subject)
        subject.acquire().release()
        (notice,) = of(told, "not_reusable")
        assert (notice.error is not None) == (reset is raises)
        until(lambda: [each.reason for each in of(told, "close")] == ["not_reusable"])


def test_nobody_looks_at_what_is_not_to_be_reset() -> None:
    with Pool(sqlite, max_size=1, reset=NO_RESET) as subject:
        told = listen(subject)
        with subject.acquire() as lease:
            lease.connection.execute("CREATE TABLE t (a)")
            lease.connection.execute("INSERT INTO t VALUES (1)")
        assert of(told, "rolled_back") == []


def test_a_slow_reset_does_not_delay_the_end() -> None:
    gate = Gate()
    subject = Scripted(1)
    told = listen(subject)
    subject.driver.on_reset = gate
    call = Call(released, subject)
    until(lambda: gate.standing)
    assert len(of(told, "checkin")) == 1
    gate.open()
    call.result()
