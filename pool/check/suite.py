"""The checks, as tasks, and the profiles that are made of them.

Theory.  A task knows its name before it runs and gives a `Result`.  What needs Java is marked, for
it runs beside the rest, in processes of its own.  A profile is a list of tasks; to add a
check to what runs in CI is to add a line to `profile`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import attrs

from pool.check import interrupts
from pool.check.explore import tlc
from pool.check.explore.configurations import CONFIGURATIONS, DEEP, LIVENESS, Configuration
from pool.check.explore.explorer import Wishes, explore
from pool.check.explore.graphs import difference, digest, python_graph, read_pins, write_pins
from pool.check.explore.liveness import check_liveness
from pool.check.explore.mutants import (
    Mutant,
    found_in_code,
    found_in_specification,
    mutants,
)
from pool.check.machines import MACHINES
from pool.check.machines.rounds import ROUND, Tally, home, rounds
from pool.check.proof import command as prove
from pool.check.results import Counts, Progress, Status
from pool.check.schedules.orders import explore as every_order
from pool.check.schedules.programs import DEEP as DEEP_PROGRAMS
from pool.check.schedules.programs import PROGRAMS
from pool.check.schedules.tasks import TASKS, Tasks
from pool.check.schedules.threads import Setting
from pool.check.task import Task, counts_of, describe, status_of

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
        *map(live_equality_task, LIVENESS.values()),
        *map(property_task, deep),
        *map(temporal_task, LIVENESS.values()),
        *specification_mutant_tasks(),
        *(explore_task(world) for world in [*worlds, *deep]),
        *map(liveness_task, LIVENESS.values()),
        *code_mutant_tasks(),
        *map(schedules_task, [*PROGRAMS.values(), *deep_programs, *TASKS.values()]),
        *(machine_task(machine, EXAMPLES[name], SEEDS[name]) for machine in MACHINES),
        *proof_tasks(),
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

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        found = explore(configuration, Wishes(progress=progress, most_states=most_states))
        return status_of(found), counts_of(found), describe(found)

    return Task("explore", configuration.name, body)


def liveness_task(configuration: Configuration, most_states: int | None = None) -> Task:
    """No fair cycle of `step` starves a ticket."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        wishes = Wishes(progress=progress, most_states=most_states)
        found = check_liveness(configuration, wishes)
        return status_of(found), counts_of(found), describe(found)

    return Task("live", configuration.name, body)


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
        counts = {"states": graph.exploration.states, "edges": len(graph.edges)}
        pin = read_pins(tlc.spec_directory()).get(configuration.name)
        if pin is None:
            return "failed", counts, f"{configuration.name} is not in spec/graphs.json"
        found = {**counts, "sha256": digest(graph.edges)}
        if found == pin:
            return "passed", counts, ""
        return "failed", counts, f"pinned {pin}, found {found}: compare with --against-tla"

    return Task("pinned", configuration.name, body)


def proof_tasks() -> Iterable[Task]:
    """The proof, and that it is about this function."""
    return prove.tasks()


def code_mutant_tasks() -> Iterable[Task]:
    """Every mutant of the code is found."""
    return [
        _mutant_task("mutants-code", m, m.code, found_in_code) for m in mutants().values() if m.code
    ]


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


def _mutant_task(
    part: str,
    mutant: Mutant,
    wanted: tuple[str, ...],
    search: Callable[[Mutant], tuple[str, ...]],
) -> Task:
    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        found = search(mutant)
        if set(wanted) <= set(found):
            return "passed", {"mutants": 1}, ""
        said = ", ".join(found) or "nothing"
        return "failed", {}, f"{mutant.about} Wanted {', '.join(wanted)}, found {said}"

    return Task(part, mutant.name, body, needs_java=part != "mutants-code")


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
        counts = {
            "states": graph.exploration.states,
            "edges": len(graph.edges),
            "generated": dump.verdict.generated,
        }
        differs = difference(configuration, graph, dump)
        if differs:
            return (
                "failed",
                counts,
                f"step and specification differ in {configuration.name}\n{differs}",
            )
        if specification is not None:
            return "passed", counts, ""
        directory = tlc.spec_directory()
        pins = read_pins(directory)
        found = {
            "states": graph.exploration.states,
            "edges": len(graph.edges),
            "sha256": digest(graph.edges),
        }
        if pin:
            write_pins(directory, {**pins, configuration.name: found})
        elif configuration.name in CONFIGURATIONS and pins.get(configuration.name) != found:
            return (
                "failed",
                counts,
                "equal, but not as pinned in spec/graphs.json (--pin pins them)",
            )
        return "passed", counts, ""

    return Task("equal", configuration.name, body, needs_java=True)


def live_equality_task(configuration: Configuration) -> Task:
    """The same of a configuration for liveness, which is not pinned."""
    return equality_task(configuration)


def property_task(configuration: Configuration) -> Task:
    """TLC finds every invariant and step property of the specification true."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        return _said(tlc.check(configuration), configuration)

    return Task("specification", configuration.name, body, needs_java=True)


def temporal_task(configuration: Configuration) -> Task:
    """TLC finds liveness of the specification true."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        return _said(tlc.check(configuration, properties=tlc.TEMPORAL), configuration)

    return Task("specification", configuration.name, body, needs_java=True)


def _said(verdict: tlc.Verdict, configuration: Configuration) -> tuple[Status, Counts, str]:
    counts = {"tlc-states": verdict.states, "generated": verdict.generated}
    if verdict.violated is None:
        return "passed", counts, ""
    trace = verdict.output[verdict.output.find("Error:") :]
    return "failed", counts, f"{verdict.violated} does not hold in {configuration.name}\n{trace}"


def specification_mutant_tasks() -> Iterable[Task]:
    """Every mutant of the specification is found."""
    return [
        _mutant_task("mutants-specification", m, m.specification, found_in_specification)
        for m in mutants().values()
        if m.specification
    ]
