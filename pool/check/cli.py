"""The command `purepool`: one sub-command for each way to check a pool.

Theory.  A sub-command is a function that adds its arguments (`options.py`) and a module with
`run(arguments)`, which gives the exit status.  To add one is to add a line to `COMMANDS`.  The
module is imported when the command line has been read, so that `--help` needs nothing that it
needs.  A mistake of the user is an exception of a kind named here; it becomes one line and the
status 2, never a traceback.

From the first moment on Ctrl-C and SIGTERM are only noted (`interrupts.py`), for to import
everything takes a while.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import io
import sys
import time
from collections.abc import Callable, Sequence

from pool.check import interrupts, options
from pool.check.conformance.port import PROTOCOL, SPEC
from pool.check.usage import UsageError

Add = Callable[[argparse.ArgumentParser], None]

COMMANDS: dict[str, tuple[Add, str, str]] = {
    "check": (
        options.add_check,
        "pool.check.runner",
        "explore every state, compare with the specification, plant faults",
    ),
    "prove": (
        options.add_prove,
        "pool.check.proof.command",
        "prove the invariants for any number of callers and connections",
    ),
    "fuzz": (
        options.add_fuzz,
        "pool.check.machines.fuzz",
        "try random histories for a while; keeps what failed for the next run",
    ),
    "vectors": (
        options.add_vectors,
        "pool.check.conformance.vectors",
        "write the test vectors for ports, or verify them",
    ),
    "conform": (
        options.add_conform,
        "pool.check.conformance.conform",
        "check a port to another language: the vectors, then random histories",
    ),
    "replay": (
        options.add_replay,
        "pool.check.recordings.command",
        "verify what a flight recorder kept; show the pool at a time",
    ),
    "record": (
        options.add_record,
        "pool.check.recordings.program",
        "run a program, and record its pools, without a change to it",
    ),
    "timeline": (
        options.add_timeline,
        "pool.check.timeline.command",
        "draw what a flight recorder kept: a page to look at, without a network",
    ),
    "size": (
        options.add_size,
        "pool.check.sizing.command",
        "simulate your callers in virtual time: how many connections do they need?",
    ),
}
"""Name -> (what adds its arguments, the module that does it, what it does)."""

EXTRA = ("coverage", "greenlet", "hypothesis", "rich")
"""Packages that only the commands need."""


def make_parser() -> argparse.ArgumentParser:
    """What reads a command line. What it returns has the name of the command as `sub_command`."""
    parser = argparse.ArgumentParser(
        prog="purepool", description="Check a connection pool whose behaviour is a pure function."
    )
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="sub_command", required=True, metavar="COMMAND")
    for name, (add, _, about) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=about,
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(sub)
    return parser


def version() -> str:
    """Of the package, and of what ports are checked against."""
    try:
        installed = importlib.metadata.version("purepool")
    except importlib.metadata.PackageNotFoundError:
        installed = "(not installed)"
    return f"purepool {installed}, specification {SPEC}, protocol {PROTOCOL}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    began = time.perf_counter()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the marks, where there is no UTF-8
    with interrupts.noted():
        try:
            return _main(arguments, began)
        except KeyboardInterrupt:  # also what is not our `Stopped`: in a thread there is no handler
            print("purepool: stopped", file=sys.stderr)
            return interrupts.status()


def _main(arguments: Sequence[str] | None, began: float) -> int:
    given = make_parser().parse_args(arguments)
    given.began = began
    try:
        command = importlib.import_module(COMMANDS[given.sub_command][1])
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        extra = "size" if given.sub_command == "size" else "check"
        return _complain(f"{package} is missing: `pip install 'purepool[{extra}]'` brings it")
    interrupts.checkpoint()
    from pool.check.explore.mutants import MutantError
    from pool.check.explore.notation import NotationError
    from pool.check.explore.tlc import TlcError

    try:
        status: int = command.run(given)
    except (UsageError, NotationError, MutantError, TlcError) as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename or ''}: {error.strerror or error}")
    return status


def _complain(message: str) -> int:
    print(f"purepool: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
