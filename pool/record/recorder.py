"""A recorder of what a running pool did, and a check of that history against `step`.

Theory.  All that a pool does goes through one function, called under one lock.  So its whole
history is a list: the state at the beginning, then each event with its effects, in order.
The recorder puts itself in front of that function.  When it is off it is not there: nothing
is asked, nothing is counted, and the pool runs as if this file did not exist.

`check` is a second pool, without threads: it applies the same events to the same beginning,
and asks at each one whether the effects are those that the threads got, and whether every
invariant holds.  What it finds has a place: the index of an event.

A history may be long and must not keep anything alive.  So no object of a program is in it: a
connection is recorded by its key (`connection 17`), an owner by its ticket (`owner of 5`). The
machine looks at neither, so it does the same with the names.

An event can be interrupted by an asynchronous exception after it was decided and before the
runtime took it on.  Then it never happened: the next event comes with a state that is
not the one this recorder saw last, and the recorder takes that event back.

It does not stand on the seam of the observers (`pool/shared/observation.py`), though it could: it
is what that is held against (`tests/integration/test_observe.py`).  It writes down under the lock,
and nothing of it is told later, by another thread, or in batches; so each of the two can show that
the other loses something.

What it refuses to know: threads and time, beyond holding the lock when it comes and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from pool.core.effects import Effect
from pool.core.events import Adopt, Event
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.state import State, resting
from pool.core.transition import step as plain_step
from pool.shared import named
from pool.shared.errors import WITHIN, PoolReentered
from pool.shared.observation import innermost, runtime_of, slots
from pool.shared.store import Step
from pool.tasks.monitor import Monitor as TaskMonitor
from pool.threads.runtime import Runtime

Record = tuple[Event, tuple[Effect, ...]]

PROGRESS_EVERY = 500
"""Events between two calls of the function that is told how far a check has come."""


@attrs.frozen
class Violation:
    """Where a history is not that of a pool, and which promise it breaks there."""

    index: int
    """Of the event, from 0. The number of events: at the end of the history."""
    event: Event | None
    """None: at the end of the history."""
    invariant: str
    """A name from `INVARIANTS` or `STEP_INVARIANTS`; or `Effects`, `State`: `step` gives others
    than the running pool got; or `Step`: it raises."""
    detail: str = ""
    """What was found instead."""

    def __str__(self) -> str:
        where = f"event {self.index}" if self.event else f"the end, after {self.index} events"
        what = f": {self.event!r}" if self.event else ""
        return f"{self.invariant} does not hold at {where}{what}" + (
            f" ({self.detail})" if self.detail else ""
        )


class Recorder:
    """Records the transitions of a running pool from now on, until `stop`. Thread-safe.

    `pool` is a `Runtime`, or what stands on one: a pooled database of `pool.peewee`, a `Pool`, or a
    `pool.aio.Pool` (from its loop's thread, or before there is a loop). It
    pays a few microseconds for each event, and some hundred bytes of memory, which are kept for
    as long as the recorder lives.

        with Recorder(database) as recorder:
            ...
        assert recorder.check() == []
    """

    def __init__(self, pool: Any) -> None:
        runtime = runtime_of(pool)
        self._runtime: Runtime | None = runtime
        self._history: list[Record] = []
        self._pending: tuple[int, Record, State] | None = None  # not yet known to have happened
        self._adopted: tuple[State, int] | None = None  # what the last `Adopt` was applied to
        self._final: State | None = None
        self._initial: State = self._hold(runtime, self._begin)

    # ------------------------------------------------------------ coming and going

    def _begin(self, runtime: Runtime) -> State:
        holder, name = innermost(runtime)
        self._plain: Step = getattr(holder, name)
        setattr(holder, name, self._record)
        # A state that later ones can be compared with: the runtime may have had its fields only.
        monitor = runtime.monitor
        monitor.current = (runtime.state, monitor.current[1])
        return named.state(runtime.state, _owner)

    def stop(self) -> None:
        """Leave the runtime as it was. May be called again."""
        runtime = self._runtime
        if runtime is not None:
            self._hold(runtime, self._end)

    def _end(self, runtime: Runtime) -> None:
        if self._runtime is None:
            return
        self._settle(runtime.state)
        self._final = named.state(runtime.state, _owner)
        self._runtime = self._pending = self._adopted = None
        for holder, name in slots(runtime):
            if getattr(holder, name) == self._record:
                setattr(holder, name, self._plain)
                return
        # Somebody unknown stands in front of us and calls us: from now on only a detour.

    @staticmethod
    def _hold(runtime: Runtime, do: Callable[[Runtime], Any]) -> Any:
        """Do this between two transitions."""
        monitor: Any = runtime.monitor
        done = None
        if isinstance(monitor, TaskMonitor):  # its loop keeps others away
            if monitor.applying:
                raise PoolReentered(WITHIN)
            return do(runtime)
        if runtime.is_reentered():
            raise PoolReentered(WITHIN)
        try:
            for _ in monitor.turnstile:  # not `with`: interrupted in it, 3.14 keeps the lock
                try:
                    done = do(runtime)
                finally:
                    monitor.lock.release()
                break
            return done
        finally:
            if monitor.jobs or monitor.inbox:  # a finalizer may have met our lock
                runtime._leave(monitor, ())

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------ under the lock

    def _record(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        """`step`, while recording."""
        if self._runtime is None:
            return self._plain(state, event)
        self._settle(state)
        outcome = self._plain(state, event)
        after, effects = outcome
        index = len(self._history)
        if type(event) is Adopt:
            self._adopted = state, index
        event = named.event(state, event, after, effects, _owner)
        record = event, named.effects(effects, _owner)
        self._pending = index, record, after
        return outcome

    def _settle(self, state: State) -> None:
        """Keep the last event if this is the state it led to; else it never happened."""
        pending = self._pending
        if pending is not None:
            index, record, after = pending
            if after is state:
                self._history[index:] = [record]  # the same if done twice
            elif self._adopted is not None and self._adopted[0] is state:
                # An adapter told of its changes and of the event in one go, and neither came.
                del self._history[self._adopted[1] :]
            self._pending = None
        if self._adopted is not None and len(self._history) > self._adopted[1] + 1:
            self._adopted = None

    # ------------------------------------------------------------ afterwards

    @property
    def initial(self) -> State:
        """The state at the beginning, with names for connections and owners."""
        return self._initial

    @property
    def history(self) -> list[Record]:
        """The events so far, each with its effects, oldest first: a copy."""
        if self._runtime is not None:
            self._hold(self._runtime, lambda runtime: self._settle(runtime.state))
        return self._history[:]

    def check(self, progress: Callable[[int], None] | None = None) -> list[Violation]:
        """Stop, and replay the history: what the first wrong event breaks, or nothing.

        `progress` is called now and then with the number of events checked. O(events), each
        O(connections + waiters): some 50 microseconds for a pool of usual size.
        """
        self.stop()
        return replay(self.initial, self._history, self._final, progress)


def replay(
    state: State,
    history: Iterable[Record],
    final: State | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Violation]:
    """Apply the events of `history` to this `state`: what the first wrong one breaks, or nothing.

    `final` is the state that must come out; None: any. `progress` is called now and then with the
    number of events so far.
    """
    found = [Violation(0, None, name) for name, holds in INVARIANTS.items() if not holds(state)]
    if found:
        return found
    index = -1
    for index, (event, effects) in enumerate(history):
        before = state
        try:
            state, expected = plain_step(before, event)
        except Exception as error:
            return [Violation(index, event, "Step", f"{type(error).__name__}: {error}")]
        if expected != effects:
            detail = f"recorded {effects!r}, `step` gives {expected!r}"
            found.append(Violation(index, event, "Effects", detail))
        for name, holds in INVARIANTS.items():
            if not holds(state):
                found.append(Violation(index, event, name))
        for name, holds_between in STEP_INVARIANTS.items():
            if not holds_between(before, event, effects, state):
                found.append(Violation(index, event, name))
        if found:
            return found
        if progress is not None and index % PROGRESS_EVERY == 0:
            progress(index)
    if progress is not None:
        progress(index + 1)
    if final is not None and (names := _differing(state, final)):
        detail = "the running pool ended with another " + ", ".join(names)
        return [Violation(index + 1, None, "State", detail)]
    return []


def _differing(state: State, other: State) -> list[str]:
    """The fields in which they differ. Of what is idle the shape of the heap says nothing."""
    one, two = (
        each._replace(idle=tuple(sorted(resting(each.idle))))._asdict()  # type: ignore[arg-type]
        for each in (state, other)
    )
    return [name for name in one if one[name] != two[name]]


# ---------------------------------------------------------------- names for objects


def _owner(ticket: int, _: Any) -> str:
    return f"owner of {ticket}"
