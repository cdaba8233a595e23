"""Fixtures that more than one file uses.

`node`, `cli` and `few` are for the tests of `purepool conform`; `nobody_tells` keeps away the
thread that tells the observers of earlier tests. The databases are `postgres` and `mariadb`,
started once, and only when a test asks.

    def test_a_query(postgres):
        assert postgres.run("select 1") == [(1,)]
        connection = psycopg2.connect(**postgres.parameters)

A test that stops its server, or needs other settings, makes one of its own, which ends with it:

    def test_a_crash(postgres_with):
        server = postgres_with(max_connections=5)
        server.stop(abruptly=True)
        server.start()

Each such test gets the marker `database` by itself. Where a server can't be had it is skipped,
saying why; with `PUREPOOL_REQUIRE_DATABASES=1` it fails, for runs that must not skip.
"""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool.check.conformance.files import vectors_directory
from pool.record.recorder import runtime_of
from pool.shared import regularly
from tests.integration import instants
from tests.integration.databases import scripted
from tests.integration.drivers import ROOT, assert_sound, idle, lent, until
from tests.integration.porting import Cli, command_line, find_node
from tests.integration.servers import MariaDB, Postgres, Server, Unavailable, Workplace

SERVERS = {"postgres", "mariadb", "postgres_with", "mariadb_with"}
FIXTURES = SERVERS | {"place"}
"""Those that start a server; `place` of `test_pool_drivers.py` asks for one when it runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server: as a fixture, or by a parameter that `getfixturevalue` gets."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if hasattr(item, "callspec"):
            names.update(value for value in item.callspec.params.values() if isinstance(value, str))
        if names & FIXTURES:
            item.add_marker(pytest.mark.database)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> None:
    """What is not marked runs where nobody expects a server: on every core, each with its own."""
    item = request._pyfuncitem
    if fixturedef.argname in SERVERS and item.get_closest_marker("database") is None:
        pytest.fail(f"{item.nodeid} uses {fixturedef.argname} without the marker `database`")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Only what is marked is content with a sample of the instants; `make thorough` has all."""
    instants.chosen = instants.SAMPLE if item.get_closest_marker("sampled") else instants.EVERY


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """At how many instants something was tried, where each was."""
    reports = terminalreporter.stats.get("passed", ())
    counts = [
        value for report in reports for name, value in report.user_properties if name == "instants"
    ]
    if counts:
        nth, first = instants.SAMPLE.step, instants.SAMPLE.start
        each = "each" if nth == 1 else f"every {nth}th (again: PUREPOOL_INSTANTS={nth}:{first})"
        text = f"{sum(counts):,} instants in {len(counts)} tests, something happening at {each}"
        terminalreporter.write_line(text)


@pytest.fixture
def sound_databases() -> Iterator[Callable[..., Any]]:
    """Makes scripted pooled databases of peewee that at the end must be found whole."""
    made: list[Any] = []

    def make(*arguments: Any, **settings: Any) -> Any:
        made.append(scripted(*arguments, **settings))
        return made[-1]

    yield make
    for database in made:
        assert_sound(database)
        assert database.broken == []
        assert database.driver.mistakes == []
        forgotten = runtime_of(database).state.counters.forgotten  # taken out by hand
        known = [*idle(database), *lent(database), *database.driver.closed]
        assert len(known) + forgotten == len(database.driver.opened)
        assert set(known) <= set(database.driver.opened)


@pytest.fixture(scope="session")
def workplace() -> Iterator[Workplace]:
    """The temporary directory of all servers; its end is theirs."""
    place = Workplace()
    yield place
    place.close()


@pytest.fixture(scope="session")
def postgres(workplace: Workplace) -> Postgres:
    """The PostgreSQL server that tests share: don't stop it."""
    try:
        return Postgres(workplace)
    except Unavailable as reason:
        raise without(reason) from None


@pytest.fixture(scope="session")
def mariadb(workplace: Workplace) -> MariaDB:
    """The MariaDB server that tests share: don't stop it."""
    try:
        return MariaDB(workplace)
    except Unavailable as reason:
        raise without(reason) from None


@pytest.fixture
def postgres_with(workplace: Workplace) -> Iterator[Callable[..., Postgres]]:
    """Makes a PostgreSQL server with the settings given, for this test only."""
    yield from servers_of_one_test(Postgres, workplace)


@pytest.fixture
def mariadb_with(workplace: Workplace) -> Iterator[Callable[..., MariaDB]]:
    """Makes a MariaDB server with the settings given, for this test only."""
    yield from servers_of_one_test(MariaDB, workplace)


def servers_of_one_test(kind: type[Any], workplace: Workplace) -> Iterator[Callable[..., Any]]:
    made: list[Server] = []

    def make(**settings: Any) -> Server:
        try:
            made.append(kind(workplace, **settings))
        except Unavailable as reason:
            raise without(reason) from None
        return made[-1]

    yield make
    for server in made:
        server.close()


def without(reason: Unavailable) -> BaseException:
    if os.environ.get("PUREPOOL_REQUIRE_DATABASES"):
        return pytest.fail.Exception(str(reason), pytrace=False)
    return pytest.skip.Exception(str(reason))


@pytest.fixture(scope="session")
def node() -> str:
    return find_node()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return command_line(capsys)


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory with the vectors of one small file, for a port that is a process of ours."""
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), before])))
    directory = tmp_path / "vectors"
    directory.mkdir()
    shutil.copy(vectors_directory() / "leaks.jsonl", directory)
    return str(directory)


@pytest.fixture
def nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread tells regularly what is observed: that of an earlier test has ended."""
    monkeypatch.setattr(regularly, "_runtimes", weakref.WeakSet())
    until(lambda: "purepool observer" not in {one.name for one in threading.enumerate()})
