"""How much of `transition.py` the explorer reaches, in lines and branches.

Theory.  Coverage must be measured while the module is loaded anew, and would slow down every other
check; so it is a command of its own, which measures a second copy of the pure core, the way
mutants are loaded.  What no configuration reaches is either a missing configuration or
code that should not be there.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from pool import transition
from pool.check.configurations import CONFIGURATIONS
from pool.check.explorer import Wishes, explore
from pool.check.mutants import machine
from pool.check.tlc import TlcError


def show(console: Console) -> int:
    """Explore all configurations under coverage.py; 0 if nothing of `transition.py` is missed."""
    try:
        from coverage import Coverage
    except ImportError:
        raise TlcError("coverage.py is missing; `pip install coverage` brings it") from None
    path = str(transition.__file__)
    with tempfile.TemporaryDirectory(prefix="purepool-") as place:
        measuring = Coverage(branch=True, include=[path], data_file=None, config_file=False)
        measuring.exclude("assert_never")  # what cannot be reached is meant to be unreachable
        measuring.exclude("case _:")
        measuring.start()
        core = machine(None)
        for configuration in CONFIGURATIONS.values():
            found = explore(configuration, Wishes(machine=core))
            if found.violation is not None:
                measuring.stop()
                console.print(f"{found.violation.property} does not hold: {configuration.name}")
                return 1
        measuring.stop()
        with (Path(place) / "report").open("w+") as report:
            measuring.report(file=report, show_missing=True)
            report.seek(0)
            console.print(report.read(), markup=False)
        missed = measuring._analyze(path)
    return 0 if not missed.missing and not missed.missing_branch_arcs() else 1
