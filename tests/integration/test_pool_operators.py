"""What an operator sees of a pool: who is named in an error, and what is logged.

Theory.  An error is read by somebody who was not there.  So each test makes a situation that
tempts the pool to say something wrong, or nothing, and reads what it says.
"""

from __future__ import annotations

import _thread
import gc
import importlib.util
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from pool import Lease, Pool, PoolTimeout
from pool.shared import holders
from tests.integration.drivers import PATIENCE, Call, Connection, Gate, nothing, run_script, until
from tests.integration.pools import Scripted, scripted

FAR = 1000.0
BRIEFLY = 0.001
TRIES = 30
"""Threads that are alive together, so that each number that is free has to be given."""

SCENES = 50
"""Threads that take a connection and end, until the number of one is used again."""


def refused(pool: Scripted, timeout: float = 0) -> str:
    """What the pool tells a caller who gets nothing."""
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire(timeout)
    return str(caught.value)


def in_a_foreign_thread(function: Callable[[], Any]) -> int:
    """Call it on a thread that `threading` did not start; the number of that thread."""
    over, numbers = threading.Event(), []

    def run() -> None:
        numbers.append(threading.get_ident())
        function()
        over.set()

    _thread.start_new_thread(run, ())
    assert over.wait(PATIENCE)
    return int(numbers[0])


def in_a_thread(function: Callable[[], Any]) -> int:
    thread = threading.Thread(target=function, name="the culprit")
    thread.start()
    number = thread.ident
    thread.join(PATIENCE)
    assert number is not None
    return number


# ---------------------------------------------------------------- who is named


@pytest.mark.parametrize("start", [in_a_thread, in_a_foreign_thread])
def test_a_number_that_is_used_again_blames_nobody(start: Callable[[Any], int]) -> None:
    """A thread takes a connection and ends, and another one gets its number.

    Which number a new thread gets is the system's affair. One that somebody else has got meanwhile,
    and keeps, does not come back: then the scene is played again, with another number.
    """
    for _ in range(SCENES):
        with scripted(1) as pool:
            leases: list[Lease[Any]] = []
            number = start(lambda leases=leases, pool=pool: leases.append(pool.acquire()))
            (culprit,) = pool.holders()
            until(lambda pool=pool: "has ended" in pool.holders()[0].thread)
            told = what_is_told_to(number, pool)
            leases[0].release()
        if told is not None:
            break
    else:
        pytest.fail("no thread got the number of one that had ended")
    assert culprit.thread in told
    assert "(a thread that has ended)" in told
    assert "the innocent" not in told
    assert "this thread" not in told


def what_is_told_to(number: int, pool: Scripted) -> str | None:
    """What a thread with that number is told when it is refused; None if no new one gets it."""
    told: list[str] = []
    over = threading.Event()
    threads = []

    def innocent(begun: threading.Event) -> None:
        if threading.get_ident() == number:
            told.append(refused(pool))
        begun.set()
        over.wait(PATIENCE)

    for _ in range(TRIES):
        begun = threading.Event()
        threads.append(threading.Thread(target=innocent, name="the innocent", args=(begun,)))
        threads[-1].start()
        assert begun.wait(PATIENCE)
        if told:
            break
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    return told[0] if told else None


def test_the_name_is_that_of_the_time_when_it_was_taken() -> None:
    """A worker that is named after its job: the job that took the connection is told."""
    with scripted(2) as pool:
        leases = []
        renamed, over = threading.Event(), threading.Event()

        def work() -> None:
            thread = threading.current_thread()
            for job in ("job 1", "job 2"):
                thread.name = job
                leases.append(pool.acquire())
            thread.name = "job 3"
            renamed.set()
            over.wait(PATIENCE)

        worker = Call(work)
        assert renamed.wait(PATIENCE)
        assert [holding.thread for holding in pool.holders()] == [
            "thread 'job 1'",
            "thread 'job 2'",
        ]
        over.set()
        worker.result()
        for lease in leases:
            lease.release()


def test_a_thread_without_a_name_where_it_is_expected() -> None:
    """Whatever stands in the place of `threading`, and keeps the name somewhere else."""
    name = threading.current_thread().name
    assert holders._Nameless()._name == name


def test_the_one_who_is_told_that_it_holds_it_itself() -> None:
    """Also when it is not among those that hold longest, and so would not be named."""
    with scripted(holders.MOST + 2) as pool, ExitStack() as stack:
        gate = Gate()

        def hold() -> None:
            with pool.acquire():
                gate()

        others = [Call(hold) for _ in range(holders.MOST + 1)]
        until(lambda: gate.standing == len(others))
        stack.enter_context(pool.acquire())
        name = threading.current_thread().name
        assert f"held by this thread {name!r} for " in refused(pool)
        assert [holding.is_here for holding in pool.holders()] == [False] * len(others) + [True]
        assert "this thread" not in Call(refused, pool).result()
        gate.open()
        for other in others:
            other.result()


def test_its_line_is_told_where_it_is_known() -> None:
    with scripted(1, leak_after=FAR) as pool, pool.acquire():
        line = sys._getframe().f_lineno - 1
        assert f" at {__file__}:{line} in test_its_line_is_told" in refused(pool)


def test_a_thread_asks_while_it_is_introduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a signal handler, for one: both are the same thread."""
    first: list[holders.Thread] = []
    plain = holders.Thread.__init__

    def interrupted(thread: holders.Thread) -> None:
        if not first:
            monkeypatch.setattr(holders.Thread, "__init__", plain)
            first.append(holders.introduce())
        plain(thread)

    monkeypatch.setattr(holders.Thread, "__init__", interrupted)
    assert Call(holders.introduce).result() is first[0]
    assert len(first) == 1


@contextmanager
def idle_threads(count: int) -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=over.wait, args=(PATIENCE,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def cost_of_a_refusal(pool: Pool[Any], timeout: float = 0) -> int:
    """How many functions are called for it, in Python and in C. Not the time, which depends on who
    else is at work; nor the interpreter's own steps, of which 3.12.1 has shown none at times."""
    calls = 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.disable()  # a finalizer of something else would be counted
    sys.setprofile(count)
    try:
        with suppress(PoolTimeout):
            pool.acquire(timeout)
            pytest.fail("it was not refused")
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@contextmanager
def exhausted(size: int) -> Iterator[Pool[Any]]:
    """All that there is is held by this thread."""
    numbers = itertools.count(1)
    with (
        Pool(
            lambda: Connection(next(numbers)), max_size=size, opener="caller", close=nothing
        ) as pool,
        ExitStack() as stack,
    ):
        for _ in range(size):
            stack.enter_context(pool.acquire())
        yield pool


def least_cost(pool: Pool[Any], timeout: float = 0, before: Callable[[], Any] = nothing) -> int:
    """Of several refusals: the first finds out who holds what, and now and then one is logged."""
    costs = []
    for _ in range(4):
        before()
        costs.append(cost_of_a_refusal(pool, timeout))
    return min(costs)


def test_what_a_refusal_costs_is_the_same_among_many_threads() -> None:
    with exhausted(5) as pool:
        few = least_cost(pool)
        with idle_threads(100):
            assert least_cost(pool) == few > 100


@pytest.mark.parametrize("timeout", [0, BRIEFLY])
def test_what_a_refusal_costs_is_the_same_among_many_holders(timeout: float) -> None:
    """As long as nobody takes or returns, who holds what need not be found out again."""

    def cost(size: int) -> int:
        with exhausted(size) as pool:
            return least_cost(pool, timeout)

    assert 100 < cost(1000) < 1.2 * cost(50)


def test_what_a_refusal_costs_is_the_same_when_another_pool_refuses_too() -> None:
    with exhausted(1000) as pool, exhausted(5) as another:
        alone = least_cost(pool)
        assert least_cost(pool, before=lambda: cost_of_a_refusal(another)) == alone > 100


def test_who_holds_what_is_remembered_only_while_it_is_true() -> None:
    for _ in range(20):
        with exhausted(5) as pool:
            cost_of_a_refusal(pool)
    gone = [ranking for ranking in holders._rankings.values() if ranking.in_use() is None]
    assert len(gone) < 10


def test_those_named_are_those_who_hold_now() -> None:
    with scripted(6, opener="caller") as pool:
        leases = [Call(pool.acquire).result() for _ in range(6)]
        assert "thread 'MainThread'" not in refused(pool)
        leases.pop().release()
        leases.append(pool.acquire())
        for _ in range(2):
            text = refused(pool)
            assert text.index("this thread 'MainThread'") < text.index("thread 'Thread-")
            assert text.count("MainThread") == 1
            assert text.endswith("and 1 more)")
        leases.pop().release()
        with pool.acquire():
            assert "this thread 'MainThread'" in refused(pool)
        for lease in leases:
            lease.release()


def test_the_caller_is_named_once_though_it_holds_longest() -> None:
    with scripted(2, opener="caller") as pool, pool.acquire(), Call(pool.acquire).result():
        assert refused(pool).count("MainThread") == 1


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="needs gevent (extra `dev`)")
def test_greenlets_are_told_apart() -> None:
    """Each by the name that `threading` gives it, which is "Dummy" and a number; one that has ended
    is not taken for another, and who asks is told that it is the one."""
    output = run_script(
        """
import warnings
warnings.simplefilter("ignore")  # gevent's own
import gevent, gevent.monkey
gevent.monkey.patch_all()
import logging, threading
from pool import Pool, PoolTimeout

class Connection:
    def commit(self): pass
    rollback = close = commit

logging.getLogger("pool").addHandler(logging.NullHandler())
pool = Pool(Connection, max_size=3, opener="caller")
kept, names = [], []

def take():
    names.append(threading.current_thread().name)
    kept.append(pool.acquire())

def ask(over):
    take()
    try:
        pool.acquire(0)
    except PoolTimeout as error:
        kept.append(str(error))
    over.wait()

over = gevent.event.Event()
gevent.spawn(take).join()
here = gevent.spawn(ask, over)
take()
gevent.sleep(0)
text = kept.pop()
first, main, asks = names
assert len({first, asks, main}) == 3, names
assert f"thread {first!r} (a thread that has ended) for" in text, text
assert f"this thread {asks!r} for" in text, text
assert f"this thread {main!r}" not in text, text
over.set()
here.join()
print("well")
"""
    )
    assert output == "well\n"
