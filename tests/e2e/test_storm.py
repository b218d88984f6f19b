"""Many threads and tasks at once over many tenants: no row strays, no write is lost or doubled.

Some work is cancelled, some fails, some leaves settings behind, and whole processes are
killed. ``pytest --storm=60 tests/e2e/test_storm.py`` lets it last a minute, over 200 tenants.
"""

import itertools
import random
import subprocess
import sys
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from mtdd_router.directory import directory
from mtdd_router.embedded import Stack, StackOptions, administrator_dsns
from mtdd_router.embedded.processes import wait_until
from tenants import services
from tenants.models import Tenant
from tests.e2e.conftest import PROGRAMS, ROOT

PROCESSES, THREADS, TASKS = 4, 16, 16
PATIENCE = 60.0


@dataclass
class Journal:
    """What the programs say they have done; see tests/programs/storm.py."""

    begun: dict[int, str] = field(default_factory=dict)
    fates: dict[int, str] = field(default_factory=dict)
    counted: Tally[tuple[str, str]] = field(default_factory=Tally)
    errors: Tally[str] = field(default_factory=Tally)
    wrong: list[str] = field(default_factory=list)

    def read(self, path: Path) -> None:
        # The last line of a killed process may be half a line.
        for line in path.read_text().splitlines()[
            : None if path.read_text().endswith("\n") else -1
        ]:
            kind, *rest = line.split(" ")
            if kind == "begun":
                self.begun[int(rest[0])] = rest[1]
            elif kind in ("done", "undone"):
                self.fates[int(rest[0])] = kind
            elif kind == "error":
                self.errors[" ".join(rest)] += 1
            elif kind == "wrong":
                self.wrong.append(line)
            else:
                self.counted[kind, rest[0]] += 1

    def total(self, kind: str) -> int:
        """Return how often that happened, to all tenants."""
        return sum(times for (each, _), times in self.counted.items() if each == kind)

    def keys(self, tenant: str, fate: str | None) -> set[int]:
        """Return the keys of the tenant's writes of that fate."""
        return {
            key
            for key, owner in self.begun.items()
            if owner == tenant and self.fates.get(key) == fate
        }


@pytest.fixture
def shards(transactional_db: None, settings: Any, stack_folder: Path) -> Iterator[Stack]:
    """Two shards, each with a small pool behind two processes."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.apps.storm"]
    settings.TENANT_APPS = [*settings.TENANT_APPS, "tests.apps.storm"]
    directory.forget()
    options = StackOptions(shards=2, workers=2, pool_size=10, durable=False)
    with Stack(stack_folder, options) as running:
        for server in running.shard_servers:
            services.register_shard(server.name, server.address)
        yield running
        for name in Tenant.objects.values_list("name", flat=True):
            connections[name].close()
    directory.forget()


def create_tenants(number: int) -> list[Tenant]:
    wanted = [services.NewTenant(each, f"t{each:03}") for each in range(number)]
    services.create_tenants(wanted)
    for tenant in wanted:
        with connections[tenant.name].cursor() as cursor:
            cursor.execute(
                "INSERT INTO storm_counter (tenant, value) VALUES (%s, 0)", [tenant.name]
            )
        connections[tenant.name].close()
    return list(Tenant.objects.select_related("shard"))


def rage(folder: Path, environment: Mapping[str, str], tenants: list[Tenant], end: float) -> None:
    """Let programs work until *end*, and kill others amid their work."""
    numbers = itertools.count()

    def start(threads: int, tasks: int) -> "subprocess.Popen[bytes]":
        number = next(numbers)
        program, seconds = str(PROGRAMS / "storm.py"), str(end - time.monotonic())
        words = [str(folder / str(number)), str(number), seconds, str(threads), str(tasks)]
        return subprocess.Popen(
            [sys.executable, program, *words, *(tenant.name for tenant in tenants)],
            env={**environment, "DJANGO_SETTINGS_MODULE": "storm_settings"},
            cwd=ROOT,
        )

    longest = max(3.0, (end - time.monotonic()) / 6)
    lasting = [start(THREADS, TASKS) for _ in range(PROCESSES)]
    while time.monotonic() < end - 3.0:
        with start(4, 4) as victim:
            time.sleep(random.uniform(1.5, longest))
            victim.kill()
    for process in lasting:
        assert process.wait(end - time.monotonic() + PATIENCE) == 0


def check(tenant: Tenant, journal: Journal, dsn: str) -> None:
    """Compare what the tenant's tables hold with what was done there."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(f'SELECT tenant, key FROM "{tenant.namespace}".storm_entry')
        found = Tally(rows.fetchall())
        counter = connection.execute(
            f'SELECT tenant, value FROM "{tenant.namespace}".storm_counter'
        )
        counters = counter.fetchall()
    assert {owner for owner, _ in found} <= {tenant.name}, "rows of others"
    assert set(found.values()) <= {1}, "a write was made twice"
    keys = {key for _, key in found}
    assert not journal.keys(tenant.name, "done") - keys, "a write was lost"
    assert not journal.keys(tenant.name, "undone") & keys, "what was rolled back is there"
    assert keys <= journal.keys(tenant.name, "done") | journal.keys(tenant.name, None)
    ((owner, value),) = counters
    assert owner == tenant.name
    added, adding = (journal.counted[kind, tenant.name] for kind in ("added", "adding"))
    assert added <= value <= adding


def test_no_row_strays_and_no_write_is_lost_or_doubled(
    shards: Stack, program_environment: Mapping[str, str], tmp_path: Path, storm: float
) -> None:
    tenants = create_tenants(min(200, int(4 * storm)))
    rage(tmp_path, program_environment, tenants, time.monotonic() + storm + 3.0)
    journal = Journal()
    for path in tmp_path.iterdir():
        journal.read(path)
    assert journal.wrong == []
    unexpected = {
        error: times
        for error, times in journal.errors.items()
        if not error.endswith("given up")
        and not (error.startswith("be_cancelled") and "due to user request" in error)
    }
    assert unexpected == {}
    dsns = administrator_dsns(shards.folder)
    for dsn in dsns.values():
        assert wait_until(partial(nothing_runs, dsn), timeout=PATIENCE)
    for tenant in tenants:
        check(tenant, journal, dsns[tenant.shard.name])
    reads = journal.total("read")
    writes = len(journal.fates) + journal.total("added")
    print(f"{reads} reads, {writes} writes, {sum(journal.errors.values())} errors")
    assert reads
    assert "done" in journal.fates.values()


def nothing_runs(dsn: str) -> bool:
    """Tell whether what was left by killed programs has ended."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = """SELECT count(*) FROM pg_stat_activity
                   WHERE application_name = 'mtdd_shard' AND xact_start IS NOT NULL"""
        row = connection.execute(query).fetchone()
    return row == (0,)
