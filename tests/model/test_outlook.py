"""What one walk has shown holds until a `Tick` is due: never longer, and never much shorter.

Theory.  `wake_at` is the truth, and walks.  On random histories, in which connects take so long
that what is opened later may end earlier, an `Outlook` that says it holds is compared with it at
every state; and with nobody telling of anything, its pause is never over too late.  The histories
are made here and not by the machine of the checks, for an outlook depends on when connects began.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.events import (
    Acquire,
    Adopt,
    AdoptIdle,
    Configure,
    Discard,
    Event,
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
from pool.core.outlook import JITTER, Outlook, next_look, walk
from pool.core.state import Failure, State, initial, leased
from pool.core.transition import step, wake_at

LIMITS = Limits(max_size=4, max_lifetime=64.0, opener="background")


class History:
    """A pool, its time, and the connects that are under way, as a runtime would have them."""

    def __init__(self, limits: Limits, random: Random) -> None:
        self.now = 1.0
        self.random = random
        self.state = initial(limits)
        self.under_way: list[float] = []

    def apply(self, event: Event) -> None:
        self.state, _ = step(self.state, event)
        while len(self.under_way) < self.state.opening_background:
            self.under_way.append(self.now)

    def walk(self) -> Outlook:
        return walk(self.state, self.now, min([self.now, *self.under_way]))

    def is_due(self) -> bool:
        due = wake_at(self.state)
        return due is not None and self.now >= due

    def lend_or_return(self) -> None:
        """What happens without the watch being told."""
        if self.state.in_use and self.random.random() < 0.5:
            key, lease = self.random.choice(sorted(leased(self.state.in_use).items()))
            self.apply(Release(self.now, lease.ticket, key, True))
        elif self.state.idle:
            self.apply(Acquire(self.now, self.state.next_ticket, True, None))

    def anything(self) -> None:
        """What happens, and ends with the watch being told."""
        pick, state, now = self.random.random, self.state, self.now
        which = self.random.randrange(12)
        if which < 3:
            self.apply(Acquire(now, state.next_ticket, True, None))
        elif which < 6 and self.under_way:
            began = self.under_way.pop(self.random.randrange(len(self.under_way)))
            if pick() < 0.8:
                self.apply(Opened(now, None, object(), began, pick() * JITTER))
            else:
                self.apply(OpenFailed(now, None, Failure("E", ""), pick() / 2))
        elif which < 9:
            self.lend_or_return()
        else:
            self.seldom(which)

    def seldom(self, which: int) -> None:
        now, state, pick = self.now, self.state, self.random.random
        if which == 9:
            self.apply(Tick(now))
        elif which == 10 and state.in_use:
            key, lease = sorted(leased(state.in_use).items())[0]
            self.apply(Discard(now, lease.ticket, key))
        elif pick() < 0.3:
            lifetime = 10 * pick() + 0.1
            changed = attrs.evolve(state.limits, max_lifetime=lifetime)
            self.apply(self.random.choice([Configure(now, changed), Retire(now)]))
        elif pick() < 0.3:
            old = AdoptIdle(None, object(), now * pick(), state.next_seq)
            self.apply(Adopt(now, idle=(old,)))
        elif pick() < 0.3:
            self.apply(Resume(now) if state.phase == "suspended" else Suspend(now))
        elif pick() < 0.1:
            self.apply(Shutdown(now))


def some_limits(random: Random) -> Limits:
    def seconds() -> float | None:
        return random.choice([None, 0.5, 3.0, 9.0])

    return Limits(
        max_size=random.choice([3, None]),
        min_idle=random.choice([0, 0, 1, 2]),
        max_lifetime=seconds(),
        max_idle=seconds(),
        leak_after=seconds(),
        opener="background",
    )


@given(st.randoms(use_true_random=False))
def test_while_it_holds_no_tick_is_due(random: Random) -> None:
    history = History(some_limits(random), random)
    seen = history.walk()
    for _ in range(60):
        history.now += random.choice([0.0, 0.1, 1.0, 4.0])
        history.anything()
        if seen.holds(history.state, history.now):
            assert not history.is_due()
        else:
            if history.is_due():
                history.apply(Tick(history.now))
            seen = history.walk()


@given(st.randoms(use_true_random=False))
def test_a_pause_is_over_before_a_tick_is_due(random: Random) -> None:
    """Though connections are lent and returned meanwhile, of which nobody tells. But for one that
    is above `min_idle` only because another came back: it stays for `max_idle` at most."""
    history = History(attrs.evolve(some_limits(random), min_idle=0), random)
    seen = history.walk()
    for _ in range(40):
        history.now += random.choice([0.0, 0.1, 1.0])
        history.anything()
        if history.is_due():
            history.apply(Tick(history.now))
        if not seen.holds(history.state, history.now):
            seen = history.walk()
        pause = seen.pause(history.state, history.now)
        until = history.now + (9.0 if pause is None else pause)
        for _ in range(4):
            history.now += (until - history.now) * random.random() * 0.999
            history.lend_or_return()
            due = wake_at(history.state)
            assert due is None or history.now < due or history.now >= until


# ---------------------------------------------------------------- one by one


def lent(limits: Limits = LIMITS, began: float = 100.0) -> State:
    state, _ = step(initial(limits), Acquire(100.0, 1, True, None))
    return step(state, Opened(100.0, None, "first", began, 0.0))[0]


def opened(state: State, now: float, began: float, jitter: float = 0.0) -> State:
    state, _ = step(state, Acquire(now, state.next_ticket, True, None))
    return step(state, Opened(now, None, "later", began, jitter))[0]


def test_an_end_that_comes_later_and_is_earlier() -> None:
    """A connect that hung for long brings a connection that is old: 164 is when the first ends."""
    state = lent()
    seen = walk(state, 100.0, 90.0)
    assert (seen.due, seen.due_if_opened) == (164.0, 90.0 + 64.0 * 0.9)
    later = opened(state, 140.0, 90.0, 0.09)
    assert seen.holds(later, 140.0)
    pause = seen.pause(later, 140.0)
    assert pause is not None
    assert 140.0 + pause <= 90.0 + 64.0 * 0.91, "its end"
    assert not seen.holds(later, 140.0 + pause)
    assert walk(later, 140.0 + pause, 140.0).due == 90.0 + 64.0 * (1 - 0.09)


def test_what_nobody_opened_is_no_reason_to_look() -> None:
    """A connect that hangs longer than a connection lives must not keep the watch awake."""
    state = lent()
    seen = walk(state, 100.0, 1.0)
    assert seen.due_if_opened is not None
    assert seen.due_if_opened < 100.0
    assert seen.holds(state, 120.0)
    assert seen.pause(state, 120.0) == 44.0


def change_limits(state: State) -> Event:
    return Configure(101.0, attrs.evolve(LIMITS, max_lifetime=2.0))


CHANGES: dict[str, Callable[[State], Event]] = {
    "limits": change_limits,
    "phase": lambda state: Suspend(101.0),
    "drained": lambda state: Retire(101.0),
    "adopted": lambda state: Adopt(101.0, idle=(AdoptIdle(None, "x", 1.0, 9),)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_could_not_be_foreseen(what: str) -> None:
    state = lent()
    seen = walk(state, 100.0, 100.0)
    assert seen.holds(state, 101.0)
    assert not seen.holds(step(state, CHANGES[what](state))[0], 101.0)


def test_a_pause_after_a_failure_is_not_foreseen_either() -> None:
    state = lent()
    seen = walk(state, 100.0, 100.0)
    state, _ = step(state, Acquire(100.0, 2, True, None))
    state, _ = step(state, OpenFailed(101.0, None, Failure("E", ""), 0.0))
    assert state.retry_at == 101.1
    assert seen.holds(state, 101.0)
    assert seen.pause(state, 101.0) == pytest.approx(0.1)
    assert not seen.holds(state, 101.1)
    suspended, _ = step(state, Suspend(101.05))
    assert walk(suspended, 101.05, 101.05).pause(suspended, 101.05) == pytest.approx(62.95)


def test_one_that_rested_long_is_above_min_idle_now() -> None:
    limits = Limits(max_size=4, min_idle=1, max_idle=50.0, opener="background")
    state = opened(lent(limits), 100.0, 100.0)
    state = opened(state, 100.0, 100.0)
    keys = sorted(state.in_use)
    tickets = [leased(state.in_use)[key].ticket for key in keys]
    state, _ = step(state, Release(100.0, tickets[0], keys[0], True))
    seen = walk(state, 149.0, 149.0)
    assert seen.holds(state, 160.0)
    assert seen.pause(state, 160.0) == 39.0
    state, _ = step(state, Release(160.0, tickets[1], keys[1], True))
    assert wake_at(state) == 150.0
    assert not seen.holds(state, 160.0)


def test_the_end_of_what_is_lent() -> None:
    """If it comes back a moment before, nobody tells the watch."""
    assert next_look(lent(), 120.0) == 44.0
    assert next_look(lent(), 165.0) is None, "that is over: it is closed when it comes back"
    assert next_look(step(lent(), Shutdown(101.0))[0], 120.0) is None


def test_the_histories_meet_what_they_are_about() -> None:
    met: set[str] = set()
    for number in range(200):
        random = Random(number)
        history = History(some_limits(random), random)
        for _ in range(60):
            history.now += random.choice([0.0, 0.1, 1.0, 4.0])
            history.anything()
            met.add(history.state.phase)
            if history.state.counters.adopted:
                met.add("adopted")
            if history.under_way and min(history.under_way) < history.now - 3:
                met.add("slow")
            if history.is_due():
                met.add("due")
    assert met == {"adopted", "closed", "open", "suspended", "slow", "due"}


@pytest.mark.parametrize(
    ("resting", "min_idle", "idle", "holds"),
    [(1, 1, 2, False), (2, 2, 3, False), (0, 1, 2, True), (1, 1, 1, True), (2, 1, 2, True)],
)
def test_one_that_is_in_surplus_only_now_is_looked_at(
    resting: int, min_idle: int, idle: int, holds: bool
) -> None:
    """It may have rested for long, among those that `min_idle` keeps."""
    nothing: dict[str, Any] = {"max_size": 5, "max_idle": None, "max_lifetime": None}
    state = initial(Limits(opener="caller", **nothing))
    for ticket in range(1, idle + 1):
        state, _ = step(state, Acquire(0.0, ticket))
        state, _ = step(state, Opened(0.0, ticket, f"connection {ticket}", 0.0))
    for ticket in range(1, idle + 1):
        state, _ = step(state, Release(0.0, ticket, ticket, True))
    state = state._replace(limits=Limits(min_idle=min_idle, opener="background", **nothing))
    outlook = walk(state, 0.0, 0.0)
    assert outlook.resting == idle
    assert attrs.evolve(outlook, resting=resting).holds(state, 0.0) is holds


def test_a_lease_whose_time_is_just_over_is_nothing_to_look_at() -> None:
    """It is closed when it comes back: until then each look would ask for another at once."""
    state = initial(Limits(max_size=1, opener="background", max_lifetime=10.0, max_idle=None))
    for event in (Acquire(0.0, 1), Opened(1.0, None, "c", 1.0)):
        state, _ = step(state, event)
    pauses = [walk(state, now, now).pause(state, now) for now in (10.5, 11.0, 11.5)]
    assert pauses == [0.5, None, None]
