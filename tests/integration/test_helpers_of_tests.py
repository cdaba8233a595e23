"""What other tests lean on can fail: `until`, `soon`, `process`, and the marker `database`.

Theory.  A helper that never fails makes every test that uses it pass.  So each is used here on
something that is wrong.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pool import Limits
from pool.threads.runtime import Runtime
from tests.integration import drivers, instants
from tests.integration.drivers import ROOT, ScriptedDriver, soon, until, watch
from tests.integration.processes import SECONDS, is_gone, process, run

MARKED = """
import pytest

@pytest.fixture
def postgres():
    return "no server, but its name"

def test_a_fixture(postgres):
    pass

@pytest.mark.parametrize("name", ["postgres"])
def test_a_parameter(name, request):
    request.getfixturevalue(name)

def test_asks_for_one_that_nobody_sees(request):
    request.getfixturevalue("post" + "gres")

def test_none():
    pass
"""


def outcomes(place: Path, marker: str) -> tuple[dict[str, str], str]:
    """What becomes of the tests above, of those that `-m` selects, and what is said."""
    file = place / "test_marked.py"
    file.write_text(MARKED)
    done = run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(place)),
            *("-p", "tests.integration.conftest", "-m", marker, str(file)),
        ],
        cwd=ROOT,
    )
    lines = [line.split() for line in done.stdout.splitlines() if "test_marked.py::" in line]
    verdicts = {words[0].partition("::")[2]: words[1] for words in lines if len(words) > 1}
    return {name: what for name, what in verdicts.items() if what.isupper()}, done.stdout


def test_what_uses_a_server_is_marked(tmp_path: Path) -> None:
    """By its name as a fixture or as a parameter; whoever hides it does not get it."""
    marked, _ = outcomes(tmp_path, "database")
    assert marked == {"test_a_fixture": "PASSED", "test_a_parameter[postgres]": "PASSED"}
    others, said = outcomes(tmp_path, "not database")
    assert others["test_none"] == "PASSED"
    assert others["test_asks_for_one_that_nobody_sees"] in ("ERROR", "FAILED")
    assert "uses postgres without the marker `database`" in said


def test_what_takes_as_long_as_a_wait_is_not_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with soon():
        pass
    monkeypatch.setattr(drivers, "PATIENCE", 0.0)
    with pytest.raises(AssertionError, match="did not come to an end by itself"), soon():
        pass


def test_what_does_not_come_about() -> None:
    until(lambda: True, 0.0)
    with pytest.raises(AssertionError, match="did not come about in time"):
        until(lambda: False, 0.01)


def test_a_process_does_not_outlive_its_test(tmp_path: Path) -> None:
    """Nor does what it started, whatever they do with signals and whatever the test does."""
    script = """
import os, signal, sys, time
child = os.fork()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if child:
    print(child, flush=True)
time.sleep(3600)
"""

    class Wrong(Exception):
        pass

    numbers: list[int] = []
    with contextlib.suppress(Wrong), process([sys.executable, "-c", script]) as started:
        assert started.stdout is not None
        numbers += [started.pid, int(started.stdout.readline())]
        raise Wrong
    until(lambda: all(map(is_gone, numbers)))


def test_a_process_has_the_signals_of_a_foreground_job() -> None:
    """Also where these tests run in the background of a shell, whose children ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # Not one long sleep: a signal that comes just before it does not end it.
        sleeps = "import time; print(flush=True)\nwhile True: time.sleep(0.05)"
        with process([sys.executable, "-c", sleeps]) as it:
            assert it.stdout is not None
            it.stdout.readline()
            it.send_signal(signal.SIGINT)
            it.communicate(timeout=SECONDS)
        assert it.returncode == -signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- samples of instants


def test_only_what_is_marked_is_content_with_a_sample() -> None:
    assert instants.chosen is instants.EVERY


@pytest.mark.sampled
def test_what_is_marked_is() -> None:
    assert instants.chosen is instants.SAMPLE


def test_one_sample_after_the_other_comes_to_every_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert instants.sample("") == instants.EVERY
    tried: list[list[str]] = [[], []]
    counts = set()

    def try_them(sample: range, places: list[str]) -> None:
        monkeypatch.setattr(instants, "chosen", sample)
        runtime = Runtime(ScriptedDriver(), Limits())
        counts.add(
            instants.every_instant(
                lambda: lambda: runtime.release(runtime.acquire(0)),
                lambda: None,
                lambda: places.append("".join(traceback.format_stack()[-4:])),
            )
        )

    try_them(instants.EVERY, tried[0])
    for first in range(730, 740):
        try_them(instants.sample(f"10:{first}"), tried[1])
    assert sorted(tried[0]) == sorted(tried[1])
    assert counts == {len(tried[0])}


def test_the_invariants_that_a_test_asks_for_are_no_instants() -> None:
    counts = []
    for watched in (False, True):

        def prepare(watched: bool = watched) -> Callable[[], bool]:
            runtime = Runtime(ScriptedDriver(), Limits())
            plain = runtime.step
            runtime.step = lambda *now: plain(*now)  # type: ignore[method-assign]  # no shortcuts
            if watched:
                watch(runtime)
            return lambda: runtime.release(runtime.acquire(0))

        counts.append(instants.every_instant(prepare, lambda: None))
    assert counts[0] == counts[1] > 50


def test_it_is_seen_that_another_thread_collects_garbage() -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Waits:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            inside.set()
            go_on.wait(drivers.PATIENCE)

    def collect() -> None:
        Waits()
        gc.collect()

    gc.disable()  # else this thread might collect it
    try:
        thread = threading.Thread(target=collect)
        thread.start()
        assert inside.wait(drivers.PATIENCE)
        assert not drivers.nobody_collects()
        go_on.set()
        thread.join(drivers.PATIENCE)
        until(drivers.nobody_collects)
    finally:
        go_on.set()
        gc.enable()
