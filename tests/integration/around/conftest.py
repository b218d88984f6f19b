"""Two tenants on two shards, for what stands around the database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mtdd_router.domains import domains

TENANTS = ("abc", "xyz")


@pytest.fixture
def two_tenants(tenant_factory: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """The tenants abc, on the first shard, and xyz, on the second."""
    tenant_factory("abc", shard="shard1")
    tenant_factory("xyz", shard="shard2")
    domains.forget()
    yield "abc", "xyz"
    domains.forget()
