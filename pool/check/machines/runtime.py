"""The Hypothesis machine for the threaded runtime.

Theory.  As `callers.py`; here callers are threads of a scheduler's world (`scheduler.py`), so
nothing runs by itself and nothing sleeps: the machine says who goes on, how a driver's hook ends,
whose wait ends by time and who is interrupted.

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(RuntimeMachine, settings=...)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from greenlet import GreenletExit
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pool.api import Pool
from pool.check.machines.callers import Callers
from pool.check.machines.calls import Away, Call, Connection
from pool.check.machines.drawn import PICK, chosen, limits_strategy
from pool.check.machines.twin import Broken, Twin
from pool.check.schedules.scheduler import Collector, Interrupted, Thread, World, quiet_finalizers
from pool.check.schedules.threads import SeenShortcuts
from pool.core.effects import Close, Grant, Refuse
from pool.core.events import Release
from pool.core.limits import Limits
from pool.shared.errors import OpenError
from pool.threads.monitor import Monitor


@attrs.define(eq=False)
class ThreadCall(Call):
    """A call on a thread of its own."""

    thread: Thread | None = None
    hook: str = ""
    """The hook of the driver in which it stands."""
    ending: str = ""
    """How that hook ends: `ok`, `no`, or `fail`."""
    connects: list[str] = attrs.field(factory=list)
    """How its connects ended."""
    alive: list[Connection] = attrs.field(factory=list)
    """The connections that it found alive."""


class RuntimeMachine(Callers):
    """Callers are threads."""

    unwound: ClassVar[type[BaseException]] = Interrupted

    world: World
    pool: Pool[Connection]
    calls: dict[Thread, ThreadCall]

    def __init__(self) -> None:
        super().__init__()
        self.reset_ends = "ok"

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
        self.check_after = check_after
        fields = attrs.asdict(limits)
        self.pool = Pool(
            self.connect, check=self.check, check_after=check_after, reset=self.reset, **fields
        )
        runtime = self.runtime = self.pool._runtime
        runtime.sync, runtime.clock, runtime._monotonic = world, world.monotonic, world.monotonic
        runtime._begin_with(Monitor(runtime.fields, world, runtime.monitor.tickets))
        self.watch(runtime, self.twin)
        runtime.monitor.shortcuts = SeenShortcuts(self.step)

    # ------------------------------------------------------------ the driver

    def stand(self, hook: str) -> str:
        call = self.caller()
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
        if (call := self.caller()) is not None:
            call.connects.append(ending)
        if ending != "ok":
            raise Away("no route")
        connection = Connection(len(self.made) + 1)
        self.made.append(connection)
        return connection

    def check(self, connection: Connection) -> bool:
        ending = self.stand("check")
        if ending == "fail":
            raise Away("reset by peer")
        if ending == "ok" and (call := self.caller()) is not None:
            call.alive.append(connection)
        return ending == "ok"

    def reset(self, connection: Connection) -> bool:
        if self.reset_ends == "fail":
            raise Away("reset by peer")
        return self.reset_ends == "ok"

    # ------------------------------------------------------------ threads

    def caller(self) -> ThreadCall | None:
        return self.calls.get(self.world.current)  # type: ignore[arg-type]  # None is no key

    def call(
        self,
        kind: str,
        function: Callable[[], Any],
        timeout: float | None = None,
        returns: int = 0,
    ) -> ThreadCall:
        call = ThreadCall(kind, self.world.now, timeout, returns)

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

    def go_on(self, call: ThreadCall, how: str = "go", ending: str = "") -> None:
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
            call.done = True
            del self.calls[thread]
            self.judge(call)
            call.error = call.cause = None

    def end_hook(self, standing: ThreadCall, ending: str) -> None:
        self.go_on(standing, ending=ending)

    def going(self) -> list[ThreadCall]:
        """Who can go on by itself."""
        numbers = {number for number, how in self.world.options() if how == "go"}
        return [
            call
            for thread, call in self.calls.items()
            if thread.number in numbers and not call.hook
        ]

    def can_go_on(self) -> bool:
        return bool(self.going())

    def settle(self) -> None:
        if self.slow:
            self.slow -= 1
            return
        while going := self.going():
            self.go_on(going[0])

    def standing(self, hook: str = "") -> list[ThreadCall]:
        return [
            call for call in self.calls.values() if call.hook and call.hook in (hook or call.hook)
        ]

    def parked(self) -> list[ThreadCall]:
        """Who stands at a lock that only an answer can open."""
        return [
            call
            for thread, call in self.calls.items()
            if thread.at == "acquire" and thread.lock is not None and thread.lock.maker is thread
        ]

    # ------------------------------------------------------------ what a call came to

    def was_asked(self, call: ThreadCall, grant: Grant) -> bool:
        return grant.connection in call.alive

    def judge_refusal(self, call: ThreadCall) -> None:
        if call.connects[-1:] == ["fail"]:  # its own failure, also if the pool is closed by now
            own = type(call.error) is OpenError and isinstance(call.cause, Away)
            self.expect("Answered", own, f"raised {call.error!r} when its connect failed")
            return
        super().judge_refusal(call)

    # ------------------------------------------------------------ when nobody can go on

    @invariant()
    def quiet(self) -> None:
        if self.twin is None or self.twin.broken or self.going():
            return
        model, runtime = self.model, self.runtime
        self.expect("Tidy", not runtime.monitor.lock.is_held, "the lock is held")
        self.check_notes()
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
        self.check_holding(model, held)
        jobs = runtime.monitor.jobs.values()
        self.check_closed(job.connection for job in jobs if isinstance(job, Close))
        self.check_statistics(model)

    # ------------------------------------------------------------ callers

    @precondition(lambda self: self.leases)
    @rule(pick=PICK, reset=st.sampled_from(["ok", "ok", "ok", "no", "fail"]))
    def release(self, pick: int, reset: str) -> None:
        lease = self.take_lease(pick)
        ticket, key = lease.ticket, lease.key
        self.reset_ends = reset
        call = self.call("release", lease.release, returns=ticket)
        self.sends(call, Release(0.0, ticket, key, reset == "ok"))
        self.keep_ended(call, lease)

    def give_back(self, pick: int) -> None:
        self.release(pick, "ok")

    @precondition(lambda self: self.timed())
    @rule(pick=PICK)
    def time_is_up(self, pick: int) -> None:
        """A wait ends by time; perhaps its caller was answered meanwhile."""
        self.go_on(chosen(self.timed(), pick), "timeout")
        self.settle()

    def timed(self) -> list[ThreadCall]:
        return [call for thread, call in self.calls.items() if thread.deadline is not None]

    @precondition(lambda self: self.parked() or self.standing())
    @rule(pick=PICK)
    def interrupt(self, pick: int) -> None:
        """An asynchronous exception comes to one who waits or is in the driver."""
        self.go_on(chosen([*self.parked(), *self.standing()], pick), "interrupt")
        self.settle()

    @precondition(lambda self: self.going())
    @rule(pick=PICK)
    def one_goes_on(self, pick: int) -> None:
        self.go_on(chosen(self.going(), pick))

    def may_be_untold(self) -> int:
        return self.reached["acquire Interrupted"]
