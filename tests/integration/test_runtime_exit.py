"""Programs that end, or run on gevent: each in an interpreter of its own.

Theory.  A pool must not be what keeps a program from ending, or what makes it end with a traceback.
So scripts end in the middle of everything, with warnings as errors, and what they leave on
stderr is compared with nothing at all.
"""

from __future__ import annotations

import importlib.util

import pytest

from tests.integration.drivers import run_script

BEGIN = """
import sys, threading
from pool import Limits
from pool.threads.runtime import Runtime
from tests.integration.drivers import Gate, ScriptedDriver, until, waiting

opener = sys.argv[1]
runtime = Runtime(ScriptedDriver(), Limits(max_size=2, opener=opener))

def start(function):
    threading.Thread(target=function, daemon=True).start()
"""

ENDS = {
    "never used": "",
    "never closed": """
handle = runtime.acquire(5)
runtime.release(handle)
""",
    "with leases held": """
handles = [runtime.acquire(5) for _ in range(2)]
""",
    "with a lost handle": """
runtime.acquire(5)
""",
    "with handles in a cycle": """
cycle = [runtime.acquire(5)]
cycle.append(cycle)
del cycle
""",
    "with callers that wait": """
handles = [runtime.acquire(5) for _ in range(2)]
for _ in range(3):
    start(runtime.acquire)
until(lambda: waiting(runtime) == 3)
""",
    "with a connect that hangs": """
gate = Gate()
runtime.driver.on_connect = gate
start(runtime.acquire)
until(lambda: gate.standing)
""",
    "with a close that hangs": """
handle = runtime.acquire(5)
gate = Gate()
runtime.driver.on_close = gate
start(lambda: runtime.discard(handle))
until(lambda: gate.standing)
""",
    "in the middle of everything": """
def work():
    while True:
        runtime.release(runtime.acquire())
for _ in range(4):
    start(work)
until(lambda: len(runtime.driver.opened) >= 1)
""",
    "by an error": """
handle = runtime.acquire(5)
try:
    raise LookupError("a bug of the program")
except LookupError as error:
    kept = error
""",
    "with a thread that holds one": """
def work():
    handle = runtime.acquire(5)
    threading.local().handle = handle
thread = threading.Thread(target=work)
thread.start()
thread.join()
""",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("opener", ["caller", "background"])
def test_a_program_ends_quietly(opener: str, end: str) -> None:
    output = run_script(BEGIN + ENDS[end] + "\nprint('the end')\n", opener)
    assert output == "the end\n"


@pytest.mark.parametrize("end", ["idle", "lent", "in a transaction", "in a thread"])
def test_a_program_with_peewee_ends_quietly(end: str, tmp_path: object) -> None:
    output = run_script(
        """
import sys, threading, warnings
warnings.filterwarnings("ignore", category=ResourceWarning)  # of sqlite3, from Python 3.13 on
from pool.peewee import PooledSqliteDatabase
database = PooledSqliteDatabase(sys.argv[1], max_connections=2)
database.execute_sql("create table numbers (number integer)")
match sys.argv[2]:
    case "idle":
        database.close()
    case "in a transaction":
        database.begin()
        database.execute_sql("insert into numbers values (1)")
    case "in a thread":
        thread = threading.Thread(target=database.connection)
        thread.start()
        thread.join()
print("the end")
""",
        f"{tmp_path}/file.db",
        end,
    )
    assert output == "the end\n"


gevent = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="needs gevent (extra `dev`)"
)

GEVENT = """
import warnings
warnings.simplefilter("ignore")  # gevent's own
import gevent, gevent.monkey
gevent.monkey.patch_all()
"""


@gevent
@pytest.mark.parametrize("opener", ["caller", "background"])
def test_under_gevent(opener: str) -> None:
    """Sixteen greenlets take turns on three connections whose driver lets others run, one of them
    is killed while it waits and one while it holds a connection, and all is there in the end."""
    output = run_script(
        GEVENT
        + """
import gc, sys, threading, time
from pool import Limits
from pool.threads.runtime import Runtime
from tests.integration.drivers import ScriptedDriver, assert_sound, park, until, waiting, watch

driver = ScriptedDriver()
for hook in ("on_connect", "on_alive", "on_reset", "on_close"):
    setattr(driver, hook, lambda *_: gevent.sleep(0.0001))
runtime = Runtime(driver, Limits(max_size=3, opener=sys.argv[1]))
broken = watch(runtime)
turns = []

def work(number):
    for turn in range(20):
        handle = runtime.acquire(200)
        gevent.sleep(0)
        turns.append(number)
        (runtime.discard if turn % 5 == 4 else runtime.release)(handle)

greenlets = [gevent.spawn(work, number) for number in range(16)]
gevent.joinall(greenlets, timeout=200, raise_error=True)
assert len(turns) == 320, len(turns)

handles = [runtime.acquire(200) for _ in range(3)]
waiter = gevent.spawn(runtime.acquire)
until(lambda: waiting(runtime) == 1)
waiter.kill()
assert waiting(runtime) == 0

for handle in handles:
    runtime.release(handle)
del handle, handles

def hold():
    handle = runtime.acquire(200)
    gevent.sleep(1000)

holder = gevent.spawn(hold)
until(lambda: len(runtime.state.in_use) == 1)
holder.kill()
del holder
gc.collect()
until(lambda: not runtime.state.in_use)
handles = [runtime.acquire(200) for _ in range(3)]
for handle in handles:
    runtime.release(handle)
assert_sound(runtime)
assert broken == [] and driver.mistakes == []
assert max(connection.closed for connection in driver.opened) == 1
print("well")
""",
        opener,
    )
    assert output == "well\n"


@gevent
def test_peewee_under_gevent(tmp_path: object) -> None:
    """The drop-in: greenlets are threads to it, each with a connection of its own."""
    output = run_script(
        GEVENT
        + """
import sys
import peewee
from pool.peewee import PooledSqliteDatabase
database = PooledSqliteDatabase(sys.argv[1], max_connections=2, timeout=200)
seen = []

def work(number):
    for _ in range(10):
        with database.connection_context():
            assert database.execute_sql("select ?", (number,)).fetchone() == (number,)
            seen.append(id(database.connection()))
            gevent.sleep(0)

gevent.joinall([gevent.spawn(work, number) for number in range(10)], timeout=200, raise_error=True)
assert len(seen) == 100 and len(set(seen)) <= 2, set(seen)
database.close_all()
print("well")
""",
        f"{tmp_path}/file.db",
    )
    assert output == "well\n"
