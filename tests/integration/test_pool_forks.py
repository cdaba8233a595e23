"""Forks: the child begins with an empty pool of its own, the parent notices nothing.

Theory.  What makes forks dangerous is what is under way: connects that are half done, leases in the
hands of the thread that forks, connections that the child would close on the parent's wire.  So
each of these is brought about, with PostgreSQL as the judge: the parent's sessions must be the
same ones before and after, and still work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pool import Pool
from tests.integration.drivers import PATIENCE, Call, Gate, in_child, park, until
from tests.integration.pools import is_whole, scripted

if TYPE_CHECKING:
    import psycopg
else:
    psycopg = pytest.importorskip("psycopg")

TIMES = 20


def number_of(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def transaction_of(connection: psycopg.Connection[Any]) -> int:
    """The server's number of the transaction that is open; begins one if there is none."""
    row = connection.execute("select txid_current()").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def pool(postgres: Any) -> Iterator[Pool[Any]]:
    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(**postgres.parameters)

    with Pool(connect, max_size=4, timeout=PATIENCE, check_after=0.0) as pool:
        yield pool


def test_a_child_has_connections_of_its_own(pool: Pool[Any]) -> None:
    """And the statistics say what it left to the parent."""
    is_whole(pool, 4)
    with pool.connection() as connection:
        parents = number_of(connection)
        execute = connection.execute

        def child() -> str:
            with pool.connection() as mine:
                assert number_of(mine) != parents
            statistics = pool.statistics()
            return f"{statistics.forgotten} {statistics.size}"

        assert in_child(child) == "4 1"
        assert execute("select pg_backend_pid()").fetchone() == (parents,)
    is_whole(pool, 4)  # each is asked whether it lives
    statistics = pool.statistics()
    assert (statistics.opened, statistics.dead) == (4, 0), "the child ended sessions of the parent"


def test_a_lease_stays_the_parents(pool: Pool[Any]) -> None:
    """A child that leaves the block it was forked in commits nothing, rolls nothing back, closes
    nothing: the transaction is the parent's."""
    with pool.connection() as connection:
        lease = pool.acquire()
        borrowing = pool.connection()
        everyones = [connection, lease.connection, borrowing.__enter__()]
        before = [transaction_of(each) for each in everyones]

        def child() -> str:
            told = [lease.release(), lease.discard()]
            borrowing.__exit__(None, None, None)
            return str(told)

        assert in_child(child) == "[False, False]"
        assert [transaction_of(each) for each in everyones] == before
        assert lease.release() is True
        borrowing.__exit__(None, None, None)
    is_whole(pool, 4)
    assert pool.statistics().closed == 0


def test_connects_in_flight(postgres: Any) -> None:
    """Twenty times, from a parent full of threads, each time with connects half done: the child
    works, the parent's connects arrive, its sessions go on."""
    parent = os.getpid()

    for _ in range(TIMES):
        gate = Gate()

        held: list[Any] = []

        def connect(gate: Gate = gate, held: list[Any] = held) -> psycopg.Connection[Any]:
            connection = psycopg.connect(**postgres.parameters, autocommit=True)
            if os.getpid() == parent and held:
                gate()
            return connection

        calm = threading.Event()
        with Pool(connect, max_size=8, max_opening=2, timeout=PATIENCE, check_after=0.0) as pool:
            first = [pool.acquire() for _ in range(4)]
            numbers = [number_of(lease.connection) for lease in first]
            held.extend(first)

            def busy(lease: Any, number: int, calm: threading.Event = calm) -> None:
                while not calm.is_set():
                    assert number_of(lease.connection) == number

            workers = [Call(busy, *pair) for pair in zip(first, numbers, strict=True)]
            waiters = [park(pool, pool.acquire) for _ in range(3)]
            until(lambda gate=gate: gate.standing == 2)

            def child(pool: Pool[Any] = pool, numbers: list[int] = numbers) -> str:
                leases = [pool.acquire() for _ in range(8)]
                mine = {number_of(lease.connection) for lease in leases}
                assert len(mine) == 8
                assert not mine & set(numbers)
                for lease in leases:
                    lease.release()
                return str(pool.close(PATIENCE))

            assert in_child(child) == "True"
            gate.open()
            for waiter in waiters:
                waiter.result().release()
            calm.set()
            for worker in workers:
                worker.result()
            for lease, number in zip(first, numbers, strict=True):
                assert number_of(lease.connection) == number
                lease.release()
            is_whole(pool, 8)
        held.clear()


def test_a_child_of_a_thread(pool: Pool[Any]) -> None:
    """Forked by a thread that holds nothing, while others wait: they are the parent's."""
    leases = [pool.acquire() for _ in range(4)]
    waiter = park(pool, pool.acquire)

    def child() -> str:
        is_whole(pool, 4)
        return str(pool.statistics().waiting)

    assert Call(in_child, child).result() == "0"
    leases[0].release()
    waiter.result().release()
    for lease in leases[1:]:
        lease.release()
    is_whole(pool, 4)


def test_a_child_of_a_child(pool: Pool[Any]) -> None:
    is_whole(pool, 2)

    def grandchild() -> str:
        is_whole(pool, 2)
        return str(pool.statistics().forgotten)

    def child() -> str:
        is_whole(pool, 3)
        return in_child(grandchild)

    assert in_child(child) == "5"
    is_whole(pool, 4)


def test_a_pool_made_before_the_fork_without_connections() -> None:
    """What servers that fork workers do with a module-level pool."""
    with scripted(2, min_idle=1) as pool:
        pool.wait(PATIENCE)

        def child() -> str:
            pool.wait(PATIENCE)
            is_whole(pool, 2)
            return str(pool.close(PATIENCE))

        assert in_child(child) == "True"
        is_whole(pool, 2)
