"""The registry's tables.

Saving a row changes a row. No model creates a schema or calls a shard: that is
what ``tenants.services`` does, in an order that survives an interruption.
"""

from tenants.models.audit import AuditEntry
from tenants.models.domain import TenantDomain
from tenants.models.jobs import JOB_TRANSITIONS, Job
from tenants.models.migrations import MigrationItem, MigrationRun
from tenants.models.placement import SHARD_NAME_MAX_LENGTH, Shard, Tenant
from tenants.models.redirect import TenantRedirect
from tenants.models.resting import RestingName

__all__ = [
    "JOB_TRANSITIONS",
    "SHARD_NAME_MAX_LENGTH",
    "AuditEntry",
    "Job",
    "MigrationItem",
    "MigrationRun",
    "RestingName",
    "Shard",
    "Tenant",
    "TenantDomain",
    "TenantRedirect",
]
