"""The admin of shards, tenants, domains, migration runs, jobs and the audit log."""

from tenants.admin.audit import AuditEntryAdmin
from tenants.admin.domains import TenantDomainAdmin
from tenants.admin.jobs import JobAdmin
from tenants.admin.migrations import MigrationRunAdmin
from tenants.admin.shards import ShardAdmin
from tenants.admin.tenants import TenantAdmin

__all__ = [
    "AuditEntryAdmin",
    "JobAdmin",
    "MigrationRunAdmin",
    "ShardAdmin",
    "TenantAdmin",
    "TenantDomainAdmin",
]
