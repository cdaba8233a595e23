"""What is known of pymysql, mysql.connector and mariadb: the server says with each answer whether a
transaction is open."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pool.drivers.proxies import get
from pool.drivers.recipe import ABSENT, Known


class MySQL(Known):
    """What the drivers for MySQL and MariaDB have in common: whether a transaction is open is known
    to the server alone, but in autocommit. (A statement that failed may have begun one, and what
    the server says of an error has no status.)"""

    __slots__ = ()

    def is_clean(self, connection: Any) -> bool:
        return False

    def is_read(self, raw: Any) -> bool:
        """Whether no result is left that has to be read before anything else can be sent."""
        return True

    def commit(self, connection: Any) -> bool:
        raw = self.behind(connection)
        if self.is_closed(connection) or self.in_autocommit(raw):
            return False  # as nobody asks the server, an unread result may still be there
        if not self.is_read(raw):
            self._refuse_unfinished(raw, "an unbuffered result was not read to its end")
        connection.commit()
        return not self.is_in_transaction(raw) and self.is_as_left(raw)

    def roll_back(self, connection: Any) -> bool:
        raw = self.behind(connection)
        if not self.is_finished(raw):
            return False
        if not self.in_autocommit(raw) or self.is_in_transaction(raw):
            connection.rollback()
        return True

    def is_alive(self, connection: Any) -> bool:
        self.behind(connection).ping(reconnect=False)
        return True


class PyMySQL(MySQL):
    """pymysql."""

    __slots__ = ()

    SHOWN = "get_autocommit"
    # `get_autocommit` is a method, which the reader calls.
    SETTINGS = ("cursorclass", "charset", "collation", "encoders", "decoders", "autocommit_mode")

    IN_TRANSACTION, AUTOCOMMIT = 1, 2
    """Bits of `server_status`."""

    def remember(self, connection: Any) -> None:
        super().remember(connection)
        read = self._read
        if read is not None:
            self._names = ("get_autocommit", *self._names)
            self._read = functools.partial(_with_autocommit, read)
            self._kept = (self.behind(connection).get_autocommit(), *self._kept)

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        if name == "get_autocommit":
            raw.autocommit(was)
        elif name == "charset":
            raw.set_character_set(was, self._kept[self._names.index("collation")])
        elif getattr(raw, name) != was:  # a collation comes back with its character set
            super().put_back(raw, name, was, now)

    def is_closed(self, connection: Any) -> bool:
        return get(self.behind(connection), "_closed") is True  # `open` is False if lost, too

    def is_read(self, raw: Any) -> bool:
        return not (raw.open and _has(raw, "unbuffered_active"))

    def is_finished(self, raw: Any) -> bool:
        """Reading the rest of somebody's rows can take longer than a connect."""
        return bool(raw.open) and not _has(raw, "unbuffered_active") and not _has(raw, "has_next")

    def in_autocommit(self, raw: Any) -> bool:
        return bool(raw.get_autocommit())

    def is_in_transaction(self, raw: Any) -> bool:
        return bool(raw.server_status & self.IN_TRANSACTION)


def _has(raw: Any, what: str) -> bool:
    """Whether the last result of pymysql is like that."""
    return get(get(raw, "_result"), what) is True


def _with_autocommit(read: Callable[[Any], tuple[Any, ...]], raw: Any) -> tuple[Any, ...]:
    return (raw.get_autocommit(), *read(raw))


class MySQLConnector(MySQL):
    """mysql.connector. Its cursors are unbuffered, so an unread result is common."""

    __slots__ = ()

    SHOWN = "unread_result"
    # Who reads `autocommit` asks the server. Another number: somebody has connected it again.
    SETTINGS = (
        "_autocommit",
        "charset",
        "collation",
        "sql_mode",
        "get_warnings",
        "raise_on_warnings",
        "connection_id",
    )
    FIXED = frozenset({"connection_id"})

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        if name == "_autocommit":
            raw.autocommit = was
        elif name == "charset":
            raw.set_charset_collation(was, self._kept[self._names.index("collation")])
        elif getattr(raw, name) != was:  # a collation comes back with its character set
            super().put_back(raw, name, was, now)

    def is_closed(self, connection: Any) -> bool:
        return get(self.behind(connection), "_handshake", ABSENT) is None

    def is_read(self, raw: Any) -> bool:
        return not raw.unread_result

    def is_finished(self, raw: Any) -> bool:
        """Its rollback would read on to the end."""
        return self.is_read(raw)

    def in_autocommit(self, raw: Any) -> bool:
        return get(raw, "_autocommit") is True

    def is_in_transaction(self, raw: Any) -> bool:
        return bool(raw.in_transaction)


class MariaDB(MySQL):
    """mariadb. It shows of no result whether it was read; but then it refuses all else."""

    __slots__ = ()

    SHOWN = "server_status"
    SETTINGS = ("autocommit", "auto_reconnect", "tpc_state", "thread_id")
    FIXED = frozenset({"tpc_state", "thread_id"})

    def commit(self, connection: Any) -> bool:
        if get(self.behind(connection), "tpc_state"):
            return False  # a two-phase transaction has a commit of its own
        return super().commit(connection)

    def is_closed(self, connection: Any) -> bool:
        return get(self.behind(connection), "_closed") is True

    def is_alive(self, connection: Any) -> bool:
        self.behind(connection).ping()
        return True

    def in_autocommit(self, raw: Any) -> bool:
        return bool(raw.autocommit)

    def is_in_transaction(self, raw: Any) -> bool:
        return bool(raw.server_status & PyMySQL.IN_TRANSACTION)
