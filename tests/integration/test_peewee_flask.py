"""A Flask application with FlaskDB, by each of the three ways FlaskDB takes its database.

Theory.  FlaskDB connects before a request and closes after it, so a pool sees one turn per
request.  Whatever way the database was named, requests one after another must run on one
connection, and requests at once on as many as there are requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from peewee import IntegerField
from playhouse import db_url
from playhouse.flask_utils import FlaskDB

import pool.peewee as drop_in
from tests.integration.drivers import FOR_EVER, PATIENCE


@pytest.fixture
def registered() -> Iterator[None]:
    """`register()` is for a whole process: undone for the tests that follow."""
    before = dict(db_url.schemes)
    drop_in.register()
    yield
    db_url.schemes.update(before)


@pytest.fixture(params=["dict", "url", "object"])
def database_setting(request: pytest.FixtureRequest, tmp_path: Path, registered: None) -> Any:
    path = tmp_path / "flask.db"
    if request.param == "dict":
        return {
            "name": str(path),
            "engine": "pool.peewee.PooledSqliteDatabase",
            "max_connections": 4,
            "timeout": FOR_EVER,
        }
    if request.param == "url":
        return f"sqlite+pool:///{path}?max_connections=4&timeout={FOR_EVER}"
    return drop_in.PooledSqliteDatabase(str(path), max_connections=4, timeout=FOR_EVER)


def application(setting: Any) -> tuple[Flask, FlaskDB, list[Any], threading.Barrier]:
    app = Flask(__name__)
    app.config["DATABASE"] = setting
    flask_database = FlaskDB(app)
    together = threading.Barrier(4)
    connections: list[Any] = []

    class Visit(flask_database.Model):  # type: ignore[name-defined,misc]  # made at run time
        number = IntegerField()

    with flask_database.database.connection_context():
        flask_database.database.create_tables([Visit])

    @app.route("/visit/<int:number>")
    def visit(number: int) -> str:
        connections.append(flask_database.database.connection())
        Visit.create(number=number)
        return str(Visit.select().count())

    @app.route("/together")
    def meet() -> str:
        connections.append(flask_database.database.connection())
        together.wait(PATIENCE)
        return "met"

    @app.route("/fail")
    def fail() -> str:
        raise ZeroDivisionError

    return app, flask_database, connections, together


def test_requests_one_after_another_share_a_connection(database_setting: Any) -> None:
    app, flask_database, connections, _ = application(database_setting)
    assert type(flask_database.database) is drop_in.PooledSqliteDatabase
    client = app.test_client()
    assert [client.get(f"/visit/{n}").text for n in range(5)] == ["1", "2", "3", "4", "5"]
    assert len({id(connection) for connection in connections}) == 1
    assert not flask_database.database._in_use
    flask_database.database.close_all()


def test_requests_at_once_have_one_each(database_setting: Any) -> None:
    app, flask_database, connections, _ = application(database_setting)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(app.test_client().get("/together").text))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == ["met"] * 4
    assert len({id(connection) for connection in connections}) == 4
    assert not flask_database.database._in_use
    flask_database.database.close_all()


def test_a_request_that_fails_gives_its_connection_back(database_setting: Any) -> None:
    app, flask_database, _, _ = application(database_setting)
    assert app.test_client().get("/fail").status_code == 500
    assert not flask_database.database._in_use
    assert len(flask_database.database._connections) == 1
    flask_database.database.close_all()
