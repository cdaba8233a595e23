"""Mutants: small faults, put into the specification and into the code, that must be found.

Theory.  A check that has never failed has shown nothing.  Each file of `spec/mutants/` is one
fault: what it is, in which configuration it must be found, and lines to replace in
`Pool.tla` or in a module of the pure core, with the name of the property that breaks:

    The youngest waiter is served first.
    configuration: base-caller

    @@ waiters.py breaks FifoStep
    -    return first, owners[first], remove(queue, first)
    +    return max(owners), owners[max(owners)], remove(queue, max(owners))

The old lines must be there exactly once, so that a mutant that no longer fits the code says
so.  A mutant of the code is the pure core, loaded a second time from changed source;
states, events and effects stay the same classes.  `Equal` is no property of one machine: the
mutant breaks no promise, and only the comparison with the other machine finds it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from pool import core
from pool.check.explore import tlc
from pool.check.explore.configurations import CONFIGURATIONS, LIVENESS, Configuration
from pool.check.explore.explorer import Wishes, explore
from pool.check.explore.graphs import pin_of, python_graph, read_pins
from pool.check.explore.liveness import check_liveness
from pool.check.explore.properties import Machine
from pool.check.interrupts import temporary_directory

CORE = ("heap", "waiters", "draft", "shortcuts", "transition")
EQUAL = "Equal"


class MutantError(Exception):
    """A mutant that cannot be read, or does not fit what it changes."""


@attrs.frozen
class Change:
    """Lines of a file, and what to put in their place."""

    file: str
    old: str
    new: str


@attrs.frozen
class Mutant:
    """A fault, on one side or on both."""

    name: str
    about: str
    configuration: Configuration
    changes: tuple[Change, ...]
    code: tuple[str, ...]
    """Properties that the code breaks with it; none: it is a fault of the specification only."""
    specification: tuple[str, ...]


@attrs.frozen
class Planted:
    """What a file says of a fault."""

    about: str
    configuration: str
    changes: tuple[Change, ...]
    breaks: tuple[tuple[str, str], ...]
    """Files, each with the name of a property that breaks."""


def read_file(path: Path, known: Container[str]) -> Planted:
    """A file of `spec/mutants/`; its configuration is to be one of these. Raises `MutantError`."""
    head, *parts = re.split(r"^@@ ", path.read_text(), flags=re.MULTILINE)
    about, _, name = head.partition("configuration:")
    if name.strip() not in known:
        raise MutantError(f"{path.name}: no such configuration: {name.strip()!r}")
    changes: list[Change] = []
    broken: list[tuple[str, str]] = []
    for part in parts:
        title, *lines = part.splitlines()
        file, _, breaks = title.partition(" breaks ")
        broken.extend((file.strip(), each) for each in breaks.split())
        old = "\n".join(line[1:] for line in lines if line.startswith("-"))
        new = "\n".join(line[1:] for line in lines if line.startswith("+"))
        changes.append(Change(file.strip(), old, new))
    return Planted(" ".join(about.split()), name.strip(), tuple(changes), tuple(broken))


def read_mutant(path: Path) -> Mutant:
    """A fault of the function, of its specification, or of both. Raises `MutantError`."""
    known = {**CONFIGURATIONS, **LIVENESS}
    read = read_file(path, known)
    return Mutant(
        path.stem,
        read.about,
        known[read.configuration],
        read.changes,
        tuple(name for file, name in read.breaks if not file.endswith(".tla")),
        tuple(name for file, name in read.breaks if file.endswith(".tla")),
    )


def mutants() -> dict[str, Mutant]:
    """All of `spec/mutants/`, by name."""
    paths = sorted((tlc.spec_directory() / "mutants").glob("*.txt"))
    return {path.stem: read_mutant(path) for path in paths}


def changed(mutant: Mutant, file: str, text: str) -> str:
    """The text of a file with the mutant's changes to it."""
    for change in mutant.changes:
        if change.file == file:
            try:
                text = replaced(change, text)
            except MutantError as error:
                raise MutantError(f"{mutant.name}: {error}") from None
    return text


def replaced(change: Change, text: str) -> str:
    """The text with this change. Raises `MutantError`."""
    if text.count(change.old + "\n") != 1:
        raise MutantError(f"its old lines are not once in {change.file}")
    return text.replace(change.old + "\n", change.new + "\n")


# ---------------------------------------------------------------- of the code


def machine(mutant: Mutant | None) -> Machine:
    """The pure core, loaded again, with this fault."""
    changes = mutant.changes if mutant else ()
    files = {change.file for change in changes if change.file.endswith(".py")}
    unknown = files - {f"{name}.py" for name in CORE}
    if unknown:
        raise MutantError(f"{', '.join(sorted(unknown))} is not part of the pure core")
    modules: dict[str, types.ModuleType] = {}
    with _standing_in():
        for name in CORE:
            spec = importlib.util.find_spec(f"pool.core.{name}")
            assert spec is not None
            assert spec.origin is not None
            path = Path(spec.origin)
            source = path.read_text()
            module = types.ModuleType(f"pool.core.{name}")
            module.__file__ = str(path)
            if mutant is not None:
                source = changed(mutant, path.name, source)
                module.__file__ = f"<{mutant.name}: {path.name}>"
            modules[name] = module
            sys.modules[f"pool.core.{name}"] = module
            setattr(core, name, module)
            exec(compile(source, module.__file__, "exec"), module.__dict__)
    return Machine(modules["transition"], modules["shortcuts"])


@contextmanager
def _standing_in() -> Iterator[None]:
    """While modules are loaded that import one another by the names of the real ones."""
    real = {name: importlib.import_module(f"pool.core.{name}") for name in CORE}
    try:
        yield
    finally:
        for name, module in real.items():
            sys.modules[f"pool.core.{name}"] = module
            setattr(core, name, module)


def found_in_code(mutant: Mutant) -> tuple[str, ...]:
    """What the explorer says of the code with this fault: names of properties."""
    wishes = Wishes(machine=machine(mutant), most_states=200_000)
    configuration = mutant.configuration
    search = check_liveness if configuration.name in LIVENESS else explore
    violation = search(configuration, wishes).violation
    names = (violation.property, *violation.others) if violation else ()
    if EQUAL in mutant.code:
        pin = read_pins(tlc.spec_directory())[configuration.name]
        if pin_of(python_graph(configuration, wishes.machine)) != pin:
            names += (EQUAL,)
    return names


# ---------------------------------------------------------------- of the specification


def found_in_specification(mutant: Mutant) -> tuple[str, ...]:
    """What TLC says of the specification with this fault: names of properties."""
    with temporary_directory() as directory:
        source = tlc.spec_directory()
        for name in tlc.MODULES:
            text = (source / name).read_text()
            (directory / name).write_text(changed(mutant, name, text))
        configuration = mutant.configuration
        if EQUAL in mutant.specification:
            dump = tlc.dump(configuration, directory)
            if dump.verdict.violated:
                return (dump.verdict.violated,)
            return () if python_graph(configuration).edges == dump.edges else (EQUAL,)
        found = tuple(
            verdict.violated
            for verdict in (
                tlc.check(configuration, directory, (name,)) for name in mutant.specification
            )
            if verdict.violated
        )
        return found
