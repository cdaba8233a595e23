"""The command line, for the reference: read off the parsers that read it.

    .. commandline::

Theory.  What `--help` says and what the page says are one text, from one place.
"""

from __future__ import annotations

import argparse
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from pool.check.cli import COMMANDS, make_parser
from pool.check.usage import exits


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each sub-command, by name."""
    parser = make_parser()
    (actions,) = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(actions.choices)


def invocation(action: argparse.Action) -> str:
    """How an argument is written: `--json FILE`."""
    formatter = argparse.HelpFormatter("")
    return formatter._format_action_invocation(action)


def lines(name: str, parser: argparse.ArgumentParser) -> list[str]:
    """What the page says of a sub-command, as reStructuredText."""
    title = f"purepool {name}"
    usage = " ".join(parser.format_usage().split()).removeprefix("usage: ")
    text = [title, "-" * len(title), "", f"{COMMANDS[name][2].capitalize()}.", ""]
    text += ["::", "", f"    {usage}", ""]
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        about = (action.help or "") % {**vars(action), "prog": parser.prog}
        text += [f"``{invocation(action)}``", f"    {escape(' '.join(about.split()))}"]
        text += [""]
    text += ["Exit statuses:", ""]
    for status, meaning in exits(name).items():
        text += [f"* {status}: {escape(meaning)}"]
    return [*text, ""]


def escape(text: str) -> str:
    for mark in "\\*|_":
        text = text.replace(mark, "\\" + mark)
    return text


class CommandLine(SphinxDirective):
    """Every sub-command, with all its arguments."""

    def run(self) -> list[nodes.Node]:
        text = [line for name, parser in parsers().items() for line in lines(name, parser)]
        return self.parse_text_to_nodes("\n".join(text), allow_section_headings=True)


def setup(app: Any) -> None:
    app.add_directive("commandline", CommandLine)
