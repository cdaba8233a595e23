"""`purepool prove`: the obligations, asked of each solver, and the binding of the relation to
`step`.

Theory. A task is an event: all that has to be shown of it, by every solver. What cannot be shown
has a counterexample, and that is told as a pool, an event, and what comes of it; then `step` is
asked whether it does that. Where it does, the pool has a fault. Where it does not, the relation
has one.

Half of the tasks need no solver: they explore what `purepool check` explores and compare each step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import attrs
from rich.console import Console

from pool.check import interrupts
from pool.check.explore.configurations import CONFIGURATIONS, Configuration
from pool.check.explore.explorer import Wishes, explore
from pool.check.explore.notation import write
from pool.check.proof import obligations, solvers
from pool.check.proof.binding import Binding, differs, relation
from pool.check.proof.obligations import ANY, INITIAL, Model, Obligation, example, examples
from pool.check.proof.picture import OUT, STATE
from pool.check.proof.relation import RELATION
from pool.check.proof.terms import Value, holds, variables
from pool.check.proof.witness import Witness, build, shown
from pool.check.results import Counts, Progress, Status, report
from pool.check.task import Task, run_tasks, show, told
from pool.check.usage import UsageError, reports_to_output
from pool.core.transition import step

MISSING = "{} is missing: `pip install 'purepool[prove]'` brings it"


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    names = arguments.solver or list(solvers.SOLVERS)
    missing = [name for name in names if name not in solvers.there()]
    if missing:
        raise UsageError(MISSING.format(" and ".join(missing)))
    console = Console(stderr=reports_to_output(arguments), highlight=False)
    if arguments.smt is not None:
        count = write_scripts(arguments.smt)
        console.print(f"{count} obligations in {arguments.smt}", markup=False, soft_wrap=True)
        return 0
    began = time.perf_counter()
    results = run_tasks(console, tasks(names))
    seconds = time.perf_counter() - began
    show(console, results, seconds)
    return report(arguments, results, seconds)


def tasks(names: Sequence[str] | None = None) -> list[Task]:
    """What is proved, by these solvers (default: those that are installed), and what is bound."""
    asked = solvers.there() if names is None else list(names)
    events = [INITIAL, *RELATION, ANY]
    worlds = CONFIGURATIONS.values()
    return [*(proof_task(event, asked) for event in events), *map(binding_task, worlds)]


def write_scripts(directory: Path) -> int:
    """Every obligation as a file for any solver, with the answer that is wanted."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for one in obligations.obligations():
        name = one.name.replace("/", "-").replace("(", "").replace(")", "")
        text = f"; {one.name}: {one.wanted}\n{one.script}(check-sat)\n"
        (directory / f"{name}.smt2").write_text(text, encoding="utf-8")
        count += 1
    return count


# ---------------------------------------------------------------- what is proved


@attrs.define
class Proving:
    """Obligations under way."""

    event: str
    shown: int = 0

    @property
    def progress(self) -> str:
        return f"{self.shown} obligations"


def of(event: str) -> Iterator[Obligation]:
    """The obligations of an event."""
    if event == INITIAL:
        return obligations.of_the_beginning()
    return obligations.of_any_state() if event == ANY else obligations.of_event(event)


def proof_task(event: str, names: Sequence[str]) -> Task:
    """Every obligation of an event, by each of the solvers."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        if not names:
            return "failed", {}, MISSING.format(" and ".join(solvers.SOLVERS))
        so_far = Proving(event)
        failed: list[str] = []
        for obligation in of(event):
            interrupts.checkpoint(so_far.progress if interrupts.came() else "")
            answers = ask(obligation, names)
            if any(answer != obligation.wanted for answer in answers.values()):
                failed.append(explain(obligation, answers))
            so_far.shown += 1
            if progress is not None:
                progress(so_far)
        counts = {"obligations": so_far.shown}
        return "failed" if failed else "passed", counts, "\n".join(failed)

    return Task("proved", event, body)


def ask(obligation: Obligation, names: Sequence[str]) -> dict[str, str]:
    """What solvers say. That something is possible is shown by an example, which is looked at here,
    so that one solver is enough."""
    if obligation.kind != "possible":
        return {name: solvers.SOLVERS[name](obligation.script)[0] for name in names}
    answer, model = solvers.SOLVERS[names[0]](obligation.script)
    if answer == "sat" and not holds(obligation.asserted, model):
        answer = "sat, with an example that is none"
    return {names[0]: answer}


def explain(obligation: Obligation, answers: dict[str, str]) -> str:
    """What is not shown, and a counterexample if there is one."""
    said = ", ".join(f"{name}: {answer}" for name, answer in answers.items())
    if obligation.kind != "proved":
        how = "never" if obligation.kind == "possible" else "after all"
        return f"{obligation.name}: the rule can {how} be at work ({said})"
    when = "in the initial state" if obligation.event == INITIAL else f"after {obligation.event}"
    lines = [f"{obligation.promise} need not hold {when} ({said})"]
    asked = [solvers.SOLVERS[name] for name, answer in answers.items() if answer == "sat"]
    if not asked:
        return lines[0]
    if obligation.draft is None:
        model = example(obligation.asserted, asked[0])
        return "\n".join([*lines, *([f"# {_numbers(model)}"] if model else [])])
    # what is known of key and tickets too, for a state has all of it
    facts = (*obligations.premises(obligation.draft), ~obligation.goal)
    models: Iterator[Model] = chain(
        *(examples(facts, solver) for solver in asked),
        (model for model in [example(obligation.asserted, asked[0])] if model),
    )
    return "\n".join([*lines, *_told(obligation, models)])


def _told(obligation: Obligation, models: Iterator[Model]) -> list[str]:
    """The first of these of which a state can be built; else the first."""
    first: list[str] = []
    for model in models:
        witness = build(model, obligation.event)
        lines = counterexample(obligation, model, witness)
        if witness is not None:
            return lines
        first = first or lines
    return first


def counterexample(obligation: Obligation, model: Model, witness: Witness | None) -> list[str]:
    """Two states and an event, and whether `step` does that."""
    event = obligation.event
    draft, function = relation(event)
    full: dict[str, Value] = {
        str(v.name): False if v.truth else 0
        for v in variables([*draft.values.values(), *draft.assumed])
    }
    full |= model
    said = dict(zip((*STATE, *OUT), function(full), strict=False))
    changed = [
        f"{name} {full.get(name, 0)} -> {value}"
        for name, value in said.items()
        if (name in OUT and value) or (name in STATE and value != full.get(name, value))
    ]
    if witness is None:
        return [
            f"# before, in numbers: {_numbers(model)}",
            f"# after, as the relation has it: {', '.join(changed) or 'the same'}",
            "# no state of `step` was found that has these numbers, so it was not asked",
        ]
    after, effects = step(witness.before, witness.event)
    why = differs(witness.before, witness.event, effects, after, witness.followed)
    lines = [
        f"# {shown(witness.before)}",
        "# a state, which no history need lead to, and an event, for `purepool check --replay -`:",
        write(witness.before),
        write(witness.event),
        f"# after, as the relation has it: {', '.join(changed) or 'the same'}",
        f"# `step` does {'that' if why is None else 'not do that'}: {shown(after)}",
        f"# {write(after)}",
    ]
    return lines if why is None else [*lines, f"# {why}"]


def _numbers(model: Model) -> str:
    return ", ".join(
        name if value is True else f"{name}={value}"
        for name, value in sorted(model.items())
        if value
    )


# ---------------------------------------------------------------- what is bound


def binding_task(configuration: Configuration) -> Task:
    """Every step that a configuration has is one that the relation allows, and the only one."""

    def body(progress: Progress | None) -> tuple[Status, Counts, str]:
        binding = Binding()
        wishes = Wishes(judge=binding.differs, progress=progress)
        status, _, message = told(explore(configuration, wishes))
        return status, {"transitions": binding.steps}, message

    return Task("bound", configuration.name, body)
