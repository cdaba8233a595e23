"""For Prometheus: a collector for `prometheus_client`, by the same names, as it writes them."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Any

from pool.metrics.otel import BOUNDARIES
from pool.metrics.reading import Reader, Reading
from pool.shared.meter import Times, end_of

PREFIX = "db_client_connection"


class Collector:
    """What a registry of `prometheus_client` asks for the metrics of pools. Made by `collector`, of
    `pools`. Thread-safe. It does not keep the pools alive."""

    def __init__(self, pools: tuple[Any, ...]) -> None:
        try:
            from prometheus_client import core
        except ModuleNotFoundError:
            text = "prometheus_client is missing: `pip install 'purepool[prometheus]'` brings it"
            raise ModuleNotFoundError(text, name="prometheus_client") from None
        self._core = core
        self._readers: list[Reader] = []
        for pool in pools:
            self.add(pool)

    def add(self, pool: Any, name: str | None = None) -> None:
        """Collect of this `pool`, too. `name`: its label `pool`; None: the pool's own."""
        self._readers.append(Reader(pool, name))

    def stop(self) -> None:
        """Collect nothing any more. May be called again."""
        for reader in self._readers:
            reader.stop()
        self._readers.clear()

    def describe(self) -> list[Any]:
        """Nothing: its names are its own, and a registry need not collect to know them."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics of this instant."""
        core = self._core
        seen = [(reader.name, one) for reader in self._readers if (one := reader.read())]

        def gauge(name: str, about: str, of: Any, *labels: str) -> Any:
            return _filled(core.GaugeMetricFamily, name, about, of, labels, seen)

        def counter(name: str, about: str, of: Any, *labels: str) -> Any:
            return _filled(core.CounterMetricFamily, name, about, of, labels, seen)

        yield gauge(f"{PREFIX}_count", "Connections, by state", _counts, "state")
        yield gauge(f"{PREFIX}_max", "Most open connections", _most)
        yield gauge(f"{PREFIX}_idle_max", "Most idle connections", _most)
        yield gauge(f"{PREFIX}_idle_min", "Idle ones kept ready", _least)
        yield gauge(f"{PREFIX}_pending_requests", "Callers that wait", _waiting)
        yield gauge("purepool_oldest_lease_seconds", "How long the oldest lease lasts", _oldest)
        yield counter(f"{PREFIX}_timeouts", "Callers whose timeout passed", _timeouts)
        yield counter("purepool_refusals", "Callers that were refused", _refused, "reason")
        yield counter("purepool_closes", "Connections that were closed", _closed, "reason")
        yield counter("purepool_connects_failed", "Connects that failed", _failed)
        yield counter(
            "purepool_saturated_seconds",
            "Time in which every connection was in use and somebody waited",
            _saturated,
        )
        for name, about, part in (
            ("create_time", "The time it took to create a new connection", "connects"),
            ("wait_time", "The time it took to obtain an open connection", "waits"),
            ("use_time", "The time between borrowing a connection and returning it", "holds"),
        ):
            family = core.HistogramMetricFamily(f"{PREFIX}_{name}_seconds", about, labels=["pool"])
            for pool, one in seen:
                times = getattr(one.meter, part).times()
                family.add_metric([pool], buckets=_buckets(times), sum_value=times.total)
            yield family


def collector(*pools: Any) -> Collector:
    """A collector for `pools`: `REGISTRY.register(collector(pool))`. Needs the extra `prometheus`.

    Each is a `Pool`, one for asyncio, or a pooled database of peewee. A thread is started that
    tells what was counted, four times a second. May be called from any thread; for a pool for
    asyncio, on its loop."""
    return Collector(pools)


def _filled(kind: Any, name: str, about: str, of: Any, labels: Any, seen: Any) -> Any:
    family = kind(name, about, labels=["pool", *labels])
    for pool, one in seen:
        for more, value in of(one):
            family.add_metric([pool, *more], value)
    return family


def _buckets(times: Times) -> list[tuple[str, float]]:
    """Counts up to each boundary, of counts in finer buckets: within 5 % of the boundary."""
    counts = [0] * (len(BOUNDARIES) + 1)
    for bucket, count in times.buckets.items():
        middle = end_of(bucket) / 1.025
        counts[bisect.bisect_left(BOUNDARIES, middle)] += count
    found, up_to = [], 0
    for boundary, count in zip((*map(str, BOUNDARIES), "+Inf"), counts, strict=True):
        up_to += count
        found.append((boundary, float(up_to)))
    return found


def _counts(seen: Reading) -> list[tuple[list[str], float]]:
    return [([state], count) for state, count in seen.counts]


def _most(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], most) for most in seen.most]


def _least(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], seen.state.limits.min_idle)]


def _waiting(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], seen.waiting)]


def _oldest(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], seen.oldest)]


def _timeouts(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], seen.meter.refused["timeout"])]


def _refused(seen: Reading) -> list[tuple[list[str], float]]:
    return [([reason], count) for reason, count in seen.refused]


def _closed(seen: Reading) -> list[tuple[list[str], float]]:
    return [([reason], count) for reason, count in seen.closed]


def _failed(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], seen.meter.failed)]


def _saturated(seen: Reading) -> list[tuple[list[str], float]]:
    return [([], seen.saturated)]
