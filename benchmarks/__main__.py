"""`make bench`: every claim that has a number, measured beside other pools.

A table per claim: what was measured, each pool's figure, the target of this one, and the verdict.
A missed target makes the command fail, also with `--json`. On a machine that has other work a
target can be missed for that reason alone: measure again, `--only` that claim, when it is idle. No
test depends on it: what is claimed is asserted there by other means.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.claims import Claim, Row

EPILOG = """\
The pools compared are those that are installed: `pip install 'purepool[dev]'` brings all of them.
Ends with 0 if every target is met, with 1 if one is missed.
"""
DURATION = "about 8 minutes on an idle machine"
VERDICTS = {"met": "[green]met[/]", "missed": "[red]missed[/]", "reported": "[dim]reported[/]"}


def all_claims() -> dict[str, Claim]:
    from benchmarks import (
        aio,
        cold_start,
        contended,
        exploring,
        fairness,
        growing,
        interrupts,
        observed,
        opening,
        postgres,
        spike,
        uncontended,
        wakeups,
    )

    modules = (
        uncontended,
        contended,
        postgres,
        cold_start,
        opening,
        growing,
        fairness,
        wakeups,
        spike,
        interrupts,
        observed,
        exploring,
        aio,
    )
    return {claim.name: claim for module in modules for claim in module.CLAIMS}


def table(claim: Claim, rows: list[Row], took: float) -> Any:
    from rich import box
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    made = Table(
        title=f"[bold]{claim.name}[/]: {claim.title}",
        caption=f"{claim.about} ({took:.0f} s)",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="",
        caption_justify="left",
        caption_style="dim",
        min_width=60,
    )
    made.add_column("")
    for name in names:
        made.add_column(name, justify="right", overflow="fold")
    made.add_column("target")
    made.add_column("verdict")
    for row in rows:
        figures = [row.show(name) for name in names]
        made.add_row(row.what, *figures, row.target, VERDICTS[row.verdict])
    return made


def measure(claims: list[Claim], quick: bool, console: Console, show: bool) -> dict[str, Any]:
    """Measure these claims one after the other; each table is shown as soon as it is there."""
    import attrs
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from benchmarks.claims import Plan

    results: dict[str, Any] = {}
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[what]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        overall = progress.add_task("all claims", total=len(claims), what="")
        for number, claim in enumerate(claims):
            task = progress.add_task(claim.name, total=1.0, what="")
            if not console.is_terminal:
                print(f"measuring {claim.name} ...", file=sys.stderr, flush=True)

            def tell(part: float, what: str, task: Any = task, number: int = number) -> None:
                progress.update(task, completed=part, what=what)
                progress.update(overall, completed=number + part)

            began = time.perf_counter()
            rows = claim.measure(Plan(quick=quick, tell=tell))
            took = time.perf_counter() - began
            progress.remove_task(task)
            results[claim.name] = {
                "title": claim.title,
                "about": claim.about,
                "rows": [attrs.asdict(row) | {"verdict": row.verdict} for row in rows],
                "took": took,
            }
            if show:
                progress.console.print(table(claim, rows, took))
    return results


def parse(arguments: list[str] | None, names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this pool beside others.", epilog=EPILOG
    )
    flag = parser.add_argument
    flag("--list", action="store_true", help="print what can be measured, and nothing else")
    flag(
        "--only",
        action="append",
        metavar="NAME",
        choices=names,
        help="measure this claim only; may be given again (names: see --list)",
    )
    flag("--quick", action="store_true", help="fewer and shorter rounds: for a first look")
    flag("--json", action="store_true", help="print the figures as JSON; times are in seconds")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0: every target is met. 1: one is missed. 130: interrupted."""
    try:
        from rich.console import Console

        claims = all_claims()
        options = parse(arguments, list(claims))
        if options.list:
            for claim in claims.values():
                print(f"{claim.name:16}{claim.title}")
            return 0
        chosen = [claims[name] for name in dict.fromkeys(options.only or claims)]
        # A table that goes into a file has no window to fit.
        console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 140)
        if not options.only and not options.quick:
            print(f"measuring {len(chosen)} claims takes {DURATION}", file=sys.stderr, flush=True)
        results = measure(chosen, options.quick, console, not options.json)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    verdicts = [
        (name, row["verdict"]) for name, result in results.items() for row in result["rows"]
    ]
    targets = sum(verdict != "reported" for _, verdict in verdicts)
    missed = [name for name, verdict in verdicts if verdict == "missed"]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        console.print(f"{targets - len(missed)} of {targets} targets met.", highlight=False)
    if missed:
        again = " ".join(f"--only {name}" for name in dict.fromkeys(missed))
        print(
            "A target is missed. Is the machine idle? To measure that again: "
            f"{sys.executable} -m benchmarks {again}",
            file=sys.stderr,
        )
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
