"""`make mutation-runtime`: every mutant of the impure half is killed, or it is explained why not.

Theory.  As `make mutation` for the pure core, by the same mutmut, but run by ourselves
(`mutants.py`, `session.py`).  First all tests run once with probes, to know which reach which
statement.  Then for each mutant those run that reach its statement: first what killed it before
its function changed, and its neighbours, then the quickest.  A test that then takes ten times as
long as it did, and seconds more, hangs, and has killed it, too; that is said apart.

What was found is kept in `build/mutation/`, as it comes.  A mutant is tried again when its
function has changed; a survivor, too, with the tests that it has not survived yet: those of files
that have changed since.  `--again` forgets.  What has been killed stays so: after weakening a test,
`--again`.

A survivor is explained in `survivors.txt`, by function and lines, or by what it changes
(`wording.py`).  One that is not explained fails the command, and so does an explanation of
something that was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.model.mutation import judge, read_explained
from tests.mutation.session import BUILD, Forks, Probes, Run, Servers, Verdict, Watcher

EXPLAINED = Path(__file__).with_name("survivors.txt")

PLANTED = Path(__file__).with_name("planted.txt")
"""Faults that were thought of: each once lived through all tests. They are mutants as others."""

FILES = [
    *(f"pool/{name}.py" for name in ("lease", "api", "face", "meant", "health")),
    *(f"pool/core/{name}.py" for name in ("outlook", "text", "maps")),
    *(f"pool/shared/{name}.py" for name in ("causes", "forks", "handles", "journal", "log")),
    *(f"pool/shared/{name}.py" for name in ("store", "running", "named", "observation", "meter")),
    "pool/shared/members.py",
    "pool/shared/regularly.py",
    *(f"pool/metrics/{name}.py" for name in ("reading", "otel", "prometheus")),
    *(f"pool/threads/{name}.py" for name in ("monitor", "performer", "runtime")),
    *(f"pool/threads/{name}.py" for name in ("helpers", "onlookers", "exits", "workers")),
    *(f"pool/tasks/{name}.py" for name in ("monitor", "performer", "runtime", "exits")),
    *(
        f"pool/drivers/{name}.py"
        for name in ("callables", "proxies", "recipe", "recipes", "sqlite", "postgres", "mysql")
    ),
    *(f"pool/drivers/async_{name}.py" for name in ("callables", "recipes")),
    *(
        f"pool/peewee/{name}.py"
        for name in ("database", "arrivals", "closing", "leases", "adapter")
    ),
    *(f"pool/peewee/{name}.py" for name in ("mirror", "settings", "__init__", "aio")),
    *(f"pool/aio/{name}.py" for name in ("api", "lease", "holders", "__init__")),
]
"""What is not pure and no tool, and what helpers alone use. The pure core has `make mutation`."""

GROUPS = {
    "the runtime for threads": (
        "pool/threads/",
        "pool/core/",
        "pool/shared/store",
        "pool/shared/r",
    ),
    "the classes of a pool, and what is told": (
        *(f"pool/{name}.py" for name in ("lease", "api", "face", "meant", "health")),
        *(f"pool/shared/{name}" for name in ("causes", "forks", "handles", "journal", "log")),
    ),
    "observers and metrics": (
        "pool/shared/named",
        "pool/shared/o",
        "pool/shared/m",
        "pool/metrics/",
    ),
    "functions as a driver, and proxies": ("pool/drivers/callables", "pool/drivers/proxies"),
    "what is known of drivers": tuple(
        f"pool/drivers/{name}" for name in ("recipe", "sqlite", "postgres", "mysql")
    ),
    "the drop-in for peewee": tuple(
        f"pool/peewee/{name}"
        for name in ("d", "arrivals", "c", "l", "adapter", "m", "s", "__init__")
    ),
    "the pools for asyncio": ("pool/tasks/", "pool/aio/", "pool/drivers/async", "pool/peewee/aio"),
}
"""The rows of the table in `docs/assurance.md`, and with what the names of their files begin."""

TESTS = [
    "tests/integration",
    *(f"tests/model/test_{name}.py" for name in ("outlook", "runtime_machine", "text", "maps")),
    "tests/model/test_written_out.py",
    *(f"tests/model/test_{name}.py" for name in ("tasks", "tasks_machine")),
]

LEFT_OUT = [
    *("*/test_every_instant*", "*/test_stages*", "*/test_wheel*", "*/test_servers*"),
    *("*/test_demo.py*", "*/test_conform*", "*/test_fuzz.py*", "*/test_interrupts_of_checks.py*"),
    *("*::test_signals_at_random*", "*::*_storm*", "*::test_interruptions_do_not_lose_the*"),
    *("*::test_threads_that_are_struck*", "*::test_tasks_that_are_cancelled*"),
    "*::test_a_run_under_asynchronous_exceptions_is_sound*",
]
"""They take very long, or have nothing to do with it, or interrupt at random: what they find today
they may not find tomorrow."""

DATABASES = [f"tests/integration/test_{name}.py" for name in ("pool_drivers", "pool_next_borrower")]
"""Where the tests of drivers are that need a server; one is started once, for all mutants."""

SERVERS_OF_ONE_TEST = ("postgres_with", "mariadb_with")

SECONDS = 10.0
"""Of work, for each mutant: its quickest tests run until they have taken so long. It is enough for
all of the quick ones; `--slow` runs all that reach the mutant."""

PROBED = 40.0
"""Seconds after which a test that is probed hangs, or is too slow to be of use."""

HANGS = 5.0
"""Seconds more than ten times what a test took."""

USED_AS = {
    **dict.fromkeys(
        [f"pool.threads.{name}" for name in ("monitor", "performer")], "pool.threads.runtime"
    ),
    **dict.fromkeys(
        [f"pool.shared.{name}" for name in ("store", "running")], "pool.threads.runtime"
    ),
}
"""Parts of something that tests know by its own name."""

KILLED = ("failed", "timeout", "ended")


class Notes:
    """What is kept from run to run."""

    def __init__(self) -> None:
        self.path = BUILD / "results.json"
        self.tests: dict[str, dict[str, Any]] = {}
        """By node id: `file` (its hash), `work` and `wall` in seconds, `hits`, `good`."""
        self.mutants: dict[str, dict[str, Any]] = {}
        """By key: `what`, `test`, `why`, `hash` of the function, `tried` (tests' files)."""
        self.numbers: dict[str, int] = {}
        """Those of statements, which are in `hits`."""
        self.saved = time.monotonic()

    def load(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            kept = json.loads(self.path.read_text())
            self.tests, self.mutants, self.numbers = kept["tests"], kept["mutants"], kept["numbers"]

    def save(self, *, at_once: bool = True) -> None:
        if at_once or time.monotonic() > self.saved + 20.0:
            new = self.path.with_suffix(".new")
            new.write_text(
                json.dumps({"tests": self.tests, "mutants": self.mutants, "numbers": self.numbers})
            )
            new.replace(self.path)
            self.saved = time.monotonic()


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


class Stopped(Exception):
    """By Ctrl-C."""


class Mutation:
    """A pytest plugin: what it does in the place of running the tests."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.notes = Notes()
        self.watcher = Watcher()
        self.servers = Servers()
        self.early = called_while_imported()
        self.status = 2
        self.stopped = False
        self.homes: dict[str, set[str]] = {}

    def pytest_sessionstart(self) -> None:
        from hypothesis import settings

        few = {"max_examples": 30, "stateful_step_count": 30}
        settings.register_profile("mutation", derandomize=True, database=None, deadline=None, **few)
        settings.load_profile("mutation")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            item
            for item in items
            if (item.get_closest_marker("database") is None or self.has_a_server(item))
            and item.get_closest_marker("slow") is None
            and not any(fnmatch(item.nodeid, pattern) for pattern in LEFT_OUT)
        ]

    def has_a_server(self, item: pytest.Item) -> bool:
        """Whether it needs a database, and no more of it than to be there."""
        names = {*getattr(item, "fixturenames", ()), *map(str, parameters(item).values())}
        file = item.nodeid.split("::")[0]
        return file in DATABASES and self.options.servers and not names & {*SERVERS_OF_ONE_TEST}

    def stop(self, *_: Any) -> None:
        """What Ctrl-C does: no exception, which could come in the middle of a fork, and be lost."""
        self.stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        signal.signal(signal.SIGINT, self.stop)
        self.items = {item.nodeid: item for item in session.items}
        self.hashes = {file: digest(file) for file in {i.split("::")[0] for i in self.items}}
        self.out = os.fdopen(os.dup(2), "w", buffering=1)
        session.config.pluginmanager.register(self.watcher)
        session.config.pluginmanager.register(self.servers)
        self.with_server = {
            name
            for name, item in self.items.items()
            if item.get_closest_marker("database") is not None
        }
        if self.with_server:
            self.servers.start(["postgres", "mariadb"])
            for reason in self.servers.missing:
                self.say(f"its tests cannot kill anything: {reason}\n")
        self.forks = Forks(session.config, self.watcher)
        gc.collect()
        gc.freeze()  # a collection in a child shall not copy what is ours
        self.notes.load()
        try:
            self.probe()
            self.status = self.mutate()
        except (KeyboardInterrupt, Stopped):
            decided = len(self.notes.mutants)
            self.say(f"\nstopped; {decided} mutants are decided, and the same command goes on\n")
            self.status = 130
        finally:
            self.forks.close()
            self.servers.close()
            self.notes.save()
            for directory in (*BUILD.glob("tmp-*"), *BUILD.glob("mutant-*")):
                shutil.rmtree(directory, ignore_errors=True)
        return True

    def check(self) -> None:
        if self.stopped:
            raise Stopped

    def say(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

    # ------------------------------------------------------------ which test reaches what

    def probe(self) -> None:
        from tests.mutation.mutants import places

        known_functions = {name.partition("|")[0] for name in self.notes.numbers}
        probes = Probes([p for file in FILES for p in places(file)], self.notes.numbers)
        self.probes = probes
        if self.options.again or not known_functions & {p.title for p in probes.places}:
            self.notes.tests.clear()
            self.notes.numbers.clear()
        probes.number_all()
        known = self.notes.tests
        new = [
            item
            for name, item in self.items.items()
            if known.get(name, {}).get("file") != self.hashes[name.split("::")[0]]
        ]
        for name in set(known) - set(self.items):
            del known[name]
        if not new:
            return
        left = new
        began = time.monotonic()
        report = BUILD / "probed.jsonl"
        while left:  # what ends the process or hangs is left out, and the rest tried again
            report.unlink(missing_ok=True)
            run = Run(left, lambda test: PROBED)
            self.forks.start(run, *self._noter(left, report))
            try:
                while self.forks.running:
                    self.check()
                    for _ in self.forks.wait(0.5):
                        pass
            finally:
                lines = report.read_text().splitlines() if report.exists() else []
                for line in lines:
                    name, note = json.loads(line)
                    known[name] = {"file": self.hashes[name.split("::")[0]], **note}
            assert run.verdict is not None
            left = left[len(lines) :]
            if run.verdict.what != "passed" and left:
                name = left[0].nodeid
                known[name] = {"file": self.hashes[name.split("::")[0]], "good": False}
                left = left[1:]
            self.notes.save()
        bad = [item.nodeid for item in new if not known[item.nodeid]["good"]]
        self.say(f"{len(new)} tests probed in {(time.monotonic() - began) / 60:.1f} minutes\n")
        for name in bad:
            self.say(f"fails without a mutant, and is not used: {name}\n")

    def _noter(self, tests: list[pytest.Item], report: Path) -> Any:
        """What is called behind each test: it writes down how long it took and what it reached."""
        state: dict[str, Any] = {"index": 0, "work": None}

        def work() -> float:
            return sum(os.times()[:4])

        def before() -> None:
            self.probes.prepare()
            state["work"], state["wall"] = work(), time.monotonic()

        def after() -> None:
            index, state["index"] = state["index"], state["index"] + 1
            note = {
                "work": round(work() - state["work"], 3),
                "wall": round(time.monotonic() - state["wall"], 3),
                "hits": self.probes.take(),
                "good": not self.watcher.failure,
            }
            if self.watcher.failure:
                note["why"] = self.watcher.failure
            self.watcher.failure = ""
            with report.open("a") as file:
                file.write(json.dumps([tests[index].nodeid, note]) + "\n")
            state["work"], state["wall"] = work(), time.monotonic()
            if index % 100 == 0:
                self.say(f"\r{index} of {len(tests)} tests probed \r")

        return before, after

    # ------------------------------------------------------------ mutants

    def chosen(self) -> list[Any]:
        wanted = self.options.only
        asked = [w.partition(":")[0] for w in wanted]
        files = list(dict.fromkeys(asked or FILES))
        found = []
        by_hand = planted_by_hand()
        for file in files:
            self.check()
            for mutant in [*(m for m in by_hand if m.place.file == file), *mutants_of(file)]:
                names = [w.partition(":")[2] for w in wanted if w.startswith(file)]
                if not wanted or any(fnmatch(mutant.place.name, n or "*") for n in names):
                    found.append(mutant)
        if self.options.planted:
            return [mutant for mutant in found if mutant.number == 0]
        return found

    def tests_of(self, mutant: Any) -> list[str]:
        """The tests that reach its statement; the quickest first."""
        tests = self.notes.tests
        numbers = {self.probes.number(mutant.place, mutant.line)}
        if mutant.place.title not in self.probed:  # it has changed since: whatever reached it
            known = [self.numbers_of(f"{mutant.place.title}|"), self.numbers_of(mutant.place.start)]
            numbers = known[0] & self.hits or known[1]
        if (mutant.place.file, mutant.place.first) in self.early:
            # It runs before there are probes, but in processes that tests start, which is slow:
            # whatever reaches the rest of its class, or of its file, too.
            numbers = numbers | self.numbers_of(mutant.place.start)
        reach = [n for n, t in tests.items() if t["good"] and self.reached[n] & numbers]
        # First those that are about its module. Of two that are as quick, the one that is about
        # less; one set of parameters of each test before the others; and some of each file before
        # more of one.
        home = self.home_of(mutant.place.module)
        reach.sort(key=lambda name: tests[name]["work"] + 1e-5 * len(self.reached[name]))
        met = Counter[str]()
        ranks, costs = {}, {}
        for name in reach:
            test, file = name.partition("[")[0], name.partition("::")[0]
            met.update((test, file))
            ranks[name] = min(met[test], 3)
            costs[name] = tests[name]["work"] * met[file]
        reach.sort(key=lambda n: (n.partition("::")[0] not in home, ranks[n], costs[n]))
        if not self.options.slow:
            sums = itertools.accumulate(tests[name]["work"] for name in reach)
            reach = [
                name
                for name, so_far in zip(reach, sums, strict=True)
                if so_far <= self.options.seconds
            ]
        return reach

    def home_of(self, module: str) -> set[str]:
        """Files of tests that name it, to ask or to change something of its own; or by which name
        it is used."""
        if module not in self.homes:
            used_as = USED_AS.get(module, module)
            parent, _, last = used_as.rpartition(".")
            named = re.compile(
                rf"\b{used_as}(\.[a-zA-Z_]| import)|from {parent} import .*\b{last}\b"
            )
            texts = {file: Path(file).read_text(encoding="utf-8") for file in self.hashes}
            self.homes[module] = {file for file, text in texts.items() if named.search(text)}
        return self.homes[module]

    def numbers_of(self, start: str) -> set[int]:
        return {number for name, number in self.notes.numbers.items() if name.startswith(start)}

    def mutate(self) -> int:
        from tests.mutation.wording import kind_of

        began = time.monotonic()
        chosen = [mutant for mutant in self.chosen() if not kind_of(mutant)]
        self.reached = {n: set(t.get("hits", ())) for n, t in self.notes.tests.items()}
        self.hits = set().union(*self.reached.values())
        reached = {name for name, number in self.notes.numbers.items() if number in self.hits}
        places = self.probes.places
        now = {f"{place.title}|{place.hash}": place.title for place in places}
        self.probed = {now.get(name.rpartition("|")[0]) for name in reached}
        results = self.notes.mutants
        if self.options.again:
            for mutant in chosen:
                results.pop(mutant.key, None)
        hashes = {id(mutant.place): mutant.place.hash for mutant in chosen}
        killers: dict[str, Counter[str]] = {}
        todo: Iterator[Any] = iter(chosen)
        tried = done = alive = 0
        waiting: dict[int, tuple[Any, str, list[str]]] = {}
        jobs = self.options.jobs
        while True:
            while self.forks.may_begin(jobs) and (mutant := next(todo, None)) is not None:
                done += 1
                note = results.get(mutant.key)
                same = note is not None and note["hash"] == hashes[id(mutant.place)]
                if same and note["what"] in KILLED and note.get("test") in (*self.items, ""):
                    continue
                if self.options.killers:
                    if note is None or note["what"] not in KILLED or note["test"] not in self.items:
                        continue
                    tests = [note["test"]]
                else:
                    tests = self.tests_of(mutant)
                before = note["tried"] if same and note["what"] == "passed" else {}
                seen = self.versions(tests)
                left = [n for n in tests if before.get(n.split("::")[0]) != seen[n.split("::")[0]]]
                if not left:
                    what = "passed" if tests else "unreached"
                    results[mutant.key] = self.note(mutant, Verdict(what), seen)
                    continue
                good = killers.setdefault(mutant.place.title, Counter())
                last = (note or {}).get("test")  # what killed it before its function changed
                first = [
                    n
                    for n in dict.fromkeys([last, *(n for n, _ in good.most_common(8))])
                    if n in left
                ]
                left = [*first, *(n for n in left if n not in first)]
                alone = not self.with_server.isdisjoint(left)
                if alone and self.forks.running:
                    todo = itertools.chain([mutant], todo)
                    done -= 1
                    break
                run = Run([self.items[name] for name in left], self.limit, alone)
                self.forks.start(run, self.planter(mutant), lambda: None)
                waiting[run.pid] = mutant, seen, left  # type: ignore[assignment]
            if not waiting:
                break
            self.check()
            for run in self.forks.wait(0.5):
                mutant, seen, left = waiting.pop(run.pid)  # type: ignore[assignment]
                assert run.verdict is not None
                verdict = run.verdict
                if (
                    verdict.what == "passed"
                    and (mutant.place.file, mutant.place.first) in self.early
                ):
                    verdict = self.anew(mutant, left)
                if self.options.killers and verdict.what not in KILLED:
                    continue  # that the others do not kill it was not seen
                if verdict.what in KILLED:
                    killers[mutant.place.title][verdict.test] += 1
                note = self.note(mutant, verdict, seen)
                results[mutant.key] = {
                    **note,
                    "took": round(run.took, 3),
                    "work": round(run.work, 3),
                }
                tried += 1
                alive += verdict.what == "passed"
                self.progress(
                    f"{done} of {len(chosen)}, {tried} tried, {alive} alive", began, mutant
                )
                self.notes.save(at_once=False)
        if self.options.killers:
            self.say(f"\n{tried} tried\n")
            return 0
        return self.report(chosen, time.monotonic() - began)

    def versions(self, tests: list[str]) -> dict[str, str]:
        """Of each file, what it is now, with those of its tests that are meant."""
        found: dict[str, Any] = {}
        for name in tests:
            file = name.split("::")[0]
            found.setdefault(file, hashlib.sha256(self.hashes[file].encode())).update(name.encode())
        return {file: value.hexdigest()[:16] for file, value in found.items()}

    def note(self, mutant: Any, verdict: Verdict, tried: dict[str, str]) -> dict[str, Any]:
        note = {"hash": mutant.place.hash, "line": mutant.line, **verdict._asdict()}
        return {**note, "tried": tried} if verdict.what == "passed" else note

    def limit(self, test: str) -> float:
        return HANGS + 10.0 * float(self.notes.tests[test]["wall"])

    def planter(self, mutant: Any) -> Any:
        def prepare() -> None:
            environment(mutant, BUILD / f"mutant-{os.getpid()}")
            if mutant.place.function() is not None:
                mutant.plant()

        return prepare

    def anew(self, mutant: Any, tests: list[str]) -> Verdict:
        """What a Python that imports the pool with this mutant says to the tests."""
        names = tests[: self.options.anew]
        directory = BUILD / "anew"
        found = {**os.environ, **environment(mutant, directory, ours=False)}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        try:
            seconds = 60.0 + sum(map(self.limit, names))
            done = subprocess.run(
                command, env=found, capture_output=True, timeout=seconds, text=True, check=False
            )
        except subprocess.TimeoutExpired:
            return Verdict("timeout", "", "while it was imported")
        if done.returncode == 0:
            return Verdict("passed")
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return Verdict("failed", "", (lines or ["pytest did not begin"])[0][:300])

    def progress(self, counts: str, began: float, last: Any) -> None:
        minutes = (time.monotonic() - began) / 60
        self.say(f"\r{counts}, {minutes:.1f} minutes; {last.place.title}\x1b[K")

    def report(self, chosen: list[Any], seconds: float) -> int:
        results = self.notes.mutants
        if not (
            self.options.only or self.options.planted
        ):  # of functions that changed, or are no more
            keys = {mutant.key for mutant in chosen}
            for key in set(results) - keys:
                del results[key]
        whats = {mutant.key: results[mutant.key]["what"] for mutant in chosen}
        alive = [m for m in chosen if whats[m.key] not in KILLED]
        explained = read_explained(EXPLAINED.read_text(encoding="utf-8"))
        titles = {mutant.place.title for mutant in chosen}
        if self.options.only or self.options.planted:
            explained = {s: r for s, r in explained.items() if s.function in titles}
        if self.options.planted:
            explained = {s: r for s, r in explained.items() if s in {m.survivor for m in chosen}}
        wrong = judge((m.survivor for m in alive), explained)
        self.say("\r\x1b[K")
        for each in wrong:
            print(each, end="\n\n")
        for file in FILES:
            mine = Counter(whats[m.key] for m in chosen if m.place.file == file)
            if mine:
                print(f"{file}: {words(mine)}")
        print(
            f"{len(chosen)} mutants: {words(Counter(whats.values()))};"
            f" {len(wrong)} times not as explained; {seconds / 60:.1f} minutes"
        )
        return 1 if wrong else 0


def parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def group_of(file: str) -> str:
    (group,) = [name for name, begins in GROUPS.items() if file.startswith(begins)]
    return group


COLUMNS = (
    *("mutants", "killed", "of these by a hang", "only wording", "explained", "alive"),
    "not tried",
)


def table(results: dict[str, dict[str, Any]]) -> str:
    """What is known by now, group by group, as `docs/assurance.md` has it."""
    from tests.mutation.wording import kind_of

    explained = read_explained(EXPLAINED.read_text(encoding="utf-8"))
    rows = {name: Counter[str]() for name in (*GROUPS, "together")}
    by_hand = planted_by_hand()
    for file in FILES:
        for mutant in [*(m for m in by_hand if m.place.file == file), *mutants_of(file)]:
            note = results.get(mutant.key, {})
            what = note.get("what") if note.get("hash") == mutant.place.hash else None
            columns = ["mutants"]
            if kind_of(mutant):
                columns.append("only wording")
            elif what in KILLED:
                columns.append("killed")
                columns += ["of these by a hang"] if what == "timeout" else []
            elif what is None:
                columns.append("not tried")
            else:
                columns.append("explained" if mutant.survivor in explained else "alive")
            for name in (group_of(file), "together"):
                rows[name].update(columns)
    lines = [("", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    lines += [(name, *(f"{counts[c]:,}" for c in COLUMNS)) for name, counts in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def words(counts: Counter[str]) -> str:
    names = {
        "failed": "killed by a test",
        "timeout": "killed, for a test hung",
        "ended": "killed, for the process died",
        "passed": "survive",
        "unreached": "reached by no test",
    }
    return ", ".join(f"{counts[key]} {text}" for key, text in names.items() if counts[key])


def environment(mutant: Any, directory: Path, *, ours: bool = True) -> dict[str, str]:
    """Put the mutant into the processes that begin with this environment."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / f"{mutant.place.module}.py").write_text(mutant.text(), encoding="utf-8")
    found = {"PUREPOOL_MUTATION": str(directory)}
    if ours:
        os.environ.update(found)
    return found


def mutants_of(file: str) -> list[Any]:
    """Of a file; they are made when it has changed, for that takes a while."""
    from tests.mutation import mutants

    made_by = digest(mutants.__file__)
    kept = BUILD / f"{file.replace('/', '.')}-{digest(file)}-{made_by}.pickle"
    if not kept.exists():
        for old in BUILD.glob(f"{file.replace('/', '.')}-*.pickle"):
            old.unlink()
        kept.write_bytes(pickle.dumps(mutants.mutants(file)))
    return list(pickle.loads(kept.read_bytes()))


def planted_by_hand() -> list[Any]:
    from tests.mutation.mutants import planted

    return planted(read_explained(PLANTED.read_text(encoding="utf-8")))


def called_while_imported() -> set[tuple[str, int]]:
    """File and line of the functions that run while the pool is imported."""
    found = set()
    files = {os.path.abspath(file): file for file in FILES}

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename in files:
            found.add((files[frame.f_code.co_filename], frame.f_code.co_firstlineno))

    sys.setprofile(note)
    try:
        for file in FILES:
            name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            importlib.import_module(name)
    finally:
        sys.setprofile(None)
    return found


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser("make mutation-runtime", description=__doc__.split("\n")[0])
    parser.add_argument(
        "only", nargs="*", help="a file, or a function of it: pool/lease.py, pool/lease.py:Lease.*"
    )
    parser.add_argument("--jobs", type=int, default=1, help="mutants at the same time (1)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"of tests, for each mutant ({SECONDS})"
    )
    parser.add_argument("--slow", action="store_true", help="all tests, however long they take")
    parser.add_argument(
        "--no-servers", dest="servers", action="store_false", help="without tests of databases"
    )
    parser.add_argument(
        "--killers", action="store_true", help="only the test that killed it before it changed"
    )
    parser.add_argument(
        "--planted", action="store_true", help="only the faults that were thought of"
    )
    parser.add_argument("--again", action="store_true", help="forget what was found before")
    parser.add_argument(
        "--table", action="store_true", help="run nothing; what is known by now, for the docs"
    )
    parser.add_argument("--anew", type=int, default=150, help=argparse.SUPPRESS)
    options = parser.parse_args(None if arguments is None else list(arguments))
    for name in options.only:
        if name.partition(":")[0] not in FILES:
            parser.error(f"not mutated here: {name}; choose from {', '.join(FILES)}")
    if not hasattr(os, "fork"):
        print("this needs os.fork")
        return 2
    BUILD.mkdir(parents=True, exist_ok=True)
    if options.table:
        notes = Notes()
        notes.load()
        print(table(notes.mutants))
        return 0
    before = os.environ.get("PYTHONPATH")
    site = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.getcwd(), before]))
    os.environ.setdefault("PUREPOOL_HITS", "1000")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plugin = Mutation(options)
    arguments = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--capture=sys",
        "-p",
        "no:xdist",
        "--tb=native",
        *TESTS,
    ]
    code = pytest.main(list(arguments), plugins=[plugin])
    return plugin.status if code in (0, 5) else int(code)


if __name__ == "__main__":
    sys.exit(main())
