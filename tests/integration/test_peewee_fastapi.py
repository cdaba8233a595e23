"""A FastAPI application over the pool, with FastAPI's own recipe for peewee.

Theory.  The recipe keeps peewee's `_state` in a context variable, so that it belongs to a request
and not to a thread: FastAPI runs each dependency and each endpoint on whatever worker thread is
free.  A worker may end in the middle of a request, when the server has too many of them or stops
those that are idle.  Here each of them ends as soon as it has run one thing.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from peewee import IntegerField, Model, _ConnectionState

from pool.peewee import PooledSqliteDatabase

default = {"closed": None, "conn": None, "ctx": None, "transactions": None}
db_state: Any = contextvars.ContextVar("db_state", default=default.copy())  # noqa: B039  # as there


class PeeweeConnectionState(_ConnectionState):  # type: ignore[misc]  # peewee has no types
    """Word for word."""

    def __init__(self, **kwargs: Any) -> None:
        super().__setattr__("_state", db_state)
        super().__init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        self._state.get()[name] = value

    def __getattr__(self, name: str) -> Any:
        return self._state.get()[name]


async def on_a_worker_that_ends(
    function: Callable[..., Any], /, *arguments: Any, **named: Any
) -> Any:
    """In the place of AnyIO's threads, which live for some seconds."""
    future: Future[Any] = Future()
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():  # its end is what this is about
        await asyncio.sleep(0.001)
    return future.result()


@pytest.fixture(params=["workers that end", "workers of AnyIO"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "workers that end":
        places = ["starlette.concurrency", "starlette.routing", "fastapi.routing"]
        places += ["fastapi.dependencies.utils", "fastapi.concurrency"]
        replaced = 0
        for place in places:
            module = __import__(place, fromlist=["*"])
            if hasattr(module, "run_in_threadpool"):
                monkeypatch.setattr(module, "run_in_threadpool", on_a_worker_that_ends)
                replaced += 1
        assert replaced > 2
    return str(request.param)


@pytest.fixture
def application(tmp_path: Path) -> Iterator[tuple[FastAPI, Any]]:
    database = PooledSqliteDatabase(str(tmp_path / "fastapi.db"), max_connections=3, timeout=60)
    database._state = PeeweeConnectionState()

    class Visit(Model):  # type: ignore[misc]
        number = IntegerField()

        class Meta:
            pass

    Visit.bind(database)
    with database.connection_context():
        database.create_tables([Visit])
    database.close_all()

    async def reset_db_state() -> None:
        database._state._state.set(default.copy())
        database._state.reset()

    def get_db(db_state: Any = Depends(reset_db_state)) -> Iterator[None]:  # noqa: B008  # as there
        try:
            database.connect()
            yield
        finally:
            if not database.is_closed():
                database.close()

    app = FastAPI()

    @app.get("/visit/{number}", dependencies=[Depends(get_db)])
    def visit(number: int) -> int:
        if number % 10 == 0:
            Visit.create(number=number)
        return int(Visit.select().count() >= 0)

    @app.get("/fail", dependencies=[Depends(get_db)])
    def fail() -> None:
        raise LookupError("a bug of the application")

    yield app, database
    database.close_all()


def test_every_request_is_answered(application: tuple[FastAPI, Any], workers: str) -> None:
    """More requests at once than connections, each of them on several threads."""
    app, database = application
    seen: list[int] = []

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = await asyncio.gather(*(client.get(f"/visit/{n}") for n in range(30)))
            seen.append(len(database._in_use))
            return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [200] * 30
    assert seen == [0]
    assert database._in_use == {}
    assert 1 <= len(database._connections) <= 3
    statistics = database.statistics()
    assert statistics.opened - statistics.closed == len(database._connections)


def test_a_request_that_fails_gives_its_connection_back(
    application: tuple[FastAPI, Any], workers: str
) -> None:
    app, database = application

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get("/fail")).status_code for _ in range(5)]

    assert asyncio.run(ask()) == [500] * 5
    assert database._in_use == {}
    assert len(database._connections) == 1
