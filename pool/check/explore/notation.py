"""Histories as text: one event per line, to be read, pasted into a command, or into a test.

Theory.  A history is a line of limits and then one line for each event, each a Python
expression:

    Limits(max_size=2)
    Acquire(now=0, ticket=1)
    Opened(now=0, ticket=1, connection='c1', created=0)

What follows a `#` is for people.  A line is read as a literal call of a known name with
literal arguments, never evaluated.  `Pass` is no event: in a history time passes because
the next event says so.

Where no history need lead to a state, as in a counterexample of a proof, the state itself stands in
the place of the limits, with what is not as in a new pool:

    State(Limits(max_size=2), in_use=(Lease(Entry(1, 'c1', 0.0, 0.0), 0.0, 1, None, False),))
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from typing import Any

import attrs

from pool.check.explore.configurations import EVENTS
from pool.check.explore.properties import MACHINE, Machine, all_broken
from pool.core import waiters
from pool.core.effects import Effect
from pool.core.events import AdoptIdle, AdoptLease, Event
from pool.core.limits import Limits
from pool.core.maps import Map
from pool.core.state import (
    Counters,
    Entry,
    Failure,
    Idle,
    Lease,
    State,
    at_rest,
    initial,
    leased,
    resting,
)


def _state(limits: Limits, **fields: Any) -> State:
    """A state that is written out. Of who waits or connects, there is the ticket, or the ticket
    and its owner."""
    new = initial(limits)
    if unknown := fields.keys() - new._asdict().keys():
        raise ValueError(f"a state has no {', '.join(sorted(unknown))}")
    parts: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("waiters", "opening_tickets"):
            callers = [one if isinstance(one, tuple) else (one, None) for one in value]
            parts[name] = Map(dict(callers))
            if name == "waiters":
                parts[name] = None
                for ticket, owner in callers:
                    parts[name] = waiters.insert(parts[name], ticket, owner)
        elif name == "idle":
            parts[name] = at_rest(limits, value)
        elif name == "in_use":
            parts[name] = Map({lease.entry.key: lease for lease in value})
        else:
            parts[name] = value
    return new._replace(**parts)


_NAMES: dict[str, Any] = {
    **EVENTS,
    "Limits": Limits,
    "Failure": Failure,
    "AdoptIdle": AdoptIdle,
    "AdoptLease": AdoptLease,
    "State": _state,
    "Counters": Counters,
    "Entry": Entry,
    "Idle": Idle,
    "Lease": Lease,
}


class NotationError(ValueError):
    """A line that is not a limit or an event, with its number and why."""


def write(value: Any) -> str:
    """One event, effect, state or set of limits, without the arguments that are defaults."""
    if isinstance(value, State):
        return _write_state(value)
    if isinstance(value, Limits | Entry):
        fields = [
            (field.name, getattr(value, field.name), field.default)
            for field in attrs.fields(type(value))
        ]
    elif hasattr(value, "_fields"):
        defaults = type(value)._field_defaults
        fields = [(name, getattr(value, name), defaults.get(name, ...)) for name in value._fields]
    elif isinstance(value, tuple):
        inner = ", ".join(map(write, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    else:
        return repr(value)
    given = ", ".join(
        f"{name}={write(content)}"
        for name, content, default in fields
        if default is ... or type(content) is not type(default) or content != default
    )
    return f"{type(value).__name__}({given})"


def _write_state(state: State) -> str:
    def callers(some: Iterable[tuple[int, Any]]) -> tuple[Any, ...]:
        return tuple(ticket if owner is None else (ticket, owner) for ticket, owner in some)

    new = initial(state.limits)._asdict()
    parts = {
        **state._asdict(),
        "idle": tuple(sorted(resting(state.idle))),
        "in_use": tuple(lease for _, lease in sorted(leased(state.in_use).items())),
        "waiters": callers(waiters.items(state.waiters)),
        "opening_tickets": callers(sorted(state.opening_tickets.items())),
    }
    new.update(idle=(), in_use=(), waiters=(), opening_tickets=())
    given = [f"{name}={write(part)}" for name, part in parts.items() if part != new[name]]
    return f"State({', '.join([write(state.limits), *given])})"


def write_history(limits: Limits, history: Iterable[Event], machine: Machine = MACHINE) -> str:
    """A history with the effects of each event beside it."""
    lines = [write(limits)]
    state = initial(limits)
    for event in history:
        line = write(event)
        try:
            state, effects = machine.step(state, event)
            line += f"  # {', '.join(map(write, effects))}" if effects else ""
        except Exception as error:
            line += f"  # raises {type(error).__name__}: {error}"
        lines.append(line)
    return "\n".join(lines)


def read_history(text: str) -> tuple[Limits, tuple[Event, ...]]:
    """The limits and events of a text that begins with a new pool. Raises `NotationError`."""
    first, history = read_run(text)
    if isinstance(first, State):
        raise NotationError("a history begins with limits, and this with a state")
    return first, history


def read_run(text: str) -> tuple[Limits | State, tuple[Event, ...]]:
    """The limits, or the state, and the events of a text. Raises `NotationError`."""
    first: Limits | State | None = None
    events: list[Event] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            nodes = ast.parse(line.strip()).body
            if not nodes:
                continue
            if len(nodes) != 1 or not isinstance(nodes[0], ast.Expr):
                raise ValueError("not an event")
            value = _build(nodes[0].value)
            if isinstance(value, Limits | State):
                if first is not None or events:
                    raise ValueError("limits come once, before the events (else: Configure)")
                first = value
            elif type(value).__name__ in EVENTS:
                events.append(value)
            else:
                raise ValueError("not an event")
        except SyntaxError as error:
            raise NotationError(f"line {number}: {error.msg}: {line.strip()}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise NotationError(f"line {number}: {error}: {line.strip()}") from None
    return first or Limits(), tuple(events)


def _build(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in _NAMES:
            known = ", ".join(EVENTS)
            raise ValueError(f"no such event: {name}. There are {known}")
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("** has no place here")
        positional = [_build(argument) for argument in node.args]
        named = {str(keyword.arg): _build(keyword.value) for keyword in node.keywords}
        kind = _NAMES[name]
        try:
            inspect.signature(kind).bind(*positional, **named)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from None
        return kind(*positional, **named)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_build(element) for element in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is not a literal") from None


@attrs.frozen
class Replayed:
    """One step of a replayed history."""

    event: Event
    effects: tuple[Effect, ...]
    state: State
    broken: tuple[str, ...]
    """Names of the properties that this step breaks."""


def replay(
    first: Limits | State, history: Iterable[Event], machine: Machine = MACHINE
) -> list[Replayed]:
    """Every step of a history of a new pool with these limits, or from a state on, checked. Ends
    early if `step` raises (`Total`)."""
    state = first if isinstance(first, State) else initial(first)
    steps = []
    for event in history:
        try:
            after, effects = machine.step(state, event)
        except Exception:
            steps.append(Replayed(event, (), state, ("Total",)))
            break
        names = all_broken(machine, state, event, effects, after)
        steps.append(Replayed(event, effects, after, names))
        state = after
    return steps


def check_history(text: str, machine: Machine = MACHINE) -> list[str]:
    """What a pasted history breaks: names of properties, none if all is well. For tests."""
    first, history = read_run(text)
    return [name for replayed in replay(first, history, machine) for name in replayed.broken]
