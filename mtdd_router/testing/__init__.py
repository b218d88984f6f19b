"""Tools for the tests of projects: counting, leaks, requests of a tenant.

`tenants.testing` has these and, on top of them, test cases with tenants of their own.
Nothing here makes a tenant or asks the registry.
"""

from mtdd_router.testing.client import AsyncTenantClient, TenantClient
from mtdd_router.testing.declaring import allow_tenants, declare_tenants
from mtdd_router.testing.leaks import TenantLeak, assert_no_tenant_leak
from mtdd_router.testing.rpcs import assert_num_rpcs

__all__ = [
    "AsyncTenantClient",
    "TenantClient",
    "TenantLeak",
    "allow_tenants",
    "assert_no_tenant_leak",
    "assert_num_rpcs",
    "declare_tenants",
]
