"""What each event does, rule by rule, as formulas over pictures (`spec/README.md`, section 6).

Theory. A function below is an event, a `with` in it a rule of the specification, with the rule's
id. It is written from the prose and shares nothing with `pool/core/transition.py`; that the two
agree is what the binding shows.

The result is a function, not a mere relation: before, event and choices say exactly what is
after. A choice is what a picture leaves out. `assume` says which choices there are; no more than
that is assumed of anything.

Choices by name: `met` how many idle connections were met that have expired, `swept` how many an
event looked for, `rested`, `stale`, `gone_idle` and `gone_in_use` likewise; `is_key_...` whether
the followed key is one of them; `is_early` whether the pause is not over; `taker` who is lent the
followed key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pool.check.proof.picture import (
    CLOSED,
    LIMITS,
    OPEN,
    SUSPENDED,
    Draft,
    Picture,
    above,
    valid,
)
from pool.check.proof.terms import (
    FALSE,
    TRUE,
    Term,
    as_term,
    implies,
)
from pool.check.proof.verbs import (
    close,
    close_all_idle,
    close_every,
    close_some,
    close_some_idle,
    end_lease,
    end_some_leases,
    forget_leases,
    grant,
    grant_to_the_oldest,
    is_full,
    is_held,
    join,
    leave,
    refuse,
    refuse_everybody,
    send_away,
    serve,
    settle,
    stop_opening,
    sweep,
    take_some_idle,
    trim,
)

# ---------------------------------------------------------------- events


def acquire(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(d.t >= d.next_ticket, "ACQ-1")
    wait = d.choose("is_wait")
    d.cite("ACQ-2")
    d.next_ticket = d.t + 1
    d.issued += 1
    for its in d.its(d.t):
        its.asked += 1
    with d.when(d.phase == CLOSED):
        refuse(d, d.t)
    with d.when(d.phase != CLOSED, "ACQ-3"):
        join(d, d.t)
        serve(d)
        still = d.t_waits > 0
        too_many = still & wait & ~d.no_max_waiting & (d.waiting > d.max_waiting)
        with d.when(still & ~wait, "ACQ-4"):
            send_away(d, d.t)
        with d.when(too_many, "ACQ-5"):
            send_away(d, d.t)


def opened(d: Draft) -> None:
    d.follow("t")
    nobody = d.choose("is_nobody")
    own = ~nobody & (d.t_opens > 0)
    anybody = nobody & (d.opening_background > 0)
    key = d.next_seq
    d.opened += 1
    d.next_seq += 1
    with d.when(d.key == key):
        d.key_came += 1
    with d.when(~own & ~anybody, "OPN-1"):
        close(d, key)
    with d.when(own, "OPN-2"):
        stop_opening(d, d.t)
        grant(d, d.t, key)
    fresh: Term = as_term(0)
    is_key_fresh = FALSE
    with d.when(anybody, "OPN-3"):
        d.opening_background -= 1
        d.backing_off = FALSE
        first = (d.phase == OPEN) & (d.waiting > 0) & ~is_full(d)
        with d.when(~first, "OPN-4"):
            fresh, is_key_fresh = settle(d, key)
        with d.when(first):
            grant_to_the_oldest(d, as_term(1), d.key == key)
    serve(d, fresh, is_key_fresh)


def open_failed(d: Draft) -> None:
    d.follow("t")
    nobody = d.choose("is_nobody")
    own = ~nobody & (d.t_opens > 0)
    anybody = nobody & (d.opening_background > 0)
    d.ignore_unless(own | anybody, "OPF-1")
    with d.when(own, "OPF-2"):
        stop_opening(d, d.t)
        refuse(d, d.t)
    with d.when(anybody, "OPF-3"):
        d.opening_background -= 1
        d.backing_off = TRUE
        with d.when((d.phase == OPEN) & (d.opened == 0), "OPF-4"):
            d.refused += d.waiting
            d.refusals += d.waiting
            for _, its in d.each():
                its.answered += its.waits
                its.refusals += its.waits
                its.waits, its.older = 0, 0
            d.waiting = 0
    serve(d)


def dead(d: Draft) -> None:
    d.follow("t")
    wait = d.choose("is_wait")
    d.ignore_unless(is_held(d), "DEA-1")
    d.ignore_unless(d.t != 0, "DEA-2")
    q = d.choose("q")
    d.cite("DEA-3")
    end_lease(d, d.t, q)
    close(d, q)
    d.dead += 1
    for its in d.its(d.t):
        its.answered -= 1
    with d.when(d.phase == CLOSED, "DEA-4"):
        refuse(d, d.t)
    with d.when(d.phase != CLOSED, "DEA-5"):
        join(d, d.t)
        serve(d)
        with d.when((d.t_waits > 0) & ~wait, "DEA-6"):
            send_away(d, d.t)


def release(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(is_held(d), "REL-1")
    q, reusable = d.choose("q"), d.choose("is_reusable")
    end_lease(d, d.t, q)
    with d.when(~reusable, "REL-2"):
        close(d, q)
    with d.when(reusable, "REL-3"):
        fresh, is_key_fresh = settle(d, q)
    serve(d, fresh, is_key_fresh)


def discard(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(is_held(d), "DIS-1")
    q = d.choose("q")
    d.cite("DIS-2")
    end_lease(d, d.t, q)
    close(d, q)
    serve(d)


def expire(d: Draft) -> None:
    d.follow("t")
    d.ignore_unless(d.t_waits > 0, "EXP-1")
    d.cite("EXP-2")
    send_away(d, d.t)
    serve(d)


def cancel(d: Draft) -> None:
    d.follow("t")
    held = is_held(d)
    d.assume(implies(d.t_leases > 0, held))
    waits, opens = d.t_waits > 0, d.t_opens > 0
    holds = ~waits & ~opens & held & (d.t != 0)
    q = d.choose("q")
    d.ignore_unless(waits | opens | holds, "CAN-1")
    with d.when(waits, "CAN-2"):
        leave(d, d.t)
    with d.when(~waits & opens, "CAN-3"):
        stop_opening(d, d.t)
    with d.when(waits | opens):
        d.cancelled += 1
        for its in d.its(d.t):
            its.answered += 1
    with d.when(holds, "CAN-4"):
        end_lease(d, d.t, q)
        fresh, is_key_fresh = settle(d, q)
    serve(d, fresh, is_key_fresh)


def close_idle(d: Draft) -> None:
    d.cite("CLI-1")
    close_all_idle(d)
    serve(d)


def close_stale(d: Draft) -> None:
    d.cite("CST-1")
    stale, is_key_stale = d.choose("stale"), d.choose("is_key_stale")
    end_some_leases(d, "stale", stale, is_key_stale)
    close_some(d, stale, is_key_stale)
    serve(d)


def close_all(d: Draft) -> None:
    d.cite("CAL-1")
    close_all_idle(d)
    d.cite("CAL-2")
    close_every(d, d.in_use, d.key_in_use)
    forget_leases(d)
    serve(d)


def retire(d: Draft) -> None:
    d.ignore_unless(d.phase != CLOSED, "RET-1")
    d.cite("RET-2", "RET-3")
    sweep(d)
    serve(d, d.idle, TRUE)


def tick(d: Draft) -> None:
    d.cite("TIC-1")
    sweep(d)
    d.cite("TIC-2")
    rested = d.between("rested", 0, above(d.idle - d.min_idle))
    close_some_idle(d, rested, d.choose("is_key_rested"))
    d.cite("TIC-3")  # what is reported as leaked is in use as before
    serve(d, d.idle, TRUE)


def configure(d: Draft) -> None:
    new = {name: d.choose(f"new_{name}") for name in LIMITS}
    d.assume(*valid(Picture(new)))
    d.ignore_unless(d.phase != CLOSED, "CFG-1")
    d.ignore_unless(new["background"] == d.background, "CFG-2")
    d.cite("CFG-3")
    for name, limit in new.items():
        setattr(d, name, limit)
    trim(d)
    serve(d)


def suspend(d: Draft) -> None:
    d.ignore_unless(d.phase == OPEN, "SUS-1")
    d.cite("SUS-2")
    d.phase = SUSPENDED
    serve(d)


def resume(d: Draft) -> None:
    d.ignore_unless(d.phase == SUSPENDED, "RES-1")
    d.cite("RES-2")
    d.phase = OPEN
    serve(d)


def shutdown(d: Draft) -> None:
    d.ignore_unless(d.phase != CLOSED, "SHU-1")
    d.cite("SHU-2", "SHU-3", "SHU-4")
    d.phase = CLOSED
    refuse_everybody(d)
    close_all_idle(d)
    serve(d)


def forked(d: Draft) -> None:
    d.cite("FRK-1")
    refuse_everybody(d)
    d.cite("FRK-2")
    d.forgotten += d.idle + d.in_use
    d.key_forgotten += d.key_idle + d.key_in_use
    d.idle, d.key_idle = 0, 0
    forget_leases(d)
    d.opening_background = 0
    d.backing_off = FALSE
    serve(d)


def adopt(d: Draft) -> None:
    d.ignore_unless(d.phase != CLOSED, "ADO-1")
    d.cite("ADO-2")
    gone_idle, is_key_idle = d.choose("gone_idle"), d.choose("is_key_gone_idle")
    gone_in_use, is_key_in_use = d.choose("gone_in_use"), d.choose("is_key_gone_in_use")
    take_some_idle(d, gone_idle, is_key_idle)
    with d.when(is_key_idle):
        d.key_forgotten += 1
    end_some_leases(d, "gone", gone_in_use, is_key_in_use)
    with d.when(is_key_in_use):
        d.key_forgotten += 1
    d.forgotten += gone_idle + gone_in_use
    d.cite("ADO-3")
    d.next_seq += d.count("jump")
    put_idle = d.count("put_idle")
    with d.when((d.key >= d.next_seq) & (d.key < d.next_seq + put_idle)):
        d.key_idle += 1
        d.key_came += 1
    d.idle += put_idle
    d.adopted += put_idle
    d.next_seq += put_idle
    d.cite("ADO-4")
    put_in_use = d.count("put_in_use")
    with d.when((d.key >= d.next_seq) & (d.key < d.next_seq + put_in_use)):
        d.key_in_use += 1
        d.key_ticket = 0
        d.key_came += 1
    d.in_use += put_in_use
    d.adopted += put_in_use
    d.next_seq += put_in_use
    d.cite("ADO-5")
    trim(d)
    serve(d)


RELATION: Mapping[str, Callable[[Draft], None]] = MappingProxyType(
    {
        "Acquire": acquire,
        "Opened": opened,
        "OpenFailed": open_failed,
        "Dead": dead,
        "Release": release,
        "Discard": discard,
        "Expire": expire,
        "Cancel": cancel,
        "CloseIdle": close_idle,
        "CloseStale": close_stale,
        "CloseAll": close_all,
        "Retire": retire,
        "Tick": tick,
        "Configure": configure,
        "Suspend": suspend,
        "Resume": resume,
        "Shutdown": shutdown,
        "Forked": forked,
        "Adopt": adopt,
    }
)
"""By the name of the event."""


def step(event: str) -> Draft:
    """The picture after this event, of any picture before."""
    draft = Draft(event)
    RELATION[event](draft)
    return draft
