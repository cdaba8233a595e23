"""The order of the tests of this directory, for a mutant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make mutation` stops at the first test that fails, so the quickest come first. mutmut has
    measured them, but gives them in any order."""
    measured = Path("mutmut-stats.json")
    if os.environ.get("MUTANT_UNDER_TEST") and measured.exists():
        seconds = json.loads(measured.read_text()).get("duration_by_test", {})
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
