"""Every instant at which CPython may raise an exception, or run a signal's handler, in the pool.

Theory.  The interpreter looks whether it is to do so at few places only: where a function begins,
after a call, and after a jump back (its `CHECK_EVAL_BREAKER`; 3.10 has more jumps).  So a trace
function can count these places in the pool's own code, and let something happen at the first in
one run, at the second in the next, until a run ends before it did.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pool
from tests.integration.drivers import Thrown

POOL = str(Path(pool.__file__).parent)
CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "CALL_FUNCTION", "CALL_FUNCTION_KW", "CALL_METHOD"}
JUMPS = "JUMP_BACKWARD" if sys.version_info >= (3, 11) else "JUMP"
EVERY = range(5000)
"""More instants than any operation has."""


def throw() -> None:
    raise Thrown


class Instant:
    """Lets `happen` happen at one instant of the pool's code in this thread, counted from 0."""

    def __init__(self, at: int, happen: Callable[[], Any]) -> None:
        self.at = at
        self.happen = happen
        self.seen = 0
        self.where = ""

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(POOL):
            return None
        self.look(frame)
        before = -1

        def step(frame: FrameType, event: str, _: object) -> Any:
            nonlocal before
            if event == "opcode" and before in breakers(code):
                self.look(frame)
            before = frame.f_lasti if event == "opcode" else -1  # a call that raised is none
            return step

        frame.f_trace = step  # first: 3.13 needs it to show the steps of this very call
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def look(self, frame: FrameType) -> None:
        self.seen += 1
        if self.seen == self.at + 1:
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            self.happen()


@cache
def breakers(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions after which the interpreter looks whether it is to raise."""
    return frozenset(
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname in CALLS or JUMPS in instruction.opname
    )


@contextmanager
def watched(at: int, happen: Callable[[], Any] = throw) -> Iterator[Instant]:
    """What is thrown at a thread must arrive: it is not for the pool to catch."""
    instant = Instant(at, happen)
    arrived: list[str] = []

    def tell(ignored: Any) -> None:
        arrived.append(ignored.exc_type.__name__)

    hook, sys.unraisablehook = sys.unraisablehook, tell
    sys.settrace(instant)
    try:
        yield instant
    except Thrown:
        arrived.append("Thrown")
    finally:
        sys.settrace(None)
        sys.unraisablehook = hook
    assert arrived == (["Thrown"] if instant.where and happen is throw else [])


def every_instant(
    work: Callable[[], Callable[[], Any]],
    check: Callable[[], Any],
    happen: Callable[[], Any] = throw,
) -> int:
    """`work` prepares something and gives what is to be interrupted; `check` looks at it
    afterwards. How many instants there were."""
    gc.collect()
    gc.freeze()  # what there is already, so that each `collect` of a check is quick
    gc.disable()  # else it runs finalizers where it likes
    try:
        with watched(-1):  # from 3.12 on, a function's steps are seen only after its first call
            work()()
        for at in EVERY:
            operation = work()
            with watched(at, happen) as instant:
                operation()
            del operation
            try:
                gc.collect()
                check()
            except BaseException as error:
                raise AssertionError(f"at instant {at}, {instant.where}") from error
            if not instant.where:
                return at
    finally:
        gc.enable()
        gc.unfreeze()
    raise AssertionError("there is no end of instants")
