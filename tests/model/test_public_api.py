"""What `import pool` offers: all there, all documented, typed."""

from __future__ import annotations

import importlib.resources
import inspect
import subprocess
import sys
from typing import get_args

import pytest

import pool
from pool.core.effects import Effect
from pool.core.events import Event

FOREIGN = (
    "peewee",
    "playhouse",
    "hypothesis",
    "pytest",
    "rich",
    "sqlite3",
    "cysqlite",
    "psycopg",
    "psycopg2",
    "pymysql",
    "mysql",
    "mariadb",
    "pool.peewee",
    "pool.check",
)


@pytest.mark.parametrize("name", pool.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(pool, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert thing.__doc__
        assert not thing.__doc__.startswith(f"{name}("), "a generated docstring says nothing"


def test_all_is_sorted_and_names_each_once() -> None:
    assert len(set(pool.__all__)) == len(pool.__all__)
    constants = [name for name in pool.__all__ if name.isupper()]
    others = [name for name in pool.__all__ if not name.isupper()]
    classes = [name for name in others if name[0].isupper()]
    functions = [name for name in others if not name[0].isupper()]
    assert pool.__all__ == [*sorted(constants), *sorted(classes), *sorted(functions)]


def test_every_event_and_effect_is_public() -> None:
    for kind in (*get_args(Event), *get_args(Effect)):
        assert kind.__name__ in pool.__all__


@pytest.mark.parametrize("name", ["initial", "step", "wake_at", "INVARIANTS", "STEP_INVARIANTS"])
def test_the_machine_is_public(name: str) -> None:
    assert name in pool.__all__


def test_the_package_is_documented_and_typed() -> None:
    assert pool.__doc__
    assert importlib.resources.files("pool").joinpath("py.typed").is_file()


def test_importing_the_pool_imports_nothing_foreign() -> None:
    """No driver, no peewee, no checking tools: in a fresh interpreter."""
    program = f"import sys, pool; print([n for n in {FOREIGN!r} if n in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "[]"
