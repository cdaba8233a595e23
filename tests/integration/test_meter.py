"""What a meter makes of events: each number, by hand.

Theory.  A meter is told events and effects, and knows nothing else; so here it is told them, with
times that can be added up in one's head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pool import Limits, initial, step
from pool.core.effects import Close, Effect, Grant, Ignored, Refuse
from pool.core.events import (
    Acquire,
    Cancel,
    Configure,
    Dead,
    Discard,
    Event,
    Expire,
    Forked,
    Opened,
    OpenFailed,
    Release,
    Tick,
)
from pool.core.state import Failure
from pool.metrics.reading import Reading
from pool.shared.meter import GROWTH, LEAST, MOST_BUCKETS, Meter, Sketch, Times, end_of


class Told:
    """A meter, and what it told of times."""

    def __init__(self, max_size: int | None = 1) -> None:
        self.times: list[tuple[str, float]] = []
        self.meter = Meter(max_size, lambda what, seconds: self.times.append((what, seconds)))

    def tell(self, event: Event, *effects: Effect) -> None:
        self.meter(event, effects)

    def acquire(self, now: float, ticket: int, key: int | None = None) -> None:
        effects: Sequence[Effect] = [] if key is None else [Grant(ticket, key, "one", 0.0)]
        self.tell(Acquire(now, ticket), *effects)

    def release(self, now: float, ticket: int, key: int, *effects: Effect) -> None:
        self.tell(Release(now, ticket, key), *effects)


def close(key: int, reason: Any = "dead") -> Close:
    return Close(key, "one", reason)


# ---------------------------------------------------------------- waits, holds, connects


def test_a_checkout_is_a_wait_and_a_hold() -> None:
    told = Told()
    told.acquire(10.0, 1, key=7)
    told.release(12.5, 1, 7)
    assert told.times == [("wait", 0.0), ("hold", 2.5)]
    meter = told.meter
    assert meter.waits.times() == Times(count=1, total=0.0, most=0.0, buckets={0: 1})
    assert (meter.holds.count, meter.holds.total, meter.holds.most) == (1, 2.5, 2.5)
    assert (meter.connects.count, meter.failed) == (0, 0)


def test_who_waits_waits_until_it_is_served() -> None:
    """By whatever event it is."""
    told = Told()
    told.acquire(10.0, 1, key=7)
    told.acquire(11.0, 2)
    told.acquire(12.0, 3)
    told.release(14.0, 1, 7, Grant(2, 7, "one", 0.0))
    told.tell(Discard(15.0, 2, 7), close(7, "discarded"), Grant(3, 8, "two", None))
    told.release(19.0, 3, 8)
    assert told.times == [
        *(("wait", 0.0), ("hold", 4.0), ("wait", 3.0)),
        *(("hold", 1.0), ("wait", 3.0), ("hold", 4.0)),
    ]
    assert told.meter.closed == {"discarded": 1}


def test_a_connect_takes_as_long_as_it_did() -> None:
    told = Told()
    told.tell(Opened(12.0, None, "one", 10.5))
    told.tell(OpenFailed(13.0, 4, Failure("OSError", "down")), Refuse(4, "open_failed", None))
    told.tell(OpenFailed(14.0, None, Failure("OSError", "down")))
    assert told.times == [("connect", 1.5)]
    assert told.meter.failed == 2
    assert told.meter.refused == {"open_failed": 1}


def test_a_clock_that_was_put_back_makes_no_time_negative() -> None:
    told = Told()
    told.tell(Opened(9.0, None, "one", 10.5))
    told.acquire(10.0, 1, key=7)
    told.release(5.0, 1, 7)
    assert told.times == [("connect", 0.0), ("wait", 0.0), ("hold", 0.0)]


def test_what_is_told_again_counts_once() -> None:
    """After an interrupt it may be."""
    told = Told()
    told.acquire(10.0, 1, key=7)
    event = Release(12.0, 1, 7)
    told.tell(event)
    told.tell(event)
    failed = OpenFailed(13.0, None, Failure("OSError", "down"))
    for _ in range(2):
        told.tell(failed)
    assert told.times == [("wait", 0.0), ("hold", 2.0)]
    assert told.meter.failed == 1


def test_what_was_ignored_counts_nothing() -> None:
    told = Told()
    told.acquire(10.0, 1, key=7)
    for event in (Release(11.0, 1, 7), Discard(11.0, 1, 7), Dead(11.0, 1, 7)):
        told.tell(event, Ignored("it is not lent to that ticket"))
    told.release(13.0, 1, 7)
    assert told.times == [("wait", 0.0), ("hold", 3.0)]


def test_what_is_not_held_ends_no_hold() -> None:
    """An idle connection that is closed, say."""
    told = Told()
    told.tell(Tick(10.0), close(3, "rested"), close(4, "rested"))
    told.release(11.0, 9, 9)
    assert told.times == []
    assert told.meter.closed == {"rested": 2}


def test_what_is_closed_while_it_is_held_ends_its_hold_once() -> None:
    told = Told()
    told.acquire(10.0, 1, key=7)
    told.tell(Tick(14.0), close(7, "stale"))
    told.release(15.0, 1, 7)
    assert told.times == [("wait", 0.0), ("hold", 4.0)]


def test_a_connection_found_dead_is_no_hold_and_its_caller_waits_on() -> None:
    """From when it first asked."""
    told = Told()
    told.acquire(10.0, 1)
    told.release(12.0, 9, 9, Grant(1, 7, "one", 1.0))
    told.tell(Dead(15.0, 1, 7), close(7))
    told.tell(Opened(16.0, 1, "two", 15.5), Grant(1, 8, "two", None))
    told.release(18.0, 1, 8)
    assert told.times == [("wait", 2.0), ("connect", 0.5), ("wait", 6.0), ("hold", 2.0)]
    told.tell(Dead(20.0, 3, 99))  # one of which it was not told
    told.tell(Opened(23.0, 3, "three", 23.0), Grant(3, 10, "three", None))
    assert told.times[-2:] == [("connect", 0.0), ("wait", 3.0)]


def test_who_gives_up_waits_and_holds_no_longer() -> None:
    told = Told(max_size=1)
    told.acquire(10.0, 1, key=7)
    told.acquire(11.0, 2)
    told.tell(Cancel(12.0, 2))
    told.tell(Cancel(13.0, 5))
    told.tell(Cancel(15.0, 1), close(7, "discarded"))
    assert told.times == [("wait", 0.0), ("hold", 5.0)]
    assert told.meter.saturated == 1.0
    told.tell(Cancel(16.0, 1))
    assert len(told.times) == 2, "what it held has ended"


def test_a_cancel_ends_a_hold_though_its_connection_stays() -> None:
    told = Told()
    told.acquire(10.0, 1, key=7)
    told.tell(Cancel(15.0, 1))
    assert told.times == [("wait", 0.0), ("hold", 5.0)]


def test_who_is_refused_waits_no_longer() -> None:
    told = Told(max_size=1)
    told.acquire(10.0, 1, key=7)
    told.tell(Acquire(10.0, 2, False), Refuse(2, "exhausted", None))
    told.acquire(11.0, 3)
    told.tell(Expire(13.0, 3), Refuse(3, "timeout", None))
    told.tell(Acquire(14.0, 4, False), Refuse(4, "exhausted", None))
    told.tell(Tick(20.0))
    assert told.meter.refused == {"exhausted": 2, "timeout": 1}
    assert told.meter.saturated == 2.0, "while one waited"


def test_a_child_process_begins_with_nobody() -> None:
    told = Told(max_size=1)
    told.acquire(10.0, 1, key=7)
    told.acquire(11.0, 2)
    told.tell(Forked(12.0))
    told.release(15.0, 1, 7)
    told.tell(Cancel(15.0, 1))
    told.tell(Tick(20.0))
    assert told.times == [("wait", 0.0)]
    assert told.meter.saturated == 1.0
    told.acquire(21.0, 3)
    told.tell(Opened(22.0, 3, "one", 21.0), Grant(3, 1, "one", None))
    assert told.times[-1] == ("wait", 1.0)


def test_who_asked_before_anybody_counted_has_waited_for_nothing_known() -> None:
    told = Told()
    told.tell(Tick(10.0), Grant(5, 7, "one", 0.0))
    told.release(12.0, 5, 7)
    assert told.times == [("wait", 0.0), ("hold", 2.0)]


def test_nobody_need_be_told_of_times() -> None:
    meter = Meter(1)
    meter(Acquire(10.0, 1), (Grant(1, 7, "one", 0.0),))
    meter(Release(11.0, 1, 7), ())
    assert (meter.holds.total, meter.waits.count) == (1.0, 1)


# ---------------------------------------------------------------- saturation


def test_it_is_saturated_while_all_is_in_use_and_somebody_waits() -> None:
    told = Told(max_size=2)
    told.acquire(1.0, 1, key=7)
    told.acquire(2.0, 2)
    told.tell(Tick(5.0))
    assert told.meter.saturated == 0.0, "one is to be had"
    told.tell(Opened(6.0, 2, "two", 5.0), Grant(2, 8, "two", None))
    told.tell(Tick(8.0))
    assert told.meter.saturated == 0.0, "nobody waits"
    told.acquire(10.0, 3)
    assert told.meter.saturated_until(13.0) == 3.0
    assert told.meter.saturated_until(9.0) == 0.0, "a clock may have been put back"
    told.tell(Tick(14.0))
    told.tell(Tick(16.0))
    assert told.meter.saturated == 6.0
    assert told.meter.saturated_until(17.0) == 7.0
    told.tell(Tick(15.0))
    assert told.meter.saturated == 6.0
    told.release(18.0, 1, 7, Grant(3, 7, "one", 0.0))
    assert told.meter.saturated == 9.0
    assert told.meter.saturated_until(99.0) == 9.0


def test_more_than_all_in_use_is_saturated_too() -> None:
    """After the limit was lowered."""
    told = Told(max_size=3)
    told.acquire(1.0, 1, key=7)
    told.acquire(1.0, 2, key=8)
    told.acquire(2.0, 3)
    told.tell(Configure(4.0, Limits(max_size=1)))
    told.tell(Tick(7.0))
    assert told.meter.saturated == 3.0
    told.tell(Configure(8.0, Limits(max_size=None)))
    told.tell(Tick(20.0))
    assert told.meter.saturated == 4.0, "without a limit it never is"


# ---------------------------------------------------------------- distributions


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        *((0.0, 0), (LEAST / 2, 0), (LEAST, 0)),
        *((LEAST * 1.01, 1), (LEAST * 1.049, 1), (LEAST * 1.051, 2)),
        (LEAST * 1.05**100 * 0.99, 100),
        (LEAST * 1.05**100 * 1.01, 101),
        (1e30, MOST_BUCKETS),
    ],
)
def test_a_time_is_in_the_bucket_that_ends_above_it(seconds: float, bucket: int) -> None:
    sketch = Sketch()
    sketch.add(seconds)
    assert sketch.buckets == {bucket: 1}
    if bucket < MOST_BUCKETS:
        assert seconds <= end_of(bucket) * (1 + 1e-9)
        assert bucket == 0 or seconds > end_of(bucket - 1)


def test_buckets_end_five_percent_apart() -> None:
    assert end_of(0) == LEAST
    assert end_of(1) == pytest.approx(LEAST * 1.05)
    assert end_of(200) == pytest.approx(LEAST * 1.05**200)
    assert pytest.approx(1.05) == math.exp(GROWTH)


def test_a_sketch_adds_up() -> None:
    sketch = Sketch()
    assert sketch.times() == Times()
    for seconds in (2.0, 5.0, 2.0, 1.0):
        sketch.add(seconds)
    times = sketch.times()
    assert (times.count, times.total, times.most, times.mean) == (4, 10.0, 5.0, 2.5)
    assert sorted(times.buckets.values()) == [1, 1, 2]
    sketch.add(7.0)
    assert times.count == sum(times.buckets.values()) == 4, "it was copied"


@pytest.mark.parametrize(
    ("part", "exact"), [(0.0, 1.0), (0.2, 1.0), (0.21, 2.0), (0.5, 3.0), (0.8, 4.0), (1.0, 5.0)]
)
def test_a_quantile_is_right_within_five_percent(part: float, exact: float) -> None:
    sketch = Sketch()
    for seconds in (3.0, 1.0, 5.0, 2.0, 4.0):
        sketch.add(seconds)
    assert exact <= sketch.times().quantile(part) <= exact * 1.05


def test_a_quantile_is_never_above_the_longest() -> None:
    sketch = Sketch()
    sketch.add(1.0)
    assert sketch.times().quantile(0.5) == 1.0
    assert Times().quantile(0.5) == 0.0
    assert Times().mean == 0.0
    assert Times(count=3, total=3.0, most=2.0, buckets={}).quantile(0.5) == 2.0


def test_buckets_are_not_in_its_text() -> None:
    assert repr(Times(count=1, total=2.0, most=2.0, buckets={3: 1})) == (
        "Times(count=1, total=2.0, most=2.0)"
    )


# ---------------------------------------------------------------- a reading


def test_a_reading_of_nothing() -> None:
    reading = Reading(state=initial(Limits(max_size=None)), meter=Meter(None), now=3.0)
    assert (reading.used, reading.idle, reading.waiting, reading.most) == (0, 0, 0, [])
    assert reading.counts == [("idle", 0), ("used", 0)]
    assert (reading.refused, reading.closed, reading.saturated, reading.oldest) == ([], [], 0, 0)


def test_a_reading_of_leases_and_of_those_who_wait() -> None:
    state = initial(Limits(max_size=2))
    for event in (
        *(Acquire(1.0, 1), Opened(2.0, 1, "one", 1.0), Acquire(2.5, 2), Opened(3.0, 2, "two", 2.5)),
        *(Acquire(3.0, 3), Acquire(3.0, 4)),
    ):
        state, _ = step(state, event)
    reading = Reading(state=state, meter=Meter(2), now=3.25)
    assert (reading.used, reading.idle, reading.waiting, reading.most) == (2, 0, 2, [2])
    assert reading.oldest == 1.25
    state, _ = step(state, Release(3.125, 1, 1))
    for ticket, key, now in ((2, 2, 3.125), (3, 1, 3.25)):
        state, _ = step(state, Release(now, ticket, key))
    assert Reading(state=state, meter=Meter(2), now=3.25).oldest == 0.125
    assert Reading(state=state, meter=Meter(2), now=2.0).oldest == 0.0, "a clock was put back"
    assert Reading(state=state, meter=Meter(2), now=3.25).counts == [("idle", 1), ("used", 1)]
