"""What a port that knows some events and openers has to learn to reach the other rules.

Theory.  A vector reaches a rule with a few events and one opener.  Of all that reach it, the one
for which the port has least to learn says what to write next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pool.check.conformance.files import File
from pool.check.conformance.port import Hello

Lack = tuple[str, ...]
"""Names of openers and events that a port does not know."""


def needs(files: Sequence[File], hello: Hello) -> dict[str, Lack]:
    """Of each rule that some vector reaches, the fewest names that the port lacks for it."""
    known = {*hello.events, *hello.openers}
    least: dict[str, Lack] = {}

    def reached(rules: Iterable[str], lack: set[str]) -> None:
        for rule in rules:
            one = tuple(sorted(lack))
            if rule not in least or (len(one), one) < (len(least[rule]), least[rule]):
                least[rule] = one

    for file in files:
        for case in file.cases:
            if "steps" not in case:
                reached(case["rules"], set())
                continue
            lack = {case["limits"].get("opener", "caller")} - known
            reached(("INI-1",), lack)
            for step in (case["start"], *case["steps"]):
                if "event" in step:
                    lack |= {step["event"]["event"]} - known
                    reached(step["rules"].split(), lack)
                if step.get("wake_at") is not None:
                    reached(("WAK-1",), lack)
                for rules, events in step.get("ignored", {}).items():
                    for event in events:
                        reached(rules.split(), lack | ({event["event"]} - known))
    return least
