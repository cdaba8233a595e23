"""The checks, as tasks, and the profiles that are made of them.

Theory.  A task knows its name before it runs and gives a `Result`.  What needs Java is marked, for
it runs beside the rest, in processes of its own.  A profile is a list of tasks; to add a
check to what runs in CI is to add a line to `profile`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import attrs

from pool.check import interrupts
from pool.check.explore import protocol, task_protocol, tlc
from pool.check.explore.configurations import CONFIGURATIONS, DEEP, LIVENESS, Configuration
from pool.check.explore.explorer import Exploration, Wishes, explore
from pool.check.explore.graphs import (
    PythonGraph,
    difference,
    pin_of,
    python_graph,
    read_pins,
    write_pins,
)
from pool.check.explore.liveness import check_liveness
from pool.check.explore.mutants import (
    Change,
    Mutant,
    found_in_code,
    found_in_specification,
    mutants,
)
from pool.check.machines import MACHINES
from pool.check.machines.rounds import ROUND, Tally, home, rounds
from pool.check.proof import command as prove
from pool.check.recordings import stress, trace
from pool.check.results import Counts, Progress, Status
from pool.check.schedules.orders import explore as every_order
from pool.check.schedules.programs import DEEP as DEEP_PROGRAMS
from pool.check.schedules.programs import PROGRAMS
from pool.check.schedules.task_programs import TASKS
from pool.check.schedules.tasks import Tasks
from pool.check.schedules.threads import Setting
from pool.check.task import Task, told
from pool.record.recording import RecordingError

EXAMPLES = {"ci": 1_000, "nightly": 10_000}
"""Histories of each Hypothesis machine, by profile."""

SEEDS = {"ci": 0, "nightly": None}
"""Of those histories. What fails on a push is to have been broken by it: so `ci` tries the same
each time, and others are for the night."""


def profile(name: str) -> list[Task]:
    """Everything that `--profile` runs: `ci` within minutes, `nightly` with the deep worlds."""
    deep = list(DEEP.values()) if name == "nightly" else []
    deep_programs = DEEP_PROGRAMS.values() if name == "nightly" else ()
    worlds = list(CONFIGURATIONS.values())
    return [
        *map(equality_task, worlds),
        *map(equality_task, LIVENESS.values()),  # which are not pinned
        *map(specification_task, deep),
        *(specification_task(world, tlc.TEMPORAL) for world in LIVENESS.values()),
        *mutant_tasks("specification"),
        *protocol_tasks(bool(deep)),
        *protocol_mutant_tasks(),
        *(explore_task(world) for world in [*worlds, *deep]),
        *map(liveness_task, LIVENESS.values()),
        *mutant_tasks("code"),
        *map(schedules_task, [*PROGRAMS.values(), *deep_programs, *TASKS.values()]),
        *(machine_task(machine, EXAMPLES[name], SEEDS[name]) for machine in MACHINES),
        *prove.tasks(),
        *(map(stress_task, stress.PROGRAMS) if deep else ()),
    ]


def without_java() -> list[Task]:
    """What `purepool check` runs when nothing is asked for."""
    worlds = CONFIGURATIONS.values()
    return [
        *map(explore_task, worlds),
        *map(liveness_task, LIVENESS.values()),
        *map(pin_task, worlds),
    ]


# ---------------------------------------------------------------- of the code


def explore_task(configuration: Configuration, most_states: int | None = None) -> Task:
    """Every state of `step`, every invariant and run property."""
    return _exploring("explore", explore, configuration, most_states)


def liveness_task(configuration: Configuration, most_states: int | None = None) -> Task:
    """No fair cycle of `step` starves a ticket."""
    return _exploring("live", check_liveness, configuration, most_states)


def _exploring(
    part: str,
    search: Callable[[Configuration, Wishes], Exploration],
    configuration: Configuration,
    most_states: int | None,
) -> Task:
    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        return told(search(configuration, Wishes(progress=progress, most_states=most_states)))

    return Task(part, configuration.name, body)


def schedules_task(setting: Setting | Tasks) -> Task:
    """Every order of a small program of the runtime: each promise, and the whole pool at its
    end."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        found = every_order(setting.make, progress=progress)
        counts = {"interleavings": found.interleavings}
        message = ""
        if found.violation is not None:
            title = f"{found.violation} in {setting.name}, in this order:"
            message = "\n".join([title, *(f"  {line}" for line in found.story)])
        return "failed" if message else "passed", counts, message

    return Task("schedules", setting.name, body)


def pin_task(configuration: Configuration) -> Task:
    """The graph of `step` is the one that was last found equal to the specification's."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        graph = python_graph(configuration)
        pin, found = read_pins(tlc.spec_directory()).get(configuration.name), pin_of(graph)
        if pin is None:
            return "failed", counts_of(graph), f"{configuration.name} is not in spec/graphs.json"
        message = "" if found == pin else f"pinned {pin}, found {found}: compare with --against-tla"
        return "failed" if message else "passed", counts_of(graph), message

    return Task("pinned", configuration.name, body)


def counts_of(graph: PythonGraph) -> Counts:
    """The size of a graph."""
    return {"states": graph.exploration.states, "edges": len(graph.edges)}


@attrs.define
class Fuzzing:
    """Random histories under way."""

    wanted: int
    tally: Tally

    @property
    def progress(self) -> str:
        if self.tally.is_failing:
            return f"{self.tally.examples:,} examples, shrinking what failed"
        return f"{self.tally.examples:,} of {self.wanted:,} examples"


def machine_task(name: str, examples: int, seed: int | None = None) -> Task:
    """So many random histories of a Hypothesis machine, of this seed; None: others each time."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        first = random.SystemRandom().randrange(2**32) if seed is None else seed
        tally = Tally()
        so_far = Fuzzing(examples, tally)

        def tell(tally: Tally) -> None:
            interrupts.checkpoint(so_far.progress if interrupts.came() else "")
            if progress is not None:
                progress(so_far)

        with home():
            for _ in islice(rounds(name, first, None, tell, tally), examples // ROUND):
                pass
        counts = {"examples": tally.examples, "behaviours": len(tally.reached)}
        if tally.failed is not None:
            return "failed", counts, str(tally.failed)
        return "passed", counts, ""

    return Task("machine", name, body)


# ---------------------------------------------------------------- of the specification


def equality_task(
    configuration: Configuration, specification: Path | None = None, *, pin: bool = False
) -> Task:
    """The two graphs are one, and the one that is pinned; TLC finds every invariant and step
    property true of it. `pin`: pin it."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        dump = tlc.dump(configuration, specification)
        if dump.verdict.violated:
            return _said(dump.verdict, configuration)
        graph = python_graph(configuration)
        counts = {**counts_of(graph), "generated": dump.verdict.generated}
        if differs := difference(configuration, graph, dump):
            why = f"step and specification differ in {configuration.name}\n{differs}"
            return "failed", counts, why
        if specification is not None:
            return "passed", counts, ""
        pins, found = read_pins(tlc.spec_directory()), pin_of(graph)
        message = ""
        if pin:
            write_pins(tlc.spec_directory(), {**pins, configuration.name: found})
        elif configuration.name in CONFIGURATIONS and pins.get(configuration.name) != found:
            message = "equal, but not as pinned in spec/graphs.json (--pin pins them)"
        return "failed" if message else "passed", counts, message

    return Task("equal", configuration.name, body, needs_java=True)


def specification_task(
    configuration: Configuration, properties: tuple[str, ...] = tlc.PROPERTIES
) -> Task:
    """TLC finds these properties of the specification true."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        return _said(tlc.check(configuration, properties=properties), configuration)

    return Task("specification", configuration.name, body, needs_java=True)


def _said(verdict: tlc.Verdict, configuration: Configuration) -> tuple[Status, Counts, str]:
    counts = {"tlc-states": verdict.states, "generated": verdict.generated}
    if verdict.violated is None:
        return "passed", counts, ""
    trace = verdict.output[verdict.output.find("Error:") :]
    return "failed", counts, f"{verdict.violated} does not hold in {configuration.name}\n{trace}"


# ---------------------------------------------------------------- of both


def mutant_tasks(where: Literal["specification", "code"]) -> list[Task]:
    """Every mutant of the specification, or of the code, is found."""
    search = found_in_code if where == "code" else found_in_specification

    def task(mutant: Mutant, wanted: tuple[str, ...]) -> Task:
        def body(progress: Progress | None) -> tuple[Status, Counts, str]:
            found = search(mutant)
            if set(wanted) <= set(found):
                return "passed", {"mutants": 1}, ""
            said = ", ".join(found) or "nothing"
            return "failed", {}, f"{mutant.about} Wanted {', '.join(wanted)}, found {said}"

        return Task(f"mutants-{where}", mutant.name, body, needs_java=where == "specification")

    known = mutants().values()
    return [task(one, getattr(one, where)) for one in known if getattr(one, where)]


# ---------------------------------------------------------------- of the protocols


def protocol_tasks(deep: bool = False) -> list[Task]:
    """TLC finds every promise of the protocols of threads and of tasks true, in each world."""
    threads = [*protocol.WORLDS.values(), *(protocol.DEEP.values() if deep else ())]
    tasks = [*task_protocol.WORLDS.values(), *(task_protocol.DEEP.values() if deep else ())]
    return [
        *(protocol_task(world, protocol.check) for world in threads),
        *(protocol_task(world, task_protocol.check) for world in tasks),
    ]


World = TypeVar("World", protocol.World, task_protocol.TaskWorld)


def protocol_task(world: World, check: Callable[[World], tlc.Verdict]) -> Task:
    """TLC finds every promise of a protocol true in this world, and the states that are noted."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        verdict = check(world)
        counts = {"tlc-states": verdict.states, "generated": verdict.generated}
        if verdict.violated is not None:
            trace = verdict.output[verdict.output.find("Error:") :]
            return "failed", counts, f"{verdict.violated} does not hold in {world.name}\n{trace}"
        if verdict.states != world.states:
            message = f"{world.name} has other states than were noted ({world.states:,})"
            return "failed", counts, f"{message}: note them if the specification was changed"
        return "passed", counts, ""

    return Task("protocol", world.name, body, needs_java=True)


def protocol_mutant_tasks() -> list[Task]:
    """Every fault planted in a protocol is found, by the promise that it breaks."""
    return [
        *(_protocol_mutant_task(fault, protocol.check) for fault in protocol.faults().values()),
        *(
            _protocol_mutant_task(fault, task_protocol.check)
            for fault in task_protocol.faults().values()
        ),
    ]


def _protocol_mutant_task(
    fault: protocol.Fault[World], check: Callable[[World, tuple[Change, ...]], tlc.Verdict]
) -> Task:
    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        found = check(fault.world, fault.changes).violated
        if found == fault.breaks:
            return "passed", {"mutants": 1}, ""
        return "failed", {}, f"{fault.about} Wanted {fault.breaks}, found {found or 'nothing'}"

    return Task("mutants-protocol", fault.name, body, needs_java=True)


# ---------------------------------------------------------------- of what ran


@attrs.define
class Judging:
    """A recording that TLC reads."""

    events: int = 0

    @property
    def progress(self) -> str:
        return f"{self.events:,} events"


def recorded_task(name: str, path: Path) -> Task:
    """TLC finds this recording to be a behaviour of the specification."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        return _judged(path, progress)

    return Task("recorded", name, body, needs_java=True)


def stress_task(name: str) -> Task:
    """The same of a recording that this program makes now."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        with interrupts.temporary_directory() as place:
            stress.PROGRAMS[name](place / name)
            return _judged(place / name, progress)

    return Task("recorded", name, body, needs_java=True)


def _judged(path: Path, progress: Progress | None) -> tuple[Status, Counts, str]:
    so_far, fault = Judging(), ""
    try:
        for part in trace.parts(path):
            interrupts.checkpoint(so_far.progress if interrupts.came() else "")
            fault = trace.fault(part)
            if fault:
                break
            so_far.events += len(part.transitions)
            if progress is not None:
                progress(so_far)
    except RecordingError as error:
        fault = str(error)
    return "failed" if fault else "passed", {"events": so_far.events}, fault
