"""Situations that programs get into, each with both openers.

Theory.  Not what a pool is for, but what happens to one: somebody closes it from within a hook, the
log is kept in the database, an error is sent to another process.  Each test gets into one of them
and sees that the pool says something sensible, and is whole afterwards.
"""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest import mock

import pytest

from pool import OpenError, Pool, PoolClosed, PoolError, PoolTimeout
from tests.integration.drivers import PATIENCE, Call
from tests.integration.pools import Scripted, is_whole, scripted


@pytest.fixture(params=["caller", "background"])
def opener(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def pool(opener: Any) -> Iterator[Scripted]:
    with scripted(1, opener=opener, check_after=1000.0) as pool:
        yield pool


class Connection:
    """It counts what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def commit(self) -> None:
        self.done.append("commit")

    def rollback(self) -> None:
        self.done.append("rollback")

    def close(self) -> None:
        self.done.append("close")


@pytest.mark.parametrize("hook", ["connect", "configure"])
def test_a_close_from_within_a_connect_is_not_over(hook: str, opener: Any) -> None:
    """The connection that is being made has yet to be closed; who waits for that is told."""
    said: list[bool] = []
    closed: list[bool] = []
    inside, go_on = threading.Event(), threading.Event()

    def close(*_: Any) -> Connection:
        said.append(pool.close(PATIENCE))
        inside.set()
        assert go_on.wait(PATIENCE)
        return Connection()

    hooks: dict[str, Any] = {"configure": close} if hook == "configure" else {}
    pool: Pool[Any] = Pool(
        close if hook == "connect" else Connection, max_size=1, opener=opener, **hooks
    )
    caller = Call(lambda: pool.acquire(timeout=PATIENCE))
    assert inside.wait(PATIENCE)
    waits = Call(lambda: closed.append(pool.close(PATIENCE)))
    assert pool.close(0) is False
    go_on.set()
    with pytest.raises(PoolClosed):
        caller.result()
    waits.result()
    assert (said, closed) == ([False], [True])


@pytest.mark.parametrize("hook", ["reset", "check"])
def test_a_hook_closes_the_pool(hook: str, opener: Any) -> None:
    """It does not wait for what it is in the middle of."""
    answers: list[bool] = []

    def close(_: Any) -> None:
        answers.append(pool.close(PATIENCE))

    hooks: dict[str, Any] = {hook: close}
    pool = Pool(Connection, max_size=1, opener=opener, timeout=PATIENCE, check_after=0.0, **hooks)
    for _ in range(2):
        with suppress(PoolClosed):
            pool.acquire().release()
    assert answers[0] is False
    assert pool.close(PATIENCE)


def test_a_commit_closes_the_pool(opener: Any) -> None:
    class Last(Connection):
        def commit(self) -> None:
            super().commit()
            pool.close(0)

    pool = Pool(Last, max_size=1, opener=opener, timeout=PATIENCE)
    with pool.connection() as connection:
        pass
    assert pool.close(PATIENCE)
    assert (connection.done[0], connection.done[-1]) == ("commit", "close")
    assert connection.done.count("close") == 1


def test_a_log_that_is_kept_in_the_database(pool: Scripted) -> None:
    """What the pool says of a refusal is written over the pool, which refuses that, too."""
    written: list[str] = []

    class ToDatabase(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(PoolError), pool.connection(0):
                written.append(record.getMessage())

    handler = ToDatabase()
    logging.getLogger("pool").addHandler(handler)
    try:
        with pool.acquire(), pytest.raises(PoolTimeout):
            pool.acquire(0)
        assert written == []
    finally:
        logging.getLogger("pool").removeHandler(handler)
    is_whole(pool, 1)


def test_an_error_goes_to_another_process(pool: Scripted, opener: Any) -> None:
    """As one of a worker does: with its text, and what the last connect failed with."""

    def fail() -> None:
        raise ConnectionRefusedError("not today")

    failing: Pool[Any] = Pool(fail, max_size=1, opener=opener, timeout=PATIENCE)
    with pool.acquire(), pytest.raises(PoolTimeout) as late:
        pool.acquire(0)
    with pytest.raises(OpenError) as refused:
        failing.acquire()
    failing.close()
    for error in (late.value, refused.value):
        for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(same) is type(error)
            assert str(same) == str(error)
            assert same.failure == error.failure


def test_a_listener_releases_the_lease_that_is_being_released(pool: Scripted) -> None:
    lease = pool.acquire()
    pool.listen("close", lambda _: lease.release())
    assert lease.discard() is True
    is_whole(pool, 1)


def test_a_listener_is_interrupted(pool: Scripted) -> None:
    """A key press comes through, and the connection back."""
    told: list[Any] = []

    def interrupted(notice: Any) -> None:
        told.append(notice)
        if len(told) == 1:
            raise KeyboardInterrupt

    pool.listen("checkin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.acquire().release()
    is_whole(pool, 1)


def test_a_mock_with_the_methods_of_a_driver(opener: Any) -> None:
    """What has a commit by its specification is committed; a bare one has said nothing."""

    def make() -> Any:
        return mock.MagicMock(spec=["cursor", "commit", "rollback", "close"])

    with Pool(make, max_size=1, opener=opener, timeout=PATIENCE) as pool:
        with pool.connection() as connection:
            pass
        assert connection.commit.call_count == 1
        with suppress(LookupError), pool.connection() as again:
            assert again is connection
            raise LookupError
        assert connection.commit.call_count == 1


def test_an_exception_that_carries_the_connection(pool: Scripted) -> None:
    kept = []
    for _ in range(3):
        try:
            with pool.connection() as connection:
                raise LookupError(connection)
        except LookupError as error:
            kept.append(error)
    is_whole(pool, 1)
    assert pool.statistics().opened == 1
