"""Who holds a connection where tasks do: the task, by the name that it has.

Theory.  As in `pool/shared/holders.py`, of which this is the other kind of taker.  A task is
referred to weakly: when it has ended and is gone, its name is all that is kept of it.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from pool.core.text import repr_of
from pool.shared.holders import Holder, Taker


class TaskTaker(Taker):
    """A task that takes connections. Immutable."""

    __slots__ = ()

    KIND = "task"

    def __repr__(self) -> str:
        task: Any = self.thread()
        text = f"task {repr_of(self.name)}"
        return text if task is not None and not task.done() else f"{text} (a task that has ended)"

    @property
    def is_here(self) -> bool:
        """Whether it is the task that asks."""
        return asyncio._get_running_loop() is not None and self.thread() is asyncio.current_task()


class NoTask:
    """In the place of a task where a coroutine runs without one."""

    @staticmethod
    def get_name() -> str:
        return "no task"

    @staticmethod
    def done() -> bool:
        return False


_NO_TASK = NoTask()


def introduce() -> TaskTaker:
    """The task that asks."""
    task: Any = asyncio.current_task() or _NO_TASK
    return TaskTaker(task.get_name(), weakref.ref(task))


def is_mine(owner: Any) -> bool:
    """Whether the task that asks took what is this owner's."""
    return isinstance(owner, Holder) and owner.taker.is_here
