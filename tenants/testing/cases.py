"""Django's test cases, with tenants of their own.

Invariant: the rows of a class's tenants are as safe as those on `default`: TestCase rolls
them back, TransactionTestCase flushes them, and a tenant that the class has not declared
cannot be reached, by Django's own doing.
"""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from django.db import DEFAULT_DB_ALIAS
from django.test import TestCase, TransactionTestCase

from mtdd_router.context import tenant_context
from mtdd_router.testing import (
    AsyncTenantClient,
    TenantClient,
    assert_num_rpcs,
    declare_tenants,
)
from tenants.testing.provisioning import test_tenants

__all__ = ["TenantTestCase", "TransactionTenantTestCase"]


class _WithTenants(TransactionTestCase):
    """What both classes have.

    Attributes:
        tenant_labels: labels of the tenants that the tests use. The first one is the tenant
            of all that the class does, fixtures and setUpTestData included.
        tenant: the name of the first one, which is also its alias.
    """

    tenant_labels: ClassVar[Collection[str]] = ("tenant",)
    tenant: ClassVar[str]
    client_class = TenantClient
    async_client_class = AsyncTenantClient
    _aliases: ClassVar[dict[str, str]]

    @classmethod
    def setUpClass(cls) -> None:
        labels = tuple(cls.tenant_labels)
        aliases = test_tenants.ensure(labels)
        cls._aliases = dict(zip(labels, aliases, strict=True))
        cls.tenant = aliases[0]
        cls.enterClassContext(declare_tenants(*aliases))
        cls.enterClassContext(tenant_context(cls.tenant))
        if cls.databases != "__all__":
            cls.databases = {DEFAULT_DB_ALIAS, *cls.databases, *aliases}
        super().setUpClass()

    @classmethod
    def tenant_named(cls, label: str) -> str:
        """Return the name of the tenant that `tenant_labels` calls *label*.

        Raises:
            LookupError: if it does not.
        """
        try:
            return cls._aliases[label]
        except KeyError:
            known = ", ".join(cls._aliases)
            raise LookupError(
                f"{cls.__qualname__}.tenant_labels has no {label!r}, but {known}."
            ) from None

    def assertNumRPCs(  # noqa: N802 - as assertNumQueries
        self,
        number: int,
        function: Callable[..., Any] | None = None,
        *args: Any,
        tenant: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Fail unless *function*, or the block, takes that many round trips to shards.

        See `assert_num_rpcs`.
        """
        if function is None:
            return assert_num_rpcs(number, tenant=tenant)
        with assert_num_rpcs(number, tenant=tenant):
            return function(*args, **kwargs)


class TenantTestCase(_WithTenants, TestCase):
    """Django's TestCase in a tenant: everything is rolled back after each test."""


class TransactionTenantTestCase(_WithTenants):
    """Django's TransactionTestCase in a tenant: its tables are emptied after each test."""

    def __call__(self, result: Any = None) -> None:
        """Run the test; the registry, too, was emptied after the one before."""
        test_tenants.put_back(self._aliases.values())
        super().__call__(result)

    def debug(self) -> None:
        """Run the test without collecting the result."""
        test_tenants.put_back(self._aliases.values())
        super().debug()
