"""A real state and a real event of which something is the picture.

Theory. A solver that finds a counterexample names numbers. People want a pool: who waits, what is
idle, and what happens. So a state is built that has these numbers, and an event that makes these
choices. What a picture leaves out is filled in so that it says the same: what has expired was
made before the last `Retire`, what has gone stale was checked out early, and so on. Keys and
tickets get new numbers in the same order.

`None` is given where no state could be built: then the picture is of none, or of one that is harder
to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from pool.check.explore.configurations import EVENTS
from pool.check.explore.notation import write
from pool.check.proof.binding import relation
from pool.check.proof.obligations import Model
from pool.check.proof.picture import BOUNDS, OUT, PHASES, STATE
from pool.check.proof.real import Seen, Told, pictured_step
from pool.check.proof.terms import Value, compiled
from pool.core import waiters
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
from pool.core.transition import step

NOW, EARLY, LATE = 10.0, 0.0, 20.0
"""When it happens; what is before `MIDDLE` has expired, gone stale, rested."""

MIDDLE = 5.0

RENAMED = {"key", "a", "b", "t", "taker", "q", "next_seq", "next_ticket", "key_ticket"}
"""Names that are numbered anew."""


@attrs.frozen
class Witness:
    """A state and an event, and which key and tickets were followed."""

    before: State
    event: Event
    followed: tuple[int, int, int]


class _Numbers:
    """The values of a model; what it does not say is 0, or false."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __getattr__(self, name: str) -> int:
        return int(self.model.get(name, 0))


def build(model: Model, event: str) -> Witness | None:
    """A state and an event of which this is the picture, if they are found."""
    for place in range(min(_MOST, int(model.get("idle", 0))) + 1):
        try:
            made = _Builder(_Numbers(model), event, place).witness()
            after, effects = step(made.before, made.event)
        except Exception:
            # numbers that no state has lead to one that cannot even be asked
            return None
        values = pictured_step(Seen(made.before), made.event, Told(effects), after, made.followed)
        if _same(event, model, values):
            return made
    return None


_MOST = 20
"""Places that are tried."""


def _same(event: str, model: Model, values: Mapping[str, Value]) -> bool:
    """Whether two pictures differ in names alone, before and after, and go the same way."""
    draft, function = relation(event)
    everything = {**dict.fromkeys(STATE, 0), **dict.fromkeys(values, 0), **model}
    for name in everything:
        if name.startswith(_NONE) and everything[name]:  # then the bound is not looked at
            everything[name.replace("no_", "", 1)] = 1
    if any(int(everything[name]) != int(values[name]) for name in _COMPARED):
        return False
    wanted, found = function(everything), function(values)
    if any(
        int(one) != int(other)
        for name, one, other in zip((*STATE, *OUT), wanted, found, strict=False)
        if name in _COMPARED or name in OUT
    ):
        return False
    rules = compiled(list(draft.rules.values()))
    return rules(everything) == rules(values)


_NONE = ("no_", "new_no_")

_RUN = (
    *("key_came", "key_closed", "key_forgotten", "a_asked", "a_answered", "b_asked", "b_answered"),
)
"""The books of a run, which no state has."""

_COMPARED = [name for name in STATE if name not in RENAMED and name not in _RUN]


class _Builder:
    """Where among the idle the followed key is, is tried."""

    def __init__(self, m: _Numbers, event: str, place: int) -> None:
        self.m = m
        self.event = event
        self.place = place
        names = [name for name in ("a", "b", "t", "taker") if name in m.model or name in "ab"]
        self.numbers, self.waiting, self.opening = self.tickets(names)
        self.next_seq = m.idle + m.in_use + 3
        self.key = self.followed_key()

    def ticket(self, name: str) -> int:
        return self.numbers[getattr(self.m, name)]

    def tickets(self, names: list[str]) -> tuple[dict[int, int], list[int], list[int]]:
        """Numbers for tickets, with as many that wait between them as there have to be."""
        m = self.m
        values = sorted({getattr(m, name) for name in names})
        by_value = {getattr(m, name): name for name in reversed(names)}
        numbers: dict[int, int] = {0: 0}
        waiting: list[int] = []
        opening: list[int] = []
        last = 0

        def new() -> int:
            nonlocal last
            last += 1
            return last

        own = sum(getattr(m, f"{by_value[value]}_opens") for value in values)
        opening += [new() for _ in range(m.opening_tickets - own)]
        self.next_ticket = 0
        for value in values:
            name = by_value[value]
            if value >= m.next_ticket and not self.next_ticket:
                waiting += [new() for _ in range(m.waiting - len(waiting))]
                self.next_ticket = last + 1
            waiting += [new() for _ in range(getattr(m, f"{name}_older") - len(waiting))]
            if value == 0:
                continue
            numbers[value] = new()
            if getattr(m, f"{name}_waits"):
                waiting.append(numbers[value])
            if getattr(m, f"{name}_opens"):
                opening.append(numbers[value])
        if not self.next_ticket:
            waiting += [new() for _ in range(m.waiting - len(waiting))]
            self.next_ticket = last + 1
        return numbers, waiting, opening

    def followed_key(self) -> int:
        m = self.m
        if m.key_idle:
            return 1
        if m.key_in_use:
            return m.idle + 1
        beyond = m.key - m.next_seq
        return self.next_seq + beyond if beyond >= 0 else self.next_seq - 1

    def limits(self, new: str = "") -> Limits:
        m = self.m
        bounds: dict[str, Any] = {
            name: None if getattr(m, f"{new}no_{name}") else getattr(m, new + name)
            for name in BOUNDS
        }
        tiny = self.event == "OpenFailed" and not m.is_early
        return Limits(
            **bounds,
            min_idle=getattr(m, f"{new}min_idle"),
            opener="background" if getattr(m, f"{new}background") else "caller",
            idle_order="fifo",
            max_idle=1.0 if self.event == "Tick" and m.rested else None,
            backoff_initial=1e-300 if tiny else 0.1,
        )

    def idle(self) -> list[Idle]:
        """In the order in which they are lent."""
        m = self.m
        others = list(range(2 if m.key_idle else 1, m.idle + 1))
        gone: list[int] = []
        expired: list[int] = []
        rested: list[int] = []
        for kept, name in (
            (gone, "gone_idle"),
            (expired, "swept"),
            (rested, "rested"),
            (expired, "met"),
        ):
            its = bool(m.key_idle and getattr(m, f"is_key_{name}"))
            count = min(getattr(m, name), m.idle)
            kept += [1] * its + [others.pop(0) for _ in range(min(count - its, len(others)))]
        special = [*gone, *expired, *rested]
        rest = others
        if m.key_idle and 1 not in special:
            rest.insert(self.place, 1)
        self.gone_idle = gone
        return [
            Idle(
                place,
                place,
                Entry(key, f"c{key}", EARLY if key in expired else LATE, 0.0),
                EARLY if key in rested else NOW,
            )
            for place, key in enumerate([*special, *rest], -m.idle)
        ]

    def leases(self) -> dict[int, Lease]:
        m = self.m
        keys = list(range(m.idle + 1, m.idle + m.in_use + 1))
        owners: dict[int, int] = {}
        self.q = 0
        if m.key_in_use:
            owners[self.key] = self.numbers.get(m.key_ticket, 0)
            keys.remove(self.key)
            if m.q == m.key:
                self.q = self.key
        if m.is_held and not self.q:
            self.q = keys.pop(0)
            owners[self.q] = self.ticket("t")
        names = [name for name in ("a", "b", "t", "taker") if name in m.model or name in "ab"]
        for name in names:
            which = self.ticket(name)
            held = sum(owner == which for owner in owners.values())
            for _ in range(getattr(m, f"{name}_leases") - held):
                owners[keys.pop(0)] = which
        for key in keys:
            owners[key] = 0
        ended = self.ended(owners)
        old = self.q if m.is_expired else 0
        return {
            key: Lease(
                Entry(key, f"c{key}", EARLY if key == old else LATE, 0.0),
                EARLY if key in ended else NOW,
                owner,
                None,
                False,
            )
            for key, owner in owners.items()
        }

    def ended(self, owners: dict[int, int]) -> list[int]:
        """Which leases are stale, or gone."""
        m = self.m
        what = {"CloseStale": "stale", "Adopt": "gone"}.get(self.event)
        self.gone_in_use: list[int] = []
        if what is None:
            return []
        total = m.stale if what == "stale" else m.gone_in_use
        its = m.is_key_stale if what == "stale" else m.is_key_gone_in_use
        chosen = [self.key] if its else []
        free = [key for key in owners if key != self.key]
        followed = {self.ticket(name): getattr(m, f"{name}_{what}") for name in ("a", "b")}
        if "taker" in m.model:
            followed.setdefault(self.ticket("taker"), getattr(m, f"taker_{what}"))
        for ticket, count in followed.items():
            mine = sum(owners[key] == ticket for key in chosen)
            chosen += [key for key in free if owners[key] == ticket][: count - mine]
        others = [key for key in free if owners[key] not in followed]
        chosen += others[: total - len(chosen)]
        if what == "gone":
            self.gone_in_use = chosen
            return []
        return chosen

    def witness(self) -> Witness:
        m = self.m
        idle, leases = self.idle(), self.leases()
        queue: waiters.Queue = None
        for ticket in self.waiting:
            queue = waiters.insert(queue, ticket, None)
        retry_at = None
        if m.backing_off:
            retry_at = LATE if m.is_early else MIDDLE
        state = initial(Limits())._replace(
            limits=self.limits(),
            phase=PHASES[m.phase],
            idle=at_rest(self.limits(), idle),
            in_use=Map(leases),
            waiters=queue,
            opening_tickets=Map(dict.fromkeys(self.opening)),
            opening_background=m.opening_background,
            retry_at=retry_at,
            retire_before=MIDDLE,
            next_seq=self.next_seq,
            next_ticket=self.next_ticket,
            issued=m.issued,
            granted=m.granted,
            counters=Counters(
                m.opened, m.adopted, m.closed, m.forgotten, m.refused, m.cancelled, m.dead
            ),
        )
        return Witness(state, self.make_event(), (self.key, self.ticket("a"), self.ticket("b")))

    def make_event(self) -> Event:
        m = self.m
        ticket = self.ticket("t") if "t" in m.model or not m.t else 0
        nobody = None if m.is_nobody else ticket
        created = EARLY if m.is_expired else LATE
        key = self.q or 999
        more: Mapping[str, Callable[[], tuple[Any, ...]]] = {
            "Acquire": lambda: (ticket, bool(m.is_wait)),
            "Opened": lambda: (nobody, f"c{self.next_seq}", created),
            "OpenFailed": lambda: (nobody, Failure("Error", "down")),
            "Dead": lambda: (ticket, key, bool(m.is_wait)),
            "Release": lambda: (ticket, key, bool(m.is_reusable)),
            "Discard": lambda: (ticket, key),
            "Expire": lambda: (ticket,),
            "Cancel": lambda: (ticket,),
            "CloseStale": lambda: (MIDDLE,),
            "Configure": lambda: (self.limits("new_"),),
            "Adopt": self.adopted,
        }
        kind = EVENTS[self.event]
        made: Event = kind(NOW, *more[self.event]() if self.event in more else ())
        return made

    def adopted(self) -> tuple[Any, ...]:
        m = self.m
        its = m.key - m.next_seq - m.jump
        others = [n for n in range(m.put_idle) if n != its]
        old = others[: max(0, m.met - m.idle + m.gone_idle) - m.is_key_met]
        rest = others[len(old) :]
        if 0 <= its < m.put_idle:
            old, place = ([*old, its], 0) if m.is_key_met else (old, m.taker_older)
            rest[place:place] = [] if m.is_key_met else [its]
        order = [*old, *rest]
        first = self.next_seq + m.jump  # the key of the first; a connection is named by its key
        idle = tuple(
            AdoptIdle(
                None, f"c{first + n}", EARLY if n in old else LATE, order.index(n) - len(order)
            )
            for n in range(m.put_idle)
        )
        in_use = tuple(
            AdoptLease(None, f"c{first + m.put_idle + n}", LATE, NOW) for n in range(m.put_in_use)
        )
        removed = (*self.gone_idle, *self.gone_in_use)
        return idle, in_use, removed, first


# ---------------------------------------------------------------- for people


def shown(state: State) -> str:
    """A state in a few words."""
    idle = [f"key {item.entry.key}" for item in sorted(resting(state.idle))]
    in_use = [
        f"key {key} by {lease.ticket or 'an adapter'}"
        for key, lease in sorted(leased(state.in_use).items())
    ]
    waiting = [str(ticket) for ticket, _ in waiters.items(state.waiters)]
    parts = [
        state.phase,
        "idle: " + (", ".join(idle) or "none"),
        "in use: " + (", ".join(in_use) or "none"),
        "wait: " + (", ".join(waiting) or "nobody"),
    ]
    if state.opening_tickets:
        parts.append("connect: " + ", ".join(map(str, sorted(state.opening_tickets))))
    if state.opening_background:
        parts.append(f"opening_background={state.opening_background}")
    if state.retry_at is not None:
        parts.append(f"retry_at={state.retry_at:g}")
    parts.append(f"next_ticket={state.next_ticket}")
    return f"{write(state.limits)} {'; '.join(parts)}"
