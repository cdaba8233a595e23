"""The servers and the drivers, without any pool: if these fail, it is not the pool's fault."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import MariaDB, Postgres, Server


def answer(connection: Any) -> Any:
    with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("select 1")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_postgres_answers(postgres: Postgres, driver: str) -> None:
    connect = importlib.import_module(driver).connect
    assert answer(connect(**postgres.parameters)) == 1
    assert answer(connect(**{**postgres.parameters, "host": str(postgres.socket_directory)})) == 1


@pytest.mark.parametrize("driver", ["pymysql", "mysql.connector", "mariadb"])
def test_mariadb_answers(mariadb: MariaDB, driver: str) -> None:
    connect = importlib.import_module(driver).connect
    assert answer(connect(**mariadb.parameters)) == 1
    assert answer(connect(**mariadb.parameters, unix_socket=str(mariadb.socket))) == 1


@pytest.mark.parametrize("driver", ["sqlite3", "cysqlite"])
def test_sqlite_answers(tmp_path: Path, driver: str) -> None:
    connect = importlib.import_module(driver).connect
    assert answer(connect(str(tmp_path / "file.db"))) == 1


def test_postgres_takes_settings(postgres_with: Callable[..., Postgres]) -> None:
    server = postgres_with(max_connections=5)
    assert server.run("show max_connections") == [("5",)]


def test_mariadb_takes_settings(mariadb_with: Callable[..., MariaDB]) -> None:
    server = mariadb_with(max_connections=12)
    assert server.run("select @@max_connections") == [(12,)]


@pytest.mark.parametrize("abruptly", [False, True])
@pytest.mark.parametrize("kind", ["postgres_with", "mariadb_with"])
def test_a_server_comes_back_with_its_data(
    request: pytest.FixtureRequest, kind: str, abruptly: bool
) -> None:
    server: Server = request.getfixturevalue(kind)()
    port = server.port
    server.run("create table kept (number integer)")
    server.run("insert into kept values (7)")
    server.stop(abruptly)
    assert not server.running
    server.start()
    assert server.port == port
    assert server.run("select number from kept") == [(7,)]


def test_one_server_for_all_tests(postgres: Postgres, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue("postgres") is postgres
