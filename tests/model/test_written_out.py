"""What is written out for speed, in more places than one, is the same in each.

Theory.  A name for it would cost a call, or a copy, in every checkout.  So the places stay, and
here they are read: the fields of a state, wherever one is taken apart or put together, and how the
monitor's lock is taken and left.  A field that is added, or moved, in one place only is a failure
here, not a state with two fields that have changed places.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.core.state import Counters, State
from pool.drivers import async_recipes, recipes
from pool.drivers.recipe import Recipe

WHOLE = State._fields
ORDINARY = ("steady", "in_use", "idle", "waiters", "next_seq", "next_ticket", "issued", "granted")
"""What `fields_of` gives."""

APART, TOGETHER = ast.Store, ast.Load

PLACES = {
    ("pool/core/draft.py", WHOLE): {APART: 1, TOGETHER: 1},
    ("pool/core/state.py", WHOLE): {APART: 0, TOGETHER: 1},
    ("pool/core/state.py", ORDINARY): {APART: 1, TOGETHER: 1},
    ("pool/core/shortcuts.py", ORDINARY): {APART: 2, TOGETHER: 4},
}
"""How often a state is written out there, whole or as the ordinary events see it. Nowhere else."""

LOCKED = {
    "pool/threads/monitor.py": 2,
    "pool/threads/runtime.py": 3,
}
"""How often the lock is taken there."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    """What runs in every checkout."""
    for room in ("core", "shared", "threads", "tasks"):
        for path in sorted(Path("pool", room).glob("*.py")):
            yield path.as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def shape_of(node: ast.Tuple) -> tuple[str, ...] | None:
    """Which of the two it can only be: nothing else has as many of these names."""
    for shape in (WHOLE, ORDINARY):
        names = [name for name in map(_name, node.elts) if name in shape]
        if len(names) >= 4 and abs(len(node.elts) - len(shape)) <= 3:
            return shape
    return None


def written_out(tree: ast.AST, shape: tuple[str, ...]) -> list[ast.Tuple]:
    """Tuples that can only be states in this shape."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Tuple)]
    return [node for node in found if shape_of(node) == shape]


def _name(part: ast.expr) -> str | None:
    """The field that an element is called after, if any."""
    match part:
        case ast.Call(func=ast.Name(id="Steady")):
            return "steady"
        case ast.BinOp(left=ast.Name() as counted):
            return _name(counted)
        case ast.Name(id="queue"):  # where `waiters` is the module
            return "waiters"
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self" | "state"), attr=name):
            return name if name in (*WHOLE, *ORDINARY) else None
    return None


def misplaced(node: ast.Tuple, shape: tuple[str, ...]) -> list[str]:
    """What is wrong with a state that is written out."""
    if len(node.elts) != len(shape):
        return [f"line {node.lineno}: {len(node.elts)} fields, a state has {len(shape)}"]
    found = []
    for part, field in zip(node.elts, shape, strict=True):
        name = _name(part)
        if name is not None and name != field:
            found.append(f"line {part.lineno}: {name} in the place of {field}")
        if isinstance(node.ctx, APART) and name is None and not isinstance(part, ast.Tuple):
            found.append(f"line {part.lineno}: {field} has another name")
        if isinstance(part, ast.Tuple):  # the counters, taken apart too
            names = [
                attribute.attr for attribute in part.elts if isinstance(attribute, ast.Attribute)
            ]
            if (field, tuple(names)) != ("counters", Counters._fields):
                found.append(f"line {part.lineno}: other counters")
    return found


def test_a_state_is_written_out_where_it_has_to_be_and_nowhere_else() -> None:
    found = {}
    for path, tree in trees():
        for shape in (WHOLE, ORDINARY):
            contexts = Counter(type(node.ctx) for node in written_out(tree, shape))
            if contexts:
                found[path, shape] = {kind: contexts[kind] for kind in (APART, TOGETHER)}
    assert found == PLACES


@pytest.mark.parametrize(("path", "shape"), PLACES)
def test_each_field_is_in_its_place(path: str, shape: tuple[str, ...]) -> None:
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    assert [wrong for node in written_out(tree, shape) for wrong in misplaced(node, shape)] == []


@pytest.mark.parametrize(
    ("path", "shape", "old", "new"),
    [
        ("draft", WHOLE, "self.failures, self.retry_at,", "self.retry_at, self.failures,"),
        ("draft", WHOLE, "self.issued,", ""),
        ("state", WHOLE, "last_error, retire_before,", "last_error, idle,"),
        ("state", ORDINARY, "state.in_use, state.idle", "state.idle, state.in_use"),
        ("shortcuts", ORDINARY, "issued + 1,", ""),
        ("shortcuts", ORDINARY, "next_seq, next_ticket,", "next_seq, ticket,"),
    ],
)
def test_a_field_out_of_place_is_found(
    path: str, shape: tuple[str, ...], old: str, new: str
) -> None:
    source = Path(f"pool/core/{path}.py").read_text(encoding="utf-8")
    text = ast.unparse(ast.parse(source))
    start = text.index("def state_of") if (path, shape) == ("state", WHOLE) else 0
    assert old in text[start:]
    changed = text[:start] + text[start:].replace(old, new, text[start:].count(old))
    tuples = written_out(ast.parse(changed), shape)
    assert [wrong for node in tuples for wrong in misplaced(node, shape)]


# ---------------------------------------------------------------- leases


def assigned(tree: ast.AST) -> set[str]:
    """Attributes that are set there."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def function(path: str, owner: str, name: str) -> ast.AST:
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    (found,) = (
        each
        for kind in tree.body
        if isinstance(kind, ast.ClassDef) and kind.name == owner
        for each in kind.body
        if isinstance(each, ast.FunctionDef) and each.name == name
    )
    return found


def test_a_pool_makes_the_block_that_the_class_would_make() -> None:
    made = assigned(function("pool/api.py", "Pool", "connection"))
    assert made == assigned(function("pool/lease.py", "Borrowing", "__init__"))


def test_a_pool_makes_the_lease_that_the_class_would_make() -> None:
    """On the way to its connection, for none is shown before it has one."""
    made = assigned(function("pool/api.py", "Pool", "_fill"))
    made |= assigned(function("pool/threads/runtime.py", "Runtime", "acquire"))
    assert made >= assigned(function("pool/lease.py", "Lease", "__init__"))
    assert made >= assigned(function("pool/shared/handles.py", "Handle", "__init__"))


# ---------------------------------------------------------------- what rolls back


def kinds_of(kind: type) -> Iterator[type]:
    for other in kind.__subclasses__():
        yield other
        yield from kinds_of(other)


def test_what_rolls_back_in_its_own_way_resets_in_its_own_way() -> None:
    """`Recipe.reset` has two other methods of that very class written out."""
    kinds = set(kinds_of(Recipe))
    assert kinds > {recipes.DuckDB, async_recipes.Asyncpg}
    for kind in kinds:
        order = kind.__mro__[: kind.__mro__.index(Recipe)]
        own = [any(name in each.__dict__ for each in order) for name in ("roll_back", "restore")]
        if any(own):
            assert any("reset" in each.__dict__ for each in order), kind


# ---------------------------------------------------------------- the lock


def turnstiles(tree: ast.AST) -> list[ast.For]:
    """`for _ in monitor.turnstile:`, and what is left of it where it is only tried."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.For) and ("turnstile" in ast.unparse(node.iter))
    ]


def shape(loop: ast.For) -> str | None:
    """What is wrong with a loop that takes the lock."""
    whose = ast.unparse(loop.iter).removesuffix(".turnstile")
    match loop.body:
        case [ast.Try(body=[first, *_], handlers=[], orelse=[], finalbody=last), ast.Break()]:
            lines = [ast.unparse(first), *map(ast.unparse, last)]
        case _:
            return "it is more, or less, than one `try` and a `break`"
    expected = [
        f"{whose}.applying = True",
        f"{whose}.applying = False",
        f"{whose}.lock.release()",
    ]
    return None if lines == expected else f"it begins and ends with {lines}"


def test_the_lock_is_taken_in_one_way() -> None:
    found = {path: turnstiles(tree) for path, tree in trees()}
    assert {path: len(loops) for path, loops in found.items() if loops} == LOCKED
    for loops in found.values():
        assert [wrong for loop in loops if (wrong := shape(loop))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("monitor.applying = False", "pass"),
        ("monitor.lock.release()\n            break", "monitor.lock.release()"),
        ("try:\n                    monitor.applying = True", "try:\n                    pass"),
        ("monitor.lock.release()", "monitor.lock.acquire()"),
    ],
)
def test_another_way_to_take_the_lock_is_found(old: str, new: str) -> None:
    text = ast.unparse(ast.parse(Path("pool/threads/runtime.py").read_text(encoding="utf-8")))
    changed = text.replace(old, new, 1)
    if changed == text:  # the loops stand at different depths
        old, new = (part.replace("\n", "\n    ") for part in (old, new))
        changed = text.replace(old, new, 1)
    assert changed != text
    assert any(shape(loop) for loop in turnstiles(ast.parse(changed)))


def handed_out_first(loop: ast.For) -> bool:
    """Whether what an interrupted one left is handed out before anything is decided: else it is
    lost with the assignment."""
    before = ast.unparse(loop).split(".current = ")[0]
    return "deliver()" in before


def test_nothing_is_decided_before_what_was_decided_is_handed_out() -> None:
    for path, tree in trees():
        loops = [loop for loop in turnstiles(tree) if ".current = " in ast.unparse(loop)]
        assert len(loops) == (3 if path == "pool/threads/runtime.py" else 0), path
        assert all(map(handed_out_first, loops)), path
