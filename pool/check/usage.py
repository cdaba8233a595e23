"""What the sub-commands share: how they end, refuse a command line, and write.

Theory.  A command is given what was asked for (`options.py`), and can find only then that it
makes no sense.  That is one kind of exception, which becomes one line and the status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import textwrap
from collections.abc import Iterator

WIDTH = 78


EXITS = {
    "check": {
        0: "every check passed",
        1: "something does not hold; a shortest history shows it",
        3: "nothing failed, but --most-states came before the end",
    },
    "fuzz": {
        0: "nothing failed",
        1: "something failed; the command that shows it again is printed",
        3: "what was to be replayed does not fail any more",
    },
    "prove": {
        0: "all is proved, and every step is one that the proof is about",
        1: "something is not; a counterexample shows it",
    },
    "vectors": {0: "they are written, or equal", 1: "with --check: they differ"},
    "conform": {
        0: "the port conforms",
        1: "it does not, or lacks something",
        2: "the command line is wrong, or the port cannot be started",
    },
    "replay": {
        0: "each transition is what the machine does",
        1: "one is not, or something could not be read",
    },
    "record": {
        0: "the program ended with 0",
        1: "it ended with 1, as with any other; 128 and the number of the signal that ended it",
    },
    "timeline": {
        0: "it is written",
        1: "something could not be read, or is not what the machine does",
    },
    "size": {
        0: "a size is enough; it is named",
        1: "none of the sizes that were tried is enough",
    },
}
"""Of each sub-command, what its exit statuses mean."""

ALWAYS = {
    2: "the command line is wrong, or something that it needs is missing",
    130: "stopped by SIGINT (Ctrl-C); what was found by then is reported",
    143: "stopped by SIGTERM, likewise",
}
"""What they mean in all of them."""


def exits(name: str) -> dict[int, str]:
    """Every exit status of a sub-command, and what it means."""
    return dict(sorted({**ALWAYS, **EXITS[name]}.items()))


class UsageError(Exception):
    """The command line asks for what there is not; the message says what there is."""


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """For an import of what this extra brings: `UsageError` if it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        why = f"{error.name} is missing: `pip install 'purepool[{name}]'` brings it"
        raise UsageError(why) from None


def refuse(arguments: argparse.Namespace, what: str, *names: str) -> None:
    """These options would do nothing beside `what`: `UsageError` if one was given."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value is not False and value != []:  # 0 is a value
            option = "CONFIGURATION" if name == "configurations" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} has no meaning {what}")


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


def reports_to_output(arguments: argparse.Namespace) -> bool:
    """Whether a report goes to standard output: then nothing else does. `UsageError`: two."""
    if arguments.json == arguments.junit == "-":
        raise UsageError("--json and --junit cannot both go to standard output")
    return "-" in (arguments.json, arguments.junit)
