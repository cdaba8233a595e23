"""Programs that end without a word to their pool, or with one at the last moment; subinterpreters.

Theory.  Each program is an interpreter of its own, with warnings as errors, and what it leaves on
stderr is compared with nothing at all.  Some versions of Python start no thread any more once
exit handlers run, and some subinterpreters have no daemons and not every module: each of these is
also made on purpose, so that every version shows it.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from pool.threads import exits
from tests.integration.drivers import FOR_EVER, PATIENCE, Gate, run_script, soon, until
from tests.integration.pools import Scripted, scripted

OPENERS = pytest.mark.parametrize("opener", ["caller", "background"])
THREADS = pytest.mark.parametrize("threads", ["threads at exit", "no threads at exit"])

BEGIN = """
import atexit, sys, threading, time, warnings

def at_the_very_end():  # registered before the pool's own handler, so it comes after it
    print(*sorted(told), pool.statistics().idle)

if "the end" in sys.argv:
    atexit.register(at_the_very_end)

from pool import Pool

opener = sys.argv[1]
told = []

class Connection:
    closed = False
    def commit(self): pass
    def rollback(self): pass
    def close(self):
        self.closed = True
        told.append("closed")
    def __del__(self):
        if not self.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning)

def no_threads(*_, **__):
    raise RuntimeError("can't create new thread at interpreter shutdown")

def end_of_threads():
    import _thread
    _thread.start_new_thread = no_threads
    for name in ("_start_new_thread", "_start_joinable_thread"):  # before Python 3.13, and since
        if hasattr(threading, name):
            setattr(threading, name, no_threads)

pool = Pool(Connection, opener=opener, max_size=3, check_after=0.0, check=lambda _: True)
"""


@OPENERS
@THREADS
@pytest.mark.parametrize("min_idle", [0, 2])
def test_what_is_idle_is_closed_at_exit(min_idle: int, threads: str, opener: str) -> None:
    """Of a pool that was never closed: no driver warns of it, and nothing is opened instead."""
    output = run_script(
        BEGIN
        + f"""
from pool.threads import exits
exits.PATIENCE = {PATIENCE}
if opener == "background":
    pool.resize(min_idle={min_idle})
leases = [pool.acquire(60) for _ in range(3)]
for lease in leases:
    lease.release()
del leases, lease
if sys.argv[2] == "no threads at exit":
    atexit.register(end_of_threads)
""",
        opener,
        threads,
        "the end",
    )
    assert output == "closed closed closed 0\n"


@OPENERS
@THREADS
@pytest.mark.parametrize("used", ["used", "not used before"])
def test_a_pool_that_is_closed_at_exit(used: str, threads: str, opener: str) -> None:
    """By a handler of the program, which may also use it once more."""
    output = run_script(
        BEGIN
        + """
def close():
    if sys.argv[2] == "no threads at exit":
        end_of_threads()
    for _ in range(2):
        leases = [pool.acquire(60), pool.acquire(0 if opener == "caller" else 60)]
        for lease in leases:
            lease.release()
    assert pool.close(1000)  # longer than the test waits: so it has to be done at once
    print(*told)

atexit.register(close)
if "used" in sys.argv:
    pool.acquire(60).release()
""",
        opener,
        threads,
        used,
    )
    assert output == "closed closed\n"


def test_an_exit_does_not_hang_on_a_close() -> None:
    """Of a database that does not answer: with threads of the pool's own, for a second."""
    output = run_script(
        BEGIN
        + """
began = time.monotonic()
atexit.register(lambda: None)
Connection.close = lambda self: setattr(self, "closed", True) or threading.Event().wait(600)
pool.acquire(60).release()
print("the end")
""",
        "background",
    )
    assert output == "the end\n"


def test_sqlite3_at_exit_without_threads() -> None:
    """Its first connect is asked from another thread whether it is bound to its own: there is none
    any more."""
    output = run_script(
        """
import _thread, atexit, sqlite3, threading
from pool import Pool

def last():
    def start(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    threading.Thread.start = _thread.start_new_thread = start
    with pool.connection(60) as connection:
        print(*connection.execute("select 1").fetchone())

pool = Pool(lambda: sqlite3.connect(":memory:", check_same_thread=False), opener="caller")
atexit.register(last)
"""
    )
    assert output == "1\n"


# ---------------------------------------------------------------- the handler itself


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler, with no other pool in this program than those that begin now."""
    monkeypatch.setattr(exits, "_runtimes", weakref.WeakSet())
    monkeypatch.setattr(exits, "PATIENCE", PATIENCE)
    return exits.close_what_is_idle


@OPENERS
def test_the_handler_closes_what_is_idle_and_nothing_else(opener: str, ending: Any) -> None:
    settings: dict[str, Any] = {"min_idle": 2} if opener == "background" else {}
    with scripted(3, opener=opener, **settings) as pool, scripted(1, opener=opener) as other:
        lent = pool.acquire()
        pool.acquire().release()
        other.acquire().release()
        until(lambda: pool.statistics().idle >= 1 and not pool.statistics().opening)
        idle = pool.statistics().idle
        limits = pool.runtime.state.limits
        ending()
        assert [c.closed for c in pool.driver.opened].count(1) == idle
        assert lent.connection.closed == 0
        assert pool.runtime.state.limits == attrs.evolve(limits, min_idle=0)
        assert (pool.statistics().idle, pool.statistics().opening) == (0, 0)
        assert [c.closed for c in other.driver.opened] == [1], "each pool's"
        lent.release()
        pool.acquire().release()  # the handlers still to come may use it


def test_the_handler_waits_for_what_is_being_closed(
    ending: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not leave its driver in the middle of its last words."""
    monkeypatch.setattr(exits, "PATIENCE", FOR_EVER)
    with scripted(1, opener="background") as pool:
        gate = pool.driver.on_close = Gate()
        pool.acquire().release()
        handler = threading.Thread(target=ending, daemon=True)
        handler.start()
        until(lambda: gate.standing == 1)
        until(lambda: len(pool.runtime.monitor.onlookers) == 1)
        assert handler.is_alive()
        gate.open()
        with soon():
            handler.join()


@pytest.mark.parametrize("patience", [0.0, 0.2])
def test_the_handler_does_not_wait_for_ever(
    patience: float, ending: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "PATIENCE", patience)
    with scripted(1, opener="background") as pool:
        gate = pool.driver.on_close = Gate()
        pool.acquire().release()
        with soon():
            ending()
        until(lambda: gate.standing == 1)
        gate.open()


@pytest.mark.parametrize(("later", "least", "most"), [(-5.0, 0.0, 0.0), (900.0, 1.0, 900.0)])
def test_the_handler_waits_for_what_is_left(later: float, least: float, most: float) -> None:
    left: list[float] = []
    runtime: Any = SimpleNamespace(
        monitor=None, wait_until=lambda holds, seconds: left.append(seconds)
    )
    exits._await_closes(runtime, time.monotonic() + later)
    assert least <= left[0] <= most


def test_the_handler_goes_on_to_the_other_pools(
    ending: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: Any = None
    plain = exits._close_idle

    def close(runtime: Any) -> None:
        if runtime is wrong:
            raise OSError("no more of that")
        plain(runtime)

    monkeypatch.setattr(exits, "_close_idle", close)
    with scripted(1, opener="caller") as pool, scripted(1, opener="caller") as broken:
        for one in (broken, pool):
            wrong = one.runtime
            for each in (pool, broken):
                each.acquire().release()
            caplog.clear()
            ending()
            (record,) = caplog.records
            assert record.levelno == logging.WARNING
            assert "at exit" in record.getMessage()
            assert record.exc_info is not None
            assert "no more of that" in str(record.exc_info[1])
            assert [each.statistics().idle for each in (pool, broken)].count(0) == 1


def test_a_pool_that_is_gone_or_closed_is_left_alone(ending: Any) -> None:
    gone = Scripted(1, opener="caller")
    with scripted(1, opener="caller") as pool:
        pool.close()
        before = pool.runtime.state
        del gone
        gc.collect()
        ending()
        assert pool.runtime.state is before


INSIDE = """
import logging, sys, threading, warnings
sys.path[:] = {path!r}
from pool import Pool

opened = []

class Connection:
    closed = False
    def __init__(self): opened.append(self)
    def commit(self): pass
    def rollback(self): pass
    def close(self): self.closed = True
    def __del__(self):
        if not self.closed:
            print("not closed")

def work():
    for _ in range(20):
        with pool.connection(5):
            pass

settings = {"min_idle": 1} if {opener!r} == "background" else {}
settings.update(opener={opener!r}, max_size=2, check_after=0.0, check=lambda _: True)
pool = Pool(Connection, **settings)
threads = [threading.Thread(target=work, daemon=False) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
logging.getLogger("pool").addHandler(logging.NullHandler())
pool.acquire(60)  # lost, and told
pool.acquire(60).release()
if {close!r}:
    assert pool.close(60)
print("well", flush=True)
"""

OUTSIDE = """
import sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
code = sys.argv[1].replace("PATH", repr(sys.path))
if sys.version_info >= (3, 13):
    import _interpreters
    interpreter = _interpreters.create("isolated")
    failed = _interpreters.exec(interpreter, code)
    if failed:
        print(failed.errdisplay)
    _interpreters.destroy(interpreter)
else:
    import _xxsubinterpreters
    interpreter = _xxsubinterpreters.create(isolated=True)
    _xxsubinterpreters.run_string(interpreter, code)
    _xxsubinterpreters.destroy(interpreter)
"""


@OPENERS
@pytest.mark.parametrize("close", [True, False], ids=["closed", "never closed"])
@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python has one GIL for all before 3.12")
def test_in_a_subinterpreter_with_a_gil_of_its_own(close: bool, opener: str) -> None:
    """It is imported and used there, and that interpreter can end."""
    code = INSIDE.replace("{path!r}", "PATH").replace("{opener!r}", repr(opener))
    code = code.replace("{close!r}", repr(close))
    assert run_script(OUTSIDE, code) == "well\n"


@OPENERS
def test_without_daemons_and_some_modules(opener: str) -> None:
    """As in such an interpreter: no `ctypes`, the map is the one that is written in Python, and
    the program waits for every thread at its end."""
    output = run_script(
        """
import sys, threading
sys.modules["_ctypes"] = sys.modules["immutables"] = None
plain = threading.Thread.__init__

def init(self, *arguments, daemon=None, **named):
    if daemon:
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")
    plain(self, *arguments, daemon=daemon, **named)

threading.Thread.__init__ = init
exec(sys.argv[1])
assert "ctypes" not in sys.modules
import sqlite3
with Pool(lambda: sqlite3.connect(":memory:", check_same_thread=False), **settings) as other:
    with other.connection(60) as connection:  # by another name: the first pool is still there
        connection.execute("select 1")
with Pool(lambda: sqlite3.connect(":memory:"), opener="caller") as other:
    try:
        other.acquire(60)
    except Exception as error:
        assert "check_same_thread=False" in str(error)
    else:
        print("it is bound to its thread")
""",
        INSIDE.replace("{path!r}", repr(sys.path))
        .replace("{opener!r}", repr(opener))
        .replace("{close!r}", "False"),
    )
    assert output == "well\n"
