"""The state of a running pool, and what was decided and not yet told: what events are applied to.

Theory.  A runtime holds the state, and whoever waits for an answer; how that is kept from being
done by two at once differs (a lock for threads, the loop for tasks), and what is done is the same.
It is here, once.  The pair (state, effects not yet delivered) is one reference, assigned once per
transition.  So an exception that arrives anywhere, an asynchronous one too, finds the old
state or the new one, and never loses an effect with it.

What cannot be done at once is noted in the inbox: that a handle is lost, and what was asked in
the middle of a transition (RUN-10).  Io is listed in `jobs`, and done by others.

A store belongs to one process, and to one event loop.  Where a process is forked the child gets
another one, and the parent's is left to whoever was in the middle of something with it: all its
effects are nobody's (RUN-9).

What it refuses to know: why anybody gets anything, the time, who keeps others away, and drivers.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pool.core import shortcuts, waiters
from pool.core.effects import Effect, Grant, Ignored, Open, Refuse
from pool.core.events import Cancel, Discard, Event
from pool.core.state import Fields, State, lease_of, leased, state_of
from pool.core.transition import step

Step = Callable[[State, Event], tuple[State, tuple[Effect, ...]]]

Made = Callable[[State], Event]
"""Makes an event of the state that it is going to meet."""

Answer = Grant | Refuse | Open

Clock = Callable[[], float]
"""The times of events, in seconds."""


class Waiting(Protocol):
    """Where a caller's answer is put: its cell. Known to the store while the caller has none."""

    ticket: int
    answer: Answer | None

    def wake(self) -> None:
        """It is answered. Never blocks; may be called again."""


class Store:
    """What a fork replaces as a whole. `watch` says who looks on while an event is applied."""

    __slots__ = (
        "applying",
        "cells",
        "collected",
        "current",
        "inbox",
        "jobs",
        "losses",
        "observed",
        "shortcuts",
        "step",
        "tickets",
    )

    def __init__(self, fields: Fields, tickets: Iterator[int] | None = None) -> None:
        self.current: tuple[Fields, tuple[Effect, ...]] = (fields, ())
        self.applying = False
        """Somebody is in the middle of a transition: whoever finds this, and is not kept away, is
        a signal's handler or a finalizer."""
        self.tickets = itertools.count(1) if tickets is None else tickets
        self.cells: dict[int, Any] = {}
        self.inbox: deque[Any] = deque()
        """Of lost handles the ticket and key; owners, of which all is lost; events, each in a tuple
        of its own, of whoever may not wait."""
        self.collected: set[int] = set()
        """Keys of handles that were collected before they were given back."""
        self.losses: dict[int, tuple[Any, float]] = {}
        """By key: leases that were collected, until their connections are closed."""
        self.jobs: dict[int, Effect] = {}
        self.observed: Any = None
        """The `Observation`, if somebody observes."""
        self.watch(step)

    def watch(self, function: Step) -> None:
        """The pure function, or one that looks on while it is applied: then every event goes
        through it, or through shortcuts of its own. Otherwise the two ordinary events take their
        shortcuts at once."""
        self.shortcuts: Any = getattr(function, "shortcuts", NoShortcuts)
        self.step = function
        if function is step:
            self.shortcuts = shortcuts

    @property
    def state(self) -> State:
        """The state right now. Reading it takes no lock: it is one reference."""
        return state_of(self.current[0])

    # ------------------------------------------------------------ transitions

    def apply(self, event: Event | Made, cell: Any = None) -> tuple[Effect, ...]:
        """One transition (RUN-1). `cell` is where a ticket waits for its answer from now on.

        In the place of an event may be a function that makes it of the state that it meets."""
        self.applying = True
        try:
            return self.change(event, cell)
        finally:
            self.applying = False

    def change(self, event: Event | Made, cell: Any) -> tuple[Effect, ...]:
        """For whoever keeps others away."""
        if self.current[1]:
            self.deliver()
        self.current = outcome = self.step(self.state, made(event, self.state))
        if cell is not None:
            self.expect(cell)
        if outcome[1]:
            self.deliver()
        return outcome[1]

    def commit(self, event: Event) -> None:
        """As `change`, for what has no answer."""
        if self.current[1]:
            self.deliver()
        self.current = self.step(self.state, event)
        self.deliver()

    def expect(self, cell: Any) -> Any:
        """Let the cell be found. It may be answered before others are let in."""
        self.cells[cell.ticket] = cell
        return cell

    def note(self, event: Event | Made) -> tuple[Effect, ...]:
        """For when the transition is complete in whose middle its own thread asks. What it would do
        by now."""
        state = self.state
        effects = step(state, made(event, state))[1]
        self.inbox.append((event,))
        return effects

    # ------------------------------------------------------------ answers

    def ready(self) -> list[Effect]:
        """The jobs that may be begun. What is just being handed out may not: who does that can be
        interrupted, hands it out again, and would find that it is no longer there (RUN-4)."""
        undelivered = self.current[1]
        if not undelivered:
            return list(self.jobs.values())
        handed = set(map(id, undelivered))
        return [job for number, job in list(self.jobs.items()) if number not in handed]

    def claim(self, job: Effect) -> bool:
        """Whether this job is to be done by whoever asks: it is ready, and nobody else has it."""
        undelivered = self.current[1]
        if undelivered and any(job is effect for effect in undelivered):
            return False
        return self.jobs.pop(id(job), None) is not None

    def deliver(self) -> None:
        """Hand out what the last transition decided (RUN-2). Doing it twice does no harm, for until
        it is done nobody begins a job of it: so one who is interrupted does it again."""
        try:
            self.hand_out()
        except BaseException:
            self.hand_out()
            raise

    def hand_out(self) -> None:
        state, effects = self.current
        effect: Any
        for effect in effects:
            kind = type(effect)
            if kind is Grant or kind is Refuse or (kind is Open and effect.ticket is not None):
                ticket = effect[0]
                cell = self.cells.get(ticket)
                if cell is not None:
                    cell.answer = effect
                    cell.wake()
                    if kind is not Open:  # who connects still waits for an answer
                        self.cells.pop(ticket, None)
            elif kind is not Ignored:
                self.jobs[id(effect)] = effect
        self.current = (state, ())

    # ------------------------------------------------------------ the inbox

    def empty_inbox(self, clock: Clock) -> None:
        """Apply what it holds; for whoever keeps others away.

        A frame of its own: from CPython 3.12 on, the jump back of a loop inside `try` is
        not covered by that `try`, and an asynchronous exception there would keep the lock."""
        while self.inbox:
            self.take_first(clock)

    def take_first(self, clock: Clock) -> None:
        """Apply the first note, then strike it off: not what is first by then, for who is observed
        takes a nudge of its own back, without the lock."""
        try:
            note = self.inbox[0]
        except IndexError:  # it was such a one
            return
        self.take(note, clock)
        with contextlib.suppress(ValueError):  # as above
            self.inbox.remove(note)

    def take(self, note: Any, clock: Clock) -> None:
        """Apply this note. Twice does no harm: it is off the list only when that is done."""
        if type(note) is tuple and len(note) == 1:
            with contextlib.suppress(ValueError):  # made of a state that does not allow it
                self.commit(made(note[0], self.state))
            return
        for ticket, key in [note] if type(note) is tuple else claims_of(note, self.state):
            self.cells.pop(ticket, None)
            now = clock()
            if key:
                if type(note) is not tuple or key in self.collected:
                    self.note_loss(now, ticket, key)
                self.commit(Discard(now, ticket, key))
                self.collected.discard(key)
            self.commit(Cancel(now, ticket))

    def note_loss(self, now: float, ticket: int, key: int) -> None:
        """For when its connection is closed: nobody is told of anything within a transition."""
        lease = lease_of(self.state.in_use, key)
        if lease is not None and lease.ticket == ticket:
            self.losses[key] = (lease.owner, now - lease.checked_out)

    # ------------------------------------------------------------ another begins

    def abandon(self) -> None:
        """Nobody goes on here but who was in the middle of something, and finds out when that is
        done. Who waits for an answer is told at once that none will come."""
        for ticket, cell in list(self.cells.items()):
            cell.answer = Refuse(ticket, "forked", None)
            cell.wake()


def made(event: Event | Made, state: State) -> Event:
    """The event, or the one that is made for this state."""
    return event if isinstance(event, tuple) else event(state)


def claims_of(owner: Any, state: State) -> list[tuple[int, int]]:
    """Ticket and key of whatever is this owner's."""
    claims = [
        (lease.ticket, key) for key, lease in leased(state.in_use).items() if lease.owner is owner
    ]
    waiting = [*waiters.items(state.waiters), *state.opening_tickets.items()]
    return claims + [(ticket, 0) for ticket, another in waiting if another is owner]


class NoShortcuts:
    """In the place of `pool.core.shortcuts` where `step` is to see every event."""

    @staticmethod
    def acquire(*_: Any) -> None:
        pass

    release = acquire
