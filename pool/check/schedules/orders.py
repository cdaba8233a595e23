"""All orders in which the threads of a small program can meet, one after the other.

Theory.  In a `World` (`scheduler.py`) a run is nothing but its list of choices, so all runs can be
had: depth first, each time from the beginning, with the last choice that can be changed changed.
A run that comes to where another one was before is broken off.  Where it is, is a key: what the
threads share, the time, and of each thread at which lock it stands, until when, and its stack of
frames with what is in them.

A key that tells too few places apart would hide what follows; so very small programs are also
run without it, for the same outcomes.

What it refuses to know: what a program does, and what must hold there (`threads.py`, `tasks.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable
from typing import Protocol

import attrs

from pool.check.interrupts import came, checkpoint
from pool.check.schedules.scheduler import MOST_STEPS, Collector, Violated, World, quiet_finalizers

PROGRESS_EVERY = 200
"""Runs between two reports."""

COLLECT_EVERY = 100
"""Runs after which what they left is looked through."""


class Program(Protocol):
    """A world with threads in it, and what must hold there."""

    world: World

    def key(self) -> Hashable:
        """Everything that what comes depends on."""

    def quiet(self) -> None:
        """Nobody can go on, but by time or an exception. Raises `Violated`."""

    def finish(self) -> Hashable:
        """All threads have ended: what came of it. Raises `Violated`."""


@attrs.define
class Schedules:
    """What was found in all orders of a program. `complete` is false if `most` ended it."""

    interleavings: int = 0
    """Runs, those included that were broken off where another one had been."""
    states: int = 0
    """Places in which there was something to choose."""
    outcomes: set[Hashable] = attrs.field(factory=set)
    complete: bool = False
    violation: Violated | None = None
    schedule: tuple[int, ...] = ()
    """Of the violation: which of the options, each time that there was more than one."""
    story: tuple[str, ...] = ()
    """The same, as lines to be read."""
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Interleavings per second."""
        return self.interleavings / self.seconds if self.seconds else 0.0

    @property
    def progress(self) -> str:
        """How far it has come, in a few words."""
        return (
            f"{self.interleavings:,} interleavings, {self.states:,} states, {self.rate:,.0f} runs/s"
        )


def explore(
    make: Callable[[], Program],
    *,
    cached: bool = True,
    most: int | None = None,
    progress: Callable[[Schedules], None] | None = None,
) -> Schedules:
    """Run the program in every order, up to the first violation; at most so many times.

    `cached=False` tries every order from every place anew: for very small programs. Raises
    `Stopped`."""
    found = Schedules()
    seen: set[Hashable] | None = set() if cached else None
    tree: list[tuple[int, int]] = []  # of each choice: which, and of how many
    began = time.perf_counter()
    collector = Collector()
    with contextlib.closing(collector), quiet_finalizers() as ended:
        while most is None or found.interleavings < most:
            checkpoint(found.progress if came() else "")
            ended.clear()
            _run(make(), tree, seen, found)
            found.interleavings += 1
            if found.interleavings % COLLECT_EVERY == 0:
                collector.between_worlds()
            for error in ended:
                if isinstance(error, KeyboardInterrupt):  # it came in a finalizer
                    raise error
            found.seconds = time.perf_counter() - began
            if found.violation is not None:
                found.schedule = tuple(index for index, _ in tree)
                found.story = replay(make, found.schedule).story
                break
            while tree and tree[-1][0] + 1 == tree[-1][1]:
                tree.pop()
            if not tree:
                found.complete = True
                break
            tree[-1] = tree[-1][0] + 1, tree[-1][1]
            if progress is not None and found.interleavings % PROGRESS_EVERY == 0:
                progress(found)
    found.seconds = time.perf_counter() - began
    return found


def replay(make: Callable[[], Program], schedule: tuple[int, ...]) -> Schedules:
    """Run one schedule again."""
    found = Schedules()
    with contextlib.closing(Collector()), quiet_finalizers():
        story: list[str] = []
        _run(make(), [(index, 0) for index in schedule], None, found, story)
        found.schedule, found.story = schedule, tuple(story)
    return found


def _run(
    program: Program,
    tree: list[tuple[int, int]],
    seen: set[Hashable] | None,
    found: Schedules,
    story: list[str] | None = None,
) -> None:
    """One run: as `tree` says, then the first option each time, which is added to it."""
    world = program.world
    depth = 0
    try:
        for _ in range(MOST_STEPS):
            options = world.options()
            if all(how != "go" for _, how in options):
                program.quiet()
                stuck = world.stuck()
                if not stuck:
                    found.outcomes.add(program.finish())
                    return
                if all(how == "interrupt" for _, how in options):  # which need not come
                    raise Violated("Deadlock", "; ".join(map(str, stuck)))
            choice = options[0]
            if len(options) > 1:
                if depth == len(tree):
                    if seen is not None:
                        key = program.key()
                        if key in seen:
                            return
                        seen.add(key)
                    found.states += 1
                    tree.append((0, len(options)))
                choice = options[tree[depth][0]]
                depth += 1
            if story is not None:
                how = "" if choice[1] == "go" else f" -> {choice[1]}"
                story.append(f"{world.threads[choice[0]]}{how}")
            world.take(choice)
        raise Violated("Livelock", f"still not done after {MOST_STEPS:,} steps")
    except Violated as violation:
        found.violation = violation.with_traceback(None)
    finally:
        world.abandon()
