"""What an operator reads, each value of it, and once where that is meant.

Theory.  `test_pool_logging.py` lets pools run into trouble. Here the journal itself is told of it,
so that each value in a line is known, and what is the same from elsewhere is told apart.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import Any

import pytest

from pool import Acquire, Limits, Opened, PoolTimeout, initial, step
from pool.core.state import leased
from pool.shared.journal import CONNECT_FAILED, QUIET, UNREACHED, Burst, Journal, Leak, Outage
from pool.shared.journal import _is_for_holders as is_for_holders
from pool.shared.journal import _runs_a_loop as runs_a_loop
from tests.integration.drivers import FOR_EVER, Call, until, waiting
from tests.integration.pools import scripted


@pytest.fixture
def journal() -> Journal:
    return Journal("shop")


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


# ---------------------------------------------------------------- bursts


def test_a_burst_ends_with_a_pause() -> None:
    burst = Burst()
    assert [burst.begins(at) for at in (5.0, 5.0, 14.0, 23.9)] == [True, False, False, False]
    assert burst.begins(23.9 + QUIET) is True, "so long, and no longer, is a pause"
    assert burst.begins(23.9 + QUIET) is False


def test_of_two_who_begin_one_burst_one_does() -> None:
    """Both have read that there was none before either has noted its own."""
    burst = Burst()
    assert burst.begins(1.0) is True
    burst._last = None  # as the second one read it
    assert burst.begins(1.0) is False
    assert burst.begins(100.0) is True
    burst._last = 1.0
    assert burst.begins(100.0) is False


# ---------------------------------------------------------------- bugs


def fail(text: str = "a bug") -> Any:
    raise TypeError(text)


def caught(function: Any) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


def test_a_bug_is_told_once_for_each_hook_kind_and_line(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    def others() -> None:
        raise LookupError("a bug") if caplog else TypeError

    def more() -> None:
        raise LookupError("a bug")

    for hook in ("check", "reset"):
        for _ in range(3):
            for function in (fail, lambda: fail("another text"), others, more):
                journal.hook_failed(hook, caught(function), object())
    kinds = ["TypeError", "LookupError", "LookupError"]
    assert [
        (record.args[1], type(record.exc_info[1]).__name__)  # type: ignore[index]
        for record in caplog.records
    ] == [("check", kind) for kind in kinds] + [("reset", kind) for kind in kinds]


def test_two_kinds_from_one_line(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """As from a helper that raises what it is given."""

    def give(error: Exception) -> None:
        raise error

    for told in (
        lambda error: journal.hook_failed("check", error, object()),
        lambda error: journal.listener_failed("connect", error),
    ):
        for error in (TypeError("1"), LookupError("2"), TypeError("3")):
            told(caught(lambda error=error: give(error)))
        assert len(texts(caplog)) == 2


def test_a_bug_in_a_listener_is_told_once_for_each_kind_and_line(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    def more() -> None:
        raise TypeError("elsewhere")

    for kind in ("connect", "close"):
        for _ in range(2):
            for function in (fail, more):
                journal.listener_failed(kind, caught(function))
    assert all(record.exc_info for record in caplog.records)
    text = "pool 'shop': a %s listener failed; what it does again is not logged"
    assert texts(caplog) == [text % kind for kind in ("connect", "connect", "close", "close")]


def test_hooks_and_listeners_of_one_name_are_not_the_same(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    error = caught(fail)
    journal.hook_failed("close", error, object())
    journal.listener_failed("close", error)
    assert len(texts(caplog)) == 2


def test_what_a_driver_says_of_its_connection_is_no_bug(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the package that the connection's class is from."""
    kind = type("Gone", (Exception,), {"__module__": "pydriver.errors"})
    connection = type("Connection", (), {"__module__": "pydriver.api"})()
    journal.hook_failed("check", kind(), connection)
    assert texts(caplog) == []
    journal.hook_failed("check", kind(), object())
    assert len(texts(caplog)) == 1


def test_an_error_that_cannot_be_asked_costs_a_line_and_no_more(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """`logging` asks it as well, so there is no line; but one that was never raised has one."""

    class Odd(Exception):
        @property
        def __traceback__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("not for you")

    class OddConnection:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("not for you")

    for _ in range(2):
        journal.hook_failed("check", Odd(), OddConnection())
        journal.listener_failed("connect", Odd())
        journal.listener_failed("connect", LookupError("never raised"))
    assert len(texts(caplog)) == 1


def test_a_driver_that_cannot_be_asked_for_its_class_is_no_reason_to_raise(
    journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.shared.journal.is_the_drivers", lambda *_: fail())
    journal.hook_failed("check", caught(fail), object())
    assert len(texts(caplog)) == 1


# ---------------------------------------------------------------- waits


def test_who_holds_and_waits_is_told_where(caplog: pytest.LogCaptureFixture) -> None:
    told = caplog.records

    def end(lease: Any) -> None:
        before = len(told)
        until(lambda: len(told) > before)
        lease.release()

    with scripted(1, leak_after=FOR_EVER, opener="caller", name="shop") as pool:
        ending = Call(end, pool.acquire())
        pool.acquire(FOR_EVER).release()
        ending.result()
        (record,) = told
        text = record.getMessage()
        assert text.startswith("pool 'shop': a thread that holds a connection (taken at ")
        assert text.count(f"{__file__}:") == 2
        assert text.endswith(
            "when as many threads do that as there are connections, all wait for ever"
        )
        ending = Call(end, pool.acquire())
        pool.acquire(FOR_EVER).release()  # another line does it
        ending.result()
        assert len(told) == 2


def test_on_one_line_each_kind_is_told(
    journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds and waits, what waits on a loop, and what is lost: even if all of it is taken on
    one and the same line of a helper that everybody uses."""
    monkeypatch.setattr("pool.shared.journal.line_here", lambda: "helper.py:7")
    with scripted(1, leak_after=FOR_EVER, opener="caller") as pool:
        lease = pool.acquire()
        (held,) = leased(pool.runtime.state.in_use).values()
        call = Call(pool.acquire)
        until(lambda: waiting(pool) == 1)
        monkeypatch.setattr(type(held.owner), "line", "helper.py:7")

        async def wait() -> None:
            journal.waits(pool.runtime.state, 0)
            journal.lost(3, held.owner, 1.0, 0.0)

        caplog.clear()
        for _ in range(2):
            asyncio.run(wait())
        lease.release()
        call.result().release()
    told = texts(caplog)
    assert len(told) == 3
    assert [part in text for part, text in zip(("holds", "event loop", "lost"), told, strict=True)]
    assert told[1].startswith(
        "pool 'shop': a caller waits for a connection at helper.py:7 on a thread whose event loop"
    )
    assert told[2] == (
        "pool 'shop': connection 3 was lost after 1.0 s, and is closed: thread 'MainThread' took "
        "it (taken at helper.py:7), and nothing refers to its lease any more"
    )


def test_each_line_that_waits_on_a_loop_is_told(
    journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait() -> None:
        for line in ("one.py:7", "other.py:8", "one.py:7"):
            monkeypatch.setattr("pool.shared.journal.line_here", lambda line=line: line)
            journal.waits(initial(Limits(max_size=1)), 1)

    asyncio.run(wait())
    assert len(texts(caplog)) == 2


def test_without_asyncio_there_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never imports it is not made to."""
    monkeypatch.delitem(sys.modules, "asyncio")
    assert runs_a_loop() is False


def test_losses_of_owners_without_a_line_are_one_burst(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.lost(1, "a peewee thread", 2.0, 100.0)
    journal.lost(2, "a peewee thread", 2.0, 100.0 + QUIET / 2)
    assert texts(caplog) == [
        "pool 'shop': connection 1 was lost after 2.0 s, and is closed: 'a peewee thread' took it, "
        "and nothing refers to its lease any more"
    ]
    journal.lost(3, "a peewee thread", 2.0, 100.0 + 2 * QUIET)
    assert len(texts(caplog)) == 1


def test_losses_of_two_lines_are_two(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    with scripted(2, leak_after=FOR_EVER, opener="caller") as pool:
        leases = [pool.acquire() for _ in range(1)]
        leases.append(pool.acquire())
        owners = [held.owner for held in leased(pool.runtime.state.in_use).values()]
        for owner in (*owners, *owners):
            journal.lost(1, owner, 2.0, 0.0)
        assert len(texts(caplog)) == 2
        while leases:
            leases.pop().release()
        gc.collect()


@pytest.mark.parametrize(
    ("size", "connecting", "callers", "wanted"),
    [
        *((1, 0, 1, False), (1, 0, 2, True), (2, 0, 2, False), (2, 1, 2, False)),
        *((2, 1, 3, True), (None, 0, 3, False)),
    ],
)
def test_whether_one_waits_for_what_others_hold(
    size: int | None, connecting: int, callers: int, wanted: bool
) -> None:
    """So many call for a connection, and so many connects do not come to an end."""
    state: Any = initial(Limits(max_size=size, max_opening=None, opener="background"))
    for ticket in range(1, callers + 1):
        state, _ = step(state, Acquire(0.0, ticket, owner=f"owner {ticket}"))
    while state.opening > connecting:
        state, _ = step(state, Opened(0.0, None, object(), 0.0))
    assert is_for_holders(state) is wanted


# ---------------------------------------------------------------- what begins and ends


def test_how_long_a_leak_was(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    journal.leaked(4, 7.0, "  File shop.py")
    journal.leak_ended(Leak(number=4, key=2, began=93.0), 100.5)
    assert texts(caplog) == [
        "pool 'shop': connection 4 has been held for 7.0 s; it was taken here:\n  File shop.py",
        "pool 'shop': connection 4 is no longer held, after 7.5 s",
    ]


def test_an_outage_from_its_beginning_to_its_end(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.connected(0, 99.0)
    journal.connect_failed(UNREACHED, ConnectionRefusedError("refused"), 5, 100.0)
    journal.connect_failed(UNREACHED, ConnectionRefusedError("refused"), 6, 101.0)
    assert journal._outages == {"now": Outage(100.0, 5)}
    assert [record.exc_info for record in caplog.records] == [None]
    journal.connected(9, 102.5)
    journal.connected(9, 103.0)
    assert texts(caplog) == [
        "pool 'shop': no connection can be made: the database could not be reached: "
        "ConnectionRefusedError: refused",
        "pool 'shop': connections can be made again, after 2.5 s in which 4 callers were refused",
    ]


def test_an_outage_by_a_bug_shows_it(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    error = caught(fail)
    journal.connect_failed(CONNECT_FAILED, error, 0, 0.0)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert texts(caplog) == [
        "pool 'shop': no connection can be made: connect failed: TypeError: a bug"
    ]


def test_two_who_end_an_outage(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Both have seen that there is one; to end it is for the first."""

    class Seen(dict[str, Outage]):
        def __bool__(self) -> bool:
            return True

    journal._outages = Seen()
    journal.connected(0, 1.0)
    assert texts(caplog) == []


def test_refusals_are_one_burst(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pool")
    for at in (0.0, 1.0, 1.0 + QUIET):
        journal.refused(PoolTimeout("no"), f"at {at:g}", at)
    assert texts(caplog) == [
        "pool 'shop': a caller was refused, the first one in 10 s or more: at 0",
        "pool 'shop': a caller was refused, the first one in 10 s or more: at 11",
    ]
