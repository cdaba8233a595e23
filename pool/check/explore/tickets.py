"""The life of every ticket along one run: it waits, perhaps connects, and is answered once.

Theory.  Whoever looks at a whole run, random or scheduled, keeps these books, from events and
effects alone.  `properties.py` says the same of single steps, where it needs no books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pool.core.effects import Effect, Grant, Open, Refuse
from pool.core.events import Acquire, Cancel, Dead, Event

PENDING = ("waiting", "opening")
"""Not answered yet."""


class Tickets(dict[int, str]):
    """By ticket: `waiting`, `opening`, `granted c1`, `refused timeout`, or `cancelled`.

    `fail` is told of a ticket that is told to open twice, or not answered exactly once."""

    def __init__(self, fail: Callable[[str], object]) -> None:
        super().__init__()
        self.fail = fail

    def follow(self, event: Event, effects: Iterable[Effect]) -> None:
        """One step, which was allowed."""
        match event:
            case Acquire(ticket=ticket):
                self._turn(ticket, ("",), "waiting", event)
            case Dead(ticket=ticket):  # takes the answer back
                self._turn(ticket, ("granted",), "waiting", event)
            case Cancel(ticket=ticket):
                self._turn(ticket, (*PENDING, "granted"), "cancelled", event)
        for effect in effects:
            match effect:
                case Open(ticket=int(ticket)):
                    self._turn(ticket, ("waiting",), "opening", effect)
                case Grant(ticket=ticket, connection=connection):
                    self._turn(ticket, PENDING, f"granted {connection}", effect)
                case Refuse(ticket=ticket, reason=reason):
                    self._turn(ticket, PENDING, f"refused {reason}", effect)

    def _turn(self, ticket: int, expected: tuple[str, ...], becomes: str, cause: object) -> None:
        if self.place(ticket) not in expected:
            was = self.get(ticket, "unknown")
            self.fail(f"{cause!r}: ticket {ticket} was {was}, is now {becomes}")
        self[ticket] = becomes

    def place(self, ticket: int) -> str:
        """Where it is, in a word; nothing if it has not come."""
        return self.get(ticket, "").partition(" ")[0]

    @property
    def pending(self) -> list[int]:
        """Those that are not answered."""
        return [ticket for ticket, said in self.items() if said in PENDING]
