"""The pytest plugin: fixtures for tests in a tenant, beside those of pytest-django.

Invariants: nothing is imported or done until a test asks for one of these fixtures; what a
test does in its tenants is undone before pytest-django tears its own down.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mtdd_router.client.round_trips import RoundTrips
    from mtdd_router.testing import AsyncTenantClient, TenantClient
    from tenants.testing.provisioning import TestTenants

__all__ = [
    "async_tenant_client",
    "django_assert_num_rpcs",
    "mtdd_test_tenants",
    "other_tenant",
    "tenant",
    "tenant_client",
    "tenant_named",
]


@pytest.fixture(scope="session")
def mtdd_test_tenants(
    django_db_setup: None,  # noqa: ARG001 - the registry's database
    django_db_blocker: Any,
    django_db_keepdb: bool,  # noqa: FBT001 - pytest-django's
) -> Iterator["TestTenants"]:
    """The tenants of tests, made once a session, dropped unless databases are kept."""
    from tenants.testing.provisioning import test_tenants
    from tenants.testing.shards import stop_embedded

    with django_db_blocker.unblock():
        test_tenants.begin(keep=django_db_keepdb)
    yield test_tenants
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            test_tenants.drop()
    stop_embedded()


@pytest.fixture
def tenant_named(
    mtdd_test_tenants: "TestTenants",
    db: None,  # noqa: ARG001 - the test may use databases
) -> Iterator[Callable[[str], str]]:
    """Name a tenant for the test: ``tenant_named("shop")``; its rows are undone.

    As pytest-django does on `default`: they are rolled back, or after a test marked with
    ``transaction=True`` all tables are emptied.
    """
    from tenants.testing.undoing import undone

    with ExitStack() as cleanup:
        named: dict[str, str] = {}

        def name(label: str) -> str:
            if label not in named:
                named[label] = mtdd_test_tenants.ensure_aside(label)
                cleanup.enter_context(undone(named[label]))
            return named[label]

        yield name


@pytest.fixture
def tenant(tenant_named: Callable[[str], str]) -> Iterator[str]:
    """The name of the test's tenant, in which the test runs."""
    from mtdd_router import tenant_context

    with tenant_context(tenant_named("tenant")) as name:
        yield name


@pytest.fixture
def other_tenant(tenant_named: Callable[[str], str]) -> str:
    """The name of another tenant, which the test must name to be there."""
    return tenant_named("other")


@pytest.fixture
def tenant_client(tenant: str) -> "TenantClient":
    """Django's test client, in the test's tenant."""
    from mtdd_router.testing import TenantClient

    return TenantClient(tenant)


@pytest.fixture
def async_tenant_client(tenant: str) -> "AsyncTenantClient":
    """Django's asynchronous test client, in the test's tenant."""
    from mtdd_router.testing import AsyncTenantClient

    return AsyncTenantClient(tenant)


@pytest.fixture
def django_assert_num_rpcs() -> Callable[..., AbstractContextManager["RoundTrips"]]:
    """Fail unless a block takes that many round trips: ``django_assert_num_rpcs(2)``."""
    from mtdd_router.testing import assert_num_rpcs

    return assert_num_rpcs
