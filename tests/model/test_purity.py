"""The pure half stays pure: read off the source.

Theory.  Purity is not tested by running: a clock read in one branch would pass a thousand
tests.  So the source is read.  A pure module imports what is on a short list and other pure
modules, hence by induction nothing impure; it calls nothing that prints, opens or depends on
the process; it keeps no state of its own.  The lint is itself shown to fail.
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.model.rules import ROOT

PURE = {path.stem for path in (ROOT / "pool" / "core").glob("*.py")} - {"__init__"}
"""The modules that say what a pool does: every file of `pool/core/`."""

ALLOWED = {
    "__future__",
    "attrs",
    "collections.abc",
    "immutables",
    "itertools",
    "math",
    "types",
    "typing",
    "typing_extensions",
}
"""What a pure module may import besides its like."""

FORBIDDEN_CALLS = {
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "globals",
    "hash",
    "id",
    "input",
    "locals",
    "open",
    "print",
    "setattr",
    "vars",
    "__import__",
}
EXCEPTIONS = {("values", "hash"), ("values", "setattr"), ("maps", "hash"), ("maps", "sys")}
"""`values.py` gives classes an `__hash__`, once, while they are made; maps are hashed by what is in
them, and `maps.py` asks once which build of Python this is."""

MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter"}
MUTABLE_NODES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module, whole: `from pool.core import heap` is `pool.core.heap`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "a relative import"
            elif node.module in ("pool", "pool.core"):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def is_mutable(node: ast.AST | None) -> bool:
    made = isinstance(node, ast.Call) and called(node) in MUTABLE_CALLS
    return made or isinstance(node, MUTABLE_NODES)


def unordered(node: ast.AST) -> bool:
    """A set made on the spot: its order differs from process to process."""
    made = isinstance(node, ast.Call) and called(node) in {"set", "frozenset"}
    return made or isinstance(node, (ast.Set, ast.SetComp))


def impurities(name: str, source: str) -> list[str]:
    """What a pure module must not do, one line each."""
    tree = ast.parse(source)
    found = [
        f"{line}: imports {module}"
        for line, module in imports(tree)
        if module not in ALLOWED
        and (name, module) not in EXCEPTIONS
        and module.removeprefix("pool.core.") not in PURE
    ]
    for statement in tree.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and is_mutable(statement.value):
            found.append(f"{statement.lineno}: mutable state of the module")
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            found.append(f"{line}: assigns outside its function")
        call = called(node) if isinstance(node, ast.Call) else ""
        if call in FORBIDDEN_CALLS and (name, call) not in EXCEPTIONS:
            found.append(f"{line}: calls {call}")
        if isinstance(node, (ast.For, ast.comprehension)) and unordered(node.iter):
            found.append(f"{getattr(node.iter, 'lineno', 0)}: depends on the order of a set")
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            if any(is_mutable(default) for default in defaults):
                found.append(f"{line}: a mutable default")
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.With)):
            found.append(f"{line}: waits")
    return found


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_is_pure(name: str) -> None:
    source = (ROOT / "pool" / "core" / f"{name}.py").read_text(encoding="utf-8")
    assert impurities(name, source) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import threading", "imports threading"),
        ("import time as clock", "imports time"),
        ("from random import random", "imports random"),
        ("import logging", "imports logging"),
        ("import os.path", "imports os.path"),
        ("from io import StringIO", "imports io"),
        ("from datetime import datetime", "imports datetime"),
        ("from collections import deque", "imports collections"),
        ("from pool.threads.runtime import Runtime", "imports pool.threads.runtime"),
        ("from pool.threads import runtime", "imports pool.threads"),
        ("import pool.shared.errors", "imports pool.shared.errors"),
        ("import pool", "imports pool"),
        ("from . import heap", "imports a relative import"),
        ("def f():\n    import socket", "imports socket"),
        ("if TYPE_CHECKING:\n    from pool.peewee import X", "imports pool.peewee"),
        ("cache = {}", "mutable state"),
        ("seen: set[int] = set()", "mutable state"),
        ("waiting = [one for one in ()]", "mutable state"),
        ("def f():\n    global x\n    x = 1", "assigns outside"),
        ("def f():\n    x = 0\n    def g():\n        nonlocal x\n        x = 1", "assigns outside"),
        ("def f(x):\n    print(x)", "calls print"),
        ("def f(x):\n    return open(x)", "calls open"),
        ("def f(x):\n    return id(x)", "calls id"),
        ("def f(x):\n    return hash(x)", "calls hash"),
        ("def f(x):\n    setattr(x, 'y', 1)", "calls setattr"),
        ("def f(x):\n    return [y for y in set(x)]", "order of a set"),
        ("def f():\n    for x in {1, 2}:\n        return x", "order of a set"),
        ("def f(x=[]):\n    return x", "mutable default"),
        ("def f(lock):\n    with lock:\n        pass", "waits"),
        ("async def f():\n    pass", "waits"),
    ],
)
def test_the_lint_finds(source: str, message: str) -> None:
    (found,) = impurities("heap", source)
    assert message in found


def test_the_lint_passes_what_is_pure() -> None:
    source = (
        "from __future__ import annotations\n"
        "from pool.core import heap, waiters\n"
        "from pool.core.state import State\n"
        "from immutables import Map\n"
        "NAMES = ('a', 'b')\n"
        "TABLE = MappingProxyType({'a': 1})\n"
        "def f(x):\n    return [y for y in sorted(set(x))]\n"
    )
    assert impurities("transition", source) == []


# ---------------------------------------------------------------- the second pool

DATA_ONLY = {"pool.core.effects", "pool.core.events", "pool.core.limits", "pool.core.state"}


MODEL = ("reference", "verbs")
"""The files of the reference model, in `pool/check/machines/`."""


@pytest.mark.parametrize("name", MODEL)
def test_the_reference_model_shares_no_code_with_the_pool(name: str) -> None:
    """It may know events, effects, limits and `Failure`: data. Nothing that decides."""
    path = ROOT / "pool" / "check" / "machines" / f"{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {name for _, name in imports(tree) if name == "pool" or name.startswith("pool.")}
    assert ours - DATA_ONLY <= {f"pool.check.machines.{other}" for other in MODEL}
    from_state = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "pool.core.state"
        for alias in node.names
    ]
    assert from_state in ([], ["Failure"])


# ---------------------------------------------------------------- the same in every process

HISTORY = """
from pool.core.state import leased
from pool import *
limits = Limits(max_size=3, opener="background", min_idle=1, max_idle=1.0, leak_after=2.0)
state, said = initial(limits), []
def tell(event):
    global state
    state, effects = step(state, event)
    said.extend(map(repr, effects))
for n in range(1, 30):
    tell(Acquire(n / 4, n, n % 3 > 0, f"owner {n}"))
    tell(Opened(n / 4, None, f"c{n}", n / 4))
    for key in sorted(state.in_use)[: n % 3]:
        tell(Release(n / 4, leased(state.in_use)[key].ticket, key))
    tell(Tick(n / 4))
tell(CloseStale(9.0, 9.0)); tell(CloseAll(9.0)); tell(Shutdown(9.0))
print("\\n".join(said))
"""


def test_the_same_history_gives_the_same_effects_in_every_process() -> None:
    """Hash seeds differ from process to process; nothing may hang on them."""
    digests = set()
    for hash_seed in ("1", "2", "3"):
        answer = subprocess.run(
            [sys.executable, "-c", HISTORY],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
        )
        assert answer.stdout.count(b"\n") > 50
        digests.add(hashlib.sha256(answer.stdout).hexdigest())
    assert len(digests) == 1
