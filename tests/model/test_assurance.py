"""The figures of docs/assurance.md are those of what is pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.check.explore import task_protocol
from pool.check.explore.configurations import CONFIGURATIONS
from pool.check.explore.graphs import read_pins
from pool.check.explore.mutants import mutants
from pool.check.explore.protocol import DEEP, WORLDS, faults
from pool.check.explore.tlc import spec_directory
from pool.check.proof.obligations import obligations
from pool.check.proof.relation import RELATION
from tests.integration.test_linearizable import BAD, PLANTS
from tests.model import test_tasks
from tests.model.mutation import EXPLAINED, read_explained
from tests.model.proof_faults import FAULTS, UNPROMISED
from tests.model.test_proof import NOT_PICTURED, WAYS
from tests.model.test_scheduler import COUNTS

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[2] / "docs" / "assurance.md").read_text(encoding="utf-8")


def test_the_table_is_what_is_pinned() -> None:
    pins = read_pins(spec_directory())
    rows = []
    for name, world in CONFIGURATIONS.items():
        sizes = {limits.max_size for limits in world.limits}
        most = "no limit" if None in sizes else max(size for size in sizes if size)
        pin = pins[name]
        rows.append(
            f"| `{name}` | {world.callers} | {most} | {pin['states']:,} | {pin['edges']:,} |"
        )
    assert "\n".join(rows) in PAGE, "\n".join(rows)
    states = sum(int(pin["states"]) for pin in pins.values())
    edges = sum(int(pin["edges"]) for pin in pins.values())
    assert f"the {len(pins)} configurations of the table below: {states:,} states" in PAGE
    assert f"{edges:,} labelled edges" in PAGE


def test_the_numbers_of_mutants() -> None:
    planted = mutants().values()
    code = sum(bool(mutant.code) for mutant in planted)
    specification = sum(bool(mutant.specification) for mutant in planted)
    assert f"{code} of the code and {specification} of the specification found" in PAGE
    assert (
        f"each of the other {len(read_explained(EXPLAINED.read_text('utf-8')))} is explained"
        in PAGE
    )


def test_the_numbers_of_the_proof() -> None:
    code = sum(bool(mutant.code) for mutant in mutants().values())
    total = len(list(obligations()))
    promised, all_ = len(FAULTS), len(FAULTS) + len(UNPROMISED)
    words = " ".join(PAGE.split())
    assert f"{total} obligations for {len(RELATION)} events" in words
    assert f"{sum(WAYS.values())} ways through the rules" in words
    assert f"Of {all_} faults planted in the relation {promised} break a promise" in words
    seen = code - len(NOT_PICTURED)
    assert f"Of the {code} mutants of the code, {seen} are refused by the binding" in words


def test_the_number_of_interleavings() -> None:
    total = sum(interleavings for interleavings, _ in COUNTS.values())
    assert f"some {round(total, -3):,} interleavings of {len(COUNTS)} programs" in PAGE


def test_the_number_of_orders_of_tasks() -> None:
    total = sum(orders for orders, _ in test_tasks.COUNTS.values())
    assert f"some {round(total, -3):,} orders of {len(test_tasks.COUNTS)} programs" in PAGE
    assert len(test_tasks.FAULTS) == 16
    assert "sixteen faults planted in the runtime" in PAGE


def test_the_numbers_of_the_protocol() -> None:
    words = " ".join(PAGE.split())
    states = sum(world.states for world in WORLDS.values())
    assert f"no violation in {len(WORLDS)} worlds, {states:,} states, with each push" in words
    assert f"in {len(DEEP)} larger ones of each night" in words
    assert f"{len(faults())} faults planted in the protocol are found" in words


def test_the_numbers_of_the_protocol_of_tasks() -> None:
    words = " ".join(PAGE.split())
    worlds, deep = task_protocol.WORLDS.values(), task_protocol.DEEP.values()
    many, more = (sum(world.states for world in which) for which in (worlds, deep))
    assert f"no violation in {len(worlds)} worlds, {many:,} states, with each push" in words
    assert f"in {len(deep)} larger ones of each night, {more:,} states" in words
    assert f"{len(task_protocol.faults())} faults planted in the protocol are found, a" in words


def test_the_numbers_of_histories() -> None:
    words = " ".join(PAGE.split())
    numbers = {4: "four", 9: "nine"}
    assert f"For {numbers[len(BAD)]} histories written by hand" in words
    assert f"with {numbers[len(PLANTS) - 1]} faults planted in pools" in words


def test_the_table_of_mutants_of_the_rest() -> None:
    """As `python -m tests.mutation --table` writes it; its rows add up, the prose has its sums."""
    pytest.importorskip("mutmut")
    from tests.mutation.__main__ import COLUMNS, FILES, GROUPS, PLANTED, group_of

    assert {group_of(file) for file in FILES} == {*GROUPS}
    rows: dict[str, dict[str, int]] = {}
    for line in PAGE.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if name in (*GROUPS, "together") and len(cells) == len(COLUMNS):
            numbers = (int(cell.replace(",", "")) for cell in cells)
            rows[name] = dict(zip(COLUMNS, numbers, strict=True))
    assert list(rows) == [*GROUPS, "together"]
    for name, row in rows.items():
        parts = ("killed", "only wording", "explained", "alive", "not tried")
        assert row["mutants"] == sum(row[part] for part in parts), name
        assert row["of these by a hang"] <= row["killed"], name
    together = rows.pop("together")
    for column in COLUMNS:
        assert together[column] == sum(row[column] for row in rows.values()), column
    text = " ".join(PAGE.split())
    assert f"(`make mutation-runtime`): {together['mutants']:,} mutants" in text
    planted = len(read_explained(PLANTED.read_text(encoding="utf-8")))
    assert f"{planted} of them were thought of" in text
