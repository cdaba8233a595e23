"""What is wrong with a port that misbehaves is said, in time, and nothing of it stays.

Theory.  `bad_port.py` is wrong in every way there is, from some request on.  Whatever it does, the
runner says what, ends within the times it was given, ends what the port has started, and has no
error of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pool.check import cli as commands
from pool.check.conformance import conform, report
from pool.check.conformance.encoding import parse
from pool.check.conformance.judgement import Divergence, Exchange, History, exchanges, wrong
from pool.check.conformance.port import Port, PortFailure
from pool.check.conformance.rules import judged
from pool.core.events import Acquire, Opened, Release
from pool.core.limits import Limits
from tests.integration.drivers import soon, until
from tests.integration.porting import Cli, bad
from tests.integration.processes import SECONDS, foreground_signals, is_gone, process, run

pytestmark = pytest.mark.slow

CONFORM = (sys.executable, "-m", "pool.check.cli", "conform")
HURRY = ("--seconds", "0", "--timeout", "3", "--shrink", "0")
"""For a port that says nothing more: until then it has the time on a busy machine, too."""
CALM = ("--seconds", "0", "--timeout", str(SECONDS), "--shrink", "0")
"""For one that says something wrong."""
SAYS_NOTHING = ("hang", "mute", "drip", "complains for ever", "stays", "leaves a child")


def times(how: str) -> tuple[str, ...]:
    return HURRY if how in SAYS_NOTHING else CALM


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is given up when it has failed once: each time would take as long."""
    monkeypatch.setattr(conform, "MOST_FAILURES", 1)


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("crash", "crash", "it ended with status 3"),
        ("signal", "crash", "it ended by signal SIGABRT"),
        ("hang", "hang", "no answer within 3 s"),
        ("mute", "crash", "it closed its standard output"),
        ("rubbish", "rubbish", "<html>502 Bad Gateway</html>"),
        ("half", "rubbish", "not a whole line"),
        ("binary", "rubbish", "not JSON"),
        ("deep", "rubbish", "not JSON"),
        ("rather deep", "rubbish", "nested too deeply"),
        ("flood", "rubbish", "not JSON"),
        ("endless", "rubbish", "not a whole line"),
        ("list", "rubbish", "not a JSON object: []"),
        ("chatter", "rubbish", "ready."),
        ("nan", "rubbish", "NaN is not JSON"),
        ("two on a line", "rubbish", "Extra data"),
        ("too long", "rubbish", "not a whole line"),
        ("half a character", "rubbish", "surrogates not allowed"),
        ("drip", "hang", "no answer within 3 s"),
        ("complains for ever", "hang", "stderr: a log line of a port"),
        ("leaves a child that babbles", "rubbish", "xxx"),
        ("id of text", "order", "asked was 5, the answer is to '5'"),
        ("ahead", "order", "asked was 5, the answer is to 6"),
        ("controls", "error", "red"),
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
def test_it_is_said_what_is_wrong(
    how: str, kind: str, said: str, few: str, cli: Cli, once: None, marked: Path
) -> None:
    with soon():
        command = ("--json", "-", *times(how), "--vectors", few, "--", *bad(how, 5))
        status, out, err = cli(*command)
    assert status == 1, out + err
    found = json.loads(out)["divergence"]
    assert found["kind"] == kind
    assert said in found["why"]


@pytest.mark.parametrize(
    "how", ["crash", "effects of text", "state of text", "more state", "error", "controls"]
)
def test_people_are_told_too(how: str, few: str, cli: Cli) -> None:
    status, out, _ = cli(*CALM, "--vectors", few, "--", *bad(how, 4))
    assert status == 1
    assert "DIVERGED" in out
    if how == "crash":
        assert "stderr: something is wrong with me" in out
        assert "Given up: the port failed too often" in out
    if how == "controls":
        assert r"\x00 \x1b[31m red" in out


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("crash", "crash\nit ended with status 3\nstderr: something is wrong with me"),
        ("hang", "hang\nno answer within 0.8 s; if the machine is busy, allow more with --timeout"),
        ("rubbish", "rubbish\nnot JSON"),
        ("other protocol", "handshake\nprotocol: this runner has 1, the port 9"),
        ("error", "handshake\nprotocol: this runner has 1, the port None: not implemented"),
        ("no events", "handshake\nevents: a list of texts is wanted, not None"),
        ("strange event", "handshake\nevents: there is no 'Opend'; there are Acquire, Opened, "),
        ("no opener", "handshake\nopeners: there must be one"),
    ],
)
def test_a_port_that_does_not_start(how: str, said: str, few: str, cli: Cli) -> None:
    timeout = "0.2" if how == "hang" else str(SECONDS)
    status, _, err = cli("--timeout", timeout, "--vectors", few, "--", *bad(how))
    assert status == 2
    assert said in err
    status, out, _ = cli("--json", "-", "--timeout", timeout, "--vectors", few, "--", *bad(how))
    assert status == 2
    assert json.loads(out)["divergence"]["kind"] == said.split("\n")[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [("stays", "it still runs 3 s after stop"), ("status", "after stop it ended with status 4")],
)
def test_a_port_that_does_not_stop(how: str, said: str, few: str, cli: Cli) -> None:
    status, out, _ = cli(*times(how), "--vectors", few, "--", *bad(how))
    assert status == 1
    assert said in out


def test_numbers_may_be_spelled_in_any_way(few: str) -> None:
    verdict = conform.conform(bad("floats"), seconds=0.5, directory=Path(few))
    assert verdict.divergence is None


def test_a_slow_port_is_not_wrong(few: str) -> None:
    verdict = conform.conform(bad("slow", 150), seconds=0, timeout=5, directory=Path(few))
    assert verdict.divergence is None


@pytest.mark.parametrize("how", ["complains", "long"])
def test_a_port_that_says_much_is_not_wrong(how: str, few: str) -> None:
    """More than a pipe holds, on standard error; more than anybody asked for, in an answer."""
    verdict = conform.conform(bad(how, 100), seconds=0, directory=Path(few))
    assert verdict.divergence is None
    assert verdict.answers > 120


def test_a_port_that_does_not_read_does_not_hold_us_up() -> None:
    """However much there is to write: a pipe need not hold it."""
    script = "import time; print(input()[:8] + HELLO, flush=True); time.sleep(3600)"
    answer = {"protocol": 1, "spec": "1.0", "events": [], "openers": ["caller"]}
    hello = json.dumps(answer)[1:]
    with Port([sys.executable, "-c", f"HELLO = {hello!r}; {script}"], SECONDS) as port:
        port.start()
        port.timeout = 1.0
        with pytest.raises(PortFailure, match=r"no answer within 1 s"):
            port.ask({"command": "event", "more": "x" * 1_000_000})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "No such file or directory"),
        ("not executable", "Permission denied"),
        ("not a program", "Exec format error"),
        (".", "Permission denied"),
    ],
)
def test_a_command_that_cannot_be_run(
    name: str, said: str, few: str, tmp_path: Path, cli: Cli
) -> None:
    command = tmp_path / name
    if name.startswith("not"):
        command.write_text("neither this nor that\n")
        command.chmod(0o755 if "program" in name else 0o644)
    status, out, err = cli("--vectors", few, "--", str(command))
    assert status == 2
    assert out == ""
    assert err.endswith(f": start\n{command}: {said}\n")


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


def test_junit_of_a_port_that_does_not_start(few: str, cli: Cli, tmp_path: Path) -> None:
    """What reads the report of a job finds one, whatever happened."""
    file = tmp_path / "junit.xml"
    status, _, _ = cli("--junit", str(file), "--vectors", few, "--", *bad("crash"))
    assert status == 2
    suites = {suite.get("name"): suite for suite in ElementTree.parse(file).getroot()}
    failed = suites["runs"].find("testcase[@name='the port itself']/failure")
    assert failed is not None
    assert failed.get("message") == "crash"
    assert "stderr: something is wrong with me" in (failed.text or "")
    assert suites["rules"].get("skipped") == str(len(judged()))


# ---------------------------------------------------------------- nothing stays


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which a bad port writes a process id; that process does not outlive the test."""
    file = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(file))
    yield file
    if file.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def test_the_children_of_a_port_end_with_it(few: str, cli: Cli, once: None, marked: Path) -> None:
    """They hold its output open: that it ended is seen all the same."""
    status, out, _ = cli("--json", "-", *HURRY, "--vectors", few, "--", *bad("leaves a child", 5))
    assert status == 1
    assert json.loads(out)["divergence"]["kind"] == "crash"
    assert "it ended with status 3" in json.loads(out)["divergence"]["why"]
    until(lambda: is_gone(int(marked.read_text())))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("how", "when"),
    [("marked hang", 1), ("marked hang", 30), ("marked", 500)],
    ids=["at the start", "in a vector", "in a history"],
)
def test_ctrl_c_leaves_nothing_behind(
    how: str, when: int, stop: signal.Signals, few: str, marked: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    files = {name: tmp_path / name for name in ("json", "junit")}
    reports = ["--json", str(files["json"]), "--junit", str(files["junit"])]
    options = ["--seconds", "300", "--timeout", "300", "--vectors", few]
    command = [*CONFORM, *options, *reports, "--", *bad(how, when)]
    with process(command, env={**os.environ, "TMPDIR": str(temporary)}) as runner:
        until(marked.exists, SECONDS)
        runner.send_signal(stop)
        out, err = runner.communicate(timeout=SECONDS)
    assert runner.returncode == 128 + stop
    assert err == ""
    assert "FAILED" not in out
    assert "STOPPED after " in out
    assert "nothing is decided" in out
    told = json.loads(files["json"].read_text())
    assert (told["passed"], told["stopped"], told["signal"]) == (False, True, stop.name)
    assert (told["conforms"], told["divergence"]) == (False, None)
    suites = ElementTree.parse(files["junit"]).getroot()
    assert {suite.get("failures") for suite in suites} == {"0"}
    assert int(suites[0].get("skipped", "0")) > 0
    assert is_gone(int(marked.read_text()))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_everything_is_imported(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def interrupted(name: str) -> ModuleType:
        signal.raise_signal(number)
        return real(name)

    monkeypatch.setattr(commands.importlib, "import_module", interrupted)
    with foreground_signals():
        assert commands.main(["conform", "--", "true"]) == 128 + number
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---------------------------------------------------------------- anything at all


def test_a_terminal_that_knows_no_marks(few: str) -> None:
    done = run(
        [*CONFORM, *CALM, "--vectors", few, "--", *bad("error", 3)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert r"\u2717" in done.stdout


EXCHANGES = tuple(
    exchanges(History(Limits(), (Acquire(0, 1), Opened(0, 1, "c1", 0), Release(1, 1, 1))))
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def strange_answers(draw: Any) -> tuple[Exchange, Any]:
    """The right answer with something else in some place of it."""
    exchange = draw(st.sampled_from(EXCHANGES))
    answer = json.loads(json.dumps(exchange.answer))
    place, other = answer, draw(ANYTHING)
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from([*keys, "more"] if isinstance(place, dict) else keys))
        if key == "more" or not place[key] or not isinstance(place[key], dict | list):
            break
        if draw(st.integers(0, 2)) == 0:
            break
        place = place[key]
    place[key] = other
    return exchange, answer


@settings(max_examples=100, deadline=None)
@given(strange_answers())
def test_no_answer_is_too_strange_to_be_shown(strange: tuple[Exchange, Any]) -> None:
    exchange, answer = strange
    try:
        actual = parse(json.dumps(answer))
        json.dumps(actual, ensure_ascii=False).encode()
    except ValueError:
        return  # rubbish, which is refused before (`half a character`, `nan`)
    judged_wrong = wrong(exchange.answer, actual)
    if judged_wrong is None:
        return
    due = exchange.answer
    asked = (EXCHANGES[0].request, exchange.request)[: 1 + ("event" in exchange.request)]
    found = Divergence(judged_wrong[0], "x", asked, due, actual, judged_wrong[1], exchange.rules)
    verdict = conform.Verdict(["x"], divergence=found)
    verdict.seen(exchange, False)
    shown = io.StringIO()
    report.show(verdict, Console(file=shown))
    assert "DOES NOT CONFORM" in shown.getvalue()
    shown.getvalue().encode()
    assert json.loads(json.dumps(report.as_json(verdict)))["conforms"] is False
    rules = ElementTree.fromstring(report.as_junit(verdict)).findall("testsuite[@name='rules']/*")
    assert len(rules) == len(judged())
