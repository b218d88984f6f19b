"""The shard that is attacked."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtdd_router.embedded import Stack, StackOptions


@pytest.fixture(scope="module")
def attacked() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="mtdd-test-") as folder:
        # PostgreSQL's own account passes through it, if root runs the tests.
        Path(folder).chmod(0o711)
        # One connection for statements: whatever a leaves on it meets b.
        with Stack(Path(folder) / "stack", StackOptions(shards=1, durable=False, pool_size=4)) as s:
            yield s
