"""The simulation of a pool: against recursions that are exact, queueing theory, and a real pool.

Theory.  A pool with enough time to connect is a queue with as many servers as connections, first
come, first served.  For such a queue every single wait can be reckoned in three lines (Kiefer and
Wolfowitz), by a heap of the times at which servers are free, and averages are known in closed form
(Erlang).  The simulation knows neither: it asks `step`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import chain, pairwise
from typing import Any

import attrs
import pytest

from pool import Limits
from pool.core.effects import Grant, Refuse
from pool.core.events import Acquire, Discard, Opened, OpenFailed, Release, Retire
from pool.core.state import Failure, initial
from pool.core.transition import step
from pool.size import Call, Load, load_of, poisson, simulate
from pool.size import simulation as simulation_module
from pool.size.loads import Draw, exponential, fixed, lognormal

CALLS = 4000


def reckoned(load: Load, servers: int) -> tuple[list[float], int]:
    """The waits of a queue with so many servers, and how many left it at their deadline."""
    free = [0.0] * servers
    waits, left = [], 0
    first = int(len(load.calls) * simulation_module.WARM_UP)
    for number, call in enumerate(load.calls):
        begin = max(call.at, free[0])
        if load.timeout is not None and begin - call.at > load.timeout:
            left += number >= first
            continue
        heapq.heapreplace(free, begin + call.hold)
        if number >= first:
            waits.append(begin - call.at)
    return sorted(waits), left


@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("shape", [exponential, fixed, lognormal(2.0)])
@pytest.mark.parametrize("servers", [1, 3, 20])
@pytest.mark.parametrize("timeout", [None, 0.02])
def test_every_wait_is_the_one_that_can_be_reckoned(
    opener: Any, shape: Draw, servers: int, timeout: float | None
) -> None:
    load = poisson(
        0.9 * servers / 0.05, 0.05, calls=CALLS, shape=shape, timeout=timeout, seed=servers
    )
    waits, left = reckoned(load, servers)
    result = simulate(Limits(max_size=servers, opener=opener), load)
    assert result.waits == pytest.approx(waits, abs=1e-9)
    assert result.refused.total() == left
    assert (left > 0) == (timeout is not None)
    assert result.opened == servers


@pytest.mark.parametrize("name", ["RETURNS", "granted", "DEADLINE"])
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds that take twice as long; waits that begin too late; deadlines that never come."""
    plan, apply = simulation_module._Simulation.plan, simulation_module._Simulation.apply

    def wrong(self: Any, at: float, kind: int, ticket: int = 0, key: int = 0) -> None:
        if name == "RETURNS" and kind == simulation_module.RETURNS:
            at += self.load.calls[ticket - 1].hold
        if name != "DEADLINE" or kind != simulation_module.DEADLINE:
            plan(self, at, kind, ticket, key)

    def late(self: Any, event: Any, now: float) -> None:
        if name == "granted" and isinstance(event, Acquire):
            self.waiting[event.ticket] += 0.001
        apply(self, event, now)

    load = poisson(60.0, 0.05, calls=CALLS, timeout=0.02)
    waits, left = reckoned(load, 3)
    monkeypatch.setattr(simulation_module._Simulation, "plan", wrong)
    monkeypatch.setattr(simulation_module._Simulation, "apply", late)
    result = simulate(Limits(max_size=3), load)
    assert (result.waits, result.refused.total()) != (pytest.approx(waits, abs=1e-9), left)


# ---------------------------------------------------------------- queueing theory


def erlang_c(servers: int, busy: float) -> float:
    """The part of the callers that have to wait."""
    none = math.fsum(busy**n / math.factorial(n) for n in range(servers))
    all_busy = busy**servers / math.factorial(servers) * servers / (servers - busy)
    return all_busy / (none + all_busy)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("servers", "part"), [(5, 0.5), (8, 0.7), (21, 0.8), (10, 0.9), (21, 0.95)]
)
def test_average_waits_are_those_of_erlang(servers: int, part: float) -> None:
    busy, hold = servers * part, 0.05
    result = simulate(Limits(max_size=servers), poisson(busy / hold, hold, calls=60_000, seed=3))
    exact = erlang_c(servers, busy) * hold / (servers - busy)
    assert abs(result.mean - exact) <= max(0.03 * exact, result.margin)
    assert result.margin < 0.5 * exact, "which would say nothing"
    assert result.used == pytest.approx(busy, rel=0.05)
    waiting = sum(wait > 0 for wait in result.waits) / len(result.waits)
    assert waiting == pytest.approx(erlang_c(servers, busy), rel=0.1)


@pytest.mark.slow
def test_fixed_hold_times_halve_the_wait() -> None:
    """M/D/1 (Pollaczek and Khinchine): half of the wait of M/M/1."""
    load = poisson(16.0, 0.05, calls=60_000, shape=fixed, seed=1)
    result = simulate(Limits(max_size=1), load)
    exact = 0.8 * 0.05 / (2 * (1 - 0.8))
    assert abs(result.mean - exact) <= max(0.03 * exact, result.margin)


# ---------------------------------------------------------------- what else limits do


def calls(*given: tuple[float, float], **rest: Any) -> Load:
    return Load(calls=tuple(Call(at, hold) for at, hold in given), **rest)


def all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_module, "WARM_UP", 0.0)


def test_a_connect_takes_its_time_and_others_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    all_counted(monkeypatch)
    load = calls((0.0, 1.0), (0.1, 1.0), (5.0, 1.0), connects=(0.5, 3.0))
    result = simulate(Limits(max_size=2, opener="background"), load)
    # The second waits for the first to return, which is sooner than its own connect.
    assert result.waits == pytest.approx((0.0, 0.5, 1.4))
    assert (result.opened, result.most_used) == (2, 1)


def test_who_would_stand_too_far_behind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    all_counted(monkeypatch)
    load = calls((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (0.3, 1.0))
    result = simulate(Limits(max_size=1, max_waiting=1), load)
    assert result.refused == {"too_many_waiting": 2}
    assert result.waits == pytest.approx((0.0, 0.9))
    assert result.refused_part == 0.5


def test_connections_of_an_age_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    all_counted(monkeypatch)
    load = calls(*((float(at), 0.1) for at in range(20)))
    assert simulate(Limits(max_size=1), load).opened == 1
    aged = simulate(Limits(max_size=1, max_lifetime=4.5), load)
    assert (aged.opened, aged.closed) == (4, 3)
    rested = simulate(Limits(max_size=1, max_idle=0.5), load)
    assert (rested.opened, rested.closed) == (20, 19)


def test_idle_connections_are_ready_before_anybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    all_counted(monkeypatch)
    load = calls((0.0, 0.1), (2.0, 0.1), connects=(1.0,))
    result = simulate(Limits(max_size=3, min_idle=2, opener="background"), load)
    assert result.waits == pytest.approx((0.0, 1.0))
    assert result.opened == 3


def test_the_time_in_which_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    all_counted(monkeypatch)
    result = simulate(Limits(max_size=1), calls((0.0, 4.0), (2.0, 4.0), (10.0, 1.0)))
    assert (result.full, result.used) == pytest.approx((0.2, 0.8))


def test_nobody_calls() -> None:
    result = simulate(Limits(), calls())
    assert (result.calls, result.waits, result.opened, result.refused_part) == (0, (), 0, 0.0)
    assert math.isnan(result.quantile(0.99))


def test_quantiles_are_waits_that_somebody_had() -> None:
    result = simulate(Limits(max_size=2), poisson(30.0, 0.05, calls=200))
    waits = result.waits
    assert [result.quantile(part) for part in (0.0, 0.5, 0.99, 1.0)] == [
        waits[0],
        waits[len(waits) // 2 - 1],
        waits[math.ceil(0.99 * len(waits)) - 1],
        waits[-1],
    ]
    assert all(one <= other for one, other in pairwise(waits))


def test_progress_is_told() -> None:
    told: list[int] = []
    simulate(Limits(), poisson(100.0, 0.01, calls=5000), told.append)
    assert told == [2000, 4000]


# ---------------------------------------------------------------- loads


def test_a_load_says_what_it_is() -> None:
    load = calls((1.0, 0.5), (2.0, 1.5), (3.0, 1.0))
    assert (load.seconds, load.rate, load.hold, load.busy) == (2.0, 1.0, 1.0, 1.0)
    assert (calls().rate, calls().hold) == (0.0, 0.0)
    faster = load.scaled(2.0)
    assert (faster.rate, faster.hold) == (2.0, 1.0)
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"factor=.*allowed is a number above 0"):
            load.scaled(wrong)
    with pytest.raises(ValueError, match=r"connects=\(\): allowed is at least one time"):
        attrs.evolve(load, connects=())


@pytest.mark.slow
@pytest.mark.parametrize("shape", [exponential, fixed, lognormal(0.5), lognormal(3.0)])
def test_the_average_of_a_load_is_the_one_that_was_asked_for(shape: Draw) -> None:
    load = poisson(400.0, 0.05, calls=50_000, shape=shape)
    assert (load.rate, load.hold) == pytest.approx((400.0, 0.05), rel=0.05)
    assert load == poisson(400.0, 0.05, calls=50_000, shape=shape)
    assert load != poisson(400.0, 0.05, calls=50_000, shape=shape, seed=1)


def test_a_history_gives_its_load() -> None:
    history: list[Any] = [
        (Acquire(10.0, 1), ()),
        (Opened(10.5, 1, "one", 10.2), (Grant(1, 1, "one", None),)),
        (Acquire(11.0, 2), ()),
        (Release(12.5, 1, 1), (Grant(2, 1, "one", 0.0),)),
        (Acquire(13.0, 3), (Refuse(3, "exhausted", None),)),
        (Release(13.5, 2, 1), ()),
        (Acquire(14.0, 4), (Grant(4, 1, "one", 0.5),)),
    ]
    load = load_of(history)
    # Who was refused, and who holds on, would have held for as long as the others.
    assert load.calls == (Call(0.0, 2.0), Call(1.0, 1.0), Call(3.0, 1.5), Call(4.0, 1.5))
    assert load.connects == pytest.approx((0.3,))
    with pytest.raises(ValueError, match="nothing to size for"):
        load_of(history[:3])


def test_what_begins_to_connect_in_an_outage_fails() -> None:
    calls = (Call(0.0, 0.5), Call(1.5, 0.5), Call(2.5, 0.5), Call(3.0, 0.5))
    load = Load(calls=calls, connects=(0.1,), outages=((1.2, 2.0),), drains=(1.0,), failing=0.2)
    result = simulate(Limits(max_size=2, opener="caller"), load)
    assert dict(result.refused) == {"open_failed": 1}
    assert (result.opened, result.failed, result.closed) == (3, 1, 1)
    assert result.waits == pytest.approx((0.1, 0.1, 0.1))


def test_in_an_outage_the_pool_connects_again_after_its_pause() -> None:
    """It fails at 0.01, and then after pauses of 0.1 and 0.2 seconds, less a quarter."""
    first = Load(calls=(Call(0.0, 0.1),), connects=(0.1,), outages=((0.0, 0.2),), failing=0.01)
    assert dict(simulate(Limits(max_size=1, opener="background"), first).refused) == {
        "open_failed": 1
    }
    calls = (Call(0.0, 0.1), Call(1.0, 0.1))
    load = Load(calls=calls, connects=(0.1,), outages=((0.9, 1.2),), drains=(0.5,), failing=0.01)
    result = simulate(Limits(max_size=1, opener="background"), load)
    again = 1.0 + 0.01 + 0.1 * (1 - simulation_module.SHORTER)
    again += 0.01 + 0.2 * (1 - simulation_module.SHORTER)
    assert result.failed == 2
    assert result.waits[-1] == pytest.approx(again + 0.1 - 1.0)


def test_a_connection_that_is_spoilt_is_closed() -> None:
    load = Load(calls=(Call(0.0, 0.5, True), Call(1.0, 0.5), Call(2.0, 0.5)), connects=(0.1,))
    result = simulate(Limits(max_size=1), load)
    assert (result.opened, result.closed) == (2, 1)


def test_a_history_with_outages_gives_them() -> None:
    down = Failure("Error", "down")
    state, history = initial(Limits(max_size=2, opener="caller")), []
    for event in (
        Acquire(10.0, 1),
        OpenFailed(10.5, 1, down),
        Acquire(11.0, 2),
        Acquire(11.1, 3),
        OpenFailed(11.2, 3, down),
        Opened(11.5, 2, "c1", 11.0),
        Discard(12.0, 2, 1),
        Retire(12.5),
        Acquire(13.0, 4),
        OpenFailed(13.25, 4, down),
    ):
        state, effects = step(state, event)
        history.append((event, effects))
    load = load_of(history)
    assert [*chain(*load.outages)] == pytest.approx([0.0, 1.2, 3.0, 3.25])
    assert load.failing == pytest.approx((0.5 + 0.1 + 0.25) / 3)
    assert load.drains == (2.5,)
    assert [call.spoils for call in load.calls] == [False, True, False, False]
    twice = load.scaled(2.0)
    assert (twice.outages[1], twice.drains) == ((1.5, 1.625), (1.25,))


def test_a_simulation_with_the_limits_of_a_recording_has_its_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `step` did is written down, and made a load again: the waits are the same."""
    all_counted(monkeypatch)
    load, limits = poisson(55.0, 0.05, calls=1000), Limits(max_size=3)
    written: list[Any] = []
    step: Callable[..., Any] = simulation_module.step

    def writing(state: Any, event: Any) -> Any:
        outcome = step(state, event)
        written.append((event, outcome[1]))
        return outcome

    monkeypatch.setattr(simulation_module, "step", writing)
    monkeypatch.setattr(simulation_module.shortcuts, "acquire", lambda *_: None)
    monkeypatch.setattr(simulation_module.shortcuts, "release", lambda *_: None)
    before = simulate(limits, load)
    after = simulate(limits, load_of(written))
    assert after.waits == pytest.approx(before.waits, abs=1e-9)
