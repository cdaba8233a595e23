"""The protocol of the threaded runtime, `spec/Runtime.tla`: worlds in which TLC checks it, and
faults that it must find there.

Theory.  `Runtime.tla` uses the actions of `Pool.tla`, so what is checked here is what threads, a
lock and interruptions add.  A world says who there is, what each does, and what may go wrong:
exceptions at any step, a fork at any step, deadlines, connects that fail.  Threads that do the
same are interchangeable, and TLC is told so.

A fault is a file of `spec/mutants/runtime/`, in the form of those of `spec/mutants/`; its
configuration is the name of a world.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from typing import Generic, Literal, Protocol, TypeVar

import attrs

from pool.check.explore import tlc
from pool.check.explore.mutants import Change, read_file, replaced
from pool.check.interrupts import temporary_directory
from pool.core.limits import Limits

MODULES = ("Pool.tla", "Runtime.tla")
INVARIANTS = (
    "OneHolder",
    "ClosesOnce",
    "NotTheParents",
    "AskedFor",
    "Clean",
    "Told",
    "NothingLost",
)
STEP_PROPERTIES = ("RefinesPool",)
DEADLOCK = "Deadlock"
PROMISES = (*INVARIANTS, *STEP_PROPERTIES, DEADLOCK)
"""What is checked in each world, by name."""


@attrs.frozen
class World:
    """Threads that share a pool, and what may happen to them."""

    name: str
    about: str
    programs: tuple[tuple[str, ...], ...]
    """What each thread does, in order: borrow a connection and `release`, `discard` or `drop` it,
    or `any` of these; `close_all`; `shutdown`, and to wait for its end; `help`, as a helper."""
    max_size: int = 1
    opener: Literal["caller", "background"] = "caller"
    idle: int = 0
    """So many connections are idle at the beginning."""
    hurried: tuple[int, ...] = ()
    """Threads, from 0, whose deadline may pass while they wait."""
    failures: bool = False
    """Connects may fail."""
    checks: bool = False
    """What has rested is asked whether it is alive."""
    strikes: int = 1
    """So many asynchronous exceptions come, at any steps of any threads but helpers."""
    forks: bool = False
    """One thread may fork, at any step."""
    states: int = 0
    """So many does TLC find, those alike counted once."""

    @property
    def limits(self) -> Limits:
        return Limits(max_size=self.max_size, opener=self.opener)

    @property
    def threads(self) -> tuple[str, ...]:
        return tuple(f"t{number}" for number in range(1, len(self.programs) + 1))


ANY, RELEASE, DISCARD, DROP = ("any",), ("release",), ("discard",), ("drop",)
CLOSE_ALL, SHUTDOWN, HELP = ("close_all",), ("shutdown",), ("help",)


def _by_name(*worlds: World) -> dict[str, World]:
    return {world.name: world for world in worlds}


WORLDS = _by_name(
    World("two-callers", "two callers and one connection", (ANY, ANY), states=28_584),
    World(
        "deadlines",
        "the same, where deadlines may pass and connects fail",
        (RELEASE, RELEASE),
        hurried=(0, 1),
        failures=True,
        states=21_201,
    ),
    World(
        "closes",
        "all is closed, and another closes what it has",
        (CLOSE_ALL, DISCARD),
        max_size=2,
        idle=2,
        states=13_352,
    ),
    World(
        "checks",
        "all is closed while another checks what it was given",
        (CLOSE_ALL, DROP),
        idle=1,
        checks=True,
        states=24_268,
    ),
    World(
        "end",
        "the pool is shut down, and who does that waits until all is done",
        (ANY, SHUTDOWN),
        states=15_639,
    ),
    World(
        "helpers", "a helper connects and closes", (ANY, HELP), opener="background", states=2_419
    ),
    World(
        "helpers-closes",
        "the same, and all is closed",
        (DISCARD, CLOSE_ALL, HELP),
        opener="background",
        idle=1,
        strikes=0,
        states=4_373,
    ),
    World(
        "forks", "either of two callers may fork", (ANY, ANY), strikes=0, forks=True, states=3_646
    ),
    World(
        "three-callers",
        "three callers and one connection",
        (RELEASE, RELEASE, DROP),
        strikes=0,
        states=39_913,
    ),
)
"""Those of `purepool check --profile ci`."""

DEEP = _by_name(
    World("two-callers-twice", "two exceptions come", (ANY, ANY), strikes=2, states=119_212),
    World(
        "three-callers-struck", "an exception comes to one of three", (RELEASE,) * 3, states=109_016
    ),
    World(
        "checks-twice",
        "all is closed while others have a connection, or check it",
        (("release", "close_all"), DISCARD),
        max_size=2,
        checks=True,
        states=174_970,
    ),
    World(
        "helpers-two",
        "two callers, one helper",
        (ANY, RELEASE, HELP),
        opener="background",
        states=253_525,
    ),
    World(
        "forks-struck",
        "one of two callers forks, one is struck",
        (ANY, ANY),
        forks=True,
        states=38_653,
    ),
)
"""Larger ones, of `nightly`."""


# ---------------------------------------------------------------- TLC


def scope(world: World) -> tuple[str, str]:
    """A module with the bounds of a world, and the .cfg that uses it."""
    threads = world.threads
    cases = [
        f"t = {thread} -> {tlc.tla(program)}"
        for thread, program in zip(threads, world.programs, strict=True)
    ]
    alike = Counter(
        (program, number in world.hurried) for number, program in enumerate(world.programs)
    )
    lines = [
        "---- MODULE Scope ----",
        "EXTENDS Runtime, TLC",
        f"CONSTANTS {', '.join(threads)}",
        f"ScopeThreads == {{{', '.join(threads)}}}",
        f"ScopeProgram(t) == CASE {' [] '.join(cases)}",
        f"ScopeHurried == {{{', '.join(threads[number] for number in world.hurried)}}}",
        f"ScopeChoices == {tlc.tla((world.limits,))}",
        "Alike == Permutations(ScopeThreads)",
        "====",
    ]
    settings = [
        "CONSTANTS",
        "  None = None",
        *(f"  {thread} = {thread}" for thread in threads),
        "  Start = 1",
        "  Shape <- Kept",
        "  Clock <- Still",
        *(f"  {name} <- Scope{name}" for name in ("Choices", "Threads", "Program")),
        *(f"  {name} <- Scope{name}" for name in ("Hurried",)),
        f"  Idle = {world.idle}",
        f"  Failures = {tlc.tla(world.failures)}",
        f"  Checks = {tlc.tla(world.checks)}",
        f"  Strikes = {world.strikes}",
        f"  Forks = {tlc.tla(world.forks)}",
        "INIT RuntimeInit",
        "NEXT RuntimeNext",
        "VIEW View",
        *(["SYMMETRY Alike"] if len(alike) == 1 else []),
        f"INVARIANTS {' '.join(INVARIANTS)}",
        f"PROPERTIES {' '.join(STEP_PROPERTIES)}",
    ]
    return "\n".join(lines) + "\n", "\n".join(settings) + "\n"


def check(world: World, changes: tuple[Change, ...] = ()) -> tlc.Verdict:
    """Have TLC check every promise in a world, of the specification with these changes to it."""
    return run(MODULES, scope(world), changes)


def run(
    modules: tuple[str, ...], scope: tuple[str, str], changes: tuple[Change, ...]
) -> tlc.Verdict:
    """Have TLC check what a scope says, of these modules with these changes to them."""
    with temporary_directory() as place:
        source = tlc.spec_directory()
        for name in modules:
            shutil.copy(source / name, place / name)
        for change in changes:
            file = place / change.file
            file.write_text(replaced(change, file.read_text()))
        (place / "Scope.tla").write_text(scope[0])
        (place / "Scope.cfg").write_text(scope[1])
        return tlc.run(
            place, "Scope.tla", "Scope.cfg", workers=1, java_options=tlc.QUICK, deadlock=True
        )


# ---------------------------------------------------------------- faults


class Named(Protocol):
    """A world, whoever is in it."""

    @property
    def name(self) -> str: ...


W = TypeVar("W", bound=Named)


@attrs.frozen
class Fault(Generic[W]):
    """A fault of the protocol, the world where it shows, and the promise that it breaks first."""

    name: str
    about: str
    world: W
    changes: tuple[Change, ...]
    breaks: str


def faults() -> dict[str, Fault[World]]:
    """All of `spec/mutants/runtime/`, by name. Raises `MutantError`."""
    return read_faults("runtime", WORLDS)


def read_faults(directory: str, worlds: Mapping[str, W], prefix: str = "") -> dict[str, Fault[W]]:
    """All of a folder of `spec/mutants/`, by name. Raises `MutantError`."""
    found = {}
    for path in sorted((tlc.spec_directory() / "mutants" / directory).glob("*.txt")):
        read = read_file(path, worlds)
        (breaks,) = {name for _, name in read.breaks}
        world = worlds[read.configuration]
        name = prefix + path.stem
        found[name] = Fault(name, read.about, world, read.changes, breaks)
    return found
