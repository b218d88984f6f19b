"""The shard that is attacked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mtdd_router.embedded import Stack, StackOptions


@pytest.fixture(scope="module")
def attacked(module_stack_folder: Path) -> Iterator[Stack]:
    # One connection for statements: whatever a leaves on it meets b.
    with Stack(module_stack_folder, StackOptions(shards=1, durable=False, pool_size=4)) as stack:
        yield stack
