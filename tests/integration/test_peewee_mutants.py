"""What the drop-in owes its users where a mutant of it showed that no test asked.

Theory.  As `test_runtime_mutants.py`: each kills mutants that `make mutation-runtime` found alive.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from tests.integration.databases import PooledScriptedDatabase
from tests.integration.drivers import FOR_EVER, Call, lent, watch

# ---------------------------------------------------------------- the handle that is arriving


class Choosy(PooledScriptedDatabase):
    """One that refuses what it got, once."""

    refuses = False

    def _connect(self) -> Any:
        connection = super()._connect()
        if self.refuses:
            self.refuses = False
            raise MaxConnectionsExceeded("not this one")
        return connection


@pytest.mark.parametrize("timeout", [None, 0.5, FOR_EVER])
def test_a_hook_that_refuses_what_rested_loses_nothing(timeout: Any) -> None:
    """It was lent at once, without the queue, and is forgotten before the owner queues."""
    database = Choosy("choosy", max_connections=1, timeout=timeout)
    broken = watch(database._purepool.runtime)
    for _ in range(3):
        database.connect()
        database.close()
        database.refuses = True
        database.connect()
        assert len(lent(database)) == 1
        assert database.connection() is lent(database)[0]
        database.close()
        assert lent(database) == []
    assert broken == []


@pytest.mark.parametrize("timeout", [None, FOR_EVER])
def test_what_comes_after_a_refusal_is_the_owners(timeout: Any) -> None:
    """It comes back when the owner's thread has ended."""
    database = Choosy("choosy", max_connections=1, timeout=timeout)

    def use() -> None:
        database.connect()
        database.close()
        database.refuses = True
        database.connect()
        assert len(lent(database)) == 1

    Call(use).result()
    gc.collect()
    assert lent(database) == []


class Unwilling(PooledScriptedDatabase):
    """One that fails before it asks for a connection, as long as it is told to."""

    fails = True

    def _connect(self) -> Any:
        if self.fails:
            raise OSError("down")
        return super()._connect()


def test_after_a_connect_that_failed_one_by_hand_is_nobodys() -> None:
    """`_connect()` is for those who look after the connection themselves: the end of the thread
    does not end it."""
    database = Unwilling("unwilling", max_connections=1, timeout=FOR_EVER)

    def use() -> Any:
        with pytest.raises(OSError, match="down"):
            database.connect()
        database.fails = False
        return database._connect()

    connection = Call(use).result()
    gc.collect()
    assert lent(database) == [connection]
    database._close(connection)
    assert lent(database) == []
