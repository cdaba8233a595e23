"""The rules of `spec/README.md`: their ids, what they say, and the event they belong to.

Theory.  The specification is the only list of rules there is.  A rule is a paragraph that
begins with its id in backticks, or a row of the table of section 9; under a heading
that has arguments in brackets it belongs to that event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import attrs

from pool.check.explore.tlc import spec_directory

_RULE = re.compile(r"^(?:\| )?`([A-Z]{3}-\d+)`(?: \|)? (.+)")
_EVENT = re.compile(r"^### ([A-Z]\w+)\(")


@attrs.frozen
class Rule:
    """One rule of the specification."""

    id: str
    text: str
    """Its first sentences, as one line."""
    event: str | None
    """The event whose rule it is; none for what all transitions share."""

    @property
    def is_for_runtimes(self) -> bool:
        """Whether the pure function cannot show it (section 9)."""
        return self.id.startswith("RUN-")


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its id, in the order of the specification."""
    found: dict[str, Rule] = {}
    event: str | None = None
    lines = (spec_directory() / "README.md").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#"):
            heading = _EVENT.match(line)
            event = heading[1] if heading else None
        if match := _RULE.match(line):
            said = [match[2].rstrip(" |")]
            for more in lines[number + 1 :] if not line.startswith("|") else ():
                if not more.strip():
                    break
                said.append(more.strip())
            found[match[1]] = Rule(match[1], " ".join(said), event)
    return MappingProxyType(found)


def judged() -> tuple[str, ...]:
    """The rules that vectors and histories can show."""
    return tuple(name for name, rule in rules().items() if not rule.is_for_runtimes)
