"""The table of intended differences in `docs/peewee.md` names a test for each, and they exist.

Theory.  A difference that no test shows is a guess.  That the code blocks of the page run is
checked with those of all pages; here only the table is.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.drivers import ROOT

HERE = Path(__file__).parent


def rows() -> list[list[str]]:
    """The cells of each row under the heading that announces the table."""
    page = (ROOT / "docs" / "peewee.md").read_text(encoding="utf-8")
    part = page.split("## What is different, on purpose", 1)[1].split("\n## ", 1)[0]
    table = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_there_is_one_table_with_four_columns() -> None:
    assert len(rows()) >= 10
    assert {len(row) for row in rows()} == {4}
    assert len({row[0] for row in rows()}) == len(rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_difference_is_shown_by_tests_that_exist(row: list[str]) -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[3])
    assert named
    for file, test in named:
        text = (HERE / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {test}\(", text, re.MULTILINE), f"there is no {test} in {file}"
