"""Giving back, and closing for good.

Theory.  playhouse's `manual_close` and `close_all` go through `close()` and `_close(connection)`,
and subclasses rely on it.  But `close()` gives back, and what is given back is somebody else's at
once.  So what is to be closed is doomed first: the `_close` that meets it closes it, or leaves it
lent for the one step of `close_all`.

Each of these can be interrupted by another of them, of the same thread, in the handler of a signal
or in a finalizer.  So each only takes back what it has put down itself, and what it finds is
believed: a connection that the pool had lent, and that is neither lent nor idle now, has been
closed by the pool, and is not closed again.
"""

from __future__ import annotations

import logging
import math
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from pool.core.events import CloseAll, CloseIdle, CloseStale
from pool.core.state import leased, resting
from pool.shared.handles import Handle

if TYPE_CHECKING:
    from pool.core.state import Lease
    from pool.peewee.leases import Leases, Owners
    from pool.shared.listeners import Listeners
    from pool.threads.runtime import Runtime

logger = logging.getLogger("peewee.pool")

# A logger keeps which levels are on, and forgets it when that is changed: to ask it takes longer.
_levels: dict[int, bool] = getattr(logger, "_cache", {})
_DEBUG = logging.DEBUG


class Doom:
    """What is to become of a connection that its owner closes for good."""

    __slots__ = ("lease", "stays_lent")

    def __init__(self, lease: Lease | None, stays_lent: bool) -> None:
        self.lease = lease
        """That of the pool, if it had lent it; else nobody else closes it."""
        self.stays_lent = stays_lent
        """Until all are closed in one step."""


class Lender(Protocol):
    """What it takes to close: the database's pool."""

    database: Any
    runtime: Runtime
    owners: Owners
    listeners: Listeners
    hears_returns: bool
    forgotten: set[int]
    returning: dict[int, Any]

    def believe(self) -> None: ...
    def name_of(self, connection: Any) -> Any: ...
    def log(self, text: str, connection: Any) -> None: ...


class Closing:
    """What a database closes, and how. Thread-safe."""

    def __init__(self, adapter: Lender) -> None:
        self._adapter = adapter
        self.doomed: dict[int, Doom] = {}
        """By the connection's identity."""
        self._all: dict[int, list[bool]] = {}
        """By thread, a `close_all` under way, and whether it has come to close anything."""

    def after_fork(self) -> None:
        self.doomed.clear()
        self._all.clear()

    # ------------------------------------------------------------ one connection

    def close(self, leases: Leases | None, connection: Any, close_conn: bool = False) -> None:
        """What `_close` does, for this owner."""
        own = self._adapter
        doom = self.doomed.pop(id(connection), None) if self.doomed else None
        if doom is not None and doom.stays_lent:
            return  # it is closed together with all others
        special = close_conn or doom or own.hears_returns
        try:
            special = special or _levels[_DEBUG]
        except KeyError:  # not known yet
            special = True
        handle = None if leases is None else leases.first
        if handle is None or handle.held is not connection or handle.ended:
            handle = own.owners.take(own.database._state, connection)
        if special or handle is None:
            self.give_back(handle, connection, close_conn, doom)
        else:
            ended = own.runtime.release(handle)
            handle.held = None  # it may be kept for the next lease, the connection is not
            if not ended:
                self.end_lease_of_another(connection, False)

    def give_back(
        self, handle: Handle | None, connection: Any, close: bool, doom: Doom | None = None
    ) -> None:
        """End this lease, or the one that somebody else has of this connection, and say so to those
        who listen. What is to be closed is closed, whoever has it."""
        own = self._adapter
        close = close or doom is not None
        was_lent = doom is not None and doom.lease is not None
        was_lent = was_lent or (close and self._lease_of(connection) is not None)
        if handle is not None:
            was_lent = was_lent or handle.key not in own.forgotten
            own.forgotten.discard(handle.key)
        own.listeners.end(connection, "discarded" if close else "released")
        name = None
        if logger.isEnabledFor(logging.DEBUG):
            name = own.returning[id(connection)] = own.name_of(connection)
        ended = False
        if handle is not None:
            ended = own.runtime.discard(handle) if close else own.runtime.release(handle)
            handle.held = None  # it may be kept for the next lease, the connection is not
        ended = ended or self.end_lease_of_another(connection, close)
        returned = own.returning.pop(id(connection), None) is not None
        if close and not ended:
            if not was_lent or self._is_idle(connection):
                own.database._close_raw(connection)
        elif not ended:
            own.log("Connection %s not in use, ignoring close.", connection)
        elif returned:
            logger.debug("Returning %s to pool.", name)

    def end_lease_of_another(self, connection: Any, close: bool) -> bool:
        """For a connection that this owner did not borrow, or whose lease was ended: another
        did, or the user put it into `_in_use`. Whether there was such a lease."""
        runtime, lease = self._adapter.runtime, self._lease_of(connection)
        if lease is None:
            return False
        handle = Handle(runtime)
        handle.ticket, handle.key = lease.ticket, lease.entry.key
        handle.held = connection
        return runtime.discard(handle) if close else runtime.release(handle)

    def _lease_of(self, connection: Any) -> Lease | None:
        """By the key of the user's, as playhouse has it."""
        self._adapter.believe()
        return self._lease_so_far(connection)

    def _lease_so_far(self, connection: Any) -> Lease | None:
        """The same, of what the pool was told: where a transaction is open nothing may change."""
        own = self._adapter
        conn_key = own.database.conn_key
        key = conn_key(connection)
        leases = leased(own.runtime.state.in_use).values()
        return next((one for one in leases if conn_key(one.entry.connection) == key), None)

    def _is_idle(self, connection: Any) -> bool:
        items = resting(self._adapter.runtime.state.idle)
        return any(item.entry.connection is connection for item in items)

    def give_up(self, state: Any) -> None:
        """The owner was interrupted while it gave its connection back: have the pool take it."""
        owners = self._adapter.owners
        for leases in (owners.find(state), owners.nobody):
            if leases is not None:
                for handle in leases.handles():
                    if handle.held is state.conn:
                        leases.give_up(handle)

    def manual_close(self, connection: Any) -> bool:
        """Close what this owner has, by way of `close()`. Whether it is still to be closed, as a
        `_close` of a subclass has not come to ours."""
        database = self._adapter.database
        lease_of = self._lease_so_far if database._state.transactions else self._lease_of
        doom = self.doomed[id(connection)] = Doom(lease_of(connection), stays_lent=False)
        try:
            was_closed = database._state.closed  # by now, from a signal's handler
            database.close()
        except BaseException:
            self._lift(connection, doom)
            raise
        if not self._lift(connection, doom) or was_closed:
            return False
        now = self._lease_of(connection)
        return doom.lease is None or (now is not None and now.ticket == doom.lease.ticket)

    def _lift(self, connection: Any, doom: Doom) -> bool:
        """Whether this doom was still to be carried out; then it is no more."""
        if self.doomed.get(id(connection)) is not doom:
            return False
        return self.doomed.pop(id(connection), None) is not None

    # ------------------------------------------------------------ many

    def close_idle(self) -> None:
        runtime, under_way = self._adapter.runtime, self._all.get(get_ident())
        if under_way is None:
            runtime.apply(CloseIdle(runtime.clock()))
        else:
            under_way[0] = True
            runtime.apply(CloseAll(runtime.clock()))

    def close_all(self) -> None:
        """As playhouse, whose `close_all` calls `close` and `close_idle`. This owner's connection
        stays lent until all are closed in one step, so that nobody gets it in between."""
        own, me = self._adapter, get_ident()
        database, runtime, state = own.database, own.runtime, own.database._state
        connection = None if state.closed else state.conn
        doom, outer = Doom(None, stays_lent=True), self._all.get(me)
        outermost = me not in runtime.monitor.callers
        try:
            runtime.monitor.callers.add(
                me
            )  # a connect within this must not wait for what stays lent
            if connection is not None:
                self.doomed[id(connection)] = doom
            database.close()
            self._all[me] = under_way = [False]
            database.close_idle()
            if not under_way[0]:  # a `close_idle` of a subclass wants to keep them
                runtime.apply(CloseStale(runtime.clock(), math.inf))
            own.owners.forget_what_ended(state)
        except BaseException:
            if connection is not None and state.closed:
                handle = own.owners.take(state, connection)
                if handle is not None and not handle.ended:
                    runtime.lose(handle)
            raise
        finally:
            if outermost:
                runtime.monitor.callers.discard(me)
            if outer is None:
                self._all.pop(me, None)
            else:
                self._all[me] = outer
            self._lift(connection, doom)
