"""How to handle a connection of a driver of which little is known, and what all recipes share.

Theory.  PEP 249 gives a connection `commit`, `rollback` and `close`, and no way to ask it anything.
So `Recipe` assumes as little as it can, and each known driver (`sqlite.py`, `postgres.py`,
`mysql.py`, `recipes.py`) says what it answers.

Each connection has a recipe of its own, which remembers how `configure` left it.  What the driver
shows of that for nothing is compared when the connection comes back, put back where that needs
nothing but the driver, and what cannot be put back is not lent again.  A recipe keeps nothing that
keeps the connection alive.

Transactions are ended through the object that was lent, so that an instrumented driver sees it;
everything else is asked of the driver's own connection.

What a recipe refuses to know: the pool.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, ClassVar

from pool.drivers.proxies import Path, follow, get

ABSENT = object()


class Recipe:
    """How to handle one connection; this one is for any DB-API driver.

    All methods may be called from any thread, for a connection that one thread has."""

    __slots__ = ("_kept", "_names", "_path", "_read", "_shows_autocommit", "has_transactions")

    SHOWN = "rollback"
    """An attribute by which something that stands for a connection of this driver shows it."""

    SETTINGS: tuple[str, ...] = ("autocommit", "closed")
    """What the driver shows without asking the database, and has to be the same for each holder."""

    FIXED: frozenset[str] = frozenset({"closed"})
    """Those of them that can't be put back."""

    def __init__(self, path: Path = ()) -> None:
        self._path = path
        self._names: tuple[str, ...] = ()
        self._read: Callable[[Any], tuple[Any, ...]] | None = None
        self._kept: tuple[Any, ...] = ()
        self._shows_autocommit = False
        self.has_transactions = True
        """False as soon as the driver has said that its database has none."""

    def behind(self, connection: Any) -> Any:
        """The driver's own connection."""
        return follow(connection, self._path) if self._path else connection

    def refuse(self, connection: Any) -> None:
        """Raise `ValueError` if a pool cannot lend such a connection."""

    def is_alive(self, connection: Any) -> bool:
        """Whether it works; an exception means no. An unknown driver is believed to work."""
        return True

    # ------------------------------------------------------------ what was there at the beginning

    def remember(self, connection: Any) -> None:
        """How it is now is how each holder is to find it."""
        raw = self.behind(connection)
        self._names = tuple(name for name in self.SETTINGS if self.is_setting(raw, name))
        self._shows_autocommit = "autocommit" in self._names
        if self._names:
            self._read = _reader(self._names)
            self._kept = tuple(map(_copy, self._read(raw)))

    def is_setting(self, raw: Any, name: str) -> bool:
        """Whether this connection has it. A method, or a text, says nothing of an unknown one."""
        return type(get(raw, name)) is bool

    def is_as_left(self, raw: Any) -> bool:
        return self._read is None or self._read(raw) == self._kept

    def restore(self, connection: Any) -> bool:
        """Put back what was changed, once no transaction is open. False if that is not possible, or
        something is unfinished."""
        raw = self.behind(connection)
        if not self.is_finished(raw):
            return False
        if self._read is None or self._read(raw) == self._kept:
            return True
        for name, was, now in zip(self._names, self._kept, self._read(raw), strict=True):
            if was is not now and was != now:
                self.put_back(raw, name, was, now)
        return self._read(raw) == self._kept

    def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:
        if name in self.FIXED:
            return
        if isinstance(was, (list, dict)):  # the driver keeps the object, and we a copy of it
            now.clear()
            (now.extend if isinstance(was, list) else now.update)(was)
        else:
            setattr(raw, name, was)

    # ------------------------------------------------------------ what is going on

    def is_finished(self, raw: Any) -> bool:
        """Whether nothing is left to be read or sent, as far as the driver shows it. What can be
        ended without waiting is ended."""
        return True

    def is_closed(self, connection: Any) -> bool:
        """Whether its holder closed it; one that was lost is another matter."""
        return "closed" in self._names and get(connection, "closed") is True

    def in_autocommit(self, raw: Any) -> bool:
        """Whether each statement is its own transaction."""
        return self._shows_autocommit and getattr(raw, "autocommit", False) is True

    def is_open(self, connection: Any) -> bool:
        """Whether the driver shows that a transaction is open."""
        return False

    # ------------------------------------------------------------ transactions

    def commit(self, connection: Any) -> bool:
        """Commit what is open; nothing in autocommit, nor where the holder closed it. Whether
        `reset` would find nothing to do: as the driver knows, for that it did not complain means
        nothing."""
        if self.has_transactions and (
            self._read is None or not (self.in_autocommit(connection) or self.is_closed(connection))
        ):
            try:
                connection.commit()
            except Exception as error:
                if not (_is_unsupported(error) and self._has_none(connection)):
                    raise
        return False

    def roll_back(self, connection: Any) -> bool:
        """Roll back what is open; False if the connection is of no use any more."""
        if self.has_transactions:
            try:
                connection.rollback()
            except Exception as error:
                if not _is_unsupported(error):
                    raise
                self.has_transactions = False
        return True

    def _has_none(self, connection: Any) -> bool:
        """Its commit is not supported: if its rollback is not either, there is nothing to end."""
        try:
            self.roll_back(connection)
        except Exception:
            return False
        return not self.has_transactions

    def reset(self, connection: Any) -> bool:
        """Roll back what is open, put back what was changed; whether it can be lent again."""
        if self.has_transactions:  # as `roll_back`, written out: it is a part of every checkout
            try:
                connection.rollback()
            except Exception as error:
                if not _is_unsupported(error):
                    raise
                self.has_transactions = False
        read = self._read
        return read is None or read(connection) == self._kept or self.restore(connection)

    def settle(self, connection: Any) -> bool:
        """After the user's reset: commit what is open, put back what was changed."""
        self.commit(connection)
        return self.restore(connection)

    def _refuse_unfinished(self, raw: Any, what: str) -> None:
        """A commit would wait for it, and without the commit the work is lost: its holder has to
        hear of it, by an error that a program expects of its driver."""
        error: Any = get(raw, "OperationalError", RuntimeError)  # PEP 249 lets a connection have it
        raise error(
            f"the block has ended while {what} in this connection: nothing was committed, and the "
            "connection is closed"
        )


class Plain(Recipe):
    """For what has no transactions: a socket, a client of something that is no database."""

    __slots__ = ()

    SETTINGS = ()

    def commit(self, connection: Any) -> bool:
        return True

    def roll_back(self, connection: Any) -> bool:
        return True

    def reset(self, connection: Any) -> bool:
        return True


class Known(Recipe):
    """For a driver that is known: it shows whether a transaction is open.

    Nearly always nothing is open and nothing was changed, and that is found out at one glance: all
    that has to be read is read by one function of C, and compared as one tuple."""

    __slots__ = ("_clean", "_glance")

    QUIET: tuple[tuple[str, Any], ...] = ()
    """What is read besides the settings, and how it is where nothing is open."""

    DIRECT: ClassVar[dict[str, str]] = {}
    """Where a setting is kept that the driver shows by a property in Python, which is slow."""

    def __init__(self, path: Path = ()) -> None:
        super().__init__(path)
        self._glance: Callable[[Any], tuple[Any, ...]] = _nothing_known
        self._clean: tuple[Any, ...] = ()

    def is_setting(self, raw: Any, name: str) -> bool:
        return get(raw, name, ABSENT) is not ABSENT

    def remember(self, connection: Any) -> None:
        super().remember(connection)
        raw = self.behind(connection)
        names = [self.DIRECT.get(name, name) for name in self._names]
        try:
            self._look_at(raw, names)
        except AttributeError:  # another version of the driver
            self._look_at(raw, self._names)

    def _look_at(self, raw: Any, names: Sequence[str]) -> None:
        glance = _reader((*(name for name, _ in self.QUIET), *names))
        now = tuple(map(_copy, glance(raw)))
        self._clean = (*(value for _, value in self.QUIET), *now[len(self.QUIET) :])
        self._glance = glance

    def is_clean(self, connection: Any) -> bool:
        """Whether nothing is open, unfinished or changed; False if that has to be looked into."""
        raw = follow(connection, self._path) if self._path else connection
        try:
            return self._glance(raw) == self._clean and self.is_finished(raw)
        except Exception:  # it is closed, say
            return False

    def is_in_transaction(self, raw: Any) -> bool:
        """As the driver knows, or the server said last."""
        raise NotImplementedError

    def is_open(self, connection: Any) -> bool:
        try:
            return self.is_in_transaction(self.behind(connection))
        except Exception:
            return False

    def reset(self, connection: Any) -> bool:
        return self.is_clean(connection) or (
            self.roll_back(connection) and self.restore(connection)
        )

    def settle(self, connection: Any) -> bool:
        return self.commit(connection) or self.reset(connection)


@functools.lru_cache(maxsize=64)
def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        (name,) = names
        return lambda raw: (getattr(raw, name),)
    return attrgetter(*names)


def _nothing_known(_: Any) -> tuple[Any, ...]:
    """Before `remember`: not what is compared with it."""
    return (ABSENT,)


def _copy(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict) else value


def is_named(error: BaseException, name: str) -> bool:
    return any(base.__name__ == name for base in type(error).__mro__)


def _is_unsupported(error: BaseException) -> bool:
    """Whether a driver says by it that its database has no transactions."""
    return is_named(error, "NotSupportedError")
