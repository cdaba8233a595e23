"""Is the relation what `step` does? The pictures of a real step are put into it.

Theory. A proof about formulas says nothing of code. So a step that was really taken is pictured:
the state before, event and choices, the state after and the effects. The relation, as Python
code, says what must then be after; every number has to be the same. It is a function of what is
before and of the choices, so where it agrees it allows nothing else.

Which key and which tickets are followed differs from step to step; `thorough` tries all that
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import Any

import attrs

from pool.check.proof.obligations import premises
from pool.check.proof.picture import OUT, STATE, TRUTHS, Draft
from pool.check.proof.real import CHOICES, Seen, Told, outcome, pictured_step
from pool.check.proof.relation import RELATION, step
from pool.check.proof.terms import Value, compiled, every
from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.state import State


@cache
def relation(event: str) -> tuple[Draft, Callable[[Mapping[str, Value]], tuple[Value, ...]]]:
    """The relation of an event, and the function from the values before to those after. The last
    value says whether the choices are allowed."""
    draft = step(event)
    after = [draft.values[name] for name in (*STATE, *OUT)]
    return draft, compiled([*after, every(*draft.assumed)])


_KEY_TICKET, _KEY_IN_USE = STATE.index("key_ticket"), STATE.index("key_in_use")


@attrs.define
class Binding:
    """Compares steps with the relation. Not thread-safe."""

    thorough: bool = False
    """Follow every key and every two tickets that there are, not one of each; and ask whether what
    the proof takes for granted is so."""
    steps: int = 0
    """Steps that were compared."""
    pictures: int = 0
    """Pictures of these."""
    _seen: Seen | None = None

    def differs(
        self, before: State, event: Event, effects: tuple[Effect, ...], after: State
    ) -> str | None:
        """How the relation and this step differ; None: not at all."""
        seen = self._seen
        if seen is None or seen.state is not before:
            seen = self._seen = Seen(before)
        told, then = Told(effects), seen if after is before else Seen(after)
        self.steps += 1
        for followed in self._followed(seen, event, then):
            self.pictures += 1
            why = _differs(seen, event, told, then, followed, self.thorough)
            if why is not None:
                return why
        return None

    def _followed(self, seen: Seen, event: Any, then: Seen) -> Iterator[tuple[int, int, int]]:
        keys, tickets = _interesting(seen, event, then)
        if self.thorough:
            for key in keys:
                for a, b in combinations(tickets, 2):
                    yield key, a, b
            return
        turn = self.steps
        pairs = len(tickets) * (len(tickets) - 1) // 2
        chosen = turn % pairs
        a = 0
        while chosen >= (rest := len(tickets) - 1 - a):
            chosen, a = chosen - rest, a + 1
        yield keys[(turn // pairs) % len(keys)], tickets[a], tickets[a + 1 + chosen]


def differs(
    before: State,
    event: Event,
    effects: tuple[Effect, ...],
    after: State,
    followed: tuple[int, int, int],
) -> str | None:
    """How the relation and this step differ in one picture; None: not at all."""
    return _differs(Seen(before), event, Told(effects), Seen(after), followed, True)


def _differs(
    seen: Seen, event: Any, told: Told, then: Seen, followed: tuple[int, int, int], thorough: bool
) -> str | None:
    values = pictured_step(seen, event, told, then.state, followed)
    said = relation(type(event).__name__)[1](values)
    is_ = outcome(values, seen, event, told, then, followed)
    if not is_[_KEY_IN_USE] and not said[_KEY_IN_USE]:
        is_[_KEY_TICKET] = said[_KEY_TICKET]  # whose it is, says something only while it is
    if (
        said[-1] is not True
        or list(said[:-1]) != is_
        or (thorough and not _known(type(event).__name__)(values)[0])
    ):
        return explain(event, values, said, is_)
    return None


@cache
def _known(event: str) -> Callable[[Mapping[str, Value]], tuple[Value, ...]]:
    """Whether all is so that the proof takes for granted before a step."""
    return compiled([every(*premises(relation(event)[0]))])


def _interesting(seen: Seen, event: Any, then: Seen) -> tuple[list[int], list[int]]:
    """The keys and tickets that are there before or afterwards, and one more of each."""
    keys = {*seen.idle, *then.idle, then.state.next_seq}
    keys.update([key for key, _ in seen.leases])
    keys.update([key for key, _ in then.leases])
    keys.update(range(seen.state.next_seq, then.state.next_seq))
    tickets = {*seen.waiting, *seen.opening, *then.waiting, *then.opening}
    tickets.update([ticket for _, ticket in seen.leases if ticket])
    tickets.update([ticket for _, ticket in then.leases if ticket])
    ticket = getattr(event, "ticket", None)
    if ticket:
        tickets.add(ticket)
    last = max(then.state.next_ticket, max(tickets, default=0) + 1)
    tickets.update((last, last + 1))
    return sorted(keys), sorted(tickets)


def explain(
    event: Any, values: Mapping[str, Value], said: tuple[Value, ...], is_: list[Value]
) -> str:
    """What differs, and the rules that were at work."""
    kind = type(event).__name__
    draft, _ = relation(kind)
    rules = [rule for rule, at_work in draft.rules.items() if compiled([at_work])(values)[0]]
    names = (*STATE, *OUT)
    parts = [
        f"{name} is {really!r}, not {wanted!r}"
        for name, wanted, really in zip(names, said, is_, strict=False)
        if wanted != really
    ]
    parts += [
        f"not allowed: {fact!r}" for fact in premises(draft) if not compiled([fact])(values)[0]
    ]
    return f"{kind} ({', '.join(rules)}): {'; '.join(parts)}"


assert {*STATE, *OUT} >= TRUTHS
assert CHOICES.keys() <= RELATION.keys()
