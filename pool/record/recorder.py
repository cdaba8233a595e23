"""A recorder of what a running pool did, and a check of that history against `step`.

Theory.  All that a pool does goes through one function, called under one lock.  So its whole
history is a list: the state at the beginning, then each event with its effects, in order.
The recorder puts itself in front of that function.  When it is off it is not there: nothing
is asked, nothing is counted, and the pool runs as if this file did not exist.  The two ordinary
events keep their shortcuts (`pool/core/shortcuts.py`) while it is on: of each a few numbers are
written down, which are made an event when somebody reads.

`check` is a second pool, without threads: it applies the same events to the same beginning,
and asks at each one whether the effects are those that the threads got, and whether every
invariant holds.  What it finds has a place: the index of an event.

A history may be long and must not keep anything alive.  So no object of a program is in it: a
connection is recorded by its key (`connection 17`), an owner by its ticket (`owner of 5`). The
machine looks at neither, so it does the same with the names.

An event can be interrupted by an asynchronous exception after it was decided and before the
runtime took it on.  Then it never happened: the next event finds another state than the one it led
to, and the recorder takes it back.  States are compared by identity with what the runtime has,
never looked into.

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

from pool.core import shortcuts
from pool.core.effects import Effect, Grant
from pool.core.events import Acquire, Event, Release
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.state import Fields, State, resting
from pool.core.transition import step as plain_step
from pool.shared import named
from pool.shared.errors import WITHIN, PoolReentered
from pool.shared.observation import innermost, runtime_of, slots
from pool.shared.store import NoShortcuts, Step
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


class _Scribe:
    """Stands in the place of `step` and of its shortcuts, and writes down what comes by. Is called
    within transitions only, or where there can be none.

    `last` is what the last event led to, if that came into force, and how many notes there were
    before it: it is assigned first, the note comes then. So wherever that is interrupted, what is
    behind that number is of an event that never happened, if the next one finds another state."""

    __slots__ = ("last", "notes", "plain", "runtime", "shortcuts")

    def __init__(self, runtime: Any, plain: Step) -> None:
        self.runtime = runtime
        """None when it is over."""
        self.plain = plain
        self.notes: list[Any] = []
        self.last: tuple[Any, int] = (runtime.fields, 0)
        self.shortcuts: Any = self if plain is plain_step else NoShortcuts

    def acquire(self, fields: Fields, now: float, ticket: int, wait: bool, owner: Any) -> Any:
        taken = shortcuts.acquire(fields, now, ticket, wait, owner)
        if taken is not None and (fields is self.last[0] or self.settle(fields)):
            notes = self.notes
            self.last = taken[0], len(notes)
            notes.append((now, ticket, wait, owner is not None, taken[1], taken[3]))
        return taken

    def release(self, fields: Fields, now: float, ticket: int, key: int, reusable: bool) -> Any:
        outcome = shortcuts.release(fields, now, ticket, key, reusable)
        if outcome is not None and (fields is self.last[0] or self.settle(fields)):
            notes, effects = self.notes, outcome[1]
            self.last = outcome[0], len(notes)
            if effects:  # it is handed to the oldest who waits
                grant: Any = effects[0]
                notes.append((now, ticket, key, (grant[0], grant[1], grant[3])))
            else:
                notes.append((now, ticket, key))
        return outcome

    def __call__(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        """`step`, while recording."""
        outcome = self.plain(state, event)
        runtime = self.runtime
        if runtime is not None:
            last, before = self.last
            # What an adapter tells in one go, its changes and then the event, is in force or not.
            if state is not last or state is runtime.fields:
                self.settle(runtime.fields)
                before = len(self.notes)
            after, effects = outcome
            event = named.event(state, event, after, effects, _owner)
            note = event, named.effects(effects, _owner)
            self.last = after, before
            self.notes.append(note)
        return outcome

    def settle(self, fields: Fields) -> bool:
        """The next event comes with these: what led elsewhere never happened. False if it is none
        of this pool's history: that is over, or a child process came back to its parent's call."""
        if self.runtime is None or fields is not self.runtime.fields:
            return False
        last, before = self.last
        if last is not fields:
            del self.notes[before:]
        return True


def _read(note: Any) -> Record:
    """What was written down, as an event with names and its effects."""
    if len(note) == 2:
        return note  # type: ignore[no-any-return]
    if len(note) == 6:
        now, ticket, wait, is_owned, key, rested = note
        owner = _owner(ticket, None) if is_owned else None
        grant = (Grant(ticket, key, named.connection(key), rested),) if key else ()
        return Acquire(now, ticket, wait, owner), grant
    now, ticket, key, *grants = note
    effects = [Grant(first, key, named.connection(key), rested) for first, key, rested in grants]
    return Release(now, ticket, key), tuple(effects)


class Recorder:
    """Records the transitions of a running pool from now on, until `stop`. Thread-safe.

    `pool` is a `Runtime`, or what stands on one: a pooled database of `pool.peewee`, a `Pool`, or a
    `pool.aio.Pool` (from its loop's thread, or before there is a loop). It
    pays about a microsecond for an ordinary event, some ten for any other, and
    some hundred bytes of memory for each, which are kept for as long as the recorder lives.

        with Recorder(database) as recorder:
            ...
        assert recorder.check() == []
    """

    def __init__(self, pool: Any) -> None:
        runtime = runtime_of(pool)
        self._runtime: Runtime | None = runtime
        self._final: State | None = None
        self._initial: State = self._hold(runtime, self._begin)

    # ------------------------------------------------------------ coming and going

    def _begin(self, runtime: Runtime) -> State:
        holder, name = innermost(runtime)
        self._scribe = scribe = _Scribe(runtime, getattr(holder, name))
        setattr(holder, name, scribe)
        return named.state(runtime.state, _owner)

    def stop(self) -> None:
        """Leave the runtime as it was. May be called again."""
        runtime = self._runtime
        if runtime is not None:
            self._hold(runtime, self._end)

    def _end(self, runtime: Runtime) -> None:
        if self._runtime is None:
            return
        scribe = self._scribe
        scribe.settle(runtime.fields)
        self._final = named.state(runtime.state, _owner)
        scribe.last = (None, len(scribe.notes))
        self._runtime = scribe.runtime = None
        for holder, name in slots(runtime):
            if getattr(holder, name) is scribe:
                setattr(holder, name, scribe.plain)
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
                runtime.see_to_notes(monitor)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------ afterwards

    @property
    def initial(self) -> State:
        """The state at the beginning, with names for connections and owners."""
        return self._initial

    @property
    def history(self) -> list[Record]:
        """The events so far, each with its effects, oldest first: a copy."""
        return list(map(_read, self._notes()))

    def _notes(self) -> list[Any]:
        """What was written down so far, of what is in force: a copy."""
        if self._runtime is not None:
            self._hold(self._runtime, lambda runtime: self._scribe.settle(runtime.fields))
        return self._scribe.notes[:]

    def check(self, progress: Callable[[int], None] | None = None) -> list[Violation]:
        """Stop, and replay the history: what the first wrong event breaks, or nothing.

        `progress` is called now and then with the number of events checked. O(events), each
        O(connections + waiters): some 50 microseconds for a pool of usual size.
        """
        self.stop()
        return replay(self.initial, map(_read, self._scribe.notes), self._final, progress)


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
