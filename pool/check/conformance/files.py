"""The files of vectors, read: what a port is asked.

Theory.  `spec/vectors/README.md` says what is in them, `vectors.py` makes them.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from pool.check.conformance.encoding import Json
from pool.check.conformance.port import SPEC
from pool.check.explore.tlc import spec_directory

FORMAT = 1


def vectors_directory() -> Path:
    """Where the vectors are: in a checkout, or inside the installed package."""
    return spec_directory() / "vectors"


@attrs.frozen
class File:
    """A file of vectors, read."""

    name: str
    about: str
    cases: tuple[Json, ...]


def read(directory: Path | None = None) -> list[File]:
    """Every file of vectors, the simplest first.

    Raises `ValueError` for one of another format, or none at all."""
    directory = directory or vectors_directory()
    files = []
    for path in sorted(
        directory.glob("*.jsonl"),
        key=lambda path: (path.stem != "limits", path.stem != "scenarios", path.stem),
    ):
        head, *cases = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for name, ours in (("format", FORMAT), ("spec", SPEC)):
            if head.get(name) != ours:
                raise ValueError(f"{path}: {name} {head.get(name)!r}; this runner reads {ours}")
        files.append(File(head["file"], head["about"], tuple(cases)))
    if not files:
        raise ValueError(f"{directory}: no vectors there")
    return files
