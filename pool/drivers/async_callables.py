"""The functions of a user as a driver for the runtime for asyncio.

Theory.  As `callables.py`, and most of it is that.  Here is what has to be awaited: each
function may be a coroutine function or a plain one, and what it returns is awaited where that can
be.  All of it but the commit runs in tasks of the pool's own.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from pool.core.effects import Leaked
from pool.drivers.async_recipes import (
    AsyncRecipe,
    awaited,
    blocking_maker,
    instead_of,
    recipe_for,
)
from pool.drivers.callables import NO_RESET, Callables
from pool.shared.arguments import refuse, why_useless
from pool.shared.causes import is_unreached
from pool.shared.holders import Holder
from pool.shared.journal import CONFIGURE_FAILED, CONNECT_FAILED, UNREACHED

if TYPE_CHECKING:
    from pool.threads.runtime import Runtime


class AsyncCallables(Callables):
    """A driver made of functions, whose connections are used on one event loop."""

    def _check_arguments(self, connect: Any, hooks: dict[str, Any]) -> None:
        if not callable(connect):
            allowed = "a function without parameters that returns a connection, or a coroutine"
            raise refuse("connect", connect, allowed)
        if (package := blocking_maker(connect)) is not None:
            allowed = f"what makes connections for asyncio; this is {instead_of(package)}"
            raise refuse("connect", connect, allowed)
        for name, function in hooks.items():
            if function is not None and not callable(function):
                raise refuse(name, function, "a function that takes a connection, or None")

    def _recipe(self, connection: Any) -> AsyncRecipe:
        recipe: Any = self.recipes.get(id(connection))
        return recipe or recipe_for(connection)

    # ------------------------------------------------------------ known without asking

    def is_clean(self, connection: Any) -> bool:
        """Whether a reset would find nothing to do."""
        if self._reset is NO_RESET:
            return self.is_at_rest(connection)
        return self._reset is None and self._recipe(connection).is_clean(connection)

    def is_at_rest(self, connection: Any) -> bool:
        """Whether the driver knows that no answer is still to come."""
        try:
            return self._recipe(connection).is_at_rest(connection)
        except Exception:
            return False

    # ------------------------------------------------------------ by tasks of the pool

    async def connect(self) -> Any:
        """A new connection, configured. What is no use as one is refused with a reason."""
        began = time.monotonic()
        words = ""
        try:
            connection = await awaited(self._connect())
            if (why := why_useless(connection)) is not None:
                raise TypeError(why)
            self._refuse_again(connection)
            recipe = AsyncRecipe()
            try:
                recipe = recipe_for(connection)
                if self._configure is not None:
                    words = CONFIGURE_FAILED
                    await awaited(self._configure(connection))
                    await recipe.commit(connection)
                recipe.remember(connection)
                words = ""
                self._numbered[id(connection)] = next(self._numbers)
                taken = time.monotonic() - began
                self.listeners.tell("connect", connection=connection, seconds=taken)
            except BaseException:
                self._numbered.pop(id(connection), None)
                with contextlib.suppress(Exception):
                    recipe.terminate(connection)
                raise
            self.recipes[id(connection)] = recipe
        except BaseException as error:
            words = words or (UNREACHED if is_unreached(error) else CONNECT_FAILED)
            self.last_error, self._words = error, {id(error): words}
            if isinstance(error, Exception):
                self._tell_failure(error, began)
                self._tell_outage(self.journal.connect_failed, words, error)
            raise
        self._tell_outage(self.journal.connected)
        return connection

    async def is_alive(self, connection: Any) -> bool:  # type: ignore[override]
        if self._check is not None:
            try:
                return await awaited(self._check(connection)) is not False
            except Exception as error:
                self.journal.hook_failed("check", error, connection)
                raise
        return await self._recipe(connection).is_alive(connection)

    async def commit(self, connection: Any) -> bool:  # type: ignore[override]
        """Commit what is open. Whether `reset` would find nothing to do. By the caller's task."""
        return await self._recipe(connection).commit(connection) and self._reset is None

    async def reset(self, connection: Any) -> bool:  # type: ignore[override]
        if not self._hears_resets:
            return await self._make_clean(connection)
        was_open = self._is_open(connection)
        try:
            is_clean = await self._make_clean(connection)
        except Exception as error:
            self.listeners.tell("not_reusable", connection=connection, error=error)
            raise
        self._tell_reset(connection, was_open, is_clean)
        return is_clean

    def _is_open(self, connection: Any) -> bool:
        try:
            return self._reset is not NO_RESET and self._recipe(connection).is_open(connection)
        except Exception:  # it is closed, say
            return False

    async def _make_clean(self, connection: Any) -> bool:  # type: ignore[override]
        recipe = self._recipe(connection)
        if self._reset is None:
            return await recipe.reset(connection)
        if self._reset is NO_RESET:
            return recipe.is_at_rest(connection)
        if not await recipe.reset(connection):
            return False
        try:
            answer = await awaited(self._reset(connection))
        except Exception as error:
            self.journal.hook_failed("reset", error, connection)
            raise
        return answer is not False and await recipe.settle(connection)

    async def close(self, connection: Any) -> None:  # type: ignore[override]
        recipe = self._forget(connection)
        if self._close is not None:
            await awaited(self._close(connection))
        elif not recipe.is_closed(connection):
            await recipe.close(connection)

    def terminate(self, connection: Any) -> None:
        """Drop it, without a loop and without goodbye."""
        self._forget(connection).terminate(connection)

    def _forget(self, connection: Any) -> AsyncRecipe:
        recipe = self._recipe(connection)
        self._numbered.pop(id(connection), None)
        self.recipes.pop(id(connection), None)
        return recipe

    def has_ended(self, leak: Leaked, runtime: Runtime) -> bool:
        """Or it has been given back, and its connection is being reset."""
        if super().has_ended(leak, runtime):
            return True
        lease: Any = leak.owner() if isinstance(leak.owner, Holder) else None
        return lease is not None and lease.ended

    def report_wait(self, ticket: int) -> None:
        """A task is going to wait."""
        if (runtime := self._runtime()) is not None:
            self.journal.waits(runtime.state, ticket, "task")
