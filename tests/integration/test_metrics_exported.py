"""What the two exporters write, all of it: names, kinds, units, texts, labels and numbers.

Theory.  Dashboards and alerts are written against these, so a change of any is a change for users.
A pool on a clock of the test's own does a little of everything, and then somebody waits in it.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pool import Limits, PoolTimeout
from pool.metrics import collector, instrument
from pool.metrics.otel import BOUNDARIES
from pool.metrics.prometheus import _buckets
from pool.metrics.reading import Reader
from pool.shared.meter import Sketch
from pool.threads.runtime import Runtime
from tests.integration.drivers import FOR_EVER, ScriptedDriver, nothing, park, raising, until

SECONDS = "s"


class Busy:
    """A pool of two on a clock of its own: 1 hold of 2 s, 1 caller whose timeout passed after 4 s,
    1 that did not wait, 1 failed connect, 1 discard; 2 lent for 3 s, and one that waits since 1."""

    def __init__(self) -> None:
        self.now = 100.0
        self.driver = ScriptedDriver()
        self.runtime = Runtime(
            self.driver, Limits(max_size=2), check_after=FOR_EVER, clock=lambda: self.now
        )
        self.name = "shop"

    def later(self, seconds: float) -> Any:
        def pass_time(*_: Any) -> None:
            self.now += seconds

        return pass_time

    def work(self) -> None:
        runtime = self.runtime
        self.driver.on_connect = self.later(0.25)
        handle = runtime.acquire()
        self.now += 2.0
        runtime.release(handle)
        self.driver.on_connect = raising(ConnectionRefusedError("down"))
        held = runtime.acquire()
        with suppress(ConnectionRefusedError):
            runtime.acquire()
        self.driver.on_connect = nothing
        other = runtime.acquire()
        with suppress(PoolTimeout):
            runtime.acquire(0)
        runtime.on_wait = self.later(4.0)
        with suppress(PoolTimeout):
            runtime.acquire(0.001)
        runtime.on_wait = nothing
        runtime.discard(other)
        self.held = [held, runtime.acquire()]
        self.now += 2.0
        self.call = park(runtime, runtime.acquire)
        self.now += 1.0

    def end(self) -> None:
        for handle in self.held:
            self.runtime.release(handle)
        self.runtime.release(self.call.result())


@pytest.fixture
def busy() -> Any:
    return Busy()


VALUES = {
    "count": {("idle",): 0, ("used",): 2},
    "max": {(): 2},
    "pending": {(): 1},
    "timeouts": {(): 1},
    "refusals": {("exhausted",): 1, ("open_failed",): 1, ("timeout",): 1},
    "closes": {("discarded",): 1},
    "failed": {(): 1},
    "saturated": {(): 5.0},
    "oldest": {(): 7.0},
    "wait": (4, 0.25),
    "hold": (2, 6.0),
    "connect": (3, 0.25),
}


OTEL = {
    "db.client.connection.count": ("Sum", "{connection}", "Connections, by state", "count"),
    "db.client.connection.max": ("Sum", "{connection}", "Most open connections", "max"),
    "db.client.connection.idle.max": ("Sum", "{connection}", "Most idle connections", "max"),
    "db.client.connection.idle.min": ("Sum", "{connection}", "Idle ones kept ready", "least"),
    "db.client.connection.pending_requests": ("Sum", "{request}", "Callers that wait", "pending"),
    "db.client.connection.timeouts": (
        *("Sum", "{timeout}", "Callers whose timeout passed", "timeouts"),
    ),
    "purepool.refusals": ("Sum", "{request}", "Callers that were refused", "refusals"),
    "purepool.closes": ("Sum", "{connection}", "Connections that were closed", "closes"),
    "purepool.connects.failed": ("Sum", "{connect}", "Connects that failed", "failed"),
    "purepool.saturated.time": (
        *("Sum", SECONDS, "Time in which every connection was in use and somebody waited"),
        "saturated",
    ),
    "purepool.oldest_lease": ("Gauge", SECONDS, "How long the oldest lease lasts", "oldest"),
    "db.client.connection.create_time": (
        *("Histogram", SECONDS, "The time it took to create a new connection", "connect"),
    ),
    "db.client.connection.wait_time": (
        *("Histogram", SECONDS, "The time it took to obtain an open connection from the pool"),
        "wait",
    ),
    "db.client.connection.use_time": (
        *("Histogram", SECONDS),
        *("The time between borrowing a connection and returning it to the pool", "hold"),
    ),
}
UP_AND_DOWN = ("count", "max", "least", "pending")


def scopes(reader: Any) -> list[Any]:
    data = reader.get_metrics_data()
    return [scope for one in data.resource_metrics for scope in one.scope_metrics] if data else []


def test_all_that_opentelemetry_is_told(busy: Any, caplog: pytest.LogCaptureFixture) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.metrics", reason="pip install opentelemetry-sdk")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader = export.InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    instrumented = instrument(busy.runtime, meter_provider=provider, name="shop")
    busy.work()
    instrumented._reader.read()  # who counts times is told by the batch
    (scope,) = scopes(reader)
    assert scope.scope.name == "purepool"
    assert {metric.name for metric in scope.metrics} == {*OTEL}
    for metric in scope.metrics:
        kind, unit, text, what = OTEL[metric.name]
        assert (type(metric.data).__name__, metric.unit, metric.description) == (kind, unit, text)
        points = {}
        for point in metric.data.data_points:
            attributes = dict(point.attributes)
            assert attributes.pop("db.client.connection.pool.name") == "shop"
            assert set(attributes) <= {"db.client.connection.state", "reason"}
            points[(*attributes.values(),)] = point
        if kind == "Histogram":
            assert (points[()].count, points[()].sum) == VALUES[what]
            if points[()].explicit_bounds:
                assert tuple(points[()].explicit_bounds) == BOUNDARIES
        else:
            found = {key: point.value for key, point in points.items()}
            assert found == VALUES.get(what, {(): 0}), metric.name
        if kind == "Sum":
            assert metric.data.is_monotonic is (what not in UP_AND_DOWN)
    states = {
        key
        for metric in scope.metrics
        for point in metric.data.data_points
        for key in point.attributes
    }
    assert states == {
        *("db.client.connection.pool.name", "db.client.connection.state", "reason"),
    }
    busy.end()
    instrumented.stop()
    left = {metric.name for scope in scopes(reader) for metric in scope.metrics}
    assert left <= {name for name, (kind, *_) in OTEL.items() if kind == "Histogram"}
    assert caplog.records == [], "what is not measured any more is not an error"
    provider.shutdown()


def test_an_older_opentelemetry_chooses_its_boundaries_itself(busy: Any) -> None:
    """It knows of no advice; all else is as it is."""
    given: list[Any] = []

    class Meter:
        def create_histogram(self, **arguments: Any) -> Any:
            if "explicit_bucket_boundaries_advisory" in arguments:
                assert arguments["explicit_bucket_boundaries_advisory"] == BOUNDARIES
                raise TypeError("an unexpected argument")
            given.append(arguments)
            return self

    from pool.metrics.otel import _histogram

    _histogram(Meter(), "a name", "about it")
    assert given == [{"name": "a name", "unit": "s", "description": "about it"}]


PROMETHEUS = {
    "db_client_connection_count": ("gauge", "Connections, by state", "count", "state"),
    "db_client_connection_max": ("gauge", "Most open connections", "max"),
    "db_client_connection_idle_max": ("gauge", "Most idle connections", "max"),
    "db_client_connection_idle_min": ("gauge", "Idle ones kept ready", "least"),
    "db_client_connection_pending_requests": ("gauge", "Callers that wait", "pending"),
    "purepool_oldest_lease_seconds": ("gauge", "How long the oldest lease lasts", "oldest"),
    "db_client_connection_timeouts": ("counter", "Callers whose timeout passed", "timeouts"),
    "purepool_refusals": ("counter", "Callers that were refused", "refusals", "reason"),
    "purepool_closes": ("counter", "Connections that were closed", "closes", "reason"),
    "purepool_connects_failed": ("counter", "Connects that failed", "failed"),
    "purepool_saturated_seconds": (
        *("counter", "Time in which every connection was in use and somebody waited", "saturated"),
    ),
    "db_client_connection_create_time_seconds": (
        *("histogram", "The time it took to create a new connection", "connect"),
    ),
    "db_client_connection_wait_time_seconds": (
        *("histogram", "The time it took to obtain an open connection", "wait"),
    ),
    "db_client_connection_use_time_seconds": (
        *("histogram", "The time between borrowing a connection and returning it", "hold"),
    ),
}


def test_all_that_prometheus_is_told(busy: Any) -> None:
    pytest.importorskip("prometheus_client", reason="pip install prometheus-client")
    collected = collector()
    collected.add(busy.runtime, "shop")
    busy.work()
    families = list(collected.collect())
    assert {family.name for family in families} == {*PROMETHEUS}
    for family in families:
        kind, text, what, *labels = PROMETHEUS[family.name]
        assert (family.type, family.documentation) == (kind, text)
        assert {sample.labels["pool"] for sample in family.samples} == {"shop"}
        if kind == "histogram":
            found = {
                sample.name.removeprefix(family.name): sample.value
                for sample in family.samples
                if sample.labels.get("le") in (None, "+Inf")
            }
            count, total = VALUES[what]
            assert found == {"_bucket": count, "_count": count, "_sum": total}
            bounds = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
            assert bounds == [*map(str, BOUNDARIES), "+Inf"]
        else:
            values = {
                tuple(sample.labels[label] for label in labels): sample.value
                for sample in family.samples
            }
            assert values == VALUES.get(what, {(): 0}), family.name
            assert {*family.samples[0].labels} == {"pool", *labels}
    busy.end()
    collected.stop()
    assert [sample for family in collected.collect() for sample in family.samples] == []
    assert collected.describe() == []


def test_a_boundary_has_what_is_below_it() -> None:
    """Within 5 %: finer buckets are counted by their middles."""
    sketch = Sketch()
    for seconds in (0.0, 0.0009, 0.0011, 0.0049, 0.02, 0.3, 0.3, 4.0, 9.0, 11.0, 3600.0):
        sketch.add(seconds)
    counts = [2, 4, 4, 5, 5, 7, 7, 8, 9, 11]
    assert _buckets(sketch.times()) == [
        (bound, float(count))
        for bound, count in zip([*map(str, BOUNDARIES), "+Inf"], counts, strict=True)
    ]


def test_a_pool_has_the_name_that_it_is_given_or_its_own() -> None:
    from tests.integration.databases import scripted as scripted_database
    from tests.integration.pools import Scripted

    with Scripted(1, opener="caller", name="shop") as subject:
        assert Reader(subject, None).name == "shop"
        assert Reader(subject, "another").name == "another"
        assert Reader(subject, "").name == ""
    assert Reader(scripted_database(1), None).name == "scripted"
    unnamed = scripted_database(1)
    unnamed.init("postgresql://somebody:secret@there")
    assert Reader(unnamed, None).name == "database"
    assert Reader(Busy().runtime, None).name == ""


@pytest.mark.parametrize("what", ["a pool that is gone", "one that is not measured any more"])
def test_nothing_is_read_of(what: str) -> None:
    busy = Busy()
    reader = Reader(busy.runtime, "shop")
    assert reader.read() is not None
    if what == "a pool that is gone":
        del busy
        until(lambda: gc.collect() is not None and reader.read() is None)
    else:
        reader.stop()
        reader.stop()  # as often as one likes
    assert reader.read() is None


def test_the_names_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    for name in (*OTEL, *PROMETHEUS):
        if "idle" not in name and not name.endswith(("_max", ".max")):
            assert f"`{name}" in text, name


def test_what_is_missing_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, extra, function in (
        ("opentelemetry", "otel", instrument),
        ("prometheus_client", "prometheus", collector),
    ):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(ModuleNotFoundError) as met:
            function(Busy().runtime)
        assert str(met.value) == f"{name} is missing: `pip install 'purepool[{extra}]'` brings it"
        assert met.value.name == name


def test_what_is_read_was_told_in_a_batch() -> None:
    """To count costs several microseconds: not at each checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pool.shared.regularly._tell_of", nothing)
        busy = Busy()
        reader = Reader(busy.runtime, "shop")
        busy.runtime.release(busy.runtime.acquire())
        assert reader.meter.holds.count == 0
        seen = reader.read()
        assert seen is not None
        assert seen.meter.holds.count == 1
        reader.stop()
