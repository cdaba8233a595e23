"""`purepool fuzz`: random histories for as long as there is time, night after night.

Theory.  The time is divided among the machines (`rounds.py`), and each is run in rounds until its
share is over, which is asked before each example: so it takes as long as it was told to, start
included.  Two things may take longer: what failed the last time is tried whatever the time, and
what fails is still shrunk.  A round has a seed of its own, one more than the last, so that what it
tries depends on nothing but its seed.  What goes on from one run to the next is in a directory:

* A program that failed, shrunk.  It is the first thing that the next run tries, and it is
  forgotten only when it does not fail any more.
* How many runs and examples there were, and which behaviours they reached, so that a run can say
  what it saw that no run before it had seen.
* Not the seed: each run draws a new one and prints it, for the same histories again say nothing.

Histories are not steered towards new behaviours (`hypothesis.target`).  That was tried: with the
number of behaviours of a history as its score, as many were reached as without, and a fifth
fewer sequences of three events, for the histories become variations of the best one.
"""

from __future__ import annotations

import argparse
import json
import random
import textwrap
import time
from collections import Counter
from pathlib import Path

import attrs
from rich.console import Console
from rich.status import Status

from pool.check import interrupts
from pool.check.machines import MACHINES
from pool.check.machines.rounds import Tally, home, replay, rounds
from pool.check.results import INCONCLUSIVE, NOT_BEGUN, Result, report, verdict
from pool.check.task import show_line
from pool.check.usage import WIDTH, UsageError, refuse, reports_to_output


class Enough(KeyboardInterrupt):
    """The time is over. Hypothesis lets it pass, and keeps nothing of it."""


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    names = list(dict.fromkeys(arguments.machine or MACHINES))
    unknown = [name for name in names if name not in MACHINES]
    if unknown:
        raise UsageError(f"no machine {', '.join(unknown)}. There are {', '.join(MACHINES)}")
    console = Console(stderr=reports_to_output(arguments), highlight=False)
    if arguments.replay is not None:
        if len(names) != 1:
            raise UsageError("--replay needs --machine, with the name it was printed with")
        refuse(arguments, "with --replay", "seed", "json", "junit")
        return _replay(console, names[0], arguments.replay)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    began: float = arguments.began
    results = _run(console, names, began, arguments.seconds, seed, arguments.database)
    seconds = time.perf_counter() - began
    console.print(verdict(results, seconds))
    return report(arguments, results, seconds, seed=seed)


def _replay(console: Console, name: str, program: str) -> int:
    try:
        with home():
            failed = replay(name, program, lambda tally: interrupts.checkpoint())
    except ValueError as error:
        raise UsageError(f"--replay: {error}") from None
    if failed is None:
        console.print(
            "It does not fail any more: the fault is gone, or the program was printed by another"
            "\nversion of this machine or of Hypothesis."
        )
        return INCONCLUSIVE
    console.print(str(failed), markup=False, soft_wrap=True)
    return 1


def indented(text: str) -> str:
    """A paragraph below a result."""
    return textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   ")


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


@attrs.define
class Kept:
    """What is known of the runs before, of one machine; beside its failures."""

    path: Path
    runs: int = 0
    examples: int = 0
    reached: Counter[str] = attrs.field(factory=Counter)

    @classmethod
    def read(cls, database: Path, name: str) -> Kept:
        path = database / f"{name}.json"
        if not path.exists():
            return cls(path)
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, known["runs"], known["examples"], Counter(known["reached"]))
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{path}: this is not what `purepool fuzz` wrote") from None

    def add(self, tally: Tally) -> list[str]:
        """Count one more run, and write it down; the behaviours that were new."""
        new = sorted(set(tally.reached) - set(self.reached))
        self.runs += 1
        self.examples += tally.examples
        self.reached += tally.reached
        known = {"runs": self.runs, "examples": self.examples, "reached": dict(self.reached)}
        self.path.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
        return new


def _run(
    console: Console, names: list[str], began: float, seconds: float, seed: int, database: Path
) -> list[Result]:
    """The results, also of machines that there was no time for. What one takes beyond its share is
    missing from the next one's."""
    results: list[Result] = []
    share = seconds / len(names)
    database.mkdir(parents=True, exist_ok=True)
    kept = {name: Kept.read(database, name) for name in names}
    each = " each" if len(names) > 1 else ""
    console.print(f"{', '.join(names)}: {share:.3g} s{each}", markup=False, soft_wrap=True)
    console.print(f"seed {seed}, examples in {database}", markup=False, soft_wrap=True)
    for number, name in enumerate(names, 1):
        if interrupts.came():
            results.append(Result("fuzz", name, "stopped", 0.0, {}, NOT_BEGUN))
            continue
        result, tally = _fuzz(console, name, began + number * share, seed, database)
        new = kept[name].add(tally)
        results.append(attrs.evolve(result, counts={**result.counts, "new": len(new)}))
        show_line(console, results[-1])
        if kept[name].runs > 1:
            first = f"first seen in this run, the {_ordinal(kept[name].runs)}: "
            console.print(indented(first + (", ".join(new) or "nothing")), markup=False)
    return results


def _fuzz(
    console: Console, name: str, deadline: float, seed: int, database: Path
) -> tuple[Result, Tally]:
    """Rounds of one machine, until the time is over or one fails."""
    began = time.perf_counter()
    seconds = max(0.0, deadline - began)
    tally = Tally()
    stopped = False
    with home(database / "hypothesis"), console.status(f"{name}: starting") as status:

        def tell(tally: Tally) -> None:
            interrupts.checkpoint()
            passed = time.perf_counter() - began
            over = passed >= seconds and tally.in_rounds and tally.examples > 0
            if over and not tally.is_failing:
                raise Enough
            _show_progress(status, name, tally, passed, seconds)

        try:
            for _ in rounds(name, seed, database, tell, tally):
                pass
        except Enough:
            pass
        except interrupts.Stopped:
            stopped = True
    message = str(tally.failed or "")
    if stopped:
        message = f"stopped after {time.perf_counter() - began:.1f} of {seconds:.3g} s"
        if tally.is_failing:
            message += "\na program fails; it is kept, and the next run tries it first"
    return Result(
        "fuzz",
        name,
        "stopped" if stopped else "failed" if tally.failed else "passed",
        round(time.perf_counter() - began, 3),
        {"examples": tally.examples, "behaviours": len(tally.reached)},
        message,
    ), tally


def _show_progress(status: Status, name: str, tally: Tally, passed: float, seconds: float) -> None:
    rate = tally.examples / max(passed, 0.001)
    left = "shrinking what failed" if tally.is_failing else f"{seconds - passed:.0f} s left"
    status.update(f"{name}: {tally.examples:,} examples, {rate:,.0f} examples/s, {left}")
