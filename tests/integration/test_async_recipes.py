"""The recipes of drivers for asyncio, held to scripted connections.

Theory.  As `test_recipes.py`: what a real driver does is asked of a real server in
`test_aio_databases.py`; each state in which a connection can come back is quickly had from one that
shows what it is told, and writes down what it was asked to do.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from pool.drivers import async_recipes
from pool.drivers.async_recipes import (
    Aiomysql,
    Aiosqlite,
    Asyncpg,
    AsyncPsycopg,
    AsyncRecipe,
    blocking_maker,
    drop,
    recipe_for,
)
from tests.integration.drivers import PATIENCE

IDLE, ACTIVE, IN_TRANSACTION, IN_ERROR, UNKNOWN = range(5)


class OperationalError(Exception):
    """As each of these drivers calls it."""


class Scripted:
    """`said` is what was sent, in order; `ends` whether that ends a transaction."""

    OperationalError = OperationalError

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.ends = True

    async def commit(self) -> None:
        self.say("commit")

    async def rollback(self) -> None:
        self.say("rollback")

    async def close(self) -> None:
        self.said.append("close")

    def say(self, what: str) -> None:
        self.said.append(what)
        if self.ends:
            self.show(False)

    def show(self, is_open: bool) -> None:
        raise NotImplementedError


def shown(name: str) -> Any:
    """What psycopg shows, and lets be set by a function alone that is awaited."""
    return property(lambda it: getattr(it, name))


class PsycopgConnection(Scripted):
    __module__ = "psycopg"

    autocommit = shown("_autocommit")
    isolation_level = shown("_isolation_level")
    read_only = shown("_read_only")
    deferrable = shown("_deferrable")

    def __init__(self) -> None:
        super().__init__()
        finish = functools.partial(self.said.append, "finish")
        self.pgconn = SimpleNamespace(transaction_status=IDLE, finish=finish)
        self.closed = self.broken = False
        self.lock = threading.Lock()
        self._autocommit = False
        self._isolation_level = self._read_only = self._deferrable = None
        self.row_factory = self.cursor_factory = self.server_cursor_factory = tuple
        self._prepared = SimpleNamespace(prepare_threshold=5, prepared_max=100)
        self.prepare_threshold, self.prepared_max = 5, 100
        self._pipeline: Any = None
        self._num_transactions = 0
        self._tpc: Any = None
        self._notice_handlers: list[Any] = []
        self._notify_handlers: list[Any] = []

    async def set_autocommit(self, value: bool) -> None:
        self.said.append(("autocommit", value))
        self._autocommit = value

    async def set_isolation_level(self, value: Any) -> None:
        self.said.append(("isolation_level", value))
        self._isolation_level = value

    async def execute(self, query: str) -> None:
        self.said.append((query, self._autocommit))
        if self.broken:
            self.closed = True
            raise OperationalError("the connection is lost")

    def show(self, is_open: bool) -> None:
        self.pgconn.transaction_status = IN_TRANSACTION if is_open else IDLE


class AsyncpgConnection(Scripted):
    __module__ = "asyncpg.connection"

    def __init__(self) -> None:
        super().__init__()
        self.cancelling = self.closed = self.is_open = False
        self._protocol = SimpleNamespace(
            _is_cancelling=lambda: self.cancelling, _wait_for_cancellation=self._wait
        )
        self._top_xact: Any = None
        self._transport: Any = None

    async def _wait(self) -> None:
        self.said.append("wait")
        self.cancelling = False

    def is_closed(self) -> bool:
        return self.closed

    def is_in_transaction(self) -> bool:
        return self.is_open

    async def fetchval(self, query: str) -> int:
        self.said.append(query)
        return 1

    async def execute(self, query: str) -> None:
        self.said.append((query, self._top_xact))
        if self.ends:
            self.is_open = False

    def terminate(self) -> None:
        self.said.append("terminate")

    def show(self, is_open: bool) -> None:
        self.is_open = is_open


class AiosqliteConnection(Scripted):
    __module__ = "aiosqlite.core"

    def __init__(self) -> None:
        super().__init__()
        self._connection: Any = SimpleNamespace()
        self._running = True
        self._tx: SimpleQueue[Any] = SimpleQueue()
        self.in_transaction = False
        self.isolation_level: Any = ""
        self.row_factory: Any = None
        self.text_factory: Any = str

    @property
    def _conn(self) -> Any:
        return self._connection

    async def _execute(self, function: Any) -> Any:
        return function()

    async def execute(self, query: str) -> None:
        self.say(query)

    def stop(self) -> None:
        self.said.append("stop")

    def show(self, is_open: bool) -> None:
        self.in_transaction = is_open


class AiomysqlConnection(Scripted):
    __module__ = "aiomysql.connection"

    def __init__(self) -> None:
        super().__init__()
        self.closed = self.is_open = self._autocommit = False
        self._result: Any = None
        self._writer: Any = None
        self.charset = "utf8mb4"

    def get_autocommit(self) -> bool:
        return self._autocommit

    def get_transaction_status(self) -> bool:
        return self.is_open

    async def autocommit(self, value: bool) -> None:
        self.said.append(("autocommit", value))
        self._autocommit = value

    async def ping(self, reconnect: bool = True) -> None:
        self.said.append(("ping", reconnect))

    async def ensure_closed(self) -> None:
        self.said.append("ensure_closed")

    def close(self) -> None:  # type: ignore[override]
        self.said.append("close")

    def show(self, is_open: bool) -> None:
        self.is_open = is_open


class AsyncmyConnection(AiomysqlConnection):
    __module__ = "asyncmy.connection"

    closed: Any = property(lambda it: None, lambda it, value: None)  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.connected = True


DRIVERS: dict[type[Any], type[AsyncRecipe]] = {
    PsycopgConnection: AsyncPsycopg,
    AsyncpgConnection: Asyncpg,
    AiosqliteConnection: Aiosqlite,
    AiomysqlConnection: Aiomysql,
    AsyncmyConnection: Aiomysql,
}
MYSQL = [AiomysqlConnection, AsyncmyConnection]


def each(kinds: Any) -> Any:
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)


class Proxy:
    """As a tool for tracing puts in front of a driver's connection: it passes on what is public,
    and notes by whom a transaction is ended."""

    def __init__(self, connection: Any) -> None:
        self.__wrapped__ = connection
        self.ended: list[str] = []

    def __getattr__(self, name: str) -> Any:
        hidden = ("lock", "pgconn", "closed", "is_closed", "in_transaction", "connected")
        if name in hidden or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    async def commit(self) -> None:
        self.ended.append("commit")
        await self.__wrapped__.commit()

    async def rollback(self) -> None:
        self.ended.append("rollback")
        await self.__wrapped__.rollback()


def met(kind: type[Any], **fields: Any) -> tuple[Any, Any]:
    """A connection as it is lent, with its recipe; then with what its holder has done to it."""
    connection = kind()
    recipe = recipe_for(connection)
    assert type(recipe) is DRIVERS[kind]
    recipe.remember(connection)
    for name, value in fields.items():
        setattr(connection, name, value)
    return connection, recipe


def met_behind(kind: type[Any]) -> tuple[Any, Any, Any]:
    """As `met`, with the proxy that was lent in front of it."""
    raw = kind()
    connection = Proxy(raw)
    recipe = recipe_for(connection)
    assert type(recipe) is DRIVERS[kind]
    recipe.remember(connection)
    return raw, connection, recipe


def close_by_hand(connection: Any) -> None:
    """What `close()` leaves behind in each driver."""
    connection.closed = True
    connection._connection, connection._running = None, False
    if isinstance(connection, AsyncmyConnection):
        connection.connected = False
    if isinstance(connection, PsycopgConnection):
        connection.pgconn.transaction_status = UNKNOWN


def run(answer: Any) -> Any:
    return asyncio.run(answer)


# ---------------------------------------------------------------- what is open


@each(DRIVERS)
def test_where_nothing_is_open_nothing_is_sent(kind: Any) -> None:
    """But to MySQL: without autocommit it says that nothing is open before anything is read, and a
    snapshot may be older than the next holder wants."""
    for proxied in (False, True):
        raw, connection, recipe = met_behind(kind)
        if not proxied:
            connection, recipe = raw, recipe_for(raw)
            recipe.remember(raw)
        assert recipe.is_clean(connection) is True
        assert recipe.is_open(connection) is False
        assert recipe.is_at_rest(connection) is (kind is not AiosqliteConnection)
        assert run(recipe.reset(connection)) is True
        assert run(recipe.settle(connection)) is True
        assert raw.said == (["rollback", "commit"] if kind in MYSQL else [])


@each(DRIVERS)
def test_what_is_open_is_ended_once_and_through_what_was_lent(kind: Any) -> None:
    """As asked for: by a commit, after which a reset has nothing to do, or by a rollback."""
    by_hand = {"commit": [("COMMIT", None)], "rollback": [("ROLLBACK", None)]}
    for method, word in (("commit", "commit"), ("reset", "rollback"), ("settle", "commit")):
        raw, connection, recipe = met_behind(kind)
        raw.show(True)
        assert recipe.is_open(connection) is True
        assert recipe.is_clean(connection) is False
        assert run(getattr(recipe, method)(connection)) is True
        assert recipe.is_open(connection) is False
        if kind is AsyncpgConnection:  # its connections have neither
            assert (raw.said, connection.ended) == (by_hand[word], [])
        else:
            assert raw.said == connection.ended == [word]


@each(DRIVERS)
def test_a_commit_that_ended_nothing_is_not_believed(kind: Any) -> None:
    connection, recipe = met(kind)
    connection.show(True)
    connection.ends = False
    assert run(recipe.commit(connection)) is False


@each([PsycopgConnection, AiosqliteConnection, *MYSQL])
def test_after_the_users_reset_all_is_as_it_was(kind: Any) -> None:
    """What it left open is committed, what it changed is put back."""
    connection, recipe = met(kind)
    connection.show(kind not in MYSQL)
    connection._autocommit = kind in MYSQL
    connection.row_factory = dict
    assert run(recipe.settle(connection)) is True
    assert recipe.is_open(connection) is False
    assert connection._autocommit is False
    assert connection.said == [("autocommit", False) if kind in MYSQL else "commit"]
    if kind not in MYSQL:
        assert connection.row_factory == kind().row_factory


@each([PsycopgConnection, AiosqliteConnection, *MYSQL])
def test_what_the_users_reset_began_by_hand_is_not_lent_again(kind: Any) -> None:
    """In autocommit nobody commits it, and the next holder would find it open."""
    connection, recipe = met(kind, _autocommit=True)
    if kind is AiosqliteConnection:
        connection.isolation_level = None
    recipe.remember(connection)
    assert run(recipe.settle(connection)) is True
    connection.show(True)
    assert run(recipe.settle(connection)) is False
    assert connection.said == []


@each(DRIVERS)
def test_what_its_holder_closed_is_of_no_use(kind: Any) -> None:
    connection, recipe = met(kind)
    close_by_hand(connection)
    assert recipe.is_closed(connection) is True
    assert recipe.is_clean(connection) is False
    assert recipe.is_at_rest(connection) is False
    assert run(recipe.commit(connection)) is False
    assert run(recipe.restore(connection)) is False
    assert connection.said == []
    assert met(kind)[1].is_closed(kind()) is False


@each([PsycopgConnection, AiosqliteConnection, *MYSQL])
def test_what_its_holder_closed_is_not_rolled_back(kind: Any) -> None:
    connection, recipe = met(kind)
    close_by_hand(connection)
    assert run(recipe.roll_back(connection)) is False
    assert run(recipe.reset(connection)) is False
    assert connection.said == []


@each(DRIVERS)
def test_whether_it_is_alive_is_asked_of_the_drivers_connection(kind: Any) -> None:
    raw, connection, recipe = met_behind(kind)
    assert run(recipe.is_alive(connection)) is True
    assert raw.said == {
        PsycopgConnection: [("autocommit", True), ("", True), ("autocommit", False)],
        AsyncpgConnection: ["select 1"],
        AiosqliteConnection: [],
    }.get(kind, [("ping", False)])


@each(DRIVERS)
def test_what_is_closed_without_a_loop(kind: Any) -> None:
    raw, connection, recipe = met_behind(kind)
    recipe.terminate(connection)
    ways = {PsycopgConnection: "finish", AsyncpgConnection: "terminate"}
    ways[AiosqliteConnection] = "stop"
    assert raw.said == [ways.get(kind, "close")]
    drop(connection)
    assert raw.said == [ways.get(kind, "close")] * 2


@each(DRIVERS)
def test_what_is_closed_with_a_loop(kind: Any) -> None:
    raw, connection, recipe = met_behind(kind)
    run(recipe.close(connection))
    assert raw.said == ["ensure_closed" if kind in MYSQL else "close"]


# ---------------------------------------------------------------- an unknown driver


class Unknown:
    """Of a driver that nobody knows, whose methods are awaited."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.autocommit = False
        self.closed = False

    async def commit(self) -> None:
        self.said.append("commit")

    async def rollback(self) -> None:
        self.said.append("rollback")

    async def close(self) -> None:
        self.said.append("close")


class AtOnce(Unknown):
    """Its methods need not be awaited."""

    def commit(self) -> None:  # type: ignore[override]
        self.said.append("commit")

    def rollback(self) -> None:  # type: ignore[override]
        self.said.append("rollback")

    def close(self) -> None:  # type: ignore[override]
        self.said.append("close")


@pytest.mark.parametrize("kind", [Unknown, AtOnce])
def test_of_an_unknown_driver_all_is_ended(kind: Any) -> None:
    """It shows nothing, so nothing is believed."""
    connection = kind()
    recipe = recipe_for(connection)
    assert type(recipe) is AsyncRecipe
    recipe.remember(connection)
    assert recipe.is_clean(connection) is False
    assert recipe.is_at_rest(connection) is False
    assert run(recipe.is_alive(connection)) is True
    assert run(recipe.commit(connection)) is False
    assert run(recipe.roll_back(connection)) is True
    assert run(recipe.reset(connection)) is True
    assert run(recipe.settle(connection)) is True
    run(recipe.close(connection))
    assert connection.said == ["commit", "rollback", "rollback", "commit", "close"]


def test_in_autocommit_there_is_nothing_to_commit() -> None:
    connection = Unknown()
    connection.autocommit = True
    recipe = recipe_for(connection)
    recipe.remember(connection)
    assert run(recipe.commit(connection)) is False
    assert connection.said == []


def test_what_has_no_rollback_has_no_transactions() -> None:
    connection = SimpleNamespace()
    recipe = recipe_for(connection)
    assert recipe.has_transactions is False
    assert recipe.is_clean(connection) is True
    assert run(recipe.commit(connection)) is True
    assert run(recipe.roll_back(connection)) is True
    assert run(recipe.settle(connection)) is True
    run(recipe.close(connection))
    recipe.terminate(connection)


def test_what_was_changed_is_put_back_and_what_cannot_be_is_not_lent_again() -> None:
    connection = Unknown()
    recipe = recipe_for(connection)
    assert run(recipe.restore(connection)) is True, "nothing is known of it yet"
    recipe.remember(connection)
    connection.autocommit = True
    assert run(recipe.restore(connection)) is True
    assert connection.autocommit is False
    connection.closed = True
    assert run(recipe.restore(connection)) is False
    assert connection.closed is True


class Terminated(Unknown):
    def terminate(self) -> None:
        self.said.append("terminate")


class TerminatedLater(AtOnce):
    async def terminate(self) -> None:
        self.said.append("terminate")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        *((Unknown, []), (AtOnce, ["close"])),
        *((Terminated, ["terminate"]), (TerminatedLater, ["close"])),
    ],
)
def test_an_unknown_driver_is_left_by_a_method_that_needs_no_loop(kind: Any, said: Any) -> None:
    connection = kind()
    recipe_for(connection).terminate(connection)
    assert connection.said == said


@pytest.mark.filterwarnings("error")
def test_a_coroutine_that_nobody_can_await_is_closed() -> None:
    """Else Python warns of it at some other time."""
    made: list[Any] = []

    async def ends() -> None:
        """Never begun."""

    class Deceptive(AtOnce):
        def close(self) -> Any:  # type: ignore[override]
            made.append(ends())
            return made[-1]

    connection = Deceptive()
    recipe_for(connection).terminate(connection)
    assert made[0].cr_frame is None


def test_what_is_unknown_is_not_dropped() -> None:
    """It may be somebody's own, who knows what to do with it."""
    connection = Terminated()
    drop(connection)
    drop(None)
    assert connection.said == []


def test_a_driver_that_fails_to_be_dropped_hides_no_error() -> None:
    """It is dropped where something was wrong already: that is what is told."""
    connection = AsyncpgConnection()
    connection.terminate = lambda: 1 / 0  # type: ignore[method-assign]
    drop(connection)


# ---------------------------------------------------------------- psycopg


def test_what_psycopg_has_a_function_for_is_put_back_by_it() -> None:
    """Once for each that was changed, and only for those."""
    connection, recipe = met(PsycopgConnection)
    connection._autocommit, connection._isolation_level = True, 2
    connection.row_factory = connection.cursor_factory = dict
    connection._notice_handlers.append("somebody")
    assert run(recipe.restore(connection)) is True
    assert connection.said == [("autocommit", False), ("isolation_level", None)]
    assert (connection.row_factory, connection.cursor_factory) == (tuple, tuple)
    assert connection._notice_handlers == []


def test_what_is_the_same_in_another_object_is_not_put_back() -> None:
    connection, recipe = met(PsycopgConnection)
    connection._isolation_level = "serializable"
    recipe.remember(connection)
    connection._isolation_level = "".join(["serial", "izable"])
    connection.row_factory = dict
    assert run(recipe.restore(connection)) is True
    assert connection.said == []


@pytest.mark.parametrize("name", ["_pipeline", "_num_transactions", "_tpc"])
def test_a_psycopg_that_believes_to_be_within_something_is_not_lent_again(name: str) -> None:
    connection, recipe = met(PsycopgConnection)
    setattr(connection, name, 1)
    setattr(connection, f"set_{name}", lambda value: 1 / 0)
    assert recipe.is_clean(connection) is False
    assert run(recipe.reset(connection)) is False


@pytest.mark.parametrize("status", [IDLE, IN_TRANSACTION, IN_ERROR, ACTIVE, UNKNOWN])
@pytest.mark.parametrize("locked", [False, True])
def test_when_psycopg_is_at_rest_and_can_be_rolled_back(status: int, locked: bool) -> None:
    """While a query is under way or a generator is suspended nothing can be sent."""
    connection, recipe = met(PsycopgConnection)
    connection.pgconn.transaction_status = status
    if locked:
        connection.lock.acquire()
    ends = status in (IN_TRANSACTION, IN_ERROR) and not locked
    assert recipe.is_at_rest(connection) is ((ends or status == IDLE) and not locked)
    assert run(recipe.roll_back(connection)) is (ends or status == IDLE)
    assert connection.said == ["rollback"] * ends


def test_psycopg_in_autocommit_is_asked_as_it_is() -> None:
    connection, recipe = met(PsycopgConnection)
    connection._autocommit = True
    assert run(recipe.is_alive(connection)) is True
    assert connection.said == [("", True)]


@pytest.mark.parametrize("broken", [False, True])
def test_psycopg_that_fails_to_answer(broken: bool) -> None:
    """Its autocommit is put back if it is still there; to a lost one nothing is said any more."""
    connection, recipe = met(PsycopgConnection)
    connection.broken = broken
    if not broken:
        connection.execute = lambda query: 1 / 0
    with pytest.raises(OperationalError if broken else ZeroDivisionError):
        run(recipe.is_alive(connection))
    assert connection.said[-1] == (("", True) if broken else ("autocommit", False))


def test_psycopg_in_autocommit_has_committed_by_itself() -> None:
    """What is open there was begun by hand: its holder ends it, or a reset does."""
    connection, recipe = met(PsycopgConnection)
    connection._autocommit = True
    recipe.remember(connection)
    connection.show(True)
    assert run(recipe.commit(connection)) is False
    assert connection.said == []


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_pipeline_is_sent_before_it_is_believed(autocommit: bool) -> None:
    """Until then the server commits nothing."""
    connection, recipe = met(PsycopgConnection)

    async def sync() -> None:
        connection.say("sync")

    connection._autocommit = autocommit
    connection._pipeline = SimpleNamespace(sync=sync)
    recipe.remember(connection)
    connection.pgconn.transaction_status = ACTIVE
    assert run(recipe.commit(connection)) is True
    assert connection.said == ["sync" if autocommit else "commit"]


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_commit_of_what_is_unfinished_is_refused(pipeline: bool) -> None:
    """By an error that a program expects of its driver, and that names what is unfinished."""
    connection, recipe = met(PsycopgConnection)
    connection._pipeline = SimpleNamespace() if pipeline else None
    connection.pgconn.transaction_status = ACTIVE
    unfinished = r"while notifies\(\), stream\(\) or a COPY has not ended"
    with connection.lock, pytest.raises(OperationalError, match=unfinished):
        run(recipe.commit(connection))
    if not pipeline:
        with pytest.raises(OperationalError, match="while a query or a COPY has not ended"):
            run(recipe.commit(connection))
    assert connection.said == []


# ---------------------------------------------------------------- asyncpg


def test_asyncpg_that_cancels_a_query_is_neither_clean_nor_lent_again() -> None:
    connection, recipe = met(AsyncpgConnection, cancelling=True)
    assert recipe.is_clean(connection) is False
    assert recipe.is_at_rest(connection) is True
    assert run(recipe.restore(connection)) is False
    assert run(recipe.reset(connection)) is True, "it is waited for"
    assert connection.said == ["wait"]


def test_asyncpgs_block_ends_without_its_connection() -> None:
    """Else its `transaction()` would roll back that of the next holder."""
    connection, recipe = met(AsyncpgConnection, is_open=True, _top_xact="a block")
    assert run(recipe.roll_back(connection)) is True
    assert connection.said == [("ROLLBACK", None)]
    connection.ends, connection.is_open = False, True
    assert run(recipe.roll_back(connection)) is False


def test_asyncpg_that_never_ends_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for so long, and not for ever."""
    monkeypatch.setattr(async_recipes, "PATIENCE", 0.001)
    connection, recipe = met(AsyncpgConnection, cancelling=True)
    connection._protocol._wait_for_cancellation = lambda: asyncio.sleep(PATIENCE)
    with pytest.raises(asyncio.TimeoutError):
        run(recipe.roll_back(connection))


# ---------------------------------------------------------------- aiosqlite


@pytest.mark.parametrize(
    ("autocommit", "isolation", "by_hand"),
    [
        *((None, "", False), (None, None, True), (-1, "", False), (-1, None, True)),
        *((True, "", True), (False, None, False)),
    ],
)
def test_a_transaction_that_was_begun_by_hand(
    autocommit: Any, isolation: Any, by_hand: bool
) -> None:
    """In autocommit: sqlite3's methods do nothing then. It is undone, and never committed."""
    connection, recipe = met(AiosqliteConnection, isolation_level=isolation)
    if autocommit is not None:  # from Python 3.12 on
        connection._connection.autocommit = autocommit
    recipe.remember(connection)
    connection.show(True)
    assert run(recipe.commit(connection)) is not by_hand
    assert connection.said == ["commit"] * (not by_hand)
    connection.show(True)
    assert run(recipe.roll_back(connection)) is True
    assert connection.said[-1] == "rollback"
    assert connection.in_transaction is False
    if by_hand:
        connection.rollback = lambda: 1 / 0
    else:
        connection.execute = lambda query: 1 / 0
    connection.show(True)
    assert run(recipe.roll_back(connection)) is True


def test_aiosqlite_with_something_to_do_is_unfinished() -> None:
    connection, recipe = met(AiosqliteConnection)
    connection._tx.put("a query")
    assert recipe.is_finished(connection) is False
    assert recipe.is_clean(connection) is False
    assert run(recipe.is_alive(connection)) is False
    assert run(recipe.restore(connection)) is False


@pytest.mark.parametrize("fields", [{"_connection": None}, {"_running": False}], ids=str)
def test_aiosqlite_without_a_connection_or_a_thread_is_closed(fields: Any) -> None:
    connection, recipe = met(AiosqliteConnection, **fields)
    assert recipe.is_closed(connection) is True


def test_an_aiosqlite_that_has_ended_is_not_stopped_again() -> None:
    connection, recipe = met(AiosqliteConnection, _running=False)
    recipe.terminate(connection)
    assert connection.said == []


def test_an_aiosqlite_is_stopped_where_there_is_no_thread_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    connection, recipe = met(AiosqliteConnection)
    recipe.terminate(connection)
    assert connection.said == ["stop"]


def test_an_aiosqlite_tells_no_loop_that_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """That loop may be closed by then, and its thread would end with an error."""
    aiosqlite = pytest.importorskip("aiosqlite")
    errors: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    go_on = threading.Event()

    async def connect() -> Any:
        return await aiosqlite.connect(":memory:")

    async def terminate() -> None:
        connection._tx.put((None, lambda: go_on.wait(PATIENCE)))  # it is late
        recipe_for(connection).terminate(connection)

    connection = asyncio.run(connect())
    asyncio.run(terminate())
    go_on.set()
    connection._thread.join(PATIENCE)
    assert not connection._thread.is_alive()
    assert errors == []


def test_aiosqlites_settings_are_put_back() -> None:
    connection, recipe = met(AiosqliteConnection)
    connection.isolation_level, connection.text_factory = None, bytes
    connection.row_factory = dict
    assert recipe.is_clean(connection) is False
    assert run(recipe.reset(connection)) is True
    assert (connection.isolation_level, connection.text_factory) == ("", str)
    assert connection.row_factory is None


# ---------------------------------------------------------------- aiomysql and asyncmy


@each(MYSQL)
def test_what_mysql_put_back(kind: Any) -> None:
    """Its autocommit; of its character set the server would have to be told, and nobody does."""
    connection, recipe = met(kind)
    connection._autocommit = True
    assert recipe.is_clean(connection) is False
    assert run(recipe.reset(connection)) is True
    assert connection.said == [("autocommit", False)]
    connection.charset = "latin1"
    assert recipe.is_clean(connection) is False
    assert run(recipe.restore(connection)) is False
    assert connection.charset == "latin1"


def test_a_mysql_connection_without_a_character_set() -> None:
    """As asyncmy's, which shows none."""
    connection = AsyncmyConnection()
    del connection.charset
    recipe: Any = recipe_for(connection)
    recipe.remember(connection)
    assert recipe.is_clean(connection) is True
    connection._autocommit = True
    assert run(recipe.restore(connection)) is True
    assert connection._autocommit is False


@each(MYSQL)
def test_mysql_in_autocommit_commits_by_itself(kind: Any) -> None:
    """What was begun by hand there is rolled back, and where nothing is open nothing is sent."""
    connection, recipe = met(kind)
    connection._autocommit = True
    recipe.remember(connection)
    assert run(recipe.commit(connection)) is False
    assert run(recipe.roll_back(connection)) is True
    assert connection.said == []
    connection.show(True)
    assert run(recipe.commit(connection)) is False
    assert run(recipe.roll_back(connection)) is True
    assert connection.said == ["rollback"]


@each(MYSQL)
@pytest.mark.parametrize("name", ["unbuffered_active", "has_next"])
def test_a_result_that_was_not_read_to_its_end(kind: Any, name: str) -> None:
    """A rollback would wait for it, and its connection is given up. A commit of half a result is
    refused; what follows on a whole one is not lost by it."""
    connection, recipe = met(kind, _result=SimpleNamespace(**{name: True}))
    assert recipe.is_finished(connection) is False
    assert recipe.is_clean(connection) is False
    assert recipe.is_at_rest(connection) is False
    assert run(recipe.restore(connection)) is False
    assert run(recipe.roll_back(connection)) is False
    assert connection.said == []
    if name == "unbuffered_active":
        with pytest.raises(OperationalError, match="while an unbuffered result was not read to"):
            run(recipe.commit(connection))
        assert connection.said == []
    else:
        assert run(recipe.commit(connection)) is False
        assert connection.said == ["commit"]
    connection._result = SimpleNamespace(**{name: False})
    assert recipe.is_finished(connection) is True


# ---------------------------------------------------------------- the end of a loop


class Loop:
    def __init__(self, is_closed: bool) -> None:
        self.is_closed = lambda: is_closed


class Socket:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def on(kind: Any, transport: Any) -> tuple[Any, Any]:
    """A connection with this transport, where its driver keeps it."""
    connection, recipe = met(kind)
    if kind is AiomysqlConnection:
        connection._writer = SimpleNamespace(transport=transport)
        connection._transport = SimpleNamespace(_loop=Loop(False))
    else:
        connection._transport = transport
    return connection, recipe


WITH_TRANSPORT = each([AsyncpgConnection, *MYSQL])


@WITH_TRANSPORT
def test_while_the_loop_runs_it_closes_the_socket(kind: Any) -> None:
    socket = Socket()
    connection, recipe = on(kind, SimpleNamespace(_loop=Loop(False), _sock=socket))
    recipe.terminate(connection)
    assert len(connection.said) == 1
    assert socket.closed == 0


@WITH_TRANSPORT
def test_after_the_loop_the_socket_is_closed_by_hand(kind: Any) -> None:
    """The driver asks the loop to, which cannot; and is then asked again for what is left."""
    socket = Socket()
    transport: Any = SimpleNamespace(_loop=Loop(True), _sock=socket)
    connection, recipe = on(kind, transport)
    said: list[int] = []

    def close() -> None:
        said.append(socket.closed)
        raise RuntimeError("Event loop is closed")

    connection.close = connection.terminate = close
    recipe.terminate(connection)
    assert said == [0, 1]
    assert (socket.closed, transport._sock) == (1, None)
    recipe.terminate(connection)
    assert socket.closed == 1


def test_a_driver_that_fails_while_its_loop_runs_is_heard() -> None:
    connection, recipe = on(AsyncpgConnection, SimpleNamespace(_loop=Loop(False)))
    connection.terminate = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        recipe.terminate(connection)


def test_a_transport_without_a_socket() -> None:
    """As uvloop's."""
    connection, recipe = on(AsyncpgConnection, SimpleNamespace(_loop=Loop(True)))
    recipe.terminate(connection)
    assert connection.said == ["terminate"] * 2


# ---------------------------------------------------------------- which recipe, and which driver


@each(DRIVERS)
def test_a_proxy_that_keeps_the_connection_among_its_things_is_looked_through(kind: Any) -> None:
    """If it shows what people recognise a connection of this driver by."""

    class Keeps:
        def __init__(self, connection: Any) -> None:
            self.kept = connection

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name == "purepool_asks_for_what_nobody_has":
                raise AttributeError(name)
            return getattr(self.kept, name)

    raw = kind()
    if kind is AsyncpgConnection:
        raw.reset = raw.rollback
    connection = Keeps(raw)
    recipe = recipe_for(connection)
    assert type(recipe) is DRIVERS[kind]
    assert recipe.behind(connection) is raw


@each(DRIVERS)
def test_a_class_that_is_derived_from_a_drivers_is_of_the_driver(kind: Any) -> None:
    derived = type("Own", (kind,), {"__module__": "shop.database"})
    assert type(recipe_for(derived())) is DRIVERS[kind]


def blocking(module: str, **methods: Any) -> Any:
    names = {"commit": lambda self: None, "rollback": lambda self: None, **methods}
    return type("Connection", (), {"__module__": module, **names})


@pytest.mark.parametrize(
    ("module", "instead"),
    [
        ("sqlite3", "aiosqlite"),
        ("psycopg", "psycopg's AsyncConnection"),
        ("psycopg2.extensions", "psycopg's AsyncConnection, or asyncpg"),
        ("pymysql.connections", "aiomysql or asyncmy"),
    ],
)
def test_a_connection_of_a_blocking_driver_is_refused(module: str, instead: str) -> None:
    """With the driver's name, and what to use in its place."""
    package = module.partition(".")[0]
    kind = blocking(module)
    derived = type("Own", (kind,), {"__module__": "shop.database"})
    for connection in (kind(), derived()):
        with pytest.raises(TypeError) as refused:
            recipe_for(connection)
        assert str(refused.value) == (
            f"connect returned a connection of {package}, a blocking driver, which would stop the "
            f"event loop: use {instead}, or `pool.Pool` with threads"
        )


def test_a_connection_whose_commit_is_awaited_blocks_nobody() -> None:
    """Whatever its package is called."""

    async def commit(self: Any) -> None:
        """Somebody's own."""

    connection = blocking("pymysql.aio", commit=commit)()
    assert type(recipe_for(connection)) is AsyncRecipe


async def connects() -> None:
    """A function that makes connections."""


def function_of(module: Any) -> Any:
    def connect() -> None:
        """Not called."""

    connect.__module__ = module
    return connect


@pytest.mark.parametrize(
    ("module", "package"),
    [("sqlite3", "sqlite3"), ("_sqlite3", "sqlite3"), ("psycopg2.extensions", "psycopg2")],
)
def test_a_function_of_a_blocking_driver_is_known(module: str, package: str) -> None:
    connect = function_of(module)
    assert blocking_maker(connect) == package
    twice = functools.partial(functools.partial(connect, 1), timeout=2)
    assert blocking_maker(twice) == package


def test_a_function_of_anything_else_is_not() -> None:
    awaited = type(connects)(connects.__code__, {})
    awaited.__module__ = "psycopg.connection_async"
    for connect in (function_of("shop.sqlite3"), function_of(None), object(), awaited):
        assert blocking_maker(connect) is None
