"""Puts a mutant, or probes, into the processes that a test starts: each begins with this.

`PUREPOOL_MUTATION` is a directory with modules in place of the pool's:
`pool.threads.runtime.py`. With `PUREPOOL_HITS_FILE` their probes are written there. It needs
nothing but Python itself.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader


class Loader(SourceFileLoader):
    """Compiles another text than the file's."""

    text = ""

    def get_code(self, fullname):  # type: ignore[no-untyped-def]
        return compile(self.text, self.path, "exec", dont_inherit=True)


class Finder:
    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.names = {name.removesuffix(".py") for name in os.listdir(directory)}

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name not in self.names:
            return None
        spec: ModuleSpec | None = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = loader = Loader(name, spec.origin)
            with open(os.path.join(self.directory, name + ".py"), encoding="utf-8") as text:
                loader.text = text.read()
        return spec


def probe_into(path: str) -> None:
    """Each number that `_hit` is called with, once for each process, as a line of this file."""
    import builtins

    seen = set()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.set_inheritable(file, True)

    def hit(number):  # type: ignore[no-untyped-def]
        if number not in seen:
            seen.add(number)
            os.write(file, b"%d\n" % number)

    builtins._hit = hit  # type: ignore[attr-defined]


if os.environ.get("PUREPOOL_HITS_FILE"):
    probe_into(os.environ["PUREPOOL_HITS_FILE"])
if os.environ.get("PUREPOOL_MUTATION"):
    sys.meta_path.insert(0, Finder(os.environ["PUREPOOL_MUTATION"]))  # type: ignore[arg-type]
