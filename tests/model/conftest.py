"""What the tests of this directory share: a marker for those that run TLC."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker here, beside the tests that carry it."""
    config.addinivalue_line("markers", "tlc: runs TLC, so needs a Java; seconds each")
