"""docs/migrating-asyncio.md has a row for each option and method of the pools it is about, with the
default it has there, as the installed packages say.

Theory.  A page about somebody else's options is wrong as soon as they change one. So its tables are
compared with the signatures themselves: what is new there, gone, or has another default, fails
here. What is said in the last column is held against our own names.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from asyncio import AbstractServer
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from pool.aio import Lease, Pool, Statistics
from tests.integration.drivers import ROOT

TEXT = (ROOT / "docs" / "migrating-asyncio.md").read_text(encoding="utf-8")


def tables(title: str, text: str = TEXT) -> dict[int, list[list[str]]]:
    """Of a section: the rows without their heads, by how many columns there are."""
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found: dict[int, list[list[str]]] = {}
    lines = section.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("| ") and not after.startswith("|---"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(len(cells), []).append(cells)
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)(?:\(\))?`", cell)


def shown(default: Any) -> str:
    return f"`{default.__name__ if inspect.isclass(default) else repr(default)}`"


def signature(function: Any) -> dict[str, str]:
    """Options and defaults, in the order in which they are given."""
    return {
        name: shown(parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and name != "self"
    }


def taken_out(function: Any) -> dict[str, str]:
    """Of one that takes its options out of `kwargs`: `kwargs.pop(name, default)`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {
        ast.literal_eval(call.args[0]): shown(ast.literal_eval(call.args[1]))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "kwargs.pop"
    }


def public(kind: type) -> set[str]:
    """What its users may call."""
    return {name for name in dir(kind) if name[0] != "_"}


def _asyncpg() -> tuple[dict[str, str], set[str]]:
    asyncpg = importlib.import_module("asyncpg")
    return signature(asyncpg.create_pool), public(asyncpg.Pool)


def _psycopg_pool() -> tuple[dict[str, str], set[str]]:
    kind = importlib.import_module("psycopg_pool").AsyncConnectionPool
    return signature(kind.__init__), public(kind)


def _mysql(module: str) -> Callable[[], tuple[dict[str, str], set[str]]]:
    def read() -> tuple[dict[str, str], set[str]]:
        there = importlib.import_module(f"{module}.pool")
        own = public(there.Pool) - (public(AbstractServer) - {"close", "wait_closed"})
        return signature(there.create_pool), own

    return read


def _pwasyncio() -> tuple[dict[str, str], set[str]]:
    kind = importlib.import_module("playhouse.pwasyncio").AsyncDatabaseMixin
    return taken_out(kind.__init__), public(kind)


RIVALS: dict[str, tuple[str, Callable[[], tuple[dict[str, str], set[str]]]]] = {
    "asyncpg": ("asyncpg", _asyncpg),
    "psycopg_pool": ("psycopg_pool", _psycopg_pool),
    "aiomysql": ("aiomysql", _mysql("aiomysql")),
    "asyncmy": ("asyncmy", _mysql("asyncmy")),
    "playhouse.pwasyncio": ("greenlet", _pwasyncio),
}


def different(title: str, text: str, options: dict[str, str], methods: set[str]) -> list[str]:
    """What the page says of this pool and is not so, and what it does not say."""
    found = tables(title, text)
    told = {names(row[0])[0]: row[1] for row in found[3]}
    wrong = [f"{name}={options[name]}" for name in options if told.get(name) != options[name]]
    wrong += [f"no option: {name}" for name in told if name not in options]
    if not wrong and list(told) != list(options):
        wrong.append("another order")
    called = [name for row in found[2] for name in names(row[0])]
    wrong += [f"twice: {name}" for name in set(called) if called.count(name) > 1]
    return wrong + sorted(f"{name}()" for name in methods ^ set(called))


@pytest.mark.parametrize("title", RIVALS)
def test_every_option_and_method_has_its_row(title: str) -> None:
    package, read = RIVALS[title]
    pytest.importorskip(package)
    assert different(title, TEXT, *read()) == []


def test_a_page_that_is_no_longer_true_is_found() -> None:
    text = "\n## x\n| `x.create` | default | here |\n|---|---|---|\n| `a` | `1` | b |\n"
    text += "\n| `x.Pool` | here |\n|---|---|\n| `f()`, `g()` | h |\n"
    assert different("x", text, {"a": "`1`"}, {"f", "g"}) == []
    assert different("x", text, {"a": "`2`"}, {"f", "g"}) == ["a=`2`"]
    assert different("x", text, {"a": "`1`", "b": "`None`"}, {"f", "g"}) == ["b=`None`"]
    assert different("x", text, {}, {"f", "g"}) == ["no option: a"]
    assert different("x", text, {"a": "`1`"}, {"f"}) == ["g()"]
    assert different("x", text, {"a": "`1`"}, {"f", "g", "h"}) == ["h()"]


OURS = {name: each.default for name, each in inspect.signature(Pool).parameters.items()}


def test_what_is_said_of_ours_is_so() -> None:
    """Each `name` (default) in the last column is an option, and has it."""
    said = [
        (name, default)
        for title in RIVALS
        for rows in tables(title).values()
        for row in rows
        for name, default in re.findall(r"`(\w+)` \(([\d.]+(?: s)?|None)\)", row[-1])
    ]
    assert len(said) > 20
    for name, default in said:
        assert OURS[name] == ast.literal_eval(default.removesuffix(" s")), name


def test_every_call_that_is_named_is_there() -> None:
    cells = [row[-1] for title in RIVALS for rows in tables(title).values() for row in rows]
    call = r"`(?:await |\w+ = await |\w+\.)*(\w+)\("
    calls = {name for cell in cells for name in re.findall(call, cell)} - {"reset", "connect"}
    assert len(calls) > 5
    for name in calls:
        assert hasattr(Pool, name) or hasattr(Lease, name), name
    lists = [part for cell in cells for part in re.findall(r"`statistics\(\)`: (.*)", cell)]
    fields = {field.name for field in attrs.fields(Statistics)}
    for name in {name for part in lists for name in names(part)}:
        assert name in fields or hasattr(Statistics, name), name
