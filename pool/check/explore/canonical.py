"""Which states are the same: what makes the graph of all states finite.

Theory.  Keys, tickets and times matter by their order and distance alone, and a
connection, once closed, or a ticket, once answered, not at all.  So a state is known by
its *shape*:

* Tickets that live (wait, connect, hold) and keys that live (idle, in use) are numbered
  from 1 in their order; `seq` among the idle likewise.  The next ticket is then one more than
  the tickets, the next key one more than the keys, as in a state just so numbered.
* Times are ages.  Ages that no limit can tell apart are one; where the order of two old
  ones still matters (who is lent first, who was made before the last `Retire`) they are
  numbered.  A `Retire` before every connection is as good as none.
* Counters are gone, but for `opened` = 0, which the machine asks for, and for what does not
  add up (`Conserved`), which must not hide.
* What a configuration cannot make matter is left out: created where nothing grows old,
  `since` without `max_idle`, and so on.

`spec/MCPool.tla` says the same of the states of the specification, in its own words, and
`tests/model/test_explorer_shapes.py` tries whether states of one shape behave the same.
A shape refuses to know how heap and queue are laid out; `sound` looks at that, on every
step.

An *edge* is labelled with the event, its arguments, its effects and who is where afterwards,
all named as in the shape it starts from: the shape it leads to has new names, and who left the
queue does not show in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pool.check.explore.configurations import Configuration
from pool.core import heap, invariants, waiters
from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.limits import Limits
from pool.core.state import State, leased, resting

Shape = tuple[Any, ...]
Shaper = Callable[[State, int], Shape]
Label = tuple[Any, ...]

PASS = "Pass"
"""The label of a move that is no event: one unit of time goes by."""

MADE, PUT = "c", "a"
"""A connection is called `c7` if the driver made it, `a7` if an adapter put it there; 7 is
its key."""


def most(configuration: Configuration, field: str) -> int:
    """The greatest value of this limit in the configuration, 0 if it has none."""
    return max(int(getattr(limits, field) or 0) for limits in configuration.limits)


def most_failures(limits: Limits) -> int:
    """From so many failures on, one more does not make the pause longer."""
    failures = 1
    while limits.backoff_initial * 2 ** (failures - 1) < limits.backoff_max:
        failures += 1
    return failures


class Scale:
    """What a configuration can tell apart: the ages from which on all are old."""

    def __init__(self, configuration: Configuration) -> None:
        c = configuration
        ageing = c.ticking or len(c.lags) > 1
        self.keeps_created = ageing and bool(
            "Retire" in c.events
            or most(c, "max_lifetime")
            or any(limits.idle_order == "oldest" for limits in c.limits)
        )
        self.keeps_jitter = self.keeps_created and most(c, "max_lifetime") > 0
        self.old_created = max(most(c, "max_lifetime"), max(c.lags) + 1)
        self.old_since = most(c, "max_idle") if c.ticking else 0
        stale = max(c.befores) + 1 if "CloseStale" in c.events else 0
        self.old_checked_out = max(most(c, "leak_after"), stale) if ageing else 0
        self.keeps_seq = bool({"Configure", "Adopt"} & c.events)
        self.most_failures = max(most_failures(limits) for limits in c.limits)
        self.is_lean = not (
            self.keeps_created
            or self.old_since
            or self.old_checked_out
            or self.keeps_seq
            or len(c.owners) > 1
        )

    @property
    def horizon(self) -> int:
        """Above every age there is: the time it always is in the specification's graph."""
        return max(self.old_created, self.old_since, self.old_checked_out) + 8


def shaper(configuration: Configuration) -> Shaper:
    """The function from (state, time) to shape."""
    scale = Scale(configuration)
    return _lean(configuration, scale) if scale.is_lean else _full(configuration, scale)


def lean(full: Shape) -> Shape:
    """A full shape without what a configuration of traffic alone cannot make matter."""
    phase, limits, idle, leases, waiting, connecting, *rest, _ = full
    held = [-1] * (len(idle) + len(leases))
    for key, *_, ticket, _, _ in leases:
        held[key - 1] = ticket - 1
    return (
        phase,
        limits,
        tuple(key - 1 for key, *_ in idle),
        tuple(held),
        tuple(ticket - 1 for ticket, _ in waiting),
        tuple(ticket - 1 for ticket, _ in connecting),
        *rest,
    )


def _lean(configuration: Configuration, scale: Scale) -> Shaper:
    """For configurations of traffic alone: `lean` of the full shape, written out, for it is the hot
    path of the explorer."""
    numbers = {limits: number for number, limits in enumerate(configuration.limits, 1)}
    many = scale.most_failures
    only = configuration.limits[0] if len(numbers) == 1 else None

    def shape(state: State, now: int) -> Shape:
        (
            limits,
            phase,
            idle,
            in_use,
            queue,
            opening,
            background,
            failures,
            retry_at,
            error,
            _,
            _,
            _,
            issued,
            granted,
            (opened, adopted, closed, forgotten, refused, cancelled, dead),
        ) = state
        waiting = sorted(queue[0]) if queue else []
        connecting = sorted(opening) if opening else []
        if idle is None:
            resting: tuple[int, ...] = ()
            keys = sorted(in_use)
            held = [in_use[key] for key in keys]
            live = sorted([*waiting, *connecting, *[lease[2] for lease in held]])
            leases = tuple([live.index(lease[2]) for lease in held])
            spare = opened + adopted - closed - forgotten - len(keys)
        else:
            lent = [idle[1]] if idle[0] == 1 else sorted(heap.items(idle))
            rest = [item[2].key for item in lent]
            keys = sorted([*in_use, *rest])
            resting = tuple([keys.index(key) for key in rest])
            live = sorted([*waiting, *connecting, *[lease[2] for lease in in_use.values()]])
            leases = tuple([live.index(in_use[key][2]) if key in in_use else -1 for key in keys])
            spare = opened + adopted - closed - forgotten - len(keys)
        wait = None if retry_at is None else retry_at - now if retry_at > now else 0
        return (
            phase,
            1 if limits is only else numbers[limits],
            resting,
            leases,
            tuple([live.index(ticket) for ticket in waiting]),
            tuple([live.index(ticket) for ticket in connecting]) if connecting else (),
            background,
            failures if failures < many else many,
            wait,
            error and error[1],
            opened > 0,
            spare,
            issued - granted + dead - refused - cancelled - len(waiting) - len(connecting),
        )

    return shape


def _full(configuration: Configuration, scale: Scale) -> Shaper:
    numbers = {limits: number for number, limits in enumerate(configuration.limits, 1)}
    keeps_created, old_created = scale.keeps_created, scale.old_created
    keeps_jitter = scale.keeps_jitter
    most_lag = max(configuration.lags)

    def shape(state: State, now: int) -> Shape:
        count = state.counters
        waiting = list(waiters.items(state.waiters))
        connecting = sorted(state.opening_tickets.items())
        leases = sorted(leased(state.in_use).items())
        idle = sorted(resting(state.idle))
        keys = sorted([key for key, _ in leases] + [item.entry.key for item in idle])
        tickets = sorted(
            [ticket for ticket, _ in waiting]
            + [ticket for ticket, _ in connecting]
            + [lease.ticket for _, lease in leases if lease.ticket]
        )
        ticket_names = {ticket: name for name, ticket in enumerate(tickets, 1)}
        key_names = {key: name for name, key in enumerate(keys, 1)}
        seqs = sorted({item.seq for item in idle})
        entries = [lease.entry for _, lease in leases] + [item.entry for item in idle]

        retire: int | None = None
        ages: dict[float, int] = {}
        if keeps_created:
            retire_age = now - state.retire_before
            made = {now - entry.created for entry in entries}
            if retire_age <= most_lag or any(age > retire_age for age in made):
                made.add(retire_age)
                retire = 0
            old = sorted(age for age in made if age >= old_created)
            ages = {age: int(age) for age in made if age < old_created}
            ages.update((age, old_created + rank) for rank, age in enumerate(old))
            retire = None if retire is None else ages[retire_age]

        def entry_shape(entry: Any) -> tuple[Any, ...]:
            age = ages[now - entry.created] if keeps_created else 0
            jitter = int(entry.jitter * 2) if keeps_jitter else 0
            return key_names[entry.key], entry.connection[:1], age, jitter

        retry_at = state.retry_at
        return (
            state.phase,
            numbers[state.limits],
            tuple(
                (
                    *entry_shape(item.entry),
                    min(int(now - item.since), scale.old_since),
                    seqs.index(item.seq) + 1,
                )
                for item in idle
            ),
            tuple(
                (
                    *entry_shape(lease.entry),
                    min(int(now - lease.checked_out), scale.old_checked_out),
                    ticket_names.get(lease.ticket, 0),
                    lease.owner,
                    lease.leaked,
                )
                for _, lease in leases
            ),
            tuple((ticket_names[ticket], owner) for ticket, owner in waiting),
            tuple((ticket_names[ticket], owner) for ticket, owner in connecting),
            state.opening_background,
            min(state.failures, scale.most_failures),
            None if retry_at is None else max(0, int(retry_at - now)),
            state.last_error and state.last_error.text,
            count.opened > 0,
            count.opened + count.adopted - count.closed - count.forgotten - len(keys),
            state.issued
            - state.granted
            + count.dead
            - count.refused
            - count.cancelled
            - len(waiting)
            - len(connecting),
            retire,
        )

    return shape


def sound(before: State, after: State) -> str | None:
    """The name of the invariant that the layout of heap or queue breaks, if any.

    A shape does not show layout, so this is asked of every step and not once per shape."""
    idle, queue = after.idle, after.waiters
    if idle is not None and idle is not before.idle and not invariants.heap_ordered(after):
        return "HeapOrdered"
    if queue is not None and queue is not before.waiters:
        owners, first = queue
        if not owners or first != min(owners):
            return "Fifo"
    return None


class Labeller:
    """Names events and effects as the shape they start from would."""

    def __init__(self, configuration: Configuration) -> None:
        self.numbers = {limits: number for number, limits in enumerate(configuration.limits, 1)}
        self.scale = Scale(configuration)

    def __call__(
        self,
        before: State,
        now: int,
        event: Event | None,
        effects: tuple[Effect, ...],
        after: State,
    ) -> Label:
        tickets = sorted(
            [*(before.waiters[0] if before.waiters else ()), *before.opening_tickets]
            + [lease.ticket for lease in leased(before.in_use).values() if lease.ticket]
        )
        idle = list(resting(before.idle))
        keys = sorted([*before.in_use, *(item.entry.key for item in idle)])
        seqs = sorted({item.seq for item in idle})

        def ticket(number: int | None) -> int | None:
            if number is None:
                return None
            if number >= before.next_ticket:
                return len(tickets) + 1
            return tickets.index(number) + 1 if number in tickets else 0

        def key(number: int | None) -> int | None:
            if number is None:
                return None
            if number >= before.next_seq:
                return len(keys) + 1 + number - before.next_seq
            return keys.index(number) + 1 if number in keys else 0

        def seq(number: int) -> int:
            if number >= before.next_seq:
                return len(keys) + 1 + number - before.next_seq
            return seqs.index(number) + 1 if number in seqs else 0

        def value(name: str, content: Any) -> Any:
            match name:
                case "ticket":
                    return ticket(content)
                case "key":
                    return key(content)
                case "seq":
                    return seq(content)
                case "next_seq":
                    return max(0, len(keys) + 1 + content - before.next_seq) if content else 0
                case "created" | "checked_out" | "before":
                    return int(now - content)
                case "connection":
                    return content[:1]
                case "jitter":
                    return int(content * 2)
                case "error":
                    return content and content.text
                case "limits":
                    return self.numbers[content]
                case "rested":
                    return None if content is None else min(int(content), self.scale.old_since)
                case "held":
                    return min(int(content), self.scale.old_checked_out)
                case "removed":
                    return tuple(map(key, content))
                case "idle" | "in_use":
                    return tuple(record("", item) for item in content)
            return content

        def record(kind: str, item: Any) -> tuple[Any, ...]:
            fields = zip(item._fields, item, strict=True)
            named = tuple(
                value(name, content) for name, content in fields if name not in ("now", "why")
            )
            return (kind, *named) if kind else named

        queue = after.waiters
        return (
            (PASS,) if event is None else record(type(event).__name__, event),
            tuple(record(type(effect).__name__, effect) for effect in effects),
            (
                tuple(map(ticket, sorted(queue[0]) if queue else ())),
                tuple(map(ticket, sorted(after.opening_tickets))),
                tuple((key(k), ticket(lease[2])) for k, lease in sorted(after.in_use.items())),
                tuple(key(item.entry.key) for item in sorted(resting(after.idle))),
            ),
        )
