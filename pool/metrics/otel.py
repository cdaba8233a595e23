"""For OpenTelemetry, by the semantic conventions for pools of database connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pool.metrics.reading import Reader, Reading

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Seconds, between the buckets of histograms, as the conventions advise."""

_HISTOGRAMS = {
    "connect": ("create_time", "The time it took to create a new connection"),
    "wait": ("wait_time", "The time it took to obtain an open connection from the pool"),
    "hold": ("use_time", "The time between borrowing a connection and returning it to the pool"),
}


class Instrumented:
    """A pool whose metrics go to OpenTelemetry, until `stop`. Made by `instrument`, of a `pool`, a
    `meter_provider` and a `name`. Thread-safe. It does not keep the pool alive."""

    def __init__(self, pool: Any, meter_provider: Any, name: str | None) -> None:
        try:
            from opentelemetry import metrics
        except ModuleNotFoundError:
            text = "opentelemetry is missing: `pip install 'purepool[otel]'` brings it"
            raise ModuleNotFoundError(text, name="opentelemetry") from None
        self._metrics = metrics
        meter = metrics.get_meter("purepool", meter_provider=meter_provider)
        self._times = {
            what: _histogram(meter, f"db.client.connection.{name}", about)
            for what, (name, about) in _HISTOGRAMS.items()
        }
        times: dict[str, Any] = self._times
        attributes: dict[str, str] = {}
        # No reference to this object: the pool has the function.
        reader = Reader(pool, name, lambda what, seconds: times[what].record(seconds, attributes))
        attributes[POOL_NAME] = reader.name
        self._reader = reader
        self._instrument(meter)

    def stop(self) -> None:
        """Report nothing of this pool any more. May be called again."""
        self._reader.stop()

    def _instrument(self, meter: Any) -> None:
        up_down = meter.create_observable_up_down_counter
        counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
        name = "db.client.connection"
        up_down(f"{name}.count", [self._see(_counts)], "{connection}", "Connections, by state")
        up_down(f"{name}.idle.max", [self._see(_most)], "{connection}", "Most idle connections")
        up_down(f"{name}.idle.min", [self._see(_least)], "{connection}", "Idle ones kept ready")
        up_down(f"{name}.max", [self._see(_most)], "{connection}", "Most open connections")
        waiting = self._see(lambda seen: [({}, seen.waiting)])
        up_down(f"{name}.pending_requests", [waiting], "{request}", "Callers that wait")
        timeouts = self._see(lambda seen: [({}, seen.meter.refused["timeout"])])
        counter(f"{name}.timeouts", [timeouts], "{timeout}", "Callers whose timeout passed")
        refused = self._see(lambda seen: _by_reason(seen.refused))
        counter("purepool.refusals", [refused], "{request}", "Callers that were refused")
        closed = self._see(lambda seen: _by_reason(seen.closed))
        counter("purepool.closes", [closed], "{connection}", "Connections that were closed")
        failed = self._see(lambda seen: [({}, seen.meter.failed)])
        counter("purepool.connects.failed", [failed], "{connect}", "Connects that failed")
        full = self._see(lambda seen: [({}, seen.saturated)])
        text = "Time in which every connection was in use and somebody waited"
        counter("purepool.saturated.time", [full], "s", text)
        oldest = self._see(lambda seen: [({}, seen.oldest)])
        gauge("purepool.oldest_lease", [oldest], "s", "How long the oldest lease lasts")

    def _see(self, read: Callable[[Reading], list[tuple[dict[str, str], float]]]) -> Any:
        reader, observation = self._reader, self._metrics.Observation
        mine = {POOL_NAME: reader.name}

        def callback(_: Any) -> Iterable[Any]:
            seen = reader.read()
            return (
                [observation(value, {**mine, **more}) for more, value in read(seen)] if seen else []
            )

        return callback


def instrument(pool: Any, *, meter_provider: Any = None, name: str | None = None) -> Instrumented:
    """Report the metrics of a pool to OpenTelemetry: needs the extra `otel`.

    `pool` is a `Pool`, one for asyncio, or a pooled database of peewee. `meter_provider` is that of
    OpenTelemetry; None: the global one. `name` is the attribute `db.client.connection.pool.name`;
    None: the pool's own. A thread is started that tells what was counted, four times a second. May
    be called from any thread; for a pool for asyncio, on its loop."""
    return Instrumented(pool, meter_provider, name)


def _histogram(meter: Any, name: str, about: str) -> Any:
    given = {"name": name, "unit": "s", "description": about}
    try:
        return meter.create_histogram(**given, explicit_bucket_boundaries_advisory=BOUNDARIES)
    except TypeError:  # an older one, whose boundaries the program chooses
        return meter.create_histogram(**given)


def _counts(seen: Reading) -> list[tuple[dict[str, str], float]]:
    return [({STATE: state}, count) for state, count in seen.counts]


def _most(seen: Reading) -> list[tuple[dict[str, str], float]]:
    return [({}, most) for most in seen.most]


def _least(seen: Reading) -> list[tuple[dict[str, str], float]]:
    return [({}, seen.state.limits.min_idle)]


def _by_reason(counts: list[tuple[str, float]]) -> list[tuple[dict[str, str], float]]:
    return [({"reason": reason}, count) for reason, count in counts]
