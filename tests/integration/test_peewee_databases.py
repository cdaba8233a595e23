"""The drop-in on real databases, through every driver that playhouse has a pooled class for.

Theory.  What a pool promises about connections can only be seen where connections are real:
a backend that is killed, a transaction that was left open, a connection that another thread
goes on with.  One table of recipes says how to make a database of each kind; each test runs
for each of them.  The servers are those of `tests/integration/servers.py`.

CockroachDB is tested as far as PostgreSQL can stand in for it: it speaks the same protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peewee import (
    AutoField,
    DatabaseError,
    IntegerField,
    InterfaceError,
    Model,
    OperationalError,
)

import pool.peewee as drop_in
from tests.integration.drivers import FOR_EVER, PATIENCE
from tests.integration.servers import MariaDB, Postgres

Make = Callable[..., Any]

POSTGRES = {
    "psycopg2": ("PooledPostgresqlDatabase", {}),
    "psycopg 3": ("PooledPostgresqlDatabase", {"prefer_psycopg3": True}),
    "postgres_ext": ("PooledPostgresqlExtDatabase", {}),
    "postgres_ext, psycopg 3": ("PooledPsycopg3Database", {}),
    "cockroachdb": ("PooledCockroachDatabase", {}),
}
MARIADB = {
    "pymysql": ("PooledMySQLDatabase", {}),
    "mysql-connector-python": ("PooledMySQLConnectorDatabase", {}),
    "mariadb": ("PooledMariaDBConnectorDatabase", {}),
}
SQLITE = {
    "sqlite3": ("PooledSqliteDatabase", {}),
    "cysqlite": ("PooledCySqliteDatabase", {}),
}
ALL = [
    *(pytest.param(name, "postgres", id=name) for name in POSTGRES),
    *(pytest.param(name, "mariadb", id=name) for name in MARIADB),
    *(pytest.param(name, "sqlite", id=name) for name in SQLITE),
]
SERVERS = [case for case in ALL if case.values[1] != "sqlite"]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a pooled database by the name of its driver; all are closed in the end."""
    made: list[Any] = []

    def make_one(driver: str, kind: str, **settings: Any) -> Any:
        if kind == "sqlite":
            class_name, options = SQLITE[driver]
            arguments: dict[str, Any] = {"database": str(tmp_path / "file.db")}
        elif kind == "postgres":
            class_name, options = POSTGRES[driver]
            postgres: Postgres = request.getfixturevalue("postgres")
            arguments = {**postgres.parameters}
            arguments["database"] = arguments.pop("dbname")
        else:
            class_name, options = MARIADB[driver]
            mariadb: MariaDB = request.getfixturevalue("mariadb")
            arguments = {**mariadb.parameters}
        database = getattr(drop_in, class_name)(**{**arguments, **options, **settings})
        made.append(database)
        return database

    yield make_one
    for database in made:
        while database.in_transaction():
            database.pop_transaction()
        database.close_all()


def model_of(database: Any, table: str) -> Any:
    class Number(Model):
        id = AutoField()
        value = IntegerField()

        class Meta:
            pass

    Number._meta.set_table_name(table)
    Number._meta.set_database(database)
    database.drop_tables([Number], safe=True)
    database.create_tables([Number], safe=False)
    return Number


@pytest.mark.parametrize(("driver", "kind"), ALL)
def test_lent_returned_and_lent_again(make: Make, driver: str, kind: str) -> None:
    database = make(driver, kind, max_connections=3)
    number = model_of(database, "lent_again")
    first = database.connection()
    number.create(value=1)
    assert database.close() is True
    assert len(database._connections) == 1
    assert not database._in_use
    database.connect()
    assert database.connection() is first
    assert [row.value for row in number.select()] == [1]
    database.drop_tables([number])
    database.close()


@pytest.mark.parametrize(("driver", "kind"), ALL)
def test_a_connection_serves_one_thread_after_another(make: Make, driver: str, kind: str) -> None:
    database = make(driver, kind, max_connections=1, timeout=FOR_EVER)
    number = model_of(database, "one_after_another")
    database.close()
    seen: list[Any] = []

    def turn(value: int) -> None:
        with database.connection_context():
            seen.append(database.connection())
            number.create(value=value)

    threads = [threading.Thread(target=turn, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(seen) == 6
    assert len({id(connection) for connection in seen}) == 1, "the one connection was lent to all"
    with database.connection_context():
        assert sorted(row.value for row in number.select()) == list(range(6))
        database.drop_tables([number])


@pytest.mark.parametrize(("driver", "kind"), ALL)
def test_a_transaction_left_open_is_rolled_back_at_check_in(
    make: Make, driver: str, kind: str
) -> None:
    database = make(driver, kind, max_connections=1)
    number = model_of(database, "left_open")
    number.create(value=1)
    connection = database.connection()
    database.begin()
    number.create(value=2)
    assert number.select().count() == 2
    database.close()  # peewee knows of no transaction: `begin` was called by hand
    database.connect()
    assert database.connection() is connection
    assert [row.value for row in number.select()] == [1]
    database.drop_tables([number])
    database.close()


def backend_of(database: Any, kind: str) -> int:
    query = "select pg_backend_pid()" if kind == "postgres" else "select connection_id()"
    return int(database.execute_sql(query).fetchone()[0])


def kill(request: pytest.FixtureRequest, kind: str, backend: int) -> None:
    """From a connection of the server's own; back when the backend is gone."""
    request.getfixturevalue(kind).end(backend)


@pytest.mark.parametrize(("driver", "kind"), SERVERS)
def test_a_killed_backend_is_never_handed_out(
    make: Make, request: pytest.FixtureRequest, driver: str, kind: str
) -> None:
    database = make(driver, kind, max_connections=2)
    database.connect()
    dead = database.connection()
    backend = backend_of(database, kind)
    database.close()
    kill(request, kind, backend)
    database.connect()
    assert database.connection() is not dead
    assert backend_of(database, kind) != backend
    database.close()
    assert [connection for _, _, connection in database._connections] != [dead]
    assert len(database._connections) == 1


@pytest.mark.parametrize(("driver", "kind"), SERVERS)
def test_a_backend_killed_while_in_use(
    make: Make, request: pytest.FixtureRequest, driver: str, kind: str
) -> None:
    """Its holder sees the error; the next one gets a connection that works."""
    database = make(driver, kind, max_connections=1, timeout=FOR_EVER)
    database.connect()
    backend = backend_of(database, kind)
    kill(request, kind, backend)
    with pytest.raises((OperationalError, InterfaceError, DatabaseError)):
        database.execute_sql("select 1")
    database.close()
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(next_turn(database, kind)))
    thread.start()
    thread.join(PATIENCE)
    assert results
    assert results != [backend]


def next_turn(database: Any, kind: str) -> int:
    with database.connection_context():
        return backend_of(database, kind)


def test_cockroach_has_a_port_of_its_own() -> None:
    """Why the one above gives its port: the class's default is CockroachDB's."""
    database = drop_in.PooledCockroachDatabase("name")
    assert database.connect_params["port"] == 26257


@pytest.mark.parametrize(("driver", "kind"), SERVERS)
def test_waiters_get_the_room_of_a_killed_backend(
    make: Make, request: pytest.FixtureRequest, driver: str, kind: str
) -> None:
    """Four threads over one connection whose backend dies each time it rests: all are served."""
    database = make(driver, kind, max_connections=1, timeout=FOR_EVER)
    backends: list[int] = []

    def turn() -> None:
        with database.connection_context():
            backends.append(backend_of(database, kind))
            kill(request, kind, backends[-1])

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(backends)) == 4
