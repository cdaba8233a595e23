"""Is there an order of transitions that explains what all callers were told?

Theory.  A history of calls is linearizable if its transitions can be put into one order, each
within the time of its call, in which the sequential specification gives the answers that the
callers got (Herlihy and Wing).  The specification is `step` itself.  The search is that of Wing and
Gong: the next transition is one whose call began before any that is not yet explained has ended;
a dead end is not entered twice (Lowe).

It would be exponential, were it not for what answers carry.  Tickets are drawn in the order of
`Acquire`, so that order is given; a grant names ticket and key, so what was done in the wrong
order shows at the first grant that is another's.  What is left to be tried is as much as goes on at
one time, and a long history costs as its length.

A call becomes a chain of steps.  Those of one that was interrupted are optional, and what it lost
is given up some time later, or not yet.  A log has no ages, so limits on ages cannot be checked.

What it refuses to know: locks, threads, and who made the log.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from pool.check.calls.log import GRANTED, INTERRUPTED, Call, CallLogError
from pool.core import waiters
from pool.core.effects import Effect, Grant, Ignored, Open, Refuse
from pool.core.events import (
    Acquire,
    Cancel,
    Discard,
    Event,
    Expire,
    Opened,
    OpenFailed,
    Release,
    Shutdown,
)
from pool.core.limits import Limits
from pool.core.state import Failure, State, initial, lease_of, leased, resting
from pool.core.transition import step as plain_step

AGES = ("max_lifetime", "max_idle", "leak_after")
AWAY = Failure("Exception", "")


@attrs.frozen
class Step:
    """One transition that a call may have led to, and when it can have been."""

    event: Event | None
    """None: the caller has its answer by now."""
    begin: float
    end: float
    optional: bool = False
    ignored: bool | None = None
    """Whether it was not allowed; None: either will do."""


@attrs.frozen(eq=False)
class Chain:
    """The steps of one call, in their order."""

    call: Call
    steps: tuple[Step, ...]

    @property
    def begin(self) -> float:
        return self.call.begin


@attrs.frozen
class Verdict:
    """What a search came to."""

    explained: bool
    calls: int
    """So many were explained: all, or as many as could be."""
    tried: int
    """Transitions that were tried."""
    stuck: tuple[Call, ...] = ()
    """The calls that could not be explained together, after those that were."""
    state: State | None = None
    """What the pool would be then."""


def chain_of(call: Call, opener: str) -> Chain:
    """The steps of a call. Raises `CallLogError`."""
    begin, end = call.begin, call.end
    lost = call.answer == INTERRUPTED

    def gone() -> Iterator[Step]:
        if call.key:  # a Cancel after it would find nothing
            yield Step(Discard(0.0, call.ticket, call.key), begin, math.inf)
        elif call.ticket:
            yield Step(Cancel(0.0, call.ticket), begin, math.inf)

    def steps() -> Iterator[Step]:
        if call.call == "shutdown":
            yield Step(Shutdown(0.0), begin, end, lost)
        elif call.call == "connect" and not lost:
            yield Step(Opened(0.0, None, "c", 0.0), end, math.inf)
        elif call.call == "lose":
            yield from gone()
        elif call.call in ("release", "discard"):
            kind = Release if call.call == "release" else Discard
            ignored = None if lost else not call.answer
            yield Step(kind(0.0, call.ticket, call.key), begin, end, lost, ignored)
            if lost:
                yield from gone()
        elif call.ticket:
            yield Step(Acquire(0.0, call.ticket, call.timeout != 0), begin, end, lost, False)
            if call.connected is not None and opener == "caller":
                opened = Opened(0.0, call.ticket, "c", 0.0)
                yield Step(opened, call.connected, end, lost)
            if call.answer == "open_failed" and opener == "caller":
                yield Step(OpenFailed(0.0, call.ticket, AWAY), begin, end, ignored=False)
            if call.answer == "timeout":
                late = begin + (call.timeout or 0.0)
                yield Step(Expire(0.0, call.ticket), late, end, ignored=False)
            if lost:
                yield from gone()
            else:
                yield Step(None, begin, end)

    if end < begin:
        raise CallLogError(f"a call ends before it begins: {call}")
    return Chain(call, tuple(steps()))


def lost_without_a_word(calls: list[Call]) -> Iterator[Call]:
    """Claims of which nobody says how they ended. Who got one can have been interrupted before it
    could hold it."""
    ended = {call.ticket for call in calls if call.call not in ("acquire", "connect")}
    for call in calls:
        if call.call == "acquire" and call.answer == GRANTED and call.ticket not in ended:
            yield Call("lose", call.begin, ticket=call.ticket, key=call.key)


def explain(
    limits: Limits,
    calls: Iterable[Call],
    step: Callable[[State, Event], tuple[State, tuple[Effect, ...]]] = plain_step,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Search for an order. Raises `CallLogError` where ages are limited."""
    aged = [name for name in AGES if getattr(limits, name) is not None]
    if aged:
        raise CallLogError(f"a log has no ages, so a pool with {', '.join(aged)} is not checked")
    return _Search(limits, calls, step).run(progress)


@attrs.define
class _Frame:
    """A place in the search: what came before, and what is still to be tried."""

    state: State
    lo: int
    choices: Iterator[tuple[Chain, bool]]
    """Chains, and whether their next step is done (else it is left out)."""
    undo: Chain | None = None
    where: Any = None


class _Search:
    def __init__(self, limits: Limits, calls: Iterable[Call], step: Any) -> None:
        calls = list(calls)
        calls += lost_without_a_word(calls)
        chains = [chain_of(call, limits.opener) for call in calls]
        self.chains = sorted((c for c in chains if c.steps), key=lambda chain: chain.begin)
        self.by_ticket = {c.call.ticket: c for c in self.chains if c.call.call == "acquire"}
        self.tickets = sorted(self.by_ticket)
        self.keys = {chain.call.key for chain in self.chains}
        self.step = step
        self.initial = initial(limits)
        self.at = dict.fromkeys(self.chains, 0)
        self.number = {chain: index for index, chain in enumerate(self.chains)}
        self.most = 0
        """None of the chains from this one on has ever been begun."""
        self.loose: dict[Chain, None] = {}
        """Chains of which nothing is left that must have happened by now."""
        self.seen: set[Any] = set()
        self.tried = 0

    # ------------------------------------------------------------ one step

    def _candidates(self, state: State, lo: int) -> Iterator[tuple[Chain, bool]]:
        """Whose next step may be the next transition: those that must be over first come first."""
        soonest, heads = math.inf, []
        for index in range(lo, len(self.chains)):
            chain = self.chains[index]
            if chain.begin > soonest:
                break
            at = self.at[chain]
            if at < len(chain.steps) and chain not in self.loose:
                heads.append((chain.steps[at], chain))
                soonest = min(soonest, chain.steps[at].end)
        heads.sort(key=lambda pair: pair[0].end)
        heads += [(chain.steps[self.at[chain]], chain) for chain in list(self.loose)]
        ready = [
            (head, chain)
            for head, chain in heads
            if head.begin <= soonest
            and (type(head.event) is not Acquire or self._is_next(chain.call))
        ]
        for head, chain in ready:  # that somebody has an answer changes nothing: at once
            if head.event is None and self._is_answered(state, chain.call):
                yield chain, True
                return
        for head, chain in ready:
            if head.event is not None:
                yield chain, True
        for head, chain in ready:
            if head.optional:
                yield chain, False

    @staticmethod
    def _is_answered(state: State, call: Call) -> bool:
        lease = lease_of(state.in_use, call.key)
        if call.answer == GRANTED:
            return lease is not None and lease.ticket == call.ticket
        return call.ticket not in state.opening_tickets and not waiters.contains(
            state.waiters, call.ticket
        )

    def _fits(self, head: Step, effects: tuple[Effect, ...]) -> bool:
        """Whether everybody was told what this transition tells."""
        ignored = type(effects[-1]) is Ignored if effects else False
        if head.ignored is not None and head.ignored != ignored:
            return False
        for effect in effects:
            if not isinstance(effect, (Grant, Refuse, Open)) or effect.ticket is None:
                continue
            chain = self.by_ticket.get(effect.ticket)
            if chain is None:
                return False
            call = chain.call
            if call.answer == INTERRUPTED and not (isinstance(effect, Grant) and call.key):
                continue
            if isinstance(effect, Grant):
                fits = call.key == effect.key
            elif isinstance(effect, Refuse):
                fits = call.answer == effect.reason
            else:
                fits = call.connected is not None or call.answer == "open_failed"
            if not fits:
                return False
        return True

    def _numbers_fit(self, before: State, after: State, head: Step) -> bool:
        """One count gives keys and places in the idle order. So no key that somebody was lent may
        be spent on a place: it would never be given again, and that would show only much later."""
        own = type(head.event) is Opened
        return self.keys.isdisjoint(range(before.next_seq + own, after.next_seq))

    def _is_next(self, call: Call) -> bool:
        """Whether the tickets before it have been asked for, or are left out."""
        index = bisect.bisect_left(self.tickets, call.ticket)
        if not index:
            return True
        chain = self.by_ticket[self.tickets[index - 1]]
        return self.at[chain] > 0

    def _place(self, state: State, lo: int) -> Any:
        """What the rest depends on."""
        open_ = [
            (index, self.at[self.chains[index]])
            for index in range(lo, self.most)
            if self.at[self.chains[index]]
        ]
        loose = [(id(chain), self.at[chain]) for chain in self.loose]
        idle = sorted((item.order, item.entry.key) for item in resting(state.idle))
        return (
            lo,
            tuple(open_),
            tuple(sorted(loose)),
            tuple(key for _, key in idle),
            frozenset((key, lease.ticket) for key, lease in leased(state.in_use).items()),
            tuple(ticket for ticket, _ in waiters.items(state.waiters)),
            frozenset(state.opening_tickets),
            (state.opening_background, state.phase, state.next_seq),
        )

    def _move(self, chain: Chain, by: int) -> None:
        at = self.at[chain] = self.at[chain] + by
        self.most = max(self.most, self.number[chain] + 1)
        left = chain.steps[at:]
        if left and left[0].end == math.inf:
            self.loose[chain] = None
        else:
            self.loose.pop(chain, None)

    def _first(self, lo: int) -> int:
        """The first chain, from this one on, of which something must have happened by its end."""
        while lo < len(self.chains):
            chain = self.chains[lo]
            left = chain.steps[self.at[chain] :]
            if left and left[0].end < math.inf:
                break
            if left:
                self.loose[chain] = None
            lo += 1
        return lo

    # ------------------------------------------------------------ the search

    def run(self, progress: Callable[[int], None] | None) -> Verdict:
        lo = self._first(0)
        frames = [_Frame(self.initial, lo, self._candidates(self.initial, lo))]
        best, stuck, state_then = -1, frozenset[Chain](), self.initial
        while frames:
            frame = frames[-1]
            if frame.lo == len(self.chains):
                return Verdict(True, len(self.chains), self.tried)
            if frame.lo > best:
                best, state_then = frame.lo, frame.state
                if progress is not None:
                    progress(frame.lo)
            choice = next(frame.choices, None)
            if choice is None:
                if frame.lo >= best:
                    stuck = frozenset(self._open(frame.lo))
                self.seen.add(frame.where)
                frames.pop()
                if frames and frame.undo is not None:
                    self._move(frame.undo, -1)
                continue
            chain, does = choice
            head = chain.steps[self.at[chain]]
            state = frame.state
            if does and head.event is not None:
                self.tried += 1
                state, effects = self.step(state, head.event)
                if not self._fits(head, effects) or not self._numbers_fit(frame.state, state, head):
                    continue
            self._move(chain, 1)
            lo = self._first(frame.lo)
            where = self._place(state, lo)
            if where in self.seen:
                self._move(chain, -1)
                continue
            frames.append(_Frame(state, lo, self._candidates(state, lo), chain, where))
        calls = tuple(sorted((c.call for c in stuck), key=lambda call: call.begin))
        return Verdict(False, max(best, 0), self.tried, calls, state_then)

    def _open(self, lo: int) -> Iterator[Chain]:
        soonest = math.inf
        for chain in self.chains[lo:]:
            if chain.begin > soonest:
                return
            at = self.at[chain]
            if at < len(chain.steps) and chain not in self.loose:
                soonest = min(soonest, chain.steps[at].end)
                yield chain
