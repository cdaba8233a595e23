"""One run of a small program of the threaded runtime, and what must hold in it.

Theory.  `programs.py` has the programs, `orders.py` tries every order.  At each transition
the promises of the specification are checked; when nobody can go on, that whoever waits does
so because the state says so; at the end of each run, that nothing is left over and that the
whole pool can be had again.  So a deadlock, a lost wakeup and a lost connection each have a place
where they show, without anybody waiting for them.

The scheduler changes threads at locks only.  So `GuardedRuntime` refuses that anything under the
lock's protection is changed without it.

What it refuses to know: which order is the right one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from typing import Any

import attrs

from pool.check.explore.tickets import Tickets
from pool.check.schedules.scheduler import Interrupted, Lock, Violated, World, frozen
from pool.core import shortcuts, waiters
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import Acquire, Event, Opened, Release, Shutdown, Tick
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.limits import Limits
from pool.core.state import Fields, State
from pool.core.transition import step
from pool.shared.errors import OpenError, PoolClosed, PoolError, PoolSuspended, PoolTimeout
from pool.shared.handles import Cell, Handle
from pool.shared.store import Step
from pool.threads.helpers import Helpers
from pool.threads.monitor import Monitor
from pool.threads.runtime import Runtime


class Guarded(dict[int, Any]):
    """The cells: changed by whoever holds the lock, and by nobody else."""

    monitor: GuardedMonitor

    def __setitem__(self, ticket: int, cell: Any) -> None:
        self.monitor.check_held("cells")
        super().__setitem__(ticket, cell)

    def pop(self, *arguments: Any) -> Any:
        self.monitor.check_held("cells")
        return super().pop(*arguments)


class GuardedMonitor(Monitor):
    """A monitor in a world, which is changed under the lock only."""

    def __init__(self, world: World, fields: Fields) -> None:
        self.world = world
        self.committed: Callable[[], None] = lambda: None
        super().__init__(fields, world)
        self.cells = Guarded()
        self.cells.monitor = self

    def check_held(self, what: str) -> None:
        lock: Lock = self.lock
        if lock.holder is not self.world.current:
            self.world.fail("Guard", f"{what} was changed without the lock")

    @property
    def current(self) -> tuple[Fields, tuple[Effect, ...]]:
        pair: tuple[Fields, tuple[Effect, ...]] = self.__dict__["current"]
        return pair

    @current.setter
    def current(self, pair: tuple[Fields, tuple[Effect, ...]]) -> None:
        self.check_held("current")
        self._strike()
        self.__dict__["current"] = pair
        self.committed()
        self._strike()

    def _strike(self) -> None:
        """Here, too, an exception may come: the old state is there, or the new one."""
        if self.world.fine and self.world.interrupts:
            self.world.pause()


class GuardedRuntime(Runtime):
    """A runtime in a world."""

    monitor: GuardedMonitor

    def __init__(self, world: World, driver: Driver, limits: Limits) -> None:
        self.world = world
        super().__init__(driver, limits, clock=world.monotonic, sync=world, jitter=lambda: 0.0)

    def _make_monitor(self, fields: Fields, tickets: Iterator[int] | None = None) -> Monitor:
        return GuardedMonitor(self.world, fields)


class SeenShortcuts:
    """The shortcuts for a runtime whose `step` looks on: taken where the pool's are, so that the
    runtime goes the ways it goes in service."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def acquire(self, state: State, *fields: Any) -> Any:
        if shortcuts.acquire(state, *fields) is None:
            return None
        after, granted = self._step(state, Acquire(*fields))
        return (after, *granted[0][1:]) if granted else (after, 0, None, None)

    def release(self, state: State, *fields: Any) -> Any:
        return shortcuts.release(state, *fields) and self._step(state, Release(*fields))


class Away(Exception):
    """What a driver raises that cannot connect."""


class Driver:
    """A driver whose every hook takes a while, and whose connections are names."""

    def __init__(self, world: World, failing: int, slow: frozenset[str]) -> None:
        self.world = world
        self.failing = failing
        """So many connects fail, the first ones."""
        self.slow = slow
        """During these hooks others may come first."""
        self.made = 0
        self.alive: set[str] = set()
        self.closed: Counter[str] = Counter()

    def _pause(self, hook: str) -> None:
        if hook in self.slow:
            self.world.pause()

    def connect(self) -> str:
        self._pause("connect")
        if self.failing:
            self.failing -= 1
            raise Away("no route")
        self.made += 1
        connection = f"c{self.made}"
        self.alive.add(connection)
        return connection

    def is_alive(self, connection: str) -> bool:
        self._pause("is_alive")
        return connection in self.alive

    def reset(self, connection: str) -> bool:
        self._pause("reset")
        return True

    def close(self, connection: str) -> None:
        self.closed[connection] += 1
        self.alive.discard(connection)
        self._pause("close")


@lru_cache(maxsize=50_000)
def _judged(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """`step`, with every invariant. It is pure, so once is enough."""
    after, effects = step(state, event)
    for name, holds in INVARIANTS.items():
        if not holds(after):
            raise Violated(name, f"does not hold after {event!r}")
    for name, holds_between in STEP_INVARIANTS.items():
        if not holds_between(state, event, effects, after):
            raise Violated(name, f"does not hold after {event!r}")
    return after, effects


ONE, TWO = Limits(max_size=1), Limits(max_size=2)
HELPED = Limits(max_size=1, opener="background")


@attrs.frozen
class Setting:
    """A program: limits, a driver, and what its threads do."""

    name: str
    about: str
    threads: tuple[Callable[[Play], None], ...]
    limits: Limits = ONE
    fine: bool = False
    """Others may also come first while a lock is held, and just after it was given back."""
    failing: int = 0
    """Connects that fail, the first ones."""
    idle: int = 0
    """Connections that rest in the pool at the beginning."""
    held: int = 0
    """Connections that are held all the time."""
    is_dead: bool = False
    """They are dead."""
    interruptible: frozenset[int] = frozenset()
    """Threads to one of which an asynchronous exception may come, wherever it likes."""
    slow: frozenset[str] = frozenset()
    """Hooks of the driver during which others may come first."""

    def make(self) -> Play:
        return Play(self)


class Play:
    """One run of a program."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.world = world = World(fine=setting.fine)
        self.driver = Driver(world, 0, setting.slow)
        self.runtime = runtime = GuardedRuntime(world, self.driver, setting.limits)
        self._keep_books(len(setting.threads))
        runtime.step = self._step
        runtime.monitor.shortcuts = SeenShortcuts(self._step)
        runtime.monitor.committed = self._committed
        world.spawn(self._fill, "before")
        world.settle()
        if setting.is_dead:
            self.driver.alive.clear()
        self.driver.failing = setting.failing
        for number, body in enumerate(setting.threads):
            thread = world.spawn(
                functools.partial(body, self),
                f"thread {number}",
                interruptible=number in setting.interruptible,
            )
            self.numbers[thread] = number
        world.begin()
        world.interrupts = int(bool(setting.interruptible))

    def _keep_books(self, count: int) -> None:
        """What so many callers were answered, hold and say: nothing yet."""
        self.answers = Tickets(functools.partial(self.world.fail, "AnsweredOnce"))
        self.said: list[list[str]] = [[] for _ in range(count)]
        """What each thread got through the runtime."""
        self.lent: dict[str, int] = {}
        """Who holds which connection, as callers see it."""
        self.asked: dict[int, int] = {}
        """The last ticket of each thread."""
        self.numbers: dict[Any, int] = {}
        self.decided: tuple[Event, tuple[Effect, ...]] | None = None
        """The last event, if its outcome is not yet the state."""
        self.told: set[str] = set()
        """Connections that the pool was told of."""

    def _fill(self) -> None:
        """Before anybody comes: connections that rest in the pool, and such as are held."""
        idle, held = self.setting.idle, self.setting.held
        self.held = [self.runtime.acquire(None) for _ in range(idle + held)]
        for _ in range(idle):
            self.runtime.release(self.held.pop())

    # ------------------------------------------------------------ what threads do

    @property
    def number(self) -> int:
        """Which of the threads is at work."""
        return self.numbers[self.world.current]

    @property
    def mine(self) -> list[str]:
        return self.said[self.number]

    def acquire(self, timeout: float | None) -> Handle | None:
        """A handle; None if there was none to be had, or something came in between."""
        try:
            handle = self.runtime.acquire(timeout)
        except (PoolError, Away, Interrupted) as error:
            self.mine.append(type(error).__name__)
            if not isinstance(error, Interrupted):
                self._refused(error)
            return None
        self._got(handle)
        return handle

    def _got(self, handle: Handle) -> None:
        """Hold it: it is what this ticket was answered, and nobody else's."""
        connection = handle.connection
        if connection in self.lent:
            self.world.fail("Exclusive", f"{connection} was lent to two callers")
        if self.answers.get(handle.ticket) != f"granted {connection}":
            self.world.fail("Answered", f"got {connection}, was {self.answers.get(handle.ticket)}")
        self.lent[connection] = self.number
        self.mine.append(connection)

    def give_back(self, handle: Handle, end: Callable[[Handle], bool]) -> None:
        """Release or discard it."""
        del self.lent[handle.connection]
        try:
            end(handle)
        except Interrupted:
            self.mine.append("Interrupted")

    def lose(self, connection: str) -> None:
        """Say that the handle of this connection is about to be lost."""
        del self.lent[connection]

    def _refused(self, error: PoolError | Away) -> None:
        """One who is told that there is nothing must be one whom the state refused."""
        answer = self.answers.get(self.asked[self.number], "")
        reasons = ("open_failed",) if isinstance(error, Away) else REASONS[type(error)]
        if answer not in [f"refused {reason}" for reason in reasons]:
            self.world.fail("Answered", f"was told {error!r}, but the answer is: {answer}")

    def apply(self, event: Event) -> None:
        """One event, and the Io that it asks for."""
        try:
            effects = self.runtime.apply(event)
        except Interrupted:
            self.mine.append("Interrupted")
        else:
            ignored = any(isinstance(effect, Ignored) for effect in effects)
            self.mine.append("Ignored" if ignored else type(event).__name__)

    # ------------------------------------------------------------ what must hold

    def _step(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        self.runtime.monitor.check_held("the state")
        self.decided = None
        try:
            after, effects = _judged(state, event)
        except Violated as violation:
            self.world.failure = violation
            raise
        if any(isinstance(effect, Ignored) for effect in effects):
            return state, effects
        self.decided = event, effects
        return after, effects

    def _committed(self) -> None:
        """What was decided is now the state. (One who was interrupted before did not get here.)"""
        if self.decided is None:
            return
        event, effects = self.decided
        self.decided = None
        if isinstance(event, Opened):
            self.told.add(event.connection)
        elif isinstance(event, Acquire):
            self.asked[self.numbers.get(self.world.current, -1)] = event.ticket
        self.answers.follow(event, effects)

    def key(self) -> Hashable:
        """All that threads share, and where each of them stands."""
        runtime, driver = self.runtime, self.driver
        return (
            self.world.key(freeze),
            runtime.monitor.current,
            runtime.monitor.orphans,
            runtime.monitor.lock.is_held,
            tuple((ticket, freeze(cell)) for ticket, cell in runtime.monitor.cells.items()),
            tuple(runtime.monitor.inbox),
            tuple(runtime.monitor.jobs.values()),
            freeze(list(runtime.monitor.onlookers)),
            freeze(runtime.helpers),
            tuple(self.answers.items()),
            tuple(map(tuple, self.said)),
            frozenset(self.lent.items()),
            (driver.made, driver.failing, frozenset(driver.alive), tuple(driver.closed.items())),
        )

    def quiet(self) -> None:
        """Nobody can go on, but by time: whoever waits does so because the state says so."""
        runtime, state = self.runtime, self.runtime.state
        for thread in self.world.threads:
            if thread.error is not None:
                raise Violated("Raised", f"{thread.name}: {thread.error!r}")
        nothing_left(
            "when nobody goes on",
            Unlocked=runtime.monitor.lock.is_held,
            Delivered=runtime.monitor.current[1],
            Drained=runtime.monitor.inbox,
        )
        waiting = {ticket for ticket, _ in waiters.items(state.waiters)}
        parked = {ticket for ticket, cell in runtime.monitor.cells.items() if cell.answer is None}
        if waiting != parked:
            raise Violated("Woken", f"waiting in the state: {waiting}, at their locks: {parked}")

    def finish(self) -> Hashable:
        """Everybody is done: nothing is left, and the whole pool can be had again."""
        runtime, driver, world = self.runtime, self.driver, self.world
        outcome = tuple(map(tuple, self.said))
        self.quiet()
        for handle in self.held:
            runtime.discard(handle)
        self._everybody_is_answered()
        driver.failing = world.interrupts = 0
        after = world.spawn(self._afterwards, "afterwards")
        world.settle()
        self._all_can_be_had(after.done)
        nothing_left("at the end", Performed=runtime.monitor.jobs)
        # One who is interrupted between the driver and the pool lets go of what it made.
        self._all_is_closed(lost=any("Interrupted" in said for said in self.said))
        return outcome

    def _everybody_is_answered(self) -> None:
        nothing_left(
            "at the end",
            Lent=self.runtime.state.in_use or self.lent,
            Answered=self.answers.pending,
            Cells=self.runtime.monitor.cells,
        )

    def _all_can_be_had(self, done: bool) -> None:
        state = self.runtime.state
        if not done:
            raise Violated("Capacity", f"cannot be had: {state.limits.max_size} of {state}")
        self.quiet()

    def _all_is_closed(self, lost: int = 0) -> None:
        """Each that the pool was told of, once; `lost`: of so many it may not have been told."""
        closed, made = self.driver.closed, self.driver.made
        if closed != dict.fromkeys(self.told, 1):
            raise Violated("ClosedOnce", f"closed: {dict(closed)}, opened: {self.told}")
        if not 0 <= made - len(self.told) <= lost:
            raise Violated("Opened", f"{made} were made, the pool knows of {self.told}")

    def _afterwards(self) -> None:
        runtime = self.runtime
        if runtime.state.phase == "open":
            most = runtime.state.limits.max_size or 0
            handles = [runtime.acquire(None) for _ in range(most)]
            if len({handle.connection for handle in handles}) != most:
                self.world.fail("Exclusive", f"{most} callers do not hold {most} connections")
            for handle in handles:
                runtime.release(handle)
        runtime.apply(Shutdown(self.world.now))
        runtime.apply(Tick(self.world.now))


def nothing_left(when: str, **found: object) -> None:
    """Raises `Violated` with the name of what is left after all."""
    for promise, left in found.items():
        if left:
            raise Violated(promise, f"left {when}: {left}")


REASONS: dict[type[PoolError], tuple[str, ...]] = {
    PoolTimeout: ("timeout", "exhausted"),
    PoolSuspended: ("suspended",),
    PoolClosed: ("closed",),
    OpenError: ("open_failed",),
}
"""What a refused caller is told."""

_KNOWN: dict[type, Callable[[Any], Hashable]] = {
    Cell: lambda cell: ("cell", cell.ticket, cell.answer, freeze(cell.parker)),
    Helpers: lambda helpers: (
        freeze((helpers._signal, helpers._lock, helpers._watching, helpers.closing)),
        tuple(question.key for question in helpers._asked),
        tuple((question.claim, question.until, question.answer) for question in helpers._left),
        helpers._outlook,
    ),
    Handle: lambda handle: ("handle", handle.ticket, handle.key, handle.ended),
    **dict.fromkeys((Grant, Refuse, Open, Close, Leaked, Ignored, State), lambda value: value),
}


def freeze(value: Any) -> Hashable:
    """What a value of the runtime is, comparable between two runs."""
    return frozen(value, _KNOWN)
