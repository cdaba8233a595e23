"""The command line of every sub-command: what can be asked for, in one place and in one voice.

Theory.  An option of one name has one meaning and one form wherever it is: `--json FILE`, `--junit
FILE`, `--seconds S`, `--vectors DIR`, `--seed N`.  So they are made here, each once.  What is asked
for is read before anything is imported that does it: `--help` and `--version` need nothing but
the pool itself.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable
from pathlib import Path

from pool.check.results import COUNTS, PARTS

PROFILES = ("ci", "nightly")

MACHINES = {
    "step": "pool.check.machine:PoolMachine",
    "differential": "pool.check.differential:DifferentialMachine",
    "runtime": "pool.check.runtime_machine:RuntimeMachine",
}
"""The Hypothesis machines: name -> module:class. All of them are run where none is named."""

DATABASE = Path(".purepool")
"""Where `purepool fuzz` keeps what goes on from run to run, if not told otherwise."""

LONGEST = 1e9
"""Seconds that may be asked for: 30 years."""

WIDTH = 78

EXITS = (
    "Exit status: 0 {right}; 1 {wrong}; 2 {asked}; {more}130 or 143 it was stopped by SIGINT or"
    " SIGTERM, and what it had come to is reported."
)


class UsageError(Exception):
    """The command line asks for what there is not; the message says what there is."""


# ---------------------------------------------------------------- what they share


def seconds(least: str) -> Callable[[str], float]:
    """A number of seconds: `above 0`, or `0 or more`."""

    def read(given: str) -> float:
        try:
            number = float(given)
        except ValueError:
            number = math.nan
        if 0 < number < LONGEST or (number == 0 and least == "0 or more"):
            return number
        raise argparse.ArgumentTypeError(f"{given}: allowed is a number of seconds, {least}")

    return read


def _at_least_one(given: str) -> int:
    try:
        number = int(given)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{given}: allowed is a whole number, at least 1")
    return number


def _add_seconds(parser: argparse.ArgumentParser, default: float, least: str, about: str) -> None:
    parser.add_argument(
        "--seconds",
        type=seconds(least),
        default=default,
        metavar="S",
        help=f"how long to try random histories, in seconds (default: {default:g}{about})",
    )


def _add_seed(parser: argparse.ArgumentParser, default: int | None, about: str) -> None:
    parser.add_argument(
        "--seed",
        type=int,
        default=default,
        metavar="N",
        help=f"of the first round of random histories (default: {about})",
    )


def _add_vectors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="DIR",
        help="where the vectors are (default: spec/vectors, or those of the package)",
    )


def _add_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the results as JSON (-: to standard output, and all else to standard error)",
    )
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")


def _exits(
    right: str = "all is well",
    wrong: str = "something does not hold",
    asked: str = "the command was wrong",
    more: str = "",
) -> str:
    return textwrap.fill(EXITS.format(right=right, wrong=wrong, asked=asked, more=more), WIDTH)


def legend(names: dict[str, str], width: int = WIDTH) -> str:
    """Names and what they mean, a paragraph each, within the width."""
    column = max(map(len, names))
    return "\n".join(
        textwrap.fill(
            about,
            width,
            initial_indent=f"  {name:{column}}  ",
            subsequent_indent=" " * (column + 4),
        )
        for name, about in names.items()
    )


# ---------------------------------------------------------------- each of them


def add_check(parser: argparse.ArgumentParser) -> None:
    """`purepool check`."""
    add = parser.add_argument
    add("configurations", nargs="*", metavar="CONFIGURATION", help="which to check; none: all")
    add("--list", action="store_true", help="show the configurations and stop")
    add("--profile", choices=PROFILES, help="everything that runs there")
    add("--against-tla", action="store_true", help="compare with the graph of the specification")
    add("--spec", type=Path, metavar="DIR", help="another specification to compare with")
    add("--pin", action="store_true", help="with --against-tla: pin what was found equal")
    add("--mutants", action="store_true", help="see that every mutant is found")
    add("--coverage", action="store_true", help="lines and branches of the pure core reached")
    add("--replay", metavar="FILE", help="replay a pasted history (-: standard input)")
    _add_reports(parser)
    bounds = parser.add_argument_group("bounds, instead of the configuration's")
    bounds.add_argument("--callers", type=int, metavar="N", help="tickets alive at one time")
    bounds.add_argument("--max-size", type=int, metavar="N", help="connections")
    bounds.add_argument("--ticks", type=int, metavar="N", help="units of time that may pass")
    bounds.add_argument("--events", metavar="A,B,...", help="what can happen")
    bounds.add_argument(
        "--most-states", type=_at_least_one, metavar="N", help="stop after so many states"
    )
    parts = {name: about for name, about in PARTS.items() if name not in ("fuzz", "vectors")}
    parser.epilog = "\n\n".join(
        [
            "parts (without --profile: explore, live, pinned):\n" + legend(parts),
            "counts:\n" + legend({name: COUNTS[name] for name in COUNTS if name != "cases"}),
            _exits(more="3 nothing failed, but --most-states came before the end; "),
        ]
    )


def add_fuzz(parser: argparse.ArgumentParser) -> None:
    """`purepool fuzz`."""
    add = parser.add_argument
    _add_seconds(parser, 60, "above 0", "; a failure is still made short after that")
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
    _add_seed(parser, None, "another each time")
    add("--replay", metavar="PROGRAM", help="run the one program of a failure, as it was printed")
    _add_reports(parser)
    parser.epilog = _exits(more="3 what was to be replayed fails no more; ")


def add_vectors(parser: argparse.ArgumentParser) -> None:
    """`purepool vectors`."""
    parser.add_argument(
        "--check", action="store_true", help="write nothing; compare, and fail if they differ"
    )
    _add_vectors(parser)
    _add_reports(parser)
    parser.epilog = _exits(wrong="with --check: they differ")


def add_conform(parser: argparse.ArgumentParser) -> None:
    """`purepool conform`."""
    _add_seconds(parser, 20, "0 or more", ", after the vectors; 0: none")
    _add_seed(parser, 0, "0")
    parser.add_argument(
        "--timeout",
        type=seconds("above 0"),
        default=5.0,
        metavar="S",
        help="for each answer of the port, in seconds (default: 5; the first may take four times"
        " as long)",
    )
    parser.add_argument(
        "--shrink",
        type=seconds("0 or more"),
        default=10.0,
        metavar="S",
        help="how long to look for a shorter history that diverges, in seconds (default: 10)",
    )
    _add_vectors(parser)
    _add_reports(parser)
    parser.add_argument(
        "command",
        nargs="+",
        metavar="COMMAND",
        help="starts the port; after --, so that its own options are its own",
    )
    parser.epilog = _exits("it conforms", "it does not", "it could not be asked")
