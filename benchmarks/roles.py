"""What making a tenant costs all others: ``python -m benchmarks.roles [--tenants 10000]``.

PostgreSQL reads all memberships of a login role anew at the first SET ROLE of a session
after any role was made. Clients ask for one row of one random tenant after the other, in
turns while nothing else happens and while tenants are made: one by one as a shard server
makes them, and with a role for each at that moment, as a plain server would.
"""

import argparse
import random
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import servers
from mtdd_router import dbapi
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.location import Location
from mtdd_router.types import Isolation, Placement, TenantState

_ROOT = Path(__file__).resolve().parent.parent
_QUERIED = 200
# As a superuser, who is spared the reading of memberships that is measured here.
_FILL = """
DO $$
DECLARE
    mark text = (SELECT 'django-mtdd: tenant of shard ' || shard_id FROM mtdd.shard);
    name text;
BEGIN
    FOR i IN 1..{count} LOOP
        name := 't_' || i;
        EXECUTE format('CREATE ROLE %I', name);
        EXECUTE format('COMMENT ON ROLE %I IS %L', name, mark);
        {grants}
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', name, name);
        IF i <= {queried} THEN
            EXECUTE format('CREATE TABLE %I.t AS SELECT 1 AS id, %L AS word', name, name);
            EXECUTE format('ALTER TABLE %I.t OWNER TO %I', name, name);
        END IF;
        INSERT INTO mtdd.placement (tenant, isolation, namespace, role, epoch, state)
        VALUES ('t' || i, 'schema', name, name, 1, 'active');
    END LOOP;
END $$
"""
_GRANTS = {
    15: "EXECUTE format('GRANT %I TO mtdd_shard', name);",
    16: "EXECUTE format('GRANT %I TO mtdd_shard WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', name);"
    " EXECUTE format('GRANT %I TO mtdd_shard WITH INHERIT FALSE, SET TRUE GRANTED BY mtdd_shard',"
    " name);",
}


class _Fixed:
    def __init__(self, location: Location) -> None:
        self._location = location

    def permit(self) -> None:
        """Refuse nothing."""

    def locate(self) -> Location:
        return self._location

    def relocate(self, stale: Location) -> Location:
        return stale


def _connect(address: str, number: int) -> dbapi.Connection[Any]:
    location = Location(Endpoint(address, "only"), f"t{number}", 1)
    return dbapi.connect(_Fixed(location), database=f"t{number}", autocommit=True)


class _Clients:
    """Threads that ask, each at its own pace, and note how long each answer took."""

    def __init__(self, address: str, count: int, pause: float) -> None:
        self._address = address
        self._pause = pause
        self._seconds: list[float] = []
        self._ended = threading.Event()
        self._own = _connect(address, 1)
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def ask(self) -> float:
        """Ask once, from this thread; return how long the answer took."""
        begun = time.perf_counter()
        self._own.execute("SELECT word FROM t WHERE id = 1").fetchone()
        return time.perf_counter() - begun

    def observe(self, seconds: float) -> list[float]:
        self._seconds = []
        time.sleep(seconds)
        return sorted(self._seconds)

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._own.close()

    def _work(self) -> None:
        connections = [_connect(self._address, number) for number in range(1, _QUERIED + 1)]
        while not self._ended.wait(random.uniform(0, 2 * self._pause)):
            connection = random.choice(connections)
            begun = time.perf_counter()
            connection.execute("SELECT word FROM t WHERE id = 1").fetchone()
            self._seconds.append(time.perf_counter() - begun)
        for connection in connections:
            connection.close()


@contextmanager
def _repeating(
    work: Callable[[], object], ask: Callable[[], float], every: float
) -> Iterator[list[tuple[float, float]]]:
    """Do the work again and again; give how long it took each time, and the next question."""
    ended, took = threading.Event(), list[tuple[float, float]]()

    def repeat() -> None:
        while not ended.wait(every):
            begun = time.perf_counter()
            work()
            took.append((time.perf_counter() - begun, ask()))

    thread = threading.Thread(target=repeat)
    thread.start()
    yield took
    ended.set()
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roles", description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.02, help="between queries, in seconds")
    parser.add_argument("--every", type=float, default=0.25, help="makes a tenant, in seconds")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each part of a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with servers.started() as postgres:
        dsn = postgres.create_shard_database("roles")
        with servers.Shard(dsn, root=_ROOT) as shard:
            major = int(postgres.version.partition(".")[0])
            grants = _GRANTS[min(max(major, 15), 16)]
            with psycopg.connect(postgres.dsn("roles"), autocommit=True) as connection:
                connection.execute(
                    _FILL.format(count=given.tenants, queried=_QUERIED, grants=grants).encode()
                )
            postgres.analyze("roles")
            with closing(psycopg.connect(dsn, autocommit=True)) as plain:
                _measure(shard.address, plain, given, postgres.version)


def _measure(
    address: str, plain: "psycopg.Connection[object]", given: argparse.Namespace, version: str
) -> None:
    admin = ShardAdmin(address, shard="only", timeout=60)

    def as_the_server_does() -> None:
        name = f"n_{secrets.token_hex(6)}"
        admin.create_namespace(
            Placement(name.replace("_", "-"), Isolation.SCHEMA, name, name, 1, TenantState.ACTIVE)
        )

    def with_a_role_of_its_own() -> None:
        name = f"n_{secrets.token_hex(6)}"
        grant = f"GRANT {name} TO CURRENT_USER"
        if version >= "16":
            grant += " WITH INHERIT FALSE, SET TRUE"
        plain.execute(
            f"CREATE ROLE {name}; {grant}; CREATE SCHEMA {name} AUTHORIZATION {name}".encode()
        )

    parts = {
        "nothing": lambda: None,
        "tenants, by the server": as_the_server_does,
        "tenants, a role each": with_a_role_of_its_own,
    }
    answers: dict[str, list[list[float]]] = {name: [] for name in parts}
    takes: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    as_the_server_does()
    while plain.execute("SELECT FROM mtdd.spare_role LIMIT 1").rowcount == 0:
        # Made by the server, when it has seen how many tenants there are.
        time.sleep(0.1)
    clients = _Clients(address, given.clients, given.pause)
    clients.observe(5 * given.seconds)
    for _ in range(given.rounds):
        for name, work in parts.items():
            with _repeating(work, clients.ask, given.every) as took:
                answers[name].append(clients.observe(given.seconds))
            takes[name] += took
    clients.end()
    table = Table(
        "made meanwhile",
        "each takes, ms",
        "next query, ms",
        "queries",
        "p50, ms",
        "p99, ms",
        "slowest, ms",
        title=f"Point queries of {_QUERIED} among {given.tenants:,} tenants, PostgreSQL {version}",
    )
    for name, rounds in answers.items():
        each, following = (
            f"{1e3 * statistics.median(part):.1f}" for part in zip(*takes[name], strict=True)
        )
        table.add_row(
            name,
            each,
            following,
            f"{sum(map(len, rounds)):,}",
            *(
                f"{1e3 * statistics.median(part[int(len(part) * share)] for part in rounds):.1f}"
                for share in (0.5, 0.99)
            ),
            f"{1e3 * max(part[-1] for part in rounds):.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
