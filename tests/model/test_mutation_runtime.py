"""What `make mutation-runtime` makes of mutmut's changes, and of survivors."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mutmut")

from tests.model.mutation import Survivor, read_explained
from tests.mutation import __main__ as command
from tests.mutation.mutants import Mutant, Place, mutants, places, planted
from tests.mutation.wording import KINDS, kind_of

pytestmark = pytest.mark.once

SOURCE = '''\
"""A module."""

from __future__ import annotations

import functools


class Base:
    def size(self, more: int = 1) -> int:
        return more


class Box(Base):
    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 1

    def size(self, more: int = 1) -> int:
        """How large it is,
        with something."""
        return super().size(more) + self._size

    @property
    def half(self) -> float:
        return self._size / 2

    @half.setter
    def half(self, value: float) -> None:
        self._size = value * 2

    @staticmethod
    def fail() -> None:
        raise ValueError("no such box")


@functools.lru_cache(maxsize=64)
def twice(number: int) -> int:
    return number * 2
'''


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("boxes_to_mutate.py").write_text(SOURCE)
    sys.modules.pop("boxes_to_mutate", None)
    importlib.invalidate_caches()
    return "boxes_to_mutate.py"


def load() -> Any:
    sys.modules.pop("boxes_to_mutate", None)
    return importlib.import_module("boxes_to_mutate")


def one(file: str, name: str, new: str) -> Mutant:
    (found,) = [m for m in mutants(file) if m.place.name == name and m.survivor.new == new]
    return found


def test_every_function_is_a_place(file: str) -> None:
    load()
    found = {place.name: place for place in places(file)}
    assert list(found) == [
        *("twice", "Base.size", "Box.__init__", "Box.size", "Box.half", "Box.half.setter"),
        "Box.fail",
    ]
    assert all(place.function() for place in found.values())
    assert found["Box.half.setter"].title == "boxes_to_mutate.Box.half.setter"


def test_a_mutant_is_put_into_a_function_that_is_loaded(file: str) -> None:
    boxes = load()
    box = boxes.Box()
    assert (box.size(), box.half, boxes.twice(3)) == (2, 0.5, 6)
    one(file, "Box.size", "return super().size(more) - self._size").plant()
    one(file, "Box.half", "return self._size * 2").plant()
    one(file, "twice", "return number / 2").plant()
    box.half = 4
    assert (box.size(), box.half, boxes.twice(2)) == (-7, 16, 1)
    one(file, "Box.half.setter", "self._size = None").plant()
    box.half = 4
    assert box._size is None


def test_a_mutant_of_a_default(file: str) -> None:
    box = load().Box()
    one(file, "Box.size", "def size(self, more: int = 2) -> int:").plant()
    assert box.size() == 3


def test_what_super_brings_is_kept(file: str) -> None:
    box = load().Box()
    assert box.size.__code__.co_freevars == ("__class__",)
    (place,) = [place for place in places(file) if place.name == "Box.size"]
    Mutant(place, None, 1, "def size(self, more=1):\n    return 9", 1, "").plant()  # type: ignore[arg-type]
    assert box.size() == 9


def test_the_text_of_a_module_with_a_mutant(file: str) -> None:
    for mutant in mutants(file):
        ast.parse(mutant.text())
    text = one(file, "Box.half.setter", "self._size = value / 2").text()
    assert ast.dump(ast.parse(text)) == ast.dump(
        ast.parse(SOURCE.replace("value * 2", "value / 2"))
    )


def test_the_wording_of_a_message_is_a_kind(file: str) -> None:
    kinds = {m.survivor.new: kind_of(m) for m in mutants(file) if m.place.name == "Box.fail"}
    assert kinds['raise ValueError("XXno such boxXX")'] == KINDS["text of an error"]
    assert kinds["raise ValueError(None)"] == ""


def test_a_mutant_of_a_name_that_is_gone_is_refused(file: str) -> None:
    boxes = load()
    mutant = one(file, "twice", "return number / 2")
    del boxes.twice
    with pytest.raises(LookupError, match=r"boxes_to_mutate\.twice"):
        mutant.plant()


def test_a_fault_that_was_thought_of_is_planted_as_others() -> None:
    """In a function of the pool, whose name says in which file it is."""
    lines = ("parker.acquire(True, min(left, threading.TIMEOUT_MAX))", "return False")
    (mutant,) = planted([Survivor("threads.onlookers.wait", *lines)])
    assert (mutant.place.file, mutant.place.name) == ("pool/threads/onlookers.py", "wait")
    before = mutant.place.text.splitlines()
    assert mutant.text().splitlines() == [line.replace(*lines) for line in before]
    assert before[mutant.line - 1].strip() == lines[0]


@pytest.mark.parametrize(
    ("function", "old", "text"),
    [
        ("threads.onlookers.wait", "return", "0 times in the function"),
        ("threads.onlookers.Onlookers.notify", "return False", "0 times in the function"),
        ("threads.onlookers.waits", "return False", "no such function"),
        ("onlookers.wait", "return False", "no such module"),
    ],
)
def test_a_fault_in_code_that_is_not_there_is_refused(function: str, old: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        planted([Survivor(function, old, "pass")])


def test_the_faults_that_were_thought_of_fit_the_code() -> None:
    found = command.planted_by_hand()
    assert len(found) >= 9 * 3
    assert {mutant.place.file for mutant in found} <= {*command.FILES}
    for mutant in found:
        ast.parse(mutant.text())


def all_places() -> dict[str, Place]:
    return {place.title: place for file in command.FILES for place in places(file)}


def test_every_function_of_the_pool_can_be_mutated_where_it_is() -> None:
    assert [title for title, place in all_places().items() if place.function() is None] == []


def test_what_is_explained_is_code_that_there_is() -> None:
    found = all_places()
    for survivor in read_explained(command.EXPLAINED.read_text(encoding="utf-8")):
        lines = Path(found[survivor.function].file).read_text(encoding="utf-8").splitlines()
        assert set(survivor.old.splitlines()) <= {line.strip() for line in lines}, survivor


def test_all_that_is_not_pure_is_mutated() -> None:
    """By this target or the other one; tools that no program runs in production are left out."""
    text = Path("pyproject.toml").read_text(encoding="utf-8")
    known = {*command.FILES, *(f for f in text.split('"') if f.startswith("pool/"))}
    there = {
        path.as_posix()
        for room in (".", "aio", "core", "shared", "threads", "tasks", "drivers", "peewee")
        for path in Path("pool", room).glob("*.py")
    }
    data = {"pool/statistics.py", "pool/threads/driver.py"}
    data |= {
        f"pool/{room}__init__.py"
        for room in ("", "core/", "shared/", "threads/", "tasks/", "drivers/")
    }
    data |= {f"pool/core/{name}.py" for name in ("draft", "effects", "events", "limits", "values")}
    data |= {f"pool/shared/{name}.py" for name in ("arguments", "errors", "holders", "listeners")}
    assert there - known == data - known
