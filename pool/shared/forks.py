"""A process that was forked: every pool in it begins anew, and leaves the parent's connections be.

Theory.  No lock is taken before the fork: the state is one reference, so the child finds an old one
or a new one whoever held the lock, and a signal handler may fork.  In the child each runtime gets a
fresh lock and the event `Forked`.  What the parent had lent or kept is not closed there, and
not collected either (RUN-9).
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterable
from typing import Any, Protocol

from pool.core.effects import Close, Effect
from pool.core.state import State, leased, resting
from pool.shared.log import logger
from pool.shared.members import members

with contextlib.suppress(ImportError):  # some subinterpreters have none; they cannot fork either
    import ctypes


class Forkable(Protocol):
    """What has to begin anew in a child process."""

    def _after_fork(self) -> None: ...


_runtimes: weakref.WeakSet[Forkable] = weakref.WeakSet()


def expect(runtime: Forkable) -> None:
    """From now on `runtime._after_fork` is called in every child process."""
    _runtimes.add(runtime)


def keep_for_ever(state: State, effects: Iterable[Effect]) -> None:
    """Never collect these connections, at the exit of the interpreter neither: their
    finalizers would say goodbye to the server on the wire the parent uses."""
    closes = [effect.connection for effect in effects if isinstance(effect, Close)]
    keep(*connections_of(state), *closes)


def keep(*things: object) -> None:
    """Never collect these."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def connections_of(state: State) -> list[Any]:
    """All that are idle or in use."""
    entries = [idle.entry for idle in resting(state.idle)]
    entries += [lease.entry for lease in leased(state.in_use).values()]
    return [entry.connection for entry in entries]


def _after_fork_in_child() -> None:
    for runtime in members(_runtimes):
        try:
            runtime._after_fork()
        except Exception:  # whatever is wrong with one pool, the others must not suffer for it
            logger.warning("a pool could not be prepared for this child process", exc_info=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
