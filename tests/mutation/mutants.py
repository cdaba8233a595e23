"""The mutants of the impure half: made by mutmut, put into a function that is loaded already.

Theory.  mutmut says what to change; how it would choose between the changed functions at run time
(a wrapper around each) does not stand exceptions at every instant.  So a mutant here is what it
is in a program: other bytecode in the same function.  `Mutant.plant` compiles the one function
and puts its code in the place of the old one, so a process that has loaded everything becomes
one with the fault in a millisecond; whoever refers to the function refers to the changed one.
What runs while the pool is imported has run by then: for those there is `Mutant.text`, the whole
module with the change, for an interpreter that begins anew (`sitecustomize.py` beside this).

mutmut leaves decorated functions out, for its wrappers' sake.  Here properties are functions like
others.
"""

from __future__ import annotations
import __future__

import ast
import difflib
import hashlib
import importlib
import textwrap
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor, deep_replace
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

from tests.model.mutation import Survivor

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Place(NamedTuple):
    """A function, as it is in its file."""

    file: str
    name: str
    """With its class; a property's setter is `Class.name.setter`."""
    owner: str
    """The class, or nothing."""
    node: Definition
    first: int
    """The first line, of the first decorator if it has one."""
    text: str
    """The whole file, as it was when it was read."""
    hash: str

    @property
    def module(self) -> str:
        parts = self.file.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def title(self) -> str:
        """What explanations call it: `runtime.Runtime.acquire`."""
        module = self.file.removesuffix(".py").removeprefix("pool/").replace("/", ".")
        return f"{module}.{self.name}"

    @property
    def start(self) -> str:
        """With what the titles of its class or file begin."""
        return self.title.removesuffix(self.name) + (f"{self.owner}." if self.owner else "")

    def function(self) -> FunctionType | None:
        """The function itself, if it is where it was defined."""
        holder: Any = importlib.import_module(self.module)
        names = self.name.split(".")
        kind = {"setter": "fset", "deleter": "fdel"}.get(names[-1], "fget")
        for name in names if kind == "fget" else names[:-1]:
            holder = vars(holder).get(name)
            if holder is None:
                return None
        if isinstance(holder, property):
            holder = getattr(holder, kind)
        holder = getattr(holder, "__func__", holder)
        holder = getattr(holder, "__wrapped__", holder)
        if isinstance(holder, FunctionType) and holder.__code__.co_firstlineno == self.first:
            return holder
        return None


def places(file: str) -> list[Place]:
    """The functions of a file, and the methods of its classes."""
    found = []
    text = Path(file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    bodies = [
        ("", tree.body),
        *((c.name, c.body) for c in tree.body if isinstance(c, ast.ClassDef)),
    ]
    for owner, body in bodies:
        for node in body:
            if isinstance(node, Definition):
                first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
                name = ".".join(filter(None, [owner, node.name, _accessor(node)]))
                found.append(Place(file, name, owner, node, first, text, _hash(node)))
    return found


def _hash(node: Definition) -> str:
    return hashlib.sha256(ast.dump(node).encode()).hexdigest()[:16]


def _accessor(node: Definition) -> str:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Attribute) and decorator.attr in ("setter", "deleter"):
            return decorator.attr
    return ""


class Mutant(NamedTuple):
    place: Place
    survivor: Survivor
    number: int
    """Of those with the same function and lines, for a line may be there twice."""
    source: str
    """The function, without decorators, at the left margin."""
    line: int
    """Where the statement begins in which the change is."""
    wording: str
    """Whose text it is, where prose is changed and nothing else; or nothing."""

    @property
    def key(self) -> str:
        return f"{self.survivor}\n#{self.number}"

    def plant(self) -> None:
        """Put it into the function. Raises `LookupError` if that is not where it was defined,
        `SyntaxError` if this is no Python."""
        function = self.place.function()
        if function is None:
            raise LookupError(self.place.title)
        plant(function, self.place, ast.parse(self.source).body[0])

    def text(self) -> str:
        """The module with the change."""
        lines = self.place.text.splitlines(keepends=True)
        body = textwrap.indent(self.source, "    " if self.place.owner else "")
        end = self.place.node.end_lineno or 0
        return "".join([*lines[: self.place.node.lineno - 1], body, "\n", *lines[end:]])


def plant(function: FunctionType, place: Place, node: Any) -> None:
    """Let the function do what this definition says. Its defaults too, if they are others."""
    node.decorator_list = []
    code = compiled(function.__code__, place, node)
    if ast.dump(node.args) != ast.dump(place.node.args):
        names = dict(function.__globals__)
        exec(compile(_module([node]), place.file, "exec", _FLAGS, True), names)
        function.__defaults__ = names[node.name].__defaults__
        function.__kwdefaults__ = names[node.name].__kwdefaults__
    function.__code__ = code


_FLAGS = __future__.annotations.compiler_flag


def _module(body: list[Any]) -> ast.Module:
    return ast.fix_missing_locations(ast.Module(body, []))


def compiled(old: CodeType, place: Place, node: Any) -> CodeType:
    """The code of this definition, as if it stood where the old one does."""
    ast.increment_lineno(node, place.node.lineno - node.lineno)
    for name in old.co_freevars:  # `super()` may be gone, what it brings with it must not
        keep = ast.If(ast.Constant(False), [ast.Expr(ast.Name(name, ast.Load()))], [])
        node.body.insert(1 if ast.get_docstring(node) else 0, keep)
    outer: Any = node
    if place.owner:
        outer = ast.ClassDef(place.owner, [], [], [node], [], **_no_type_parameters())
    code = compile(_module([outer]), old.co_filename, "exec", _FLAGS, True)
    for name in filter(None, [place.owner, node.name]):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return code.replace(co_firstlineno=old.co_firstlineno)


def _no_type_parameters() -> dict[str, Any]:
    return {"type_params": []} if "type_params" in ast.ClassDef._fields else {}


def statements(node: Any) -> Iterator[tuple[list[Any], int]]:
    """Where a statement is in a function: the list it is in, and its place there."""
    for parent in ast.walk(node):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(parent, name, None)
            if isinstance(body, list) and not isinstance(parent, ast.ClassDef):
                yield from ((body, place) for place in range(len(body)))


# ---------------------------------------------------------------- mutmut


class _Visitor(MutationVisitor):
    """mutmut's, but for decorators: what they are given is not mutated, what is below them is."""

    def on_visit(self, node: cst.CSTNode) -> bool:
        return not isinstance(node, cst.Decorator) and super().on_visit(node)

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            if any("overload" in cst.Module([]).code_for_node(d) for d in node.decorators):
                return True
            node = node.with_changes(decorators=[])
        return bool(super()._skip_node_and_children(node))


def mutants(file: str) -> list[Mutant]:
    """All of a file, in its order."""
    text = Path(file).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text))
    visitor = _Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    by_line = {place.node.lineno: place for place in places(file)}
    found, known = [], dict[Survivor, int]()
    rendered: dict[Any, tuple[str, str]] = {}
    for change in visitor.mutations:
        function = change.contained_by_top_level_function
        if not isinstance(function, cst.FunctionDef):
            continue
        place = by_line[positions[function.name].start.line]
        if function not in rendered:
            text = _rendered(module, function)
            rendered[function] = text, ast.dump(ast.parse(text))
        before, dump = rendered[function]
        replaced = deep_replace(function, change.original_node, change.mutated_node)
        after = _rendered(module, replaced)
        try:
            if ast.dump(ast.parse(after)) == dump:
                continue
        except SyntaxError:
            continue
        survivor = _survivor(place.title, before, after)
        known[survivor] = number = known.get(survivor, 0) + 1
        where = positions[change.original_node].start
        line, wording = _around(place.node, where.line, change.original_node)
        found.append(Mutant(place, survivor, number, after, line, wording))
    return found


def planted(survivors: Iterable[Survivor]) -> list[Mutant]:
    """Mutants that were thought of, not made by mutmut: in this function these lines in the place
    of those. Raises `ValueError` for what is not there once."""
    by_file: dict[str, dict[str, Place]] = {}
    found = []
    for survivor in survivors:
        file = _file_of(survivor.function)
        if file not in by_file:
            by_file[file] = {place.title: place for place in places(file)}
        place = by_file[file].get(survivor.function)
        if place is None:
            raise ValueError(f"no such function: {survivor.function}")
        lines = place.text.splitlines()[place.node.lineno - 1 : place.node.end_lineno]
        old, bare = survivor.old.splitlines(), [line.strip() for line in lines]
        at = [n for n in range(len(bare)) if bare[n : n + len(old)] == old]
        if len(at) != 1:
            raise ValueError(f"{len(at)} times in the function: {survivor}")
        span = range(at[0], at[0] + len(old))
        margins = [lines[n].removesuffix(bare[n]) for n in span]
        new = zip_longest(margins, survivor.new.splitlines(), fillvalue="")
        lines[span.start : span.stop] = [margin + line for margin, line in new]
        source = textwrap.dedent("\n".join(lines))
        line = _statement(place.node, place.node.lineno + at[0]).lineno
        found.append(Mutant(place, survivor, 0, source, line, ""))
    return found


def _file_of(title: str) -> str:
    parts = title.split(".")
    for length in range(len(parts) - 1, 0, -1):
        file = Path("pool", *parts[:length]).with_suffix(".py")
        if file.exists():
            return file.as_posix()
    raise ValueError(f"no such module: {title}")


def _rendered(module: cst.Module, function: Any) -> str:
    return module.code_for_node(function.with_changes(leading_lines=(), decorators=()))


def _survivor(title: str, before: str, after: str) -> Survivor:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))[2:]
    old = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
    new = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
    return Survivor(title, old, new)


def _around(node: Definition, line: int, changed: cst.CSTNode) -> tuple[int, str]:
    """The first line of the innermost statement around a line, and of what text a string is."""
    inner = _statement(node, line)
    if not inner.lineno <= line <= (inner.end_lineno or 0):  # the parameters
        return inner.lineno, ""
    return inner.lineno, _wording(inner, line, changed)


def _statement(node: Definition, line: int) -> ast.stmt:
    """The innermost statement around this line; where there is none, the function's first."""
    inner: Any = None
    for body, index in statements(node):
        one = body[index]
        if one.lineno <= line <= one.end_lineno and (inner is None or one.lineno >= inner.lineno):
            inner = one
    return inner or node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]


def _wording(statement: ast.stmt, line: int, changed: cst.CSTNode) -> str:
    """Prose is what has a space in it; else it might be a name."""
    if not isinstance(changed, cst.SimpleString) or " " not in changed.value:
        return ""
    for call in ast.walk(statement):
        if (
            isinstance(call, ast.Call)
            and ast.unparse(call.func).startswith(("logger.", "self._warn"))
            and call.lineno <= line <= (call.end_lineno or 0)
        ):
            return "text of a log record"
    return "text of an error" if isinstance(statement, ast.Raise) else ""
