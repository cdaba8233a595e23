"""`purepool record`: a program is what it is without it, and its pools are recorded.

Theory.  Each program here is one that a user could have: it knows nothing of recording.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pool.aio
from pool import Pool, observe
from pool.check import cli
from pool.peewee import PooledSqliteDatabase
from pool.record import program
from pool.record.flight import FlightRecorder, name_of, segments_of
from pool.record.recording import Reader, RecordingError
from pool.shared import observation
from tests.integration.drivers import PATIENCE, ROOT
from tests.integration.processes import process, run

HEAD = """
import sqlite3, sys
import pool
shop = pool.Pool(lambda: sqlite3.connect(":memory:", check_same_thread=False), name="shop")
def use():
    with shop.connection() as connection:
        connection.execute("select 1")
"""

ALL_KINDS = """
import asyncio, sqlite3, sys
import pool, pool.aio
from pool.peewee import PooledSqliteDatabase

class Connection:
    async def close(self):
        pass

async def connect():
    return Connection()

async def tasks():
    subject = pool.aio.Pool(connect, name="tasks")
    async with subject.connection():
        pass

def main():
    subject = pool.Pool(
        lambda: sqlite3.connect(":memory:", check_same_thread=False), name="threads of/all"
    )
    for _ in range(20):
        with subject.connection() as connection:
            connection.execute("select 1")
    with PooledSqliteDatabase(":memory:") as database:
        database.execute_sql("select 1")
    asyncio.run(tasks())

main()  # the pools are gone by the end
print("out")
print("err", file=sys.stderr)
sys.exit(7)
"""


def written(place: Path, text: str, name: str = "app.py") -> Path:
    path = place / name
    path.write_text(text)
    return path


def record(*arguments: object, **how: Any) -> Any:
    command = [sys.executable, "-m", "pool.check.cli", "record", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **how.pop("environment", {})}
    return run(command, env=environment, **how)


def recordings(place: Path) -> dict[str, list[str]]:
    """The events of each, by the name of its pool; all of them sound."""
    found: dict[str, list[str]] = {}
    for path in sorted(place.iterdir()):
        transitions = list(Reader(path).transitions())
        name = transitions[0].header.pool
        found.setdefault(name, []).extend(type(one.event).__name__ for one in transitions)
    return found


# ---------------------------------------------------------------- the program is what it was


def test_pools_of_each_kind_and_the_status_is_the_programs(tmp_path: Path) -> None:
    app = written(tmp_path, ALL_KINDS)
    done = record("--", sys.executable, app, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (7, "out\n")
    said = done.stderr.splitlines()
    assert said[0] == "err"
    assert said[1].startswith("purepool record: 3 recordings, 0.0 MB: purepool timeline app.rec")
    found = recordings(tmp_path / "app.rec")
    assert set(found) == {"threads of/all", ":memory:", "tasks"}
    assert found["threads of/all"].count("Release") == 20  # up to the last
    assert found["tasks"].count("Acquire") == 1
    assert all(path.name.startswith("threads-of-all-") for path in tmp_path.glob("app.rec/thr*"))


def test_what_it_is_given_arrives(tmp_path: Path) -> None:
    text = HEAD + "use(); print(sys.argv[1:], sys.stdin.read())"
    app = written(tmp_path, text)
    command = ["-o", "x", "--", sys.executable, app, "-o", "--keep", "--", "--help"]
    with written(tmp_path, "hello", "letter").open() as letter:
        done = record(*command, cwd=tmp_path, stdin=letter)
    assert (done.returncode, done.stdout) == (0, "['-o', '--keep', '--', '--help'] hello\n")
    assert recordings(tmp_path / "x") == {"shop": ["Acquire", "Opened", "Release"]}


def test_a_module_a_script_and_a_command_of_the_path(tmp_path: Path) -> None:
    text = HEAD + "use(); print(sys.argv[0].rpartition('/')[2])"
    written(tmp_path, text, "served.py")
    served = written(tmp_path, f"#!{sys.executable}\n{text}", "serve")
    served.chmod(served.stat().st_mode | stat.S_IXUSR)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for command, name in (
        (["serve", "app:app"], "serve"),
        ([sys.executable, "-m", "served"], "served.py"),
        (["served.py"], "served.py"),  # as it is: by the Python of the command
    ):
        done = record("-o", f"{len(command)}-{name}", *command, cwd=tmp_path, environment=path)
        assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr
        assert set(recordings(tmp_path / f"{len(command)}-{name}")) == {"shop"}


def test_children_are_recorded_too(tmp_path: Path) -> None:
    text = HEAD + (
        "import multiprocessing, subprocess\n"
        "use()\n"
        "if len(sys.argv) > 1:\n"
        "    sys.exit()\n"
        "child = multiprocessing.get_context('fork').Process(target=use)\n"
        "child.start(); child.join()\n"
        "subprocess.run([sys.executable, sys.argv[0], 'child'], check=True)\n"
    )
    done = record("--", sys.executable, written(tmp_path, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    places = sorted((tmp_path / "app.rec").iterdir())
    assert len(places) == 3
    events = [[type(one.event).__name__ for one in Reader(one).transitions()] for one in places]
    assert all(one.count("Release") == 1 for one in events)


# ---------------------------------------------------------------- signals

WAITING = HEAD + (
    "import time; use()\nwith shop.connection():\n    print('ready', flush=True)\n"
    "    while True: time.sleep(0.05)"  # not long: a signal just before a sleep does not end it
)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
)
def test_a_signal_is_passed_on(number: signal.Signals, status: int, tmp_path: Path) -> None:
    app = written(tmp_path, WAITING)
    command = [sys.executable, "-m", "pool.check.cli", "record", "--", sys.executable, str(app)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with process(command, cwd=tmp_path, env=environment) as running:
        assert running.stdout.readline() == "ready\n"
        (place,) = until(lambda: [*tmp_path.glob("app.rec/shop*")])
        until(lambda: "Release" in (events := recordings(place.parent).get("shop", [])) and events)
        running.send_signal(number)
        _, said = running.communicate()
        assert running.returncode == status
    assert "purepool record: 1 recording" in said
    events = recordings(tmp_path / "app.rec")["shop"]
    assert events[:3] == ["Acquire", "Opened", "Release"]
    if number is signal.SIGINT:  # the program ends in order: nothing is missing
        assert events[3:] == ["Acquire", "Discard"]


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120.0
    while True:
        try:
            if found := look():
                return found
        except (
            IndexError,
            FileNotFoundError,
            RecordingError,
        ):  # not there yet, or not its first line
            pass
        assert time.monotonic() < deadline
        time.sleep(0.01)


COUNTING = (
    HEAD
    + """
import os, signal, time
came = []
# Not `print`: it may come in the middle of the other one.
signal.signal(signal.SIGINT, lambda *_: (came.append(1), os.write(1, b"came\\n")))
use()
print("ready", flush=True)
while not came:  # if it comes right before a read, its handler is called after that
    time.sleep(0.01)
sys.stdin.readline()
print("in all", len(came), flush=True)
"""
)


def test_ctrl_c_in_a_terminal_comes_once(tmp_path: Path) -> None:
    app = written(tmp_path, COUNTING)
    here, there = os.openpty()
    command = [sys.executable, "-c", OWN_TERMINAL, str(there), sys.executable, "-m"]
    command += ["pool.check.cli", "record", "--", sys.executable, str(app)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = b""
    try:
        with process(
            command, cwd=tmp_path, env=environment, pass_fds=(there,), stdout=None, stderr=None
        ) as running:
            os.close(there)

            def read(wanted: bytes) -> None:
                nonlocal seen
                while wanted not in seen:
                    try:
                        seen += os.read(here, 4096)
                    except OSError:  # all that had it open have ended
                        break

            read(b"ready")
            os.write(here, b"\x03")
            read(b"came")
            os.write(here, b"\n")
            read(b"purepool timeline")
            assert running.wait(120) == 0, seen
    finally:
        os.close(here)
    assert b"in all 1\r\n" in seen


OWN_TERMINAL = """
import fcntl, os, sys, termios
number = int(sys.argv[1])
fcntl.ioctl(number, termios.TIOCSCTTY, 0)
for end in range(3):
    os.dup2(number, end)
os.execv(sys.argv[2], sys.argv[2:])
"""


# ---------------------------------------------------------------- what is refused, and what is not


def called(*arguments: object) -> int:
    return cli.main(["record", *map(str, arguments)])


def test_what_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "notes", "notes.txt")
    for arguments, message in (
        ([], "what is to be recorded? As in: purepool record -- python app.py"),
        (["--"], "what is to be recorded?"),
        (["--", "no-such-program"], "no-such-program: there is no such program"),
        (["--", "./notes.txt"], "./notes.txt: Permission denied"),
        (["--keep", "1 KB", "--", "true"], "allowed is a number of bytes, or a text like '64 MB'"),
        (["-o", "notes.txt", "--", "true"], "notes.txt: is there already"),
    ):
        assert called(*arguments) == 2
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_a_recording_of_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = written(tmp_path, HEAD + "use()")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for _ in range(2):
        assert called("--", sys.executable, app) == 0
    assert {path.name for path in tmp_path.glob("*.rec")} == {"app.rec", "app-2.rec"}
    assert called("-o", "app.rec", "--", sys.executable, app) == 2


def test_a_program_without_a_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("false") == 1
    assert "nothing was recorded: false used no pool of purepool" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_where_nothing_can_be_written_the_program_goes_on(tmp_path: Path) -> None:
    app = written(tmp_path, HEAD + "use(); print('done')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), program.DIRECTORY: str(app / "x")}
    done = run([sys.executable, str(app)], env=environment)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "the pool 'shop' is not recorded: " in done.stderr
    environment |= {program.DIRECTORY: str(tmp_path / "x"), program.KEEP: "much"}
    done = run([sys.executable, str(app)], env=environment)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "nothing is recorded: PUREPOOL_RECORD_KEEP: keep='much'" in done.stderr


def test_without_the_variable_nothing_of_it_is_imported(tmp_path: Path) -> None:
    text = HEAD + "use(); print([name for name in sys.modules if name.startswith('pool.record')])"
    environment = {name: value for name, value in os.environ.items() if "PUREPOOL" not in name}
    done = run(
        [sys.executable, str(written(tmp_path, text))],
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "[]\n"


def test_who_fails_with_a_new_pool_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    def fail(pool: object) -> None:
        seen.append(pool)
        raise RuntimeError("no")

    monkeypatch.setattr(observation, "on_made", [fail, seen.append])
    with caplog.at_level(logging.WARNING, "pool"), Pool(object, close=id) as subject:
        assert seen == [subject, subject]
    assert "what is told of new pools failed" in caplog.text


def test_each_kind_of_pool_is_told_of_when_it_can_be_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, Any]] = []

    def look(subject: Any) -> None:
        with observe(subject, lambda *_: None):
            seen.append((name_of(subject), subject))

    monkeypatch.setattr(observation, "on_made", [look])
    with Pool(object, close=id, name="threads") as threads:
        tasks = pool.aio.Pool(object, name="tasks")  # type: ignore[type-var, arg-type]
        database = PooledSqliteDatabase(":memory:")
        assert seen == [("threads", threads), ("tasks", tasks), (":memory:", database)]


# ---------------------------------------------------------------- a pool that is collected


def test_what_a_collected_pool_did_last_is_recorded(tmp_path: Path) -> None:
    def use() -> None:
        subject = Pool(object, close=id, name="short", max_size=1)
        FlightRecorder(subject, tmp_path / "short.rec")
        for _ in range(3):
            subject.acquire().release()

    before = time.time()
    use()
    open_files = until(lambda: (gc.collect(), segments_of(tmp_path / "short.rec"))[1])
    assert len(open_files) == 1

    def all_of_it() -> bool:
        return Reader(tmp_path / "short.rec").check().transitions >= 7

    assert until(all_of_it)
    report = Reader(tmp_path / "short.rec").check()
    assert report.first is not None
    # Its clock is known still; of one that is not, it would be far off.
    assert before - PATIENCE <= report.first <= time.time() + PATIENCE
