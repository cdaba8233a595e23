"""The pages for users of `Pool` are true: the table of features is whole, and names a test for
each; the quick start of each driver works.

That the blocks of all pages run is shown in `test_docs.py`.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.integration.drivers import ROOT
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


def rows(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def names(page: str) -> list[str]:
    return [row[2:].partition(" |")[0] for row in rows(page)]


def test_nothing_that_is_promised_is_missing() -> None:
    features = names("features.md")
    promised = [name.strip() for name in PROMISED.replace("\n", " ").split(",")]
    assert [name for name in promised if not any(each.startswith(name) for each in features)] == []


def test_both_pages_have_the_same_features() -> None:
    assert names("features.md") == names("evidence.md")


def test_every_feature_names_a_test() -> None:
    assert [row for row in rows("evidence.md") if not ROW.search(row)] == []


@pytest.mark.parametrize("page", ["evidence.md", "measured.md"])
def test_every_test_named_exists(page: str) -> None:
    missing = []
    found = ROW.findall("\n".join(rows(page)))
    assert len(found) > 7
    for file, function in found:
        source = (ROOT / "tests" / "integration" / file).read_text(encoding="utf-8")
        if f"\ndef {function}(" not in source:
            missing.append(f"{file}::{function}")
    assert missing == []


@pytest.mark.parametrize(
    ("driver", "server"),
    [("psycopg", "postgres"), ("psycopg2", "postgres"), ("pymysql", "mariadb")],
)
def test_the_quick_start_of_each_driver(
    driver: str, server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block of the page, as it stands, with the address of a server that is there."""
    pytest.importorskip(driver)
    given = request.getfixturevalue(server).parameters
    place = "{user}:{password}@{host}:{port}/{database}".format(
        **{"password": "", "database": given.get("dbname"), **given}
    )
    monkeypatch.setenv("SHOP_POSTGRES", f"postgresql://{place}")
    monkeypatch.setenv("SHOP_MYSQL", f"mysql://{place}")
    (source,) = [
        text
        for kind, _, text in blocks(ROOT / "docs" / "quickstart.md")
        if kind == "python" and f"def with_{driver}()" in text
    ]
    space: dict[str, Any] = {"os": os}
    exec(source, space)  # which asserts what its last lines say
    assert space[f"with_{driver}"]() == 42
