"""Directed scenarios: short histories with real numbers, each for a reason.

Theory.  The graph's vectors reach every edge of small worlds in which time is a few units
and everything is as simple as it can be.  What they abstract away is here: ages and
deadlines at the very moment and just before it, the arithmetic of the pause, orders with
more than two connections, clocks that go back, numbers far from 0.  A scenario names the
rules that it is for; `vectors.py` insists that it meets them.

All numbers are multiples of 1/1024, so that every sum and product is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from pool.core.events import (
    Acquire,
    Adopt,
    AdoptIdle,
    AdoptLease,
    Cancel,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Dead,
    Discard,
    Event,
    Expire,
    Forked,
    Opened,
    OpenFailed,
    Release,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.limits import Limits
from pool.core.state import Failure

REFUSED = Failure("OperationalError", "connection refused")
AWAY = Failure("OSError", "no route to host")
EPOCH = 1_700_000_000.0


@attrs.frozen
class Scenario:
    """A history, and what it is for."""

    name: str
    reason: str
    rules: tuple[str, ...]
    limits: Limits
    events: tuple[Event, ...]


def _lend(*tickets: int, now: float = 0, **more: Any) -> tuple[Event, ...]:
    """Each ticket acquires, connects and holds: ticket n the connection cn, at first as key n."""
    events: list[Event] = []
    for ticket in tickets:
        events.append(Acquire(now, ticket, owner=f"thread {ticket}"))
        events.append(Opened(now, ticket, f"c{ticket}", more.get("created", now), **_jitter(more)))
    return tuple(events)


def _jitter(more: dict[str, Any]) -> dict[str, float]:
    return {"jitter": more["jitter"]} if "jitter" in more else {}


def _background(**limits: Any) -> Limits:
    return Limits(**{"opener": "background", "backoff_initial": 0.25, "backoff_max": 4.0, **limits})


def scenarios() -> tuple[Scenario, ...]:
    """All of them, in the order of the specification."""
    return tuple(
        Scenario(name, reason, tuple(rules.split()), limits, tuple(events))
        for name, reason, rules, limits, events in _all()
    )


def _all() -> Iterator[tuple[str, str, str, Limits, tuple[Event, ...]]]:
    yield from _beginnings()
    yield from _orders()
    yield from _ages()
    yield from _serving()
    yield from _outages()
    yield from _callers()
    yield from _housekeeping()
    yield from _phases()
    yield from _adapters()


def _beginnings() -> Iterator[Any]:
    yield (
        "defaults",
        "a pool with the limits that nobody gave",
        "INI-1 ACQ-2 ACQ-3 SRV-3 OPN-2 REL-3 SET-1 SRV-2",
        Limits(),
        (*_lend(1), Release(1, 1, 1), Acquire(2.5, 2)),
    )
    yield (
        "owes-idle",
        "the first event, whatever it is, makes a new pool open what it owes",
        "INI-1 SRV-4 OPN-3 OPN-4",
        _background(min_idle=2, max_size=3),
        (
            CloseIdle(EPOCH),
            Opened(EPOCH + 1, None, "c1", EPOCH + 0.5),
            Opened(EPOCH + 2, None, "c2", EPOCH),
        ),
    )
    yield (
        "gaps",
        "tickets may leave gaps, and none is used twice",
        "ACQ-1 ACQ-2",
        Limits(max_size=1),
        (
            Acquire(0, 5),
            Acquire(0, 5),
            Acquire(0, 4),
            Acquire(0, 900),
            Acquire(0, 6),
            Cancel(0, 5),
            Acquire(0, 5),
        ),
    )


def _orders() -> Iterator[Any]:
    for order in ("oldest", "lifo", "fifo"):
        yield (
            f"lent-{order}",
            f"three that were made and returned in other orders are lent as {order} says",
            "ORD-1 SRV-2 CLI-1",
            Limits(max_size=3, idle_order=order),
            (
                *_lend(1, now=10),
                *_lend(2, now=8, created=8),
                *_lend(3, now=12, created=9),
                Release(13, 3, 3),
                Release(14, 1, 1),
                Release(15, 2, 2),
                Acquire(16, 4),
                Acquire(16, 5),
                Release(17, 4, 3 if order == "fifo" else 2),
                CloseIdle(18),
            ),
        )
    yield (
        "oldest-ties",
        "made at the same time: the one that was returned first is lent first",
        "ORD-1 SRV-2",
        Limits(max_size=3, idle_order="oldest"),
        (
            *_lend(1, 2, 3, now=1),
            Release(2, 2, 2),
            Release(2, 3, 3),
            Release(2, 1, 1),
            Acquire(3, 4),
            Acquire(3, 5),
            Acquire(3, 6),
        ),
    )
    yield (
        "reordered",
        "a new idle_order holds for what is idle already",
        "CFG-3 ORD-1",
        Limits(max_size=3),
        (
            *_lend(1, now=4),
            *_lend(2, now=2, created=2),
            *_lend(3, now=6, created=6),
            Release(7, 1, 1),
            Release(7, 3, 3),
            Release(7, 2, 2),
            Configure(8, Limits(max_size=3, idle_order="oldest")),
            Configure(8, Limits(max_size=3, idle_order="fifo")),
            Acquire(9, 4),
        ),
    )


def _ages() -> Iterator[Any]:
    yield (
        "lifetime-to-the-moment",
        "expired at created + max_lifetime, not before, and then closed instead of lent",
        "AGE-1 SRV-2 TIC-1 WAK-1",
        Limits(max_size=2, max_lifetime=60.0),
        (
            *_lend(1, now=EPOCH),
            Release(EPOCH + 1, 1, 1),
            Tick(EPOCH + 59.9375),
            Acquire(EPOCH + 59.9375, 2),
            Release(EPOCH + 59.9375, 2, 1),
            Acquire(EPOCH + 60, 3),
        ),
    )
    yield (
        "lifetime-with-jitter",
        "jitter takes its part of the lifetime: 64 x (1 - 0.25) is 48",
        "AGE-1 TIC-1 WAK-1",
        Limits(max_size=2, max_lifetime=64.0),
        (
            *_lend(1, now=100, jitter=0.25),
            *_lend(2, now=100, jitter=0.5),
            Release(101, 1, 1),
            Release(101, 2, 2),
            Tick(131.9375),
            Tick(132),
            Tick(147.9375),
            Tick(148),
        ),
    )
    yield (
        "expired-when-returned",
        "too old when it comes back: closed, and its room goes to the one who waits",
        "SET-1 AGE-1 REL-3 SRV-3",
        Limits(max_size=1, max_lifetime=10.0),
        (*_lend(1), Acquire(1, 2), Release(10, 1, 1), Opened(11, 2, "c2", 10.5)),
    )
    yield (
        "expired-on-the-way",
        "an expired idle connection never stands in the way of one who may not wait",
        "SRV-2 SRV-3 ACQ-4",
        Limits(max_size=1, max_lifetime=10.0),
        (*_lend(1), Release(1, 1, 1), Acquire(10, 2, wait=False), Acquire(10, 3, wait=False)),
    )
    yield (
        "slow-connects-starve-nobody",
        "a connect that takes longer than max_lifetime is granted all the same, once",
        "OPN-3 OPN-4 SET-1 AGE-1",
        _background(max_size=2, max_lifetime=4.0),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Opened(5, None, "c1", 0),
            Cancel(5, 2),
            Opened(5, None, "c2", 0),
        ),
    )
    yield (
        "retired-in-use",
        "made before a Retire: closed when it comes back; made at that very time: not",
        "RET-2 AGE-1 SET-1 REL-3",
        Limits(max_size=3, max_lifetime=100.0),
        (
            *_lend(1, now=5),
            *_lend(2, now=6),
            Retire(6),
            Retire(4),
            Release(7, 1, 1),
            Release(7, 2, 2),
            Acquire(8, 3),
            Acquire(8, 4),
            Opened(9, 4, "c4", 5.5),
            Release(9, 4, 3),
        ),
    )
    yield (
        "retired-idle",
        "idle ones made before are closed, in the order they would be lent, each for its reason",
        "RET-3 RET-2",
        Limits(max_size=4, max_lifetime=8.0, idle_order="fifo"),
        (
            *_lend(1, now=3),
            *_lend(2, now=1),
            *_lend(3, now=9),
            Release(9, 3, 3),
            Release(9, 1, 1),
            Release(9, 2, 2),
            Retire(9),
        ),
    )
    yield (
        "retired-before-lifetime",
        "both retired and past its lifetime: the reason is retired",
        "AGE-1 TIC-1 CAN-4",
        Limits(max_size=2, max_lifetime=2.0),
        (*_lend(1), *_lend(2), Retire(1), Cancel(9, 1), Tick(9), Release(9, 2, 2)),
    )
    yield (
        "rested",
        "above min_idle, who rested for max_idle is closed, the longest first",
        "TIC-2 WAK-1 SRV-4",
        _background(max_size=4, min_idle=1, max_idle=30.0, idle_order="fifo"),
        (
            Tick(0),
            Opened(0, None, "c1", 0),
            Acquire(1, 1),
            Acquire(1, 2),
            Acquire(1, 3),
            Opened(2, None, "c2", 2),
            Opened(2, None, "c3", 2),
            Release(10, 3, 3),
            Opened(10, None, "c4", 10),
            Release(12, 1, 1),
            Release(11, 2, 2),
            Tick(39.9375),
            Tick(40),
            Tick(41),
            Tick(45),
            Tick(1000),
        ),
    )
    yield (
        "rested-ties",
        "rested equally long: the smaller seq is closed",
        "TIC-2",
        Limits(max_size=3, max_idle=1.0),
        (
            *_lend(1, 2, 3),
            Release(5, 2, 2),
            Release(5, 3, 3),
            Release(5, 1, 1),
            Tick(6),
        ),
    )
    yield (
        "rested-ties-of-adopted-ones",
        "of equal seq, too: the smaller key is closed",
        "TIC-2 ADO-3",
        _background(max_size=5, min_idle=1, max_idle=1.0, idle_order="oldest"),
        (
            Adopt(
                4,
                idle=tuple(AdoptIdle(None, f"a{seconds}", seconds, 7) for seconds in (2, 4, 1, 3)),
            ),
            Tick(4.9375),
            Tick(5),
        ),
    )
    yield (
        "the-clock-goes-back",
        "times that go back: nothing expires early, rested may be below 0",
        "AGE-1 SRV-2 RET-2 TIC-2 TIC-3",
        Limits(max_size=2, max_lifetime=10.0, max_idle=5.0, leak_after=5.0),
        (
            *_lend(1, now=100),
            Release(101, 1, 1),
            Acquire(50, 2),
            Tick(51),
            Release(40, 2, 1),
            Tick(44.5),
            Retire(30),
            Tick(45),
        ),
    )
    yield (
        "leaks",
        "a lease held for leak_after is reported once, each in the order of keys",
        "TIC-3 WAK-1",
        Limits(max_size=3, leak_after=30.0),
        (
            *_lend(1, now=0),
            *_lend(2, now=2),
            *_lend(3, now=1),
            Tick(29.9375),
            Tick(30),
            Tick(40.5),
            Tick(100),
            Release(101, 2, 2),
            Acquire(102, 4),
            Tick(132),
        ),
    )


def _serving() -> Iterator[Any]:
    yield (
        "in-their-order",
        "whatever frees room, the oldest who waits is served",
        "SRV-2 SRV-3 OPF-2 DIS-2 REL-2 CAN-3",
        Limits(max_size=2),
        (
            *_lend(1, 2),
            *(Acquire(1, ticket, owner=f"thread {ticket}") for ticket in range(3, 9)),
            Release(2, 2, 2),
            Discard(3, 1, 1),
            OpenFailed(4, 4, REFUSED),
            Cancel(5, 5),
            Release(6, 3, 2, reusable=False),
            Opened(7, 6, "c6", 7),
            Opened(7, 7, "c7", 7),
        ),
    )
    yield (
        "some-give-up",
        "those who leave the queue in the middle change nobody else's place",
        "EXP-2 CAN-2 AWY-1 SRV-2",
        Limits(max_size=1),
        (
            *_lend(1),
            *(Acquire(1, ticket) for ticket in range(2, 8)),
            Expire(2, 4),
            Cancel(2, 2),
            Cancel(2, 7),
            Expire(2, 6),
            Release(3, 1, 1),
            Release(4, 3, 1),
        ),
    )
    yield (
        "few-connects-at-once",
        "max_opening binds once something is idle or in use",
        "SRV-5 SRV-3",
        Limits(max_size=6, max_opening=2),
        (
            *(Acquire(0, ticket) for ticket in range(1, 5)),
            Opened(1, 1, "c1", 1),
            Acquire(1, 5),
            Opened(2, 2, "c2", 2),
            Opened(2, 3, "c3", 2),
            Acquire(2, 6),
            Acquire(2, 7),
        ),
    )
    yield (
        "never-more-connects-at-once",
        "max_connecting binds in an empty pool too; each connect that ends is the next one's turn",
        "SRV-5 SRV-3 OPN-2 OPF-2 CAN-3",
        Limits(max_size=6, max_connecting=2),
        (
            *(Acquire(0, ticket) for ticket in range(1, 8)),
            OpenFailed(1, 1, REFUSED),
            Opened(2, 2, "c2", 2),
            Cancel(2, 3),
            Release(3, 2, 1),
            Acquire(3, 8, wait=False),
            Opened(4, 4, "c4", 4),
        ),
    )
    yield (
        "a-pool-that-lost-everything",
        "after a fail-over nobody connects but max_connecting at a time; a resize changes how many",
        "SRV-5 DEA-5 CAL-2 CFG-3",
        Limits(max_size=6, max_connecting=1),
        (
            Acquire(0, 1),
            Opened(0, 1, "c1", 0),
            Acquire(0, 2),
            Opened(0, 2, "c2", 0),
            Acquire(0, 3),
            Acquire(0, 4),
            CloseAll(1),
            Configure(2, Limits(max_size=6, max_connecting=3)),
            *(Acquire(2, ticket) for ticket in range(5, 9)),
            Configure(3, Limits(max_size=6, max_connecting=1)),
            Opened(4, 3, "c3", 4),
            Opened(4, 4, "c4", 4),
            Dead(5, 3, 3),
            Dead(5, 4, 4, wait=False),
            Opened(6, 5, "c5", 6),
        ),
    )
    yield (
        "ready-one-after-the-other",
        "min_idle is reached max_connecting at a time, also after a pause",
        "SRV-4 SRV-5 OPN-3 OPN-4 OPF-3 TIC-1",
        _background(max_size=6, min_idle=3, max_connecting=2),
        (
            Tick(0),
            Acquire(0, 1),
            Opened(1, None, "c1", 1),
            OpenFailed(1, None, REFUSED, 0.5),
            Acquire(1.25, 2),
            Tick(1.5),
            Opened(2, None, "c2", 2),
            Opened(2, None, "c3", 2),
            CloseAll(3),
            Opened(4, None, "c4", 4),
            Opened(4, None, "c5", 4),
            Opened(5, None, "c6", 5),
        ),
    )
    yield (
        "grant-before-grow",
        "a spike asks for no more connects than there is room for, and releases serve it first",
        "SRV-4 SRV-5 OPN-3 OPN-4",
        _background(max_size=3, max_opening=1),
        (
            *(Acquire(0, ticket) for ticket in range(1, 7)),
            Opened(1, None, "c1", 1),
            Release(2, 1, 1),
            Release(3, 2, 1),
            Opened(4, None, "c2", 4),
            Release(5, 3, 1),
            Release(6, 4, 2),
            Release(7, 5, 1),
            Opened(8, None, "c3", 8),
        ),
    )
    yield (
        "min-idle-and-waiters",
        "the demand is those who wait and what is idle short of min_idle",
        "SRV-4",
        _background(max_size=6, min_idle=2),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Opened(1, None, "c1", 1),
            Opened(1, None, "c2", 1),
            Opened(1, None, "c3", 1),
            Opened(1, None, "c4", 1),
            Acquire(2, 3),
            Acquire(2, 4),
            Acquire(2, 5),
        ),
    )
    yield (
        "without-limit",
        "max_size none: everybody connects at once",
        "SRV-3 SRV-5 SET-1",
        Limits(max_size=None),
        (
            *(Acquire(0, ticket) for ticket in range(1, 13)),
            *(Opened(1, ticket, f"c{ticket}", 1) for ticket in range(12, 0, -1)),
            *(Release(2, 13 - key, key) for key in range(1, 13)),
        ),
    )


def _outages() -> Iterator[Any]:
    yield (
        "pauses",
        "the pause doubles up to backoff_max; a success ends the outage",
        "OPF-3 SRV-4 OPN-3 WAK-1",
        _background(max_size=2, backoff_initial=0.25, backoff_max=1.5),
        (
            Acquire(0, 1),
            Opened(0, None, "c1", 0),
            Acquire(0, 2),
            OpenFailed(1, None, REFUSED),
            Tick(1.125),
            Tick(1.25),
            OpenFailed(2, None, REFUSED),
            Tick(2.5),
            OpenFailed(3, None, AWAY),
            Tick(4),
            OpenFailed(4, None, AWAY),
            Tick(5.4375),
            Tick(5.5),
            Opened(6, None, "c2", 6),
            Discard(6, 2, 2),
            Acquire(6, 3),
            OpenFailed(7, None, REFUSED),
        ),
    )
    yield (
        "pause-with-jitter",
        "jitter takes its part of the pause: 2 x (1 - 0.75) is 0.5",
        "OPF-3 SRV-4",
        _background(max_size=1, backoff_initial=2.0, backoff_max=64.0),
        (
            Acquire(0, 1),
            Opened(0, None, "c1", 0),
            Discard(1, 1, 1),
            Acquire(1, 2),
            OpenFailed(2, None, REFUSED, 0.75),
            Acquire(2.25, 3),
            Acquire(2.5, 4),
            OpenFailed(3, None, REFUSED, 0.5),
            Tick(5),
        ),
    )
    yield (
        "one-outage",
        "failures that arrive together count once, and no connect is asked for meanwhile",
        "OPF-3 SRV-4",
        _background(max_size=4),
        (
            Acquire(0, 1),
            Opened(0, None, "c1", 0),
            *(Acquire(1, ticket) for ticket in (2, 3, 4)),
            OpenFailed(2, None, REFUSED),
            OpenFailed(2.125, None, AWAY),
            OpenFailed(2.25, None, AWAY),
            Tick(2.75),
        ),
    )
    yield (
        "sixty-doublings",
        "the exponent is at most 60",
        "OPF-3",
        _background(max_size=1, backoff_initial=0.0009765625, backoff_max=1.0),
        (
            Acquire(0, 1),
            Opened(0, None, "c1", 0),
            Discard(0, 1, 1),
            Acquire(0, 2),
            *(
                event
                for now in range(1, 121, 2)
                for event in (OpenFailed(now, None, AWAY), Tick(now + 1))
            ),
            Configure(
                200,
                _background(max_size=1, backoff_initial=0.0009765625, backoff_max=2.0**52),
            ),
            OpenFailed(1024, None, AWAY),
            Tick(2.0**50 + 1024),
            OpenFailed(2.0**51, None, AWAY),
        ),
    )
    yield (
        "a-wrong-password",
        "before the first connection ever, a failure refuses everybody who waits",
        "OPF-4 OPF-3",
        _background(max_size=2),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Acquire(0, 3),
            OpenFailed(1, None, Failure("OperationalError", "password authentication failed")),
            Acquire(1, 4),
            OpenFailed(1.125, None, AWAY),
            Expire(1.25, 4),
        ),
    )
    yield (
        "a-wrong-password-when-suspended",
        "a suspended pool refuses nobody for a failed connect",
        "OPF-3 EXP-2 AWY-1",
        _background(max_size=1),
        (Acquire(0, 1), Suspend(0), OpenFailed(1, None, REFUSED), Expire(2, 1)),
    )
    yield (
        "the-last-error",
        "a deadline, like every refusal, says why the last connect failed, until one succeeds",
        "OPF-1 OPF-2 EXP-2 OPN-2",
        Limits(max_size=2),
        (
            OpenFailed(0, 1, AWAY),
            OpenFailed(0, None, AWAY),
            *_lend(1),
            Acquire(1, 2),
            Acquire(1, 3),
            OpenFailed(2, 2, REFUSED),
            Acquire(2, 4),
            Expire(3, 4),
            OpenFailed(3, 2, AWAY),
            Opened(4, 3, "c3", 4),
            Acquire(5, 5),
            Expire(6, 5),
        ),
    )
    yield (
        "no-connect-while-backing-off",
        "while backing off a released connection serves who waits",
        "SRV-4 SRV-2 SET-1",
        _background(max_size=2),
        (
            Acquire(0, 1),
            Opened(0, None, "c1", 0),
            Acquire(0, 2),
            Acquire(0, 3),
            OpenFailed(0.125, None, REFUSED),
            Release(0.25, 1, 1),
            Acquire(0.25, 4, wait=False),
            Release(0.3125, 2, 1),
        ),
    )


def _callers() -> Iterator[Any]:
    yield (
        "may-not-wait",
        "wait false: what is there or a turn to connect, else refused",
        "ACQ-4 AWY-1 SRV-3",
        Limits(max_size=1),
        (Acquire(0, 1, wait=False), Acquire(0, 2, wait=False), Opened(1, 1, "c1", 1)),
    )
    yield (
        "may-not-wait-in-background",
        "refused at once, and the connect that was asked for goes on",
        "ACQ-4 SRV-4 OPN-4",
        _background(max_size=1),
        (
            Acquire(0, 1, wait=False),
            Opened(1, None, "c1", 1),
            Acquire(1, 2, wait=False),
        ),
    )
    yield (
        "too-many-wait",
        "max_waiting counts those who wait, not those who connect",
        "ACQ-5 AWY-1",
        Limits(max_size=2, max_waiting=1),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Acquire(0, 3),
            Acquire(0, 4),
            Acquire(0, 5, wait=False),
            Expire(0, 3),
            Acquire(0, 6),
        ),
    )
    yield (
        "nobody-may-wait",
        "max_waiting 0, also in a suspended pool, where the reason stays",
        "ACQ-5 AWY-1",
        Limits(max_size=1, max_waiting=0),
        (Acquire(0, 1), Acquire(0, 2), Suspend(0), Acquire(0, 3), Acquire(0, 4, wait=False)),
    )
    yield (
        "dead-in-its-own-place",
        "who found its connection dead waits again, before those who came later",
        "DEA-3 DEA-5 SRV-2 SRV-3",
        Limits(max_size=2),
        (
            *_lend(1, 2),
            Acquire(1, 3, owner="thread 3"),
            Acquire(1, 4),
            Release(2, 1, 1),
            Release(2, 2, 2),
            Dead(3, 4, 2),
            Dead(3, 3, 1),
            Opened(4, 3, "c3", 4),
        ),
    )
    yield (
        "dead-and-older-ones-wait",
        "its place is that of its ticket: two dead ones come back in the order of their tickets",
        "DEA-5 SRV-4",
        _background(max_size=2),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Acquire(0, 3),
            Opened(1, None, "c1", 1),
            Opened(1, None, "c2", 1),
            Suspend(1),
            Dead(2, 2, 2),
            Dead(2, 1, 1),
            Resume(3),
            Opened(4, None, "c3", 4),
            Opened(4, None, "c4", 4),
        ),
    )
    yield (
        "dead-and-may-not-wait",
        "idle ones are tried, then a turn to connect; where max_opening forbids it, nothing",
        "DEA-6 DEA-5 AWY-1 SRV-5",
        Limits(max_size=4, max_opening=1),
        (
            *_lend(1, 2, 3),
            Release(1, 1, 1),
            Dead(2, 2, 2, wait=False),
            Acquire(3, 4),
            Dead(4, 2, 1, wait=False),
            Opened(5, 4, "c4", 5),
            Dead(6, 4, 4, wait=False),
        ),
    )
    yield (
        "fenced",
        "an old ticket, another's or an unknown key ends no lease",
        "REL-1 DIS-1 DEA-1 CAN-1 EXP-1",
        Limits(max_size=2),
        (
            *_lend(1, 2),
            Release(1, 1, 1),
            Acquire(1, 3),
            Release(2, 1, 1),
            Discard(2, 1, 1),
            Dead(2, 1, 1),
            Release(2, 3, 2),
            Release(2, 0, 1),
            Release(2, 3, 77),
            Expire(2, 3),
            Cancel(2, 1),
            Cancel(2, 4),
            Release(2, 3, 1),
            Release(2, 3, 1),
        ),
    )
    yield (
        "never-delivered",
        "cancelled after it was granted: the connection goes to the next, or to idle",
        "CAN-4 SET-1 SRV-2",
        Limits(max_size=1),
        (*_lend(1), Acquire(1, 2), Cancel(2, 1), Cancel(3, 2), Cancel(3, 2)),
    )
    yield (
        "opened-too-late",
        "nobody asked for it any more: closed, and counted",
        "OPN-1 CAN-3",
        Limits(max_size=1),
        (
            Acquire(0, 1),
            Cancel(1, 1),
            Opened(2, 1, "c1", 2),
            Opened(2, None, "c2", 2),
            Acquire(3, 2),
            Opened(4, 2, "c3", 4),
        ),
    )


def _housekeeping() -> Iterator[Any]:
    yield (
        "shrink",
        "idle ones that would be lent last go first, and what comes back is surplus",
        "CFG-3 CFG-4 SET-1",
        Limits(max_size=5, idle_order="fifo"),
        (
            *_lend(1, 2, 3, 4, 5),
            Release(1, 3, 3),
            Release(1, 1, 1),
            Release(1, 2, 2),
            Configure(2, Limits(max_size=3, idle_order="fifo")),
            Configure(2, Limits(max_size=1, idle_order="fifo")),
            Acquire(2, 6),
            Release(3, 4, 4),
            Release(3, 5, 5),
        ),
    )
    yield (
        "grow",
        "more room: those who wait connect at once",
        "CFG-3 SRV-3",
        Limits(max_size=1),
        (
            *_lend(1),
            *(Acquire(1, ticket) for ticket in (2, 3, 4)),
            Configure(2, Limits(max_size=3)),
            Configure(3, Limits(max_size=None)),
        ),
    )
    yield (
        "another-opener",
        "who connects cannot change",
        "CFG-2",
        Limits(max_size=1),
        (Configure(0, _background(max_size=4)), Acquire(0, 1)),
    )
    yield (
        "surplus-when-opened",
        "a connect that was under way when the pool shrank: granted to its ticket, else surplus",
        "OPN-2 SET-1 CFG-4",
        Limits(max_size=2),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Configure(0, Limits(max_size=1)),
            Opened(1, 1, "c1", 1),
            Opened(1, 2, "c2", 1),
            Release(2, 2, 2),
            Release(2, 1, 1),
        ),
    )
    yield (
        "surplus-in-background",
        "the same when connects are nobody's: a full pool grants nothing new",
        "OPN-3 OPN-4 SET-1",
        _background(max_size=3),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Acquire(0, 3),
            Opened(1, None, "c1", 1),
            Configure(1, _background(max_size=1)),
            Opened(2, None, "c2", 2),
            Opened(2, None, "c3", 2),
            Release(3, 1, 1),
        ),
    )
    yield (
        "stale",
        "leases from before a time end, in the order of their keys",
        "CST-1 SRV-3",
        Limits(max_size=3),
        (
            *_lend(1, now=7),
            *_lend(2, now=5),
            *_lend(3, now=6),
            Acquire(8, 4),
            CloseStale(9, 6),
            CloseStale(9, 5),
            CloseStale(10, 100),
            Release(11, 1, 1),
        ),
    )
    yield (
        "close-all",
        "idle ones as they would be lent, then those in use by key; who waits connects anew",
        "CAL-1 CAL-2 SRV-3",
        Limits(max_size=4),
        (
            *_lend(1, 2, 3, 4),
            Release(1, 3, 3),
            Release(1, 1, 1),
            Suspend(1),
            Acquire(1, 5),
            CloseAll(2),
            Resume(3),
            Release(3, 2, 2),
        ),
    )
    yield (
        "drained-and-filled-again",
        "a pool that is emptied opens again what it owes",
        "CLI-1 SRV-4",
        _background(max_size=3, min_idle=2),
        (
            Tick(0),
            Opened(0, None, "c1", 0),
            Opened(0, None, "c2", 0),
            CloseIdle(1),
            Opened(2, None, "c3", 2),
            Retire(3),
        ),
    )


def _phases() -> Iterator[Any]:
    yield (
        "suspended",
        "tickets queue, connects finish into their ticket, resume serves in order",
        "SUS-1 SUS-2 SRV-1 RES-1 RES-2 AWY-1",
        Limits(max_size=2),
        (
            Resume(0),
            *_lend(1),
            Acquire(1, 2),
            Suspend(1),
            Suspend(1),
            Opened(2, 2, "c2", 2),
            Release(3, 1, 1),
            Acquire(3, 3),
            Acquire(3, 4),
            Acquire(3, 5, wait=False),
            Acquire(3, 6),
            Expire(4, 3),
            Resume(5),
            Release(6, 4, 1),
        ),
    )
    yield (
        "suspended-in-background",
        "connects under way finish into idle, and no other is asked for",
        "SUS-2 OPN-4 SRV-1 RES-2",
        _background(max_size=3, min_idle=1),
        (
            Acquire(0, 1),
            Suspend(0),
            Opened(1, None, "c1", 1),
            Opened(1, None, "c2", 1),
            CloseIdle(2),
            Tick(2),
            Resume(3),
        ),
    )
    yield (
        "shut-down",
        "those who wait or connect are refused in ticket order; late ones are closed",
        "SHU-1 SHU-2 SHU-3 SHU-4 OPN-1 SET-1 ACQ-2 DEA-4 DIS-2 CAN-4",
        Limits(max_size=4, max_opening=1),
        (
            *_lend(1, 2, 3, 4),
            Release(1, 4, 4),
            Release(1, 3, 3),
            Discard(1, 2, 2),
            Configure(1, Limits(max_size=4, max_opening=1, idle_order="fifo")),
            Suspend(1),
            Acquire(1, 5),
            Acquire(1, 6),
            Resume(1),
            Acquire(2, 7),
            Acquire(2, 8),
            Shutdown(3),
            Opened(4, 7, "c7", 4),
            Release(4, 1, 1),
            Dead(4, 5, 4),
            Cancel(4, 6),
            Acquire(5, 9),
            Shutdown(5),
            Resume(5),
            Suspend(5),
            Retire(5),
            Configure(5, Limits()),
            Adopt(5),
            Tick(5),
        ),
    )
    yield (
        "shut-down-in-background",
        "connects that are nobody's are closed when they come, and failures change nothing much",
        "SHU-3 OPN-4 SET-1 OPF-3",
        _background(max_size=3),
        (
            Acquire(0, 1),
            Acquire(0, 2),
            Shutdown(0),
            Opened(1, None, "c1", 1),
            OpenFailed(1, None, AWAY),
            Opened(1, None, "c2", 1),
            Tick(9),
        ),
    )
    yield (
        "ignored-when-closed",
        "what a closed pool ignores",
        "RET-1 CFG-1 SUS-1 RES-1 SHU-1 ADO-1",
        Limits(),
        (
            Shutdown(0),
            Retire(1),
            Configure(1, Limits()),
            Suspend(1),
            Resume(1),
            Shutdown(1),
            Adopt(1),
        ),
    )
    yield (
        "forked",
        "the child begins empty: nothing is closed, tickets and keys go on",
        "FRK-1 FRK-2 ACQ-1 OPN-1",
        Limits(max_size=2),
        (
            *_lend(1, 2),
            Release(1, 1, 1),
            OpenFailed(1, 9, AWAY),
            Discard(1, 2, 2),
            Acquire(1, 3),
            Acquire(1, 4),
            Acquire(1, 5),
            Retire(1),
            OpenFailed(2, 4, AWAY),
            Acquire(2, 6),
            Forked(3),
            Release(4, 3, 1),
            Opened(4, 5, "c5", 4),
            Acquire(4, 6),
            Acquire(4, 7),
            Opened(5, 7, "c7", 0.5),
            Release(6, 7, 4),
        ),
    )
    yield (
        "forked-in-background",
        "connects and the pause are forgotten; what is owed is asked for at once",
        "FRK-2 SRV-4",
        _background(max_size=3, min_idle=1),
        (
            Tick(0),
            Opened(0, None, "c1", 0),
            Acquire(1, 1),
            OpenFailed(1, None, AWAY),
            Forked(1.125),
            Opened(2, None, "c2", 2),
            Opened(2, None, "c3", 2),
        ),
    )
    yield (
        "forked-when-suspended",
        "the phase stays",
        "FRK-1 SRV-1",
        Limits(max_size=1),
        (*_lend(1), Suspend(1), Acquire(1, 2), Forked(2), Acquire(3, 3), Resume(4)),
    )


def _adapters() -> Iterator[Any]:
    yield (
        "adopted",
        "connections put in: keys of their own, jitter 0, idle from now",
        "ADO-3 ADO-4 ADO-5 REL-3",
        Limits(max_size=4, idle_order="oldest"),
        (
            *_lend(1, now=10),
            Adopt(
                12,
                idle=(AdoptIdle(None, "a1", 3, 7), AdoptIdle(None, "a2", 2.5, 7)),
                in_use=(AdoptLease(None, "a3", 1, 11),),
                next_seq=6,
            ),
            Acquire(13, 2),
            Release(14, 0, 10),
            Acquire(15, 3),
            Acquire(15, 4),
        ),
    )
    yield (
        "changed",
        "what is known takes what was given, and keeps the rest",
        "ADO-3 ADO-4 ADO-5",
        Limits(max_size=4, max_lifetime=64.0, leak_after=4.0),
        (
            *_lend(1, 2, 3, now=10, jitter=0.5),
            Release(11, 1, 1),
            Release(12, 2, 2),
            Tick(14),
            Adopt(
                15,
                idle=(AdoptIdle(1, "b1", 9, 40), AdoptIdle(2, "c2", 8, 2)),
                in_use=(AdoptLease(3, "b3", 7, 6),),
                next_seq=3,
            ),
            Acquire(16, 4),
            Tick(17),
            Release(18, 3, 3),
        ),
    )
    yield (
        "removed",
        "what was removed is forgotten, without an effect; unknown keys are passed over",
        "ADO-2 SRV-3",
        Limits(max_size=2),
        (
            *_lend(1, 2),
            Release(1, 1, 1),
            Acquire(1, 3),
            Acquire(1, 4),
            Adopt(2, removed=(1, 1, 88)),
            Release(3, 3, 1),
            Adopt(3, removed=(2,)),
        ),
    )
    yield (
        "adopted-too-many",
        "what is put in above max_size is surplus if it is idle, and there if it is in use",
        "ADO-5 CFG-4",
        Limits(max_size=1, idle_order="fifo"),
        (
            Adopt(
                1,
                idle=(AdoptIdle(None, "a1", 1, 5), AdoptIdle(None, "a2", 1, 4)),
            ),
            Adopt(2, in_use=(AdoptLease(None, "a3", 1, 1), AdoptLease(None, "a4", 1, 2))),
            CloseStale(3, 2),
            Discard(3, 0, 9),
        ),
    )
    yield (
        "nobodys-lease",
        "ticket 0 may release and discard, but not be served again or cancelled",
        "DEA-2 CAN-1 CAL-2",
        Limits(max_size=3),
        (
            Adopt(
                1,
                in_use=tuple(AdoptLease(None, f"a{n}", 1, 1) for n in (1, 2, 3)),
            ),
            Dead(2, 0, 1),
            Cancel(2, 0),
            Release(2, 0, 1),
            Discard(2, 0, 2),
            CloseAll(2),
        ),
    )
    yield (
        "adopted-for-those-who-wait",
        "an idle connection put in serves the oldest who waits",
        "ADO-3 SRV-2",
        Limits(max_size=2),
        (
            *_lend(1, 2),
            Acquire(1, 3),
            Adopt(2, idle=(AdoptIdle(None, "a1", 2, 9),), removed=(1,)),
        ),
    )


LIMITS: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("all as they are by default", {}, ()),
    *(
        (f"{field} may be {value}", {field: value}, ())
        for field, value in (
            ("max_size", 1),
            ("max_size", None),
            ("max_size", 1_000_000),
            ("max_lifetime", 0.0009765625),
            ("max_lifetime", None),
            ("max_idle", 86_400),
            ("max_waiting", 0),
            ("max_waiting", None),
            ("max_opening", 1),
            ("max_connecting", 1),
            ("max_connecting", None),
            ("leak_after", 0.5),
            ("idle_order", "oldest"),
            ("idle_order", "lifo"),
            ("idle_order", "fifo"),
            ("opener", "caller"),
            ("opener", "background"),
            ("backoff_max", 60),
        )
    ),
    ("as many idle as fit", {"max_size": 3, "min_idle": 3, "opener": "background"}, ()),
    ("any number of idle", {"max_size": None, "min_idle": 9, "opener": "background"}, ()),
    ("pauses may be equal", {"backoff_initial": 2, "backoff_max": 2}, ()),
    *(
        (f"{field} may not be {value!r}", {field: value}, (field,))
        for field, value in (
            ("max_size", 0),
            ("max_size", -1),
            ("max_size", 2.5),
            ("max_size", "10"),
            ("max_size", True),
            ("min_idle", -1),
            ("min_idle", None),
            ("min_idle", 0.5),
            ("max_lifetime", 0),
            ("max_lifetime", -1),
            ("max_lifetime", "1"),
            ("max_lifetime", False),
            ("max_idle", 0),
            ("max_waiting", -1),
            ("max_waiting", 1.5),
            ("max_opening", 0),
            ("max_connecting", 0),
            ("max_connecting", 1.5),
            ("leak_after", 0),
            ("idle_order", "newest"),
            ("idle_order", None),
            ("opener", "nobody"),
            ("opener", None),
            ("backoff_initial", 0),
            ("backoff_initial", None),
            ("backoff_max", 0),
            ("backoff_max", None),
        )
    ),
    (
        "more idle than fit",
        {"max_size": 2, "min_idle": 3, "opener": "background"},
        ("min_idle", "max_size"),
    ),
    (
        "nobody opens ahead of need where callers connect",
        {"min_idle": 1, "opener": "caller"},
        ("min_idle", "opener"),
    ),
    (
        "the longest pause is shorter than the first",
        {"backoff_initial": 2, "backoff_max": 1.5},
        ("backoff_max", "backoff_initial"),
    ),
)
"""Why, the limits, and the fields of which one may be named as wrong: none if they are valid."""
