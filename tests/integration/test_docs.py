"""Every Python block of the documentation runs.

Theory.  An example that does not run teaches the wrong thing.  So the blocks of a page are run one
after the other in one namespace, as a reader would who types them in, in a directory of their own,
and none is exempt.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.drivers import ROOT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("spec/**/*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```", re.M | re.S
)


def blocks(page: Path) -> list[tuple[str, int, str]]:
    """What is fenced: its kind, the number of its first line, its text."""
    text = page.read_text(encoding="utf-8")
    return [
        (
            match["kind"].strip(),
            text.count("\n", 0, match.start("text")) + 1,
            re.sub(f"^{match['indent']}", "", match["text"], flags=re.M),
        )
        for match in FENCE.finditer(text)
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_there_are_examples() -> None:
    assert any(kind == "python" for kind, _, _ in blocks(ROOT / "README.md"))


# A program of its own has one thread when it forks; this one, with pytest's, may have more.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for kind, line, text in blocks(page):
        if kind.startswith("python"):
            assert kind == "python", f"{name_of(page)}:{line}: every Python block has to run"
            # As many empty lines first as make the line numbers of an error those of the page.
            source = "\n" * (line - 1) + text
            exec(compile(source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_tree_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []
