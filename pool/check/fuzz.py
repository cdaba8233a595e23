"""`purepool fuzz`: random histories for as long as there is time, night after night.

Theory.  The time is divided among the machines (`machines.py`), and each is run in rounds until its
share is over; a round that has begun is finished.  A round has a seed of its own, one more than the
last, so that what it tries depends on nothing but its seed and what is kept.  What goes on from one
run to the next is in a directory:

* A program that failed, shrunk.  It is the first thing that the next run tries, and it is
  forgotten only when it does not fail any more.
* How many runs and examples there were, and which behaviours they reached, so that a run can say
  what it saw that no run before it had seen.
* Not the seed: each run draws a new one and prints it, for the same histories again say nothing.

Histories are not steered towards new behaviours (`hypothesis.target`).  That was tried: with the
number of behaviours of a history as its score, as many were reached as without, and a fifth
fewer sequences of three events, for the histories become variations of the best one.

Exit status: 0 nothing failed, 1 something did, 2 the command was wrong, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

import attrs
from rich.console import Console

from pool.check.checking import UsageError, show_line
from pool.check.machines import MACHINES, replay, rounds
from pool.check.results import Result, as_json, as_junit, save

DATABASE = Path(".purepool")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, metavar="N", help="for how long (default: 60)")
    add(
        "--machine",
        action="append",
        metavar="NAME",
        help=f"which machine; may be given again (default: all of {', '.join(MACHINES)})",
    )
    add(
        "--database",
        type=Path,
        default=DATABASE,
        metavar="DIR",
        help=f"where to keep what failed and what was reached (default: {DATABASE})",
    )
    add("--seed", type=int, metavar="N", help="of the first round (default: another each time)")
    add("--replay", metavar="PROGRAM", help="run the one program of a failure, as it was printed")
    add("--json", metavar="FILE", help="write the results as JSON (-: standard output)")
    add("--junit", metavar="FILE", help="write the results as JUnit XML")


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    names = list(dict.fromkeys(arguments.machine or MACHINES))
    unknown = [name for name in names if name not in MACHINES]
    if unknown:
        raise UsageError(f"no machine {', '.join(unknown)}. There are {', '.join(MACHINES)}")
    if not arguments.seconds > 0:
        raise UsageError(f"--seconds {arguments.seconds:g}: allowed is a number above 0")
    console = Console(stderr=arguments.json == "-", highlight=False)
    if arguments.replay is not None:
        if len(names) != 1:
            raise UsageError("--replay needs --machine, with the name it was printed with")
        return _replay(console, names[0], arguments.replay)
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    began = time.perf_counter()
    results, stopped = _run(console, names, arguments.seconds, seed, arguments.database)
    seconds = time.perf_counter() - began
    failed = sum(not result.passed for result in results)
    verdict = f"[red]{failed} failed[/]" if failed else "[green]nothing failed[/]"
    console.print(f"{verdict}{', stopped' if stopped else ''}, {seconds:.1f} s")
    if arguments.json:
        facts = {"seed": seed, "stopped": stopped}
        save(arguments.json, as_json(results, seconds, **facts))
    if arguments.junit:
        save(arguments.junit, as_junit(results, seconds, "purepool fuzz"))
    return 1 if failed else 130 if stopped else 0


def _replay(console: Console, name: str, program: str) -> int:
    try:
        failed = replay(name, program).failed
    except ValueError as error:
        raise UsageError(f"--replay: {error}") from None
    if failed is None:
        console.print(
            "nothing fails: the fault is gone, or the program was printed by another version"
            " of this machine or of Hypothesis"
        )
        return 0
    console.print(str(failed), markup=False, soft_wrap=True)
    return 1


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


@attrs.define
class Tally:
    """What a run of one machine has come to so far."""

    examples: int = 0
    reached: Counter[str] = attrs.field(factory=Counter)
    failure: str = ""


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
    console: Console, names: list[str], seconds: float, seed: int, database: Path
) -> tuple[list[Result], bool]:
    """The results, and whether it was stopped before the end."""
    results: list[Result] = []
    share = seconds / len(names)
    database.mkdir(parents=True, exist_ok=True)
    kept = {name: Kept.read(database, name) for name in names}
    header = (
        f"{' and '.join(names)}, {share:g} s{' each' if len(names) > 1 else ''}, seed {seed},"
        f" examples in {database}"
    )
    for name in names:
        began = time.perf_counter()
        tally = Tally()
        stopped = False
        try:
            if not results:  # from here on, Ctrl-C leaves a result
                console.print(header, markup=False, soft_wrap=True)
            _fuzz(console, name, share, seed, database, tally)
        except KeyboardInterrupt:
            stopped = True
        new = kept[name].add(tally)
        counts = {"examples": tally.examples, "behaviours": len(tally.reached), "new": len(new)}
        took = round(time.perf_counter() - began, 3)
        results.append(Result("fuzz", name, not tally.failure, took, counts, tally.failure))
        show_line(console, results[-1])
        if kept[name].runs > 1:
            first = f"   first seen in this run, the {_ordinal(kept[name].runs)}: "
            console.print(first + (", ".join(new) or "nothing"), markup=False, soft_wrap=True)
        if stopped:
            return results, True
    return results, False


def _fuzz(
    console: Console, name: str, seconds: float, seed: int, database: Path, tally: Tally
) -> None:
    """Rounds of one machine, until the time is over or one fails."""
    began = time.perf_counter()
    with console.status("") as status:

        def tell() -> None:
            tally.examples += 1
            passed = time.perf_counter() - began
            rate = tally.examples / max(passed, 0.001)
            left = f"{seconds - passed:.0f} s left" if passed < seconds else "finishing"
            status.update(f"{name}: {tally.examples:,} examples, {rate:,.0f}/s, {left}")

        for outcome in rounds(name, seed, database, tell):
            tally.reached += outcome.reached
            tally.failure = str(outcome.failed or "")
            if time.perf_counter() - began >= seconds:
                break
