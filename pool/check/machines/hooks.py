"""The scripted driver of the machine for asyncio: its hooks take as long as the machine likes.

Theory.  What takes time is here the pool's own work, and nobody's call.  So a hook that stands is a
thing of its own, with the connection that it is about; the machine ends it when and how it likes.
What is raised in a hook the runtime takes for the driver's, so what is wrong there is noted, too.
"""

from __future__ import annotations

from typing import Any

import attrs

from pool.check.machines.callers import Callers
from pool.check.machines.calls import Away, Call, Connection
from pool.check.machines.twin import Broken
from pool.check.schedules.loop import LoopWorld

HOOKS = ("connect", "check", "reset", "close")


class Talker(Connection):
    """A connection of the scripted driver, which can be dropped without goodbye."""

    def terminate(self) -> None:
        self.closed = max(self.closed, 1)  # one whose goodbye was cut short


@attrs.define(eq=False)
class TaskCall(Call):
    """A call in a task of its own."""

    task: Any = None
    is_cancelled: bool = False
    holds: Any = None
    """The connection of its block."""
    gave_back: bool = False
    """Somebody, perhaps the pool, sent the event that it stands for, and it was allowed."""

    @property
    def took(self) -> bool:
        return self.gave_back

    def __str__(self) -> str:
        return f"{self.kind}, since {self.began}"


@attrs.define(eq=False)
class Hook:
    """The driver, or a user of a connection, at work."""

    what: str
    connection: Any
    call: TaskCall | None
    """Whose work it is; None: the pool's."""
    since: int
    """How many events there were when it began."""
    future: Any


class Hooks(Callers):
    """The part of the machine that is the driver."""

    world: LoopWorld
    slow_hooks: set[str]

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[Hook] = []
        self.alive: list[tuple[Connection, int]] = []
        """What was found alive, and how many events there were when it was asked."""
        self.was_reset: dict[Connection, bool] = {}
        """How the reset ended, until the pool is told."""

    @property
    def length(self) -> int:
        """How many events there were."""
        assert self.twin is not None
        return len(self.twin.history)

    async def stand(self, what: str, connection: Any = None) -> str:
        """The hook takes as long as the machine likes."""
        if what not in self.slow_hooks:
            return "ok"
        future = self.world.create_future()
        hook = Hook(what, connection, self.caller(), self.length, future)
        self.hooks.append(hook)
        try:
            ending: str = await future
        finally:
            self.hooks.remove(hook)
        return ending

    async def connect(self) -> Connection:
        if await self.stand("connect") != "ok":
            raise Away("no route")
        connection = Talker(len(self.made) + 1)
        self.made.append(connection)
        return connection

    def use(self, what: str, connection: Connection) -> None:
        """Nobody else is at it."""
        if connection.closed:  # under its holder
            raise Away("closed")
        others = [hook.what for hook in self.standing() if hook.connection is connection]
        if others:
            self.note_broken("Busy", f"{what} of {connection}, within {others}")

    def note_broken(self, claim: str, detail: str) -> None:
        """What is raised here the runtime takes for the driver's."""
        try:
            self.fail(claim, detail)
        except Broken as broken:
            self.broken = self.broken or broken
            raise

    async def check(self, connection: Connection) -> bool:
        since = self.length
        self.use("check", connection)
        ending = await self.stand("check", connection)
        if ending == "fail":
            raise Away("reset by peer")
        if ending == "ok":
            self.alive.append((connection, since))
        return ending == "ok"

    async def reset(self, connection: Connection) -> bool:
        self.was_reset[connection] = False
        self.use("reset", connection)
        ending = await self.stand("reset", connection)
        if ending == "fail":
            raise Away("reset by peer")
        self.was_reset[connection] = ending == "ok"
        return ending == "ok"

    async def end_connection(self, connection: Connection) -> None:
        others = [hook.what for hook in self.standing() if hook.connection is connection]
        if {"check", "reset"} & set(others):
            self.note_broken("Busy", f"{connection} is closed within {others}")
        connection.close()
        await self.stand("close", connection)

    def standing(self, hook: str = "") -> list[Hook]:
        return [
            one for one in self.hooks if one.what in (hook or one.what) and not one.future.done()
        ]

    def end_hook(self, standing: Hook, ending: str) -> None:
        standing.future.set_result(ending)
