"""One asynchronous exception at every instant there is, one after the other.

Theory.  The storms of the other modules strike at random, and an instant that is one in ten
thousand may never be hit before a user hits it.  Here each is struck in turn (`instants.py`).  No
thread, no luck: an operation is proof against an exception at any instant, or the place where it is
not is named.
"""

from __future__ import annotations

import _thread
import ctypes
import dis
import heapq
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import CodeType, FrameType, TracebackType
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool import Limits, PoolTimeout
from pool.core import heap
from pool.record import Recorder
from pool.threads import workers
from pool.threads.driver import Sync
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted as scripted_database
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    ScriptedDriver,
    Storm,
    Thrown,
    assert_sound,
    lent,
    nothing,
    settle,
    until,
    waiting,
    watch,
    weather,
)
from tests.integration.instants import (
    NOWHERE,
    POOL,
    RAISED,
    breakers,
    every_instant,
    instruction_at,
    prefixes,
)
from tests.integration.pools import Scripted, is_whole

SIZE = 2


def slow(*operations: Any) -> list[Any]:
    """These too, but not in `make quick`."""
    return [pytest.param(operation, marks=pytest.mark.slow) for operation in operations]


# ---------------------------------------------------------------- the runtime


@pytest.fixture(params=["caller", "background"])
def opener(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Subject:
    """A fresh runtime for every blow, with one connection idle or none."""

    def __init__(self, opener: str, *, warm: bool) -> None:
        self.opener, self.warm = opener, warm
        self.held: list[Any] = []

    def make(self) -> None:
        self.held = []
        self.driver = ScriptedDriver()
        self.runtime = Runtime(
            self.driver,
            Limits(max_size=SIZE, opener=self.opener),  # type: ignore[arg-type]  # parametrized
            check_after=0.0 if self.opener == "caller" else 1000.0,
        )
        self.broken = watch(self.runtime) if self.warm else []  # without, shortcuts are taken
        if self.warm:
            self.runtime.release(self.runtime.acquire(FOR_EVER))

    def check(self) -> None:
        runtime = self.runtime
        assert not runtime.monitor.lock._is_owned()
        self.driver.on_connect = nothing
        self.held.clear()
        until(lambda: (settle(runtime), not lent(runtime) and not runtime.state.opening)[1])
        assert_sound(runtime)
        handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
        assert len({handle.connection for handle in handles}) == SIZE
        with pytest.raises(PoolTimeout):
            runtime.acquire(0)
        for handle in handles:
            assert runtime.release(handle)
        assert self.driver.mistakes == []
        assert self.broken == []


def turn(subject: Subject) -> None:
    subject.runtime.release(subject.runtime.acquire(FOR_EVER))


def discard(subject: Subject) -> None:
    subject.runtime.discard(subject.runtime.acquire(FOR_EVER))


def find_it_dead(subject: Subject) -> None:
    for connection in subject.driver.opened:
        connection.alive = False
    turn(subject)


def find_all_taken(subject: Subject) -> None:
    handles = [subject.runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    with suppress(PoolTimeout):
        subject.runtime.acquire(0)
    for handle in handles:
        subject.runtime.release(handle)


def wait_in_vain(subject: Subject) -> None:
    subject.held = [subject.runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    with suppress(PoolTimeout):
        subject.runtime.acquire(0.00001)


def fail_to_connect(subject: Subject) -> None:
    def fail(*_: object) -> None:
        subject.driver.on_connect = nothing
        raise OSError("no such database")

    subject.held = [subject.runtime.acquire(FOR_EVER) for _ in subject.driver.opened]
    subject.driver.on_connect = fail
    with suppress(OSError):
        turn(subject)


@pytest.mark.sampled
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize(
    "work",
    [turn, *slow(discard, find_it_dead, find_all_taken, wait_in_vain, fail_to_connect)],
    ids=lambda work: work.__name__,
)
def test_runtime(opener: str, warm: bool, work: Callable[[Subject], None]) -> None:
    subject = Subject(opener, warm=warm)
    if work is fail_to_connect and opener == "background":
        return  # it is a helper's thread that fails, at an instant of its own

    def prepare() -> Callable[[], None]:
        subject.make()
        return lambda: work(subject)

    assert every_instant(prepare, subject.check) > 20


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("how", ["release", "discard", "lose"])
def test_waiting_for_what_another_gives_back(opener: str, how: str) -> None:
    subject = Subject(opener, warm=True)

    def prepare() -> Callable[[], None]:
        subject.make()
        runtime = subject.runtime
        handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
        over: list[bool] = []

        def give_back() -> None:
            until(lambda: waiting(runtime) or over)
            while handles:
                getattr(runtime, how)(handles.pop())

        other = Call(give_back)

        def wait() -> None:
            try:
                turn(subject)
            finally:
                over.append(True)
                other.result()

        return wait

    assert every_instant(prepare, subject.check) > 20


# ---------------------------------------------------------------- `Pool`


def borrow(pool: Scripted) -> None:
    with pool.connection() as connection:
        connection.number += 0


def borrow_and_fail(pool: Scripted) -> None:
    with suppress(LookupError), pool.connection():
        raise LookupError


def lease(pool: Scripted) -> None:
    with pool.acquire() as lease:
        assert lease.connection


def lease_twice(pool: Scripted) -> None:
    with pool.acquire() as one, pool.acquire() as two:
        assert one.connection is not two.connection


def lease_and_discard(pool: Scripted) -> None:
    pool.acquire().discard()


def forget(pool: Scripted) -> None:
    pool.acquire()


def resize(pool: Scripted) -> None:
    pool.resize(1)
    pool.resize(SIZE)


def drain(pool: Scripted) -> None:
    with pool.connection():
        pool.drain()


def suspend(pool: Scripted) -> None:
    pool.suspend()
    pool.resume()


def record(pool: Scripted) -> None:
    with Recorder(pool):
        borrow(pool)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "work",
    [
        *slow(record, borrow, borrow_and_fail, lease, lease_twice, lease_and_discard),
        *slow(forget, resize, drain, suspend),
    ],
    ids=lambda work: work.__name__,
)
@pytest.mark.parametrize("leak_after", [None, 1000.0], ids=["", "watched"])
def test_pool(opener: str, leak_after: float | None, work: Callable[[Scripted], None]) -> None:
    made: list[Scripted] = []

    def prepare() -> Callable[[], None]:
        made[:] = [Scripted(SIZE, opener=opener, leak_after=leak_after)]
        borrow(made[0])
        return lambda: work(made[0])

    def check() -> None:
        (pool,) = made
        assert not pool.runtime.monitor.lock._is_owned()
        pool.resume()
        pool.resize(SIZE)
        until(lambda: not lent(pool))
        is_whole(pool, SIZE)
        assert pool.close(FOR_EVER)
        assert pool.broken == []
        assert pool.driver.mistakes == []

    assert every_instant(prepare, check) > 10


# ---------------------------------------------------------------- the drop-in


def connect_and_close(database: Any) -> None:
    database.connect()
    database.close()


def look(database: Any) -> None:
    len(database._connections)
    connect_and_close(database)


def put_one_in(database: Any) -> None:
    connection = database.driver.connect()
    heapq.heappush(database._connections, (1.0, 0, connection))
    connect_and_close(database)


def change_the_dict(database: Any) -> None:
    database.connect()
    database._in_use.clear()
    database.close()


def hold_the_lock(database: Any) -> None:
    with database._pool_lock:
        connect_and_close(database)


def housekeeping(database: Any) -> None:
    database.connect()
    database.manual_close()
    database.close_idle()
    database.close_stale(0)


def close_all(database: Any) -> None:
    database.connect()
    database.close_all()


@pytest.mark.sampled
@pytest.mark.parametrize(
    "work",
    [look, *slow(connect_and_close, put_one_in, hold_the_lock, housekeeping, close_all)],
    ids=lambda work: work.__name__,
)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_peewee(warm: bool, work: Callable[[Any], None]) -> None:
    made: list[Any] = []

    def prepare() -> Callable[[], None]:
        made[:] = [scripted_database(SIZE)]
        if warm:
            connect_and_close(made[0])
        return lambda: work(made[0])

    def check() -> None:
        (database,) = made
        len(database._connections)
        if not database.is_closed():  # struck between the two calls
            database.close()
        connect_and_close(database)
        settle(database)
        database._wait_timeout = None
        for _ in range(SIZE):
            database._state.closed = True
            database.connect()
        database._state.closed = True
        with pytest.raises(MaxConnectionsExceeded):
            database.connect()
        database.close_all()
        assert_sound(database)
        assert lent(database) == []
        assert database.broken == []
        assert database.driver.mistakes == []

    assert every_instant(prepare, check) > 10


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="there the new thread may be lost, but no lock is"
)
def test_a_helper_that_is_to_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a caller, for a check. In the standard library's code, too: no lock of `threading` may be
    left behind, or no thread of the program would ever start again."""
    monkeypatch.setattr("tests.integration.instants.POOL", (POOL, threading.__file__))
    monkeypatch.setattr("pool.threads.workers.KEPT", 0.0)
    begun: list[str] = []

    def prepare() -> Callable[[], Any]:
        until(lambda: not workers._waiting)  # nobody is there for the job
        return lambda: Sync.start(
            lambda: begun.append(threading.current_thread().name), "purepool check"
        )

    def check() -> None:
        well = threading.Lock()
        well.acquire()
        _thread.start_new_thread(lambda: (threading.enumerate(), well.release()), ())
        assert well.acquire(timeout=PATIENCE), "a lock of threading is locked"

    assert every_instant(prepare, check) > 3
    until(lambda: begun.count("purepool check") == len(begun) > 1)


# ---------------------------------------------------------------- the check is checked


def test_it_counts_where_functions_begin_and_calls_return() -> None:
    def prepare() -> Callable[[], Any]:
        runtime = Runtime(ScriptedDriver(), Limits())
        return lambda: (heap.size(None), runtime.monitor.set_lock(runtime.monitor.lock))

    # Two functions, one of which calls `iter`; and a jump forward, which 3.10 looks at too.
    assert every_instant(prepare, lambda: None) == (3 if sys.version_info >= (3, 11) else 4)


LONG_LOOP = (
    "def work(last):\n while True:\n" + "  one = last\n" * 300 + "  if one: return\n  last = 1\n"
)
HANDLERS = (
    "def work(call):\n try:\n  try: call()\n  finally: over = 1\n except Exception: over = 2\n",
    "def work(call):\n try: call()\n except Exception: over = 1\n",
)


def of_the_pool(source: str) -> Any:
    """The function `work` of this source, as one of the pool's own."""
    names: dict[str, Any] = {}
    exec(compile(source, f"{POOL}/made.py", "exec"), names)
    return names["work"]


def last(trace: TracebackType | None) -> tuple[FrameType, int]:
    """Where this traceback ends: the frame, and the offset of its instruction."""
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame, trace.tb_lasti


def test_it_counts_a_long_jump_once() -> None:
    """Too long for one instruction. Some Pythons show its first part only, others each."""
    work = of_the_pool(LONG_LOOP)
    assert work(0) is None
    assert breakers(work.__code__).keys() & set(prefixes(work.__code__).values())
    turns = [every_instant(lambda last=last: lambda: work(last), lambda: None) for last in (1, 0)]
    # It begins, and jumps back or not; 3.10 looks at the jump forward, where it is taken, too.
    assert turns == [1, 2 if sys.version_info >= (3, 11) else 3]


@pytest.mark.parametrize("source", HANDLERS, ids=["finally", "except"])
def test_it_counts_where_handlers_begin(source: str) -> None:
    """Where the interpreter does raise there: what is thrown at a thread while a call fails comes
    before the first step of the handler, or after the last."""
    work = of_the_pool(source)
    me = ctypes.c_ulong(threading.get_ident())
    throw_at_me = partial(ctypes.pythonapi.PyThreadState_SetAsyncExc, me, ctypes.py_object(Thrown))
    # No step of the interpreter's is between the one and the other. And the other one's error needs
    # no `repr`: from 3.15 on that looks for what is thrown, too, and here it would be lost there.
    fail = partial(list, map(partial.__call__, (throw_at_me, partial([].pop))))
    with pytest.raises(Thrown) as thrown:  # noqa: PT012  # it comes a little later
        partial(work, fail)()
        for _ in range(1000):  # nobody looks after each call, but somebody does here
            pass
    frame, _ = last(thrown.tb)
    at_handlers = frame.f_code is work.__code__ and "over" not in frame.f_locals
    handlers = 2 if "finally" in source else 1

    def break_off() -> Callable[[], None]:
        return lambda: work(partial(int, "no number"))

    assert every_instant(break_off, lambda: None) == 1 + (handlers if at_handlers else 0)


def test_real_ones_strike_nowhere_else() -> None:
    """Threads are struck at places that are counted here, in this release of the interpreter."""
    # A traceback that is looked at keeps its frames, and these their connection, for a while.
    runtime = Runtime(ScriptedDriver(), Limits(max_size=None, opener="caller"))
    places: set[tuple[CodeType, int]] = set()
    storm = Storm()

    def work() -> None:
        try:
            runtime.release(runtime.acquire(FOR_EVER))
        except Thrown as error:
            frame, at = last(error.__traceback__)
            handled = error.__context__
            if handled is not None and last(handled.__traceback__) == (frame, at):
                at = RAISED  # no step of the handler was taken
            if frame.f_code.co_filename.startswith(POOL):
                places.add((frame.f_code, at))
            raise

    with weather():
        storm.strike(Call(storm.endure, work), 300)
    assert len(places) > 5
    for code, at in places:
        # In 3.11 a call may take both of its instructions at once.
        begun = {i.offset for i in dis.get_instructions(code) if i.opname in ("RESUME", "PRECALL")}
        at = instruction_at(code, at)
        assert at in (NOWHERE, 0) or at in begun or at in breakers(code), (code, at)


def test_a_careless_pool_is_found() -> None:
    """One that does not take back what a struck caller was granted."""

    class Careless(Runtime):
        def lose(self, handle: Any) -> None:
            pass

    made: list[Runtime] = []

    def prepare() -> Callable[[], Any]:
        made[:] = [Careless(ScriptedDriver(), Limits(max_size=SIZE))]
        return lambda: made[0].release(made[0].acquire(FOR_EVER))

    def check() -> None:
        settle(made[0])
        assert lent(made[0]) == []

    with pytest.raises(AssertionError, match=r"at instant \d+, (runtime|store).py:\d+"):
        every_instant(prepare, check)
