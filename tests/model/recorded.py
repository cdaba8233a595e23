"""Recordings of what `step` does, without a pool: for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pool.core.events import Event
from pool.core.limits import Limits
from pool.core.state import State, initial
from pool.core.transition import step
from pool.record import format
from pool.record.flight import SUFFIX
from pool.shared import named

WALL = 1_800_000_000.0
"""Of time 0."""


def record(
    directory: Path,
    limits: Limits,
    events: Iterable[Event],
    *,
    state: State | None = None,
    segment: int = 1,
    now: float = 0.0,
    **header: Any,
) -> State:
    """Write a segment in which these events happen; the state after them."""
    directory.mkdir(exist_ok=True)
    state = initial(limits) if state is None else state
    about = {
        **{"kind": format.KIND, "version": format.VERSION, "run": "one", "segment": segment},
        **{"pid": 4711, "pool": "shop", "python": "3.11", "wall": WALL + now, "now": now},
        **header,
    }
    lines = [format.line(about), format.line(format.encode_state(state))]
    for event in events:
        after, effects = step(state, event)
        told = named.event(state, event, after, effects, _owner)
        lines.append(format.line(format.encode(told, named.effects(effects, _owner))))
        state = after
    (directory / f"{segment:08}{SUFFIX}").write_bytes(b"".join(lines))
    return state


def _owner(_: int, owner: Any) -> str:
    return str(owner)
