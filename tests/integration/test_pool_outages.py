"""What databases do to a pool: stop, refuse, kill, go silent, hang.

Theory.  Real servers where there are any; a proxy of our own where a network has to fail.  `Ledger`
counts as the driver does: how many connections are open (those whose close has begun
aside), and whether one is with two holders at once.  Times are those of the pool's promises,
asserted with room to spare.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pool import Pool, PoolError, PoolTimeout
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    Gate,
    park,
    soon,
    until,
    waiting,
)
from tests.integration.pools import is_whole, scripted

if TYPE_CHECKING:
    import psycopg
else:
    psycopg = pytest.importorskip("psycopg")

THREADS = 32


class Ledger:
    """Connections of PostgreSQL, counted where they are made, used and closed."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = {"connect_timeout": round(PATIENCE), **parameters}
        self.opened = 0
        self.closing = 0
        self.most = 0
        """The most that were open at one time."""
        self.users: Counter[int] = Counter()
        self.mistakes: list[str] = []
        self._lock = threading.Lock()

    @property
    def open(self) -> int:
        return self.opened - self.closing

    def connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(**self.parameters, autocommit=True)
        with self._lock:
            self.opened += 1
            self.most = max(self.most, self.open)
        return connection

    def close(self, connection: psycopg.Connection[Any]) -> None:
        connection.close()

    def let_go(self, _: Any) -> None:
        with self._lock:
            self.closing += 1

    def use(self, connection: psycopg.Connection[Any]) -> None:
        """A query, by one at a time."""
        with self._lock:
            self.users[id(connection)] += 1
            if self.users[id(connection)] != 1:
                self.mistakes.append(f"{connection} is with two holders")
        try:
            connection.execute("select pg_backend_pid()").fetchone()
        finally:
            with self._lock:
                self.users[id(connection)] -= 1


class CountingPool(Pool[Any]):
    """A pool over a ledger. A connection counts as open until its close is asked for: that is an
    effect of a transition, so it is counted there."""

    def __init__(self, ledger: Ledger, **settings: Any) -> None:
        super().__init__(ledger.connect, close=ledger.close, **settings)
        plain = self._runtime.step

        def step(state: Any, event: Any) -> Any:
            after = plain(state, event)
            for _ in range(after[0].counters.closed - state.counters.closed):
                ledger.let_go(None)
            return after

        self._runtime.step = step


class Load:
    """Threads that use a pool until told to stop, and what became of them."""

    def __init__(self, pool: Pool[Any], ledger: Ledger, timeout: float) -> None:
        self.pool, self.ledger, self.timeout = pool, ledger, timeout
        self.over = threading.Event()
        self.turns = 0
        self.served: set[int] = set()
        """The threads that had a turn since somebody last emptied this."""
        self.refused = 0
        self.broken = 0
        """Turns whose connection broke under them."""
        self.longest = 0.0
        """The longest anybody waited in acquire."""
        self.calls = [Call(self.work) for _ in range(THREADS)]

    def work(self) -> None:
        while not self.over.is_set():
            began = time.monotonic()
            try:
                lease = self.pool.acquire(self.timeout)
            except PoolError:
                self.refused += 1
                continue
            finally:
                self.longest = max(self.longest, time.monotonic() - began)
            with lease:
                try:
                    self.ledger.use(lease.connection)
                    self.turns += 1
                    self.served.add(threading.get_ident())
                except psycopg.Error:
                    self.broken += 1

    def stop(self) -> None:
        self.over.set()
        for call in self.calls:
            call.result()


def server_counts(server: Any) -> int:
    """How many sessions the server has, but for the one that asks."""
    query = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
    return int(server.run(query)[0][0]) - 1


@pytest.mark.parametrize("abruptly", [False, True], ids=["in order", "abruptly"])
def test_the_server_stops_and_starts_under_load(
    postgres_with: Callable[..., Any], abruptly: bool
) -> None:
    """32 threads, 8 connections: nobody waits past its deadline, everything works within 2 s of the
    server's return (asserted tenfold, both of them), never more than 8 are open, none is with two,
    and at rest the server counts what the pool counts."""
    server = postgres_with()
    ledger = Ledger(server.parameters)
    timeout = 1.0
    with CountingPool(ledger, max_size=8, min_idle=2, max_opening=2, check_after=0.05) as pool:
        load = Load(pool, ledger, timeout)
        for _ in range(2):
            until(lambda turns=load.turns: load.turns > turns + 200)
            server.stop(abruptly=abruptly)
            refused = load.refused
            until(lambda refused=refused: load.refused > refused + THREADS)
            server.start()
            load.served.clear()
            until(lambda: len(load.served) == THREADS, 10 * 2.0)
        load.stop()
        assert load.longest < 10 * timeout
        assert ledger.mistakes == []
        assert ledger.most <= 8
        is_whole(pool, 8)
        statistics = pool.statistics()
        assert statistics.in_use == 0
        assert ledger.open == statistics.idle
        until(lambda: server_counts(server) == pool.statistics().idle)
        assert statistics.opened == statistics.closed + statistics.idle
    until(lambda: server_counts(server) == 0)


def test_a_server_with_fewer_connections(postgres_with: Callable[..., Any]) -> None:
    """`max_connections` smaller than the pool's: callers are served by those there are; a
    timeout carries the server's refusal; nobody is stranded."""
    server = postgres_with(max_connections=5, superuser_reserved_connections=0)
    ledger = Ledger(server.parameters)
    with Pool(ledger.connect, max_size=20, max_opening=3, timeout=PATIENCE) as pool:
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(pool.acquire())
            waiters = [park(pool, pool.acquire) for _ in range(3)]
            until(lambda: pool.statistics().last_error)
            with pytest.raises(
                PoolTimeout, match=r"too many clients|remaining connection"
            ) as caught:
                pool.acquire(0.05)
            assert isinstance(caught.value.__cause__, psycopg.OperationalError)
            cause = caught.value.__cause__
            until(lambda: cause.__traceback__ is None)  # who met it drops it, once that is told
            assert waiting(pool) == 3
        for waiter in waiters:
            waiter.result().release()
        load = Load(pool, ledger, PATIENCE)
        until(lambda: load.turns > 500)
        load.stop()
        assert (load.refused, load.broken) == (0, 0)
        statistics = pool.statistics()
        assert statistics.size - statistics.opening <= 5  # others may be tried just now


def test_backends_are_killed_under_load(postgres: Any) -> None:
    """At random, again and again: turns break, nobody is refused, nothing is lost."""
    ledger = Ledger(postgres.parameters)
    dice = random.Random(4)
    with CountingPool(ledger, max_size=6, timeout=PATIENCE, check_after=0.0) as pool:
        load = Load(pool, ledger, PATIENCE)
        for _ in range(40):
            until(lambda turns=load.turns: load.turns > turns + 20)
            query = "select pid from pg_stat_activity where backend_type = 'client backend'"
            victims = [row[0] for row in postgres.run(query + " and pid <> pg_backend_pid()")]
            if victims:
                postgres.end(dice.choice(victims))
        load.stop()
        assert load.refused == 0
        assert ledger.mistakes == []
        assert ledger.most <= 6
        is_whole(pool, 6)
        assert ledger.open == pool.statistics().idle
        assert pool.statistics().closed >= 20


# ---------------------------------------------------------------- a network that goes silent


class Proxy:
    """Passes bytes on to a server, until told to stop: then it keeps the connections, and says
    nothing any more. New ones are passed on, or, while `deaf`, accepted and left alone."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs: dict[socket.socket, socket.socket] = {}
        self.silent: set[socket.socket] = set()
        self.deaf = False
        self._wake, self._woken = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.over = False
        self.thread.start()

    def go_silent(self) -> None:
        """From now on nothing of the connections there are is passed on."""
        self.silent |= set(self.pairs)

    def close_silent(self) -> None:
        """Break the connections that went silent, as a network does in the end."""
        for one in self.silent:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.over = True
        os.write(self._woken, b"x")
        self.thread.join(PATIENCE)
        for one in [*self.pairs, self.listener]:
            one.close()
        os.close(self._wake)
        os.close(self._woken)

    def _run(self) -> None:
        while not self.over:
            readable = [one for one in list(self.pairs) if one not in self.silent]
            ready, _, _ = select.select([self.listener, self._wake, *readable], [], [], 0.02)
            for one in ready:
                if one is self.listener:
                    self._accept()
                elif one in self.pairs and one not in self.silent:
                    self._pass_on(one)

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        if self.deaf:
            self.pairs[client] = client
            self.silent.add(client)
            return
        server = socket.create_connection(self.target)
        self.pairs[client], self.pairs[server] = server, client

    def _pass_on(self, one: socket.socket) -> None:
        other = self.pairs[one]
        try:
            data = one.recv(65536)
            if data:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (one, other):
                self.pairs.pop(end, None)
                end.close()


@pytest.fixture
def proxy(postgres: Any) -> Iterator[Proxy]:
    proxy = Proxy(postgres.host, postgres.port)
    yield proxy
    proxy.close()


def test_half_open_connections(postgres: Any, proxy: Proxy) -> None:
    """The other end is gone and nobody said so: the check does not answer, so the connection is
    replaced and the caller served; one whose deadline is sooner is told in time."""
    ledger = Ledger({**postgres.parameters, "port": proxy.port})
    with Pool(
        ledger.connect, max_size=3, check_after=0.0, check_timeout=2.0, timeout=FOR_EVER
    ) as pool:
        is_whole(pool, 3)
        proxy.go_silent()
        with soon(), pytest.raises(PoolTimeout, match="did not answer a check in time"):
            pool.acquire(0.05)
        with soon(), pool.acquire() as lease:
            assert lease.connection.execute("select 1").fetchone() == (1,)
        proxy.close_silent()
        is_whole(pool, 3)


def test_a_connect_that_hangs(postgres: Any, proxy: Proxy) -> None:
    """The server accepts and says nothing: acquire keeps its timeout, others go on with what is
    there, and once the driver gives up everything is as before."""
    ledger = Ledger({**postgres.parameters, "port": proxy.port, "connect_timeout": round(FOR_EVER)})
    with Pool(ledger.connect, max_size=2, max_opening=1, timeout=PATIENCE) as pool:
        lease = pool.acquire()
        proxy.deaf = True
        with soon(), pytest.raises(PoolTimeout):
            pool.acquire(0.1)
        lease.release()
        for _ in range(10):
            with pool.connection() as connection:
                assert connection.execute("select 1").fetchone() == (1,)
        until(lambda: proxy.silent)
        proxy.deaf = False
        proxy.close_silent()
        is_whole(pool, 2)


# ---------------------------------------------------------------- closes


def test_closes_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    """1,000 discards whose close raises: logged, and no room is lost."""

    def broken(_: Any) -> None:
        raise OSError("close failed")

    with scripted(4) as pool:
        pool.driver.on_close = broken
        for _ in range(1000):
            pool.acquire().discard()
        is_whole(pool, 4)
        until(lambda: sum("failed" in record.message for record in caplog.records) == 1000)


def test_closes_that_hang() -> None:
    """1,000 discards whose close hangs: at most `max_size` threads are busy with it, the rest
    stands behind them and in the statistics, and acquire works."""
    gate = Gate()
    before = threading.active_count()
    with scripted(4) as pool:
        pool.driver.on_close = gate
        for _ in range(1000):
            pool.acquire().discard()
        until(lambda: gate.standing == 4)
        is_whole(pool, 4)
        statistics = pool.statistics()
        assert (statistics.closing, statistics.closes_waiting) == (4, 996)
        assert threading.active_count() <= before + 4 + 1 + 4  # closes, watch, connects
        pool.driver.on_close = lambda _: None
        gate.open()
        until(lambda: pool.statistics().closes_waiting == 0)
