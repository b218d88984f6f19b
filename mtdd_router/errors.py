"""Every exception that django-mtdd raises.

::

    MTDDError
     +-- ConfigurationError              (also ValueError)
     +-- TenantError
     |    +-- TenantRequired
     |    +-- TenantDoesNotExist         (also LookupError)
     |    +-- InvalidTenantName          (also ValueError)
     |    +-- TenantUnavailable
     |    +-- CrossTenantError           (also ValueError)
     |    |    +-- TenantLocked
     |    +-- ResolutionRefused
     |         +-- UntrustedHeader
     |         +-- InvalidToken
     |         +-- TenantsDisagree
     +-- ShardError                      (also psycopg.OperationalError)
     |    +-- ShardUnavailable
     |    |    +-- ShardUnreachable
     |    +-- ShardOverloaded
     |    +-- OutcomeUnknown
     |    +-- StaleRoute
     |    +-- ShardRefused
     +-- StatementRefused                (also psycopg.errors.InsufficientPrivilege)
     +-- TransactionEnded                (also psycopg.ProgrammingError)
     +-- RegistryUnavailable             (also psycopg.OperationalError)

What a database caller can meet also subclasses the PEP 249 class that it is, so
Django wraps it in its own and keeps the original as ``__cause__``. A class's
docstring is its default message. No message holds a parameter value.
"""

import psycopg
from psycopg import errors as pg_errors

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
    "TenantDoesNotExist",
    "TenantError",
    "TenantLocked",
    "TenantRequired",
    "TenantUnavailable",
    "TenantsDisagree",
    "TransactionEnded",
    "UntrustedHeader",
]


class MTDDError(Exception):
    """django-mtdd failed."""

    def __init__(self, message: str = "", **details: object) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip(), **details)


class ConfigurationError(MTDDError, ValueError):
    """A setting of django-mtdd is wrong."""


class TenantError(MTDDError):
    """Something is wrong with a tenant."""


class TenantRequired(TenantError):
    """No tenant is named: use .mtdd(name), .using(name) or tenant_context(name)."""


class TenantDoesNotExist(TenantError, LookupError):
    """No such tenant is registered."""


class InvalidTenantName(TenantError, ValueError):
    """That is not a valid tenant name."""


class TenantUnavailable(TenantError):
    """The tenant exists, but is not active."""


class CrossTenantError(TenantError, ValueError):
    """Rows of two tenants cannot meet in one query or relation."""


class TenantLocked(CrossTenantError):
    """The running work is locked to its tenant, and cannot use another."""

    @classmethod
    def to(cls, tenant: str, other: str | None) -> "TenantLocked":
        """Return the error of work locked to *tenant* that names *other*."""
        named = f"tenant {other!r}" if other is not None else "no tenant"
        return cls(
            f"This work is locked to tenant {tenant!r} and cannot use {named}. If that is meant, "
            'write lift_tenant_lock("the reason") around it.'
        )


class ResolutionRefused(TenantError):
    """The request may not say which tenant it is for."""


class UntrustedHeader(ResolutionRefused):
    """A header names a tenant, and who sent it is no trusted proxy."""


class InvalidToken(ResolutionRefused):
    """The request's token is expired, or cannot be verified."""


class TenantsDisagree(ResolutionRefused):
    """The request names two tenants: MTDD_RESOLVERS do not agree."""


class ShardError(MTDDError, psycopg.OperationalError):
    """A shard failed."""


class ShardUnavailable(ShardError):
    """The shard server, or its PostgreSQL, cannot be reached; nothing was executed."""


class ShardUnreachable(ShardUnavailable):
    """Nothing accepts connections at the shard's address; no request was sent."""


class ShardOverloaded(ShardError):
    """The shard has no free backend connection; nothing was executed, try again."""


class OutcomeUnknown(ShardError):
    """The connection broke after the statement was sent; it may have taken effect."""


class StaleRoute(ShardError):
    """The tenant's placement has changed since its route was read."""


class ShardRefused(ShardError):
    """The shard server refused the request."""


class StatementRefused(MTDDError, pg_errors.InsufficientPrivilege):
    """The statement would leave the tenant's role or search path."""


class TransactionEnded(MTDDError, psycopg.ProgrammingError):
    """This statement came after its transaction's last_write(), and was not run."""


class RegistryUnavailable(MTDDError, psycopg.OperationalError):
    """The registry's database cannot be reached, and the tenant is not in the cache."""
