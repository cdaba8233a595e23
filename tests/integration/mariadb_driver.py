"""Installs the driver `mariadb` here: `python -m tests.integration.mariadb_driver`.

Its present release, the one that users get, comes as source and needs MariaDB's C library. That is
taken from the distribution's packages, unpacked into `.cache/`, and the driver built to find it
there: nothing is installed on the system. Where this can't be done (no such packages, too old a C
library, no compiler), the driver's next release, so far a pre-release but all Python, takes its
place, so that the pooled class is exercised everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.integration.servers import CACHE, Unavailable, library_folders, unpack_packages

PRESENT = "mariadb<2"
NEXT = "mariadb>=2.0.0rc2"


def main() -> int:
    if importable():
        return 0
    print(f"building the driver {PRESENT} ...", flush=True)
    try:
        library = CACHE / "mariadb-connector"
        if not library.is_dir():
            unpack_packages([["libmariadb-dev"]], library)
        # Not by way of pip's cache: a wheel there could point into the `.cache/` of another place.
        install("--no-cache-dir", "--no-deps", PRESENT, environment=build_environment(library))
        if importable():
            return 0
        problem = "it is built, but can't be imported"
    except Unavailable as error:
        problem = str(error)
    except subprocess.CalledProcessError as error:
        problem = "\n".join(error.stdout.splitlines()[-10:])
    print(f"{problem}\n{PRESENT} can't be had here; installing {NEXT} ...", flush=True)
    try:
        install(NEXT)
    except subprocess.CalledProcessError as error:
        print(error.stdout)
    return 0 if importable() else 1


def importable() -> bool:
    """In a process of its own: an extension without its library may not fail politely."""
    return not subprocess.run(
        [sys.executable, "-c", "import mariadb"], capture_output=True
    ).returncode


def build_environment(library: Path) -> dict[str, str]:
    return {
        "MARIADB_CONFIG": f"{library}/usr/bin/mariadb_config",
        "LDFLAGS": " ".join(f"-Wl,-rpath,{folder}" for folder in library_folders(library)),
    }


def install(*arguments: str, environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall", *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )


if __name__ == "__main__":
    sys.exit(main())
