"""What the sub-commands share: how they refuse a command line, and how they write.

Theory.  A command is given what was asked for (`options.py`), and can find only then that it
makes no sense.  That is one kind of exception, which becomes one line and the status 2.
"""

from __future__ import annotations

import argparse
import textwrap

WIDTH = 78


class UsageError(Exception):
    """The command line asks for what there is not; the message says what there is."""


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
