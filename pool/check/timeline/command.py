"""`purepool timeline`: what a flight recorder kept, as a page to look at.

Theory.  Everything is read and checked first, as `purepool replay` does, with its messages.  A page
is put into its place as a whole, so who is interrupted has the old one.

Exit status: 0 it is written, 1 something could not be read, or is not what the machine does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pool.check import interrupts
from pool.check.timeline import spans, write
from pool.check.timeline.columns import Timeline
from pool.check.usage import UsageError, extra
from pool.record.flight import segments_of
from pool.record.recording import Divergence, RecordingError

QUIET = 2.0
"""Seconds without a word of how far it has come."""


def run(arguments: argparse.Namespace) -> int:
    """Do it, and give the exit status."""
    pictures = [path for path in (arguments.png, arguments.svg) if path]
    draw = _drawing() if pictures else None
    recordings = [found for path in arguments.recordings for found in _recordings(Path(path))]
    output = _output(arguments, recordings)
    timelines, told = [], _Told()
    for path in recordings:
        try:
            timelines.append(spans.read(path, salvage=arguments.salvage, progress=told.of(path)))
        except RecordingError as error:
            told.end()
            return _complain(arguments, error)
    told.end()
    faults = _say_what_is_wrong(timelines)
    timelines = [one for one in timelines if one.transitions]
    if not timelines:
        print("purepool timeline: nothing happened there that could be drawn", file=sys.stderr)
        return 1
    title = arguments.title or ", ".join(_title(one) for one in timelines[:3])
    if output is not None:
        told.say("writing the page")
        _write(output, write.page(timelines, title))
    if draw is not None:
        told.say("drawing")
        draw(pictures, timelines, title)
    told.end()
    _show(timelines, [path for path in (output, *pictures) if path not in (None, "-")])
    return 1 if faults else 0


def _drawing() -> Callable[..., None]:
    """What draws. That it cannot be had is said before anything is read."""
    with extra("size"):
        from pool.check.timeline.picture import draw
    return draw


def _recordings(path: Path) -> list[Path]:
    """It, or where it is none, those in it: what `purepool record` makes."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or directory")
    if path.is_dir() and not segments_of(path):
        found = sorted(one for one in path.iterdir() if one.is_dir() and segments_of(one))
        if not found:
            raise UsageError(f"{path}: no recording: it has no *.purepool files")
        return found
    return [path]


def _output(arguments: argparse.Namespace, recordings: list[Path]) -> str | None:
    """Where the page goes; None where only pictures are asked for."""
    output: str | None = arguments.output
    if output is None:
        if arguments.png or arguments.svg:
            return None
        output = f"{Path(arguments.recordings[0]).resolve().stem}.html"
    if output == "-":
        return output
    place = Path(output)
    if place.is_dir() or not place.absolute().parent.is_dir():
        why = "is a directory" if place.is_dir() else f"there is no directory {place.parent}"
        raise UsageError(f"{output}: {why}")
    if place.exists() and not _is_page(place):
        raise UsageError(f"{output}: is there already, and is no time line: it is left as it is")
    return output


def _is_page(place: Path) -> bool:
    if not place.is_file():
        return True  # /dev/stdout, a pipe
    with place.open("rb") as file:
        start = file.read(200)
    return not start or write.MADE_BY.encode() in start


def _title(one: Timeline) -> str:
    return f"pool '{one.pool}'" if one.pool else Path(one.source).name


def _write(output: str, text: str) -> None:
    if output == "-":
        sys.stdout.write(text)
        return
    place = Path(output)
    if place.exists() and not place.is_file():
        place.write_text(text, "utf-8")
        return
    number, name = tempfile.mkstemp(dir=place.absolute().parent, prefix=".timeline-")
    unfinished = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)
        interrupts.checkpoint()
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)


def _complain(arguments: argparse.Namespace, error: RecordingError) -> int:
    print(f"purepool timeline: {error}", file=sys.stderr)
    if isinstance(error, Divergence):
        print("purepool replay shows the events up to that one", file=sys.stderr)
    elif not arguments.salvage:
        print("--salvage shows what can be read", file=sys.stderr)
    return 1


def _say_what_is_wrong(timelines: list[Timeline]) -> bool:
    """Whether anything was left out."""
    faults = False
    for one in timelines:
        for note in one.notes:
            is_fault = note.startswith("left out: ")
            faults |= is_fault
            print(note if is_fault else f"note: {note}", file=sys.stderr)
        if not one.transitions:
            print(f"note: {one.source}: nothing happened in it", file=sys.stderr)
    return faults


def _show(timelines: list[Timeline], written: list[Any]) -> None:
    """What was made."""
    if written:
        transitions = sum(one.transitions for one in timelines)
        count = f"{transitions:,} transitions"
        if len(timelines) > 1:
            count += f" of {len(timelines)} pools"
        print(f"{', '.join(map(str, written))}: {count}")


class _Told:
    """Says how far it has come, and obeys a signal."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.most = 0

    def of(self, path: Path) -> Callable[[int], None]:
        def told(transitions: int) -> None:
            interrupts.checkpoint()
            self.say(f"{path}: {transitions:,} transitions")

        return told

    def say(self, text: str) -> None:
        if sys.stderr.isatty() and time.monotonic() > self.begun + QUIET:
            self.most = max(self.most, len(text))
            print(f"\r{text:<{self.most}}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.most:
            print(f"\r{'':<{self.most}}\r", end="", file=sys.stderr, flush=True)
        self.most = 0
