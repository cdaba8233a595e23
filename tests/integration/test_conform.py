"""`purepool conform`: the JavaScript port passes; what is wrong with any other port is said.

Theory.  A runner is only as good as what it catches.  So there are planted faults in a port that
is right, and a port that is not finished.  Ports that misbehave are in
`test_conform_bad_ports.py`.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from pool.check.conformance import conform
from pool.check.conformance.conform import Verdict
from pool.check.conformance.files import vectors_directory
from pool.check.conformance.histories import variation
from pool.check.conformance.judgement import History, without
from pool.check.conformance.rules import judged, rules
from pool.core.events import Acquire, Discard, Opened, Release, Tick
from pool.core.limits import Limits
from tests.integration.drivers import ROOT
from tests.integration.porting import ADAPTER, JAVASCRIPT, Cli, bad, find_node
from tests.integration.processes import SECONDS, run

pytestmark = pytest.mark.slow

PATIENT = {"timeout": SECONDS, "shrinking": SECONDS}
"""That the port has the time on a busy machine, too, and a history is as short as it can be."""
PAGE = (ROOT / "docs" / "porting.md").read_text("utf-8")
FAULTS = (
    "youngest-first",
    "lost-wakeup",
    "failed-connect-strands",
    "slot-leak",
    "opens-too-many",
    "connects-all-at-once",
    "no-fence",
    "immortal",
    "retries-each-failure",
    "cancel-loses-connection",
    "suspended-times-out",
)


# ---------------------------------------------------------------- the port in JavaScript


def test_its_own_tests(node: str) -> None:
    files = sorted(map(str, (JAVASCRIPT / "test").glob("*.test.mjs")))
    done = run([node, "--test", *files])
    assert done.returncode == 0, done.stdout + done.stderr


def test_where_there_is_no_node_on_the_path(tmp_path: Path) -> None:
    """The one that the extra `porting` brings does as well."""
    brought = find_node(path=str(tmp_path))
    assert brought != shutil.which("node")
    files = sorted(map(str, (JAVASCRIPT / "test").glob("*.test.mjs")))
    done = run([brought, "--test", *files], env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert conform.conform([brought, str(ADAPTER)], seconds=0).conforms


def test_it_conforms(node: str, cli: Cli) -> None:
    status, out, _ = cli("--seconds", "4", "--", node, str(ADAPTER))
    assert status == 0, out
    assert f"CONFORMS: all {len(judged())} rules were checked" in out


def judge(node: str, *arguments: str, seconds: float = 0, directory: Path | None = None) -> Verdict:
    command = [node, str(ADAPTER), *arguments]
    return conform.conform(command, seconds=seconds, directory=directory, **PATIENT)


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
    done = run([node, "-e", script])
    assert tuple(done.stdout.strip().split(",")) == FAULTS


@pytest.mark.parametrize("fault", ["youngest-first", "lost-wakeup", "cancel-loses-connection"])
def test_random_histories_alone_catch_it(node: str, fault: str, tmp_path: Path) -> None:
    shutil.copy(vectors_directory() / "limits.jsonl", tmp_path)
    verdict = judge(node, "--fault", fault, seconds=SECONDS, directory=tmp_path)
    found = verdict.divergence
    assert found is not None
    assert found.where == "histories"
    assert found.events < 12
    assert found.shrunk_from is not None
    assert found.shrunk_from >= found.events


def test_the_same_seed_gives_the_same_histories(node: str, tmp_path: Path) -> None:
    shutil.copy(vectors_directory() / "limits.jsonl", tmp_path)
    one, other = (
        judge(node, "--fault", "no-fence", seconds=SECONDS, directory=tmp_path).divergence
        for _ in range(2)
    )
    assert one is not None
    assert other is not None
    assert one.requests == other.requests


@pytest.fixture
def traffic(tmp_path: Path) -> tuple[str, ...]:
    """Options for reports that need no more than some vectors."""
    shutil.copy(vectors_directory() / "traffic-caller.jsonl", tmp_path)
    return ("--seconds", "0", "--vectors", str(tmp_path))


def test_what_diverged_is_shown_side_by_side(node: str, cli: Cli, traffic: tuple[str, ...]) -> None:
    status, out, _ = cli(*traffic, "--", node, str(ADAPTER), "--fault", "lost-wakeup")
    assert status == 1
    assert "DIVERGED: other effects" in out
    assert "Limits(" in out
    assert "Acquire(now=0, ticket=" in out
    assert "expected" in out
    assert "actual" in out
    assert "state.waiters" in out
    assert "DIS-2  The lease ends and the connection is closed as `discarded`." in out
    assert "Other rules of the event, not due here: DIS-1\n" in out
    assert "DOES NOT CONFORM" in out


def test_an_unfinished_port_learns_what_is_missing(node: str, cli: Cli) -> None:
    only = "Acquire,Opened,Release"
    status, out, _ = cli("--seconds", "0.5", "--", node, str(ADAPTER), "--only", only)
    assert status == 1
    assert "INCOMPLETE: what is there is right. Missing are events: OpenFailed, Dead" in out
    assert "needs the event Cancel: CAN-1, CAN-2, CAN-3, CAN-4" in out
    assert "DIVERGED" not in out


def test_an_unfinished_port_that_says_it_is_finished(few: str, cli: Cli) -> None:
    """Every rule that it gets wrong is named, not only the first."""
    status, out, _ = cli("--json", "-", "--seconds", "0", "--vectors", few, "--", *bad("error", 2))
    report = json.loads(out)
    assert status == 1
    assert report["divergence"]["kind"] == "error"
    assert "not implemented" in report["divergence"]["why"]
    assert report["rules"]["INI-1"]["state"] == "wrong"
    assert report["rules"]["ADO-1"]["state"] == "missing"


def test_the_first_steps_of_the_walk_through(node: str, cli: Cli, tmp_path: Path) -> None:
    """`docs/porting.md` begins with a port that only says hello, and shows what then is said."""
    port = tmp_path / "port.mjs"
    port.write_text(PAGE.split("```js\n")[1].split("```")[0])
    status, out, _ = cli("--seconds", "0", "--", node, str(port))
    assert status == 1
    assert_shown("-- node port.mjs", out)


def test_the_third_step_of_the_walk_through(node: str, cli: Cli) -> None:
    """A port that knows three events and one opener."""
    only = ("--only", "Acquire,Opened,Release", "--openers", "caller")
    status, out, _ = cli("--seconds", "0", "--", node, str(ADAPTER), *only)
    assert status == 1
    assert_shown("From now on the runner asks for them", out)


def test_the_fifth_step_of_the_walk_through(node: str, cli: Cli) -> None:
    """A handler that returns without serving."""
    options = ("--seconds", "0", "--shrink", "300")  # that it has the time on a busy machine, too
    fault = ("--fault", "failed-connect-strands")
    status, out, _ = cli(*options, "--", node, str(ADAPTER), *fault)
    assert status == 1
    assert_shown("**5. When it diverges**", out)


def assert_shown(after: str, out: str) -> None:
    """Each line of the next block of the page is a line of the output; times may differ, and what
    the page leaves out with `...`."""

    def plain(line: str) -> str:
        return re.sub(r"\d+\.\d s$", "S s", " ".join(line.split()))

    blocks = re.search(r"\n\n((?:    .*\n|\n)+)", PAGE[PAGE.index(after) :])
    assert blocks is not None
    shown = [plain(line) for line in blocks[1].splitlines() if line.strip() and "$ " not in line]
    lines = [plain(line) for line in out.splitlines()]
    for line in filter("...".__ne__, shown):
        assert any(other.startswith(line.removesuffix("...")) for other in lines), line
        if not line.endswith("..."):
            assert line in lines


def test_the_page_for_porters_names_tests_that_exist() -> None:
    tests = {path.name: path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")}
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) >= 10
    for name in named:
        assert any(f"def {name}(" in text for text in tests.values()), name
    for name in re.findall(r"`(test_\w+\.py)`", PAGE):
        assert name in tests


def test_the_page_for_porters_has_every_obligation_twice() -> None:
    """With a test for it here, and with a hint for each kind of language."""
    obligations = [rule for rule in rules().values() if rule.is_for_runtimes]
    assert len(obligations) == 12
    for rule in obligations:
        tested, hinted = re.findall(rf"^\| `{rule.id}` \|(.*)\|$", PAGE, re.MULTILINE)
        assert "test_" in tested
        hints = hinted.split("|")
        assert len(hints) == 3
        assert all(hint.strip() for hint in hints)


def test_the_page_for_porters_names_every_fault() -> None:
    assert f"has {COUNTED[len(FAULTS)]} such faults" in PAGE.replace("\n", " ")


COUNTED = {11: "eleven"}


# ---------------------------------------------------------------- reports


def test_json(node: str, cli: Cli, traffic: tuple[str, ...]) -> None:
    command = [node, str(ADAPTER), "--fault", "slot-leak"]
    status, out, _ = cli("--json", "-", *traffic, "--", *command)
    report = json.loads(out)
    assert status == 1
    assert report["conforms"] is False
    assert (report["command"], report["port-command"]) == ("conform", command)
    assert report["rules"]["CAN-3"]["state"] == "wrong"
    assert report["rules"]["REL-1"]["state"] == "right"
    asked = [request["command"] for request in report["divergence"]["requests"]]
    assert asked == ["reset", "event", "event"]
    assert report["divergence"]["actual"]["state"]["opening_background"] == 1


def test_progress_is_shown_while_it_runs(node: str, traffic: tuple[str, ...]) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    command = [node, str(ADAPTER), "--fault", "no-fence"]
    conform.conform(command, seconds=0, directory=Path(traffic[-1]), console=console)
    assert re.search(r"vectors +.* \d+/29", shown.getvalue())
    assert "shrinking" in shown.getvalue()


def test_junit(node: str, cli: Cli, tmp_path: Path, traffic: tuple[str, ...]) -> None:
    file = tmp_path / "junit.xml"
    command = [node, str(ADAPTER), "--fault", "slot-leak"]
    cli("--junit", str(file), *traffic, "--", *command)
    suites = {suite.get("name"): suite for suite in ElementTree.parse(file).getroot()}
    assert set(suites) == {"runs", "rules"}
    assert len(suites["rules"]) == len(judged())
    failed = suites["rules"].findall("testcase[failure]")
    assert suites["rules"].get("failures") == str(len(failed))
    assert "CAN-3" in {case.get("name") for case in failed}
    assert "Cancel(now=0, ticket=1)" in (failed[0].findtext("failure") or "")


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
