"""What a turn costs with the connections that people have: psycopg 3 to a real PostgreSQL.

Theory.  A pretended connection answers at once whatever it is asked, so it flatters the pool that
asks most.  Here each pool asks real ones what it has to ask, such as whether a transaction is open.
The server is one of the tests' own; a turn does not talk to it, for a clean connection costs none
of these pools a round trip.  The last row is a turn with one query, to see what is left of it all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.claims import OURS, Claim, Plan, Row
from benchmarks.peers import PATIENCE, Database, DBUtils, Peer, PsycopgPool, Purepool, SQLAlchemy
from benchmarks.uncontended import BLOCK, PLAIN, compare, plainly, within

MOST = 5


class Server(Database):
    """Where real connections come from: a DB-API module, as far as the pools look at one."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        import psycopg

        super().__init__()
        self.parameters = parameters
        self.Error, self.OperationalError = psycopg.Error, psycopg.OperationalError  # type: ignore
        self.InternalError = psycopg.InternalError  # type: ignore
        self.InterfaceError = psycopg.InterfaceError  # type: ignore

    def connect(self, *_: object, **__: object) -> Any:
        import psycopg

        return psycopg.connect(**self.parameters)


class RealPsycopgPool(PsycopgPool):
    def __init__(self, database: Server, *, most: int, ready: int = 0) -> None:
        import psycopg_pool

        self.pool = psycopg_pool.ConnectionPool(
            kwargs=database.parameters, min_size=1, max_size=most, timeout=PATIENCE, open=True
        )
        self.pool.wait(PATIENCE)
        self.acquire = self.pool.getconn  # type: ignore[method-assign]
        self.release = self.pool.putconn  # type: ignore[method-assign]


KINDS: tuple[type[Any], ...] = (Purepool, RealPsycopgPool, SQLAlchemy, DBUtils)


def querying(peer: Any) -> Callable[[], Any]:
    """In the block that the pool's documentation gives."""

    def query(connection: Any) -> None:
        connection.cursor().execute("select 1")

    def in_block() -> None:
        with peer.pool.connection() as connection:
            query(connection)

    def by_hand() -> None:
        lease = peer.acquire()
        try:
            query(lease)
            lease.commit()
        finally:
            peer.release(lease)

    return by_hand if isinstance(peer, (SQLAlchemy, DBUtils)) else in_block


def measure(plan: Plan) -> list[Row]:
    from tests.integration.servers import Postgres, Unavailable, Workplace

    place = Workplace()
    pools: dict[str, Peer] = {}
    try:
        try:
            database = Server(Postgres(place).parameters)
        except Unavailable as reason:
            return [Row("with psycopg", "us", {OURS: str(reason)})]
        missing = {}
        for kind in KINDS:
            try:
                pools[kind.name] = kind(database, most=MOST, ready=1)
            except ImportError:
                missing[kind.name] = f"pip install {kind.install}"
        rows = compare(plan, pools, missing, {PLAIN: plainly, BLOCK: within})
        (figures, _) = compare(plan, pools, missing, {"with a query": querying}, turns=20)
        return [*rows, figures]
    finally:
        for peer in pools.values():
            peer.end()
        place.close()


CLAIMS = (
    Claim(
        "checkout-postgres",
        "Taking and returning a real connection is cheap",
        "The same with psycopg 3 and a PostgreSQL of its own on this machine; runs of 500. "
        "The last row is a block with one query and its commit.",
        measure,
    ),
)
