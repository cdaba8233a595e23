"""The pages for users of `Pool` are true: the table of features is whole, and names a test for
each; the quick start of each driver works.

That the blocks of all pages run is shown in `test_docs.py`.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from pool import Pool
from tests.integration.drivers import PATIENCE, ROOT
from tests.integration.test_docs import blocks

ROW = re.compile(r"`(test_\w+\.py)::(test_\w+)`")

PROMISED = """
Maximum, Minimum, Timeout, Order, Bound on waiters, Hand-off, Idle order, Lifetime, Rest,
Validation, No I/O under the lock, Callers block only on the pool, Separate limits,
Connection storms, Returned before new, Back-off, Reset, Leaks, Lost leases, Fencing, Resize, Drain,
Shutdown, Suspend, Statistics, Listeners, Forks, No threads, Interrupts, Outages,
Half-open connections, Hanging connects, Closes that fail or hang, Arguments, Useless connects,
Types
"""
"""What a pool of this kind has to have: the names of the rows begin so."""


def rows() -> list[str]:
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_nothing_that_is_promised_is_missing() -> None:
    names = [row[2:].partition(" |")[0] for row in rows()]
    promised = [name.strip() for name in PROMISED.replace("\n", " ").split(",")]
    assert [name for name in promised if not any(each.startswith(name) for each in names)] == []


def test_every_feature_names_a_test() -> None:
    assert [row for row in rows() if not ROW.search(row)] == []


def test_every_test_named_exists() -> None:
    missing = []
    for file, function in ROW.findall("\n".join(rows())):
        source = (ROOT / "tests" / "integration" / file).read_text(encoding="utf-8")
        if f"\ndef {function}(" not in source:
            missing.append(f"{file}::{function}")
    assert missing == []


@pytest.mark.parametrize(
    ("driver", "server", "example"),
    [
        ("psycopg", "postgres", "postgres_pool"),
        ("psycopg2", "postgres", "older_postgres_pool"),
        ("pymysql", "mariadb", "mysql_pool"),
    ],
)
def test_the_quick_start_of_each_driver(
    driver: str,
    server: str,
    example: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The block of the page, as it stands, but for the address of the database."""
    module = pytest.importorskip(driver)
    parameters = request.getfixturevalue(server).parameters
    connect = module.connect
    given: list[Any] = []

    def connect_here(*arguments: Any, **settings: Any) -> Any:
        given.append((arguments, settings))
        return connect(**parameters)

    monkeypatch.setattr(module, "connect", connect_here)
    (source,) = [
        text
        for kind, _, text in blocks(ROOT / "docs" / "quickstart.md")
        if kind == "python" and f"def {example}()" in text
    ]
    names: dict[str, Any] = {"Pool": Pool}
    exec(source, names)
    with names[example]() as pool:
        pool.wait(PATIENCE)
        with pool.connection(PATIENCE) as connection:
            cursor = connection.cursor()
            cursor.execute("select 1")
            assert cursor.fetchone() == (1,)
            cursor.close()
        assert "db.example" in str(given)
