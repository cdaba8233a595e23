"""The pictures of a real step: what `binding` puts into the relation, and what has to come of it.

Theory. What is before and after is read off the states, what the choices were off the event and
the effects; never off the state after, but for one: whether a pause that has just been set is
over.

The books of a run (how often a key was closed, a ticket answered) are in no state. They begin as
the promises say, and each step has to keep them as its effects say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from pool.check.proof.picture import BOUNDS, OUT, PHASES, STATE
from pool.check.proof.terms import Value
from pool.core import heap
from pool.core.effects import Close, Effect, Grant, Ignored, Open, Refuse
from pool.core.events import Acquire, Adopt, Cancel, Dead
from pool.core.limits import Limits
from pool.core.state import State

Values = dict[str, Value]

AGED = ("lifetime", "retired")
"""Reasons to close what has expired."""


# ---------------------------------------------------------------- of a state


class Seen:
    """What there is to picture of a state. The limits of a state are looked at once, and so is what
    is followed, for many events meet one state."""

    __slots__ = ("_followed", "counts", "idle", "leases", "opening", "state", "waiting")

    def __init__(self, state: State) -> None:
        self._followed: dict[Any, Values] = {}
        self.state = state
        self.idle = [item[2].key for item in heap.items(state.idle)]
        self.leases = [(lease[0].key, lease[2]) for lease in state.in_use.values()]
        self.waiting = state.waiters[0] if state.waiters else ()
        self.opening = state.opening_tickets
        opened, adopted, closed, forgotten, refused, cancelled, dead = state.counters
        self.counts: Values = {
            **limits_of(state.limits),
            "phase": PHASES.index(state.phase),
            "idle": len(self.idle),
            "in_use": len(self.leases),
            "waiting": len(self.waiting),
            "opening_tickets": len(self.opening),
            "opening_background": state.opening_background,
            "backing_off": state.retry_at is not None,
            "next_seq": state.next_seq,
            "next_ticket": state.next_ticket,
            "issued": state.issued,
            "granted": state.granted,
            "opened": opened,
            "adopted": adopted,
            "closed": closed,
            "forgotten": forgotten,
            "refused": refused,
            "cancelled": cancelled,
            "dead": dead,
        }

    def of_key(self, key: int) -> tuple[int, int, int]:
        """How often it is idle, in use, and by which ticket."""
        in_use = ticket = 0
        for its, holder in self.leases:
            if its == key:
                in_use, ticket = in_use + 1, holder
        return self.idle.count(key), in_use, ticket

    def of_ticket(self, ticket: int) -> tuple[int, int, int, int]:
        """Whether it waits and connects, how many leases are its own, how many before it wait."""
        waiting = self.waiting
        older = sum([1 for other in waiting if other < ticket]) if waiting else 0
        leases = sum([1 for _, holder in self.leases if holder == ticket])
        return int(ticket in waiting), int(ticket in self.opening), leases, older

    def key(self, key: int) -> Values:
        """What a picture has of this key, before a step."""
        found = self._followed.get(key)
        if found is None:
            idle, in_use, ticket = self.of_key(key)
            came = int(0 < key < self.state.next_seq)
            found = self._followed[key] = {
                "key": key,
                "key_idle": idle,
                "key_in_use": in_use,
                "key_ticket": ticket,
                "key_came": came,
                "key_closed": max(0, came - idle - in_use),
                "key_forgotten": 0,
            }
        return found

    def ticket(self, name: str, ticket: int) -> Values:
        """What a picture has of this ticket, before a step."""
        found = self._followed.get((name, ticket))
        if found is None:
            waits, opens, leases, older = self.of_ticket(ticket)
            asked = int(0 < ticket < self.state.next_ticket)
            found = self._followed[name, ticket] = {
                name: ticket,
                f"{name}_waits": waits,
                f"{name}_opens": opens,
                f"{name}_leases": leases,
                f"{name}_older": older,
                f"{name}_asked": asked,
                f"{name}_answered": max(0, asked - waits - opens),
            }
        return found


_limits: dict[int, tuple[Limits, Values]] = {}


def limits_of(limits: Limits) -> Values:
    """Limits as a picture has them: 1 stands for none, and is not looked at then."""
    found = _limits.get(id(limits))
    if found is None or found[0] is not limits:
        if len(_limits) > 1000:
            _limits.clear()
        found = _limits[id(limits)] = limits, _limits_of(limits)
    return found[1]


def _limits_of(limits: Limits, new: str = "") -> Values:
    values: Values = {
        f"{new}min_idle": limits.min_idle,
        f"{new}background": limits.opener == "background",
    }
    for name in BOUNDS:
        bound = getattr(limits, name)
        values[f"{new}no_{name}"] = bound is None
        values[new + name] = 1 if bound is None else bound
    return values


# ---------------------------------------------------------------- of a step


class Told:
    """The effects of a step, sorted."""

    __slots__ = ("closed", "granted", "ignored", "opens", "opens_background", "refused")

    def __init__(self, effects: tuple[Effect, ...]) -> None:
        self.granted: list[tuple[int, int, bool]] = []
        self.refused: list[int] = []
        self.closed: list[tuple[int, str]] = []
        self.opens: list[int] = []
        self.opens_background = 0
        self.ignored = False
        for effect in effects:
            if isinstance(effect, Grant):
                self.granted.append((effect.ticket, effect.key, effect.rested is not None))
            elif isinstance(effect, Refuse):
                self.refused.append(effect.ticket)
            elif isinstance(effect, Close):
                self.closed.append((effect.key, effect.reason))
            elif isinstance(effect, Open):
                if effect.ticket is None:
                    self.opens_background += 1
                else:
                    self.opens.append(effect.ticket)
            elif isinstance(effect, Ignored):
                self.ignored = True


@attrs.frozen
class Taken:
    """A step that was really taken, and what is followed in it."""

    seen: Seen
    event: Any
    told: Told
    after: State
    key: int
    tickets: tuple[int, ...]
    """`a`, `b`, and who is lent the followed key."""

    def ticket(self) -> Values:
        """What is known of the event's ticket."""
        return self.seen.ticket("t", self.event.ticket or 0)

    def holder(self) -> Values:
        """And whether it holds the event's key."""
        held = (self.event.key, self.event.ticket) in self.seen.leases
        return {**self.ticket(), "q": self.event.key, "is_held": held}

    def closed(self, *reasons: str) -> list[int]:
        """The keys that were closed for one of these reasons."""
        return [key for key, reason in self.told.closed if reason in reasons]

    def some(self, name: str, *reasons: str) -> Values:
        """How many were closed for these reasons, and whether the followed key was."""
        keys = self.closed(*reasons)
        return {name: len(keys), f"is_key_{name}": self.key in keys}

    def is_expired(self, key: int) -> Values:
        return {"is_expired": key in self.closed(*AGED)}

    def is_nobody(self) -> Values:
        return {"is_nobody": self.event.ticket is None}

    def is_trimmed(self) -> Values:
        return {"is_key_trimmed": self.key in self.closed("surplus")}

    def ended(self, what: str, keys: Collection[int]) -> Values:
        """How many of the leases that ended are of each ticket."""
        holders = [ticket for key, ticket in self.seen.leases if key in keys]
        return {
            f"{name}_{what}": holders.count(ticket)
            for name, ticket in zip(("a", "b", "taker"), self.tickets, strict=True)
        }


def _cancel(s: Taken) -> Values:
    held = [key for key, ticket in s.seen.leases if ticket == s.event.ticket]
    key = held[0] if held else 0
    return {**s.ticket(), "q": key, "is_held": bool(held), **s.is_expired(key)}


def _adopt(s: Taken) -> Values:
    event: Adopt = s.event
    idle, in_use = set(s.seen.idle), {one for one, _ in s.seen.leases}
    gone_idle, gone_in_use = idle & {*event.removed}, in_use & {*event.removed}
    old = s.seen.state.next_seq
    first = max(old, event.next_seq, *(item.seq + 1 for item in event.idle), 0)
    put: list[int] = []
    for known, items in ((idle - gone_idle, event.idle), (in_use - gone_in_use, event.in_use)):
        new = 0
        for item in items:
            if item.key not in known:
                known.add(first + sum(put) + new)
                new += 1
        put.append(new)
    return {
        **s.ended("gone", gone_in_use),
        "gone_idle": len(gone_idle),
        "gone_in_use": len(gone_in_use),
        "is_key_gone_idle": s.key in gone_idle,
        "is_key_gone_in_use": s.key in gone_in_use,
        "jump": first - old,
        "put_idle": put[0],
        "put_in_use": put[1],
        **s.is_trimmed(),
    }


CHOICES: Mapping[str, Callable[[Taken], Values]] = {
    "Acquire": lambda s: {**s.ticket(), "is_wait": s.event.wait},
    "Opened": lambda s: s.ticket() | s.is_nobody() | s.is_expired(s.seen.state.next_seq),
    "OpenFailed": lambda s: s.ticket() | s.is_nobody() | {"is_early": s.after.retry_at is not None},
    "Dead": lambda s: {**s.holder(), "is_wait": s.event.wait},
    "Release": lambda s: s.holder() | {"is_reusable": s.event.reusable} | s.is_expired(s.event.key),
    "Discard": Taken.holder,
    "Expire": Taken.ticket,
    "Cancel": _cancel,
    # nothing is idle then that could be met
    "CloseStale": lambda s: s.ended("stale", s.closed("stale")) | s.some("stale", "stale"),
    "Retire": lambda s: s.some("swept", *AGED),
    "Tick": lambda s: s.some("swept", *AGED) | s.some("rested", "rested"),
    "Configure": lambda s: _limits_of(s.event.limits, "new_") | s.is_trimmed(),
    "Adopt": _adopt,
}
"""What is a choice in each event, besides those of serve."""


def pictured_step(
    seen: Seen, event: Any, told: Told, after: State, followed: tuple[int, int, int]
) -> Values:
    """The values of every variable of the relation."""
    key, a, b = followed
    taker = next((ticket for ticket, one, _ in told.granted if one == key), 0)
    values: Values = {
        **seen.counts,
        **seen.key(key),
        **seen.ticket("a", a),
        **seen.ticket("b", b),
        **seen.ticket("taker", taker),
    }
    retry_at = seen.state.retry_at
    values["is_early"] = retry_at is not None and event.now < retry_at
    kind = type(event).__name__
    if kind in CHOICES:
        values.update(CHOICES[kind](Taken(seen, event, told, after, key, (a, b, taker))))
    own = values.get("q", seen.state.next_seq if kind == "Opened" else 0)
    sweeps = kind in ("Retire", "Tick")
    met = [one for one, reason in told.closed if reason in AGED and one != own and not sweeps]
    values["met"], values["is_key_met"] = len(met), key in met
    values["is_key_lent"] = any(one == key and rested for _, one, rested in told.granted)
    return values


def outcome(
    before: Values, seen: Seen, event: Any, told: Told, after: Seen, followed: tuple[int, int, int]
) -> list[Value]:
    """What really came of it: the values of `STATE` and `OUT`."""
    key, a, b = followed
    kind = type(event).__name__
    done = not told.ignored
    closes = sum([1 for one, _ in told.closed if one == key]) if told.closed else 0
    idle, in_use, ticket = after.of_key(key)
    held = bool(before["key_idle"] or before["key_in_use"])
    new = after.state.next_seq > key >= seen.state.next_seq
    came = new and kind == "Opened" and key == seen.state.next_seq
    if new and kind == "Adopt":
        came = bool(idle or in_use or closes)
    forgotten = held and done and (kind == "Forked" or (kind == "Adopt" and key in event.removed))
    values: Values = {
        **after.counts,
        "key_idle": idle,
        "key_in_use": in_use,
        "key_ticket": ticket,
        "key_came": before["key_came"] + came,
        "key_closed": before["key_closed"] + closes,
        "key_forgotten": int(forgotten),
        "ignored": told.ignored,
        "grants": len(told.granted),
        "refusals": len(told.refused),
        "closes": len(told.closed),
        "opens": len(told.opens),
        "opens_background": told.opens_background,
        "key_grants": sum([1 for _, one, _ in told.granted if one == key]),
        "key_closes": closes,
    }
    values.update(_outcome("a", a, before, event, told, after))
    values.update(_outcome("b", b, before, event, told, after))
    return [values[name] for name in _OF_A_STEP]


_OF_A_STEP = (*STATE, *OUT)


def _outcome(name: str, which: int, before: Values, event: Any, told: Told, after: Seen) -> Values:
    """What really became of a ticket."""
    waits, opens, leases, older = after.of_ticket(which)
    granted = sum([1 for one, _, _ in told.granted if one == which]) if told.granted else 0
    refused = told.refused.count(which)
    own = not told.ignored and which == getattr(event, "ticket", None)
    kind = type(event)
    pending = before[f"{name}_waits"] or before[f"{name}_opens"]
    gone = own and kind is Cancel and pending
    taken_back = own and kind is Dead
    answered = granted + refused + bool(gone) - taken_back
    return {
        f"{name}_waits": waits,
        f"{name}_opens": opens,
        f"{name}_leases": leases,
        f"{name}_older": older,
        f"{name}_asked": before[f"{name}_asked"] + (own and kind is Acquire),
        f"{name}_answered": before[f"{name}_answered"] + answered,
        f"{name}_grants": granted,
        f"{name}_refusals": refused,
        f"{name}_opens_now": told.opens.count(which),
    }
