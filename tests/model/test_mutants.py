"""Every fault of `spec/mutants/` is found, by the name of the property that it breaks.

Theory.  A property that no mutant breaks has never been seen to fail, so there is a mutant for
each.  Those of the specification take a run of TLC each: `purepool check --mutants` finds
all of them, and two are found here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pool import INVARIANTS, STEP_INVARIANTS
from pool.check.explore import tlc
from pool.check.explore.mutants import (
    EQUAL,
    Mutant,
    MutantError,
    changed,
    found_in_code,
    found_in_specification,
    machine,
    mutants,
    read_mutant,
)
from pool.check.explore.properties import GRAPH_PROPERTIES, RUN_PROPERTIES

pytestmark = pytest.mark.once

MUTANTS = mutants()


@pytest.mark.parametrize("mutant", [m for m in MUTANTS.values() if m.code], ids=lambda m: m.name)
def test_a_mutant_of_the_code_is_found(mutant: Mutant) -> None:
    assert set(mutant.code) <= set(found_in_code(mutant))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lifo_waiters", "cancel_removes_another"])
def test_a_mutant_of_the_specification_is_found(name: str) -> None:
    assert set(MUTANTS[name].specification) <= set(found_in_specification(MUTANTS[name]))


def test_there_is_a_mutant_for_every_property_of_the_code() -> None:
    wanted = {*INVARIANTS, *STEP_INVARIANTS, *RUN_PROPERTIES, *GRAPH_PROPERTIES, EQUAL}
    assert {name for mutant in MUTANTS.values() for name in mutant.code} == wanted


def test_there_is_a_mutant_for_every_property_of_the_specification() -> None:
    wanted = {*tlc.INVARIANTS, *tlc.STEP_PROPERTIES, *tlc.TEMPORAL, EQUAL}
    assert {name for mutant in MUTANTS.values() for name in mutant.specification} == wanted


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda m: m.name)
def test_a_mutant_fits_what_it_changes(mutant: Mutant) -> None:
    directory = tlc.spec_directory()
    for change in mutant.changes:
        if change.file.endswith(".tla"):
            text = (directory / change.file).read_text()
            assert changed(mutant, change.file, text) != text


def test_without_a_mutant_the_core_is_loaded_as_it_is() -> None:
    from pool.core import transition

    again = machine(None)
    assert again.transition is not transition
    assert again.transition.State is transition.State


def test_a_mutant_that_does_not_fit_says_so(tmp_path: Path) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("Odd.\nconfiguration: base-caller\n\n@@ heap.py breaks Fifo\n-no line\n+\n")
    with pytest.raises(MutantError, match=r"odd: its old lines are not once in heap\.py"):
        machine(read_mutant(path))
    path.write_text("Odd.\nconfiguration: none\n")
    with pytest.raises(MutantError, match="no such configuration: 'none'"):
        read_mutant(path)
