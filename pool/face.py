"""What a pool for threads and one for asyncio show alike.

Theory.  Both are the same machine, so both have the same settings, tell the same numbers, and take
the same orders that need no answer: each is one event.  What differs is how one waits; that is
in `pool/api.py` and `pool/aio/api.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from pool.core import heap
from pool.core.effects import Ignored
from pool.core.events import Configure, Event, Resume, Retire, Suspend
from pool.core.limits import Limits
from pool.core.state import State
from pool.core.text import kind_of
from pool.health import Health, health_of
from pool.shared.arguments import check_seconds, is_seconds, name_of, refuse
from pool.shared.errors import PoolClosed, PoolError, describe, error_of
from pool.shared.holders import Holding, holdings
from pool.shared.journal import Journal
from pool.shared.listeners import Kind, Listener, Listeners
from pool.shared.observation import Observer, Observing, made, observe
from pool.shared.store import Made
from pool.statistics import Statistics, statistics_of

Connection = TypeVar("Connection")

DEFAULT: Any = ...
"""Stands for the pool's own setting."""


class Face(Generic[Connection]):
    """A pool, apart from how one waits for it."""

    _runtime: Any
    _driver: Any

    def _set_up(
        self,
        make_driver: Callable[..., Any],
        make_runtime: Callable[..., Any],
        connect: Callable[[], Any],
        limits: Limits,
        *,
        timeout: float | None,
        check_after: float,
        check_timeout: float | None,
        name: str | None,
        listeners: Mapping[Kind, Listener] | None,
        **hooks: Any,
    ) -> None:
        check_seconds("timeout", timeout, "to wait for ever")
        check_seconds("check_timeout", check_timeout, "to wait for ever")
        if not is_seconds(check_after):
            raise refuse("check_after", check_after, "a finite number of seconds, at least 0")
        if name is not None and not isinstance(name, str):
            raise refuse("name", name, "a text, or None")
        # A plain one, whatever subclass it is: it is shown where nothing may raise.
        self.name = name = ("" if name is None else str.__str__(name)) or name_of(connect)
        self._timeout = timeout
        self._journal = journal = Journal(name)
        self._listeners = Listeners(journal, listeners)
        self._driver = driver = make_driver(
            connect,
            listeners=self._listeners,
            journal=journal,
            keeps_errors=limits.opener == "background",
            **hooks,
        )
        self._tracks = limits.leak_after is not None
        self._watched = False
        self._runtime = runtime = make_runtime(
            driver, limits, check_after=check_after, check_timeout=check_timeout
        )
        driver.belongs_to(runtime)
        runtime.on_fork = driver.after_fork
        runtime.on_leak = driver.report_leak
        runtime.on_close = driver.report_close
        runtime.on_lost = driver.report_loss
        runtime.on_wait = driver.count_wait
        runtime.on_long_wait = driver.report_wait
        runtime.number_of = driver.number_of
        runtime.label = f"pool {name!r}: "
        self._watch()
        made(self)

    def _is_filled(self) -> bool:
        """Whether there is nothing more to wait for: `min_idle` connections, or the end."""
        state: State = self._runtime.state
        there = heap.size(state.idle) + len(state.in_use)
        return there >= state.limits.min_idle or state.phase == "closed"

    def statistics(self) -> Statistics:
        """The numbers of this instant, frozen."""
        return statistics_of(self._runtime, self.name)

    def health(self) -> Health:
        """Whether callers get connections right now, and if not, why. For `/healthz`; reads the
        state, waits for nothing, may be called from any thread."""
        return health_of(self._runtime.state, self._runtime.clock())

    def holders(self) -> list[Holding]:
        """Who holds connections right now, those who hold longest first."""
        found = holdings(self._runtime.state, self._runtime.clock())
        number_of = self._driver.number_of
        return [attrs.evolve(one, key=number_of(one.key, one.connection)) for one in found]

    def resize(self, max_size: int | None = DEFAULT, min_idle: int = DEFAULT) -> None:
        """Change how many connections there may be: `max_size`, `min_idle` or both. What is idle
        in surplus is closed now, what is in use in surplus when it comes back. Thread-safe. Raises
        `ValueError`, `PoolClosed`."""
        given: dict[str, Any] = {"max_size": max_size, "min_idle": min_idle}
        changes = {field: value for field, value in given.items() if value is not DEFAULT}
        now = self._runtime.clock()

        def configure(state: State) -> Configure:
            return Configure(now, attrs.evolve(state.limits, **changes))

        configure(self._runtime.state)  # what is not allowed is refused before the lock is taken
        self._apply(configure)

    def drain(self) -> None:
        """Replace every connection: idle ones are closed now, lent ones when they come back.
        For a fail-over, or new credentials. Raises `PoolClosed`."""
        self._apply(Retire(self._runtime.clock()))

    def suspend(self) -> None:
        """Let callers wait and lend nothing, until `resume`. Raises `PoolClosed`."""
        self._apply(Suspend(self._runtime.clock()))

    def resume(self) -> None:
        """End a `suspend`. Raises `PoolClosed`."""
        self._apply(Resume(self._runtime.clock()))

    def listen(self, kind: Kind, function: Listener) -> None:
        """Call `function` with a `Notice` whenever something of this `kind` happens: see
        `Notice.kind`. Raises `ValueError` for another kind. Thread-safe."""
        self._listeners.add(kind, function)
        self._watch()
        self._listeners.catch_up(self._runtime.state, self._runtime.clock())

    def observe(self, observer: Observer, *, batch: int = 1) -> Observing:
        """As `pool.observe`: `observer(event, effects)` for each transition; `batch` as there."""
        return observe(self, observer, batch=batch)

    def _watch(self) -> None:
        """Find out once, not at every checkout, whether somebody wants to know of each acquire."""
        if self._tracks or self._listeners.hears_turns:
            self._watched = True  # listeners do not go
        self._driver.watch()

    def _apply(self, event: Event | Made) -> None:
        effects = self._runtime.apply(event)
        if effects and type(effects[-1]) is Ignored and self._runtime.state.phase == "closed":
            error = PoolClosed("the pool is closed")
            self._driver.explain(error, self.name)
            raise error

    def _refuse(self, error: PoolError) -> None:
        """Tell everybody of it but the caller."""
        text = self._driver.explain(error, self.name)
        self._journal.refused(error, text, self._runtime.clock())
        self._listeners.tell("refuse", error=error, reason=error.reason)

    def _error(self, kind: type[PoolError], text: str) -> PoolError:
        runtime = self._runtime
        state = runtime.state
        error = error_of(kind, text, state, runtime.clock(), state.last_error)
        self._driver.explain(error, self.name)
        return error

    def __reduce__(self) -> Any:
        """For `copy`, `deepcopy` and `pickle`."""
        raise TypeError(
            f"a {kind_of(self)} cannot be copied or pickled: it stands for connections of this "
            "process; share the object between threads, and make one in each process that is "
            "started anew (after a fork the child's begins empty by itself)"
        )

    def __repr__(self) -> str:
        state = self._runtime.state
        name = f" {self.name!r}" if self.name else ""
        return f"<Pool{name}: {state.phase}, {describe(state, self._runtime.clock())}>"
