"""What the drop-in owes its users where a mutant of it showed that no test asked.

Theory.  As `test_runtime_mutants.py`: each kills mutants that `make mutation-runtime` found alive.
"""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool.core.events import CloseAll, CloseStale
from pool.peewee import closing as module
from tests.integration.databases import PooledScriptedDatabase, scripted
from tests.integration.drivers import FOR_EVER, Call, Stop, lent, raising, watch

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


# ---------------------------------------------------------------- what is closed


class Failing(PooledScriptedDatabase):
    """One whose `close_idle` is interrupted, when it is told to."""

    fails = False

    def close_idle(self) -> Any:
        if self.fails:
            raise Stop
        return super().close_idle()


def test_a_close_all_that_is_interrupted_takes_back_what_stayed_lent() -> None:
    database = Failing("failing", max_connections=1, timeout=None)
    broken = watch(database._purepool.runtime)
    closing = database._purepool.closing
    for _ in range(2):
        database.connect()
        connection = database.connection()
        database.fails = True
        with pytest.raises(Stop):
            database.close_all()
        assert lent(database) == []
        assert (closing.doomed, closing._all) == ({}, {})
        assert database._purepool.runtime.monitor.callers == set()
        database.fails = False
    database.connect()
    assert database.connection() is not connection
    database.close()
    assert broken == []


def test_a_close_all_before_anything_was_connected_can_be_interrupted() -> None:
    database = Failing("failing", max_connections=1, timeout=None)
    database.fails = True
    with pytest.raises(Stop):
        database.close_all()
    assert database._purepool.runtime.monitor.callers == set()


def test_a_close_all_within_another_leaves_it_what_it_knows() -> None:
    """As from a signal's handler, or from what a subclass does to close one."""
    database = scripted(2, timeout=None)
    closing, callers = database._purepool.closing, database._purepool.runtime.monitor.callers
    seen: list[Any] = []
    me = threading.get_ident()

    def again(_: Any) -> None:
        if not seen:
            seen.append(None)
            database.close_all()
            seen.append((dict(closing._all), set(callers)))

    for _ in range(2):
        database.connect()
        database._state.closed = True
    database.driver.on_close = again
    database.close_all()
    assert seen == [None, ({me: [True]}, {me})]
    assert (closing.doomed, closing._all, callers) == ({}, {}, set())
    assert len(database.driver.closed) == 2


class Keeping(PooledScriptedDatabase):
    """It keeps what is idle."""

    def close_idle(self) -> None:
        pass


def test_a_close_all_that_keeps_what_is_idle_closes_what_is_lent() -> None:
    """As playhouse's: that gives it back, and then closes all that is older than nothing."""
    database = Keeping("keeping", max_connections=2, timeout=None)
    for _ in range(2):
        database.connect()
        database._state.closed = True
    first, second = database.driver.opened
    database._state.conn, database._state.closed = first, False
    database.close()
    database._state.conn, database._state.closed = second, False
    database.close_all()
    assert lent(database) == []
    assert database._purepool.closing._all == {}


def test_what_is_idle_is_found_by_identity() -> None:
    database = scripted(2, timeout=None)
    database.connect()
    connection, closing = database.connection(), database._purepool.closing
    assert closing._is_idle(connection) is False
    database.close()
    assert closing._is_idle(connection) is True
    assert closing._is_idle(object()) is False


def test_an_interrupted_close_gives_up_its_connection_and_no_other() -> None:
    database = scripted(2, timeout=None)
    for _ in range(2):
        database.connect()
        database._state.closed = True
    first, second = database.driver.opened
    database._state.conn, database._state.closed = first, False
    database._purepool.closing.give_up(database._state)
    assert lent(database) == [second]
    database._state.conn = second
    database._purepool.closing.give_up(database._state)
    assert lent(database) == []


def test_what_the_pool_lent_and_another_closes_is_closed_once() -> None:
    """By whoever has it: a thread may close for another, as at the end of a program."""
    database = scripted(2, timeout=None)
    connection = Call(database._connect).result()
    database._close(connection, close_conn=True)
    assert lent(database) == []
    assert connection.closed == 1
    database._close(connection, close_conn=True)
    assert database.driver.mistakes == [f"{connection} was closed after it had been closed"]
    database.driver.mistakes.clear()


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_what_comes_back_is_said_only_where_that_is_asked_for(
    level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level, "peewee.pool")
    database = scripted(1, timeout=None)
    for _ in range(2):
        database.connect()
        database.close()
    texts = [record.getMessage() for record in caplog.records if "Returning" in record.getMessage()]
    assert len(texts) == (2 if level == logging.DEBUG else 0)


def test_what_comes_back_first_of_all_is_said_too() -> None:
    """Before the logger has kept which levels are on."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, before = Kept(), module.logger.level
    module.logger.addHandler(handler)
    module.logger.setLevel(logging.DEBUG)
    try:
        database = scripted(1, timeout=None)
        database.connect()
        module._levels.clear()
        database.close()
    finally:
        module.logger.setLevel(before)
        module.logger.removeHandler(handler)
    assert [one.getMessage().split()[0] for one in records][-1] == "Returning"


class Interfering(PooledScriptedDatabase):
    """Something else happens to the connection before ours comes to close it, or instead."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.first: Any = None
        self.passes = True
        super().__init__(*arguments, **settings)

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        first, self.first = self.first, None
        if first is not None:
            first(conn)
        if self.passes:
            super()._close(conn, close_conn)


def interfering(most: int = 1) -> Any:
    return Interfering("interfering", max_connections=most, timeout=None)


def close_everything(database: Any) -> None:
    runtime = database._purepool.runtime
    runtime.apply(CloseAll(runtime.clock()))


@pytest.mark.parametrize("forgets", [False, True])
def test_what_was_closed_meanwhile_is_not_closed_again(forgets: bool) -> None:
    """By a signal's handler, or by another thread: the pool had lent it, and closed it. Whether its
    owner knows of that or not."""
    database = interfering()
    database.connect()
    connection = database.connection()

    def close(_: Any) -> None:
        close_everything(database)
        if forgets:
            database._purepool.owners.forget_what_ended(database._state)

    database.first = close
    assert database.manual_close() is None
    assert (connection.closed, database.driver.mistakes) == (1, [])
    assert database._purepool.closing.doomed == {}


def test_what_was_closed_before_is_not_closed_again_by_its_owner() -> None:
    database = interfering()
    database.connect()
    connection = database.connection()
    close_everything(database)
    assert connection.closed == 1
    database._close(connection, close_conn=True)
    assert (connection.closed, database.driver.mistakes) == (1, [])


@pytest.mark.parametrize("by", ["its owner", "another"])
def test_what_a_listener_closed_is_not_closed_again(by: str) -> None:
    """It is told first that the connection comes back."""
    database = interfering()
    told: list[Any] = []

    def listen(notice: Any) -> None:
        told.append(notice.kind)
        close_everything(database)

    database.connect()
    connection = database.connection()
    database.listen("checkin", listen)
    if by == "another":
        Call(database._close, connection, True).result()
    else:
        database._close(connection, close_conn=True)
    assert (told, connection.closed, database.driver.mistakes) == (["checkin"], 1, [])


def test_after_a_close_all_its_owner_holds_nothing() -> None:
    database = scripted(2, timeout=None)
    for _ in range(2):
        database.connect()
        leases = database._purepool.owners.session(database._state).leases
        assert len(leases.handles()) == 1
        database.close_all()
        assert (leases.handles(), leases.first.held, leases.first.ended) == ([], None, True)


@pytest.mark.parametrize("close", [True, False])
def test_the_lease_that_ends_is_that_of_the_connection(
    close: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Though the program's own keys make no difference between two of them."""
    caplog.set_level(logging.DEBUG, "peewee.pool")
    database = scripted(2, timeout=None)
    database.conn_key = lambda _: "all the same"
    database.connect()
    first = database.connection()
    database._state.closed = True
    database.connect()
    second = database.connection()
    database._close(second, close_conn=close)
    assert lent(database) == [first]
    assert second.closed == close
    database._state.set_connection(first)
    database.close()


def test_what_was_given_back_meanwhile_is_closed_all_the_same() -> None:
    """Its owner wanted that; nobody has it, for it is idle."""
    database = interfering()
    database.connect()
    connection = database.connection()
    database.first = lambda it: database._purepool.closing.end_lease_of_another(it, False)
    database.manual_close()
    assert connection.closed == 1


def test_a_manual_close_whose_hook_does_not_pass_it_on_closes_all_the_same() -> None:
    database = interfering()
    database.connect()
    connection = database.connection()
    database.passes = False
    database.manual_close()
    assert (connection.closed, lent(database)) == (1, [])


def test_what_the_hook_gave_to_another_is_not_closed() -> None:
    """It was lent again by then."""
    database = interfering()
    database.connect()
    connection = database.connection()
    got: list[Any] = []

    def give(it: Any) -> None:
        database._purepool.closing.end_lease_of_another(it, False)
        got.append(Call(database._purepool.lend, database._purepool.owners.nobody).result())

    database.first, database.passes = give, False
    database.manual_close()
    assert got == [connection]
    assert (connection.closed, lent(database)) == (0, [connection])


def test_a_connection_of_nobodys_is_closed_by_hand() -> None:
    """The pool had never lent it: whoever put it there wants it closed."""
    database = interfering()
    connection = database.driver.connect()
    database._state.set_connection(connection)
    database.passes = False
    database.manual_close()
    assert connection.closed == 1


def test_a_manual_close_that_another_has_overtaken_closes_nothing() -> None:
    """A signal's handler closed, between two steps of it."""
    database = interfering()
    connection = database.driver.connect()
    database._state.set_connection(connection)
    key = database.conn_key

    def overtaken(it: Any) -> Any:
        database._state.closed = True
        return key(it)

    database.conn_key = overtaken
    database.manual_close()
    assert connection.closed == 0


@pytest.mark.parametrize("method", ["manual_close", "close_all"])
def test_nothing_changes_where_a_transaction_is_open(method: str) -> None:
    """Not even what a program has changed by hand in what it was shown is believed."""
    database = scripted(2, timeout=None)
    database.connect()
    connection = database.connection()
    database._state.transactions = [object()]
    database._in_use.clear()
    with pytest.raises(peewee.OperationalError, match="while transaction is open"):
        getattr(database, method)()
    assert lent(database) == [connection]
    assert database._purepool.closing.doomed == {}
    assert database._purepool.closing._all == {}
    database._state.transactions = []


def test_a_manual_close_that_is_interrupted_leaves_no_doom() -> None:
    database = interfering()
    database.connect()
    database.first = raising(Stop())
    with pytest.raises(Stop):
        database.manual_close()
    assert database._purepool.closing.doomed == {}
    assert lent(database) == [], "and the connection is the pool's again"


def test_all_is_closed_at_the_time_of_the_call() -> None:
    """A recording has the time of each event."""
    database = Keeping("keeping", max_connections=2, timeout=None)
    other = scripted(2, timeout=None)
    for each in (database, other):
        seen: list[Any] = []
        runtime = each._purepool.runtime
        step = runtime.step
        runtime.step = lambda state, event, seen=seen, step=step: (
            seen.append(event) or step(state, event)
        )
        each.connect()
        each.close_all()
        assert [type(event.now) for event in seen] == [float] * len(seen)
        kinds = {type(event) for event in seen}
        assert kinds & {CloseAll, CloseStale} == {CloseStale if each is database else CloseAll}


def test_an_interrupted_close_all_gives_up_what_its_state_has_and_nothing_else() -> None:
    """Not what is lent to somebody whom the state has forgotten; and where the connection is none
    of the pool's, what interrupted it is passed on as it is."""
    database = Failing("failing", max_connections=2, timeout=None)
    database.connect()
    connection = database.connection()
    database._state.closed = True
    database.fails = True
    with pytest.raises(Stop):
        database.close_all()
    assert lent(database) == [connection]
    database._state.set_connection(database.driver.connect())
    with pytest.raises(Stop):
        database.close_all()
    assert lent(database) == [connection]
