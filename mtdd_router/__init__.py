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
    InvalidToken,
    MTDDError,
    OutcomeUnknown,
    RegistryUnavailable,
    ResolutionRefused,
    ShardError,
    ShardOverloaded,
    ShardRefused,
    ShardUnavailable,
    ShardUnreachable,
    StaleRoute,
    StatementRefused,
    TenantDoesNotExist,
    TenantError,
    TenantLocked,
    TenantRequired,
    TenantsDisagree,
    TenantUnavailable,
    TransactionEnded,
    UntrustedHeader,
)

if TYPE_CHECKING:
    from mtdd_router.asgi import TenantConnectionMiddleware
    from mtdd_router.context import (
        current_tenant,
        in_current_tenant,
        lift_tenant_lock,
        maintenance,
        tenant_context,
        tenant_lock,
    )
    from mtdd_router.middleware import TenantMiddleware
    from mtdd_router.routers import TenantRouter
    from mtdd_router.rows import row_key
    from mtdd_router.threads import TenantThread, TenantThreadPoolExecutor
    from mtdd_router.transactions import last_write

__all__ = [
    "ConfigurationError",
    "CrossTenantError",
    "InvalidTenantName",
    "InvalidToken",
    "MTDDError",
    "OutcomeUnknown",
    "RegistryUnavailable",
    "ResolutionRefused",
    "ShardError",
    "ShardOverloaded",
    "ShardRefused",
    "ShardUnavailable",
    "ShardUnreachable",
    "StaleRoute",
    "StatementRefused",
    "TenantConnectionMiddleware",
    "TenantDoesNotExist",
    "TenantError",
    "TenantLocked",
    "TenantMiddleware",
    "TenantRequired",
    "TenantRouter",
    "TenantThread",
    "TenantThreadPoolExecutor",
    "TenantUnavailable",
    "TenantsDisagree",
    "TransactionEnded",
    "UntrustedHeader",
    "current_tenant",
    "databases",
    "in_current_tenant",
    "last_write",
    "lift_tenant_lock",
    "maintenance",
    "row_key",
    "tenant_context",
    "tenant_lock",
]

_LAZY: Final = {
    "TenantConnectionMiddleware": "mtdd_router.asgi",
    "TenantMiddleware": "mtdd_router.middleware",
    "TenantRouter": "mtdd_router.routers",
    "TenantThread": "mtdd_router.threads",
    "TenantThreadPoolExecutor": "mtdd_router.threads",
    "current_tenant": "mtdd_router.context",
    "in_current_tenant": "mtdd_router.context",
    "last_write": "mtdd_router.transactions",
    "lift_tenant_lock": "mtdd_router.context",
    "maintenance": "mtdd_router.context",
    "row_key": "mtdd_router.rows",
    "tenant_context": "mtdd_router.context",
    "tenant_lock": "mtdd_router.context",
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
