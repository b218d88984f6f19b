"""The admin of shards, tenants and migration runs."""

from tenants.admin.migrations import MigrationRunAdmin
from tenants.admin.shards import ShardAdmin
from tenants.admin.tenants import TenantAdmin

__all__ = ["MigrationRunAdmin", "ShardAdmin", "TenantAdmin"]
