"""What playhouse keeps in a list and a dict, shown and believed.

Theory.  Programs and test suites read and write the attributes of playhouse's pool:
`_connections` (a real list, changed by `heapq.heappush`, which bypasses the methods of a
subclass), `_in_use` (a dict), `_heap_counter`.  Here they are copies of the state, made when
somebody asks and valid until the state changes.  The next transition, under the lock,
compares them with what was handed out, and tells the machine the difference as one `Adopt`
before anything else happens.  Nobody who does not ask pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playhouse.pool import PoolConnection

from pool.core.events import Adopt, AdoptIdle, AdoptLease
from pool.core.state import Fields, leased, resting, state_of


class Mirror:
    """A state as playhouse would show it. Belongs to the database; changed by its user."""

    def __init__(self, fields: Fields, conn_key: Callable[[Any], Any]) -> None:
        self.fields = fields
        state = state_of(fields)
        idle = [
            (item.entry.key, (item.entry.created, item.seq, item.entry.connection))
            for item in sorted(resting(state.idle))
        ]
        in_use = [
            (
                key,
                conn_key(lease.entry.connection),
                PoolConnection(lease.entry.created, lease.entry.connection, lease.checked_out),
            )
            for key, lease in sorted(leased(state.in_use).items())
        ]
        self.connections = [shown for _, shown in idle]
        self.in_use = {name: shown for _, name, shown in in_use}
        self.heap_counter = self._heap_counter = state.next_seq - 1
        self._idle = dict(idle)
        self._in_use = {name: (key, shown) for key, name, shown in in_use}

    def difference(self, now: float) -> Adopt | None:
        """What the user changed, if anything. Runs under the lock: no key function, no
        comparison of connections, only of the objects that were handed out."""
        gone = dict(self._idle)
        idle = []
        for shown in self.connections:
            created, seq, connection = _checked("_connections", shown, float, int, object)
            same = [key for key, known in gone.items() if known[2] is connection]
            key = same[0] if same else None
            known = gone.pop(key) if key is not None else None
            if known is not shown:
                idle.append(AdoptIdle(key, connection, created, seq))
        lost = {key for key, _ in self._in_use.values()}
        in_use = []
        for name, shown in self.in_use.items():
            key, known = self._in_use.get(name, (None, None))
            lost.discard(key)
            if known is None or known is not shown:
                created, connection, checked_out = _checked("_in_use", shown, float, object, float)
                in_use.append(AdoptLease(key, connection, created, checked_out))
        removed = (*sorted(gone), *sorted(lost))
        if not isinstance(self.heap_counter, int):
            raise TypeError(f"_heap_counter={self.heap_counter!r}: allowed is a whole number")
        if not (idle or in_use or removed) and self.heap_counter == self._heap_counter:
            return None
        return Adopt(now, tuple(idle), tuple(in_use), removed, self.heap_counter + 1)


def _checked(name: str, shown: Any, *kinds: type) -> Any:
    """What the user put in, if it can be believed; else `TypeError`, and all of it is dropped."""
    numbers = {float: (int, float), int: (int,), object: (object,)}
    fits = isinstance(shown, tuple) and len(shown) == len(kinds)
    if not fits or any(
        not isinstance(value, numbers[kind]) or (kind is float and value != value)
        for value, kind in zip(shown, kinds, strict=True)
    ):
        allowed = "(timestamp, counter, connection)" if name == "_connections" else "PoolConnection"
        raise TypeError(f"{name} was given {shown!r}: allowed is {allowed}")
    return shown
