"""What a pool's functions owe it where a mutant showed that no test asked.

Theory.  As `test_runtime_mutants.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from pool import Pool, PoolClosed
from pool.callables import Callables
from tests.integration.drivers import Connection
from tests.integration.pools import scripted


def test_a_child_begins_with_nothing_of_the_parents() -> None:
    with scripted(2, opener="caller") as pool:
        lease = pool.acquire()
        driver: Any = pool._driver
        assert driver.last_error is None
        driver.last_error = OSError("the parent's")
        driver._words = {1: "the parent's"}
        driver._leaks = {1: "the parent's"}
        driver.after_fork()
        assert driver.first_ticket == pool.runtime.state.next_ticket == lease.ticket + 1
        assert (driver.last_error, driver._words, driver._leaks, driver.recipes) == (
            None,
            {},
            {},
            {},
        )
        assert lease.release() is False, "it is the parent's"
        driver.first_ticket = 0
        lease.ended = False
        lease.discard()


def test_configure_is_given_the_new_connection() -> None:
    given: list[Any] = []
    with scripted(1, opener="caller", configure=given.append) as pool:
        connection = pool.acquire().connection
        assert given == [connection]


@pytest.mark.parametrize("hook", ["check", "reset"])
def test_a_hook_that_fails_is_named(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError("a bug")

    pool: Any = Pool(
        lambda: Connection(1),  # type: ignore[arg-type]
        max_size=1,
        opener="caller",
        check_after=0.0,
        name="shop",
        **{"close": lambda _: None, "check": lambda _: True, "reset": lambda _: True, hook: fail},
    )
    pool.acquire().release()
    pool.acquire().release()
    texts = [one.getMessage() for one in caplog.records]
    assert len(texts) == 1, "once, for each place and kind"
    assert texts[0].startswith(f"pool 'shop': {hook} raised what is no error of the driver")
    assert caplog.records[0].exc_info is not None
    pool.close()


def test_the_error_of_another_pool_is_not_this_ones() -> None:
    def refused() -> Any:
        raise PoolClosed("another pool is closed")

    pool = Pool(refused, opener="caller", max_size=1)
    with pytest.raises(Exception, match="PoolClosed: another pool is closed") as found:
        pool.acquire()
    assert type(found.value.__cause__) is ConnectionError
    pool.close()


def test_a_driver_without_a_pool_has_no_numbers_but_the_machines() -> None:
    with scripted(1, opener="caller") as pool:
        driver: Any = pool._driver
        assert driver.number_of(17, object()) == 17
        assert isinstance(driver, Callables)
