"""The workflow in docs/ci.md: it is YAML, and its commands are commands.

Theory.  GitHub cannot be run here.  What can break unnoticed is ours: an option that has another
name now, an extra that is gone, a cache of a directory that nothing is written to.  So each
`run` line is read by the parser that would read it there.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
from collections import Counter
from itertools import takewhile
from typing import Any

import pytest
import yaml

from pool.check.cli import COMMANDS as SUB_COMMANDS
from pool.check.cli import make_parser
from pool.check.machines.rounds import ROUND
from pool.check.options import DATABASE
from pool.check.results import COUNTS, INCONCLUSIVE, PARTS, totals
from pool.check.suite import machine_task, profile, without_java
from pool.check.usage import exits
from tests.integration.drivers import ROOT
from tests.integration.test_docs import blocks

pytestmark = pytest.mark.once

PAGE = ROOT / "docs" / "ci.md"
(WORKFLOW,) = [text for kind, _, text in blocks(PAGE) if kind == "yaml"]
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW)["jobs"]
COMMANDS = [
    (name, step["run"]) for name, job in JOBS.items() for step in job["steps"] if "run" in step
]


def parsed(name: str) -> list[argparse.Namespace]:
    """The commands of ours in a job, as our parser reads them."""
    words = [shlex.split(line) for job, line in COMMANDS if job == name]
    return [make_parser().parse_args(rest) for first, *rest in words if first == "purepool"]


@pytest.mark.parametrize(("job", "line"), COMMANDS)
def test_every_command_is_one_that_there_is(job: str, line: str) -> None:
    first, *rest = shlex.split(line)
    if first == "purepool":
        assert make_parser().parse_args(rest).sub_command
    else:
        # The version that is deployed, and none that was released since.
        assert [first, *rest] == ["pip", "install", "-c", "requirements.txt", "purepool[check]"]
        assert re.search(r"^check = \[", (ROOT / "pyproject.toml").read_text(), re.M)


def test_the_push_checks_with_the_profile_for_it() -> None:
    (check,) = parsed("check")
    assert (check.sub_command, check.profile) == ("check", "ci")
    assert (check.json, check.junit) == ("check.json", "check.xml")


def test_the_night_goes_on_where_the_last_one_stopped() -> None:
    fuzz, check = parsed("nightly")
    assert (fuzz.sub_command, check.sub_command, check.profile) == ("fuzz", "check", "nightly")
    caches = [s["with"] for s in JOBS["nightly"]["steps"] if "cache/" in s.get("uses", "")]
    assert [cache["path"] for cache in caches] == [str(fuzz.database)] * 2
    assert str(fuzz.database) == str(DATABASE)
    assert fuzz.seconds < 60 * JOBS["nightly"]["timeout-minutes"]
    # of one name, and a new one each time, or it would be written once and never again
    restored, saved = caches
    assert restored["key"] == saved["key"]
    assert "run_id" in saved["key"]
    assert saved["key"].startswith(restored["restore-keys"])


def test_every_job_keeps_its_results_when_it_fails() -> None:
    for job in JOBS.values():
        last = job["steps"][-1]
        assert last["uses"].startswith("actions/upload-artifact@")
        assert last["if"] == "always()"


def test_the_other_commands_of_the_page_are_commands() -> None:
    lines = re.findall(r"^    purepool (.*)$", PAGE.read_text(), re.M)
    assert len(lines) >= 2
    for line in lines:
        assert make_parser().parse_args(shlex.split(line)).sub_command


def test_the_table_of_parts() -> None:
    runs = (without_java(), profile("ci"), profile("nightly"))
    counted = [Counter(task.part for task in tasks) for tasks in runs]
    rows = []
    for part, about in PARTS.items():
        numbers = [count[part] for count in counted]
        if any(numbers):
            cells = "".join(f" {number} |" if number else " |" for number in numbers)
            rows.append(f"| `{part}` | {about} |{cells}")
    assert table_below("part") == rows
    assert sum(sum(count.values()) for count in counted) == sum(map(len, runs))


def test_the_table_of_exit_statuses() -> None:
    """What `--help` says; and every status that the code gives is there."""
    meanings = {name: exits(name) for name in SUB_COMMANDS}
    statuses = sorted({status for known in meanings.values() for status in known})
    rows = []
    for status in statuses:
        of: dict[str, list[str]] = {}
        for name, known in meanings.items():
            if status in known:
                of.setdefault(known[status], []).append(f"`{name}`")
        for meaning, names in of.items():
            who = "all" if len(names) == len(meanings) else ", ".join(names)
            rows.append(f"| {status} | {who} | {meaning} |")
    assert table_below("status") == rows
    stops = {128 + signal.SIGINT, 128 + signal.SIGTERM}
    for name, known in meanings.items():
        assert {0, 1, 2} | stops <= set(known)
        assert (INCONCLUSIVE in known) == (name in ("check", "fuzz"))


def test_the_table_of_counts() -> None:
    assert table_below("count") == [f"| `{name}` | {what} |" for name, what in COUNTS.items()]


def table_below(title: str) -> list[str]:
    """The rows of the table whose first column has this title."""
    lines = PAGE.read_text("utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {title} |")) + 2
    return list(takewhile(lambda line: line.startswith("|"), lines[start:]))


@pytest.mark.slow
def test_the_counts_of_the_page_are_those_of_the_checks() -> None:
    """One check of each kind that needs no Java; a kind that needs one counts the same."""
    tasks = {task.part: task for task in [*profile("ci"), *without_java()] if not task.needs_java}
    tasks["machine"] = machine_task("step", ROUND)
    counted = totals(task.run() for task in tasks.values())
    assert {"examples", "mutants", "states", "edges"} <= set(counted) <= set(COUNTS)
