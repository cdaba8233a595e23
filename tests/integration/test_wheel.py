"""The wheel, installed outside the checkout, brings all that `purepool check` and `fuzz` need.

Theory.  In a checkout everything is found, whether it is packaged or not.  So the wheel is built
and installed into an environment of its own, in a directory of its own.  Only the packages that the
pool needs are borrowed from the environment of the tests, by a `.pth` file: its directory is put on
the path, but what is installed there as editable, the checkout, is not found through it.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from pool.check.explore import tlc
from pool.check.explore.configurations import CONFIGURATIONS
from pool.check.machines import MACHINES
from pool.core.events import Acquire
from pool.core.limits import Limits
from tests.integration.drivers import ROOT
from tests.integration.processes import run
from tests.model.recorded import record

pytestmark = pytest.mark.slow


def call(*command: object, cwd: Path) -> str:
    """What it printed; it must end well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = run([str(word) for word in command], cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place, cwd=ROOT)
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; commands are in its `bin`."""
    place = tmp_path_factory.mktemp("elsewhere")
    call(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=place)
    purelib = call(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place
    ).strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(purelib) / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return place


def test_every_file_of_the_specification_is_in_the_wheel(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    spec = tlc.spec_directory()
    files = {path.relative_to(spec).as_posix() for path in spec.rglob("*") if path.is_file()}
    assert {"Pool.tla", "graphs.json", "README.md"} <= files
    assert {f"pool/check/spec/{name}" for name in files if "node_modules" not in name} <= there


def test_a_time_line_can_be_drawn(elsewhere: Path, tmp_path: Path) -> None:
    """With the parts of its page, which are no Python."""
    record(tmp_path / "shop.rec", Limits(), [Acquire(1.0, 1, True, "ann")])
    call(elsewhere / "bin" / "purepool", "timeline", tmp_path / "shop.rec", cwd=tmp_path)
    page = (tmp_path / "shop.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "DecompressionStream" in page


def test_the_pool_and_the_specification_come_from_the_wheel(elsewhere: Path) -> None:
    program = (
        "import pool; from pool.check.explore import tlc; "
        "print(pool.__file__, tlc.spec_directory())"
    )
    package, specification = call(
        elsewhere / "bin" / "python", "-c", program, cwd=elsewhere
    ).split()
    assert Path(package).is_relative_to(elsewhere / "lib")
    assert Path(specification) == Path(package).parent / "check" / "spec"


def test_check_runs_there(elsewhere: Path) -> None:
    """All that needs no Java; the pinned graphs are read from the wheel."""
    call(elsewhere / "bin" / "purepool", "check", "--json", "check.json", cwd=elsewhere)
    report = json.loads((elsewhere / "check.json").read_text())
    assert report["passed"]
    pinned = {result["name"] for result in report["results"] if result["part"] == "pinned"}
    assert pinned == set(CONFIGURATIONS)
    assert report["totals"]["states"] > 1000


def test_fuzz_runs_there(elsewhere: Path) -> None:
    command = elsewhere / "bin" / "purepool"
    call(command, "fuzz", "--seconds", "5", "--json", "fuzz.json", cwd=elsewhere)
    report = json.loads((elsewhere / "fuzz.json").read_text())
    assert report["passed"]
    assert [result["name"] for result in report["results"]] == list(MACHINES)
    assert all(result["counts"]["examples"] > 0 for result in report["results"])
    assert (elsewhere / ".purepool").is_dir()


def test_the_vectors_are_read_from_the_wheel(elsewhere: Path) -> None:
    program = "from pool.check.conformance import files; print(len(files.read()))"
    assert int(call(elsewhere / "bin" / "python", "-c", program, cwd=elsewhere)) > 10
