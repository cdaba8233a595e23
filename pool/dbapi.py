"""What the pool knows about drivers: when a connection lives, when a transaction is open.

Theory.  PEP 249 gives a connection `commit`, `rollback` and `close`, and no way to ask it
anything.  Each driver answers in its own way, and the answers are worth having: where a driver
knows that no transaction is open, a return costs no round trip.  So there is one recipe per
driver, found by the module of the connection's class; no driver is imported here.  An
unknown one gets `Recipe`, which assumes as little as it can.

What a recipe refuses to know: the pool.
"""

from __future__ import annotations

import threading
from typing import Any

IDLE, IN_TRANSACTION, IN_ERROR = 0, 2, 3
"""libpq's transaction states; the others mean that the connection is busy or broken."""


class Recipe:
    """How to handle the connections of one driver; this one is for any DB-API driver.

    No method holds a state, so all may be called from any thread."""

    def refuse(self, connection: Any) -> None:
        """Raise `ValueError` if a pool cannot lend such a connection."""

    def is_alive(self, connection: Any) -> bool:
        """Whether it works; an exception means no. An unknown driver is believed to work."""
        return True

    def in_autocommit(self, connection: Any) -> bool:
        """Whether each statement is its own transaction."""
        return getattr(connection, "autocommit", False) is True

    def commit(self, connection: Any) -> bool:
        """Commit what is open; nothing in autocommit. Whether `reset` would find nothing to do:
        as the driver knows, for that it did not complain means nothing."""
        if not self.in_autocommit(connection):
            connection.commit()
        return False

    def reset(self, connection: Any) -> bool:
        """Roll back what is open; whether it can be lent again."""
        connection.rollback()
        return True


class Plain(Recipe):
    """For what has no transactions: a socket, a client of something that is no database."""

    def commit(self, connection: Any) -> bool:
        return True

    def reset(self, connection: Any) -> bool:
        return True


class Sqlite3(Recipe):
    """The standard library's `sqlite3`."""

    def refuse(self, connection: Any) -> None:
        """One that is bound to the thread that made it can't be asked about that: only another
        thread can find out."""
        refusals: list[str] = []

        def touch() -> None:
            try:
                connection.cursor().close()
            except Exception as error:
                refusals.append(str(error))

        thread = threading.Thread(target=touch, name="purepool sqlite3", daemon=True)
        thread.start()
        thread.join()
        if refusals:
            raise ValueError(
                "this sqlite3 connection is bound to the thread that made it, but a pool lends "
                "it to one thread after another: use sqlite3.connect(..., check_same_thread=False)"
            )

    def is_alive(self, connection: Any) -> bool:
        return bool(connection.total_changes >= 0)  # an error if it is closed; no query

    def in_autocommit(self, connection: Any) -> bool:
        # `autocommit` came with Python 3.12; -1 there says that `isolation_level` decides.
        autocommit = getattr(connection, "autocommit", -1)
        return autocommit is True or (autocommit == -1 and connection.isolation_level is None)

    def commit(self, connection: Any) -> bool:
        super().commit(connection)
        return not connection.in_transaction

    def reset(self, connection: Any) -> bool:
        if connection.in_transaction:
            if self.in_autocommit(connection):  # begun by hand: the method may know nothing of it
                connection.execute("rollback")
            else:
                connection.rollback()
        return True


class Psycopg(Recipe):
    """psycopg 3."""

    def commit(self, connection: Any) -> bool:
        if connection.pgconn.transaction_status != IDLE:
            super().commit(connection)
        return bool(connection.pgconn.transaction_status == IDLE)

    def is_alive(self, connection: Any) -> bool:
        return _ask(connection, lambda: connection.execute(""))

    def reset(self, connection: Any) -> bool:
        if connection.pgconn.transaction_status == IDLE:
            return True
        if connection.pgconn.transaction_status in (IN_TRANSACTION, IN_ERROR):
            connection.rollback()
        return bool(connection.pgconn.transaction_status == IDLE)


class Psycopg2(Recipe):
    """psycopg2."""

    def commit(self, connection: Any) -> bool:
        if connection.get_transaction_status() != IDLE:
            super().commit(connection)
        return bool(connection.get_transaction_status() == IDLE)

    def is_alive(self, connection: Any) -> bool:
        def ask() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

        return _ask(connection, ask)

    def in_autocommit(self, connection: Any) -> bool:
        return bool(connection.autocommit)

    def reset(self, connection: Any) -> bool:
        state = connection.get_transaction_status()
        if state in (IN_TRANSACTION, IN_ERROR):
            if connection.autocommit:  # one begun by hand, of which `rollback` knows nothing
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
            else:
                connection.rollback()
            state = connection.get_transaction_status()
        return bool(state == IDLE)


def _ask(connection: Any, ask: Any) -> bool:
    """Ask a PostgreSQL server something, without opening a transaction for it."""
    if connection.autocommit:
        ask()
        return True
    connection.autocommit = True
    try:
        ask()
    finally:
        if not connection.closed:
            connection.autocommit = False
    return True


class PyMySQL(Recipe):
    """pymysql."""

    IN_TRANSACTION = 1
    """SERVER_STATUS_IN_TRANS; up to date in autocommit only, as an error packet has no status."""

    def is_alive(self, connection: Any) -> bool:
        connection.ping(reconnect=False)
        return True

    def in_autocommit(self, connection: Any) -> bool:
        return bool(connection.get_autocommit())

    def commit(self, connection: Any) -> bool:
        if connection.get_autocommit():
            return False  # as nobody asks the server, an unread result may still be there
        connection.commit()
        return not connection.server_status & self.IN_TRANSACTION

    def reset(self, connection: Any) -> bool:
        result = getattr(connection, "_result", None)
        if not connection.open or getattr(result, "unbuffered_active", False):
            return False  # reading the rest of somebody's rows can take longer than a connect
        if not connection.get_autocommit() or connection.server_status & self.IN_TRANSACTION:
            connection.rollback()
        return True


RECIPES: dict[str, Recipe] = {
    "sqlite3": Sqlite3(),
    "psycopg": Psycopg(),
    "psycopg2": Psycopg2(),
    "pymysql": PyMySQL(),
}
"""By the package that a connection's class, or a class it is derived from, comes from."""

_ANY, _PLAIN = Recipe(), Plain()


def recipe_for(kind: type) -> Recipe:
    """The recipe for connections of this class."""
    for base in kind.__mro__:
        recipe = RECIPES.get(base.__module__.partition(".")[0])
        if recipe is not None:
            return recipe
    return _ANY if hasattr(kind, "rollback") else _PLAIN
