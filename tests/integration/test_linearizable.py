"""Histories of real callers have an order that explains them; those of a faulty pool have none.

Theory.  Threads and tasks call a pool at random, with deadlines, handles that are dropped and
exceptions that strike anywhere.  All that is kept is what each was told, and when.  Then an order
is looked for in which `step` says the same.  That the search does not find one for everything is
tried with logs written by hand, and with faults planted in pools.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool.check.calls.log import Call as Told
from pool.check.calls.log import CallLog, CallLogError, TaskLog, read
from pool.check.calls.order import explain
from pool.check.cli import main
from pool.check.explore.mutants import machine, mutants
from pool.core.limits import Limits
from pool.shared.errors import PoolError, PoolTimeout
from pool.tasks.runtime import Runtime as TaskRuntime
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    PATIENCE,
    Call,
    ScriptedDriver,
    Storm,
    newborn,
    until,
    waiting,
    weather,
)

ONE = Limits(max_size=1)


def logged(opener: Any = "caller", max_size: int = 2) -> CallLog:
    limits = Limits(max_size=max_size, opener=opener)
    return CallLog(Runtime(ScriptedDriver(), limits, check_after=math.inf))


def told(log: CallLog) -> None:
    verdict = explain(log.limits, log.calls)
    assert verdict.explained, "\n".join(map(str, (*verdict.stuck, verdict.state)))


def checkout(log: CallLog, chance: random.Random) -> None:
    with contextlib.suppress(PoolError):
        claim = log.acquire(chance.choice([None, None, 0, 0.001, 5.0]))
        end = chance.random()
        if end < 0.7:
            log.release(claim)
        elif end < 0.85:
            log.discard(claim)
        else:
            log.lose(claim)


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_threads_under_load(opener: str) -> None:
    log = logged(opener)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            checkout(log, chance)

    for call in [Call(work, seed) for seed in range(5)]:
        call.result(10 * PATIENCE)
    assert {call.answer for call in log.calls if call.call == "acquire"} >= {"granted"}
    told(log)


def hurried(log: CallLog, chance: random.Random) -> None:
    """One that drops no handle, and waits for nothing for ever: an exception that comes on the
    first step of a finalizer ends that, and then a place is lost until the end."""
    with contextlib.suppress(PoolError):
        claim = log.acquire(chance.choice((0, 0.001, 5.0)))
        (log.release if chance.random() < 0.7 else log.discard)(claim)


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_threads_that_are_struck(opener: str) -> None:
    with weather(forgiven=newborn):
        log, storm = logged(opener), Storm()
        hurried(log, random.Random(0))  # so that the watch is there
        chance = random.Random(1)

        def others() -> None:
            mine = random.Random(2)
            while not storm.over.is_set():
                hurried(log, mine)

        calls = [Call(others) for _ in range(2)]
        storm.strike(Call(storm.endure, lambda: hurried(log, chance)), 30)
        for call in calls:
            call.result()
    assert "interrupted" in {call.answer for call in log.calls}
    told(log)


class TaskDriver:
    """One whose connects take a step of the loop, and with nothing to reset."""

    async def connect(self) -> object:
        await asyncio.sleep(0)
        return object()

    async def reset(self, _: object) -> bool:
        return True

    async def close(self, _: object) -> None:
        pass

    def is_clean(self, _: object) -> bool:
        return True


def task_log(max_size: int = 2) -> TaskLog:
    limits = Limits(max_size=max_size, opener="background")
    driver: Any = TaskDriver()
    return TaskLog(TaskRuntime(driver, limits, check_after=math.inf))


async def task_checkout(log: TaskLog, chance: random.Random) -> None:
    with contextlib.suppress(PoolError):
        claim = await log.acquire(chance.choice([None, None, 0, 0.001]))
        try:
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            log.lose(claim)  # else its frame may keep the claim as long as anybody has the task
            raise
        end = chance.random()
        if end < 0.7:
            await log.release(claim)
        elif end < 0.85:
            log.discard(claim)
        else:
            log.lose(claim)


@pytest.mark.parametrize("seed", range(3))
def test_tasks_that_are_cancelled(seed: int) -> None:
    """Under load, up to three at a time, twice, and one that has not begun."""
    log, chance = task_log(), random.Random(seed)

    async def play() -> None:
        for _ in range(60):
            tasks = [asyncio.ensure_future(task_checkout(log, chance)) for _ in range(7)]
            for _ in range(chance.randrange(7)):
                await asyncio.sleep(0)
            for task in chance.choices(tasks, k=chance.randrange(4)):
                task.cancel()
            await asyncio.wait(tasks)

    asyncio.run(play())
    answers = {call.answer for call in log.calls if call.call == "acquire"}
    assert answers >= {"granted", "interrupted", "exhausted"}
    assert {call.call for call in log.calls} >= {"acquire", "connect", "release", "discard", "lose"}
    told(log)


def test_a_long_history_costs_as_its_length() -> None:
    """Tickets and keys leave little to be tried."""
    log = logged()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(500):
            checkout(log, chance)

    for call in [Call(work, seed) for seed in range(4)]:
        call.result(20 * PATIENCE)
    verdict = explain(log.limits, log.calls)
    assert verdict.explained
    assert verdict.tried < 20 * verdict.calls


# ---------------------------------------------------------------- what has no order


def get(ticket: int, begin: float, end: float, key: int = 1, **more: Any) -> Told:
    connected = end if more.pop("connects", False) else None
    more = {"answer": "granted", **more}
    return Told("acquire", begin, end, ticket, key, connected=connected, **more)


def give(ticket: int, begin: float, end: float, answer: bool = True, key: int = 1) -> Told:
    return Told("release", begin, end, ticket, key, answer=answer)


FIRST = get(1, 0.0, 1.0, connects=True)

GOOD = {
    "one after another": [FIRST, give(1, 2.0, 3.0), get(2, 4.0, 5.0), give(2, 6.0, 7.0)],
    "at the same time": [FIRST, give(1, 2.0, 5.0), get(2, 2.0, 5.0), give(2, 6.0, 7.0)],
    "too late": [FIRST, get(2, 2.0, 4.0, 0, timeout=1.0, answer="timeout"), give(1, 5.0, 6.0)],
    "late, and it was free by then": [
        FIRST,
        give(1, 2.5, 5.0),
        get(2, 2.0, 4.0, 0, timeout=1.0, answer="timeout"),
    ],
    "interrupted": [
        FIRST,
        Told("release", 2.0, ticket=1, key=1),
        get(2, 3.0, 9.0, 2, connects=True),
    ],
    "lost": [FIRST, Told("lose", 2.0, ticket=1, key=1), get(2, 3.0, 9.0, 2, connects=True)],
    "granted, and its caller struck": [FIRST, get(2, 3.0, 9.0, 2, connects=True)],
    "not its own any more": [
        FIRST,
        give(1, 2.0, 3.0),
        get(2, 4.0, 5.0),
        give(1, 6.0, 7.0, False),
    ],
    "connect failed": [get(1, 0.0, 1.0, 0, answer="open_failed"), get(2, 2.0, 3.0, connects=True)],
    "closed": [
        FIRST,
        Told("shutdown", 2.0, 3.0, answer=""),
        get(2, 4.0, 5.0, 0, answer="closed"),
        give(1, 6.0, 7.0),
    ],
}

BAD = {
    "one connection, two holders": [FIRST, get(2, 2.0, 3.0), give(1, 4.0, 5.0), give(2, 4.0, 5.0)],
    "the younger first": [
        FIRST,
        get(2, 2.0, 9.0),
        get(3, 3.0, 5.0),
        give(1, 3.5, 4.0),
        give(3, 6.0, 7.0),
        give(2, 10.0, 11.0),
    ],
    "refused, though one was free": [
        FIRST,
        give(1, 2.0, 3.0),
        get(2, 4.0, 6.0, 0, timeout=1.0, answer="timeout"),
    ],
    "too early": [FIRST, get(2, 2.0, 2.5, 0, timeout=1.0, answer="timeout"), give(1, 5.0, 6.0)],
    "given back twice": [FIRST, give(1, 2.0, 3.0), give(1, 4.0, 5.0)],
    "more than there may be": [
        FIRST,
        get(2, 2.0, 3.0, 2, connects=True),
        give(1, 4.0, 5.0),
        give(2, 4.0, 5.0, key=2),
    ],
    "lent after it was discarded": [
        FIRST,
        Told("discard", 2.0, 3.0, 1, 1, answer=True),
        get(2, 4.0, 5.0),
    ],
    "lent after the end": [
        FIRST,
        give(1, 2.0, 3.0),
        Told("shutdown", 4.0, 5.0, answer=""),
        get(2, 6.0, 7.0),
    ],
    "refused at once, though one was free": [
        FIRST,
        give(1, 2.0, 3.0),
        get(2, 4.0, 5.0, 0, timeout=0, answer="exhausted"),
    ],
}


@pytest.mark.parametrize("calls", GOOD.values(), ids=GOOD)
def test_there_is_an_order(calls: list[Told]) -> None:
    verdict = explain(ONE, calls)
    assert verdict.explained, verdict


@pytest.mark.parametrize("calls", BAD.values(), ids=BAD)
def test_there_is_no_order(calls: list[Told]) -> None:
    verdict = explain(ONE, calls)
    assert not verdict.explained
    assert verdict.stuck


# ---------------------------------------------------------------- faults of pools


Plant = Callable[[CallLog, pytest.MonkeyPatch], None]


def nothing(log: CallLog, patch: pytest.MonkeyPatch) -> None:
    pass


def with_mutant(name: str) -> Plant:
    def plant(log: CallLog, patch: pytest.MonkeyPatch) -> None:
        log._runtime.step = machine(mutants()[name]).transition.step

    return plant


def says_yes(log: CallLog, patch: pytest.MonkeyPatch) -> None:
    """Whoever gives something back is told that it was still the caller's."""
    plain = Runtime.release
    patch.setattr(Runtime, "release", lambda runtime, claim: plain(runtime, claim) or True)


def too_late(log: CallLog, patch: pytest.MonkeyPatch) -> None:
    """A caller is told that it is too late, while something is free."""

    def acquire(runtime: Runtime, timeout: float | None, *, handle: Any) -> None:
        if timeout != 0:
            plain(runtime, timeout, handle=handle)
        else:
            handle.ticket = next(runtime.monitor.tickets)
            raise PoolTimeout

    plain = Runtime.acquire
    patch.setattr(Runtime, "acquire", acquire)


PLANTS: dict[str, Plant] = {
    "none": nothing,
    "lifo_waiters": with_mutant("lifo_waiters"),
    "no_limit": with_mutant("no_limit"),
    "says_yes": says_yes,
    "too_late": too_late,
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_leaves_no_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logged(max_size=1)
    PLANTS[name](log, monkeypatch)
    first = log.acquire()
    calls = []
    for number in (1, 2):
        calls.append(Call(lambda: log.release(log.acquire(PATIENCE))))
        until(lambda number=number: waiting(log._runtime) >= number or not calls[-1].is_alive())
    log.release(first)
    log.release(first)
    for call in calls:
        call.result()
    with contextlib.suppress(PoolTimeout):
        log.acquire(0)
    assert explain(log.limits, log.calls).explained == (name == "none")


@pytest.mark.parametrize("name", ["none", "lifo_waiters", "says_yes"])
def test_a_fault_planted_among_tasks_leaves_no_order(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = task_log(max_size=1)
    if name == "says_yes":
        plain = TaskRuntime.release

        async def faulty(runtime: TaskRuntime, claim: Any) -> bool:
            return await plain(runtime, claim) or True

        monkeypatch.setattr(TaskRuntime, "release", faulty)
    else:
        PLANTS[name](log, monkeypatch)

    async def turn() -> None:
        await log.release(await log.acquire(PATIENCE))

    async def play() -> None:
        first = await log.acquire()
        tasks = []
        for _ in range(2):
            tasks.append(asyncio.ensure_future(turn()))
            await asyncio.sleep(0)
        await log.release(first)
        await log.release(first)
        await asyncio.wait(tasks)

    asyncio.run(play())
    assert explain(log.limits, log.calls).explained == (name == "none")


# ---------------------------------------------------------------- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logged()
    log.release(log.acquire(None))
    path = tmp_path / "calls.json"
    log.write(path)
    assert main(["check", "--linearizable", str(path)]) == 0
    assert "2 calls: there is an order that explains them" in capsys.readouterr().out
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[-1] + "\n")
    assert main(["check", "--linearizable", str(path)]) == 1
    out = capsys.readouterr().out
    assert "no order explains these calls" in out
    assert "Call(call='release'" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty; a log of calls begins with the limits"),
        ("{}\n", "line 1 is not of a log of calls: 'limits'"),
        ('{"limits": {}}\n{"call": "sing", "begin": 0}\n', "line 2 is not of a log of calls: sing"),
        ('{"limits": {"max_idle": 3}}\n', "a pool with max_idle is not checked"),
    ],
)
def test_a_file_that_is_no_log(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.json"
    path.write_text(text)
    assert main(["check", "--linearizable", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = logged()
    log.lose(log.acquire(None))
    log.write(tmp_path / "calls.json")
    assert read((tmp_path / "calls.json").read_text().splitlines()) == (log.limits, log.calls)
    with pytest.raises(CallLogError, match="a call ends before it begins"):
        explain(ONE, [get(1, 2.0, 1.0)])
