"""The Hypothesis machine for the threaded runtime: random callers of a `Pool`, and what they get.

Theory.  `PoolMachine` asks whether `step` is right; here the question is whether callers of the
public API get what `step` says.  The callers are threads of a scheduler's world
(`scheduler.py`), so nothing runs by itself and nothing sleeps: the machine says who goes on, how a
driver's hook ends, whose wait ends by time and who is interrupted.  The driver is scripted, and
the clock is the world's.

Between the runtime and `step` stands a `Twin`: it tells each event to the reference model
too, and judges.  So the machine itself has to look only at the outside: each call must come to
what the model answered, by the events that it stands for; and whenever nobody can go on,
those who wait, connect and hold must be those whom the model has waiting, connecting and
holding, the numbers in `statistics()` must be the model's, and the driver must have closed what
the model closed, each once.

What it refuses to know: which order is the right one.

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(RuntimeMachine, settings=...)
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from greenlet import GreenletExit
from hypothesis import event as statistic
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pool.api import Pool
from pool.check.machines.drawn import LATER, PICK, chosen, limits_strategy
from pool.check.machines.twin import Broken, Twin, View
from pool.check.schedules.scheduler import Collector, Interrupted, Thread, World, quiet_finalizers
from pool.check.schedules.threads import SeenShortcuts
from pool.core.effects import Close, Effect, Grant, Ignored, Refuse
from pool.core.events import (
    Acquire,
    Cancel,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Discard,
    Event,
    Opened,
    Release,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.limits import Limits
from pool.core.state import State
from pool.lease import Lease
from pool.shared.errors import (
    OpenError,
    PoolClosed,
    PoolError,
    PoolSuspended,
    PoolTimeout,
    TooManyWaiting,
)
from pool.shared.store import claims_of
from pool.threads.monitor import Monitor

TOLD: dict[str, type[PoolError]] = {
    "timeout": PoolTimeout,
    "exhausted": PoolTimeout,
    "suspended": PoolSuspended,
    "too_many_waiting": TooManyWaiting,
    "open_failed": OpenError,
    "closed": PoolClosed,
}
"""What a caller is told when it is refused for this reason."""

CLAIMS = {
    "Answered": "a call comes to what the model answered its ticket",
    "InTime": "nobody is told that its time is up before it is",
    "Checked": "what rested too long was asked whether it is alive, and it was",
    "Sent": "a call sends the events that it stands for, with the time of the call",
    "Lost": "what its holder lost is closed, not lent again",
    "Told": "the pool is told of every connection, unless its maker was interrupted",
    "Serial": "each event is applied to the state that the last one left",
    "Parked": "who waits is who waits in the model",
    "Connecting": "who connects for the pool is who connects in the model",
    "Holding": "who holds a connection is who holds it in the model",
    "Tidy": "no lock is held, no note that claims anything and no cell is left",
    "Closed": "the driver closed what the model closed, each once",
    "Statistics": "the numbers are the model's",
    "NobodyStranded": "answers of the driver and releases let every call end",
}
"""What the machine checks besides what a `Twin` does, by name."""


TIMEOUTS = st.sampled_from([None, None, 0.0, 0.5, 1.0, 5.0])


class Away(Exception):
    """What the driver raises."""


class Connection:
    """A connection of the scripted driver."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def __repr__(self) -> str:
        return f"c{self.number}"


@attrs.define(eq=False)
class Call:
    """A call of the public API, under way on a thread of its own."""

    kind: str
    began: float
    timeout: float | None = None
    returns: int = 0
    """The ticket of the lease that it gives back."""
    thread: Thread | None = None
    hook: str = ""
    """The hook of the driver in which it stands."""
    ending: str = ""
    """How that hook ends: `ok`, `no`, or `fail`."""
    sent: list[tuple[Event, tuple[Effect, ...]]] = attrs.field(factory=list)
    connects: list[str] = attrs.field(factory=list)
    """How its connects ended."""
    alive: list[Connection] = attrs.field(factory=list)
    """The connections that it found alive."""
    result: Any = None
    error: BaseException | None = None
    cause: BaseException | None = None

    @property
    def own(self) -> list[tuple[Event, tuple[Effect, ...]]]:
        """What it sent for itself: not for those whose notes it found in the inbox, nor
        because it was time."""
        return [
            (event, effects)
            for event, effects in self.sent
            if not isinstance(event, Cancel | Discard | Tick)
            or (isinstance(event, Discard) and event.ticket == self.returns)
        ]

    @property
    def ignored(self) -> bool:
        """Whether the last of these was not allowed."""
        return any(
            isinstance(effect, Ignored) for _, effects in self.own[-1:] for effect in effects
        )

    @property
    def ticket(self) -> int:
        """Its last one; 0 if it has none."""
        tickets = [event.ticket for event, _ in self.sent if isinstance(event, Acquire)]
        return tickets[-1] if tickets else 0


class RuntimeMachine(RuleBasedStateMachine):
    """Chooses what callers, driver and time do; a `Twin` and the claims judge."""

    def __init__(self) -> None:
        super().__init__()
        self.collector: Collector | None = None
        self.twin: Twin | None = None
        self.broken: Broken | None = None
        self.calls: dict[Thread, Call] = {}
        """Those under way."""
        self.leases: list[Lease[Connection]] = []
        self.ended: list[Lease[Connection]] = []
        self.answers: dict[int, Grant | Refuse] = {}
        self.made: list[Connection] = []
        self.told: list[Connection] = []
        """Connections that the pool was told of."""
        self.to_close: list[Connection] = []
        self.lost: set[int] = set()
        """Tickets of leases that nobody gave back."""
        self.slow = 0
        self.steps = 1000
        self.reset_ends = "ok"

    @classmethod
    def collect(cls, ended: RuntimeMachine) -> None:
        """Called at the end of every run that broke no promise."""

    @initialize(
        limits=limits_strategy("caller"),
        check_after=st.sampled_from([0.0, 0.0, 1.0]),
        fine=st.booleans(),
    )
    def begin(self, limits: Limits, check_after: float, fine: bool) -> None:
        self.collector = Collector()
        limits = attrs.evolve(limits, leak_after=None)
        self.world = world = World(fine=fine)
        self.twin = Twin(limits)
        self.reached: Counter[str] = Counter()
        self.check_after = check_after
        fields = attrs.asdict(limits)
        self.pool: Pool[Connection] = Pool(
            self.connect, check=self.check, check_after=check_after, reset=self.reset, **fields
        )
        runtime = self.runtime = self.pool._runtime
        runtime.sync, runtime.clock, runtime._monotonic = world, world.monotonic, world.monotonic
        runtime.jitter = lambda: 0.0
        runtime._begin_with(Monitor(runtime.fields, world, runtime.monitor.tickets))
        runtime.step = self.step
        runtime.monitor.shortcuts = SeenShortcuts(self.step)
        self.twin.state = runtime.state  # from here on the same object

    # ------------------------------------------------------------ the driver

    def stand(self, hook: str) -> str:
        call = self.calls.get(self.world.current)  # type: ignore[arg-type]  # None is no key
        if call is None:
            return "ok"
        call.hook = hook
        try:
            self.world.pause()
        finally:
            call.hook = ""
        return call.ending

    def connect(self) -> Connection:
        ending = self.stand("connect")
        if self.world.current in self.calls:
            self.calls[self.world.current].connects.append(ending)
        if ending != "ok":
            raise Away("no route")
        connection = Connection(len(self.made) + 1)
        self.made.append(connection)
        return connection

    def check(self, connection: Connection) -> bool:
        ending = self.stand("check")
        if ending == "fail":
            raise Away("reset by peer")
        if ending == "ok" and self.world.current in self.calls:
            self.calls[self.world.current].alive.append(connection)
        return ending == "ok"

    def reset(self, connection: Connection) -> bool:
        if self.reset_ends == "fail":
            raise Away("reset by peer")
        return self.reset_ends == "ok"

    # ------------------------------------------------------------ between runtime and `step`

    def step(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        twin = self.twin
        assert twin is not None
        call = self.calls.get(self.world.current)  # type: ignore[arg-type]  # None is no key
        try:
            twin.expect("Serial", state is twin.state, CLAIMS["Serial"])
            timely = call is None or call.began <= event.now <= self.world.now
            twin.expect("Sent", timely, f"{event!r} at {self.world.now}")
            if getattr(event, "ticket", None) in self.lost:
                twin.expect("Lost", isinstance(event, Cancel | Discard), repr(event))
            effects = twin.tell(event)
        except Broken as broken:
            self.broken = self.broken or broken
            raise
        if call is not None:
            call.sent.append((event, effects))
        if isinstance(event, Opened):
            self.told.append(event.connection)
        for effect in effects:
            if isinstance(effect, (Grant, Refuse)):
                self.answers[effect.ticket] = effect
            elif isinstance(effect, Close):
                self.to_close.append(effect.connection)
        return twin.state, effects

    def fail(self, claim: str, detail: str) -> None:
        assert self.twin is not None
        self.twin.fail(claim, f"{CLAIMS[claim]}: {detail}")

    def expect(self, claim: str, kept: bool, detail: object = "") -> None:
        if not kept:
            self.fail(claim, str(detail))

    @property
    def model(self) -> View:
        assert self.twin is not None
        assert self.twin.model is not None
        return self.twin.model.view()

    # ------------------------------------------------------------ threads

    def call(
        self,
        kind: str,
        function: Callable[[], Any],
        timeout: float | None = None,
        returns: int = 0,
    ) -> Call:
        """Begin a call, and let it go on until it has to wait."""
        call = Call(kind, self.world.now, timeout, returns)

        def target() -> None:
            try:
                call.result = function()
            except GreenletExit:
                raise
            except BaseException as error:
                call.error, call.cause = error.with_traceback(None), error.__cause__

        call.thread = self.world.spawn(target, f"{kind} {len(self.world.threads)}")
        self.calls[call.thread] = call
        self.go_on(call)
        self.settle()
        return call

    def go_on(self, call: Call, how: str = "go", ending: str = "") -> None:
        """Let this thread go on until it waits, or for a few steps, or has ended."""
        thread = call.thread
        assert thread is not None
        call.ending = ending
        with quiet_finalizers(Broken):
            for _ in range(self.steps if self.slow else 1000):
                self.world.take((thread.number, how))  # type: ignore[arg-type]  # one of How
                if self.broken is not None:
                    raise self.broken
                how = "go"
                if thread.done or call.hook or call not in self.going():
                    break
        if thread.done:
            del self.calls[thread]
            self.judge(call)
            call.error = call.cause = None

    def going(self) -> list[Call]:
        """Who can go on by itself."""
        numbers = {number for number, how in self.world.options() if how == "go"}
        return [
            call
            for thread, call in self.calls.items()
            if thread.number in numbers and not call.hook
        ]

    def settle(self) -> None:
        """Let everybody go on until nobody can; unless it is slow in here."""
        if self.slow:
            self.slow -= 1
            return
        while going := self.going():
            self.go_on(going[0])

    def standing(self, hook: str = "") -> list[Call]:
        """Who stands in a hook of the driver."""
        return [
            call for call in self.calls.values() if call.hook and call.hook in (hook or call.hook)
        ]

    def parked(self) -> list[Call]:
        """Who stands at a lock that only an answer can open."""
        return [
            call
            for thread, call in self.calls.items()
            if thread.at == "acquire" and thread.lock is not None and thread.lock.maker is thread
        ]

    # ------------------------------------------------------------ what a call came to

    def judge(self, call: Call) -> None:
        """The call is over: it must have come to what the model said, by the right events."""
        error = call.error
        name = "" if error is None else f" {type(error).__name__}"
        self.reached[f"{call.kind}{name}"] += 1
        if isinstance(error, Interrupted):
            return
        if call.kind == "acquire":
            self.judge_acquire(call)
        elif call.kind in ("release", "discard"):
            self.expect("Answered", error is None, f"{call.kind} raised {error!r}")
            took = bool(call.own) and not call.ignored
            self.expect("Answered", call.result is took, f"{call.kind} said {call.result}")
        elif call.kind in ("close", "apply"):
            self.expect("Answered", error is None, f"{call.kind} raised {error!r}")
        else:
            closed = call.ignored and self.model["phase"] == "closed"
            told = PoolClosed if closed else type(None)
            self.expect("Answered", type(error) is told, f"{call.kind} raised {error!r}")

    def judge_acquire(self, call: Call) -> None:
        error, answer = call.error, self.answers.get(call.ticket)
        if error is None:
            lease: Lease[Connection] = call.result
            self.leases.append(lease)
            granted = isinstance(answer, Grant) and answer.connection is lease.connection
            owned = (lease.ticket, lease.key) == (call.ticket, getattr(answer, "key", None))
            self.expect("Answered", granted and owned, f"{lease!r}, the model: {answer!r}")
            rested = getattr(answer, "rested", None)
            if rested is not None and rested >= self.check_after:
                self.expect("Checked", lease.connection in call.alive, repr(lease))
            return
        if call.connects[-1:] == ["fail"]:  # its own failure, also if the pool is closed by now
            own = type(error) is OpenError and isinstance(call.cause, Away)
            self.expect("Answered", own, f"raised {error!r} when its connect failed")
            return
        refused = isinstance(answer, Refuse) and type(error) is TOLD[answer.reason]
        self.expect("Answered", refused, f"raised {error!r}, the model: {answer!r}")
        if isinstance(answer, Refuse) and answer.reason == "timeout":
            due = call.began + (call.timeout or 0.0)
            self.expect("InTime", self.world.now >= due, f"at {self.world.now}, due {due}")

    # ------------------------------------------------------------ when nobody can go on

    @invariant()
    def quiet(self) -> None:
        if self.twin is None or self.twin.broken or self.going():
            return
        model, runtime = self.model, self.runtime
        self.expect("Tidy", not runtime.monitor.lock.is_held, "the lock is held")
        # A weak reference writes its note after the finalizer has said the same: it claims nothing.
        notes = [
            n for n in runtime.monitor.inbox if type(n) is tuple or claims_of(n, runtime.state)
        ]
        self.expect("Tidy", not notes, notes)
        waiting = {ticket for ticket, _ in model["waiters"]}
        parked = {call.ticket for call in self.parked()}
        self.expect("Parked", waiting == parked, f"{parked}, the model: {waiting}")
        opening = set(model["opening_tickets"])
        connecting = {call.ticket for call in self.standing("connect")}
        gone = {t for t in connecting - opening if isinstance(self.answers.get(t), Refuse)}
        self.expect("Connecting", connecting - gone == opening, f"{connecting}, model: {opening}")
        self.expect(
            "Tidy", set(runtime.monitor.cells) == waiting | opening, list(runtime.monitor.cells)
        )
        held = {lease.ticket: lease.connection for lease in self.leases}
        for call in self.standing("check"):
            answer = self.answers[call.ticket]
            assert isinstance(answer, Grant)
            held[call.ticket] = answer.connection
        in_use = {lease[4]: lease[0] for lease in model["in_use"].values()}
        fenced = {t: c for t, c in held.items() if t not in in_use and c in self.to_close}
        kept = {t: c for t, c in held.items() if t not in fenced}
        self.expect("Holding", kept == in_use, f"{kept}, the model: {in_use}")
        jobs = [job.connection for job in runtime.monitor.jobs.values() if isinstance(job, Close)]
        closed = Counter({c: c.closed for c in self.made if c.closed})
        wanted = Counter(self.to_close)
        wanted.subtract(jobs)
        self.expect("Closed", closed == +wanted, f"{closed}, the model: {+wanted}, jobs: {jobs}")
        self.check_statistics(model)

    def check_statistics(self, model: View) -> None:
        found = attrs.asdict(self.pool.statistics())
        wanted = {
            "phase": model["phase"],
            "max_size": model["limits"].max_size,
            "idle": len(model["idle"]),
            "in_use": len(model["in_use"]),
            "opening": len(model["opening_tickets"]),
            "waiting": len(model["waiters"]),
            "requests": model["issued"],
            **{
                name: model[name]
                for name in ("granted", "refused", "cancelled", "opened", "closed", "dead")
            },
        }
        wrong = {name: found[name] for name in wanted if found[name] != wanted[name]}
        self.expect("Statistics", not wrong, f"{wrong}, the model: {wanted}")

    # ------------------------------------------------------------ callers

    @rule(
        timeout=st.sampled_from([None, None, 0.0, 0.5, 1.0, 5.0]), count=st.sampled_from([1, 1, 3])
    )
    def acquire(self, timeout: float | None, count: int) -> None:
        for _ in range(count):
            self.call("acquire", lambda: self.pool.acquire(timeout), timeout)

    @precondition(lambda self: self.leases)
    @rule(pick=PICK, reset=st.sampled_from(["ok", "ok", "ok", "no", "fail"]))
    def release(self, pick: int, reset: str) -> None:
        lease = self.take_lease(pick)
        ticket, key = lease.ticket, lease.key
        self.reset_ends = reset
        call = self.call("release", lease.release, returns=ticket)
        self.sends(call, Release(0.0, ticket, key, reset == "ok"))
        self.keep_ended(call, lease)

    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def discard(self, pick: int) -> None:
        lease = self.take_lease(pick)
        ticket, key = lease.ticket, lease.key
        call = self.call("discard", lease.discard, returns=ticket)
        self.sends(call, Discard(0.0, ticket, key))
        self.keep_ended(call, lease)

    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def lose(self, pick: int) -> None:
        """The last reference goes; nobody says anything to the pool."""
        with quiet_finalizers(Broken):
            index = pick % len(self.leases)
            self.lost.add(self.leases[index].ticket)
            del self.leases[index]
        if self.broken is not None:
            raise self.broken
        self.reached["lose"] += 1
        self.settle()

    @precondition(lambda self: self.ended)
    @rule(pick=PICK)
    def give_back_again(self, pick: int) -> None:
        lease = chosen(self.ended, pick)
        call = self.call("release", lease.release)
        self.expect("Sent", not call.own, f"a lease that had ended sent {call.own}")

    def keep_ended(self, call: Call, lease: Lease[Connection]) -> None:
        """A lease belongs to one thread at a time."""
        if call.thread is not None and call.thread.done:
            self.ended = [*self.ended[-2:], lease]

    def take_lease(self, pick: int) -> Lease[Connection]:
        return self.leases.pop(pick % len(self.leases))

    def sends(self, call: Call, event: Event) -> None:
        """What it sent, if it came so far: this event."""
        sent = [one._replace(now=0.0) for one, _ in call.own]
        self.expect("Sent", sent in ([event], []), f"{sent}, not {event}")
        assert call.thread is not None
        self.expect("Sent", bool(sent) or not call.thread.done, f"nothing, not {event}")

    # ------------------------------------------------------------ the driver, and time

    @precondition(lambda self: self.standing("connect"))
    @rule(pick=PICK, ending=st.sampled_from(["ok", "ok", "fail"]))
    def connected(self, pick: int, ending: str) -> None:
        self.go_on(chosen(self.standing("connect"), pick), ending=ending)
        self.settle()

    @rule(count=st.integers(1, 3))
    def warm_up(self, count: int) -> None:
        """A few are lent, and come back: some connections rest."""
        for _ in range(count):
            self.call("acquire", lambda: self.pool.acquire(0), 0.0)
        for _ in range(20):
            if not (standing := self.standing()):
                break
            self.go_on(standing[0], ending="ok")
        while self.leases and len(self.leases) > count // 3:
            self.release(0, "ok")
        self.settle()

    @precondition(lambda self: self.standing("check"))
    @rule(pick=PICK, ending=st.sampled_from(["ok", "no", "fail"]))
    def checked(self, pick: int, ending: str) -> None:
        self.go_on(chosen(self.standing("check"), pick), ending=ending)
        self.settle()

    @rule(later=LATER)
    def time_passes(self, later: float) -> None:
        self.world.now += later

    @precondition(lambda self: self.timed())
    @rule(pick=PICK)
    def time_is_up(self, pick: int) -> None:
        """A wait ends by time; perhaps its caller was answered meanwhile."""
        self.go_on(chosen(self.timed(), pick), "timeout")
        self.settle()

    def timed(self) -> list[Call]:
        return [call for thread, call in self.calls.items() if thread.deadline is not None]

    @precondition(lambda self: self.parked() or self.standing())
    @rule(pick=PICK)
    def interrupt(self, pick: int) -> None:
        """An asynchronous exception comes to one who waits or is in the driver."""
        self.go_on(chosen([*self.parked(), *self.standing()], pick), "interrupt")
        self.settle()

    @rule(rules=st.integers(1, 3), steps=st.integers(1, 6))
    def be_slow(self, rules: int, steps: int) -> None:
        """For a few rules everybody stops after a few steps, wherever that is."""
        self.slow, self.steps = rules, steps

    @precondition(lambda self: self.going())
    @rule(pick=PICK)
    def one_goes_on(self, pick: int) -> None:
        self.go_on(chosen(self.going(), pick))

    # ------------------------------------------------------------ those who run the pool

    @precondition(lambda self: self.twin and len(self.twin.history) % 3 == 1)
    @rule(kind=st.sampled_from(["suspend", "resume", "resume", "drain"]))
    def manage(self, kind: str) -> None:
        wanted: dict[str, Event] = {
            "suspend": Suspend(0.0),
            "resume": Resume(0.0),
            "drain": Retire(0.0),
        }
        self.manages(self.call(kind, getattr(self.pool, kind)), wanted[kind])

    @precondition(lambda self: self.twin and len(self.twin.history) % 3 == 1)
    @rule(most=st.sampled_from([1, 2, 3, None]))
    def resize(self, most: int | None) -> None:
        limits = attrs.evolve(self.pool._runtime.state.limits, max_size=most)
        call = self.call("resize", lambda: self.pool.resize(most))
        self.manages(call, Configure(0.0, limits))

    def manages(self, call: Call, event: Event) -> None:
        if call.thread is not None and call.thread.done:
            self.sends(call, event)

    @precondition(lambda self: self.twin and len(self.twin.history) % 4 == 1)
    @rule(pick=st.integers(0, 9))
    def apply(self, pick: int) -> None:
        """What adapters send."""
        now = self.world.now
        event: Event = Tick(now)
        if pick > 7:
            event = CloseAll(now)
        elif pick > 6:
            event = CloseIdle(now)
        elif pick > 5:
            event = CloseStale(now, now)
        self.call("apply", lambda: self.runtime.apply(event))

    @precondition(lambda self: self.twin and len(self.twin.history) > 20)
    @rule(pick=st.integers(0, 9))
    def close(self, pick: int) -> None:
        if pick == 9:
            call = self.call("close", lambda: self.pool.close(0))
            if not (self.going() or call.error):
                self.manages(call, Shutdown(0.0))

    # ------------------------------------------------------------ the end of a run

    def teardown(self) -> None:
        """Nobody is stranded: the driver's answers and releases let every call end."""
        if self.collector is not None:
            with contextlib.closing(self.collector):
                self.end()

    def end(self) -> None:
        if self.twin is None:
            return
        try:
            if not (self.twin.broken or self.broken):
                self.finish()
                for what in self.reached:
                    statistic(what)
                self.collect(self)
        finally:
            with quiet_finalizers(Broken):
                self.world.abandon()
                self.leases.clear()
                if self.collector is not None:
                    self.collector.between_worlds()

    def finish(self) -> None:
        self.slow = 0
        self.settle()
        if self.model["phase"] == "suspended":
            self.call("resume", self.pool.resume)
        for _ in range(1000):
            self.quiet()
            if standing := self.standing():
                self.go_on(standing[0], ending="ok")
            elif self.leases:
                self.release(0, "ok")
            else:
                break
            self.settle()
        self.expect("NobodyStranded", not self.calls, [str(thread) for thread in self.calls])
        self.call("close", lambda: self.pool.close(0))
        self.call("apply", lambda: self.runtime.apply(Tick(self.world.now)))
        self.quiet()
        wrong = [c for c in self.told if c.closed != 1]
        self.expect("Closed", not wrong, wrong)
        untold = len(self.made) - len(self.told)
        self.expect("Told", untold <= self.reached["acquire Interrupted"], untold)
        self.reached.update(self.twin.reached if self.twin else ())
