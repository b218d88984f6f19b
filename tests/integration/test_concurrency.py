"""Many threads on many tenants share few backend connections, and no row goes astray."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction

from demo.flights.models import Plane
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.context import maintenance
from mtdd_router.embedded import Stack
from mtdd_router.types import Isolation, Placement, TenantState
from tenants.models import Shard, Tenant

TENANTS, THREADS, ROUNDS, BACKENDS = 100, 200, 12, 20
PLANES = 5


@pytest.fixture
def tenants(registered_shards: list[Shard]) -> list[str]:
    """A hundred active tenants on both shards, each with one table of rows that name it."""
    rows = [
        Tenant(
            name=f"tenant{number:03}",
            shard=registered_shards[number % len(registered_shards)],
            namespace=f"t_tenant{number:03}",
            role=f"t_tenant{number:03}",
            state=TenantState.ACTIVE,
        )
        for number in range(TENANTS)
    ]
    Tenant.objects.bulk_create(rows)

    def provide(shard: Shard) -> None:
        # Migrations would take a second for each; one table is enough here.
        admin = ShardAdmin(shard.address, shard=shard.name)
        for row in rows:
            if row.shard == shard:
                admin.create_namespace(
                    Placement(
                        tenant=row.name,
                        isolation=Isolation.SCHEMA,
                        namespace=row.namespace,
                        role=row.role,
                        epoch=1,
                        state=TenantState.ACTIVE,
                    )
                )
                with maintenance(), connections[row.name].schema_editor() as editor:
                    editor.create_model(Plane)
                Plane.objects.mtdd(row.name).bulk_create(
                    plane(row.name, number) for number in range(PLANES)
                )
        connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(provide, registered_shards))
    return [row.name for row in rows]


def plane(tenant: str, number: int) -> Plane:
    return Plane(
        tail_number=f"N{number:05}"[-6:], manufacturer=tenant, model=f"{tenant} {number}", seats=1
    )


class Watch:
    """The largest number of backend connections that PostgreSQL itself has seen.

    Only those to the shard's own database count: other tests' servers use the same PostgreSQL.
    """

    def __init__(self, dsn: str) -> None:
        self.most = 0
        self.samples = 0
        self.seen: list[tuple[Any, ...]] = []
        self._dsn = dsn

    @contextmanager
    def watching(self) -> Iterator[None]:
        stop = threading.Event()

        def look() -> None:
            query = (
                "SELECT pid, backend_start::time::text, state, query FROM pg_stat_activity"
                " WHERE application_name = 'mtdd_shard' AND datname = current_database()"
            )
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not stop.wait(0.02):
                    rows = connection.execute(query).fetchall()
                    if len(rows) > self.most:
                        self.most, self.seen = len(rows), rows
                    self.samples += 1

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield
            finally:
                stop.set()
                looking.result()


def use(worker: int, tenants: list[str]) -> Counter[str]:
    """Read, write and run transactions on tenants drawn by lot; return what was added to each."""
    lot = random.Random(worker)
    added: Counter[str] = Counter()
    try:
        for turn in range(ROUNDS):
            tenant = lot.choice(tenants)
            planes = Plane.objects.mtdd(tenant)
            number = worker * ROUNDS + turn + PLANES
            match turn % 4:
                case 0:
                    assert {p.manufacturer for p in planes.all()} == {tenant}
                case 1:
                    created = planes.create(**fields(tenant, number))
                    assert created._state.db == tenant
                    added[tenant] += 1
                case 2:
                    with transaction.atomic(using=tenant):
                        before = planes.select_for_update().get(tail_number="N00000")
                        planes.filter(pk=before.pk).update(seats=before.seats + 1)
                        planes.create(**fields(tenant, number))
                        found = planes.get(tail_number=f"N{number:05}"[-6:])
                        assert found.manufacturer == tenant
                    added[tenant] += 1
                case 3:
                    with pytest.raises(RuntimeError), transaction.atomic(using=tenant):
                        planes.create(**fields(tenant, number))
                        raise RuntimeError("roll back")
    finally:
        connections.close_all()
    return added


def fields(tenant: str, number: int) -> dict[str, Any]:
    made = plane(tenant, number)
    return {name: getattr(made, name) for name in ("tail_number", "manufacturer", "model", "seats")}


def test_200_threads_query_100_tenants_over_20_backend_connections_a_shard(
    stack: Stack, shard_postgres_dsns: dict[str, str], tenants: list[str]
) -> None:
    assert stack.options.pool_size == BACKENDS
    watches = [Watch(dsn) for dsn in shard_postgres_dsns.values()]
    added: Counter[str] = Counter()
    started = time.monotonic()
    with watches[0].watching(), watches[1].watching(), ThreadPoolExecutor(THREADS) as pool:
        begin = threading.Barrier(THREADS)

        def work(worker: int) -> Counter[str]:
            begin.wait()
            return use(worker, tenants)

        for part in pool.map(work, range(THREADS)):
            added.update(part)
    took = time.monotonic() - started
    assert took < 60.0
    for watch in watches:
        assert watch.samples > took
        assert BACKENDS / 2 < watch.most <= BACKENDS, "\n".join(map(str, watch.seen))
    for tenant in tenants:
        rows = Plane.objects.mtdd(tenant)
        assert set(rows.values_list("manufacturer", flat=True)) == {tenant}
        assert rows.count() == PLANES + added[tenant]
    connections.close_all()
