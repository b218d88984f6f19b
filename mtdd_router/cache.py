"""The tenant in the keys of Django's caches, as a KEY_FUNCTION.

Invariants: what one tenant has cached, no other finds, nor does work without a tenant, nor
the other way round, whatever the key, prefix or version is: the owner comes first, and holds
no colon. The owner is the tenant's key, not its name, which may become another's.
"""

from typing import Final

from mtdd_router.context import current_tenant
from mtdd_router.directory import directory

__all__ = ["shared_key", "tenant_key"]

_SHARED: Final = "-"


def tenant_key(key: object, key_prefix: str, version: object) -> str:
    """Return the key, for the running work's tenant, or for work that has none.

    ::

        CACHES = {"default": {..., "KEY_FUNCTION": "mtdd_router.cache.tenant_key"}}

    Raises:
        TenantDoesNotExist, RegistryUnavailable: if the tenant is not known.
    """
    tenant = current_tenant()
    owner = _SHARED if tenant is None else f"t:{directory.key(tenant)}"
    return f"{owner}:{key_prefix}:{version}:{key}"


def shared_key(key: object, key_prefix: str, version: object) -> str:
    """Return the key that all tenants share, and work without one: for what is nobody's."""
    return f"{_SHARED}:{key_prefix}:{version}:{key}"
