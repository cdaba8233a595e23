"""A driver, hooks and listeners of which everything raises, in everything that a pool does.

Theory.  What can be seen from outside is the same for all of it: each call has one outcome, which
is a connection or one of the errors that the method names; every connection is closed once; and
when the driver works again, all of the capacity is there.  Each transition is checked meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool import OpenError, Pool, PoolError, PoolTimeout
from pool.core.text import kind_of
from tests.integration.drivers import (
    PATIENCE,
    Call,
    Connection,
    assert_sound,
    lent,
    nothing,
    until,
    watch,
)
from tests.integration.hostile import (
    Answer,
    Base,
    HostileError,
    HostileExit,
    Trap,
    striking,
    without_attributes,
    without_class,
)
from tests.integration.pools import is_whole

OPENERS = pytest.mark.parametrize("opener", ["caller", "background"])

HOOKS = ("connect", "check", "reset", "configure", "close")
KINDS = ("connect", "checkout", "checkin", "close", "refuse", "leak")
PLACES = [*HOOKS, *(f"listener {kind}" for kind in KINDS if kind != "connect")]


class Driver:
    """Functions for a pool: what is scripted for a place, or nothing special."""

    def __init__(self, connection: Callable[[], Any] = Base) -> None:
        self.make = connection
        self.opened: list[Any] = []
        self.closes: Counter[int] = Counter()
        self.scripts: dict[str, Callable[[], Any]] = {}
        self.calls: Counter[str] = Counter()

    def at(self, place: str) -> Any:
        self.calls[place] += 1
        script = self.scripts.get(place)
        return script() if script else None

    def connect(self) -> Any:
        self.at("connect")
        connection = self.make()
        self.opened.append(connection)
        return connection

    def close(self, connection: Any) -> None:
        self.closes[id(connection)] += 1
        self.at("close")

    def hook(self, place: str) -> Callable[[Any], Any]:
        return lambda _: self.at(place)

    def settings(self) -> dict[str, Any]:
        hooks = {name: self.hook(name) for name in ("check", "reset", "configure")}
        listeners = {kind: self.hook(f"listener {kind}") for kind in KINDS}
        return {**hooks, "close": self.close, "listeners": listeners}


@contextlib.contextmanager
def pooled(driver: Driver, opener: str, **settings: Any) -> Iterator[Pool[Any]]:
    """A pool that is whole at the end, and has then closed each connection once."""
    given = {
        "max_size": 2, "check_after": 0.0, "timeout": PATIENCE, "backoff_initial": 0.001,
        "backoff_max": 0.001, **driver.settings(), **settings,
    }  # fmt: skip
    pool: Pool[Any] = Pool(driver.connect, opener=opener, **given)
    broken = watch(pool._runtime)
    yield pool
    driver.scripts.clear()
    # What a caller left behind that did not wait still fails, and would refuse whoever waits.
    until(lambda: pool.statistics().opening == 0)
    gc.collect()
    until(lambda: not lent(pool))
    is_whole(pool, 2)
    assert pool.close(PATIENCE)
    assert_sound(pool)
    assert broken == []
    until(lambda: len(driver.closes) == len(driver.opened))
    assert set(driver.closes.values()) == {1}
    statistics = pool.statistics()
    assert statistics.opened == statistics.closed


class Nowhere(io.TextIOBase):
    """Never closed: a thread of a pool may still be at its last line."""

    def write(self, text: str) -> int:
        return len(text)


@pytest.fixture(autouse=True)
def shouting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything is logged, by a handler that makes text of it and one whose filter raises; and no
    thread ends by an exception."""
    deaths: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: deaths.append(told.exc_type.__name__))
    logger = logging.getLogger("pool")
    handlers = [logging.StreamHandler(Nowhere()), logging.StreamHandler(Nowhere())]
    handlers[1].addFilter(_broken_filter)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    for handler in handlers:
        logger.addHandler(handler)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    yield deaths
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(level)
    assert deaths == []


def _broken_filter(record: logging.LogRecord) -> bool:
    raise LookupError("a filter")


def raising(kind: Any) -> Callable[[], Any]:
    def script() -> Any:
        raise kind

    return script


def outcomes(pool: Pool[Any], expected: tuple[type[BaseException], ...]) -> Counter[str]:
    """Everything that a program does with a pool, once; what became of each."""
    seen: Counter[str] = Counter()

    @contextlib.contextmanager
    def tried(what: str) -> Iterator[None]:
        try:
            yield
        except expected as error:
            seen[kind_of(error)] += 1
        else:
            seen[what] += 1

    for timeout in (PATIENCE, 0.0):  # the first is far more than it takes
        with tried("acquired"):
            lease = pool.acquire(timeout)
            try:
                repr(lease), repr(pool), str(pool.holders()), repr(pool.statistics())
            finally:
                lease.release()
        with tried("in a block"), pool.connection(timeout):
            pass
        with tried("in a lease's block"), pool.acquire(timeout):
            pass
        with tried("discarded"):
            pool.acquire(timeout).discard()
        with tried("lost"):
            pool.acquire(timeout)
    for method in ("drain", "suspend", "resume"):
        with tried(method):
            getattr(pool, method)()
    with tried("resized"):
        pool.resize(1)
    with tried("resized"):
        pool.resize(2)
    with tried("awaited"):
        pool.wait(1.0)
    with tried("looked at"):
        repr(pool), repr(pool.statistics()), repr(pool.holders())
    return seen


ALLOWED: dict[str, tuple[type[BaseException], ...]] = {
    "caller": (PoolError, HostileExit),  # its own thread is struck by what is no `Exception`
    "background": (PoolError,),
}


@OPENERS
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [HostileError, HostileExit], ids=["an error", "an exit"])
def test_everything_raises_in_one_place(place: str, kind: Any, opener: str) -> None:
    """In one of its functions. What is no `Exception` goes through where it is the caller's own
    thread: its hooks at checkin and the listeners there, and all of it with `opener="caller"`."""
    driver = Driver()
    allowed = ALLOWED[opener]
    on_own_thread = place in ("reset", "listener checkin", "listener checkout", "listener refuse")
    if kind is HostileExit and on_own_thread:
        allowed = (PoolError, HostileExit)
    with pooled(driver, opener, leak_after=0.001) as pool:
        driver.scripts[place] = raising(kind)
        outcomes(pool, allowed)
        until(lambda: driver.calls[place] or place in ("listener leak", "listener refuse"))


DBAPI = {"commit", "rollback", "close", "closes"}
SHAPES: dict[str, Callable[[type[BaseException]], Any]] = {
    "special methods and properties": striking,
    "its class": without_class,
    "what is no method of PEP 249": lambda kind: without_attributes(kind, DBAPI.__contains__),
    "every attribute": lambda kind: without_attributes(kind, lambda _: False),
}


@OPENERS
@pytest.mark.parametrize("hooks", [True, False], ids=["own hooks", "the recipe"])
@pytest.mark.parametrize("kind", [Trap, KeyboardInterrupt])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_connection_that_can_be_asked_nothing(
    shape: str, kind: Any, hooks: bool, opener: str
) -> None:
    """A pool has no need to ask it. But an exception that is none of its own goes through: it is
    an interrupt, and ends the connect."""
    driver = Driver(SHAPES[shape](kind))
    settings = {} if hooks else dict.fromkeys(("check", "reset", "configure", "listeners"))
    struck = kind is KeyboardInterrupt and opener == "caller"
    with pooled(driver, opener, leak_after=0.001, **settings) as pool:
        seen = outcomes(pool, (KeyboardInterrupt,) if struck else (PoolError,))
        if kind is Trap:
            assert seen["acquired"] >= 1 <= seen["in a block"]
            assert seen["OpenError"] == 0
        else:
            assert seen["acquired"] == seen["in a block"] == 0
            assert seen[kind_of(kind()) if struck else "OpenError"] >= 5
        driver.make = Base
        pool.drain()


@OPENERS
def test_a_connect_listener_is_interrupted(opener: str) -> None:
    """The connection is not in the pool yet: it is closed, and its caller or the next is served."""
    driver = Driver()
    with pooled(driver, opener) as pool:
        driver.scripts["listener connect"] = raising(KeyboardInterrupt)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt if opener == "caller" else OpenError):
                pool.acquire()
        until(lambda: len(driver.closes) == len(driver.opened) >= 3)
        assert pool.statistics().opened == 0


@OPENERS
@pytest.mark.parametrize("place", PLACES)
def test_an_answer_that_can_be_asked_nothing(place: str, opener: str) -> None:
    """A hook's answer is compared with False by identity; a listener's is dropped."""
    driver = Driver()
    with pooled(driver, opener) as pool:
        driver.scripts[place] = Answer
        seen = outcomes(pool, (PoolError,))
        assert seen["acquired"] + seen["in a block"] >= 2


@OPENERS
@pytest.mark.parametrize("kind", [HostileError, HostileExit], ids=["an error", "an exit"])
def test_a_wait_is_served_when_connects_work_again(kind: Any, opener: str) -> None:
    """Callers wait meanwhile. One outcome each: an error or a connection."""
    driver = Driver()
    with pooled(driver, opener) as pool:
        pool.acquire().discard()
        driver.scripts["connect"] = raising(kind)
        calls = [Call(_turn, pool) for _ in range(8)]
        until(lambda: driver.calls["connect"] >= 4)
        driver.scripts.clear()
        assert {call.result() for call in calls} <= {"served", "OpenError", "HostileExit"}
        assert pool.statistics().waiting == 0
        # The last connect may outlive the callers: they were served by what others gave back.
        until(lambda: pool.statistics().opening == 0)


def _turn(pool: Pool[Any]) -> str:
    try:
        pool.acquire().release()
    except (OpenError, HostileExit) as error:
        return kind_of(error)
    return "served"


LONG = "no route " * 1_200_000


@OPENERS
def test_a_message_of_ten_megabytes(opener: str, caplog: pytest.LogCaptureFixture) -> None:
    """Is cut for those who are refused; the cause has the whole of it."""
    driver = Driver()
    with pooled(driver, opener) as pool:
        driver.scripts["connect"] = raising(OSError(LONG))
        with pytest.raises(OpenError, match=r"no route.*characters in all\)") as caught:
            pool.acquire()
        assert len(str(caught.value)) < 2000
        assert str(caught.value.__cause__) == LONG
        assert len(pool.statistics().last_error or "") < 2000
        assert all(len(record.getMessage()) < 2000 for record in caplog.records)


class Nameless:
    """It can be called, and asked nothing."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")

    def __call__(self) -> Connection:
        return Connection(1)


class Unreadable(str):
    """A name that cannot be shown, nor asked whether there is one."""

    def __str__(self) -> str:
        raise RuntimeError("shown")

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        raise RuntimeError("shown")

    def __len__(self) -> int:
        raise RuntimeError("measured")


@pytest.mark.parametrize("name", [None, Unreadable("mine")], ids=["none", "unreadable"])
def test_what_a_pool_is_called(name: Any) -> None:
    """By its name, or that of the function; whatever may come of asking for it."""
    with Pool(Nameless(), max_size=1, opener="caller", name=name, close=nothing) as pool:
        called = "mine" if name is not None else "Nameless"
        assert (type(pool.name), pool.name) == (str, called)
        with pool.acquire(), pytest.raises(PoolTimeout, match=f"^pool '{called}': "):
            pool.acquire(0)
        assert called in repr(pool)


def test_a_thread_with_a_long_name() -> None:
    with Pool(lambda: Connection(1), max_size=1, opener="caller", close=nothing) as pool:
        thread = threading.current_thread()
        before = thread.name
        thread.name = "x" * 10_000_000
        try:
            with pool.acquire(), pytest.raises(PoolTimeout) as caught:
                pool.acquire(0)
        finally:
            thread.name = before
        assert len(str(caught.value)) < 2000
