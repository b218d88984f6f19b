"""Shards of one's own, operations that die half way, and readers of what is really there."""

import contextlib
import io
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.urls import reverse
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.embedded.ports import choose_port
from mtdd_router.embedded.shard_server import ShardServer
from mtdd_router.types import Placement
from tenants import services
from tenants.models import Shard, Tenant
from tenants.registry import DatabaseRegistry
from tests.databases import drop_database


@pytest.fixture(scope="session")
def the_spare_server(
    shard_postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ShardServer]:
    """The server of `spare_server`, made once, in front of a database of its own."""
    name = f"spare_{secrets.token_hex(4)}"
    server = ShardServer(
        name="spare",
        port=choose_port(),
        dsn=make_conninfo(**{**conninfo_to_dict(shard_postgres_dsn), "dbname": name}),
        pool_size=8,
        workers=1,
        log=tmp_path_factory.mktemp("spare") / "server.log",
        mark=name,
    )
    with psycopg.connect(shard_postgres_dsn, autocommit=True) as connection:
        quoted = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
        # As a shard's database is where strict isolation is used, on any shard beside it.
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(quoted))
        try:
            yield server
        finally:
            kill(server)
            drop_database(connection, name)


@pytest.fixture
def spare_server(the_spare_server: ShardServer) -> Iterator[ShardServer]:
    """A third shard server, empty and not registered; a test may kill it."""
    _revive(the_spare_server)
    yield the_spare_server
    _revive(the_spare_server)
    admin = ShardAdmin(the_spare_server.address)
    found = admin.placements(orphans=True)
    for tenant in found.placements:
        admin.drop_namespace(tenant)
    for orphan in found.orphans:
        admin.drop_orphan(orphan)


def _revive(server: ShardServer) -> None:
    if not server.running:
        server.start()
        server.wait_ready()


def kill(server: ShardServer) -> None:
    """End the server at once, as kill -9 does."""
    if server.process is not None:
        server.process.kill()
        server.process.wait()
        server.process = None
    server.end_strays()


@pytest.fixture
def spare_shard(transactional_db: None, spare_server: ShardServer) -> Shard:
    """The spare server, registered as the only shard."""
    return services.register_shard("spare", spare_server.address)


@pytest.fixture
def staff(client: Client, transactional_db: None) -> Client:
    """A browser, logged in as the project's administrator."""
    client.force_login(User.objects.db_manager("default").create_superuser("admin"))
    return client


@pytest.fixture
def archives(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder for archives that are asked for, here and in commands."""
    settings.MTDD_ARCHIVE_ROOT = str(tmp_path)
    monkeypatch.setenv("MTDD_TEST_ARCHIVE_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def placements(registered_shards: Any) -> Callable[[], dict[str, Placement]]:
    """What the shards themselves say lives on them."""

    def read() -> dict[str, Placement]:
        found: dict[str, Placement] = {}
        for shard in Shard.objects.all():
            admin = ShardAdmin(shard.address, shard=shard.name)
            answer = admin.placements(orphans=True)
            assert not answer.orphans
            assert not answer.missing
            found.update(answer.placements)
        return found

    return read


def page_of(client: Client, name: str, *args: Any, post: Any = None, query: str = "") -> str:
    """Return the page of that name, after *post* if there is something to post."""
    url = reverse(name, args=args) + query
    answer = client.get(url) if post is None else client.post(url, post, follow=True)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def schemas(dsn: str) -> set[str]:
    """Return the tenants' schemas that PostgreSQL itself has."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\_%'")
        return {row[0] for row in rows}


def works(tenant: str) -> bool:
    """Whether the tenant answers queries, and has its tables."""
    return User.objects.using(tenant).count() >= 0


def run(*arguments: str, **options: Any) -> str:
    """Run a command and return what it printed."""
    out = io.StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


def run_json(*arguments: str) -> Any:
    """Run a command with --json and return what it printed, also if it failed."""
    out = io.StringIO()
    with contextlib.suppress(CommandError):
        call_command(*arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


class Crash(BaseException):
    """The process is dead: no cleaning up."""


class Dying:
    """Counts what an operation does on registry and shards, and dies at one of these steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = 0
        self._dead = False
        self._paused = False
        call, route = ShardAdmin._call, DatabaseRegistry.route
        monkeypatch.setattr(
            ShardAdmin, "_call", lambda *a, **k: self._around(lambda: call(*a, **k))
        )

        # How often a route is read depends on the time; it changes nothing anyway.
        monkeypatch.setattr(
            DatabaseRegistry, "route", lambda *a: self._uncounted(lambda: route(*a))
        )

    @contextlib.contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Die before, or after, one step of the block; sets no `died` if there are fewer."""
        self._left, self._dead = step, False
        try:
            with connections["default"].execute_wrapper(
                lambda execute, *a: self._around(lambda: execute(*a))
            ):
                yield
        except Crash:
            pass
        finally:
            self.died, self._dead, self._left = self._dead, False, 0

    def _uncounted(self, action: Callable[[], Any]) -> Any:
        self._paused = True
        try:
            return action()
        finally:
            self._paused = False

    def _around(self, action: Callable[[], Any]) -> Any:
        self._step()
        result = action()
        self._step()
        return result

    def _step(self) -> None:
        if self._paused:
            return
        if self._left:
            self._left -= 1
            self._dead = not self._left
        if self._dead:
            raise Crash


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Dying:
    """Let operations die at a step."""
    return Dying(monkeypatch)


def repair_everything() -> list[services.Finding]:
    """Repair, and make sure that nothing is left to be found."""
    found = [f for report in services.check_shards(repair=True) for f in report.findings]
    assert all(finding.repaired for finding in found), found
    for report in services.check_shards():
        assert report.findings == ()
        assert report.busy == ()
    return found


def names() -> set[str]:
    """Return the registered tenants."""
    return set(Tenant.objects.values_list("name", flat=True))
