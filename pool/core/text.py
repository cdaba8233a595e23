"""Text of what is not ours: an error, a connection, a value that somebody passed.

Theory.  `str` and `repr` of somebody else's object run somebody else's code.  It may raise, where
nobody expects that and an outcome would be lost; and it may give ten megabytes, which would
become part of the message of everybody who is refused.  So whatever goes into a message, the
state or the log is made text here: in one line's worth of characters, and without raising.

Nothing here knows what a pool is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MOST = 1000
"""Characters that are kept."""

_name_of_class: Any = type.__dict__["__name__"].__get__  # what a metaclass says is not asked


def kind_of(value: object) -> str:
    """The name of its class, which its class cannot forge."""
    return cut(_name_of_class(type(value)))


def text_of(value: object, form: Callable[[Any], str] = str) -> str:
    """`form(value)`, at most about `MOST` characters of it. Raises no `Exception`."""
    try:
        return cut(form(value))
    except Exception as error:
        return f"<{kind_of(value)} that cannot be made text: {kind_of(error)}>"


def repr_of(value: object) -> str:
    """`repr(value)`, as `text_of`."""
    return text_of(value, repr)


def cut(text: str) -> str:
    """A plain `str`, whatever subclass of it the text is; if it was long, it says how long."""
    length = str.__len__(text)
    kept = str.__getitem__(text, slice(MOST))
    return kept if length <= MOST else f"{kept}... (cut: {length:,} characters in all)"
