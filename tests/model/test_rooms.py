"""The rooms of the package: which may import which, and that each contract about it can fail.

Theory.  pyproject.toml says which room stands on which, and import-linter reads it off the imports,
those for types included.  A contract that has never failed has shown nothing: so into a copy of the
package one import is planted for each, and it must be found, by that contract and where it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model import rooms
from tests.model.rules import ROOT

pytestmark = pytest.mark.once

FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "

PLANTED = [
    ("rooms", "core/heap.py", "from pool.shared import log"),
    ("rooms", "core/waiters.py", FOR_TYPES + "from pool.threads.runtime import Runtime"),
    ("rooms", "shared/log.py", "import pool.drivers.callables"),
    ("rooms", "threads/driver.py", "from pool.tasks.runtime import Cell"),
    ("rooms", "drivers/proxies.py", "def late():\n    from pool.api import Pool"),
    ("rooms", "face.py", "from pool.record import Recorder"),
    ("rooms", "record/recorder.py", "from pool.peewee import PooledDatabase"),
    ("rooms", "peewee/settings.py", "from pool.check.machines.twin import Twin"),
    ("checks", "check/machines/reference.py", "from pool.check import cli"),
    ("checks", "check/explore/moves.py", "from pool.check.conformance.port import Port"),
    ("checks", "check/usage.py", FOR_TYPES + "from pool.check.task import Task"),
    ("circles", "lease.py", FOR_TYPES + "from pool.api import Pool"),
    ("circles", "core/state.py", FOR_TYPES + "from pool.core.events import Event"),
    ("circles", "check/conformance/report.py", "from pool.check.conformance import conform"),
    ("circles", "peewee/leases.py", "def late():\n    from pool.peewee import adapter"),
]
"""By contract: where to write what at the end of a file."""


def lint(place: Path, *arguments: str) -> tuple[int, str]:
    """What import-linter says of the package that is there: its status, and its text."""
    environment = {**os.environ, "PYTHONPATH": str(place), "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--no-logo", "--no-cache", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


COMMAND = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture(autouse=True, scope="module")
def linter() -> None:
    """Only a free-threaded build has none: for that not all of `dev` is installed."""
    pytest.importorskip("importlinter")


def test_every_import_points_down() -> None:
    status, said = lint(ROOT)
    assert status == 0, said
    assert f"{len({contract for contract, _, _ in PLANTED})} kept, 0 broken" in said


@pytest.mark.parametrize(("contract", "file", "planted"), PLANTED)
def test_a_contract_that_is_broken_says_where(
    tmp_path: Path, contract: str, file: str, planted: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "pool", tmp_path / "pool", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "pool" / file
    path.write_text(f"{path.read_text('utf-8')}\n{planted}\n", "utf-8")
    status, said = lint(tmp_path, "--contract", contract)
    assert status == 1, said
    assert "1 broken" in said
    assert f".{path.stem} -> " in said


# ---------------------------------------------------------------- the picture

PICTURE = ROOT / "docs" / "architecture.svg"


def test_the_picture_is_up_to_date() -> None:
    assert PICTURE.read_text("utf-8") == rooms.svg(), (
        "draw it again: python -m tests.model.rooms > docs/architecture.svg"
    )


def test_every_arrow_points_down_and_every_file_is_in_a_room() -> None:
    for one, other in rooms.arrows():
        assert rooms.ROOMS[one].row < rooms.ROOMS[other].row, (one, other)
    drawn = {name for room in rooms.ROOMS if room != "check" for name in rooms.files(room)}
    assert drawn == {path.stem for path in rooms.PACKAGE.rglob("*.py")} - {"__init__"}


def test_another_import_is_another_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(rooms.PACKAGE, tmp_path / "pool")
    heap = tmp_path / "pool" / "core" / "heap.py"
    heap.write_text(heap.read_text("utf-8") + "\nfrom pool.shared import log\n", "utf-8")
    before = rooms.svg()
    monkeypatch.setattr(rooms, "PACKAGE", tmp_path / "pool")
    assert ("core", "shared") in rooms.arrows()
    assert rooms.svg() != before


def test_what_other_arrows_say_together_is_left_out() -> None:
    assert rooms.reduced({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}
