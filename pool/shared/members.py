"""Who is in a set of weak references, while others come.

Theory.  Such a set is walked over in Python, and one that another thread adds to meanwhile is a
`RuntimeError`: for an exit handler, a child process, or the thread that tells all observers, a pool
somewhere else that begins at the wrong moment.
"""

from __future__ import annotations

import weakref
from typing import TypeVar

Member = TypeVar("Member")


def members(of: weakref.WeakSet[Member]) -> list[Member]:
    """All that are in it by now, kept alive by the list."""
    while True:
        try:
            return list(of)
        except RuntimeError:  # it has changed while it was walked over
            pass
