"""A file of `pool/` can be read in one go.

Theory.  Who looks for a mistake reads a file from its theory to its end.  What does not fit into
`MOST` lines is two things, and gets two files; only a table of data may go on for longer, for it is
looked things up in.
"""

from __future__ import annotations

from pathlib import Path

from tests.model.rules import ROOT

MOST = 500

TABLES = {
    "check/conformance/scenarios.py": "histories with real numbers, each for a reason",
}
"""Tables of data, and of what."""


def too_long(package: Path) -> set[str]:
    """Files of more lines than that."""
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST
    }


def test_no_file_is_too_long_but_tables_of_data() -> None:
    assert too_long(ROOT / "pool") == set(TABLES)


def test_one_line_too_many_is_found(tmp_path: Path) -> None:
    for name, lines in (("fits.py", MOST), ("does_not.py", MOST + 1), ("notes.md", MOST + 1)):
        (tmp_path / name).write_text("pass\n" * lines)
    assert too_long(tmp_path) == {"does_not.py"}
