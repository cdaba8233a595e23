"""A round of random histories with a fixed seed, for tests of what histories reach or find.

Theory.  Such a test must do the same each time, so nothing is remembered from round to round; and
nothing is shrunk, for whoever asks only wants to know whether.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run(
    machine: type[RuleBasedStateMachine], number: int, examples: int, *, steps: int = 40
) -> None:
    """As many histories as `examples`, of up to `steps` steps each; raises what a history does."""
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def not_reached(machine: Any, goals: set[str], rounds: int) -> set[str]:
    """The goals that no history of so many rounds has reached, of 100 each; of a machine of
    callers, which says at the end of a history what it `reached`."""
    total: Counter[str] = Counter()

    def collect(_: type, ended: Any) -> None:
        total.update(ended.reached)

    reaching = type("Reached", (machine,), {"collect": classmethod(collect)})
    for number in range(rounds):
        run(reaching, number, 100)
        if set(total) >= goals:
            break
    return goals - set(total)
