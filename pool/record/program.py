"""Every pool of a program, recorded without a change to it: what `purepool record` asks for.

Theory.  `import pool` looks into the environment once.  Where `PUREPOOL_RECORD` names a directory,
each pool that is made gets a flight recorder, with a recording of its own in there, named for the
pool and the process.  Processes that the program starts inherit the environment, and so record
too, into other recordings.

What goes wrong with that is logged, and costs the program nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.record.flight import FlightRecorder, bytes_of, name_of
from pool.shared.log import logger
from pool.shared.observation import on_made

DIRECTORY, KEEP = "PUREPOOL_RECORD", "PUREPOOL_RECORD_KEEP"
"""Variables of the environment: where to, and how much of each pool (default: 64 MB)."""


def begin(environment: Mapping[str, str]) -> None:
    """From now on, record each pool that is made, as the environment says."""
    directory = Path(environment[DIRECTORY])
    keep = environment.get(KEEP, "64 MB")
    try:
        bytes_of(keep)
    except ValueError as error:
        logger.warning("nothing is recorded: %s: %s", KEEP, error)
        return

    def record(pool: Any) -> None:
        try:
            FlightRecorder(pool, _path(directory, name_of(pool)), keep=keep)
        except OSError as error:
            logger.warning("the pool %r is not recorded: %s", name_of(pool), error)

    on_made.append(record)


def _path(directory: Path, name: str) -> Path:
    """A recording that is nobody else's: made here, so that two of one name have two."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60] or "pool"
    directory.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = directory / f"{plain}-{os.getpid()}{'' if number == 1 else f'.{number}'}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1
