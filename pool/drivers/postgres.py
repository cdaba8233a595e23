"""What is known of psycopg and psycopg2: libpq says whether a transaction is open, for nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from pool.drivers.proxies import follow
from pool.drivers.recipe import Known

IDLE, ACTIVE, IN_TRANSACTION, IN_ERROR = 0, 1, 2, 3
"""libpq's transaction states; the other means that the connection is broken."""


class Psycopg(Known):
    """psycopg 3."""

    __slots__ = ()

    SHOWN = "pgconn"
    # What has no public name: a pipeline, a transaction context and a two-phase transaction in
    # which psycopg believes itself to be, which can't be put back; and who hears notices.
    SETTINGS = (
        "autocommit",
        "isolation_level",
        "read_only",
        "deferrable",
        "row_factory",
        "cursor_factory",
        "server_cursor_factory",
        "prepare_threshold",
        "prepared_max",
        "_pipeline",
        "_num_transactions",
        "_tpc",
        "_notice_handlers",
        "_notify_handlers",
    )
    FIXED = frozenset({"_pipeline", "_num_transactions", "_tpc"})
    QUIET = (("pgconn.transaction_status", IDLE),)
    DIRECT: ClassVar[dict[str, str]] = {
        "autocommit": "_autocommit",
        "isolation_level": "_isolation_level",
        "read_only": "_read_only",
        "deferrable": "_deferrable",
        "prepare_threshold": "_prepared.prepare_threshold",
        "prepared_max": "_prepared.prepared_max",
    }

    def is_clean(self, connection: Any) -> bool:
        raw = follow(connection, self._path) if self._path else connection
        try:
            return self._glance(raw) == self._clean and not raw.lock.locked()
        except Exception:
            return False

    def is_closed(self, connection: Any) -> bool:
        raw = self.behind(connection)
        return bool(raw.closed and not raw.broken)

    def is_in_transaction(self, raw: Any) -> bool:
        return bool(raw.pgconn.transaction_status != IDLE)

    def is_finished(self, raw: Any) -> bool:
        """A generator that is suspended, of `notifies` or `stream`, holds the connection's lock."""
        lock = getattr(raw, "lock", None)
        return raw.pgconn.transaction_status == IDLE and not (lock and lock.locked())

    def commit(self, connection: Any) -> bool:
        if self.is_clean(connection):
            return True
        raw = self.behind(connection)
        if raw.pgconn.transaction_status != IDLE and not self.is_closed(connection):
            lock = getattr(raw, "lock", None)
            pipeline: Any = getattr(raw, "_pipeline", None)
            if pipeline is None and raw.autocommit:
                return False
            if lock and lock.locked():
                self._refuse_unfinished(raw, "notifies(), stream() or a COPY has not ended")
            if pipeline is None and raw.pgconn.transaction_status == ACTIVE:
                self._refuse_unfinished(raw, "a query or a COPY has not ended")
            if raw.autocommit:
                pipeline.sync()  # until then the server commits nothing
            else:
                connection.commit()
        return self.is_finished(raw) and self.is_as_left(raw)

    def is_alive(self, connection: Any) -> bool:
        raw = self.behind(connection)
        return _ask(raw, lambda: raw.execute(""))

    def roll_back(self, connection: Any) -> bool:
        raw = self.behind(connection)
        status = raw.pgconn.transaction_status
        if status == IDLE:
            return True
        lock = getattr(raw, "lock", None)
        if status not in (IN_TRANSACTION, IN_ERROR) or (lock and lock.locked()):
            return False
        connection.rollback()
        return True


class Psycopg2(Known):
    """psycopg2."""

    __slots__ = ()

    SHOWN = "get_transaction_status"
    # `status` tells of a prepared two-phase transaction; it can't be put back.
    SETTINGS = (
        "autocommit",
        "isolation_level",
        "readonly",
        "deferrable",
        "cursor_factory",
        "string_types",
        "binary_types",
        "encoding",
        "status",
    )
    FIXED = frozenset({"status"})
    SESSION = frozenset({"isolation_level", "readonly", "deferrable"})

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        if name in self.SESSION:  # None is what the database's default is shown as
            raw.set_session(**{name: "DEFAULT" if was is None else was})
        elif name == "encoding":
            raw.set_client_encoding(was)
        else:
            super().put_back(raw, name, was, now)

    def is_closed(self, connection: Any) -> bool:
        return bool(self.behind(connection).closed == 1)  # 2: it was lost

    def is_in_transaction(self, raw: Any) -> bool:
        return bool(raw.get_transaction_status() != IDLE)

    def is_finished(self, raw: Any) -> bool:
        return not self.is_in_transaction(raw)

    def commit(self, connection: Any) -> bool:
        if self.is_clean(connection):
            return True
        raw = self.behind(connection)
        if self.is_closed(connection):
            return False
        status = raw.get_transaction_status()
        if status != IDLE and not raw.autocommit:
            if status == ACTIVE:  # of another thread, or of a greenlet that was killed
                self._refuse_unfinished(raw, "a query or a COPY has not ended")
            connection.commit()
        return self.is_finished(raw) and self.is_as_left(raw)

    def is_alive(self, connection: Any) -> bool:
        raw = self.behind(connection)

        def ask() -> None:
            with raw.cursor() as cursor:
                cursor.execute("SELECT 1")

        return _ask(raw, ask)

    def roll_back(self, connection: Any) -> bool:
        raw = self.behind(connection)
        status = raw.get_transaction_status()
        if status in (IN_TRANSACTION, IN_ERROR):
            if raw.autocommit:  # one begun by hand, of which `rollback` knows nothing
                with raw.cursor() as cursor:
                    cursor.execute("ROLLBACK")
            else:
                connection.rollback()
            status = raw.get_transaction_status()
        return bool(status == IDLE)


def _ask(raw: Any, ask: Any) -> bool:
    """Ask a PostgreSQL server something, without opening a transaction for it."""
    if raw.autocommit:
        ask()
        return True
    raw.autocommit = True
    try:
        ask()
    finally:
        if not raw.closed:
            raw.autocommit = False
    return True
