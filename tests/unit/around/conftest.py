"""Tenants abc (key 7) and xyz (key 8), in a registry in memory that a test may change."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytest

from mtdd_router.directory import directory
from mtdd_router.types import Route

rows: dict[str, Route] = {}


class MemoryRegistry:
    """What MTDD_REGISTRY names in these tests."""

    def route(self, tenant: str) -> Route | None:
        return rows.get(tenant)

    def present_name(self, name: str) -> str | None:
        return None

    def tenant_of_domain(self, domain: str) -> str | None:
        return None

    def routes(self) -> Iterable[Route]:
        return tuple(rows.values())

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        return [route for tenant in tenants if (route := self.route(tenant))]


@pytest.fixture(autouse=True)
def registry(settings: Any) -> Iterator[dict[str, Route]]:
    """The routes, by name."""
    rows.clear()
    rows["abc"] = Route("abc", "shard1", "h:1", 2, key=7)
    rows["xyz"] = Route("xyz", "shard2", "h:2", 2, key=8)
    settings.MTDD_REGISTRY = f"{__name__}.MemoryRegistry"
    directory.forget()
    yield rows
    directory.forget()
