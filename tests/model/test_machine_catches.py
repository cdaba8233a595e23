"""The machine is checked too: broken pools that it must catch, and name what is broken.

Theory.  Each mutant breaks `step` in one place, by a patch that lives for one test.  With
the reference model beside it any difference is found at once; so each mutant is also run
without the model, where the promise that it breaks must be the one that is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool.check.machines.step import PoolMachine
from pool.check.machines.twin import Broken
from pool.core import heap, shortcuts, transition, waiters
from pool.core.draft import Draft
from pool.core.maps import Map
from pool.core.state import Idle, State, leased, resting
from pool.core.transition import finish
from tests.model.rounds import run

Patch = Callable[[pytest.MonkeyPatch], None]


def hunt(*, compare: bool) -> None:
    """Random histories until a promise is broken (or there are none left)."""

    class Hunter(PoolMachine):
        pass

    Hunter.compare = compare
    run(Hunter, 1, 400)


# ---------------------------------------------------------------- the mutants


def lifo_waiters(patch: pytest.MonkeyPatch) -> None:
    """The youngest waiter is served first."""

    def pop(queue: waiters.Waiting) -> Any:
        ticket = max(queue[0])
        return ticket, queue[0][ticket], waiters.remove(queue, ticket)

    patch.setattr(waiters, "pop", pop)


def discard_keeps_the_slot(patch: pytest.MonkeyPatch) -> None:
    """The connection is closed, but its lease does not end."""

    def discard(state: State, event: Any) -> Any:
        if not transition.holds(state, event.ticket, event.key):
            return transition.ignored(state, "")
        draft = Draft(state)
        draft.close(leased(state.in_use)[event.key].entry, "discarded")
        return finish(draft, event.now)

    patch.setattr(transition, "discard", discard)


def open_failed_forgets_to_serve(patch: pytest.MonkeyPatch) -> None:
    """The room of a failed connect goes to nobody."""
    honest = transition.open_failed

    def open_failed(state: State, event: Any) -> Any:
        with patch.context() as inner:
            inner.setattr(transition, "serve", lambda draft, now: None)
            return honest(state, event)

    patch.setattr(transition, "open_failed", open_failed)


def cancel_drops_the_connection(patch: pytest.MonkeyPatch) -> None:
    """A grant that was never delivered is neither returned nor closed."""
    honest = transition.cancel

    def cancel(state: State, event: Any) -> Any:
        with patch.context() as inner:
            inner.setattr(Draft, "settle", lambda draft, entry, now: None)
            return honest(state, event)

    patch.setattr(transition, "cancel", cancel)


def growth_past_the_limit(patch: pytest.MonkeyPatch) -> None:
    """There is always room for one more."""
    patch.setattr(transition, "may_open", lambda draft: draft.size() < 8)
    patch.setattr(shortcuts, "acquire", lambda state, *fields: None)


def double_close(patch: pytest.MonkeyPatch) -> None:
    """A discarded connection is closed twice, and counted once."""
    honest = transition.discard

    def discard(state: State, event: Any) -> Any:
        after, effects = honest(state, event)
        return after, effects if after is state else (*effects, *effects[-1:])

    patch.setattr(transition, "discard", discard)


def tick_ignores_min_idle(patch: pytest.MonkeyPatch) -> None:
    """All that rested long enough is closed."""

    def shrink(draft: Draft, now: float) -> None:
        most = draft.limits.max_idle
        if most is not None:
            for item in sorted(resting(draft.idle), key=lambda item: item.since):
                if now >= item.since + most:
                    draft.close(item.entry, "rested")
            kept = [item for item in resting(draft.idle) if now < item.since + most]
            draft.idle = heap.build(kept)

    patch.setattr(Draft, "shrink", shrink)


def idle_stays_behind(patch: pytest.MonkeyPatch) -> None:
    """A connection that is lent also stays idle."""
    honest = Draft.grant

    def grant(draft: Draft, ticket: int, owner: Any, entry: Any, now: float, since: Any) -> None:
        honest(draft, ticket, owner, entry, now, since)
        if since is not None:
            draft.idle = heap.push(draft.idle, Idle(0.0, draft.draw_seq(), entry, since))

    patch.setattr(Draft, "grant", grant)
    patch.setattr(shortcuts, "acquire", lambda state, *fields: None)


def shrink_forgets_the_idle(patch: pytest.MonkeyPatch) -> None:
    """`Configure` leaves the surplus idle."""
    patch.setattr(Draft, "arrange", lambda draft: None)


def release_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    """What comes back becomes idle, though somebody waits."""
    honest = transition.release

    def release(state: State, event: Any) -> Any:
        with patch.context() as inner:
            inner.setattr(transition, "serve", lambda draft, now: None)
            return honest(state, event)

    patch.setattr(transition, "release", release)


def unbalanced_heap(patch: pytest.MonkeyPatch) -> None:
    """A newcomer becomes the top, whatever its order."""
    patch.setattr(heap, "push", lambda kept, item: (heap.size(kept) + 1, item, kept, None))


def shutdown_forgets_who_is_connecting(patch: pytest.MonkeyPatch) -> None:
    """Only those who wait are refused."""

    def refuse_everybody(draft: Draft, reason: Any) -> None:
        for ticket, _ in waiters.items(draft.waiters):
            draft.refuse(ticket, reason)
        draft.waiters = None

    patch.setattr(Draft, "refuse_everybody", refuse_everybody)


def refused_twice(patch: pytest.MonkeyPatch) -> None:
    """Who connects when its pool is shut down is refused, and connects on."""
    honest = transition.shutdown

    def shutdown(state: State, event: Any) -> Any:
        after, effects = honest(state, event)
        return after, effects if after is state else (*effects[:1], *effects)

    patch.setattr(transition, "shutdown", shutdown)


def granted_after_close(patch: pytest.MonkeyPatch) -> None:
    """What `Dead` closes is granted again under its old key, if nothing else is to be had."""
    honest = Draft.draw_seq

    def draw_seq(draft: Draft) -> int:
        seq = honest(draft)
        return seq if seq < 6 else 5  # keys are used again

    patch.setattr(Draft, "draw_seq", draw_seq)
    patch.setattr(shortcuts, "release", lambda state, *fields: None)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Whoever names the key may end the lease."""
    patch.setattr(transition, "holds", lambda state, ticket, key: key in state.in_use)


def ignored_changes_the_state(patch: pytest.MonkeyPatch) -> None:
    """An ignored deadline gives an equal state, not the same one."""
    honest = transition.ignored

    def ignored(state: State, why: str) -> Any:
        same, effects = honest(state, why)
        return same._replace(next_seq=same.next_seq), effects

    patch.setattr(transition, "ignored", ignored)


def wake_at_forgets_leaks(patch: pytest.MonkeyPatch) -> None:
    """The next tick comes too late to report one."""
    honest = transition.wake_at
    patch.setattr(
        "pool.check.machines.twin.wake_at", lambda state: honest(state._replace(in_use=Map()))
    )


def closes_after_opens(patch: pytest.MonkeyPatch) -> None:
    """The Io comes in the wrong order."""
    honest = Draft.outcome

    def outcome(draft: Draft) -> Any:
        draft.io.reverse()
        return honest(draft)

    patch.setattr(Draft, "outcome", outcome)


def acquire_in_place(patch: pytest.MonkeyPatch) -> None:
    """The pool remembers something outside its state."""
    honest = transition.acquire
    calls: list[int] = []

    def acquire(state: State, event: Any) -> Any:
        calls.append(1)
        after, effects = honest(state, event)
        return after._replace(failures=len(calls)), effects

    patch.setattr(transition, "acquire", acquire)


def background_never_retries(patch: pytest.MonkeyPatch) -> None:
    """After a failure nobody opens again."""
    patch.setattr(transition, "pause", lambda draft: float("inf"))
    patch.setattr("pool.check.machines.twin.wake_at", lambda state: None)


def background_forgets_min_idle(patch: pytest.MonkeyPatch) -> None:
    """Demand is only who waits."""
    patch.setattr(transition, "demand", lambda draft: waiters.size(draft.waiters))


def insert_at_the_back(patch: pytest.MonkeyPatch) -> None:
    """Who found its connection dead loses its place."""
    honest = waiters.insert

    def insert(queue: waiters.Queue, ticket: int, owner: Any) -> waiters.Waiting:
        after = honest(queue, ticket, owner)
        return (after[0], queue[1]) if queue else after

    patch.setattr(waiters, "insert", insert)


NAMED: list[tuple[Patch, set[str]]] = [
    (lifo_waiters, {"FifoStep"}),
    (discard_keeps_the_slot, {"Conserved", "Balanced", "ClosedOnce"}),
    (open_failed_forgets_to_serve, {"Covered", "WakeAt"}),
    (cancel_drops_the_connection, {"Conserved", "Balanced"}),
    (growth_past_the_limit, {"Bounded"}),
    (double_close, {"ClosedOnce"}),
    (tick_ignores_min_idle, {"WakeAt"}),
    (idle_stays_behind, {"Exclusive", "GrantedAlive", "Balanced", "Bounded"}),
    (shrink_forgets_the_idle, {"Shrunk"}),
    (release_wakes_nobody, {"Served", "Covered", "WakeAt"}),
    (unbalanced_heap, {"HeapOrdered", "WakeAt"}),
    (shutdown_forgets_who_is_connecting, {"Shut", "AnsweredOnce"}),
    (refused_twice, {"AnsweredOnce", "ClosedOnce"}),
    (granted_after_close, {"GrantedAlive", "ClosedOnce", "Balanced", "Exclusive"}),
    (ignored_changes_the_state, {"Ignored"}),
    (wake_at_forgets_leaks, {"WakeAt"}),
    (closes_after_opens, {"Ordered"}),
    (acquire_in_place, {"Pure"}),
    (background_forgets_min_idle, {"Covered", "WakeAt"}),
    (insert_at_the_back, {"Fifo", "FifoStep"}),
]
"""Mutants, and the promises any of which may be reported: those that it breaks at once."""


@pytest.mark.parametrize(("mutant", "promises"), NAMED, ids=lambda it: getattr(it, "__name__", ""))
def test_a_broken_pool_is_caught_by_its_promises(
    mutant: Patch, promises: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(Broken) as broken:
        hunt(compare=False)
    assert broken.value.promise in promises


SUBTLE = [no_fence, lifo_waiters, double_close, shutdown_forgets_who_is_connecting]
"""What no promise can name (a fence is not one: the pool cannot see who calls), and some
that one can: the reference model sees them all."""


@pytest.mark.parametrize("mutant", SUBTLE)
def test_a_broken_pool_differs_from_the_model(
    mutant: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(Broken) as broken:
        hunt(compare=True)
    assert broken.value.promise in {"SameEffects", "SameState"}


def test_whom_nobody_answers_is_stranded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that never retries keeps every invariant, and its callers for ever."""
    background_never_retries(monkeypatch)
    with pytest.raises(Broken) as broken:
        hunt(compare=False)
    assert broken.value.promise in {"NobodyStranded", "WakeAt"}
