"""What is known of sqlite3: what is open in a connection, and what is left of its cursors."""

from __future__ import annotations

import gc
import threading
from typing import Any

from pool.drivers.proxies import follow, get
from pool.drivers.recipe import Known
from pool.threads.driver import Sync
from pool.threads.workers import is_ending


class Sqlite3(Known):
    """The standard library's `sqlite3`."""

    __slots__ = ()

    SHOWN = "in_transaction"
    # `autocommit` came with Python 3.12, and decides: so it is the first to be put back.
    SETTINGS = ("autocommit", "isolation_level", "row_factory", "text_factory")
    QUIET = (("in_transaction", False),)

    def refuse(self, connection: Any) -> None:
        """One that is bound to the thread that made it can't be asked about that: only another
        thread can find out."""
        refusals: list[Exception] = []
        raw = self.behind(connection)
        done = threading.Lock()
        done.acquire()

        def touch() -> None:
            try:
                raw.cursor().close()
            except Exception as error:
                refusals.append(error.with_traceback(None))  # which refers to the connection
            finally:
                done.release()

        try:
            Sync.start(touch, "purepool sqlite3")
        except RuntimeError:
            if not is_ending():
                raise
            return  # nobody can find out any more, and few are left to whom it could be lent
        done.acquire()
        if refusals:
            raise ValueError(
                "this sqlite3 connection is bound to the thread that made it, but a pool lends "
                "it to one thread after another: use sqlite3.connect(..., check_same_thread=False)"
            ) from refusals[0]

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        super().put_back(raw, name, was, now)
        if name == "autocommit" and was is not False and raw.in_transaction:
            raw.execute("rollback")  # the one that stands open all the time where it is False

    def is_alive(self, connection: Any) -> bool:
        return bool(self.behind(connection).total_changes >= 0)  # an error if closed; no query

    def is_closed(self, connection: Any) -> bool:
        return get(self.behind(connection), "total_changes") is None

    def is_in_transaction(self, raw: Any) -> bool:
        return bool(raw.in_transaction)

    def in_autocommit(self, raw: Any) -> bool:
        # -1 says that `isolation_level` decides, as before Python 3.12.
        autocommit = getattr(raw, "autocommit", -1)
        return autocommit is True or (autocommit == -1 and raw.isolation_level is None)

    def is_clean(self, connection: Any) -> bool:
        raw = follow(connection, self._path) if self._path else connection
        try:
            if self._glance(raw) != self._clean:
                return False
            raw.interrupt()
            raw(" ")  # as in `is_finished`
        except Exception:
            return False
        return True

    def commit(self, connection: Any) -> bool:
        if self.is_clean(connection):
            return True
        raw = self.behind(connection)
        if self.is_closed(connection):
            return False
        if not self.in_autocommit(raw):
            try:
                connection.commit()
            except Exception:  # it has to be the last: an INSERT ... RETURNING not read to its end
                if not raw.in_transaction or _is_last(raw) or not self.is_finished(raw):
                    raise
                connection.commit()
        return not raw.in_transaction and self.is_finished(raw) and self.is_as_left(raw)

    def roll_back(self, connection: Any) -> bool:
        raw = self.behind(connection)
        if raw.in_transaction:
            if self.in_autocommit(raw):  # begun by hand: the method may know nothing of it
                raw.execute("rollback")
            else:
                connection.rollback()
        return True

    def is_finished(self, raw: Any) -> bool:
        """A cursor that was not read to its end keeps a lock, and would keep it when the connection
        is closed. SQLite shows it to nobody; but an interrupt is over when the last statement is,
        and until then stops even the parser, who is given nothing to parse here."""
        raw.interrupt()
        try:
            raw(" ")
        except Exception:
            return _is_last(raw) or _end_cursors(raw)
        return True


def _is_last(raw: Any) -> bool:
    """Whether no statement of sqlite3 is unfinished. This one reads nothing and takes no lock."""
    raw.interrupt()
    try:
        raw.execute("select 1 where 0")
    except Exception:
        return False
    return True


def _end_cursors(raw: Any) -> bool:
    """A connection's cursors are known to nobody but the garbage collector. The one that was left
    is young, as a rule, and to look through what is young is quick."""
    import sqlite3

    connection_of = sqlite3.Cursor.connection.__get__
    for generation in (0, 1, 2):
        for thing in gc.get_objects(generation):
            if issubclass(type(thing), sqlite3.Cursor) and connection_of(thing) is raw:
                sqlite3.Cursor.close(thing)
        if _is_last(raw):
            return True
    return False  # something like an open Blob, which ends with the connection
