"""The two graphs are one: every state and every labelled edge of `step` and of the specification.

Theory.  An edge is (shape, label, shape); a label has the event, its arguments and its
effects.  Two machines with the same set of edges from the same initial shape cannot be told
apart, within the bounds of the configuration, by anything that they answer.  Neither
graph is made from the other.

Number and digest of the edges are pinned in `spec/graphs.json`, so that a drift of the Python
side is seen without Java, too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import attrs

from pool.check.explore.canonical import Label, Labeller, Shape, shaper
from pool.check.explore.configurations import Configuration
from pool.check.explore.explorer import Exploration, Wishes, explore
from pool.check.explore.moves import moves
from pool.check.explore.notation import write, write_history
from pool.check.explore.properties import MACHINE, Machine
from pool.check.explore.tlc import Dump

Edge = tuple[Shape, Label, Shape]


@attrs.frozen
class PythonGraph:
    """The graph of `step`."""

    exploration: Exploration
    edges: frozenset[Edge]


def python_graph(configuration: Configuration, machine: Machine = MACHINE) -> PythonGraph:
    """The graph of all reachable states of `step`."""
    wishes = Wishes(machine=machine, labels=True)
    exploration = explore(attrs.evolve(configuration, goals=()), wishes)
    shapes = list(exploration.shapes)
    graph = exploration.graph
    edges: set[Edge] = set()
    if graph is not None:
        for number in graph.explored:
            for edge in graph.edges(number):
                label = (*graph.labels[edge], graph.left[edge])
                edges.add((shapes[number], label, shapes[graph.target[edge]]))
    return PythonGraph(exploration, frozenset(edges))


def digest(edges: frozenset[Edge]) -> str:
    """SHA-256 of the sorted edges, one line of JSON each."""
    lines = sorted(json.dumps(edge, separators=(",", ":")) for edge in edges)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def pin_of(graph: PythonGraph) -> dict[str, Any]:
    """What `spec/graphs.json` keeps of a graph."""
    return {
        "states": graph.exploration.states,
        "edges": len(graph.edges),
        "sha256": digest(graph.edges),
    }


def read_pins(directory: Path) -> dict[str, dict[str, Any]]:
    """The pinned graphs, by name of their configuration."""
    path = directory / "graphs.json"
    pins: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}
    return pins


def write_pins(directory: Path, pins: dict[str, dict[str, Any]]) -> None:
    """Keep these graphs."""
    text = json.dumps(pins, indent=2, sort_keys=True)
    (directory / "graphs.json").write_text(text + "\n")


def difference(
    configuration: Configuration, python: PythonGraph, dump: Dump, machine: Machine = MACHINE
) -> str | None:
    """A shortest history that leads to an edge of only one of the graphs; None: they are equal."""
    if python.edges == dump.edges:
        return None
    numbers = python.exploration.shapes
    start = next(iter(numbers))
    if start != dump.start:
        return (
            f"the initial states differ:\n  step:          {start}\n  specification: {dump.start}"
        )
    ours, theirs = python.edges - dump.edges, dump.edges - python.edges
    common = [edge for edge in ours | theirs if edge[0] in numbers]
    shape, label, _ = min(common, key=lambda edge: (numbers[edge[0]], repr(edge[1][0])))
    history = python.exploration.history(numbers[shape])
    lines = [write_history(configuration.limits[0], history, machine)]
    event = _event(python.exploration, shape, label, machine)
    lines.append(event or f"# {_describe(label[0])}")
    lines.append("# only one of them does this, from the state that this leads to:")
    for who, edges in (("step", ours), ("specification", theirs)):
        found = sorted(
            (edge for edge in edges if edge[0] == shape and edge[1][0] == label[0]), key=repr
        )
        for _, (_, effects, (waiting, opening, in_use, idle)), target in found:
            lines.append(f"# {who + ':':15}{', '.join(map(_describe, effects)) or 'no effect'}")
            lines.append(
                f"# {'':15}then waiting {waiting}, opening {opening}, in use {in_use}, idle {idle}"
            )
            lines.append(f"# {'':15}which is {target}")
        if not found:
            lines.append(f"# {who + ':':15}nothing like it")
    return "\n".join(lines)


def _describe(label: tuple[Any, ...]) -> str:
    return f"{label[0]}({', '.join(map(repr, label[1:]))})"


def _event(found: Exploration, shape: Shape, label: Label, machine: Machine) -> str | None:
    """The event of a label, as it would be after the history of the state."""
    state, now = found.representative(found.shapes[shape], machine)
    name = Labeller(found.configuration)
    assert shaper(found.configuration)(state, now) == shape
    for event in moves(found.configuration)(state, now):
        if name(state, now, event, (), state)[0] == label[0]:
            return write(event)
    return None
