"""The specification, the code and the tests name the same things.

Theory.  A rule without code is a wish, code without a rule an accident, and both without a
test a rumour.  The convention: code cites a rule by its id in a comment or docstring
(`SRV-1 to SRV-5` cites all five); a test cites a rule by its id in its docstring, and a file
of tests that is all about one rule by that rule's id in its own.  The tables
of the specification are compared with the code that they describe.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import attrs
import pytest

from pool import INVARIANTS, STEP_INVARIANTS, Limits
from pool.check.machines.reference import Reference
from pool.core import transition
from pool.core.effects import CloseReason, Effect, Open, RefuseReason
from pool.core.events import Event
from pool.core.state import Counters, State
from tests.model.rules import ID, ROOT, RULES, SPEC, table
from tests.model.test_purity import PURE

pytestmark = pytest.mark.once

FAMILIES = {rule[:3] for rule in RULES}
"""What tells a rule's id from other words of that form."""

OWED_BY_THE_RUNTIME = {rule for rule in RULES if rule.startswith("RUN-")}
OURS = set(RULES) - OWED_BY_THE_RUNTIME

PENDING: set[str] = set()
"""Rules that may still be without a test: `RUN-` only, and for as short as possible."""


def expanded(text: str) -> set[str]:
    """Every rule that a text cites, ranges (`SRV-1 to SRV-5`) in full."""
    found = set(ID.findall(text))
    for family, first, last in re.findall(r"([A-Z]{3})-(\d+) to \1-(\d+)", text):
        found |= {f"{family}-{number}" for number in range(int(first), int(last) + 1)}
    return found


def comments_and_docstrings(path: Path) -> Iterator[str]:
    """What a file says, not what it does; a range may be broken over lines."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield " ".join((ast.get_docstring(node) or "").split())


def cited_by_code(*names: str) -> set[str]:
    cited: set[str] = set()
    for name in names:
        for text in comments_and_docstrings(ROOT / "pool" / f"{name}.py"):
            cited |= expanded(text)
    return {rule for rule in cited if rule[:3] in FAMILIES}


def cited_by_tests(folder: str) -> set[str]:
    """Rules in the docstrings of test functions, and of files that are about one rule."""
    cited: set[str] = set()
    for path in sorted((ROOT / "tests" / folder).rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        whole = expanded(ast.get_docstring(tree) or "")
        cited |= whole if len(whole) == 1 else set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                cited |= expanded(ast.get_docstring(node) or "")
    return {rule for rule in cited if rule[:3] in FAMILIES}


def cited_by_the_model() -> set[str]:
    """Rules that the reference model cites, as calls of `cite` and `ignore`."""
    folder = ROOT / "pool" / "check" / "machines"
    files = [folder / f"{name}.py" for name in ("reference", "verbs")]
    return {
        str(node.args[0].value)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("cite", "ignore")
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_rule_is_defined_once() -> None:
    assert len(set(RULES)) == len(RULES)
    assert len(RULES) > 70


def test_the_numbers_of_a_family_have_no_gap() -> None:
    for family in FAMILIES:
        numbers = [int(rule[4:]) for rule in RULES if rule[:3] == family]
        assert numbers == list(range(1, len(numbers) + 1)), family


def test_every_rule_has_code() -> None:
    assert OURS - cited_by_code(*(f"core/{name}" for name in PURE)) == set()


def test_every_rule_has_a_test() -> None:
    assert OURS - cited_by_tests("model") == set()


def test_every_rule_is_in_the_reference_model() -> None:
    assert OURS - cited_by_the_model() == {"LIM-1"}  # the model is given limits


def test_every_obligation_of_a_runtime_has_code_and_a_test() -> None:
    of_loops = {"RUN-11", "RUN-12"}
    both = ["shared/store", "shared/running", "shared/forks"]
    threads = [f"threads/{name}" for name in ("monitor", "performer", "runtime", "helpers")]
    tasks = [f"tasks/{name}" for name in ("monitor", "performer", "runtime")]
    assert OWED_BY_THE_RUNTIME - cited_by_code(*both, *threads) - of_loops == set()
    assert OWED_BY_THE_RUNTIME - cited_by_code(*both, *tasks) == set()
    assert OWED_BY_THE_RUNTIME - cited_by_tests("integration") - PENDING == set()


def test_only_obligations_of_a_runtime_may_be_pending() -> None:
    assert PENDING <= OWED_BY_THE_RUNTIME
    assert PENDING & cited_by_tests("integration") == set(), "no longer pending"


def test_every_cited_rule_exists() -> None:
    package = ROOT / "pool"
    paths = [path for path in package.rglob("*.py") if "check" not in path.parts]
    everywhere = [path.relative_to(package).with_suffix("").as_posix() for path in paths]
    cited = cited_by_code(*everywhere) | cited_by_tests("model") | cited_by_tests("integration")
    assert (cited | cited_by_the_model() | expanded_of_spec()) - set(RULES) == set()


def expanded_of_spec() -> set[str]:
    return {rule for rule in expanded(SPEC) if rule[:3] in FAMILIES}


def test_citations_are_read_as_they_are_written() -> None:
    assert expanded("rules SRV-1 to SRV-3, and ACQ-4") == {"SRV-1", "SRV-2", "SRV-3", "ACQ-4"}
    assert expanded("XSRV-1, SRV-x, srv-1") == set()


# ---------------------------------------------------------------- names

HEADINGS = dict(re.findall(r"^### ([A-Z]\w+)\((.*)\)$", SPEC, flags=re.MULTILINE))


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def test_events_are_those_of_the_specification_with_their_fields_in_order() -> None:
    assert {kind.__name__: ", ".join(kind._fields) for kind in get_args(Event)} == HEADINGS


@pytest.mark.parametrize("name", sorted(HEADINGS))
def test_every_event_has_a_handler_of_its_name(name: str) -> None:
    assert callable(getattr(transition, snake(name)))
    assert callable(getattr(Reference, snake(name)))


def test_effects_are_those_of_the_specification_with_their_fields_in_order() -> None:
    rows = [cell.strip("`") for cell in table("## 4. Effects")]
    kinds = {f"{kind.__name__}({', '.join(kind._fields)})" for kind in get_args(Effect)}
    assert {row.replace("none", "ticket") for row in rows} == kinds
    assert {"Open(ticket)", "Open(none)"} <= set(rows)
    assert Open._fields == ("ticket",)


def listed(what: str) -> set[str]:
    """The names in backticks of the sentence that begins so."""
    sentence = SPEC.split(what, 1)[1].split(".", 1)[0]
    return set(re.findall(r"`(\w+)`", sentence))


def test_reasons_are_those_of_the_specification() -> None:
    assert listed("Reasons to refuse:") == set(get_args(RefuseReason))
    assert listed("Reasons to close:") == set(get_args(CloseReason))


def test_the_state_has_the_fields_of_the_specification() -> None:
    rows = table("## 3. State")
    names = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert names == list(State._fields)
    counters = re.findall(r"`(\w+)`", " ".join(rows["`counters`"]))
    assert counters == list(Counters._fields)


def test_the_limits_have_the_fields_and_defaults_of_the_specification() -> None:
    rows = {name.strip("`"): cells for name, cells in table("## 2. Limits").items()}
    fields = {field.name: field.default for field in attrs.fields(Limits)}
    defaults = {name: cells[1].strip("`") for name, cells in rows.items()}
    assert list(rows) == list(fields)
    shown = {name: "none" if value is None else str(value) for name, value in fields.items()}
    assert defaults == shown


def test_invariants_are_those_of_the_specification() -> None:
    states = [name.strip("`") for name in table("## 8. Invariants")]
    steps = [name.strip("`") for name in table("True of every step")]
    assert states == list(INVARIANTS)
    assert steps == list(STEP_INVARIANTS)
