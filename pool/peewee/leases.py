"""Who holds what: leases that belong to whoever peewee's `_state` belongs to.

Theory.  A connection is lent to the owner of a state, and a state may belong to anything: to a
thread (peewee's own), to a request that wanders from thread to thread (FastAPI's recipe, by
context variables), to a task, to all threads together.  Only the state knows when its owner is
gone.  So what an owner holds is kept in the very storage where the state keeps the connection:
when the owner goes, that storage goes, and the handles in it say so to the pool.

* peewee's two classes keep it in their `__dict__`, which is one for each thread or one for all.
* A class of somebody's own is looked at after it was given the connection: if that is now in its
  `__dict__`, so is the owner; if not, the attribute is set as any other, which takes the way of the
  class; and if that goes wrong, or where the connection did not go, the lease is nobody's. Then it
  ends when it is given back and not before, as with playhouse.
* So is a lease that somebody got by calling `_connect()` himself: no state knows of it.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import peewee

from pool.core.state import lease_of
from pool.shared.handles import Handle
from pool.shared.holders import introduce
from pool.threads.runtime import Runtime

PLAIN = (peewee._ConnectionLocal, peewee._ConnectionState)
"""The classes of which all is known: those are changed without their methods, which is quicker."""

ARRIVING: Any = object()
"""In the place of a handle: a `connect` is under way, and waits for what `_connect` brings."""

_numbers = itertools.count(1)


class Leases:
    """What one owner of a state holds of one database.

    `first` is a handle that is used again and again; but not if threads share it. `others`
    are those of further leases, by the identity of the connection."""

    __slots__ = ("arriving", "first", "leaving", "others", "thread")

    def __init__(self, runtime: Runtime, shared: bool) -> None:
        self.first = Handle(runtime)
        self.first.ended = not shared
        self.first.held = ARRIVING if shared else None  # is no connection
        self.others: dict[int, Handle] = {}
        self.arriving: Any = None
        """The handle of the last `connect` until it succeeded, or `ARRIVING`."""
        self.leaving = False
        """Whether a `close` is under way; perhaps, for one that was interrupted leaves it so."""
        self.thread = None if shared else introduce()

    def handles(self) -> list[Handle]:
        """Those with a lease."""
        first = [self.first] if self.first.ticket and not self.first.ended else []
        return [*first, *list(self.others.values())]

    def take(self, connection: Any) -> Handle | None:
        """The handle of this connection, which is then no longer here."""
        first = self.first
        if first.held is connection and not first.ended:
            return first
        return self.others.pop(id(connection), None) if self.others else None

    def keep(self, handle: Handle) -> None:
        first = self.first
        if handle is not first:
            if first.held is handle.held:  # its lease was taken away by hand: lent again, to us
                first.ended, first.held = True, None
            self.others[id(handle.held)] = handle

    def give_up_arrival(self) -> None:
        """What was lent to a `connect` that did not succeed goes back."""
        if isinstance(self.arriving, Handle):
            self.give_up(self.arriving)

    def give_up(self, handle: Handle) -> None:
        """Have the pool take back what it stands for."""
        if not handle.ended:
            handle.runtime.lose(handle)
        self.forget(handle)

    def forget(self, handle: Handle) -> None:
        """Without a word to the pool."""
        handle.ended = True
        for key, other in list(self.others.items()):  # in place: other threads may keep theirs here
            if other is handle:
                self.others.pop(key, None)
        handle.held = None


class Session:
    """A state, what its owner holds, and the quickest way to the state's attributes.

    `state` shares them: those of a `threading.local` take four times as long to reach, and there
    are a dozen per checkout. Of a class that is not peewee's nothing is known: it is used itself.
    Kept for each thread, apart from the state: what is kept there must not refer to it."""

    __slots__ = ("given", "leases", "plain", "state")

    def __init__(self, given: Any, leases: Leases) -> None:
        self.given = self.state = given
        self.leases = leases
        self.plain = type(given) in PLAIN
        if type(given) is peewee._ConnectionLocal:
            self.state = object.__new__(peewee._ConnectionState)
            self.state.__dict__ = given.__dict__


class Owners:
    """Finds what an owner holds, by peewee's state. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name = f"_purepool_{next(_numbers)}"
        """Of the attribute of a state; states may be shared by databases."""
        self.sessions = threading.local()
        """Its `session` is the last of this thread with a state of peewee's."""
        self.nobody = Leases(runtime, shared=True)

    def session(self, state: Any) -> Session:
        """What there is of the owner of this state; one that held nothing yet begins."""
        session = Session(state, self.find_or_begin(state))
        if session.plain:
            self.sessions.session = session
        return session

    def find(self, state: Any) -> Leases | None:
        """What the owner of this state holds, if it ever held anything."""
        name = self.name
        if type(state) in PLAIN:
            leases = state.__dict__.get(name)
        else:
            leases = _attributes(state).get(name)
            if leases is None:
                try:
                    leases = getattr(state, name)
                except Exception:  # a state that looks it up elsewhere has an error of its own
                    return None
        return leases if type(leases) is Leases else None

    def find_or_begin(self, state: Any) -> Leases:
        """As `find`; an owner that held nothing yet begins."""
        if leases := self.find(state):
            return leases
        leases = Leases(self._runtime, shared=type(state) is not peewee._ConnectionLocal)
        if type(state) in PLAIN:
            leases = state.__dict__.setdefault(self.name, leases)
        else:
            leases.leaving = True  # perhaps: nobody can know until it is settled
        return leases

    def settle(self, state: Any, leases: Leases, connection: Any) -> None:
        """Keep these leases where this state, of somebody's own class, has put the connection."""
        name, attributes = self.name, _attributes(state)
        leases.leaving = False
        if attributes.get("conn") is connection:
            attributes[name] = leases
            return
        try:
            setattr(state, name, leases)
            settled = getattr(state, name) is leases and name not in attributes
        except Exception:
            settled = False
        if not settled:
            attributes.pop(name, None)
            handle = leases.take(connection)
            if handle is not None:
                self.nobody.keep(handle)

    def take(self, state: Any, connection: Any) -> Handle | None:
        """The handle of this connection: its owner's, or nobody's."""
        leases = self.find(state)
        handle = leases.take(connection) if leases else None
        return handle or self.nobody.take(connection)

    def forget_what_ended(self, state: Any) -> None:
        """The pool has taken back what this owner held; but not what it was lent meanwhile."""
        in_use = self._runtime.state.in_use
        for leases in (self.find(state), self.nobody):
            if leases is not None:
                for handle in leases.handles():
                    lease = lease_of(in_use, handle.key)
                    is_lent = lease is not None and lease.ticket == handle.ticket
                    is_on_its_way = not handle.key or handle is leases.arriving
                    if not is_lent and not is_on_its_way:
                        leases.forget(handle)


def _attributes(state: Any) -> dict[str, Any]:
    """The `__dict__` of a state, of this thread if it has one for each."""
    try:
        attributes = state.__dict__
    except Exception:
        return {}
    return attributes if type(attributes) is dict else {}
