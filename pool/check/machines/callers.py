"""What the machines of both runtimes have in common: random callers of a pool, and what they get.

Theory.  `PoolMachine` asks whether `step` is right; here the question is whether callers of the
public API get what `step` says.  Both pools have one API, so most rules are the same, word for
word: threads call (`runtime.py`), tasks await (`tasks.py`).  The driver is scripted, and the clock
is the world's.

Between the runtime and `step` stands a `Twin`: it tells each event to the reference model
too, and judges.  So the machine itself has to look only at the outside: each call must come to
what the model answered, by the events that it stands for; and whenever nobody can go on,
those who wait, connect and hold must be those whom the model has waiting, connecting and
holding, the numbers in `statistics()` must be the model's, and the driver must have closed what
the model closed, each once.

What it refuses to know: which order is the right one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import attrs
from hypothesis import event as statistic
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from pool.check.machines.calls import TIMEOUTS, TOLD, Connection
from pool.check.machines.drawn import LATER, PICK, chosen
from pool.check.machines.twin import Broken, Twin, View
from pool.check.schedules.scheduler import Collector, quiet_finalizers
from pool.core.effects import Close, Effect, Grant, Refuse
from pool.core.events import (
    Cancel,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Discard,
    Event,
    Opened,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    Tick,
)
from pool.core.state import State
from pool.shared.errors import PoolClosed
from pool.shared.store import claims_of

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
"""What the machines check besides what a `Twin` does, by name."""


class Callers(RuleBasedStateMachine):
    """Chooses what callers, driver and time do; a `Twin` and the claims judge."""

    claims: ClassVar[dict[str, str]] = CLAIMS
    unwound: ClassVar[type[BaseException]]
    """What a call is interrupted by; then it comes to nothing else."""

    world: Any
    pool: Any
    """Of the one kind or of the other."""
    check_after: float

    def __init__(self) -> None:
        super().__init__()
        self.collector: Collector | None = None
        self.twin: Twin | None = None
        self.broken: Broken | None = None
        self.calls: dict[Any, Any] = {}
        """Those under way, by thread or task."""
        self.leases: list[Any] = []
        self.ended: list[Any] = []
        self.answers: dict[int, Grant | Refuse] = {}
        self.made: list[Connection] = []
        self.told: list[Connection] = []
        """Connections that the pool was told of."""
        self.to_close: list[Connection] = []
        self.lost: set[int] = set()
        """Tickets of leases that nobody gave back."""
        self.slow = 0
        self.steps = 1000
        self.reached: Counter[str] = Counter()

    @classmethod
    def collect(cls, ended: Callers) -> None:
        """Called at the end of every run that broke no promise."""

    # ------------------------------------------------------------ what is of one kind or the other

    def caller(self) -> Any:
        """The call that is at work; None: nobody's."""
        raise NotImplementedError

    def call(
        self,
        kind: str,
        function: Callable[[], Any],
        timeout: float | None = None,
        returns: int = 0,
    ) -> Any:
        """Begin a call, and let it go on until it has to wait."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let everybody go on until nobody can; unless it is slow in here."""
        raise NotImplementedError

    def can_go_on(self) -> bool:
        """Whether anybody can go on by itself."""
        raise NotImplementedError

    def standing(self, hook: str = "") -> list[Any]:
        """Who stands in a hook of the driver."""
        raise NotImplementedError

    def end_hook(self, standing: Any, ending: str) -> None:
        """The hook ends: `ok`, `no`, or `fail`."""
        raise NotImplementedError

    def was_asked(self, call: Any, grant: Grant) -> bool:
        """Whether the driver said, for this call, that this connection is alive."""
        raise NotImplementedError

    # ------------------------------------------------------------ between runtime and `step`

    def watch(self, runtime: Any, twin: Twin) -> None:
        """From here on the twin sees what this runtime applies."""
        runtime.jitter = lambda: 0.0
        runtime.step = self.step
        twin.state = runtime.state  # from here on the same object

    def step(self, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
        twin = self.twin
        assert twin is not None
        call = self.caller()
        try:
            twin.expect("Serial", state is twin.state, self.claims["Serial"])
            timely = call is None or call.began <= event.now <= self.world.now
            twin.expect("Sent", timely, f"{event!r} at {self.world.now}")
            if getattr(event, "ticket", None) in self.lost:
                twin.expect("Lost", isinstance(event, Cancel | Discard), repr(event))
            self.look_at(event)
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

    def look_at(self, event: Event) -> None:
        """What is to hold of this event besides."""

    def fail(self, claim: str, detail: str) -> None:
        assert self.twin is not None
        self.twin.fail(claim, f"{self.claims[claim]}: {detail}")

    def expect(self, claim: str, kept: bool, detail: object = "") -> None:
        if not kept:
            self.fail(claim, str(detail))

    @property
    def model(self) -> View:
        assert self.twin is not None
        assert self.twin.model is not None
        return self.twin.model.view()

    # ------------------------------------------------------------ what a call came to

    def judge(self, call: Any) -> None:
        """The call is over: it must have come to what the model said, by the right events."""
        error = call.error
        name = "" if error is None else f" {type(error).__name__}"
        self.reached[f"{call.kind}{name}"] += 1
        if isinstance(error, self.unwound):
            return
        if call.kind == "acquire":
            self.judge_acquire(call)
        elif call.kind in ("release", "discard"):
            self.expect("Answered", error is None, f"{call.kind} raised {error!r}")
            self.expect("Answered", call.result is call.took, f"{call.kind} said {call.result}")
        elif call.kind in ("close", "apply"):
            self.expect("Answered", error is None, f"{call.kind} raised {error!r}")
        elif not self.judge_other(call):
            closed = call.ignored and self.model["phase"] == "closed"
            told = PoolClosed if closed else type(None)
            self.expect("Answered", type(error) is told, f"{call.kind} raised {error!r}")

    def judge_other(self, call: Any) -> bool:
        """What only one of the machines calls; whether it was that."""
        return False

    def judge_acquire(self, call: Any) -> None:
        if call.error is None:
            self.leases.append(call.result)
            self.judge_lease(call, call.result)
        else:
            self.judge_refusal(call)

    def judge_lease(self, call: Any, lease: Any) -> None:
        answer = self.answers.get(call.ticket)
        granted = isinstance(answer, Grant) and answer.connection is lease.connection
        owned = (lease.ticket, lease.key) == (call.ticket, getattr(answer, "key", None))
        self.expect("Answered", granted and owned, f"{lease!r}, the model: {answer!r}")
        if isinstance(answer, Grant) and self.has_rested(answer):
            self.expect("Checked", self.was_asked(call, answer), repr(lease))

    def has_rested(self, grant: Grant) -> bool:
        return grant.rested is not None and grant.rested >= self.check_after

    def judge_refusal(self, call: Any) -> None:
        error, answer = call.error, self.answers.get(call.ticket)
        refused = isinstance(answer, Refuse) and type(error) is TOLD[answer.reason]
        self.expect("Answered", refused, f"raised {error!r}, the model: {answer!r}")
        if isinstance(answer, Refuse) and answer.reason == "timeout":
            due = call.began + (call.timeout or 0.0)
            self.expect("InTime", self.world.now >= due, f"at {self.world.now}, due {due}")

    # ------------------------------------------------------------ when nobody can go on

    def check_notes(self) -> None:
        """A weak reference writes its note after the finalizer has said the same: it claims
        nothing."""
        runtime = self.pool._runtime
        inbox = runtime.monitor.inbox
        notes = [n for n in inbox if type(n) is tuple or claims_of(n, runtime.state)]
        self.expect("Tidy", not notes, notes)

    def check_holding(self, model: View, held: dict[int, Connection]) -> None:
        """Those who hold, by ticket. What was closed under its holder is nobody's."""
        in_use = {lease[4]: lease[0] for lease in model["in_use"].values()}
        fenced = {t: c for t, c in held.items() if t not in in_use and c in self.to_close}
        kept = {t: c for t, c in held.items() if t not in fenced}
        self.expect("Holding", kept == in_use, f"{kept}, the model: {in_use}")

    def check_closed(self, pending: Iterable[Connection]) -> None:
        closed = Counter({c: c.closed for c in self.made if c.closed})
        wanted = Counter(self.to_close)
        wanted.subtract(pending)
        self.expect("Closed", closed == +wanted, f"{closed}, the model: {+wanted}, not yet")

    def check_statistics(self, model: View) -> None:
        found = attrs.asdict(self.pool.statistics())
        wanted = {
            "phase": model["phase"],
            "max_size": model["limits"].max_size,
            "idle": len(model["idle"]),
            "in_use": len(model["in_use"]),
            "opening": len(model["opening_tickets"]) + model["opening_background"],
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

    @rule(timeout=TIMEOUTS, count=st.sampled_from([1, 1, 3]))
    def acquire(self, timeout: float | None, count: int) -> None:
        for _ in range(count):
            self.call("acquire", lambda: self.pool.acquire(timeout), timeout)

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

    def keep_ended(self, call: Any, lease: Any) -> None:
        """A lease belongs to one thread or task at a time."""
        if call.done:
            self.ended = [*self.ended[-2:], lease]

    def take_lease(self, pick: int) -> Any:
        return self.leases.pop(pick % len(self.leases))

    def sends(self, call: Any, event: Event) -> None:
        """What it sent, if it came so far: this event."""
        sent = [one._replace(now=0.0) for one, _ in call.own]
        self.expect("Sent", sent in ([event], []), f"{sent}, not {event}")
        self.expect("Sent", bool(sent) or not call.done, f"nothing, not {event}")

    # ------------------------------------------------------------ the driver, and time

    @precondition(lambda self: self.standing("connect"))
    @rule(pick=PICK, ending=st.sampled_from(["ok", "ok", "fail"]))
    def connected(self, pick: int, ending: str) -> None:
        self.end_hook(chosen(self.standing("connect"), pick), ending)
        self.settle()

    @precondition(lambda self: self.standing("check"))
    @rule(pick=PICK, ending=st.sampled_from(["ok", "no", "fail"]))
    def checked(self, pick: int, ending: str) -> None:
        self.end_hook(chosen(self.standing("check"), pick), ending)
        self.settle()

    @rule(count=st.integers(1, 3))
    def warm_up(self, count: int) -> None:
        """A few are lent, and come back: some connections rest."""
        for _ in range(count):
            self.call("acquire", lambda: self.pool.acquire(0), 0.0)
        for _ in range(20):
            if not (standing := self.standing()):
                break
            self.end_hook(standing[0], "ok")
        while self.leases and len(self.leases) > count // 3:
            self.give_back(0)
        self.settle()

    def give_back(self, pick: int) -> None:
        """A lease is released, and nothing goes wrong."""
        raise NotImplementedError

    @rule(later=LATER)
    def time_passes(self, later: float) -> None:
        self.world.now += later
        self.when_time_has_passed()

    def when_time_has_passed(self) -> None:
        """Who is woken by it."""

    @rule(rules=st.integers(1, 3), steps=st.integers(1, 6))
    def be_slow(self, rules: int, steps: int) -> None:
        """For a few rules everybody stops after a few steps, wherever that is."""
        self.slow, self.steps = rules, steps

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
        limits = self.pool._runtime.state.limits
        most = most and max(most, limits.min_idle)
        limits = attrs.evolve(limits, max_size=most)
        call = self.call("resize", lambda: self.pool.resize(most))
        self.manages(call, Configure(0.0, limits))

    def manages(self, call: Any, event: Event) -> None:
        if call.done:
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
        self.call("apply", lambda: self.pool._runtime.apply(event))

    @precondition(lambda self: self.twin and len(self.twin.history) > 20)
    @rule(pick=st.integers(0, 9))
    def close(self, pick: int) -> None:
        if pick == 9:
            call = self.call("close", lambda: self.pool.close(0))
            if not (self.can_go_on() or call.error):
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
                self.end_hook(standing[0], "ok")
            elif self.leases:
                self.give_back(0)
            elif not self.time_is_needed():
                break
            self.settle()
        self.expect("NobodyStranded", not self.calls, [*map(str, self.calls)])
        self.call("close", lambda: self.pool.close(0))
        self.call("apply", lambda: self.pool._runtime.apply(Tick(self.world.now)))
        self.finish_hooks()
        self.quiet()
        wrong = [c for c in self.told if c.closed != 1]
        self.expect("Closed", not wrong, wrong)
        untold = len(self.made) - len(self.told)
        self.expect("Told", untold <= self.may_be_untold(), untold)
        self.reached.update(self.twin.reached if self.twin else ())

    def quiet(self) -> None:
        """What must hold when nobody can go on."""
        raise NotImplementedError

    def time_is_needed(self) -> bool:
        """Let time pass, where somebody waits for it; whether anybody did."""
        return False

    def finish_hooks(self) -> None:
        """The last hooks of the driver end."""

    def may_be_untold(self) -> int:
        """How many connections the pool may not have been told of."""
        return 0
