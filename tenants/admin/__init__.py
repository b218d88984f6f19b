"""The admin of shards and tenants."""

from tenants.admin.shards import ShardAdmin
from tenants.admin.tenants import TenantAdmin

__all__ = ["ShardAdmin", "TenantAdmin"]
