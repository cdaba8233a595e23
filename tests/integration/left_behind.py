"""What a borrower can leave behind on a connection, by driver: how, and how the next one sees it.

Theory.  The page "What the next borrower gets" has a row for each of these, and nothing else; its
third column is what happens when this is done.  So each thing here is two functions: one leaves it,
one says whether a connection shows it.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from typing import Any

import attrs

from tests.integration.drivers import PATIENCE

Function = Callable[[Any], Any]


@attrs.frozen
class Left:
    """Something that is left behind."""

    leave: Function
    """Leave it; what it returns is kept until the next one has the connection."""
    shows: Function
    """Whether a connection shows it."""
    raises: str = ""
    """What the block says at its end, if it cannot commit."""
    needs: bool = True
    """Whether this Python has it."""


def setting(name: str, value: Any) -> Left:
    """An attribute of the connection, by its new value."""
    return Left(lambda it: setattr(it, name, value), lambda it: getattr(it, name) == value)


def on_server(leave: str, asks: str) -> Left:
    """Something that only the database knows; the question is true where it is there."""

    def shows(connection: Any) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(asks)
            return bool(cursor.fetchone()[0])

    def left(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(leave)
            if cursor.description:
                cursor.fetchall()

    return Left(left, shows)


def never(_: Any) -> bool:
    """Not asked: the connection is closed."""
    return False


ON_POSTGRES = {
    "`SET search_path`, and other settings": on_server(
        "set search_path to pg_catalog", "select current_setting('search_path') = 'pg_catalog'"
    ),
    "temporary tables": on_server(
        "create temp table left_behind (n int)", "select to_regclass('left_behind') is not null"
    ),
    "`LISTEN`": on_server("listen left_behind", "select count(*) > 0 from pg_listening_channels()"),
    "advisory locks of the session": on_server(
        "select pg_advisory_lock(7)",
        "select count(*) > 0 from pg_locks where locktype = 'advisory'",
    ),
    "`PREPARE`": on_server(
        "prepare mine as select 1",
        "select count(*) > 0 from pg_prepared_statements where name = 'mine'",
    ),
}

# ---------------------------------------------------------------- sqlite3


def unfinished(connection: sqlite3.Connection) -> Any:
    connection.execute("create table if not exists left_behind (n)")
    connection.executemany("insert into left_behind values (?)", [(n,) for n in range(100)])
    connection.commit()
    cursor = connection.execute("select * from left_behind")
    cursor.fetchone()
    return cursor


def is_locked(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("drop table if exists left_behind")
    except sqlite3.OperationalError:
        return True
    return False


def begun_by_hand(connection: Any) -> None:
    """From Python 3.12 on there are two ways to be in autocommit; `rollback` knows of one."""
    if sys.version_info >= (3, 12):
        connection.autocommit = True
    else:
        connection.isolation_level = None
    connection.execute("begin")


def blob(connection: Any) -> Any:
    connection.execute("create table if not exists blobs (b)")
    connection.execute("insert into blobs values (zeroblob(9))")
    connection.commit()
    return connection.blobopen("blobs", "b", 1)


def has_temporary(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("select count(*) from sqlite_temp_master").fetchone()[0])


def has_function(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("select left_behind()")
    except sqlite3.OperationalError:
        return False
    return True


SQLITE3 = {
    "`isolation_level`": setting("isolation_level", None),
    "`autocommit` (Python 3.12)": attrs.evolve(
        setting("autocommit", True), needs=sys.version_info >= (3, 12)
    ),
    "`row_factory`": setting("row_factory", sqlite3.Row),
    "`text_factory`": setting("text_factory", bytes),
    "an open transaction, in autocommit": Left(begun_by_hand, lambda it: it.in_transaction),
    "a cursor not read to its end": Left(unfinished, is_locked),
    "an open `Blob` (Python 3.11)": Left(blob, never, needs=sys.version_info >= (3, 11)),
    "temporary tables": Left(lambda it: it.execute("create temp table t (n)"), has_temporary),
    "`PRAGMA`s": Left(
        lambda it: it.execute("pragma foreign_keys = on"),
        lambda it: it.execute("pragma foreign_keys").fetchone() == (1,),
    ),
    "`ATTACH`": Left(
        lambda it: (it.commit(), it.execute("attach ':memory:' as another")),
        lambda it: "another" in str(it.execute("pragma database_list").fetchall()),
    ),
    "functions, collations, handlers": Left(
        lambda it: it.create_function("left_behind", 0, lambda: 1), has_function
    ),
}

# ---------------------------------------------------------------- psycopg


def opened_pipeline(connection: Any) -> Any:
    pipeline = connection.pipeline()
    pipeline.__enter__()
    connection.execute("select 1")
    return pipeline


def suspended_notifies(connection: Any) -> Any:
    connection.execute("listen left_behind")
    connection.execute("notify left_behind")
    connection.commit()
    notices = connection.notifies(timeout=PATIENCE)
    next(notices)
    return notices


def suspended_stream(connection: Any) -> Any:
    rows = connection.cursor().stream("select generate_series(1, 10000)")
    next(rows)
    return rows


def unfinished_copy(connection: Any) -> Any:
    copy = connection.cursor().copy("copy (select generate_series(1, 10000)) to stdout")
    copy.__enter__().read()
    return copy


def prepared(connection: Any) -> None:
    connection.tpc_begin(connection.xid(1, "left", "behind"))
    connection.cursor().execute("select 1")
    connection.tpc_prepare()


def dict_row(*_: Any) -> Any:
    from psycopg.rows import dict_row

    return dict_row


def adapted(connection: Any) -> None:
    from psycopg.types.string import TextLoader

    connection.adapters.register_loader("int4", TextLoader)


def is_adapted(connection: Any) -> bool:
    return bool(connection.execute("select 1::int4").fetchone()[0] == "1")


def handle(_: Any) -> None:
    """A notice handler."""


PSYCOPG = {
    "`autocommit`": setting("autocommit", True),
    "`isolation_level`": setting("isolation_level", 4),
    "`read_only`": setting("read_only", True),
    "`deferrable`": setting("deferrable", True),
    "`row_factory`": Left(
        lambda it: setattr(it, "row_factory", dict_row()), lambda it: it.row_factory == dict_row()
    ),
    "`prepare_threshold`": setting("prepare_threshold", 1),
    "handlers of notices and notifies": Left(
        lambda it: it.add_notice_handler(handle), lambda it: handle in it._notice_handlers
    ),
    "pipeline mode": Left(opened_pipeline, never),
    "`notifies()`, suspended": Left(suspended_notifies, never),
    "`stream()`, suspended": Left(suspended_stream, never, "nothing was committed"),
    "a `COPY` that has not ended": Left(unfinished_copy, never, "nothing was committed"),
    "a two-phase transaction, prepared": Left(prepared, never),
    "adapters of the connection": Left(adapted, is_adapted),
    **ON_POSTGRES,
}

# ---------------------------------------------------------------- psycopg2


def dict_cursor() -> Any:
    from psycopg2.extras import DictCursor

    return DictCursor


def unread_named(connection: Any) -> Any:
    cursor = connection.cursor("left_behind")
    cursor.execute("select generate_series(1, 10000)")
    cursor.fetchone()
    return cursor


def has_cursors(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_cursors where name = 'left_behind'")
        return bool(cursor.fetchone()[0])


PSYCOPG2 = {
    "`autocommit`": setting("autocommit", True),
    "`isolation_level`": setting("isolation_level", 3),
    "`readonly`": setting("readonly", True),
    "`deferrable`": setting("deferrable", True),
    "`cursor_factory`": Left(
        lambda it: setattr(it, "cursor_factory", dict_cursor()),
        lambda it: it.cursor_factory is dict_cursor(),
    ),
    "`set_client_encoding`": Left(
        lambda it: it.set_client_encoding("LATIN1"), lambda it: it.encoding == "LATIN1"
    ),
    "a named cursor not read to its end": Left(unread_named, has_cursors),
    "a two-phase transaction, prepared": Left(prepared, never),
    **ON_POSTGRES,
}

# ---------------------------------------------------------------- pymysql


def dict_cursor_of_mysql() -> Any:
    from pymysql.cursors import DictCursor

    return DictCursor


class Unread:
    """A cursor of pymysql. When it is collected it would read on, from what is closed by then."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor

    def close(self) -> None:
        self.cursor._result.unbuffered_active = False
        self.cursor.connection = None


def unbuffered(connection: Any) -> Any:
    from pymysql.cursors import SSCursor

    cursor = connection.cursor(SSCursor)
    cursor.execute("select seq from seq_1_to_10000")
    cursor.fetchone()
    return Unread(cursor)


def with_temporary(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("create temporary table left_behind (n int)")


def shows_temporary(connection: Any) -> bool:
    with connection.cursor() as cursor:
        try:
            cursor.execute("select * from left_behind")
        except Exception as error:
            return "doesn't exist" not in str(error)
        cursor.fetchall()
    return True


ON_MYSQL = {
    "`SET SESSION`: isolation, `sql_mode`": on_server(
        "set session sql_mode = 'ANSI'", "select locate('ANSI', @@session.sql_mode) > 0"
    ),
    "temporary tables": Left(with_temporary, shows_temporary),
    "`GET_LOCK`": on_server(
        "select get_lock('left', 0)", "select is_used_lock('left') is not null"
    ),
    "user variables": on_server("set @mine = 7", "select @mine is not null"),
}
"""What each of the drivers for it leaves to the server."""

PYMYSQL = {
    "`autocommit()`": Left(lambda it: it.autocommit(True), lambda it: it.get_autocommit()),
    "`cursorclass`": Left(
        lambda it: setattr(it, "cursorclass", dict_cursor_of_mysql()),
        lambda it: it.cursorclass is dict_cursor_of_mysql(),
    ),
    "`set_character_set()`": Left(
        lambda it: it.set_character_set("latin1"), lambda it: it.charset == "latin1"
    ),
    "an unbuffered result not read to its end": Left(unbuffered, never, "nothing was committed"),
    **ON_MYSQL,
}

# ---------------------------------------------------------------- mysql.connector, mariadb


def unread(connection: Any) -> Any:
    cursor = connection.cursor(buffered=False)
    cursor.execute("select seq from seq_1_to_10000")
    cursor.fetchone()
    return cursor


def connects_again(connection: Any) -> None:
    connection.reconnect()


def prepared(connection: Any) -> None:
    connection.tpc_begin(connection.xid(0, "left", "behind"))
    cursor = connection.cursor()
    cursor.execute("select 1")
    cursor.close()
    connection.tpc_prepare()


MYSQL_CONNECTOR = {
    "`autocommit`": setting("autocommit", True),
    "`set_charset_collation()`": Left(
        lambda it: it.set_charset_collation("latin1"), lambda it: it.charset == "latin1"
    ),
    "`sql_mode`": setting("sql_mode", "ANSI_QUOTES"),
    "`get_warnings`, `raise_on_warnings`": setting("raise_on_warnings", True),
    "a result not read to its end": Left(unread, never, "nothing was committed"),
    "`reconnect()`": Left(connects_again, never),
    **ON_MYSQL,
}

MARIADB = {
    "`autocommit`": setting("autocommit", True),
    "`auto_reconnect`": setting("auto_reconnect", True),
    "an unbuffered result not read to its end": Left(unread, never, "Commands out of sync"),
    "`reconnect()`": Left(connects_again, never),
    "a two-phase transaction, prepared": Left(prepared, never),
    **ON_MYSQL,
}

DRIVERS: dict[str, dict[str, Left]] = {
    "sqlite3": SQLITE3,
    "psycopg": PSYCOPG,
    "psycopg2": PSYCOPG2,
    "pymysql": PYMYSQL,
    "mysql.connector": MYSQL_CONNECTOR,
    "mariadb": MARIADB,
}
