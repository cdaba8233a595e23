"""The page of life cycles is what `step` does, and changes when `step` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.check.explore import diagrams
from pool.check.explore.configurations import CONFIGURATIONS, EVENTS
from pool.core import transition
from pool.core.draft import Draft

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[2] / "docs" / "life-cycles.md"


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == diagrams.page(), (
        "write it again: python -m pool.check.explore.diagrams > docs/life-cycles.md"
    )


def test_every_event_but_one_moves_something() -> None:
    moving = {name for name in EVENTS if f"| `{name}` | " in PAGE.read_text(encoding="utf-8")}
    assert EVENTS.keys() - moving == {"Suspend"}


def test_another_step_is_another_diagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that forgets instead of closing what is discarded shows it."""
    worlds = [CONFIGURATIONS["base-caller"]]
    assert ("in_use", "forgotten") not in diagrams.lives(worlds).connections

    def discard(state: object, event: object) -> object:
        draft = Draft(state)  # type: ignore[arg-type]
        draft.end_lease(event.key)  # type: ignore[attr-defined]
        draft.forgotten += 1
        return transition.finish(draft, event.now)  # type: ignore[attr-defined]

    monkeypatch.setattr(transition, "discard", discard)
    with pytest.MonkeyPatch.context() as patch:  # its other checks would stop it at once
        patch.setattr("pool.check.explore.explorer.broken", lambda *_: None)
        assert ("in_use", "forgotten") in diagrams.lives(worlds).connections
