"""A pool and a reference model that are told the same, and what must be true of every history.

Theory.  `Twin` tells both each event and judges: are effects and states equal, is every promise of
the run kept?  It knows nothing of Hypothesis, so a history can be replayed without it (`replay`),
and whoever chooses the events (`step.py`, a runtime in `runtime.py`, a test) knows nothing of how
they are judged.  The invariants of the pool are checked one by one, so that a failure has a name.

`Run` is the same without a judge, for those who want histories to ask somebody else.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pool.check.explore.tickets import Tickets
from pool.check.machines.reference import Reference
from pool.check.proof.binding import Binding
from pool.core import events, heap, waiters
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import Adopt, Cancel, Dead, Discard, Event, Opened, Release, Tick
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.limits import Limits
from pool.core.state import State, initial, leased
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
        (order, seq, entry, since), rest = heap.pop(rest)
        row = (order, seq, entry.key, entry.connection, entry.created, entry.jitter)
        idle.append((*row, since))
    leases = {}
    for key, lease in leased(state.in_use).items():
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


class Run:
    """A pool that is told events. It judges nothing."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.state = initial(limits)
        self.view = view(self.state)
        self.history: list[Event] = []
        self.reached: Counter[str] = Counter()
        self.broken = False

    def send(self, event: Event) -> tuple[Effect, ...]:
        """Tell it; the effects."""
        self.history.append(event)
        self.state, effects = step(self.state, event)
        self.view = view(self.state)
        return effects

    def expect(self, promise: str, kept: bool, detail: str = "") -> None:
        """A promise is kept, or not."""

    def check(self, name: str) -> None:
        """One invariant, by its name."""

    def tell(self, event: Event) -> tuple[Effect, ...]:
        """`send`, and then every invariant."""
        effects = self.send(event)
        for name in INVARIANTS:
            self.check(name)
        return effects

    @property
    def due(self) -> float | None:
        """When the pool wants the next `Tick`."""
        return wake_at(self.state)

    # ------------------------------------------------------------ how a run ends

    def answer_everybody(self, now: float, name: Callable[[], str]) -> None:
        """From here, only answers of drivers, releases and ticks: everybody is answered."""
        if self.state.phase == "suspended":
            self.tell(events.Resume(now))
        rounds = 4 + 2 * (len(self.view["waiters"]) + self.state.size)
        for _ in range(rounds):
            if not (self.view["waiters"] or self.view["opening_tickets"]):
                return
            for ticket in self.connects():
                self.tell(Opened(now, ticket, name(), now))
            for key, lease in sorted(self.view["in_use"].items()):
                self.tell(Release(now, lease[4], key))
            if (due := self.due) is not None:
                now = max(now, due)
                self.tell(Tick(now))
        self.expect("NobodyStranded", False, f"after {rounds} rounds {self.view} is left")

    def close_everything(self, now: float, name: Callable[[], str]) -> None:
        """A shutdown; then drivers and holders are done, whatever else comes late."""
        connects = self.connects()
        self.tell(events.Shutdown(now))
        late = (Tick, events.Shutdown, events.Suspend, events.Resume, events.Retire, Adopt)
        for kind in late:
            self.tell(kind(now))
        self.tell(events.Configure(now, self.limits))
        for ticket in connects:
            self.tell(Opened(now, ticket, name(), now))
        for turn, (key, lease) in enumerate(sorted(self.view["in_use"].items())):
            ending = (Dead, Release, Discard)[turn % 3] if lease[4] else Release
            self.tell(ending(now, lease[4], key))

    def connects(self) -> list[int | None]:
        """Every connect under way, as the ticket that its outcome names."""
        nobody = [None] * self.view["opening_background"]
        return [*sorted(self.view["opening_tickets"]), *nobody]


class Twin(Run):
    """A pool and a reference model that are told the same. Raises `Broken`.

    `compare=False` leaves the model and the proof out, to see what the promises alone can find.
    `reached` counts what the history has met: rules, effects by reason, and who was
    served by what.
    """

    def __init__(self, limits: Limits, *, compare: bool = True) -> None:
        super().__init__(limits)
        self.model = Reference(limits) if compare else None
        self.binding = Binding()
        self.tickets = Tickets(functools.partial(self.fail, "AnsweredOnce"))
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
        if not self.broken and not INVARIANTS[name](self.state):
            self.fail(name, f"does not hold in {self.view}")

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

    def compare(self) -> None:
        if self.model is None:
            return
        wanted = self.model.view()
        if self.view != wanted:
            self.fail("SameState", f"pool != model: {differences(self.view, wanted)}")
        due = self.due, self.model.wake_at()
        self.expect("SameWakeAt", due[0] == due[1], f"pool, model: {due}")

    # ------------------------------------------------------------ promises over a run

    def follow(self, before: View, event: Event, effects: Sequence[Effect]) -> None:
        """What an allowed event and its effects mean for tickets and connections."""
        self.tickets.follow(event, effects)
        match event:
            case Dead(key=key) | Release(key=key) | Discard(key=key):
                self.holders.discard(key)
            case Cancel(ticket=ticket):
                held = [key for key, lease in before["in_use"].items() if lease[4] == ticket]
                self.holders.difference_update(held)
            case Opened():
                self.came += 1
            case events.Forked():
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
                case Grant(key=key):
                    alive = key not in self.gone and key not in self.holders
                    self.expect("GrantedAlive", alive, repr(effect))
                    self.holders.add(key)
                case Close(key=key):
                    known_key = 0 < key < self.view["next_seq"] and key not in self.gone
                    self.expect("ClosedOnce", known_key, repr(effect))
                    self.forget([key])

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
            self.expect("AnsweredOnce", self.tickets.place(ticket) == place, f"ticket {ticket}")
        lost = [ticket for ticket in self.tickets.pending if ticket not in places]
        self.expect("AnsweredOnce", not lost, f"the pool lost the tickets {lost}")
        self.expect("Balanced", self.holders == set(state["in_use"]), "leases and their holders")

    def check_wake_at(self, event: Event) -> None:
        due = self.due
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

    def close_everything(self, now: float, name: Callable[[], str]) -> None:
        """The same, and nothing is left afterwards."""
        super().close_everything(now, name)
        left = self.state.size, self.holders, self.tickets.pending
        self.expect("Closed", left == (0, set(), []), f"left: {left}")

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
