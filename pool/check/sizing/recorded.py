"""Callers as a flight recorder saw them: for `purepool size RECORDING`.

Theory.  A recording says when each caller asked and for how long it held, and that is a load.  It
also says how long each of them waited; so the simulation is tried on what is known first: with the
limits that the pool had, its waits have to be those that were recorded.  What differs is what a
simulation leaves out: checks that found a connection dead, other limits for a while, and what was
lent already when the recording began.

Only the last stretch without a gap is used: between two runs nobody knows who asked.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable

import attrs

from pool.check.usage import UsageError
from pool.core.effects import Effect, Grant, Refuse
from pool.core.events import Acquire, Dead, Event, Expire
from pool.core.limits import Limits
from pool.record.recording import Header, Reader, RecordingError
from pool.size.loads import Load, load_of
from pool.size.simulation import WARM_UP

History = list[tuple[Event, tuple[Effect, ...]]]


@attrs.frozen(kw_only=True)
class Recorded:
    """What was recorded of callers. Times are in seconds."""

    load: Load
    limits: Limits
    """Those that the pool had in the end, but for reports of leaks."""
    waits: tuple[float, ...]
    """Of those that a simulation counts and that got a connection, shortest first."""
    refused: Counter[str]
    notes: tuple[str, ...]

    def quantile(self, part: float) -> float:
        """The wait that this part of them did not exceed."""
        return self.waits[max(0, -int(-part * len(self.waits) // 1) - 1)]


def read(path: str, progress: Callable[[int], None] | None = None) -> Recorded:
    """The callers of a recording. Raises `UsageError`."""
    reader, history, previous = Reader(path), History(), None
    limits = Limits()
    try:
        for transition in reader.transitions(progress):
            if not _follows(previous, transition.header):
                history.clear()
            previous = transition.header
            limits = transition.after.limits
            history.append((transition.event, transition.effects))
        load = load_of(history)
    except (RecordingError, ValueError) as error:
        raise UsageError(str(error)) from None
    waits, refused, patience = _met(history)
    timeout = statistics.median(patience) if patience else None
    origin = f"{len(load.calls):,} recorded calls, {load.rate:.3g} each second"
    return Recorded(
        load=attrs.evolve(load, timeout=timeout, origin=origin),
        limits=attrs.evolve(limits, leak_after=None),
        waits=waits,
        refused=refused,
        notes=tuple(reader.report.notes),
    )


def _follows(previous: Header | None, header: Header) -> bool:
    return previous is not None and (
        header is previous
        or (header.run == previous.run and header.segment == previous.segment + 1)
    )


def _met(history: History) -> tuple[tuple[float, ...], Counter[str], list[float]]:
    """How long those waited that got something, why the others did not, and how long they were
    ready to wait whose timeout passed. But for those at the beginning, as in a simulation."""
    asked: dict[int, float] = {}
    waited: dict[int, float] = {}
    refused: dict[int, str] = {}
    patience = []
    for event, effects in history:
        if isinstance(event, Acquire):
            asked[event.ticket] = event.now
        elif isinstance(event, Dead):
            waited.pop(event.ticket, None)
        elif isinstance(event, Expire) and event.ticket in asked and _is_refused(effects):
            patience.append(event.now - asked[event.ticket])
        for effect in effects:
            if isinstance(effect, Grant) and effect.ticket in asked:
                waited[effect.ticket] = event.now - asked[effect.ticket]
            elif isinstance(effect, Refuse) and effect.ticket in asked:
                refused[effect.ticket] = effect.reason
    counted = list(asked)[int(len(asked) * WARM_UP) :]
    waits = sorted(waited[ticket] for ticket in counted if ticket in waited)
    return tuple(waits), Counter(refused[one] for one in counted if one in refused), patience


def _is_refused(effects: tuple[Effect, ...]) -> bool:
    return any(isinstance(effect, Refuse) for effect in effects)
