"""Runs chosen tests, again and again, each time in a fork of one process that has collected them.

Theory.  Most of what a test costs is to begin: Python, pytest, the pool, its tests' modules.  So
that is done once, and what differs is done in a fork of it, which is quick and leaves nothing
behind.  The child says by a pipe which test begins, and in words why one failed; how long that
may take, its parent decides, which kills it and all that it started.

Which tests reach which statement is found out the same way: the child plants a probe in front of
each statement and runs all tests once.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.mutation.mutants import Definition, Place, plant, statements

BUILD = Path("build/mutation").absolute()


class Verdict(NamedTuple):
    """What became of a run: `passed`, `failed`, `timeout` (a test took far too long) or `ended`
    (the process died)."""

    what: str
    test: str = ""
    why: str = ""


class Run:
    """Tests on their way in a child."""

    def __init__(
        self, tests: list[pytest.Item], seconds: Callable[[str], float], alone: bool = False
    ) -> None:
        self.tests = tests
        self.alone = alone
        """Nothing else may run meanwhile: its tests have a server in common with others."""
        self.seconds = seconds
        self.began = time.monotonic()
        self.since = self.began
        self.until = self.began + 60.0
        self.pid = 0
        self.took = self.work = 0.0
        self.pipe = -1
        self.test = ""
        self.buffer = b""
        self.verdict: Verdict | None = None

    def is_busy(self) -> bool:
        """Whether it is likely to do something, and not to hang."""
        return time.monotonic() < self.since + 0.2 * (self.until - self.since)

    def read(self) -> None:
        """Take what the child said. Without another word from it that was its end."""
        text = os.read(self.pipe, 1 << 16)
        *lines, self.buffer = (self.buffer + text).split(b"\n")
        for line in lines:
            word, *rest = json.loads(line)
            if word == "begins":
                self.test = self.tests[rest[0]].nodeid
                self.since = time.monotonic()
                self.until = self.since + self.seconds(self.test)
            else:
                self.verdict = Verdict(word, self.test, *rest)
        if not text:
            self.verdict = self.verdict or Verdict("ended", self.test)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        used = os.wait4(self.pid, 0)[2]
        self.took = time.monotonic() - self.began
        self.work = used.ru_utime + used.ru_stime
        os.close(self.pipe)
        for name in ("tmp", "mutant"):
            shutil.rmtree(BUILD / f"{name}-{self.pid}", ignore_errors=True)


class Forks:
    """Runs of tests, in children of this process, which has collected them."""

    def __init__(self, config: pytest.Config, watcher: Watcher) -> None:
        self.config = config
        self.watcher = watcher
        self.selector = selectors.DefaultSelector()
        self.running: dict[int, Run] = {}
        self.kept = set(_children())
        """What was started before, servers of databases, is nobody's orphan."""
        with contextlib.suppress(OSError, AttributeError):  # on Linux what they leave comes to us
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)

    def start(self, run: Run, prepare: Callable[[], None], after: Callable[[], None]) -> None:
        """Run these tests after `prepare()`; `after()` is called behind each."""
        ours, theirs = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(ours)
                self._be(run.tests, theirs, prepare, after)
                status = 0
            finally:
                os._exit(status)
        os.close(theirs)
        run.pid, run.pipe = pid, ours
        self.running[ours] = run
        self.selector.register(ours, selectors.EVENT_READ)

    def _be(
        self,
        tests: list[pytest.Item],
        pipe: int,
        prepare: Callable[[], None],
        after: Callable[[], None],
    ) -> None:
        def say(*words: Any) -> None:
            with contextlib.suppress(OSError):
                os.write(pipe, json.dumps(words).encode() + b"\n")

        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        temporary: Any = self.config._tmp_path_factory  # type: ignore[attr-defined]
        temporary._given_basetemp = BUILD / f"tmp-{os.getpid()}"
        try:
            prepare()
            for index, item in enumerate(tests):
                say("begins", index)
                following = tests[index + 1] if index + 1 < len(tests) else None
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                after()
                if self.watcher.failure:
                    return say("failed", self.watcher.failure)
        except BaseException as error:
            return say("failed", f"{type(error).__name__} went through pytest: {error}"[:300])
        say("passed")

    def may_begin(self, jobs: int) -> bool:
        """Whether another one may run: what hangs costs nothing, and is many of them."""
        if any(run.alone for run in self.running.values()):
            return False
        busy = sum(run.is_busy() for run in self.running.values())
        return busy < jobs and len(self.running) < 4 * jobs

    def wait(self, pause: float = 60.0) -> Iterator[Run]:
        """Those that ended, when one did; or none of them, after this pause."""
        end = time.monotonic() + pause
        while self.running and time.monotonic() < end:
            first = min(end, *(run.until for run in self.running.values())) - time.monotonic()
            for key, _ in self.selector.select(max(0.0, first)):
                self.running[key.fd].read()  # type: ignore[index]
            ended = []
            for run in self.running.values():
                if run.verdict is None and time.monotonic() > run.until:
                    run.verdict = Verdict("timeout", run.test)
                if run.verdict is not None:
                    ended.append(run)
            for run in ended:
                self._end(run)
                yield run
            if ended:
                return

    def _end(self, run: Run) -> None:
        self.selector.unregister(run.pipe)
        del self.running[run.pipe]
        run.end()
        self._end_orphans()

    def _end_orphans(self) -> None:
        """What a killed child started leads a session of its own, and belongs to us now."""
        ours = {run.pid for run in self.running.values()} | self.kept
        for pid in set(_children()) - ours:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def close(self) -> None:
        for run in list(self.running.values()):
            self._end(run)
        self.selector.close()


def _children() -> list[int]:
    try:
        return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
    except OSError:
        return []


class Servers:
    """A plugin that gives tests their databases: servers that were started once, before the forks.

    `Postgres` and `MariaDB` of `tests/integration/servers.py`, where they can be had."""

    def __init__(self) -> None:
        self.workplace: Any = None
        self.fixtures: dict[str, Any] = {}
        self.missing: list[str] = []

    def start(self, names: Iterable[str]) -> None:
        from tests.integration.servers import MariaDB, Postgres, Unavailable, Workplace

        self.workplace = Workplace()
        self.fixtures["workplace"] = self.workplace
        for name in names:
            try:
                kind = {"postgres": Postgres, "mariadb": MariaDB}[name]
                self.fixtures[name] = kind(self.workplace)
            except Unavailable as reason:
                self.missing.append(f"{name}: {reason}")

    def close(self) -> None:
        if self.workplace is not None:
            self.workplace.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        if fixturedef.argname not in self.fixtures:
            return None
        found = self.fixtures[fixturedef.argname]
        fixturedef.cached_result = found, fixturedef.cache_key(request), None
        return found


class Watcher:
    """A plugin that keeps the first failure, in a few words."""

    failure = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failure:
            crash = getattr(report.longrepr, "reprcrash", None)
            words = getattr(crash, "message", None) or str(report.longrepr)
            self.failure = " ".join(words.split())[:300] or report.when or "failed"


# ---------------------------------------------------------------- probes


class Probes:
    """In front of each statement of some functions a call that notes that it was reached."""

    def __init__(self, known: Iterable[Place], numbers: dict[str, int]) -> None:
        self.places = list(known)
        self.numbers = numbers
        """Of statements: a function, its hash, and the line in it."""
        self.seen: set[int] = set()
        self.directory = BUILD / "probes"
        self.file = BUILD / "hits"

    def prepare(self) -> None:
        """Plant them here, and for the processes that tests start."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.file.unlink(missing_ok=True)
        me, seen, file = os.getpid(), self.seen, os.open(self.file, _APPEND, 0o600)

        def hit(number: int) -> None:
            if number not in seen:
                seen.add(number)
                if os.getpid() != me:  # a fork of us
                    os.write(file, b"%d\n" % number)

        builtins._hit = hit  # type: ignore[attr-defined]
        for path in sorted({place.file for place in self.places}):
            tree = ast.parse(next(p.text for p in self.places if p.file == path))
            definitions = {n.lineno: n for n in ast.walk(tree) if isinstance(n, Definition)}
            mine = [place for place in self.places if place.file == path]
            for place in mine:
                node = definitions[place.node.lineno]
                self._probe(place, node)
                function = place.function()
                if function is not None:
                    plant(
                        function, place, ast.parse(ast.unparse(_without_decorators(node))).body[0]
                    )
            module = mine[0].module
            (self.directory / f"{module}.py").write_text(
                ast.unparse(ast.fix_missing_locations(tree))
            )
        os.environ["PUREPOOL_MUTATION"] = str(self.directory)
        os.environ["PUREPOOL_HITS_FILE"] = str(self.file)

    def number(self, place: Place, line: int) -> int:
        """Of the statement that begins in this line of the file."""
        name = f"{place.title}|{place.hash}|{line - place.first}"
        return self.numbers.setdefault(name, len(self.numbers))

    def number_all(self) -> None:
        """In this process, so that they are the same in all."""
        for place in self.places:
            for body, index in statements(place.node):
                self.number(place, body[index].lineno)

    def _probe(self, place: Place, node: Any) -> None:
        bodies = {id(body): body for body, _ in statements(node)}
        for body in bodies.values():
            probed = []
            for one in body:
                if not (probed == [] and body is node.body and _is_text(one)):
                    number = ast.Constant(self.number(place, one.lineno))
                    probe = ast.Expr(ast.Call(ast.Name("_hit", ast.Load()), [number], []))
                    probed.append(ast.copy_location(probe, one))
                probed.append(one)
            body[:] = probed

    def take(self) -> list[int]:
        """What was reached since the last time."""
        text = self.file.read_bytes() if self.file.exists() else b""
        os.truncate(self.file, 0)
        found = sorted(self.seen | {int(line) for line in text.split()})
        self.seen.clear()
        return found


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _without_decorators(node: Any) -> Any:
    copy = ast.parse(ast.unparse(node)).body[0]
    copy.decorator_list = []  # type: ignore[attr-defined]
    return copy
