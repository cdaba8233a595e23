"""`make mutation`: every mutant of the pure core is killed, or it is explained why it cannot be.

Theory.  mutmut makes the mutants and runs the tests; what it is to mutate and by which tests is in
pyproject.toml.  It goes on where it was stopped, and tries again what has changed.  Here its
survivors are compared with `survivors.txt`, where each has the reason why no test could kill it.  A
survivor is known by its function and its lines, for its number changes with every edit.  One that
is not explained fails the command, and so does an explanation that explains nothing any more.

A survivor is tried again each time, for there may be a test that kills it now.  What was killed
stays so until the code changes: after weakening a test, delete `mutants/`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

EXPLAINED = Path(__file__).with_name("survivors.txt")
UNDECIDED = None
SURVIVED, UNTESTED, SUSPICIOUS = 0, 33, 35
"""mutmut's words for what pytest said of a mutant. All others are a kind of death."""


class Survivor(NamedTuple):
    """A mutant that no test kills."""

    function: str
    """Module and name: `waiters.insert`."""
    old: str
    new: str

    def __str__(self) -> str:
        lines = [self.function, *(f"-{line}" for line in self.old.splitlines())]
        return "\n".join([*lines, *(f"+{line}" for line in self.new.splitlines())])


def read_explained(text: str) -> dict[Survivor, str]:
    """Survivors and reasons. Blocks are separated by empty lines; `#` begins a comment.

    Raises `ValueError` for a block without lines, or without a reason."""
    found: dict[Survivor, str] = {}
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for block in filter(None, map(str.strip, kept.split("\n\n"))):
        function, *lines = block.splitlines()
        old = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
        new = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
        reason = " ".join(line for line in lines if line[0] not in "-+")
        if not old or not reason:
            raise ValueError(f"{function}: a survivor needs its lines and a reason")
        found[Survivor(function, old, new)] = reason
    return found


def judge(survivors: Iterable[Survivor], explained: Iterable[Survivor]) -> list[str]:
    """What is wrong: survivors without explanation, explanations without survivor."""
    alive, known = dict.fromkeys(survivors), dict.fromkeys(explained)
    return [
        *(f"survives, and is not explained:\n{one}" for one in alive if one not in known),
        *(f"is explained, but does not survive:\n{one}" for one in known if one not in alive),
    ]


# ---------------------------------------------------------------- mutmut


def main(arguments: Sequence[str] = ()) -> int:
    """Run mutmut to its end, and judge. The exit status."""
    about = (
        "Mutate the pure core: each mutant is killed by a test, or it is explained why none can."
    )
    epilog = (
        "Takes 10 to 25 minutes. What was tried is kept: after Ctrl-C the same command goes on."
    )
    argparse.ArgumentParser("make mutation", None, about, epilog).parse_args(arguments)
    if not hasattr(os, "fork"):
        print("mutmut needs os.fork")
        return 2
    began = time.perf_counter()
    _try_survivors_again(_data())
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1)]
    try:
        status = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        status = 130
    codes = {name: code for data in _data() for name, code in data.exit_code_by_key.items()}
    left = sum(code is UNDECIDED for code in codes.values())
    if status or left or not codes:
        print(
            f"stopped: {len(codes) - left} of {len(codes)} mutants tried; `make mutation` goes on"
        )
        return status or 1
    alive = [name for name, code in codes.items() if code in (SURVIVED, UNTESTED, SUSPICIOUS)]
    explained = read_explained(EXPLAINED.read_text(encoding="utf-8"))
    wrong = judge(map(_survivor, alive), explained)
    for each in wrong:
        print(each, end="\n\n")
    files = Counter(name.split(".")[-2] for name in codes)
    print(", ".join(f"{count} of {file}.py" for file, count in sorted(files.items())))
    minutes = (time.perf_counter() - began) / 60
    print(
        f"{len(codes)} mutants, {len(codes) - len(alive)} killed, {len(alive)} survive,"
        f" {len(wrong)} times not as explained in {EXPLAINED.name}, {minutes:.1f} minutes"
    )
    return 1 if wrong else 0


def _try_survivors_again(files: list[Any]) -> None:
    for data in files:
        alive = [
            name
            for name, code in data.exit_code_by_key.items()
            if code in (SURVIVED, UNTESTED, SUSPICIOUS)
        ]
        data.exit_code_by_key.update(dict.fromkeys(alive, UNDECIDED))
        if alive:  # in a fresh checkout there is nothing yet, nor a place for it
            data.save()


def _data() -> list[Any]:
    """What mutmut noted of each file."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.utils.file_utils import walk_mutatable_files

    found = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        found.append(data)
    return found


def _survivor(name: str) -> Survivor:
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(name).splitlines()[2:]
    old = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
    new = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
    *_, module, function = name.rpartition("__mutmut_")[0].split(".")
    parts = [part for part in function.replace("x_", "", 1).split("ǁ") if part not in ("", "x")]
    return Survivor(".".join([module, *parts]), old, new)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
