"""Operations on tenants that are disturbed: killed at a random point, or done by two at once.

Each round begins with the same tenants, kills the command, the shard server or its
PostgreSQL while an operation is at work, lets repair settle what it left, and compares
the registry, its ledger, the shard and every tenant's schema and rows.
``pytest --kills=50 tests/e2e/test_disturbed.py`` kills each 50 times in each operation.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import Error, connections

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.context import maintenance
from mtdd_router.directory import directory
from mtdd_router.embedded import Stack, StackOptions
from mtdd_router.embedded.postgres import SUPERUSER, PostgresServer
from mtdd_router.embedded.processes import wait_until
from mtdd_router.embedded.shard_server import ShardServer
from mtdd_router.errors import MTDDError
from mtdd_router.types import SchemaDetail
from tenants import services
from tenants.errors import MigrationRunError
from tenants.models import MigrationRun, Tenant, TenantRedirect
from tenants.services import CreationOutcome, MigrationOutcome, MigrationTarget
from tenants.services.migrating.survey import survey
from tests.integration.tenants.conftest import names, repair_everything
from tests.integration.tenants.test_migrating_faults import command

SHARD = "mortal"
ZERO, NEWEST = MigrationTarget("flights", "zero"), MigrationTarget("flights")
PATIENCE = 60.0
# Cloning and restoring them, with their index, takes a moment.
HEAVY = """
CREATE TABLE heavy (id int PRIMARY KEY, text text UNIQUE);
INSERT INTO heavy SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
"""


@dataclass
class Site:
    """A shard of its own, with what can be killed."""

    server: ShardServer
    postgres: PostgresServer
    workers_killed: int = 0

    def kill_worker(self, chance: random.Random) -> None:
        assert self.server.process is not None
        self.workers_killed += 1
        workers = psutil.Process(self.server.process.pid).children()
        chance.choice([w for w in workers if "spawn_main" in " ".join(w.cmdline())]).kill()

    def kill_postgres(self, chance: random.Random) -> None:
        assert self.postgres.process is not None
        postmaster = psutil.Process(self.postgres.process.pid)
        backends = [p for p in postmaster.children() if "mtdd_shard" in " ".join(p.cmdline())]
        # Of one backend's death PostgreSQL recovers by itself; the postmaster must be started.
        chance.choice([postmaster, *backends[:1]]).kill()

    def renew(self) -> None:
        """Start the server anew, if it has lost workers: it restarts them ever later."""
        if self.workers_killed > 1:
            self.server.stop()
            self.server.start()
            self.server.wait_ready()
            self.workers_killed = 0

    def heal(self) -> None:
        """Bring everything back, and wait until it answers and is done with what was lost."""
        # A killed postmaster is not noticed at once.
        time.sleep(0.05)
        if not self.postgres.running:
            self.postgres.start()
            self.postgres.wait_ready()
        assert wait_until(lambda: self.server.answers, timeout=PATIENCE)
        assert wait_until(self._quiet, timeout=PATIENCE), self.ask("TABLE pg_stat_activity")

    def _quiet(self) -> bool:
        query = """
            SELECT (SELECT count(*) FROM pg_stat_activity
                    WHERE application_name LIKE 'mtdd%' AND xact_start IS NOT NULL)
                 + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')
        """
        try:
            return self.ask(query) == [(0,)]
        except psycopg.OperationalError:
            return False

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Ask PostgreSQL itself, as its superuser."""
        dsn = self.postgres.dsn(user=SUPERUSER, password=self.postgres.password, database="mtdd")
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def whole_site(module_stack_folder: Path) -> Iterator[Site]:
    options = StackOptions(shards=1, workers=2, durable=False)
    with Stack(module_stack_folder, options) as stack:
        postgres = next(server for server in stack.postgres if server.name == "shard1")
        yield Site(stack.shard_servers[0], postgres)


@pytest.fixture
def site(transactional_db: None, whole_site: Site) -> Iterator[Site]:
    directory.forget()
    services.register_shard(SHARD, whole_site.server.address)
    yield whole_site
    whole_site.heal()
    services.check_shards(repair=True)
    for name in names():
        services.purge_tenant(name)
        connections[name].close()
    directory.forget()


# What the operations need


def tenants() -> list[Tenant]:
    return list(Tenant.objects.select_related("shard").order_by("name"))


def only_abc() -> None:
    """Let there be tenant abc, in use, whatever the last round left."""
    if names() == {"xyz"}:
        services.rename_tenant("xyz", "abc")
    if "abc" not in names():
        services.create_tenant("abc", shard=SHARD)
        User.objects.using("abc").create(username="somebody")
    services.undelete_tenant("abc")
    services.unfreeze_tenant("abc")
    for name in names() - {"abc"}:
        services.purge_tenant(name)
    TenantRedirect.objects.all().delete()


def heavy_abc() -> None:
    only_abc()
    with maintenance(), connections["abc"].cursor() as cursor:
        cursor.execute("SELECT to_regclass('heavy') IS NULL")
        if cursor.fetchone()[0]:
            cursor.execute(HEAVY)


def deleted_abc() -> None:
    only_abc()
    services.delete_tenant("abc")


def four(target: MigrationTarget) -> None:
    if len(names()) != 4:
        only_abc()
        for name in ("t0", "t1", "t2"):
            services.create_tenant(name, shard=SHARD)
    services.migrate_tenants(tenants(), target=target)


def finish_migrating(target: MigrationTarget) -> None:
    """Go on with the run that was cut short."""
    # There is none if it was cut before it had found anything to do, or was done.
    with contextlib.suppress(MigrationRunError):
        services.resume_migrations()
    results = services.migrate_tenants(tenants(), target=target)
    assert MigrationOutcome.FAILED not in {result.outcome for result in results}, results
    assert not MigrationRun.objects.filter(state="running").exists()


# Operations


@dataclass(frozen=True)
class Operation:
    """An operation, as a command and as a function.

    Args:
        prepare: leads to where it begins, from wherever a round ended.
        run: the function.
        words: of the command; ``FILE`` is a path.
        file: makes the file.
        many: whether it is on several tenants, each of which may be done or not.
        finish: completes it after an interruption, if that is promised.
    """

    prepare: Callable[[], None]
    run: Callable[[Path], object]
    words: str
    file: Callable[[Path], object] = lambda path: None
    many: bool = False
    finish: Callable[[], None] | None = None


def write_list(path: Path) -> None:
    path.write_text("name,shard\n" + "".join(f"t{number},{SHARD}\n" for number in range(6)))


def create_list(path: Path) -> None:
    with path.open() as lines:
        results = services.create_tenants(services.read_new_tenants(lines))
    for result in results:
        assert result.outcome is not CreationOutcome.FAILED or result.error, result


def archive_abc(path: Path) -> None:
    heavy_abc()
    services.archive_tenant("abc", path)


OPERATIONS = {
    "create": Operation(
        only_abc,
        lambda path: services.create_tenant("xyz", shard=SHARD),
        f"create_tenant xyz --shard={SHARD}",
    ),
    "create a list": Operation(
        only_abc, create_list, "create_tenants FILE", file=write_list, many=True
    ),
    "migrate": Operation(
        lambda: four(ZERO),
        lambda path: services.migrate_tenants(tenants(), target=NEWEST),
        "migrate_tenants flights",
        many=True,
        finish=lambda: finish_migrating(NEWEST),
    ),
    "migrate back": Operation(
        lambda: four(NEWEST),
        lambda path: services.migrate_tenants(tenants(), target=ZERO),
        "migrate_tenants flights zero",
        many=True,
        finish=lambda: finish_migrating(ZERO),
    ),
    "clone": Operation(
        heavy_abc,
        lambda path: services.clone_tenant("abc", "xyz", shard=SHARD),
        f"clone_tenant abc xyz --shard={SHARD}",
    ),
    "restore": Operation(
        heavy_abc,
        lambda path: services.restore_tenant(path, name="xyz", shard=SHARD),
        f"restore_tenant FILE --name=xyz --shard={SHARD}",
        file=archive_abc,
    ),
    "rename": Operation(
        only_abc,
        lambda path: services.rename_tenant("abc", "xyz", redirect=3600),
        "rename_tenant abc xyz --redirect=1",
    ),
    "freeze": Operation(only_abc, lambda path: services.freeze_tenant("abc"), "freeze_tenant abc"),
    "delete": Operation(
        only_abc, lambda path: services.delete_tenant("abc"), "delete_tenant abc --noinput"
    ),
    "undelete": Operation(
        deleted_abc, lambda path: services.undelete_tenant("abc"), "undelete_tenant abc"
    ),
    "purge": Operation(
        only_abc, lambda path: services.purge_tenant("abc"), "delete_tenant abc --now --noinput"
    ),
}


# Victims

Kill = Callable[[Site, Operation, Path, random.Random, float], None]


def kill_command(
    site: Site, operation: Operation, path: Path, chance: random.Random, delay: float
) -> None:
    words = [str(path) if word == "FILE" else word for word in operation.words.split()]
    process = command(*words)
    # Starting takes longer than working: wait until it holds the lock of its work, or is done.
    while process.poll() is None and not registry_locks():
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.communicate()


def kill_behind(kill: Callable[[Site, random.Random], None]) -> Kill:
    """Return how to kill something behind an operation of this process."""

    def work(operation: Operation, path: Path) -> None:
        try:
            with contextlib.suppress(MTDDError, Error):
                operation.run(path)
        finally:
            connections.close_all()

    def kill_meanwhile(
        site: Site, operation: Operation, path: Path, chance: random.Random, delay: float
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work, operation, path)
            time.sleep(delay)
            kill(site, chance)
            site.heal()
            done.result(PATIENCE)

    return kill_meanwhile


VICTIMS: dict[str, Kill] = {
    "command": kill_command,
    "worker": kill_behind(Site.kill_worker),
    "postgres": kill_behind(Site.kill_postgres),
}


def registry_locks() -> int:
    """Return how many locks of operations are held in the registry."""
    query = """SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
               WHERE locktype = 'advisory' AND datname = current_database()"""
    with connections["default"].cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


# What is there


def everything(site: Site) -> dict[str, Any]:
    """Return each tenant's state, migrations, schema and rows."""
    schemas = survey(tenants(), SchemaDetail.FACTS).states
    return {
        tenant.name: (
            tenant.state,
            schemas[tenant.name].applied,
            schemas[tenant.name].facts,
            site.ask(f'SELECT username FROM "{tenant.namespace}".auth_user'),
        )
        for tenant in tenants()
    }


def require_agreement(site: Site) -> None:
    """See that registry and shard have the same tenants, and nothing is left of others."""
    placed = ShardAdmin(site.server.address).placements(orphans=True)
    assert placed.placements == {tenant.name: tenant.placement() for tenant in tenants()}
    assert not placed.orphans
    assert not placed.missing


def is_whole(operation: Operation, found: Any, before: Any, after: Any) -> bool:
    """Tell whether what was found is what was there before or after."""
    if not operation.many:
        return found in (before, after)
    return found.keys() <= before.keys() | after.keys() and all(
        found.get(name) in (before.get(name), after.get(name)) for name in after
    )


def let_schemas_wait(site: Site) -> None:
    """Let the shard have schemas that were made ahead, as one with many tenants has."""
    waiting = "SELECT count(*) >= 2 FROM mtdd.spare_schema"
    if site.ask(waiting) == [(True,)]:
        return
    there = names()
    site.ask(
        "INSERT INTO mtdd.placement (tenant, isolation, namespace, role, epoch, state)"
        " SELECT 'many' || i, 'schema', 'many_' || i, 'many_' || i, 1, 'active'"
        " FROM generate_series(1, 50) AS i RETURNING 1"
    )
    deadline = time.monotonic() + PATIENCE
    while site.ask(waiting) != [(True,)]:
        assert time.monotonic() < deadline
        services.create_tenant(f"w{len(names())}", shard=SHARD)
    site.ask("DELETE FROM mtdd.placement WHERE tenant LIKE 'many%' RETURNING 1")
    for name in names() - there:
        services.purge_tenant(name)
    site.heal()


def require_spares(site: Site) -> None:
    """See that what waits for tenants is known, whole, and nobody's."""
    known = site.ask("SELECT name, role FROM mtdd.spare_schema ORDER BY name")
    there = """SELECT n.nspname::text, c.relowner::regrole::text
                 FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
                WHERE n.nspname LIKE 'mtdd\\_spare\\_%' GROUP BY 1, 2 ORDER BY 1"""
    assert site.ask(there) == known
    given = "SELECT role FROM mtdd.placement UNION ALL SELECT role FROM mtdd.spare_role"
    assert not {(role,) for _, role in known} & set(site.ask(given))


def kill_again_and_again(
    site: Site, operation: Operation, path: Path, kill: Kill, kills: int, *, ahead: bool = False
) -> None:
    """Kill during the operation, repair, and see that each tenant is whole or absent.

    *ahead*: schemas wait for new tenants.
    """

    def prepare() -> None:
        operation.prepare()
        if ahead:
            let_schemas_wait(site)

    operation.file(path)
    prepare()
    before = everything(site)
    waiting = site.ask("SELECT role FROM mtdd.spare_schema")
    started = time.monotonic()
    operation.run(path)
    usual = time.monotonic() - started
    after = everything(site)
    assert after != before
    assert not ahead or {(tenant.role,) for tenant in tenants()} & set(waiting)
    for number in range(kills):
        site.renew()
        prepare()
        chance = random.Random()
        delay = chance.uniform(0.0, usual)
        kill(site, operation, path, chance, delay)
        site.heal()
        assert wait_until(lambda: not registry_locks(), timeout=PATIENCE)
        repair_everything()
        require_agreement(site)
        require_spares(site)
        found = everything(site)
        assert is_whole(operation, found, before, after), (number, delay, found)
        if operation.finish:
            operation.finish()
            assert everything(site) == after


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("what", OPERATIONS)
def test_whatever_is_killed_each_tenant_is_whole_or_absent(
    site: Site, kills: int, tmp_path: Path, what: str, victim: str
) -> None:
    kill_again_and_again(site, OPERATIONS[what], tmp_path / "file", VICTIMS[victim], kills)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("what", ["create", "create a list"])
def test_whatever_is_killed_where_schemas_wait_each_tenant_is_whole_or_absent(
    site: Site, kills: int, tmp_path: Path, what: str, victim: str
) -> None:
    operation, path = OPERATIONS[what], tmp_path / "file"
    kill_again_and_again(site, operation, path, VICTIMS[victim], kills, ahead=True)


@pytest.mark.parametrize("what", OPERATIONS)
def test_of_two_who_do_the_same_at_once_one_does_it_and_the_other_waits_or_is_told(
    site: Site, tmp_path: Path, what: str
) -> None:
    operation, path = OPERATIONS[what], tmp_path / "file"
    operation.file(path)
    operation.prepare()
    operation.run(path)
    after = everything(site)
    operation.prepare()
    together = threading.Barrier(2)

    def work() -> MTDDError | None:
        try:
            together.wait(PATIENCE)
            operation.run(path)
        except MTDDError as exc:
            return exc
        finally:
            connections.close_all()
        return None

    with ThreadPoolExecutor(2) as pool:
        told = [future.result(PATIENCE) for future in [pool.submit(work) for _ in range(2)]]
    assert None in told, told
    assert everything(site) == after
    require_agreement(site)
    assert not registry_locks()
