"""What playhouse keeps in a list, a dict and a lock, shown and believed.

Theory.  Programs and test suites read and write the attributes of playhouse's pool:
`_connections` (a real list, changed by `heapq.heappush`, which bypasses the methods of a
subclass), `_in_use` (a dict), `_heap_counter`.  Here they are copies of the state, made when somebody asks
and valid until the state changes.  The next transition, under the lock, compares them with
what was handed out, and tells the machine the difference as one `Adopt` before anything else
happens.  Nobody who does not ask pays for it.

`PoolLock` is `_pool_lock`: re-entrant for the program that takes it, although the lock below
is not.  While a thread holds it, its own transitions pass and all others wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from playhouse.pool import PoolConnection

from pool import heap
from pool.events import Adopt, AdoptIdle, AdoptLease
from pool.state import State


class Mirror:
    """A state as playhouse would show it. Belongs to the database; changed by its user."""

    def __init__(self, state: State, conn_key: Callable[[Any], Any]) -> None:
        self.state = state
        idle = [
            (item.entry.key, (item.entry.created, item.seq, item.entry.connection))
            for item in sorted(heap.items(state.idle))
        ]
        in_use = [
            (
                key,
                conn_key(lease.entry.connection),
                PoolConnection(lease.entry.created, lease.entry.connection, lease.checked_out),
            )
            for key, lease in sorted(state.in_use.items(), key=lambda item: item[0])
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
            created, seq, connection = shown
            same = [key for key, known in gone.items() if known[2] is connection]
            key = same[0] if same else None
            known = gone.pop(key, None) if key is not None else None
            if known is not shown:
                idle.append(AdoptIdle(key, connection, created, seq))
        lost = {key for key, _ in self._in_use.values()}
        in_use = []
        for name, shown in self.in_use.items():
            key, known = self._in_use.get(name, (None, None))
            lost.discard(key)
            if known is not shown:
                created, connection, checked_out = shown
                in_use.append(AdoptLease(key, connection, created, checked_out))
        removed = (*sorted(gone), *sorted(lost))
        if not (idle or in_use or removed) and self.heap_counter == self._heap_counter:
            return None
        return Adopt(now, tuple(idle), tuple(in_use), removed, self.heap_counter + 1)


class PoolLock:
    """A re-entrant facade over the runtime's plain lock; usable with `threading.Condition`."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._holder: int | None = None
        self._depth = 0
        self.available = threading.Condition(self)  # type: ignore[arg-type]  # a lock as any

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.RLock.acquire`; timeout in seconds."""
        me = threading.get_ident()
        if self._holder != me:
            if not self._plain.acquire(blocking, timeout):
                return False
            self._holder = me
        self._depth += 1
        return True

    def release(self) -> None:
        """As `threading.RLock.release`; raises `RuntimeError` if this thread does not hold it."""
        if self._holder != threading.get_ident():
            raise RuntimeError("cannot release a lock that this thread does not hold")
        self._depth -= 1
        if not self._depth:
            self._holder = None
            self._plain.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_owned(self) -> bool:  # the three that threading.Condition looks for
        return self._holder == threading.get_ident()

    def _release_save(self) -> int:
        depth, self._depth, self._holder = self._depth, 0, None
        self._plain.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        self._plain.acquire()
        self._holder, self._depth = threading.get_ident(), depth


class TransitionLock:
    """The runtime's lock while there is a `PoolLock`: lets the holder of that one pass.

    Not re-entrant itself: a finalizer that tries it in the middle of a transition fails,
    as it does with a plain lock."""

    def __init__(self, facade: PoolLock, plain: Any) -> None:
        self._facade = facade
        self._plain = plain
        self._passing = False  # the holder of the facade is inside a transition

    def acquire(self, blocking: bool = True) -> bool:
        """False if not blocking and taken, or if this thread is inside a transition."""
        if not self._facade._is_owned():
            return bool(self._plain.acquire(blocking))
        if self._passing:
            return False
        self._passing = True
        return True

    def release(self) -> None:
        if self._passing and self._facade._is_owned():
            self._passing = False
        else:
            self._plain.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
