"""A version of the specification stays what it was, and says which it is everywhere."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from pool.check.conformance.files import FORMAT
from pool.check.conformance.port import PROTOCOL, SPEC
from tests.model import pins
from tests.model.rules import ROOT, RULES
from tests.model.rules import SPEC as TEXT

pytestmark = pytest.mark.once

WHAT_TO_DO = """

Is a port that was right still right, and is there nothing new to learn (better prose, new vectors
for old rules)? Then the version stays. If not, it is another version: change it in
spec/README.md and wherever test_the_version_is_the_same_everywhere looks, and say in CHANGELOG.md,
under "For porters", what it asks of them. Then: python -m tests.model.pins"""


def test_what_a_version_says_does_not_change_by_accident() -> None:
    changes = pins.differences(pins.pinned()[SPEC], pins.current())
    assert not changes, f"not as it was pinned for version {SPEC}: {changes}{WHAT_TO_DO}"


def test_every_version_is_in_the_changelog() -> None:
    for version, pinned in pins.pinned().items():
        assert f"`spec/` is version {version}" in pins.CHANGELOG
        numbers = pinned["numbers"]
        assert f"protocol ({numbers['protocol']})" in pins.CHANGELOG
        assert f"(format {numbers['format']})" in pins.CHANGELOG


@pytest.mark.parametrize(
    ("file", "pattern", "number"),
    [
        ("spec/README.md", r"^Version (\S+)\. ", SPEC),
        ("spec/PROTOCOL.md", r"for version (\S+) of", SPEC),
        ("spec/PROTOCOL.md", r'"spec": "(\S+)"', SPEC),
        ("spec/PROTOCOL.md", r"^Protocol (\d+),", PROTOCOL),
        ("spec/PROTOCOL.md", r'"protocol": (\d+)', PROTOCOL),
        ("spec/vectors/README.md", r"Format (\d+);", FORMAT),
        ("spec/vectors.schema.json", r"""vectors, format (\d+)""", FORMAT),
        ("spec/vectors.schema.json", r'"format": \{"const": (\d+)\}', FORMAT),
        ("spec/ports/javascript/adapter.mjs", r'SPEC = "(\S+)"', SPEC),
        ("spec/ports/javascript/adapter.mjs", r"PROTOCOL = (\d+)", PROTOCOL),
        ("docs/porting.md", r'spec: "(\S+)"', SPEC),
        ("docs/porting.md", r"protocol: (\d+)", PROTOCOL),
        ("docs/porting.md", r"version of the specification, (\d\S*) \|", SPEC),
        ("docs/porting.md", r"^\| `protocol`, (\d+)", PROTOCOL),
        ("docs/porting.md", r"^\| `format`, (\d+)", FORMAT),
    ],
)
def test_the_version_is_the_same_everywhere(file: str, pattern: str, number: str | int) -> None:
    found = re.findall(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE)
    assert found
    assert set(found) == {str(number)}


def test_the_vectors_are_of_this_version() -> None:
    for path in (ROOT / "spec" / "vectors").glob("*.jsonl"):
        with path.open(encoding="utf-8") as lines:
            head = json.loads(next(lines))
        assert (head["spec"], head["format"]) == (SPEC, FORMAT)


# ---------------------------------------------------------------- the pins themselves


def test_a_change_is_named_by_its_rule() -> None:
    before = pins.parts(TEXT)
    assert set(RULES) <= set(before)
    for rule in RULES:
        changed = pins.parts(TEXT.replace(before[rule], before[rule] + " not"))
        assert {name for name in changed if changed[name] != before[name]} == {rule}


def test_what_belongs_to_a_rule_is_pinned_with_it() -> None:
    assert "the smallest `since` + `max_idle`" in pins.parts(TEXT)["WAK-1"]
    assert "`max_waiting`" in pins.parts(TEXT)["LIM-1"]


def test_another_name_is_another_version() -> None:
    now = pins.current()
    other = copy.deepcopy(now)
    other["names"]["Acquire"].append("hurry")
    other["names"]["rules"].append("ACQ-6")
    assert pins.differences(now, other) == ["names: rules", "names: Acquire"]
    assert now["names"]["Tick"] == ["event", "now"]
    assert "surplus" in now["names"]["Close.reason"]


def test_names_of_a_released_version_are_not_pinned_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = pins.current()
    old = copy.deepcopy(now)
    old["names"]["Tick"] = ["event"]
    file = tmp_path / "pins.json"
    monkeypatch.setattr(pins, "FILE", file)
    for released in (True, False):
        title = "## 0.1.0 - 2030-01-01" if released else "## 0.1.0 - not released yet"
        monkeypatch.setattr(pins, "CHANGELOG", f"{title}\n\n`spec/` is version {SPEC}: ...\n")
        file.write_text(json.dumps({SPEC: old}))
        assert pins.main() == released
        assert "names: Tick" in capsys.readouterr().out
        assert pins.pinned()[SPEC] == (old if released else now)
