"""The protocol of the runtime for asyncio, `spec/Tasks.tla`: worlds in which TLC checks it, and
faults that it must find there.

Theory.  As `protocol.py`, for tasks.  Where a thread may be interrupted at any step, a task is
cancelled where it awaits something: each world says how many cancellations may come, to callers
and to the pool's own tasks, what may fail or take too long, and what becomes of the loop.

A fault is a file of `spec/mutants/tasks/`.
"""

from __future__ import annotations

from typing import Literal

import attrs

from pool.check.explore import protocol, tlc
from pool.check.explore.mutants import Change
from pool.check.explore.protocol import ANY, CLOSE_ALL, DISCARD, DROP, RELEASE, SHUTDOWN, Fault
from pool.core.limits import Limits

MODULES = ("Pool.tla", "Tasks.tla")
INVARIANTS = (
    "OneHolder",
    "ClosesOnce",
    "NotTorn",
    "NotTheParents",
    "AskedFor",
    "Spared",
    "Told",
    "Punctual",
    "Obeys",
    "Closes",
    "NothingLost",
)
PROMISES = (*INVARIANTS, *protocol.STEP_PROPERTIES, protocol.DEADLOCK)
"""What is checked in each world, by name."""


@attrs.frozen
class TaskWorld:
    """Tasks that share a pool, and what may happen to them."""

    name: str
    about: str
    programs: tuple[tuple[str, ...], ...]
    """As those of threads, but for `help`."""
    second: tuple[tuple[str, ...], ...] = ()
    """Of callers on a second loop, which come when the first one is closed, or in a child."""
    max_size: int = 1
    idle: int = 0
    """So many connections are idle at the beginning."""
    hurried: tuple[int, ...] = ()
    """Callers, from 0, with a deadline."""
    failures: bool = False
    """Connects and resets may fail."""
    checks: bool = False
    """What has rested is asked whether it is alive, and may be dead."""
    resets: bool = False
    """What comes back has to be reset."""
    patience: bool = False
    """Checks and closes may take too long."""
    eager: bool = False
    """Tasks run before they are known, and have the pool apply an event."""
    cancels: int = 1
    """So many callers' cancellations come, at any awaits."""
    kills: int = 0
    """So many come to tasks of the pool."""
    ending: Literal["", "closed", "forked"] = ""
    """What becomes of the first loop."""
    states: int = 0
    """So many does TLC find, those alike counted once."""

    @property
    def limits(self) -> Limits:
        return Limits(
            max_size=self.max_size, opener="background", backoff_initial=1.0, backoff_max=1.0
        )

    @property
    def callers(self) -> tuple[str, ...]:
        return tuple(f"t{n}" for n in range(1, len(self.programs + self.second) + 1))


def _by_name(*worlds: TaskWorld) -> dict[str, TaskWorld]:
    return {world.name: world for world in worlds}


WORLDS = _by_name(
    TaskWorld(
        "tasks-three", "three tasks and one connection", (ANY, RELEASE, RELEASE), states=8_083
    ),
    TaskWorld(
        "tasks-twice",
        "two cancellations, and what comes back is reset",
        (ANY, RELEASE),
        resets=True,
        cancels=2,
        kills=1,
        states=28_554,
    ),
    TaskWorld(
        "tasks-deadlines",
        "a deadline may pass, connects fail, and the pool's tasks are cancelled",
        (RELEASE, DISCARD),
        hurried=(0,),
        failures=True,
        kills=1,
        states=13_018,
    ),
    TaskWorld(
        "tasks-checks",
        "what rested is asked, may be dead, and the answer may be late",
        (RELEASE, RELEASE),
        idle=1,
        hurried=(0,),
        checks=True,
        states=15_351,
    ),
    TaskWorld(
        "tasks-closes",
        "all is closed while others check what they were given, or it is reset",
        (CLOSE_ALL, RELEASE),
        idle=1,
        hurried=(1,),
        checks=True,
        resets=True,
        patience=True,
        states=16_531,
    ),
    TaskWorld(
        "tasks-end", "the pool is shut down, and who does that waits", (ANY, SHUTDOWN), states=917
    ),
    TaskWorld(
        "tasks-eager",
        "two connects at once, of tasks that run before they are known",
        (RELEASE, DROP),
        max_size=2,
        eager=True,
        states=6_780,
    ),
    TaskWorld(
        "tasks-loop-closed",
        "the loop is closed, and the pool used on another",
        (ANY,),
        (RELEASE,),
        idle=1,
        hurried=(0,),
        checks=True,
        resets=True,
        ending="closed",
        states=1_998,
    ),
    TaskWorld(
        "tasks-forks",
        "the process is forked",
        (ANY, RELEASE),
        (RELEASE,),
        resets=True,
        ending="forked",
        states=4_589,
    ),
)
"""Those of `purepool check --profile ci`."""

DEEP = _by_name(
    TaskWorld(
        "tasks-three-twice",
        "three tasks, two cancellations, and what comes back is reset",
        (ANY, RELEASE, RELEASE),
        resets=True,
        cancels=2,
        states=64_335,
    ),
    TaskWorld(
        "tasks-three-checks",
        "what two tasks share is asked, reset, and may be dead, while all is closed",
        (RELEASE, DISCARD, CLOSE_ALL),
        idle=1,
        checks=True,
        resets=True,
        states=108_015,
    ),
    TaskWorld(
        "tasks-checks-killed",
        "what takes too long, fails, or is cancelled by others",
        (DISCARD, RELEASE),
        idle=1,
        hurried=(0,),
        failures=True,
        checks=True,
        patience=True,
        kills=1,
        states=235_058,
    ),
)
"""Larger ones, of `nightly`."""


def scope(world: TaskWorld) -> tuple[str, str]:
    """A module with the bounds of a world, and the .cfg that uses it."""
    callers, programs = world.callers, world.programs + world.second
    cases = [
        f"t = {caller} -> {tlc.tla(program)}"
        for caller, program in zip(callers, programs, strict=True)
    ]
    groups: dict[object, list[str]] = {}
    for number, (caller, program) in enumerate(zip(callers, programs, strict=True)):
        kind = (program, number in world.hurried, number >= len(world.programs))
        groups.setdefault(kind, []).append(caller)
    alike = " \\cup ".join(f"Permutations({{{', '.join(group)}}})" for group in groups.values())
    lines = [
        "---- MODULE Scope ----",
        "EXTENDS Tasks, TLC",
        f"CONSTANTS {', '.join(callers)}",
        f"ScopeCallers == {{{', '.join(callers)}}}",
        f"ScopeSecond == {{{', '.join(callers[len(world.programs) :])}}}",
        f"ScopeProgram(t) == CASE {' [] '.join(cases)}",
        f"ScopeHurried == {{{', '.join(callers[number] for number in world.hurried)}}}",
        f"ScopeChoices == {tlc.tla((world.limits,))}",
        f"Alike == {alike}",
        "====",
    ]
    settings = [
        "CONSTANTS",
        "  None = None",
        *(f"  {caller} = {caller}" for caller in callers),
        "  Start = 1",
        "  Shape <- Kept",
        "  Clock <- Still",
        *(f"  {name} <- Scope{name}" for name in ("Choices", "Callers", "Second", "Program")),
        "  Hurried <- ScopeHurried",
        *(
            f"  {name.capitalize()} = {tlc.tla(getattr(world, name))}"
            for name in (
                *("idle", "failures", "checks", "resets", "patience", "eager"),
                *("cancels", "kills", "ending"),
            )
        ),
        "INIT TasksInit",
        "NEXT TasksNext",
        "VIEW View",
        *(["SYMMETRY Alike"] if len(groups) < len(callers) else []),
        f"INVARIANTS {' '.join(INVARIANTS)}",
        f"PROPERTIES {' '.join(protocol.STEP_PROPERTIES)}",
    ]
    return "\n".join(lines) + "\n", "\n".join(settings) + "\n"


def check(world: TaskWorld, changes: tuple[Change, ...] = ()) -> tlc.Verdict:
    """Have TLC check every promise in a world, of the specification with these changes to it."""
    return protocol.run(MODULES, scope(world), changes)


def faults() -> dict[str, Fault[TaskWorld]]:
    """All of `spec/mutants/tasks/`, by name. Raises `MutantError`."""
    return protocol.read_faults("tasks", WORLDS, "tasks-")
