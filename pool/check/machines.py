"""The Hypothesis machines by name, and how one of them is run.

Theory.  A machine is a `RuleBasedStateMachine` that fails with an exception; nothing else is
asked of it.  Here it is run for a number of examples with a given seed, and what came of it is
data: how many examples, which behaviours they reached (the machine names them with
`hypothesis.event`), and the failure, if any, as the program that Hypothesis shrank it to.
`purepool fuzz` and `purepool check` both run machines by this one function.

Hypothesis keeps its examples under a digest of the machine's source, and would forget a failure
when the machine is edited.  So it is given a factory that looks the same for every machine, and
each machine has a database of its own: a failure stays until it does not fail any more.
"""

from __future__ import annotations

import importlib
import re
import shlex
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.errors import DidNotReproduce, InvalidArgument
from hypothesis.reporting import with_reporter
from hypothesis.stateful import (
    INVARIANT_MARKER,
    RuleBasedStateMachine,
    run_state_machine_as_test,
)
from hypothesis.statistics import collector

MACHINES = {
    "step": "pool.check.machine:PoolMachine",
    "differential": "pool.check.differential:DifferentialMachine",
    "runtime": "pool.check.runtime_machine:RuntimeMachine",
}
"""Name -> module:class. All of them are run where none is named."""

STEPS = 50
"""Most rules that an example applies."""

ROUND = 50
"""Examples of a round. Hypothesis keeps all of a round in memory, and slows down with it."""

_HYPOTHESIS = ("Retried draw", "invalid because", "Aborted test")
"""How events begin that Hypothesis adds by itself."""

_BLOB = re.compile(r"@reproduce_failure\('[^']*', b'([^']*)'\)")


@attrs.frozen
class Failed:
    """A program that fails, as short as Hypothesis could make it."""

    what: str
    """The exception, with its message or its traceback."""
    program: str
    """The rules that were applied."""
    command: str
    """What to type to see it again."""

    def __str__(self) -> str:
        again = f"# to see it again (Hypothesis {hypothesis.__version__}):"
        return "\n".join(filter(None, [self.what, self.program, again, self.command]))


@attrs.frozen
class Outcome:
    """What came of a run."""

    examples: int
    """Runs of the machine, those of shrinking included."""
    reached: Counter[str]
    """In how many examples each behaviour was seen."""
    failed: Failed | None


def machine(name: str) -> type[RuleBasedStateMachine]:
    """The class of a machine."""
    module, _, attribute = MACHINES[name].partition(":")
    found: type[RuleBasedStateMachine] = getattr(importlib.import_module(module), attribute)
    return found


def rounds(
    name: str, seed: int, database: Path | None = None, tell: Callable[[], None] = lambda: None
) -> Iterator[Outcome]:
    """Run a machine again and again, until it fails. `tell` is called before each example.

    A round has a seed of its own, one more than the last. With a database, what failed there the
    last time is tried first."""
    outcome: Outcome | None = None
    while outcome is None or outcome.failed is None:
        outcome = run_machine(name, ROUND, seed, database, tell)
        seed += 1
        yield outcome


def run_machine(
    name: str,
    examples: int,
    seed: int,
    database: Path | None = None,
    tell: Callable[[], None] = lambda: None,
) -> Outcome:
    """One round."""
    kept = None if database is None else DirectoryBasedExampleDatabase(database / name)
    options = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=kept,
        derandomize=False,
        deadline=None,
        # `explain` costs minutes and says less than the program does
        phases=[Phase.reuse, Phase.generate, Phase.shrink],
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    return _run(name, options, hypothesis.seed(seed), f"--seed {seed}", tell)


def replay(name: str, blob: str) -> Outcome:
    """Run the one program that a failure was printed with.

    Raises `ValueError` for text that is none."""
    again = hypothesis.reproduce_failure(hypothesis.__version__, blob.encode())
    options = settings(database=None, deadline=None, stateful_step_count=STEPS, print_blob=False)
    try:
        return _run(name, options, again, f"--replay {shlex.quote(blob)}", lambda: None)
    except DidNotReproduce:
        return Outcome(1, Counter(), None)
    except InvalidArgument:
        raise ValueError("this is no program: copy all that follows --replay") from None


def _run(
    name: str,
    options: settings,
    how: Callable[[Any], Any],
    otherwise: str,
    tell: Callable[[], None],
) -> Outcome:
    made = machine(name)
    reached: Counter[str] = Counter()
    count = 0

    def factory() -> RuleBasedStateMachine:
        nonlocal count
        count += 1
        tell()
        return made()

    def collect(statistics: Any) -> None:
        for key, phase in statistics.items():
            if key.endswith("-phase"):
                for case in phase["test-cases"]:
                    reached.update(e for e in case["events"] if not e.startswith(_HYPOTHESIS))

    said: list[object] = []
    failed = None
    with (
        collector.with_value(collect),  # type: ignore[arg-type]  # it is declared as None
        with_reporter(said.append),
    ):
        try:
            run_state_machine_as_test(how(factory), settings=options)
        except (DidNotReproduce, InvalidArgument):
            raise
        except Exception as error:
            said += getattr(error, "__notes__", ())
            failed = _failed(name, error, "\n".join(map(str, said)), otherwise)
    return Outcome(count, reached, failed)


def _failed(name: str, error: Exception, said: str, otherwise: str) -> Failed:
    blob = _BLOB.search(said)
    again = otherwise if blob is None else f"--replay {shlex.quote(blob[1])}"
    if isinstance(error, AssertionError) and str(error):
        what = f"{type(error).__name__}: {error}"
    else:
        error.__notes__ = []  # type: ignore[attr-defined]  # they are the program
        what = "".join(traceback.format_exception(error)).rstrip()
    return Failed(what, _program(name, said), f"purepool fuzz --machine {name} {again}")


def _program(name: str, said: str) -> str:
    """The rules in what Hypothesis said, without the invariants that were asked in between."""
    made = machine(name)
    marks = [getattr(getattr(made, one), INVARIANT_MARKER, None) for one in dir(made)]
    asked = {f"state.{mark.function.__name__}()" for mark in marks if mark is not None}
    lines = said.partition("You can reproduce")[0].splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("state = ")), 0)
    return "\n".join(line for line in lines[first:] if line and line not in asked)
