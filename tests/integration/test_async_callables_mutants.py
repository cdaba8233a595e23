"""What functions of a user owe as a driver for asyncio: mutants showed that no test had asked.

Theory.  Each of these kills mutants that `make mutation-runtime` found alive in
`pool/drivers/async_callables.py`.  The recipe of a connection is one that does what it is told, and
what listeners and journal are told is written down.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pool.aio import NO_RESET, Pool
from pool.drivers.async_callables import AsyncCallables
from pool.shared.journal import CONFIGURE_FAILED, CONNECT_FAILED, UNREACHED
from tests.integration.asynchronous import Struck, once
from tests.integration.drivers import PATIENCE


class Connection:
    """Of an unknown driver."""

    is_open = True

    def close(self) -> None:
        self.is_open = False


class Recipe:
    """Says what it is told to, of the connection that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def answer(connection: Any) -> Any:
            self.asked.append((name, connection))
            found = self.answers.get(name, True)
            if isinstance(found, Exception):
                raise found
            return found

        async def awaited(connection: Any) -> Any:
            return answer(connection)

        plain = ("is_at_rest", "is_clean", "is_open", "is_closed", "terminate", "remember")
        return answer if name in plain else awaited


class Told:
    """What listeners and the journal were told."""

    def __init__(self, driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[tuple[Any, ...]] = []
        self.hooks: list[tuple[Any, ...]] = []
        tell = lambda kind, **facts: self.notices.append((kind, facts))  # noqa: E731
        monkeypatch.setattr(driver.listeners, "tell", tell)
        journal = driver.journal
        monkeypatch.setattr(journal, "connect_failed", lambda *what: self.failures.append(what))
        monkeypatch.setattr(journal, "hook_failed", lambda *what: self.hooks.append(what))

    def of(self, kind: str) -> dict[str, Any]:
        (facts,) = [facts for name, facts in self.notices if name == kind]
        return facts


def driver_of(connect: Any = Connection, **hooks: Any) -> tuple[Any, Pool[Any]]:
    """The pool is kept by whoever asks: its driver refers to it weakly."""
    pool: Pool[Any] = Pool(connect, **hooks)
    driver: Any = pool._driver
    assert isinstance(driver, AsyncCallables)
    return driver, pool


def known(driver: Any) -> tuple[Connection, Recipe]:
    connection, recipe = Connection(), Recipe()
    driver.recipes[id(connection)] = recipe
    return connection, recipe


# ------------------------------------------------------------ arguments


def test_what_is_no_function() -> None:
    with pytest.raises(ValueError, match=r"^connect=1: allowed is a function without parameters"):
        Pool(1)  # type: ignore[arg-type]
    for hook in ("check", "reset", "configure", "close"):
        with pytest.raises(ValueError, match=f"^{hook}=1: allowed is a function that takes"):
            Pool(Connection, **{hook: 1})  # type: ignore[arg-type]


# ------------------------------------------------------------ connecting


def test_what_is_told_of_a_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, pool = driver_of()
    told = Told(driver, monkeypatch)
    connections = [asyncio.run(driver.connect()) for _ in range(2)]
    assert [driver.number_of(99, one) for one in connections] == [1, 2]
    assert driver.number_of(99, object()) == 99
    assert [facts["connection"] for kind, facts in told.notices] == connections
    assert all(kind == "connect" for kind, _ in told.notices)
    assert all(0.0 <= facts["seconds"] < PATIENCE for _, facts in told.notices)
    assert pool.statistics().connects_failed == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [(ConnectionRefusedError("away"), UNREACHED), (ValueError("no such"), CONNECT_FAILED)],
)
def test_what_is_told_of_a_connect_that_failed(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> Connection:
        raise error

    driver, pool = driver_of(fails)
    told = Told(driver, monkeypatch)
    with pytest.raises(type(error)):
        asyncio.run(driver.connect())
    assert driver.last_error is error
    assert driver._words == {id(error): words}
    assert [one[:2] for one in told.failures] == [(words, error)]
    assert told.of("connect_failed")["error"] is error
    assert pool.statistics().connects_failed == 1


def test_what_is_told_of_a_configure_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is dropped, and what that raises is not told in the place of it."""
    error = ValueError("no such setting")
    made: list[Any] = []

    class Stubborn(Connection):
        def __init__(self) -> None:
            made.append(self)

        def close(self) -> None:
            super().close()
            raise OSError("stuck")

    def fails(_: Any) -> None:
        raise error

    driver, pool = driver_of(Stubborn, configure=fails)
    told = Told(driver, monkeypatch)
    with pytest.raises(ValueError, match="no such setting"):
        asyncio.run(driver.connect())
    assert driver._words == {id(error): CONFIGURE_FAILED}
    assert [one[:2] for one in told.failures] == [(CONFIGURE_FAILED, error)]
    assert not made[0].is_open
    assert not driver.recipes
    assert pool.statistics().connects_failed == 1


def test_a_connect_that_is_struck_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was configured well: that is not what failed; no number is left of it."""
    made: list[Any] = []

    def connect() -> Connection:
        made.append(Connection())
        return made[-1]

    driver, pool = driver_of(connect, configure=lambda _: None)
    struck = Struck()
    monkeypatch.setattr(driver.listeners, "tell", once(lambda *_, **__: None, struck))
    with pytest.raises(Struck):
        asyncio.run(driver.connect())
    assert driver._words == {id(struck): CONNECT_FAILED}
    assert not driver._numbered
    assert not made[0].is_open
    assert pool.statistics().connects_failed == 0, "nobody is told of what is no error"


def test_what_is_no_connection() -> None:
    driver, pool = driver_of(lambda: None)
    with pytest.raises(TypeError, match="connect returned None: it has to return"):
        asyncio.run(driver.connect())
    assert pool.statistics().size == 0


def test_the_same_connection_again() -> None:
    one = Connection()

    async def main() -> None:
        async with Pool(lambda: one, max_size=2) as pool:
            lease = await pool.acquire(PATIENCE)
            with pytest.raises(TypeError, match="that the pool has already"):
                await pool._driver.connect()
            assert one.is_open
            await lease.release()

    asyncio.run(main())


# ------------------------------------------------------------ known without asking


def test_whether_it_is_at_rest() -> None:
    for hooks in ({}, {"reset": NO_RESET}):
        driver, pool = driver_of(**hooks)
        connection, recipe = known(driver)
        asks = driver.is_at_rest if not hooks else driver.is_clean
        for answer in (True, False):
            recipe.answers["is_at_rest"] = answer
            assert asks(connection) is answer
        recipe.answers["is_at_rest"] = OSError("closed")
        assert asks(connection) is False
        assert recipe.asked == [("is_at_rest", connection)] * 3
        assert pool.statistics().size == 0


# ------------------------------------------------------------ hooks


def test_whether_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, pool = driver_of()
    connection, recipe = known(driver)
    recipe.answers["is_alive"] = False
    assert asyncio.run(driver.is_alive(connection)) is False
    assert recipe.asked == [("is_alive", connection)]

    error = ValueError("asked wrongly")

    async def fails(_: Any) -> None:
        raise error

    driver, other = driver_of(check=fails)
    told = Told(driver, monkeypatch)
    with pytest.raises(ValueError, match="asked wrongly"):
        asyncio.run(driver.is_alive(connection))
    assert told.hooks == [("check", error, connection)]
    assert pool.statistics() is not other.statistics()


def test_a_reset_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the rollback; and what it leaves open is settled."""
    given: list[Any] = []
    answer: list[Any] = [None]

    def reset(connection: Any) -> Any:
        given.append(connection)
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    driver, pool = driver_of(reset=reset)
    told = Told(driver, monkeypatch)
    connection, recipe = known(driver)
    assert asyncio.run(driver.reset(connection)) is True
    assert recipe.asked == [("reset", connection), ("settle", connection)]
    recipe.answers["settle"] = False
    assert asyncio.run(driver.reset(connection)) is False
    answer[0] = False
    assert asyncio.run(driver.reset(connection)) is False
    assert given == [connection] * 3
    recipe.answers["reset"] = False
    assert asyncio.run(driver.reset(connection)) is False
    assert len(given) == 3, "one that is of no use is not reset"
    recipe.answers["reset"] = True
    answer[0] = error = ValueError("reset wrongly")
    with pytest.raises(ValueError, match="reset wrongly"):
        asyncio.run(driver.reset(connection))
    assert told.hooks == [("reset", error, connection)]
    assert told.notices == []
    assert pool.statistics().size == 0


def test_no_reset_asks_whether_it_is_at_rest() -> None:
    driver, pool = driver_of(reset=NO_RESET)
    connection, recipe = known(driver)
    recipe.answers["is_at_rest"] = False
    assert asyncio.run(driver.reset(connection)) is False
    assert recipe.asked == [("is_at_rest", connection)]
    assert pool.statistics().size == 0


@pytest.mark.parametrize("was_open", [True, False, OSError("closed")], ids=str)
@pytest.mark.parametrize("is_clean", [True, False, OSError("broken")], ids=str)
def test_what_is_told_of_a_reset(
    was_open: Any, is_clean: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: Any = ("rolled_back", "not_reusable")
    driver, pool = driver_of(listeners={kind: lambda _: None for kind in kinds})
    told = Told(driver, monkeypatch)
    connection, recipe = known(driver)
    recipe.answers = {"is_open": was_open, "reset": is_clean}
    fails = isinstance(is_clean, Exception)
    if fails:
        with pytest.raises(OSError, match="broken"):
            asyncio.run(driver.reset(connection))
        wanted = [("not_reusable", {"connection": connection, "error": is_clean})]
    else:
        assert asyncio.run(driver.reset(connection)) is is_clean
        wanted = [("rolled_back", {"connection": connection})] * (was_open is True)
        wanted += [("not_reusable", {"connection": connection})] * (not is_clean)
    assert told.notices == wanted
    assert recipe.asked == [("is_open", connection), ("reset", connection)]
    assert pool.statistics().size == 0


def test_what_is_not_reset_was_never_open() -> None:
    driver, pool = driver_of(reset=NO_RESET)
    connection, recipe = known(driver)
    assert driver._is_open(connection) is False
    assert recipe.asked == []
    assert pool.statistics().size == 0


# ------------------------------------------------------------ the end


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_close(is_closed: bool) -> None:
    """What is closed already is not closed again; it is forgotten."""
    driver, pool = driver_of()
    connection, recipe = known(driver)
    driver._numbered[id(connection)] = 7
    recipe.answers["is_closed"] = is_closed
    asyncio.run(driver.close(connection))
    closed = [("close", connection)] * (not is_closed)
    assert recipe.asked == [("is_closed", connection), *closed]
    assert not driver.recipes
    assert driver.number_of(99, connection) == 99
    asyncio.run(driver.close(connection))  # once more, as one that is not known
    assert not connection.is_open
    assert pool.statistics().size == 0


def test_a_close_of_ones_own() -> None:
    given: list[Any] = []
    driver, pool = driver_of(close=given.append)
    connection, recipe = known(driver)
    asyncio.run(driver.close(connection))
    assert given == [connection]
    assert recipe.asked == []
    driver.recipes[id(connection)] = recipe
    driver.terminate(connection)
    assert recipe.asked == [("terminate", connection)]
    assert not driver.recipes
    assert pool.statistics().size == 0


def test_a_task_that_waits_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """As a task, with those that hold."""
    caplog.set_level(logging.DEBUG, "pool")
    said: list[tuple[Any, ...]] = []
    driver, pool = driver_of()
    driver.journal.waits = lambda *what: said.append(what)
    driver.report_wait(5)
    assert said == [(pool._runtime.state, 5, "task")]
    del pool
    driver._runtime = lambda: None
    driver.report_wait(6)
    assert len(said) == 1
