"""docs/report.md is what benchmarks/report.py writes; and a play finds what it is there to find.

Theory.  The plays take minutes, and the other pools are of whatever version is installed; so they
run by `make report`, and here is looked at the page: every question and pool, and a history
wherever the answer is no.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from benchmarks import aio, peers_aio, report, report_aio
from benchmarks.peers import Database, Peer
from benchmarks.report import MARKS, POOLS, QUESTIONS, Seen, about, stories, table
from tests.integration.drivers import ROOT

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    lines = PAGE.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line[:1] == "|"]


@pytest.mark.parametrize(
    ("title", "pools", "questions"),
    [
        ("Threads", [kind.name for kind in POOLS], QUESTIONS),
        ("Tasks of asyncio", list(report_aio.POOLS), report_aio.QUESTIONS),
    ],
)
def test_every_question_is_put_to_every_pool(title: str, pools: list[str], questions: Any) -> None:
    head, _, *answers = rows(title)
    assert [cell.rpartition(" ")[0] for cell in head[1:]] == pools
    assert all(cell.rpartition(" ")[2][0].isdigit() for cell in head[1:])  # a version
    assert [row[0] for row in answers] == list(about(questions).values())
    assert {cell for row in answers for cell in row[1:]} <= set(MARKS.values())


@pytest.mark.parametrize("title", ["Threads", "Tasks of asyncio"])
def test_what_did_not_hold_has_a_history(title: str) -> None:
    part = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    _, _, *answers = rows(title)
    not_kept = sum(cell != "yes" for row in answers for cell in row[1:])
    assert part.count("\n* ") == not_kept + part.count("* All of it held.")


def test_what_this_pool_does_not_keep_is_said() -> None:
    _, _, *answers = rows("Threads")
    assert [row[1] for row in answers] == ["yes"] * len(QUESTIONS)
    assert [row[0] for row in answers if row[2] != "yes"] == [
        about(QUESTIONS)["deadline of connect"]
    ]
    assert "## What this pool does not keep, or does not claim" in PAGE


def test_a_pool_that_takes_nothing_back_is_found() -> None:
    class Keeps(Peer):
        def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
            self.free = threading.Semaphore(most)

        def acquire(self) -> Any:
            self.free.acquire()

        def release(self, lease: Any) -> None:
            self.free.release()

    seen = report.lost_lease(Keeps)
    assert seen.kept is False
    assert "A has it, and its thread ends" in seen.story


def test_the_longest_wait_of_an_ideal_queue() -> None:
    """36 of 40 tasks wait before 4 connections: for nine holds, or as the holds are."""
    assert aio.ideal([1.0] * 400) == 9.0
    assert aio.ideal([1.0] * 36) == 8.0
    assert aio.ideal([2.0, *[1.0] * 400]) == 10.0
    assert aio.ideal([100.0, *[1.0] * 400]) > 11.0  # three connections are left


def test_several_connections_are_held_by_as_many_tasks() -> None:
    """For a pool that keeps one for each task; and what cannot be had is not counted."""

    async def main() -> None:
        free = asyncio.Semaphore(2)
        given: dict[Any, int] = {}
        peer = peers_aio.Peer()

        async def acquire() -> Any:
            task = asyncio.current_task()
            if task not in given:
                await free.acquire()
                given[task] = 1

        async def release(_: Any) -> None:
            del given[asyncio.current_task()]
            free.release()

        peer.acquire, peer.release = acquire, release
        for wanted, found in ((2, 2), (3, 2)):
            hold = await peers_aio.Hold.begin(peer, wanted, 0.05)
            assert (hold.count, len(given)) == (found, 2)
            await hold.over()
            assert not given
            assert not free.locked()

    asyncio.run(main())


def test_how_answers_are_shown() -> None:
    seen = {"purepool": Seen(True), "DBUtils": Seen(False, "A, then B")}
    found = {"order": seen, "newcomer": {**seen, "purepool": Seen(None, "it has none")}}
    said = {"order": "In order.", "newcomer": "No barging."}
    assert "| In order. | yes | **no** |" in table(found, said)
    assert "| No barging. | – | **no** |" in table(found, said)
    text = stories(found, said)
    assert "**purepool**\n\n* No barging. *it has none.*" in text
    assert "* In order. *A, then B.*" in text
