"""What migrations give: the schema of a tenant that is made only to look at it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from django.db.migrations.executor import MigrationExecutor

from mtdd_router.types import Isolation, SchemaDetail, SchemaState, TenantState
from tenants.errors import MigrationFailed
from tenants.models import Shard, Tenant
from tenants.services.agreement import adopt_role
from tenants.services.deletion import remove_unfinished
from tenants.services.identity import admin_of
from tenants.services.locks import tenant_lock
from tenants.services.migrating.aliases import migrating_connection
from tenants.services.migrating.batches import Limits
from tenants.services.migrating.planning import MigrationTarget, Node
from tenants.services.migrating.single import run_django
from tenants.services.placement import new_namespace
from tenants.services.routes import forget

__all__ = ["reference_schema"]

_CALL_TIMEOUT: Final = 600.0


def reference_schema(tenant: Tenant) -> SchemaState:
    """Return the schema that the migrations of *tenant* give, made anew on its shard.

    Raises:
        MigrationFailed: if they cannot be applied anew, or are not known here.
        ShardError: if the shard fails.
    """
    nodes = _ends(tenant)
    with _passing_tenant(tenant.shard) as passing:
        if nodes:
            run_django(passing, MigrationTarget(nodes=nodes), Limits())
        return admin_of(tenant.shard, timeout=_CALL_TIMEOUT).inspect_schemas(
            [passing.name], SchemaDetail.FACTS
        )[passing.name]


def _ends(tenant: Tenant) -> tuple[Node, ...]:
    """Return the migrations of *tenant* that bring all the others along."""
    with migrating_connection(tenant.name) as connection:
        loader = MigrationExecutor(connection).loader
    applied = {key for key in loader.applied_migrations if key in loader.graph.nodes}
    replaced = {key for squashed in loader.replacements.values() for key in squashed.replaces}
    unknown = {*loader.applied_migrations} - applied - replaced
    if unknown:
        names = ", ".join(sorted(".".join(key) for key in unknown))
        raise MigrationFailed(
            f"Tenant {tenant.name!r} has migrations that are not here: {names}. Check it with "
            "the code that made them."
        )
    return tuple(
        sorted(
            key
            for key in applied
            if not any(child.key in applied for child in loader.graph.node_map[key].children)
        )
    )


@contextmanager
def _passing_tenant(shard: Shard) -> Iterator[Tenant]:
    """Make a tenant for the block: it is being deleted from its first moment.

    So whatever happens to this process, `check_shards --repair` removes it.
    """
    name = f"check-{secrets.token_hex(6)}"
    namespace = new_namespace(name)
    with tenant_lock(name):
        tenant = Tenant.objects.create(
            name=name,
            shard=shard,
            isolation=Isolation.SCHEMA.value,
            namespace=namespace,
            role=namespace,
            epoch=1,
            state=TenantState.DELETING.value,
        )
        forget(name)
        admin = admin_of(shard, timeout=_CALL_TIMEOUT)
        try:
            creating = replace(tenant.placement(), state=TenantState.CREATING)
            adopt_role(tenant, admin.create_namespace(creating))
            yield tenant
        finally:
            remove_unfinished(tenant, admin)
