"""Vectors: what the pool does, as files that any language can read.

Theory.  Everything comes from the real `step`.  The graph of all states of a few small
worlds (`worlds.py`, one feature each) is covered with paths from the initial state, greedily:
go on to the nearest edge that no path has taken yet, until the path is long enough or
there is none.  So every edge that the explorer can see is taken by some case.  What an edge
does not show, events that must be ignored, comes with the state: when a case enters a
state that no case was in before, it lists them.  Directed scenarios add real numbers
(`scenarios.py`).

The same commit gives the same bytes: `purepool vectors --check` compares them.  The format is
`spec/vectors/README.md`; one case per line, so that a change reads as what it changes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
from rich.console import Console

from pool.check.conformance.encoding import (
    Json,
    change,
    decode_limits,
    digest,
    encode,
    encode_limits,
    encode_state,
    given_limits,
)
from pool.check.conformance.files import FORMAT, vectors_directory
from pool.check.conformance.judgement import IGNORED, Exchange, Follower, is_ignored
from pool.check.conformance.port import SPEC
from pool.check.conformance.scenarios import LIMITS, Scenario, scenarios
from pool.check.conformance.worlds import WORLDS
from pool.check.explore.configurations import Configuration
from pool.check.explore.explorer import Exploration, Wishes, explore
from pool.check.explore.moves import moves
from pool.check.interrupts import Stopped, checkpoint
from pool.check.results import Result, report
from pool.check.usage import reports_to_output
from pool.core.events import Event
from pool.core.limits import Limits

LONGEST = 32
"""Events in a case, if there is a choice."""


# ---------------------------------------------------------------- covering a graph


@attrs.frozen
class Edge:
    """A move that is allowed, from one state of the graph to another."""

    move: int
    target: int
    is_event: bool
    """Not a unit of time that passes, which no vector can show."""


@attrs.frozen
class World:
    """The graph of a configuration: of each state the edges, and the moves that are ignored."""

    configuration: Configuration
    edges: tuple[tuple[Edge, ...], ...]
    ignored: tuple[tuple[int, ...], ...]

    @property
    def labelled_edges(self) -> int:
        return sum(edge.is_event for edges in self.edges for edge in edges)


def world(configuration: Configuration) -> World:
    """Explore a configuration."""
    found: Exploration = explore(configuration, Wishes(labels=True))
    if found.violation is not None or found.graph is None:
        raise RuntimeError(f"{configuration.name}: {found.violation}")
    graph = found.graph
    edges: list[tuple[Edge, ...]] = []
    ignored: list[tuple[int, ...]] = []
    for state in graph.explored:
        allowed, not_allowed = [], []
        for number in graph.edges(state):
            event, effects, *_ = graph.labels[number]
            if effects and effects[0][0] == "Ignored":
                not_allowed.append(graph.move[number])
            else:
                is_event = event[0] != "Pass"
                allowed.append(Edge(graph.move[number], graph.target[number], is_event))
        edges.append(tuple(allowed))
        ignored.append(tuple(not_allowed))
    return World(configuration, tuple(edges), tuple(ignored))


def paths(graph: World) -> Iterator[list[tuple[int, Edge]]]:
    """Paths from the initial state that take every edge of an event: (state, edge) each."""
    left = [{edge.move for edge in edges if edge.is_event} for edges in graph.edges]
    remaining = sum(map(len, left))
    while remaining:
        path: list[tuple[int, Edge]] = []
        state, length = 0, 0
        while length < LONGEST or not path:
            way = _nearest(graph, state, left)
            if way is None:
                break
            steps = sum(edge.is_event for _, edge in way)
            if path and length + steps > LONGEST:
                break
            path += way
            length += steps
            last, edge = way[-1]
            left[last].discard(edge.move)
            remaining -= 1
            state = edge.target
        yield path


def _nearest(graph: World, start: int, left: list[set[int]]) -> list[tuple[int, Edge]] | None:
    """The shortest way from a state to an edge not taken yet, that edge included."""
    came: dict[int, tuple[int, Edge] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        edges = graph.edges[state]
        untaken = [edge for edge in edges if edge.is_event and edge.move in left[state]]
        if untaken:
            # a loop first, for it costs no way back; then where there is more to do
            edge = max(untaken, key=lambda edge: (edge.target == state, len(left[edge.target])))
            way = [(state, edge)]
            while (step := came[way[0][0]]) is not None:
                way.insert(0, step)
            return way
        for edge in edges:
            if edge.target not in came:
                came[edge.target] = state, edge
                queue.append(edge.target)
    return None


# ---------------------------------------------------------------- writing cases


class Writer:
    """A case in the making: follows a history and notes what the machine does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.follower = Follower(limits)
        self.state = encode_state(self.follower.state)
        self.rules = set(self.follower.start.rules)
        self.wake_at = self.follower.start.answer["wake_at"]
        self.start: Json = {"digest": digest(self.state), "wake_at": self.wake_at}
        self.steps: list[Json] = []
        self.kinds: list[str] = []

    def send(self, event: Event) -> None:
        """One step; it may be ignored."""
        expected = self.follower.follow(event)
        before, self.state = self.state, expected.answer["state"]
        self.rules.update(expected.rules)
        ignored = is_ignored(expected.answer["effects"])
        effects = IGNORED if ignored else expected.answer["effects"]
        self.kinds += kinds(event, effects)
        step = {
            "event": encode(event),
            "effects": effects,
            "change": change(before, self.state),
            "digest": digest(self.state),
            "rules": " ".join(expected.rules),
        }
        if expected.answer["wake_at"] != self.wake_at:
            self.wake_at = step["wake_at"] = expected.answer["wake_at"]
        self.steps.append(step)

    def ignores(self, events: Iterable[Event]) -> None:
        """Events that the state just reached must ignore, by the rule that says so."""
        by_rule: dict[str, list[Json]] = {}
        for event in events:
            expected: Exchange = self.follower.follow(event)
            if not is_ignored(expected.answer["effects"]):
                raise RuntimeError(f"{event} is not ignored")
            guards = [rule for rule in expected.rules if rule != "WAK-1"]
            by_rule.setdefault(" ".join(guards), []).append(encode(event))
        if by_rule:
            self.rules.update(rule for rules in by_rule for rule in rules.split())
            (self.steps[-1] if self.steps else self.start)["ignored"] = by_rule

    def case(self, name: str, reason: str) -> Json:
        return {
            "case": name,
            "reason": reason,
            "rules": sorted(self.rules),
            "limits": given_limits(self.limits),
            "start": self.start,
            "steps": self.steps,
        }


def kinds(event: Event, effects: list[Json]) -> list[str]:
    """What a step shows, in a few words: `Release>Grant`, `Tick>Close:lifetime`."""
    name = type(event).__name__
    shown = [
        f"{name}>{effect['effect']}" + (f":{effect['reason']}" if "reason" in effect else "")
        for effect in effects
    ]
    return shown or [name]


def graph_cases(graph: World) -> Iterator[Json]:
    """The cases that take every edge of a configuration."""
    configuration = graph.configuration
    possible = moves(configuration)
    entered: set[int] = set()
    known: set[str] = set()
    for number, path in enumerate(paths(graph), 1):
        checkpoint()
        writer = Writer(configuration.limits[0])
        now = configuration.start
        for state, edge in [*path, (path[-1][1].target, None)]:
            here = possible(writer.follower.state, now)
            if state not in entered:
                entered.add(state)
                writer.ignores(here[move] for move in graph.ignored[state])
            if edge is None:
                break
            if edge.is_event:
                writer.send(here[edge.move])
            else:
                now += 1
        fresh = sorted(set(writer.kinds) - known)
        known.update(fresh)
        reason = f"for the first time: {', '.join(fresh)}" if fresh else "more edges of the graph"
        yield writer.case(f"{configuration.name}-{number:03}", reason)


def scenario_case(scenario: Scenario) -> Json:
    """A directed scenario as a case."""
    writer = Writer(scenario.limits)
    for event in scenario.events:
        writer.send(event)
    missed = set(scenario.rules) - writer.rules
    if missed:
        raise RuntimeError(f"scenario {scenario.name} does not meet {', '.join(sorted(missed))}")
    return writer.case(scenario.name, scenario.reason)


def limit_cases() -> Iterator[Json]:
    """Limits that are valid, and limits that are not (LIM-1)."""
    for number, (reason, given, fields) in enumerate(LIMITS, 1):
        verdict: Json
        try:
            verdict = {"valid": encode_limits(decode_limits(given))}
        except ValueError:
            verdict = {"invalid": list(fields)}
        if ("invalid" in verdict) != bool(fields):
            raise RuntimeError(f"limits {given}: {verdict}")
        name = f"limits-{number:02}"
        yield {"case": name, "reason": reason, "rules": ["LIM-1"], "limits": given, **verdict}


# ---------------------------------------------------------------- files


def generate() -> dict[str, str]:
    """Every file of vectors: name -> text."""
    files: dict[str, str] = {}
    files["limits.jsonl"] = _file("limits", "which limits are valid", list(limit_cases()))
    files["scenarios.jsonl"] = _file(
        "scenarios", "directed scenarios with real numbers", list(map(scenario_case, scenarios()))
    )
    for configuration in WORLDS:
        graph = world(configuration)
        cases = list(graph_cases(graph))
        more = {"states": len(graph.edges), "edges": graph.labelled_edges}
        name = configuration.name
        files[f"{name}.jsonl"] = _file(name, configuration.about, cases, **more)
    return files


def _file(name: str, about: str, cases: list[Json], **more: int) -> str:
    steps = sum(len(case.get("steps", ())) for case in cases)
    head = {"format": FORMAT, "spec": SPEC, "file": name, "about": about, "cases": len(cases)}
    if steps:
        head["steps"] = steps
    lines = [{**head, **more}, *cases]
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def differences(files: dict[str, str], directory: Path) -> dict[str, str]:
    """How the files in a directory differ from those that should be there, by name."""
    found = {}
    for name, content in files.items():
        path = directory / name
        if not path.is_file():
            found[name] = "missing"
            continue
        there = path.read_bytes().decode("utf-8", "replace")
        if there != content:
            ours, theirs = content.splitlines(), there.splitlines()
            same = len(set(ours) & set(theirs))
            told = f"{same} of {len(ours)} lines are as they should be"
            if others := len(set(theirs) - set(ours)):
                told += f", {others} should not be there"
            elif same == len(ours):
                told += ", but not their order, their number or their ends"
            found[name] = told
    extra = sorted({path.name for path in directory.glob("*.jsonl")} - set(files))
    return {**found, **dict.fromkeys(extra, "should not be there")}


# ---------------------------------------------------------------- command line


def run(arguments: argparse.Namespace) -> int:
    """`purepool vectors`: write the vectors, or compare them. The exit status."""
    console = Console(stderr=reports_to_output(arguments), highlight=False)
    directory = arguments.vectors or vectors_directory()
    try:
        files = generate()
    except Stopped:
        console.print("stopped: nothing is written or compared")
        message = "stopped while the vectors were generated"
        results = [Result("vectors", "all files", "stopped", 0.0, {}, message)]
        return report(arguments, results, time.perf_counter() - arguments.began)
    size = sum(len(content) for content in files.values())
    lines = sum(content.count("\n") - 1 for content in files.values())
    told = f"{len(files)} files, {lines} cases, {size / 1e6:.2f} MB, {directory}"
    found = differences(files, directory) if arguments.check else {}
    if arguments.check:
        for name, difference in found.items():
            console.print(f"{name}: {difference}", markup=False, soft_wrap=True)
        told = f"{'different' if found else 'as they should be'}: {told}"
    else:
        write(files, directory)
    console.print(told, markup=False, soft_wrap=True)
    results = [
        Result(
            "vectors",
            name,
            "failed" if name in found else "passed",
            0.0,
            {"cases": files[name].count("\n") - 1} if name in files else {},
            found.get(name, ""),
        )
        for name in {**files, **found}
    ]
    return report(arguments, results, time.perf_counter() - arguments.began)


def write(files: dict[str, str], directory: Path) -> None:
    """These files and no others."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.jsonl"):
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8", newline="\n")
