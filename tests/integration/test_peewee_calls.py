"""What playhouse's pool calls on `self`, ours calls alike.

Theory.  A subclass overrides a method, and relies on when it is called and with what.  Nobody can
list what people override; but what *can* be overridden stands in the source of `playhouse.pool` and
`peewee.Database`: each `self.method(...)` there.  So the list is read from the source, each entry
is made to happen in a situation with playhouse's class, and ours is put into the same situation:
the calls, their arguments and their order have to be the same.  An entry that no situation reaches
fails the test, so that a new release of peewee cannot bring one that is not compared.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import peewee
import playhouse.pool
import pytest
from playhouse.pool import MaxConnectionsExceeded

import pool.peewee

STOCK = playhouse.pool.PooledDatabase
OURS = pool.peewee.PooledDatabase
IN_PEEWEE = ("connect", "close", "dispose", "connection", "init")
"""The methods of `peewee.Database` that are written out anew, or go through those that are."""


def calls_in(owner: type[Any], name: str) -> set[tuple[str, str]]:
    """Each `self.callee(...)` in this method, as (method, callee)."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        (name, node.attr)
        for node in called
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def calls_in_the_source() -> set[tuple[str, str]]:
    own = [name for name, value in vars(STOCK).items() if inspect.isfunction(value)]
    found = {call for name in own for call in calls_in(STOCK, name)}
    found |= {call for name in IN_PEEWEE for call in calls_in(peewee.Database, name)}
    # `conn_key` is a function that is an attribute, and its results are keys and not hooks.
    return {(caller, callee) for caller, callee in found if callee != "conn_key"}


METHODS = sorted({name for call in calls_in_the_source() for name in call} - {"__init__"})
"""Those that a subclass may replace, and whose calls are noted here."""


class Driver(peewee.Database):
    """A database whose connections are numbers in a list."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.made = 0
        self.reusable = True
        self.closed: list[Any] = []
        super().__init__(*arguments, **settings)

    def _connect(self) -> list[int]:
        self.made += 1
        return [self.made]

    def _close(self, connection: Any) -> None:
        self.closed.append(connection[0])

    def _set_server_version(self, connection: Any) -> None:
        self.server_version = 1


def recording(base: type[Any]) -> type[Any]:
    """A subclass that notes each call of each method, then does what its base does."""
    calls: list[Any] = []
    pairs: set[tuple[str, str]] = set()
    stack: list[str] = []

    def replaced(name: str) -> Callable[..., Any]:
        def method(self: Any, *arguments: Any, **named: Any) -> Any:
            caller = stack[-1] if stack else ""
            shown = tuple(shown_as(value) for value in arguments)
            calls.append((name, shown, named))
            pairs.add((caller, name))
            stack.append(name)
            try:
                return getattr(super(made, self), name)(*arguments, **named)
            finally:
                stack.pop()

        return method

    def _can_reuse(self: Any, connection: Any) -> bool:
        return bool(self.reusable) and super(made, self)._can_reuse(connection)

    def _is_closed(self: Any, connection: Any) -> bool:
        return connection in dead

    dead: list[Any] = []
    hooks = type("Hooks", (base,), {"_is_closed": _is_closed})
    body: dict[str, Any] = {name: replaced(name) for name in METHODS}
    made: Any = type(base.__name__, (hooks,), body)
    made.calls, made.pairs, made.dead = calls, pairs, dead
    return made  # type: ignore[no-any-return]


def shown_as(value: Any) -> Any:
    """A time is a time, whatever it says."""
    return "a time" if isinstance(value, float) else value


Situation = Callable[[Any], None]


def lend(database: Any) -> None:
    database.connect()


def lend_what_is_idle(database: Any) -> None:
    database.connect()
    database.close()
    database.calls.clear()
    database.connect()


def lend_what_is_dead(database: Any) -> None:
    database.connect()
    database.close()
    database.dead.append([1])
    database.calls.clear()
    database.connect()


def lend_when_all_are_in_use(database: Any) -> None:
    for _ in range(2):
        database.connect()
        database._state.reset()
    database.calls.clear()
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()


def lend_twice(database: Any) -> None:
    database.connect()
    with pytest.raises(peewee.OperationalError):
        database.connect()
    assert database.connect(reuse_if_open=True) is False


def give_back(database: Any) -> None:
    database.connect()
    database.calls.clear()
    assert database.close()


def give_back_nothing(database: Any) -> None:
    assert not database.close()


def give_back_in_a_transaction(database: Any) -> None:
    database.connect()
    database.push_transaction(object())
    with pytest.raises(peewee.OperationalError):
        database.close()
    database.pop_transaction()


def give_back_what_cannot_be_reused(database: Any) -> None:
    database.connect()
    database.dead.append([1])
    database.reusable = False
    database.close()


def give_back_by_hand(database: Any) -> None:
    database.connect()
    connection = database.connection()
    database._close(connection)
    database._close(connection)
    database._state.reset()


def close_by_hand(database: Any) -> None:
    database.connect()
    database._close(database.connection(), close_conn=True)
    database._close([17], True)
    database._state.reset()


def manual_close(database: Any) -> None:
    database.manual_close()
    database.connect()
    database.calls.clear()
    assert database.manual_close() is None


def close_idle(database: Any) -> None:
    fill(database)
    database.close_idle()


def close_stale(database: Any) -> None:
    fill(database)
    database.connect()
    assert database.close_stale(-10.0) == 1


def close_all(database: Any) -> None:
    fill(database)
    database.calls.clear()
    database.close_all()


def close_all_with_ones_own(database: Any) -> None:
    fill(database)
    database.connect()
    database.calls.clear()
    database.close_all()


def close_all_with_those_of_others(database: Any) -> None:
    fill(database)
    database.connect()
    database._state.reset()
    database.calls.clear()
    database.close_all()


def close_all_in_a_transaction(database: Any) -> None:
    database.connect()
    database.push_transaction(object())
    database.calls.clear()
    with pytest.raises(peewee.OperationalError):
        database.close_all()
    database.pop_transaction()


def dispose(database: Any) -> None:
    fill(database)
    database.dispose()


def init(database: Any) -> None:
    database.connect()
    database.calls.clear()
    database.init("another", max_connections=3)


def init_when_closed(database: Any) -> None:
    database.init("another")


def connection(database: Any) -> None:
    database.connection()
    database.connection()


def context(database: Any) -> None:
    with database.connection_context():
        pass


def fill(database: Any) -> None:
    """Two at rest."""
    database.connect()
    first = database.connection()
    database._state.reset()
    database.connect()
    database._close(first)
    database.close()
    database.calls.clear()


SITUATIONS: list[Situation] = [
    lend,
    lend_what_is_idle,
    lend_what_is_dead,
    lend_when_all_are_in_use,
    lend_twice,
    give_back,
    give_back_nothing,
    give_back_in_a_transaction,
    give_back_what_cannot_be_reused,
    give_back_by_hand,
    close_by_hand,
    manual_close,
    close_idle,
    close_stale,
    close_all,
    close_all_with_ones_own,
    close_all_with_those_of_others,
    close_all_in_a_transaction,
    dispose,
    init,
    init_when_closed,
    connection,
    context,
]
STALE = {
    "stale when lent": lambda database, now: (
        database.connect(),
        database.close(),
        now.append(100.0),
        database.calls.clear(),
        database.connect(),
    ),
    "stale when given back": lambda database, now: (
        database.connect(),
        now.append(100.0),
        database.calls.clear(),
        database.close(),
    ),
    "fresh": lambda database, now: (
        database.connect(),
        database.close(),
        database.connect(),
        database.close(),
    ),
}


def database_of(base: type[Any], **settings: Any) -> Any:
    pooled = type("Pooled", (base, Driver), {})
    return recording(pooled)("numbers", max_connections=2, **settings)


def calls_of(base: type[Any], situation: Situation) -> list[Any]:
    database = database_of(base)
    situation(database)
    return list(database.calls)


def play(base: type[Any], name: str) -> Any:
    """A situation where time passes."""
    now = [1.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: now[-1])
        database = database_of(base, stale_timeout=10)
        STALE[name](database, now)
    return database


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_ours_calls_what_playhouse_calls(situation: Situation) -> None:
    assert calls_of(OURS, situation) == expected(situation, calls_of(STOCK, situation))


def expected(situation: Situation, theirs: list[Any]) -> list[Any]:
    """What playhouse does, but for what `docs/peewee.md` says."""
    if situation is lend_what_is_dead:  # closed, where playhouse leaves it to the collector
        at = theirs.index(("_is_closed", ([1],), {})) if ("_is_closed", ([1],), {}) in theirs else 0
        return [*theirs[: at + 1], ("_close_raw", ([1],), {}), *theirs[at + 1 :]]
    if situation is close_all_with_ones_own:  # it is closed, so it is not asked, and comes last
        asked = [call for call in theirs if call[0] != "_can_reuse"]
        return [*asked[:-2], *reversed(asked[-2:])]
    return theirs


@pytest.mark.parametrize("name", STALE)
def test_what_is_stale_is_asked_with_its_time(name: str) -> None:
    """`_is_stale` of a subclass. The order among the hooks is in the table of differences."""
    theirs, ours = play(STOCK, name).calls, play(OURS, name).calls
    asked = [[call for call in calls if call[0] == "_is_stale"] for calls in (theirs, ours)]
    assert asked[0] == asked[1] != []
    hooks = {"_can_reuse", "_is_closed"}
    assert {call[0] for call in ours} | hooks == {call[0] for call in theirs} | hooks


def test_each_call_in_the_source_is_reached() -> None:
    reached: set[tuple[str, str]] = set()
    for situation in SITUATIONS:
        database = database_of(STOCK)
        situation(database)
        reached |= database.pairs
    for name in STALE:
        reached |= play(STOCK, name).pairs
    assert calls_in_the_source() - reached == set()
    assert len(calls_in_the_source()) > 20


def skipped(self: Any) -> None:
    self._purepool.runtime.apply(pool.CloseAll(0.0))
    self._state.reset()


def in_another_order(self: Any) -> None:
    self.close_idle()
    self.close()


def with_another_argument(self: Any) -> bool:
    if not self.in_transaction() and not self._state.closed:
        self._close(self._state.conn, False)
        self._state.reset()
    return True


def once_too_often(self: Any) -> Any:
    return self.is_closed() or self.is_closed() or (self.connection() and self.close() and None)


FAULTS: list[tuple[str, Callable[..., Any], Situation]] = [
    ("close_all", skipped, close_all),
    ("close_all", in_another_order, close_all_with_ones_own),
    ("close", with_another_argument, give_back),
    ("manual_close", once_too_often, manual_close),
]


@pytest.mark.parametrize(
    ("name", "fault", "situation"), FAULTS, ids=[fault.__name__ for _, fault, _ in FAULTS]
)
def test_the_check_finds(
    name: str, fault: Callable[..., Any], situation: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OURS, name, fault)
    assert calls_of(OURS, situation) != expected(situation, calls_of(STOCK, situation))


# ---------------------------------------------------------------- signatures


@pytest.mark.parametrize("name", sorted(set(vars(STOCK)) & set(vars(OURS))))
def test_ours_takes_what_playhouse_takes(name: str) -> None:
    theirs, ours = getattr(STOCK, name), getattr(OURS, name)
    if not inspect.isfunction(theirs):
        return
    wanted = list(inspect.signature(theirs).parameters.values())
    given = list(inspect.signature(ours).parameters.values())
    plain = [(one.name, one.kind, one.default) for one in wanted]
    assert [
        (one.name, one.kind, one.default) for one in given if one.kind is not one.KEYWORD_ONLY
    ] == plain
