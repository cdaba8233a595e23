"""Observers of a running pool: each transition is told to them, in order, outside the lock.

Theory.  All that a pool does is a list of transitions: an event, and what was decided of it.  From
that list everything else can be derived: metrics, a recording, a time line.  So there is one seam.
An observer is somebody else's code, so it is called outside the pool's lock, and what it raises is
logged and goes no further.

It costs nothing when there is none.  The runtime calls the machine by two names, `step` and
`shortcuts`, and an `Observation` takes the place of both.  Under the lock it only writes down what
came (`named.py`: nothing of a program is kept alive), and leaves a note that asks for nothing in
the inbox, at which everybody looks who leaves the lock; who finds it there tells.  One thread tells
at a time, so the order is that of the transitions, and the others do not wait for it: a transition
may be told by another thread than the one that made it.  A finalizer tells nobody; who comes next
does.

An exception that comes between a decision and its assignment undoes it: then the next event comes
with another state than the last one led to, and the last one is taken back.  So the last one is
told only when it is seen to be in force.

Metrics, flight recorders and measured times stand on it.  Listeners do not: they are told of a
connection itself, on the thread that has it, before its holder; here are names, and later.  Nor do
the counts of the statistics, which a pool has that nobody observes.

What it refuses to know: who observes, and why.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from pool.core import shortcuts
from pool.core.effects import Effect, Grant
from pool.core.events import Acquire, Adopt, Event, Release
from pool.core.state import Fields, State, state_of
from pool.core.transition import step
from pool.shared import named
from pool.shared.arguments import check_answer, check_hook, refuse
from pool.shared.holders import Holder, Taker
from pool.shared.log import logger
from pool.shared.running import Running
from pool.shared.store import NoShortcuts

Observer = Callable[[Event, tuple[Effect, ...]], object]
"""Is called with each event and its effects. In them a connection is a text, `connection 17` by its
key, and an owner is one, too: the thread or the task, and the line of code where that is known."""

OnState = Callable[[State], object]

Lines = tuple[Any, ...]

PATIENCE = 5.0
"""Seconds that a flush waits for another thread that tells."""


def _ask_for_nothing(_: State) -> Event:
    raise ValueError("this note asks for nothing")


NUDGE: tuple[Callable[[State], Event]] = (_ask_for_nothing,)
"""The note that makes who leaves the lock tell."""


@attrs.frozen(eq=False)
class _Told:
    """One observer."""

    observer: Observer
    batch: int
    at_end: Callable[[], object] | None
    """Called when all that was known has been told."""
    failed: set[str] = attrs.field(factory=set)


_UNKNOWN: tuple[Fields, Any] = ((), None)


class Observation:
    """Stands in the place of `step` and of its shortcuts. Thread-safe: `acquire`, `release` and
    `__call__` are called within transitions, one at a time; the rest from anywhere."""

    __slots__ = (
        "_adopted",
        "_batch",
        "_buffer",
        "_inbox",
        "_label",
        "_last",
        "_marks",
        "_pid",
        "_plain",
        "_teller",
        "_telling",
        "_told",
        "shortcuts",
    )

    def __init__(self, plain: Any, label: str) -> None:
        self._plain = plain
        self._label = label
        self._told: tuple[_Told, ...] = ()
        self._batch = 1
        self._buffer: deque[Any] = deque()
        self._last: tuple[Fields, Any] = _UNKNOWN
        """What the last transition led to, if it came into force, and what was written down of it:
        first this, then that."""
        self._adopted: tuple[Any, Fields] | None = None
        """An `Adopt`, which an adapter tells in one go with the event that follows."""
        self._marks: list[OnState] = []
        self._inbox: deque[Any] = deque()
        self._telling = threading.Lock()
        self._teller: int | None = None
        self._pid = os.getpid()
        self.shortcuts: Any = self if plain is step else NoShortcuts

    def belongs_to(self, monitor: Any) -> None:
        """It is that one's inbox at which people look."""
        self._inbox = monitor.inbox
        monitor.observed = self

    def begin_anew(self) -> None:
        """Before the event that says so: in a child process the parent tells what was before."""
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._telling = threading.Lock()
            self._buffer = deque()
            self._last, self._adopted = _UNKNOWN, None

    # ------------------------------------------------------------ who is told

    def add(self, observer: Observer, batch: int, at_end: Callable[[], object] | None) -> _Told:
        told = _Told(observer, batch, at_end)
        self._told += (told,)
        self._batch = min(each.batch for each in self._told)
        return told

    def remove(self, told: _Told) -> bool:
        """Whether nobody is left."""
        self._told = tuple(each for each in self._told if each is not told)
        self._batch = min((each.batch for each in self._told), default=1)
        return not self._told

    def observers(self) -> list[Observer]:
        """Who is told."""
        return [told.observer for told in self._told]

    def mark(self, on_state: OnState) -> None:
        """Call this with the state in which the next event comes, before that is told."""
        self._marks.append(on_state)

    # ------------------------------------------------------------ within transitions

    def acquire(self, fields: Fields, now: float, ticket: int, wait: bool, owner: Any) -> Any:
        taken = shortcuts.acquire(fields, now, ticket, wait, owner)
        if taken is not None:
            if fields is not self._last[0] or self._marks:
                self._settle(fields)
            taker: Any
            if isinstance(owner, Holder):
                taker, lines = owner.taker, owner.lines
            elif isinstance(owner, Taker):
                taker, lines = owner, ()
            else:
                taker, lines = (None if owner is None else _SOMEBODY), ()
            item = (now, ticket, wait, taker, lines, taken[1], taken[3])
            self._last = taken[0], item
            buffer = self._buffer
            buffer.append(item)
            if len(buffer) >= self._batch:
                self._inbox.append(NUDGE)
        return taken

    def release(self, fields: Fields, now: float, ticket: int, key: int, reusable: bool) -> Any:
        outcome = shortcuts.release(fields, now, ticket, key, reusable)
        if outcome is not None:
            if fields is not self._last[0] or self._marks:
                self._settle(fields)
            item = (now, ticket, key, *named.effects(outcome[1], _owner))
            self._last = outcome[0], item
            buffer = self._buffer
            buffer.append(item)
            if len(buffer) >= self._batch:
                self._inbox.append(NUDGE)
        return outcome

    def __call__(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        """`step`, while somebody looks on."""
        outcome = self._plain(state, event)
        after, effects = outcome
        told = (
            named.event(state, event, after, effects, _owner),
            named.effects(effects, _owner),
        )
        items = [told]
        if self._adopted is not None and self._adopted[1] is state:
            items.insert(0, self._adopted[0])
            self._adopted = None
        else:
            self._settle(state)
            if type(event) is Adopt:
                self._adopted = told, after
                return outcome  # type: ignore[no-any-return]
        self._last = after, items
        self._buffer.append(items)
        if len(self._buffer) >= self._batch:
            self._inbox.append(NUDGE)
        return outcome  # type: ignore[no-any-return]

    def _settle(self, fields: Fields) -> None:
        """The next event comes with these: what led elsewhere never happened."""
        (last, item), adopted, buffer = self._last, self._adopted, self._buffer
        if not _same(last, fields):
            if adopted is not None and _same(adopted[1], fields):
                items = [adopted[0]]
                self._last = adopted[1], items
                buffer.append(items)
            elif buffer and buffer[-1] is item:
                buffer.pop()
        self._adopted = None
        self._last = fields, None
        while self._marks:
            self._buffer.append((self._marks.pop(0), state_of(fields)))

    # ------------------------------------------------------------ outside

    def calm(self) -> None:
        """Whoever calls this is going to tell: the note is not needed."""
        if self._inbox:
            with contextlib.suppress(ValueError, IndexError):  # taken by another
                self._inbox.remove(NUDGE)

    def tell_batch(self, monitor: Any) -> None:
        """As `tell`, if there is enough to be told."""
        if len(self._buffer) >= self._batch:
            self.tell(monitor)

    def tell(self, monitor: Any) -> None:
        """Tell what is in force by now, unless another thread is at it: that one tells it. Without
        a monitor, for its pool is gone, all: nothing can be taken back any more."""
        while self._is_something_known(monitor):
            telling = self._telling  # in a child process it is another one
            for _ in iter(functools.partial(telling.acquire, False), False):
                try:
                    self._teller = threading.get_ident()
                    self._tell(monitor)
                finally:
                    self._teller = None
                    telling.release()
                break
            else:
                return

    def await_teller(self) -> None:
        """Until nobody tells; for at most `PATIENCE` seconds, and not for this very thread."""
        deadline = time.monotonic() + PATIENCE
        while self._telling.locked() and self._teller != threading.get_ident():
            if time.monotonic() >= deadline:
                return
            time.sleep(0.0005)

    def _is_something_known(self, monitor: Any) -> bool:
        return len(self._buffer) > 1 or (
            len(self._buffer) == 1 and (monitor is None or _same(self._last[0], monitor.current[0]))
        )

    def _tell(self, monitor: Any) -> None:
        """A frame of its own, as `Store.empty_inbox`. Who is interrupted here tells one thing
        again: an observer that must not hear it twice compares it with the last."""
        buffer = self._buffer
        while self._is_something_known(monitor):
            buffer[0] = items = _read(buffer[0])
            while items:
                event, effects = items[0]
                if callable(event):
                    self._call(event, effects)
                else:
                    for told in self._told:
                        self._call(told.observer, event, effects, told)
                items.pop(0)
            buffer.popleft()
        for told in self._told:
            if told.at_end is not None:
                self._call(told.at_end, told)

    def _call(self, function: Any, *arguments: Any) -> None:
        told = arguments[-1] if isinstance(arguments[-1], _Told) else None
        try:
            check_answer("an observer", function(*(arguments[:-1] if told else arguments)))
        except Exception as error:
            kind = type(error).__name__
            if told is None or kind not in told.failed:
                if told is not None:
                    told.failed.add(kind)
                text = "%san observer failed; what it does again is not logged"
                logger.warning(text, self._label, exc_info=True)


def _same(one: Fields, other: Fields) -> bool:
    """Whether these are the fields of one state, which is sometimes a `State`, sometimes not."""
    return one is other or bool(one and all(map(operator.is_, state_of(one), state_of(other))))


def _read(item: Any) -> list[tuple[Any, Any]]:
    """What was written down, as it is told."""
    if isinstance(item, list):
        return item
    if len(item) == 2:
        on_state, state = item
        return [(on_state, named.state(state, _owner))]
    if len(item) < 5:
        now, ticket, key, *granted = item
        return [(Release(now, ticket, key), tuple(granted))]
    now, ticket, wait, taker, lines, key, rested = item
    owner = None if taker is None else _owner_of(ticket, taker, lines)
    grant = (Grant(ticket, key, named.connection(key), rested),) if key else ()
    return [(Acquire(now, ticket, wait, owner), grant)]


# ---------------------------------------------------------------- owners as text


_SOMEBODY: Any = object()


def _owner(ticket: int, owner: Any) -> str:
    if isinstance(owner, Holder):
        return _owner_of(ticket, owner.taker, owner.lines)
    return _owner_of(ticket, owner if isinstance(owner, Taker) else _SOMEBODY, ())


def _owner_of(ticket: int, taker: Any, lines: Lines) -> str:
    if taker is _SOMEBODY:
        return f"owner of {ticket}"
    place = ""
    if lines:
        code, number = lines[0]
        place = f" at {code.co_filename}:{number} in {code.co_name}"
    return f"{taker.KIND} {taker.name!r}{place}"


# ---------------------------------------------------------------- coming and going


_coming_and_going = threading.RLock()
"""Who begins to observe, or ends that, is alone: there is one `Observation` of a pool."""


def _after_fork_in_child() -> None:
    global _coming_and_going
    _coming_and_going = threading.RLock()  # another thread may have had it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Observing:
    """An observer at work, until `stop`. Made by `observe`, of a `runtime`, an `observer`, a
    `batch`, and what is called when all was told, `at_end`. Thread-safe. As a context manager it
    stops at the end."""

    def __init__(
        self,
        runtime: Any,
        observer: Observer,
        batch: int,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        self._runtime = weakref.ref(runtime)
        """A pool that nobody uses any more is collected, whoever observes it."""
        self._observation = _observation_of(runtime)
        self.flush()  # what was before is not its own
        with _coming_and_going:
            self._observation = _observation_of(runtime)  # the one so far may have ended meanwhile
            self._told: _Told | None = self._observation.add(observer, batch, at_end)

    def flush(self) -> None:
        """Tell what waits for being told. Where another thread is at it just now, wait until that
        has told it, for at most five seconds."""
        runtime = self._runtime()
        if runtime is not None:
            for _ in range(2):  # who was at it may have looked for the last time before this came
                self._observation.tell(runtime.monitor)
                self._observation.await_teller()

    def mark(self, on_state: OnState) -> None:
        """Call `on_state` with the state in which the next event comes, before that is told."""
        self._observation.mark(on_state)

    def tell_rest(self) -> None:
        """The pool is collected: tell what waits."""
        self._observation.tell(None)

    def stop(self) -> None:
        """Tell what waits, then no more. May be called again."""
        told, self._told = self._told, None
        if told is None:
            return
        self.flush()
        observation, runtime = self._observation, self._runtime()
        with _coming_and_going:
            if observation.remove(told) and runtime is not None:
                for holder, name in slots(runtime):
                    if getattr(holder, name) is observation:
                        setattr(holder, name, observation._plain)
                        runtime.monitor.observed = None
                        break
                # Else somebody unknown stands in front of it and calls it: it remains as a detour.
        observation.await_teller()  # who may have found this observer just before

    def __enter__(self) -> Observing:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def observe(pool: Any, observer: Observer, *, batch: int = 1) -> Observing:
    """Call `observer(event, effects)` for each transition of a pool from now on, until `stop` of
    what this returns. `pool` is a `Pool`, one for asyncio, or a pooled database of peewee.

    It is called in the order of the transitions, outside the pool's lock, by whoever uses the pool:
    by one thread at a time, not always the one that made the transition. It must be quick, and may
    be called again with what it was called with last, after a signal's handler has raised in it.
    What it raises is logged, once for each class, and nothing is lost by it. In event and effects a
    connection is a text, its key, and so is an owner.

    `batch`: wait until so many transitions are to be told, which is cheaper; `flush` of what this
    returns tells at once. Raises `ValueError` for what is not allowed. May be called from any
    thread; for a pool for asyncio, on its loop.
    """
    runtime = runtime_of(pool)
    if not callable(observer):
        raise refuse("observer", observer, "a function that takes an event and its effects")
    check_hook("observer", observer, "an event and its effects")
    if type(batch) is not int or batch < 1:
        raise refuse("batch", batch, "a whole number, at least 1")
    return Observing(runtime, observer, batch)


on_made: list[Callable[[Any], object]] = []
"""Functions that are called with each pool, or pooled database, that is made."""


def made(pool: Any) -> None:
    """Tell them; what they raise is logged."""
    for function in on_made:
        try:
            function(pool)
        except Exception:
            logger.warning("what is told of new pools failed: %s", function, exc_info=True)


def _observation_of(runtime: Any) -> Observation:
    """The one that this runtime has, or gets now."""
    with _coming_and_going:
        monitor = runtime.monitor
        if monitor.observed is None:
            holder, name = innermost(runtime)
            observation = Observation(getattr(holder, name), runtime.label)
            observation.belongs_to(monitor)
            setattr(holder, name, observation)
        found: Observation = monitor.observed
        return found


def runtime_of(pool: Any) -> Any:
    """The runtime of a pool or a pooled database, or the runtime itself."""
    if isinstance(pool, Running):
        return pool
    own = getattr(pool, "_purepool", None)
    return pool._runtime if own is None else own.runtime


def slots(runtime: Any) -> Iterator[tuple[Any, str]]:
    """Where the runtime keeps its `step`; then where an adapter that stands in front of it (the
    mirror of `pool.peewee`) keeps the one behind."""
    holder: Any = runtime
    name = "step"
    while True:
        yield holder, name
        holder, name = getattr(getattr(holder, name), "__self__", None), "_plain_step"
        if not hasattr(holder, name):
            return


def innermost(runtime: Any) -> tuple[Any, str]:
    """Next to the machine, so that what an adapter adds is seen as what it is: an event."""
    *_, last = slots(runtime)
    return last
