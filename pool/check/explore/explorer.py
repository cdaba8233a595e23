"""The explorer: every state that the real `step` can reach, breadth first.

Theory.  Two states of one shape (`canonical.py`) behave alike, so one of them stands for all:
the first that is met, which is a real one, reached by a real history from the initial
state.  Breadth first makes that history a shortest one, so what is reported needs no
shrinking.

A predicate of one state is asked of the representative when a shape is met for the first
time.  What a shape does not show, the layout of heap and queue, the effects, the counters, is
asked of every step.

The explorer refuses to know any rule of the pool.  It knows `step`, what the world may
send (`moves.py`) and what must hold (`invariants.py`, `properties.py`).
"""

from __future__ import annotations

import gc
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from pool.check.explore.canonical import Label, Labeller, Shape, Shaper, shaper, sound
from pool.check.explore.configurations import Configuration
from pool.check.explore.moves import moves
from pool.check.explore.properties import (
    MACHINE,
    Machine,
    all_broken,
    broken,
    carries_owners,
    shortcut_differs,
    ticks_in_time,
)
from pool.check.interrupts import came, checkpoint
from pool.core import invariants
from pool.core.effects import Close, Effect, Ignored, Refuse
from pool.core.events import Acquire, Event, Release
from pool.core.state import State, initial

Progress = Callable[["Exploration"], None]
Judge = Callable[[State, Event, tuple[Effect, ...], State], str | None]


@attrs.frozen
class Violation:
    """A property that does not hold, and the shortest history that shows it."""

    property: str
    """The first that was noticed."""
    history: tuple[Event, ...]
    explanation: str = ""
    others: tuple[str, ...] = ()
    """What else does not hold after the same history."""
    cycle: tuple[Event, ...] = ()
    """For liveness: what can then go on for ever."""


@attrs.define
class Exploration:
    """What was found. `complete` is false if `most_states` ended it."""

    configuration: Configuration
    complete: bool = False
    violation: Violation | None = None
    transitions: int = 0
    """Calls of `step`."""
    edges: int = 0
    """Of the graph: every event in every state, ignored ones too, and every unit of time."""
    frontier: int = 0
    seconds: float = 0.0
    seen: set[Any] = attrs.field(factory=set)
    shapes: dict[Shape, int] = attrs.field(factory=dict, repr=False)
    parents: list[tuple[int, Event | None]] = attrs.field(factory=list, repr=False)
    graph: Graph | None = attrs.field(default=None, repr=False)

    @property
    def states(self) -> int:
        return len(self.shapes)

    @property
    def rate(self) -> float:
        """Transitions per second."""
        return self.transitions / self.seconds if self.seconds else 0.0

    @property
    def progress(self) -> str:
        """How far it has come, in a few words."""
        return f"{self.states:,} states, frontier {self.frontier:,}, {self.rate:,.0f} transitions/s"

    def history(self, number: int) -> tuple[Event, ...]:
        """The events that lead to a state."""
        events: list[Event] = []
        while number:
            number, event = self.parents[number]
            if event is not None:
                events.append(event)
        return tuple(reversed(events))

    def representative(self, number: int, machine: Machine) -> tuple[State, int]:
        """The state that stands for those of this number, and the time in it."""
        state, now = initial(self.configuration.limits[0]), self.configuration.start
        for event in self.history(number):
            state, _ = machine.step(state, event)
        while number:
            number, passed = self.parents[number]
            now += passed is None
        return state, now

    def goals(self) -> set[str]:
        """What was seen, as `Event`, `Event>Effect` and `Event>Effect:reason`."""
        names = set()
        for kind, effect, reason in self.seen:
            names.add(kind.__name__)
            if effect is not None:
                names.add(f"{kind.__name__}>{effect.__name__}")
                if reason is not None:
                    names.add(f"{kind.__name__}>{effect.__name__}:{reason}")
        return names


@attrs.define
class Graph:
    """Every edge, in the order found: those of state n are first[n] to first[n + 1]."""

    first: array[int] = attrs.field(factory=lambda: array("Q", [0]))
    target: array[int] = attrs.field(factory=lambda: array("Q"))
    move: array[int] = attrs.field(factory=lambda: array("H"))
    """Which of the state's moves; what passes time comes after the last."""
    kinds: array[int] = attrs.field(factory=lambda: array("Q"))
    """The classes of the edge, one bit each, where liveness asks for them."""
    flags: array[int] = attrs.field(factory=lambda: array("Q"))
    """Of each state, likewise."""
    labels: list[Label] = attrs.field(factory=list)
    """Event and effects of each edge."""
    left: list[Label] = attrs.field(factory=list)
    """Who is where after each edge."""

    @property
    def explored(self) -> range:
        """The states whose edges are all there: every one, if nothing ended the search."""
        return range(len(self.first) - 1)

    def edges(self, state: int) -> range:
        """Those that begin in a state."""
        return range(self.first[state], self.first[state + 1])

    def name(self, label: Label) -> None:
        """Add the name of an edge."""
        event, effects, left = label
        self.labels.append((event, effects))
        self.left.append(left)


@attrs.frozen(kw_only=True)
class Wishes:
    """What an exploration should do, besides looking at every state."""

    machine: Machine = MACHINE
    graph: bool = False
    """Keep the edges."""
    labels: bool = False
    """And name them, ignored events too, to compare them with the specification's."""
    thorough: bool = False
    """Ask every predicate of every step, not once per shape: tries the abstraction."""
    classify: Callable[[State, int, Event | None], int] | None = None
    flag: Callable[[State, int], int] | None = None
    judge: Judge | None = None
    """Asked of every step too, as the property `Bound`: what is wrong with it, if anything."""
    most_states: int | None = None
    progress: Progress | None = None


def explore(configuration: Configuration, wishes: Wishes | None = None) -> Exploration:
    """Look at every state of a configuration, until a violation or the end. Raises `Stopped`."""
    wishes = wishes or Wishes()
    result = Exploration(configuration)
    if wishes.graph or wishes.labels:
        result.graph = Graph()
    began = time.perf_counter()
    collects = gc.isenabled()
    gc.disable()  # nothing here refers in circles, and there is ever more of it to look through
    try:
        result.violation = _search(configuration, wishes, result, began)
        result.complete = wishes.most_states is None or result.states < wishes.most_states
    finally:
        if collects:
            gc.enable()
    result.seconds = time.perf_counter() - began
    if result.violation is None and result.complete:
        missing = sorted(set(configuration.goals) - result.goals())
        if missing:
            result.violation = Violation("Goals", (), "never seen: " + ", ".join(missing))
    return result


def _search(
    configuration: Configuration, wishes: Wishes, result: Exploration, began: float
) -> Violation | None:
    ticking, ticks = configuration.ticking, configuration.ticks
    shape = shaper(configuration) if ticks is None else _dated(shaper(configuration))
    possible = moves(configuration)
    machine, step = wishes.machine, wishes.machine.step
    labeller = Labeller(configuration) if wishes.labels else None
    classify, flag, thorough = wishes.classify, wishes.flag, wishes.thorough
    several_owners = len(configuration.owners) > 1
    predicates = list(invariants.INVARIANTS.items())
    bounded, fifo_step = invariants.bounded, invariants.fifo_step
    judge = wishes.judge
    progress, most_states = wishes.progress, wishes.most_states or float("inf")
    graph, shapes, parents, seen = result.graph, result.shapes, result.parents, result.seen

    def violated(name: str, number: int, event: Event | None, why: str = "") -> Violation:
        history = result.history(number)
        history = history if event is None else (*history, event)
        return Violation(name, history, why, others=_others(configuration, machine, history, name))

    def arrive(key: Shape, parent: int, event: Event | None, state: State, now: int) -> int:
        """A shape that was not met before; its number."""
        number = shapes[key] = len(parents)
        parents.append((parent, event))
        queue.append((number, state, now))
        if graph is not None and flag is not None:
            graph.flags.append(flag(state, now))
        return number

    def keep(
        target: int,
        index: int,
        before: State,
        now: int,
        event: Event | None,
        effects: tuple[Effect, ...],
        after: State,
    ) -> None:
        """One edge of the state at hand."""
        if graph is None:
            return
        graph.target.append(target)
        graph.move.append(index)
        if classify is not None:
            ignored = event is not None and after is before
            graph.kinds.append(0 if ignored else classify(before, now, event))
        if labeller is not None:
            graph.name(labeller(before, now, event, effects, after))

    queue: deque[tuple[int, State, int]] = deque()
    start, time_zero = initial(configuration.limits[0]), configuration.start
    arrive(shape(start, time_zero), 0, None, start, time_zero)
    for name, predicate in predicates:
        if not predicate(start):
            return violated(name, 0, None)
    next_report = began + 0.25
    transitions = edges = 0

    while queue:
        if came():
            result.frontier, result.seconds = len(queue), time.perf_counter() - began
            checkpoint(result.progress)
        number, before, now = queue.popleft()
        if not ticks_in_time(machine, shape, before, now):
            why = f"at {now} a Tick does something, but wake_at did not ask for it"
            return violated("Punctual", number, None, why)
        index = -1
        for event in possible(before, now):
            index += 1
            transitions += 1
            edges += 1
            try:
                after, effects = step(before, event)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                return violated("Total", number, event, why)
            bad = broken(before, event, effects, after)
            if bad is not None:
                return violated(bad, number, event)
            if judge is not None:
                wrong = judge(before, event, effects, after)
                if wrong is not None:
                    return violated("Bound", number, event, wrong)
            if after is before:
                seen.add((type(event), Ignored, None))
                if labeller is not None:
                    keep(number, index, before, now, event, effects, after)
                continue
            kind = type(event)
            if effects:
                for effect in effects:
                    its = type(effect)
                    reason = effect.reason if isinstance(effect, (Close, Refuse)) else None
                    seen.add((kind, its, reason))
            else:
                seen.add((kind, None, None))
            if not bounded(before, event, effects, after):
                return violated("Bounded", number, event)
            fair = not effects or after.waiters is None or fifo_step(before, event, effects, after)
            if not fair:
                return violated("FifoStep", number, event)
            if (kind is Release or kind is Acquire) and shortcut_differs(
                machine, before, event, effects, after
            ):
                return violated("ShortcutsAgree", number, event)
            if several_owners and not carries_owners(before, event, after):
                return violated("Carried", number, event)
            bad = sound(before, after)
            if bad is not None:
                return violated(bad, number, event)

            key = shape(after, now)
            target = shapes.get(key)
            if target is None:
                target = arrive(key, number, event, after, now)
                for name, predicate in predicates:
                    if not predicate(after):
                        return violated(name, target, None)
            elif thorough:
                for name, predicate in predicates:
                    if not predicate(after):
                        return violated(name, number, event)
            if graph is not None:
                keep(target, index, before, now, event, effects, after)

        if ticking and (ticks is None or now - time_zero < ticks):
            key = shape(before, now + 1)
            target = shapes.get(key)
            if target is None:
                target = arrive(key, number, None, before, now + 1)
            edges += 1
            if target != number or labeller is not None:
                keep(target, index + 1, before, now, None, (), before)
        if graph is not None:
            graph.first.append(len(graph.target))
        result.transitions, result.edges = transitions, edges
        if progress is not None and time.perf_counter() > next_report:
            result.frontier = len(queue)
            result.seconds = time.perf_counter() - began
            next_report = time.perf_counter() + 0.25
            progress(result)
        if len(shapes) >= most_states:
            break
    result.frontier = len(queue)
    return None


def _dated(shape: Shaper) -> Shaper:
    """With the time: where that is bounded, it matters how much is left."""
    return lambda state, now: (*shape(state, now), now)


def _others(
    configuration: Configuration, machine: Machine, history: tuple[Event, ...], name: str
) -> tuple[str, ...]:
    """What the last step of a history breaks besides this property."""
    before = state = initial(configuration.limits[0])
    effects: Any = ()
    try:
        for event in history:
            before = state
            state, effects = machine.step(state, event)
    except Exception:
        return ()
    if not history:
        return ()
    names = all_broken(machine, before, history[-1], effects, state)
    return tuple(dict.fromkeys(other for other in names if other != name))
