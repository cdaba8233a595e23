"""Every instant at which CPython may raise an exception, or run a signal's handler, in the pool.

Theory.  The interpreter looks whether it is to do so at few places only: where a function begins,
after a call, and after a jump back (its `CHECK_EVAL_BREAKER`; 3.10 does so after other jumps too,
and where an exception meets its handler).  So a trace function can count these places in the pool's
own code, and let something happen at the first in one run, at the second in the next, until a run
ends before it did.

Where that takes minutes it may be done at a sample of them, by tests with the marker `sampled`.
`PUREPOOL_INSTANTS=8:3` is every eighth of each operation, and the third (or the eleventh, ...) the
first of them; so one sample after the other comes to all. Without it all are tried, and without the
marker always.
"""

from __future__ import annotations

import dis
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pool
from pool.core import invariants
from tests.integration.drivers import Thrown

POOL = str(Path(pool.__file__).parent)
CHECKS = str(invariants.__file__)
CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "CALL_FUNCTION", "CALL_FUNCTION_KW", "CALL_METHOD"}
JUMPS = ("JUMP_BACKWARD", "POP_JUMP_BACKWARD")
NOWHERE, RAISED = -1, -2
"""In the place of an offset: where no instruction was before, and where one raised."""
HANDLERS = sys.version_info < (3, 11)
"""Whether it looks where a handler begins, too."""
if HANDLERS:
    CALLS.add("RERAISE")
    JUMPS = ("JUMP_ABSOLUTE", "POP_JUMP_IF")
EVERY = range(5000)
"""More instants than any operation has."""


def sample(text: str) -> range:
    """Of `EVERY`, as the environment has it: `8:3`, or nothing for all."""
    nth, _, first = (text or "1").partition(":")
    return EVERY[int(first or 0) % int(nth) :: int(nth)]


SAMPLE = sample(os.environ.get("PUREPOOL_INSTANTS", ""))
"""For tests that are marked: `pytest_runtest_setup` puts it into `chosen`."""
chosen = EVERY


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
        if not is_of_the_pool(frame) or is_a_check(frame):
            return None
        self.look(frame)
        before = NOWHERE
        after, whole = places(code)

        def step(frame: FrameType, event: str, _: object) -> Any:
            nonlocal before
            if event == "opcode":
                offset = frame.f_lasti
                now = whole.get(offset, offset)
                if before in after and now != before and after[before] != offset:
                    self.look(frame)
                before = now
            elif event == "exception":
                before = RAISED
            else:
                before = NOWHERE
            return step

        frame.f_trace = step  # first: 3.13 needs it to show the steps of this very call
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def look(self, frame: FrameType) -> None:
        self.seen += 1
        if self.seen == self.at + 1:
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            sys.settrace(None)  # the rest need not be watched, and runs ten times as fast
            self.happen()


def is_a_check(frame: FrameType | None) -> bool:
    """Whether it belongs to an invariant that a test asks for, as `watch` does after each step. No
    pool does it, and to be interrupted in the middle is to be interrupted right after the step."""
    while frame is not None and is_of_the_pool(frame):
        if frame.f_code.co_filename == CHECKS and not is_of_the_pool(frame.f_back):
            return True
        frame = frame.f_back
    return False


def is_of_the_pool(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(POOL)


def places(code: CodeType) -> tuple[dict[int, int], dict[int, int]]:
    """Its `breakers` and its `prefixes`. To look a code up by itself would hash all that it has."""
    found = _places.get(id(code))
    if found is None:
        found = _places[id(code)] = (breakers(code), prefixes(code), code)  # whose id stays its own
    return found[:2]


_places: dict[int, tuple[dict[int, int], dict[int, int], CodeType]] = {}


@cache
def breakers(code: CodeType) -> dict[int, int]:
    """Offsets of the instructions after which the interpreter looks whether it is to raise; but not
    if the given one follows, for that is a jump not taken."""
    found = {
        instruction.offset: instruction.offset + 2 if "_IF_" in instruction.opname else NOWHERE
        for instruction in dis.get_instructions(code)
        if instruction.opname in CALLS or instruction.opname.startswith(JUMPS)
    }
    return {**found, RAISED: NOWHERE} if HANDLERS else found


def instruction_at(code: CodeType, offset: int) -> int:
    """Where the instruction is to which the one at this offset belongs. A long argument begins in
    instructions before it; of these and itself some Pythons show the first, and others all."""
    return prefixes(code).get(offset, offset)


@cache
def prefixes(code: CodeType) -> dict[int, int]:
    found: dict[int, int] = {}
    before: list[int] = []
    for instruction in dis.get_instructions(code):
        if instruction.opcode == dis.EXTENDED_ARG:
            before.append(instruction.offset)
        elif before:
            found.update(dict.fromkeys(before, instruction.offset))
            before.clear()
    return found


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
    afterwards. How many instants there were, tried or not."""
    gc.collect()
    # What there is already, so that each `collect` of a check is quick. It is never thawed, for
    # with it all that was imported would be (`tests/conftest.py`), for every test to come.
    gc.freeze()
    gc.disable()  # else it runs finalizers where it likes
    logger = logging.getLogger("pool")  # what is lost each time is told, but nobody writes it down
    logger.addHandler(unread := logging.NullHandler())
    logger.propagate = False
    try:
        with watched(-1):  # from 3.12 on, a function's steps are seen only after its first call
            work()()
        for at in chosen:
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
                return instant.seen
    finally:
        gc.enable()
        logger.propagate = True
        logger.removeHandler(unread)
    raise AssertionError("there is no end of instants")
