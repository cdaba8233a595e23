"""What `make mutation` makes of mutmut's survivors."""

from __future__ import annotations

import importlib
from functools import reduce

import pytest

from tests.model.mutation import (
    EXPLAINED,
    SURVIVED,
    UNDECIDED,
    Survivor,
    _try_survivors_again,
    judge,
    read_explained,
)

TEXT = """\
# a comment

heap.size
-return heap[0] if heap else 0
+return heap[0] if heap else 1
Said
in two lines.
"""
ONE = Survivor("heap.size", "return heap[0] if heap else 0", "return heap[0] if heap else 1")


def test_an_explanation_is_read() -> None:
    assert read_explained(TEXT) == {ONE: "Said in two lines."}
    assert read_explained(str(ONE) + "\nSo.\n") == {ONE: "So."}


@pytest.mark.parametrize("text", ["heap.size\n-a\n+b\n", "heap.size\nNo lines.\n"])
def test_an_explanation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"heap\.size: a survivor needs its lines and a reason"):
        read_explained(text)


def test_every_difference_is_said() -> None:
    assert judge([ONE], [ONE]) == []
    other = ONE._replace(function="heap.merge")
    unexplained, dead = judge([ONE], [other])
    assert unexplained == f"survives, and is not explained:\n{ONE}"
    assert dead == f"is explained, but does not survive:\n{other}"


def test_what_is_explained_is_code_that_there_is() -> None:
    """The old lines are still in their module: what `make mutation` would say in minutes."""
    for survivor in read_explained(EXPLAINED.read_text(encoding="utf-8")):
        module, *names = survivor.function.split(".")
        found = importlib.import_module(f"pool.core.{module}")
        assert callable(reduce(getattr, names, found)), survivor.function
        assert found.__file__ is not None
        with open(found.__file__, encoding="utf-8") as source:
            lines = {line.strip() for line in source}
        assert set(survivor.old.splitlines()) <= lines, survivor


class Noted:
    """What mutmut noted of a file."""

    def __init__(self, **codes: int) -> None:
        self.exit_code_by_key = dict(codes)
        self.saved: list[dict[str, int]] = []

    def save(self) -> None:
        self.saved.append(dict(self.exit_code_by_key))


def test_survivors_are_tried_again_and_others_are_not() -> None:
    files = [Noted(), Noted(killed=1), Noted(killed=1, alive=SURVIVED)]
    _try_survivors_again(files)
    # In a fresh checkout nothing can be saved, for there is no place for it.
    assert [file.saved for file in files] == [[], [], [{"killed": 1, "alive": UNDECIDED}]]
