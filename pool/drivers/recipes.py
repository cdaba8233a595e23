"""Which recipe is for which connection.

Theory.  Each driver answers in its own way what a pool has to ask, and the answers are worth
having: where a driver knows that no transaction is open, a return costs no round trip.  So there is
one recipe per driver, found by the module of the connection's class, or of the one behind it
(`proxies.py`); no driver is imported here.  An unknown one gets `Recipe`.
"""

from __future__ import annotations

from typing import Any

from pool.drivers.mysql import MariaDB, MySQLConnector, PyMySQL
from pool.drivers.postgres import Psycopg, Psycopg2
from pool.drivers.proxies import follow, has_method, path_to
from pool.drivers.recipe import Plain, Recipe, is_named
from pool.drivers.sqlite import Sqlite3


class DuckDB(Recipe):
    """duckdb: its rollback raises where no transaction is open, and it shows of none whether."""

    __slots__ = ()

    SETTINGS = ()

    def roll_back(self, connection: Any) -> bool:
        try:
            connection.rollback()
        except Exception as error:
            if not is_named(error, "TransactionException"):
                raise
        return True

    def reset(self, connection: Any) -> bool:
        return self.roll_back(connection)


class Trino(Recipe):
    """trino: its rollback raises where no transaction is open."""

    __slots__ = ()

    SHOWN = "start_transaction"
    SETTINGS = ()

    def roll_back(self, connection: Any) -> bool:
        if self.behind(connection).transaction is not None:
            connection.rollback()
        return True

    def reset(self, connection: Any) -> bool:
        return self.roll_back(connection)


RECIPES: dict[str, type[Recipe]] = {
    "sqlite3": Sqlite3,
    "psycopg": Psycopg,
    "psycopg2": Psycopg2,
    "pymysql": PyMySQL,
    "mysql": MySQLConnector,
    "mariadb": MariaDB,
    "duckdb": DuckDB,
    "_duckdb": DuckDB,
    "trino": Trino,
}
"""By the package that a connection's class, or a class it is derived from, comes from."""


def recipe_for(connection: Any) -> Recipe:
    """A recipe for this connection."""
    path = path_to(connection, _shown)
    if path is not None:
        kind = _kind_of(follow(connection, path))
        if kind is not None:
            return kind(path)
    return Recipe() if has_method(connection, "rollback") else Plain()


def _kind_of(connection: Any) -> type[Recipe] | None:
    for base in type(connection).__mro__:
        kind = RECIPES.get(str(base.__module__).partition(".")[0])
        if kind is not None and hasattr(type(connection), "rollback"):  # not a cursor of it
            return kind
    return None


def _shown(connection: Any) -> str | None:
    kind = _kind_of(connection)
    return kind.SHOWN if kind else None
