"""Keeping the registry's row and the shard's own placement the same.

A change is made on the shard first, then in the registry, and raises the epoch.
So of the two, the one with the higher epoch is the later, and an operation that
stopped between the two is completed by taking over the shard's.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict, Unpack

from django.db import DEFAULT_DB_ALIAS, Error, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import RegistryUnavailable
from mtdd_router.types import TRANSITIONS, Placement, ShardPlacements, TenantState
from tenants.errors import PlacementDisagreement, TenantAlreadyExists, WrongTenantState
from tenants.models import Tenant
from tenants.services.audit import note, note_each
from tenants.services.resting import let_rest
from tenants.services.routes import forget

__all__ = [
    "Changes",
    "adopt_role",
    "agree",
    "drop_leftovers",
    "find_placement",
    "find_placements",
    "purge_date",
    "record",
    "record_purging",
]


_TOLD: Final = frozenset({"name", "state", "isolation", "role"})


class Changes(TypedDict, total=False):
    """The columns of a tenant that an operation changes."""

    name: str
    state: str
    epoch: int
    isolation: str
    role: str
    migrated_at: datetime
    purge_at: datetime | None
    state_before_deletion: str


def record(tenant: Tenant, **changes: Unpack[Changes]) -> None:
    """Write *changes* to the row, if nobody else has changed its epoch since.

    Raises:
        PlacementDisagreement: if somebody has.
        WrongTenantState: if the tenant's state cannot become that.
        TenantAlreadyExists: if the new name is taken.
        RegistryUnavailable: if the registry's database fails.
    """
    before = tenant.name
    if "state" in changes:
        changes.update(_entering(tenant, TenantState(changes["state"])))
    told = _told(tenant, changes)
    # One statement is a transaction by itself.
    alone = not told and "name" not in changes
    try:
        with nullcontext() if alone else transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            updated = Tenant.objects.filter(pk=tenant.pk, epoch=tenant.epoch).update(
                **changes, updated_at=timezone.now()
            )
            if updated and changes.get("name", before) != before:
                let_rest(tenant)
            if updated and told:
                _note(tenant, told)
    except IntegrityError as exc:
        raise TenantAlreadyExists(f"A tenant {changes.get('name')!r} already exists.") from exc
    except Error as exc:
        raise RegistryUnavailable(
            f"The registry's database failed to record tenant {before!r}: {exc}"
        ) from exc
    if not updated:
        raise PlacementDisagreement(
            f"Tenant {before!r} has been changed by another operation; see show_tenant."
        )
    for column, value in changes.items():
        setattr(tenant, column, value)
    forget(*{before, tenant.name})


def record_purging(tenants: Sequence[Tenant]) -> None:
    """Write that *tenants*, whose locks are held, are being purged: of all of them, or of none.

    Raises:
        PlacementDisagreement: if one is deleted no more.
    """
    deleted = [tenant for tenant in tenants if tenant.state == TenantState.DELETED]
    if not deleted:
        return
    names = [tenant.name for tenant in deleted]
    changes = _entering(deleted[0], TenantState.DELETING)
    changes["state"] = TenantState.DELETING.value
    with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
        updated = Tenant.objects.filter(
            pk__in=[tenant.pk for tenant in deleted], state=TenantState.DELETED.value
        ).update(**changes, epoch=F("epoch") + 1, updated_at=timezone.now())
        if updated != len(deleted):
            raise PlacementDisagreement(
                f"Of the tenants {', '.join(names)}, some have been changed by another "
                "operation; repeat the command."
            )
        note_each("change tenant", names, state=changes["state"])
    for tenant in deleted:
        tenant.epoch += 1
        for column, value in changes.items():
            setattr(tenant, column, value)
    forget(*names)


def _told(tenant: Tenant, changes: Changes) -> dict[str, Any]:
    """Return what an operator would call a change; that a tenant is migrated, runs tell."""
    # Its creation was noted when it began.
    if tenant.state == TenantState.CREATING:
        return {}
    return {
        column: value
        for column, value in changes.items()
        if column in _TOLD and value != getattr(tenant, column)
    }


def _note(tenant: Tenant, told: dict[str, Any]) -> None:
    new_name = told.get("name", tenant.name)
    note("change tenant", tenant=tenant.name, **told)
    if new_name != tenant.name:
        note("name tenant", tenant=str(new_name), former=tenant.name)


def purge_date(now: datetime) -> datetime:
    """Return when a tenant that is deleted *now* may be purged."""
    return now + timedelta(seconds=mtdd_settings.deletion_grace)


def _entering(tenant: Tenant, state: TenantState) -> Changes:
    """Return what else changes with the state of *tenant*."""
    before = TenantState(tenant.state)
    if state is before:
        return {}
    if state not in TRANSITIONS[before]:
        raise WrongTenantState(f"Tenant {tenant.name!r} is {before}; it cannot become {state}.")
    if state is TenantState.DELETED:
        return {"purge_at": purge_date(timezone.now()), "state_before_deletion": before.value}
    return {"purge_at": None, "state_before_deletion": ""}


def find_placement(admin: ShardAdmin, tenant: Tenant) -> Placement | None:
    """Return the placement of the tenant's namespace, under whatever name it is."""
    return find_placements(admin, [tenant]).get(tenant.pk)


def find_placements(admin: ShardAdmin, tenants: Sequence[Tenant]) -> dict[int, Placement]:
    """Return the placements of those of the shard's *tenants* that have one, by primary key."""
    found: dict[str, Placement] = {}
    if names := [tenant.name for tenant in tenants]:
        found = _by_namespace(admin.placements(*names))
    if any(tenant.namespace not in found for tenant in tenants):
        # A rename that stopped half way leaves it under the new name.
        found = _by_namespace(admin.placements())
    return {tenant.pk: found[tenant.namespace] for tenant in tenants if tenant.namespace in found}


def _by_namespace(listed: ShardPlacements) -> dict[str, Placement]:
    return {placement.namespace: placement for placement in listed.placements.values()}


def agree(tenant: Tenant, admin: ShardAdmin) -> None:
    """Take over from the shard what an interrupted operation did there.

    Raises:
        PlacementDisagreement: if that is not what they differ in.
    """
    placement = find_placement(admin, tenant)
    if placement is None or placement.epoch < tenant.epoch or placement.tenant != tenant.name:
        there = "no placement" if placement is None else f"another one (epoch {placement.epoch})"
        raise PlacementDisagreement(
            f"Shard {tenant.shard.name!r} has {there} for tenant {tenant.name!r} "
            f"(epoch {tenant.epoch}); run `manage.py check_shards --repair`."
        )
    if placement.epoch > tenant.epoch:
        record(tenant, state=placement.state.value, epoch=placement.epoch, role=placement.role)
    elif placement != tenant.placement():
        raise PlacementDisagreement(
            f"Tenant {tenant.name!r} is {tenant.state} in the registry and "
            f"{placement.state} on shard {tenant.shard.name!r}; "
            "run `manage.py check_shards --repair`."
        )


def adopt_role(tenant: Tenant, placement: Placement) -> None:
    """Take over the role that the shard has given a new tenant, which may be a spare one.

    Raises: as `record`.
    """
    if placement.role != tenant.role:
        record(tenant, role=placement.role)


def drop_leftovers(tenant: Tenant, admin: ShardAdmin) -> None:
    """Remove a namespace or role that an interrupted creation or deletion left."""
    orphans = admin.placements(tenant.name, orphans=True).orphans
    for name in sorted({tenant.namespace, tenant.role} & set(orphans)):
        admin.drop_orphan(name)
