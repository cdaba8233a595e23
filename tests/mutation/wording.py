"""Kinds of survivors that are explained once, for all of a kind.

Theory.  That a message says `XXthe watch failedXX`, or says it in capitals, is no fault that a test
should look for by repeating the message: a text is judged by a reader.  What can go wrong with a
text, that it names the wrong number or none, are other mutants, which are not of these kinds.
"""

from __future__ import annotations

from typing import Any

KINDS = {
    "text of a log record": (
        "docs/logging.md lists every text, and tests/integration/test_pool_logging.py compares it"
        " with the code"
    ),
    "text of an error": "only the wording differs: the kind of error and what it names do not",
}


def kind_of(mutant: Any) -> str:
    """Why no test has to kill such a mutant, or nothing."""
    return KINDS.get(mutant.wording, "")
