"""The site and its reference: nothing public is missing, each parameter is described, and what
`make docs` refuses is refused.

Theory.  That the site builds without a warning is a stage of `make test`, for it takes half a
minute.  Here are the promises that a build without warnings does not make: what it would not miss.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import pytest
from sphinx.pycode import ModuleAnalyzer

import pool
from benchmarks.pictures.drawn import draw
from benchmarks.pictures.recorded import RUNS
from tests import packaging
from tests.integration.drivers import ROOT

pytestmark = pytest.mark.once

SITE = ROOT / "docs" / "site"
REFERENCE = ROOT / "docs" / "reference"
PAGES = {
    "pool": "pool.rst",
    "pool.aio": "aio.rst",
    "pool.record": "record.rst",
    "pool.metrics": "metrics.rst",
    "pool.size": "size.rst",
}
"""What offers its names by `__all__`, and the page about it."""


def part(name: str) -> Any:
    """A file of the site's, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIELDS: dict[str, str] = part("docstrings").FIELDS


# ---------------------------------------------------------------- nothing is missing


def documented(page: str) -> set[str]:
    """The names that a page has the docstrings of."""
    text = (REFERENCE / page).read_text("utf-8")
    return set(re.findall(r"^\.\. auto(?:class|exception|function|data):: (\w+)$", text, re.M))


@pytest.mark.parametrize("module", PAGES)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    found = documented(PAGES[module])
    if module == "pool.aio":  # what it has of `pool` is named, and described there
        text = (REFERENCE / PAGES[module]).read_text("utf-8")
        found |= set(re.findall(r"``(\w+)``", text)) & documented(PAGES["pool"])
    offered = set(importlib.import_module(module).__all__)
    assert offered - found == set(), f"add them to docs/reference/{PAGES[module]}"
    assert found - offered == set()


def test_every_database_of_peewee_is_in_the_reference() -> None:
    import pool.peewee
    import pool.peewee.aio

    ours = {
        name
        for module in (pool.peewee, pool.peewee.aio)
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and inspect.getmodule(thing) is not None
        and getattr(thing, "__module__", "").startswith("pool.peewee")
    }
    assert ours == documented("peewee.rst")


def test_every_command_and_option_is_on_the_page_of_the_command_line() -> None:
    commands = part("commands")
    for name, parser in commands.parsers().items():
        text = "\n".join(commands.lines(name, parser))
        for action in parser._actions:
            if action.option_strings:
                assert action.option_strings[-1] in text
                assert action.help, f"purepool {name} {action.option_strings} is not explained"


# ---------------------------------------------------------------- each parameter is described


def things() -> Iterator[tuple[str, Any]]:
    for module in PAGES:
        offered = importlib.import_module(module)
        for name in offered.__all__:
            thing = getattr(offered, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module}.{name}", thing
    for module in ("pool.peewee", "pool.peewee.aio"):
        offered = importlib.import_module(module)
        for name in documented("peewee.rst") & set(vars(offered)):
            yield f"{module}.{name}", getattr(offered, name)


THINGS = dict(things())


def undescribed(name: str, thing: Any) -> list[str]:
    """Parameters and fields of something public that nobody explains."""
    if inspect.isfunction(thing):
        return [f"{name}({one})" for one in parameters(thing) if not told(one, thing.__doc__)]
    missing = []
    if issubclass(thing, BaseException):
        return []
    fields = getattr(thing, "_fields", ())
    if not fields and hasattr(thing, "__attrs_attrs__"):
        fields = [field.name for field in thing.__attrs_attrs__]
    notes = ModuleAnalyzer.for_module(thing.__module__).find_attr_docs()
    owner = thing.__qualname__
    for field in fields:
        if (owner, field) not in notes and field not in FIELDS and not told(field, thing.__doc__):
            missing.append(f"{name}.{field}")
    if not fields and thing.__module__.startswith("pool.") and "__init__" in vars(thing):
        given = parameters(thing.__init__)
        missing += [f"{name}({one})" for one in given if not told(one, thing.__doc__)]
    for base in thing.__mro__:
        for method, member in vars(base).items():
            ours = base.__module__.startswith("pool.") and not method.startswith("_")
            if ours and inspect.isfunction(member):
                if not member.__doc__:
                    missing.append(f"{name}.{method}")
                for one in parameters(member):
                    if not told(one, member.__doc__):
                        missing.append(f"{name}.{method}({one})")
    return missing


def parameters(function: Any) -> list[str]:
    given = inspect.signature(function).parameters.values()
    return [one.name for one in given if one.name != "self" and one.kind.name[:4] != "VAR_"]


def told(parameter: str, text: str | None) -> bool:
    return re.search(rf"`{re.escape(parameter)}\b[^`]*`", text or "") is not None


@pytest.mark.parametrize("name", sorted(THINGS))
def test_each_parameter_is_described(name: str) -> None:
    assert undescribed(name, THINGS[name]) == []


def test_one_that_is_not_is_noticed() -> None:
    def function(known: int, unknown: int) -> None:
        """Something with `known`."""

    assert undescribed("function", function) == ["function(unknown)"]


# ---------------------------------------------------------------- what the site makes of pages


def test_the_contents_are_the_links_of_the_index() -> None:
    contents = part("contents")
    text = "# T\n\n## One\n\n* [`a`](a.md): x\n* [b](../b/c.md#d)\n\n## Two\n\n* [o](http://o)\n"
    made = contents.contents(text, "docs/index", {"docs/index", "docs/a", "b/c", "docs/lost"})
    assert "One\n\na </docs/a>\nb </b/c>\n" in made
    assert "Two" not in made
    assert made.endswith(":caption: More\n\n/docs/lost\n```\n")


def test_what_would_be_fetched_is_noticed(tmp_path: Path) -> None:
    after = part("after")
    (tmp_path / "good.html").write_text("<a href='https://a'>x</a><script src='a.js'></script>")
    assert after.foreign_assets(tmp_path) == []
    for text in (
        "<script async src='https://cdn/x.js'></script>",
        "<img alt='' src='//cdn/x.png'>",
        "<link rel='stylesheet' href='https://fonts/x'>",
        "<style>a { background: url(https://a/b.png) }</style>",
    ):
        (tmp_path / "bad.html").write_text(text)
        assert len(after.foreign_assets(tmp_path)) == 1, text


def test_each_arrow_of_a_diagram_is_drawn_and_explained() -> None:
    diagrams = part("diagrams")
    page = (ROOT / "docs" / "life-cycles.md").read_text("utf-8")
    blocks = re.findall(r"```mermaid\n(.*?)```", page, re.S)
    assert len(blocks) == 2
    for block in blocks:
        arrows = [arrow for arrow in diagrams.arrows(block) if arrow[1] != "[*]"]
        drawn, said = diagrams.svg(block), diagrams.legend(block)
        assert drawn.count("class='arrow'") == said.count("<li ") == len(arrows)
        for start, end, label in arrows:
            assert label in said
            assert start == "[*]" or f">{start.replace('_', ' ')}</text>" in drawn
            assert f">{end.replace('_', ' ')}</text>" in drawn


def test_each_event_leads_to_its_rules() -> None:
    found = part("docstrings").rules()
    assert set(found) == {kind.__name__ for kind in get_args(pool.Event)}
    assert found["OpenFailed"] == "OPF-1 to OPF-4"


def test_docstrings_are_read_as_they_are_meant() -> None:
    docstrings = part("docstrings")
    lines = ["Text of `this`:", "* `a`, `b`: one", "  more of `a`", "", "Then:", "", "    code()"]
    docstrings.mend(None, "class", "x", None, None, lines)
    assert lines[1:3] == ["", "* ``a``, ``b``: one"]
    assert lines[-4:] == ["", ".. code-block:: python", "", "    code()"]
    alias = ["Alias for field number 3"]
    docstrings.mend(None, "attribute", "pool.Release.key", None, None, alias)
    assert alias == [FIELDS["key"], ""]


def test_the_description_of_a_page_is_its_first_sentence() -> None:
    after = part("after")
    page = "# Title\n\n![A picture](x.svg)\n\nWhat [it](x.md) **is**, in\nshort. And more.\n"
    assert after.first_paragraph(page) == "What it is, in short."


def test_the_site_needs_nothing_of_the_tests() -> None:
    """It is built from a checkout by whoever has the extra `docs`."""
    for path in SITE.glob("*.py"):
        assert "tests" not in re.findall(r"^(?:from|import) (\w+)", path.read_text("utf-8"), re.M)


# ---------------------------------------------------------------- pictures

PICTURES = ROOT / "docs" / "pictures"


@pytest.mark.parametrize("name", sorted(RUNS))
def test_each_picture_is_that_of_its_recording(name: str) -> None:
    recording = json.loads((PICTURES / f"{name}.json").read_text("utf-8"))
    picture = (PICTURES / f"{name}.svg").read_text("utf-8")
    assert picture == draw(recording), "python -m benchmarks.pictures --draw"
    assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_no_picture_is_of_anything_else() -> None:
    photographs = {"last-night", "last-night-closer"}  # of a page: tests/model/test_timeline.py
    assert {path.stem for path in PICTURES.iterdir()} == set(RUNS) | photographs


def test_the_picture_of_a_vector_is_that_of_the_vector_there_is() -> None:
    recorded = json.loads((PICTURES / "vector.json").read_text("utf-8"))
    assert recorded == json.loads(json.dumps(RUNS["vector"]()))


def test_the_figures_of_the_page_about_fairness_are_those_of_its_picture() -> None:
    recording = json.loads((PICTURES / "fairness.json").read_text("utf-8"))
    pools = {each["pool"]: each for each in recording["pools"]}
    page = (ROOT / "docs" / "fair-and-fast.md").read_text("utf-8")
    rows = {
        cells[0]: cells[1:]
        for line in page.splitlines()
        if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    both = [pools[name] for name in rows[""]]
    assert rows["checkouts in all"] == [f"{sum(each['checkouts']):,}" for each in both]
    assert rows["threads that got one at all"] == [
        str(sum(count > 0 for count in each["checkouts"])) for each in both
    ]
    for part in ("p50", "p99"):
        for cell, each in zip(rows[f"wait for a connection, {part}"], both, strict=True):
            assert float(cell.removesuffix(" ms")) == pytest.approx(1000 * each[part], rel=0.05)
    ours, theirs = (each["longest"] for each in both)
    assert rows["longest wait"] == [f"{1000 * ours:.0f} ms", "all of the 3 s"]
    assert theirs >= 3.0


# ---------------------------------------------------------------- what is released


def test_the_version_is_one() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert version is not None
    assert f"## {version[1]} - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n{version[1]}, " in (ROOT / "README.md").read_text("utf-8")


def test_each_extra_for_users_is_installed_before_a_release() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    part = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^([\w-]+) = \[", part, re.M))
    assert extras - {"dev", "docs", "release", "threads"} == set(packaging.EXTRAS) - {""}


def test_readme_can_be_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120
