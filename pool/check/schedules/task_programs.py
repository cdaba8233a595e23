"""The small programs of the runtime for asyncio, of which every order is tried.

Theory.  As `programs.py`, for tasks.  Each is as small as it can be and still have the thing in it
that its name says; `tasks.py` runs one, and says what must hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import MappingProxyType

from pool.check.schedules.programs import BOTH, CHECK, CONNECT, FIRST
from pool.check.schedules.tasks import Body, TaskPlay, Tasks
from pool.core.events import CloseAll, Configure, Event, Shutdown, Suspend
from pool.core.limits import Limits

TWO = Limits(max_size=2, opener="background")


def turn(timeout: float | None, end: str = "release", works: bool = False) -> Body:
    """Acquire, perhaps work, then `release`, `discard`, or `lose` it."""

    async def body(play: TaskPlay) -> None:
        handle = await play.take(timeout)
        if handle is None:
            return
        try:
            if works:
                await play.world.pause("work")
        except asyncio.CancelledError:
            del play.lent[handle.connection]
            play.runtime.give_back(handle)
            del handle  # the traceback has this frame
            raise
        del play.lent[handle.connection]
        if end == "release":
            await play.runtime.release(handle)
        elif end == "discard":
            play.runtime.discard(handle)

    return body


async def tidy(play: TaskPlay) -> None:
    """Acquire, work, and release in a `finally`, which awaits it."""
    handle = await play.take(None)
    assert handle is not None
    try:
        await play.world.pause("work")
    finally:
        del play.lent[handle.connection]
        try:
            await play.runtime.release(handle)
        finally:
            del handle  # the traceback has this frame


def send(make: Callable[[TaskPlay], Event]) -> Body:
    """One event."""

    async def body(play: TaskPlay) -> None:
        play.apply(make(play))

    return body


WAIT, DISCARD, LOSE, HURRY = turn(None), turn(None, "discard"), turn(None, "lose"), turn(1.0)
WORK = turn(None, works=True)
CLOSE = send(lambda play: Shutdown(play.world.now))
CLOSE_ALL = send(lambda play: CloseAll(play.world.now))
SUSPEND = send(lambda play: Suspend(play.world.now))
GROW = send(lambda play: Configure(play.world.now, TWO))

RESET, ALL = frozenset({"reset"}), frozenset({0, 1, 2})

_PROGRAMS = [
    Tasks("tasks", "three tasks, one connection", (WAIT, WAIT, WAIT)),
    Tasks("tasks-two", "three tasks, two connections", (WORK, WORK, WORK), TWO, slow=CONNECT),
    Tasks("tasks-deadlines", "waits that may end by time", (WORK, HURRY, turn(2.0)), slow=CONNECT),
    Tasks(
        "tasks-endings",
        "a release, a discard and a lost handle",
        (WAIT, DISCARD, LOSE),
        keeps=False,
    ),
    Tasks("tasks-failing", "two connects fail", (WAIT, HURRY), failing=2, slow=CONNECT),
    Tasks(
        "tasks-dead",
        "what rests is dead",
        (WAIT, HURRY),
        idle=1,
        is_dead=True,
        slow=CHECK,
        keeps=False,
    ),
    Tasks(
        "tasks-dead-suspended",
        "what rests is dead, and nothing else is to be had",
        (HURRY, SUSPEND),
        idle=1,
        is_dead=True,
        slow=CHECK,
        keeps=False,
    ),
    Tasks(
        "tasks-checked",
        "what rests is asked, by tasks with deadlines",
        (HURRY, HURRY),
        idle=1,
        slow=CHECK,
    ),
    Tasks(
        "tasks-hanging",
        "a check takes too long",
        (HURRY,),
        idle=1,
        slow=CHECK,
        check_timeout=0.5,
        keeps=False,
    ),
    Tasks("tasks-reset", "what comes back is reset", (WAIT, WAIT), resets=True, slow=RESET),
    Tasks(
        "tasks-cancelled",
        "a task is cancelled, whenever",
        (WORK, WAIT, WAIT),
        cancellable=ALL,
    ),
    Tasks(
        "tasks-cancelled-pair",
        "one of two tasks is cancelled, whenever",
        (WAIT, WAIT),
        cancellable=BOTH,
    ),
    Tasks(
        "tasks-cancelled-twice",
        "two cancellations",
        (WORK, WAIT),
        cancels=2,
        cancellable=BOTH,
        slow=CONNECT,
    ),
    Tasks(
        "tasks-cancelled-deadline",
        "a cancellation meets a deadline and a grant",
        (WORK, HURRY),
        cancellable=BOTH,
    ),
    Tasks(
        "tasks-cancelled-reset",
        "a cancellation meets a reset",
        (WORK, WAIT),
        cancels=2,
        cancellable=BOTH,
        resets=True,
        slow=RESET,
    ),
    Tasks(
        "tasks-cancelled-again",
        "a scope cancels a task, and whatever it awaits then",
        (tidy, WAIT),
        cancellable=BOTH,
        again=True,
        resets=True,
        slow=RESET | CONNECT,
    ),
    Tasks(
        "tasks-cancelled-check",
        "a cancellation meets a check",
        (HURRY, WAIT),
        idle=1,
        cancellable=BOTH,
        slow=CHECK,
    ),
    Tasks(
        "tasks-cancelled-dead",
        "a cancellation meets a check of what is dead",
        (WAIT, WAIT),
        idle=1,
        is_dead=True,
        cancellable=FIRST,
        slow=CHECK,
        keeps=False,
    ),
    Tasks(
        "tasks-cancelled-loss",
        "a cancellation meets a lost handle",
        (LOSE, WAIT),
        cancellable=BOTH,
        slow=frozenset({"close"}),
        keeps=False,
    ),
    Tasks("tasks-shutdown", "the pool is closed meanwhile", (WORK, WAIT, CLOSE), slow=CONNECT),
    Tasks(
        "tasks-close-all",
        "all is closed, also what is lent or being asked",
        (WAIT, DISCARD, CLOSE_ALL),
        idle=1,
        slow=CHECK,
        keeps=False,
    ),
    Tasks(
        "tasks-close-all-reset",
        "all is closed, also what is being reset",
        (WAIT, CLOSE_ALL),
        resets=True,
        slow=RESET,
    ),
    Tasks(
        "tasks-eager",
        "eager tasks, whose driver has the pool apply an event",
        (WORK, HURRY),
        TWO,
        slow=CONNECT,
        eager=True,
        meddles=True,
    ),
    Tasks(
        "tasks-eager-at-once",
        "eager tasks that end before they are known",
        (WAIT, DISCARD, LOSE),
        resets=True,
        eager=True,
        meddles=True,
        keeps=False,
    ),
    Tasks(
        "tasks-eager-failing",
        "eager connects that fail before they are known",
        (WAIT, HURRY),
        failing=2,
        eager=True,
        meddles=True,
    ),
    Tasks(
        "tasks-eager-cancelled",
        "a cancellation meets what eager tasks do",
        (WORK, WAIT),
        idle=1,
        cancellable=BOTH,
        resets=True,
        slow=CHECK | RESET,
        eager=True,
        meddles=True,
    ),
    Tasks("tasks-resize", "one more may be made while two wait", (WORK, WAIT, GROW)),
]

TASKS = MappingProxyType({one.name: one for one in _PROGRAMS})
"""By name: seconds each."""
