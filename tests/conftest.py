"""How hard Hypothesis tries: `dev` while writing, `ci` on each push, `nightly` when time is plenty.

`HYPOTHESIS_PROFILE` chooses, else the variable `CI` does, else it is `dev`. Only `nightly` tries
other examples each time: what fails on a push is to have been broken by it. No profile has a
deadline: how long an example takes says nothing about whether it is right, and is noise on a busy
machine. A failure prints the blob that replays it.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"dev": 100, "ci": 300, "nightly": 5000}
STEPS = {"dev": 50, "ci": 50, "nightly": 100}

for profile in EXAMPLES:
    settings.register_profile(
        profile,
        max_examples=EXAMPLES[profile],
        stateful_step_count=STEPS[profile],
        deadline=None,
        print_blob=True,
        derandomize=profile != "nightly",
        suppress_health_check=[HealthCheck.too_slow],
    )
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


LONGEST = (
    "test_wheel.py",
    "test_tasks_machine.py",
    "test_runtime_machine.py",
    "test_size_command.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of half a minute that comes last keeps one core busy, and the others have nothing to
    do: such files come first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """What was imported for all the tests is there to the end: the garbage collector, which many
    tests ask for, need not look through it each time."""
    _make_what_hypothesis_keeps()
    gc.collect()
    gc.freeze()


@settings(max_examples=1, database=None)
@given(st.none())
def _make_what_hypothesis_keeps(_: None) -> None:
    """It asks who refers to its random numbers, and is told nothing of what is frozen."""
