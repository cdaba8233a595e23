"""The Hypothesis machine for the runtime for asyncio.

Theory.  As `callers.py`; here callers are tasks of a loop in which nothing happens by itself
(`schedules/loop.py`).  The machine says which callback comes next, how a driver's hook ends, when
time has passed and who is cancelled.

What takes time is here the pool's own work (RUN-12), and nobody's call.  So besides what must hold
of callers, whenever nobody can go on: every connect, check, reset and close that the pool owes is
under way, and nothing else is; whoever has a deadline has been told by then; a `Tick` that is due
has been sent (RUN-8).  And a call that was cancelled comes to that, always (RUN-12).

    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(TasksMachine, settings=...)
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pool.aio.api import Pool
from pool.check.machines.callers import CLAIMS
from pool.check.machines.calls import Away, Connection
from pool.check.machines.drawn import PICK, chosen, limits_strategy
from pool.check.machines.hooks import HOOKS, Hooks, TaskCall
from pool.check.machines.twin import Broken, Twin
from pool.check.schedules.loop import LoopWorld
from pool.check.schedules.scheduler import Choice, Collector, quiet_finalizers
from pool.check.schedules.threads import SeenShortcuts
from pool.core.effects import Grant
from pool.core.events import Acquire, Discard, Event, Release, Shutdown
from pool.core.limits import Limits
from pool.core.state import State, lease_of, resting
from pool.core.transition import wake_at
from pool.shared.errors import PoolError, PoolTimeout
from pool.shared.running import AT_ONCE

MORE = {
    "Cancelled": "a call that is cancelled comes to that, and no other does",
    "Busy": "no connection is used by two at once, nor closed while it is in use",
    "Kept": "the pool keeps its tasks, and only those that have not ended",
    "Punctual": "who has a deadline is told by then",
    "Ticked": "a Tick that is due has been sent",
    "Raised": "no callback raises",
}


class TasksMachine(Hooks):
    """Callers are tasks."""

    claims: ClassVar[dict[str, str]] = CLAIMS | MORE
    unwound: ClassVar[type[BaseException]] = asyncio.CancelledError

    world: LoopWorld
    pool: Pool[Connection]
    calls: dict[Any, TaskCall]

    def __init__(self) -> None:
        super().__init__()
        self.granted: dict[int, int] = {}
        """By ticket: how many events there were when it was granted what it has."""
        self.ends: dict[int, TaskCall] = {}
        """By ticket: who gives it back."""

    @initialize(
        limits=limits_strategy("background"),
        check_after=st.sampled_from([0.0, 0.0, 1.0]),
        check_timeout=st.sampled_from([None, 1.0]),
        resets=st.booleans(),
        slow=st.sets(st.sampled_from(HOOKS)),
    )
    def begin(
        self,
        limits: Limits,
        check_after: float,
        check_timeout: float | None,
        resets: bool,
        slow: set[str],
    ) -> None:
        self.collector = Collector()
        limits = attrs.evolve(limits, leak_after=None)
        self.world = world = LoopWorld()  # type: ignore[abstract]  # all that is asked of it is there
        self.twin = Twin(limits)
        self.check_after, self.resets, self.slow_hooks = check_after, resets, {"work", *slow}
        fields = attrs.asdict(limits)
        del fields["opener"]
        self.pool = Pool(
            self.connect,
            check=self.check,
            check_after=check_after,
            check_timeout=check_timeout,
            reset=self.reset if resets else None,
            close=self.end_connection,
            **fields,
        )
        runtime = self.runtime = self.pool._runtime
        runtime.clock = world.time
        self.watch(runtime, self.twin)
        runtime.monitor.shortcuts = SeenShortcuts(self.step)

    # ------------------------------------------------------------ between runtime and `step`

    def look_at(self, event: Event) -> None:
        assert self.twin is not None
        if isinstance(event, Release | Discard):
            lease = lease_of(self.twin.state.in_use, event.key)
            mine = lease is not None and lease.ticket == event.ticket
            if (call := self.ends.get(event.ticket)) is not None and mine:
                call.gave_back = True
            if isinstance(event, Release) and self.resets and lease is not None and mine:
                was = self.was_reset.pop(lease.entry.connection, None)
                self.expect("Sent", event.reusable is was, f"{event!r}, its reset ended: {was}")

    def step(self, *about: Any) -> Any:
        outcome = super().step(*about)
        for effect in outcome[1]:
            if isinstance(effect, Grant):
                self.granted[effect.ticket] = self.length
        return outcome

    # ------------------------------------------------------------ tasks

    def caller(self) -> TaskCall | None:
        task: Any = asyncio.current_task(self.world)
        return self.calls.get(task)

    def call(
        self,
        kind: str,
        function: Callable[[], Any],
        timeout: float | None = None,
        returns: int = 0,
    ) -> TaskCall:
        call = TaskCall(kind, self.world.now, timeout, returns)
        if returns:
            self.ends[returns] = call

        async def body() -> None:
            try:
                result = function()
                call.result = await result if inspect.isawaitable(result) else result
            except GeneratorExit:
                raise
            except BaseException as error:
                call.error, call.cause = error.with_traceback(None), error.__cause__

        live = self.world.spawn(body(), kind, cancellable=False)
        self.world.lives.clear()
        call.task = live.task
        self.calls[call.task] = call
        self.settle()
        return call

    def going(self) -> list[Choice]:
        """What can happen by itself: callbacks, and timers that are due."""
        found = self.world.options()
        due = any(timer.when() <= self.world.now for timer in self.world.timers)
        return [one for one in found if one[1] == "go" or (due and one[1] == "timeout")]

    def can_go_on(self) -> bool:
        return bool(self.going())

    def take(self, choice: Choice) -> None:
        with quiet_finalizers(Broken):
            try:
                self.world.take(choice)
            except Exception as error:
                if self.broken is None:
                    self.fail("Raised", str(error))
        if self.broken is not None:
            raise self.broken
        for task, call in list(self.calls.items()):
            if task.done():
                self.over(call)

    def over(self, call: TaskCall) -> None:
        del self.calls[call.task]
        call.done = True
        if call.task.cancelled():  # before its first step; what it keeps of that is a circle
            call.error, call.task._cancelled_exc = asyncio.CancelledError(), None
        was_cancelled = isinstance(call.error, asyncio.CancelledError)
        if was_cancelled is not call.is_cancelled:
            self.fail("Cancelled", f"{call}, cancelled: {call.is_cancelled}: {call.error!r}")
        self.judge(call)
        # A connect that failed is known to the pool: its error keeps frames, ours among them.
        call.task = call.result = call.error = call.cause = None

    def settle(self) -> None:
        most = 10_000
        if self.slow:
            self.slow -= 1
            most = self.steps
        for _ in range(most):
            if not (going := self.going()):
                return
            self.take(going[0])

    def when_time_has_passed(self) -> None:
        self.settle()

    # ------------------------------------------------------------ what a call came to

    def was_asked(self, call: TaskCall, grant: Grant) -> bool:
        since = self.granted[grant.ticket]
        return any(one is grant.connection and when >= since for one, when in self.alive)

    def judge(self, call: TaskCall) -> None:
        super().judge(call)
        if call.kind == "close" and call.result:
            model = self.model
            rest = model["in_use"], model["opening_background"], self.standing("close")
            self.expect("Answered", not any(rest), f"close() said that nothing is left: {rest}")

    def judge_other(self, call: TaskCall) -> bool:
        if call.kind != "block":
            return False
        if isinstance(call.error, PoolError):
            self.judge_refusal(call)
        else:
            ending = None if call.error is None else type(call.error)
            self.expect("Answered", ending is call.result, f"a block raised {call.error!r}")
            ended = call.gave_back or call.holds in self.to_close  # by `CloseAll`, under it
            self.expect("Sent", ended, "the end of a block gave nothing back")
        return True

    def judge_refusal(self, call: TaskCall) -> None:
        """One whose deadline passes while its connection is being asked is told so at once."""
        answer = self.answers.get(call.ticket)
        if type(call.error) is PoolTimeout and isinstance(answer, Grant):
            asked = self.has_rested(answer) and not self.was_asked(call, answer)
            self.expect("Answered", asked, f"raised {call.error!r}, the model: {answer!r}")
            due = call.began + (call.timeout or AT_ONCE)
            self.expect("InTime", self.world.now >= due, f"at {self.world.now}, due {due}")
        else:
            super().judge_refusal(call)

    # ------------------------------------------------------------ when nobody can go on

    @invariant()
    def quiet(self) -> None:
        if self.twin is None or self.twin.broken or self.going():
            return
        model, monitor = self.model, self.runtime.monitor
        self.expect("Tidy", not (monitor.current[1] or monitor.applying), monitor.current[1])
        self.check_notes()
        waiting = {ticket for ticket, _ in model["waiters"]}
        self.expect("Tidy", set(monitor.cells) == waiting, list(monitor.cells))
        used = [*self.standing("check"), *self.standing("reset")]  # a block waits for its reset
        asked = {id(hook.connection) for hook in used}
        parked = set()
        for call in self.calls.values():
            answer = self.answers.get(call.ticket)
            if call.ticket and not (isinstance(answer, Grant) and id(answer.connection) in asked):
                parked.add(call.ticket)
        parked -= {hook.call.ticket for hook in self.standing("work") if hook.call}
        self.expect("Parked", parked == waiting, f"{parked}, the model: {waiting}")
        connecting = len(self.standing("connect"))
        owed = model["opening_background"]
        self.expect("Connecting", connecting == owed, f"{connecting}, the model: {owed}")
        self.check_leases()
        busy = {hook.connection for hook in self.hooks if hook.what in ("check", "reset")}
        later = [one for one in monitor.closing.values() if one in busy]
        self.check_closed(later)
        tasks = len([hook for hook in self.hooks if hook.call is None]) + len(later)
        self.expect("Kept", len(monitor.tasks) == tasks, f"{monitor.tasks}, wanted {tasks}")
        self.expect("Kept", not monitor.jobs, f"nobody does {list(monitor.jobs.values())}")
        self.check_statistics(model)
        self.check_time()

    def check_leases(self) -> None:
        """What is lent: to callers, and to the pool's own checks and resets."""
        model = self.model
        held = {lease.ticket: lease.connection for lease in self.leases}
        for hook in self.standing("work"):
            assert hook.call is not None
            held[hook.call.ticket] = hook.connection
        used = {id(h.connection) for h in self.hooks if h.what in ("check", "reset")}
        for lease in model["in_use"].values():
            if id(lease[0]) in used:
                used.remove(id(lease[0]))
                self.expect("Holding", lease[4] not in held, f"{lease[0]} is lent and being used")
                held[lease[4]] = lease[0]
        fenced = set(map(id, self.to_close))
        self.expect("Holding", used <= fenced, "what is being asked or reset is nobody's")
        self.check_holding(model, held)

    def check_time(self) -> None:
        now = self.world.now
        for call in self.calls.values():
            acquires = [event for event, _ in call.sent if isinstance(event, Acquire)]
            if call.timeout is not None and acquires and call.holds is None:
                due = acquires[0].now + (call.timeout or AT_ONCE)
                self.expect("Punctual", now < due, f"{call}: at {now}, due {due}")
        if self.runtime.monitor.loop is not None:
            due_tick = wake_at(self.without_excuse(self.runtime.state))
            late = due_tick is not None and due_tick <= now
            self.expect("Ticked", not late, f"at {now}, due {due_tick}")

    def without_excuse(self, state: State) -> State:
        """One that rested among those that `min_idle` keeps is above them when another comes back,
        of which nobody is told: it stays for `max_idle` at most."""
        limits = state.limits
        if limits.min_idle and limits.max_idle is not None:
            youngest = max((item.since for item in resting(state.idle)), default=0.0)
            if self.world.now < youngest + limits.max_idle:
                return state._replace(limits=attrs.evolve(limits, max_idle=None))
        return state

    # ------------------------------------------------------------ callers

    @precondition(lambda self: self.leases)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        lease = self.take_lease(pick)
        call = self.call("release", lease.release, returns=lease.ticket)
        self.keep_ended(call, lease)

    def give_back(self, pick: int) -> None:
        self.release(pick)

    @precondition(lambda self: self.standing("reset"))
    @rule(pick=PICK, ending=st.sampled_from(["ok", "ok", "no", "fail"]))
    def reset_ends(self, pick: int, ending: str) -> None:
        self.end_hook(chosen(self.standing("reset"), pick), ending)
        self.settle()

    @precondition(lambda self: self.standing("close"))
    @rule(pick=PICK)
    def closed(self, pick: int) -> None:
        self.end_hook(chosen(self.standing("close"), pick), "ok")
        self.settle()

    @rule(timeout=st.sampled_from([None, 0.0, 1.0]))
    def block(self, timeout: float | None) -> None:
        """`async with pool.connection()`, and work in it."""

        async def body() -> Any:
            call = self.caller()
            assert call is not None
            async with self.pool.connection(timeout) as connection:
                self.ends[call.ticket], call.holds = call, connection
                self.use("work", connection)
                if await self.stand("work", connection) != "ok":
                    call.result = Away
                    raise Away("no such table")

        self.call("block", body, timeout)

    @precondition(lambda self: self.standing("work"))
    @rule(pick=PICK, ending=st.sampled_from(["ok", "ok", "fail"]))
    def worked(self, pick: int, ending: str) -> None:
        self.end_hook(chosen(self.standing("work"), pick), ending)
        self.settle()

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        call = chosen(list(self.calls.values()), pick)
        call.is_cancelled = bool(call.task.cancel()) or call.is_cancelled
        self.settle()

    @precondition(lambda self: self.leases and any(call.ticket for call in self.calls.values()))
    @rule(pick=PICK)
    def cancel_in_the_same_turn(self, pick: int) -> None:
        """The connection of one goes to another who is cancelled before it runs."""
        self.slow, self.steps = 1, 1
        self.release(pick)
        self.slow = 0
        waiting = [call for call in self.calls.values() if call.ticket]
        granted = [c for c in waiting if isinstance(self.answers.get(c.ticket), Grant)]
        if waiting:
            call = chosen(granted or waiting, pick)
            call.is_cancelled = bool(call.task.cancel()) or call.is_cancelled
        self.settle()

    @precondition(lambda self: self.going())
    @rule(pick=PICK)
    def one_goes_on(self, pick: int) -> None:
        self.take(chosen(self.going(), pick))

    @precondition(lambda self: self.twin and len(self.twin.history) > 20)
    @rule(pick=st.integers(0, 9), timeout=st.sampled_from([0.0, 1.0, None]))
    def close(self, pick: int, timeout: float | None) -> None:
        if pick == 9:
            call = self.call("close", lambda: self.pool.close(timeout))
            if not self.can_go_on():
                self.manages(call, Shutdown(0.0))

    # ------------------------------------------------------------ the end of a run

    def time_is_needed(self) -> bool:
        timers = [timer.when() for timer in self.world.timers]
        if not (self.calls and timers):
            return False
        self.world.now = max(self.world.now, min(timers))
        return True

    def finish_hooks(self) -> None:
        while standing := self.standing():
            self.end_hook(standing[0], "ok")
            self.settle()
