"""What a pool's functions owe it where a mutant showed that no test asked.

Theory.  As `test_runtime_mutants.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pool import NO_RESET, Notice, OpenError, Pool, PoolClosed, PoolError
from pool.core.effects import Close, Leaked
from pool.core.state import leased
from pool.drivers.callables import Callables
from pool.drivers.recipe import Recipe
from pool.shared.errors import NO_CONNECTION, failure_of
from tests.integration.drivers import FOR_EVER, Connection, raising
from tests.integration.pools import scripted


def test_a_child_begins_with_nothing_of_the_parents() -> None:
    with scripted(2, opener="caller") as pool:
        driver: Any = pool._driver
        assert driver.last_error is None
        driver.last_error = OSError("the parent's")
        driver._words = {1: "the parent's"}
        driver.leaks = {1: "the parent's"}
        driver.after_fork()
        assert (driver.last_error, driver._words, driver.leaks, driver.recipes) == (
            None,
            {},
            {},
            {},
        )


def test_configure_is_given_the_new_connection() -> None:
    given: list[Any] = []
    with scripted(1, opener="caller", configure=given.append) as pool:
        connection = pool.acquire().connection
        assert given == [connection]


@pytest.mark.parametrize("hook", ["check", "reset"])
def test_a_hook_that_fails_is_named(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError("a bug")

    pool: Any = Pool(
        lambda: Connection(1),  # type: ignore[arg-type]
        max_size=1,
        opener="caller",
        check_after=0.0,
        name="shop",
        **{"close": lambda _: None, "check": lambda _: True, "reset": lambda _: True, hook: fail},
    )
    pool.acquire().release()
    pool.acquire().release()
    texts = [one.getMessage() for one in caplog.records]
    assert len(texts) == 1, "once, for each place and kind"
    assert texts[0].startswith(f"pool 'shop': {hook} raised what is no error of the driver")
    assert caplog.records[0].exc_info is not None
    pool.close()


def test_the_error_of_another_pool_is_not_this_ones() -> None:
    def refused() -> Any:
        raise PoolClosed("another pool is closed")

    pool = Pool(refused, opener="caller", max_size=1)
    with pytest.raises(Exception, match="PoolClosed: another pool is closed") as found:
        pool.acquire()
    assert type(found.value.__cause__) is ConnectionError
    pool.close()


def test_a_driver_without_a_pool_has_no_numbers_but_the_machines() -> None:
    with scripted(1, opener="caller") as pool:
        driver: Any = pool._driver
        assert driver.number_of(17, object()) == 17
        assert isinstance(driver, Callables)


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("hook", ["check", "reset", "configure", "close"])
def test_what_is_no_function_is_refused_by_the_hooks_name(hook: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{hook}=7\b"):
        Pool(lambda: Connection(1), **{hook: 7})  # type: ignore[arg-type]


async def later(*_: Any) -> None:
    """What a user of asyncio gives by mistake."""


@pytest.mark.parametrize("hook", ["check", "reset", "close"])
def test_a_hook_that_is_not_over_when_it_returns_is_refused_by_its_name(
    hook: str, driver: Callable[..., Any]
) -> None:
    functions = {"check": "is_alive", "reset": "reset", "close": "close"}
    made = driver(**{hook: lambda connection: later()})
    with pytest.raises(TypeError, match=rf"^{hook} returned something to be awaited"):
        getattr(made, functions[hook])(sqlite(":memory:"))


class Listener(list[Notice]):
    def __call__(self, notice: Notice) -> None:
        self.append(notice)


@pytest.fixture
def driver() -> Iterator[Callable[..., Any]]:
    """The functions of a pool, by themselves; the pool that they are of does nothing."""
    pools: list[Pool[Any]] = []

    def make(connect: Any = lambda: Connection(1), **settings: Any) -> Any:
        pool: Pool[Any] = Pool(connect, **{"opener": "caller", "max_size": 4, **settings})
        pools.append(pool)
        return pool._driver

    yield make
    for pool in pools:
        pool.close()


def sqlite(file: Any) -> sqlite3.Connection:
    return sqlite3.connect(file, check_same_thread=False)


@pytest.mark.parametrize("hook", ["check", "reset"])
def test_what_the_driver_says_of_its_connection_is_no_bug_of_a_hook(
    hook: str, driver: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    gone = type("Gone", (Exception,), {"__module__": "pydriver.errors"})
    kind = type("Connection", (), {"__module__": "pydriver.api", "rollback": lambda self: None})
    made = driver(**{hook: raising(gone())})
    with pytest.raises(gone):
        {"check": made.is_alive, "reset": made.reset}[hook](kind())
    assert caplog.records == []


def test_a_connection_that_is_new_here_is_known_by_its_kind(driver: Callable[..., Any]) -> None:
    """One that was taken over by hand: the driver's own recipe is found."""
    made = driver()
    connection = sqlite(":memory:")
    connection.execute("create table note (word)")
    connection.execute("insert into note values ('open')")
    assert made.is_alive(connection) is True
    assert made.commit(connection) is True
    connection.execute("insert into note values ('open')")
    assert made.reset(connection) is True
    assert not connection.in_transaction
    assert connection.execute("select count(*) from note").fetchone() == (1,)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        made.is_alive(connection)


class Told(Recipe):
    """Does as it is told, and notes what it is given."""

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers
        self.given: list[tuple[str, Any]] = []

    def _answer(self, name: str, thing: Any) -> Any:
        self.given.append((name, thing))
        return self.answers.get(name, True)

    def behind(self, connection: Any) -> Any:
        return ("behind", connection)

    def is_alive(self, connection: Any) -> bool:
        return bool(self._answer("is_alive", connection))

    def is_closed(self, connection: Any) -> bool:
        return bool(self._answer("is_closed", connection))

    def is_open(self, connection: Any) -> bool:
        return bool(self._answer("is_open", connection))

    def is_finished(self, raw: Any) -> bool:
        return bool(self._answer("is_finished", raw))

    def reset(self, connection: Any) -> bool:
        answer = self._answer("reset", connection)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def settle(self, connection: Any) -> bool:
        return bool(self._answer("settle", connection))


@pytest.mark.parametrize("alive", [True, False])
def test_the_recipe_of_a_connection_is_asked_about_it(
    alive: bool, driver: Callable[..., Any]
) -> None:
    made, connection, recipe = driver(), Connection(1), Told(is_alive=alive)
    made.recipes[id(connection)] = recipe
    assert made.is_alive(connection) is alive
    assert recipe.given == [("is_alive", connection)]


@pytest.mark.parametrize(
    ("closed", "finished", "wanted"),
    [(False, True, True), (False, False, False), (True, True, False)],
)
def test_without_a_reset_what_is_closed_or_unfinished_is_not_lent(
    closed: bool, finished: bool, wanted: bool, driver: Callable[..., Any]
) -> None:
    made, connection = driver(reset=NO_RESET), Connection(1)
    recipe = made.recipes[id(connection)] = Told(is_closed=closed, is_finished=finished)
    assert made.reset(connection) is wanted
    asked = [("is_closed", connection), ("is_finished", ("behind", connection))]
    assert recipe.given == asked[: 1 if closed else 2]


@pytest.mark.parametrize(
    ("reset", "answer", "settled", "wanted"),
    [
        *((False, True, True, False), (True, False, True, False)),
        *((True, None, True, True), (True, True, False, False)),
    ],
)
def test_a_reset_is_as_good_as_its_worst_part(
    reset: bool, answer: Any, settled: bool, wanted: bool, driver: Callable[..., Any]
) -> None:
    given: list[Any] = []
    connection = Connection(1)
    made = driver(reset=lambda each: given.append(each) or answer)
    recipe = made.recipes[id(connection)] = Told(reset=reset, settle=settled)
    assert made.reset(connection) is wanted
    assert given == ([connection] if reset else [])
    settles = reset and answer is not False
    assert recipe.given == [("reset", connection), ("settle", connection)][: 2 if settles else 1]


# ---------------------------------------------------------------- the end of a connection


def test_nothing_is_known_of_a_connection_that_was_closed(driver: Callable[..., Any]) -> None:
    """Its `id` is the next one's, perhaps."""
    made = driver(close=lambda connection: None)
    connection = made.connect()
    assert made.recipes.keys() == made._numbered.keys() == {id(connection)}
    made.close(connection)
    assert made.recipes == made._numbered == {}
    made.close(connection)


def test_what_cannot_be_closed_or_is_closed_is_left(driver: Callable[..., Any]) -> None:
    made = driver()
    made.close(object())
    closed: list[str] = []
    connection = SimpleNamespace(close=lambda: closed.append("again"))
    made.recipes[id(connection)] = recipe = Told(is_closed=True)
    made.close(connection)
    assert (closed, recipe.given) == ([], [("is_closed", connection)])
    made.close(connection)
    assert closed == ["again"], "nobody knows of it any more"


def test_a_close_is_told_with_its_connection_and_reason(driver: Callable[..., Any]) -> None:
    listener = Listener()
    driver(listeners={"close": listener}).report_close(Close(7, "the connection", "rested"))
    assert [(each.connection, each.reason) for each in listener] == [("the connection", "rested")]


# ---------------------------------------------------------------- what is told


def test_how_long_a_connect_took(
    driver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    made = driver(listeners={"connect": listener}, close=lambda connection: None)
    clock = SimpleNamespace(monotonic=iter([100.0, 102.5]).__next__)
    monkeypatch.setattr("pool.drivers.callables.time", clock)
    connection = made.connect()
    assert [(each.connection, each.seconds) for each in listener] == [(connection, 2.5)]


def test_how_long_a_connect_took_that_failed(
    driver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, error = Listener(), OSError("down")
    made = driver(raising(error), listeners={"connect_failed": listener})
    clock = SimpleNamespace(monotonic=iter([100.0, 102.5]).__next__)
    monkeypatch.setattr("pool.drivers.callables.time", clock)
    with pytest.raises(OSError, match="down"):
        made.connect()
    assert [(each.error, each.seconds) for each in listener] == [(error, 2.5)]


def hears_resets(driver: Callable[..., Any]) -> tuple[Any, Listener]:
    listener = Listener()
    kinds = ("rolled_back", "not_reusable")
    return driver(listeners={kind: listener for kind in kinds}), listener


@pytest.mark.parametrize("was_open", [True, False])
@pytest.mark.parametrize("answer", [True, False, OSError("broken")], ids=str)
def test_what_is_told_of_a_reset(was_open: bool, answer: Any, driver: Callable[..., Any]) -> None:
    made, listener = hears_resets(driver)
    connection = Connection(1)
    made.recipes[id(connection)] = Told(is_open=was_open, reset=answer)
    error = answer if isinstance(answer, Exception) else None
    if error:
        with pytest.raises(OSError, match="broken"):
            made.reset(connection)
    else:
        assert made.reset(connection) is answer
    wanted = [("rolled_back", connection, None)] * (was_open and not error)
    wanted += [("not_reusable", connection, error)] * (answer is not True)
    assert [(each.kind, each.connection, each.error) for each in listener] == wanted


def test_what_is_told_of_the_reset_of_one_that_is_new_here(driver: Callable[..., Any]) -> None:
    """The driver's own recipe is found, and tells whether anything was open."""
    made, listener = hears_resets(driver)
    connection = sqlite(":memory:")
    connection.execute("create table note (word)")
    connection.execute("insert into note values ('open')")
    for _ in range(2):
        assert made.reset(connection) is True
        assert not connection.in_transaction
    assert [(each.kind, each.connection) for each in listener] == [("rolled_back", connection)]
    connection.close()


@pytest.mark.parametrize("listens", [True, False])
def test_whether_somebody_had_what_came_back(listens: bool, driver: Callable[..., Any]) -> None:
    """Who listens for it may have kept the connection: then it is not as it was."""
    listener = Listener()
    made = driver(listeners={"checkin": listener} if listens else {})
    made.listeners.begin("it", 0.0, is_new=False, has_waited=False)
    assert made.returned(SimpleNamespace(key=3, connection="it")) is not listens
    assert [each.connection for each in listener] == (["it"] if listens else [])


def leak(lease: Any, **changes: Any) -> Leaked:
    return Leaked(lease.ticket, lease.key, changes.pop("owner", None), 5.0)._replace(**changes)


def test_a_leak_is_told_with_what_the_pool_knows_of_it(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    with scripted(2, opener="caller", leak_after=FOR_EVER, listeners={"leak": listener}) as pool:
        driver: Any = pool._driver
        pool.acquire().discard()  # so that the numbers of connections are not those of the machine
        lease = pool.acquire()
        held = leased(pool.runtime.state.in_use)[lease.key]
        driver._numbered[id(lease.connection)] = 17
        before = pool.runtime.clock()
        driver.report_leak(leak(lease, owner=held.owner))
        assert [(each.connection, each.seconds) for each in listener] == [(lease.connection, 5.0)]
        assert listener[0].stack is not None
        assert __file__ in listener[0].stack
        number = 17
        assert driver.leaks[lease.ticket].number == number
        assert before - 5.0 <= driver.leaks[lease.ticket].began <= pool.runtime.clock() - 5.0
        assert caplog.records[0].args[3] == listener[0].stack  # type: ignore[index]
        assert driver.leaks[lease.ticket].key == lease.key
        lease.release()
        assert driver.leaks == {}
    assert [record.args[1] for record in caplog.records] == [number, number]  # type: ignore[index]


def test_a_leak_that_is_over_when_it_is_told_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Its lease came back, or its key is another lease's by now."""
    listener = Listener()
    with scripted(1, opener="caller", listeners={"leak": listener}) as pool:
        driver: Any = pool._driver
        lease = pool.acquire()
        driver._numbered.clear()
        driver.report_leak(leak(lease, ticket=lease.ticket + 7))
        assert caplog.records[0].args[1] == lease.key  # type: ignore[index]
        assert driver.leaks == {}
        driver.report_leak(leak(lease, key=lease.key + 7, owner="no holder"))
        assert driver.leaks == {}
        assert [each.stack for each in listener] == [None, None]
        lease.release()


def test_a_loss_is_told_by_the_connections_number(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(2, opener="caller") as pool:
        driver: Any = pool._driver
        pool.acquire().discard()
        lease = pool.acquire()
        driver._numbered[id(lease.connection)] = 17
        for _ in range(2):  # of one burst
            driver.report_loss(Close(lease.key, lease.connection, "discarded"), "somebody", 2.0)
        lease.release()
        (record,) = caplog.records
        driver.journal.begin_anew()
        driver.report_loss(Close(23, object(), "discarded"), "somebody", 2.0)
    assert caplog.records[1].args[1] == 23, "one that nobody has numbered"  # type: ignore[index]
    assert record.args[1:4] == (17, 2.0, "somebody")  # type: ignore[index]
    caplog.clear()


def test_losses_are_told_again_after_a_pause(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.shared.journal.QUIET", 0.0)
    with scripted(1, opener="caller") as pool:
        driver: Any = pool._driver
        for _ in range(2):
            driver.report_loss(Close(23, object(), "discarded"), "somebody", 2.0)
    assert len(caplog.records) == 2


# ---------------------------------------------------------------- what connect returns


def test_a_kind_of_connection_is_asked_once_whether_it_is_bound(
    driver: Callable[..., Any],
) -> None:
    refused: list[Any] = []

    class Asked(Recipe):
        def refuse(self, connection: Any) -> None:
            refused.append(connection)
            if connection == "bound":
                raise ValueError("bound to its thread")

    class Other(Asked):
        pass

    made = driver()
    for connection in ("bound", "bound"):
        with pytest.raises(ValueError, match="bound"):
            made._refuse_bound(connection, Asked())
    for connection in ("free", "free", "free"):
        made._refuse_bound(connection, Asked())
    made._refuse_bound("another", Other())
    assert refused == ["bound", "bound", "free", "another"]


@pytest.mark.parametrize("where", ["idle", "lent"])
def test_what_the_pool_has_is_no_new_connection(where: str) -> None:
    with scripted(2, opener="caller") as pool:
        driver: Any = pool._driver
        leases = [pool.acquire(), pool.acquire()]
        connections = [lease.connection for lease in leases]
        leases.pop().release()
        known = connections[{"lent": 0, "idle": 1}[where]]
        with pytest.raises(TypeError, match="a connection that the pool has already"):
            driver._refuse_again(known)
        leases.pop().release()


def test_an_id_that_is_known_from_another_is_no_connection_again() -> None:
    with scripted(1, opener="caller") as pool:
        driver: Any = pool._driver
        new = Connection(9)
        driver.recipes[id(new)] = Recipe()
        with pool.acquire():
            driver._refuse_again(new)
        driver._refuse_again(new)


def test_a_close_that_fails_does_not_hide_why_a_connect_failed() -> None:
    """What `configure` raised is what the caller is told."""
    pool: Pool[Any] = Pool(
        lambda: Connection(1),
        opener="caller",
        configure=raising(LookupError("no such schema")),
        close=raising(OSError("it was gone already")),
    )
    with pytest.raises(OpenError, match=r"^pool .*: configure failed: no such schema$"):
        pool.acquire()
    pool.close()


def test_why_nothing_could_be_connected(driver: Callable[..., Any]) -> None:
    """The words are those of the error that the driver raised last, and stand once in the text."""
    made = driver()
    cause = OSError(f"{NO_CONNECTION}, said the proxy")
    made.last_error, made._words = cause, {id(cause): "the database could not be reached"}
    error = PoolError(f"{NO_CONNECTION}: {cause}")
    error.failure = failure_of(cause)
    text = made.explain(error, "shop")
    assert text == f"the database could not be reached: {NO_CONNECTION}, said the proxy"
    assert str(error) == f"pool 'shop': {text}"
    assert error.__cause__ is cause
    assert str(made.failed(ValueError("of a stranger"))) == "connect failed: of a stranger"
