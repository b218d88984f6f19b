"""Two tenants outside of any transaction, for what is counted."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connections


@pytest.fixture
def both(mtdd_test_tenants: Any, django_db_blocker: Any) -> Iterator[list[str]]:
    """Two tenants with a connection that is warm, as outside of any test case of Django."""
    with django_db_blocker.unblock():
        names = mtdd_test_tenants.ensure(["abc", "xyz"])
        for name in names:
            assert not Group.objects.mtdd(name).exists()
        yield names
        for alias in ("default", *names):
            Group.objects.using(alias).all().delete()
        connections.close_all()


@pytest.fixture
def abc(both: list[str]) -> str:
    """One of them."""
    return both[0]


@pytest.fixture
def xyz(both: list[str]) -> str:
    """The other one."""
    return both[1]
