"""The pool for asyncio: `pool.aio.Pool`, with the names and meanings of `pool.Pool`.

It applies the same pure function. Importing this imports no driver.
"""

from pool.aio.api import Pool
from pool.aio.lease import Lease
from pool.drivers.callables import NO_RESET
from pool.shared.errors import (
    LeaseEnded,
    OpenError,
    PoolClosed,
    PoolError,
    PoolForked,
    PoolReentered,
    PoolSuspended,
    PoolTimeout,
    TooManyWaiting,
    WrongLoop,
)
from pool.shared.holders import Holding
from pool.shared.listeners import Notice
from pool.statistics import Statistics

__all__ = [
    "NO_RESET",
    "Holding",
    "Lease",
    "LeaseEnded",
    "Notice",
    "OpenError",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolForked",
    "PoolReentered",
    "PoolSuspended",
    "PoolTimeout",
    "Statistics",
    "TooManyWaiting",
    "WrongLoop",
]
