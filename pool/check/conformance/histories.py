"""Random histories for a port: what the Hypothesis machine chooses, asked all at once.

Theory.  `PoolMachine` knows which histories are worth trying.  Here it chooses against the
state of `step` alone, without judging anything; what it has chosen is then asked of the port in
one go.  Whatever the port does not know is not chosen.  Hypothesis only generates: a
divergence is shrunk by `judgement.py`, which is quicker over a pipe and gives up in time.

To choose takes longer than to ask.  So each history is also asked in some variations, with
events left out, repeated, swapped and at other times: what no runtime would send, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any, cast

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from pool.check.conformance.judgement import History
from pool.check.conformance.port import Hello
from pool.check.machines.drawn import limits_strategy
from pool.check.machines.step import PoolMachine
from pool.check.machines.twin import Run
from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.limits import Limits, Opener

ROUND = 50
"""Histories per run of Hypothesis: it keeps all of a run in memory."""


VARIATIONS = 4
ENDINGS = ["answer", "close"]


class Enough(BaseException):
    """No more histories. Not an `Exception`: Hypothesis would look into it."""


class Script(Run):
    """What is told to a port that knows some events."""

    def __init__(self, limits: Limits, events: frozenset[str]) -> None:
        super().__init__(limits)
        self.known = events

    def send(self, event: Event) -> tuple[Effect, ...]:
        return super().send(event) if type(event).__name__ in self.known else ()


def histories(port: Hello, first_seed: int, seconds: float, ask: Callable[[History], None]) -> None:
    """Ask one history after the other until the time is up, or `ask` raises `Enough`."""
    events = frozenset(port.events)
    deadline = time.monotonic() + seconds
    openers = st.sampled_from([cast(Opener, opener) for opener in sorted(port.openers)])

    random = Random()

    class Chooser(PoolMachine):
        @initialize(limits=openers.flatmap(limits_strategy), ending=st.sampled_from(ENDINGS))
        def begin(self, limits: Limits, ending: str) -> None:
            self.twin = Script(limits, events)
            self.ending = ending

        @classmethod
        def collect(cls, twin: Run) -> None:
            history = History(twin.limits, tuple(twin.history))
            ask(history)
            for _ in range(VARIATIONS):
                ask(variation(history, random))
                if time.monotonic() > deadline:
                    raise Enough

    options = settings(
        max_examples=ROUND,
        stateful_step_count=50,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    number = first_seed
    try:
        while time.monotonic() < deadline:
            random.seed(number)
            machine: Any = seed(number)(Chooser)
            run_state_machine_as_test(machine, settings=options)
            number += 1
    except Enough:
        pass


def variation(history: History, random: Random) -> History:
    """A history like another one."""
    events = list(history.events)
    for _ in range(random.randint(1, 4)):
        if not events:
            break
        place = random.randrange(len(events))
        match random.randrange(4):
            case 0:
                del events[place]
            case 1:
                events.insert(random.randint(place, len(events)), events[place])
            case 2:
                other = random.randrange(len(events))
                events[place], events[other] = events[other], events[place]
            case _:
                later = max(0.0, events[place].now + random.choice((-1.0, 0.25, 5.0)))
                events[place] = events[place]._replace(now=later)
    return History(history.limits, tuple(events))
