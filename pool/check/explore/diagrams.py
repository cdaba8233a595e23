"""The life of a connection and of a ticket, drawn from what `step` does.

Theory.  A diagram that somebody drew says what they believed.  These are read off the explored
graphs: before and after every step of every configuration, where is each connection, where is
each ticket?  Every arrow was taken in some reachable state, and what has no arrow never happened
in any of them.

    python -m pool.check.explore.diagrams          the page docs/life-cycles.md, to standard output
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from types import SimpleNamespace

import attrs

from pool.check.explore.configurations import CONFIGURATIONS, EVENTS, Configuration
from pool.check.explore.explorer import Wishes, explore
from pool.check.explore.properties import Machine
from pool.core import transition, waiters
from pool.core.draft import Outcome
from pool.core.effects import Close, Effect, Grant, Refuse
from pool.core.events import Event
from pool.core.state import State, leased, resting

Arrows = dict[tuple[str, str], set[str]]
"""From where to where, by which events."""

BEGIN, END = "[*]", "[*]"


@attrs.define
class Lives:
    """The arrows seen so far."""

    connections: Arrows = attrs.field(factory=lambda: defaultdict(set))
    tickets: Arrows = attrs.field(factory=lambda: defaultdict(set))

    def watch(self, before: State, event: Event, after: State, effects: Iterable[Effect]) -> None:
        """Note every move of one step."""
        name = type(event).__name__
        closed = {effect.key for effect in effects if type(effect) is Close}
        were, are = connections(before), connections(after)
        for key in were.keys() | are.keys() | closed:
            end = are.get(key) or ("closed" if key in closed else "forgotten")
            _note(self.connections, were.get(key, BEGIN), end, name)

        answers = {effect.ticket: "refused" for effect in effects if type(effect) is Refuse}
        granted = {effect.ticket for effect in effects if type(effect) is Grant}
        stood, stand = tickets(before), tickets(after)
        for ticket in stood.keys() | stand.keys() | answers.keys():
            start = stood.get(ticket, BEGIN)
            end = stand.get(ticket) or answers.get(ticket) or gone_from(start)
            _note(self.tickets, start, end, name, again=ticket in granted)


def _note(arrows: Arrows, start: str, end: str, name: str, *, again: bool = False) -> None:
    """`again`: it left and came back within the step."""
    if start != end or again:
        arrows[start, end].add(name)


def connections(state: State) -> dict[int, str]:
    """Where each connection is, by key."""
    idle = {item.entry.key: "idle" for item in resting(state.idle)}
    return idle | dict.fromkeys(state.in_use, "in_use")


def tickets(state: State) -> dict[int, str]:
    """Where each ticket is. Ticket 0, that of adopted leases, belongs to nobody."""
    found = {ticket: "waiting" for ticket, _ in waiters.items(state.waiters)}
    found |= dict.fromkeys(state.opening_tickets, "connecting")
    return found | {
        lease.ticket: "holding" for lease in leased(state.in_use).values() if lease.ticket
    }


def gone_from(place: str) -> str:
    """How a ticket ended that is nowhere any more and was not refused."""
    return "done" if place == "holding" else "cancelled"


def lives(configurations: Iterable[Configuration] = tuple(CONFIGURATIONS.values())) -> Lives:
    """Look at every step of these configurations."""
    found = Lives()

    def step(state: State, event: Event) -> Outcome:
        after, effects = transition.step(state, event)
        if after is not state:
            found.watch(state, event, after, effects)
        return after, effects

    watched = Machine(SimpleNamespace(**{**vars(transition), "step": step}))
    for configuration in configurations:
        explore(configuration, Wishes(machine=watched))
    return found


# ---------------------------------------------------------------- as a page

_ORDER = {name: number for number, name in enumerate(EVENTS)}


def in_order(names: Iterable[str]) -> list[str]:
    """Events as the specification lists them."""
    return sorted(names, key=_ORDER.__getitem__)


def mermaid(arrows: Arrows, final: dict[str, str]) -> str:
    """A state diagram. Places in `final` are ends, each with what to call it."""
    lines = ["stateDiagram-v2"]
    for (start, end), names in sorted(arrows.items()):
        lines.append(f"    {start} --> {end}: {', '.join(in_order(names))}")
    for place, label in final.items():
        lines.append(f"    {place} --> {END}: {label}" if label else f"    {place} --> {END}")
    return "\n".join(lines)


def table(arrows: Arrows) -> str:
    """The same for those who search: a row for each event."""
    rows = defaultdict(list)
    for (start, end), names in sorted(arrows.items()):
        for name in names:
            came = "new" if start == BEGIN else start.replace("_", " ")
            rows[name].append(f"{came} → {end.replace('_', ' ')}")
    lines = ["| event | moves |", "|---|---|"]
    lines += [f"| `{name}` | {'; '.join(rows[name])} |" for name in in_order(rows)]
    return "\n".join(lines)


PAGE = """\
# Life cycles

Generated by `python -m pool.check.explore.diagrams`, and compared with that in the tests: don't
edit it.

Every arrow was taken by `step` in a reachable state of one of the {worlds} explored configurations
(`pool/check/explore/configurations.py`). What has no arrow happened in none of them.

An arrow goes from where something was before an event to where it was after it, and is labelled
with the events that did it. The black dot is where it begins, before the pool knew it. An event
names what happened, not whom it happened to: a `Release` of one caller, say, moves the ticket of
another from waiting to holding, for the connection goes to it. The tables say the same, event by
event.

## A connection

It comes in by `Opened`, or by `Adopt` where an adapter lets its users put one in. From then on
it is in exactly one place until it is closed or left to a parent process. A `Release` that hands a
connection to the next waiter keeps it in use: another ticket holds it.

```mermaid
{connection}
```

{connection_table}

## A ticket

A caller's place in the queue, then the fencing token of its lease. `connecting` is there with
`opener="caller"` only: the caller connects on its own thread. Every ticket ends once.

```mermaid
{ticket}
```

{ticket_table}
"""


def page() -> str:
    """The whole page."""
    found = lives()
    return PAGE.format(
        worlds=len(CONFIGURATIONS),
        connection=mermaid(found.connections, {"closed": "", "forgotten": ""}),
        connection_table=table(found.connections),
        ticket=mermaid(found.tickets, {"refused": "", "done": "", "cancelled": ""}),
        ticket_table=table(found.tickets),
    )


if __name__ == "__main__":
    sys.stdout.write(page())
