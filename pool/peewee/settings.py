"""What a user may set, checked where it is set.

Theory.  playhouse takes any setting and fails later, or never.  Here one that cannot be is refused
at once, by its name, with its value and what is allowed, as in `pool/shared/arguments.py`; the
setting stays as it was.  What playhouse takes and means something, is taken: numbers as text,
fractions, 0, infinity.
"""

from __future__ import annotations

import math
from typing import Any

import playhouse.pool

from pool.shared.arguments import refuse

make_int = playhouse.pool.make_int

_ALLOWED = {
    "max_connections": "a number above 0, or 0 or None",
    "stale_timeout": "a number above 0, or 0 or None",
    "timeout": "a number of seconds, at least 0, where 0 waits for ever, or None not to wait",
    "leak_after": "a finite number of seconds above 0, or None for never",
}


def number(name: str, value: Any) -> Any:
    """The setting, as playhouse would keep it. Raises `ValueError`."""
    try:
        value_read = make_int(value)
    except (TypeError, ValueError, OverflowError):
        raise refused(name, value) from None
    if value_read is None:
        return None
    if not isinstance(value_read, (int, float)) or not value_read >= 0:  # as nan is not
        raise refused(name, value)
    return value_read


def refused(name: str, value: Any) -> ValueError:
    """The error that says what is wrong with it."""
    return refuse(name, value, _ALLOWED[name])


def limits_of(name: str, value: Any) -> dict[str, Any]:
    """The setting as the machine has it, where that has it at all."""
    if name == "max_connections":
        most = _bound(value)
        return {"max_size": None if most is None else math.ceil(most)}
    if name == "stale_timeout":
        return {"max_lifetime": _bound(value)}
    return {"leak_after": value} if name == "leak_after" else {}


def _bound(value: Any) -> Any:
    """None for what bounds nothing."""
    return value if value and value != math.inf else None


def patience(timeout: Any) -> float | None:
    """How many seconds a caller may wait: 0 not at all, None for ever."""
    seconds = float(timeout or 0)
    return None if seconds == math.inf else seconds
