"""What has to be shown, and how a solver is asked.

Theory.  For each event and each promise: if all promises hold before, and the choices are what
they may be, it holds after.  A solver is asked whether that can be false; `unsat` says that it
cannot.  An obligation is one script in SMT-LIB, made of what it speaks of and no more, so any
solver can be asked, and asked again by hand.

A proof from premises that contradict each other proves everything.  So each rule of each event has
to be possible too: a picture is asked for in which it is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import attrs

from pool.check.proof import promises, ranking
from pool.check.proof.picture import (
    FOLLOWED,
    LIMITS,
    STATE,
    Draft,
    Picture,
    pictured,
    variable,
)
from pool.check.proof.relation import RELATION, step
from pool.check.proof.terms import (
    TRUE,
    Term,
    Value,
    as_term,
    script,
    variables,
)

Model = dict[str, Value]
Solver = Callable[[str], tuple[str, Model]]
Kind = Literal["proved", "possible", "never"]

INITIAL = "(initial)"
"""Stands for an event: the beginning."""

ANY = "(any)"
"""What follows from the invariants alone."""

_SERVES = ("SRV-2", "SRV-3", "SRV-4", "SRV-5")

NEVER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("Opened", "OpenFailed", "Discard", "Expire"), ("SRV-2",)),
        **dict.fromkeys(("CloseIdle", "CloseStale", "CloseAll"), ("SRV-2",)),
        **dict.fromkeys(("Retire", "Tick", "Configure"), ("SRV-2",)),
        "Suspend": _SERVES,
        "Resume": ("SRV-1",),
        "Shutdown": _SERVES,
        "Forked": ("SRV-2", "SRV-3"),
    }
)
"""What all transitions share and these have no use for: nothing idle can be lent after a `Discard`,
because nothing was idle if anybody waits. It is shown that they never have."""


@attrs.define(eq=False, slots=False)
class Obligation:
    """One question. `proved`: the premises and the negated goal contradict each other. `possible`:
    the premises and the goal do not; `never`: they do."""

    event: str
    promise: str
    premises: tuple[Term, ...]
    goal: Term
    kind: Kind = "proved"
    draft: Draft | None = None

    @property
    def name(self) -> str:
        return f"{self.event}/{self.promise}"

    @property
    def asserted(self) -> tuple[Term, ...]:
        """What cannot all be true, or, of what is to be possible, can."""
        goal = ~self.goal if self.kind == "proved" else self.goal
        return (*self.premises, goal)

    @property
    def wanted(self) -> str:
        """The solver's answer if all is well."""
        return "sat" if self.kind == "possible" else "unsat"

    @cached_property
    def script(self) -> str:
        """The question in SMT-LIB."""
        return script(self.asserted)


def hypothesis(p: Picture, tickets: Sequence[str]) -> list[Term]:
    """Every promise, of every key and ticket that plays a part."""
    facts = [holds(p) for holds in (*promises.COUNTING.values(), *promises.OF_KEY.values())]
    facts += [holds(p, ticket) for holds in promises.OF_TICKET.values() for ticket in tickets]
    return facts


def premises(draft: Draft) -> list[Term]:
    """What is known of the picture before a step, and of the choices of the step."""
    p = draft.before
    return [*pictured(p, draft.tickets), *hypothesis(p, draft.tickets), *draft.assumed]


def of_counts(facts: Sequence[Term]) -> tuple[Term, ...]:
    """Those that speak of counts alone. What counts alone say needs no others, and to leave out
    what is known makes a proof harder, never wrong."""
    return tuple(fact for fact in facts if not any(_is_followed(v) for v in variables([fact])))


def _is_followed(variable: Term) -> bool:
    name = str(variable.name)
    return name in ("key", "a", "b", "taker", "q") or name.startswith(
        ("key_", "a_", "b_", "taker_", "is_key_")
    )


def of_event(event: str) -> Iterator[Obligation]:
    """Every obligation of an event."""
    draft = step(event)
    known = premises(draft)
    everything, counts = tuple(known), of_counts(known)

    def shown(promise: str, facts: tuple[Term, ...], goal: Term) -> Iterator[Obligation]:
        yield Obligation(event, promise, facts, goal, draft=draft)

    for name, of_state in promises.COUNTING.items():
        yield from shown(name, counts, of_state(draft))
    for name, of_state in promises.OF_KEY.items():
        yield from shown(name, everything, of_state(draft))
    for name, of_ticket in promises.OF_TICKET.items():
        yield from shown(name, everything, of_ticket(draft, "a"))
    for name, of_step in promises.STEP.items():
        facts = counts if name == "Bounded" else everything
        yield from shown(name, facts, of_step(draft))
    for name, of_step in ranking.RANKING.items():
        if (goal := of_step(draft)) is not TRUE:  # it says nothing of this event
            yield from shown(name, everything, goal)
    for rule, at_work in draft.rules.items():
        kind: Kind = "never" if rule in NEVER.get(event, ()) else "possible"
        yield Obligation(event, rule, everything, at_work, kind, draft)


def of_the_beginning() -> Iterator[Obligation]:
    """INI-1: the initial picture keeps every promise."""
    limits = {name: variable(name) for name in LIMITS}
    nothing = {name: as_term(0) for name in STATE if name not in LIMITS}
    follow = {name: variable(name) for name in FOLLOWED}
    p = Picture({**nothing, **limits, **follow})
    p.values.update(next_seq=as_term(1), next_ticket=as_term(1), backing_off=limits["min_idle"] > 0)
    known = tuple(pictured(p))
    for name, of_state in (*promises.COUNTING.items(), *promises.OF_KEY.items()):
        yield Obligation(INITIAL, name, known, of_state(p))
    for name, of_ticket in promises.OF_TICKET.items():
        yield Obligation(INITIAL, name, known, of_ticket(p, "a"))


def of_any_state() -> Iterator[Obligation]:
    """What the promises say of a single state."""
    p = Draft("").before
    known = (*pictured(p), *hypothesis(p, ("a", "b")))
    yield Obligation(ANY, "Helped", known, ranking.helped(p))


def obligations() -> Iterator[Obligation]:
    """All of them."""
    yield from of_the_beginning()
    for event in RELATION:
        yield from of_event(event)
    yield from of_any_state()


# ---------------------------------------------------------------- pictures to look at

SIZES = (1, 2, 3, 5, 9)


def examples(asserted: Sequence[Term], solver: Solver) -> Iterator[Model]:
    """Values that make all of these true, as small as they come first. None: there are none."""
    numbers = [v for v in variables(asserted) if not v.truth]
    for size in SIZES:
        answer, model = solver(script((*asserted, *(v <= size for v in numbers))))
        if answer == "sat":
            yield model
    answer, model = solver(script(asserted))
    if answer == "sat":
        yield model


def example(asserted: Sequence[Term], solver: Solver) -> Model | None:
    """The first of them."""
    return next(examples(asserted, solver), None)
