"""What the pool knows about drivers: when a connection lives, what is open or unfinished in it,
and whether it is as it was when it was new.

Theory.  PEP 249 gives a connection `commit`, `rollback` and `close`, and no way to ask it
anything.  Each driver answers in its own way, and the answers are worth having: where a driver
knows that no transaction is open, a return costs no round trip.  So there is one recipe per
driver, found by the module of the connection's class, or of the one behind it (`proxies.py`);
no driver is imported here.  An unknown one gets `Recipe`, which assumes as little as it can.

Each connection has a recipe of its own, which remembers how `configure` left it.  What the driver
shows of that for nothing is compared when the connection comes back, put back where that needs
nothing but the driver, and what cannot be put back is not lent again.  A recipe keeps nothing that
keeps the connection alive.

Transactions are ended through the object that was lent, so that an instrumented driver sees it;
everything else is asked of the driver's own connection.

What a recipe refuses to know: the pool.
"""

from __future__ import annotations

import functools
import gc
import threading
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, ClassVar

from pool.drivers.proxies import Path, follow, get, has_method, path_to
from pool.threads.driver import Sync, is_ending

IDLE, ACTIVE, IN_TRANSACTION, IN_ERROR = 0, 1, 2, 3
"""libpq's transaction states; the other means that the connection is broken."""

_ABSENT = object()


class Recipe:
    """How to handle one connection; this one is for any DB-API driver.

    All methods may be called from any thread, for a connection that one thread has."""

    __slots__ = ("_kept", "_names", "_path", "_read", "has_transactions")

    SHOWN = "rollback"
    """An attribute by which something that stands for a connection of this driver shows it."""

    SETTINGS: tuple[str, ...] = ("autocommit", "closed")
    """What the driver shows without asking the database, and has to be the same for each holder."""

    FIXED: frozenset[str] = frozenset({"closed"})
    """Those of them that can't be put back."""

    def __init__(self, path: Path = ()) -> None:
        self._path = path
        self._names: tuple[str, ...] = ()
        self._read: Callable[[Any], tuple[Any, ...]] | None = None
        self._kept: tuple[Any, ...] = ()
        self.has_transactions = True
        """False as soon as the driver has said that its database has none."""

    def behind(self, connection: Any) -> Any:
        """The driver's own connection."""
        return follow(connection, self._path) if self._path else connection

    def refuse(self, connection: Any) -> None:
        """Raise `ValueError` if a pool cannot lend such a connection."""

    def is_alive(self, connection: Any) -> bool:
        """Whether it works; an exception means no. An unknown driver is believed to work."""
        return True

    # ------------------------------------------------------------ what was there at the beginning

    def remember(self, connection: Any) -> None:
        """How it is now is how each holder is to find it."""
        raw = self.behind(connection)
        self._names = tuple(name for name in self.SETTINGS if self.is_setting(raw, name))
        if self._names:
            self._read = _reader(self._names)
            self._kept = tuple(map(_copy, self._read(raw)))

    def is_setting(self, raw: Any, name: str) -> bool:
        """Whether this connection has it. A method, or a text, says nothing of an unknown one."""
        return type(get(raw, name)) is bool

    def is_as_left(self, raw: Any) -> bool:
        return self._read is None or self._read(raw) == self._kept

    def restore(self, connection: Any) -> bool:
        """Put back what was changed, once no transaction is open. False if that is not possible, or
        something is unfinished."""
        raw = self.behind(connection)
        if not self.is_finished(raw):
            return False
        if self._read is None or self._read(raw) == self._kept:
            return True
        for name, was, now in zip(self._names, self._kept, self._read(raw), strict=True):
            if was is not now and was != now:
                self.put_back(raw, name, was, now)
        return self._read(raw) == self._kept

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        if name in self.FIXED:
            return
        if isinstance(was, (list, dict)):  # the driver keeps the object, and we a copy of it
            now.clear()
            (now.extend if isinstance(was, list) else now.update)(was)
        else:
            setattr(raw, name, was)

    # ------------------------------------------------------------ what is going on

    def is_finished(self, raw: Any) -> bool:
        """Whether nothing is left to be read or sent, as far as the driver shows it. What can be
        ended without waiting is ended."""
        return True

    def is_closed(self, connection: Any) -> bool:
        """Whether its holder closed it; one that was lost is another matter."""
        return "closed" in self._names and get(connection, "closed") is True

    def in_autocommit(self, raw: Any) -> bool:
        """Whether each statement is its own transaction."""
        return "autocommit" in self._names and getattr(raw, "autocommit", False) is True

    # ------------------------------------------------------------ transactions

    def commit(self, connection: Any) -> bool:
        """Commit what is open; nothing in autocommit, nor where the holder closed it. Whether
        `reset` would find nothing to do: as the driver knows, for that it did not complain means
        nothing."""
        if self.has_transactions and (
            self._read is None or not (self.in_autocommit(connection) or self.is_closed(connection))
        ):
            try:
                connection.commit()
            except Exception as error:
                if not (_is_unsupported(error) and self._has_none(connection)):
                    raise
        return False

    def roll_back(self, connection: Any) -> bool:
        """Roll back what is open; False if the connection is of no use any more."""
        if self.has_transactions:
            try:
                connection.rollback()
            except Exception as error:
                if not _is_unsupported(error):
                    raise
                self.has_transactions = False
        return True

    def _has_none(self, connection: Any) -> bool:
        """Its commit is not supported: if its rollback is not either, there is nothing to end."""
        try:
            self.roll_back(connection)
        except Exception:
            return False
        return not self.has_transactions

    def reset(self, connection: Any) -> bool:
        """Roll back what is open, put back what was changed; whether it can be lent again."""
        if self._read is not None or not self.has_transactions:
            return self.roll_back(connection) and self.restore(connection)
        try:  # as `roll_back`, written out, for this is a part of every turn
            connection.rollback()
        except Exception as error:
            if not _is_unsupported(error):
                raise
            self.has_transactions = False
        return True

    def settle(self, connection: Any) -> bool:
        """After the user's reset: commit what is open, put back what was changed."""
        self.commit(connection)
        return self.restore(connection)

    def _refuse_unfinished(self, raw: Any, what: str) -> None:
        """A commit would wait for it, and without the commit the work is lost: its holder has to
        hear of it, by an error that a program expects of its driver."""
        error: Any = get(raw, "OperationalError", RuntimeError)  # PEP 249 lets a connection have it
        raise error(
            f"the block has ended while {what} in this connection: nothing was committed, and the "
            "connection is closed"
        )


class Plain(Recipe):
    """For what has no transactions: a socket, a client of something that is no database."""

    __slots__ = ()

    SETTINGS = ()

    def commit(self, connection: Any) -> bool:
        return True

    def roll_back(self, connection: Any) -> bool:
        return True

    def reset(self, connection: Any) -> bool:
        return self.roll_back(connection)


class Known(Recipe):
    """For a driver that is known: it shows whether a transaction is open.

    Nearly always nothing is open and nothing was changed, and that is found out at one glance: all
    that has to be read is read by one function of C, and compared as one tuple."""

    __slots__ = ("_clean", "_glance")

    QUIET: tuple[tuple[str, Any], ...] = ()
    """What is read besides the settings, and how it is where nothing is open."""

    DIRECT: ClassVar[dict[str, str]] = {}
    """Where a setting is kept that the driver shows by a property in Python, which is slow."""

    def __init__(self, path: Path = ()) -> None:
        super().__init__(path)
        self._glance: Callable[[Any], tuple[Any, ...]] = _nothing_known
        self._clean: tuple[Any, ...] = ()

    def is_setting(self, raw: Any, name: str) -> bool:
        return get(raw, name, _ABSENT) is not _ABSENT

    def remember(self, connection: Any) -> None:
        super().remember(connection)
        raw = self.behind(connection)
        names = [self.DIRECT.get(name, name) for name in self._names]
        try:
            self._look_at(raw, names)
        except AttributeError:  # another version of the driver
            self._look_at(raw, self._names)

    def _look_at(self, raw: Any, names: Sequence[str]) -> None:
        glance = _reader((*(name for name, _ in self.QUIET), *names))
        now = tuple(map(_copy, glance(raw)))
        self._clean = (*(value for _, value in self.QUIET), *now[len(self.QUIET) :])
        self._glance = glance

    def is_clean(self, connection: Any) -> bool:
        """Whether nothing is open, unfinished or changed; False if that has to be looked into."""
        raw = follow(connection, self._path) if self._path else connection
        try:
            return self._glance(raw) == self._clean and self.is_finished(raw)
        except Exception:  # it is closed, say
            return False

    def reset(self, connection: Any) -> bool:
        return self.is_clean(connection) or (
            self.roll_back(connection) and self.restore(connection)
        )

    def settle(self, connection: Any) -> bool:
        return self.commit(connection) or self.reset(connection)


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
        refusals: list[str] = []
        raw = self.behind(connection)
        done = threading.Lock()
        done.acquire()

        def touch() -> None:
            try:
                raw.cursor().close()
            except Exception as error:
                refusals.append(str(error))
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
            )

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        super().put_back(raw, name, was, now)
        if name == "autocommit" and was is not False and raw.in_transaction:
            raw.execute("rollback")  # the one that stands open all the time where it is False

    def is_alive(self, connection: Any) -> bool:
        return bool(self.behind(connection).total_changes >= 0)  # an error if closed; no query

    def is_closed(self, connection: Any) -> bool:
        return get(self.behind(connection), "total_changes") is None

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

    def is_finished(self, raw: Any) -> bool:
        return bool(raw.get_transaction_status() == IDLE)

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

    def in_autocommit(self, raw: Any) -> bool:
        return bool(raw.autocommit)

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

    def is_in_transaction(self, raw: Any) -> bool:
        """As the server said last."""
        return False

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
        elif name != "collation" or raw.collation != was:
            super().put_back(raw, name, was, now)

    def is_closed(self, connection: Any) -> bool:
        return (
            get(self.behind(connection), "_closed", False) is True
        )  # `open` is False if lost, too

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
    return getattr(getattr(raw, "_result", None), what, False) is True


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
        elif name != "collation" or raw.collation != was:
            super().put_back(raw, name, was, now)

    def is_closed(self, connection: Any) -> bool:
        return get(self.behind(connection), "_handshake", _ABSENT) is None

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


class DuckDB(Recipe):
    """duckdb: its rollback raises where no transaction is open, and it shows of none whether."""

    __slots__ = ()

    SETTINGS = ()

    def roll_back(self, connection: Any) -> bool:
        try:
            connection.rollback()
        except Exception as error:
            if not _is_named(error, "TransactionException"):
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


@functools.lru_cache(maxsize=64)
def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        (name,) = names
        return lambda raw: (getattr(raw, name),)
    return attrgetter(*names)


def _nothing_known(_: Any) -> tuple[Any, ...]:
    """Before `remember`: not what is compared with it."""
    return (_ABSENT,)


def _copy(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict) else value


def _is_named(error: BaseException, name: str) -> bool:
    return any(base.__name__ == name for base in type(error).__mro__)


def _is_unsupported(error: BaseException) -> bool:
    """Whether a driver says by it that its database has no transactions."""
    return _is_named(error, "NotSupportedError")
