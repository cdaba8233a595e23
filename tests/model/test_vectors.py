"""The vectors are those of this pool, reach every rule and every edge, and fit their schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from pool.check.cli import main
from pool.check.conformance import files, vectors
from pool.check.conformance.encoding import (
    change,
    changed,
    decode_event,
    decode_limits,
    digest,
    encode,
    encode_effects,
    encode_state,
    number,
    parse,
    text,
)
from pool.check.conformance.judgement import IGNORED, is_ignored
from pool.check.conformance.rules import judged, rules
from pool.check.conformance.scenarios import scenarios
from pool.check.conformance.worlds import WORLDS
from pool.check.explore.configurations import EVENTS
from pool.check.explore.graphs import python_graph
from pool.core.effects import Effect
from pool.core.events import Adopt, AdoptIdle, AdoptLease, Configure, Event, OpenFailed
from pool.core.limits import Limits
from pool.core.state import Failure, State, initial
from pool.core.transition import step, wake_at
from tests.model.rules import RULES

pytestmark = pytest.mark.slow

DIRECTORY = files.vectors_directory()
FILES = files.read()
BYTES = 3_100_000


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for case in file.cases:
            yield file.name, case


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return vectors.generate()


# ---------------------------------------------------------------- the files


def test_they_are_up_to_date(generated: dict[str, str]) -> None:
    """If this fails: `purepool vectors`, and look at the difference before you believe it."""
    assert vectors.differences(generated, DIRECTORY) == {}


def test_they_are_generated_alike_twice(generated: dict[str, str]) -> None:
    assert vectors.generate() == generated


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < BYTES


def test_every_line_is_a_case() -> None:
    """So a difference between two versions reads as cases; the head says how much there is."""
    for path in DIRECTORY.glob("*.jsonl"):
        text = path.read_text("utf-8")
        assert text.endswith("}\n")
        head, *lines = map(json.loads, text.splitlines())
        assert head["file"] == path.stem
        assert head["cases"] == len(lines)
        assert all("case" in line for line in lines)
        assert head.get("steps", 0) == sum(len(line.get("steps", ())) for line in lines)


def test_names_are_unique_and_reasons_short() -> None:
    for file in FILES:
        names = [case["case"] for case in file.cases]
        assert len(names) == len(set(names))
        assert all(case["reason"] and "\n" not in case["reason"] for case in file.cases)


def test_check_tells_what_differs(
    generated: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors, "generate", lambda: generated)
    command = ["vectors", "--vectors", str(tmp_path)]
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    lines = (tmp_path / "leaks.jsonl").read_text().splitlines()
    (tmp_path / "leaks.jsonl").write_text("\n".join([*lines[:-1], "{}"]) + "\n")
    (tmp_path / "ages.jsonl").unlink()
    crlf = (tmp_path / "rest.jsonl").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "rest.jsonl").write_bytes(crlf)
    (tmp_path / "other.jsonl").write_text("{}\n")
    capsys.readouterr()
    report = tmp_path / "report.json"
    assert main([*command, "--check", "--json", str(report)]) == 1
    told = capsys.readouterr().out
    failed = {one["name"] for one in json.loads(report.read_text())["results"]} - {
        one["name"]
        for one in json.loads(report.read_text())["results"]
        if one["status"] == "passed"
    }
    assert failed == {"leaks.jsonl", "ages.jsonl", "rest.jsonl", "other.jsonl"}
    assert f"leaks.jsonl: {len(lines) - 1} of {len(lines)} lines" in told
    assert "lines are as they should be, 1 should not be there" in told
    assert "rest.jsonl: 26 of 26 lines are as they should be, but not their order" in told
    assert "ages.jsonl: missing" in told
    assert "other.jsonl: should not be there" in told
    assert main(command) == 0
    assert vectors.differences(generated, tmp_path) == {}


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"format": 99}\n')
    with pytest.raises(ValueError, match="format 99; this runner reads 1"):
        files.read(tmp_path)
    with pytest.raises(ValueError, match="no vectors there"):
        files.read(tmp_path / "nothing")


def test_their_schema() -> None:
    """Every kind of line; not every line, for validation is slow."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((DIRECTORY.parent / "vectors.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in DIRECTORY.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        every = 1 if path.stem == "limits" else 6 if path.stem == "scenarios" else 20
        for line in lines[::every]:
            validator.validate(line)
    broken = json.loads((DIRECTORY / "leaks.jsonl").read_text("utf-8").splitlines()[1])
    broken["steps"][0]["event"]["extra"] = 1
    assert not validator.is_valid(broken)


# ---------------------------------------------------------------- what they reach


def test_every_rule_has_a_vector() -> None:
    """Every rule of the specification but those that only a runtime can break."""
    reached = {rule for _, case in cases() for rule in case["rules"]}
    assert reached == {rule for rule in RULES if not rule.startswith("RUN-")}


def test_every_rule_is_met_by_a_scenario_for_it() -> None:
    """Not only in passing: somebody thought of an example with numbers."""
    meant = {rule for scenario in scenarios() for rule in scenario.rules}
    assert set(judged()) - meant <= {"LIM-1"}


def test_every_event_effect_and_reason_has_a_vector() -> None:
    seen = {encode_kind(effect) for _, case in cases() for effect in effects_of(case)}
    wanted = {"Grant", "Open", "Leaked", "Ignored"}
    schema = json.loads((DIRECTORY.parent / "vectors.schema.json").read_text("utf-8"))
    for alternative in schema["$defs"]["effect"]["oneOf"]:
        fields = alternative["properties"]
        if "reason" in fields:
            name = fields["effect"]["const"]
            wanted |= {f"{name}:{reason}" for reason in fields["reason"]["enum"]}
    assert seen == wanted
    events = {step["event"]["event"] for _, case in cases() for step in case.get("steps", ())}
    assert events == set(EVENTS)


def encode_kind(effect: dict[str, Any]) -> str:
    return effect["effect"] + (f":{effect['reason']}" if "reason" in effect else "")


def effects_of(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in case.get("steps", ()):
        yield from one["effects"]


def test_the_worlds_are_many_and_small() -> None:
    assert all(world.callers <= 3 for world in WORLDS)
    limits = [limits for world in WORLDS for limits in world.limits]
    assert all((one.max_size or 2) <= 2 for one in limits)
    assert {one.opener for one in limits} == {"caller", "background"}
    assert {one.idle_order for one in limits} == {"oldest", "lifo", "fifo"}
    assert frozenset().union(*(world.events for world in WORLDS)) == set(EVENTS)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_every_edge_has_a_vector(world: Any) -> None:
    """Label and all: what the cases take, read from the files, is the graph of the world."""
    from pool.check.explore.canonical import Labeller, shaper

    shape, label = shaper(world), Labeller(world)
    taken = set()
    file = next(file for file in FILES if file.name == world.name)
    for case in file.cases:
        for before, event, effects, after in replayed(case):
            now = int(event.now)
            known = label(before, now, event, effects, after)
            taken.add((shape(before, now), known, shape(after, now)))
    graph = python_graph(world).edges
    assert taken == {edge for edge in graph if edge[1][0][0] != "Pass"}


def replayed(
    case: dict[str, Any],
) -> Iterator[tuple[State, Event, tuple[Effect, ...], State]]:
    """Every step of a case, those that are ignored too."""
    state = initial(decode_limits(case["limits"]))
    for one in (case["start"], *case["steps"]):
        before = state
        if "event" in one:
            event = decode_event(one["event"])
            state, effects = step(before, event)
            yield before, event, effects, state
        for events in one.get("ignored", {}).values():
            for encoded in events:
                event = decode_event(encoded)
                after, effects = step(state, event)
                yield state, event, effects, after


# ---------------------------------------------------------------- what they say


def test_they_are_read_as_they_were_meant() -> None:
    """A reader that knows the encoding alone, and not how the vectors were made, gets there."""
    for file, case in cases():
        if file == "limits":
            continue
        state = initial(decode_limits(case["limits"]))
        known, due = encode_state(state), case["start"]["wake_at"]
        assert digest(known) == case["start"]["digest"]
        for one in case["steps"]:
            state, effects = step(state, decode_event(one["event"]))
            assert encode_effects(effects) == one["effects"] or (
                is_ignored(encode_effects(effects)) and one["effects"] == IGNORED
            )
            known, due = changed(known, one["change"]), one.get("wake_at", due)
            assert known == encode_state(state)
            assert digest(known) == one["digest"]
            assert due == number(wake_at(state))


def test_whatever_a_rule_ignores_is_tried() -> None:
    """Each rule that has something ignored, with an event that must be (`ACQ-1`, `RET-1`, ...)."""
    ignoring = {name for name, rule in rules().items() if re.search(r"\bignored?s?\b", rule.text)}
    assert len(ignoring) >= 15
    assert ignoring - {rule for _, case in cases() for rule in ignored_by(case)} == set()


def ignored_by(case: dict[str, Any]) -> Iterator[str]:
    for one in (case.get("start", {}), *case.get("steps", ())):
        if one.get("effects") == IGNORED:
            yield from one["rules"].split()
        for found in one.get("ignored", {}):
            yield from found.split()


def test_limits() -> None:
    file = next(file for file in FILES if file.name == "limits")
    for case in file.cases:
        assert set(case["limits"]) <= {field.name for field in attrs.fields(Limits)}
        if "valid" in case:
            assert encode_state(initial(decode_limits(case["limits"])))["limits"] == case["valid"]
        else:
            with pytest.raises(ValueError, match="|".join(case["invalid"])):
                decode_limits(case["limits"])


def test_numbers_are_exact() -> None:
    """Multiples of 1/1024: a port may count in fixed point.

    But for the default of `backoff_initial`, with which no vector counts."""

    def numbers(value: Any) -> Iterator[float]:
        if isinstance(value, dict):
            for name, part in value.items():
                if name != "backoff_initial":  # its default is 0.1
                    yield from numbers(part)
        elif isinstance(value, list):
            for part in value:
                yield from numbers(part)
        elif isinstance(value, float):
            yield value

    for file, case in cases():
        if file != "limits":
            assert all((one * 1024).is_integer() for one in numbers(case)), case["case"]
            failures = [one for one in case["steps"] if "failures" in one["change"]]
            assert not failures or "backoff_initial" in case["limits"], case["case"]


# ---------------------------------------------------------------- the encoding


def test_events_survive_the_encoding() -> None:
    events: list[Event] = [
        OpenFailed(1.5, None, Failure("OSError", "no route: “host”"), 0.5),
        Configure(1, Limits(max_size=None, idle_order="fifo")),
        Adopt(2, (AdoptIdle(None, "a", 1, 2),), (AdoptLease(3, "b", 1, 1),), (1, 2), 9),
    ]
    for event in events:
        assert decode_event(parse(text(encode(event)))) == event


@pytest.mark.parametrize(
    "encoded", [{}, {"event": "Nonsense"}, {"event": "Tick", "limits": {"x": 1}}]
)
def test_what_is_no_event(encoded: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode_event(encoded)


def test_the_text_of_a_state_does_not_depend_on_spelling() -> None:
    one, other = parse('{"b": 1.0, "a": [2e0, 0.5]}'), parse('{"a":[2,5e-1],"b":1}')
    assert text(one) == text(other) == '{"a":[2,0.5],"b":1}'
    assert digest(one) == digest(other)
    with pytest.raises(ValueError, match="NaN is not JSON"):
        parse("[NaN]")


def test_a_change_is_what_differs() -> None:
    before = encode_state(initial(Limits(max_size=1)))
    after = {**before, "phase": "closed", "counters": {**before["counters"], "closed": 2}}
    assert change(before, after) == {"phase": "closed", "counters": {"closed": 2}}
    assert changed(before, change(before, after)) == after


def test_the_rules_are_read_from_the_specification() -> None:
    assert tuple(rules()) == RULES
    assert rules()["ACQ-4"].event == "Acquire"
    assert rules()["SRV-5"].event is None
    assert (
        rules()["CAN-4"].text
        == "If a lease is its own, the lease ends, and then the connection is settled."
    )
    assert rules()["RUN-1"].is_for_runtimes
