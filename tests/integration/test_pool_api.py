"""The face of `Pool`: what may be passed, what a block does, what errors say.

Theory.  Everything here is one thread deep and needs no luck: drivers are scripted or sqlite3.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pool as package
from pool import (
    Lease,
    LeaseEnded,
    Notice,
    OpenError,
    Pool,
    PoolClosed,
    PoolError,
    PoolSuspended,
    PoolTimeout,
    TooManyWaiting,
)
from pool.core.events import CloseAll
from pool.drivers.sqlite import Sqlite3
from pool.threads.driver import Sync
from pool.threads.monitor import Monitor
from pool.threads.performer import Performer
from tests.integration.drivers import (
    FOR_EVER,
    FREE_THREADED,
    PATIENCE,
    Call,
    Gate,
    idle,
    lent,
    park,
    run_script,
    until,
)
from tests.integration.pools import Scripted, is_whole, scripted


def sqlite() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


@pytest.fixture(params=["background", "caller"])
def memory(request: pytest.FixtureRequest) -> Iterator[Pool[sqlite3.Connection]]:
    """One connection to a database in memory, with a table."""
    with Pool(sqlite, max_size=1, timeout=PATIENCE, opener=request.param) as pool:
        with pool.connection() as connection:
            connection.execute("create table note (text)")
        yield pool


def notes(pool: Pool[sqlite3.Connection]) -> list[str]:
    with pool.connection() as connection:
        return [row[0] for row in connection.execute("select text from note")]


# ---------------------------------------------------------------- blocks


def test_a_clean_exit_commits(memory: Pool[sqlite3.Connection]) -> None:
    with memory.connection() as connection:
        connection.execute("insert into note values ('kept')")
        assert connection.in_transaction
    assert notes(memory) == ["kept"]


def test_an_exception_rolls_back(memory: Pool[sqlite3.Connection]) -> None:
    with contextlib.suppress(LookupError), memory.connection() as connection:
        connection.execute("insert into note values ('lost')")
        raise LookupError
    assert notes(memory) == []
    assert memory.statistics().opened == 1


def test_autocommit_is_left_alone() -> None:
    """Each statement was its own transaction, so the block has nothing to commit: what
    somebody began by hand is rolled back."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)

    with Pool(connect, max_size=1, timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            connection.execute("create table note (text)")
            connection.execute("insert into note values ('kept')")
            connection.execute("begin")
            connection.execute("insert into note values ('begun by hand')")
        assert notes(pool) == ["kept"]


def test_a_lease_never_commits(memory: Pool[sqlite3.Connection]) -> None:
    with memory.acquire() as lease:
        lease.connection.execute("insert into note values ('lost')")
    assert notes(memory) == []
    with memory.acquire() as lease:
        lease.connection.execute("insert into note values ('kept')")
        lease.connection.commit()
    assert notes(memory) == ["kept"]


class Transactional:
    """A connection of an unknown driver that says what it was asked for."""

    autocommit = False

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing = ""

    def __getattr__(self, name: str) -> Any:
        if name not in ("commit", "rollback", "close"):
            raise AttributeError(name)

        def ask() -> None:
            self.asked.append(name)
            if name == self.failing:
                raise OSError(f"{name} failed")

        return ask

    def rollback(self) -> None:
        self.__getattr__("rollback")()


def test_an_unknown_driver() -> None:
    """Of what its commit left open nothing is known."""
    with Pool(Transactional, max_size=1, timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            pass
        assert connection.asked == ["commit", "rollback"]
        connection.autocommit = True
        with pool.connection() as connection:
            pass
        assert connection.asked[2:] == ["rollback"]


def test_what_comes_after_a_commit_is_rolled_back(memory: Pool[sqlite3.Connection]) -> None:
    """A driver that knows that nothing is open is not asked again; but a user's reset is called,
    and what a listener leaves open is not kept."""

    def use(notice: Notice) -> None:
        notice.connection.execute("insert into note values ('lost')")

    with memory.connection() as connection:
        connection.execute("insert into note values ('kept')")
    memory.listen("checkin", use)
    assert notes(memory) == ["kept"]
    assert notes(memory) == ["kept"]

    asked: list[str] = []
    with Pool(sqlite, reset=lambda _: asked.append("reset"), timeout=PATIENCE) as pool:
        with pool.connection():
            pass
        assert asked == ["reset"]


def test_a_commit_that_fails() -> None:
    """It is the block's error; the connection is rolled back and lent again."""
    with Pool(Transactional, max_size=1, timeout=PATIENCE) as pool:
        with pytest.raises(OSError, match="commit failed"), pool.connection() as connection:
            connection.failing = "commit"
        assert connection.asked == ["commit", "rollback"]
        with pool.acquire() as lease:
            assert lease.connection is connection


def test_a_rollback_that_fails() -> None:
    """It hides nothing: the block's own error is raised, the connection is closed."""
    with Pool(Transactional, max_size=1, timeout=PATIENCE) as pool:
        with contextlib.suppress(LookupError), pool.connection() as connection:
            connection.failing = "rollback"
            raise LookupError
        until(lambda: connection.asked == ["rollback", "close"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, type("Timeout", (BaseException,), {})])
def test_an_interrupted_query(error: type[BaseException]) -> None:
    """What stops a query in the middle leaves half an answer to be read: not lent again."""
    with Pool(Transactional, max_size=1, timeout=PATIENCE) as pool:
        with pytest.raises(error), pool.connection() as connection:
            raise error
        until(lambda: connection.asked == ["close"])


def test_things_without_transactions() -> None:
    """Anything can be pooled."""
    with Pool(threading.Lock, timeout=PATIENCE) as pool, pool.connection() as lock:
        assert lock.acquire(False)


# ---------------------------------------------------------------- leases


def test_release_and_discard_tell_whether() -> None:
    with scripted(1) as pool:
        lease = pool.acquire()
        first = lease.connection
        assert lease.release() is True
        assert lease.release() is False
        assert lease.discard() is False
        lease = pool.acquire()
        assert lease.connection is first
        assert lease.discard() is True
        assert lease.discard() is False
        until(lambda: first.closed == 1)


def test_a_stale_lease_is_fenced_off() -> None:
    """After its release a lease gives no connection, and cannot end the next holder's."""
    with scripted(1) as pool:
        stale = pool.acquire()
        stale.release()
        lease = pool.acquire()
        with pytest.raises(LeaseEnded):
            _ = stale.connection
        assert stale.release() is False
        assert stale.discard() is False
        with stale:
            pass
        assert lent(pool) == [lease.connection]
        lease.release()


def test_a_lost_lease_is_reclaimed() -> None:
    with scripted(1) as pool:
        lost = pool.acquire().connection
        gc.collect()
        with pool.acquire() as lease:
            assert lease.connection is not lost
        until(lambda: lost.closed == 1)


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_a_lease_that_is_lost_while_the_pool_is_closed_is_closed_with_it(opener: str) -> None:
    """Nobody else comes any more, and a finalizer closes nothing itself."""
    pool = Scripted(1, opener=opener)
    lost = pool.acquire()
    connection = lost.connection
    closing = Call(pool.close, None)
    until(lambda: len(pool._runtime.monitor.onlookers) == 1)
    del lost
    assert closing.result()
    assert connection.closed == 1


def test_a_close_that_waits_for_helpers_rests_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """They close one connection at a time here, and the first takes long. Who waits looks when
    something has changed, and what it does when it looks is no change."""
    pool = Scripted(1, opener="background")
    gate = pool.driver.on_close = Gate()
    pool.acquire().discard()
    until(lambda: gate.standing)
    pool.acquire().release()
    looks: list[float] = []
    plain = Performer.is_at_rest

    def counted(runtime: Any, mine: Any) -> bool:
        looks.append(time.monotonic())
        return plain(runtime, mine)

    monkeypatch.setattr(Performer, "is_at_rest", counted)
    closing = Call(pool.close, FOR_EVER)
    until(lambda: looks and (len(looks) > 30 or time.monotonic() > looks[0] + 0.3))
    gate.open()
    assert closing.result()
    assert len(looks) < 30


@pytest.mark.parametrize(
    ("where", "how"), [("empty_inbox", "lose"), ("drain", "close_all")], ids=["lost", "closed"]
)
def test_who_is_interrupted_tells_those_who_wait_for_the_pool(
    where: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it decided was decided, and is told, though it comes no further."""
    pool = Scripted(1, opener="caller")
    lease = pool.acquire()
    connection = lease.connection
    monitor = pool._runtime.monitor
    closing = Call(pool.close, None)
    until(lambda: len(monitor.onlookers) == 1)
    plain = getattr(Monitor, where)

    def interrupted(self: Monitor, clock: Any) -> None:
        if threading.current_thread() is closing:
            plain(self, clock)
            return
        monkeypatch.undo()
        plain(self, clock)
        raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, where, interrupted)
    runtime = pool._runtime
    ends: dict[str, Callable[[], Any]] = {
        "lose": lambda: runtime.lose(lease),
        "close_all": lambda: runtime.apply(CloseAll(runtime.clock())),
    }
    with pytest.raises(KeyboardInterrupt):
        ends[how]()
    assert closing.result()
    assert connection.closed == 1


def test_a_lost_lease_is_the_waiters_at_once() -> None:
    """Nobody else has to use the pool for that."""
    with scripted(1) as pool:
        lost = pool.acquire()
        waiter = park(pool, pool.acquire)
        del lost
        waiter.result().release()


def test_helpers_begin_when_all_is_set_of_which_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first connect that fails, or is recorded, comes before anybody has used the pool."""
    seen: list[Any] = []
    plain = Sync.start

    def start(target: Any, name: str) -> None:
        runtime = target.__self__._runtime() if name == "purepool watch" else None
        if runtime is not None and runtime.label == "pool 'shop': ":
            driver = runtime.driver
            seen.append((driver._runtime() is runtime, runtime.on_close == driver.report_close))
        plain(target, name)

    monkeypatch.setattr(Sync, "start", staticmethod(start))
    with Pool(Transactional, min_idle=1, name="shop") as pool:
        pool.wait(PATIENCE)
    assert set(seen) == {(True, True)}  # who wakes it as it begins may start another, which ends


@pytest.mark.skipif(FREE_THREADED, reason="what others drop goes later there, whoever keeps it")
def test_those_who_wait_keep_nothing_of_others_alive() -> None:
    """Neither the state in which they began to wait, nor through it the holders of then, whose
    end would be taken for a loss: work for everybody."""
    notes: list[Any] = []
    with Pool(Transactional, max_size=1, timeout=PATIENCE, opener="caller") as pool:
        pool._runtime.lost = notes.append
        pool._runtime.on_long_wait = None  # who tells of a long wait looks at a state, too
        lease = pool.acquire()
        waiters = [park(pool, pool.acquire) for _ in range(2)]
        lease.release()
        del lease
        with waiters[0].result():
            assert notes == []
        with waiters[1].result():
            pass
    assert notes == []


def test_a_dead_thread_is_reclaimed() -> None:
    """What a thread held when it ended, by an error or not, comes back."""

    def hold() -> None:
        lease = pool.acquire()
        assert lease.connection
        raise LookupError

    with scripted(2) as pool:
        for _ in range(10):
            with pytest.raises(LookupError):
                Call(hold).result()
        is_whole(pool, 2)


# ---------------------------------------------------------------- bad arguments


NOT_SECONDS = [-1, math.nan, math.inf, "5", True, b"", object()]
BAD: list[tuple[str, Any]] = [
    ("connect", None),
    ("connect", "sqlite:///:memory:"),
    *(("max_size", value) for value in (0, -1, 2.5, "10", True, math.nan)),
    *(("min_idle", value) for value in (-1, None, 11, 2.5, "1")),
    *(("timeout", value) for value in NOT_SECONDS),
    *(
        (name, value)
        for name in ("max_lifetime", "max_idle", "leak_after")
        for value in NOT_SECONDS
    ),
    *((name, 0) for name in ("max_lifetime", "max_idle", "leak_after")),
    *((name, 0) for name in ("max_opening", "max_connecting")),
    *(
        (name, value)
        for name in ("max_waiting", "max_opening", "max_connecting")
        for value in (-1, 1.5, "1", True)
    ),
    *(("check_after", value) for value in [*NOT_SECONDS, None]),
    *(("check_timeout", value) for value in NOT_SECONDS),
    *((name, 3) for name in ("check", "reset", "configure", "close")),
    ("idle_order", "random"),
    ("opener", "nobody"),
    ("backoff_initial", 0),
    ("backoff_max", 0.01),
    ("name", 3),
    ("listeners", [print]),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_arguments(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, value and what is allowed, when the pool is made; no thread was started."""
    begun: list[str] = []
    me, plain = threading.get_ident(), Sync.start

    def start(target: Callable[[], object], name: str) -> None:
        if threading.get_ident() == me:  # not one that an earlier test has left
            begun.append(name)
        plain(target, name)

    monkeypatch.setattr(Sync, "start", staticmethod(start))
    arguments = {"connect": sqlite, name: value}
    with pytest.raises(ValueError, match="allowed is") as caught:
        Pool(**arguments)
    assert f"{name}={value!r}: allowed is " in str(caught.value)
    assert begun == []


def test_an_asynchronous_connect_is_refused() -> None:
    async def connect() -> None:
        pass

    with pytest.raises(ValueError, match="a plain function"):
        Pool(connect)


def test_min_idle_needs_somebody_who_opens() -> None:
    with pytest.raises(ValueError, match="min_idle=1: allowed is 0 with opener='caller'"):
        Pool(sqlite, min_idle=1, opener="caller")


@pytest.mark.parametrize("timeout", NOT_SECONDS)
def test_bad_timeouts(timeout: Any) -> None:
    with Pool(sqlite) as pool:
        for function in (pool.acquire, pool.wait, pool.close):
            with pytest.raises(ValueError, match=r"timeout=.*: allowed is a finite number"):
                function(timeout)
        with pytest.raises(ValueError, match="timeout="), pool.connection(timeout):
            pass


def test_bad_sizes() -> None:
    with Pool(sqlite, max_size=4, min_idle=2) as pool:
        for max_size, message in ((0, "max_size=0"), (1, "min_idle=2: allowed is at most")):
            with pytest.raises(ValueError, match=message):
                pool.resize(max_size)
        assert pool.statistics().max_size == 4


def test_bad_listeners() -> None:
    with Pool(sqlite) as pool:
        with pytest.raises(ValueError, match="kind='open': allowed is one of 'connect'"):
            pool.listen("open", print)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="close=3: allowed is a function"):
            pool.listen("close", 3)  # type: ignore[arg-type]


# ---------------------------------------------------------------- useless connects


async def asynchronous() -> None:
    """What an asynchronous driver's connect is."""


@pytest.mark.parametrize("opener", ["background", "caller"])
@pytest.mark.parametrize(
    ("connect", "why"),
    [
        (lambda: None, "connect returned None"),
        (lambda: asynchronous(), "connect returned something to be awaited"),
        (lambda: sqlite3.connect(":memory:"), "check_same_thread=False"),
        (functools.partial(sqlite3.connect, ":memory:"), "check_same_thread=False"),
    ],
)
def test_useless_connections(connect: Any, why: str, opener: Any) -> None:
    """They are refused at the first connect, saying why."""
    with Pool(connect, opener=opener, timeout=PATIENCE) as pool:
        for _ in range(3):
            with pytest.raises(OpenError, match=why) as caught:
                pool.acquire()
            assert isinstance(caught.value.__cause__, (TypeError, ValueError))
        assert pool.statistics().opened == 0


def test_useless_connections_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is still being looked at, another is not taken on its word."""
    gate = Gate()
    first = [True]
    refuse = Sqlite3.refuse

    def refuse_later(recipe: Sqlite3, connection: Any) -> None:
        if first and first.pop():
            gate()
        refuse(recipe, connection)

    monkeypatch.setattr(Sqlite3, "refuse", refuse_later)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(":memory:")

    with Pool(connect, opener="caller", max_opening=None, timeout=PATIENCE) as pool:
        slow = Call(pool.acquire)
        until(lambda: gate.standing)
        with pytest.raises(OpenError, match="check_same_thread=False"):
            pool.acquire()
        gate.open()
        with pytest.raises(OpenError, match="check_same_thread=False"):
            slow.result()
        assert pool.statistics().opened == 0


@pytest.mark.parametrize("opener", ["background", "caller"])
def test_the_same_connection_again(opener: Any) -> None:
    """A connect that returns what it returned before would lend one connection to two."""
    only = sqlite()
    with Pool(lambda: only, opener=opener, timeout=PATIENCE) as pool, pool.acquire() as lease:
        assert lease.connection is only

        def is_refused() -> Any:
            with pytest.raises(PoolError):
                pool.acquire(0.01)
            return pool.statistics().last_error  # of a thread that may come to it only later

        until(is_refused)
        with pytest.raises(PoolError, match="returned a connection that the pool has already"):
            pool.acquire(0.01)


def test_configure_that_fails() -> None:
    """What it was given is closed, and the caller is told."""

    def configure(connection: Any) -> None:
        raise LookupError("no such schema")

    pool = Scripted(1, configure=configure)
    with pytest.raises(OpenError, match="no such schema") as caught:
        pool.acquire()
    assert isinstance(caught.value.__cause__, LookupError)
    assert [connection.closed for connection in pool.driver.opened] == [1]
    pool.close()


# ---------------------------------------------------------------- errors


def test_the_defaults() -> None:
    """Those that the documentation gives."""
    given = {
        name: parameter.default
        for name, parameter in inspect.signature(Pool).parameters.items()
        if name != "connect"
    }
    assert given == {
        "max_size": 10,
        "min_idle": 0,
        "timeout": 30.0,
        "max_lifetime": 3600.0,
        "max_idle": 600.0,
        "max_waiting": None,
        "max_opening": 1,
        "max_connecting": None,
        "check": None,
        "check_after": 0.5,
        "check_timeout": 5.0,
        "reset": None,
        "configure": None,
        "close": None,
        "idle_order": "lifo",
        "opener": "background",
        "leak_after": None,
        "backoff_initial": 0.1,
        "backoff_max": 1.0,
        "name": None,
        "listeners": None,
    }


def test_one_tree() -> None:
    for kind in (PoolTimeout, PoolClosed, TooManyWaiting, OpenError, LeaseEnded):
        assert issubclass(kind, PoolError)
    assert issubclass(PoolSuspended, PoolTimeout)
    assert issubclass(PoolTimeout, TimeoutError)
    assert not issubclass(OpenError, PoolTimeout)


@pytest.mark.parametrize(("timeout", "text"), [(0, "without waiting"), (0.02, "within 0.02 s")])
def test_a_timeout_says_what_is_going_on(timeout: float, text: str) -> None:
    with scripted(1, name="orders") as pool, pool.acquire():
        with pytest.raises(PoolTimeout) as caught:
            pool.acquire(timeout)
        message = str(caught.value)
        assert message.startswith("pool 'orders': no connection ")
        assert text in message
        assert (
            "max 1, in use 1, idle 0, opening 0, waiting 0; held by this thread 'MainThread' for "
            in (message)
        )
        assert __file__ not in message  # leak tracking is off


def test_a_timeout_names_the_lines_that_hold() -> None:
    with scripted(7, leak_after=FAR) as pool:
        leases = [pool.acquire() for _ in range(7)]
        with pytest.raises(PoolTimeout) as caught:
            pool.acquire(0)
        message = str(caught.value)
        assert f"{__file__}:" in message
        assert "in test_a_timeout_names_the_lines_that_hold" in message or "<listcomp>" in message
        assert "; and 2 more)" in message  # the five that hold longest, and how many there are
        for lease in leases:
            lease.release()


FAR = 1000.0


def test_the_line_that_holds_is_never_the_pools_own() -> None:
    """But that of a file whose path only begins like it may be."""
    theirs = str(Path(package.__file__).parent) + "_of_theirs.py"
    with scripted(1, leak_after=FAR) as pool:
        names: dict[str, Any] = {"pool": pool}
        exec(compile("def take(): return pool.acquire()", theirs, "exec"), names)
        lease = names["take"]()
        (holding,) = pool.holders()
        assert holding.line == f"{theirs}:1 in take"
        lease.release()
        with pool.connection():
            (holding,) = pool.holders()
            assert holding.line is not None
            assert holding.line.startswith(f"{__file__}:")


def test_holders() -> None:
    """Who holds what, longest first, with the stack where leak tracking is on."""
    with scripted(2, leak_after=FAR) as pool, pool.acquire() as lease:
        name = threading.current_thread().name
        done, let_go = threading.Event(), threading.Event()

        def another() -> None:
            with pool.acquire():
                done.set()
                let_go.wait(PATIENCE)

        call = Call(another)
        done.wait(PATIENCE)
        first, second = pool.holders()
        assert first.thread == f"thread {name!r}"
        assert first.connection is lease.connection
        assert first.line is not None
        assert first.line.endswith("in test_holders")
        assert first.stack is not None
        assert "pool.acquire() as lease" in first.stack
        assert first.seconds >= second.seconds >= 0
        assert second.line is not None
        assert second.line.endswith("in another")
        let_go.set()
        call.result()


def test_a_wrong_password_shows_at_once() -> None:
    """While there was never a connection, a failed connect is everybody's answer; it is an
    `OpenError`, and its cause is the driver's own error."""

    def connect() -> None:
        raise ConnectionRefusedError("who are you?")

    for opener in ("background", "caller"):
        with (
            Pool(connect, opener=opener, timeout=PATIENCE) as pool,  # type: ignore[arg-type]
            pytest.raises(OpenError, match="who are you") as caught,
        ):
            pool.acquire()
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_kept_error_pins_nothing() -> None:
    """Programs keep exceptions; what they keep must not keep a connection out of the pool."""
    kept: list[BaseException] = []
    with scripted(1, check_after=FOR_EVER) as pool:
        with pool.acquire():
            try:
                pool.acquire(0)
            except PoolTimeout as error:
                kept.append(error)
        try:
            with pool.connection():
                raise LookupError
        except LookupError as error:
            kept.append(error)
        is_whole(pool, 1, 0)
    assert len(kept) == 2


# ---------------------------------------------------------------- the package


def test_importing_the_package_is_cheap() -> None:
    """No driver, no peewee, nothing of the checking tools."""
    heavy = "sqlite3 psycopg psycopg2 pymysql peewee playhouse rich hypothesis gevent"
    script = f"import pool, sys; print([name for name in '{heavy}'.split() if name in sys.modules])"
    assert run_script(script).strip() == "[]"


def test_the_names() -> None:
    for name in ("Pool", "Lease", "PoolError", "Statistics", "Notice"):
        assert name in package.__all__
    assert (Lease, Notice) == (package.Lease, package.Notice)


TYPED = """\
import sqlite3
from typing_extensions import assert_type
from pool import Lease, Notice, Pool, Statistics

def connect() -> sqlite3.Connection:
    return sqlite3.connect("file")

pool: Pool[sqlite3.Connection] = Pool(connect)
assert_type(Pool(connect), Pool[sqlite3.Connection])
with Pool(connect, check=lambda it: it.total_changes, listeners={"leak": print}) as same:
    with same.connection() as connection:
        assert_type(connection, sqlite3.Connection)
    with same.acquire(timeout=None) as lease:
        assert_type(lease, Lease[sqlite3.Connection])
        assert_type(lease.connection, sqlite3.Connection)
    assert_type(same.statistics(), Statistics)
"""
MISTYPED = """\
with pool.connection() as mine: mine.no_such_method()
Pool(connect, timeout="5")
Pool(connect, opener="nobody")
Pool(connect, check=lambda it: it.no_such_method())
Pool(3)
other: Pool[int] = Pool(connect)
pool.listen("open", print)
"""


def test_types(tmp_path: Path) -> None:
    """What `connect` returns is what a block, a lease and the user's functions get; and what is
    wrong is found, line by line, so it is not all `Any`."""
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    program.write_text(TYPED + MISTYPED)
    told, errors, _ = api.run(["--strict", "--config-file=", str(program)])
    first = TYPED.count("\n") + 1
    wrong = sorted({int(line.split(":")[1]) for line in told.splitlines() if ": error:" in line})
    assert (wrong, errors) == ([*range(first, first + MISTYPED.count("\n"))], ""), told


def test_a_pool_that_nobody_uses_is_collected() -> None:
    """With its connections, and its threads end."""
    script = """
import gc, threading, time, weakref
from pool import Pool
class Thing: pass
pool = Pool(Thing, timeout=20)
with pool.connection() as thing: pass
there = weakref.ref(thing)
del pool, thing
deadline = time.monotonic() + 60
while (there() or threading.active_count() > 1) and time.monotonic() < deadline:
    gc.collect()  # again, for its helper looks at it now and then
    time.sleep(0.001)
print(there(), threading.active_count())
"""
    assert run_script(script).split() == ["None", "1"]


def test_repr() -> None:
    with scripted(2, name="orders") as pool:
        with pool.acquire() as lease:
            assert repr(pool).startswith("<Pool 'orders': open, max 2, in use 1, idle 0")
            assert repr(lease) == "<Lease: <connection 1>>"
        assert repr(lease) == "<Lease: ended>"


def test_a_lease_that_was_given_nothing_can_be_printed() -> None:
    """By what shows the variables of a traceback."""
    with scripted(1) as pool:
        with pytest.raises(ValueError, match="timeout") as caught:
            pool.acquire(-1)
        frames = [entry.frame.f_locals for entry in caught.traceback]
        leases = [each["lease"] for each in frames if "lease" in each]
        assert set(map(repr, leases)) == {"<Lease: ended>"}


def test_a_block_that_another_thread_waits_with_can_be_printed() -> None:
    with scripted(1) as pool:
        lease, block = pool.acquire(), pool.connection()
        assert repr(block) == "<Lease: ended>"
        call = Call(block.__enter__)
        until(lambda: pool.statistics().waiting == 1)
        assert repr(block) == "<Lease: waiting>"
        lease.release()
        connection = call.result()
        assert repr(block) == f"<Lease: {connection!r}>"
        block.__exit__(None, None, None)
        assert [connection.number for connection in idle(pool)] == [1]
