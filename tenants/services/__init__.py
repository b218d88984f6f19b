"""What can be done with shards and tenants, for commands, admin and code.

Every function either does what it says, or raises an MTDDError that names the
tenant or shard and says what to do. None may run inside a transaction of the
registry's database: an operation's steps must be visible while it runs.
"""

from tenants.services.contents import Contents, measure_contents
from tenants.services.execution import run_for_tenant
from tenants.services.findings import Finding, FindingKind, ShardReport
from tenants.services.migrations import (
    MigrationOutcome,
    MigrationResult,
    MigrationTarget,
    migrate_tenant,
    migrate_tenants,
)
from tenants.services.repair import check_shards
from tenants.services.shards import (
    ShardStatus,
    edit_shard,
    get_shard,
    inspect_shards,
    move_addresses,
    register_shard,
    remove_shard,
    tenant_sizes,
)
from tenants.services.tenants import (
    create_tenant,
    delete_tenant,
    freeze_tenant,
    get_tenant,
    rename_tenant,
    unfreeze_tenant,
)

__all__ = [
    "Contents",
    "Finding",
    "FindingKind",
    "MigrationOutcome",
    "MigrationResult",
    "MigrationTarget",
    "ShardReport",
    "ShardStatus",
    "check_shards",
    "create_tenant",
    "delete_tenant",
    "edit_shard",
    "freeze_tenant",
    "get_shard",
    "get_tenant",
    "inspect_shards",
    "measure_contents",
    "migrate_tenant",
    "migrate_tenants",
    "move_addresses",
    "register_shard",
    "remove_shard",
    "rename_tenant",
    "run_for_tenant",
    "tenant_sizes",
    "unfreeze_tenant",
]
