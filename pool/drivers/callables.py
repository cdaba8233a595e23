"""The functions of a user as a driver for the runtime.

Theory.  A user of `Pool` gives a function that connects, and perhaps others that check, reset,
configure or close.  Here they meet the recipe of the driver (`recipes.py`), and here what
a user can get wrong is found out: the runtime must never lend nothing, a coroutine, the same
connection twice, or a sqlite3 connection that only one thread may touch.

It also keeps what the machine must not know: the last error of a connect as the driver raised it,
and which tickets are those of the parent process.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pool.core.effects import Close, Leaked
from pool.core.state import Entry, State, lease_of, leased, resting
from pool.core.text import kind_of, text_of
from pool.drivers.recipe import Recipe
from pool.drivers.recipes import recipe_for
from pool.shared.arguments import check_answer, check_connect, check_hook, why_no_connection
from pool.shared.causes import is_unreached
from pool.shared.errors import NO_CONNECTION, OpenError, PoolError, failure_of
from pool.shared.handles import Handle
from pool.shared.holders import Holder
from pool.shared.journal import CONFIGURE_FAILED, CONNECT_FAILED, UNREACHED, Journal, Leak

if TYPE_CHECKING:
    from pool.shared.listeners import Listeners
    from pool.threads.runtime import Runtime

Hook = Callable[[Any], Any]


def NO_RESET(connection: Any) -> None:
    """As `reset=`: do nothing when a `connection` comes back, not even roll back. For a database
    that has no transactions, where a rollback fails or costs a round trip for nothing."""


class Callables:
    """A driver made of functions. Thread-safe as far as they are."""

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        check: Hook | None,
        reset: Hook | None,
        configure: Hook | None,
        close: Hook | None,
        listeners: Listeners,
        journal: Journal,
        keeps_errors: bool,
    ) -> None:
        hooks = {"check": check, "reset": reset, "configure": configure, "close": close}
        self._check_arguments(connect, hooks)
        self._connect = connect
        self._check = check
        self._reset = reset
        self._configure = configure
        self._close = close
        self.listeners = listeners
        self.journal = journal
        self._numbers = itertools.count(1)
        self._numbered: dict[int, int] = {}
        """Of each connection until its close, by its `id`: how many had been opened by then. The
        machine's keys are places in an order, which are given to what is returned, too."""
        self.leaks: dict[int, Leak] = {}
        """By their tickets: leases that were reported, and have not ended yet."""
        self._hears_resets, self._only_rolls_back = False, reset is None
        self.watches_returns = False
        """Whether somebody wants to know of what is given back."""
        self.failed_connects = self.waits = 0
        """Connects that failed, and callers that had to wait, so far."""
        self._failures, self._waits = itertools.count(1), itertools.count(1)
        self.last_error: BaseException | None = None
        self._words: dict[int, str] = {}
        """What went wrong when an error was raised, by the `id` of the error."""
        self._keeps_errors = keeps_errors
        self.recipes: dict[int, Recipe] = {}
        """Of each connection that is not closed, by its `id`: so none is kept alive by it."""
        self._not_refused: set[type[Recipe]] = set()
        self._runtime: Callable[[], Runtime | None] = lambda: None

    def _check_arguments(self, connect: Any, hooks: dict[str, Any]) -> None:
        check_connect(connect)
        for name, function in hooks.items():
            check_hook(name, function)

    def belongs_to(self, runtime: Runtime) -> None:
        """Say whose driver this is."""
        self._runtime = weakref.ref(runtime)

    def after_fork(self) -> None:
        """In a child process."""
        self.last_error = None
        self.recipes = {}  # of connections that are the parent's
        self._words = {}
        self.leaks = {}
        self.listeners.lent.clear()
        self.journal.begin_anew()

    # ------------------------------------------------------------ for the runtime

    def connect(self) -> Any:
        """A new connection, configured. What is no use as one is refused with a reason."""
        began = time.monotonic()
        words = ""
        try:
            connection = self._connect()
            self._refuse_again(connection)  # first: that one is not to be closed
            try:
                why = why_no_connection(connection)
                if why is None:
                    recipe = recipe_for(connection)
                    self._refuse_bound(connection, recipe)
                    if self._configure is not None:
                        words = CONFIGURE_FAILED
                        check_answer("configure", self._configure(connection))
                        recipe.commit(connection)
                    recipe.remember(connection)
                    words = ""
                    self._numbered[id(connection)] = next(self._numbers)
                    taken = time.monotonic() - began
                    self.listeners.tell("connect", connection=connection, seconds=taken)
                    self.recipes[id(connection)] = recipe
            except BaseException:
                with contextlib.suppress(Exception):
                    self.close(connection)
                raise
            if why is not None:
                # It may be one of the other kind of driver. Not before: asyncio comes with it.
                from pool.drivers.async_recipes import drop

                drop(connection)
                raise TypeError(why)
        except BaseException as error:
            if not (self._keeps_errors or isinstance(error, Exception)):
                raise  # a caller who was interrupted
            words = words or (UNREACHED if is_unreached(error) else CONNECT_FAILED)
            self._tell_failure(error, began)
            self._tell_outage(self.journal.connect_failed, words, error)
            if self._keeps_errors:  # its traceback is dropped, but not one that a caller gets
                self.last_error, self._words = error, {id(error): words}
                raise
            if isinstance(error, PoolError):  # of another pool: not how this one refuses
                raise ConnectionError(f"{kind_of(error)}: {text_of(error)}") from error
            self._words[id(error)] = words
            raise
        self._tell_outage(self.journal.connected)
        return connection

    def _tell_failure(self, error: BaseException, began: float) -> None:
        self.failed_connects = next(self._failures)
        taken = time.monotonic() - began
        self.listeners.tell("connect_failed", error=error, seconds=taken)

    def is_alive(self, connection: Any) -> bool:
        if self._check is not None:
            try:
                return check_answer("check", self._check(connection)) is not False
            except Exception as error:
                self.journal.hook_failed("check", error, connection)
                raise
        recipe = self.recipes.get(id(connection)) or recipe_for(connection)
        return recipe.is_alive(connection)

    def commit(self, connection: Any) -> bool:
        """Commit what is open. Whether `reset` would find nothing to do."""
        recipe = self.recipes.get(id(connection)) or recipe_for(connection)
        return recipe.commit(connection) and self._reset is None

    def reset(self, connection: Any) -> bool:
        """Roll back what is open, then the user's reset; what that opens is committed, and what it
        set is put back."""
        if self._only_rolls_back:  # as `_make_clean`, written out: it is a part of every checkout
            return (self.recipes.get(id(connection)) or recipe_for(connection)).reset(connection)
        if not self._hears_resets:
            return self._make_clean(connection)
        was_open = self._is_open(connection)
        try:
            is_clean = self._make_clean(connection)
        except Exception as error:
            self.listeners.tell("not_reusable", connection=connection, error=error)
            raise
        self._tell_reset(connection, was_open, is_clean)
        return is_clean

    def _is_open(self, connection: Any) -> bool:
        recipe = self.recipes.get(id(connection)) or recipe_for(connection)
        return self._reset is not NO_RESET and recipe.is_open(connection)

    def _tell_reset(self, connection: Any, was_open: bool, is_clean: bool) -> None:
        if was_open:
            self.listeners.tell("rolled_back", connection=connection)
        if not is_clean:
            self.listeners.tell("not_reusable", connection=connection)

    def _make_clean(self, connection: Any) -> bool:
        recipe = self.recipes.get(id(connection)) or recipe_for(connection)
        if self._reset is None:
            return recipe.reset(connection)
        if self._reset is NO_RESET:
            return not recipe.is_closed(connection) and recipe.is_finished(
                recipe.behind(connection)
            )
        if not recipe.reset(connection):
            return False
        try:
            answer = check_answer("reset", self._reset(connection))
        except Exception as error:
            self.journal.hook_failed("reset", error, connection)
            raise
        if answer is False:
            return False
        return recipe.settle(connection)

    def close(self, connection: Any) -> None:
        self._numbered.pop(id(connection), None)
        recipe = self.recipes.pop(id(connection), None)
        if self._close is not None:
            check_answer("close", self._close(connection))
        elif hasattr(connection, "close") and not (recipe and recipe.is_closed(connection)):
            connection.close()

    def report_close(self, close: Close) -> None:
        if self.listeners.lent:  # of a lease that nobody has given back
            is_forced = close.reason in ("stale", "close_all")
            self.listeners.end(close.connection, close.reason if is_forced else "lost")
        self.listeners.tell("close", connection=close.connection, reason=close.reason)
        for ticket, leak in list(self.leaks.items()):  # it was discarded, or lost
            if leak.key == close.key:
                self.end_leak(ticket)

    # ------------------------------------------------------------ what is told

    def number_of(self, key: int, connection: Any) -> int:
        """Which of the connections that were opened this is; the machine's key if it is gone."""
        return self._numbered.get(id(connection), key)

    def watch(self) -> None:
        """Find out once, not at every checkout, whether anybody wants to know of returns. Listeners
        do not go: where two come at once, who finds none does not undo what the other has found."""
        hears = self.listeners.by_kind
        if self.listeners.hears_turns:
            self.watches_returns = True
        if hears["rolled_back"] or hears["not_reusable"]:
            self._hears_resets, self._only_rolls_back = True, False

    def returned(self, lease: Handle, reason: str = "released") -> bool:
        """Tell those who want to know of what is given back. Whether nobody had it in hand."""
        return not self.listeners.end(lease.connection, reason)

    def report_leak(self, leak: Leaked) -> None:
        """A lease lasts long. It may end at any moment, on any thread: who ends it looks here when
        it has, and this looks whether it has when it can be seen here. So one of them tells
        its end, or both try to."""
        stack = leak.owner.stack if isinstance(leak.owner, Holder) else None
        runtime = self._runtime()
        lease = lease_of(runtime.state.in_use, leak.key) if runtime else None
        connection = lease.entry.connection if lease else None
        number = self._number_of_key(leak.key)
        self.journal.leaked(number, leak.held, stack)
        self.listeners.tell("leak", connection=connection, seconds=leak.held, stack=stack)
        if runtime is None:
            return
        self.leaks[leak.ticket] = Leak(number, leak.key, runtime.clock() - leak.held)
        if self.has_ended(leak, runtime):
            self.end_leak(leak.ticket)

    def has_ended(self, leak: Leaked, runtime: Runtime) -> bool:
        """Whether this lease has."""
        lease = lease_of(runtime.state.in_use, leak.key)
        return lease is None or lease.ticket != leak.ticket

    def _number_of_key(self, key: int) -> object:
        """As `number_of`, of what may have been given back by now; "?" of what is closed."""
        runtime = self._runtime()
        for entry in _entries(runtime.state) if runtime else ():
            if entry.key == key:
                return self.number_of(key, entry.connection)
        return "?"

    def end_leak(self, ticket: int) -> None:
        """This lease has ended, in whatever way; it may have been reported."""
        leak, runtime = self.leaks.pop(ticket, None), self._runtime()
        if leak is not None and runtime is not None:
            self.journal.leak_ended(leak, runtime.clock())

    def report_loss(self, close: Close, owner: Any, held: float) -> None:
        runtime = self._runtime()
        if runtime is not None:
            number = self.number_of(close.key, close.connection)
            self.journal.lost(number, owner, held, runtime.clock())

    def count_wait(self, _: int) -> None:
        """A caller is going to wait."""
        self.waits = next(self._waits)

    def report_wait(self, ticket: int) -> None:
        """A caller waits, on this thread."""
        if (runtime := self._runtime()) is not None:
            self.journal.waits(runtime.state, ticket)

    def _tell_outage(self, tell: Callable[..., None], *what: Any) -> None:
        runtime = self._runtime()
        if runtime is not None:
            tell(*what, runtime.state.counters.refused, runtime.clock())

    # ------------------------------------------------------------ what is known of drivers

    def _refuse_bound(self, connection: Any, recipe: Recipe) -> None:
        if type(recipe) not in self._not_refused:
            recipe.refuse(connection)
            self._not_refused.add(type(recipe))  # only now: others may connect at the same time

    def _refuse_again(self, connection: Any) -> None:
        runtime = self._runtime()
        # Where it was closed, or an interrupted connect lost it, the `id` may be another's by now.
        known = id(connection) in self.recipes
        if known and runtime is not None and _holds(runtime, connection):
            raise TypeError(
                "connect returned a connection that the pool has already: "
                "it has to make a new one each time"
            )

    def explain(self, error: PoolError, name: str) -> str:
        """Give the error of a refused caller the pool's name, and the driver's own error as
        its cause. Its text without the name."""
        text, failure = str(error), error.failure
        if failure is not None:
            cause = self.last_error
            if cause is None or failure_of(cause) != failure:
                cause = OpenError(f"{failure.kind}: {failure.text}")
            elif words := self._words.get(id(cause)):
                text = text.replace(NO_CONNECTION, words, 1)
            error.__cause__ = cause
        error.args = (f"pool {name!r}: {text}",)
        return text

    def failed(self, error: Exception) -> OpenError:
        """For the caller whose connect raised this."""
        words = self._words.pop(id(error), CONNECT_FAILED)
        refusal = OpenError(f"{words}: {text_of(error)}")
        refusal.reason = "open_failed"
        return refusal


def _holds(runtime: Runtime, connection: Any) -> bool:
    return any(entry.connection is connection for entry in _entries(runtime.state))


def _entries(state: State) -> list[Entry]:
    """All that is idle or in use."""
    idle = [item.entry for item in resting(state.idle)]
    return [*idle, *(lease.entry for lease in leased(state.in_use).values())]
