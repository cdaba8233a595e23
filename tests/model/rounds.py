"""A round of random histories with a fixed seed, for tests of what histories reach or find.

Theory.  Such a test must do the same each time, so nothing is remembered from round to round; and
nothing is shrunk, for whoever asks only wants to know whether.
"""

from __future__ import annotations

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
