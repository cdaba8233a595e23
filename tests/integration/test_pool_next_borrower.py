"""What one borrower leaves behind, the next one does not get.

Theory.  A driver's connection has a state of its own: settings, a generator that is suspended, a
cursor with rows still to come.  Each test leaves something of it behind and looks at what the next
holder is lent: the same connection as it was when it was new, or another one.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool import NO_RESET, OpenError, Pool
from tests.integration.drivers import PATIENCE, Call

wrapt: Any = pytest.importorskip("wrapt")
XRayTracedConn: Any = pytest.importorskip("aws_xray_sdk.ext.dbapi2").XRayTracedConn
instrumentation: Any = pytest.importorskip("opentelemetry.instrumentation.dbapi")

pytest.importorskip("aws_xray_sdk").global_sdk_config.set_sdk_enabled(False)


class Unrelated:
    """A proxy that passes on what it is asked, and keeps the connection where nobody looks."""

    __slots__ = ("__hidden",)

    def __init__(self, wrapped: Any) -> None:
        self.__hidden = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__hidden, name)


PROXIES: dict[str, Callable[[Any], Any]] = {
    "getattr": Unrelated,
    "wrapt": wrapt.ObjectProxy,
    "opentelemetry": lambda one: instrumentation.instrument_connection("x", one, "sqlite"),
    "xray": XRayTracedConn,
    "two": lambda connection: Unrelated(wrapt.ObjectProxy(connection)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with an empty table."""
    file = tmp_path / "file"
    connection = sqlite3.connect(file)
    connection.execute("create table note (word)")
    connection.close()
    return file


@pytest.fixture
def one(path: Path) -> Iterator[Pool[sqlite3.Connection]]:
    connect = functools.partial(sqlite3.connect, path, check_same_thread=False, timeout=0.1)
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        yield pool


def count(path: Path) -> int:
    connection = sqlite3.connect(path, timeout=PATIENCE)
    try:
        return int(connection.execute("select count(*) from note").fetchone()[0])
    finally:
        connection.close()


def test_a_connect_that_leaves_a_transaction_open(path: Path) -> None:
    """That is not how each holder is to find it: the first return ends it."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False)
        connection.execute("insert into note values ('by connect')")
        return connection

    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pool.acquire() as lease:
            lease.connection.execute("insert into note values ('lost')")
        with pool.acquire() as lease:
            assert not lease.connection.in_transaction
        assert count(path) == 0


@pytest.mark.parametrize("name", PROXIES)
def test_behind_a_proxy(name: str, path: Path) -> None:
    """A block commits and rolls back, and a setting that was changed below is put back."""

    def connect() -> Any:
        return PROXIES[name](sqlite3.connect(path, check_same_thread=False))

    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pool.connection() as connection:
            connection.cursor().execute("insert into note values ('kept')")
        assert count(path) == 1
        with pool.acquire() as lease:
            lease.connection.cursor().execute("insert into note values ('lost')")
        with pool.connection() as again:
            assert again is connection
            assert not again.in_transaction
            again.rollback.__self__.isolation_level = None
        assert count(path) == 1
        with pool.connection() as again:
            assert again is connection
            assert again.isolation_level == ""


class Committing:
    committed = False

    def commit(self) -> None:
        self.committed = True

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_classes_made_on_the_fly_are_collected() -> None:
    made: list[weakref.ref[type]] = []

    def connect() -> Committing:
        kind = type("Traced", (Committing,), {})
        made.append(weakref.ref(kind))
        return kind()

    with Pool(connect, opener="caller", timeout=PATIENCE) as pool:
        for _ in range(20):
            pool.acquire().discard()
        gc.collect()
        assert sum(kind() is not None for kind in made) <= 1


def test_a_class_that_changes_while_lent() -> None:
    class Changed(Committing):
        pass

    with Pool(Committing, opener="caller", timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            connection.__class__ = Changed
        assert connection.committed


def test_an_unfinished_cursor(one: Pool[sqlite3.Connection]) -> None:
    with one.connection() as connection:
        connection.executemany("insert into note values (?)", [(n,) for n in range(1000)])
    with one.connection() as connection:
        cursor = connection.execute("select * from note")
        cursor.fetchone()
    with one.connection() as again:
        assert again is connection
        again.execute("drop table note")
    with pytest.raises(sqlite3.ProgrammingError):
        cursor.fetchone()


def test_an_insert_that_is_not_read_to_its_end(one: Pool[sqlite3.Connection], path: Path) -> None:
    with one.connection() as connection:
        cursor = connection.execute("insert into note values (1), (2), (3) returning word")
        cursor.fetchone()
    assert count(path) == 3
    cursor.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("isolation_level", None), ("row_factory", sqlite3.Row), ("text_factory", bytes)]
    + (
        [("autocommit", True), ("autocommit", False)]
        if hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL")
        else []
    ),
)
def test_settings_of_sqlite3(
    name: str, value: Any, one: Pool[sqlite3.Connection], path: Path
) -> None:
    with one.connection() as connection:
        was = getattr(connection, name)
        setattr(connection, name, value)
    with contextlib.suppress(LookupError), one.connection() as again:
        assert again is connection
        assert getattr(again, name) == was
        assert not again.in_transaction
        again.execute("insert into note values ('lost')")
        raise LookupError
    assert count(path) == 0


@pytest.mark.skipif(
    not hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"), reason="Python 3.12 and newer have it"
)
@pytest.mark.parametrize("value", [True, -1])
def test_autocommit_of_sqlite3_that_was_off(value: Any, path: Path) -> None:
    """Then a transaction is open all the time: of the next one, too, nothing lasts by itself."""
    connect = functools.partial(
        sqlite3.connect, path, check_same_thread=False, autocommit=False, isolation_level=None
    )
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pool.connection() as connection:
            connection.autocommit = value
        with pool.acquire() as lease:
            assert lease.connection is connection
            assert connection.autocommit is False
            connection.execute("insert into note values ('lost')")
        assert count(path) == 0
        with pool.connection():
            connection.execute("insert into note values ('kept')")
        assert count(path) == 1


def test_an_unknown_driver_in_autocommit() -> None:
    class Connection(Committing):
        autocommit = False

    with Pool(Connection, max_size=1, opener="caller", timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            connection.autocommit = True
        with pool.connection() as again:
            assert again is connection
            assert again.autocommit is False


class NotSupportedError(Exception):
    pass


class Hive(Committing):
    asked = 0

    def rollback(self) -> None:
        self.asked += 1
        raise NotSupportedError("no transactions here")


def test_a_database_without_transactions() -> None:
    """It is asked for a rollback once, and is as good as new."""
    with Pool(Hive, max_size=1, opener="caller", timeout=PATIENCE) as pool:
        for _ in range(3):
            with pool.connection() as connection:
                pass
        assert pool.statistics().opened == 1
        assert connection.asked == 1


class Flat(Hive):
    def commit(self) -> None:
        raise NotSupportedError("no transactions here")


class HalfFlat(Flat):
    def rollback(self) -> None:
        pass


def test_a_commit_that_is_not_supported() -> None:
    """Where a rollback is not either, there is nothing to commit. Otherwise it is an error."""
    with Pool(Flat, max_size=1, opener="caller", timeout=PATIENCE) as pool:
        for _ in range(3):
            with pool.connection():
                pass
        assert pool.statistics().opened == 1
    with (
        Pool(HalfFlat, max_size=1, opener="caller", timeout=PATIENCE) as pool,
        pytest.raises(NotSupportedError),
        pool.connection(),
    ):
        pass


class TransactionException(Exception):
    """As duckdb's is called."""


def scripted_driver(module: str, **methods: Any) -> type[Any]:
    """A class of connections that looks like one of this driver."""
    return type("Connection", (Committing,), {"__module__": module, **methods})


def test_a_rollback_that_raises_where_nothing_is_open() -> None:
    """duckdb and trino do so. Each connection serves all three; another error costs it."""

    def rollback(self: Any) -> None:
        raise self.error("no transaction is active")

    def refuse(_: Any) -> None:
        raise AssertionError("trino is not asked where nothing is open")

    duck = scripted_driver("duckdb", rollback=rollback, error=TransactionException)
    trino = scripted_driver("trino.dbapi", rollback=refuse, transaction=None)
    for kind in (duck, trino):
        with Pool(kind, max_size=1, opener="caller", timeout=PATIENCE) as pool:
            for _ in range(3):
                with pool.connection():
                    pass
                pool.acquire().release()
            assert pool.statistics().opened == 1
    duck.error = ValueError
    with Pool(duck, max_size=1, opener="caller", timeout=PATIENCE) as pool:
        pool.acquire().release()
        assert pool.statistics().idle == 0


def test_duckdb(tmp_path: Path) -> None:
    """The real one: work is committed and rolled back, and no return costs a connection."""
    duckdb = pytest.importorskip("duckdb")
    connect = functools.partial(duckdb.connect, str(tmp_path / "ducks"))
    with Pool(connect, max_size=1, opener="caller", timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            connection.execute("create table note (word text)")
        with pool.connection() as connection:
            connection.begin()
            connection.execute("insert into note values ('kept')")
        for _ in range(2):
            with pool.acquire() as lease:
                lease.connection.begin()
                lease.connection.execute("insert into note values ('lost')")
            with contextlib.suppress(duckdb.Error), pool.connection() as connection:
                connection.begin()
                connection.execute("insert into note values ('lost')")
                connection.execute("select * from nothing")
        with pool.connection() as connection:
            assert connection.execute("select word from note").fetchall() == [("kept",)]
        assert pool.statistics().opened == 1


def test_a_cursor_is_no_connection_of_its_driver() -> None:
    cursor = sqlite3.connect(":memory:", check_same_thread=False).cursor()
    with Pool(lambda: cursor, max_size=1, opener="caller", timeout=PATIENCE) as pool:
        with pool.connection() as lent:
            assert lent.execute("select 1").fetchone() == (1,)
        assert pool.statistics().idle == 1


def test_no_reset() -> None:
    with Pool(Hive, max_size=1, opener="caller", timeout=PATIENCE, reset=NO_RESET) as pool:
        with pool.connection() as connection:
            pass
        assert connection.committed
        assert connection.asked == 0
        assert pool.statistics().idle == 1


def test_closed_by_its_holder(
    one: Pool[sqlite3.Connection], caplog: pytest.LogCaptureFixture
) -> None:
    """The block ends quietly; the next holder gets another one."""
    caplog.set_level(logging.INFO, "pool")
    with one.connection() as connection:
        connection.close()
    with one.connection() as another:
        assert another.execute("select 1").fetchone() == (1,)
    assert caplog.records == []


def generator() -> Iterator[Any]:
    yield None


class Asynchronous:
    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "useless",
    [
        generator,
        lambda: sqlite3.Connection,
        lambda: "postgresql://",
        lambda: False,
        Asynchronous,
        lambda: Pool(Committing, opener="caller").connection(),
        lambda: Pool(Committing, opener="caller"),
        lambda: generator,
        lambda: (1, 2),
    ],
)
def test_what_is_no_connection(useless: Any) -> None:
    with Pool(useless, opener="caller", timeout=PATIENCE) as pool:
        with pytest.raises(OpenError, match="connect returned a") as caught:
            pool.acquire()
        assert isinstance(caught.value.__cause__, TypeError)


async def asynchronous(_: Any) -> None:
    pass


def lazy(_: Any) -> Iterator[None]:
    yield


@pytest.mark.parametrize("function", [asynchronous, lazy, functools.partial(asynchronous)])
@pytest.mark.parametrize("hook", ["check", "reset", "configure", "close"])
def test_hooks_that_would_never_run(hook: str, function: Any) -> None:
    with pytest.raises(ValueError, match=f"{hook}=.*allowed is a plain function"):
        Pool(Committing, **{hook: function})
    with pytest.raises(ValueError, match=r"close=.*allowed is a plain function"):
        Pool(Committing, listeners={"close": function})


def test_a_configure_that_returns_something_to_be_awaited() -> None:
    with (
        Pool(Committing, opener="caller", configure=lambda it: asynchronous(it)) as pool,
        pytest.raises(OpenError, match="configure returned something to be awaited"),
    ):
        pool.acquire()


# ---------------------------------------------------------------- PostgreSQL


@pytest.fixture
def psycopg_pool(postgres: Any) -> Iterator[Pool[Any]]:
    psycopg = pytest.importorskip("psycopg")
    connect = functools.partial(psycopg.connect, **postgres.parameters)
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        yield pool


@pytest.mark.database
def test_notifies_left_open(psycopg_pool: Pool[Any]) -> None:
    with psycopg_pool.connection() as connection:
        connection.execute("listen x")
        connection.execute("notify x")
        connection.commit()
        notices = connection.notifies(timeout=PATIENCE)
        next(notices)

    def use() -> Any:
        with psycopg_pool.connection() as another:
            return another is not connection and another.execute("select 1").fetchone()

    assert Call(use).result() == (1,)
    notices.close()


@pytest.mark.database
def test_a_stream_left_open(psycopg_pool: Pool[Any]) -> None:
    """The work is not committed, and the block says so."""
    import psycopg

    kept: list[Any] = []

    def use() -> None:
        with psycopg_pool.connection() as connection:
            kept.append(connection.cursor().stream("select generate_series(1, 100000)"))
            next(kept[0])

    with pytest.raises(psycopg.OperationalError, match="nothing was committed"):
        Call(use).result()
    with psycopg_pool.connection() as another:
        assert another.execute("select 1").fetchone() == (1,)


@pytest.mark.database
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("autocommit", True),
        ("isolation_level", 4),
        ("read_only", True),
        ("deferrable", True),
        ("prepare_threshold", 1),
    ],
)
def test_settings_of_psycopg(name: str, value: Any, psycopg_pool: Pool[Any]) -> None:
    with psycopg_pool.connection() as connection:
        was = getattr(connection, name)
        setattr(connection, name, value)
    with psycopg_pool.connection() as again:
        assert again is connection
        assert getattr(again, name) == was


@pytest.mark.database
def test_a_pipeline_left_open(psycopg_pool: Pool[Any], postgres: Any) -> None:
    """It is committed; the connection is not lent again."""
    postgres.run("drop table if exists piped")
    postgres.run("create table piped (n int)")
    with psycopg_pool.connection() as connection:
        pipeline = connection.pipeline()
        pipeline.__enter__()
        connection.execute("insert into piped values (1)")
    assert postgres.run("select * from piped") == [(1,)]
    with psycopg_pool.connection() as another:
        assert another is not connection
    postgres.run("drop table piped")


@pytest.mark.database
@pytest.mark.parametrize(
    ("name", "value"),
    [("autocommit", True), ("isolation_level", 3), ("readonly", True), ("deferrable", True)],
)
def test_settings_of_psycopg2(name: str, value: Any, postgres: Any) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    connect = functools.partial(psycopg2.connect, **postgres.parameters)
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pool.connection() as connection:
            was = getattr(connection, name)
            setattr(connection, name, value)
        with pool.connection() as again:
            assert again is connection
            assert getattr(again, name) == was


@pytest.mark.database
def test_autocommit_of_pymysql(mariadb: Any) -> None:
    pymysql = pytest.importorskip("pymysql")
    connect = functools.partial(pymysql.connect, **mariadb.parameters)
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pool.connection() as connection:
            connection.autocommit(True)
        with pool.connection() as again:
            assert again is connection
            assert again.get_autocommit() is False


@pytest.mark.database
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_prepared_transaction(driver: str, postgres_with: Any) -> None:
    module = pytest.importorskip(driver)
    server = postgres_with(max_prepared_transactions=2)
    connect = functools.partial(module.connect, **server.parameters)
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pool.connection() as connection:
            connection.tpc_begin(connection.xid(1, "gtrid", "branch"))
            connection.cursor().execute("create table prepared (n int)")
            connection.tpc_prepare()
        with pool.connection() as another:
            assert another is not connection
            another.cursor().execute("select 1")


@pytest.mark.database
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pymysql", "mysql.connector", "mariadb"])
def test_work_that_was_lost_with_its_connection(driver: str, request: Any) -> None:
    """Its holder met the error and went on: at the latest the end of the block says so, for nothing
    was committed. That is not a connection that the holder closed."""
    module = pytest.importorskip(driver)
    server = request.getfixturevalue("postgres" if "psycopg" in driver else "mariadb")
    numbers: dict[str, Any] = {
        "psycopg": lambda it: it.info.backend_pid,
        "psycopg2": lambda it: it.get_backend_pid(),
        "pymysql": lambda it: it.thread_id(),
        "mysql.connector": lambda it: it.connection_id,
        "mariadb": lambda it: it.connection_id,
    }
    connect = functools.partial(module.connect, **server.parameters)
    met: list[Any] = []

    def work() -> None:
        with pool.connection() as connection:
            met.append(connection)
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute("select 1")
                cursor.fetchall()
            server.end(numbers[driver](connection))
            for _ in range(3):
                with contextlib.suppress(module.Error):
                    connection.cursor().execute("select 1")

    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        with pytest.raises(module.Error):
            work()
        with pool.connection() as another:
            assert another is not met[0]
