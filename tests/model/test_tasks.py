"""All orders of small programs of the runtime for asyncio; and the faults that they must show.

Theory.  As `test_scheduler.py`, for tasks.  No loop of asyncio runs here, and no clock is asked.
"""

from __future__ import annotations

import pytest

from pool.check import suite
from pool.check.schedules.task_programs import TASKS
from tests.model import task_faults
from tests.model.orders import (
    assert_every_order_keeps_every_promise,
    assert_it_is_found,
    assert_the_cache_cuts_off_nothing,
    with_slow_ones_marked,
)
from tests.model.task_faults import Fault

COUNTS: dict[str, tuple[int, int]] = {
    "tasks": (48, 1),
    "tasks-two": (2289, 8),
    "tasks-deadlines": (2421, 4),
    "tasks-endings": (1107, 6),
    "tasks-failing": (268, 2),
    "tasks-dead": (769, 2),
    "tasks-dead-suspended": (241, 3),
    "tasks-checked": (522, 4),
    "tasks-hanging": (3019, 3),
    "tasks-reset": (30, 1),
    "tasks-cancelled": (765, 7),
    "tasks-cancelled-pair": (82, 5),
    "tasks-cancelled-twice": (591, 9),
    "tasks-cancelled-deadline": (433, 8),
    "tasks-cancelled-reset": (1381, 9),
    "tasks-cancelled-again": (483, 5),
    "tasks-cancelled-check": (750, 8),
    "tasks-cancelled-dead": (741, 3),
    "tasks-cancelled-loss": (927, 6),
    "tasks-shutdown": (179, 4),
    "tasks-close-all": (4926, 5),
    "tasks-close-all-reset": (91, 1),
    "tasks-eager": (595, 6),
    "tasks-eager-at-once": (428, 6),
    "tasks-eager-failing": (144, 2),
    "tasks-eager-cancelled": (511, 5),
    "tasks-resize": (97, 4),
}
"""Orders of each program, and their outcomes: the same on every Python."""


@pytest.mark.parametrize("name", with_slow_ones_marked(COUNTS))
def test_every_order_keeps_every_promise(name: str) -> None:
    assert set(COUNTS) == set(TASKS)
    assert_every_order_keeps_every_promise(TASKS[name].make, COUNTS[name])


UNCACHED = ["tasks", "tasks-reset", "tasks-cancelled-pair", "tasks-close-all-reset"]


@pytest.mark.parametrize("name", UNCACHED)
def test_without_the_cache_the_verdict_is_the_same(name: str) -> None:
    assert_the_cache_cuts_off_nothing(TASKS[name].make)


FAULTS: list[tuple[Fault, str, str]] = [
    (task_faults.loses_a_grant, "tasks-cancelled", "Lent"),
    (task_faults.swallows_a_cancellation, "tasks-cancelled", "Swallowed"),
    (task_faults.keeps_no_task, "tasks", "Deadlock"),
    (task_faults.believes_the_clock, "tasks-deadlines", "Answered"),
    (task_faults.resets_in_the_callers_task, "tasks-cancelled-reset", "Lent"),
    (task_faults.gives_back_if_it_is_let, "tasks-cancelled-again", "Lent"),
    (task_faults.leaves_a_check_to_nobody, "tasks-cancelled-check", "Lent"),
    (task_faults.lends_in_secret, "tasks", "Delivered"),
    (task_faults.notes_a_loss_in_secret, "tasks-endings", "Drained"),
    (task_faults.closes_what_is_busy, "tasks-close-all", "Exclusive"),
    (task_faults.wakes_twice, "tasks-cancelled", "Raised"),
    (task_faults.forgets_a_connect, "tasks-failing", "Deadlock"),
    (task_faults.keeps_no_handle, "tasks-cancelled-reset", "Kept"),
    (task_faults.keeps_its_alarm, "tasks-deadlines", "Timers"),
    (task_faults.rings_once, "tasks-dead-suspended", "Deadlock"),
    (task_faults.takes_it_out_later, "tasks-eager", "Asked"),
]
"""Faults, the program that shows them, and the promise that breaks."""


@pytest.mark.parametrize(
    ("fault", "name", "promise"), FAULTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_fault_is_found(
    fault: Fault, name: str, promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert_it_is_found(TASKS[name].make, promise)


def test_the_profiles_include_every_program() -> None:
    assert set(TASKS) <= {task.name for task in suite.profile("ci") if task.part == "schedules"}
