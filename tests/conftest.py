"""What the tests stand on: a real stack, started when the first test needs it.

A test's folder says what it may use: ``unit`` no network and no process,
``integration`` the session's stack, ``e2e`` anything. The stack's processes die
with pytest, also if it is killed.
"""

import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections
from django.dispatch import receiver
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.embedded import Stack, StackOptions
from mtdd_router.embedded.folders import scratch_folder
from mtdd_router.embedded.state import Credentials, StackState
from tests.databases import drop_database

KINDS = ("unit", "integration", "e2e")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As of a background job of a shell. The programs that tests start would inherit it,
    # and could not be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=1,
        help="how often each victim is killed in each operation (default: %(default)s)",
    )
    parser.addoption(
        "--tenants",
        type=int,
        default=40,
        help="how many tenants are migrated, three of them with bad data (default: %(default)s)",
    )
    parser.addoption(
        "--noise",
        type=int,
        default=150,
        help="how many sessions send what is no request (default: %(default)s)",
    )
    parser.addoption(
        "--fuzz",
        type=int,
        default=500,
        help="how many statements are made to escape the guard (default: %(default)s)",
    )
    parser.addoption(
        "--storm",
        type=float,
        default=5.0,
        help="how long many work on many tenants at once, in seconds (default: %(default)s)",
    )


@pytest.fixture
def noise(request: pytest.FixtureRequest) -> int:
    """How many sessions shall send what is no request."""
    return int(request.config.getoption("--noise"))


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """How many statements shall be made to escape the guard."""
    return int(request.config.getoption("--fuzz"))


@pytest.fixture
def storm(request: pytest.FixtureRequest) -> float:
    """How long many shall work on many tenants at once, in seconds."""
    return float(request.config.getoption("--storm"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often a test shall kill something at a random point."""
    return int(request.config.getoption("--kills"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its kind, so that ``-m unit`` works."""
    for item in items:
        kind = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if kind in KINDS:
            item.add_marker(getattr(pytest.mark, kind))


@receiver(setting_changed)
def _forget_the_admin_of_apps_that_left(*, setting: str, enter: bool, **_: object) -> None:
    """Django's admin keeps what an app registered, also after a test that had it installed."""
    if setting == "INSTALLED_APPS" and not enter:
        from django.contrib import admin  # It needs the settings.

        for model in list(admin.site._registry):
            if model._meta.app_label not in apps.app_configs:
                admin.site.unregister(model)


skipped_e2e: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In CI, a skipped end-to-end test is a failure: nobody would read why it was."""
    if report.skipped and report.nodeid.startswith("tests/e2e/") and os.environ.get("CI"):
        skipped_e2e.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for nodeid in skipped_e2e:
        terminalreporter.line(f"CI allows no skipped end-to-end test: {nodeid}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if skipped_e2e and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@contextlib.contextmanager
def _stack_folder() -> Iterator[Path]:
    folder = scratch_folder("mtdd-test-")
    try:
        yield folder / "stack"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The session's stack: a registry and two shards; fsync is off."""
    with _stack_folder() as folder:
        folder.mkdir()
        # Django's settings, read long ago, name this port and password.
        StackState(registry_port=settings.TEST_REGISTRY_PORT).write(folder)
        Credentials(registry=settings.TEST_REGISTRY_PASSWORD).write(folder)
        with Stack(folder, StackOptions(shards=2, durable=False)) as running:
            yield running


@pytest.fixture
def make_stack() -> Iterator[Callable[..., Stack]]:
    """Start stacks of one's own, for tests that break something: ``make_stack(shards=1)``."""
    with contextlib.ExitStack() as cleanup:

        def make(**options: Any) -> Stack:
            folder = cleanup.enter_context(_stack_folder())
            wanted = dataclasses.replace(StackOptions(shards=1, durable=False), **options)
            return cleanup.enter_context(Stack(folder, wanted))

        yield make


@pytest.fixture(scope="module")
def module_stack_folder() -> Iterator[Path]:
    """A folder for the stack of a module's tests."""
    with _stack_folder() as folder:
        yield folder


@pytest.fixture
def stack_folder() -> Iterator[Path]:
    """A folder for a stack, which PostgreSQL's account can reach."""
    with _stack_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def django_db_modify_db_settings(stack: Stack) -> None:
    """Start the stack before pytest-django makes its test database."""
    # Only if somebody took the port that the settings chose is it another one.
    connections["default"].settings_dict["PORT"] = str(stack.state.registry_port)
    settings.MTDD_TEST_SHARDS = {server.name: server.address for server in stack.shard_servers}


@pytest.fixture(scope="module", autouse=True)
def _test_tenants_end_with_their_module(django_db_blocker: Any) -> Iterator[None]:
    """Drop what the tools for projects' tests have made; they would keep it for the session.

    Other tests look at all that there is in the registry, and on its shards.
    """
    yield
    provisioning = sys.modules.get("tenants.testing.provisioning")
    if provisioning is None or not provisioning.test_tenants.names:
        return
    # Imported late: models need the settings.
    from tenants.models import Shard, Tenant

    with django_db_blocker.unblock():
        Tenant.objects.filter(name__in=provisioning.test_tenants.names).delete()
        Shard.objects.filter(tenants=None).delete()
        provisioning.test_tenants.drop()


@pytest.fixture(scope="session")
def shard_addresses(stack: Stack) -> dict[str, str]:
    """The address of each shard server, by the shard's name."""
    return {server.name: server.address for server in stack.shard_servers}


@pytest.fixture(scope="session")
def shard_postgres_dsns(stack: Stack) -> dict[str, str]:
    """The PostgreSQL behind each shard server, by the shard's name, as its own role."""
    return {server.name: server.dsn for server in stack.shard_servers}


@pytest.fixture(scope="session")
def shard_postgres_dsn(shard_postgres_dsns: dict[str, str]) -> str:
    """The PostgreSQL behind the first shard server."""
    return shard_postgres_dsns["shard1"]


@pytest.fixture
def empty_database_dsn(shard_postgres_dsn: str) -> Iterator[str]:
    """A new, empty database of the role ``mtdd_shard``, for a server of one's own."""
    name = f"empty_{secrets.token_hex(4)}"
    with psycopg.connect(shard_postgres_dsn, autocommit=True) as connection:
        quoted = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
        # As all databases of a PostgreSQL that has tenants with strict isolation.
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(quoted))
        yield make_conninfo(**{**conninfo_to_dict(shard_postgres_dsn), "dbname": name})
        drop_database(connection, name)


@pytest.fixture
def transactional_db(transactional_db: None) -> Iterator[None]:
    """As pytest-django's; its tests make tenants themselves, so any may be used."""
    from mtdd_router.testing import allow_tenants

    with allow_tenants():
        yield


@pytest.fixture
def registered_shards(transactional_db: None, shard_addresses: dict[str, str]) -> Iterator[Any]:
    """Both shards, registered; whatever the test puts on them is dropped afterwards."""
    from mtdd_router.directory import directory
    from tenants.services.shards import register_shard

    directory.forget()
    yield [register_shard(name, address) for name, address in shard_addresses.items()]
    directory.forget()
    for name, address in shard_addresses.items():
        admin = ShardAdmin(address, shard=name)
        found = admin.placements(orphans=True)
        for tenant in found.placements:
            if not tenant.startswith("test-"):  # Those stay for the session.
                admin.drop_namespace(tenant)
        for orphan in found.orphans:
            admin.drop_orphan(orphan)


@pytest.fixture
def tenant_factory(registered_shards: Any) -> Callable[..., Any]:
    """Create real tenants: ``tenant_factory("abc", shard="shard1")``."""
    from tenants.services.tenants import create_tenant

    return create_tenant
