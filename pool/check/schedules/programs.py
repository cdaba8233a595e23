"""The programs whose every order is tried: a few callers, and one of each thing that can go wrong.

Theory.  What can go wrong between threads does so with two or three of them and a connection or
two.  So programs are as small as that, and there is one for each way to end a checkout, to be
refused, to be interrupted, or to have the pool changed under one's feet.  Three threads meet in a
coarse world; what is done without a lock is tried in fine ones, mostly with two.

What this file refuses to know: what must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from pool.check.schedules.threads import HELPED, TWO, Play, Setting
from pool.core.events import CloseAll, Configure, Event, Shutdown, Tick


def turn(timeout: float | None, end: str = "release") -> Callable[[Play], None]:
    """Acquire, then `release`, `discard`, or `lose` it."""

    def body(play: Play) -> None:
        handle = play.acquire(timeout)
        if handle is None:
            return
        if end == "lose":
            play.lose(handle.connection)
            del handle
        else:
            play.give_back(handle, getattr(play.runtime, end))

    return body


def send(make: Callable[[Play], Event]) -> Callable[[Play], None]:
    """One event."""
    return lambda play: play.apply(make(play))


def _time(kind: Callable[[float], Event]) -> Callable[[Play], None]:
    return send(lambda play: kind(play.world.now))


def _grow(play: Play) -> None:
    play.apply(Configure(play.world.now, TWO))


WAIT, DISCARD, LOSE, HURRY = turn(None), turn(None, "discard"), turn(None, "lose"), turn(1.0)
TICK, CLOSE, CLOSE_ALL = _time(Tick), _time(Shutdown), _time(CloseAll)

CONNECT, CHECK = frozenset({"connect"}), frozenset({"is_alive"})
ALWAYS = frozenset({"connect", "reset", "is_alive", "close"})

FIRST, BOTH = frozenset({0}), frozenset({0, 1})

_COARSE = [
    Setting("handover", "three checkouts, one connection", (WAIT, WAIT, WAIT)),
    Setting("two-connections", "three checkouts, two connections", (WAIT, WAIT, WAIT), TWO),
    Setting("deadlines", "waits that may end by time", (WAIT, HURRY, turn(2.0))),
    Setting("endings", "a release, a discard and a lost handle", (WAIT, DISCARD, LOSE)),
    Setting(
        "failed-connects",
        "two connects fail; each is its caller's own, and strands nobody",
        (WAIT, HURRY, WAIT),
        failing=2,
        slow=CONNECT,
    ),
    Setting("dead", "what rests is dead", (WAIT, HURRY, WAIT), idle=1, is_dead=True, slow=CHECK),
    Setting(
        "interrupted-waiter",
        "an exception comes to one of those who wait",
        (WAIT, WAIT, WAIT),
        interruptible=FIRST,
    ),
    Setting(
        "interrupted-holder",
        "an exception comes to one who connects, resets or closes",
        (DISCARD, WAIT),
        interruptible=BOTH,
        slow=ALWAYS,
    ),
    Setting(
        "interrupted-loss",
        "an exception comes to one who reads the inbox",
        (LOSE, TICK, WAIT),
        interruptible=BOTH,
    ),
    Setting("shutdown", "the pool is closed meanwhile", (WAIT, WAIT, CLOSE), slow=CONNECT),
    Setting(
        "close-all",
        "all is closed, also what is lent or being checked",
        (WAIT, DISCARD, CLOSE_ALL),
        idle=1,
        slow=CHECK,
    ),
    Setting("resize", "one more may be made while two wait", (WAIT, WAIT, _grow)),
]

_FINE = [
    Setting("handover-fine", "three checkouts, one connection", (WAIT, WAIT, WAIT), fine=True),
    Setting("deadline-fine", "a wait that may end by time", (WAIT, HURRY), fine=True),
    Setting(
        "loss-fine", "a handle is lost while others leave the lock", (LOSE, TICK, WAIT), fine=True
    ),
    Setting(
        "interrupted-fine",
        "an exception comes to one of two",
        (WAIT, WAIT),
        interruptible=FIRST,
        fine=True,
    ),
    Setting(
        "interrupted-loss-fine",
        "an exception comes to one who reads the inbox",
        (LOSE, TICK),
        interruptible=frozenset({1}),
        fine=True,
    ),
    Setting(
        "interrupted-holder-fine",
        "an exception comes to one who connects, resets or closes",
        (DISCARD, WAIT),
        interruptible=BOTH,
        slow=ALWAYS,
        fine=True,
    ),
    Setting(
        "interrupted-close-fine",
        "an exception comes to one who answers a waiter by closing what is lent",
        (HURRY, CLOSE_ALL),
        held=1,
        interruptible=frozenset({1}),
        fine=True,
    ),
]

_HELPED = [
    Setting("helpers", "two checkouts; helpers connect", (WAIT, WAIT), HELPED),
    Setting("helpers-discard", "helpers connect and close", (DISCARD,), HELPED, slow=ALWAYS),
    Setting("helpers-deadline", "a wait that may end by time", (HURRY,), HELPED),
    Setting("helpers-loss", "a lost handle", (LOSE,), HELPED),
    Setting("helpers-failing", "two connects fail", (WAIT,), HELPED, failing=2),
    Setting("helpers-dead", "what rests is dead", (WAIT,), HELPED, idle=1, is_dead=True),
    Setting(
        "helpers-interrupted",
        "an exception comes to one who waits",
        (WAIT,),
        HELPED,
        interruptible=FIRST,
    ),
]

_DEEP = [
    Setting("two-connections-fine", "as two-connections", (WAIT, WAIT, WAIT), TWO, fine=True),
    Setting("endings-fine", "as endings", (WAIT, DISCARD, LOSE), fine=True),
    Setting(
        "interrupted-fine-three",
        "an exception comes to one of three",
        (WAIT, WAIT, WAIT),
        interruptible=FIRST,
        fine=True,
    ),
    Setting(
        "interrupted-loss-fine-three",
        "an exception comes to one who reads the inbox, while another waits",
        (LOSE, TICK, WAIT),
        interruptible=BOTH,
        fine=True,
    ),
    Setting("helpers-losses", "two lost handles", (LOSE, LOSE), HELPED),
    Setting("helpers-discards", "a discard and a checkout", (DISCARD, WAIT), HELPED),
    Setting("helpers-shutdown", "the pool is closed meanwhile", (WAIT, CLOSE), HELPED),
    Setting(
        "helpers-interrupted-two",
        "an exception comes to one of two",
        (WAIT, WAIT),
        HELPED,
        interruptible=FIRST,
    ),
]

PROGRAMS = MappingProxyType({one.name: one for one in (*_COARSE, *_FINE, *_HELPED)})
"""By name: seconds each."""

DEEP = MappingProxyType({one.name: one for one in _DEEP})
"""Those that take minutes."""
