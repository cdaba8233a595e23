"""The pages of options and of errors say what the code says: names, defaults, classes."""

from __future__ import annotations

import ast
import inspect
from typing import Any, get_args

import pytest

import pool
import pool.aio
from pool import PoolError
from pool.core.effects import CloseReason
from pool.shared.listeners import Kind
from tests.integration.drivers import ROOT

LEFT_OUT = {"self", "connect"}


def rows(page: str, columns: int) -> list[list[str]]:
    """The rows of all tables of a page that have so many columns, without their heads."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    found = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        is_head = after.startswith("|---")
        if line.startswith("| ") and not is_head and len(cells) == columns:
            found.append(cells)
    return found


def options(kind: type) -> dict[str, Any]:
    """Names and defaults, in the order in which they are given."""
    parameters = inspect.signature(kind.__init__).parameters
    return {
        name: parameter.default for name, parameter in parameters.items() if name not in LEFT_OUT
    }


def told() -> dict[str, Any]:
    return {
        name.strip("`"): ast.literal_eval(default) for name, default, _, _ in rows("options.md", 4)
    }


def test_every_option_is_told_with_its_default() -> None:
    assert told() == options(pool.Pool)


def test_asyncio_has_the_same_but_the_opener() -> None:
    known = told()
    del known["opener"]
    assert known == options(pool.aio.Pool)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_size", [1, None]),
        ("timeout", [0, None]),
        ("max_waiting", [0, None]),
        ("max_opening", [1, None]),
        ("max_connecting", [1, None]),
        ("max_lifetime", [0.1, None]),
        ("max_idle", [0.1, None]),
        ("leak_after", [0.1, None]),
        ("check_after", [0]),
        ("check_timeout", [0, None]),
        ("idle_order", ["lifo", "fifo", "oldest"]),
        ("opener", ["background", "caller"]),
        ("reset", [pool.NO_RESET]),
    ],
)
def test_what_is_said_to_be_allowed_is(name: str, values: list[Any]) -> None:
    for value in values:
        pool.Pool(object, **{name: value}).close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_size", 0),
        ("min_idle", 11),
        ("timeout", -1),
        ("max_waiting", -1),
        ("max_opening", 0),
        ("max_connecting", 0),
        ("max_lifetime", 0),
        ("max_idle", 0),
        ("leak_after", 0),
        ("backoff_initial", 0),
        ("backoff_max", 0.05),
        ("check_after", None),
        ("idle_order", "newest"),
        ("opener", "nobody"),
        ("check", 1),
    ],
)
def test_what_is_not_said_to_be_allowed_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*allowed is"):
        pool.Pool(object, **{name: value})


@pytest.mark.parametrize(("columns", "names"), [(3, get_args(Kind)), (2, get_args(CloseReason))])
def test_every_kind_of_notice_and_reason_of_a_close_is_told(
    columns: int, names: tuple[str, ...]
) -> None:
    assert [row[0].strip("`") for row in rows("listeners.md", columns)] == list(names)


def kinds(base: type[PoolError]) -> list[type[PoolError]]:
    return [kind for each in base.__subclasses__() for kind in (each, *kinds(each))]


def test_every_error_is_told_with_what_else_it_is() -> None:
    known = {row[0].strip("`"): row[1].strip("`") for row in rows("errors.md", 4)}
    ours = [kind for kind in kinds(PoolError) if kind.__module__ in ("pool", "pool.aio")]
    assert set(known) == {kind.__name__ for kind in ours}
    for kind in ours:
        others = [base.__name__ for base in kind.__bases__ if base is not PoolError]
        assert known[kind.__name__] == (others[0] if others else "")
        where = pool.aio if kind.__name__ == "WrongLoop" else pool
        assert getattr(where, kind.__name__) is kind, "where users import it from"
        assert kind.__module__ == where.__name__, "and as a traceback names it"
