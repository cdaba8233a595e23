"""Record runs anew and draw them: docs/pictures/NAME.json and docs/pictures/NAME.svg.

    python -m benchmarks.pictures                every one; some minutes
    python -m benchmarks.pictures fairness       only these
    python -m benchmarks.pictures --draw         draws what was recorded before, again

Theory.  A picture that somebody drew says what they believed.  So what is drawn was recorded, and
the recording lies beside the picture: a test draws it once more and compares.  The two halves know
nothing of each other but the recording: `recorded.py` and `drawn.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.pictures import drawn, recorded

PLACE = Path(__file__).parents[2] / "docs" / "pictures"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(recorded.RUNS))
    parser.add_argument("--draw", action="store_true", help="record nothing, only draw")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in recorded.RUNS]
    if unknown:
        parser.error(f"{unknown[0]}: allowed is {', '.join(recorded.RUNS)}")
    PLACE.mkdir(exist_ok=True)
    for name in given.names or recorded.RUNS:
        file = PLACE / f"{name}.json"
        if not given.draw:
            print(f"==> {name}: {recorded.RUNS[name].__doc__.splitlines()[0]}", flush=True)  # type: ignore[union-attr]
            file.write_text(json.dumps(recorded.RUNS[name](), indent=1) + "\n", "utf-8")
        picture = drawn.draw(json.loads(file.read_text("utf-8")))
        file.with_suffix(".svg").write_text(picture, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
