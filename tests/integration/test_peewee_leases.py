"""What one owner of a peewee state holds, and where that is found again. Each class by itself.

Theory.  The tests of owners, of forks and of signals go through the whole database, where one place
that is wrong is often made good by the next. Here each is asked alone: a handle by its connection,
leases by the state, what is forgotten after the pool took everything back, and what is not.
"""

from __future__ import annotations

import threading
from typing import Any

import peewee
import pytest

from pool import Limits
from pool.peewee.leases import ARRIVING, Leases, Owners, Session
from pool.shared.handles import Handle
from pool.threads.runtime import Runtime
from tests.integration.drivers import FOR_EVER, Connection, ScriptedDriver


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(ScriptedDriver(), Limits(max_size=4))


@pytest.fixture
def owners(runtime: Runtime) -> Owners:
    return Owners(runtime)


def held(runtime: Runtime) -> Handle:
    return runtime.acquire(FOR_EVER)


# ---------------------------------------------------------------- what one owner holds


def test_a_thread_begins_with_a_handle_to_be_used_again(runtime: Runtime) -> None:
    leases = Leases(runtime, shared=False)
    assert leases.first.ended is True
    assert leases.first.held is None
    assert leases.thread is not None
    assert (leases.arriving, leases.leaving, leases.others) == (None, False, {})
    assert leases.handles() == []
    assert leases.take(None) is None
    again = runtime.acquire(FOR_EVER, handle=leases.first)
    assert again is leases.first
    assert leases.handles() == [again]
    assert leases.take(again.connection) is again
    runtime.release(again)
    assert leases.handles() == []
    assert leases.take(again.held) is None


def test_what_threads_share_has_no_such_handle(runtime: Runtime) -> None:
    """It looks as if it were taken, so that nobody uses it."""
    leases = Leases(runtime, shared=True)
    assert leases.first.ended is False
    assert leases.first.held is ARRIVING
    assert leases.thread is None
    assert leases.handles() == []
    assert leases.take(None) is None


def test_a_handle_is_found_once_by_its_connection(runtime: Runtime) -> None:
    leases = Leases(runtime, shared=False)
    handles = [held(runtime), held(runtime)]
    for handle in handles:
        leases.keep(handle)
    assert leases.handles() == handles
    assert leases.take(Connection(9)) is None
    assert leases.take(handles[0].connection) is handles[0]
    assert leases.take(handles[0].connection) is None
    assert leases.handles() == handles[1:]
    for handle in handles:
        runtime.release(handle)


def test_what_was_taken_away_by_hand_and_is_lent_again_is_the_new_leases(runtime: Runtime) -> None:
    leases = Leases(runtime, shared=False)
    first = runtime.acquire(FOR_EVER, handle=leases.first)
    leases.keep(first)
    assert (first.ended, leases.others) == (False, {}), "it is kept already"
    other = held(runtime)
    leases.keep(other)
    assert first.ended is False, "that is another connection"
    again = Handle(runtime)
    again.held, again.ended = first.held, False
    leases.keep(again)
    assert first.ended is True
    assert first.held is None
    assert leases.take(again.held) is again
    for handle in (other, again):
        handle.ended = True


def test_what_is_forgotten_is_not_given_back(runtime: Runtime) -> None:
    leases = Leases(runtime, shared=False)
    one, other = held(runtime), held(runtime)
    for handle in (one, other):
        leases.keep(handle)
    leases.forget(one)
    assert one.ended is True
    assert one.held is None
    assert leases.handles() == [other]
    assert len(runtime.state.in_use) == 2
    leases.give_up(other)
    assert leases.handles() == []
    assert (other.ended, other.held) == (True, None)
    assert len(runtime.state.in_use) == 1


# ---------------------------------------------------------------- where it is found


class Own:
    """A state of somebody's own class."""


class Slotted:
    __slots__ = ("conn", "kept")

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "kept")[name]
        except (AttributeError, KeyError):
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("conn", "kept"):
            object.__setattr__(self, name, value)
        else:
            if not hasattr(self, "kept"):
                self.kept = {}
            self.kept[name] = value


class Elsewhere(Own):
    """It has an error of its own where nothing is set."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


class Forgets(Own):
    def __setattr__(self, name: str, value: Any) -> None:
        pass


class OddDict:
    """Its `__dict__` is none."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return ["conn"]


class NoDict(OddDict):
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("not for you")


@pytest.mark.parametrize("kind", [peewee._ConnectionLocal, peewee._ConnectionState])
def test_with_a_state_of_peewees_it_is_kept_at_once(owners: Owners, kind: Any) -> None:
    state = kind()
    assert owners.find(state) is None
    leases = owners.find_or_begin(state)
    assert leases.leaving is False
    assert owners.find(state) is owners.find_or_begin(state) is leases
    assert state.__dict__[owners.name] is leases
    shared = kind is not peewee._ConnectionLocal
    assert (leases.thread is None) is shared, "a thread's own is used by it alone"
    assert leases.first.ended is not shared


def test_what_is_nobodys_is_no_threads(owners: Owners) -> None:
    assert owners.nobody.thread is None
    assert owners.nobody.first.held is ARRIVING
    assert owners.nobody.first.ended is False


class Secret(Own):
    """It shows what it keeps to nobody but itself."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            return super().__getattribute__(name)
        raise AttributeError(name)


def test_what_is_kept_in_a_state_that_shows_nothing_is_found(
    owners: Owners, runtime: Runtime
) -> None:
    state, handle = Secret(), held(runtime)
    state.__dict__["conn"] = handle.connection
    leases = owners.find_or_begin(state)
    owners.settle(state, leases, handle.connection)
    assert owners.find(state) is leases
    runtime.release(handle)


def test_two_databases_may_share_a_state(owners: Owners, runtime: Runtime) -> None:
    state, other = peewee._ConnectionState(), Owners(runtime)
    assert other.name != owners.name
    assert owners.find_or_begin(state) is not other.find_or_begin(state)


@pytest.mark.parametrize("kind", [Own, Slotted, Elsewhere, OddDict, NoDict])
def test_with_a_state_of_ones_own_it_is_kept_once_it_has_the_connection(
    owners: Owners, runtime: Runtime, kind: Any
) -> None:
    state, handle = kind(), held(runtime)
    assert owners.find(state) is None
    leases = owners.find_or_begin(state)
    assert leases.leaving is True, "nobody knows yet"
    assert leases.thread is None
    assert owners.find(state) is None
    leases.keep(handle)
    state.conn = handle.connection
    owners.settle(state, leases, handle.connection)
    assert leases.leaving is False
    assert owners.find(state) is owners.find_or_begin(state) is leases
    assert owners.take(state, handle.connection) is handle
    runtime.release(handle)


def test_where_the_connection_is_the_leases_are(owners: Owners, runtime: Runtime) -> None:
    """In the `__dict__`, past any method: a class may make something else of what is set."""
    state, handle = Forgets(), held(runtime)
    state.__dict__["conn"] = handle.connection
    leases = owners.find_or_begin(state)
    leases.keep(handle)
    owners.settle(state, leases, handle.connection)
    assert state.__dict__[owners.name] is leases
    assert owners.take(state, handle.connection) is handle
    runtime.release(handle)


@pytest.mark.parametrize("kind", [Forgets])
def test_what_a_state_does_not_keep_is_nobodys(owners: Owners, runtime: Runtime, kind: Any) -> None:
    """It is found by its connection all the same."""
    state, handle = kind(), held(runtime)
    leases = owners.find_or_begin(state)
    leases.keep(handle)
    owners.settle(state, leases, handle.connection)
    assert owners.find(state) is None
    assert owners.nobody.handles() == [handle]
    assert owners.take(state, handle.connection) is handle
    assert owners.take(state, handle.connection) is None
    runtime.release(handle)


def test_a_state_that_keeps_it_and_not_the_connection_keeps_nothing(
    owners: Owners, runtime: Runtime
) -> None:
    """The next one to have this state would take the leases of the last for its own."""
    state, handle = Own(), held(runtime)
    leases = owners.find_or_begin(state)
    leases.keep(handle)
    owners.settle(state, leases, handle.connection)
    assert state.__dict__ == {}
    assert owners.nobody.handles() == [handle]
    owners.nobody.take(handle.connection)
    runtime.release(handle)


def test_what_is_settled_without_a_lease_is_nobodys_either(owners: Owners) -> None:
    state = Own()
    owners.settle(state, owners.find_or_begin(state), Connection(9))
    assert owners.nobody.handles() == []


@pytest.mark.parametrize("kind", [peewee._ConnectionState, Own])
def test_what_is_found_there_and_is_no_leases_is_none(owners: Owners, kind: Any) -> None:
    """As of a mock, which has every attribute."""
    state = kind()
    state.__dict__[owners.name] = "something else"
    assert owners.find(state) is None


# ---------------------------------------------------------------- after close_all


def test_what_the_pool_took_back_is_forgotten_and_what_it_lent_since_is_not(
    owners: Owners, runtime: Runtime
) -> None:
    state = peewee._ConnectionState()
    leases = owners.find_or_begin(state)
    gone, lent, arriving, waiting, other = held(runtime), held(runtime), *map(Handle, [runtime] * 3)
    other.held, other.ticket, other.key, other.ended = (
        Connection(9),
        lent.ticket + 7,
        lent.key,
        False,
    )
    waiting.held, waiting.ended = Connection(10), False  # it has no key yet
    arriving.held, arriving.ticket, arriving.key = Connection(11), 77, 77
    arriving.ended, leases.arriving = False, arriving
    for handle in (gone, lent, arriving, waiting, other):
        leases.keep(handle)
    ticket, key, connection = gone.ticket, gone.key, gone.held
    runtime.release(gone)
    gone.ticket, gone.key, gone.held, gone.ended = ticket, key, connection, False
    owners.forget_what_ended(state)
    assert leases.handles() == [lent, arriving, waiting]
    assert (gone.ended, other.ended) == (True, True), "its key is another lease's by now"
    runtime.release(lent)
    for handle in (arriving, waiting):
        handle.ended = True


def test_what_is_nobodys_is_forgotten_too(owners: Owners, runtime: Runtime) -> None:
    gone = Handle(runtime)
    gone.held, gone.ticket, gone.key, gone.ended = Connection(9), 7, 7, False
    owners.nobody.keep(gone)
    owners.forget_what_ended(Own())
    assert owners.nobody.handles() == []
    assert gone.ended is True


# ---------------------------------------------------------------- sessions


def test_a_session_shares_the_attributes_of_a_local(owners: Owners) -> None:
    state = peewee._ConnectionLocal()
    session = owners.session(state)
    assert session.given is state
    assert session.plain is True
    assert type(session.state) is peewee._ConnectionState
    assert session.state.__dict__ is state.__dict__
    assert session.leases is owners.find(state)
    assert owners.sessions.session is session


@pytest.mark.parametrize("kind", [peewee._ConnectionState, Own])
def test_any_other_state_is_used_itself(owners: Owners, kind: Any) -> None:
    state = kind()
    session = owners.session(state)
    assert session.given is session.state is state
    assert session.plain is (kind is not Own)
    assert getattr(owners.sessions, "session", None) is (session if session.plain else None)


def test_a_session_is_of_its_thread(owners: Owners) -> None:
    owners.session(peewee._ConnectionLocal())
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(getattr(owners.sessions, "session", "none"))
    )
    thread.start()
    thread.join()
    assert found == ["none"]
    assert type(owners.sessions.session) is Session
