"""The recipes of drivers that need a server, held to scripted connections.

Theory.  What a real driver does is asked in `test_pool_drivers.py`, of a real server.  But each
state in which a connection can come back is quickly had from a connection that is told what to
show, and that writes down what it was asked to do: what matters most is what is not done, a commit
of what is unfinished, a round trip where nothing is open.
"""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pool import Pool
from pool.drivers import sqlite as sqlite_module
from pool.drivers.mysql import MariaDB, MySQLConnector, PyMySQL
from pool.drivers.postgres import Psycopg, Psycopg2
from pool.drivers.recipe import Known, Recipe
from pool.drivers.recipes import recipe_for
from pool.drivers.sqlite import Sqlite3
from pool.threads.driver import Sync
from tests.integration.drivers import raising

IDLE, ACTIVE, IN_TRANSACTION, IN_ERROR, UNKNOWN = range(5)


class OperationalError(Exception):
    """As each of these drivers calls it."""


class Scripted:
    """What connections of all drivers have; `said` is what was sent, in order."""

    OperationalError = OperationalError

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.ends = True
        """Whether a commit or rollback ends the transaction."""

    def commit(self) -> None:
        self.said.append("commit")
        self.end()

    def rollback(self) -> None:
        self.said.append("rollback")
        self.end()

    def close(self) -> None:
        self.said.append("close")

    def end(self) -> None:
        if self.ends:
            self.show(IDLE)

    def show(self, status: int) -> None:
        raise NotImplementedError


def direct(name: str) -> Any:
    """A property as psycopg's, over a field."""
    return property(lambda it: getattr(it, name), lambda it, value: setattr(it, name, value))


class PsycopgConnection(Scripted):
    __module__ = "psycopg"

    autocommit = direct("_autocommit")
    isolation_level = direct("_isolation_level")
    read_only = direct("_read_only")
    deferrable = direct("_deferrable")

    def __init__(self) -> None:
        super().__init__()
        self.pgconn = SimpleNamespace(transaction_status=IDLE)
        self.closed = self.broken = False
        self.lock: Any = threading.Lock()
        self._autocommit = False
        self._isolation_level = self._read_only = self._deferrable = None
        self.row_factory = self.cursor_factory = self.server_cursor_factory = tuple
        self._prepared = SimpleNamespace(prepare_threshold=5, prepared_max=100)
        self._pipeline: Any = None
        self._num_transactions = 0
        self._tpc: Any = None
        self._notice_handlers: list[Any] = []
        self._notify_handlers: list[Any] = []

    @property
    def prepare_threshold(self) -> Any:
        return self._prepared.prepare_threshold

    @prepare_threshold.setter
    def prepare_threshold(self, value: Any) -> None:
        self._prepared.prepare_threshold = value

    @property
    def prepared_max(self) -> Any:
        return self._prepared.prepared_max

    @prepared_max.setter
    def prepared_max(self, value: Any) -> None:
        self._prepared.prepared_max = value

    def show(self, status: int) -> None:
        self.pgconn.transaction_status = status

    def execute(self, query: str) -> None:
        self.said.append((query, self.autocommit))


class Psycopg2Connection(Scripted):
    __module__ = "psycopg2.extensions"

    def __init__(self) -> None:
        super().__init__()
        self.transaction_status = IDLE
        self.closed = 0
        self.autocommit = False
        self.isolation_level = self.readonly = self.deferrable = None
        self.cursor_factory: Any = None
        self.string_types: dict[int, Any] = {}
        self.binary_types: dict[int, Any] = {}
        self._encoding = "UTF8"
        self.status = 1

    @property
    def encoding(self) -> str:
        return self._encoding

    def get_transaction_status(self) -> int:
        return self.transaction_status

    def show(self, status: int) -> None:
        self.transaction_status = status

    def set_session(self, **settings: Any) -> None:
        self.said.append(settings)
        for name, value in settings.items():
            setattr(self, name, None if value == "DEFAULT" else value)

    def set_client_encoding(self, encoding: str) -> None:
        self.said.append(encoding)
        self._encoding = encoding

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        def execute(query: str) -> None:
            self.said.append((query, self.autocommit))
            if query == "ROLLBACK":
                self.end()

        yield SimpleNamespace(execute=execute)


class PyMySQLConnection(Scripted):
    __module__ = "pymysql.connections"

    def __init__(self) -> None:
        super().__init__()
        self.server_status = 0
        self.autocommit_mode: Any = False
        self.open = True
        self._closed = False
        self._result: Any = None
        self.cursorclass: Any = tuple
        self.charset, self.collation = "utf8mb4", "utf8mb4_bin"
        self.encoders: dict[Any, Any] = {}
        self.decoders: dict[Any, Any] = {}

    def get_autocommit(self) -> bool:
        return bool(self.server_status & 2)

    def autocommit(self, value: bool) -> None:
        self.said.append(("autocommit", value))
        self.server_status = self.server_status & ~2 | 2 * value

    def set_character_set(self, charset: str, collation: str) -> None:
        self.said.append((charset, collation))
        self.charset, self.collation = charset, collation

    def ping(self, reconnect: bool = True) -> None:
        self.said.append(("ping", reconnect))

    def show(self, status: int) -> None:
        self.server_status = self.server_status & ~1 | (status == IN_TRANSACTION)


class MySQLConnectorConnection(Scripted):
    __module__ = "mysql.connector.connection"

    def __init__(self) -> None:
        super().__init__()
        self.in_transaction = False
        self.unread_result = False
        self._autocommit = False
        self._handshake: Any = {}
        self.charset, self.collation = "utf8mb4", "utf8mb4_bin"
        self.sql_mode = "STRICT"
        self.get_warnings = self.raise_on_warnings = False
        self.connection_id = 7

    @property
    def autocommit(self) -> bool:
        raise AssertionError("who reads it asks the server")

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.said.append(("autocommit", value))
        self._autocommit = value

    def set_charset_collation(self, charset: str, collation: str) -> None:
        self.said.append((charset, collation))
        self.charset, self.collation = charset, collation

    def ping(self, reconnect: bool = True) -> None:
        self.said.append(("ping", reconnect))

    def show(self, status: int) -> None:
        self.in_transaction = status == IN_TRANSACTION


class MariaDBConnection(Scripted):
    __module__ = "mariadb.connections"

    def __init__(self) -> None:
        super().__init__()
        self.server_status = 0
        self.autocommit = self.auto_reconnect = False
        self.tpc_state: Any = None
        self.thread_id = 7
        self._closed = False

    def ping(self) -> None:
        self.said.append("ping")

    def show(self, status: int) -> None:
        self.server_status = int(status == IN_TRANSACTION)


DRIVERS: dict[type[Any], type[Known]] = {
    PsycopgConnection: Psycopg,
    Psycopg2Connection: Psycopg2,
    PyMySQLConnection: PyMySQL,
    MySQLConnectorConnection: MySQLConnector,
    MariaDBConnection: MariaDB,
}
POSTGRES = [PsycopgConnection, Psycopg2Connection]
MYSQL = [PyMySQLConnection, MySQLConnectorConnection, MariaDBConnection]


def each(kinds: Any) -> Any:
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: DRIVERS[kind].__name__)


class Proxy:
    """As a tool for tracing puts in front of a driver's connection: it passes on what is public."""

    def __init__(self, connection: Any) -> None:
        self.__wrapped__ = connection

    def __getattr__(self, name: str) -> Any:
        if name in ("lock", "pgconn", "string_types") or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


def met(kind: type[Any], **fields: Any) -> tuple[Any, Any]:
    """A connection as it is lent, with its recipe; then with what its holder has done to it."""
    connection = kind()
    recipe = recipe_for(connection)
    assert type(recipe) is DRIVERS[kind]
    recipe.remember(connection)
    for name, value in fields.items():
        setattr(connection, name, value)
    return connection, recipe


def is_closed(connection: Any) -> None:
    """What `close()` leaves behind in each driver."""
    connection.closed = 1 if isinstance(connection, Psycopg2Connection) else True
    connection._closed, connection._handshake, connection.open = True, None, False
    if isinstance(connection, (PsycopgConnection, Psycopg2Connection)):
        connection.show(UNKNOWN)


# ---------------------------------------------------------------- what is open


@each(POSTGRES)
def test_where_nothing_is_open_nothing_is_sent(kind: Any) -> None:
    raw = kind()
    for connection in (raw, Proxy(raw)):
        recipe: Any = recipe_for(connection)
        assert recipe.is_clean(connection) is False, "nothing is known of it yet"
        recipe.remember(connection)
        assert recipe.is_clean(connection) is True
        assert recipe.commit(connection) is True
        assert recipe.reset(connection) is True
        assert recipe.settle(connection) is True
        assert recipe.is_open(connection) is False
    assert raw.said == []


def test_a_glance_at_a_connection_asks_no_property_in_python() -> None:
    """Those of psycopg are slow; it keeps the same in fields."""

    class Slow(PsycopgConnection):
        asked = 0

        @property
        def isolation_level(self) -> Any:  # type: ignore[override]
            type(self).asked += 1
            return self._isolation_level

    connection = Slow()
    recipe: Any = recipe_for(connection)
    recipe.remember(connection)
    before = Slow.asked
    assert recipe.is_clean(connection) is True
    assert Slow.asked == before


@each(DRIVERS)
def test_what_can_be_asked_nothing_any_more_is_neither_clean_nor_open(kind: Any) -> None:
    """It raises whatever it is asked: then it has to be looked into."""
    connection, recipe = met(kind)
    for name in ("pgconn", "transaction_status", "server_status", "in_transaction"):
        vars(connection).pop(name, None)
    assert recipe.is_clean(connection) is False
    assert recipe.is_open(connection) is False


@each(DRIVERS)
def test_after_the_users_reset_all_is_settled(kind: Any) -> None:
    """What it left open is committed, what it changed is put back."""
    connection, recipe = met(kind)
    connection.show(IN_TRANSACTION)
    name = next(name for name in recipe.SETTINGS if name not in recipe.FIXED)
    name = "cursorclass" if kind is PyMySQLConnection else name
    before = getattr(connection, name)
    setattr(connection, name, "another" if name == "cursorclass" else "")
    assert recipe.settle(connection) is True
    assert getattr(connection, name) == before
    assert connection.said[0] == "commit"


@each(DRIVERS)
def test_what_is_open_is_ended_once(kind: Any) -> None:
    """As asked for: by a commit, after which a reset has nothing to do, or by a rollback."""
    for end in ("commit", "reset"):
        connection, recipe = met(kind)
        connection.show(IN_TRANSACTION)
        assert recipe.is_open(connection) is True
        assert getattr(recipe, end)(connection) is True
        assert recipe.is_open(connection) is False
        assert connection.said == ["commit" if end == "commit" else "rollback"]


@each(DRIVERS)
def test_a_commit_that_ended_nothing_is_not_believed(kind: Any) -> None:
    connection, recipe = met(kind)
    connection.show(IN_TRANSACTION)
    connection.ends = False
    assert recipe.commit(connection) is False


@each(DRIVERS)
def test_what_its_holder_changed_is_seen_by_the_commit(kind: Any) -> None:
    """It has nothing left to put back only if everything is as it was lent."""
    connection, recipe = met(kind)
    connection.show(IN_TRANSACTION)
    name = {"MySQLConnector": "sql_mode", "PyMySQL": "cursorclass"}.get(type(recipe).__name__)
    name = name or {"MariaDB": "auto_reconnect"}.get(type(recipe).__name__, "cursor_factory")
    setattr(connection, name, "another")
    assert recipe.commit(connection) is False
    assert connection.said == ["commit"]


@each(DRIVERS)
def test_a_listener_is_told_of_each_rollback(kind: Any) -> None:
    """Where the driver shows that a transaction was left open."""
    told: list[Any] = []
    pool: Pool[Any] = Pool(kind, opener="caller", listeners={"rolled_back": told.append})
    lease = pool.acquire()
    connection: Any = lease.connection
    connection.show(IN_TRANSACTION)
    lease.release()
    pool.acquire().release()
    assert [notice.connection for notice in told] == [connection]
    pool.close()


@each(POSTGRES)
def test_what_has_failed_is_rolled_back(kind: Any) -> None:
    connection, recipe = met(kind)
    connection.show(IN_ERROR)
    assert recipe.is_open(connection) is True
    assert recipe.reset(connection) is True
    assert connection.said == ["rollback"]


@each(POSTGRES)
def test_a_broken_connection_is_sent_nothing(kind: Any) -> None:
    connection, recipe = met(kind)
    connection.show(UNKNOWN)
    assert recipe.roll_back(connection) is False
    assert recipe.reset(connection) is False
    assert connection.said == []


@each(POSTGRES)
def test_a_query_that_has_not_ended_is_not_committed(kind: Any) -> None:
    """Its holder is told, by an error of its driver; the connection is of no use."""
    connection, recipe = met(kind)
    connection.show(ACTIVE)
    with pytest.raises(OperationalError, match=r"while a query or a COPY has not ended in this"):
        recipe.commit(connection)
    assert recipe.roll_back(connection) is False
    assert recipe.reset(connection) is False
    assert connection.said == []


@each(MYSQL)
def test_the_server_alone_knows_what_is_open(kind: Any) -> None:
    """Outside of autocommit both are sent, whatever was said last: a statement that failed may have
    begun a transaction."""
    connection, recipe = met(kind)
    assert recipe.is_clean(connection) is False
    assert recipe.commit(connection) is True
    assert recipe.reset(connection) is True
    assert connection.said == ["commit", "rollback"]


def in_autocommit(connection: Any) -> None:
    if isinstance(connection, PyMySQLConnection):
        connection.server_status |= 2
    elif isinstance(connection, MySQLConnectorConnection):
        connection._autocommit = True
    else:
        connection.autocommit = True


@each(DRIVERS)
def test_autocommit_has_nothing_to_commit(kind: Any) -> None:
    """A transaction that was begun by hand is rolled back when the connection comes back."""
    connection = kind()
    in_autocommit(connection)
    recipe = recipe_for(connection)
    recipe.remember(connection)
    if kind in MYSQL:
        assert recipe.in_autocommit(connection) is True
        assert recipe.commit(connection) is False
        assert recipe.reset(connection) is True
        assert connection.said == [], "nothing is open"
    connection.show(IN_TRANSACTION)
    assert recipe.commit(connection) is False
    assert connection.said == []
    assert recipe.reset(connection) is True
    by_hand = ("ROLLBACK", True) if kind is Psycopg2Connection else "rollback"
    assert connection.said == [by_hand]


@each(DRIVERS)
def test_without_autocommit_it_is_not_in_it(kind: Any) -> None:
    _, recipe = met(kind)
    assert recipe.in_autocommit(kind()) is False


def test_a_rollback_that_ends_nothing_costs_the_connection() -> None:
    """psycopg2 in autocommit knows nothing of what was begun by hand: it is asked afterwards."""
    connection, recipe = met(Psycopg2Connection, ends=False)
    connection.show(IN_TRANSACTION)
    assert recipe.roll_back(connection) is False
    assert connection.said == ["rollback"]


# ---------------------------------------------------------------- who closed it


@each(DRIVERS)
def test_what_its_holder_closed_is_left_alone(kind: Any) -> None:
    connection, recipe = met(kind)
    assert recipe.is_closed(connection) is False
    is_closed(connection)
    assert recipe.is_closed(connection) is True
    assert recipe.commit(connection) is False
    assert connection.said == []


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        (PsycopgConnection, {"closed": True, "broken": True}),
        (Psycopg2Connection, {"closed": 2}),
        (PyMySQLConnection, {"open": False}),
    ],
)
def test_what_was_lost_is_not_what_its_holder_closed(kind: Any, lost: dict[str, Any]) -> None:
    connection, recipe = met(kind, **lost)
    assert recipe.is_closed(connection) is False


def test_what_does_not_say_whether_it_is_closed_is_not() -> None:
    """mysql.connector's has a handshake while it is open, and in another version perhaps not."""
    connection, recipe = met(MySQLConnectorConnection)
    del connection._handshake
    assert recipe.is_closed(connection) is False
    connection, recipe = met(PyMySQLConnection)
    del connection._closed, connection._result
    assert recipe.is_closed(connection) is False
    assert recipe.is_finished(connection) is True


def test_what_was_lost_has_nothing_to_read() -> None:
    """pymysql keeps the last result; its commit raises, which the holder has to hear."""
    connection, recipe = met(
        PyMySQLConnection, open=False, _result=SimpleNamespace(unbuffered_active=True)
    )
    assert recipe.commit(connection) is True
    assert recipe.is_finished(connection) is False
    assert connection.said == ["commit"]


# ---------------------------------------------------------------- what is unfinished


def test_a_suspended_generator_of_psycopg_holds_the_lock() -> None:
    """As long as `notifies()` or `stream()` have not ended: with a transaction it is an error,
    without one there is nothing to commit. The connection is of no use."""
    connection, recipe = met(PsycopgConnection)
    connection.lock.acquire()
    assert recipe.is_clean(connection) is False
    assert recipe.commit(connection) is False
    assert recipe.roll_back(connection) is True
    assert recipe.reset(connection) is False
    connection.show(IN_TRANSACTION)
    with pytest.raises(OperationalError, match=r"while notifies\(\), stream\(\) or a COPY"):
        recipe.commit(connection)
    assert recipe.roll_back(connection) is False
    assert connection.said == []


@pytest.mark.parametrize("status", [ACTIVE, IN_TRANSACTION])
def test_a_pipeline_of_psycopg_is_committed(status: int) -> None:
    """Until it is synchronised its transaction is under way; in autocommit that is all it needs. It
    cannot be put back."""
    connection, recipe = met(PsycopgConnection)
    connection.show(status)
    connection._pipeline = SimpleNamespace(sync=lambda: connection.said.append("sync"))
    assert recipe.commit(connection) is False, "it is left open"
    assert connection.said == ["commit"]
    connection.show(status)
    connection.autocommit = True
    assert recipe.commit(connection) is False
    assert connection.said == ["commit", "sync"]


def test_a_psycopg_without_a_lock_or_pipelines() -> None:
    """As other versions may be: what it does not show is not asked for."""

    class Another(PsycopgConnection):
        def __init__(self) -> None:
            super().__init__()
            del self.lock, self._pipeline

    connection = Another()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    for end in ("commit", "roll_back"):
        connection.show(IN_TRANSACTION)
        getattr(recipe, end)(connection)
    connection.show(IDLE)
    assert recipe.is_finished(connection) is True
    assert connection.said == ["commit", "rollback"]


@each([PyMySQLConnection, MySQLConnectorConnection])
def test_rows_that_were_not_read_are_not_read_for_a_commit(kind: Any) -> None:
    """The rest may be long. Its holder is told; the connection is of no use."""
    connection, recipe = met(kind)
    assert recipe.is_read(connection) is True
    connection.unread_result = True
    connection._result = SimpleNamespace(unbuffered_active=True)
    assert recipe.is_read(connection) is False
    with pytest.raises(OperationalError, match=r"while an unbuffered result was not read to its"):
        recipe.commit(connection)
    assert recipe.roll_back(connection) is False
    assert recipe.reset(connection) is False
    assert connection.said == []


@pytest.mark.parametrize("left", ["unbuffered_active", "has_next"])
def test_a_result_of_pymysql_that_has_more_to_come(left: str) -> None:
    """It is committed, if all rows of the result were read; but not lent again."""
    connection, recipe = met(PyMySQLConnection)
    connection._result = SimpleNamespace(unbuffered_active=False, has_next=False)
    assert recipe.is_finished(connection) is True
    setattr(connection._result, left, True)
    assert recipe.is_finished(connection) is False
    connection._result = SimpleNamespace()
    assert recipe.is_finished(connection) is True


def test_a_two_phase_transaction_of_mariadb_has_a_commit_of_its_own() -> None:
    connection, recipe = met(MariaDBConnection, tpc_state=1)
    assert recipe.commit(connection) is False
    assert recipe.reset(connection) is False, "and cannot be put back"
    assert connection.said == ["rollback"]


# ---------------------------------------------------------------- settings


CHANGES = [
    *[(PsycopgConnection, name) for name in Psycopg.SETTINGS if name not in Psycopg.FIXED],
    *[(Psycopg2Connection, name) for name in Psycopg2.SETTINGS if name not in Psycopg2.FIXED],
    *[(PyMySQLConnection, name) for name in ("autocommit", *PyMySQL.SETTINGS)],
    *[(MySQLConnectorConnection, n) for n in MySQLConnector.SETTINGS if n != "connection_id"],
    *[(MariaDBConnection, name) for name in ("autocommit", "auto_reconnect")],
]


@pytest.mark.parametrize(
    ("kind", "name"), CHANGES, ids=[f"{DRIVERS[kind].__name__}-{name}" for kind, name in CHANGES]
)
def test_a_setting_is_put_back(kind: Any, name: str) -> None:
    """What a holder set is as before for the next; what the driver keeps in a list or a table is
    put back into that very one."""
    connection = kind()
    by_hand = kind is PyMySQLConnection and name == "autocommit"
    before = connection.get_autocommit() if by_hand else getattr(connection, name)
    if isinstance(before, list):
        before.append("first")
    if isinstance(before, dict):
        before[1] = "first"
    kept = before.copy() if isinstance(before, (list, dict)) else before
    recipe = recipe_for(connection)
    recipe.remember(connection)
    if isinstance(before, list):
        before.append("another")
    elif isinstance(before, dict):
        before[2] = "another"
    elif by_hand:
        connection.server_status |= 2
    elif name == "encoding":
        connection.set_client_encoding("another")
    else:
        setattr(connection, name, not before if type(before) is bool else "another")
    assert recipe.restore(connection) is True
    after = connection.get_autocommit() if by_hand else getattr(connection, name)
    assert after == kept
    if isinstance(before, (list, dict)):
        assert after is before
    said, connection.said = connection.said, []
    assert recipe.restore(connection) is True
    assert connection.said == [], "nothing is left to be put back"
    if name in ("isolation_level", "readonly", "deferrable") and kind is Psycopg2Connection:
        assert said == [{name: "DEFAULT"}]
    if name in ("autocommit", "_autocommit") and kind in MYSQL[:2]:
        assert said == [("autocommit", before)], "the server is told"
    if name in ("charset", "collation"):
        assert said == ([("utf8mb4", "utf8mb4_bin")] if name == "charset" else [])


def test_a_setting_of_psycopg2_that_was_given_is_given_again() -> None:
    connection = Psycopg2Connection()
    connection.isolation_level = 4  # type: ignore[assignment]
    recipe = recipe_for(connection)
    recipe.remember(connection)
    connection.isolation_level = 1  # type: ignore[assignment]
    assert recipe.restore(connection) is True
    assert connection.said == [{"isolation_level": 4}]


@each([PyMySQLConnection, MySQLConnectorConnection])
def test_a_collation_is_put_back_with_its_character_set(kind: Any) -> None:
    """In one: to set a character set gives it a collation of its own."""
    connection, recipe = met(kind, charset="latin1", collation="latin1_bin")
    assert recipe.restore(connection) is True
    assert connection.said == [("utf8mb4", "utf8mb4_bin")]


@each([PyMySQLConnection, MySQLConnectorConnection])
def test_what_is_equal_is_not_sent_again(kind: Any) -> None:
    connection, recipe = met(kind)
    connection.charset = "".join(["utf8", "mb4"])
    name = "cursorclass" if kind is PyMySQLConnection else "sql_mode"
    setattr(connection, name, "another")
    assert recipe.restore(connection) is True
    assert connection.said == []


FIXED = [
    (PsycopgConnection, "_pipeline", object()),
    (PsycopgConnection, "_num_transactions", 1),
    (PsycopgConnection, "_tpc", (1, True)),
    (Psycopg2Connection, "status", 5),
    (MySQLConnectorConnection, "connection_id", 8),
    (MariaDBConnection, "thread_id", 8),
    (MariaDBConnection, "tpc_state", 1),
]


@pytest.mark.parametrize(("kind", "name", "value"), FIXED)
def test_what_cannot_be_put_back_is_not_lent_again(kind: Any, name: str, value: Any) -> None:
    connection, recipe = met(kind, **{name: value})
    assert recipe.restore(connection) is False
    assert getattr(connection, name) == value, "it is not even tried"


def test_another_version_of_psycopg_is_asked_by_its_public_names() -> None:
    """Its own fields may have other names: then each setting is read by its property."""

    class Another(PsycopgConnection):
        def __init__(self) -> None:
            super().__init__()
            del self._prepared

        prepare_threshold = prepared_max = 5  # type: ignore[assignment]

    connection = Another()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    assert recipe.reset(connection) is True
    connection.row_factory = dict  # type: ignore[assignment]
    assert recipe.reset(connection) is True
    assert connection.row_factory is tuple
    assert connection.said == []


# ---------------------------------------------------------------- is it alive


@each(POSTGRES)
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_check_opens_no_transaction(kind: Any, autocommit: bool) -> None:
    """It is asked in autocommit, and is then as it was."""
    connection, recipe = met(kind, autocommit=autocommit)
    assert recipe.is_alive(connection) is True
    assert connection.said == [("" if kind is PsycopgConnection else "SELECT 1", True)]
    assert connection.autocommit is autocommit


@each(POSTGRES)
@pytest.mark.parametrize("closed", [False, True])
def test_a_check_that_fails_says_why(kind: Any, closed: bool) -> None:
    """And leaves autocommit as it was, unless the connection is closed: it would complain."""

    class Failing(kind):  # type: ignore[misc]
        def execute(self, query: str) -> None:
            self.closed = closed
            raise OperationalError("gone")

        @contextmanager
        def cursor(self) -> Iterator[Any]:
            yield self

    connection = Failing()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    with pytest.raises(OperationalError, match="gone"):
        recipe.is_alive(connection)
    assert connection.autocommit is closed


@each(MYSQL)
def test_a_ping_does_not_connect_again(kind: Any) -> None:
    connection, recipe = met(kind)
    assert recipe.is_alive(connection) is True
    assert connection.said == ["ping" if kind is MariaDBConnection else ("ping", False)]


# ---------------------------------------------------------------- behind something else


@each(DRIVERS)
def test_what_stands_for_a_connection_sees_its_transactions_end(kind: Any) -> None:
    """The driver's own is asked; what ends a transaction goes through what was lent."""
    raw = kind()

    class Traced(Proxy):
        def commit(self) -> None:
            raw.said.append("traced")
            raw.commit()

        def rollback(self) -> None:
            raw.said.append("traced")
            raw.rollback()

    connection = Traced(raw)
    recipe = recipe_for(connection)
    assert type(recipe) is DRIVERS[kind]
    recipe.remember(connection)
    assert recipe.is_closed(connection) is False
    assert recipe.is_alive(connection) is True
    raw.said.clear()
    raw.show(IN_TRANSACTION)
    assert recipe.is_open(connection) is True
    assert recipe.commit(connection) is True
    raw.show(IN_TRANSACTION)
    assert recipe.reset(connection) is True
    assert raw.said == ["traced", "commit", "traced", "rollback"]
    is_closed(raw)
    assert recipe.is_closed(connection) is True
    assert recipe.commit(connection) is False


@each(DRIVERS)
def test_what_was_set_through_it_is_put_back_where_the_driver_has_it(kind: Any) -> None:
    """What stands for a connection may keep for itself what is set in it."""
    raw = kind()
    connection = Proxy(raw)
    recipe = recipe_for(connection)
    recipe.remember(connection)
    name = [name for name in recipe.SETTINGS if name not in recipe.FIXED][-1]
    before = getattr(raw, name)
    if isinstance(before, list):
        before.append("another")
        before = []
    else:
        name = "cursor_factory" if name == "encoding" else name
        before = getattr(raw, name)
        setattr(raw, name, "another")
    assert recipe.reset(connection) is True
    assert getattr(raw, name) == before
    assert name not in vars(connection)


# ---------------------------------------------------------------- of which little is known


class Unknown(Scripted):
    """Of a driver that nobody knows."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        vars(self).update(fields)

    def show(self, status: int) -> None:
        pass


def unknown(**fields: Any) -> tuple[Any, Recipe]:
    connection = Unknown(**fields)
    recipe = recipe_for(connection)
    assert type(recipe) is Recipe
    recipe.remember(connection)
    return connection, recipe


def test_an_unknown_driver_is_believed_and_asked_for_both() -> None:
    connection, recipe = unknown()
    assert recipe.is_alive(connection) is True
    assert recipe.is_open(connection) is False
    assert recipe.is_closed(connection) is False
    assert recipe.in_autocommit(connection) is False
    assert recipe.is_finished(connection) is True
    assert recipe.is_as_left(connection) is True
    assert recipe.commit(connection) is False, "that it does not complain means nothing"
    assert recipe.roll_back(connection) is True
    assert recipe.reset(connection) is True
    assert recipe.settle(connection) is True
    assert connection.said == ["commit", "rollback", "rollback", "commit"]


def test_autocommit_of_an_unknown_driver_has_nothing_to_commit() -> None:
    connection, recipe = unknown(autocommit=True)
    assert recipe.in_autocommit(connection) is True
    assert recipe.commit(connection) is False
    assert connection.said == []
    connection.autocommit = False
    recipe.commit(connection)
    assert connection.said == ["commit"]
    assert recipe.reset(connection) is True
    assert connection.autocommit is True, "as it was lent"
    assert recipe.is_as_left(connection) is True
    connection.autocommit = False
    assert recipe.is_as_left(connection) is False
    assert recipe.settle(connection) is True
    assert connection.autocommit is True


@pytest.mark.parametrize("said", ["yes", 1, lambda: True, None])
def test_what_is_no_truth_value_says_nothing_of_an_unknown_driver(said: Any) -> None:
    connection, recipe = unknown(autocommit=said, closed=said)
    assert recipe.in_autocommit(connection) is False
    assert recipe.is_closed(connection) is False
    connection.autocommit = connection.closed = "another"
    assert recipe.restore(connection) is True
    assert (connection.autocommit, connection.closed) == ("another", "another")


def test_an_unknown_driver_that_says_it_is_closed() -> None:
    connection, recipe = unknown(closed=False)
    assert recipe.is_closed(connection) is False
    connection.closed = True
    assert recipe.is_closed(connection) is True
    assert recipe.commit(connection) is False
    assert connection.said == []
    assert recipe.reset(connection) is False, "it cannot be put back"
    assert connection.closed is True


def test_settings_of_an_unknown_driver_that_cannot_be_set() -> None:
    class Fixed(Unknown):
        @property
        def autocommit(self) -> bool:
            return not self.said

    connection = Fixed()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    with pytest.raises(AttributeError):
        recipe.reset(connection)


class NotSupportedError(Exception):
    """As PEP 249 calls it."""


def test_what_has_no_transactions_is_found_out_once() -> None:
    class Flat(Unknown):
        def rollback(self) -> None:
            self.said.append("rollback")
            raise NotSupportedError

    connection = Flat()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    assert recipe.has_transactions is True
    assert recipe.reset(connection) is True
    assert recipe.has_transactions is False
    assert recipe.reset(connection) is True
    assert recipe.roll_back(connection) is True
    assert recipe.commit(connection) is False
    assert connection.said == ["rollback"]


def test_a_rollback_that_fails_is_an_error() -> None:
    class Failing(Unknown):
        def rollback(self) -> None:
            raise OperationalError("gone")

    connection = Failing()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    for end in (recipe.reset, recipe.roll_back):
        with pytest.raises(OperationalError):
            end(connection)
    assert recipe.has_transactions is True


@pytest.mark.parametrize("error", [None, OperationalError("gone"), NotSupportedError("rollback")])
def test_a_commit_that_is_not_supported_is_an_error_unless_a_rollback_is_not(error: Any) -> None:
    supported = type(error) is not NotSupportedError

    class Half(Unknown):
        def commit(self) -> None:
            raise NotSupportedError("commit")

        def rollback(self) -> None:
            if error:
                raise error

    connection = Half()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    if supported:
        with pytest.raises(NotSupportedError, match="commit"):
            recipe.commit(connection)
    else:
        assert recipe.commit(connection) is False
    assert recipe.has_transactions is supported


def test_a_commit_that_fails_is_an_error_of_its_own() -> None:
    class Failing(Unknown):
        def commit(self) -> None:
            raise OperationalError("serialization")

    connection = Failing()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    with pytest.raises(OperationalError, match="serialization"):
        recipe.commit(connection)
    assert connection.said == [], "no rollback of what the holder may want to try again"


def test_what_has_no_rollback_has_no_transactions() -> None:
    class Socket:
        autocommit = closed = False

        def close(self) -> None:
            raise AssertionError

    connection = Socket()
    recipe = recipe_for(connection)
    recipe.remember(connection)
    assert recipe.commit(connection) is True
    assert recipe.roll_back(connection) is True
    assert recipe.reset(connection) is True
    connection.autocommit = connection.closed = True
    assert recipe.reset(connection) is True
    assert recipe.settle(connection) is True
    assert recipe.is_closed(connection) is False
    assert (connection.autocommit, connection.closed) == (True, True), "it is none of ours"


def test_without_a_class_of_its_driver_it_is_a_plain_error() -> None:
    """PEP 249 lets a connection have its driver's errors, and does not ask for it."""

    class Bare(PyMySQLConnection):
        @property
        def OperationalError(self) -> Any:  # type: ignore[override]
            raise AttributeError

    connection = Bare()
    connection._result = SimpleNamespace(unbuffered_active=True)
    with pytest.raises(RuntimeError, match="nothing was committed, and the connection is closed"):
        recipe_for(connection).commit(connection)


# ---------------------------------------------------------------- sqlite3


class SqliteConnection:
    """As sqlite3's of Python 3.12 and later, where `autocommit` decides; -1: `isolation_level`."""

    __module__ = "sqlite3"

    def __init__(self, autocommit: Any = -1, isolation_level: Any = "") -> None:
        self.said: list[str] = []
        self.autocommit, self.isolation_level = autocommit, isolation_level
        self.row_factory = self.text_factory = None
        self.in_transaction = False
        self.total_changes = 0
        self.unfinished = False
        self.fails: Any = None

    def __call__(self, statement: str) -> None:
        if self.unfinished:
            raise OperationalError("interrupted")

    def interrupt(self) -> None:
        """What is unfinished ends with it, but for what is not read to its end."""

    def execute(self, statement: str) -> None:
        self(statement)
        self.said.append(statement)
        if statement == "rollback":
            self.in_transaction = False

    def commit(self) -> None:
        self.said.append("commit")
        if self.fails is not None:
            fails, self.fails = self.fails, None
            fails()
            raise OperationalError("cannot commit")
        self.in_transaction = False

    def rollback(self) -> None:
        self.said.append("rollback()")
        self.in_transaction = False


def sqlite_met(**settings: Any) -> tuple[Any, Any]:
    connection = SqliteConnection(**settings)
    recipe = recipe_for(connection)
    assert type(recipe) is Sqlite3
    recipe.remember(connection)
    return connection, recipe


@pytest.mark.parametrize(
    ("settings", "autocommit"),
    [
        ({"autocommit": True}, True),
        ({"autocommit": True, "isolation_level": None}, True),
        ({"autocommit": False}, False),
        ({"autocommit": False, "isolation_level": None}, False),
        ({"autocommit": -1}, False),
        ({"autocommit": -1, "isolation_level": None}, True),
    ],
)
def test_who_decides_on_autocommit_of_sqlite3(settings: Any, autocommit: bool) -> None:
    """What was begun by hand is ended by hand: the methods know nothing of it."""
    connection, recipe = sqlite_met(**settings)
    assert recipe.in_autocommit(connection) is autocommit
    connection.in_transaction = True
    assert recipe.is_open(connection) is True
    assert recipe.commit(connection) is not autocommit
    assert connection.said == ([] if autocommit else ["commit"])
    connection.in_transaction = True
    assert recipe.roll_back(connection) is True
    assert connection.said[-1] == ("rollback" if autocommit else "rollback()")


def test_before_python_3_12_the_isolation_level_decides() -> None:
    connection, recipe = sqlite_met(isolation_level=None)
    del connection.autocommit
    assert recipe.in_autocommit(connection) is True
    connection.isolation_level = ""
    assert recipe.in_autocommit(connection) is False


@pytest.mark.parametrize("was", [True, -1, False])
@pytest.mark.parametrize("is_open", [True, False])
def test_autocommit_of_sqlite3_is_put_back(was: Any, is_open: bool) -> None:
    """Where it is False a transaction stands open all the time: one that is not to be there then is
    ended."""
    connection, recipe = sqlite_met(autocommit=was)
    connection.autocommit = "another"
    connection.in_transaction = is_open
    recipe.put_back(connection, "autocommit", was, "another")
    assert connection.autocommit == was
    assert connection.said == (["rollback"] if is_open and was is not False else [])


def test_other_settings_of_sqlite3_end_no_transaction() -> None:
    connection, recipe = sqlite_met()
    connection.row_factory, connection.in_transaction = dict, True
    recipe.put_back(connection, "row_factory", None, dict)
    assert (connection.row_factory, connection.said) == (None, [])


def test_a_commit_of_sqlite3_is_tried_once_more_when_statements_were_in_its_way() -> None:
    """An INSERT ... RETURNING that was not read to its end; which is ended, and then it works."""
    connection, recipe = sqlite_met()
    connection.in_transaction = connection.unfinished = True

    def end(raw: Any) -> bool:
        raw.unfinished = False
        return True

    connection.fails = lambda: None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_module, "_end_cursors", end)
        assert recipe.commit(connection) is True
    assert [said for said in connection.said if said == "commit"] == ["commit"] * 2


@pytest.mark.parametrize("left", ["no transaction", "nothing unfinished", "something unfinished"])
def test_a_commit_of_sqlite3_that_fails_for_another_reason_is_an_error(left: str) -> None:
    connection, recipe = sqlite_met()
    connection.in_transaction = True

    def fail() -> None:
        connection.in_transaction = left != "no transaction"
        connection.unfinished = left != "nothing unfinished"

    connection.fails = fail
    with pytest.raises(OperationalError, match="cannot commit"):
        recipe.commit(connection)
    assert [said for said in connection.said if said == "commit"] == ["commit"]


def test_a_clean_connection_of_sqlite3_is_not_asked_anything() -> None:
    """Not even a statement that does nothing: a program may write down all of them."""
    raw = sqlite3.connect(":memory:", check_same_thread=False)
    for connection in (raw, Proxy(raw)):
        recipe: Any = recipe_for(connection)
        assert recipe.is_clean(connection) is False, "nothing is known of it yet"
        recipe.remember(connection)
        statements: list[str] = []
        raw.set_trace_callback(statements.append)
        assert recipe.is_alive(connection) is True
        assert recipe.is_clean(connection) is True
        assert recipe.is_finished(raw) is True
        assert recipe.is_closed(connection) is False
        assert recipe.commit(connection) is True
        assert recipe.reset(connection) is True
        assert statements == []
    raw.close()
    assert recipe.is_clean(connection) is False
    assert recipe.is_closed(connection) is True
    assert recipe.commit(connection) is False
    with pytest.raises(sqlite3.Error):
        recipe.is_alive(connection)


@pytest.mark.parametrize("collections", [0, 1, 3])
def test_an_unread_cursor_of_any_age_is_found(collections: int) -> None:
    """The garbage collector has them by age; this one belongs to the connection."""
    raw = sqlite3.connect(":memory:", check_same_thread=False)
    other = sqlite3.connect(":memory:", check_same_thread=False)
    recipe: Any = recipe_for(raw)
    recipe.remember(raw)
    query = "select 1 union all select 2"
    left, kept = raw.execute(query), other.execute(query)
    assert next(left) == next(kept) == (1,)
    for generation in range(collections):
        gc.collect(min(generation, 2))
    assert recipe.is_finished(raw) is True
    with pytest.raises(sqlite3.ProgrammingError):
        next(left)
    assert next(kept) == (2,)
    raw.close()
    other.close()


def test_a_sqlite3_connection_of_one_thread_is_refused_with_the_drivers_reason() -> None:
    """It is found out on a thread, which has a name."""
    names: list[str] = []
    start = Sync.start

    def noting(target: Any, name: str) -> Any:
        names.append(name)
        return start(target, name)

    bound = sqlite3.connect(":memory:")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sync, "start", noting)
        with pytest.raises(ValueError, match="bound to the thread that made it") as met:
            recipe_for(bound).refuse(bound)
        assert "SQLite objects created in a thread" in str(met.value.__cause__)
        free = sqlite3.connect(":memory:", check_same_thread=False)
        recipe_for(free).refuse(free)
    assert names == ["purepool sqlite3"] * 2
    bound.close()
    free.close()


@pytest.mark.parametrize("is_ending", [True, False])
def test_where_no_thread_is_to_be_had_nobody_can_find_out(is_ending: bool) -> None:
    """At the end of a program that is no reason to refuse; else it is the system's error."""
    bound = sqlite3.connect(":memory:")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sync, "start", raising(RuntimeError("can't start new thread")))
        patch.setattr(sqlite_module, "is_ending", lambda: is_ending)
        if is_ending:
            recipe_for(bound).refuse(bound)
        else:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                recipe_for(bound).refuse(bound)
    bound.close()
