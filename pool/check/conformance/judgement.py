"""What a port should have answered, what it did, and the shortest history that shows it.

Theory.  An `Exchange` is a request and the answer that is due, with the rules that say so;
`examine` asks, one after the other, and stops at the first answer that is wrong.  Where the
answers come from is all the same: out of a vector, or from `step`, with the rules that the
reference model cites while it does the same.

Any list of events is a history (what is not allowed is ignored), so a divergence is shrunk by
leaving out events and asking again.  Only keys must be carried along: they come from a
counter that many events move, so a key is known by the event that made it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from pool.check.conformance.encoding import (
    Json,
    decode_event,
    decode_limits,
    encode,
    encode_effects,
    encode_state,
    given_limits,
    number,
    text,
)
from pool.check.conformance.port import Port, PortFailure
from pool.check.machines.reference import Reference
from pool.core import transition
from pool.core.events import Adopt, Event
from pool.core.limits import Limits
from pool.core.state import initial

IGNORED: list[Json] = [{"effect": "Ignored"}]


@attrs.frozen
class History:
    """Everything that a run depends on."""

    limits: Limits
    events: tuple[Event, ...] = ()


@attrs.frozen
class Exchange:
    """A request, the answer that is due, and the rules that say so."""

    request: Json
    answer: Json
    rules: tuple[str, ...]


@attrs.frozen
class Divergence:
    """The last request of a history went wrong: its last event, or the reset if it has none.

    `kind` is `effects`, `state`, `wake_at`, `limits` or `error` for an answer that is wrong, else
    that of a `PortFailure`. `where` is the vector, or `histories`."""

    kind: str
    where: str
    requests: tuple[Json, ...]
    expected: Json
    actual: Json | None
    why: str
    rules: tuple[str, ...]
    shrunk_from: int | None = None

    @property
    def history(self) -> History:
        """What was asked. Raises `ValueError` if the limits are invalid on purpose."""
        reset, *rest = self.requests
        events = [decode_event(request["event"]) for request in rest]
        return History(decode_limits(reset["limits"]), tuple(events))

    @property
    def events(self) -> int:
        return len(self.requests) - 1


class Follower:
    """The machine and the reference model side by side, along one history."""

    def __init__(self, limits: Limits) -> None:
        self.state = initial(limits)
        self.model = Reference(limits)
        request = {"command": "reset", "limits": given_limits(limits)}
        self.start = Exchange(request, self._answer(), ("INI-1", *self._wakes()))

    def follow(self, event: Event) -> Exchange:
        """What is due for one more event."""
        self.state, effects = transition.step(self.state, event)
        self.model.cited.clear()
        self.model.apply(event)
        answer = {"effects": encode_effects(effects), **self._answer()}
        request = {"command": "event", "event": encode(event)}
        return Exchange(request, answer, (*sorted(self.model.cited), *self._wakes()))

    def _wakes(self) -> tuple[str, ...]:
        return () if transition.wake_at(self.state) is None else ("WAK-1",)

    def _answer(self) -> Json:
        return {
            "state": encode_state(self.state),
            "wake_at": number(transition.wake_at(self.state)),
        }


def exchanges(history: History) -> Iterator[Exchange]:
    """The reset, then each event."""
    follower = Follower(history.limits)
    yield follower.start
    for event in history.events:
        yield follower.follow(event)


def is_ignored(effects: Any) -> bool:
    """Whether these encoded effects say that the event was not allowed."""
    return (
        isinstance(effects, list)
        and len(effects) == 1
        and isinstance(effects[0], dict)
        and effects[0].get("effect") == "Ignored"
        and set(effects[0]) <= {"effect", "why"}
    )


def wrong(due: Json, actual: Json) -> tuple[str, str] | None:
    """What kind of wrong an answer is, and why; None if it is right."""
    if "error" in actual:
        return "error", f"the port answers with an error: {str(actual['error'])[:400]}"
    if "invalid" in due:
        return _wrong_verdict(due["invalid"], actual.get("invalid"))
    if "invalid" in actual:
        return "limits", f"the port refuses these limits: {text(actual['invalid'])[:400]}"
    for part, ours in due.items():
        if part not in actual:
            return part, f"the answer has no {part}"
        theirs = actual[part]
        if part == "effects" and is_ignored(ours) and is_ignored(theirs):
            continue
        if ours != theirs or text(ours) != text(theirs):  # True == 1, but not in JSON
            return part, ""
    return None


def _wrong_verdict(fields: list[str], verdict: Any) -> tuple[str, str] | None:
    if not isinstance(verdict, dict):
        return "limits", "the port accepts these limits, which are invalid"
    if verdict.get("field") not in fields:
        named = " or ".join(fields)
        return "limits", f"wrong is {named}; the port says {text(verdict.get('field'))}"
    return None


Seen = Callable[[Exchange, bool], None]


def examine(
    port: Port, exchanges: Iterable[Exchange], where: str, seen: Seen = lambda _, __: None
) -> Divergence | None:
    """Ask, up to the first answer that is wrong. `seen` is told of each, and if it was right."""
    asked = list(exchanges)
    answers = port.ask_all([exchange.request for exchange in asked])
    for index, exchange in enumerate(asked):
        actual: Json | None
        try:
            actual = next(answers)
            verdict = wrong(exchange.answer, actual)
        except PortFailure as failure:
            actual, verdict = None, (failure.kind, str(failure))
        seen(exchange, verdict is None)
        if verdict is not None:
            with contextlib.suppress(PortFailure):
                for _ in answers:  # to what was asked ahead
                    pass
            requests = tuple(one.request for one in asked[: index + 1])
            due, rules = exchange.answer, exchange.rules
            return Divergence(verdict[0], where, requests, due, actual, verdict[1], rules)
    return None


# ---------------------------------------------------------------- shrinking


class Shrinker:
    """Looks for a shorter history that goes wrong, too; for so many seconds."""

    def __init__(self, port: Port, found: Divergence, seconds: float) -> None:
        self.port = port
        self.best = found
        self.deadline = time.monotonic() + seconds

    def attempt(self, history: History) -> bool:
        """Whether this goes wrong as well: an answer if it was one, a failure if it was one."""
        if time.monotonic() > self.deadline:
            return False
        try:
            self.port.start()
        except PortFailure:
            return False
        other = examine(self.port, exchanges(history), self.best.where)
        if other is None or (other.actual is None) != (self.best.actual is None):
            return False
        if other.events > self.best.events:
            return False
        self.best = other
        return True

    def leave_out(self) -> bool:
        """Without a run of events, longest runs first. Whether any could go."""
        before = self.best.events
        length = max(1, before // 2)
        while length:
            start = self.best.events - 1 - length  # the last one is what goes wrong
            while start >= 0:
                self.attempt(without(self.best.history, start, length))
                start = min(start, self.best.events - length) - 1
            length //= 2
        return self.best.events < before

    def simplify(self) -> None:
        """The same events, with as much as possible as it is by default, and at time 0."""
        for index in range(self.best.events):
            for name in type(self.best.history.events[index])._field_defaults:
                if index < self.best.events:
                    events = list(self.best.history.events)
                    default = type(events[index])._field_defaults.get(name)
                    if getattr(events[index], name, default) != default:
                        events[index] = evolved(events[index], {name: default})
                        self.attempt(History(self.best.history.limits, tuple(events)))
        for field in attrs.fields(Limits):
            if field.name.startswith("backoff"):  # the default is not a sum of powers of 2
                continue
            limits, events = self.best.history.limits, list(self.best.history.events)
            if getattr(limits, field.name) != field.default:
                with contextlib.suppress(ValueError):  # it does not go with the others
                    default_one: Any = {field.name: field.default}
                    simpler = attrs.evolve(limits, **default_one)
                    self.attempt(History(simpler, tuple(events)))
        self.attempt(at_once(self.best.history))

    def run(self) -> None:
        """Until nothing more can go, or the time is up. Raises `Stopped`; `best` is then what there
        is."""
        if self.best.events == 0:
            return
        while self.leave_out():
            pass
        self.simplify()
        while self.leave_out():
            pass


def at_once(history: History) -> History:
    """As if no time passed."""
    events = []
    for event in history.events:
        times = {name: 0 for name in ("now", "created") if name in event._fields}
        events.append(evolved(event, times))
    return attrs.evolve(history, events=tuple(events))


def without(history: History, start: int, length: int) -> History:
    """The history without some events, each key still that of the same connection."""
    gone = range(start, start + length)
    origin: dict[int, tuple[int, int]] = {}  # of each key: the event that made it, which of its
    for index, _, keys in _keys(history.limits, enumerate(history.events), lambda event: event):
        origin.update((key, (index, place)) for place, key in enumerate(keys))

    made: dict[tuple[int, int], int] = {}

    def renamed(event: Event) -> Event:
        return rename(event, lambda key: made.get(origin.get(key, (-1, 0)), 0))

    left = [(index, event) for index, event in enumerate(history.events) if index not in gone]
    events = []
    for index, event, keys in _keys(history.limits, left, renamed):
        made.update(((index, place), key) for place, key in enumerate(keys))
        events.append(event)
    return attrs.evolve(history, events=tuple(events))


def _keys(
    limits: Limits, events: Iterable[tuple[int, Event]], change: Callable[[Event], Event]
) -> Iterator[tuple[int, Event, Sequence[int]]]:
    """Each event, changed, with its number and the keys that it takes from the counter."""
    state = initial(limits)
    for index, event in events:
        event = change(event)
        before = state.next_seq
        state, _ = transition.step(state, event)
        yield index, event, range(before, state.next_seq)


def rename(event: Event, name: Callable[[int], int]) -> Event:
    """The event with other keys."""
    if isinstance(event, Adopt):
        idle = [put if put.key is None else put._replace(key=name(put.key)) for put in event.idle]
        in_use = [
            put if put.key is None else put._replace(key=name(put.key)) for put in event.in_use
        ]
        removed = tuple(map(name, event.removed))
        return event._replace(idle=tuple(idle), in_use=tuple(in_use), removed=removed)
    key: int | None = getattr(event, "key", None)
    return event if key is None else evolved(event, {"key": name(key)})


def evolved(event: Event, fields: Mapping[str, Any]) -> Event:
    """The event with other values of some fields."""
    any_event: Any = event
    other: Event = any_event._replace(**fields)
    return other
