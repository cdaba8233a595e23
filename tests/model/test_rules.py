"""Every rule of `spec/README.md`, by example: what a porter reads beside the text.

Theory.  Each test shows one rule; its docstring begins with the rule's id (that is what
`test_spec_map.py` looks for).  Times are the first argument of every event, tickets count
from 1, and `Run.lend(n)` makes ticket n hold the connection `cn` under key n.
"""

from __future__ import annotations

import pytest

from pool import (
    Acquire,
    Adopt,
    AdoptIdle,
    AdoptLease,
    Cancel,
    Close,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Dead,
    Discard,
    Event,
    Expire,
    Forked,
    Grant,
    Leaked,
    Limits,
    Open,
    Opened,
    OpenFailed,
    Refuse,
    Release,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    Tick,
    initial,
    wake_at,
)
from pool.core.state import Counters, Entry, leased
from tests.model.notation import AWAY, REFUSED, Run


def background(**limits: object) -> Run:
    return Run(opener="background", **limits)


# ---------------------------------------------------------------- the beginning


def test_a_new_pool_is_open_and_empty() -> None:
    """INI-1: nothing is there, nothing has happened."""
    state = initial(Limits())
    assert (state.phase, state.size, state.waiters, state.retry_at) == ("open", 0, None, None)
    assert (state.next_seq, state.next_ticket, state.issued, state.granted) == (1, 1, 0, 0)
    assert (state.retire_before, state.last_error, state.counters) == (0.0, None, Counters())


def test_a_new_pool_owes_its_idle_connections() -> None:
    """INI-1: with `min_idle` it is backing off until 0, and its first event makes it open."""
    run = background(min_idle=2)
    assert (run.state.retry_at, wake_at(run.state)) == (0, 0)
    assert run(Tick(7)) == [Open(None), Open(None)]
    assert run.state.retry_at is None


# ---------------------------------------------------------------- order and age


@pytest.mark.parametrize(
    ("order", "lent"),
    [
        ("oldest", ["c1", "c2", "c3"]),  # created at 1, 2, 3
        ("lifo", ["c1", "c3", "c2"]),  # returned in the order c2, c3, c1
        ("fifo", ["c2", "c3", "c1"]),
    ],
)
def test_which_idle_connection_is_lent_first(order: str, lent: list[str]) -> None:
    """ORD-1: the oldest made, the last returned, or the first returned."""
    run = Run(idle_order=order)
    for ticket in (1, 2, 3):
        run.lend(ticket, now=ticket)
    for ticket in (2, 3, 1):
        run(Release(5, ticket, ticket))
    assert run.idle == lent
    assert run(Acquire(6, 4))[0].connection == lent[0]


def test_equal_age_goes_by_place_of_return() -> None:
    """ORD-1: equal `order` is decided by `seq`."""
    run = Run(idle_order="oldest")
    run.lend(1, 2)
    run(Release(1, 2, 2))
    run(Release(1, 1, 1))
    assert run.idle == ["c2", "c1"]


def test_a_connection_expires_at_its_lifetime_less_its_jitter() -> None:
    """AGE-1: at `created` + `max_lifetime` × (1 - `jitter`), not before."""
    for now, kept in [(8.75, True), (9.0, False)]:
        run = Run(max_lifetime=10)
        run(Acquire(0, 1))
        run(Opened(4, 1, "c1", created=4, jitter=0.5))
        assert run(Release(now, 1, 1)) == ([] if kept else [Close(1, "c1", "lifetime")])


def test_retired_comes_before_lifetime() -> None:
    """AGE-1: a connection made before `retire_before` is `retired`, whatever its age."""
    run = Run(max_lifetime=10)
    run.lend(1, 2)
    run(Retire(5))
    run.lend(3, now=5)  # made at 5, not before 5
    assert run(Release(50, 1, 1)) == [Close(1, "c1", "retired")]
    assert run(Release(6, 2, 2)) == [Close(2, "c2", "retired")]
    assert run(Release(6, 3, 3)) == []


# ---------------------------------------------------------------- serve


@pytest.mark.parametrize("stop", [Suspend(1), Shutdown(1)])
def test_a_pool_that_is_not_open_serves_nobody(stop: Event) -> None:
    """SRV-1: no grant, no open."""
    run = background(min_idle=1)
    run(stop)
    assert run(Tick(2)) == []
    effects = run(Acquire(3, 1))
    assert not [effect for effect in effects if isinstance(effect, (Grant, Open))]


def test_idle_connections_go_to_the_oldest_waiters() -> None:
    """SRV-2: the oldest waiter gets what is lent first, and so on."""
    run = Run(idle_order="fifo")
    run.lend(1, 2)
    run(Suspend(1))
    run(Release(1, 1, 1))
    run(Release(2, 2, 2))
    for ticket in (3, 4, 5):
        run(Acquire(3, ticket))
    assert run(Resume(4)) == [Grant(3, 1, "c1", 3), Grant(4, 2, "c2", 2), Open(5)]


def test_an_expired_idle_connection_never_stands_in_the_way() -> None:
    """SRV-2: met on the way, it is closed, and the caller gets the next."""
    run = Run(max_lifetime=10, idle_order="oldest")
    run.lend(1, now=0)
    run.lend(2, now=8)
    run(Release(9, 1, 1))
    run(Release(9, 2, 2))
    assert run(Acquire(10, 3, wait=False)) == [Grant(3, 2, "c2", 1), Close(1, "c1", "lifetime")]


def test_a_caller_is_told_to_open_while_there_is_room() -> None:
    """SRV-3: the oldest waiter leaves the queue and connects on its own thread."""
    run = Run(max_size=2)
    assert run(Acquire(0, 1)) == [Open(1)]
    assert run(Acquire(0, 2)) == [Open(2)]
    assert run(Acquire(0, 3)) == []
    assert (run.opening, run.waiting) == ([1, 2], [3])


def test_background_opens_are_as_many_as_demand() -> None:
    """SRV-4: one connect for each waiter, belonging to nobody."""
    run = background(max_size=2)
    assert run(Acquire(0, 1)) == [Open(None)]
    assert run(Acquire(0, 2)) == [Open(None)]
    assert run(Acquire(0, 3)) == []  # full
    assert (run.waiting, run.state.opening_background) == ([1, 2, 3], 2)


def test_background_demand_counts_what_is_short_of_min_idle() -> None:
    """SRV-4: waiters, plus `min_idle` less what is idle."""
    run = background(min_idle=2)
    assert run(Acquire(0, 1)) == [Open(None)] * 3
    assert run(Opened(0, None, "c1", 0)) == [Grant(1, 1, "c1", None)]
    assert run(Opened(0, None, "c2", 0)) == []
    assert run(Opened(0, None, "c3", 0)) == []
    assert run(Acquire(1, 2)) == [Grant(2, 4, "c3", 1), Open(None)]  # one idle: one short


def test_nothing_is_opened_while_backing_off() -> None:
    """SRV-4: below `retry_at` nothing; from `retry_at` on, it is none again."""
    run = background(backoff_initial=1)
    run(Acquire(0, 1))
    run(Opened(0, None, "c1", 0))
    run(Acquire(0, 2))
    assert run(OpenFailed(0, None, REFUSED)) == []
    assert run(Acquire(0.75, 3)) == []
    assert run.state.retry_at == 1
    assert run(Tick(1)) == [Open(None), Open(None)]
    assert run.state.retry_at is None


def test_a_full_pool_has_no_room() -> None:
    """SRV-5: idle, in use and being opened all count."""
    run = Run(max_size=2)
    run.lend(1)
    assert run(Acquire(0, 2)) == [Open(2)]
    assert run(Acquire(0, 3)) == []
    assert Run(max_size=None)(Acquire(0, 1)) == [Open(1)]


def test_max_opening_binds_only_when_something_is_there() -> None:
    """SRV-5: an empty pool opens for all its waiters at once."""
    run = Run(max_opening=1)
    assert run(Acquire(0, 1)) == [Open(1)]
    assert run(Acquire(0, 2)) == [Open(2)]
    assert run(Opened(0, 1, "c1", 0)) == [Grant(1, 1, "c1", None)]
    assert run(Acquire(0, 3)) == []  # in use: one connect at most, and one is under way
    assert run(Opened(0, 2, "c2", 0)) == [Grant(2, 2, "c2", None), Open(3)]


def test_max_connecting_binds_in_an_empty_pool() -> None:
    """SRV-5: of those who wait the oldest connect, so many at once; whatever ends a connect is
    the turn of the next."""
    run = Run(max_size=9, max_connecting=2)
    assert run(Acquire(0, 1)) == [Open(1)]
    assert run(Acquire(0, 2)) == [Open(2)]
    assert [run(Acquire(0, ticket)) for ticket in (3, 4, 5, 6, 7)] == [[], [], [], [], []]
    assert run(OpenFailed(1, 1, REFUSED, 0)) == [Refuse(1, "open_failed", REFUSED), Open(3)]
    assert run(Opened(2, 2, "c2", 2)) == [Grant(2, 1, "c2", None), Open(4)]
    assert run(Cancel(3, 3)) == [Open(5)]
    assert run(Release(4, 2, 1)) == [Grant(6, 1, "c2", 0)]  # what comes back needs no turn
    assert run.opening == [4, 5]
    assert run.waiting == [7]


def test_max_opening_and_max_connecting_both_bind() -> None:
    """SRV-5: an empty pool knows only the one; then the smaller holds."""
    run = Run(max_size=9, max_opening=1, max_connecting=2)
    assert [run(Acquire(0, ticket)) for ticket in (1, 2, 3)] == [[Open(1)], [Open(2)], []]
    assert run(Opened(1, 1, "c1", 1)) == [Grant(1, 1, "c1", None)]  # max_opening: one, and 2 is
    assert run(Opened(1, 2, "c2", 1)) == [Grant(2, 2, "c2", None), Open(3)]
    run = Run(max_size=9, max_opening=2, max_connecting=1)
    assert [run(Acquire(0, ticket)) for ticket in (1, 2, 3)] == [[Open(1)], [], []]
    assert run(Opened(1, 1, "c1", 1)) == [Grant(1, 1, "c1", None), Open(2)]


def test_who_may_not_wait_for_a_turn_to_connect_is_refused() -> None:
    """SRV-5, ACQ-4, DEA-6: there is room in the pool, but not for another connect."""
    run = Run(max_size=9, max_connecting=1)
    run.lend(1)
    assert run(Acquire(1, 2)) == [Open(2)]
    assert run(Acquire(1, 3, wait=False)) == [Refuse(3, "exhausted", None)]
    assert run(Dead(1, 1, 1, wait=False)) == [
        Refuse(1, "exhausted", None),
        Close(1, "c1", "dead"),
    ]


def test_who_found_its_connection_dead_waits_for_a_turn_in_its_place() -> None:
    """SRV-5, DEA-5: before all who came later."""
    run = Run(max_size=9, max_connecting=1)
    run.lend(1)
    assert run(Acquire(1, 2)) == [Open(2)]
    assert run(Acquire(1, 3)) == []
    assert run(Dead(2, 1, 1)) == [Close(1, "c1", "dead")]
    assert run.waiting == [1, 3]
    assert run(OpenFailed(3, 2, REFUSED, 0)) == [Refuse(2, "open_failed", REFUSED), Open(1)]


def test_a_change_of_max_connecting_serves_at_once() -> None:
    """SRV-5, CFG-3: more may connect now; fewer: those under way go on, and no other begins."""
    run = Run(max_size=9, max_connecting=1)
    assert [run(Acquire(0, ticket)) for ticket in (1, 2, 3, 4)] == [[Open(1)], [], [], []]
    assert run(Configure(1, Limits(max_size=9, max_connecting=3))) == [Open(2), Open(3)]
    assert run(Configure(2, Limits(max_size=9, max_connecting=2))) == []
    assert run(Opened(3, 1, "c1", 3)) == [Grant(1, 1, "c1", None)]
    assert run(Opened(3, 2, "c2", 3)) == [Grant(2, 2, "c2", None), Open(4)]


# ---------------------------------------------------------------- settle, send away


def test_what_comes_back_becomes_idle() -> None:
    """SET-1: with `since` now and a place of its own in the order."""
    run = Run()
    run.lend(1)
    run(Release(3, 1, 1))
    (item,) = run.twin.view["idle"]
    assert item[1:] == (2, 1, "c1", 0, 0.0, 3)  # seq, key, connection, created, jitter, since
    assert run.state.next_seq == 3


def test_what_comes_back_is_closed_for_the_first_reason_that_holds() -> None:
    """SET-1: closed, then expired, then surplus."""
    run = Run(max_lifetime=10)
    run.lend(1, 2, 3)
    run(Configure(1, Limits(max_size=1, max_lifetime=10)))
    assert run(Release(2, 1, 1)) == [Close(1, "c1", "surplus")]
    assert run(Release(10, 2, 2)) == [Close(2, "c2", "lifetime")]
    run(Shutdown(11))
    assert run(Release(12, 3, 3)) == [Close(3, "c3", "closed")]


def test_a_connection_is_not_counted_against_itself() -> None:
    """SET-1: full is counted without the one that comes back."""
    run = Run(max_size=1)
    run.lend(1)
    assert run(Release(1, 1, 1)) == []
    assert run.idle == ["c1"]


@pytest.mark.parametrize(("suspended", "said"), [(False, "timeout"), (True, "suspended")])
def test_a_suspended_pool_says_so_to_who_waited_too_long(suspended: bool, said: str) -> None:
    """AWY-1: `timeout` becomes `suspended`."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    if suspended:
        run(Suspend(1))
    assert run(Expire(2, 2)) == [Refuse(2, said, None)]
    assert run.waiting == []


@pytest.mark.parametrize(("suspended", "said"), [(False, "exhausted"), (True, "suspended")])
def test_a_suspended_pool_says_so_to_who_may_not_wait(suspended: bool, said: str) -> None:
    """AWY-1: `exhausted` becomes `suspended`."""
    run = Run(max_size=1)
    run.lend(1)
    if suspended:
        run(Suspend(1))
    assert run(Acquire(2, 2, wait=False)) == [Refuse(2, said, None)]


def test_other_reasons_are_given_as_they_are() -> None:
    """AWY-1: too many waiting is too many waiting, suspended or not."""
    run = Run(max_waiting=0)
    run(Suspend(0))
    assert run(Acquire(0, 1)) == [Refuse(1, "too_many_waiting", None)]


# ---------------------------------------------------------------- Acquire


def test_a_used_ticket_is_ignored() -> None:
    """ACQ-1: tickets grow; gaps are allowed; 0 is nobody's."""
    run = Run()
    assert run.ignores(Acquire(0, 0))
    assert run(Acquire(0, 5)) == [Open(5)]
    assert run.ignores(Acquire(0, 5))
    assert run.ignores(Acquire(0, 4))
    assert run(Acquire(0, 6)) == [Open(6)]


def test_an_acquire_is_counted_and_its_ticket_used() -> None:
    """ACQ-2: `next_ticket` is one more, `issued` grows by 1."""
    run = Run()
    run(Acquire(0, 5))
    assert (run.state.next_ticket, run.state.issued) == (6, 1)


def test_a_closed_pool_refuses() -> None:
    """ACQ-2: at once, as closed."""
    run = Run()
    run(Shutdown(0))
    assert run(Acquire(1, 1)) == [Refuse(1, "closed", None)]
    assert (run.state.issued, run.count("refused")) == (1, 1)


def test_a_caller_gets_what_is_idle() -> None:
    """ACQ-3: the ticket joins the queue and is served in the same transition."""
    run = Run()
    run.lend(1)
    run(Release(1, 1, 1))
    assert run(Acquire(3, 2, owner="me")) == [Grant(2, 1, "c1", 2)]
    lease = leased(run.state.in_use)[1]
    assert (lease.checked_out, lease.ticket, lease.owner, lease.leaked) == (3, 2, "me", False)
    assert run.state.granted == 2


def test_a_newcomer_goes_to_the_back() -> None:
    """ACQ-3: and waits for its turn."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(1, 2))
    run(Acquire(1, 3))
    assert run.waiting == [2, 3]
    assert run(Release(2, 1, 1)) == [Grant(2, 1, "c1", 0)]


def test_who_may_not_wait_is_refused_at_once() -> None:
    """ACQ-4: unless it got a connection, or a turn to connect."""
    run = Run(max_size=1)
    assert run(Acquire(0, 1, wait=False)) == [Open(1)]
    assert run(Acquire(0, 2, wait=False)) == [Refuse(2, "exhausted", None)]
    assert run.waiting == []


def test_a_background_connect_for_one_who_did_not_wait_goes_on() -> None:
    """ACQ-4: the next one who tries may profit."""
    run = background()
    assert run(Acquire(0, 1, wait=False)) == [Refuse(1, "exhausted", None), Open(None)]
    assert run(Opened(1, None, "c1", 0)) == []
    assert run(Acquire(1, 2, wait=False)) == [Grant(2, 1, "c1", 0)]


def test_no_more_than_max_waiting_wait() -> None:
    """ACQ-5: one more is sent away; who may not wait is exhausted, as ever."""
    run = Run(max_size=1, max_waiting=1)
    run.lend(1)
    assert run(Acquire(0, 2)) == []
    assert run(Acquire(0, 3)) == [Refuse(3, "too_many_waiting", None)]
    assert run(Acquire(0, 4, wait=False)) == [Refuse(4, "exhausted", None)]
    assert run.waiting == [2]


def test_max_waiting_zero_still_serves() -> None:
    """ACQ-5: only who still waits after being served is too many."""
    run = Run(max_size=1, max_waiting=0)
    assert run(Acquire(0, 1)) == [Open(1)]
    assert run(Acquire(0, 2)) == [Refuse(2, "too_many_waiting", None)]


# ---------------------------------------------------------------- Opened


@pytest.mark.parametrize("ticket", [None, 1, 7])
def test_a_connect_that_nobody_asked_for_is_closed(ticket: int | None) -> None:
    """OPN-1: it was opened all the same, and has a key."""
    run = Run()
    assert run(Opened(0, ticket, "c1", 0)) == [Close(1, "c1", "unasked")]
    assert (run.count("opened"), run.count("closed"), run.state.next_seq) == (1, 1, 2)


def test_a_connect_asked_for_in_the_other_way_is_closed() -> None:
    """OPN-1: a ticket's connect does not answer nobody's, nor the other way round."""
    run = Run()
    run(Acquire(0, 1))
    assert run(Opened(0, None, "c1", 0)) == [Close(1, "c1", "unasked")]
    run = background()
    run(Acquire(0, 1))
    assert run(Opened(0, 1, "c1", 0)) == [Close(1, "c1", "unasked")]


def test_a_connect_of_a_cancelled_caller_is_closed() -> None:
    """OPN-1: it comes too late."""
    run = Run()
    run(Acquire(0, 1))
    run(Cancel(1, 1))
    assert run(Opened(2, 1, "c1", 2)) == [Close(1, "c1", "unasked")]


def test_a_caller_gets_its_own_connection() -> None:
    """OPN-2: `rested` none; the last error is forgotten."""
    run = Run(max_size=2)
    run(Acquire(0, 1, owner="me"))
    run(Acquire(0, 2))
    run(OpenFailed(1, 2, REFUSED))
    assert run.state.last_error == REFUSED
    assert run(Opened(2, 1, "c1", 2, jitter=0.5)) == [Grant(1, 1, "c1", None)]
    assert run.state.last_error is None
    lease = leased(run.state.in_use)[1]
    assert (lease.owner, lease.entry.jitter) == ("me", 0.5)


def test_a_caller_gets_its_own_connection_while_suspended_and_whatever_the_size() -> None:
    """OPN-2: it made it, it has it."""
    run = Run(max_size=2)
    run(Acquire(0, 1))
    run(Acquire(0, 2))
    run(Configure(1, Limits(max_size=1)))
    run(Suspend(1))
    assert run(Opened(2, 2, "c1", 2)) == [Grant(2, 1, "c1", None)]
    assert run(Opened(2, 1, "c2", 2)) == [Grant(1, 2, "c2", None)]


def test_nobodys_connection_goes_to_the_oldest_waiter() -> None:
    """OPN-3: and ends an outage."""
    run = background(backoff_initial=1)
    run(Acquire(0, 1))
    run(Opened(0, None, "c1", 0))
    run(Acquire(0, 2))
    run(Acquire(0, 3))
    run(OpenFailed(1, None, REFUSED))
    assert (run.state.failures, run.state.retry_at) == (1, 2)
    assert run(Opened(1.5, None, "c2", 1.5)) == [Grant(2, 2, "c2", None), Open(None)]
    assert (run.state.failures, run.state.retry_at, run.state.last_error) == (0, None, None)


def test_a_connect_slower_than_a_lifetime_starves_nobody() -> None:
    """OPN-3: it is granted, expired or not."""
    run = background(max_lifetime=1)
    run(Acquire(0, 1))
    assert run(Opened(9, None, "c1", 0)) == [Grant(1, 1, "c1", None)]


def test_a_full_pool_grants_no_connection_more() -> None:
    """OPN-3: full is counted without this connection; OPN-4: so it is settled, as surplus."""
    run = background(max_size=2)
    run(Acquire(0, 1))
    run(Opened(0, None, "c1", 0))
    run(Acquire(0, 2))
    run(Configure(1, Limits(opener="background", max_size=1)))
    assert run(Opened(2, None, "c2", 2)) == [Close(2, "c2", "surplus")]
    assert run.waiting == [2]


def test_nobodys_connection_with_nobody_waiting_becomes_idle() -> None:
    """OPN-4: as it does in a suspended pool, whoever waits."""
    run = background()
    run(Acquire(0, 1))
    run(Suspend(0))
    assert run(Opened(1, None, "c1", 1)) == []
    assert (run.idle, run.waiting) == (["c1"], [1])


def test_nobodys_connection_to_a_closed_pool_is_closed() -> None:
    """OPN-4: it was asked for, so it is settled."""
    run = background()
    run(Acquire(0, 1))
    run(Shutdown(0))
    assert run(Opened(1, None, "c1", 1)) == [Close(1, "c1", "closed")]


# ---------------------------------------------------------------- OpenFailed


@pytest.mark.parametrize("ticket", [None, 1, 7])
def test_a_failure_of_a_connect_that_nobody_asked_for_is_ignored(ticket: int | None) -> None:
    """OPF-1: whose ever it is."""
    run = Run()
    assert run.ignores(OpenFailed(0, ticket, REFUSED))
    assert run.state.last_error is None


def test_a_failed_connect_refuses_its_own_caller_only() -> None:
    """OPF-2: with the error; the room goes to the next."""
    run = Run(max_size=1)
    run(Acquire(0, 1))
    run(Acquire(0, 2))
    assert run(OpenFailed(1, 1, REFUSED)) == [Refuse(1, "open_failed", REFUSED), Open(2)]
    assert run.state.last_error == REFUSED


def test_pauses_double_up_to_the_longest() -> None:
    """OPF-3: 1, 2, 4, then always `backoff_max`; less the jitter."""
    run = background(backoff_initial=1, backoff_max=5, min_idle=1)
    now = 0.0
    run(Tick(now))
    for failures, pause in enumerate([1, 2, 4, 5, 5], start=1):
        assert run(OpenFailed(now, None, REFUSED)) == []
        assert (run.state.failures, run.state.retry_at) == (failures, now + pause)
        now += pause
        assert run(Tick(now)) == [Open(None)]
    run(OpenFailed(now, None, REFUSED, jitter=0.5))
    assert run.state.retry_at == now + 2.5


def test_a_very_long_outage_does_not_overflow() -> None:
    """OPF-3: the exponent is at most 60."""
    run = background(min_idle=1, backoff_initial=1, backoff_max=2.0**70)
    run(Tick(0))
    for _ in range(64):
        run(OpenFailed(0, None, REFUSED))
        pause = run.state.retry_at
        run(Tick(pause))
    assert (run.state.failures, pause) == (64, 2.0**60)


def test_the_failures_of_one_outage_back_off_once() -> None:
    """OPF-3: while backing off, another failure changes `last_error` only."""
    run = background(backoff_initial=1, min_idle=2)
    run(Tick(0))
    run(OpenFailed(0, None, REFUSED))
    run(OpenFailed(0.5, None, AWAY))
    assert (run.state.failures, run.state.retry_at, run.state.last_error) == (1, 1, AWAY)


def test_a_failure_at_the_end_of_a_pause_counts() -> None:
    """OPF-3: at `retry_at` the pool is not backing off any more."""
    run = background(backoff_initial=1, backoff_max=4, min_idle=2)
    run(Tick(0))
    run(OpenFailed(0, None, REFUSED))
    run(OpenFailed(1, None, REFUSED))
    assert (run.state.failures, run.state.retry_at) == (2, 3)


def test_a_pool_that_never_had_a_connection_refuses_everybody() -> None:
    """OPF-4: in ticket order, with the error: a wrong password shows at once."""
    run = background()
    run(Acquire(0, 1))
    run(Acquire(0, 2))
    assert run(OpenFailed(0, None, REFUSED)) == [
        Refuse(1, "open_failed", REFUSED),
        Refuse(2, "open_failed", REFUSED),
    ]


def test_a_pool_that_once_had_a_connection_keeps_its_waiters() -> None:
    """OPF-4: callers get what comes first, or their deadline with the last error."""
    run = background()
    run(Acquire(0, 1))
    run(Opened(0, None, "c1", 0))
    run(Acquire(0, 2))
    assert run(OpenFailed(0, None, REFUSED)) == []
    assert run(Expire(1, 2)) == [Refuse(2, "timeout", REFUSED)]


def test_a_suspended_pool_keeps_its_waiters() -> None:
    """OPF-4: only an open pool refuses them."""
    run = background()
    run(Acquire(0, 1))
    run(Suspend(0))
    assert run(OpenFailed(0, None, REFUSED)) == []
    assert run.waiting == [1]


# ---------------------------------------------------------------- Dead


def test_only_the_holder_may_call_its_connection_dead() -> None:
    """DEA-1: not another ticket, not of another key."""
    run = Run()
    run.lend(1, 2)
    assert run.ignores(Dead(1, 1, 2))
    assert run.ignores(Dead(1, 1, 9))
    run(Release(1, 1, 1))
    assert run.ignores(Dead(1, 1, 1))


def test_a_dead_connection_that_was_closed_meanwhile_is_ignored() -> None:
    """DEA-1: the caller starts anew."""
    run = Run()
    run.lend(1)
    run(CloseAll(1))
    assert run.ignores(Dead(2, 1, 1))


def test_an_adopted_connection_has_no_caller_to_serve_again() -> None:
    """DEA-2: ticket 0 is ignored."""
    run = Run()
    run(Adopt(0, in_use=(AdoptLease(None, "a1", 0, 0),)))
    assert run.ignores(Dead(1, 0, 1))


def test_a_dead_connection_is_closed_and_its_grant_taken_back() -> None:
    """DEA-3: and the ticket is served again in the same transition."""
    run = Run(idle_order="fifo")
    run.lend(1, 2, 3)
    run(Release(1, 1, 1))
    run(Release(1, 2, 2))
    run(Acquire(5, 4))
    assert run(Dead(5, 4, 1)) == [Grant(4, 2, "c2", 4), Close(1, "c1", "dead")]
    assert (run.count("dead"), run.state.granted) == (1, 5)


def test_dead_after_shutdown_is_refused() -> None:
    """DEA-4: there is nothing else to have."""
    run = Run()
    run.lend(1)
    run(Shutdown(1))
    assert run(Dead(2, 1, 1)) == [Refuse(1, "closed", None), Close(1, "c1", "dead")]


def test_who_found_its_connection_dead_keeps_its_place() -> None:
    """DEA-5: in ticket order, with its owner."""
    run = Run(max_size=2)
    run(Acquire(0, 1, owner="me"))
    run(Opened(0, 1, "c1", 0))
    run.lend(2)
    run(Acquire(0, 3))
    run(Suspend(1))
    assert run(Dead(2, 2, 2)) == [Close(2, "c2", "dead")]
    assert run(Dead(2, 1, 1)) == [Close(1, "c1", "dead")]
    assert run.waiting == [1, 2, 3]
    assert run(Resume(3)) == [Open(1), Open(2)]
    assert run.state.opening_tickets[1] == "me"


def test_its_old_place_may_be_between_others() -> None:
    """DEA-5: not simply the front."""
    run = Run(max_size=3)
    run.lend(1, 2, 3)
    run(Suspend(1))
    run(Acquire(1, 4))
    for ticket in (1, 3, 2):
        run(Dead(2, ticket, ticket))
    assert run.waiting == [1, 2, 3, 4]


def test_dead_without_waiting_is_refused_when_nothing_is_to_be_had() -> None:
    """DEA-6: as any who may not wait."""
    run = background(max_size=1)
    run(Acquire(0, 1))
    run(Opened(0, None, "c1", 0))
    assert run(Dead(1, 1, 1, wait=False)) == [
        Refuse(1, "exhausted", None),
        Close(1, "c1", "dead"),
        Open(None),
    ]


def test_dead_without_waiting_may_still_connect() -> None:
    """DEA-6: the room that it leaves is its own."""
    run = Run(max_size=1)
    run.lend(1)
    assert run(Dead(1, 1, 1, wait=False)) == [Open(1), Close(1, "c1", "dead")]


# ---------------------------------------------------------------- Release, Discard


@pytest.mark.parametrize("returns", [Release, Discard])
def test_only_the_holder_may_return_a_connection(returns: type[Release] | type[Discard]) -> None:
    """REL-1, DIS-1: the ticket is a fence: an old one ends no lease of another."""
    run = Run()
    run.lend(1)
    run(Release(1, 1, 1))
    run(Acquire(2, 2))  # the same connection, another lease
    assert run.ignores(returns(3, 1, 1))
    assert run.ignores(returns(3, 2, 9))
    assert run.holders == {2: "c1"}


def test_what_could_not_be_reset_is_closed() -> None:
    """REL-2: not returned; the room goes to the next."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    assert run(Release(1, 1, 1, reusable=False)) == [Open(2), Close(1, "c1", "not_reusable")]


def test_a_released_connection_is_handed_to_the_oldest_waiter() -> None:
    """REL-3: in the same transition: nobody barges."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    run(Acquire(0, 3))
    assert run(Release(1, 1, 1)) == [Grant(2, 1, "c1", 0)]
    assert run(Release(2, 2, 1)) == [Grant(3, 1, "c1", 0)]
    assert run(Release(3, 3, 1)) == []
    assert run.idle == ["c1"]


def test_an_adopted_lease_is_returned_with_ticket_zero() -> None:
    """REL-3: nobody's ticket is still the ticket of its lease."""
    run = Run()
    run(Adopt(0, in_use=(AdoptLease(None, "a1", 0, 0),)))
    assert run(Release(1, 0, 1)) == []
    assert run.idle == ["a1"]


def test_a_discarded_connection_is_closed_and_its_room_used() -> None:
    """DIS-2: the next waiter connects."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    assert run(Discard(1, 1, 1)) == [Open(2), Close(1, "c1", "discarded")]


# ---------------------------------------------------------------- Expire, Cancel


def test_a_deadline_that_comes_too_late_is_ignored() -> None:
    """EXP-1: granted or opening, the caller keeps what it got."""
    run = Run()
    run(Acquire(0, 1))
    assert run.ignores(Expire(1, 1))
    run(Opened(1, 1, "c1", 1))
    assert run.ignores(Expire(2, 1))
    assert run.ignores(Expire(2, 7))


def test_a_deadline_refuses_who_still_waits() -> None:
    """EXP-2: with the last error, if there was one."""
    run = Run(max_size=1)
    run(Acquire(0, 1))
    run(OpenFailed(0, 1, REFUSED))
    run(Acquire(0, 2))
    run(Acquire(0, 3))
    assert run(Expire(5, 3)) == [Refuse(3, "timeout", REFUSED)]
    assert run.waiting == []


@pytest.mark.parametrize("ticket", [0, 2, 9])
def test_cancel_of_nobody_is_ignored(ticket: int) -> None:
    """CAN-1: answered, unknown, or 0, which is nobody's even if it has a lease."""
    run = Run()
    run(Adopt(0, in_use=(AdoptLease(None, "a1", 0, 0),)))
    run(Acquire(0, 2))
    run(OpenFailed(0, 2, REFUSED))
    assert run.ignores(Cancel(1, ticket))


def test_cancel_of_a_waiter() -> None:
    """CAN-2: it leaves the queue, whichever its place, and nobody else does."""
    for ticket, left in [(2, [3, 4]), (3, [2, 4]), (4, [2, 3])]:
        run = Run(max_size=1)
        run.lend(1)
        for waiter in (2, 3, 4):
            run(Acquire(0, waiter))
        assert run(Cancel(1, ticket)) == []
        assert (run.waiting, run.count("cancelled")) == (left, 1)


def test_cancel_of_who_is_connecting() -> None:
    """CAN-3: the room goes to the next."""
    run = Run(max_size=1)
    run(Acquire(0, 1))
    run(Acquire(0, 2))
    assert run(Cancel(1, 1)) == [Open(2)]
    assert (run.opening, run.count("cancelled")) == ([2], 1)


def test_cancel_of_a_grant_that_was_never_delivered() -> None:
    """CAN-4: the connection is settled: it goes to the next, or to idle."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    assert run(Cancel(1, 1)) == [Grant(2, 1, "c1", 0)]
    assert run(Cancel(2, 2)) == []
    assert (run.idle, run.count("cancelled")) == (["c1"], 0)


# ---------------------------------------------------------------- CloseIdle, CloseStale, CloseAll


def test_close_idle() -> None:
    """CLI-1: all that is idle, in the order it would be lent; nothing in use."""
    run = Run(idle_order="fifo")
    run.lend(1, 2, 3)
    run(Release(1, 2, 2))
    run(Release(1, 1, 1))
    assert run(CloseIdle(2)) == [Close(2, "c2", "close_idle"), Close(1, "c1", "close_idle")]
    assert run.holders == {3: "c3"}


def test_close_idle_of_a_pool_that_owes_idle_connections() -> None:
    """CLI-1: they are opened anew, in the same transition."""
    run = background(min_idle=1)
    run(Tick(0))
    run(Opened(0, None, "c1", 0))
    assert run(CloseIdle(1)) == [Close(1, "c1", "close_idle"), Open(None)]


def test_close_stale() -> None:
    """CST-1: leases checked out before then, in the order of their keys; nothing idle."""
    run = Run(max_size=4)
    for ticket in (1, 2, 3, 4):
        run.lend(ticket, now=ticket)
    run(Release(4, 4, 4))
    run(Acquire(4, 5))  # key 4 again
    assert run(CloseStale(9, before=3)) == [Close(1, "c1", "stale"), Close(2, "c2", "stale")]
    assert run.holders == {3: "c3", 5: "c4"}


def test_close_stale_wakes_a_waiter() -> None:
    """CST-1: the room is used at once."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(1, 2))
    assert run(CloseStale(9, before=1)) == [Open(2), Close(1, "c1", "stale")]


def test_close_all() -> None:
    """CAL-1: first what is idle; CAL-2: then what is in use, by key."""
    run = Run(max_size=3)
    run.lend(1, 2, 3)
    run(Release(1, 3, 3))
    run(Release(1, 2, 2))
    assert run(CloseAll(2)) == [
        Close(2, "c2", "close_all"),
        Close(3, "c3", "close_all"),
        Close(1, "c1", "close_all"),
    ]
    assert run.ignores(Release(3, 1, 1))


def test_close_all_wakes_a_waiter_which_gets_a_new_connection() -> None:
    """CAL-2: never one of those closed."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(1, 2))
    assert run(CloseAll(2)) == [Open(2), Close(1, "c1", "close_all")]


# ---------------------------------------------------------------- Retire


def test_retire_of_a_closed_pool_is_ignored() -> None:
    """RET-1: there is nothing to retire."""
    run = Run()
    run(Shutdown(0))
    assert run.ignores(Retire(1))


def test_retire_never_goes_back() -> None:
    """RET-2: the greater of the two times holds."""
    run = Run()
    run(Retire(5))
    run(Retire(3))
    assert run.state.retire_before == 5


def test_retire_closes_the_idle_at_once_and_the_others_when_they_come_back() -> None:
    """RET-3: what is idle and has expired, in the order it would be lent."""
    run = Run(idle_order="fifo", max_lifetime=10)
    run.lend(1, 2, 3)
    run(Release(1, 2, 2))
    run(Release(1, 1, 1))
    assert run(Retire(4)) == [Close(2, "c2", "retired"), Close(1, "c1", "retired")]
    assert run(Release(5, 3, 3)) == [Close(3, "c3", "retired")]


# ---------------------------------------------------------------- Tick


def test_tick_closes_what_has_expired() -> None:
    """TIC-1: for its reason, in the order it would be lent; the rest stays."""
    run = Run(idle_order="oldest", max_lifetime=10)
    for ticket in (1, 2, 3):
        run.lend(ticket, now=ticket)
    for ticket in (3, 2, 1):
        run(Release(4, ticket, ticket))
    assert run(Tick(12)) == [Close(1, "c1", "lifetime"), Close(2, "c2", "lifetime")]
    assert run.idle == ["c3"]


def test_tick_closes_what_rested_too_long_down_to_min_idle() -> None:
    """TIC-2: the longest rested first, whatever the order of lending."""
    run = background(min_idle=1, max_idle=5, idle_order="lifo")
    run(Tick(0))
    run(Opened(0, None, "c1", 0))
    run(Acquire(0, 1))  # takes c1; one is owed
    run(Opened(0, None, "c2", 0))
    run(Acquire(0, 2))  # takes c2; one is owed
    run(Opened(0, None, "c3", 0))
    run(Release(1, 2, 3))
    run(Release(2, 1, 1))
    assert run.idle == ["c1", "c2", "c3"]
    assert run(Tick(4.75)) == []
    assert run(Tick(5)) == [Close(5, "c3", "rested")]
    assert run(Tick(99)) == [Close(3, "c2", "rested")]
    assert run.idle == ["c1"]


def test_equal_rest_goes_by_seq() -> None:
    """TIC-2: the smaller `seq` is closed first."""
    run = Run(max_idle=5)
    run.lend(1, 2)
    run(Release(1, 2, 2))
    run(Release(1, 1, 1))
    assert run(Tick(6)) == [Close(2, "c2", "rested"), Close(1, "c1", "rested")]


def test_equal_rest_and_seq_goes_by_key() -> None:
    """TIC-2: only an adapter can put in two of one `seq`."""
    run = Run(max_idle=5, idle_order="oldest")
    put = tuple(AdoptIdle(None, f"a{n}", created=9 - n, seq=0) for n in (1, 2, 3))
    run(Adopt(9, idle=put))
    assert run.idle == ["a3", "a2", "a1"]
    assert [effect.connection for effect in run(Tick(14))] == ["a1", "a2", "a3"]


def test_tick_reports_a_leak_once() -> None:
    """TIC-3: from `checked_out` + `leak_after` on, in the order of keys."""
    run = Run(leak_after=5)
    run(Acquire(0, 1, owner="me"))
    run(Opened(1, 1, "c1", 1))
    run.lend(2, now=2)
    assert run(Tick(5.75)) == []
    assert run(Tick(8)) == [Leaked(1, 1, "me", 7), Leaked(2, 2, None, 6)]
    assert run(Tick(9)) == []
    assert leased(run.state.in_use)[1].leaked


def test_a_new_lease_may_leak_again() -> None:
    """TIC-3: once for each lease, not for each connection."""
    run = Run(leak_after=5)
    run.lend(1)
    run(Tick(5))
    run(Release(6, 1, 1))
    run(Acquire(6, 2))
    assert run(Tick(11)) == [Leaked(2, 1, None, 5)]


# ---------------------------------------------------------------- Configure


def test_configure_of_a_closed_pool_is_ignored() -> None:
    """CFG-1: there is nothing to limit."""
    run = Run()
    run(Shutdown(0))
    assert run.ignores(Configure(1, Limits(max_size=1)))


def test_the_opener_cannot_change() -> None:
    """CFG-2: it decides whose the connects under way are."""
    run = Run()
    assert run.ignores(Configure(1, Limits(opener="background")))


def test_configure_orders_the_idle_anew() -> None:
    """CFG-3: by the `idle_order` now in force."""
    run = Run(idle_order="fifo")
    run.lend(1, 2)
    run(Release(1, 1, 1))
    run(Release(1, 2, 2))
    assert run.idle == ["c1", "c2"]
    limits = Limits(idle_order="lifo")
    assert run(Configure(2, limits)) == []
    assert (run.idle, run.state.limits) == (["c2", "c1"], limits)


def test_configure_makes_room_for_waiters() -> None:
    """CFG-3: the new limits serve at once."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    assert run(Configure(1, Limits(max_size=2))) == [Open(2)]


def test_a_shrink_closes_idle_connections_last_lent_first() -> None:
    """CFG-4: while size, connects under way included, is above `max_size`."""
    run = Run(max_size=5, idle_order="fifo")
    run.lend(1, 2, 3, 4)
    run(Acquire(0, 5))
    for ticket in (1, 2, 3):
        run(Release(1, ticket, ticket))
    assert run(Configure(2, Limits(max_size=3, idle_order="fifo"))) == [
        Close(3, "c3", "surplus"),
        Close(2, "c2", "surplus"),
    ]
    assert run(Configure(3, Limits(max_size=1))) == [Close(1, "c1", "surplus")]
    assert (run.holders, run.opening) == ({4: "c4"}, [5])


# ---------------------------------------------------------------- Suspend, Resume, Shutdown


def test_only_an_open_pool_is_suspended() -> None:
    """SUS-1: not one that is suspended already, nor a closed one."""
    for before in (Suspend(0), Shutdown(0)):
        run = Run()
        run(before)
        assert run.ignores(Suspend(1))


def test_a_suspended_pool_lets_tickets_queue() -> None:
    """SUS-2: nothing leaves the queue to be served, though something is idle."""
    run = Run()
    run.lend(1)
    run(Release(0, 1, 1))
    assert run(Suspend(1)) == []
    assert run(Acquire(2, 2)) == []
    assert (run.state.phase, run.waiting, run.idle) == ("suspended", [2], ["c1"])


def test_only_a_suspended_pool_is_resumed() -> None:
    """RES-1: not an open one, and closed is for ever."""
    run = Run()
    assert run.ignores(Resume(0))
    run(Shutdown(0))
    assert run.ignores(Resume(1))


def test_resume_serves_those_who_waited() -> None:
    """RES-2: in the same transition."""
    run = Run()
    run(Suspend(0))
    run(Acquire(1, 1))
    assert run(Resume(2)) == [Open(1)]
    assert run.state.phase == "open"


def test_a_closed_pool_is_not_closed_again() -> None:
    """SHU-1: ignored."""
    run = Run()
    run(Shutdown(0))
    assert run.ignores(Shutdown(1))


@pytest.mark.parametrize("before", [Tick(0), Suspend(0)])
def test_closed_is_for_ever(before: Event) -> None:
    """SHU-2: from open or suspended."""
    run = Run()
    run(before)
    assert run(Shutdown(1)) == []
    assert run.state.phase == "closed"


def test_shutdown_refuses_all_who_have_no_answer() -> None:
    """SHU-3: waiting or connecting, in ticket order; a late connect is closed."""
    run = Run(max_size=2)
    for ticket in (1, 2, 3):
        run(Acquire(0, ticket))
    assert run(Shutdown(1)) == [Refuse(ticket, "closed", None) for ticket in (1, 2, 3)]
    assert run(Opened(2, 1, "c1", 2)) == [Close(1, "c1", "unasked")]
    assert run.ignores(OpenFailed(2, 2, REFUSED))


def test_shutdown_closes_what_is_idle() -> None:
    """SHU-4: at once; what is in use when it comes back."""
    run = Run(idle_order="fifo")
    run.lend(1, 2, 3)
    run(Release(1, 2, 2))
    run(Release(1, 1, 1))
    assert run(Shutdown(2)) == [Close(2, "c2", "closed"), Close(1, "c1", "closed")]
    assert run(Release(3, 3, 3)) == [Close(3, "c3", "closed")]


# ---------------------------------------------------------------- Forked


def test_a_fork_refuses_all_who_have_no_answer() -> None:
    """FRK-1: they asked the parent; with the last error, in ticket order."""
    run = Run(max_size=2)
    for ticket in (1, 2, 3):
        run(Acquire(0, ticket))
    run(OpenFailed(0, 2, REFUSED))  # so 3 connects
    assert run(Forked(1)) == [Refuse(1, "forked", REFUSED), Refuse(3, "forked", REFUSED)]


def test_a_fork_forgets_what_is_the_parents() -> None:
    """FRK-2: without a close; tickets and keys go on from where they were."""
    run = Run()
    run.lend(1, 2)
    run(Release(1, 1, 1))
    run(Retire(1))
    run.lend(3, now=1)
    run(Release(1, 3, 4))
    before = run.state
    assert run(Forked(2)) == []
    assert (run.state.size, run.count("forgotten"), run.state.retire_before) == (0, 2, 0)
    for field in ("limits", "phase", "next_seq", "next_ticket", "issued", "granted"):
        assert getattr(run.state, field) == getattr(before, field)
    assert run.ignores(Release(3, 2, 2))


def test_a_fork_ends_an_outage_and_opens_what_is_owed() -> None:
    """FRK-2: the child's network is its own; it serves as any other event."""
    run = background(min_idle=1, backoff_initial=1)
    run(Tick(0))
    run(OpenFailed(0, None, REFUSED))
    assert run(Forked(0.5)) == [Open(None)]
    state = run.state
    assert (state.failures, state.retry_at, state.last_error) == (0, None, None)
    assert state.opening_background == 1


# ---------------------------------------------------------------- Adopt


def test_a_closed_pool_adopts_nothing() -> None:
    """ADO-1: ignored."""
    run = Run()
    run(Shutdown(0))
    assert run.ignores(Adopt(1, idle=(AdoptIdle(None, "a1", 0, 1),)))


def test_what_an_adapter_removed_is_forgotten() -> None:
    """ADO-2: idle or in use; others, and a key named twice, are passed over."""
    run = Run(max_size=2)
    run.lend(1, 2)
    run(Release(1, 1, 1))
    assert run(Adopt(2, removed=(1, 2, 2, 9))) == []
    assert (run.state.size, run.count("forgotten")) == (0, 2)


def test_what_an_adapter_put_in_is_idle() -> None:
    """ADO-3: a new key, above all given `seq`; jitter 0, at rest since now."""
    run = Run(max_lifetime=10)
    assert run(Adopt(5, idle=(AdoptIdle(None, "a1", created=1, seq=7),))) == []
    (item,) = run.twin.view["idle"]
    assert item[1:] == (7, 8, "a1", 1, 0.0, 5)  # seq, key, connection, created, jitter, since
    assert (run.count("adopted"), run.state.next_seq) == (1, 9)


def test_what_an_adapter_changed_stays_the_same_connection() -> None:
    """ADO-3: a known key takes connection, `created`, `seq`; keeps jitter and `since`."""
    run = Run()
    run(Acquire(0, 1))
    run(Opened(0, 1, "c1", 0, jitter=0.25))
    run(Release(2, 1, 1))
    run(Adopt(5, idle=(AdoptIdle(1, "a1", created=1, seq=0),)))
    assert run.twin.view["idle"][0][1:] == (0, 1, "a1", 1, 0.25, 2)
    assert run.count("adopted") == 0


def test_an_unknown_key_is_a_new_connection() -> None:
    """ADO-3: as is one that is in use, not idle."""
    run = Run()
    run.lend(1)
    run(Adopt(5, idle=(AdoptIdle(9, "a1", 1, 0), AdoptIdle(1, "a2", 1, 0))))
    assert (sorted(run.idle), run.holders) == (["a1", "a2"], {1: "c1"})
    assert run.count("adopted") == 2


def test_next_seq_is_above_what_the_adapter_counted() -> None:
    """ADO-3: the greatest of all; never less than it was."""
    run = Run()
    run(Adopt(0, next_seq=12))
    assert run.state.next_seq == 12
    run(Adopt(0, next_seq=3))
    assert run.state.next_seq == 12
    run(Adopt(0, idle=(AdoptIdle(None, "a1", 0, seq=20),)))
    assert run.state.next_seq == 22  # 20, then the key


def test_what_an_adapter_says_is_in_use() -> None:
    """ADO-4: new: ticket 0, no owner."""
    run = Run()
    run(Adopt(5, in_use=(AdoptLease(None, "a1", created=1, checked_out=2),)))
    lease = leased(run.state.in_use)[1]
    assert (lease.checked_out, lease.ticket, lease.owner, lease.leaked) == (2, 0, None, False)
    assert (lease.entry.connection, lease.entry.created, run.count("adopted")) == ("a1", 1, 1)


def test_a_changed_lease_keeps_its_ticket() -> None:
    """ADO-4: its holder can still return it."""
    run = Run()
    run(Acquire(0, 1, owner="me"))
    run(Opened(0, 1, "c1", 0, jitter=0.25))
    run(Adopt(5, in_use=(AdoptLease(1, "a1", created=1, checked_out=2),)))
    lease = leased(run.state.in_use)[1]
    assert (lease.entry, lease.checked_out) == (Entry(1, "a1", 1, 0.25), 2)
    assert (lease.ticket, lease.owner) == (1, "me")
    assert run(Release(6, 1, 1)) == []


def test_adopted_connections_are_ordered_and_trimmed() -> None:
    """ADO-5: by the order in force; above `max_size` the last lent is closed."""
    run = Run(max_size=2, idle_order="oldest")
    ages = [("a1", 3), ("a2", 1), ("a3", 2)]
    put = tuple(AdoptIdle(None, name, created, 0) for name, created in ages)
    assert run(Adopt(5, idle=put)) == [Close(1, "a1", "surplus")]
    assert run.idle == ["a2", "a3"]


def test_an_adopted_connection_goes_to_who_waits() -> None:
    """ADO-5: and then the queue is served, as ever."""
    run = Run(max_size=1)
    run.lend(1)
    run(Acquire(0, 2))
    event = Adopt(5, idle=(AdoptIdle(None, "a1", 0, 1),), removed=(1,))
    assert run(event) == [Grant(2, 2, "a1", 0)]


# ---------------------------------------------------------------- when to tick


def test_a_pool_with_nothing_to_wait_for_needs_no_tick() -> None:
    """WAK-1: none."""
    run = Run(max_lifetime=10, max_idle=5, leak_after=3)
    assert wake_at(run.state) is None


def test_wake_at_is_the_first_of_all_times() -> None:
    """WAK-1: the end of a life, of a rest, of the patience with a holder."""
    run = Run(max_lifetime=10, leak_after=7)
    run(Acquire(0, 1))
    run(Opened(1, 1, "c1", 1, jitter=0.5))
    assert wake_at(run.state) == 8  # a leak
    run(Release(2, 1, 1))
    assert wake_at(run.state) == 6  # 1 + 10 × 0.5
    run(Configure(2, Limits(max_idle=3, max_lifetime=10)))
    assert wake_at(run.state) == 5  # at rest since 2
    run(Configure(2, Limits()))
    assert wake_at(run.state) is None


def test_a_reported_leak_needs_no_tick() -> None:
    """WAK-1: only leases that are not `leaked` count."""
    run = Run(leak_after=7)
    run.lend(1)
    run(Tick(7))
    assert wake_at(run.state) is None


def test_what_min_idle_keeps_needs_no_tick() -> None:
    """WAK-1: rests count while more than `min_idle` are idle."""
    run = background(min_idle=1, max_idle=3)
    run(Tick(0))
    run(Opened(0, None, "c1", 0))
    assert wake_at(run.state) is None


def test_the_end_of_a_pause_needs_a_tick_while_open() -> None:
    """WAK-1: `retry_at`, if the pool is open."""
    run = background(min_idle=1, backoff_initial=1)
    run(Tick(0))
    run(OpenFailed(2, None, REFUSED))
    assert wake_at(run.state) == 3
    run(Suspend(2))
    assert wake_at(run.state) is None


def test_what_was_adopted_after_it_was_retired_needs_a_tick_at_once() -> None:
    """WAK-1: only an adapter can put in what has expired already."""
    run = Run()
    run(Retire(5))
    run(Adopt(6, idle=(AdoptIdle(None, "a1", created=1, seq=1),)))
    assert wake_at(run.state) == 0
    assert run(Tick(6)) == [Close(2, "a1", "retired")]  # seq 1 was taken, so its key is 2


# ---------------------------------------------------------------- what only mutants asked for


def test_max_opening_binds_where_connects_are_nobodys() -> None:
    """SRV-5: of three who wait, two may be connected for while something is in use."""
    run = background(max_size=9, max_opening=2)
    run(Acquire(0, 1))
    run(Opened(0, None, "c1", 0))
    assert run.holders == {1: "c1"}
    assert [run(Acquire(1, ticket)) for ticket in (2, 3, 4)] == [[Open(None)], [Open(None)], []]
    assert run(Opened(2, None, "c2", 2)) == [Grant(2, 2, "c2", None), Open(None)]


def test_max_connecting_binds_where_connects_are_nobodys() -> None:
    """SRV-4, SRV-5: for those who wait and for min_idle, after a pause too."""
    run = background(max_size=9, min_idle=3, max_connecting=2, backoff_initial=1, backoff_max=1)
    assert run(Tick(0)) == [Open(None), Open(None)]
    assert run(Acquire(0, 1)) == []
    assert run(Opened(1, None, "c1", 1)) == [Grant(1, 1, "c1", None), Open(None)]
    assert run(OpenFailed(2, None, REFUSED, 0)) == []
    assert run(OpenFailed(2, None, REFUSED, 0)) == []
    assert run(Tick(2.5)) == []
    assert run(Tick(3)) == [Open(None), Open(None)]
    assert run(Opened(4, None, "c2", 4)) == [Open(None)]
    assert run(CloseAll(5)) == [Close(2, "c2", "close_all"), Close(1, "c1", "close_all")]
    assert run.state.opening_background == 2


def test_who_gets_a_connection_that_was_nobodys_keeps_its_owner() -> None:
    """OPN-3: the lease has the owner that the ticket came with."""
    run = background(max_size=1)
    run(Acquire(0, 1, owner="ada"))
    run(Opened(0, None, "c1", 0))
    assert [lease.owner for lease in leased(run.state.in_use).values()] == ["ada"]


def test_counts_grow_each_time() -> None:
    """CAN-2, CAN-3, FRK-2: the second time adds to the first."""
    run = Run(max_size=2)
    run.lend(1)
    run(Acquire(1, 2))
    assert run.opening == [2]
    for ticket in (3, 4):
        run(Acquire(1, ticket))
        run(Cancel(1, ticket))
    run(Cancel(1, 2))
    assert run.count("cancelled") == 3
    run(Forked(2))
    run.lend(5, now=3)
    run(Forked(4))
    assert run.count("forgotten") == 2


@pytest.mark.parametrize(
    "event",
    [
        CloseIdle(3),
        CloseStale(3, 0),
        CloseAll(3),
        Retire(3),
        Tick(3),
        Configure(3, Limits(opener="background", min_idle=1, backoff_initial=2, backoff_max=2)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_whatever_happens_after_the_pause_ends_it(event: Event) -> None:
    """SRV-4: any event at `retry_at` or later; one before it does not."""
    run = background(min_idle=1, backoff_initial=2, backoff_max=2)
    run(Tick(0))
    run(OpenFailed(1, None, REFUSED))
    assert run(event._replace(now=2)) == []
    assert run(event) == [Open(None)]


def test_without_a_size_nothing_is_surplus() -> None:
    """CFG-4: no `max_size`, nothing above it."""
    run = Run(max_size=2)
    run.lend(1, 2)
    run(Release(1, 1, 1))
    assert run(Configure(2, Limits(max_size=None))) == []
    assert run.idle == ["c1"]
