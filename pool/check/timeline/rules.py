"""Which rules of the specification a transition kept.

Theory.  The reference model is read off the prose of `spec/README.md` and cites each rule where it
keeps it.  So it is put into the state before a transition, and told the same event.
"""

from __future__ import annotations

from pool.check.machines.reference import Reference
from pool.check.machines.verbs import Connection
from pool.core import waiters
from pool.core.events import Event
from pool.core.state import Entry, State, leased, resting


class Rules:
    """The rules at work, from this state on."""

    def __init__(self, state: State) -> None:
        self._model = _model_of(state)

    def of(self, event: Event) -> tuple[str, ...]:
        """Those of the next event, by id. How something is ordered is no news: `ORD-1` is left
        out."""
        model = self._model
        model.cited.clear()
        model.apply(event)
        return tuple(sorted(rule for rule in model.cited if rule != "ORD-1"))


def _model_of(state: State) -> Reference:
    """The reference model in this state."""
    model = Reference(state.limits)
    for name in (
        *("phase", "opening_background", "failures", "retry_at", "last_error", "retire_before"),
        *("next_seq", "next_ticket", "issued", "granted"),
    ):
        setattr(model, name, getattr(state, name))
    model.count = dict(state.counters._asdict())
    model.waiters = list(waiters.items(state.waiters))
    model.opening_tickets = dict(state.opening_tickets.items())
    for idle in resting(state.idle):
        one = _connection(idle.entry)
        one.since, one.seq = idle.since, idle.seq
        model.idle.append(one)
    for lease in leased(state.in_use).values():
        one = _connection(lease.entry)
        one.checked_out, one.ticket = lease.checked_out, lease.ticket
        one.owner, one.leaked = lease.owner, lease.leaked
        model.in_use.append(one)
    return model


def _connection(entry: Entry) -> Connection:
    return Connection(entry.key, entry.connection, entry.created, entry.jitter)
