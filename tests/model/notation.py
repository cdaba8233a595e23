"""The notation of the examples: a `Run` is a pool that is told events and gives effects.

Theory.  An example reads as a dialogue: `assert run(Acquire(0, 1)) == [Open(1)]`.  The
clock is the first number of every event.  Behind the scenes each `Run` also asks the
reference model and checks every invariant and promise, so an example shows one rule and
tests all of them.
"""

from __future__ import annotations

from typing import Any

from pool import Acquire, Effect, Event, Failure, Grant, Ignored, Limits, Opened, State
from pool.check.machines.twin import Twin

REFUSED = Failure("OperationalError", "connection refused")
AWAY = Failure("OSError", "no route to host")


class Run:
    """`run = Run(max_size=1); run(Acquire(0, 1))`: the effects, as a list.

    An event that is not allowed fails the test, unless it is given to `run.ignores`.
    """

    def __init__(self, **limits: Any) -> None:
        self.twin = Twin(Limits(**limits))
        self.effects: list[Effect] = []

    def __call__(self, event: Event) -> list[Effect]:
        assert not self.ignores(event), f"{event} was ignored"
        return self.effects

    def ignores(self, event: Event) -> bool:
        """Whether this event is answered by one `Ignored` (the same state: checked)."""
        self.effects = list(self.twin.tell(event))
        return any(isinstance(effect, Ignored) for effect in self.effects)

    def lend(self, *tickets: int, now: float = 0, created: float | None = None) -> None:
        """Each ticket acquires, opens where it is told to, and holds `c<ticket>`.

        On a new pool without background opens, ticket n thus holds key n, connection cn.
        """
        for ticket in tickets:
            effects = self(Acquire(now, ticket))
            if not any(isinstance(effect, Grant) for effect in effects):
                self(Opened(now, ticket, f"c{ticket}", now if created is None else created))
            assert ticket in self.holders

    @property
    def state(self) -> State:
        return self.twin.state

    @property
    def idle(self) -> list[Any]:
        """The idle connections, in the order in which they will be lent."""
        return [row[3] for row in self.twin.view["idle"]]

    @property
    def holders(self) -> dict[int, Any]:
        """Ticket -> the connection it holds."""
        return {lease[4]: lease[0] for lease in self.twin.view["in_use"].values()}

    @property
    def waiting(self) -> list[int]:
        return [ticket for ticket, _ in self.twin.view["waiters"]]

    @property
    def opening(self) -> list[int]:
        return sorted(self.twin.view["opening_tickets"])

    def count(self, name: str) -> int:
        """One of the counters."""
        value = self.twin.view[name]
        assert isinstance(value, int)
        return value
