"""Two solvers, made by different people: each is given the same text.

Theory. What both say is worth more than what one says, for a fault of a solver is unlikely to be
in the other. Neither is asked through its own way of making formulas: both read SMT-LIB, so what
they were asked can be read, and asked of a third.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pool.check.proof.obligations import Model


def z3(text: str) -> tuple[str, Model]:
    """`sat`, `unsat` or `unknown`, and of what is `sat` the values of its variables."""
    import z3 as library

    # Measured: the usual one takes twenty times as long. In a context of its own, or what it finds
    # would depend on what was asked before.
    solver = library.SimpleSolver(ctx=library.Context())
    solver.set("ctrl_c", False)  # else Ctrl-C is z3's, and nobody else hears of it
    solver.from_string(text)
    answer = str(solver.check())
    model: Model = {}
    if answer == "sat":
        found = solver.model()
        for name in found.decls():
            value = found[name]
            if library.is_int_value(value):
                model[name.name()] = value.as_long()
            elif library.is_true(value) or library.is_false(value):  # else: not a variable
                model[name.name()] = library.is_true(value)
    return answer, model


def cvc5(text: str) -> tuple[str, Model]:
    """Likewise."""
    import cvc5 as library

    solver = library.Solver()
    solver.setOption("produce-models", "true")
    symbols = library.SymbolManager(solver)
    parser = library.InputParser(solver, symbols)
    parser.setStringInput(library.InputLanguage.SMT_LIB_2_6, text, "obligation")
    while not (command := parser.nextCommand()).isNull():
        command.invoke(solver, symbols)
    result = solver.checkSat()
    answer = "sat" if result.isSat() else "unsat" if result.isUnsat() else "unknown"
    model: Model = {}
    if answer == "sat":
        for term in symbols.getDeclaredTerms():
            value = solver.getValue(term)
            is_truth = value.getSort().isBoolean()
            model[str(term)] = value.getBooleanValue() if is_truth else int(value.getIntegerValue())
    return answer, model


SOLVERS: Mapping[str, Callable[[str], tuple[str, Model]]] = MappingProxyType(
    {"z3": z3, "cvc5": cvc5}
)


def there() -> list[str]:
    """Those that are installed."""
    return [name for name in SOLVERS if importlib.util.find_spec(name) is not None]
