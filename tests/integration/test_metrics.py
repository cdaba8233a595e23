"""Metrics say what the pool did: by OpenTelemetry's reader, over HTTP, and in its statistics.

Theory.  The numbers are compared with what was done, on a clock of the test's own, and the
exporters are the real ones.
"""

from __future__ import annotations

import gc
import json
import re
import threading
import urllib.request
import weakref
from contextlib import suppress
from typing import Any

import pytest

from benchmarks.pictures import dashboard
from pool import Limits, OpenError, Pool, PoolTimeout, Shutdown, Suspend, initial, step
from pool.core.events import Acquire, Opened, OpenFailed, Release
from pool.core.state import Failure
from pool.health import health_of
from pool.metrics import collector, instrument
from pool.metrics.reading import Reader
from pool.shared import regularly
from pool.shared.meter import Meter, Sketch
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted as scripted_database
from tests.integration.drivers import FOR_EVER, ROOT, Call, ScriptedDriver, in_child, until, waiting
from tests.integration.pools import Scripted


class Clocked:
    """A runtime on a clock of the test's own, measured."""

    def __init__(self, **limits: Any) -> None:
        self.now = 100.0
        self.driver = ScriptedDriver()
        self.runtime = Runtime(
            self.driver, Limits(**limits), check_after=FOR_EVER, clock=lambda: self.now
        )
        self.reader = Reader(self.runtime, "clocked")

    @property
    def meter(self) -> Meter:
        reading = self.reader.read()
        assert reading is not None
        return reading.meter

    def hold(self, seconds: float) -> None:
        handle = self.runtime.acquire(FOR_EVER)
        self.now += seconds
        self.runtime.release(handle)


def test_holds_and_waits_are_those_that_were() -> None:
    clocked = Clocked(max_size=1)
    clocked.hold(2.0)
    handle = clocked.runtime.acquire()
    other = Call(clocked.hold, 0.0)
    until(lambda: waiting(clocked.runtime) == 1)
    clocked.now += 5.0
    clocked.runtime.release(handle)
    other.result()
    with clocked_out(clocked), pytest.raises(PoolTimeout):
        clocked.runtime.acquire(0)
    meter = clocked.meter
    assert (meter.holds.count, meter.holds.total, meter.holds.most) == (4, 8.0, 5.0)
    assert (meter.waits.count, meter.waits.total, meter.waits.most) == (4, 5.0, 5.0)
    assert meter.refused == {"exhausted": 1}
    assert meter.saturated == 5.0
    assert meter.connects.count == 1


class clocked_out:
    """All that there is is lent for a second."""

    def __init__(self, clocked: Clocked) -> None:
        self.clocked = clocked

    def __enter__(self) -> None:
        self.handle = self.clocked.runtime.acquire()

    def __exit__(self, *_: object) -> None:
        self.clocked.now += 1.0
        self.clocked.runtime.release(self.handle)


def test_a_connection_found_dead_is_no_hold_and_its_caller_still_waits() -> None:
    clocked = Clocked(max_size=1)
    clocked.runtime.check_after = 0.0
    clocked.hold(1.0)

    def slow(_: Any) -> bool:
        clocked.now += 3.0
        return False

    clocked.driver.on_alive = slow
    clocked.hold(1.0)
    meter = clocked.meter
    assert meter.holds.count == 2
    assert meter.waits.most == 3.0
    assert meter.closed == {"dead": 1}


def test_what_is_lost_or_cancelled_leaves_nothing_behind() -> None:
    clocked = Clocked(max_size=2)
    handle: Any = clocked.runtime.acquire()
    del handle
    gc.collect()
    clocked.hold(1.0)
    clocked.driver.on_connect = broken
    held = [clocked.runtime.acquire()]
    with suppress(ConnectionRefusedError):
        clocked.runtime.acquire()
    clocked.runtime.release(held.pop())
    meter = clocked.meter
    assert meter.failed == 1
    assert meter.closed == {"discarded": 1}
    assert not meter._asked
    assert not meter._held
    assert not meter._keys


def broken() -> None:
    raise ConnectionRefusedError("nobody there")


def test_a_quantile_is_right_within_five_percent_and_bounded() -> None:
    sketch = Sketch()
    for number in range(1, 10_001):
        sketch.add(number / 1000.0)
    times = sketch.times()
    for part in (0.5, 0.9, 0.99, 1.0):
        assert times.quantile(part) == pytest.approx(10.0 * part, rel=0.05)
    assert times.mean == pytest.approx(5.0, rel=0.01)
    for number in range(-400, 400):
        sketch.add(2.0**number)
    assert len(sketch.buckets) <= 521
    assert Sketch().times().quantile(0.5) == 0.0


def test_statistics_have_them_where_somebody_measures() -> None:
    with Scripted(1) as subject:
        assert subject.statistics().wait_times is None
        reader = Reader(subject, None)
        with subject.connection():
            pass
        numbers = subject.statistics()
        assert numbers.wait_times is not None
        assert numbers.hold_times is not None
        assert numbers.wait_times.count == numbers.hold_times.count == 1
        reader.stop()
        assert subject.statistics().wait_times is None
        assert reader.read() is None
        reader.stop()


def test_a_measured_pool_is_collected() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="pip install opentelemetry-sdk")
    subject = Pool(ScriptedDriver().connect, opener="caller")
    instrumented, collected = instrument(subject), collector(subject)
    gone = weakref.ref(subject._runtime)
    del subject
    gc.collect()
    until(lambda: (gc.collect(), gone() is None)[1])
    assert list(collected._readers) != []
    assert all(reader.read() is None for reader in collected._readers)
    instrumented.stop()


def test_the_thread_that_tells_ends_with_the_last_one_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(regularly, "PAUSE", 0.001)
    clocked = Clocked(max_size=1)
    clocked.hold(1.0)
    until(lambda: clocked.reader.meter.holds.count == 1)  # nobody has asked for it
    clocked.reader.stop()

    def is_told() -> bool:
        return clocked.runtime in set(regularly._runtimes)

    until(lambda: not is_told())


def test_where_there_can_be_no_thread_callers_tell(
    monkeypatch: pytest.MonkeyPatch, nobody_tells: None
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise RuntimeError("daemon threads are disabled in this interpreter")

    monkeypatch.setattr(regularly, "_threads", [])
    monkeypatch.setattr("pool.shared.regularly.threading.Thread", none)
    monkeypatch.setattr("pool.metrics.reading.BATCH", 10)
    clocked = Clocked(max_size=1)
    for _ in range(10):
        clocked.hold(1.0)
    assert clocked.reader.meter.holds.count >= 8  # and nobody has asked
    assert regularly._threads == []


def test_a_child_process_has_its_own() -> None:
    clocked = Clocked(max_size=1)
    clocked.hold(1.0)
    assert clocked.meter.holds.count == 1

    def child() -> str:
        clocked.hold(2.0)
        until(lambda: clocked.reader.meter.holds.count == 2)  # told by the child's own thread
        names = [thread.name for thread in threading.enumerate()]
        return f"{names.count('purepool observer')} {clocked.meter.holds.total}"

    assert in_child(child) == "1 3.0"


# ---------------------------------------------------------------- OpenTelemetry


def points(reader: Any) -> dict[tuple[str, Any], Any]:
    found: dict[tuple[str, Any], Any] = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    more = dict(point.attributes)
                    assert more.pop("db.client.connection.pool.name") == "shop"
                    value = getattr(point, "value", None)
                    value = (point.count, point.sum) if value is None else value
                    found[metric.name, (*more.values(),)] = value
                    found[metric.name, "unit"] = metric.unit
    return found


def test_opentelemetry() -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.metrics", reason="pip install opentelemetry-sdk")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader = export.InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    with Scripted(2, opener="caller", name="shop") as subject:
        instrumented = instrument(subject, meter_provider=provider)
        held = subject.acquire()
        with subject.connection(), pytest.raises(PoolTimeout):
            subject.acquire(0.001)
        subject.suspend()
        with pytest.raises(PoolTimeout):
            subject.acquire(0)
        subject.resume()
        found = points(reader)
        name = "db.client.connection"
        assert found[f"{name}.count", ("used",)] == 1
        assert found[f"{name}.count", ("idle",)] == 1
        assert found[f"{name}.max", ()] == found[f"{name}.idle.max", ()] == 2
        assert found[f"{name}.idle.min", ()] == 0
        assert found[f"{name}.pending_requests", ()] == 0
        assert found[f"{name}.timeouts", ()] == 1
        assert found["purepool.refusals", ("suspended",)] == 1
        assert found["purepool.connects.failed", ()] == 0
        assert found["purepool.oldest_lease", ()] > 0
        assert found["purepool.saturated.time", ()] > 0
        assert found[f"{name}.create_time", ()][0] == 2
        assert found[f"{name}.wait_time", ()][0] == 2
        count, total = found[f"{name}.use_time", ()]
        assert count == 1
        assert total > 0.001
        for part in ("create_time", "wait_time", "use_time"):
            assert found[f"{name}.{part}", "unit"] == "s"
        held.release()
        subject.drain()
        assert points(reader)["purepool.closes", ("retired",)] == 2
        instrumented.stop()
        instrumented.stop()
        assert (f"{name}.count", ("used",)) not in points(reader)
    provider.shutdown()


def test_without_the_library_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with Scripted(1) as subject:
        with pytest.raises(ModuleNotFoundError, match=r"purepool\[otel\]"):
            instrument(subject)
        with pytest.raises(ModuleNotFoundError, match=r"purepool\[prometheus\]"):
            collector(subject)


# ---------------------------------------------------------------- Prometheus


def test_prometheus_over_http() -> None:
    client = pytest.importorskip("prometheus_client", reason="pip install prometheus-client")
    registry = client.CollectorRegistry()
    database = scripted_database(3)
    with Scripted(2, opener="caller", name="shop") as subject:
        collected = collector(subject)
        collected.add(database, "orders")
        registry.register(collected)
        held = subject.acquire()
        with subject.connection():
            pass
        database.connect()
        server, thread = client.start_http_server(0, "127.0.0.1", registry)
        try:
            port = server.server_port
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                lines = set(answer.read().decode().splitlines())
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        held.release()
        for line in (
            'db_client_connection_count{pool="shop",state="used"} 1.0',
            'db_client_connection_count{pool="shop",state="idle"} 1.0',
            'db_client_connection_count{pool="orders",state="used"} 1.0',
            'db_client_connection_max{pool="shop"} 2.0',
            'db_client_connection_max{pool="orders"} 3.0',
            'db_client_connection_timeouts_total{pool="shop"} 0.0',
            'db_client_connection_wait_time_seconds_count{pool="shop"} 2.0',
            'db_client_connection_use_time_seconds_bucket{le="+Inf",pool="shop"} 1.0',
            'db_client_connection_create_time_seconds_count{pool="shop"} 2.0',
            "# TYPE db_client_connection_use_time_seconds histogram",
        ):
            assert line in lines, sorted(lines)
        database.close()
        collected.stop()
        assert "shop" not in client.generate_latest(registry).decode()


# ---------------------------------------------------------------- health


def test_the_health_of_a_state() -> None:
    state = initial(Limits(max_size=1, opener="background"))
    assert health_of(state, 0.0).status == "ok"
    failed = step(step(state, Acquire(1.0, 1))[0], OpenFailed(2.0, None, Failure("E", "secret")))[0]
    down = health_of(failed, 3.0)
    assert (down.status, down.is_ok) == ("down", False)
    assert "secret" not in str(down)
    lent = step(step(state, Acquire(1.0, 1))[0], Opened(2.0, None, "c", 1.0))[0]
    assert health_of(lent, 3.0).status == "ok"
    busy = health_of(step(lent, Acquire(3.0, 2))[0], 7.0)
    assert (busy.status, busy.is_ok) == ("degraded", True)
    assert busy.reasons == ("1 wait, all 1 connections are in use, the oldest lease for 5.0 s",)
    assert health_of(step(lent, Suspend(3.0))[0], 3.0).reasons == ("the pool is suspended",)
    closed = health_of(step(lent, Shutdown(3.0))[0], 3.0)
    assert (closed.status, closed.reasons) == ("down", ("the pool is closed",))


@pytest.mark.parametrize(("now", "text"), [(2.3, "0.3"), (1.0, "0.0")])
def test_a_lease_is_never_older_than_it_is(now: float, text: str) -> None:
    """Nor younger than nothing, by whatever clock it was lent."""
    state = initial(Limits(max_size=1, opener="background"))
    for event in (Acquire(1.0, 1), Opened(2.0, None, "c", 1.0), Acquire(2.0, 2)):
        state = step(state, event)[0]
    (reason,) = health_of(state, now).reasons
    assert reason.endswith(f"the oldest lease for {text} s")


@pytest.mark.parametrize(("lent", "idle"), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)])
def test_a_pool_that_still_has_connections_is_not_down(lent: int, idle: int) -> None:
    state = initial(Limits(max_size=4, opener="background"))
    for key in range(1, lent + idle + 1):
        for event in (Acquire(1.0, key), Opened(1.0, None, f"c{key}", 1.0)):
            state = step(state, event)[0]
    for key in range(lent + 1, lent + idle + 1):
        state = step(state, Release(2.0, key, key))[0]
    health = health_of(state._replace(last_error=Failure("OSError", "secret")), 3.0)
    assert health.status == ("degraded" if lent or idle else "down")
    assert health.reasons == ("the last connect failed: OSError",)


def test_a_pool_that_cannot_connect_is_down() -> None:
    with Scripted(1, opener="caller") as subject:
        assert subject.health().is_ok
        subject.driver.on_connect = broken
        with pytest.raises(OpenError):
            subject.acquire()
        assert subject.health().status == "down"


def test_the_dashboard_shows_what_is_collected() -> None:
    client = pytest.importorskip("prometheus_client", reason="pip install prometheus-client")
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:db_client|purepool)_\w+", target["expr"])
    }
    registry = client.CollectorRegistry()
    with Scripted(1, opener="caller") as subject:
        registry.register(collector(subject))
        subject.acquire(0).discard()
        with subject.connection(), pytest.raises(PoolTimeout):
            subject.acquire(0)
        there = set(re.findall(r"^(\w+)\{", client.generate_latest(registry).decode(), re.M))
    assert asked
    assert asked - there == set()


def test_the_picture_of_the_dashboard_shows_its_panels() -> None:
    picture = (ROOT / "docs" / "pictures" / "dashboard.svg").read_text("utf-8")
    panels = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))["panels"]
    assert len(panels) == 10
    assert all(f">{panel['title']}</text>" in picture for panel in panels)


def test_queries_of_the_dashboard_are_answered_as_by_prometheus() -> None:
    def line(name: str, values: list[float | None], **labels: str) -> dict[str, Any]:
        return {"name": name, "labels": labels, "values": values}

    series = [
        line("calls_total", [None, 10.0, 14.0, 30.0], pool="a", reason="x"),
        line("calls_total", [0.0, 1.0, 2.0, 3.0], pool="a", reason="y"),
        *(
            line("wait_bucket", [0.0, count], pool="a", le=le)
            for le, count in (("0.1", 50.0), ("0.5", 90.0), ("+Inf", 100.0))
        ),
    ]
    rate = 'rate(calls_total{pool=~"$pool"}[$__rate_interval])'
    x, y = dashboard.answer(rate, series[:2], 2.0).values()
    assert x == [None, None, 2.0, 5.0]
    assert y == [None, 0.5, 0.5, 0.5]
    (both,) = dashboard.answer(f"sum by (pool) ({rate})", series[:2], 2.0).values()
    assert both == [None, 0.5, 2.5, 5.5]

    def quantile(part: float) -> float | None:
        rates = 'sum by (le, pool) (rate(wait_bucket{pool=~"$pool"}[$__rate_interval]))'
        query = f"histogram_quantile({part}, {rates})"
        ((labels, found),) = dashboard.answer(query, series[2:], 1.0).items()
        assert dashboard.named("{{pool}} p", labels) == "a p"
        return found[1]

    assert quantile(0.5) == pytest.approx(0.1)
    assert quantile(0.7) == pytest.approx(0.3)
    assert quantile(0.99) == pytest.approx(0.5)  # in the last bucket: where that begins
    with pytest.raises(ValueError, match="not understood: irate"):
        dashboard.answer("irate(calls_total[5m])", series, 1.0)
