"""A pool and a lease are what they are once: no copy, no pickle."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from pool import Lease, Pool, PoolTimeout
from tests.integration.pools import scripted

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda thing, protocol=protocol: pickle.dumps(thing, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}

THINGS: dict[str, Callable[[Pool[Any]], Any]] = {
    "pool": lambda pool: pool,
    "runtime": lambda pool: pool._runtime,
    "lease": lambda pool: pool.acquire(),
    "block": lambda pool: pool.connection(),
    "block entered": lambda pool: _entered(pool),
    "lease in something": lambda pool: {"lease": [pool.acquire()]},
}


def _entered(pool: Pool[Any]) -> Any:
    block = pool.connection()
    block.__enter__()
    return block


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("thing", THINGS)
def test_no_copy(thing: str, way: str) -> None:
    """A `TypeError` that says what to do instead; the thing itself works on."""
    with scripted(2) as pool:
        given = THINGS[thing](pool)
        if (thing, way) != ("lease in something", "copy"):  # of the dict, not of the lease
            with pytest.raises(TypeError, match=r"cannot be copied or pickled: .*; "):
                WAYS[way](given)
        gc.collect()
        assert pool.statistics().in_use == sum(
            isinstance(lease, Lease) and not lease.ended
            for lease in (given, *(given["lease"] if isinstance(given, dict) else ()))
        )
        assert pool.driver.closed == []
        del given
        gc.collect()
        pool.acquire().release()


def test_errors_travel() -> None:
    """What a pool raises may be pickled, for a task queue say."""
    with scripted(1) as pool:
        lease = pool.acquire()
        with pytest.raises(PoolTimeout) as caught:
            pool.acquire(0)
        lease.release()
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (PoolTimeout, str(caught.value))


def test_statistics_travel() -> None:
    with scripted(1) as pool:
        numbers = pool.statistics()
        assert pickle.loads(pickle.dumps(numbers)) == copy.deepcopy(numbers) == numbers


def test_a_subclass_may_say_how() -> None:
    """One that can be made anew elsewhere: its own `__reduce__` counts."""

    class Portable(Pool[Any]):
        def __reduce__(self) -> Any:
            return str, ("made anew",)

    with Portable(object) as pool:
        assert pickle.loads(pickle.dumps(pool)) == "made anew"
