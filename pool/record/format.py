"""The recording format: a transition or a state as a line, and back. `spec/RECORDING.md` has it.

Theory.  A line is one JSON value, a tab, and its CRC-32, so that a damaged line is never believed.
Transitions are lists, not objects: there are millions of them.  A connection is its key and nothing
else, so it is left out where the key stands beside it.

What it refuses to know: files, and where a line comes from.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import attrs

from pool.core import effects as all_effects
from pool.core import events as all_events
from pool.core import waiters
from pool.core.effects import Close, Effect, Grant
from pool.core.events import Adopt, AdoptIdle, AdoptLease, Configure, Event, Opened, OpenFailed
from pool.core.limits import Limits
from pool.core.maps import Map
from pool.core.state import Counters, Entry, Failure, Idle, Lease, State, at_rest, leased, resting
from pool.shared import named

VERSION = 1
"""Of the format. A reader reads its own, and refuses a higher one."""

KIND = "purepool recording"

_EVENTS: dict[str, Any] = {kind.__name__: kind for kind in all_events.Event.__args__}
_EFFECTS: dict[str, Any] = {kind.__name__: kind for kind in all_effects.Effect.__args__}

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class FormatError(ValueError):
    """A line that is not what it ought to be."""


# ---------------------------------------------------------------- lines


def line(value: Any) -> bytes:
    """The line of a value."""
    text = _dump(value).encode("utf-8", "backslashreplace")
    return b"%b\t%08x\n" % (text, zlib.crc32(text))


def parse(one: bytes) -> Any:
    """The value of a line, without its end. Raises `FormatError`."""
    text, tab, check = one.rpartition(b"\t")
    if not tab:
        raise FormatError("a line without a checksum")
    if check != b"%08x" % zlib.crc32(text):
        raise FormatError("a damaged line: its checksum is another")
    try:
        return json.loads(text)
    except ValueError as error:
        raise FormatError(f"a line that is no JSON: {error}") from None


# ---------------------------------------------------------------- transitions


def encode(event: Event, effects: tuple[Effect, ...]) -> list[Any]:
    """A transition: the name and the fields of the event, then each effect in the same way."""
    encoded: list[Any] = [type(event).__name__, *event]
    if isinstance(event, Opened):
        del encoded[3]  # its key is the state's next
    elif isinstance(event, OpenFailed):
        encoded[3] = list(event.error)
    elif isinstance(event, Configure):
        encoded[2] = attrs.asdict(event.limits)
    elif isinstance(event, Adopt):
        encoded[2:5] = [
            list(map(list, event.idle)),
            list(map(list, event.in_use)),
            [*event.removed],
        ]
    return [encoded, *map(_encode_effect, effects)] if effects else [encoded]


def _encode_effect(effect: Effect) -> list[Any]:
    encoded: list[Any] = [type(effect).__name__, *effect]
    if isinstance(effect, (Grant, Close)):
        del encoded[2 if isinstance(effect, Close) else 3]
    return encoded


def decode(value: Any, state: State) -> tuple[Event, tuple[Effect, ...]]:
    """The transition, from this state. Raises `FormatError`."""
    try:
        event, *effects = value
        return _decode_event(event, state), tuple(map(_decode_effect, effects))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise FormatError(f"no transition: {error}") from None


def _decode_event(encoded: list[Any], state: State) -> Event:
    name, *fields = encoded
    kind = _EVENTS[name]
    if kind is Opened:
        fields.insert(2, named.connection(state.next_seq))
    elif kind is OpenFailed:
        fields[2] = Failure(*fields[2])
    elif kind is Configure:
        fields[1] = Limits(**fields[1])
    elif kind is Adopt:
        fields[1] = tuple(AdoptIdle(*item) for item in fields[1])
        fields[2] = tuple(AdoptLease(*item) for item in fields[2])
        fields[3] = tuple(fields[3])
    event: Event = kind(*fields)
    return event


def _decode_effect(encoded: list[Any]) -> Effect:
    name, *fields = encoded
    kind = _EFFECTS[name]
    if kind is Grant:
        fields.insert(2, named.connection(fields[1]))
    elif kind is Close:
        fields.insert(1, named.connection(fields[0]))
    elif name == "Refuse" and fields[2] is not None:
        fields[2] = Failure(*fields[2])
    effect: Effect = kind(*fields)
    return effect


# ---------------------------------------------------------------- states


def encode_state(state: State) -> dict[str, Any]:
    """Every field of a state. What has no order of its own is in the order of keys and tickets."""
    idle = sorted(resting(state.idle))
    return {
        **state._asdict(),
        "limits": attrs.asdict(state.limits),
        "idle": [[item.order, item.seq, _entry(item.entry), item.since] for item in idle],
        "in_use": [
            [_entry(lease.entry), *lease[1:]]
            for _, lease in sorted(leased(state.in_use).items(), key=_key)
        ],
        "waiters": [list(one) for one in waiters.items(state.waiters)],
        "opening_tickets": [list(one) for one in sorted(state.opening_tickets.items(), key=_key)],
        "last_error": None if state.last_error is None else list(state.last_error),
        "counters": state.counters._asdict(),
    }


_key: Callable[[tuple[int, Any]], int] = lambda item: item[0]  # noqa: E731


def _entry(entry: Entry) -> list[Any]:
    return [entry.key, entry.created, entry.jitter]


def decode_state(value: Any) -> State:
    """The state. Raises `FormatError`."""
    try:
        fields = dict(value)
        queue = None
        for ticket, owner in fields["waiters"]:
            queue = waiters.insert(queue, ticket, owner)
        leases = [Lease(_decode_entry(entry), *rest) for entry, *rest in fields["in_use"]]
        error = fields["last_error"]
        limits = Limits(**fields["limits"])
        idle = [
            Idle(order, seq, _decode_entry(entry), since)
            for order, seq, entry, since in fields["idle"]
        ]
        return State(
            **{
                **fields,
                "limits": limits,
                "idle": at_rest(limits, idle),
                "in_use": Map({lease.entry.key: lease for lease in leases}),
                "waiters": queue,
                "opening_tickets": Map(dict(fields["opening_tickets"])),
                "last_error": None if error is None else Failure(*error),
                "counters": Counters(**fields["counters"]),
            }
        )
    except (TypeError, ValueError, KeyError) as problem:
        raise FormatError(f"no state: {problem}") from None


def _decode_entry(encoded: list[Any]) -> Entry:
    key, created, jitter = encoded
    return Entry(key, named.connection(key), created, jitter)
