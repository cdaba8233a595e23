"""What was meant: a lease, a block or a pool that is used as if it were the connection.

Theory.  `with pool.acquire() as c: c.execute(...)` is what people write who come from other pools,
and "'Lease' object has no attribute 'execute'" does not help them on.  So the names that drivers
give to what a connection does are there, and each says where to find it.  They raise
`AttributeError`, so that `hasattr` is right, and are put there at run time, so that a type
checker is right too.  They are descriptors: a `__getattr__` would make every attribute slower.

`with` in the place of `async with`, and the other way round, is answered by the same means: the
names of the protocol are there, and say which of the two it is.
"""

from __future__ import annotations

from typing import Any, NoReturn

OF_CONNECTIONS = [
    *("autocommit", "begin", "commit", "cursor", "execute", "executemany", "executescript"),
    *("fetchall", "fetchone", "in_transaction", "isolation_level", "notifies", "ping", "pipeline"),
    *("query", "read_only", "rollback", "row_factory", "text_factory", "transaction"),
]
"""What drivers call the methods and attributes of their connections."""

LENDING = ["connect", "getconn", "get_connection", "raw_connection"]
RETURNING = ["putconn", "return_connection"]
"""What other pools call the methods that lend and take back."""

WITH = ["__enter__", "__exit__"]
ASYNC_WITH = ["__aenter__", "__aexit__"]
"""What the two kinds of blocks ask for."""


class Elsewhere:
    """An attribute that is to be found somewhere else."""

    def __init__(self, name: str, hint: str) -> None:
        self.name = name
        self.hint = hint

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"a {owner.__name__} has no {self.name!r}: {self.hint}")


class ElsewhereToSet(Elsewhere):
    """One that people set, too."""

    def __set__(self, instance: object, value: object) -> NoReturn:
        self.__get__(instance, type(instance))


class WrongBlock(TypeError, AttributeError):
    """Python itself raises the one, or the other before 3.11; `hasattr` wants the other."""


class OfTheOtherBlock(Elsewhere):
    """What the other kind of `with` would ask for."""

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise WrongBlock(f"a {owner.__name__} is not for this kind of block: {self.hint}")


def point(kind: Any, names: list[str], hint: str, descriptor: type[Elsewhere] = Elsewhere) -> None:
    """Let the instances of this class say where these are."""
    for name in names:
        setattr(kind, name, descriptor(name, hint))
