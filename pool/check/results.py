"""What the checks found, for people and for machines.

Theory.  Every check is a task with a name that comes to one result: what became of it, how long it
took, what was counted, and a message that says why.  A report is nothing but results, so JSON and
JUnit XML can say exactly what the table says.

There are three ends.  A check passed, or it failed, or it was stopped before either could be said:
by a signal, or by a bound that was asked for.  What was stopped is never failed.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol
from xml.etree import ElementTree

import attrs

from pool.check import interrupts

Counts = dict[str, int]
Status = Literal["passed", "failed", "stopped"]

PARTS = {
    "explore": "every state that the function can reach, every invariant",
    "live": "no fair run of the function leaves a caller waiting for ever",
    "pinned": "the function's graph is the one last found equal to the specification's",
    "equal": "the function's graph is that of the TLA+ specification, edge by edge",
    "specification": "TLC finds every property true of the specification",
    "mutants-specification": "faults planted in the specification: each is found",
    "mutants-code": "faults planted in the function: each is found",
    "schedules": "small programs of threads, in every order of their steps",
    "machine": "random histories beside a reference model, so many",
    "fuzz": "random histories beside a reference model, for so long",
    "vectors": "the files of vectors are what the function does",
}
"""Every kind of check, and what it shows."""

COUNTS = {
    "states": "states of the graph",
    "edges": "its edges: each event in each state, ignored ones too, and each unit of time",
    "transitions": "calls of the function",
    "interleavings": "orders in which threads can meet",
    "examples": "random histories",
    "behaviours": "kinds of thing that happened in them",
    "new": "behaviours that no run before had seen",
    "mutants": "planted faults that were found",
    "generated": "states that TLC generated, equal ones too",
    "tlc-states": "states that TLC found different",
    "cases": "histories in the files of vectors",
}
"""Every count, and what it counts."""

INCONCLUSIVE = 3
"""The exit status where nothing failed and nothing is shown: a bound came before the end, or what
should be seen again did not happen."""

NOT_BEGUN = "not begun"


class Underway(Protocol):
    """A check that has not come to its end."""

    @property
    def progress(self) -> str:
        """How far it has come, in a few words."""


Progress = Callable[[Underway], None]


@attrs.frozen
class Result:
    """What one check came to."""

    part: str
    """What kind of check: one of `PARTS`."""
    name: str
    status: Status
    seconds: float
    counts: Counts = attrs.field(factory=dict)
    message: str = ""

    @property
    def passed(self) -> bool:
        """Whether it came to its end, and all was well."""
        return self.status == "passed"

    @property
    def begun(self) -> bool:
        """Whether it was begun at all."""
        return self.message != NOT_BEGUN


def totals(results: Iterable[Result]) -> Counts:
    """Counts of all results together."""
    together: Counter[str] = Counter()
    for result in results:
        together.update(result.counts)
    return dict(together)


def count(results: Iterable[Result], status: Status) -> int:
    """How many came to this."""
    return sum(result.status == status for result in results)


def exit_status(results: Sequence[Result]) -> int:
    """0 all passed, 1 something failed, 3 something is open, 130 or 143 a signal stopped it."""
    if count(results, "stopped") and interrupts.came():
        return interrupts.status()
    if count(results, "failed"):
        return 1
    return INCONCLUSIVE if count(results, "stopped") else 0


def verdict(results: Sequence[Result], seconds: float) -> str:
    """One line for people, in rich's markup."""
    failed, stopped = count(results, "failed"), count(results, "stopped")
    waiting = sum(not result.begun for result in results)
    parts = []
    if failed:
        parts.append(f"[red]{failed} failed[/]")
    if stopped:
        parts.append(f"{count(results, 'passed')} passed")
    elif not failed:
        parts.append("[green]all passed[/]")
    if stopped > waiting:
        parts.append(f"[yellow]{stopped - waiting} stopped[/]")
    if waiting:
        parts.append(f"[yellow]{waiting} not begun[/]")
    checks = "1 check" if len(results) == 1 else f"{len(results)} checks"
    by = f" ({signalled.name})" if stopped and (signalled := interrupts.came()) else ""
    return f"{checks}: {', '.join(parts)}{by}, {seconds:.1f} s"


def head(command: str, *, passed: bool, stopped: bool, seconds: float) -> dict[str, object]:
    """How the JSON of every command begins."""
    by = interrupts.came() if stopped else None
    return {
        "command": command,
        "passed": passed,
        "stopped": stopped,
        "signal": None if by is None else signal.Signals(by).name,
        "seconds": round(seconds, 3),
    }


def as_json(results: Sequence[Result], seconds: float, command: str, **facts: object) -> str:
    """One JSON object: what became of it, further facts, totals, each result."""
    passed = all(result.passed for result in results)
    stopped = count(results, "stopped") > 0
    return json.dumps(
        {
            **head(command, passed=passed, stopped=stopped, seconds=seconds),
            **facts,
            "totals": totals(results),
            "results": [attrs.asdict(result) for result in results],
        },
        indent=2,
    )


def as_junit(results: Sequence[Result], seconds: float, command: str) -> str:
    """JUnit XML: a suite for each part, a case for each result, the counts as its properties.

    What was stopped is skipped, with how far it came as the reason."""
    root = ElementTree.Element("testsuites", name=f"purepool {command}", time=f"{seconds:.3f}")
    for part in dict.fromkeys(result.part for result in results):
        cases = [result for result in results if result.part == part]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=part,
            tests=str(len(cases)),
            failures=str(count(cases, "failed")),
            skipped=str(count(cases, "stopped")),
            errors="0",
            time=f"{sum(case.seconds for case in cases):.3f}",
        )
        for case in cases:
            element = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"purepool.{part}",
                name=case.name,
                time=f"{case.seconds:.3f}",
            )
            properties = ElementTree.SubElement(element, "properties")
            for name, number in case.counts.items():
                ElementTree.SubElement(properties, "property", name=name, value=str(number))
            if case.status == "failed":
                failure = ElementTree.SubElement(element, "failure", message=_first(case.message))
                failure.text = case.message
            elif case.status == "stopped":
                ElementTree.SubElement(element, "skipped", message=_first(case.message))
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _first(message: str) -> str:
    return message.partition("\n")[0]


def save(path: str | None, text: str) -> None:
    """Write a report to a file, or `-` for standard output; None: nowhere."""
    if path == "-":
        print(text)
    elif path is not None:
        Path(path).write_text(text + "\n", encoding="utf-8")
