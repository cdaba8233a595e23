"""A recording as what can be drawn: spans with a beginning and an end, in lanes.

Theory.  A transition is an instant; what one wants to see lasts: a wait, a connect, a lease, a
rest.  So each transition ends some spans and begins others, and a span is two transitions, by
number.  A connection has a lane as long as it lives, then the next one has it, so there are as many
lanes as there were connections at one time.  The waits of the queue are put into rows likewise.

Where nothing is known, before the recording, after it, and between two runs, an entry stands in the
list of events that says so, and spans end there.

What it refuses to know: how it is shown.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

import attrs

from pool.check.timeline.columns import (
    CHECK,
    CONNECT,
    EVENT,
    IDLE,
    KINDS,
    SPAN,
    USE,
    WAIT,
    Places,
    Timeline,
    What,
    Words,
    differences,
    said,
)
from pool.check.timeline.rules import Rules
from pool.core import heap, waiters
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import (
    Acquire,
    Adopt,
    Cancel,
    Configure,
    Dead,
    Discard,
    Event,
    Forked,
    Opened,
    OpenFailed,
    Release,
    Retire,
)
from pool.core.state import Failure, State, lease_of, leased, resting
from pool.core.text import text_of
from pool.record.recording import Header, Reader, Transition

BEGINS, ENDS = "(the recording begins)", "(the recording ends)"

HOW = {Release: "returned", Discard: "discarded", Cancel: "taken back", Dead: "found dead"}
"""How a lease ends, by event."""


@attrs.define
class _Open:
    """A span that has not ended."""

    kind: str
    place: int
    """The connection's number; of a wait, its row."""
    first: int
    ticket: int
    owner: int
    earlier: int = 0
    """For how many microseconds before `first`, where the recording begins later."""


def read(
    path: str | os.PathLike[str],
    *,
    salvage: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Timeline:
    """A recording, to be drawn. Raises `RecordingError`, `OSError`."""
    reader = Reader(path, salvage=salvage)
    builder = Builder()
    for transition in reader.transitions(progress):
        builder.take(transition)
    found = builder.finish(str(path))
    found.notes = [*reader.report.notes, *(f"left out: {one}" for one in reader.report.faults)]
    return found


class Builder:
    """Takes the transitions of a recording, in their order."""

    def __init__(self) -> None:
        self.events: dict[str, list[int]] = {name: [] for name in EVENT}
        self.spans: dict[str, list[int]] = {name: [] for name in SPAN}
        self.earlier: dict[int, int] = {}
        self.connections: list[list[int]] = []
        self.whats: Words[What] = Words()
        self.owners: Words[str] = Words()
        self.ends: Words[str] = Words()
        self.lanes, self.rows = Places(), Places()
        self.files: list[tuple[int, str]] = []
        self.marks: list[tuple[int, str, str, int]] = []
        self.bands: list[tuple[int, int, str, str]] = []
        self.limits: list[tuple[int, int | None]] = []
        self.began = 0.0
        self._header: Header | None = None
        self._offset = 0.0
        self._state: State | None = None
        self.waits: dict[int, _Open] = {}
        """By ticket."""
        self.lives: dict[int, _Open] = {}
        """By key: what the connection does now."""
        self.connecting: dict[int, _Open] = {}
        """By ticket."""
        self.background: deque[_Open] = deque()
        """Which of several comes first is not recorded: taken is the one that began first."""
        self._outage: tuple[int, Failure, int] | None = None
        self._suspended: int | None = None

    # ------------------------------------------------------------ in their order

    def take(self, transition: Transition) -> None:
        """The next one."""
        before, header = transition.before, transition.header
        if self._header is None or not _follows(self._header, header):
            self._begin(transition)
        elif header is not self._header:
            self.files.append((len(self.events["at"]), header.path.name))
        if before is not self._state:  # a segment begins: the same state, or what is known anew
            self._rules = Rules(before)
        self._header, self._state = header, transition.after
        event, effects = transition.event, transition.effects
        rules = self._rules.of(event)
        what = (type(event).__name__, tuple(map(said, effects)), rules)
        ticket = getattr(event, "ticket", None)
        index = self._note(
            event.now, what, ticket, getattr(event, "key", None), transition.line, transition.after
        )
        if not (effects and isinstance(effects[0], Ignored)):
            self._change(index, before, event, effects, transition.after)
            self._compare(index, before, event, transition.after)
            asked = self.waits.get(ticket) if ticket is not None else None
            if asked is not None and asked.place < 0:
                asked.place = self.rows.take()

    def _note(
        self,
        now: float,
        what: What,
        ticket: int | None,
        key: int | None,
        line: int,
        state: State,
    ) -> int:
        columns = self.events
        at = round((now + self._offset - self.began) * 1e6)
        times = columns["at"]
        times.append(max(at, times[-1]) if times else at)  # a clock may be put back
        columns["what"].append(self.whats.number(what))
        columns["ticket"].append(-1 if ticket is None else ticket)
        columns["key"].append(-1 if key is None else key)
        columns["line"].append(line)
        columns["used"].append(len(state.in_use))
        columns["idle"].append(heap.size(state.idle))
        columns["opening"].append(state.opening)
        columns["waiting"].append(waiters.size(state.waiters))
        return len(times) - 1

    def _begin(self, transition: Transition) -> None:
        """What there is when it begins, or goes on after a gap."""
        header, state, now = transition.header, transition.before, transition.event.now
        if self._header is None:
            self.began = header.wall_of(min(now, header.now))
        else:
            self._end_all()
        self._offset = header.wall - header.now
        now = min(now, header.now)
        index = self._note(now, (BEGINS, (), ()), None, None, 2, state)
        self.files.append((index, header.path.name))
        self.limits.append((index, state.limits.max_size))

        def since(time: float) -> int:
            return max(0, round((now - time) * 1e6))

        for item in sorted(resting(state.idle), key=lambda item: item.entry.key):
            self._live(item.entry.key, IDLE, index, earlier=since(item.since))
        for key, lease in sorted(leased(state.in_use).items(), key=lambda item: item[0]):
            owner = self._owner(lease.owner)
            self._live(key, USE, index, lease.ticket, owner, since(lease.checked_out))
        for ticket, name in waiters.items(state.waiters):
            self.waits[ticket] = _Open(
                WAIT, self.rows.take(), index, ticket, self._owner(name), earlier=1
            )
        for ticket, name in sorted(state.opening_tickets.items()):
            self._connect(ticket, self._owner(name), index)
        for _ in range(state.opening_background):
            self._connect(None, -1, index)
        if state.last_error is not None:
            self._outage = (index, state.last_error, 0)
        if state.phase == "suspended":
            self._suspended = index

    def _end_all(self) -> None:
        assert self._state is not None
        last = self.events["at"][-1] / 1e6 + self.began - self._offset
        index = self._note(last, (ENDS, (), ()), None, None, 0, self._state)
        for ticket in list(self.waits):
            self._end_wait(ticket, index, ENDS)
        for key in list(self.lives):
            self._end_life(key, index, ENDS)
        for one in [*self.connecting.values(), *self.background]:
            self._end_connect(one, index, ENDS)
        self.connecting.clear()
        self.background.clear()
        self._end_bands(index)

    def finish(self, source: str) -> Timeline:
        """All of it."""
        if self._header is not None:
            self._end_all()
        order = sorted(range(len(self.spans["first"])), key=self.spans["first"].__getitem__)
        spans = {name: [column[one] for one in order] for name, column in self.spans.items()}
        earlier = {new: self.earlier[old] for new, old in enumerate(order) if old in self.earlier}
        header = self._header
        return Timeline(
            pool="" if header is None else header.pool,
            source=source,
            pid=0 if header is None else header.pid,
            began=self.began,
            events=self.events,
            whats=self.whats.all,
            files=self.files,
            spans=spans,
            earlier=earlier,
            owners=self.owners.all,
            ends=self.ends.all,
            connections=self.connections,
            lanes=self.lanes.most,
            rows=self.rows.most,
            marks=self.marks,
            bands=self.bands,
            limits=self.limits,
            notes=[],
        )

    # ------------------------------------------------------------ what a transition does

    def _change(
        self, index: int, before: State, event: Event, effects: tuple[Effect, ...], after: State
    ) -> None:
        touched: list[int] = []
        how = HOW.get(type(event), "")
        if isinstance(event, Acquire):
            self._wait(event.ticket, self._owner(event.owner), index)
        elif isinstance(event, Opened):
            self._opened(event.ticket, before.next_seq, index)
            touched.append(before.next_seq)
        elif isinstance(event, OpenFailed):
            one = self._taken(event.ticket)
            if one is not None:
                self._end_connect(one, index, f"failed: {event.error.kind}: {event.error.text}")
        elif isinstance(event, Dead):
            self.lives[event.key].kind = CHECK
            self._wait(event.ticket, self.lives[event.key].owner, index)
        elif isinstance(event, Release):
            touched.append(event.key)
        elif isinstance(event, Cancel):
            self._end_wait(event.ticket, index, "cancelled")
            one = self.connecting.pop(event.ticket, None)
            if one is not None:
                self._end_connect(one, index, "cancelled")
            touched += [key for key, one in self.lives.items() if one.ticket == event.ticket]
        for effect in effects:
            self._perform(effect, index, how, after)
        for key in touched:
            if key in self.lives and key not in after.in_use and self.lives[key].kind != IDLE:
                self._move(key, IDLE, index, how)
        if isinstance(event, (Adopt, Forked)):
            self._reconcile(index, after)

    def _perform(self, effect: Effect, index: int, how: str, after: State) -> None:
        if isinstance(effect, (Grant, Close)) and effect.key not in self.lives:
            self._live(effect.key, IDLE, index)  # an adapter put it in
        if isinstance(effect, Grant):
            self._end_wait(effect.ticket, index, "got a connection")
            *_, holder, _ = after.in_use[effect.key]
            owner = self._owner(holder)
            self._move(effect.key, USE, index, how or "lent", effect.ticket, owner)
        elif isinstance(effect, Refuse):
            self._end_wait(effect.ticket, index, f"refused: {effect.reason}")
            one = self.connecting.pop(effect.ticket, None)
            if one is not None:
                self._end_connect(one, index, f"refused: {effect.reason}")
        elif isinstance(effect, Open):
            if effect.ticket is not None:
                self._end_wait(effect.ticket, index, "connects")
                owner = self._owner(after.opening_tickets[effect.ticket])
                self._connect(effect.ticket, owner, index)
            else:
                self._connect(None, -1, index)
        elif isinstance(effect, Close):
            self._end_life(effect.key, index, effect.reason, how)
        elif isinstance(effect, Leaked):
            place = self.lives[effect.key].place
            text = f"held for {effect.held:.3f} s: reported as a leak"
            self.marks.append((index, "leak", text, place))

    def _reconcile(self, index: int, after: State) -> None:
        """An adapter, or a fork, changed what there is."""
        idle = {item.entry.key for item in resting(after.idle)}
        for key in list(self.lives):
            if key not in idle and key not in after.in_use:
                self._end_life(key, index, "forgotten")
        for key in sorted({*idle, *after.in_use}):
            kind = IDLE if key in idle else USE
            lease = lease_of(after.in_use, key)
            ticket, owner = (0, -1) if lease is None else (lease.ticket, self._owner(lease.owner))
            if key not in self.lives:
                self._live(key, kind, index, ticket, owner)
            elif self.lives[key].kind != kind:
                self._move(key, kind, index, "changed by the program", ticket, owner)
        while len(self.background) > after.opening_background:
            self._end_connect(self.background.popleft(), index, "forgotten")

    def _compare(self, index: int, before: State, event: Event, after: State) -> None:
        """What is so of the whole pool."""
        name = type(event).__name__
        if isinstance(event, Configure):
            self.marks.append((index, "limits", differences(before.limits, after.limits), -1))
            if before.limits.max_size != after.limits.max_size:
                self.limits.append((index, after.limits.max_size))
        elif isinstance(event, Retire):
            self.marks.append((index, "drain", "drained: every connection is replaced", -1))
        elif name in ("CloseAll", "CloseIdle", "CloseStale", "Shutdown", "Forked"):
            self.marks.append((index, "order", name, -1))
        if before.phase != after.phase:
            if after.phase == "suspended":
                self._suspended = index
            elif self._suspended is not None:
                self.bands.append((self._suspended, index, "suspended", "suspended"))
                self._suspended = None
        if isinstance(event, OpenFailed):
            first, _, failed = self._outage or (index, event.error, 0)
            self._outage = first, event.error, failed + 1
        elif self._outage is not None and after.last_error is None:
            self._end_outage(index)

    def _end_outage(self, index: int) -> None:
        assert self._outage is not None
        first, error, failed = self._outage
        text = f"{failed} connect{'s' * (failed != 1)} failed: {error.kind}: {error.text}"
        self.bands.append((first, index, "outage", text))
        self._outage = None

    def _end_bands(self, index: int) -> None:
        if self._outage is not None:
            self._end_outage(index)
        if self._suspended is not None:
            self.bands.append((self._suspended, index, "suspended", "suspended"))
            self._suspended = None

    # ------------------------------------------------------------ callers

    def _owner(self, owner: object) -> int:
        return -1 if owner is None else self.owners.number(text_of(owner))

    def _wait(self, ticket: int, owner: int, index: int) -> None:
        self.waits[ticket] = _Open(WAIT, -1, index, ticket, owner)

    def _end_wait(self, ticket: int, index: int, end: str) -> None:
        """Who need not wait has no row; who was refused at once still has a place there."""
        one = self.waits.pop(ticket, None)
        if one is None or (one.place < 0 and not end.startswith("refused")):
            return
        if one.place < 0:
            one.place = self.rows.take()
        self.rows.free(one.place)
        self._keep(one, index, end)

    # ------------------------------------------------------------ connections

    def _live(
        self,
        key: int,
        kind: str,
        index: int,
        ticket: int = 0,
        owner: int = -1,
        earlier: int = 0,
    ) -> None:
        """A connection that comes from elsewhere."""
        place = self._born(key, index)
        self.lives[key] = _Open(kind, place, index, ticket, owner, earlier)

    def _born(self, key: int, index: int) -> int:
        self.connections.append([key, self.lanes.take(), index, -1, -1])
        return len(self.connections) - 1

    def _connect(self, ticket: int | None, owner: int, index: int) -> None:
        one = _Open(CONNECT, self._born(-1, index), index, ticket or 0, owner)
        if ticket is None:
            self.background.append(one)
        else:
            self.connecting[ticket] = one

    def _taken(self, ticket: int | None) -> _Open | None:
        """The connect that this outcome is of."""
        if ticket is not None:
            return self.connecting.pop(ticket, None)
        return self.background.popleft() if self.background else None

    def _opened(self, ticket: int | None, key: int, index: int) -> None:
        one = self._taken(ticket)
        if one is None:  # nobody asked for it any more
            self._live(key, CONNECT, index)
            return
        self.connections[one.place][0] = key
        self.lives[key] = one

    def _end_connect(self, one: _Open, index: int, end: str) -> None:
        self._keep(one, index, end)
        self._end_connection(one.place, index, end)

    def _end_connection(self, place: int, index: int, why: str) -> None:
        connection = self.connections[place]
        connection[3:] = index, self.ends.number(why)
        self.lanes.free(connection[1])

    def _move(
        self, key: int, kind: str, index: int, how: str, ticket: int = 0, owner: int = -1
    ) -> None:
        """The connection does something else now."""
        one = self.lives[key]
        self._keep(one, index, "connected" if one.kind == CONNECT else how)
        self.lives[key] = _Open(kind, one.place, index, ticket, owner)

    def _end_life(self, key: int, index: int, why: str, how: str = "") -> None:
        one = self.lives.pop(key)
        end = why if why in (ENDS, "forgotten") else f"closed: {why}"
        is_more = one.kind in (USE, CHECK) and how not in ("", why)
        self._keep(one, index, f"{how}, {end}" if is_more else end)
        self._end_connection(one.place, index, why)

    def _keep(self, one: _Open, last: int, end: str) -> None:
        if one.earlier:
            self.earlier[len(self.spans["first"])] = one.earlier
        values = (
            *(KINDS.index(one.kind), one.place, one.first, last),
            *(one.ticket, one.owner, self.ends.number(end)),
        )
        for name, value in zip(SPAN, values, strict=True):
            self.spans[name].append(value)


def _follows(previous: Header, header: Header) -> bool:
    """Whether nothing is missing between the two."""
    return header is previous or (
        header.run == previous.run and header.segment == previous.segment + 1
    )
