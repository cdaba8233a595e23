"""Limits, events, effects and states as JSON: what `spec/PROTOCOL.md` says of them.

Theory.  A record becomes an object of its fields; an event or effect also says which it is.
Whatever has an order becomes a list in that order, so equal states have equal encodings.  A
number that is whole is written as one, whatever its type: `1.0` is `1`, as in most
languages that can read JSON, and two encodings are the same if their texts are.

Connections and owners are texts here; the machine never looks at them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from pool.check.explore.configurations import EVENTS
from pool.core import waiters
from pool.core.effects import Effect
from pool.core.events import AdoptIdle, AdoptLease, Event
from pool.core.limits import Limits
from pool.core.state import Entry, Failure, Lease, State, leased, resting

Json = dict[str, Any]

LIMITS: tuple[str, ...] = tuple(field.name for field in attrs.fields(Limits))
"""The fields of the limits, in the order of the specification."""

ENTRY: tuple[str, ...] = tuple(field.name for field in attrs.fields(Entry))
"""Those of a connection."""

_DEFAULTS = {field.name: field.default for field in attrs.fields(Limits)}


def number(value: Any) -> Any:
    """A whole number as one; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def encode_limits(limits: Limits) -> Json:
    """Every limit."""
    return {name: number(getattr(limits, name)) for name in LIMITS}


def given_limits(limits: Limits) -> Json:
    """The limits that are not the default."""
    return {
        name: value for name, value in encode_limits(limits).items() if value != _DEFAULTS[name]
    }


def encode(value: Any) -> Any:
    """An event, an effect, or a part of one. Limits in it may leave out what is default."""
    if isinstance(value, Limits):
        return given_limits(value)
    if hasattr(value, "_fields"):
        kind = type(value).__name__
        fields = {name: encode(part) for name, part in zip(value._fields, value, strict=True)}
        if isinstance(value, Failure | AdoptIdle | AdoptLease):
            return fields
        return {"event" if kind in EVENTS else "effect": kind, **fields}
    if isinstance(value, tuple | list):
        return [encode(part) for part in value]
    return number(value)


def encode_effects(effects: tuple[Effect, ...]) -> list[Json]:
    return [encode(effect) for effect in effects]


def encode_state(state: State) -> Json:
    """Every field of a state: idle as lent, leases by key, callers by ticket."""
    return {
        "limits": encode_limits(state.limits),
        "phase": state.phase,
        "idle": [
            {**_fields(item.entry, ENTRY), **_fields(item, ("since", "seq", "order"))}
            for item in sorted(resting(state.idle))
        ],
        "in_use": [
            {**_fields(lease.entry, ENTRY), **_fields(lease, Lease._fields[1:])}
            for _, lease in sorted(leased(state.in_use).items())
        ],
        "waiters": _tickets(waiters.items(state.waiters)),
        "opening_tickets": _tickets(sorted(state.opening_tickets.items())),
        **_fields(state, ("opening_background", "failures", "retry_at")),
        "last_error": encode(state.last_error),
        **_fields(state, ("retire_before", "next_seq", "next_ticket", "issued", "granted")),
        "counters": state.counters._asdict(),
    }


def _fields(record: Any, names: Iterable[str]) -> Json:
    return {name: number(getattr(record, name)) for name in names}


def _tickets(items: Iterable[tuple[int, Any]]) -> list[Json]:
    return [{"ticket": ticket, "owner": owner} for ticket, owner in items]


_WHOLES = ("limits", "counters")
_BY_KEY = ("idle", "in_use")


def change(before: Json, after: Json) -> Json:
    """The fields of a state that differ, with their new values.

    Of limits and counters, those that differ; of idle and in use, what differs by its key, and
    none for what is gone."""
    difference = {name: value for name, value in after.items() if before[name] != value}
    for name in difference.keys() & {*_WHOLES, *_BY_KEY}:
        old, new = before[name], after[name]
        if name in _BY_KEY:
            old, new = ({str(one["key"]): one for one in items} for items in (old, new))
            gone = {key: None for key in old if key not in new}
        else:
            gone = {}
        fresh = {key: value for key, value in new.items() if old.get(key, ...) != value}
        difference[name] = {**gone, **fresh}
    return difference


def changed(before: Json, difference: Json) -> Json:
    """The state that a change makes of another."""
    after = {**before, **difference}
    for name in _WHOLES:
        after[name] = {**before[name], **difference.get(name, {})}
    for name in _BY_KEY:
        items = {str(one["key"]): one for one in before[name]} | difference.get(name, {})
        after[name] = [one for one in items.values() if one is not None]
    after["idle"].sort(key=lambda one: (one["order"], one["seq"], one["key"]))
    after["in_use"].sort(key=lambda one: one["key"])
    return after


# ---------------------------------------------------------------- text


def text(value: Any) -> str:
    """The one text of an encoding: names sorted, no spaces (RFC 8785 for what is used here)."""
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(state: Json) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the text of an encoded state."""
    return hashlib.sha256(text(state).encode()).hexdigest()[:16]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse(line: str | bytes) -> Any:
    """JSON as anybody may write it, with whole numbers as such. Raises `ValueError`."""
    return json.loads(
        line, parse_float=lambda digits: number(float(digits)), parse_constant=_no_constant
    )


# ---------------------------------------------------------------- decoding


def decode_limits(encoded: Mapping[str, Any]) -> Limits:
    """Limits; what is not given is the default. Raises `ValueError` for impossible ones."""
    unknown = set(encoded) - set(LIMITS)
    if unknown:
        raise ValueError(f"limits: no such field: {', '.join(sorted(unknown))}")
    return Limits(**encoded)


_PARTS: dict[str, Callable[[Any], Any]] = {
    "limits": decode_limits,
    "error": lambda part: Failure(**part),
    "idle": lambda items: tuple(AdoptIdle(**item) for item in items),
    "in_use": lambda items: tuple(AdoptLease(**item) for item in items),
    "removed": tuple,
}


def decode_event(encoded: Mapping[str, Any]) -> Event:
    """The event of an encoding. Raises `ValueError` or `TypeError` if it is none."""
    fields = dict(encoded)
    kind = EVENTS.get(fields.pop("event", None) or "")
    if kind is None:
        raise ValueError(f"no such event: {encoded.get('event')}")
    event: Event = kind(
        **{name: _PARTS[name](part) if name in _PARTS else part for name, part in fields.items()}
    )
    return event
