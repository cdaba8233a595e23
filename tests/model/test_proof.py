"""The proof for any number: it is one, it can fail, and it is about this function.

Theory. Three things can be wrong with a proof of a program: a solver, the relation, and what has
the relation to do with the program. Two solvers have to agree. Faults planted in the relation
have to be named. And the real `step` is compared with the relation in both directions: each of
its steps is the one that the relation says, and each way through the rules that the relation
allows is one that it goes.
"""

from __future__ import annotations

import random
import re
import signal
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from pool import INVARIANTS, STEP_INVARIANTS, Limits
from pool.check.explore.configurations import CONFIGURATIONS
from pool.check.explore.explorer import Violation, Wishes, explore
from pool.check.explore.mutants import machine, mutants
from pool.check.machines.step import PoolMachine
from pool.check.proof import binding, obligations, promises, relation, solvers, terms, verbs
from pool.check.proof.binding import Binding
from pool.check.proof.command import ask, proof_task
from pool.check.proof.obligations import ANY, INITIAL, NEVER
from pool.check.proof.picture import COUNTS, FOLLOWED, KEY, LIMITS, STATE, Picture, of, variable
from pool.check.proof.real import Seen
from pool.check.proof.relation import RELATION
from pool.core import heap, waiters
from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.maps import Map
from pool.core.state import Counters, Entry, Idle, Lease, State, initial, leased
from tests.model.proof_faults import FAULTS, UNPROMISED, Fault
from tests.model.rules import RULES
from tests.model.ways import realize, ways

pytestmark = pytest.mark.once

HAS_WHEELS = sys.version_info < (3, 15) and not sysconfig.get_config_var("Py_GIL_DISABLED")
"""Where both solvers can be installed, they have to be."""

needs_solvers = pytest.mark.skipif(
    not HAS_WHEELS and len(solvers.there()) < 2, reason="no wheels of the solvers for this Python"
)


def test_the_solvers_are_there() -> None:
    assert solvers.there() == ["z3", "cvc5"] or not HAS_WHEELS


# ---------------------------------------------------------------- it is a proof


@pytest.mark.slow
@needs_solvers
@pytest.mark.parametrize("event", [INITIAL, "Discard", "Suspend", "Forked", ANY])
def test_all_is_proved_by_both_solvers(event: str) -> None:
    """And that each rule can be at work, by an example. `purepool check --profile ci` proves it of
    every event, and here of those that take least."""
    result = proof_task(event, tuple(solvers.SOLVERS)).run()
    assert result.passed, result.message
    assert result.counts["obligations"] >= (10 if event in RELATION else 1)


@needs_solvers
def test_no_answer_and_two_that_differ_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `ask`, of what is to be proved and of what is to be possible."""
    proved, possible = (
        next(one for one in obligations.of_event("Suspend") if one.kind == kind)
        for kind in ("proved", "possible")
    )
    assert ask(proved, ["z3", "cvc5"]) == {"z3": "unsat", "cvc5": "unsat"}
    assert ask(possible, ["z3", "cvc5"]) == {"z3": "sat"}
    nothing = {"z3": lambda text: ("sat", {"phase": 7}), "cvc5": lambda text: ("unknown", {})}
    monkeypatch.setattr(solvers, "SOLVERS", nothing)
    assert ask(proved, ["z3", "cvc5"]) == {"z3": "sat", "cvc5": "unknown"}
    assert ask(possible, ["z3", "cvc5"]) == {"z3": "sat, with an example that is none"}


HARD = "\n".join(
    [
        "(set-logic QF_LIA)",
        *(f"(declare-const x{n} Int)(assert (and (>= x{n} 0) (< x{n} 6)))" for n in range(7)),
        f"(assert (distinct {' '.join(f'x{n}' for n in range(7))}))",
    ]
)
"""Seven pigeons in six holes: some work."""


@needs_solvers
@pytest.mark.parametrize("name", ["z3", "cvc5"])
def test_a_solver_leaves_signals_alone(name: str) -> None:
    """z3 takes Ctrl-C for itself, if it is let: who waits for it would never hear of it."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    timer = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
    try:
        timer.start()
        assert solvers.SOLVERS[name](HARD)[0] == "unsat"
        timer.join()
        for _ in range(1000):  # a handler runs between two steps of this thread
            pass
        assert came == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_every_promise_of_the_specification_is_an_obligation_of_every_event() -> None:
    """All of section 8, but `HeapOrdered`, which no picture shows."""
    for event in RELATION:
        names = {one.promise for one in obligations.of_event(event)}
        assert names >= {*INVARIANTS, *STEP_INVARIANTS} - {"HeapOrdered"}, event
        assert {"AnsweredOnce", "ClosedOnce", "NothingAfterClose"} <= names
        # these may raise a rank, or answer everybody
        assert ("Ranked" in names) == (event not in ("Configure", "Adopt", "Forked"))


def test_every_rule_of_an_event_is_in_the_relation() -> None:
    cited = {rule for event in RELATION for rule in relation.step(event).rules}
    ours = {rule for rule in RULES if rule[:3] not in ("LIM", "INI", "ORD", "AGE", "WAK", "RUN")}
    assert cited == ours


def test_what_never_happens_is_said_of_rules_that_are_there() -> None:
    for event, rules in NEVER.items():
        assert set(rules) <= set(relation.step(event).rules)


# ---------------------------------------------------------------- it can fail


def changed(fault: Fault) -> types.ModuleType:
    """The relation with this fault."""
    paths = [Path(str(module.__file__)) for module in (verbs, relation)]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    once = sum(text.count(fault.old) for text in texts) == 1
    assert once, f"{fault.about}: its lines are not there once"
    made = [types.ModuleType(path.stem) for path in paths]
    sys.modules[verbs.__name__] = made[0]
    try:
        for module, path, text in zip(made, paths, texts, strict=True):
            source = text.replace(fault.old, fault.new)
            exec(compile(source, str(path), "exec"), module.__dict__)
    finally:
        sys.modules[verbs.__name__] = verbs
    return made[1]


@needs_solvers
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.about)
def test_a_fault_of_the_relation_is_named(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obligations, "step", changed(fault).step)
    for name in fault.found:
        event, _, promise = name.partition("/")
        one = next(one for one in obligations.of_event(event) if one.promise == promise)
        assert solvers.z3(one.script)[0] == "sat", name
        assert solvers.cvc5(one.script)[0] == "sat", name


def test_there_are_enough_faults() -> None:
    assert len(FAULTS) >= 20
    promised = {name.partition("/")[2] for fault in FAULTS for name in fault.found}
    assert promised >= {
        *INVARIANTS.keys() - {"HeapOrdered"},
        *STEP_INVARIANTS,
        *("AnsweredOnce", "ClosedOnce", "NothingAfterClose", "Valid"),
        *("Lowered", "OwnOutcome", "Deadline"),
    }


@pytest.mark.parametrize("fault", UNPROMISED, ids=lambda fault: fault.about)
def test_a_fault_that_breaks_no_promise_is_seen_by_the_binding(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding.relation.cache_clear()
    monkeypatch.setattr(binding, "step", changed(fault).step)
    try:
        found = [bound(name) for name in ("base-caller", "base-background")]
    finally:
        binding.relation.cache_clear()
    said = [violation.explanation for violation in found if violation]
    assert any(text.startswith(f"{fault.found[0]} (") for text in said), said


# ---------------------------------------------------------------- it is about `step`


def bound(name: str, **how: Any) -> Violation | None:
    return explore(CONFIGURATIONS[name], Wishes(judge=Binding(**how).differs)).violation


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_edge_is_the_one_that_the_relation_says(name: str) -> None:
    found = Binding()
    result = explore(CONFIGURATIONS[name], Wishes(judge=found.differs))
    assert result.violation is None
    assert found.steps == result.transitions


def test_every_key_and_every_two_tickets() -> None:
    """And what the proof takes for granted is so."""
    assert bound("unbounded", thorough=True) is None


LARGE = ("base-background", "connecting-background", "connecting-caller")
"""Worlds with so many pictures that it takes minutes."""


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*CONFIGURATIONS} - {*LARGE, "unbounded"}))
def test_every_key_and_every_two_tickets_everywhere(name: str) -> None:
    assert bound(name, thorough=True) is None


class BoundMachine(PoolMachine):
    """Each step of the random histories is put into the relation, with all keys and tickets."""

    binding = Binding(thorough=True)

    def tell(self, event: Event) -> tuple[Effect, ...]:
        assert self.twin is not None
        before = self.twin.state
        effects = super().tell(event)
        assert self.binding.differs(before, event, effects, self.twin.state) is None
        return effects


def test_random_histories_are_bound_too() -> None:
    how = settings(
        max_examples=25, stateful_step_count=30, deadline=None, database=None, derandomize=True
    )
    BoundMachine.binding = Binding(thorough=True)
    run_state_machine_as_test(BoundMachine, settings=how)
    assert BoundMachine.binding.steps > 300


NOT_PICTURED = {
    "dead_loses_owner": "owners",
    "heap_not_ordered": "the order in which idle connections are lent",
    "ignored_copies": "whether a state is the same object",
    "io_before_wakes": "the order of effects",
    "leaks_not_awaited": "wake_at",
    "lends_the_oldest": "the order in which idle connections are lent",
    "pause_never_grows": "how long a pause is",
    "shortcut_ignores_age": "when a connection has expired",
}
"""Mutants that change only what no picture shows, and what that is."""

MUTANTS = {name: mutant for name, mutant in mutants().items() if mutant.code}


def test_what_is_not_pictured_breaks_no_count_and_no_identity() -> None:
    proved = {*promises.COUNTING, *promises.OF_KEY, *promises.OF_TICKET, *promises.STEP}
    assert proved >= {*INVARIANTS, *STEP_INVARIANTS} - {"HeapOrdered"}
    for name in NOT_PICTURED:
        assert not proved & {*MUTANTS[name].code}, name


def judged(name: str) -> str | None:
    """What the binding says of the first step that a mutant takes otherwise, in the states that
    the real function reaches."""
    mutant = machine(MUTANTS[name])
    found = Binding()

    def judge(before: State, event: Event, effects: tuple[Effect, ...], after: State) -> str | None:
        try:
            faulty, said = mutant.step(before, event)
        except Exception as error:
            return f"{type(event).__name__} (): {error!r}"
        return found.differs(before, event, said, faulty)

    violation = explore(MUTANTS[name].configuration, Wishes(judge=judge)).violation
    return violation and violation.explanation


@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - NOT_PICTURED.keys()))
def test_a_mutant_of_the_function_is_refused_by_the_binding(name: str) -> None:
    said = judged(name)
    assert said is not None, "the relation allows it"
    assert re.match(r"\w+ \(.*\): ", said), said


@pytest.mark.parametrize("name", NOT_PICTURED)
def test_what_is_not_pictured_is_not_claimed(name: str) -> None:
    """If the binding does see it, it is claimed too little."""
    assert judged(name) is None


WAYS = {
    "Acquire": 24,
    "Opened": 11,
    "OpenFailed": 9,
    "Dead": 18,
    "Release": 15,
    "Discard": 6,
    "Expire": 6,
    "Cancel": 18,
    "CloseIdle": 5,
    "CloseStale": 5,
    "CloseAll": 5,
    "Retire": 6,
    "Tick": 5,
    "Configure": 7,
    "Suspend": 2,
    "Resume": 9,
    "Shutdown": 2,
    "Forked": 3,
    "Adopt": 10,
}
"""How many combinations of rules can be at work together."""


@pytest.mark.slow
@needs_solvers
@pytest.mark.parametrize("event", RELATION)
def test_every_way_through_the_rules_is_one_that_the_function_goes(event: str) -> None:
    taken = 0
    for way in ways(event, solvers.z3):
        taken += 1
        assert realize(way, solvers.z3) is not None, way.rules
    assert taken == WAYS[event]


# ---------------------------------------------------------------- the promises are the invariants


def some_state(draw: random.Random) -> State:
    """A state, mostly one that no history leads to."""
    most = draw.choice([None, 1, 2, 3])
    opener: Any = draw.choice(["caller", "background"])
    limits = Limits(
        max_size=most,
        opener=opener,
        min_idle=draw.randint(0, most or 2) if opener == "background" else 0,
        max_opening=draw.choice([None, 1, 2]),
        max_connecting=draw.choice([None, 1, 2]),
    )
    keys = [draw.randint(1, 5) for _ in range(draw.randint(0, 2))]
    queue: waiters.Queue = None
    for ticket in draw.sample(range(1, 7), draw.randint(0, 2)):
        queue = waiters.insert(queue, ticket, None)
    leases = {
        key: Lease(Entry(key, "c", 0.0, 0.0), 0.0, draw.randint(0, 4), None, False)
        for key in draw.sample(range(1, 6), draw.randint(0, 2))
    }
    opening = draw.sample(range(1, 7), draw.randint(0, 2)) if opener == "caller" else []
    few = draw.choice([0, 0, 0, 1])
    idle = [Idle(n, n, Entry(key, "c", 0.0, 0.0), 0.0) for n, key in enumerate(keys)]
    pending = waiters.size(queue) + len(opening)
    return initial(limits)._replace(
        phase=draw.choice(["open", "open", "suspended", "closed"]),
        idle=heap.build(idle),
        in_use=Map(leases),
        waiters=queue,
        opening_tickets=Map(dict.fromkeys(opening)),
        opening_background=draw.randint(0, 2) if opener == "background" else 0,
        retry_at=draw.choice([None, None, 1.0]) if opener == "background" else None,
        next_seq=9,
        next_ticket=draw.choice([5, 9, 9]),
        issued=pending + few,
        granted=draw.choice([0, 0, 1]),
        counters=Counters(opened=len(idle) + len(leases) + few, adopted=0, closed=few),
    )


def pictured(state: State, key: int, ticket: int) -> dict[str, terms.Value]:
    seen = Seen(state)
    idle, in_use, holder = seen.of_key(key)
    waits, opens, leases, older = seen.of_ticket(ticket)
    return {
        **dict.fromkeys((*LIMITS, *COUNTS, *KEY, *of("a"), *of("b"), *FOLLOWED), 0),
        **seen.counts,
        **{"key": key, "key_idle": idle, "key_in_use": in_use, "key_ticket": holder},
        **{"a": ticket, "a_waits": waits, "a_opens": opens, "a_leases": leases, "a_older": older},
    }


def test_the_promises_of_the_proof_are_the_invariants_of_the_pool() -> None:
    """In ten thousand states, good and bad, both say the same."""
    p = Picture({name: variable(name) for name in (*STATE, *FOLLOWED)})
    of_counts = ["Shrunk", "Served", "Covered", "Conserved", "Shut"]
    says = terms.compiled([promises.COUNTING[name](p) for name in of_counts])
    followed = terms.compiled([promises.exclusive(p), promises.fifo(p, "a")])
    draw = random.Random(7)
    broken = dict.fromkeys(INVARIANTS, 0)
    for _ in range(10_000):
        state = some_state(draw)
        wanted = {name: holds(state) for name, holds in INVARIANTS.items()}
        found = dict(zip(of_counts, says(pictured(state, 1, 1)), strict=True))
        pairs = [followed(pictured(state, n, n)) for n in range(1, 10)]
        found["Exclusive"] = all(exclusive for exclusive, _ in pairs)
        found["Fifo"] = all(fifo for _, fifo in pairs)
        if any(lease.ticket >= state.next_ticket for lease in leased(state.in_use).values()):
            del found["Fifo"]  # the proof's is stronger there: it speaks of who holds, too
        for name, holds in found.items():
            assert holds == wanted[name], (name, state)
            broken[name] += not holds
    del broken["HeapOrdered"]
    assert min(broken.values()) > 100, broken


# ---------------------------------------------------------------- terms


def some_terms() -> Iterator[terms.Term]:
    a, b, c = terms.number("a"), terms.number("b"), terms.truth("c")
    yield terms.choice(c, a + b, a - b - b) <= terms.least(a, b)
    yield terms.implies(c, a == terms.greatest(b, 3)) & ~(a < b)
    yield terms.every(a >= -4, terms.some(c, b != 2), a + a + a > b)
    yield terms.choice(a < b, c, ~c) == (terms.as_number(c) + a > 1)


@needs_solvers
def test_code_and_script_of_a_term_mean_the_same() -> None:
    """Whatever the variables are: a solver is told their values, and has to agree."""
    draw = random.Random(3)
    a, b, c = terms.number("a"), terms.number("b"), terms.truth("c")
    for term in some_terms():
        function = terms.compiled([term])
        seen = set()
        for _ in range(25):
            values: dict[str, terms.Value] = {
                "a": draw.randint(-5, 5),
                "b": draw.randint(-5, 5),
                "c": draw.random() < 0.5,
            }
            said = function(values)[0]
            facts = [a == values["a"], b == values["b"], c == values["c"]]
            for solve in solvers.SOLVERS.values():
                assert solve(terms.script([*facts, term]))[0] == ("sat" if said else "unsat")
            seen.add(said)
        assert seen == {True, False}


def test_a_term_is_not_true_by_itself() -> None:
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(terms.number("a") < 3)
