"""``python -m benchmarks.limits``: what each further tenant costs PostgreSQL itself.

One shard is filled step by step. At each step stand the size of the catalogs, the locks
that dropping one tenant takes, what it costs a backend connection to serve some of the
tenants, each with queries on four tables, then with the same again, and how long
archiving one tenant takes: pg_dump reads the catalogs of the whole database.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.migrating import ROOT, timed
from benchmarks.scale_side import configure

# Fewer than a backend connection serves before it is replaced.
SERVED = 400
COLUMNS = (
    "tenants",
    "relations",
    "catalogs, MB",
    "KB a tenant",
    "locks to drop one",
    "queries, ms",
    "again, ms",
    "backend, KB a tenant",
    "archive, s",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[500, 2000, 5000])
    sizes = sorted(parser.parse_args().tenants)
    table = Table(*COLUMNS, title="What tenants cost PostgreSQL")
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.started())
        dsn = postgres.create_shard_database("shard1")
        postgres.create_database("registry")
        with servers.Shard(dsn, root=ROOT) as shard:
            address = shard.address
            configure(str(postgres.folder), postgres.port)
            _begin(address)
        superuser = psycopg.connect(postgres.dsn("shard1"), autocommit=True)
        connection = stack.enter_context(superuser)
        empty = _catalog_bytes(connection)
        for size in sizes:
            with servers.Shard(dsn, root=ROOT, address=address):
                _fill(size)
            postgres.analyze("shard1")
            catalogs = _catalog_bytes(connection)
            # Its backend connections have served nobody yet.
            with servers.Shard(dsn, root=ROOT, address=address):
                _serve(1)
                before = _backend_bytes(connection)
                seconds = [timed(lambda: _serve(SERVED)) for _ in range(2)]
                served = _backend_bytes(connection) - before
                archive = timed(_archive)
            table.add_row(
                f"{size:,}",
                f"{_ask(connection, 'SELECT count(*) FROM pg_class'):,}",
                f"{catalogs / 1e6:.0f}",
                f"{(catalogs - empty) / size / 1e3:.0f}",
                str(_locks(connection)),
                *(f"{1e3 * each / SERVED:.2f}" for each in seconds),
                f"{served / SERVED / 1e3:.0f}",
                f"{archive:.1f}",
            )
    Console().print(table)


def _begin(address: str) -> None:
    from django.core.management import call_command

    from tenants import services

    call_command("migrate", verbosity=0)
    services.register_shard("shard1", address)


def _fill(size: int) -> None:
    """Let there be that many tenants."""
    from tenants import services
    from tenants.models import Tenant

    there = Tenant.objects.count()
    wanted = [services.NewTenant(number, f"t{number:05}") for number in range(there, size)]
    services.create_tenants(wanted, parallel=2)


def _serve(tenants: int) -> None:
    """Query that many tenants, one after the other."""
    from django.contrib.auth.models import Permission
    from django.contrib.sessions.models import Session

    from benchmarks.depot.models import Parcel

    for number in range(tenants):
        tenant = f"t{number:05}"
        list(Parcel._default_manager.using(tenant).filter(weight=number))
        list(Session._default_manager.using(tenant).filter(session_key="none"))
        list(
            Permission._default_manager.using(tenant).filter(
                codename="none", content_type__app_label=""
            )
        )


def _archive() -> None:
    from tenants import services

    with tempfile.TemporaryDirectory() as folder:
        services.archive_tenant("t00000", Path(folder) / "archive")


def _backend_bytes(connection: "psycopg.Connection[Any]") -> int:
    """Return the memory that the shard server's backend processes have to themselves."""
    pids = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'mtdd_shard'"
    ).fetchall()
    total = 0
    for (pid,) in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            # Not what it has touched of the shared buffers.
            if line.startswith("Anonymous:"):
                total += int(line.split()[1]) * 1024
    return total


def _catalog_bytes(connection: "psycopg.Connection[Any]") -> int:
    return _ask(
        connection,
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'pg_catalog'::regnamespace",
    )


def _locks(connection: "psycopg.Connection[Any]") -> int:
    """Return how many locks it takes to drop a tenant."""
    schema = connection.execute(
        "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname LIKE 't\\_%' LIMIT 1"
    ).fetchone()
    assert schema is not None
    with connection.transaction(force_rollback=True):
        connection.execute(f"DROP SCHEMA {schema[0]} CASCADE".encode())
        return _ask(connection, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")


def _ask(connection: "psycopg.Connection[Any]", query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
