"""A real run as a dashboard shows it: what was scraped, and what its queries make of that.

Theory.  There is no Grafana here.  So that the picture cannot show what the dashboard does not,
panels, titles, places, units and queries are those of docs/grafana.json, and what they ask for was
scraped, as Prometheus would, from a pool with real threads.  Of its language is here what the
dashboard uses, and nothing else: a query that is not understood is an error.
"""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

from benchmarks.peers import Pretended
from pool import Pool, PoolError

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"

EVERY = 1.0
"""Seconds between two scrapes."""

WINDOW = 4
"""Scrapes that `$__rate_interval` spans, as in Grafana."""

Labels = tuple[tuple[str, str], ...]
Line = list[float | None]


@attrs.frozen
class Phase:
    """What happens from this second on."""

    since: float
    about: str
    rate: float
    """Calls each second."""
    is_down: bool = False


PHASES = (
    Phase(0, "an ordinary day", 60),
    Phase(30, "a rush", 230),
    Phase(50, "an ordinary day", 60),
    Phase(65, "the database is down", 60, is_down=True),
    Phase(80, "an ordinary day, and a leak", 60),
)
SECONDS = 120.0


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


# ---------------------------------------------------------------- recording


class _Outage(Exception):
    """The database does not answer."""


def record() -> dict[str, Any]:
    """Two minutes of a service: ordinary, a rush, an outage, a leak; scraped each second."""
    from prometheus_client import CollectorRegistry

    from pool.metrics import collector

    draw, registry = random.Random(1), CollectorRegistry()
    began = time.monotonic()

    def phase() -> Phase:
        now = time.monotonic() - began
        return [each for each in PHASES if each.since <= now][-1]

    def connect() -> Any:
        time.sleep(0.02)
        if phase().is_down:
            raise _Outage("down")
        return Pretended()

    def call(hold: float) -> None:
        try:
            with pool.connection(timeout=0.3):
                time.sleep(hold)
                if phase().is_down:
                    raise KeyboardInterrupt  # what is no error of the program spoils a connection
        except (PoolError, _Outage, KeyboardInterrupt):
            pass

    pool = Pool(connect, name="shop", max_size=8, max_lifetime=25.0, max_idle=8.0)
    registry.register(collector(pool))
    scrapes: list[dict[tuple[str, Labels], float]] = []
    at, leaked = 0.0, None
    while at < SECONDS:
        at += draw.expovariate(phase().rate)
        while len(scrapes) * EVERY <= at and len(scrapes) * EVERY <= SECONDS:
            time.sleep(max(0.0, began + len(scrapes) * EVERY - time.monotonic()))
            scrapes.append(_scrape(registry))
        if leaked is None and at > 90.0:
            leaked = pool.acquire()
        time.sleep(max(0.0, began + at - time.monotonic()))
        hold = draw.expovariate(1 / 0.03)
        threading.Thread(target=call, args=(hold,), daemon=True).start()
    pool.close()
    return {"kind": "dashboard", "every": EVERY, "phases": _phases(), "series": _series(scrapes)}


def _phases() -> list[list[Any]]:
    return [[each.since, each.about] for each in PHASES]


def _scrape(registry: Any) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def _series(scrapes: list[dict[tuple[str, Labels], float]]) -> list[dict[str, Any]]:
    """Those that the dashboard asks for."""
    asked = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in re.findall(r"\b(?:db_client|purepool)_\w+", target["expr"])
    }
    known = dict.fromkeys(key for scrape in scrapes for key in scrape if key[0] in asked)
    return [
        {
            "name": name,
            "labels": dict(labels),
            "values": [
                round(scrape[name, labels], 4) if (name, labels) in scrape else None
                for scrape in scrapes
            ],
        }
        for name, labels in known
    ]


# ---------------------------------------------------------------- queries


def answer(query: str, series: list[dict[str, Any]], every: float) -> dict[Labels, Line]:
    """What a query gives at each scrape, by labels. Raises `ValueError` for what is not here."""
    query = query.strip()
    if found := re.fullmatch(r"histogram_quantile\(([\d.]+), (.*)\)", query):
        return _quantiles(float(found[1]), answer(found[2], series, every))
    if found := re.fullmatch(r"sum by \(([\w, ]+)\) \((.*)\)", query):
        return _sums(found[1].split(", "), answer(found[2], series, every))
    if found := re.fullmatch(r"rate\((.*)\[\$__rate_interval\]\)", query):
        lines = answer(found[1], series, every)
        return {labels: _rates(line, every) for labels, line in lines.items()}
    if found := re.fullmatch(r'(\w+)\{pool=~"\$pool"\}', query):
        return {
            tuple(sorted(each["labels"].items())): each["values"]
            for each in series
            if each["name"] == found[1]
        }
    raise ValueError(f"a query that is not understood: {query}")


def _rates(line: Line, every: float) -> Line:
    """The increase for each second over the window; a counter that begins anew is not here."""
    rates: Line = []
    for place in range(len(line)):
        seen = [value for value in line[max(0, place - WINDOW) : place + 1] if value is not None]
        spanned = every * (len(seen) - 1)
        rates.append((seen[-1] - seen[0]) / spanned if len(seen) > 1 else None)
    return rates


def _sums(names: list[str], lines: dict[Labels, Line]) -> dict[Labels, Line]:
    sums: dict[Labels, Line] = {}
    for labels, line in lines.items():
        group = tuple((name, value) for name, value in labels if name in names)
        before = sums.get(group, [None] * len(line))
        sums[group] = [
            one if other is None else other if one is None else one + other
            for one, other in zip(before, line, strict=True)
        ]
    return sums


def _quantiles(part: float, lines: dict[Labels, Line]) -> dict[Labels, Line]:
    groups: dict[Labels, list[tuple[float, Line]]] = {}
    for labels, line in lines.items():
        end = float(dict(labels)["le"])
        group = tuple(one for one in labels if one[0] != "le")
        groups.setdefault(group, []).append((end, line))
    return {
        group: [_quantile(part, [(end, line[at]) for end, line in sorted(ends)]) for at in places]
        for group, ends in groups.items()
        if (places := range(len(ends[0][1])))
    }


def _quantile(part: float, buckets: list[tuple[float, float | None]]) -> float | None:
    """By interpolation within the bucket, as Prometheus does it."""
    counts = [(end, count or 0.0) for end, count in buckets]
    wanted = part * counts[-1][1]
    if not wanted:
        return None
    for (start, below), (end, count) in pairwise([(0.0, 0.0), *counts]):
        if count >= wanted:
            share = (wanted - below) / (count - below) if count > below else 1.0
            return start if math.isinf(end) else start + (end - start) * share
    return None


def named(legend: str, labels: Labels) -> str:
    """A legend of Grafana's, with its labels put in."""
    values = dict(labels)
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values.get(found[1], ""), legend).strip()
