"""The application of docs/fastapi.md under uvicorn: clients that come at once, and that go away.

Theory.  The server runs on a thread of its own, on a port that the system gives.  A client that
goes away does so while its request holds a connection, as the request itself says.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import StreamingResponse

from tests.integration.drivers import PATIENCE, ROOT, until

pytest.importorskip("aiosqlite")
uvicorn: Any = pytest.importorskip("uvicorn")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The first block of the page, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "fastapi.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.S)
    assert block is not None
    namespace: dict[str, Any] = {"__name__": "application"}
    exec(compile(block[1], "fastapi.md", "exec"), namespace)
    return namespace["app"]


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Its address."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", loop="asyncio", lifespan="on")
    server = uvicorn.Server(config)
    run = lambda: asyncio.run(server.serve([listening]))  # noqa: E731
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        host, port = listening.getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()
        assert not thread.is_alive()


def test_many_requests_at_once(app: Any) -> None:
    async def main(address: str) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE) as client:
            posts = [client.post(f"/notes/{number}") for number in range(30)]
            answers = await asyncio.gather(*posts, client.post("/notes/bad"))
            assert [answer.status_code for answer in answers] == [200] * 30 + [422]
            notes = (await client.get("/notes")).json()
            assert sorted(notes, key=int) == [str(number) for number in range(30)]

    with served(app) as address:
        asyncio.run(main(address))
        assert app.state.pool.statistics().size <= 4
        until(lambda: app.state.pool.statistics().in_use == 0)


def test_who_is_answered_has_been_committed(app: Any) -> None:
    """The end of the dependency, which commits, comes before the response, not behind it."""
    with served(app) as address, httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for number in range(30):
            assert client.post(f"/notes/{number}").status_code == 200
            assert app.state.pool.statistics().in_use == 0
            assert len(client.get("/notes").json()) == number + 1


def test_clients_that_go_away(app: Any) -> None:
    held, ended = threading.Semaphore(0), threading.Semaphore(0)

    async def hold() -> None:
        async with app.state.pool.connection():
            held.release()
            try:
                await asyncio.Event().wait()
            finally:
                ended.release()

    app.add_api_route("/hold", hold)
    with served(cancelling(app)) as address:
        for _ in range(8):  # twice as many as there are connections
            client = asked(address, "/hold")
            assert held.acquire(timeout=PATIENCE)
            client.close()
            assert ended.acquire(timeout=PATIENCE)
        until(lambda: app.state.pool.statistics().in_use == 0)
        assert httpx.get(f"{address}/notes", timeout=PATIENCE).json() == []


def test_a_client_that_goes_away_cancels_nothing_by_itself(app: Any) -> None:
    """The endpoint goes on, with its connection, and gives it back at its end."""
    held, go, ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    async def hold() -> None:
        async with app.state.pool.connection():
            held.release()
            while not go.is_set():
                await asyncio.sleep(0.01)
        ended.release()

    app.add_api_route("/hold", hold)
    with served(app) as address:
        for _ in range(4):
            client = asked(address, "/hold")
            assert held.acquire(timeout=PATIENCE)
            client.close()
        assert app.state.pool.statistics().in_use == 4
        go.set()
        for _ in range(4):
            assert ended.acquire(timeout=PATIENCE)
        until(lambda: app.state.pool.statistics().in_use == 0)
        assert httpx.get(f"{address}/notes", timeout=PATIENCE).json() == []


def test_clients_that_go_away_in_the_middle_of_a_stream(app: Any) -> None:
    """Starlette cancels what makes the body: the connection of each comes back."""
    held = threading.Semaphore(0)

    async def rows() -> AsyncIterator[str]:
        async with app.state.pool.connection():
            held.release()
            while True:
                yield "row\n" * 1000
                await asyncio.sleep(0)

    async def stream() -> StreamingResponse:
        return StreamingResponse(rows())

    app.add_api_route("/stream", stream, response_model=None)
    with served(app) as address:
        for _ in range(8):  # twice as many as there are connections
            client = asked(address, "/stream")
            assert held.acquire(timeout=PATIENCE)
            assert client.recv(1 << 16)
            client.close()
        until(lambda: app.state.pool.statistics().in_use == 0)
        assert httpx.get(f"{address}/notes", timeout=PATIENCE).json() == []


def asked(address: str, path: str) -> socket.socket:
    """A client that has sent its request."""
    host, port = address.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: app\r\n\r\n".encode())
    return client


def cancelling(app: Any) -> Any:
    """Around all that the application does: cancels a request whose client is gone, as some
    middlewares do."""

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body: list[Any] = [await receive()]

        async def once() -> Any:
            return body.pop() if body else await asyncio.Event().wait()

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        tasks = [asyncio.ensure_future(app(scope, once, send)), asyncio.ensure_future(gone())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return handle
