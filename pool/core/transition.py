"""`step`: the whole behaviour of the pool.

Theory.  Every transition has one shape: guard, small update, `serve`.

* The guards come first and return the state they were given: an event that is not
  allowed changes nothing and says so (`Ignored`).
* The update says what the event means, and nothing about who profits from it.
* `serve` hands idle connections to the oldest waiters, then asks for as many driver
  connects as demand and room allow.  It ends every transition, so there is no event
  that frees capacity and forgets to wake somebody.  That one function is why no wakeup
  can be lost.

A handler works on a `Draft`, a mutable copy that never leaves `step`: thawed from the
state after the guards, frozen into the next state at the end.

What this file refuses to know: the clock, threads, locks, what a connection is, and
what becomes of its effects.  Rule ids (ACQ-1, ...) are those of `spec/README.md`; the
TLA+ action of an event has the event's name.
"""

from __future__ import annotations

from typing_extensions import assert_never

from pool.core import events, heap, waiters
from pool.core.draft import Draft, Outcome, by_key, expiry, reaches
from pool.core.effects import Ignored, Open, RefuseReason
from pool.core.maps import Map
from pool.core.state import Entry, State, expires_at, lease_of, leased


def step(state: State, event: events.Event) -> Outcome:
    """The state after `state` when this `event` happens, and what the runtime must do. Pure; never
    raises for a legal event.

    Effects come wakes first, then Io with closes before opens. An event that is not
    allowed gives the same state object and one `Ignored`.
    """
    match event:
        case events.Acquire():
            return acquire(state, event)
        case events.Release():
            return release(state, event)
        case events.Opened():
            return opened(state, event)
        case events.OpenFailed():
            return open_failed(state, event)
        case events.Dead():
            return dead(state, event)
        case events.Discard():
            return discard(state, event)
        case events.Expire():
            return expire(state, event)
        case events.Cancel():
            return cancel(state, event)
        case events.Tick():
            return tick(state, event)
        case events.CloseIdle():
            return close_idle(state, event)
        case events.CloseStale():
            return close_stale(state, event)
        case events.CloseAll():
            return close_all(state, event)
        case events.Retire():
            return retire(state, event)
        case events.Configure():
            return configure(state, event)
        case events.Suspend():
            return suspend(state, event)
        case events.Resume():
            return resume(state, event)
        case events.Shutdown():
            return shutdown(state, event)
        case events.Forked():
            return forked(state, event)
        case events.Adopt():
            return adopt(state, event)
        case _:
            assert_never(event)


def ignored(state: State, why: str) -> Outcome:
    return state, (Ignored(why),)


def finish(draft: Draft, now: float) -> Outcome:
    """The end of every transition that was allowed."""
    serve(draft, now)
    return draft.outcome()


# ---------------------------------------------------------------- serve


def serve(draft: Draft, now: float) -> None:
    """Rules SRV-1 to SRV-5: nobody waits for what is there or could be opened."""
    if draft.phase != "open":
        return
    while draft.waiters and draft.idle:
        (_, _, entry, since), draft.idle = heap.pop(draft.idle)
        if reason := expiry(draft.limits, draft.retire_before, entry, now):
            draft.close(entry, reason)
        else:
            ticket, owner, draft.waiters = waiters.pop(draft.waiters)
            draft.grant(ticket, owner, entry, now, since)
    if draft.limits.opener == "caller":
        while draft.waiters and may_open(draft):
            ticket, owner, draft.waiters = waiters.pop(draft.waiters)
            draft.opening_tickets = draft.opening_tickets.set(ticket, owner)
            draft.wakes.append(Open(ticket))
    else:
        if draft.retry_at is not None:
            if now < draft.retry_at:
                return
            draft.retry_at = None
        while draft.opening_background < demand(draft) and may_open(draft):
            draft.opening_background += 1
            draft.io.append(Open(None))


def demand(draft: Draft) -> int:
    """How many background connects would find a use (SRV-4)."""
    shortfall = draft.limits.min_idle - heap.size(draft.idle)
    return waiters.size(draft.waiters) + max(0, shortfall)


def may_open(draft: Draft) -> bool:
    """Whether there is room for one more driver connect (SRV-5)."""
    limits, opening = draft.limits, draft.opening()
    if draft.is_full() or reaches(opening, limits.max_connecting):
        return False
    is_empty = not (draft.idle or draft.in_use)
    return is_empty or not reaches(opening, limits.max_opening)


# ---------------------------------------------------------------- callers


def acquire(state: State, event: events.Acquire) -> Outcome:
    """TLA+ `Acquire`."""
    now, ticket, wait, owner = event
    if ticket < state.next_ticket:
        return ignored(state, "this ticket was used before")  # ACQ-1
    draft = Draft(state)
    draft.next_ticket = ticket + 1
    draft.issued += 1
    if draft.phase == "closed":
        draft.refuse(ticket, "closed")  # ACQ-2
        return draft.outcome()
    draft.waiters = waiters.insert(draft.waiters, ticket, owner)  # ACQ-3
    serve(draft, now)
    if waiters.contains(draft.waiters, ticket):
        most = draft.limits.max_waiting
        if not wait:
            send_away(draft, ticket, "exhausted")  # ACQ-4
        elif most is not None and waiters.size(draft.waiters) > most:
            send_away(draft, ticket, "too_many_waiting")  # ACQ-5
    return draft.outcome()


def send_away(draft: Draft, ticket: int, reason: RefuseReason) -> None:
    """Refuse one that waits; a suspended pool says so instead of "exhausted" (AWY-1)."""
    assert draft.waiters is not None
    draft.waiters = waiters.remove(draft.waiters, ticket)
    if draft.phase == "suspended" and reason in ("exhausted", "timeout"):
        reason = "suspended"
    draft.refuse(ticket, reason)


def expire(state: State, event: events.Expire) -> Outcome:
    """TLA+ `Expire`."""
    now, ticket = event
    if not waiters.contains(state.waiters, ticket):
        return ignored(state, "this ticket does not wait")  # EXP-1
    draft = Draft(state)
    send_away(draft, ticket, "timeout")  # EXP-2
    return finish(draft, now)


def cancel(state: State, event: events.Cancel) -> Outcome:
    """TLA+ `Cancel`."""
    now, ticket = event
    draft = Draft(state)
    if draft.waiters and waiters.contains(draft.waiters, ticket):
        draft.waiters = waiters.remove(draft.waiters, ticket)  # CAN-2
        draft.cancelled += 1
    elif ticket in draft.opening_tickets:
        draft.opening_tickets = draft.opening_tickets.delete(ticket)  # CAN-3
        draft.cancelled += 1
    else:
        held = [key for key, lease in leased(state.in_use).items() if lease.ticket == ticket]
        if not held or not ticket:
            return ignored(state, "this ticket neither waits, opens nor holds")  # CAN-1
        draft.settle(draft.end_lease(held[0]), now)  # CAN-4
    return finish(draft, now)


# ---------------------------------------------------------------- driver connects


def opened(state: State, event: events.Opened) -> Outcome:
    """TLA+ `Opened`."""
    now, ticket = event.now, event.ticket
    draft = Draft(state)
    draft.opened += 1
    entry = Entry(draft.draw_seq(), event.connection, event.created, event.jitter)
    if ticket is not None and ticket in draft.opening_tickets:
        owner = draft.opening_tickets[ticket]
        draft.opening_tickets = draft.opening_tickets.delete(ticket)
        draft.last_error = None
        draft.grant(ticket, owner, entry, now, None)  # OPN-2
    elif ticket is None and draft.opening_background:
        draft.opening_background -= 1
        draft.failures, draft.retry_at, draft.last_error = 0, None, None
        if draft.waiters and draft.phase == "open" and not draft.is_full():
            first, owner, draft.waiters = waiters.pop(draft.waiters)
            draft.grant(first, owner, entry, now, None)  # OPN-3
        else:
            draft.settle(entry, now)  # OPN-4
    else:
        draft.close(entry, "unasked")  # OPN-1
    return finish(draft, now)


def open_failed(state: State, event: events.OpenFailed) -> Outcome:
    """TLA+ `OpenFailed`."""
    now, ticket, error, jitter = event
    draft = Draft(state)
    draft.last_error = error
    if ticket is not None and ticket in draft.opening_tickets:
        draft.opening_tickets = draft.opening_tickets.delete(ticket)
        draft.refuse(ticket, "open_failed")  # OPF-2
    elif ticket is None and draft.opening_background:
        draft.opening_background -= 1
        if draft.retry_at is None or now >= draft.retry_at:
            draft.failures += 1
            draft.retry_at = now + pause(draft) * (1.0 - jitter)  # OPF-3
        if draft.phase == "open" and not draft.opened:
            for first, _ in waiters.items(draft.waiters):
                draft.refuse(first, "open_failed")  # OPF-4
            draft.waiters = None
    else:
        return ignored(state, "nobody is waiting for this connect")  # OPF-1
    return finish(draft, now)


def pause(draft: Draft) -> float:
    """How long to leave the database alone after so many failures (OPF-3)."""
    doubled = draft.limits.backoff_initial * 2.0 ** min(draft.failures - 1, 60)
    return min(draft.limits.backoff_max, doubled)


# ---------------------------------------------------------------- holders


def holds(state: State, ticket: int, key: int) -> bool:
    """The fence: only the ticket of the lease may end it."""
    lease = lease_of(state.in_use, key)
    return lease is not None and lease.ticket == ticket


def release(state: State, event: events.Release) -> Outcome:
    """TLA+ `Release`."""
    now, ticket, key, reusable = event
    if not holds(state, ticket, key):
        return ignored(state, "this ticket does not hold this connection")  # REL-1
    draft = Draft(state)
    entry = draft.end_lease(key)
    if reusable:
        draft.settle(entry, now)  # REL-3
    else:
        draft.close(entry, "not_reusable")  # REL-2
    return finish(draft, now)


def discard(state: State, event: events.Discard) -> Outcome:
    """TLA+ `Discard`."""
    now, ticket, key = event
    if not holds(state, ticket, key):
        return ignored(state, "this ticket does not hold this connection")  # DIS-1
    draft = Draft(state)
    draft.close(draft.end_lease(key), "discarded")  # DIS-2
    return finish(draft, now)


def dead(state: State, event: events.Dead) -> Outcome:
    """TLA+ `Dead`."""
    now, ticket, key, wait = event
    if not holds(state, ticket, key):
        return ignored(state, "this ticket does not hold this connection")  # DEA-1
    if not ticket:
        return ignored(state, "an adopted connection has no caller to serve again")  # DEA-2
    draft = Draft(state)
    *_, owner, _ = state.in_use[key]
    draft.close(draft.end_lease(key), "dead")  # DEA-3
    draft.dead += 1
    if draft.phase == "closed":
        draft.refuse(ticket, "closed")  # DEA-4
        return draft.outcome()
    draft.waiters = waiters.insert(draft.waiters, ticket, owner)  # DEA-5
    serve(draft, now)
    if not wait and waiters.contains(draft.waiters, ticket):
        send_away(draft, ticket, "exhausted")  # DEA-6
    return draft.outcome()


# ---------------------------------------------------------------- housekeeping


def close_idle(state: State, event: events.CloseIdle) -> Outcome:
    """TLA+ `CloseIdle`."""
    draft = Draft(state)
    draft.close_idle("close_idle")  # CLI-1
    return finish(draft, event.now)


def close_stale(state: State, event: events.CloseStale) -> Outcome:
    """TLA+ `CloseStale`."""
    draft = Draft(state)
    for key, lease in by_key(state.in_use):
        if lease.checked_out < event.before:
            draft.close(draft.end_lease(key), "stale")  # CST-1
    return finish(draft, event.now)


def close_all(state: State, event: events.CloseAll) -> Outcome:
    """TLA+ `CloseAll`."""
    draft = Draft(state)
    draft.close_idle("close_all")  # CAL-1
    for key, _ in by_key(state.in_use):
        draft.close(draft.end_lease(key), "close_all")  # CAL-2
    return finish(draft, event.now)


def retire(state: State, event: events.Retire) -> Outcome:
    """TLA+ `Retire`."""
    if state.phase == "closed":
        return ignored(state, "the pool is closed")  # RET-1
    draft = Draft(state)
    draft.retire_before = max(draft.retire_before, event.now)  # RET-2
    draft.sweep(event.now)  # RET-3
    return finish(draft, event.now)


def tick(state: State, event: events.Tick) -> Outcome:
    """TLA+ `Tick`."""
    draft = Draft(state)
    draft.sweep(event.now)  # TIC-1
    draft.shrink(event.now)  # TIC-2
    draft.report_leaks(event.now)  # TIC-3
    return finish(draft, event.now)


def configure(state: State, event: events.Configure) -> Outcome:
    """TLA+ `Configure`."""
    if state.phase == "closed":
        return ignored(state, "the pool is closed")  # CFG-1
    if event.limits.opener != state.limits.opener:
        return ignored(state, "opener cannot change")  # CFG-2
    draft = Draft(state)
    draft.limits = event.limits  # CFG-3
    draft.arrange()  # CFG-4
    return finish(draft, event.now)


def suspend(state: State, event: events.Suspend) -> Outcome:
    """TLA+ `Suspend`."""
    if state.phase != "open":
        return ignored(state, f"the pool is {state.phase}")  # SUS-1
    draft = Draft(state)
    draft.phase = "suspended"  # SUS-2
    return finish(draft, event.now)


def resume(state: State, event: events.Resume) -> Outcome:
    """TLA+ `Resume`."""
    if state.phase != "suspended":
        return ignored(state, f"the pool is {state.phase}")  # RES-1
    draft = Draft(state)
    draft.phase = "open"  # RES-2
    return finish(draft, event.now)


def shutdown(state: State, event: events.Shutdown) -> Outcome:
    """TLA+ `Shutdown`."""
    if state.phase == "closed":
        return ignored(state, "the pool is closed")  # SHU-1
    draft = Draft(state)
    draft.phase = "closed"  # SHU-2
    draft.refuse_everybody("closed")  # SHU-3
    draft.close_idle("closed")  # SHU-4
    return finish(draft, event.now)


def forked(state: State, event: events.Forked) -> Outcome:
    """TLA+ `Forked`."""
    draft = Draft(state)
    draft.refuse_everybody("forked")  # FRK-1
    draft.forgotten += heap.size(draft.idle) + len(draft.in_use)  # FRK-2
    draft.idle, draft.in_use, draft.opening_background = None, Map(), 0
    draft.failures, draft.retry_at, draft.last_error = 0, None, None
    draft.retire_before = 0.0
    return finish(draft, event.now)


def adopt(state: State, event: events.Adopt) -> Outcome:
    """TLA+ `Adopt`. An adapter let its user change what it shows of the pool: believe the user."""
    if state.phase == "closed":
        return ignored(state, "the pool is closed")  # ADO-1
    draft = Draft(state)
    draft.forget(event.removed)  # ADO-2
    draft.believe(event)  # ADO-3, ADO-4
    draft.arrange()  # ADO-5
    return finish(draft, event.now)


# ---------------------------------------------------------------- time


def wake_at(state: State) -> float | None:
    """When the next `Tick` of this `state` is useful; the runtime must send it then. None: never
    (WAK-1).

    O(connections): meant for the thread that ticks, not for every transition.
    """
    limits = state.limits
    idle = list(heap.items(state.idle))
    times = [expires_at(limits, entry) for _, _, entry, _ in idle]
    if any(entry.created < state.retire_before for _, _, entry, _ in idle):
        times.append(0.0)
    if limits.max_idle is not None and len(idle) > limits.min_idle:
        times.append(min(since for _, _, _, since in idle) + limits.max_idle)
    if limits.leak_after is not None:
        unreported = (lease for lease in leased(state.in_use).values() if not lease.leaked)
        times.extend(lease.checked_out + limits.leak_after for lease in unreported)
    if state.phase == "open":
        times.append(state.retry_at)
    return min((time for time in times if time is not None), default=None)
