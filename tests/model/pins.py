"""What each version of the specification says, pinned: `python -m tests.model.pins` writes it down.

Theory.  A version is a promise to porters: while it stays, a port that was right stays right, and
nothing is new to learn.  So all that a port depends on is kept here as digests, by the version
that it had: every rule and every other part of the normative texts, the schema, every file of
vectors; and the names of all rules, events, effects and fields as they are.  A change shows
as a difference, and whoever makes it has to say which it is: another version, or the same said
better.  A version that was released keeps its names for ever; one that was not may still change.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from pool.check.conformance.files import FORMAT
from pool.check.conformance.port import PROTOCOL, SPEC
from tests.model.rules import ROOT, RULES

FILE = Path(__file__).with_name("pins.json")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")

Pins = dict[str, Any]


def digest(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def parts(text: str) -> dict[str, str]:
    """A text in parts, each by the heading or the rule that it begins with."""
    found: dict[str, list[str]] = {}
    name, before = "", ""
    for line in text.splitlines():
        rule = re.match(r"(?:\| )?`([A-Z]{3}-\d+)`", line)
        if line.startswith("#"):
            name = line.lstrip("# ")
        elif rule and (not before or line.startswith("|")):
            name = rule[1]
        found.setdefault(name, []).append(line)
        before = line
    return {name: "\n".join(lines) for name, lines in found.items()}


def names(schema: Any) -> dict[str, list[str]]:
    """Every name that a port has to know: of rules, and of events, effects and states."""
    found = {"rules": sorted(RULES)}
    definitions = schema["$defs"]
    for kind in ("event", "effect"):
        for one in definitions[kind]["oneOf"]:
            found[one["properties"][kind]["const"]] = sorted(one["required"])
            reasons = one["properties"].get("reason", {}).get("enum")
            if reasons:
                found[f"{one['properties'][kind]['const']}.reason"] = sorted(reasons)
    for kind in ("limits", "change", "idle", "lease", "caller", "failure"):
        found[kind] = sorted(definitions[kind]["properties"])
    return found


def current() -> Pins:
    """What this version is now."""
    spec = ROOT / "spec"
    schema = (spec / "vectors.schema.json").read_text("utf-8")
    texts = {"specification": "README.md", "protocol": "PROTOCOL.md", "format": "vectors/README.md"}
    pins: Pins = {
        "numbers": {"protocol": PROTOCOL, "format": FORMAT},
        "names": names(json.loads(schema)),
    }
    for kind, file in texts.items():
        text = (spec / file).read_text("utf-8")
        pins[kind] = {name: digest(part) for name, part in parts(text).items() if part.strip()}
    vectors = sorted((spec / "vectors").glob("*.jsonl"))
    pins["vectors"] = {path.stem: digest(path.read_text("utf-8")) for path in vectors}
    pins["schema"] = {"vectors.schema.json": digest(schema)}
    return pins


def pinned() -> dict[str, Pins]:
    """By version."""
    found: dict[str, Pins] = json.loads(FILE.read_text("utf-8"))
    return found


def differences(before: Pins, after: Pins) -> list[str]:
    """What is not the same, by its name."""
    found = []
    for kind in {**before, **after}:
        old, new = before.get(kind, {}), after.get(kind, {})
        found += [f"{kind}: {name}" for name in {**old, **new} if old.get(name) != new.get(name)]
    return found


def is_released(version: str) -> bool:
    """Whether a release says to porters that it brings this version."""
    sections = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]
    said = re.compile(rf"`spec/` is version {re.escape(version)}\b")
    return any(
        said.search(section) and "not released yet" not in section.splitlines()[0]
        for section in sections
    )


def main() -> int:
    before, after = pinned(), current()
    changes = differences(before.get(SPEC, {}), after)
    names_changed = [change for change in changes if change.startswith(("names", "numbers"))]
    if SPEC in before and is_released(SPEC) and names_changed:
        print(f"{SPEC} is released; another version is due, for other {', '.join(names_changed)}")
        return 1
    FILE.write_text(
        json.dumps({**before, SPEC: after}, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    print(f"{SPEC}: {len(changes)} pinned anew", *changes, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
