"""Whose exception this is: of a database that is not there, of a driver, or of a bug.

Theory.  An exception that comes out of somebody's function has a class, and no more is known.
PEP 249 gives the classes of a driver their names; what the system says of a connection is an
`OSError`; drivers of other things call theirs much the same, or at least keep them in their own
package.  The rest is believed to be a bug: to tell of one that is none costs a line in a log, to
be silent about one costs somebody a day.
"""

from __future__ import annotations

from typing import Any

from pool.shared.errors import PoolError

_OF_CONNECTING = {
    *("Error", "DatabaseError", "OperationalError", "InterfaceError", "InternalError"),
    *("ConnectionError", "ConnectionFailure", "TimeoutError"),
}
_OF_STATEMENTS = {"DataError", "IntegrityError", "NotSupportedError", "ProgrammingError", "Warning"}
_OF_FILES = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
_NO_DRIVER = {"__main__", "builtins"}


def is_unreached(error: BaseException) -> bool:
    """Whether a connect that raises this says that there is no database to be had."""
    names = _names(error)
    return _is_the_systems(error) or bool(names & _OF_CONNECTING and not names & _OF_STATEMENTS)


def is_the_drivers(error: BaseException, connection: Any) -> bool:
    """Whether a driver with such connections raises this: about one that is dead, for example."""
    return (
        (_is_the_systems(error) and not isinstance(error, _OF_FILES))
        or bool(_names(error) & (_OF_CONNECTING | _OF_STATEMENTS))
        or bool(_packages(type(error)) & _packages(type(connection)))
    )


def _is_the_systems(error: BaseException) -> bool:
    return isinstance(error, (OSError, EOFError)) and not isinstance(error, PoolError)


def _names(error: BaseException) -> set[str]:
    """Those of its class and that one's bases, but for what Python brings along."""
    return {kind.__name__ for kind in type(error).__mro__ if kind.__module__ != "builtins"}


def _packages(kind: type) -> set[str]:
    return {str(base.__module__).partition(".")[0] for base in kind.__mro__} - _NO_DRIVER
