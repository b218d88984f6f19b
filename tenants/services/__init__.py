"""What can be done with shards and tenants, for commands, admin and code.

Every function either does what it says, or raises an MTDDError that names the
tenant or shard and says what to do. None may run inside a transaction of the
registry's database: an operation's steps must be visible while it runs.

Each is imported when it is first asked for: a process that serves requests needs none,
but its admin names many.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tenants.services.archives.archive import Archive, archive_tenant, restore_tenant
    from tenants.services.archives.clone import clone_tenant
    from tenants.services.archives.export import export_csv, export_sql
    from tenants.services.audit import acting, audit_entries, expire_entries
    from tenants.services.bulk import (
        CREATED_AT_A_TIME,
        CreationOutcome,
        CreationResult,
        NewTenant,
        create_tenants,
        read_new_tenants,
    )
    from tenants.services.changing import get_tenant
    from tenants.services.contents import Contents, measure_contents
    from tenants.services.deletion import (
        PurgeOutcome,
        PurgeResult,
        delete_tenant,
        due_tenants,
        purge_tenant,
        purge_tenants,
        undelete_tenant,
    )
    from tenants.services.domains import add_domain, remove_domain
    from tenants.services.execution import run_for_tenant
    from tenants.services.findings import Finding, FindingKind, ShardReport
    from tenants.services.jobs.queue import (
        archive_folder,
        note_interrupted,
        request_archive,
        request_clone,
        request_creation,
        request_migration,
        request_resumption,
        retry_job,
    )
    from tenants.services.jobs.worker import do_jobs, do_waiting_jobs
    from tenants.services.migrating.batches import Limits
    from tenants.services.migrating.differences import Difference
    from tenants.services.migrating.drift import SchemaCheck, check_schemas
    from tenants.services.migrating.planning import MigrationTarget
    from tenants.services.migrating.preview import PlannedGroup, PlannedMigration, plan_migrations
    from tenants.services.migrating.results import MigrationOutcome, MigrationResult
    from tenants.services.migrating.runs import (
        DEFAULT_PARALLEL,
        migrate_tenants,
        resume_migrations,
    )
    from tenants.services.migrating.single import migrate_tenant
    from tenants.services.redirects import drop_redirect
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
        freeze_tenant,
        rename_tenant,
        unfreeze_tenant,
    )

__all__ = [
    "CREATED_AT_A_TIME",
    "DEFAULT_PARALLEL",
    "Archive",
    "Contents",
    "CreationOutcome",
    "CreationResult",
    "Difference",
    "Finding",
    "FindingKind",
    "Limits",
    "MigrationOutcome",
    "MigrationResult",
    "MigrationTarget",
    "NewTenant",
    "PlannedGroup",
    "PlannedMigration",
    "PurgeOutcome",
    "PurgeResult",
    "SchemaCheck",
    "ShardReport",
    "ShardStatus",
    "acting",
    "add_domain",
    "archive_folder",
    "archive_tenant",
    "audit_entries",
    "check_schemas",
    "check_shards",
    "clone_tenant",
    "create_tenant",
    "create_tenants",
    "delete_tenant",
    "do_jobs",
    "do_waiting_jobs",
    "drop_redirect",
    "due_tenants",
    "edit_shard",
    "expire_entries",
    "export_csv",
    "export_sql",
    "freeze_tenant",
    "get_shard",
    "get_tenant",
    "inspect_shards",
    "measure_contents",
    "migrate_tenant",
    "migrate_tenants",
    "move_addresses",
    "note_interrupted",
    "plan_migrations",
    "purge_tenant",
    "purge_tenants",
    "read_new_tenants",
    "register_shard",
    "remove_domain",
    "remove_shard",
    "rename_tenant",
    "request_archive",
    "request_clone",
    "request_creation",
    "request_migration",
    "request_resumption",
    "restore_tenant",
    "resume_migrations",
    "retry_job",
    "run_for_tenant",
    "tenant_sizes",
    "undelete_tenant",
    "unfreeze_tenant",
]

_LAZY: Final = {
    "CREATED_AT_A_TIME": "bulk",
    "DEFAULT_PARALLEL": "migrating.runs",
    "Archive": "archives.archive",
    "Contents": "contents",
    "CreationOutcome": "bulk",
    "CreationResult": "bulk",
    "Difference": "migrating.differences",
    "Finding": "findings",
    "FindingKind": "findings",
    "Limits": "migrating.batches",
    "MigrationOutcome": "migrating.results",
    "MigrationResult": "migrating.results",
    "MigrationTarget": "migrating.planning",
    "NewTenant": "bulk",
    "PlannedGroup": "migrating.preview",
    "PlannedMigration": "migrating.preview",
    "PurgeOutcome": "deletion",
    "PurgeResult": "deletion",
    "SchemaCheck": "migrating.drift",
    "ShardReport": "findings",
    "ShardStatus": "shards",
    "acting": "audit",
    "add_domain": "domains",
    "archive_folder": "jobs.queue",
    "archive_tenant": "archives.archive",
    "audit_entries": "audit",
    "check_schemas": "migrating.drift",
    "check_shards": "repair",
    "clone_tenant": "archives.clone",
    "create_tenant": "tenants",
    "create_tenants": "bulk",
    "delete_tenant": "deletion",
    "do_jobs": "jobs.worker",
    "do_waiting_jobs": "jobs.worker",
    "drop_redirect": "redirects",
    "due_tenants": "deletion",
    "edit_shard": "shards",
    "expire_entries": "audit",
    "export_csv": "archives.export",
    "export_sql": "archives.export",
    "freeze_tenant": "tenants",
    "get_shard": "shards",
    "get_tenant": "changing",
    "inspect_shards": "shards",
    "measure_contents": "contents",
    "migrate_tenant": "migrating.single",
    "migrate_tenants": "migrating.runs",
    "move_addresses": "shards",
    "note_interrupted": "jobs.queue",
    "plan_migrations": "migrating.preview",
    "purge_tenant": "deletion",
    "purge_tenants": "deletion",
    "read_new_tenants": "bulk",
    "register_shard": "shards",
    "remove_domain": "domains",
    "remove_shard": "shards",
    "rename_tenant": "tenants",
    "request_archive": "jobs.queue",
    "request_clone": "jobs.queue",
    "request_creation": "jobs.queue",
    "request_migration": "jobs.queue",
    "request_resumption": "jobs.queue",
    "restore_tenant": "archives.archive",
    "resume_migrations": "migrating.runs",
    "retry_job": "jobs.queue",
    "run_for_tenant": "execution",
    "tenant_sizes": "shards",
    "undelete_tenant": "deletion",
    "unfreeze_tenant": "tenants",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
