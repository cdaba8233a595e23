"""How much of the pure core the explorer reaches, in lines and branches.

Theory.  Coverage must be measured while the module is loaded anew, and would slow down every other
check; so it is a command of its own, which measures a second copy of the pure core, the way
mutants are loaded.  What no configuration reaches is either a missing configuration or
code that should not be there.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pool import core
from pool.check.explore.configurations import CONFIGURATIONS
from pool.check.explore.explorer import Wishes, explore
from pool.check.explore.mutants import machine
from pool.check.explore.tlc import TlcError
from pool.check.interrupts import temporary_directory

DECIDES = ("transition", "draft", "shortcuts", "waiters")
"""Modules of the pure core that decide something. The heap of two or three connections is never
deep enough for all that a heap does; it has tests of its own."""


def show(console: Console) -> int:
    """Explore all configurations under coverage.py; 0 if nothing is missed."""
    try:
        from coverage import Coverage
    except ImportError:
        raise TlcError("coverage.py is missing; `pip install coverage` brings it") from None
    paths = [str(Path(core.__file__).with_name(f"{name}.py")) for name in DECIDES]
    with temporary_directory() as place:
        measuring = Coverage(branch=True, include=paths, data_file=None, config_file=False)
        measuring.exclude("assert_never")  # what cannot be reached is meant to be unreachable
        measuring.exclude("case _:")
        measuring.exclude('case "fifo":', which="partial")  # the last of three: there is no other
        measuring.start()
        pure = machine(None)
        for configuration in CONFIGURATIONS.values():
            found = explore(configuration, Wishes(machine=pure))
            if found.violation is not None:
                measuring.stop()
                console.print(f"{found.violation.property} does not hold: {configuration.name}")
                return 1
        measuring.stop()
        with (place / "report").open("w+") as report:
            measuring.report(file=report, show_missing=True)
            report.seek(0)
            console.print(report.read(), markup=False)
        missed = [measuring._analyze(path) for path in paths]
    return 1 if any(one.missing or one.missing_branch_arcs() for one in missed) else 0
