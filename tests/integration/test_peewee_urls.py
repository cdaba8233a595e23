"""Names and urls: what a program has to change to use the drop-in, and what it need not.

Theory.  A drop-in is one import line, or for urls one call.  Everything that a program can
see of playhouse's pool by name has to be there, and be, where it is an error or a type that
programs test for, the very same object.
"""

from __future__ import annotations

from pathlib import Path

import playhouse.pool
import pytest
from peewee import Database
from playhouse import db_url
from playhouse.pool import MaxConnectionsExceeded

import pool.peewee as drop_in
from tests.integration.drivers import run_script

SCHEMES = {
    "cockroachdb+pool": "PooledCockroachDatabase",
    "crdb+pool": "PooledCockroachDatabase",
    "cysqlite+pool": "PooledCySqliteDatabase",
    "mariadbconnector+pool": "PooledMariaDBConnectorDatabase",
    "mysql+pool": "PooledMySQLDatabase",
    "mysqlconnector+pool": "PooledMySQLConnectorDatabase",
    "postgres+pool": "PooledPostgresqlDatabase",
    "postgresext+pool": "PooledPostgresqlExtDatabase",
    "postgresql+pool": "PooledPostgresqlDatabase",
    "postgresqlext+pool": "PooledPostgresqlExtDatabase",
    "psycopg3+pool": "PooledPsycopg3Database",
    "sqlite+pool": "PooledSqliteDatabase",
}


def test_the_schemes_are_all_of_peewees() -> None:
    """A pooled scheme that a new peewee brings shows up here."""
    assert set(SCHEMES) == {scheme for scheme in db_url.schemes if scheme.endswith("+pool")}


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_connect_knows_each_pooled_scheme(scheme: str) -> None:
    local = "sqlite" in scheme
    url = f"{scheme}:///name.db" if local else f"{scheme}://user:secret@host:1234/name"
    database = drop_in.connect(f"{url}?max_connections=7&stale_timeout=30", timeout=3)
    assert type(database) is getattr(drop_in, SCHEMES[scheme])
    assert (database._max_connections, database._stale_timeout) == (7, 30)
    assert database._wait_timeout == 3
    assert database.database == ("name.db" if local else "name")
    if not local:
        assert database.connect_params["host"] == "host"
        assert database.connect_params["port"] == 1234


def test_connect_hands_other_schemes_to_peewee() -> None:
    assert type(drop_in.connect("sqlite:///:memory:")) is drop_in.SqliteDatabase
    with pytest.raises(RuntimeError, match="nonsense"):
        drop_in.connect("nonsense://host/name")


def test_what_is_handed_to_peewee_is_all_of_it() -> None:
    """The parameters, and whether the name and the password are unquoted, each by itself."""
    url = "postgresql://us%40er:se%40cret@host/name"
    for unquoted in (set(), {"password"}, {"user"}, {"password", "user"}):
        flags = {f"unquote_{each}": True for each in unquoted}
        found = drop_in.connect(url, connect_timeout=3, **flags).connect_params
        wanted = {"user": "us%40er", "password": "se%40cret"}
        wanted |= {each: wanted[each].replace("%40", "@") for each in unquoted}
        assert found == {"host": "host", "connect_timeout": 3, **wanted}


def test_a_url_without_a_scheme_is_peewees_to_refuse() -> None:
    with pytest.raises(RuntimeError, match="Unrecognized or unsupported scheme"):
        drop_in.connect("name.db")


def test_sqlite_is_told_later_as_playhouses_is(tmp_path: Path) -> None:
    """The settings of the pool by place, what is for sqlite3 and for the connection by name."""
    database = drop_in.PooledSqliteDatabase(None)
    database.init(str(tmp_path / "file"), 3, 300, 7, pragmas={"cache_size": -4000}, uri=False)
    assert (database._max_connections, database._stale_timeout) == (3, 300)
    assert database._wait_timeout == 7
    assert database.connect_params == {"uri": False, "check_same_thread": False}
    with database.connection_context():
        assert database.cache_size == -4000
    database.close_all()


def test_a_url_without_a_database() -> None:
    with pytest.raises(ValueError, match="no database name"):
        drop_in.connect("mysql+pool://host")


def test_the_password_is_unquoted_when_asked() -> None:
    url = "postgresql+pool://us%40er:se%40cret@host/name"
    quoted = drop_in.connect(url)
    plain = drop_in.connect(url, unquote_password=True, unquote_user=True)
    assert quoted.connect_params["password"] == "se%40cret"
    assert plain.connect_params["password"] == "se@cret"
    assert plain.connect_params["user"] == "us@er"


def test_importing_changes_nothing_and_register_everything() -> None:
    """In an interpreter of its own: `register` is for a whole process."""
    printed = run_script(
        """
from playhouse import db_url
before = dict(db_url.schemes)
import pool.peewee
assert db_url.schemes == before
pool.peewee.register()
pool.peewee.register()
changed = {name for name in before if db_url.schemes[name] is not before[name]}
assert changed == {name for name in before if name.endswith("+pool")}
print(type(db_url.connect("sqlite+pool:///:memory:")).__module__)
"""
    )
    assert printed.split() == ["pool.peewee"]


def test_a_star_import_brings_the_same_databases_and_errors() -> None:
    theirs: dict[str, object] = {}
    ours: dict[str, object] = {}
    exec("from playhouse.pool import *", theirs)
    exec("from pool.peewee import *", ours)
    wanted = {
        name
        for name, value in theirs.items()
        if isinstance(value, type) and issubclass(value, (Database, Exception, tuple))
    } | {"PooledDatabase"}
    assert wanted <= set(ours)
    same = {"MaxConnectionsExceeded", "PoolConnection", "SqliteDatabase", "MySQLDatabase"}
    assert all(ours[name] is theirs[name] for name in same)


@pytest.mark.parametrize(
    "name", ["_PooledMySQLDatabase", "_PooledPostgresqlDatabase", "_PooledSqliteDatabase"]
)
def test_the_mixins_are_there(name: str) -> None:
    assert issubclass(getattr(drop_in, name), getattr(playhouse.pool, name))


def test_an_instance_is_an_instance_of_playhouses() -> None:
    database = drop_in.PooledSqliteDatabase(":memory:", max_connections=1)
    assert isinstance(database, playhouse.pool.PooledSqliteDatabase)
    database.connect()
    database._state.closed = True
    with pytest.raises(MaxConnectionsExceeded) as caught:
        database.connect()
    assert isinstance(caught.value, ValueError)
    database.close_all()


def test_nothing_of_playhouses_pool_is_left_in_charge() -> None:
    """Each method of playhouse's class is replaced here, or is a hook for a driver."""
    hooks = {"_is_stale", "_is_closed", "_can_reuse", "_close_raw"}
    methods = {
        name for name, value in vars(playhouse.pool.PooledDatabase).items() if callable(value)
    }
    assert methods - hooks <= set(vars(drop_in.PooledDatabase))
