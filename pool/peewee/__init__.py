"""The peewee drop-in: change `from playhouse.pool import *` to `from pool.peewee import *`.

Theory.  One class for each of playhouse's, and the urls that mean them.  A class here is
its namesake with `PooledDatabase` before it (`pool.peewee.database`), so whatever peewee does
for a driver is done here too.  Importing changes nothing global; `register()` does, when
asked.

Where this pool differs from playhouse on purpose, `docs/peewee.md` says so.
"""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlparse

import playhouse.pool
from peewee import MySQLDatabase as MySQLDatabase
from peewee import PostgresqlDatabase as PostgresqlDatabase
from peewee import SqliteDatabase as SqliteDatabase
from playhouse import db_url
from playhouse.pool import MaxConnectionsExceeded as MaxConnectionsExceeded
from playhouse.pool import PoolConnection as PoolConnection
from playhouse.pool import PooledDatabase as Stock

from pool.peewee.database import PooledDatabase as PooledDatabase


class _PooledMySQLDatabase(PooledDatabase, playhouse.pool._PooledMySQLDatabase):  # type: ignore[misc]
    """The hooks of the MySQL drivers."""


class _PooledPostgresqlDatabase(PooledDatabase, playhouse.pool._PooledPostgresqlDatabase):  # type: ignore[misc]
    """The hooks of the PostgreSQL drivers."""


class _PooledSqliteDatabase(PooledDatabase, playhouse.pool._PooledSqliteDatabase):  # type: ignore[misc]
    """The hooks of the SQLite drivers."""

    def init(self, database: Any, *arguments: Any, **kwargs: Any) -> None:
        """As `PooledDatabase.init`, with this `database`. A pooled connection serves one thread
        after another, so `sqlite3` is told not to bind it to the first one, unless told
        otherwise."""
        super().init(database, *arguments, **kwargs)
        drivers = type(self).__mro__[type(self).__mro__.index(Stock) + 1 :]
        opener = next(kind for kind in drivers if "_connect" in vars(kind))
        if opener is SqliteDatabase:
            self.connect_params.setdefault("check_same_thread", False)


class PooledMySQLDatabase(_PooledMySQLDatabase, playhouse.pool.PooledMySQLDatabase):  # type: ignore[misc]
    """`playhouse.pool.PooledMySQLDatabase` over this pool."""


class PooledPostgresqlDatabase(_PooledPostgresqlDatabase, playhouse.pool.PooledPostgresqlDatabase):  # type: ignore[misc]
    """`playhouse.pool.PooledPostgresqlDatabase` over this pool."""


class PooledSqliteDatabase(_PooledSqliteDatabase, playhouse.pool.PooledSqliteDatabase):  # type: ignore[misc]
    """`playhouse.pool.PooledSqliteDatabase` over this pool."""


# Those of playhouse's extensions, where the extension itself can be imported.

with contextlib.suppress(ImportError):
    from playhouse.cockroachdb import PooledCockroachDatabase as _Cockroach

    class PooledCockroachDatabase(_PooledPostgresqlDatabase, _Cockroach):  # type: ignore[misc]
        """`playhouse.cockroachdb.PooledCockroachDatabase` over this pool."""


with contextlib.suppress(ImportError):
    from playhouse.postgres_ext import PooledPostgresqlExtDatabase as _PostgresqlExt
    from playhouse.postgres_ext import PooledPsycopg3Database as _Psycopg3

    class PooledPostgresqlExtDatabase(_PooledPostgresqlDatabase, _PostgresqlExt):  # type: ignore[misc]
        """`playhouse.postgres_ext.PooledPostgresqlExtDatabase` over this pool."""

    class PooledPsycopg3Database(_PooledPostgresqlDatabase, _Psycopg3):  # type: ignore[misc]
        """`playhouse.postgres_ext.PooledPsycopg3Database` over this pool."""


with contextlib.suppress(ImportError):
    from playhouse.mysql_ext import PooledMariaDBConnectorDatabase as _MariaDBConnector
    from playhouse.mysql_ext import PooledMySQLConnectorDatabase as _MySQLConnector

    class PooledMySQLConnectorDatabase(_PooledMySQLDatabase, _MySQLConnector):  # type: ignore[misc]
        """`playhouse.mysql_ext.PooledMySQLConnectorDatabase` over this pool."""

    class PooledMariaDBConnectorDatabase(_PooledMySQLDatabase, _MariaDBConnector):  # type: ignore[misc]
        """`playhouse.mysql_ext.PooledMariaDBConnectorDatabase` over this pool."""


with contextlib.suppress(ImportError):
    from playhouse.cysqlite_ext import PooledCySqliteDatabase as _CySqlite

    class PooledCySqliteDatabase(_PooledSqliteDatabase, _CySqlite):  # type: ignore[misc]
        """`playhouse.cysqlite_ext.PooledCySqliteDatabase` over this pool."""


# ---------------------------------------------------------------- urls

_SCHEMES = {
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


def register() -> None:
    """Make the `...+pool://` urls mean the classes of this module everywhere in this process:
    `playhouse.db_url.connect`, FlaskDB. Thread-safe; may be called again."""
    for scheme, name in _SCHEMES.items():
        if name in globals():
            db_url.register_database(globals()[name], scheme)


def connect(
    url: str, unquote_password: bool = False, unquote_user: bool = False, **connect_params: Any
) -> Any:
    """A database from a `url`: as `playhouse.db_url.connect`, with this module's pools. With
    `unquote_user` or `unquote_password` that part of the url is percent-decoded.

    Raises `RuntimeError` for an unknown scheme, `ValueError` for a url without a database."""
    scheme = urlparse(url).scheme
    kind = globals().get(_SCHEMES.get(scheme, ""))
    if kind is None:
        return db_url.connect(url, unquote_password, unquote_user, **connect_params)
    arguments = db_url.parse(url, unquote_password, unquote_user) | connect_params
    if not arguments.get("database"):
        raise ValueError(
            f"{url!r} has no database name: a local one takes three slashes "
            f"({scheme}:///name), a remote one {scheme}://host/name"
        )
    return kind(**arguments)


# Whatever else a program can import from `playhouse.pool`: `make_int`, `locked`, `logger`, ...

_public = {name for name in vars(playhouse.pool) if not name.startswith("_")}
for _name in _public - globals().keys():
    globals()[_name] = getattr(playhouse.pool, _name)

__all__ = sorted(_public | {"PooledSqliteDatabase", *_SCHEMES.values()} & globals().keys())
