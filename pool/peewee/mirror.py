"""What playhouse keeps in a list, a dict and a lock, shown and believed.

Theory.  Programs and test suites read and write the attributes of playhouse's pool:
`_connections` (a real list, changed by `heapq.heappush`, which bypasses the methods of a
subclass), `_in_use` (a dict), `_heap_counter`.  Here they are copies of the state, made when
somebody asks and valid until the state changes.  The next transition, under the lock,
compares them with what was handed out, and tells the machine the difference as one `Adopt`
before anything else happens.  Nobody who does not ask pays for it.

`PoolLock` is `_pool_lock`: re-entrant for the program that takes it, although the lock below
is not.  While a thread holds it, its own transitions pass and all others wait.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from playhouse.pool import PoolConnection

from pool import heap
from pool.events import Adopt, AdoptIdle, AdoptLease
from pool.state import Fields, State

if TYPE_CHECKING:
    from pool.runtime import Runtime


class Mirror:
    """A state as playhouse would show it. Belongs to the database; changed by its user."""

    def __init__(self, fields: Fields, conn_key: Callable[[Any], Any]) -> None:
        self.fields = fields
        state = State._make(fields)
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
            created, seq, connection = _checked("_connections", shown, float, int, object)
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


class PoolLock:
    """A re-entrant facade over the runtime's plain lock; usable with `threading.Condition`.

    An asynchronous exception on the first step of its `__exit__`, or the last of `__enter__`,
    leaves it locked: no lock written in Python is proof there. The pool itself never takes it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._plain = runtime.lock
        self._passage = Passage(self, runtime.turnstile)
        self._holder: int | None = None
        self._depth = 0
        self.available = threading.Condition(self)  # type: ignore[arg-type]  # a lock as any

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.RLock.acquire`; timeout in seconds."""
        if self._is_owned():
            self._depth += 1
            return True
        for _ in iter(functools.partial(self._plain.acquire, blocking, timeout), False):
            try:
                self._take(1)
            except BaseException:
                self._release_save()
                raise
            return True
        return False

    def release(self) -> None:
        """As `threading.RLock.release`; raises `RuntimeError` if this thread does not hold it."""
        if not self._is_owned():
            raise RuntimeError("cannot release a lock that this thread does not hold")
        self._depth -= 1
        if not self._depth:
            self._release_save()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, depth: int) -> None:
        self._holder, self._depth = threading.get_ident(), depth
        self._runtime.set_lock(self._passage, self._passage)

    def _is_owned(self) -> bool:  # the three that threading.Condition looks for
        return self._holder == threading.get_ident()

    def _release_save(self) -> int:
        depth, self._depth = self._depth, 0
        try:
            self._put_back()
        except BaseException:
            self._put_back()
            raise
        finally:
            self._holder = None
            self._plain.release()
        return depth

    def _put_back(self) -> None:
        self._passage.passing = False
        self._runtime.set_lock(self._plain)

    def _acquire_restore(self, depth: int) -> None:
        for _ in iter(self._plain.acquire, None):
            self._take(depth)
            return


class Passage:
    """The runtime's lock and turnstile while somebody holds its `PoolLock`: lets the holder
    pass, and all others queue at the plain lock, which is the runtime's again when they get
    it. A finalizer that tries it in the middle of the holder's transition fails, as it does
    with a plain lock."""

    def __init__(self, facade: PoolLock, turnstile: Any) -> None:
        self._facade = facade
        self._turnstile = turnstile
        self.passing = False  # the holder of the facade is inside a transition

    def __iter__(self) -> Iterator[Any]:
        if not self._facade._is_owned():
            return iter(self._turnstile)
        self.passing = True
        return iter((True,))

    def acquire(self, blocking: bool = False) -> bool:
        """For who only tries."""
        if not self._facade._is_owned() or self.passing:
            return False
        self.passing = True
        return True

    def release(self) -> None:
        self.passing = False
