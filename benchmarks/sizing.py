"""Is a prediction of `purepool size` what a real pool then does? Two real runs, each predicting the
other: `python -m benchmarks.sizing`.

Theory.  The callers are threads that ask at times drawn beforehand, whether or not they had to wait
the time before, and hold for times drawn beforehand, asleep.  So the same callers come to a pool of
either size.  Each run is recorded; its recording is simulated with its own size, and with that of
the other, of which nothing is known to it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import attrs

import pool
from benchmarks.peers import Pretended
from pool.check.sizing.given import spoken
from pool.check.sizing.recorded import Recorded, read
from pool.record import FlightRecorder
from pool.size import Load, poisson, simulate

RATE, HOLD = 100.0, 0.04
SIZES = (5, 6)
QUANTILES = (0.5, 0.99)


def run(path: Path, size: int, load: Load, workers: int = 100) -> Recorded:
    """These callers, at a real pool of this size; what was recorded of them."""
    subject = pool.Pool(Pretended, max_size=size)
    calls, lock, began = iter(load.calls), threading.Lock(), time.monotonic() + 0.5

    def work() -> None:
        while True:
            with lock:
                call = next(calls, None)
            if call is None:
                return
            time.sleep(max(0.0, began + call.at - time.monotonic()))
            with subject.connection(timeout=600.0):
                time.sleep(call.hold)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    with FlightRecorder(subject, path):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        subject.close()
    return read(str(path))


@attrs.frozen
class Row:
    """What was recorded at a size, and what is said of it. Waits at `QUANTILES`, in seconds."""

    size: int
    recorded: tuple[float, ...]
    own: tuple[float, ...]
    """Simulated, from the recording of this size."""
    predicted: tuple[float, ...]
    """Simulated, from the recording of the other size."""


def compare(seconds: float, sizes: tuple[int, int] = SIZES, seed: int = 0) -> list[Row]:
    """Both runs, and what each says of both."""
    load = poisson(RATE, HOLD, calls=round(RATE * seconds), seed=seed)
    with tempfile.TemporaryDirectory() as place:
        runs = {size: run(Path(place) / f"{size}.rec", size, load) for size in sizes}

    def simulated(source: int, size: int) -> tuple[float, ...]:
        limits = attrs.evolve(runs[source].limits, max_size=size)
        result = simulate(limits, runs[source].load)
        return tuple(map(result.quantile, QUANTILES))

    one, other = sizes
    return [
        Row(
            size,
            tuple(map(runs[size].quantile, QUANTILES)),
            simulated(size, size),
            simulated(from_, size),
        )
        for size, from_ in ((one, other), (other, one))
    ]


def table(rows: list[Row]) -> str:
    """For docs/pool-size.md."""
    lines = [
        "| max_size | | p50 | p99 |",
        "|---|---|---|---|",
    ]
    for row, other in zip(rows, reversed(rows), strict=True):
        for what, waits in (
            ("what happened", row.recorded),
            ("simulated from that recording", row.own),
            (f"predicted from the recording with {other.size}", row.predicted),
        ):
            p50, p99 = map(spoken, waits)
            lines.append(f"| {row.size} | {what} | {p50} | {p99} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of each of the two runs (default: 60)"
    )
    print(table(compare(parser.parse_args().seconds)))


if __name__ == "__main__":
    main()
