"""The page "What the next borrower gets" says what happens.

Theory.  Its table has a row for each thing of `left_behind.py`, and the test does that thing: what
the row says is what the next holder meets.  The functions for `reset=` on the page are taken from
it as they stand, and have to undo what the table says is kept.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool import Pool
from tests.integration.drivers import PATIENCE, ROOT, Call
from tests.integration.left_behind import DRIVERS, Left
from tests.integration.test_docs import blocks

PAGE = ROOT / "docs" / "next-borrower.md"
ROW = re.compile(r"^\| (?P<driver>[^|]*) \| (?P<what>[^|]*) \| \*\*(?P<happens>[a-z ]+)\*\*", re.M)
MYSQL = ["pymysql", "mysql.connector", "mariadb"]
OUTCOMES = {"put back", "ended", "closed", "kept"}


def table() -> dict[tuple[str, str], str]:
    """What the page says."""
    rows = [match.groups() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    said = {(driver, what): happens for driver, what, happens in rows}
    assert len(said) == len(rows), "a row comes twice"
    return said


CASES = [
    pytest.param(
        driver,
        what,
        marks=[pytest.mark.database] if driver != "sqlite3" else [],
        id=f"{driver}: {what}",
    )
    for driver, things in DRIVERS.items()
    for what in things
]


def test_the_table_is_whole() -> None:
    assert set(table()) == {(driver, what) for driver in DRIVERS for what in DRIVERS[driver]}
    assert set(table().values()) == OUTCOMES


def connect_with(
    driver: str, what: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], Any]:
    if driver == "sqlite3":
        path = tmp_path / "left"
        return functools.partial(sqlite3.connect, path, check_same_thread=False, timeout=0.1)
    module = pytest.importorskip(driver)
    if driver in MYSQL:
        server = request.getfixturevalue("mariadb")
    elif "two-phase" in what:
        server = request.getfixturevalue("postgres_with")(max_prepared_transactions=2)
    else:
        server = request.getfixturevalue("postgres")
    return functools.partial(module.connect, **server.parameters)


def leave(pool: Pool[Any], left: Left) -> tuple[Any, Any]:
    """In a block: its connection, and what has to be kept."""
    connection = kept = None

    def use() -> None:
        nonlocal connection, kept
        with pool.connection() as connection:
            kept = left.leave(connection)

    if left.raises:
        with pytest.raises(Exception, match=left.raises):
            Call(use).result()
    else:
        Call(use).result()
    return connection, kept


def what_happens(pool: Pool[Any], left: Left) -> str:
    connection, kept = leave(pool, left)

    def see() -> str:
        with pool.connection() as again:
            if again is not connection:
                return "closed"
            return "kept" if left.shows(again) else "put back"

    try:
        seen: str = Call(see).result()
    finally:
        with contextlib.suppress(Exception):
            kept.close()  # of a connection that is closed
    return seen


@pytest.mark.parametrize(("driver", "what"), CASES)
def test_the_table_is_true(
    driver: str, what: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    left = DRIVERS[driver][what]
    said = table()[driver, what]
    if not left.needs:
        assert said in ("put back", "closed")  # a newer Python shows it
        return
    connect = connect_with(driver, what, request, tmp_path)
    new = connect()
    assert not left.shows(new), "a new one does not show it"
    new.close()
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        happens = what_happens(pool, left)
    assert happens == ("put back" if said == "ended" else said)


# ---------------------------------------------------------------- the functions for `reset=`


def reset_of(driver: str) -> Callable[[Any], Any]:
    """The function of the page for this driver."""
    name = f"reset_{'pymysql' if driver in MYSQL else driver}"
    (source,) = [
        text for kind, _, text in blocks(PAGE) if kind == "python" and f"def {name}(" in text
    ]
    names: dict[str, Any] = {}
    exec(source, names)
    found: Callable[[Any], Any] = names[name]
    return found


KEPT_ALL_THE_SAME = {
    ("sqlite3", "functions, collations, handlers"),
    ("psycopg", "adapters of the connection"),
    ("psycopg", "`PREPARE`"),
    ("psycopg2", "`PREPARE`"),
    *((driver, what) for driver in MYSQL for what in ("temporary tables", "user variables")),
}
"""What the page says that its functions do not undo."""


@pytest.mark.parametrize(("driver", "what"), CASES)
def test_the_resets_of_the_page(
    driver: str, what: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What is kept without them is undone by them, and they cost no connection."""
    if table()[driver, what] != "kept":
        return
    left = DRIVERS[driver][what]
    connect = connect_with(driver, what, request, tmp_path)
    settings: dict[str, Any] = {"max_size": 1, "timeout": PATIENCE, "opener": "caller"}
    with Pool(connect, reset=reset_of(driver), **settings) as pool:
        for _ in range(3):
            with pool.connection() as connection:
                pass
        happens = what_happens(pool, left)
        with pool.connection() as again:
            assert again is connection, "the reset cost a connection"
    assert happens == ("kept" if (driver, what) in KEPT_ALL_THE_SAME else "put back")


@pytest.mark.database
def test_what_psycopg_has_prepared_is_not_forgotten(postgres: Any) -> None:
    """As it would be by `DISCARD ALL`: from the sixth time on psycopg counts on it."""
    psycopg = pytest.importorskip("psycopg")
    connect = functools.partial(psycopg.connect, **postgres.parameters)
    reset = reset_of("psycopg")
    with Pool(connect, max_size=1, timeout=PATIENCE, opener="caller", reset=reset) as pool:
        for number in range(10):
            with pool.connection() as connection:
                assert connection.execute("select %s::int", (number,)).fetchone() == (number,)
        assert connection.execute("select count(*) from pg_prepared_statements").fetchone() != (0,)
        assert pool.statistics().opened == 1
