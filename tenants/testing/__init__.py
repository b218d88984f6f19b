"""Tools for the tests of projects: test cases, clients, a runner and a pytest plugin.

Invariant: importing this package imports nothing else, because pytest imports the plugin
in it before Django has its settings; each name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mtdd_router.testing import (
        AsyncTenantClient,
        TenantClient,
        TenantLeak,
        allow_tenants,
        assert_no_tenant_leak,
        assert_num_rpcs,
        declare_tenants,
    )
    from tenants.testing.cases import TenantTestCase, TransactionTenantTestCase
    from tenants.testing.runner import TenantDiscoverRunner, TenantRunnerMixin

__all__ = [
    "AsyncTenantClient",
    "TenantClient",
    "TenantDiscoverRunner",
    "TenantLeak",
    "TenantRunnerMixin",
    "TenantTestCase",
    "TransactionTenantTestCase",
    "allow_tenants",
    "assert_no_tenant_leak",
    "assert_num_rpcs",
    "declare_tenants",
]

_HERE: Final = {
    "TenantDiscoverRunner": "tenants.testing.runner",
    "TenantRunnerMixin": "tenants.testing.runner",
    "TenantTestCase": "tenants.testing.cases",
    "TransactionTenantTestCase": "tenants.testing.cases",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HERE.get(name, "mtdd_router.testing")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
