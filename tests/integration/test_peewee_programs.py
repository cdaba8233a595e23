"""What programs of peewee's users do to playhouse's pool, done to ours.

Theory.  People override its methods, put locks and limits of their own around them, switch its
logger on by name, replace the module.  Each test is such a program, made small, with what it gets
from playhouse as the right value.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import peewee
import playhouse.pool
import pytest
from playhouse.pool import MaxConnectionsExceeded

import pool.peewee as drop_in
from tests.integration.databases import PooledScriptedDatabase, ScriptedDatabase
from tests.integration.databases import scripted as make_scripted
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    ROOT,
    Call,
    Gate,
    idle,
    lent,
    until,
    waiting,
    watch,
)


def pooled(kind: type[Any], *arguments: Any, **settings: Any) -> Any:
    database = kind("programs", *arguments, **settings)
    database.broken = watch(database._purepool.runtime)
    return database


# ---------------------------------------------------------------- locks and limits of one's own


class GuardedConnect(PooledScriptedDatabase):
    """A lock of the program's around one hook."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.guard = threading.RLock()
        super().__init__(*arguments, **settings)

    def _connect(self) -> Any:
        with self.guard:
            return super()._connect()


class Guarded(GuardedConnect):
    """And around the other."""

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        with self.guard:
            super()._close(conn, close_conn)


@pytest.mark.parametrize("timeout", [FOR_EVER, 0])
def test_who_waits_holds_no_lock_of_the_programs(timeout: float) -> None:
    database = pooled(Guarded, max_connections=1, timeout=timeout)
    database.connect()
    other = Call(database.connect)
    until(lambda: waiting(database) == 1)

    def take_and_give_back() -> bool:
        with database.guard:
            return True

    assert Call(take_and_give_back).result()
    assert database.close()
    other.result()
    assert database.broken == []


def test_timeouts_do_not_add_up() -> None:
    database = pooled(GuardedConnect, max_connections=1, timeout=FOR_EVER)
    database.connect()
    callers = [Call(lambda: (database.connect(), database.close())) for _ in range(4)]
    until(lambda: waiting(database) == 4)  # none of them stands at the lock
    database.close()
    for caller in callers:
        caller.result()
    assert database.statistics().refused == 0
    assert len(database.driver.opened) == 1


def test_hooks_do_not_wait() -> None:
    """Whatever is going on: each comes back, with what is there or an error."""
    database = pooled(PooledScriptedDatabase, max_connections=1, timeout=0)
    connection = database._connect()
    with pytest.raises(MaxConnectionsExceeded):
        database._connect()
    database._close(connection)
    assert database._connect() is connection
    assert not database._is_closed(connection)
    assert database._can_reuse(connection)
    database._close(connection, True)
    database._close_raw(connection)


class Limited(PooledScriptedDatabase):
    """A limit of the program's own, below the pool's."""

    most, mine = 1, 0

    def _connect(self) -> Any:
        if self.mine >= self.most:
            raise MaxConnectionsExceeded("no more for you")
        self.mine += 1
        try:
            return super()._connect()
        except BaseException:
            self.mine -= 1
            raise

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        super()._close(conn, close_conn)
        self.mine -= 1


def test_a_limit_of_ones_own_is_waited_out() -> None:
    database = pooled(Limited, max_connections=3, timeout=FOR_EVER)
    database.connect()
    other = Call(lambda: (database.connect(), database.close()))
    other.join(0.05)
    assert other.is_alive()
    assert lent(database) == [database.connection()]
    database.close()
    other.result()
    assert database.broken == []
    assert lent(database) == []
    assert waiting(database) == 0


def test_a_limit_of_ones_own_holds_up_nobody_else() -> None:
    """Who is refused by the program keeps no place of the pool's."""
    database = pooled(Limited, max_connections=2, timeout=FOR_EVER)
    database.connect()
    other = Call(database.connect)

    def second_of_two() -> bool:
        try:
            taken = PooledScriptedDatabase._connect(database)
        except MaxConnectionsExceeded:  # the other asks just now, which takes a place for that long
            return False
        PooledScriptedDatabase._close(database, taken)
        return True

    for _ in range(20):
        other.join(0.005)
        until(second_of_two)
    database.most = 2
    other.result()


def test_a_limit_of_ones_own_has_a_deadline() -> None:
    database = pooled(Limited, max_connections=3, timeout=0.2)
    database.connect()
    began = time.monotonic()
    with pytest.raises(MaxConnectionsExceeded, match="timed out"):
        Call(database.connect).result()
    assert time.monotonic() - began >= 0.2
    database._wait_timeout = None
    with pytest.raises(MaxConnectionsExceeded, match="no more for you"):
        Call(database.connect).result()
    assert waiting(database) == 0
    assert len(lent(database)) == 1


class Falling(PooledScriptedDatabase):
    """A program that helps itself when all are in use."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.help: Callable[[], Any] = lambda: None
        super().__init__(*arguments, **settings)

    def _connect(self) -> Any:
        try:
            return super()._connect()
        except MaxConnectionsExceeded:
            return self.help() or super()._connect()


@pytest.mark.parametrize("timeout", [None, 0, FOR_EVER])
def test_a_fallback_that_frees_a_place(timeout: Any) -> None:
    database = pooled(Falling, max_connections=1, timeout=timeout)
    database.connect()
    database._state.reset()
    database.help = lambda: database.close_stale(-1) and None
    assert database.connect()
    assert lent(database) == [database.connection()]
    assert len(database.driver.opened) == 2
    assert database.broken == []


@pytest.mark.parametrize("timeout", [None, 0, FOR_EVER])
def test_a_fallback_with_a_connection_of_its_own(timeout: Any) -> None:
    """It is none of the pool's, and the place in the queue is free for the next."""
    database = pooled(Falling, max_connections=1, timeout=timeout)
    database.connect()
    first = database.connection()
    database._state.reset()
    spare = database.driver.connect()
    database.help = lambda: spare
    assert database.connect()
    assert database.connection() is spare
    assert waiting(database) == 0
    assert lent(database) == [first]
    assert database.close()
    assert spare.closed == 0
    database._close(first)
    assert idle(database) == [first]


class Failing(PooledScriptedDatabase):
    """A hook that fails behind ours."""

    fail: Any = None

    def _connect(self) -> Any:
        connection = super()._connect()
        if self.fail:
            raise self.fail
        return connection


@pytest.mark.parametrize("timeout", [None, FOR_EVER])
@pytest.mark.parametrize("error", [LookupError("no"), KeyboardInterrupt()], ids=repr)
def test_a_hook_that_fails_behind_ours_loses_nothing(error: Any, timeout: Any) -> None:
    database = pooled(Failing, max_connections=1, timeout=timeout)
    for _ in range(3):
        database.fail = error
        with pytest.raises(type(error)):
            database.connect()
        assert lent(database) == []
        database.fail = None
        assert database.connect()
        assert database.close()


def test_a_hook_that_refuses_behind_ours_loses_nothing() -> None:
    database = pooled(Failing, max_connections=1, timeout=0.05)
    database.fail = MaxConnectionsExceeded("not this one")
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()
    assert lent(database) == []
    database.fail = None
    assert database.connect()
    assert database.broken == []


class Wrapped(PooledScriptedDatabase):
    """One that hands out something of its own in the place of the connection."""

    def _connect(self) -> Any:
        return [super()._connect()]

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        super()._close(conn[0], close_conn)


def test_a_wrapped_connection() -> None:
    database = pooled(Wrapped, max_connections=1, timeout=None)
    for _ in range(2):
        database.connect()
        assert isinstance(database.connection(), list)
        with pytest.raises(MaxConnectionsExceeded):
            Call(database.connect).result()
        database.close()
    assert len(database.driver.opened) == 1
    database.connect()
    database.manual_close()
    assert lent(database) == []


def test_a_connect_within_a_connect() -> None:
    """Of another database, and of this one."""
    other = make_scripted(1, timeout=FOR_EVER)

    class Nested(PooledScriptedDatabase):
        depth = 0

        def _connect(self) -> Any:
            if not self.depth:
                self.depth += 1
                other.connect()
                other.close()
                inner = super()._connect()
                super()._close(inner)
            return super()._connect()

    database = pooled(Nested, max_connections=1, timeout=FOR_EVER)
    assert database.connect()
    assert database.close()
    assert len(database.driver.opened) == len(other.driver.opened) == 1


# ---------------------------------------------------------------- methods of one's own


class Counting(PooledScriptedDatabase):
    """`_close` with the signature of `peewee.Database`."""

    closes = 0

    def _close(self, conn: Any) -> None:  # type: ignore[override]
        self.closes += 1
        super()._close(conn)


def test_a_close_with_the_signature_of_peewees() -> None:
    database = pooled(Counting)
    database.connect()
    assert database.manual_close() is None
    assert database.closes == 1
    assert [connection.closed for connection in database.driver.opened] == [1]
    database.connect()
    database.close_all()
    assert database.closes == 2
    assert [connection.closed for connection in database.driver.opened] == [1, 1]
    assert database._purepool.doomed == {}


class Forgetful(PooledScriptedDatabase):
    """One whose hooks do not come back to ours."""

    def _close(self, conn: Any, close_conn: bool = False) -> None:
        pass


def test_a_manual_close_whose_hook_does_nothing() -> None:
    database = pooled(Forgetful, max_connections=1)
    database.connect()
    database.manual_close()
    assert [connection.closed for connection in database.driver.opened] == [1]
    assert lent(database) == []
    assert database._purepool.doomed == {}


class Bounded(PooledScriptedDatabase):
    """`connect` takes what `close` gives back."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.places = threading.Semaphore(1)
        super().__init__(*arguments, **settings)

    def connect(self, reuse_if_open: bool = False) -> bool:
        assert self.places.acquire(timeout=0)
        return bool(super().connect(reuse_if_open))

    def close(self) -> bool:
        was_open = super().close()
        if was_open:
            self.places.release()
        return was_open


@pytest.mark.parametrize("how", ["close", "close_all", "manual_close"])
def test_what_a_close_of_ones_own_gives_back(how: str) -> None:
    database = pooled(Bounded)
    for _ in range(2):
        database.connect()
        getattr(database, how)()
    assert lent(database) == []


def test_close_all_closes_what_nobody_got_in_between() -> None:
    """One step, although `close` and `close_idle` are called: whoever waits gets a new one."""
    database = pooled(Bounded, max_connections=1, timeout=FOR_EVER)
    database.connect()
    database.places.release()
    other = Call(database.connect)
    until(lambda: waiting(database) == 1)
    database.close_all()
    other.result()
    first, _ = database.driver.opened  # the other may be closed by now: its thread has ended
    assert first.closed == 1


class Keeping(PooledScriptedDatabase):
    """One that wants its idle connections kept."""

    def close_idle(self) -> None:
        pass


def test_close_all_obeys_a_close_idle_of_ones_own() -> None:
    database = pooled(Keeping)
    database.connect()
    first = database.connection()
    database._state.closed = True
    database.connect()
    database._close(first)
    database.close_all()
    assert [connection.closed for connection in database.driver.opened] == [0, 1]
    assert idle(database) == [first]


def test_in_transaction_of_ones_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(PooledScriptedDatabase):
        def in_transaction(self) -> bool:
            return True

    def is_refused(database: Any) -> None:
        for close in (database.close, database.close_all):
            with pytest.raises(peewee.OperationalError, match="while transaction is open"):
                close()
        assert lent(database) == [database.connection()]

    database = pooled(Busy)
    database.connect()
    is_refused(database)
    database = pooled(PooledScriptedDatabase)
    database.connect()
    monkeypatch.setattr(database, "in_transaction", lambda: True)
    is_refused(database)


def test_a_verdict_that_is_put_in_place_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As suites of tests do, to have a connection stale."""
    database = make_scripted(1, stale_timeout=1000)
    database.connect()
    monkeypatch.setattr(database, "_is_stale", lambda timestamp: True)
    database.close()
    assert [connection.closed for connection in database.driver.opened] == [1]


# ---------------------------------------------------------------- names


def test_names_of_ones_own_do_no_harm() -> None:
    """Every name that ours has inside belongs to the program, but one."""
    own = pooled(PooledScriptedDatabase)._purepool
    names = {name for thing in (own, own.owners, own.runtime) for name in dir(thing)}
    names |= {"_open", "_configure", "_session_of", "_session", "_runtime", "_mirror", "_driver"}
    names |= {f"_{name}" for name in names if not name.startswith("_")}
    kept = set(dir(StockScripted("programs"))) | set(vars(drop_in.PooledDatabase)) | {"_purepool"}
    taken = dict.fromkeys(name for name in names - kept if not name.startswith("__"))
    assert {"_open", "_configure", "_session", "_runtime", "listeners"} <= set(taken)

    class Own(PooledScriptedDatabase):
        pass

    for name in taken:
        setattr(Own, name, "the program's")
    database = pooled(Own, max_connections=1)
    for name in taken:
        setattr(database, name, "the program's")
    database.connect()
    database.close()
    database.connect()
    database.manual_close()
    assert len(database._connections) == len(database._in_use) == 0
    database.close_all()
    assert database.broken == []


def test_there_is_one_name_of_ours() -> None:
    known = set(dir(playhouse.pool.PooledSqliteDatabase("name")))
    ours = set(dir(drop_in.PooledSqliteDatabase("name")))
    assert ours - known == {"_purepool", "statistics", "holders", "listen"}


# ---------------------------------------------------------------- the module in playhouse's place

REPLACED = """
import sys, playhouse, playhouse.pool as stock
names = {name for name in vars(stock) if not name.startswith("__")}
import pool.peewee as ours
early = ours.PooledSqliteDatabase(sys.argv[1], max_connections=2)
sys.modules["playhouse.pool"] = playhouse.pool = ours
late = ours.PooledSqliteDatabase(sys.argv[1], max_connections=2)
for database in (early, late):
    database.connect(); database.close(); database.connect(); database.manual_close()
    database.connect(); database.close_all()
    assert database._in_use == {}, database._in_use
    database.init(sys.argv[1]); database.dispose()
from playhouse.pool import PooledSqliteDatabase, make_int, locked, logger, PooledDatabase
assert PooledSqliteDatabase is ours.PooledSqliteDatabase
assert logger.name == "peewee.pool"
assert make_int("3") == 3
for name in names:
    getattr(ours, name)
    exec(f"from playhouse.pool import {name}")

class Own(PooledDatabase, ours.SqliteDatabase):
    @locked
    def look(self):
        return len(self._connections)

own = Own(sys.argv[1], check_same_thread=False)
with own.connection_context():
    assert own.look() == 0
assert own.look() == 1
own.close_all()
print("whole")
"""


def test_the_module_in_the_place_of_playhouses(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", REPLACED, str(tmp_path / "replaced.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 5,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("whole\n", "")


def test_a_star_import_brings_all_that_playhouses_brings() -> None:
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    exec("from playhouse.pool import *", theirs)
    exec("from pool.peewee import *", ours)
    assert set(theirs) <= set(ours)
    for name in ("make_int", "locked", "logger", "MaxConnectionsExceeded", "PoolConnection"):
        assert ours[name] is theirs[name]


# ---------------------------------------------------------------- the log


class StockScripted(playhouse.pool.PooledDatabase, ScriptedDatabase):  # type: ignore[misc]
    _is_closed = PooledScriptedDatabase._is_closed
    _can_reuse = PooledScriptedDatabase._can_reuse


def lives(database: Any, now: list[float]) -> None:
    """All that is worth a line."""
    database.connect()
    database.close()
    database.connect()
    connection = database.connection()
    now[0] += 20  # stale when it comes back
    database.close()
    database.connect()
    database.close()
    now[0] += 20  # stale when it is lent
    database.connect()
    database.driver.on_reset = lambda _: False
    database.close()
    database.driver.on_reset = lambda _: None
    database.connect()
    connection = database.connection()
    database.close()
    connection.alive = False
    database.connect()
    database.close()
    database._close(connection)  # is not in use


@pytest.mark.parametrize("judges", [False, True], ids=["", "with a verdict of its own"])
def test_the_log_is_that_of_playhouse(
    judges: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="peewee.pool")
    told = []
    for base in (StockScripted, PooledScriptedDatabase):
        now = [1000.0]
        monkeypatch.setattr(time, "time", lambda now=now: now[0])

        def _is_stale(self: Any, timestamp: float) -> bool:
            return time.time() - timestamp > self._stale_timeout

        kind = type("Logged", (base,), {"_is_stale": _is_stale} if judges else {})
        database = kind("logged", stale_timeout=10)
        database.conn_key = lambda connection: connection.number
        caplog.clear()
        lives(database, now)
        told.append([record.getMessage() for record in caplog.records if "pool" in record.name
                     and record.name == "peewee.pool"])  # fmt: skip
    theirs, ours = told
    assert ours == theirs
    assert len(ours) > 10


def test_a_healthy_pool_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    database = make_scripted(1)
    database.connect()
    database.close()
    database.close_all()
    assert caplog.records == []


# ---------------------------------------------------------------- locks that are looked at


@pytest.mark.parametrize("what", ["_in_use", "_connections", "_heap_counter"])
def test_a_look_does_not_wait_for_the_pool_lock(what: str) -> None:
    """Another thread has `_pool_lock`, and keeps it until it hears of us."""
    database = make_scripted(1)
    gate = Gate()

    def hold() -> None:
        with database._pool_lock:
            gate()

    holder = Call(hold)
    until(lambda: gate.standing)
    assert not getattr(database, what)
    gate.open()
    holder.result()


def test_a_lock_of_ones_own_in_its_place() -> None:
    """It can be put there, as with playhouse; the pool needs none."""
    database = make_scripted(1)
    lock = threading.RLock()
    database._pool_lock = lock
    database._pool_available = condition = threading.Condition(lock)
    assert database._pool_lock is lock
    assert database._pool_available is condition
    with lock:
        assert Call(database.connect).result()
