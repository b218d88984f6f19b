"""Two tenants outside of any transaction, for what is counted."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connections

from mtdd_router.testing import allow_tenants


@pytest.fixture
def both(mtdd_test_tenants: Any, db: None) -> Iterator[list[str]]:
    """Two tenants that are in no transaction, with a connection that is warm."""
    names = [mtdd_test_tenants.ensure_aside(label) for label in ("abc", "xyz")]
    with allow_tenants(*names):
        for name in names:
            assert not Group.objects.mtdd(name).exists()
        yield names
        for name in names:
            Group.objects.mtdd(name).all().delete()
            connections[name].close()


@pytest.fixture
def abc(both: list[str]) -> str:
    """One of them."""
    return both[0]


@pytest.fixture
def xyz(both: list[str]) -> str:
    """The other one."""
    return both[1]
