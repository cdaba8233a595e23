"""Whose exception it was: the database's, the driver's, or that of a bug.

Theory.  No driver is imported: what decides are the names of classes and of packages, so classes
with these names are made here. What is told apart is what people get to read: "the database cannot
be reached", nothing, or a traceback.
"""

from __future__ import annotations

from typing import Any

import pytest

from pool import PoolTimeout
from pool.shared.causes import is_the_drivers, is_unreached


def made(name: str, *bases: type, module: str = "pydriver.errors") -> Any:
    return type(name, bases or (Exception,), {"__module__": module})


Error = made("Error")
DatabaseError = made("DatabaseError", Error)


class OwnError(Exception):
    """A class of the program's own."""


UNREACHED = {
    "the system's": ConnectionRefusedError("refused"),
    "the end of a stream": EOFError("the server closed it"),
    "a driver's": made("OperationalError", DatabaseError)("no route"),
    "named by its base": made("SomethingOfItsOwn", DatabaseError)("no route"),
    "a driver of something else": made("ConnectionFailure")("no route"),
}
REACHED = {
    "a wrong statement": made("ProgrammingError", DatabaseError)("no such table"),
    "a bug": TypeError("connect() got an unexpected argument"),
    "the program's": OwnError("no configuration"),
    "the pool's": PoolTimeout("nothing came back"),
    # Python's own of the same name say nothing of a database.
    "a warning of Python's": DeprecationWarning("old"),
}


@pytest.mark.parametrize("error", UNREACHED.values(), ids=UNREACHED)
def test_there_is_no_database_to_be_had(error: Exception) -> None:
    assert is_unreached(error) is True


@pytest.mark.parametrize("error", REACHED.values(), ids=REACHED)
def test_a_connect_that_failed_for_another_reason(error: Exception) -> None:
    assert is_unreached(error) is False


def test_a_class_of_pythons_own_is_no_drivers() -> None:
    """`builtins` has a `ConnectionError` and a `Warning`, too; bases of theirs do not count."""
    assert is_unreached(made("LikeAWarning", DeprecationWarning, Error)("no route")) is True
    assert is_the_drivers(made("OwnWarning", UserWarning, module="shop")("x"), object()) is False


Connection = made("Connection", object, module="pydriver.connections.plain")

OF_THE_DRIVER = {
    "of a connect": made("InterfaceError", module="other")("closed"),
    "of a statement": made("DataError", module="other")("too long"),
    "of its package": made("Gone", module="pydriver.protocol")("gone"),
    "the system's": BrokenPipeError("gone"),
}
NOT_OF_THE_DRIVER = {
    "of another package": made("Gone", module="pydriver2.protocol")("gone"),
    "a bug": AttributeError("no such attribute"),
    "a file": FileNotFoundError("settings.toml"),
    "the pool's": PoolTimeout("nothing came back"),
}


@pytest.mark.parametrize("error", OF_THE_DRIVER.values(), ids=OF_THE_DRIVER)
def test_what_a_driver_says(error: Exception) -> None:
    assert is_the_drivers(error, Connection()) is True


@pytest.mark.parametrize("error", NOT_OF_THE_DRIVER.values(), ids=NOT_OF_THE_DRIVER)
def test_what_a_driver_does_not_say(error: Exception) -> None:
    assert is_the_drivers(error, Connection()) is False


@pytest.mark.parametrize("module", ["__main__", "builtins"])
def test_a_program_is_no_driver(module: str) -> None:
    """A connection and an error that were both made in the program have no package in common."""
    connection = made("Connection", object, module=module)()
    assert is_the_drivers(made("Oops", module=module)("oops"), connection) is False
