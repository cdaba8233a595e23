"""Arithmetic that every measurement needs, and nothing about pools.

Theory.  The machines that this runs on are shared and their speed changes from second to
second.  So two things are never compared by figures of two different minutes: they take turns, in
short runs, and what counts is the median of the ratios of neighbours.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

now = time.perf_counter


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is at least as large as so many percent of all; nan if there is none.

    `values` need not be sorted."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Iterable[float]) -> float:
    """The median; nan if there is none."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


@attrs.frozen
class Turn:
    """One caller's turn: when it asked for a connection, when it had one, when it gave it back."""

    thread: int
    connection: int
    asked: float
    running: float
    returned: float

    @property
    def wait(self) -> float:
        return self.running - self.asked


def wakeups(turns: Sequence[Turn]) -> list[float]:
    """For each time a connection was given back while somebody waited: the seconds until
    somebody who waited then was running with it.

    Those who came later and took it before them (the barging of a pool without a queue) are no
    answer to a waiter; the time they take is part of what the waiter waits. A connection that no
    waiter ever got again is not counted."""
    found: list[float] = []
    by_connection: dict[int, list[Turn]] = {}
    for turn in turns:
        by_connection.setdefault(turn.connection, []).append(turn)
    for lent in by_connection.values():
        lent.sort(key=lambda turn: turn.running)
        # From the last to the first: those who come into question, the next to run on top. Of
        # two, the one that runs later counts only if it had asked before the other.
        candidates: list[Turn] = []
        for turn in reversed(lent):
            waited = [each for each in candidates if each.asked < turn.returned]
            if waited:
                found.append(waited[-1].running - turn.returned)
            while candidates and candidates[-1].asked >= turn.asked:
                candidates.pop()
            candidates.append(turn)
    return found


def in_turns(
    runs: Sequence[Callable[[], float]],
    times: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """Do each run so many times, one after the other, to and fro (A B B A): what each gave."""
    results: list[list[float]] = [[] for _ in runs]
    there = list(zip(runs, results, strict=True))
    for number in range(times):
        for run, given in there if number % 2 else reversed(there):
            given.append(run())
        progress(number + 1)
    return results


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of neighbours. Below 1: ours takes less."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(mine / other for mine, other in pairs)


def together(count: int, work: Callable[[int], Any], patience: float = 120.0) -> float:
    """Let so many threads do this work at once, each with its number; the seconds from the start of
    the first thread to the end of the last. Raises what one of them raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error.with_traceback(None))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    began = now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, began + patience - now()))
    took = now() - began
    if errors:
        raise errors[0]
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError(f"{count} threads were not done within {patience:g} s")
    return took


def until(condition: Callable[[], Any], patience: float = 20.0) -> None:
    """Look until `condition` holds; `TimeoutError` if it does not come about."""
    deadline = now() + patience
    while not condition():
        if now() > deadline:
            raise TimeoutError("what was expected did not come about")
        time.sleep(0.0002)


def milliseconds(seconds: float) -> str:
    """For people: three digits that matter."""
    if math.isnan(seconds):
        return "-"
    value = seconds * 1000
    if value >= 1000:
        return f"{seconds:,.2f} s"
    return (
        f"{value:,.0f} ms"
        if value >= 100
        else f"{value:.1f} ms"
        if value >= 10
        else f"{value:.2f} ms"
    )
