"""A real browser for the tests of a page: Chromium, without a window.

Theory.  What a script draws is known to a browser alone.  So one is started, with a directory of
its own, and is told what to do over two pipes, in the language of its developer tools: no library
and no port is needed.  It is given no network: every host name leads nowhere.

Chromium is the one on the PATH or, on Debian and Ubuntu, that of the package
`chromium-headless-shell`, unpacked into `.cache/browser`: `make browser` does that, and nothing is
installed on the system.  Where there is neither, tests that need it are skipped, saying so; with
`PUREPOOL_REQUIRE_BROWSER=1` they fail.

`python -m tests.integration.browser` fetches it if it is missing, and says which one there is.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.servers import CACHE, Unavailable, library_folders, unpack_packages

PLACE = CACHE / "browser"
NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
PATIENCE = 120.0
"""Seconds for an answer; never what one takes."""

# The browser reads from descriptor 3 and writes to descriptor 4.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in enumerate(ends, 3):
    os.dup2(end, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def program() -> Path | None:
    """The browser, if there is one."""
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    unpacked = PLACE / "usr/lib/chromium/chromium-headless-shell"  # that of usr/bin is a script
    return unpacked if unpacked.exists() else None


def libraries() -> dict[str, str]:
    """What lets it find the libraries that were unpacked with it."""
    folders = library_folders(PLACE)
    inner = [folder / "pulseaudio" for folder in folders]  # where one looks for its other half
    return {"LD_LIBRARY_PATH": ":".join(map(str, [*folders, *inner]))}


def provide() -> Path:
    """Fetch it unless it is there. Raises `Unavailable`."""
    found = program()
    if found is None:
        unpack_packages([["chromium-headless-shell", "fonts-dejavu-core"]], PLACE)
        found = program()
    if found is None:
        raise Unavailable(f"there is no Chromium in {PLACE}, nor on the PATH")
    return found


class Browser:
    """One page in one browser. Not thread-safe."""

    def __init__(
        self, program: Path, directory: Path, width: int = 1400, height: int = 760
    ) -> None:
        self.width, self.height = width, height
        self.said: list[str] = []
        """What it wrote to its console: errors, warnings, exceptions that nobody caught."""
        self.requests: list[str] = []
        """What it wanted to fetch."""
        self._number = 0
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        read_there, self._write = os.pipe()
        self._read, write_there = os.pipe()
        command = [
            *(sys.executable, "-c", START, str(read_there), str(write_there)),
            *(str(program), "--headless", "--remote-debugging-pipe", "--no-first-run"),
            *("--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={directory / 'profile'}"),
            f"--window-size={width},{height}",
            "about:blank",
        ]
        environment = {**os.environ, "HOME": str(directory), "TZ": "UTC"}
        if program.is_relative_to(PLACE):
            environment.update(libraries())
        self._process = subprocess.Popen(
            command,
            pass_fds=(read_there, write_there),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        os.close(read_there)
        os.close(write_there)
        self._session: str | None = None
        page = self._first_page()
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def _first_page(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            for one in self.call("Target.getTargets")["targetInfos"]:
                if one["type"] == "page":
                    return dict(one)
            assert time.monotonic() < deadline, "the browser opens no page"
            time.sleep(0.05)

    # ------------------------------------------------------------ the pipes

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Say it, and give the answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self._write, text) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._read], [], [], max(0.0, left))
            assert ready, "the browser does not answer"
            more = os.read(self._read, 1 << 20)
            assert more, f"the browser has ended with {self._process.wait()}"
            self._buffer += more
        one, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        of = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            details = of["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))
        elif event["method"] == "Runtime.consoleAPICalled" and of["type"] in ("error", "warning"):
            self.said.append(str([one.get("value") for one in of["args"]]))
        elif event["method"] == "Log.entryAdded":
            self.said.append(of["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(of["request"]["url"])

    # ------------------------------------------------------------ what a person does

    def open(self, page: Path, dark: bool = False, until: str = "!!window.timeline") -> None:
        """Open a file; back when that holds: when its script has come to its end."""
        self.prefer(dark)
        self.said.clear()
        self.requests.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.until(f"document.readyState === 'complete' && ({until})")

    def prefer(self, dark: bool) -> None:
        """As the system of its user does."""
        value = "dark" if dark else "light"
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": value}],
        )

    def ask(self, expression: str) -> Any:
        """What this expression of JavaScript is, as JSON."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"never: {expression}; it said {self.said}"
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """`mouseMoved`, `mousePressed`, `mouseReleased` or `mouseWheel`, there."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def drag(self, x: float, y: float, to_x: float, to_y: float, **more: Any) -> None:
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left", clickCount=1, **more)
        self.mouse("mouseMoved", (x + to_x) / 2, (y + to_y) / 2, button="left", buttons=1, **more)
        self.mouse("mouseMoved", to_x, to_y, button="left", buttons=1, **more)
        self.mouse("mouseReleased", to_x, to_y, button="left", clickCount=1, **more)

    def key(self, key: str, modifiers: int = 0) -> None:
        """Press one, by the name that scripts know it by."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=modifiers, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=modifiers)

    def picture(self, path: Path | None = None) -> bytes:
        """What is to be seen, as PNG."""
        taken = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(taken)
        return taken

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def browser(width: int = 1400, height: int = 760) -> Iterator[Browser]:
    """One for a while, with nothing left of it. Raises `Unavailable`."""
    found = program()
    if found is None:
        raise Unavailable("there is no Chromium: `make browser` fetches it")
    with tempfile.TemporaryDirectory(prefix="purepool-", ignore_cleanup_errors=True) as place:
        one = Browser(found, Path(place), width, height)
        try:
            yield one
        finally:
            one.close()


def main() -> int:
    try:
        print(f"browser: {provide()}")
    except Unavailable as reason:
        print(f"browser: the test of the time line's page will be skipped. {reason}")
        return 1 if os.environ.get("PUREPOOL_REQUIRE_BROWSER") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
