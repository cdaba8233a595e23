"""Pythons that the machine lacks: `make pythons`, or `python -m tests.pythons [3.14 3.15 3.13t]`.

Theory.  Debian's unstable release has the Pythons of today, made for a C library that is newer than
most machines'.  So each is unpacked below `.cache/pythons` with all that it needs, C library and
loader included, and told by patchelf to use those: then it is a Python like any other,
`sys.executable`, environments made with venv and child processes too, and no program of the machine
sees its libraries.  The free-threaded one is in no package: it is compiled from Debian's source of
CPython, as it comes from CPython's authors, without Debian's patches (which put what pip installs
where a free-threaded build does not look).

Nothing is installed on the system, and its package lists stay as they are: apt-get works on private
ones, with the mirror of the machine's own configuration and with Debian's keys.

What it refuses to know: how to do this on anything but Debian.  Elsewhere it says so, and any other
Python that runs can be given with `PYTHON=`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.servers import CACHE, UNSANDBOXED, Unavailable, open_up, run_quietly

PACKAGED = ("3.14", "3.15")
COMPILED = ("3.13t",)

PLACE = CACHE / "pythons"
PROGRAMS = PLACE / "bin"
"""A link for each that is ready; the Makefile searches here behind the PATH."""

KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HEADERS = ("zlib.h", "ffi.h", "sqlite3.h", "openssl/ssl.h")

CONFIGURE = (
    "--quiet",
    "--disable-gil",
    "--disable-test-modules",
    "--without-doc-strings",
    # It is to be ready soon, not to be fast.
    "CFLAGS=-O1 -g0",
    *(
        f"py_cv_module_{name}=n/a"
        for name in ("_tkinter", "_curses", "_curses_panel", "_dbm", "_gdbm", "readline", "nis")
    ),
)

CHECK = "import ctypes, ensurepip, sqlite3, ssl, sys; print(sys.version.split()[0])"


def program(version: str) -> Path:
    return PROGRAMS / f"python{version}"


def version_of(python: Path) -> str | None:
    """What this interpreter says it is; None when it does not run."""
    try:
        return run_quietly([str(python), "-c", CHECK]).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provide(version: str) -> str:
    """Fetch this Python unless it is there; what it says it is. May be called by several at once.
    Raises `Unavailable`."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = version_of(program(version))
        if found is None:  # never made, half made, or moved: the paths in it are absolute
            home = PLACE / version
            shutil.rmtree(home, ignore_errors=True)
            try:
                with private_lists() as options:
                    make = unpack if version in PACKAGED else build
                    python = make(version, home, options)
            except subprocess.CalledProcessError as error:
                said = "\n".join((error.stdout or "").splitlines()[-15:])
                raise Unavailable(f"{error.cmd[0]} failed:\n{said}") from None
            found = version_of(python)
            if found is None:
                raise Unavailable(f"{python} is there, but does not run")
            program(version).unlink(missing_ok=True)
            program(version).symlink_to(python)
    return found


# ---------------------------------------------------------------- Debian's unstable release


@contextmanager
def private_lists() -> Iterator[list[str]]:
    """Options that let apt-get see Debian's unstable release, and a machine with nothing on it."""
    mirror = debian_mirror()
    with tempfile.TemporaryDirectory(dir=PLACE, prefix="apt-") as folder:
        place = Path(folder)
        for name in ("lists/partial", "archives/partial", "none"):
            (place / name).mkdir(parents=True)
        (place / "status").touch()
        signed = f"[signed-by={KEYS}] " if KEYS.exists() else ""
        sources = place / "sources.list"
        sources.write_text(
            "".join(f"{kind} {signed}{mirror} unstable main\n" for kind in ("deb", "deb-src"))
        )
        settings = {
            "Dir::State": place,
            "Dir::State::status": place / "status",
            "Dir::Cache": place,
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": place / "none",
            "Dir::Etc::PreferencesParts": place / "none",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
            "APT::Install-Recommends": "false",
            "APT::Get::List-Cleanup": "false",
        }
        options = [*UNSANDBOXED]
        for name, value in settings.items():
            options += ["-o", f"{name}={value}"]
        run_quietly(["apt-get", "update", *options])
        yield options


def debian_mirror() -> str:
    """Where this machine gets Debian's packages from."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Unavailable("it is fetched from Debian's packages, and there is no apt-get here")
    wanted = "$(ORIGIN) $(COMPONENT) $(REPO_URI)"
    listed = run_quietly(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"])
    mirrors = re.findall(r"^Debian main (\S+)$", listed, re.MULTILINE)
    if not mirrors:  # before the first `apt-get update` nobody knows whose packages they are
        mirrors = re.findall(r" main (\S+/debian/)$", listed, re.MULTILINE)
    if not mirrors:
        raise Unavailable("it is fetched from Debian's packages, and apt-get here knows no mirror")
    return mirrors[0]


def unpack(version: str, home: Path, options: list[str]) -> Path:
    """Debian's packages of this Python, with all that they need, as one that runs from `home`."""
    name = f"python{version}"
    wanted = [name, f"{name}-venv", "patchelf"]
    plan = run_quietly(["apt-get", "install", "--simulate", *options, *wanted])
    needed = re.findall(r"^Inst (\S+) \(", plan, re.MULTILINE)
    # The headers alone: what their package needs are those of the C library.
    needed.append(f"lib{name}-dev")
    print(f"fetching {name} and {len(needed) - 1} packages it needs into .cache/ ...", flush=True)
    with tempfile.TemporaryDirectory(dir=PLACE, prefix="packages-") as folder:
        run_quietly(["apt-get", "download", *options, *needed], cwd=Path(folder))
        for package in sorted(Path(folder).glob("*.deb")):
            run_quietly(["dpkg", "--extract", str(package), str(home)])
    home.chmod(0o755)

    python = home / "usr/bin" / name
    loader = next(home.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*"))
    libraries = str(loader.parent)
    patchelf = [str(loader), "--library-path", libraries, str(home / "usr/bin/patchelf")]
    # One after the other: of both at once patchelf 0.18 makes a program that crashes.
    run_quietly([*patchelf, "--force-rpath", "--set-rpath", libraries, str(python)])
    run_quietly([*patchelf, "--set-interpreter", str(loader), str(python)])

    # Where venv finds pip, and where a compiler finds the header that differs between machines.
    wheels = "/usr/share/python-wheels"
    for file in {link.resolve() for link in home.glob(f"usr/lib/python{version}/_sysconfig*")}:
        file.write_text(file.read_text().replace(f"{wheels}/", f"{home}{wheels}/"))
    include = home / "usr/include"
    shutil.copy(next(include.glob(f"*/{name}/pyconfig.h")), include / name / "pyconfig.h")
    return python


def build(version: str, home: Path, options: list[str]) -> Path:
    """CPython's source in Debian's package of it, compiled without the GIL."""
    if not (shutil.which("cc") and shutil.which("make")):
        raise Unavailable("it is compiled, and there is no C compiler or no make here")
    missing = [header for header in HEADERS if not has_header(header)]
    if missing:
        raise Unavailable(
            f"it is compiled, and the C headers {', '.join(missing)} are missing (packages "
            "zlib1g-dev, libffi-dev, libsqlite3-dev, libssl-dev)"
        )
    name = f"python{version.rstrip('t')}"
    with tempfile.TemporaryDirectory(dir=PLACE, prefix="source-") as folder:
        place = Path(folder)
        print(f"fetching the source of {name} into .cache/ ...", flush=True)
        fetch_source(name, place, options)
        run_quietly(["tar", "--extract", "--strip-components=1", "--file", *archives(place)], place)
        cores = len(os.sched_getaffinity(0))
        print(f"compiling it free-threaded on {cores} cores; a minute or two ...", flush=True)
        began = time.monotonic()
        run_quietly(["sh", "configure", f"--prefix={home}", *CONFIGURE], place)
        run_quietly(["make", "--silent", f"--jobs={cores}"], place)
        # "--help": not every module of the library needs to be compiled in advance, thrice.
        run_quietly(["make", "--silent", "altinstall", "COMPILEALL_OPTS=--help"], place)
        print(f"compiled in {time.monotonic() - began:.0f} s", flush=True)
    if os.geteuid() == 0:
        open_up(home)
    return home / "bin" / f"python{version}"


def fetch_source(name: str, place: Path, options: list[str]) -> None:
    """The newest that can be had: a mirror may list one that it does not have yet, or any more."""
    listed = run_quietly(["apt-cache", "showsrc", *options, "--only-source", name])
    versions = re.findall(r"^Version: (\S+)$", listed, re.MULTILINE)
    newest_first = sorted(
        set(versions), key=lambda text: [int(n) for n in re.findall(r"\d+", text)], reverse=True
    )
    command = ["apt-get", "source", *options, "--download-only", "--tar-only"]
    said = f"Debian's unstable release has no source of {name}"
    for version in newest_first:
        try:
            run_quietly([*command, f"{name}={version}"], place)
            return
        except subprocess.CalledProcessError as error:
            said = error.stdout
    raise Unavailable(said)


def archives(place: Path) -> list[str]:
    return [str(file) for file in place.glob("*.orig.tar.*") if file.suffix != ".asc"]


def has_header(header: str) -> bool:
    command = ["cc", "-E", "-include", header, "-x", "c", "/dev/null"]
    return not subprocess.run(command, capture_output=True).returncode


def main(versions: list[str]) -> int:
    known = [*PACKAGED, *COMPILED]
    unknown = [version for version in versions if version not in known]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; can be had: {', '.join(known)}", file=sys.stderr)
        return 2
    missing = 0
    for version in versions or known:
        try:
            print(f"python{version}: {provide(version)} in {program(version)}", flush=True)
        except Unavailable as reason:
            missing += 1
            print(f"python{version} can't be had here: {reason}", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
