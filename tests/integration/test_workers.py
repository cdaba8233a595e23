"""Threads for jobs: used again, never shared, and gone when nobody needs them.

They are the process's, and a pool that an earlier test has left may need one at any time: so the
tests here have a copy of the module, and its threads, to themselves.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import importlib.util
import os
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pool import Pool
from pool.threads import workers as everybodys
from pool.threads.driver import Sync
from tests.integration.drivers import until
from tests.integration.instants import every_instant


def copy() -> Any:
    """The module once more. What waits has another name, for nobody waits here for others'."""
    specification = importlib.util.spec_from_file_location("workers_alone", everybodys.__file__)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.IDLE = "alone, waiting for a job"  # type: ignore[attr-defined]
    return module


workers = copy()
start = workers.start

CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("CONTEXT", default="empty")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None waits at the beginning; at the end those that the test left are sent away."""
    monkeypatch.setattr(workers, "KEPT", 0.0)
    _send_away()
    monkeypatch.setattr(workers, "KEPT", 1000.0)
    yield
    monkeypatch.setattr(workers, "KEPT", 0.0)
    _send_away()


def _send_away() -> None:
    while workers._waiting:
        with contextlib.suppress(IndexError):
            workers._waiting.pop().alarm.release()  # for nothing: it waits again, for no time
    until(lambda: not any(one.name == workers.IDLE for one in threading.enumerate()))


class Ran:
    """A job, and on which thread it ran."""

    def __init__(self, begin: Any = None) -> None:
        self.begin = begin
        self.thread: threading.Thread | None = None
        self.name = self.context = ""

    def __call__(self) -> None:
        self.name, self.context = threading.current_thread().name, CONTEXT.get()
        CONTEXT.set("used")
        self.thread = threading.current_thread()
        if self.begin is not None:
            self.begin()

    def has_run(self) -> bool:
        return self.thread is not None


def run(job: Ran, name: str = "purepool check") -> Any:
    """The job's thread, when it waits for the next."""
    start(job, name)
    until(job.has_run)
    until(lambda: workers._waiting)
    return job.thread


def test_a_thread_that_has_done_its_job_gets_the_next() -> None:
    first, second = Ran(), Ran()
    assert run(first) is run(second, "purepool close")
    assert (first.name, second.name) == ("purepool check", "purepool close")


def test_a_job_finds_no_context_of_the_one_before() -> None:
    jobs = [Ran(), Ran()]
    assert len({id(run(job)) for job in jobs}) == 1
    assert [job.context for job in jobs] == ["empty", "empty"]


def test_a_job_that_hangs_holds_up_nobody() -> None:
    held = threading.Lock()
    held.acquire()
    hanging, others = Ran(lambda: held.acquire()), [Ran(), Ran()]
    try:
        start(hanging, "purepool check")
        until(hanging.has_run)
        assert not workers._waiting
        assert run(others[0]) is run(others[1]) is not hanging.thread
    finally:
        held.release()
    until(lambda: len(workers._waiting) == 2)


def test_the_one_that_waits_for_the_shortest_time_is_taken() -> None:
    """So that those that are not needed end."""
    gate = threading.Barrier(3)
    both = [Ran(gate.wait), Ran(gate.wait)]
    for job in both:
        start(job, "purepool check")
    gate.wait()
    until(lambda: len(workers._waiting) == 2)
    last = workers._waiting[-1]
    job = Ran()
    start(job, "purepool check")
    until(lambda: job.has_run() and len(workers._waiting) == 2)
    assert workers._waiting[-1] is last


def test_it_ends_when_there_was_no_other_job_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "KEPT", 0.01)
    job = Ran()
    start(job, "purepool check")
    until(lambda: job.has_run() and job.thread not in threading.enumerate())
    assert not workers._waiting


def test_one_that_was_taken_as_its_time_ran_out_still_does_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Taken off the list, not yet woken: it must not go."""
    taken: list[Any] = []

    class Contended(list[Any]):
        def remove(self, worker: Any) -> None:
            super().remove(worker)  # by another thread, a moment before
            taken.append(worker)
            raise ValueError

    monkeypatch.setattr(workers, "KEPT", 0.0)
    monkeypatch.setattr(workers, "_waiting", Contended())
    first, second = Ran(), Ran()
    start(first, "purepool check")
    until(lambda: taken)
    monkeypatch.setattr(workers, "KEPT", 1000.0)
    monkeypatch.setattr(workers, "_waiting", [])
    taken[0].job = second, "purepool check"
    taken[0].alarm.release()
    until(second.has_run)
    assert second.thread is first.thread
    until(lambda: workers._waiting)


def test_one_that_is_woken_for_nothing_waits_again() -> None:
    """Whoever had taken it was interrupted."""
    first, second = Ran(), Ran()
    thread = run(first)
    workers._waiting.pop().alarm.release()
    until(lambda: workers._waiting)
    assert run(second) is thread


@pytest.mark.parametrize(
    ("version", "by"),
    [((3, 10, 0), "start"), ((3, 12, 9), "start"), ((3, 13), "call"), ((3, 14, 1), "call")],
)
def test_a_thread_has_its_name_from_the_beginning_and_is_a_daemon(
    version: Any, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python 3.13 on it is begun by one call, in which no exception can come."""
    started: list[tuple[str, Any]] = []
    plain = threading.Thread

    class Thread(plain):  # type: ignore[valid-type, misc]
        def start(self) -> None:
            started.append(("start", (self.name, self.daemon)))
            super().start()

    def call(function: Any, arguments: Any) -> None:
        started.append(("call", ("purepool check", True)))
        plain(target=function, args=arguments, daemon=True).start()

    monkeypatch.setattr(threading, "Thread", Thread)
    monkeypatch.setattr(workers, "_thread", SimpleNamespace(start_new_thread=call))
    monkeypatch.setattr(workers, "sys", SimpleNamespace(version_info=version))
    job = Ran()
    thread = run(job)
    assert started == [(by, ("purepool check", True))]
    assert (job.name, thread.daemon) == ("purepool check", True)


@pytest.mark.parametrize("version", [(3, 12, 9), (3, 13, 0)])
def test_where_there_are_no_daemons_a_thread_has_one_job(
    version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a program waits for its threads, so none waits for another job. Any thread may start
    one, a foreign one too, which counts as a daemon."""
    plain = threading.Thread

    class NoDaemon(plain):  # type: ignore[valid-type, misc]
        def __init__(self, **given: Any) -> None:
            if given.get("daemon"):
                raise RuntimeError("daemon threads are disabled in this interpreter")
            super().__init__(**given)

    monkeypatch.setattr(workers, "sys", SimpleNamespace(version_info=version))
    monkeypatch.setattr(threading, "Thread", NoDaemon)
    named: list[tuple[str, bool]] = []
    job = Ran()
    job.begin = lambda: named.append((threading.current_thread().name, job.thread.daemon))  # type: ignore[union-attr]
    foreign = plain(target=start, args=(job, "purepool check"), daemon=True)
    foreign.start()
    foreign.join()
    until(lambda: named)
    assert named == [("purepool check", False)]
    assert isinstance(job.thread, NoDaemon)
    job.thread.join()
    assert not workers._waiting

    monkeypatch.setattr(workers, "is_ending", lambda: True)
    with pytest.raises(RuntimeError, match="daemon threads are disabled"):
        start(job, "purepool check")


def test_when_the_program_ends_none_waits_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is done, and so is what comes later."""
    monkeypatch.setattr(workers, "_is_over", False)  # and again, when this is over
    gate = threading.Barrier(3)
    jobs = [Ran(gate.wait), Ran(gate.wait), Ran()]
    for job in jobs[:2]:
        start(job, "purepool check")
    gate.wait()
    until(lambda: len(workers._waiting) == 2)
    workers._dismiss()
    start(jobs[2], "purepool close")
    for job in jobs:
        until(job.has_run)
        until(lambda job=job: job.thread not in threading.enumerate())  # type: ignore[misc]
    assert workers._waiting == []


def test_an_exception_ends_the_thread_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))
    monkeypatch.setattr("sys.unraisablehook", lambda args: told.append(args.exc_value))

    def fail() -> None:
        raise LookupError("a job's own")

    failing, second = Ran(fail), Ran()
    start(failing, "purepool check")
    until(lambda: told and failing.thread not in threading.enumerate())
    assert [str(error) for error in told] == ["a job's own"]
    assert run(second) is not failing.thread


def test_who_waits_keeps_nothing_alive() -> None:
    class Thing(Ran):
        pass

    job = Thing()
    run(job)
    there = weakref.ref(job)
    del job
    gc.collect()
    assert there() is None


def test_an_exception_at_every_instant_of_a_start() -> None:
    """Whoever is interrupted as a job is given away: the thread that waited is not lost, and no
    other is started."""
    ran: list[int] = []
    run(Ran())

    def prepare() -> Any:
        until(lambda: len(workers._waiting) == 1)
        return lambda: start(lambda: ran.append(threading.get_ident()), "purepool check")

    def check() -> None:
        until(lambda: len(workers._waiting) == 1)

    assert every_instant(prepare, check) > 2
    assert len(set(ran)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_has_none_of_the_threads() -> None:
    run(Ran())
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            waiting, job = len(workers._waiting), Ran()
            start(job, "purepool check")
            until(job.has_run)
            os.write(writing, f"{waiting} {job.name}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"0 purepool check"
    os.waitpid(child, 0)
    assert len(workers._waiting) == 1


def test_checks_need_no_thread_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that checks every connection starts none for each. Not their idents are counted: one
    that has ended gives its own to the next."""
    begun: list[str] = []
    worker = workers._Worker

    def counted(job: Any) -> Any:
        begun.append(job[1])
        return worker(job)

    checked: list[object] = []
    monkeypatch.setattr(workers, "_Worker", counted)
    monkeypatch.setattr(Sync, "start", staticmethod(start))
    with Pool(object, check=checked.append, check_after=0, max_size=1) as pool:
        pool.acquire().release()
        for number in range(1, 20):
            until(lambda: workers._waiting)  # the one that has connected, or checked
            pool.acquire().release()
            assert len(checked) == number
    assert begun  # the first is for the connect
    assert [name for name in begun if "check" in name] == []


def test_whether_the_program_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers.is_ending() is False
    monkeypatch.setattr(threading, "_SHUTTING_DOWN", True, raising=False)
    assert workers.is_ending() is True
    monkeypatch.delattr(threading, "_SHUTTING_DOWN")  # of which no Python has to have one
    assert workers.is_ending() is False
    ended = SimpleNamespace(is_alive=lambda: False)
    monkeypatch.setattr(threading, "main_thread", lambda: ended)
    assert workers.is_ending() is True
