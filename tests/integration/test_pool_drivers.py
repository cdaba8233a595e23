"""The recipes, on real databases: what each driver is asked, and what it costs.

Theory.  A recipe promises three things: a connection that was left in a transaction, or in the
middle of something, comes back clean or not at all; one that the server has ended is found dead;
and a clean one costs no round trip.  All drivers are held to the same tests.
"""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool import Pool
from tests.integration.drivers import PATIENCE, until
from tests.integration.pools import is_whole

MYSQL = ["pymysql", "mysql.connector", "mariadb"]
DRIVERS = ["psycopg", "psycopg2", *MYSQL]


class Place:
    """A real database as one driver sees it."""

    def __init__(self, driver: str, request: pytest.FixtureRequest) -> None:
        module = pytest.importorskip(driver)
        self.name = driver
        self.server = request.getfixturevalue("mariadb" if driver in MYSQL else "postgres")
        self.settings = {"autocommit": False} if driver in MYSQL else {}
        self.connect: Callable[[], Any] = lambda: module.connect(
            **self.server.parameters, **self.settings
        )
        self.table = f"note_{driver.replace('.', '_')}"

    def __enter__(self) -> Place:
        self.server.run(f"drop table if exists {self.table}")
        self.server.run(f"create table {self.table} (word varchar(20) primary key)")
        return self

    def __exit__(self, *_: object) -> None:
        self.server.run(f"drop table {self.table}")

    def words(self) -> list[str]:
        return [row[0] for row in self.server.run(f"select word from {self.table} order by word")]

    def add(self, connection: Any, word: str) -> None:
        execute(connection, f"insert into {self.table} values ('{word}')")

    def identity(self, connection: Any) -> int:
        """The server's own number for a connection."""
        if self.name == "pymysql":
            return int(connection.thread_id())
        if self.name in MYSQL:
            return int(connection.connection_id)
        if self.name == "psycopg":
            return int(connection.info.backend_pid)
        return int(connection.get_backend_pid())

    def autocommit(self, connection: Any) -> None:
        """Let each statement be its own transaction."""
        if self.name == "pymysql":
            connection.autocommit(True)
        else:
            connection.autocommit = True

    def kill(self, number: int) -> None:
        """End a connection on the server."""
        self.server.end(number)


def execute(connection: Any, statement: str) -> list[Any]:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        cursor.close()


@pytest.fixture(params=DRIVERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with Place(request.param, request) as place:
        yield place


@pytest.fixture
def pool(place: Place) -> Iterator[Pool[Any]]:
    with Pool(place.connect, max_size=1, timeout=PATIENCE, check_after=0.0) as pool:
        yield pool


@pytest.fixture
def unchecked(place: Place) -> Iterator[Pool[Any]]:
    """One that asks no connection whether it lives: what is broken has to be seen on its return."""
    with Pool(place.connect, max_size=1, timeout=PATIENCE, check_after=1000.0) as pool:
        yield pool


def test_blocks_commit_and_roll_back(pool: Pool[Any], place: Place) -> None:
    with pool.connection() as connection:
        place.add(connection, "kept")
    try:
        with pool.connection() as connection:
            place.add(connection, "lost")
            raise LookupError
    except LookupError:
        pass
    assert place.words() == ["kept"]
    assert pool.statistics().opened == 1


def test_autocommit(place: Place) -> None:
    """Nothing to commit; a transaction begun by hand is rolled back."""

    with Pool(place.connect, max_size=1, configure=place.autocommit, timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            place.add(connection, "kept")
            assert place.words() == ["kept"]
            execute(connection, "begin")
            place.add(connection, "by hand")
        assert place.words() == ["kept"]
        with pool.connection() as again:
            assert again is connection
            assert execute(again, f"select word from {place.table}") == [("kept",)]


def test_an_open_transaction_comes_back_clean(pool: Pool[Any], place: Place) -> None:
    with pool.acquire() as lease:
        place.add(lease.connection, "lost")
        first = lease.connection
    with pool.acquire() as lease:
        assert lease.connection is first
        assert execute(first, f"select * from {place.table}") == []


def test_a_failed_transaction_comes_back_clean(pool: Pool[Any], place: Place) -> None:
    """An error in a statement leaves locks, or a transaction that refuses everything."""
    with pool.connection() as connection:
        place.add(connection, "once")
    with pytest.raises(Exception, match=r"(?i)duplicate"), pool.connection() as connection:
        place.add(connection, "once")
    with pool.connection() as again:
        assert again is connection
        place.add(again, "twice")
    assert place.words() == ["once", "twice"]


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_closed_connection_is_not_lent_again(
    unchecked: Pool[Any], place: Place, autocommit: bool
) -> None:
    with unchecked.acquire() as lease:
        first = lease.connection
        if autocommit:
            place.autocommit(first)
        first.close()
    with unchecked.acquire() as lease:
        assert lease.connection is not first
        assert execute(lease.connection, "select 1")


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_block_that_closed_its_connection(
    unchecked: Pool[Any], place: Place, autocommit: bool
) -> None:
    """It ends quietly: its holder meant it."""
    with unchecked.connection() as first:
        if autocommit:
            place.autocommit(first)
        first.close()
    with unchecked.connection() as another:
        assert another is not first
        assert execute(another, "select 1")


def test_a_killed_connection_is_found_dead(pool: Pool[Any], place: Place) -> None:
    """The check before it is lent finds it; the caller gets another and sees no error."""
    with pool.acquire() as lease:
        number = place.identity(lease.connection)
    place.kill(number)
    with pool.acquire() as lease:
        assert place.identity(lease.connection) != number
        assert execute(lease.connection, "select 1")
    assert pool.statistics().dead == 1


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_connection_killed_in_use(unchecked: Pool[Any], place: Place, autocommit: bool) -> None:
    """Its holder sees the driver's error; it is closed, not lent again."""
    lease = unchecked.acquire()
    if autocommit:
        place.autocommit(lease.connection)
    place.kill(place.identity(lease.connection))

    def use() -> None:
        for _ in range(3):
            execute(lease.connection, "select 1")

    with pytest.raises(Exception, match=r"(?i)terminat|closed|lost|gone|kill|not available"):
        use()
    lease.release()
    with unchecked.acquire() as lease:
        assert execute(lease.connection, "select 1")
    assert unchecked.statistics().opened == 2


def test_a_check_leaves_no_transaction(pool: Pool[Any], place: Place) -> None:
    """Neither on the connection nor on the server, and autocommit is what it was."""
    with pool.acquire():
        pass
    with pool.acquire() as lease:
        connection = lease.connection
        if place.name == "psycopg":
            assert connection.pgconn.transaction_status == 0
            assert connection.autocommit is False
        elif place.name == "psycopg2":
            assert connection.get_transaction_status() == 0
            assert connection.autocommit is False
        place.add(connection, "lost")
    assert place.words() == []
    assert pool.statistics().opened == 1


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.database
def test_a_clean_return_costs_nothing(driver: str, request: pytest.FixtureRequest) -> None:
    """Where a driver knows that no transaction is open, the server hears nothing of a return."""
    with Place(driver, request) as place, Pool(place.connect, max_size=1) as pool:
        with pool.acquire() as lease:
            number = place.identity(lease.connection)
            connection = lease.connection
            connection.autocommit = True
            execute(connection, "select 1")
        query = f"select query from pg_stat_activity where pid = {number}"
        assert place.server.run(query) == [("select 1",)]
        assert pool.statistics().idle == 1


def test_the_users_reset(place: Place) -> None:
    """Called after the rollback; what it leaves open is committed, so that it lasts."""
    seen: list[Any] = []

    def reset(connection: Any) -> None:
        seen.append(execute(connection, f"select count(*) from {place.table}")[0][0])
        place.add(connection, f"reset {len(seen)}")

    with Pool(place.connect, max_size=1, reset=reset, timeout=PATIENCE) as pool:
        for _ in range(2):
            with pool.acquire() as lease:
                place.add(lease.connection, "lost")
    assert seen == [0, 1]
    assert place.words() == ["reset 1", "reset 2"]


def test_closing_the_pool_closes_the_sessions(place: Place) -> None:
    with Pool(place.connect, max_size=3, timeout=PATIENCE) as pool:
        is_whole(pool, 3)
        numbers = []
        with pool.acquire() as lease:
            numbers.append(place.identity(lease.connection))
    where = (
        "information_schema.processlist where id"
        if place.name in MYSQL
        else ("pg_stat_activity where pid")
    )
    until(lambda: place.server.run(f"select count(*) from {where} = {numbers[0]}") == [(0,)])


@pytest.mark.database
def test_unread_rows(request: pytest.FixtureRequest) -> None:
    """An unbuffered result with rows still to come: closed, not lent, not read to its end."""
    with Place("pymysql", request) as place:
        import pymysql.cursors

        with Pool(place.connect, max_size=1, timeout=PATIENCE) as pool:
            with pool.acquire() as lease:
                first = lease.connection
                cursor = first.cursor(pymysql.cursors.SSCursor)
                cursor.execute("select seq from seq_1_to_10000")
                cursor.fetchone()
            first._result.unbuffered_active = False  # else its finalizer wants to read on
            with pool.acquire() as lease:
                assert lease.connection is not first
                assert execute(lease.connection, "select 1") == [(1,)]


@pytest.mark.database
@pytest.mark.parametrize("statement", ["insert into {} values ('lost')", "select nonsense"])
def test_a_commit_that_does_nothing(statement: str, request: pytest.FixtureRequest) -> None:
    """psycopg2 believes that no transaction is open, and does not tell the server to commit."""
    with Place("psycopg2", request) as place, Pool(place.connect, max_size=1) as pool:
        with pool.connection() as connection:
            connection.autocommit = True
            execute(connection, "begin")
            with contextlib.suppress(Exception):
                execute(connection, statement.format(place.table))
            connection.autocommit = False
        with pool.connection() as connection:
            assert execute(connection, "select 1") == [(1,)]
        assert place.words() == []


# ---------------------------------------------------------------- sqlite3


def test_a_class_of_sqlite3_whose_commit_does_nothing() -> None:
    class Mine(sqlite3.Connection):
        def commit(self) -> None:
            pass

    def connect() -> Mine:
        return sqlite3.connect(":memory:", check_same_thread=False, factory=Mine)

    with Pool(connect, max_size=1, timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            connection.execute("create table note (word)")
            connection.execute("insert into note values ('lost')")
        with pool.connection() as connection:
            assert connection.execute("select * from note").fetchall() == []


@pytest.mark.parametrize("isolation_level", [None, "DEFERRED"])
@pytest.mark.parametrize("autocommit", [False, True] if sys.version_info >= (3, 12) else [None])
def test_the_autocommit_of_sqlite3(autocommit: bool | None, isolation_level: Any) -> None:
    """That of Python 3.12: where it is given, it decides."""
    given: dict[str, Any] = {} if autocommit is None else {"autocommit": autocommit}
    given["isolation_level"] = isolation_level

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(":memory:", check_same_thread=False, **given)

    with Pool(connect, max_size=1, timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            connection.execute("create table note (word)")
            connection.execute("insert into note values ('kept')")
        with pool.acquire() as lease:
            if autocommit or (autocommit is None and isolation_level is None):
                lease.connection.execute("begin")
            lease.connection.execute("insert into note values ('lost')")
        with pool.connection() as connection:
            assert connection.execute("select * from note").fetchall() == [("kept",)]


def test_sqlite(tmp_path: Any) -> None:
    """A file, several connections, each used by several threads."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "file", check_same_thread=False, timeout=PATIENCE)

    with Pool(connect, max_size=3, timeout=PATIENCE, opener="caller", max_opening=None) as pool:
        with pool.connection() as connection:
            connection.execute("create table note (word)")
            connection.execute("insert into note values ('kept')")
        with pool.acquire() as lease:
            lease.connection.execute("insert into note values ('lost')")
        is_whole(pool, 3)
        with pool.connection() as connection:
            assert connection.execute("select * from note").fetchall() == [("kept",)]
        with pool.acquire() as lease:
            lease.connection.close()
        with pool.acquire() as lease:
            assert lease.connection.execute("select * from note").fetchall() == [("kept",)]


def test_a_class_derived_from_a_drivers(tmp_path: Any) -> None:
    """It is recognised too."""

    class Mine(sqlite3.Connection):
        rolled_back = 0

        def rollback(self) -> None:
            self.rolled_back += 1
            super().rollback()

    def connect() -> Mine:
        return sqlite3.connect(":memory:", check_same_thread=False, factory=Mine)

    with Pool(connect, max_size=1, timeout=PATIENCE) as pool:
        with pool.acquire() as lease:
            lease.connection.execute("select 1")
        kept = [type(one) for one in gc.get_referents(lease)]
        assert Mine not in kept, "an ended lease holds no connection"
        with pool.acquire() as lease:
            assert lease.connection.rolled_back == 0
            lease.connection.execute("create table note (word)")
            lease.connection.execute("insert into note values (1)")
            mine = lease.connection
        assert mine.rolled_back == 1
