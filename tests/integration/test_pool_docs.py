"""The table of features names a test for each, and each test that it names exists.

That the blocks of all pages run is shown in `test_docs.py`.
"""

from __future__ import annotations

import re

from tests.integration.drivers import ROOT

ROW = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows() -> list[str]:
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_every_feature_names_a_test() -> None:
    assert len(rows()) > 35
    assert [row for row in rows() if not ROW.search(row)] == []


def test_every_test_named_exists() -> None:
    missing = []
    for file, function in ROW.findall("\n".join(rows())):
        source = (ROOT / "tests" / "integration" / file).read_text(encoding="utf-8")
        if f"\ndef {function}(" not in source:
            missing.append(f"{file}::{function}")
    assert missing == []
