"""The Hypothesis machine for the pure function: random histories, judged by a `Twin`.

Theory.  `PoolMachine` only chooses the next event; `twin.py` judges.  It looks at the state to
choose, because a history of random tickets and keys never gets deep; what is not allowed (old
tickets, unknown keys, connects that nobody asked for) has rules of its own.

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(PoolMachine, settings=...)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from hypothesis import event as statistic
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pool.check.machines.drawn import (
    FAILURES,
    JITTER,
    LATER,
    PICK,
    QUARTERS,
    chosen,
    limits_strategy,
)
from pool.check.machines.twin import Run, Twin, View
from pool.core import events
from pool.core.effects import Effect, Grant
from pool.core.events import Acquire, Cancel, Dead, Discard, Event, Opened, Release, Tick
from pool.core.invariants import INVARIANTS
from pool.core.limits import Limits
from pool.core.state import Failure

_OFTEN = ("all", "stale", "grow", "fail")
_WAYS = (*_OFTEN, "broken", "cancel", "dead", "discard", "adopt", *_OFTEN)
"""How `make_room` makes room; twice what nothing else does while somebody waits."""


_STRAY: tuple[type[Event], ...] = (
    *(Acquire, events.Expire, Cancel, Opened, events.OpenFailed),
    *(Release, Discard, Dead, events.Resume),
)
_SELDOM: tuple[Callable[[float], Event], ...] = (
    *[events.Retire] * 3,
    *[events.CloseIdle] * 3,
    *[events.CloseAll] * 3,
    *[events.Forked] * 2,
)


class PoolMachine(RuleBasedStateMachine):
    """Chooses events; `Twin` judges them. Subclass to count (`collect`) or to set `compare`."""

    compare: ClassVar[bool] = True
    """Whether the reference model takes part."""

    twin: Run | None = None
    """None until it has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.names = 0
        self.ending = ""

    @classmethod
    def collect(cls, twin: Run) -> None:
        """Called at the end of every run that broke no promise."""

    @initialize(limits=limits_strategy(), ending=st.sampled_from(["answer", "close"]))
    def begin(self, limits: Limits, ending: str) -> None:
        self.twin = Twin(limits, compare=self.compare)
        self.ending = ending

    # ------------------------------------------------------------ looking at the state

    @property
    def run(self) -> Run:
        assert self.twin is not None
        return self.twin

    @property
    def seen(self) -> View:
        return self.run.view

    def tell(self, event: Event) -> tuple[Effect, ...]:
        return self.run.send(event)

    def on_offer(self, every: int) -> bool:
        """True after every so many events: what disturbs must not crowd out the rest."""
        return len(self.run.history) % every == 1

    def name(self) -> str:
        """A connection that was never seen before."""
        self.names += 1
        return f"c{self.names}"

    def leases(self) -> list[tuple[int, int]]:
        """(ticket, key) of every lease."""
        return sorted((lease[4], key) for key, lease in self.seen["in_use"].items())

    def waiting(self) -> list[int]:
        return [ticket for ticket, _ in self.seen["waiters"]]

    def opening(self) -> list[int]:
        return sorted(self.seen["opening_tickets"])

    def connects(self) -> list[int | None]:
        """Every connect under way, as the ticket that its outcome names; nobody's once."""
        return list(dict.fromkeys(self.run.connects()))

    # ------------------------------------------------------------ callers

    @rule(wait=st.booleans(), gap=st.sampled_from([0, 0, 0, 2]), later=LATER)
    def acquire(self, wait: bool, gap: int, later: float) -> None:
        self.now += later
        ticket = self.seen["next_ticket"] + gap
        self.tell(Acquire(self.now, ticket, wait, f"thread {ticket % 3}"))

    @rule(waiters=st.integers(1, 3))
    def spike(self, waiters: int) -> None:
        """Callers, until some of them wait."""
        for _ in range(8):
            if len(self.waiting()) < waiters:
                self.tell(Acquire(self.now, self.seen["next_ticket"]))

    @precondition(lambda self: self.seen["idle"] and self.seen["phase"] == "open")
    @rule(wait=st.booleans())
    def acquire_a_dead_one(self, wait: bool) -> None:
        """What rested may be dead; its caller finds out at once."""
        for effect in self.tell(Acquire(self.now, self.seen["next_ticket"], wait)):
            if isinstance(effect, Grant):
                self.tell(Dead(self.now, effect.ticket, effect.key, wait))

    @precondition(lambda self: self.waiting())
    @rule(pick=PICK)
    def expire(self, pick: int) -> None:
        self.tell(events.Expire(self.now, chosen(self.waiting(), pick)))

    @precondition(lambda self: self.waiting() or self.opening() or self.leases())
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        holders = [ticket for ticket, _ in self.leases()]
        self.tell(Cancel(self.now, chosen([*self.waiting(), *self.opening(), *holders], pick)))

    # ------------------------------------------------------------ driver connects

    @precondition(lambda self: self.connects())
    @rule(pick=PICK, took=st.sampled_from([0.0, 0.0, 0.25, 5.0]), jitter=JITTER)
    def opened(self, pick: int, took: float, jitter: float) -> None:
        ticket = chosen(self.connects(), pick)
        created = max(0.0, self.now - took)
        self.tell(Opened(self.now, ticket, self.name(), created, jitter))

    @precondition(lambda self: self.connects())
    @rule()
    def all_opened(self) -> None:
        for ticket in self.run.connects():
            self.tell(Opened(self.now, ticket, self.name(), self.now))

    @precondition(lambda self: self.connects())
    @rule(pick=PICK, error=FAILURES, jitter=JITTER)
    def open_failed(self, pick: int, error: Failure, jitter: float) -> None:
        self.tell(events.OpenFailed(self.now, chosen(self.connects(), pick), error, jitter))

    # ------------------------------------------------------------ holders

    @precondition(lambda self: self.leases())
    @rule(pick=PICK, reusable=st.sampled_from([True, True, True, False]), later=LATER)
    def release(self, pick: int, reusable: bool, later: float) -> None:
        self.now += later
        ticket, key = chosen(self.leases(), pick)
        self.tell(Release(self.now, ticket, key, reusable))

    @precondition(lambda self: self.leases())
    @rule()
    def all_released(self) -> None:
        for ticket, key in self.leases():
            self.tell(Release(self.now, ticket, key))

    @precondition(lambda self: self.leases())
    @rule(pick=PICK)
    def discard(self, pick: int) -> None:
        self.tell(Discard(self.now, *chosen(self.leases(), pick)))

    @precondition(lambda self: self.leases())
    @rule(pick=PICK, wait=st.booleans())
    def dead(self, pick: int, wait: bool) -> None:
        ticket, key = chosen(self.leases(), pick)
        self.tell(Dead(self.now, ticket, key, wait))

    # ------------------------------------------------------------ with somebody waiting

    @precondition(lambda self: self.waiting() and self.seen["phase"] == "open")
    @rule(how=st.sampled_from(_WAYS), pick=PICK)
    def make_room(self, how: str, pick: int) -> None:
        """What frees capacity must wake somebody: each way, while somebody waits."""
        now, leases = self.now, self.leases()
        busy = [*self.opening(), *(ticket for ticket, _ in leases)]
        if how == "all":
            self.tell(events.CloseAll(now))
        elif how == "stale":
            self.tell(events.CloseStale(now, now + 0.25))
        elif how == "cancel" and busy:
            self.tell(Cancel(now, chosen(busy, pick)))
        elif how == "fail" and self.connects():
            error = Failure("OSError", "away")
            self.tell(events.OpenFailed(now, chosen(self.connects(), pick), error))
        elif how == "discard" and leases:
            self.tell(Discard(now, *chosen(leases, pick)))
        elif how == "broken" and leases:
            ticket, key = chosen(leases, pick)
            self.tell(Release(now, ticket, key, reusable=False))
        elif how == "dead" and leases:
            self.tell(Dead(now, *chosen(leases, pick)))
        elif how == "adopt":
            removed = tuple(key for _, key in leases[:1])
            put = events.AdoptIdle(None, self.name(), now, pick)
            self.tell(events.Adopt(now, (put,), (), removed))
        elif how == "grow" and self.seen["limits"].max_size:
            most = self.seen["limits"].max_size + 1 + pick % 2
            self.tell(events.Configure(now, attrs.evolve(self.seen["limits"], max_size=most)))

    @precondition(lambda self: self.waiting() and self.leases())
    @rule(pick=PICK, idle=st.booleans())
    def suspend_and_resume(self, pick: int, idle: bool) -> None:
        """While suspended something comes back; then those who waited are served."""
        if self.seen["phase"] == "open":
            self.tell(events.Suspend(self.now))
        ticket, key = chosen(self.leases(), pick)
        self.tell(Release(self.now, ticket, key, idle))
        if self.seen["phase"] == "suspended":
            self.tell(events.Resume(self.now))

    # ------------------------------------------------------------ what is not allowed

    @rule(
        kind=st.sampled_from(_STRAY),
        ticket=st.one_of(st.integers(0, 12), st.none()),
        key=st.integers(0, 12),
    )
    def stray(self, kind: type[Event], ticket: int | None, key: int) -> None:
        """Any ticket with any key: mostly old, unknown, or somebody else's."""
        now, known = self.now, ticket or 0
        more: dict[type, tuple[Any, ...]] = {
            Acquire: (min(known, self.seen["next_ticket"] - 1),),
            Opened: (ticket, self.name(), now),
            events.OpenFailed: (ticket, Failure("OSError", "stray")),
            events.Resume: (),
            **dict.fromkeys((events.Expire, Cancel), (known,)),
        }
        self.tell(kind(now, *more.get(kind, (known, key))))

    @precondition(lambda self: self.leases())
    @rule(kind=st.sampled_from([Release, Discard, Dead]), pick=PICK, off=st.sampled_from([-1, 1]))
    def stale(self, kind: type[Event], pick: int, off: int) -> None:
        """The right connection, the wrong ticket."""
        ticket, key = chosen(self.leases(), pick)
        self.tell(kind(self.now, ticket + off, key))  # type: ignore[call-arg]

    # ------------------------------------------------------------ time

    @rule(later=LATER)
    def tick(self, later: float) -> None:
        self.now += later
        self.tell(Tick(self.now))

    @precondition(lambda self: self.run.due is not None)
    @rule()
    def tick_when_due(self) -> None:
        self.now = max(self.now, self.run.due or 0.0)
        self.tell(Tick(self.now))

    # ------------------------------------------------------------ those who run the pool

    @precondition(lambda self: self.leases() and self.on_offer(3))
    @rule(ago=st.sampled_from([0.0, 0.25, 1.0, -0.25]))
    def close_stale(self, ago: float) -> None:
        self.tell(events.CloseStale(self.now, self.now - ago))

    @precondition(lambda self: self.on_offer(4))
    @rule(data=st.data(), pick=st.integers(0, 9))
    def configure(self, data: st.DataObject, pick: int) -> None:
        """New limits, once in ten with an opener that may be another."""
        opener = self.seen["limits"].opener if pick else None
        self.tell(events.Configure(self.now, data.draw(limits_strategy(opener))))

    @precondition(lambda self: self.seen["phase"] == "open" and self.on_offer(4))
    @rule()
    def suspend(self) -> None:
        self.tell(events.Suspend(self.now))

    @precondition(lambda self: self.seen["phase"] == "suspended")
    @rule()
    def resume(self) -> None:
        self.tell(events.Resume(self.now))

    @precondition(lambda self: self.on_offer(2))
    @rule(pick=st.integers(10, 23))
    def seldom(self, pick: int) -> None:
        """What empties the pool, or ends it, would keep histories shallow."""
        if pick > 12:
            self.tell(_SELDOM[pick - 13](self.now))
        elif pick == 12:
            self.now = max(0.0, self.now - 1.0)  # the clock is a bad one

    @precondition(lambda self: self.on_offer(3))
    @rule(
        parts=st.lists(st.sampled_from(["idle", "in_use", "removed"]), max_size=3),
        pick=PICK,
        age=QUARTERS,
        seq=st.integers(0, 8),
    )
    def adopt(self, parts: list[str], pick: int, age: float, seq: int) -> None:
        """New, changed and removed connections; also keys of the wrong place, and unknown."""
        keys = [None, *(one[2] for one in self.seen["idle"]), *self.seen["in_use"], 99]
        created = max(0.0, self.now - age)
        idle, in_use, removed = [], [], []
        for turn, part in enumerate(parts):
            key = chosen(keys, pick + turn)
            match part:
                case "idle":
                    idle.append(events.AdoptIdle(key, self.name(), created, seq))
                case "in_use":
                    in_use.append(events.AdoptLease(key, self.name(), created, created))
                case "removed" if key:
                    removed.append(key)
        next_seq = max(0, self.seen["next_seq"] + seq - 5)
        self.tell(events.Adopt(self.now, tuple(idle), tuple(in_use), tuple(removed), next_seq))

    # ------------------------------------------------------------ the end of a run

    def teardown(self) -> None:
        """Nobody is stranded: what is under way answers everybody who is left."""
        if self.twin is None or self.twin.broken:
            return
        if self.ending == "answer":
            self.twin.answer_everybody(self.now, self.name)
        else:
            self.twin.close_everything(self.now, self.name)
        for what in self.twin.reached:
            if "-" not in what:
                statistic(what)
        self.collect(self.twin)


def _named(name: str) -> Callable[[PoolMachine], None]:
    def check(machine: PoolMachine) -> None:
        if machine.twin is not None:
            machine.twin.check(name)

    check.__name__ = check.__qualname__ = name
    check.__doc__ = INVARIANTS[name].__doc__
    return check


for _name in INVARIANTS:  # one by one, so that a failure has a name
    setattr(PoolMachine, f"invariant_{_name}", invariant()(_named(_name)))
