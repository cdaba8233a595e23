"""What a pool writes to the log, and that `docs/logging.md` has all of it and nothing else."""

from __future__ import annotations

import ast
import asyncio
import gc
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pool as package
from pool import OpenError, PoolClosed, PoolTimeout
from pool.core.effects import Leaked
from pool.core.state import leased
from pool.meant import LENDING, OF_CONNECTIONS, RETURNING
from pool.shared.journal import UNREACHED, Journal
from pool.shared.log import logger
from tests.integration.drivers import FOR_EVER, PATIENCE, Call, park, until
from tests.integration.pools import Scripted, scripted

HERE = Path(package.__file__).parent
LEVELS = {"debug", "info", "warning", "error"}


def in_order(node: ast.AST) -> Iterator[ast.AST]:
    """As they are written: a name means what it was given last."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from in_order(child)


def texts_of_code() -> Iterator[tuple[str, str]]:
    """Level and first line of each text that the pool logs."""
    for path in HERE.rglob("*.py"):
        if path.parts[len(HERE.parts)] in ("check", "peewee"):
            continue
        names: dict[str, str] = {}
        for node in in_order(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                names[ast.unparse(node.targets[0])] = str(node.value.value)
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, method = ast.unparse(node.func.value), node.func.attr
            if not ((owner == "logger" and method in LEVELS) or method == "_warn"):
                continue
            first = node.args[0]
            if isinstance(first, ast.Constant):
                text = str(first.value)
            elif isinstance(first, ast.Name):
                text = names[first.id]
            else:
                continue  # `_warn` itself
            level = "WARNING" if method == "_warn" else method.upper()
            if owner == "logger":  # the pool's name; `_warn` puts it there by itself
                text = text.removeprefix("%s")
            yield level, text.partition("\n")[0]


def test_the_page_has_every_text() -> None:
    page = (HERE.parent / "docs" / "logging.md").read_text()
    rows = re.findall(r"^\| `pool` \| (\w+) \| `(.*?)` \| (.+) \|$", page, re.MULTILINE)
    assert {(level, text) for level, text, _ in rows} == set(texts_of_code())


def said(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    records = [one for one in caplog.records if part in one.getMessage()]
    assert all(one.levelno == logging.WARNING for one in records)
    assert all(one.getMessage().startswith("pool ") for one in records)
    return [one.getMessage() for one in records]


@pytest.mark.parametrize("hook", ["check", "reset"])
def test_a_bug_in_a_hook(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with the traceback; not at all if it is what a driver says of a dead connection."""
    errors: list[Exception] = [ConnectionResetError("gone"), TypeError("a bug"), TypeError("again")]

    def fail(_: Any) -> None:
        raise errors.pop(0) if errors else TypeError("and again")

    settings: dict[str, Any] = {hook: fail, "check_after": 0.0, "opener": "caller"}
    with scripted(1, name="shop", **settings) as pool:
        for _ in range(6):
            pool.acquire().release()
    (text,) = said(caplog, f"{hook} raised")
    assert text.startswith("pool 'shop': ")
    assert "a bug" in caplog.text
    assert "Traceback" in caplog.text


def test_a_thread_waits_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Once per line of code, and as soon as it waits."""
    with scripted(1) as pool, pool.acquire():
        for _ in range(3):
            with pytest.raises(PoolTimeout):
                pool.acquire(0.01)
        assert len(said(caplog, "waits for another one")) == 1
        assert __file__ in said(caplog, "waits for another one")[0]


def test_who_got_what_it_waits_for_holds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It was granted before the pool could look whether to warn; and another one still waits."""
    with scripted(1) as pool:
        held, others, report = pool.acquire(), list[Any](), pool.runtime.on_long_wait

        def wait(ticket: int) -> None:
            if not others:
                others.append(None)
                others.append(park(pool, pool.acquire))
                held.release()
            report(ticket)

        pool.runtime.on_long_wait = wait
        Call(lambda: pool.acquire().release()).result()
        others[1].result().release()
    assert said(caplog, "waits for another one") == []


def test_a_thread_with_an_event_loop_waits(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(pool: Scripted) -> None:
        with pytest.raises(PoolTimeout):
            pool.acquire(0.01)

    with scripted(1, opener="caller") as pool:
        lease = pool.acquire()
        for _ in range(3):
            asyncio.run(handler(pool))
        lease.release()
    assert len(said(caplog, "asyncio.to_thread")) == 1


def test_a_lost_lease(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(1, leak_after=1000.0) as pool:
        lease: Any = pool.acquire()
        del lease
        gc.collect()
        until(lambda: said(caplog, "was lost"))
        assert __file__ in said(caplog, "was lost")[0]


@pytest.mark.parametrize("leak_after", [None, 1000.0])
def test_losses_again_and_again(
    leak_after: float | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once per line, where lines are known; else once per burst."""
    monkeypatch.setattr("pool.shared.journal.QUIET", FOR_EVER)
    with scripted(1, leak_after=leak_after, opener="caller") as pool:
        for _ in range(3):
            pool.acquire()
            gc.collect()
        pool.acquire().release()
        assert len(said(caplog, "was lost")) == 1
        monkeypatch.setattr("pool.shared.journal.QUIET", 0.0)
        pool.acquire()
        gc.collect()
        pool.acquire().release()
        assert len(said(caplog, "was lost")) == 2


@pytest.mark.parametrize("opener", ["background", "caller"])
@pytest.mark.parametrize("end", ["released", "discarded", "lost", "the end of a block"])
def test_a_leak_and_its_end(end: str, opener: str, caplog: pytest.LogCaptureFixture) -> None:
    """Both are told, once, of the same connection; of one that is not reported neither."""
    with scripted(2, opener=opener, leak_after=0.001) as pool:
        for _ in range(3):
            pool.acquire(PATIENCE).discard()
        in_a_block = end == "the end of a block"
        lease: Any = pool.connection() if in_a_block else pool.acquire(PATIENCE)
        if in_a_block:
            lease.__enter__()
        number = pool.holders()[0].key

        def of_it(part: str) -> list[str]:
            return [text for text in said(caplog, part) if f"connection {number} " in text]

        until(lambda: pool._look() or of_it("it was taken here"))
        assert of_it("no longer held") == []
        if end == "released":
            lease.release()
        elif end == "discarded":
            lease.discard()
        elif in_a_block:
            lease.__exit__(None, None, None)
        else:
            del lease
            gc.collect()
            pool.runtime.take_over()
        until(lambda: of_it("no longer held"))
        assert len(of_it("it was taken here")) == len(of_it("no longer held")) == 1


@pytest.mark.parametrize("closed", [False, True])
def test_a_leak_that_has_ended_when_it_is_told(
    closed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection has the same number as ever; but of one that is closed nothing is kept."""
    with scripted(2, opener="caller", leak_after=1000.0) as pool:
        others = [pool.acquire(), pool.acquire()]
        for lease in others:
            lease.release()
        lease = pool.acquire()
        number = pool.holders()[0].key
        key, owner = next(
            (key, held.owner) for key, held in leased(pool.runtime.state.in_use).items()
        )
        leak = Leaked(lease.ticket, key, owner, 1001.0)
        if closed:
            lease.discard()
        else:
            lease.release()
        pool._driver.report_leak(leak)
        name = "?" if closed else str(number)
        assert len(said(caplog, f"connection {name} has been held")) == 1
        assert len(said(caplog, f"connection {name} is no longer held")) == 1


def test_a_second_outage_counts_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ConnectionRefusedError("the database is down")

    with scripted(1, opener="caller") as pool:
        for refused in (3, 2):
            pool.driver.on_connect = fail
            for _ in range(refused):
                with pytest.raises(OpenError):
                    pool.acquire(PATIENCE)
            pool.driver.on_connect = lambda: None
            pool.acquire(PATIENCE).discard()
            assert f"in which {refused} callers were refused" in said(caplog, "made again")[-1]
        assert len(said(caplog, "made again")) == 2


@pytest.mark.parametrize("opener", ["background", "caller"])
def test_an_outage(opener: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its beginning and its end, once each."""

    def fail(*_: object) -> None:
        raise ConnectionRefusedError("the database is down")

    with scripted(1, opener=opener, backoff_initial=0.001) as pool:
        pool.driver.on_connect = fail
        for _ in range(3):
            with pytest.raises(OpenError, match="the database could not be reached"):
                pool.acquire(PATIENCE)
        assert len(said(caplog, "no connection can be made")) == 1
        assert len(said(caplog, "a caller was refused")) == 1
        assert "Traceback" not in caplog.text, "what a database is not there for is no bug"
        pool.driver.on_connect = lambda: None
        pool.acquire(PATIENCE).release()
        until(lambda: said(caplog, "connections can be made again"))
        assert "in which 3 callers were refused" in said(caplog, "made again")[0]


@pytest.mark.parametrize("opener", ["background", "caller"])
@pytest.mark.parametrize("where", ["connect", "configure"])
def test_a_bug_is_not_called_an_outage(
    opener: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("a bug")

    settings: dict[str, Any] = {"configure": fail} if where == "configure" else {}
    with scripted(1, opener=opener, stormy=True, **settings) as pool:
        if where == "connect":
            pool.driver.on_connect = fail
        with pytest.raises(OpenError, match=f"{where} failed"):
            pool.acquire(PATIENCE)
        (text,) = said(caplog, "no connection can be made")
        assert f"{where} failed" in text
        assert "Traceback" in caplog.text


def test_who_is_refused_by_a_closed_pool_is_not_worth_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scripted(1) as pool:
        pool.close()
        with pytest.raises(PoolClosed):
            pool.acquire()
    assert said(caplog, "refused") == []


def test_a_child_is_in_no_outage_of_its_parent(caplog: pytest.LogCaptureFixture) -> None:
    """Nor in a burst. What was told per line of code is not told again."""
    journal = Journal("shop")
    error = ConnectionRefusedError("the database is down")
    for _ in range(2):
        journal.connect_failed(UNREACHED, error, 0, 1.0)
        journal.refused(PoolTimeout("none"), "none", 1.0)
        journal.listener_failed("close", error)
    assert len(caplog.records) == 3
    journal.begin_anew()
    journal.connected(5, 2.0)
    assert said(caplog, "made again") == []
    journal.refused(PoolTimeout("none"), "none", 2.0)
    journal.listener_failed("close", error)
    assert len(caplog.records) == 4


def test_a_healthy_pool_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(3, min_idle=1) as pool:
        pool.wait(PATIENCE)
        for _ in range(20):
            with pool.acquire(), pool.acquire():
                pass
            with pool.connection():
                pass
    assert [one for one in caplog.records if one.levelno > logging.DEBUG] == []


def test_connections_are_numbered_as_connections() -> None:
    with scripted(2) as pool:
        for _ in range(50):
            pool.acquire().release()
        with pool.acquire(), pool.acquire():
            assert sorted(one.key for one in pool.holders()) == [1, 2]


def test_wait_makes_sure_of_one() -> None:
    def fail(*_: object) -> None:
        raise ConnectionRefusedError("the database is down")

    with scripted(1) as pool:
        pool.driver.on_connect = fail
        with pytest.raises(PoolTimeout):
            pool.wait(0.01)
        until(lambda: pool.statistics().last_error)  # what it began goes on
        with pytest.raises(PoolTimeout, match="the database is down"):
            pool.wait(0.01)
        pool.driver.on_connect = lambda: None
        pool.wait(PATIENCE)
        assert pool.statistics().idle == 1


def test_what_was_meant() -> None:
    with scripted(1) as pool:
        with pytest.raises(AttributeError, match=r"`lease\.connection`"), pool.acquire() as lease:
            lease.execute("select 1")  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="for a block"):
            pool.connection().execute("select 1")  # type: ignore[attr-defined]
        assert not hasattr(pool.connection(), "commit")


@pytest.mark.parametrize("name", [*OF_CONNECTIONS, *LENDING, *RETURNING])
def test_each_name_says_where_it_is_to_be_found(name: str) -> None:
    """As it is asked for, and as it is set, which would be for nothing."""
    with scripted(1) as pool, pool.acquire() as lease:
        of_connections = [lease, pool.connection()] if name in OF_CONNECTIONS else []
        for thing in [pool, *of_connections]:
            text = rf"^an? {type(thing).__name__} has no '{name}': \w.*"
            with pytest.raises(AttributeError, match=text):
                getattr(thing, name)
            if thing is not pool:
                with pytest.raises(AttributeError, match=text):
                    setattr(thing, name, None)


# ---------------------------------------------------------------- the logger


def test_a_record_names_the_line_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pool")
    for method in ("debug", "info", "warning", "error"):
        getattr(logger, method)("%s went wrong", "it")
    assert [record.funcName for record in caplog.records] == [
        test_a_record_names_the_line_that_logged_it.__name__
    ] * 4
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert not any(record.exc_info for record in caplog.records)
    assert {record.getMessage() for record in caplog.records} == {"it went wrong"}


@pytest.mark.parametrize("method", ["debug", "warning", "error"])
def test_a_traceback_is_shown_where_one_is_asked_for(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pool")
    try:
        raise LookupError("handled")
    except LookupError as error:
        getattr(logger, method)("without")
        getattr(logger, method)("the one that is handled", exc_info=True)
        getattr(logger, method)("this one", exc_info=OSError("another"))
        handled = error
    without, with_it, another = caplog.records
    assert not without.exc_info
    assert with_it.exc_info is not None
    assert with_it.exc_info[1] is handled
    assert another.exc_info is not None
    assert isinstance(another.exc_info[1], OSError)


def test_a_filter_that_raises_costs_a_line_and_no_more() -> None:
    asked = []

    def fail(record: logging.LogRecord) -> bool:
        asked.append(record)
        raise RuntimeError("of the program's filter")

    logging.getLogger("pool").addFilter(fail)
    try:
        logger.warning("nobody will read this")
    finally:
        logging.getLogger("pool").removeFilter(fail)
    assert len(asked) == 1
