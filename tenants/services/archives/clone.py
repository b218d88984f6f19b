"""A tenant made after another, through an archive in a temporary file.

Not through a pipe: on one shard, the schemas of both cannot have the archive's name at
the same time. And so *source* is not held longer than it takes to read it.
"""

import tempfile
from collections.abc import Iterator
from typing import Final

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from mtdd_router.types import Isolation
from tenants import signals
from tenants.models import Tenant
from tenants.services.agreement import record
from tenants.services.archives.archive import fill, read_archive, settled_tenant, write_archive
from tenants.services.archives.dumps import pattern
from tenants.services.archives.relations import relations
from tenants.services.audit import note
from tenants.services.locks import tenant_lock
from tenants.services.notifying import tell
from tenants.services.tenants import filled_tenant, validate_new_name

__all__ = ["clone_tenant"]

_FAST: Final = "--compress=1"

# Their rows are Django's own, and follow from the migrations.
_MADE_BY_MIGRATING: Final = (("contenttypes", "ContentType"), ("auth", "Permission"))


def clone_tenant(
    source: str, name: str, *, shard: str | None = None, structure_only: bool = False
) -> Tenant:
    """Make a tenant that is as *source* is now, and return it active.

    It has the migrations that *source* has; *source* can be used meanwhile.

    Args:
        source: the name of the tenant to copy.
        name: of the new tenant, valid and unused.
        shard: the name of its shard; that of *source* by default.
        structure_only: leave all tables empty, but for what migrating has written to
            Django's tables of migrations, content types and permissions.

    Raises:
        TenantDoesNotExist, TenantBusy, WrongTenantState: about *source*.
        InvalidTenantName, TenantAlreadyExists, TenantBusy: about *name*.
        ShardNotRegistered, NoShardAvailable, ShardUnavailable, ...: about the shard;
            then nothing was begun.
        ProvisioningFailed: nothing of the new tenant is left.
        OperationInterrupted: it is left `creating`, for check_shards to mend.
    """
    validate_new_name(name)
    with tenant_lock(source, name):
        original = settled_tenant(source)
        isolation = Isolation(original.isolation)
        with (
            filled_tenant(name, shard or original.shard.name, isolation) as tenant,
            tempfile.TemporaryFile() as file,
        ):
            note("clone tenant", tenant=source, copy=name, structure_only=structure_only)
            choose = _without_rows if structure_only else None
            write_archive(original, file, _FAST, choose=choose)
            fill(tenant, read_archive(file, f"The clone of {source!r}"), file)
            if original.migrated_at is not None:
                record(tenant, migrated_at=original.migrated_at)
    tell(signals.post_create, name, tenant=tenant)
    return tenant


def _without_rows(snapshot: BaseDatabaseWrapper, schema: str) -> Iterator[str]:
    kept = {MigrationRecorder.Migration._meta.db_table}
    for app, model in _MADE_BY_MIGRATING:
        if apps.is_installed(f"django.contrib.{app}"):
            kept.add(apps.get_model(app, model)._meta.db_table)
    for relation in relations(snapshot, schema):
        if relation.name not in kept and relation.owner not in kept:
            yield f"--exclude-table-data={pattern(relation.schema, relation.name)}"
