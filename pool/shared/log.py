"""The pool's logger, `logging.getLogger("pool")`, which raises nothing.

Theory.  A handler, a filter and a formatter are somebody else's code, and what they are given is an
error of somebody else's class.  `logging` keeps what a handler raises to itself, but not what a
filter raises, and not in every handler.  The pool logs in the middle of closing and connecting: a
log line that cannot be written must not cost a connection.
"""

from __future__ import annotations

import contextlib
import logging

_logger = logging.getLogger("pool")


Trouble = bool | BaseException | None
"""The exception to show, or whether to show the one that is being handled."""


class Log:
    """The methods of `logging.Logger` that the pool uses. Thread-safe as those are."""

    def debug(self, message: str, *values: object, exc_info: Trouble = False) -> None:
        self._log(logging.DEBUG, message, values, exc_info)

    def info(self, message: str, *values: object) -> None:
        self._log(logging.INFO, message, values, None)

    def warning(self, message: str, *values: object, exc_info: Trouble = False) -> None:
        self._log(logging.WARNING, message, values, exc_info)

    def error(self, message: str, *values: object, exc_info: Trouble = False) -> None:
        self._log(logging.ERROR, message, values, exc_info)

    @staticmethod
    def _log(level: int, message: str, values: tuple[object, ...], exc_info: Trouble) -> None:
        with contextlib.suppress(Exception):
            _logger.log(level, message, *values, exc_info=exc_info, stacklevel=3)


logger = Log()
