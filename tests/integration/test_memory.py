"""Memory stays bounded: however many rows are read or copied, however many tenants there are."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from django.db import connections

from demo.flights.models import Plane
from mtdd_router.embedded import Stack
from mtdd_router.types import TenantState
from tenants.models import Shard, Tenant

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"
ROWS, TENANTS = 300_000, 10_000
KILOBYTES_COPIED = 256 * 1024
MB = 1 << 20

sys.path.insert(0, str(PROGRAMS))
import peak  # noqa: E402 - one of the programs

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")


def run(program: str, *arguments: str) -> dict[str, int]:
    """Run a program of tests/programs on the registry of the tests; return what it printed."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROGRAMS))),
    }
    command = [sys.executable, str(PROGRAMS / f"{program}.py"), *arguments]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, int] = json.loads(done.stdout)
    print(program, *arguments, f"rose by {printed['growth'] / MB:.1f} MB")
    return printed


@pytest.fixture
def planes(tenant_factory: Callable[..., Tenant]) -> str:
    """A tenant with 300,000 planes on the first shard."""
    tenant_factory("large", shard="shard1")
    table = Plane._meta.db_table
    with connections["large"].cursor() as cursor:
        cursor.execute(f"""
            INSERT INTO {table} (tail_number, built, manufacturer, model, seats)
            SELECT to_hex(n), 2000, 'a manufacturer of planes', 'model ' || n, n % 500
            FROM generate_series(1, {ROWS}) AS n
        """)
    return "large"


def worker_of(stack: Stack) -> psutil.Process:
    """Return the process that serves the first shard."""
    process = stack.shard_servers[0].process
    assert process is not None
    (worker,) = psutil.Process(process.pid).children()
    return worker


@pytest.mark.parametrize("how", ["iterator", "iterator in a transaction", "list"])
def test_reading_300_000_rows_raises_no_peak_by_64_mb(stack: Stack, planes: str, how: str) -> None:
    process = worker_of(stack)
    before = peak.reset(process.pid)
    printed = run("read_planes", planes, how)
    assert printed["count"] == ROWS
    server_growth = peak.peak(process.pid) - before
    print(f"the server rose by {server_growth / MB:.1f} MB")
    assert server_growth < 64 * MB
    if how != "list":
        assert printed["growth"] < 64 * MB


@pytest.mark.parametrize("direction", ["in", "out"])
def test_copying_256_mb_raises_no_peak_by_64_mb(
    stack: Stack, tenant_factory: Callable[..., Tenant], direction: str
) -> None:
    tenant_factory("copied", shard="shard1")
    process = worker_of(stack)
    before = peak.reset(process.pid)
    printed = run("copy_rows", "copied", direction, str(KILOBYTES_COPIED))
    assert printed["count"] == KILOBYTES_COPIED
    assert printed["growth"] < 64 * MB
    server_growth = peak.peak(process.pid) - before
    print(f"the server rose by {server_growth / MB:.1f} MB")
    assert server_growth < 64 * MB


def test_touching_10_000_tenants_raises_a_process_by_less_than_50_mb(
    registered_shards: list[Shard],
) -> None:
    Tenant.objects.bulk_create(
        Tenant(
            name=f"customer-{number:05}",
            shard=registered_shards[number % len(registered_shards)],
            namespace=f"t_customer_{number:05}",
            role=f"t_customer_{number:05}",
            state=TenantState.ACTIVE,
        )
        for number in range(TENANTS)
    )
    printed = run("touch_tenants")
    assert printed["count"] == TENANTS
    assert printed["growth"] < 50 * MB
