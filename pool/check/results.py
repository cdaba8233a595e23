"""What the checks found, for people and for machines.

Theory.  Every check is a task with a name that comes to one result: passed or not, how long it
took, what was counted, and a message that says why not.  A report is nothing but results, so
JSON and JUnit XML can say exactly what the table says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

import attrs

Counts = dict[str, int]


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
    """What kind of check: explore, live, pinned, equal, specification, mutants, schedules,
    machine, fuzz."""
    name: str
    passed: bool
    seconds: float
    counts: Counts = attrs.field(factory=dict)
    message: str = ""


def totals(results: Iterable[Result]) -> Counts:
    """Counts of all results together."""
    together: Counter[str] = Counter()
    for result in results:
        together.update({name: n for name, n in result.counts.items() if name != "rate"})
    return dict(together)


def as_json(results: list[Result], seconds: float, **facts: object) -> str:
    """One JSON object: verdict, totals, each result, and further facts."""
    return json.dumps(
        {
            "passed": all(result.passed for result in results),
            "seconds": round(seconds, 3),
            **facts,
            "totals": totals(results),
            "results": [attrs.asdict(result) for result in results],
        },
        indent=2,
    )


def as_junit(results: list[Result], seconds: float, name: str = "purepool check") -> str:
    """JUnit XML: a suite for each part, a case for each result, the counts as its properties."""
    root = ElementTree.Element("testsuites", name=name, time=f"{seconds:.3f}")
    for part in dict.fromkeys(result.part for result in results):
        cases = [result for result in results if result.part == part]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=part,
            tests=str(len(cases)),
            failures=str(sum(not case.passed for case in cases)),
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
            for name, count in case.counts.items():
                ElementTree.SubElement(properties, "property", name=name, value=str(count))
            if not case.passed:
                failure = ElementTree.SubElement(element, "failure", message=_first(case.message))
                failure.text = case.message
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _first(message: str) -> str:
    return message.partition("\n")[0]


def save(path: str, text: str) -> None:
    """Write a report to a file, or `-` for standard output."""
    if path == "-":
        print(text)
    else:
        Path(path).write_text(text + "\n", encoding="utf-8")
