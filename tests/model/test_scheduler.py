"""All orders of small programs of the runtime; and the faults that some order must show.

Theory.  A scheduler that explores nothing finds nothing.  So the numbers of interleavings and of
outcomes are pinned, the scheduler is tried on programs of its own whose orders can be counted by
hand, and every fault is put into the runtime once: it has to be found, and for the reason that is
named.  Threads here are greenlets: nothing runs beside anything, and no clock is asked.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from pool import Limits
from pool.check import interrupts, suite
from pool.check.results import Underway, as_json
from pool.check.schedules.orders import Schedules, explore, replay
from pool.check.schedules.programs import DEEP, PROGRAMS
from pool.check.schedules.scheduler import Interrupted, Lock, World
from pool.check.schedules.task_programs import TASKS
from pool.check.schedules.threads import Setting, freeze
from pool.core.outlook import walk
from pool.threads.runtime import Runtime
from tests.model.faults import (
    Fault,
    a_finalizer_gives_up,
    aborts_without_the_inbox,
    changes_without_the_lock,
    delivers_too_late,
    forgets_who_is_gone,
    keeps_the_cell,
    leaves_the_inbox,
    loses_a_delivery,
    release_without_deliver,
    trusts_the_wait,
    wakes_before_it_answers,
)
from tests.model.orders import (
    assert_every_order_keeps_every_promise,
    assert_it_is_found,
    assert_the_cache_cuts_off_nothing,
    with_slow_ones_marked,
)

# ---------------------------------------------------------------- what is true


COUNTS: dict[str, tuple[int, int]] = {
    "handover": (42, 1),
    "two-connections": (270, 7),
    "deadlines": (374, 4),
    "endings": (117, 6),
    "failed-connects": (2499, 4),
    "dead": (283, 2),
    "interrupted-waiter": (415, 7),
    "interrupted-holder": (169, 10),
    "interrupted-loss": (337, 6),
    "shutdown": (40, 4),
    "close-all": (112, 5),
    "resize": (44, 3),
    "handover-fine": (1512, 1),
    "deadline-fine": (114, 2),
    "loss-fine": (1290, 2),
    "interrupted-fine": (1379, 5),
    "interrupted-loss-fine": (266, 2),
    "interrupted-holder-fine": (4189, 11),
    "interrupted-close-fine": (385, 4),
    "helpers": (1379, 1),
    "helpers-discard": (49, 1),
    "helpers-deadline": (1022, 2),
    "helpers-loss": (40, 1),
    "helpers-failing": (39, 1),
    "helpers-dead": (72, 1),
    "helpers-interrupted": (1115, 3),
}
"""Interleavings of each program, and their outcomes: the same on every Python."""


@pytest.mark.parametrize("name", with_slow_ones_marked(COUNTS))
def test_every_order_keeps_every_promise(name: str) -> None:
    assert set(COUNTS) == set(PROGRAMS)
    assert_every_order_keeps_every_promise(PROGRAMS[name].make, COUNTS[name])


UNCACHED = [
    attrs.evolve(PROGRAMS["handover"], threads=PROGRAMS["handover"].threads[:2]),
    attrs.evolve(PROGRAMS["deadlines"], threads=PROGRAMS["deadlines"].threads[:2]),
    attrs.evolve(PROGRAMS["endings"], threads=PROGRAMS["endings"].threads[1:]),
    attrs.evolve(PROGRAMS["dead"], threads=PROGRAMS["dead"].threads[:2]),
    attrs.evolve(PROGRAMS["close-all"], threads=PROGRAMS["close-all"].threads[1:]),
    PROGRAMS["resize"],
    PROGRAMS["interrupted-holder"],
    PROGRAMS["helpers-loss"],
]


@pytest.mark.parametrize("setting", UNCACHED, ids=lambda setting: setting.name)
def test_without_the_cache_the_verdict_is_the_same(setting: Setting) -> None:
    assert_the_cache_cuts_off_nothing(setting.make)


def test_a_fine_program_has_the_outcomes_of_the_coarse_one() -> None:
    fine = explore(attrs.evolve(PROGRAMS["deadlines"], fine=True, threads=TWO).make)
    coarse = explore(attrs.evolve(PROGRAMS["deadlines"], threads=TWO).make)
    assert fine.outcomes == coarse.outcomes
    assert fine.interleavings > coarse.interleavings


TWO = PROGRAMS["deadlines"].threads[:2]


# ---------------------------------------------------------------- the scheduler itself


class Toy:
    """A program of two or three bodies that share a few locks and a list."""

    def __init__(self, *bodies: Callable[[Toy], None], interrupts: int = 0) -> None:
        self.world = World(fine=False)
        self.locks: list[Lock] = [self.world.lock() for _ in range(2)]
        self.said: list[str] = []
        for number, body in enumerate(bodies):
            self.world.spawn(lambda body=body: body(self), f"thread {number}", interruptible=True)
        self.world.begin()
        self.world.interrupts = interrupts

    def key(self) -> Hashable:
        held = tuple(lock.is_held for lock in self.locks)
        return self.world.key(lambda value: type(value).__name__), held, tuple(self.said)

    def quiet(self) -> None:
        pass

    def finish(self) -> Hashable:
        return tuple(self.said)


def says(word: str) -> Callable[[Toy], None]:
    def body(toy: Toy) -> None:
        with toy.locks[0]:
            toy.said.append(word)

    return body


@pytest.mark.parametrize("cached", [True, False])
def test_three_threads_meet_in_six_orders(cached: bool) -> None:
    found = explore(lambda: Toy(says("a"), says("b"), says("c")), cached=cached)
    assert found.complete
    assert len(found.outcomes) == 6
    assert found.interleavings == 6


def test_an_order_is_told_and_run_again() -> None:
    def takes(first: int, second: int) -> Callable[[Toy], None]:
        def body(toy: Toy) -> None:
            with toy.locks[first], toy.locks[second]:
                toy.said.append("both")

        return body

    def make() -> Toy:
        return Toy(takes(0, 1), takes(1, 0))

    found = explore(make)
    assert found.violation is not None
    assert found.violation.promise == "Deadlock"
    assert not found.complete
    assert found.story == (
        "thread 0: acquire a lock, free",
        "thread 1: acquire a lock, free",
    )
    again = replay(make, found.schedule)
    assert (str(again.violation), again.story) == (str(found.violation), found.story)


def test_a_wait_with_a_deadline_ends_both_ways() -> None:
    """And by time although the lock is free by then."""

    def waits(toy: Toy) -> None:
        toy.said.append(f"{toy.locks[0].acquire(True, 5.0)} at {toy.world.now:g}")

    def gives(toy: Toy) -> None:
        toy.locks[1].acquire()
        toy.said.append("given")
        toy.locks[0].release()

    def make() -> Toy:
        toy = Toy(waits, gives)
        toy.locks[0].is_held = True
        return toy

    assert explore(make).outcomes == {
        ("given", "True at 0"),
        ("given", "False at 5"),
        ("False at 5", "given"),
    }


def test_an_exception_comes_anywhere_but_once() -> None:
    def works(toy: Toy) -> None:
        try:
            says("a")(toy)
            toy.world.pause()
            toy.said.append("done")
        except Interrupted:
            toy.said.append("interrupted")

    found = explore(lambda: Toy(works, interrupts=1))
    assert found.outcomes == {("a", "done"), ("a", "interrupted"), ("interrupted",)}


def test_what_never_ends_is_said_to() -> None:
    def spins(toy: Toy) -> None:
        while True:
            toy.world.pause()

    found = explore(lambda: Toy(spins))
    assert found.violation is not None
    assert found.violation.promise == "Livelock"


def test_what_a_finalizer_swallows_is_found() -> None:
    class Lost:
        def __init__(self, toy: Toy) -> None:
            self.toy = toy

        def __del__(self) -> None:
            self.toy.world.fail("Promise", "broken where nobody looks")

    def loses(toy: Toy) -> None:
        with toy.locks[0]:
            Lost(toy)

    found = explore(lambda: Toy(loses, says("b")))
    assert found.violation is not None
    assert found.violation.promise == "Promise"


def test_stopping_it_keeps_what_was_found_and_leaves_nothing_behind() -> None:
    threads = threading.active_count()

    def stop(found: Schedules) -> None:
        signal.raise_signal(signal.SIGTERM)

    with interrupts.noted(), pytest.raises(interrupts.Stopped, match=r"^200 interleavings, "):
        explore(PROGRAMS["dead"].make, progress=stop)
    assert threading.active_count() == threads


def test_a_key_press_in_the_middle_of_a_thread_stops_it() -> None:
    """It is not one of the exceptions that are thrown, whatever the thread makes of it."""

    def works(toy: Toy) -> None:
        with toy.locks[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(lambda: Toy(works, says("b")))


def test_a_key_press_in_a_thread_that_is_ended_stops_it() -> None:
    """It was on its way out, and stood at a lock, when its run was broken off."""

    def works(toy: Toy) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            says("a")(toy)

    toy = Toy(works, says("b"))
    with pytest.raises(KeyboardInterrupt):
        toy.world.abandon()


def test_a_key_press_in_a_finalizer_stops_it() -> None:
    """There it is swallowed by the interpreter, and there are many finalizers here."""

    class Lost:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def loses(toy: Toy) -> None:
        Lost()

    with pytest.raises(KeyboardInterrupt):
        explore(lambda: Toy(loses, says("b"), says("c")))


# ---------------------------------------------------------------- faults it must show


FAULTS: list[tuple[Fault, str, str, int]] = [
    (trusts_the_wait, "deadlines", "Answered", 2),
    (release_without_deliver, "handover", "Delivered", 2),
    (delivers_too_late, "handover", "Guard", 1),
    (leaves_the_inbox, "loss-fine", "Drained", 107),
    (wakes_before_it_answers, "handover-fine", "Deadlock", 14),
    (loses_a_delivery, "interrupted-close-fine", "Delivered", 4),
    (aborts_without_the_inbox, "interrupted-loss-fine", "Drained", 42),
    (a_finalizer_gives_up, "interrupted-loss", "Drained", 161),
    (changes_without_the_lock, "endings", "Guard", 1),
    (forgets_who_is_gone, "interrupted-waiter", "Deadlock", 5),
    (keeps_the_cell, "close-all", "Woken", 3),
]
"""Faults, the program that shows them, the promise that breaks, and in which interleaving."""


@pytest.mark.parametrize(
    ("fault", "name", "promise", "interleavings"),
    FAULTS,
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_is_found(
    fault: Fault, name: str, promise: str, interleavings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert assert_it_is_found(PROGRAMS[name].make, promise) == interleavings


# ---------------------------------------------------------------- in `purepool check`


def test_the_profiles_include_every_program() -> None:
    def programs(profile: str) -> set[str]:
        return {task.name for task in suite.profile(profile) if task.part == "schedules"}

    assert programs("ci") == {*PROGRAMS, *TASKS}
    assert programs("nightly") == {*PROGRAMS, *DEEP, *TASKS}


def test_the_result_says_how_many_interleavings() -> None:
    result = suite.schedules_task(PROGRAMS["handover"]).run()
    assert result.passed
    assert result.counts == {"interleavings": COUNTS["handover"][0]}
    assert json.loads(as_json([result], 1.0, "check"))["totals"] == result.counts


def test_the_result_tells_the_order_that_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    delivers_too_late(monkeypatch)
    result = suite.schedules_task(PROGRAMS["handover"]).run()
    assert not result.passed
    title, first, *_ = result.message.splitlines()
    assert title == "Guard: current was changed without the lock in handover, in this order:"
    assert first == "  thread 0: acquire a lock, free"


def test_a_stopped_task_says_so() -> None:
    def stop(found: Underway) -> None:
        assert "interleavings" in found.progress
        signal.raise_signal(signal.SIGTERM)

    with interrupts.noted():
        result = suite.schedules_task(PROGRAMS["dead"]).run(stop)
    assert result.status == "stopped"
    assert result.message.startswith("stopped after 200 interleavings")


def test_a_check_whose_caller_is_gone_is_part_of_a_place() -> None:
    """And so is what the watch has foreseen: two places that differ in it have other futures."""
    runtime = Runtime(SimpleNamespace(), Limits(opener="background"))  # type: ignore[arg-type]
    helpers: Any = runtime.helpers
    places = {freeze(helpers)}
    helpers._outlook = walk(runtime.state, 1.0, 1.0)
    places.add(freeze(helpers))

    class Question:
        claim, until, answer = (1, 1), 2.0, None

    question: Any = Question()
    helpers._left[question] = None
    places.add(freeze(helpers))
    question.answer = True
    places.add(freeze(helpers))
    assert len(places) == 4
