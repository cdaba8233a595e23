"""One run of a small program of the runtime for asyncio, and what must hold in it.

Theory.  As `schedules.py` for threads: `orders.py` tries every order, at each transition the
promises of the specification are checked; when nothing can happen but by time, that whoever waits
does so because the state says so; at the end, that nothing is left over and that the whole pool can
be had again.  One promise more: a cancellation is delivered, always (RUN-12).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Any

import attrs

from pool.check.schedules.loop import Live, LoopWorld
from pool.check.schedules.scheduler import Violated, frozen
from pool.check.schedules.threads import HELPED, Away, Play, SeenShortcuts, nothing_left
from pool.core import waiters
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import Discard, Shutdown, Tick
from pool.core.limits import Limits
from pool.core.state import Fields, State, leased
from pool.shared.errors import PoolError, PoolTimeout
from pool.shared.handles import Handle
from pool.shared.store import claims_of
from pool.tasks.monitor import Cell, Monitor
from pool.tasks.performer import Check, Reset
from pool.tasks.runtime import Runtime


class WatchedMonitor(Monitor):
    """A monitor in a world: each transition is told of, and none begins within another."""

    def __init__(self, world: LoopWorld, fields: Fields) -> None:
        self.world = world
        self.committed: Callable[[], None] = lambda: None
        super().__init__(fields)

    def check_held(self, what: str) -> None:
        if not self.applying and self.loop is not None:
            self.world.fail("Guard", f"{what} was changed outside a transition")

    @property
    def current(self) -> tuple[Fields, tuple[Effect, ...]]:
        pair: tuple[Fields, tuple[Effect, ...]] = self.__dict__["current"]
        return pair

    @current.setter
    def current(self, pair: tuple[Fields, tuple[Effect, ...]]) -> None:
        if "current" in self.__dict__:
            self.check_held("current")
        self.__dict__["current"] = pair
        self.committed()


class WatchedRuntime(Runtime):
    """A runtime in a world."""

    monitor: WatchedMonitor

    def __init__(self, world: LoopWorld, driver: Driver, setting: Tasks) -> None:
        self.world = world
        super().__init__(
            driver,
            setting.limits,
            check_after=0.0 if setting.checks else 1e6,
            check_timeout=setting.check_timeout,
            clock=world.time,
            jitter=lambda: 0.0,
        )

    def _make_monitor(self, fields: Fields, tickets: Iterator[int] | None = None) -> Monitor:
        return WatchedMonitor(self.world, fields)


class Owner(weakref.ref[Any]):
    """As the owners that `pool.aio.Pool` gives to its leases; its text is the same in each run."""

    __slots__ = ("number",)

    number: int

    def __repr__(self) -> str:
        return f"owner {self.number}"


class Driver:
    """A driver whose hooks may take a while, and whose connections are names."""

    def __init__(self, world: LoopWorld, setting: Tasks) -> None:
        self.world = world
        self.slow = setting.slow
        self.resets = setting.resets
        self.failing = 0
        self.made = 0
        self.alive: set[str] = set()
        self.closed: dict[str, int] = {}
        self.busy: set[str] = set()
        """Connections that are being asked or reset."""
        self.meddle: Callable[[], object] = lambda: None

    async def _pause(self, hook: str, connection: str = "") -> None:
        self.meddle()
        if hook in self.slow:
            await self.world.pause(f"{hook} {connection}")

    async def connect(self) -> str:
        await self._pause("connect")
        if self.failing:
            self.failing -= 1
            raise Away("no route")
        self.made += 1
        connection = f"c{self.made}"
        self.alive.add(connection)
        return connection

    async def _use(self, hook: str, connection: str) -> None:
        if connection in self.busy:
            self.world.fail("Exclusive", f"{hook}: {connection} is busy")
        if connection in self.closed:  # under its holder
            raise Away("closed")
        self.busy.add(connection)
        try:
            await self._pause(hook, connection)
        finally:
            self.busy.discard(connection)

    async def is_alive(self, connection: str) -> bool:
        await self._use("is_alive", connection)
        return connection in self.alive

    async def reset(self, connection: str) -> bool:
        await self._use("reset", connection)
        return connection in self.alive

    def is_clean(self, connection: str) -> bool:
        return not self.resets

    async def close(self, connection: str) -> None:
        self._end(connection)
        await self._pause("close", connection)

    def _end(self, connection: str) -> None:
        if connection in self.busy:
            self.world.fail("Exclusive", f"{connection} is closed while it is busy")
        self.closed[connection] = self.closed.get(connection, 0) + 1
        self.alive.discard(connection)

    def terminate(self, connection: str) -> None:
        if connection not in self.closed:  # one whose goodbye was cut short
            self.busy.discard(connection)
            self._end(connection)


Body = Callable[["TaskPlay"], Awaitable[None]]


@attrs.frozen
class Tasks:
    """A program: limits, a driver, and what its tasks do."""

    name: str
    about: str
    tasks: tuple[Body, ...]
    limits: Limits = HELPED
    failing: int = 0
    """Connects that fail, the first ones."""
    idle: int = 0
    """Connections that rest in the pool at the beginning."""
    is_dead: bool = False
    """They are dead."""
    cancellable: frozenset[int] = frozenset()
    """Tasks to which cancellations may come, whenever they like."""
    cancels: int = 1
    """So many in all."""
    again: bool = False
    """One that came to a task comes again wherever that awaits something, as a scope of anyio
    sends it."""
    slow: frozenset[str] = frozenset()
    """Hooks of the driver during which something else may come first."""
    resets: bool = False
    """What comes back has to be reset."""
    check_timeout: float | None = None
    eager: bool = False
    """The pool's tasks run before the pool knows them."""
    meddles: bool = False
    """The driver, when it begins something, has the pool itself apply an event."""
    keeps: bool = True
    """No connection is given up: nobody's task loses one, or finds one dead."""

    @property
    def checks(self) -> bool:
        """Whether what rests is asked before it is lent."""
        return "is_alive" in self.slow

    def make(self) -> TaskPlay:
        return TaskPlay(self)


class TaskPlay(Play):
    """One run of a program."""

    world: LoopWorld  # type: ignore[assignment]
    driver: Driver  # type: ignore[assignment]
    runtime: WatchedRuntime  # type: ignore[assignment]

    def __init__(self, setting: Tasks) -> None:
        self.tasks = setting
        self.world = world = LoopWorld()  # type: ignore[abstract]
        self.driver = Driver(world, setting)
        self.runtime = runtime = WatchedRuntime(world, self.driver, setting)
        self._keep_books(len(setting.tasks))
        runtime.step = self._step
        runtime.monitor.shortcuts = SeenShortcuts(self._step)
        runtime.monitor.committed = self._committed
        world.spawn(self._fill_up(), "before", cancellable=False)
        world.settle()
        world.lives.clear()
        if setting.is_dead:
            self.driver.alive.clear()
        self.driver.failing = setting.failing
        if setting.meddles:
            self.driver.meddle = lambda: runtime.apply(Tick(world.now))
        world.eager = setting.eager
        for number, body in enumerate(setting.tasks):
            cancellable = number in setting.cancellable
            live = world.spawn(body(self), f"task {number}", cancellable=cancellable)  # type: ignore[arg-type]
            self.numbers[live.task] = number
        world.cancels, world.again = setting.cancels, setting.again

    async def _fill_up(self) -> None:
        handles = [await self.runtime.acquire(None) for _ in range(self.tasks.idle)]
        for handle in handles:
            await self.runtime.release(handle)

    @property
    def number(self) -> int:
        return self.numbers.get(self._task, -1)

    @property
    def _task(self) -> Any:
        return asyncio.current_task(self.world)

    def _committed(self) -> None:
        self.world.current = self._task  # type: ignore[attr-defined]
        if self.tasks.keeps and self.decided is not None and isinstance(self.decided[0], Discard):
            self.world.fail("Kept", f"a good connection is given up: {self.decided[0]!r}")
        for effect in self.decided[1] if self.decided is not None else ():
            if isinstance(effect, Close) and effect.reason == "unasked":
                self.world.fail("Asked", f"nobody asked for {effect.connection}")
        super()._committed()

    # ------------------------------------------------------------ what tasks do

    async def take(self, timeout: float | None) -> Handle | None:
        """A handle; None if there was none to be had. A cancellation goes on."""
        handle = Handle(self.runtime)
        owner = Owner(handle, self.runtime.lost)
        owner.number = self.number
        try:
            await self.runtime.acquire(timeout, owner, handle)
        except (PoolError, Away) as error:
            self.mine.append(type(error).__name__)
            self._refused(error)
            return None
        except asyncio.CancelledError:
            self.mine.append("cancelled")
            raise
        self._got(handle)
        return handle

    def _refused(self, error: PoolError | Away) -> None:
        """One whose deadline passes while its connection is being asked leaves it to the check."""
        ticket = self.asked[self.number]
        held = [
            lease for lease in leased(self.runtime.state.in_use).values() if lease.ticket == ticket
        ]
        if not (
            isinstance(error, PoolTimeout)
            and held
            and held[0].entry.key in self.runtime.monitor.busy
        ):
            super()._refused(error)

    # ------------------------------------------------------------ what must hold

    def key(self) -> Hashable:
        runtime, driver = self.runtime, self.driver
        return (
            self.world.key(freeze),
            repr(runtime.monitor.current),
            tuple((ticket, freeze(cell)) for ticket, cell in runtime.monitor.cells.items()),
            tuple(note for note in runtime.monitor.inbox if type(note) is tuple),
            tuple(runtime.monitor.jobs.values()),
            tuple(runtime.monitor.closing.items()),
            tuple(runtime.monitor.busy),
            len(runtime.monitor.onlookers),
            tuple(self.answers.items()),
            tuple(map(tuple, self.said)),
            frozenset(self.lent.items()),
            (driver.made, driver.failing, frozenset(driver.alive), tuple(driver.closed.items())),
            frozenset(driver.busy),
        )

    def quiet(self) -> None:
        runtime, state = self.runtime, self.runtime.state
        for live in self.world.lives:
            if live.error is not None:
                raise Violated("Raised", f"{live.name}: {live.error!r}")
            if live.done and live.is_cancelled and not live.task.cancelled():
                raise Violated("Swallowed", f"{live.name} was cancelled, and went on to its end")
        noted = [
            note for note in runtime.monitor.inbox if type(note) is tuple or claims_of(note, state)
        ]
        nothing_left("when nobody goes on", Delivered=runtime.monitor.current[1], Drained=noted)
        waiting = {ticket for ticket, _ in waiters.items(state.waiters)}
        parked = set(runtime.monitor.cells)
        if waiting != parked:
            raise Violated("Woken", f"waiting in the state: {waiting}, at their cells: {parked}")

    def finish(self) -> Hashable:
        """Everybody is done: nothing is left, and the whole pool can be had again."""
        runtime, driver, world = self.runtime, self.driver, self.world
        outcome = tuple(map(tuple, self.said))
        self._everybody_is_answered()
        nothing_left(
            "at the end",
            Ended=runtime.monitor.tasks | set(runtime.monitor.onlookers),
            Timers=[timer for timer in world.timers if timer is not runtime.monitor.alarm],
        )
        driver.failing = world.cancels = 0
        world.again = False
        live: Live = world.spawn(self._after(), "afterwards", cancellable=False)
        for _ in range(100):  # time passes where a failed connect is waited out
            world.settle()
            timers = [choice for choice in world.options() if choice[1] == "timeout"]
            if live.done or not timers:
                break
            world.take(timers[0])
        self._all_can_be_had(live.done)
        monitor = runtime.monitor
        nothing_left("at the end", Performed=[*monitor.jobs, *monitor.closing, *monitor.tasks])
        self._all_is_closed()
        return outcome

    async def _after(self) -> None:
        runtime = self.runtime
        if runtime.state.phase == "open":
            most = runtime.state.limits.max_size or 0
            handles = [await runtime.acquire(None) for _ in range(most)]
            if len({handle.connection for handle in handles}) != most:
                self.world.fail("Exclusive", f"{most} tasks do not hold {most} connections")
            for handle in handles:
                await runtime.release(handle)
        runtime.apply(Shutdown(self.world.now))
        await runtime.until(runtime.is_at_rest, None)


_KNOWN: dict[type, Callable[[Any], Hashable]] = {
    Cell: lambda cell: ("cell", cell.ticket, cell.answer, cell.is_late),
    Handle: lambda handle: ("handle", handle.ticket, handle.key, handle.ended),
    Check: lambda check: ("check", check.key, check.answer, check.claim),
    Reset: lambda reset: ("reset", reset.ticket, reset.key),
    **dict.fromkeys((Grant, Refuse, Open, Close, Leaked, Ignored, State), lambda value: value),
}


def freeze(value: Any) -> Hashable:
    """What a value of the runtime is, comparable between two runs."""
    return frozen(value, _KNOWN)
