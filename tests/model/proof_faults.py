"""Faults that are planted in the relation of the proof, and what has to name them.

Theory. A proof that cannot fail proves nothing. Each fault is a line of the relation and another
in its place, the event and the promises that a solver must then find broken. A few are faults of
the rules that break no promise; these are for the binding, for `step` does something else.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """Lines that are in the relation once, what stands in their place, and what is found."""

    about: str
    old: str
    new: str
    found: tuple[str, ...]
    """Obligations that cannot be shown any more."""


FAULTS = (
    Fault(
        "who discards wakes nobody",
        '    d.cite("DIS-2")\n    end_lease(d, d.t, q)\n    close(d, q)\n    serve(d)\n',
        '    d.cite("DIS-2")\n    end_lease(d, d.t, q)\n    close(d, q)\n',
        ("Discard/Covered",),
    ),
    Fault(
        "a pool that goes on does not look at who waits",
        "    d.phase = OPEN\n    serve(d)\n",
        "    d.phase = OPEN\n",
        ("Resume/Served", "Resume/Covered"),
    ),
    Fault(
        "what comes back is kept, however many there are",
        'd.phase != CLOSED, ~d.choose("is_expired"), ~is_full(d))',
        'd.phase != CLOSED, ~d.choose("is_expired"))',
        ("Release/Shrunk", "Cancel/Shrunk", "Opened/Shrunk"),
    ),
    Fault(
        "what comes back to a closed pool is kept",
        'every(d.phase != CLOSED, ~d.choose("is_expired"), ~is_full(d))',
        'every(~d.choose("is_expired"), ~is_full(d))',
        ("Release/Shut",),
    ),
    Fault(
        "grants are not counted",
        "    d.in_use += 1\n    d.granted += 1\n    d.grants += 1\n    with d.when(d.key == key):\n"
        "        d.key_in_use += 1\n        d.key_ticket = ticket\n",
        "    d.in_use += 1\n    d.grants += 1\n    with d.when(d.key == key):\n"
        "        d.key_in_use += 1\n        d.key_ticket = ticket\n",
        ("Opened/Conserved",),
    ),
    Fault(
        "a connection that was granted to somebody who is gone is forgotten",
        '    with d.when(holds, "CAN-4"):\n        end_lease(d, d.t, q)\n'
        "        fresh, is_key_fresh = settle(d, q)\n    serve(d, fresh, is_key_fresh)\n",
        '    with d.when(holds, "CAN-4"):\n        end_lease(d, d.t, q)\n    serve(d)\n',
        ("Cancel/Conserved", "Cancel/ClosedOnce"),
    ),
    Fault(
        "what its ticket has made is granted, and put away as well",
        "        grant(d, d.t, key)\n    fresh: Term",
        "        grant(d, d.t, key)\n        settle(d, key)\n    fresh: Term",
        ("Opened/Exclusive", "Opened/ClosedOnce", "Opened/Conserved"),
    ),
    Fault(
        "what has expired is closed, and lent all the same",
        "        close_some_idle(d, met, is_key_met)\n",
        "        close_some(d, met, is_key_met)\n",
        ("Resume/ClosedOnce", "Resume/NothingAfterClose"),
    ),
    Fault(
        "the youngest are told to connect",
        "        with d.when((its.waits > 0) & (its.older < count)):\n            its.opens += 1\n"
        "            its.opens_now += 1\n",
        "        with d.when((its.waits > 0) & (its.older >= d.waiting - count)):\n"
        "            its.opens += 1\n            its.opens_now += 1\n",
        ("Resume/AnsweredOnce", "Discard/FifoStep"),
    ),
    Fault(
        "who is told to connect stays in the queue",
        "    d.opening_tickets += count\n    d.opens += count\n    leave_first(d, count)\n",
        "    d.opening_tickets += count\n    d.opens += count\n",
        ("Acquire/Fifo", "Acquire/AnsweredOnce", "Acquire/Conserved"),
    ),
    Fault(
        "a failed connect refuses, and keeps its room",
        '    with d.when(own, "OPF-2"):\n        stop_opening(d, d.t)\n        refuse(d, d.t)\n',
        '    with d.when(own, "OPF-2"):\n        refuse(d, d.t)\n',
        ("OpenFailed/AnsweredOnce", "OpenFailed/Conserved", "OpenFailed/OwnOutcome"),
    ),
    Fault(
        "a failed connect waits again",
        "        stop_opening(d, d.t)\n        refuse(d, d.t)\n",
        "        stop_opening(d, d.t)\n        join(d, d.t)\n",
        ("OpenFailed/OwnOutcome",),
    ),
    Fault(
        "connects are asked for without a look at max_size",
        '    count = at_most(d, wanted, "max_size", d.size)\n',
        "    count = wanted\n",
        ("Acquire/Bounded", "Tick/Bounded"),
    ),
    Fault(
        "connects are asked for without a look at max_connecting",
        '    count = at_most(d, count, "max_connecting", d.opening)\n',
        "",
        ("Acquire/Bounded", "CloseAll/Bounded"),
    ),
    Fault(
        "a smaller max_size leaves the idle alone",
        "    surplus = choice(d.no_max_size, 0, least(d.idle, above(d.size - d.max_size)))\n",
        "    surplus = d.idle - d.idle\n",
        ("Configure/Shrunk", "Adopt/Shrunk"),
    ),
    Fault(
        "a pool that is shut down keeps what is idle",
        "    refuse_everybody(d)\n    close_all_idle(d)\n    serve(d)\n",
        "    refuse_everybody(d)\n    serve(d)\n",
        ("Shutdown/Shut",),
    ),
    Fault(
        "who leaves the queue is not counted",
        "    with d.when(waits | opens):\n        d.cancelled += 1\n",
        "    with d.when(opens):\n        d.cancelled += 1\n",
        ("Cancel/Conserved",),
    ),
    Fault(
        "a ticket may be used again",
        "    d.next_ticket = d.t + 1\n",
        "    d.next_ticket = d.t\n",
        ("Acquire/Fifo",),
    ),
    Fault(
        "a ticket may end a lease that is not its own",
        '    d.ignore_unless(is_held(d), "DIS-1")\n',
        "    is_held(d)\n",
        ("Discard/Valid",),
    ),
    Fault(
        "the end of a pause is not noticed",
        'd.when(~(d.backing_off & d.choose("is_early")))',
        "d.when(~d.backing_off)",
        ("Tick/Lowered",),
    ),
    Fault(
        "after a fork the leases are still there",
        "    d.idle, d.key_idle = 0, 0\n    forget_leases(d)\n    d.opening_background = 0\n",
        "    d.idle, d.key_idle = 0, 0\n    d.opening_background = 0\n",
        ("Forked/Conserved", "Forked/ClosedOnce"),
    ),
    Fault(
        "keys are given twice to what an adapter puts in",
        "    d.in_use += put_in_use\n    d.adopted += put_in_use\n    d.next_seq += put_in_use\n",
        "    d.in_use += put_in_use\n    d.adopted += put_in_use\n",
        ("Adopt/ClosedOnce", "Adopt/Valid"),
    ),
    Fault(
        "a deadline answers nobody",
        '    d.cite("EXP-2")\n    send_away(d, d.t)\n',
        '    d.cite("EXP-2")\n',
        ("Expire/Deadline",),
    ),
)
"""Each breaks a promise."""

UNPROMISED = (
    Fault(
        "while nothing was ever connected, those who wait are left waiting",
        '        with d.when((d.phase == OPEN) & (d.opened == 0), "OPF-4"):\n',
        '        with d.when((d.phase == CLOSED) & (d.opened == 0), "OPF-4"):\n',
        ("OpenFailed",),
    ),
    Fault(
        "what is new waits for its turn like what comes back",
        "        first = (d.phase == OPEN) & (d.waiting > 0) & ~is_full(d)\n",
        "        first = (d.phase == OPEN) & (d.waiting > 0) & ~is_full(d) & (d.idle > 0)\n",
        ("Opened",),
    ),
    Fault(
        "a caller that may not wait waits",
        '        with d.when(still & ~wait, "ACQ-4"):\n            send_away(d, d.t)\n',
        "",
        ("Acquire",),
    ),
)
"""These break a rule and no promise, rightly: the events in which the binding sees it."""
