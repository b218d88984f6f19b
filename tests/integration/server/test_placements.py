"""The cache of placements, against a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from mtdd_router.errors import ShardUnavailable
from mtdd_router.server.bootstrap import PLACEMENT_CHANNEL, bootstrap
from mtdd_router.server.control import AsyncConnection, ControlConnection
from mtdd_router.server.placements import PlacementTable
from mtdd_router.types import Isolation, Placement, TenantState

Test = Callable[[PlacementTable, ControlConnection, psycopg.AsyncConnection[Any]], Awaitable[None]]


async def prepare(connection: AsyncConnection) -> None:
    await bootstrap(connection, "extensions")


@asynccontextmanager
async def control_connection(dsn: str) -> AsyncIterator[ControlConnection]:
    control = ControlConnection(dsn, channel=PLACEMENT_CHANNEL, prepare=prepare)
    running = asyncio.create_task(control.run())
    try:
        yield control
    finally:
        running.cancel()
        await asyncio.wait([running])


def run(dsn: str, test: Test) -> None:
    async def main() -> None:
        async with control_connection(dsn) as control:
            table = PlacementTable(control)
            await control.attempted()
            assert control.connected
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
                await test(table, control, other)

    asyncio.run(main())


async def insert(other: psycopg.AsyncConnection[Any], tenant: str, epoch: int = 1) -> None:
    await other.execute(
        "INSERT INTO mtdd.placement (tenant, isolation, namespace, role, epoch, state)"
        " VALUES (%s, 'schema', %s, %s, %s, 'active')",
        [tenant, f"t_{tenant}", f"t_{tenant}", epoch],
    )


async def known(table: PlacementTable, tenant: str) -> Placement:
    """Look *tenant* up until it is kept: news of its insert may come during the first read."""
    async with asyncio.timeout(10):
        while (placement := table.get(tenant)) is None:
            assert await table.lookup(tenant) is not None
    return placement


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def end_backends(other: psycopg.AsyncConnection[Any]) -> None:
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
        " 'mtdd_shard' AND datname = current_database()"
    )


def test_a_placement_is_read_once_and_then_known(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        assert table.get("abc") is None
        found = await known(table, "abc")
        assert found == Placement("abc", Isolation.SCHEMA, "t_abc", "t_abc", 1, TenantState.ACTIVE)
        assert table.get("abc") is found
        async with control.use():
            # The connection is taken: only the cache can answer.
            assert await asyncio.wait_for(table.lookup("abc"), 1) is found

    run(shard_dsn, test)


def test_a_tenant_that_comes_later_is_found_at_once(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, _control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        assert await table.lookup("abc") is None
        await insert(other, "abc")
        assert await table.lookup("abc") is not None

    run(shard_dsn, test)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("UPDATE mtdd.placement SET epoch = 2", 2),
        ("UPDATE mtdd.placement SET tenant = 'xyz'", None),
        ("DELETE FROM mtdd.placement", None),
        ("TRUNCATE mtdd.placement CASCADE", None),
    ],
)
def test_a_change_made_by_anybody_drops_it_from_the_cache(
    shard_dsn: str, change: str, left: int | None
) -> None:
    async def test(
        table: PlacementTable, _control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        await known(table, "abc")
        await other.execute(change.encode())
        await eventually(lambda: table.get("abc") is None)
        found = await table.lookup("abc")
        assert (found.epoch if found else None) == left

    run(shard_dsn, test)


def test_a_fresh_lookup_does_not_trust_the_cache(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        await known(table, "abc")
        await other.execute("ALTER TABLE mtdd.placement DISABLE TRIGGER USER")
        await other.execute("UPDATE mtdd.placement SET epoch = 9")
        kept = table.get("abc")
        assert kept is not None
        assert kept.epoch == 1
        fresh = await table.lookup("abc", fresh=True)
        assert fresh is not None
        assert fresh.epoch == 9
        assert table.get("abc") is fresh

    run(shard_dsn, test)


def test_with_the_connection_lost_nothing_is_cached_and_lookups_reconnect(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        await known(table, "abc")
        await end_backends(other)
        await eventually(lambda: table.get("abc") is None)
        await known(table, "abc")
        assert control.connected
        await other.execute("UPDATE mtdd.placement SET epoch = 2")
        await eventually(lambda: table.get("abc") is None)

    run(shard_dsn, test)


def test_a_change_missed_while_disconnected_is_not_missed_for_good(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, _control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        await known(table, "abc")
        async with other.transaction():
            await end_backends(other)
            await other.execute("UPDATE mtdd.placement SET epoch = 2")
        await eventually(lambda: table.get("abc") is None)
        found = await table.lookup("abc")
        assert found is not None
        assert found.epoch == 2

    run(shard_dsn, test)


def test_names_that_are_none_are_not_here_and_disturb_nobody(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, _control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        found = await asyncio.gather(
            *(table.lookup(name) for name in ("abc", "\0", "", "A", "x" * 70, "a'b", "é"))
        )
        assert [placement is not None for placement in found] == [True, *[False] * 6]

    run(shard_dsn, test)


def test_a_caller_that_gives_up_does_not_end_the_others_lookup(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        async with control.use():
            impatient = asyncio.create_task(table.lookup("abc"))
            patient = asyncio.create_task(table.lookup("abc"))
            await asyncio.sleep(0.05)
            impatient.cancel()
            await asyncio.wait([impatient])
        assert await patient is not None

    run(shard_dsn, test)


def test_many_tenants_wanted_at_once_are_read_in_a_few_queries(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        for number in range(200):
            await insert(other, f"t{number}")
        queries = 0
        read = table._read

        async def counted(tenants: list[str]) -> dict[str, Placement]:
            nonlocal queries
            queries += 1
            return await read(tenants)

        table._read = counted  # type: ignore[method-assign]
        found = await asyncio.gather(*(table.lookup(f"t{number % 200}") for number in range(1000)))
        assert all(found)
        assert queries <= 2

    run(shard_dsn, test)


def test_the_cache_never_stays_behind_while_placements_change(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, _control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        names = [f"t{number}" for number in range(5)]
        for name in names:
            await insert(other, name)
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                await asyncio.gather(*(table.lookup(name) for name in names))
                await asyncio.sleep(0)

        readers = [asyncio.create_task(read()) for _ in range(4)]
        for epoch in range(2, 400):
            await other.execute(
                "UPDATE mtdd.placement SET epoch = %s WHERE tenant = %s",
                [epoch, names[epoch % 5]],
            )
        last = {names[epoch % 5]: epoch for epoch in range(2, 400)}

        def settled() -> bool:
            cached = [table.get(name) for name in names]
            return all(found and found.epoch == last[found.tenant] for found in cached)

        await eventually(settled)
        await asyncio.sleep(0.1)
        assert settled()
        done.set()
        await asyncio.gather(*readers)

    run(shard_dsn, test)


def test_a_change_while_a_lookup_is_under_way_leaves_nothing_stale(shard_dsn: str) -> None:
    async def test(
        table: PlacementTable, control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await insert(other, "abc")
        async with other.transaction():
            await other.execute("LOCK TABLE mtdd.placement IN ACCESS EXCLUSIVE MODE")
            looking = asyncio.create_task(table.lookup("abc"))
            await asyncio.sleep(0.1)
            await other.execute("UPDATE mtdd.placement SET epoch = 2")
        found = await looking
        assert found is not None
        await eventually(lambda: table.get("abc") is None or table.get("abc").epoch == 2)  # type: ignore[union-attr]
        fresh = await table.lookup("abc")
        assert fresh is not None
        assert fresh.epoch == 2

    run(shard_dsn, test)


def test_without_postgresql_lookups_fail_soon_and_say_so() -> None:
    async def main() -> None:
        async with control_connection("postgresql://nobody@127.0.0.1:1/none") as control:
            table = PlacementTable(control)
            for _ in range(3):
                with pytest.raises(ShardUnavailable, match=r"cannot be reached.*refused"):
                    await asyncio.wait_for(table.lookup("abc"), 3)

    asyncio.run(main())


def test_a_tenants_role_that_listens_learns_no_names(shard_dsn: str) -> None:
    async def test(
        _table: PlacementTable, _control: ControlConnection, other: psycopg.AsyncConnection[Any]
    ) -> None:
        await other.execute("LISTEN mtdd_placement")
        await insert(other, "very-private-name")
        async for notice in other.notifies(timeout=5, stop_after=1):
            assert "private" not in notice.payload
            assert notice.payload.isdecimal()

    run(shard_dsn, test)


def test_bootstrapping_from_many_workers_at_once_gives_one_shard_id(shard_dsn: str) -> None:
    async def one() -> object:
        async with await psycopg.AsyncConnection.connect(shard_dsn, autocommit=True) as connection:
            return await bootstrap(connection, "extensions")

    async def main() -> None:
        ids = await asyncio.gather(*(one() for _ in range(6)))
        assert len(set(ids)) == 1
        assert await one() == ids[0]

    asyncio.run(main())


def test_a_shard_of_the_last_version_gets_what_has_changed(shard_dsn: str) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(shard_dsn, autocommit=True) as connection:
            shard_id = await bootstrap(connection, "extensions")
            cursor = await connection.execute("SELECT version FROM mtdd.shard")
            newest = await cursor.fetchone()
            await connection.execute(
                "CREATE OR REPLACE FUNCTION mtdd.fingerprints(namespaces text[], roles text[])"
                " RETURNS TABLE (namespace text, fingerprint text) LANGUAGE sql"
                " AS $$ SELECT 'public', 'old' $$"
            )
            await connection.execute("DROP TABLE mtdd.spare_schema")
            await connection.execute("UPDATE mtdd.shard SET version = version - 2")
            assert await bootstrap(connection, "extensions") == shard_id
            cursor = await connection.execute("SELECT version FROM mtdd.shard")
            assert await cursor.fetchone() == newest
            cursor = await connection.execute(
                "SELECT fingerprint FROM mtdd.fingerprints(ARRAY['public'], ARRAY[current_user])"
            )
            assert await cursor.fetchone() != ("old",)
            await connection.execute("SELECT FROM mtdd.spare_schema")

    asyncio.run(main())


def test_a_schema_made_by_a_newer_version_is_refused(shard_dsn: str) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(shard_dsn, autocommit=True) as connection:
            await bootstrap(connection, "extensions")
            await connection.execute("UPDATE mtdd.shard SET version = 99")
            with pytest.raises(ValueError, match="a newer django-mtdd made it"):
                await bootstrap(connection, "extensions")

    asyncio.run(main())
