"""What is asked of a pool whose size is sought: how long one may wait, how many are refused."""

from __future__ import annotations

import attrs

from pool.check.sizing.given import spoken
from pool.size.simulation import Result


@attrs.frozen
class Goal:
    """What is asked of a pool."""

    p99: float
    refused: float

    def is_met(self, result: Result) -> bool:
        """Whether waits and refusals are within it."""
        wait = result.quantile(0.99)
        return result.refused_part <= self.refused and not wait > self.p99 and bool(result.waits)

    def __str__(self) -> str:
        refused = f"at most {self.refused:.3g} of the calls" if self.refused else "nobody"
        return f"99 of 100 calls wait at most {spoken(self.p99)}, {refused} refused"
