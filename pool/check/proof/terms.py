"""Formulas over whole numbers: written once, read by solvers as text and by Python as code.

Theory.  The relation must mean the same to the solver that proves with it and to the check that
compares it with `step`.  So it is neither a solver's object nor Python code, but a `Term`, and both
are made of that.  The text is SMT-LIB, which every solver reads; the code is one function without
branches but those of the formula, fast enough for every edge of a graph.

Equal terms are one object.  A term has no truth: `if term:` is a mistake and raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Value = int | bool


class Term:
    """A formula: a number or a truth that depends on variables. Immutable."""

    __slots__ = ("args", "index", "name", "op", "truth")

    op: str
    args: tuple[Term, ...]
    name: Any
    """Of a variable its name, of a constant its value."""
    truth: bool
    """Whether it is true or false, not a number."""
    index: int

    def __add__(self, other: Term | int) -> Term:
        return _number("+", self, as_term(other))

    def __sub__(self, other: Term | int) -> Term:
        return _number("-", self, as_term(other))

    def __le__(self, other: Term | int) -> Term:
        return _truth("<=", self, as_term(other))

    def __lt__(self, other: Term | int) -> Term:
        return _truth("<", self, as_term(other))

    def __ge__(self, other: Term | int) -> Term:
        return as_term(other) <= self

    def __gt__(self, other: Term | int) -> Term:
        return as_term(other) < self

    def __eq__(self, other: object) -> Term:  # type: ignore[override]
        return _truth("=", self, as_term(other))

    def __ne__(self, other: object) -> Term:  # type: ignore[override]
        return ~(self == other)

    def __and__(self, other: Term) -> Term:
        return every(self, other)

    def __or__(self, other: Term) -> Term:
        return some(self, other)

    def __invert__(self) -> Term:
        if self.op == "const":
            return as_term(not self.name)
        return self.args[0] if self.op == "not" else _truth("not", self)

    def __hash__(self) -> int:
        return self.index

    def __bool__(self) -> bool:
        raise TypeError("a term is neither true nor false until its variables are known")

    def __repr__(self) -> str:
        return _expressions([self], {})[self.index][0]


_known: dict[tuple[Any, ...], Term] = {}


def _make(op: str, args: tuple[Term, ...], name: Any, truth: bool) -> Term:
    key = (op, name, type(name), *(arg.index for arg in args))
    found = _known.get(key)
    if found is None:
        found = Term()
        found.op, found.args, found.name, found.truth = op, args, name, truth
        found.index = len(_known)
        _known[key] = found
    return found


def _folded(op: str, args: tuple[Term, ...]) -> Value | None:
    """What an operation on constants gives."""
    if any(arg.op != "const" for arg in args):
        return None
    value: Value = _FOLD[op](*(arg.name for arg in args))
    return value


_FOLD: Mapping[str, Callable[..., Value]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "<=": lambda one, other: one <= other,
    "<": lambda one, other: one < other,
    "=": lambda one, other: one == other,
    "not": lambda one: not one,
}


def _number(op: str, *args: Term) -> Term:
    value = _folded(op, args)
    return _make(op, args, None, False) if value is None else as_term(value)


def _truth(op: str, *args: Term) -> Term:
    value = _folded(op, args)
    if value is None and op == "=" and args[0] is args[1]:
        value = True
    return _make(op, args, None, True) if value is None else as_term(bool(value))


def as_term(value: object) -> Term:
    """A constant, or what is a term already."""
    if isinstance(value, Term):
        return value
    assert isinstance(value, int)
    return _make("const", (), value, isinstance(value, bool))


TRUE, FALSE = as_term(True), as_term(False)


def number(name: str) -> Term:
    """A variable that is a whole number."""
    return _make("var", (), name, False)


def truth(name: str) -> Term:
    """A variable that is true or false."""
    return _make("var", (), name, True)


def every(*parts: Term) -> Term:
    """All of them are true."""
    return _joined("and", parts, TRUE, FALSE)


def some(*parts: Term) -> Term:
    """At least one of them is."""
    return _joined("or", parts, FALSE, TRUE)


def _joined(op: str, parts: Iterable[Term], nothing: Term, decides: Term) -> Term:
    """`nothing` adds nothing, and one that `decides` is enough."""
    flat = [one for part in parts for one in (part.args if part.op == op else (part,))]
    kept = [part for part in dict.fromkeys(flat) if part is not nothing]
    if any(part is decides for part in kept):
        return decides
    if len(kept) > 1:
        return _make(op, tuple(kept), None, True)
    return kept[0] if kept else nothing


def implies(one: Term, other: Term) -> Term:
    """If one, then the other."""
    return some(~one, other)


def choice(condition: Term, one: Term | int, other: Term | int) -> Term:
    """One if the condition holds, else the other."""
    one, other = as_term(one), as_term(other)
    if condition is TRUE or one is other:
        return one
    if condition is FALSE:
        return other
    if one.truth:
        return every(implies(condition, one), implies(~condition, other))
    return _make("ite", (condition, one, other), None, False)


def least(one: Term, other: Term | int) -> Term:
    """The smaller one."""
    return choice(one <= other, one, other)


def greatest(one: Term, other: Term | int) -> Term:
    """The larger one."""
    return choice(one >= other, one, other)


def as_number(condition: Term) -> Term:
    """1 if it is true, else 0."""
    return choice(condition, 1, 0)


# ---------------------------------------------------------------- what a term consists of


def nodes(terms: Iterable[Term]) -> list[Term]:
    """Every term in these, each after those it is made of."""
    found: dict[int, Term] = {}
    stack = [(term, False) for term in terms]
    while stack:
        term, ready = stack.pop()
        if term.index in found:
            continue
        if ready:
            found[term.index] = term
        else:
            stack.append((term, True))
            stack.extend((arg, False) for arg in term.args)
    return list(found.values())


def _uses(everything: Iterable[Term]) -> Counter[int]:
    """How often each of these terms stands in another."""
    return Counter(arg.index for node in everything for arg in node.args)


def variables(terms: Iterable[Term]) -> list[Term]:
    """The variables in these, in the order of their names."""
    found = [term for term in nodes(terms) if term.op == "var"]
    return sorted(found, key=lambda term: str(term.name))


_EVALUATE: Mapping[str, Callable[..., Value]] = {
    **_FOLD,
    "and": lambda *parts: all(parts),
    "or": lambda *parts: any(parts),
    "ite": lambda condition, one, other: one if condition else other,
}


def holds(terms: Iterable[Term], values: Mapping[str, Value]) -> bool:
    """Whether all of these are true of such values; a variable without one is 0, or false."""
    given = list(terms)
    found: dict[int, Value] = {}
    for node in nodes(given):
        if node.op == "const":
            found[node.index] = node.name
        elif node.op == "var":
            found[node.index] = values.get(node.name, False if node.truth else 0)
        else:
            found[node.index] = _EVALUATE[node.op](*(found[arg.index] for arg in node.args))
    return all(found[term.index] for term in given)


# ---------------------------------------------------------------- as code

_DEEPEST = 40
"""So deep an expression is broken off and given a name: Python's parser allows 100."""

_INFIX = {"and": " and ", "or": " or ", "=": " == ", "+": " + ", "-": " - "}


def _expressions(terms: list[Term], named: dict[int, str]) -> dict[int, tuple[str, int]]:
    """Python's expression for each node that has no name, with its depth."""
    made: dict[int, tuple[str, int]] = {}
    for node in nodes(terms):
        if node.index in named:
            made[node.index] = named[node.index], 0
            continue
        made[node.index] = _expression(node, made)
    return made


def _expression(node: Term, made: Mapping[int, tuple[str, int]]) -> tuple[str, int]:
    parts = [made[arg.index][0] for arg in node.args]
    depth = 1 + max((made[arg.index][1] for arg in node.args), default=0)
    if node.op in ("const", "var"):
        return str(node.name), 0
    if node.op == "ite":
        return f"({parts[1]} if {parts[0]} else {parts[2]})", depth
    if node.op == "not":
        return f"(not {parts[0]})", depth
    return "(" + _INFIX.get(node.op, f" {node.op} ").join(parts) + ")", depth


def compiled(terms: list[Term]) -> Callable[[Mapping[str, Value]], tuple[Value, ...]]:
    """A function from the values of variables, by name, to those of the terms."""
    everything = nodes(terms)
    uses = _uses(everything)
    made: dict[int, tuple[str, int]] = {}
    lines = ["def function(values):"]
    for node in everything:
        text, depth = _expression(node, made)
        if node.op == "var":
            text = f"values[{node.name!r}]"
        shared = uses[node.index] > 1 and node.op != "const"
        if shared or depth > _DEEPEST:
            lines.append(f"    v{node.index} = {text}")
            text, depth = f"v{node.index}", 0
        made[node.index] = text, depth
    results = ", ".join(made[term.index][0] for term in terms)
    lines.append(f"    return ({results},)")
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)
    function: Callable[[Mapping[str, Value]], tuple[Value, ...]] = space["function"]
    return function


# ---------------------------------------------------------------- as SMT-LIB


def script(assertions: Iterable[Term], logic: str = "QF_LIA") -> str:
    """An SMT-LIB script that declares the variables and asserts these."""
    given = [term for term in assertions if term is not TRUE]
    everything = nodes(given)
    uses = _uses(everything)
    lines = [f"(set-logic {logic})"]
    lines += [
        f"(declare-const {term.name} {'Bool' if term.truth else 'Int'})"
        for term in variables(given)
    ]
    made: dict[int, str] = {}
    for node in everything:
        text = _smt(node, made)
        if uses[node.index] > 1 and node.args:
            sort = "Bool" if node.truth else "Int"
            lines.append(f"(define-fun n{node.index} () {sort} {text})")
            text = f"n{node.index}"
        made[node.index] = text
    lines += [f"(assert {made[term.index]})" for term in given]
    return "\n".join(lines) + "\n"


def _smt(node: Term, made: Mapping[int, str]) -> str:
    if node.op == "var":
        return str(node.name)
    if node.op == "const":
        if node.truth:
            return str(node.name).lower()
        return str(node.name) if node.name >= 0 else f"(- {-node.name})"
    return f"({node.op} {' '.join(made[arg.index] for arg in node.args)})"
