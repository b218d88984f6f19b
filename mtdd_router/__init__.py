"""django-mtdd: every tenant's rows on one PostgreSQL shard, reached through the ORM.

Invariants: importing this package touches neither Django's settings nor any model,
so that a settings module can write ``DATABASES = mtdd_router.databases({...})``.
Only `databases` and the exceptions are there at once; every other public name is
imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mtdd_router.databases import databases
from mtdd_router.errors import (
    ConfigurationError,
    CrossTenantError,
    InvalidTenantName,
    MTDDError,
    OutcomeUnknown,
    RegistryUnavailable,
    ShardError,
    ShardOverloaded,
    ShardRefused,
    ShardUnavailable,
    StaleRoute,
    StatementRefused,
    TenantDoesNotExist,
    TenantError,
    TenantRequired,
    TenantUnavailable,
)

if TYPE_CHECKING:
    from mtdd_router.context import current_tenant, maintenance, tenant_context
    from mtdd_router.middleware import TenantMiddleware
    from mtdd_router.routers import TenantRouter

__all__ = [
    "ConfigurationError",
    "CrossTenantError",
    "InvalidTenantName",
    "MTDDError",
    "OutcomeUnknown",
    "RegistryUnavailable",
    "ShardError",
    "ShardOverloaded",
    "ShardRefused",
    "ShardUnavailable",
    "StaleRoute",
    "StatementRefused",
    "TenantDoesNotExist",
    "TenantError",
    "TenantMiddleware",
    "TenantRequired",
    "TenantRouter",
    "TenantUnavailable",
    "current_tenant",
    "databases",
    "maintenance",
    "tenant_context",
]

_LAZY: Final = {
    "TenantMiddleware": "mtdd_router.middleware",
    "TenantRouter": "mtdd_router.routers",
    "current_tenant": "mtdd_router.context",
    "maintenance": "mtdd_router.context",
    "tenant_context": "mtdd_router.context",
}


def __getattr__(name: str) -> Any:
    """Import a public name that needs Django when it is first used (PEP 562)."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
