"""The command `purepool`: one sub-command for each way to check a pool.

Theory.  A sub-command is a module with `add_arguments(parser)` and `run(arguments)`, which gives
the exit status.  To add one is to add a line to `COMMANDS`.  A mistake of the user is an
exception of a kind named here; it becomes one line and the status 2, never a traceback.

Ctrl-C and SIGTERM end a command as an exception does, so that it ends what it has started; from
the first moment on, for to import everything takes a while.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

COMMANDS = {
    "check": ("pool.check.checking", "explore every state, compare with the specification"),
    "fuzz": (
        "pool.check.fuzz",
        "random histories for a while, going on where the last run stopped",
    ),
    "vectors": ("pool.check.vectors", "write or verify the test vectors for ports"),
    "conform": ("pool.check.conform", "run a port against the vectors"),
}
"""Name -> (module, what it does)."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came. To Hypothesis, and to whoever must not hold it up, as a Ctrl-C."""


def make_parser() -> argparse.ArgumentParser:
    """What reads a command line. What it returns has the function to call as `run`."""
    parser = argparse.ArgumentParser(
        prog="purepool", description="Check a connection pool whose behaviour is a pure function."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, about) in COMMANDS.items():
        command = importlib.import_module(module)
        sub = commands.add_parser(name, help=about, description=about)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the marks, where there is no UTF-8
    try:
        with _terminable():
            return _main(arguments)
    except Terminated:
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _main(arguments: Sequence[str] | None) -> int:
    try:
        import rich  # noqa: F401
    except ImportError:
        return _complain("a package is missing: `pip install 'purepool[check]'` brings it")
    from pool.check.checking import UsageError
    from pool.check.mutants import MutantError
    from pool.check.notation import NotationError
    from pool.check.tlc import TlcError

    given = make_parser().parse_args(arguments)
    try:
        status: int = given.run(given)
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
