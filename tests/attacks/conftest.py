"""The shard that is attacked."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtdd_router.embedded import Stack, StackOptions
from tests.integration.server.conftest import _start
from tests.integration.server.running import RunningServer

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.fixture(scope="module")
def attacked(module_stack_folder: Path) -> Iterator[Stack]:
    # One connection for statements: whatever a leaves on it meets b.
    with Stack(module_stack_folder, StackOptions(shards=1, durable=False, pool_size=4)) as stack:
        yield stack


@pytest.fixture(scope="module")
def unguarded(attacked: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A second shard server, which examines nothing that tenants with strict isolation send."""
    with contextlib.ExitStack() as cleanup:
        yield _start(
            cleanup,
            tmp_path_factory.mktemp("unguarded"),
            attacked.shard_servers[0].dsn,
            program=[str(PROGRAMS / "unguarded_server.py")],
            pool_size=4,
        )
