"""Connections of which everything raises, through every call of the drop-in: no place is lost.

Theory.  As `test_pool_hostile.py`, for what peewee's users call.  The hooks that ask a connection
are those of playhouse's classes for real drivers; an error there means that it is dead, here as in
`docs/peewee.md`.  A `conn_key` of the program's that raises is an error of the call that asks it,
as with playhouse, and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import peewee
import pytest

import pool.peewee
from tests.integration.drivers import assert_sound, lent
from tests.integration.hostile import Trap, striking, without_class

Hostile, WithoutClass = striking(Trap), without_class(Trap)


class Driver(peewee.SqliteDatabase):  # type: ignore[misc]  # peewee has no types
    kind: Any = Hostile

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.opened: list[Any] = []
        super().__init__(*arguments, **settings)

    def _connect(self) -> Any:
        self.opened.append(self.kind())
        return self.opened[-1]


def turn(database: Any) -> None:
    assert database.connect()
    assert database.close()


def by_hand(database: Any) -> None:
    database._close(database._connect())
    database._close(database._connect(), True)


def close_stale(database: Any) -> None:
    database.connect()
    assert database.close_stale(-600) == 1
    database.close()


def closed_by(name: str) -> Callable[[Any], None]:
    def method(database: Any) -> None:
        turn(database)
        database.connect()
        getattr(database, name)()
        database.close()

    method.__name__ = name
    return method


def look(database: Any) -> None:
    turn(database)
    database.connect()
    assert len(database._connections) + len(database._in_use) >= 1
    assert database.statistics().in_use == 1
    assert len(database.holders()) == 1
    database.close()


METHODS = [
    turn,
    by_hand,
    close_stale,
    closed_by("manual_close"),
    closed_by("close_all"),
    closed_by("close_idle"),
    look,
]
BASES = [
    pool.peewee.PooledDatabase,
    pool.peewee._PooledSqliteDatabase,
    pool.peewee._PooledMySQLDatabase,
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
@pytest.mark.parametrize("kind", [Hostile, WithoutClass], ids=["special", "class"])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
def test_no_place_is_lost(
    level: int, kind: Any, base: Any, method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level)
    database = made(base, kind)
    for _ in range(3):
        method(database)
    is_whole(database)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_key_that_raises_is_an_error_of_the_call(method: Any) -> None:
    database = made(pool.peewee.PooledDatabase, Hostile)
    database.conn_key = hash
    with suppress(Trap):
        method(database)
    if not database.is_closed():
        database.close()
    database.conn_key = id
    is_whole(database)


def made(base: Any, kind: Any) -> Any:
    driver = type("Driver", (Driver,), {"kind": kind})
    return type("Database", (base, driver), {})("hostile", max_connections=2)


def is_whole(database: Any) -> None:
    """Nothing is lent, both places can be had, and each connection is closed once."""
    assert lent(database) == []
    for _ in range(2):
        database.connect()
        database._state.reset()
    with pytest.raises(pool.peewee.MaxConnectionsExceeded):
        database.connect()
    database.close_all()
    assert_sound(database)
    assert [connection.closes for connection in database.opened] == [1] * len(database.opened)
