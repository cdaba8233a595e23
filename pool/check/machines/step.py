"""The Hypothesis machine: random histories, judged by a reference model and by promises.

Theory.  Three things are kept apart.  `Twin` holds a pool and a reference model, tells
both the same event, and judges: are effects and states equal, is every promise of the
run kept?  It knows nothing of Hypothesis, so a history can be replayed without it.
`PoolMachine` only chooses the next event.  It looks at the state to do so, because a
history of random tickets and keys never gets deep; what is not allowed (old tickets,
unknown keys, connects that nobody asked for) has rules of its own.  The invariants of the
pool are checked one by one, so that a failure has a name.

Times are multiples of a quarter: sums of such floats are exact, and both sides may
compute them in any order.

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(PoolMachine, settings=...)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import attrs
from hypothesis import event as statistic
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pool.check.machines.reference import Reference
from pool.check.proof.binding import Binding
from pool.core import heap, waiters
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import (
    Acquire,
    Adopt,
    AdoptIdle,
    AdoptLease,
    Cancel,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Dead,
    Discard,
    Event,
    Expire,
    Forked,
    Opened,
    OpenFailed,
    Release,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.limits import IdleOrder, Limits, Opener
from pool.core.state import Failure, State, initial
from pool.core.transition import step, wake_at

View = dict[str, Any]

PROPERTIES = {
    "SameEffects": "the reference model gives the same effects",
    "SameState": "the reference model is in the same state",
    "SameWakeAt": "the reference model wants the next tick at the same time",
    "Pure": "the state before is unchanged; the same event gives the same outcome again",
    "Ignored": "Ignored comes alone, and the state is the same object",
    "Ordered": "effects come wakes first, then Io, closes before opens",
    "AnsweredOnce": "a ticket is told to open at most once and answered exactly once"
    " (Dead takes the answer back)",
    "ClosedOnce": "a connection is closed at most once, and only if it is known",
    "GrantedAlive": "no connection is granted while another holds it, nor after it was closed",
    "Balanced": "every connection that came in is held, or was closed or forgotten",
    "WakeAt": "no Tick before wake_at changes anything; the one at wake_at does, and after it"
    " wake_at is later",
    "Bound": "the step is the one that the proof is about (`purepool prove`)",
    "NobodyStranded": "drivers' answers, releases and Ticks alone answer everybody",
    "Closed": "after a shutdown, once drivers and holders are done, nothing is left",
}
"""What a `Twin` checks besides the invariants, by name."""


class Broken(AssertionError):
    """A promise was broken: `promise` is its name, `history` leads there."""

    def __init__(self, promise: str, detail: str, limits: Limits, history: Sequence[Event]) -> None:
        self.promise = promise
        self.limits = limits
        self.history = tuple(history)
        lines = [f"{promise}: {detail}", "history:", f"  {limits!r}"]
        super().__init__("\n".join([*lines, *(f"  {event!r}" for event in history)]))


def view(state: State) -> View:
    """Every field of a state in plain lists and dicts, the idle in lending order."""
    idle = []
    rest = state.idle
    for _ in range(heap.size(rest)):
        if rest is None:
            break
        item, rest = heap.pop(rest)
        entry = item.entry
        row = (item.order, item.seq, entry.key, entry.connection, entry.created, entry.jitter)
        idle.append((*row, item.since))
    leases = {}
    for key, lease in state.in_use.items():
        entry = lease.entry
        made = (entry.connection, entry.created, entry.jitter)
        leases[key] = (*made, lease.checked_out, lease.ticket, lease.owner, lease.leaked)
    plain = state._asdict()
    counters = plain.pop("counters")
    return {
        **plain,
        "idle": idle,
        "in_use": leases,
        "waiters": list(waiters.items(state.waiters)),
        "opening_tickets": dict(state.opening_tickets),
        **counters._asdict(),
    }


def differences(one: View, other: View) -> str:
    """The fields in which two views differ."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return "; ".join(f"{name}: {one.get(name)!r} != {other.get(name)!r}" for name in names)


def without_why(effects: Iterable[Effect]) -> list[Effect]:
    """The text of an `Ignored` is for people, and every implementation has its own."""
    return [Ignored("") if isinstance(effect, Ignored) else effect for effect in effects]


def rank(effect: Effect) -> int:
    """Where an effect belongs: wakes, then closes and reports, then nobody's opens."""
    match effect:
        case Close() | Leaked():
            return 1
        case Open(ticket=None):
            return 2
        case _:
            return 0


class Twin:
    """A pool and a reference model that are told the same. Raises `Broken`.

    `compare=False` leaves the model and the proof out, to see what the promises alone can find.
    `reached` counts what the history has met: rules, effects by reason, and who was
    served by what.
    """

    def __init__(self, limits: Limits, *, compare: bool = True) -> None:
        self.limits = limits
        self.state = initial(limits)
        self.model = Reference(limits) if compare else None
        self.history: list[Event] = []
        self.binding = Binding()
        self.reached: Counter[str] = Counter()
        self.broken = False
        self.view = view(self.state)
        self.tickets: dict[int, str] = {}
        self.holders: set[int] = set()
        self.gone: set[int] = set()
        self.came = self.went = 0
        self.compare()

    def fail(self, promise: str, detail: str) -> None:
        self.broken = True
        raise Broken(promise, detail, self.limits, self.history)

    def expect(self, promise: str, kept: bool, detail: str = "") -> None:
        if not kept:
            self.fail(promise, detail or PROPERTIES.get(promise, "violated by the last event"))

    def check(self, name: str) -> None:
        """One invariant, by its name."""
        if not self.broken and not INVARIANTS[name](self.state):
            self.fail(name, f"does not hold in {self.view}")

    def check_all(self) -> None:
        for name in INVARIANTS:
            self.check(name)

    def send(self, event: Event) -> tuple[Effect, ...]:
        """Tell both, compare, and check every promise of steps and runs."""
        before, known = self.state, self.view
        self.history.append(event)
        after, effects = step(before, event)
        again, same = step(before, event)
        self.expect("Pure", view(before) == known, "the state before was changed")
        self.state, self.view = after, view(after)
        self.expect("Pure", (again, same) == (after, effects), "two outcomes")
        if self.model:
            wanted = self.model.apply(event)
            if without_why(effects) != without_why(wanted):
                self.fail("SameEffects", f"{effects!r}, the model says {wanted!r}")
            self.reached.update(self.model.cited)
            self.model.cited.clear()
        self.compare()
        refused = any(isinstance(effect, Ignored) for effect in effects)
        if refused:
            self.expect("Ignored", len(effects) == 1 and after is before)
        else:
            self.follow(known, event, effects)
        ranks = [rank(effect) for effect in effects]
        self.expect("Ordered", ranks == sorted(ranks))
        for name, holds in STEP_INVARIANTS.items():
            self.expect(name, holds(before, event, effects, after))
        self.balance()
        self.check_wake_at(event)
        if self.model and (why := self.binding.differs(before, event, effects, after)):
            self.fail("Bound", why)
        self.note(event, effects)
        return effects

    def tell(self, event: Event) -> tuple[Effect, ...]:
        """`send`, and then every invariant."""
        effects = self.send(event)
        self.check_all()
        return effects

    def compare(self) -> None:
        if self.model is None:
            return
        wanted = self.model.view()
        if self.view != wanted:
            self.fail("SameState", f"pool != model: {differences(self.view, wanted)}")
        due = wake_at(self.state), self.model.wake_at()
        self.expect("SameWakeAt", due[0] == due[1], f"pool, model: {due}")

    # ------------------------------------------------------------ promises over a run

    def follow(self, before: View, event: Event, effects: Sequence[Effect]) -> None:
        """What an allowed event and its effects mean for tickets and connections."""
        match event:
            case Acquire(ticket=ticket):
                self.expect("AnsweredOnce", ticket not in self.tickets, "a ticket used twice")
                self.tickets[ticket] = "waiting"
            case Dead(ticket=ticket, key=key):
                self.turn(ticket, "granted", "waiting", event)
                self.holders.discard(key)
            case Release(key=key) | Discard(key=key):
                self.holders.discard(key)
            case Cancel(ticket=ticket):
                held = [key for key, lease in before["in_use"].items() if lease[4] == ticket]
                self.holders.difference_update(held)
                self.turn(ticket, "waiting opening granted", "cancelled", event)
            case Opened():
                self.came += 1
            case Forked():
                self.forget([one[2] for one in before["idle"]] + list(before["in_use"]))
            case Adopt(removed=removed):
                known = {one[2] for one in before["idle"]} | set(before["in_use"])
                self.forget(known & set(removed))
                after = {one[2] for one in self.view["idle"]} | set(self.view["in_use"])
                closed = {effect.key for effect in effects if isinstance(effect, Close)}
                self.came += len((after | closed) - known)
                leases = self.view["in_use"].items()
                self.holders.update(k for k, lease in leases if not lease[4] and k not in known)
        for effect in effects:
            match effect:
                case Open(ticket=int(ticket)):
                    self.turn(ticket, "waiting", "opening", effect)
                case Refuse(ticket=ticket):
                    self.turn(ticket, "waiting opening", "refused", effect)
                case Grant(ticket=ticket, key=key):
                    self.turn(ticket, "waiting opening", "granted", effect)
                    alive = key not in self.gone and key not in self.holders
                    self.expect("GrantedAlive", alive, repr(effect))
                    self.holders.add(key)
                case Close(key=key):
                    known_key = 0 < key < self.view["next_seq"] and key not in self.gone
                    self.expect("ClosedOnce", known_key, repr(effect))
                    self.gone.add(key)
                    self.holders.discard(key)
                    self.went += 1

    def turn(self, ticket: int, expected: str, becomes: str, cause: object) -> None:
        """One answer, or taking one back, in the life of a ticket."""
        was = self.tickets.get(ticket, "unknown")
        self.expect("AnsweredOnce", was in expected.split(), f"{cause!r}: the ticket was {was}")
        self.tickets[ticket] = becomes

    def forget(self, keys: Iterable[int]) -> None:
        for key in keys:
            self.gone.add(key)
            self.holders.discard(key)
            self.went += 1

    def balance(self) -> None:
        """Our own books, kept from events and effects alone, agree with the state."""
        state = self.view
        held = len(state["idle"]) + len(state["in_use"])
        self.expect("Balanced", self.came - self.went == held, f"{self.came} came in, {self.went}")
        places = {ticket: "waiting" for ticket, _ in state["waiters"]}
        places.update({ticket: "opening" for ticket in state["opening_tickets"]})
        places.update({lease[4]: "granted" for lease in state["in_use"].values() if lease[4]})
        for ticket, place in places.items():
            self.expect("AnsweredOnce", self.tickets.get(ticket) == place, f"ticket {ticket}")
        lost = [t for t in self.tickets if self.is_pending(t) and t not in places]
        self.expect("AnsweredOnce", not lost, f"the pool lost the tickets {lost}")
        self.expect("Balanced", self.holders == set(state["in_use"]), "leases and their holders")

    def check_wake_at(self, event: Event) -> None:
        due = wake_at(self.state)
        early = event.now + 1000.0 if due is None else due - 0.25
        if early >= 0.0 and early != due:
            useless, effects = step(self.state, Tick(early))
            same = useless == self.state or view(useless) == self.view
            unchanged = same and not effects
            if not unchanged:
                self.fail("WakeAt", f"wake_at is {due}, a tick at {early}: {effects}")
        if due is not None:
            useful, _ = step(self.state, Tick(due))
            self.expect("WakeAt", view(useful) != self.view, f"a tick at {due} changes nothing")
            following = wake_at(useful)
            later = following is None or following > due
            self.expect("WakeAt", later, f"after a tick at {due} wake_at is {following}")

    def answer_everybody(self, now: float, name: Callable[[], str]) -> None:
        """From here, only answers of drivers, releases and ticks: everybody is answered."""
        if self.state.phase == "suspended":
            self.tell(Resume(now))
        rounds = 4 + 2 * (len(self.view["waiters"]) + self.state.size)
        for _ in range(rounds):
            if not (self.view["waiters"] or self.view["opening_tickets"]):
                return
            for ticket in sorted(self.view["opening_tickets"]):
                self.tell(Opened(now, ticket, name(), now))
            for _ in range(self.view["opening_background"]):
                self.tell(Opened(now, None, name(), now))
            for key, lease in sorted(self.view["in_use"].items()):
                self.tell(Release(now, lease[4], key))
            due = wake_at(self.state)
            if due is not None:
                now = max(now, due)
                self.tell(Tick(now))
        self.expect("NobodyStranded", False, f"after {rounds} rounds {self.view} is left")

    def close_everything(self, now: float, name: Callable[[], str]) -> None:
        """After a shutdown, once drivers and holders are done, nothing is left."""
        connects = [*self.view["opening_tickets"], *[None] * self.view["opening_background"]]
        self.tell(Shutdown(now))
        late: list[Event] = [Tick(now), Shutdown(now), Suspend(now), Resume(now), Retire(now)]
        for event in [*late, Adopt(now), Configure(now, self.limits)]:
            self.tell(event)
        for ticket in connects:
            self.tell(Opened(now, ticket, name(), now))
        for turn, (key, lease) in enumerate(sorted(self.view["in_use"].items())):
            ending = (Dead, Release, Discard)[turn % 3] if lease[4] else Release
            self.tell(ending(now, lease[4], key))
        left = self.state.size, self.holders, [t for t in self.tickets if self.is_pending(t)]
        self.expect("Closed", left == (0, set(), []), f"left: {left}")

    def is_pending(self, ticket: int) -> bool:
        return self.tickets[ticket] in ("waiting", "opening")

    # ------------------------------------------------------------ what was reached

    def note(self, event: Event, effects: Iterable[Effect]) -> None:
        cause = type(event).__name__
        for effect in effects:
            kind = type(effect).__name__
            match effect:
                case Refuse(reason=reason) | Close(reason=reason):
                    self.reached[f"{kind} {reason}"] += 1
                case Ignored():
                    self.reached[f"Ignored {cause}"] += 1
                case Leaked():
                    self.reached[kind] += 1
                case Grant(ticket=ticket) | Open(ticket=ticket):
                    other = ticket is not None and ticket != getattr(event, "ticket", None)
                    self.reached[f"{kind} by {cause}" + (" to another" if other else "")] += 1


def replay(limits: Limits, history: Iterable[Event], *, compare: bool = True) -> Twin:
    """Judge one history without Hypothesis. Raises `Broken`; the twin as it ended."""
    twin = Twin(limits, compare=compare)
    for event in history:
        twin.tell(event)
    return twin


# ---------------------------------------------------------------- what is drawn

QUARTERS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 5.0])
LATER = st.sampled_from([0.0, 0.0, 0.25, 1.0, 5.0])
PICK = st.integers(0, 15)
FAILURES = st.sampled_from([Failure("OperationalError", "refused"), Failure("OSError", "away")])
JITTER = st.sampled_from([0.0, 0.25, 0.5, 0.75])


@st.composite
def limits_strategy(draw: st.DrawFn, opener: Opener | None = None) -> Limits:
    """Limits as small as histories are long; each feature is off in half of the runs."""
    who: Opener = draw(st.sampled_from(_OPENERS)) if opener is None else opener
    max_size = draw(st.sampled_from([2, 1, 3, 2, 1, 4, None]))
    most_idle = 0 if who == "caller" else min(3, max_size or 3)
    initial_pause = draw(st.sampled_from([0.25, 1.0]))
    return Limits(
        opener=who,
        max_size=max_size,
        min_idle=draw(st.integers(0, most_idle)),
        max_lifetime=draw(st.sampled_from([None, None, 2.0, 5.0, 20.0])),
        max_idle=draw(st.sampled_from([None, None, 0.5, 2.0])),
        max_waiting=draw(st.sampled_from([None, None, None, 2, 0])),
        max_opening=draw(st.sampled_from([None, 1, 2])),
        max_connecting=draw(st.sampled_from([None, None, 1, 2])),
        leak_after=draw(st.sampled_from([None, 1.0, 4.0])),
        idle_order=draw(st.sampled_from(_ORDERS)),
        backoff_initial=initial_pause,
        backoff_max=draw(st.sampled_from([initial_pause, 4.0])),
    )


_ORDERS: tuple[IdleOrder, ...] = ("lifo", "oldest", "fifo")

_OPENERS: tuple[Opener, ...] = ("caller", "background")

_OFTEN = ("all", "stale", "grow", "fail")
_WAYS = (*_OFTEN, "broken", "cancel", "dead", "discard", "adopt", *_OFTEN)
"""How `make_room` makes room; twice what nothing else does while somebody waits."""


class PoolMachine(RuleBasedStateMachine):
    """Chooses events; `Twin` judges them. Subclass to count (`collect`) or to set `compare`."""

    compare: ClassVar[bool] = True
    """Whether the reference model takes part."""

    def __init__(self) -> None:
        super().__init__()
        self.twin: Twin | None = None
        self.now = 0.0
        self.names = 0
        self.ending = ""

    @classmethod
    def collect(cls, twin: Twin) -> None:
        """Called at the end of every run that broke no promise."""

    @initialize(limits=limits_strategy(), ending=st.sampled_from(["answer", "close"]))
    def begin(self, limits: Limits, ending: str) -> None:
        self.twin = Twin(limits, compare=self.compare)
        self.ending = ending

    # ------------------------------------------------------------ looking at the state

    @property
    def seen(self) -> View:
        assert self.twin is not None
        return self.twin.view

    def tell(self, event: Event) -> tuple[Effect, ...]:
        assert self.twin is not None
        return self.twin.send(event)

    def on_offer(self, every: int) -> bool:
        """True after every so many events: what disturbs must not crowd out the rest."""
        assert self.twin is not None
        return len(self.twin.history) % every == 1

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
        """Every connect under way, as the ticket that its outcome names."""
        nobody = [None] * min(1, self.seen["opening_background"])
        return [*self.opening(), *nobody]

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
        self.tell(Expire(self.now, chosen(self.waiting(), pick)))

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
        for ticket in [*self.opening(), *[None] * self.seen["opening_background"]]:
            self.tell(Opened(self.now, ticket, self.name(), self.now))

    @precondition(lambda self: self.connects())
    @rule(pick=PICK, error=FAILURES, jitter=JITTER)
    def open_failed(self, pick: int, error: Failure, jitter: float) -> None:
        self.tell(OpenFailed(self.now, chosen(self.connects(), pick), error, jitter))

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
            self.tell(CloseAll(now))
        elif how == "stale":
            self.tell(CloseStale(now, now + 0.25))
        elif how == "cancel" and busy:
            self.tell(Cancel(now, chosen(busy, pick)))
        elif how == "fail" and self.connects():
            error = Failure("OSError", "away")
            self.tell(OpenFailed(now, chosen(self.connects(), pick), error))
        elif how == "discard" and leases:
            self.tell(Discard(now, *chosen(leases, pick)))
        elif how == "broken" and leases:
            ticket, key = chosen(leases, pick)
            self.tell(Release(now, ticket, key, reusable=False))
        elif how == "dead" and leases:
            self.tell(Dead(now, *chosen(leases, pick)))
        elif how == "adopt":
            removed = tuple(key for _, key in leases[:1])
            put = AdoptIdle(None, self.name(), now, pick)
            self.tell(Adopt(now, (put,), (), removed))
        elif how == "grow" and self.seen["limits"].max_size:
            most = self.seen["limits"].max_size + 1 + pick % 2
            self.tell(Configure(now, attrs.evolve(self.seen["limits"], max_size=most)))

    @precondition(lambda self: self.waiting() and self.leases())
    @rule(pick=PICK, idle=st.booleans())
    def suspend_and_resume(self, pick: int, idle: bool) -> None:
        """While suspended something comes back; then those who waited are served."""
        if self.seen["phase"] == "open":
            self.tell(Suspend(self.now))
        ticket, key = chosen(self.leases(), pick)
        self.tell(Release(self.now, ticket, key, idle))
        if self.seen["phase"] == "suspended":
            self.tell(Resume(self.now))

    # ------------------------------------------------------------ what is not allowed

    @rule(
        kind=st.sampled_from(
            [Acquire, Expire, Cancel, Opened, OpenFailed, Release, Discard, Dead, Resume]
        ),
        ticket=st.one_of(st.integers(0, 12), st.none()),
        key=st.integers(0, 12),
    )
    def stray(self, kind: type[Event], ticket: int | None, key: int) -> None:
        """Any ticket with any key: mostly old, unknown, or somebody else's."""
        now, known = self.now, ticket or 0
        stray: dict[type, Event] = {
            Acquire: Acquire(now, min(known, self.seen["next_ticket"] - 1)),
            Expire: Expire(now, known),
            Cancel: Cancel(now, known),
            Opened: Opened(now, ticket, self.name(), now),
            OpenFailed: OpenFailed(now, ticket, Failure("OSError", "stray")),
            Release: Release(now, known, key),
            Discard: Discard(now, known, key),
            Dead: Dead(now, known, key),
            Resume: Resume(now),
        }
        self.tell(stray[kind])

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

    @precondition(lambda self: self.twin and wake_at(self.twin.state) is not None)
    @rule()
    def tick_when_due(self) -> None:
        assert self.twin is not None
        self.now = max(self.now, wake_at(self.twin.state) or 0.0)
        self.tell(Tick(self.now))

    # ------------------------------------------------------------ those who run the pool

    @precondition(lambda self: self.leases() and self.on_offer(3))
    @rule(ago=st.sampled_from([0.0, 0.25, 1.0, -0.25]))
    def close_stale(self, ago: float) -> None:
        self.tell(CloseStale(self.now, self.now - ago))

    @precondition(lambda self: self.on_offer(4))
    @rule(data=st.data(), pick=st.integers(0, 9))
    def configure(self, data: st.DataObject, pick: int) -> None:
        """New limits, once in ten with an opener that may be another."""
        opener = self.seen["limits"].opener if pick else None
        self.tell(Configure(self.now, data.draw(limits_strategy(opener))))

    @precondition(lambda self: self.seen["phase"] == "open" and self.on_offer(4))
    @rule()
    def suspend(self) -> None:
        self.tell(Suspend(self.now))

    @precondition(lambda self: self.seen["phase"] == "suspended")
    @rule()
    def resume(self) -> None:
        self.tell(Resume(self.now))

    @precondition(lambda self: self.on_offer(2))
    @rule(pick=st.integers(10, 23))
    def seldom(self, pick: int) -> None:
        """What empties the pool, or ends it, would keep histories shallow."""
        now = self.now
        if pick > 21:
            self.tell(Forked(now))
        elif pick > 18:
            self.tell(CloseAll(now))
        elif pick > 15:
            self.tell(CloseIdle(now))
        elif pick > 12:
            self.tell(Retire(now))
        elif pick == 12:
            self.now = max(0.0, now - 1.0)  # the clock is a bad one

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
                    idle.append(AdoptIdle(key, self.name(), created, seq))
                case "in_use":
                    in_use.append(AdoptLease(key, self.name(), created, created))
                case "removed" if key:
                    removed.append(key)
        next_seq = max(0, self.seen["next_seq"] + seq - 5)
        self.tell(Adopt(self.now, tuple(idle), tuple(in_use), tuple(removed), next_seq))

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


def chosen(options: Sequence[Any], pick: int) -> Any:
    return options[pick % len(options)]


def _named(name: str) -> Callable[[PoolMachine], None]:
    def check(machine: PoolMachine) -> None:
        if machine.twin is not None:
            machine.twin.check(name)

    check.__name__ = check.__qualname__ = name
    check.__doc__ = INVARIANTS[name].__doc__
    return check


for _name in INVARIANTS:  # one by one, so that a failure has a name
    setattr(PoolMachine, f"invariant_{_name}", invariant()(_named(_name)))
