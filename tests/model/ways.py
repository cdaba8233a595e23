"""Every way through the rules of an event that the relation of the proof allows, and one that
`step` takes.

Theory.  A relation that is too wide allows what never happens, and a promise may then seem broken
that is not.  So of each way through the rules that it allows, a picture is asked of the solver, a
state is built (`pool/check/proof/witness.py`), and `step` goes that way.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from pool.check.proof.obligations import Solver, example, premises
from pool.check.proof.picture import COUNTS, variable
from pool.check.proof.relation import step
from pool.check.proof.terms import Term, compiled, every, some, variables
from pool.check.proof.witness import Witness, build

_PICTURES = 10


@attrs.frozen(eq=False)
class Way:
    """Rules that can be at work together in an event, and what is so then."""

    event: str
    rules: tuple[str, ...]
    facts: tuple[Term, ...]


def ways(event: str, solver: Solver) -> Iterator[Way]:
    """Every way through the rules of an event that the relation allows."""
    draft = step(event)
    facts = list(premises(draft))
    names, at_work = list(draft.rules), list(draft.rules.values())
    function = compiled(at_work)
    known = tuple(facts)
    while (model := example(facts, solver)) is not None:
        full = {str(v.name): False if v.truth else 0 for v in variables(at_work)} | model
        taken = function(full)
        this = every(*(one if is_ else ~one for one, is_ in zip(at_work, taken, strict=True)))
        rules = tuple(name for name, one in zip(names, taken, strict=True) if one)
        yield Way(event, rules, (*known, this))
        facts.append(~this)


def realize(way: Way, solver: Solver) -> Witness | None:
    """A state and an event in which `step` goes this way. Some pictures are of no state that is
    found, so several are tried."""
    facts = list(way.facts)
    for _ in range(_PICTURES):
        model = example(facts, solver)
        if model is None:
            return None
        if (witness := build(model, way.event)) is not None:
            return witness
        facts.append(
            some(
                *(variable(n) != v for n, v in model.items() if n in COUNTS and n != "backing_off")
            )
        )
    return None
