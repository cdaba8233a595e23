"""The Hypothesis machines by name, and how one of them is run.

Theory.  A machine is a `RuleBasedStateMachine` that fails with an exception, and has a class method
`collect`, which is called at the end of every history that broke nothing, with what it has
met.  Nothing else is asked of it.  Here it is run for a number of examples with a given seed, and
what comes of it is a `Tally`: how many examples, which behaviours they reached, and the failure, if
any, as the program that Hypothesis shrank it to.  `purepool fuzz` and `purepool check` both run
machines by this one function.

Whoever runs one is told before each example and may end the run there, with a `KeyboardInterrupt`:
Hypothesis lets that pass and keeps nothing of it.  The tally has what there is by then.

Hypothesis keeps its examples under a digest of the machine's source, and would forget a failure
when the machine is edited.  So it is given a factory that looks the same for every machine, and
each machine has a database of its own: a failure stays until it does not fail any more.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import traceback
import unittest
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import (
    DirectoryBasedExampleDatabase,
    ExampleDatabase,
    InMemoryExampleDatabase,
)
from hypothesis.errors import DidNotReproduce, InvalidArgument
from hypothesis.reporting import with_reporter
from hypothesis.stateful import (
    INVARIANT_MARKER,
    RuleBasedStateMachine,
    run_state_machine_as_test,
)

from pool.check.interrupts import temporary_directory
from pool.check.machines import MACHINES

STEPS = 50
"""Most rules that an example applies."""

ROUND = 50
"""Examples of a round. Hypothesis keeps all of a round in memory, and slows down with it."""

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


@attrs.define
class Tally:
    """What a run has come to so far."""

    examples: int = 0
    """Runs of the machine, those of shrinking included."""
    reached: Counter[str] = attrs.field(factory=Counter)
    """In how many examples each behaviour was seen."""
    in_rounds: bool = False
    """What was kept has been tried, if anything was."""
    is_failing: bool = False
    """Something failed. What comes now makes it shorter."""
    failed: Failed | None = None


Tell = Callable[[Tally], None]


def _tell_nobody(tally: Tally) -> None:
    pass


class Found(ExampleDatabase):
    """A database that notes whether anything failed: Hypothesis saves that at once."""

    def __init__(self, kept: ExampleDatabase, tally: Tally) -> None:
        super().__init__()
        self.kept = kept
        self.tally = tally

    def fetch(self, key: bytes) -> Iterable[bytes]:
        return self.kept.fetch(key)

    def save(self, key: bytes, value: bytes) -> None:
        self.tally.is_failing = True
        self.kept.save(key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        self.kept.delete(key, value)


@contextlib.contextmanager
def home(directory: Path | None = None) -> Iterator[None]:
    """Within this, Hypothesis keeps there what it keeps of the code that it runs; None: nowhere for
    longer than this. Otherwise it makes a directory `.hypothesis` wherever it is."""
    if os.environ.get("HYPOTHESIS_STORAGE_DIRECTORY"):  # the user's choice
        yield
        return
    with contextlib.ExitStack() as stack:
        place = directory or stack.enter_context(temporary_directory())
        set_hypothesis_home_dir(place)
        stack.callback(set_hypothesis_home_dir, None)
        yield


def machine(name: str) -> type[RuleBasedStateMachine]:
    """The class of a machine."""
    module, _, attribute = MACHINES[name].partition(":")
    found: type[RuleBasedStateMachine] = getattr(importlib.import_module(module), attribute)
    return found


def rounds(
    name: str,
    seed: int,
    database: Path | None = None,
    tell: Tell = _tell_nobody,
    tally: Tally | None = None,
) -> Iterator[Tally]:
    """Run a machine again and again, until it fails. `tell` is called before each example.

    A round has a seed of its own, one more than the last. With a database, what failed there the
    last time is tried first. Yields the same tally after each round."""
    tally = tally or Tally()
    if database is not None:
        run_machine(name, ROUND, seed, database, tell, tally, phases=(Phase.reuse, Phase.shrink))
        if tally.failed is not None:
            yield tally
    tally.in_rounds = True
    while tally.failed is None:
        run_machine(name, ROUND, seed, database, tell, tally)
        seed += 1
        yield tally


def run_machine(
    name: str,
    examples: int,
    seed: int,
    database: Path | None = None,
    tell: Tell = _tell_nobody,
    tally: Tally | None = None,
    *,
    phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink),
) -> Tally:
    """One round. What comes of it is added to the tally, which is returned."""
    tally = tally or Tally()
    kept: ExampleDatabase = InMemoryExampleDatabase()
    if database is not None:
        kept = DirectoryBasedExampleDatabase(database / name)
    options = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=Found(kept, tally),
        derandomize=False,
        deadline=None,
        # `explain` costs minutes and says less than the program does
        phases=phases,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    _run(name, options, hypothesis.seed(seed), f"--seed {seed}", tell, tally)
    return tally


def replay(name: str, blob: str, tell: Tell = _tell_nobody) -> Failed | None:
    """Run the one program that a failure was printed with; None: it does not fail any more.

    Raises `ValueError` for text that is none."""
    tally = Tally()
    again = hypothesis.reproduce_failure(hypothesis.__version__, blob.encode())
    options = settings(database=None, deadline=None, stateful_step_count=STEPS, print_blob=False)
    try:
        _run(name, options, again, f"--replay {shlex.quote(blob)}", tell, tally)
    except DidNotReproduce:
        return None
    except InvalidArgument:
        raise ValueError("this is no program: copy all that follows --replay") from None
    return tally.failed


def _run(
    name: str,
    options: settings,
    how: Callable[[Any], Any],
    otherwise: str,
    tell: Tell,
    tally: Tally,
) -> None:
    made = _counting(machine(name), tally)

    def factory() -> RuleBasedStateMachine:
        tell(tally)
        tally.examples += 1
        return made()

    said: list[object] = []
    with with_reporter(said.append):
        try:
            run_state_machine_as_test(how(factory), settings=options)
        except (DidNotReproduce, InvalidArgument):
            raise
        except unittest.SkipTest:  # nothing was kept that could be tried
            pass
        except Exception as error:
            said += getattr(error, "__notes__", ())
            tally.failed = _failed(name, error, "\n".join(map(str, said)), otherwise)


def _counting(made: Any, tally: Tally) -> type[RuleBasedStateMachine]:
    """The machine, with what its histories met counted. Rules (`ACQ-1`) are no behaviours."""

    def collect(cls: type, ended: Any) -> None:
        made.collect(ended)
        tally.reached.update(what for what in ended.reached if "-" not in what)

    return type(made.__name__, (made,), {"collect": classmethod(collect)})


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
