"""peewee databases over scripted drivers.

Theory.  `ScriptedDatabase` stands where the class of a real driver stands, behind the pool in the
order of the bases; so what the tests see of the pool is what every driver sees.  Apart from
`drivers.py` because a script in an interpreter of its own need not import peewee.
"""

from __future__ import annotations

from typing import Any

from peewee import SqliteDatabase

from pool.peewee import PooledDatabase
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Gate,
    ScriptedDriver,
    noted,
    until,
    watch,
)


class ScriptedDatabase(SqliteDatabase):
    """A peewee database whose driver is a `ScriptedDriver`; to be mixed in behind a pool."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.driver = ScriptedDriver()
        super().__init__(*arguments, **settings)

    def _connect(self) -> Connection:
        return self.driver.connect()

    def _close(self, connection: Connection) -> None:
        self.driver.close(connection)


class PooledScriptedDatabase(PooledDatabase, ScriptedDatabase):
    """The pool of this project over a scripted driver."""

    def _is_closed(self, connection: Connection) -> bool:
        return not self.driver.is_alive(connection)

    def _can_reuse(self, connection: Connection) -> bool:
        return self.driver.reset(connection)


def scripted(max_connections: int | None = 4, timeout: Any = FOR_EVER, **settings: Any) -> Any:
    """A pooled database with a scripted driver, each of its transitions checked."""
    database = PooledScriptedDatabase(
        "scripted", max_connections=max_connections, timeout=timeout, **settings
    )
    database.broken = watch(database._purepool.runtime)
    return database


def held(database: Any, gate: Gate) -> Call:
    """Another thread, which has a connection and stands at the gate with it; then it ends."""

    def hold() -> None:
        database.connect()
        gate()

    holder = Call(hold)
    until(lambda: gate.standing)
    return holder


def events_of(database: Any) -> list[Any]:
    """Each event from now on."""
    return noted(database._purepool.runtime)
