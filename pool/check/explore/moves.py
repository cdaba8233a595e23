"""What can happen next: every event that the world of a configuration may send.

Theory.  The world knows the state, for it knows what it was answered: who waits, who
connects, who holds what.  It sends what a well-behaved runtime could send at that moment, and
for the configuration's *strangers* also what none would: tickets and keys that are old,
unknown, or somebody else's.  It refuses to know what the pool will make of it.

Events come in an order that depends on the shape of the state alone, so that the n-th
move is the same move in all states of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pool.check.explore.canonical import MADE, PUT
from pool.check.explore.configurations import Configuration
from pool.core import events
from pool.core.events import AdoptIdle, AdoptLease, Event
from pool.core.state import Failure, State, leased, resting

Moves = Callable[[State, int], list[Event]]
Part = Callable[[State, int, list[Event]], None]
Make = Callable[[Configuration], Part]
Choices = Callable[[Configuration], list[tuple[Any, ...]]]

_new = tuple.__new__


def moves(configuration: Configuration) -> Moves:
    """The function from (state, time) to the events that may come."""
    parts = [make(configuration) for name, make in _PARTS.items() if name in configuration.events]

    def possible(state: State, now: int) -> list[Event]:
        found: list[Event] = []
        for part in parts:
            part(state, now, found)
        return found

    return possible


def live_tickets(state: State) -> list[int]:
    """Tickets that wait, connect or hold, in order."""
    queue = state.waiters
    held = [lease[2] for lease in state.in_use.values() if lease[2]]
    return sorted([*(queue[0] if queue else ()), *state.opening_tickets, *held])


def live_keys(state: State) -> list[int]:
    """Keys that are idle or in use, in order."""
    return sorted([*state.in_use, *[item.entry.key for item in resting(state.idle)]])


def _acquire(c: Configuration) -> Part:
    stranger = "Acquire" in c.strangers
    kind = events.Acquire

    def part(state: State, now: int, found: list[Event]) -> None:
        queue = state.waiters
        live = len(state.opening_tickets) + (len(queue[0]) if queue else 0)
        live += sum([1 for lease in state.in_use.values() if lease[2]])
        if live < c.callers:
            ticket = state.next_ticket
            taken = len(c.owners) > 1 and None not in _owners(state) and bool(_owners(state))
            for owner in c.owners:
                if owner is None or not (taken or owner in _owners(state)):
                    for wait in c.waits:
                        found.append(_new(kind, (now, ticket, wait, owner)))
        if stranger:
            tickets = live_tickets(state)
            found.append(kind(now, tickets[-1] if tickets else state.next_ticket - 1))

    return part


def _owners(state: State) -> set[Any]:
    owners = set(state.waiters[0].values()) if state.waiters else set()
    owners.update(state.opening_tickets.values())
    owners.update(lease.owner for lease in leased(state.in_use).values())
    return owners


def _outcomes(c: Configuration, name: str) -> Callable[[State], list[int | None]]:
    stranger = name in c.strangers

    def tickets(state: State) -> list[int | None]:
        asked: list[int | None] = [*sorted(state.opening_tickets)]
        if state.opening_background:
            asked.append(None)
        if stranger:
            others = [ticket for ticket in live_tickets(state) if ticket not in asked]
            asked += [0, *others]
            if not state.opening_background:
                asked.append(None)
        return asked

    return tickets


def _opened(c: Configuration) -> Part:
    tickets = _outcomes(c, "Opened")
    kind = events.Opened
    simple = c.lags == (0,) and c.jitters == (0,) and "Opened" not in c.strangers

    def part(state: State, now: int, found: list[Event]) -> None:
        if simple and not state.opening_background and not state.opening_tickets:
            return
        connection = f"{MADE}{state.next_seq}"
        for ticket in tickets(state):
            for lag in c.lags:
                for jitter in c.jitters:
                    found.append(_new(kind, (now, ticket, connection, now - lag, jitter / 2)))

    return part


def _open_failed(c: Configuration) -> Part:
    tickets = _outcomes(c, "OpenFailed")
    kind = events.OpenFailed
    failures = [Failure("Error", text) for text in c.errors]
    jitters = c.jitters if c.opener == "background" else (0,)

    def part(state: State, now: int, found: list[Event]) -> None:
        for ticket in tickets(state):
            for failure in failures:
                for jitter in jitters:
                    found.append(_new(kind, (now, ticket, failure, jitter / 2)))

    return part


def _holders(state: State, strangers: bool) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(ticket, key) of each lease, in the order of keys; and pairs that hold nothing."""
    in_use = state.in_use
    pairs = [(in_use[key][2], key) for key in sorted(in_use)]
    if not strangers:
        return pairs, []
    tickets, keys = [0, *live_tickets(state)], [0, *live_keys(state)]
    others = [(t, k) for t in tickets for k in keys if (t, k) not in pairs]
    return pairs, others


def _held(kind: Any, choices: Choices, *, adopted: bool = True) -> Make:
    """What holders say: of each lease, with each choice. `adopted`: also of an adapter's."""

    def make(c: Configuration) -> Part:
        strangers, rests = kind.__name__ in c.strangers, choices(c)

        def part(state: State, now: int, found: list[Event]) -> None:
            pairs, others = _holders(state, strangers)
            for ticket, key in pairs:
                if ticket or adopted:
                    for rest in rests:
                        found.append(_new(kind, (now, ticket, key, *rest)))
                elif strangers:
                    found.append(kind(now, ticket, key))
            for ticket, key in others:
                found.append(kind(now, ticket, key))

        return part

    return make


def _expire(c: Configuration) -> Part:
    stranger = "Expire" in c.strangers
    kind = events.Expire

    def part(state: State, now: int, found: list[Event]) -> None:
        waiting = sorted(state.waiters[0]) if state.waiters else []
        for ticket in waiting:
            found.append(_new(kind, (now, ticket)))
        if stranger:
            others = [ticket for ticket in live_tickets(state) if ticket not in waiting]
            found.extend(kind(now, ticket) for ticket in [0, *others])

    return part


def _cancel(c: Configuration) -> Part:
    stranger = "Cancel" in c.strangers
    kind = events.Cancel

    def part(state: State, now: int, found: list[Event]) -> None:
        for ticket in live_tickets(state):
            found.append(_new(kind, (now, ticket)))
        if stranger:
            found.append(kind(now, 0))
            found.append(kind(now, state.next_ticket))

    return part


def _always(kind: Any, choices: Callable[[Configuration, int], Iterable[Any]]) -> Make:
    """What those who run the pool may say at any time, with each choice."""

    def make(c: Configuration) -> Part:
        def part(state: State, now: int, found: list[Event]) -> None:
            for choice in choices(c, now):
                found.append(_new(kind, (now, *choice)))

        return part

    return make


def _plain(kind: Any) -> Make:
    return _always(kind, lambda c, now: ((),))


def _adopt(c: Configuration) -> Part:
    """One thing put in, changed or removed; and everything at once."""
    kind = events.Adopt

    def part(state: State, now: int, found: list[Event]) -> None:
        idle = sorted((item.entry.key, item) for item in resting(state.idle))
        in_use = sorted(state.in_use)
        fresh = state.next_seq
        first = min([0, *(item.seq - 1 for _, item in idle)])
        if len(idle) + len(in_use) < c.adopts:
            for lag in c.lags:
                for seq, key in ((first, fresh), (fresh, fresh + 1)):
                    put = AdoptIdle(None, f"{PUT}{key}", now - lag, seq)
                    found.append(kind(now, idle=(put,)))
                lease = AdoptLease(None, f"{PUT}{fresh}", now, now - lag)
                found.append(kind(now, in_use=(lease,)))
            if "Adopt" in c.strangers:
                put = AdoptIdle(0, f"{PUT}{fresh}", now, first)
                found.append(kind(now, idle=(put,)))
        put = AdoptIdle(None, f"{PUT}{fresh + 1}", now, first)
        lease = AdoptLease(None, f"{PUT}{fresh + 2}", now, now)
        everything = tuple(sorted([*[key for key, _ in idle], *in_use]))
        found.append(kind(now, (put,), (lease,), everything, fresh + 1))
        for key, _ in idle:
            for lag in c.lags:
                put = AdoptIdle(key, f"{PUT}{key}", now - lag, first)
                found.append(kind(now, idle=(put,)))
            found.append(kind(now, removed=(key,)))
        for key in in_use:
            for lag in c.lags:
                lease = AdoptLease(key, f"{PUT}{key}", now, now - lag)
                found.append(kind(now, in_use=(lease,)))
            found.append(kind(now, removed=(key,)))
        if "Adopt" in c.strangers:
            found.append(kind(now, removed=(0,)))

    return part


_PARTS: dict[str, Make] = {
    "Acquire": _acquire,
    "Opened": _opened,
    "OpenFailed": _open_failed,
    "Dead": _held(events.Dead, lambda c: [(wait,) for wait in c.waits], adopted=False),
    "Release": _held(events.Release, lambda c: [(one,) for one in c.reusable]),
    "Discard": _held(events.Discard, lambda c: [()]),
    "Expire": _expire,
    "Cancel": _cancel,
    "CloseIdle": _plain(events.CloseIdle),
    "CloseStale": _always(events.CloseStale, lambda c, now: [(now - ago,) for ago in c.befores]),
    "CloseAll": _plain(events.CloseAll),
    "Retire": _plain(events.Retire),
    "Tick": _plain(events.Tick),
    "Configure": _always(events.Configure, lambda c, now: [(limits,) for limits in c.limits]),
    "Suspend": _plain(events.Suspend),
    "Resume": _plain(events.Resume),
    "Shutdown": _plain(events.Shutdown),
    "Forked": _plain(events.Forked),
    "Adopt": _adopt,
}
