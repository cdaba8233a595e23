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

from pool.check.conformance.port import ANSWERING, OPENERS, STARTING
from pool.check.explore.configurations import EVENTS
from pool.check.machines import MACHINES
from pool.check.results import COUNTS, PARTS
from pool.check.sizing import given
from pool.check.usage import WIDTH, exits, legend

PROFILES = ("ci", "nightly")

DATABASE = Path(".purepool")
"""Where `purepool fuzz` keeps what goes on from run to run, if not told otherwise."""

LONGEST = 1e9
"""Seconds that may be asked for: 30 years."""

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


def _whole(least: int) -> Callable[[str], int]:
    """A whole number that is not less."""

    def read(given: str) -> int:
        try:
            number = int(given)
        except ValueError:
            number = least - 1
        if number < least:
            message = f"{given}: allowed is a whole number, at least {least}"
            raise argparse.ArgumentTypeError(message)
        return number

    return read


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


def _report(given: str) -> str:
    """A file to write a report to. That there is no such place is said before hours of work."""
    place = Path(given).absolute()
    if given != "-" and (place.is_dir() or not place.parent.is_dir()):
        why = "is a directory" if place.is_dir() else f"there is no directory {place.parent}"
        raise argparse.ArgumentTypeError(f"{given}: {why}")
    return given


def _picture(given: str) -> str:
    """A file to draw into: standard output is for text."""
    if given == "-":
        raise argparse.ArgumentTypeError("-: allowed is a file")
    return _report(given)


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--json",
        type=_report,
        metavar="FILE",
        help="write the results as JSON (-: to standard output, and all else to standard error)",
    )


def _add_reports(parser: argparse._ActionsContainer) -> None:
    _add_json(parser)
    parser.add_argument(
        "--junit", type=_report, metavar="FILE", help="write the results as JUnit XML (-: likewise)"
    )


def _exits(name: str) -> str:
    return "exit status:\n" + legend({str(number): what for number, what in exits(name).items()})


# ---------------------------------------------------------------- each of them


def add_check(parser: argparse.ArgumentParser) -> None:
    """`purepool check`."""
    parser.usage = "purepool check [-h] [OPTION ...] [CONFIGURATION ...]"
    add = parser.add_argument
    add("configurations", nargs="*", metavar="CONFIGURATION", help="which to check (default: all)")
    what = parser.add_argument_group("what to do (default: explore, live, pinned)")
    one = what.add_mutually_exclusive_group()
    one.add_argument(
        "--profile",
        choices=PROFILES,
        help="all parts: ci takes three minutes on two cores, nightly adds the larger"
        " configurations",
    )
    one.add_argument(
        "--against-tla",
        action="store_true",
        help="compare with the graph of the specification, which TLC makes",
    )
    one.add_argument(
        "--mutants", action="store_true", help="plant faults, and see that each is found"
    )
    one.add_argument(
        "--coverage",
        action="store_true",
        help="measure which lines and branches of the function are reached",
    )
    one.add_argument(
        "--replay",
        metavar="FILE",
        help="show what each event of a history does (-: standard input)",
    )
    one.add_argument(
        "--linearizable",
        metavar="FILE",
        help="search for an order of transitions that explains a log of calls, as"
        " pool.check.calls.log writes it (-: standard input)",
    )
    one.add_argument(
        "--trace",
        type=Path,
        metavar="RECORDING",
        help="have TLC accept what a FlightRecorder wrote as a behaviour of the specification"
        " (the directory, or one of its segments)",
    )
    one.add_argument("--list", action="store_true", help="list the configurations")
    against = parser.add_argument_group("with --against-tla")
    against.add_argument(
        "--spec", type=Path, metavar="DIR", help="compare with another specification"
    )
    against.add_argument(
        "--pin", action="store_true", help="write what was found equal into spec/graphs.json"
    )
    bounds = parser.add_argument_group("bounds, instead of those of the configurations")
    bounds.add_argument("--callers", type=_whole(1), metavar="N", help="tickets alive at one time")
    bounds.add_argument("--max-size", type=_whole(1), metavar="N", help="connections")
    bounds.add_argument("--ticks", type=_whole(0), metavar="N", help="units of time that may pass")
    bounds.add_argument(
        "--events", metavar="A,B,...", help=f"what can happen, of {', '.join(EVENTS)}"
    )
    bounds.add_argument(
        "--most-states", type=_whole(1), metavar="N", help="stop after so many states"
    )
    _add_reports(parser.add_argument_group("reports"))
    parts = {name: about for name, about in PARTS.items() if name not in ("fuzz", "vectors")}
    parser.epilog = "\n\n".join(
        [
            "parts:\n" + legend(parts),
            "counts:\n" + legend({name: COUNTS[name] for name in COUNTS if name != "cases"}),
            _exits("check"),
        ]
    )


def add_prove(parser: argparse.ArgumentParser) -> None:
    """`purepool prove`."""
    add = parser.add_argument
    add(
        "--solver",
        action="append",
        choices=("z3", "cvc5"),
        help="which solver; may be given again (default: both)",
    )
    add(
        "--smt",
        type=Path,
        metavar="DIR",
        help="prove nothing; write each obligation as a file of SMT-LIB, for any solver",
    )
    _add_reports(parser)
    parser.epilog = "\n\n".join(
        [
            textwrap.fill(
                "Needs the solvers z3 and cvc5: `pip install 'purepool[prove]'` brings them.", WIDTH
            ),
            "parts:\n" + legend({name: PARTS[name] for name in ("proved", "bound")}),
            _exits("prove"),
        ]
    )


def add_fuzz(parser: argparse.ArgumentParser) -> None:
    """`purepool fuzz`."""
    add = parser.add_argument
    _add_seconds(parser, 60, "above 0", "; shrinking what failed may take longer")
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
    parser.epilog = _exits("fuzz")


def add_vectors(parser: argparse.ArgumentParser) -> None:
    """`purepool vectors`."""
    parser.add_argument(
        "--check", action="store_true", help="write nothing; compare, and fail if they differ"
    )
    _add_vectors(parser)
    _add_reports(parser)
    parser.epilog = _exits("vectors")


def add_conform(parser: argparse.ArgumentParser) -> None:
    """`purepool conform`."""
    _add_seconds(parser, 20, "0 or more", ", after the vectors; 0: none")
    _add_seed(parser, 0, "0")
    parser.add_argument(
        "--timeout",
        type=seconds("above 0"),
        default=ANSWERING,
        metavar="S",
        help="how long an answer of the port may take, in seconds"
        f" (default: {ANSWERING:g}; the first may take {STARTING} times as long)",
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
    parser.epilog = _exits("conform")


def add_replay(parser: argparse.ArgumentParser) -> None:
    """`purepool replay`."""
    add = parser.add_argument
    add(
        "recording",
        metavar="RECORDING",
        help="what a FlightRecorder wrote: the directory, or one of its segments",
    )
    add(
        "--at",
        metavar="TIME",
        help="show the pool at that time: +90s after the beginning, -5s before the end, 14:03:20,"
        " or a date and a time; on this machine's clock",
    )
    add(
        "--follow",
        action="store_true",
        help="go on with what a running program records, and say each second what came;"
        " Ctrl-C ends it",
    )
    add(
        "--salvage",
        action="store_true",
        help="leave out segments from where they cannot be read, and go on with the next",
    )


def add_record(parser: argparse.ArgumentParser) -> None:
    """`purepool record`."""
    parser.usage = "purepool record [-h] [-o DIR] [--keep SIZE] -- COMMAND [ARGUMENT ...]"
    add = parser.add_argument
    add(
        "-o",
        "--output",
        metavar="DIR",
        help="a directory that is not there, or empty; a recording for each pool and process goes"
        " in there (default: the name of the program, with .rec)",
    )
    add(
        "--keep",
        default="64 MB",
        metavar="SIZE",
        help="how much of each pool, always the last of it (default: 64 MB)",
    )
    add(
        "command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="what to run, as `python app.py`, `python -m app` or `uvicorn app:app`",
    )
    parser.epilog = _exits("record")


def add_timeline(parser: argparse.ArgumentParser) -> None:
    """`purepool timeline`."""
    add = parser.add_argument
    add(
        "recordings",
        nargs="+",
        metavar="RECORDING",
        help="what a FlightRecorder wrote: the directory, or one of its segments; or a directory of"
        " such, as `purepool record` makes it. All of them go into one page",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="the page (-: to standard output; default: the name of the first recording, with"
        " .html; none, where only a picture is asked for). A page of before is replaced, any other"
        " file is not",
    )
    add("--title", metavar="TEXT", help="of the page (default: the name of the pool)")
    add(
        "--salvage",
        action="store_true",
        help="leave out segments from where they cannot be read, and go on with the next",
    )
    pictures = parser.add_argument_group("pictures, for a report; need `purepool[size]`")
    pictures.add_argument("--png", type=_picture, metavar="FILE", help="draw it as PNG")
    pictures.add_argument("--svg", type=_picture, metavar="FILE", help="draw it as SVG")
    parser.epilog = _exits("timeline")


def add_size(parser: argparse.ArgumentParser) -> None:
    """`purepool size`."""
    parser.usage = (
        "purepool size [-h] RECORDING [OPTION ...]\n"
        "       purepool size [-h] --rate RATE --hold TIME[,SHAPE] [OPTION ...]"
    )
    callers = parser.add_argument_group("the callers")
    add = callers.add_argument
    add(
        "recording",
        nargs="?",
        metavar="RECORDING",
        help="those that a FlightRecorder saw; the pool is then as it was, but for what is given",
    )
    add("--rate", type=given.rate, metavar="RATE", help="how many, as 400/s")
    add(
        "--hold",
        type=given.hold,
        metavar="TIME[,SHAPE]",
        help="for how long each holds a connection, on average, as 50ms; then how that varies:"
        " exponential (the default), fixed, or lognormal,SPREAD",
    )
    add(
        "--load",
        type=given.factor,
        default=1.0,
        metavar="FACTOR",
        help="what if there were more of them? as 2x",
    )
    add(
        "--timeout",
        type=given.seconds,
        metavar="TIME",
        help="for how long each is ready to wait, as 10s (default: for ever)",
    )
    add(
        "--calls",
        type=_whole(100),
        metavar="N",
        help="how many are simulated for each size (default: 100000)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="of the random times; the same for the same (default: 0)",
    )
    pool = parser.add_argument_group("the pool")
    add = pool.add_argument
    add(
        "--max-size",
        type=given.sizes,
        metavar="SIZES",
        help="which to try, as 2..40 or 4,8,16 (default: around what the callers keep busy)",
    )
    add("--min-idle", type=_whole(0), metavar="N", help="idle to keep ready (default: 0)")
    add(
        "--max-waiting",
        type=_whole(0),
        metavar="N",
        help="who comes when so many wait is refused (default: no limit)",
    )
    add(
        "--opener",
        choices=OPENERS,
        help="who connects (default: background, as in Pool)",
    )
    add(
        "--connect",
        type=given.seconds,
        metavar="TIME",
        help="what a connect takes (default: 5ms)",
    )
    goal = parser.add_argument_group("what is enough")
    add = goal.add_argument
    add(
        "--p99",
        type=given.seconds,
        default=0.01,
        metavar="TIME",
        help="99 of 100 calls wait at most so long (default: 10ms)",
    )
    add(
        "--refused",
        type=given.part,
        default=0.0,
        metavar="PART",
        help="at most this part of the calls is refused, as 0.1%% (default: 0)",
    )
    reports = parser.add_argument_group("reports")
    _add_json(reports)
    reports.add_argument("--png", type=_picture, metavar="FILE", help="draw waits over sizes")
    reports.add_argument("--svg", type=_picture, metavar="FILE", help="likewise")
    parser.epilog = _exits("size")
