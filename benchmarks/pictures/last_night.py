"""Five minutes without PostgreSQL, recorded: what docs/timeline.md shows.

    python -m benchmarks.pictures.last_night           records it anew, and draws it; seven minutes
    python -m benchmarks.pictures.last_night --draw    draws what was recorded before, again

Theory.  The server is a real one, and it really is away for five minutes: it is stopped as by a
crash, and started again.  Twelve threads share four connections as those of an application do: they
ask, work for some hundredths of a second, think, and ask again; a caller that is refused tries
again after a second.  Another one holds a connection for 2.5 seconds, now and then.  At the end
somebody raises `max_size`.  Nothing is arranged beyond that.

What was recorded is kept in the page itself, docs/pictures/last-night.html.  The pictures are
photographs of it, taken in Chromium.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

from pool import Pool, PoolError
from pool.check.timeline import spans, write
from pool.record import FlightRecorder
from tests.integration.browser import Browser, browser, provide
from tests.integration.servers import Postgres, Workplace

PLACE = Path(__file__).parents[2] / "docs" / "pictures"
PAGE = PLACE / "last-night.html"
TITLE = "Five minutes without PostgreSQL"

BEFORE, AWAY, AFTER = 25.0, 300.0, 30.0
"""Seconds."""


def work(pool: Pool, over: threading.Event, number: int) -> None:
    """What a thread of the application does."""
    import psycopg

    seeded = random.Random(number)
    while not over.is_set():
        try:
            with pool.connection() as connection:
                connection.execute("select pg_sleep(%s)", [seeded.uniform(0.02, 0.12)])
            time.sleep(seeded.uniform(0.2, 0.6))
        except (PoolError, psycopg.Error):
            time.sleep(1.0)


def report(pool: Pool, over: threading.Event) -> None:
    """Holds a connection for long, now and then."""
    import psycopg

    while not over.wait(6.0):
        try:
            with pool.connection() as connection:
                connection.execute("select pg_sleep(2.5)")
        except (PoolError, psycopg.Error):
            time.sleep(1.0)


def record(directory: Path) -> None:
    import psycopg

    place = Workplace()
    try:
        server = Postgres(place)
        pool = Pool(
            lambda: psycopg.connect(**server.parameters),
            name="shop",
            max_size=4,
            min_idle=2,
            timeout=5.0,
            max_lifetime=20.0,
        )
        over = threading.Event()
        threads = [
            threading.Thread(target=work, args=(pool, over, number), name=f"web-{number + 1}")
            for number in range(12)
        ]
        threads.append(threading.Thread(target=report, args=(pool, over), name="report"))
        with FlightRecorder(pool, directory, keep="16 MB"):
            for thread in threads:
                thread.start()
            time.sleep(BEFORE)
            print("==> the server is gone", flush=True)
            server.stop(abruptly=True)
            time.sleep(AWAY)
            print("==> the server is back", flush=True)
            server.start()
            time.sleep(AFTER / 2)
            pool.resize(max_size=6)
            time.sleep(AFTER / 2)
            over.set()
            for thread in threads:
                thread.join()
            pool.close()
    finally:
        place.close()


def packed(page: str) -> bytes:
    """The data that are in it."""
    found = re.search(r'<script id="data" type="text/plain">([^<]*)</script>', page)
    assert found is not None
    return found[1].encode()


def photograph() -> None:
    provide()
    with browser(1400, 660) as shown:
        shown.open(PAGE)
        shown.picture(PLACE / "last-night.png")
        # The end of the outage; below the pointer, the first who got a connection again.
        begin, end = shown.ask("timeline.pools[0].bands[0].map((event) => event)")[:2]
        at = "timeline.pools[0].at"
        shown.ask(f"timeline.show({at}[{end}] - 0.8e6, {at}[{end}] + 0.7e6); timeline.paint()")
        span = shown.ask(
            "(() => { const pool = timeline.pools[0], kind = pool.spans.kind; return"
            f" kind.findIndex((one, i) => one === 0 && pool.spans.last[i] >= {end}); }})()"
        )
        x, y = shown.ask(f"timeline.where(timeline.pools[0], {span})")
        hover(shown, x, y)
        shown.picture(PLACE / "last-night-closer.png")
        assert begin < end
        assert shown.said == []


def hover(shown: Browser, x: float, y: float) -> None:
    top = shown.ask("document.getElementById('view').getBoundingClientRect().top")
    shown.mouse("mouseMoved", x, y + top)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures.last_night")
    parser.add_argument("--draw", action="store_true", help="record nothing, only draw")
    if parser.parse_args().draw:
        PAGE.write_text(write.assemble(packed(PAGE.read_text("utf-8")), TITLE), "utf-8")
    else:
        with tempfile.TemporaryDirectory(prefix="purepool-") as place:
            record(Path(place) / "last-night.rec")
            found = spans.read(Path(place) / "last-night.rec")
        found.source = "last-night.rec"
        PAGE.write_text(write.page([found], TITLE), "utf-8")
    photograph()
    return 0


if __name__ == "__main__":
    sys.exit(main())
