"""The life of a tenant: created, renamed, frozen, unfrozen, deleted.

Invariants: a tenant's row is there before its namespace, and goes after it; all
other changes are made on the shard first (see ``agreement``). Each operation holds
the tenant's lock, may stop at any step, and is then found and mended by
``check_shards``.
"""

from typing import Final

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import MTDDError, ShardError, ShardRefused, TenantDoesNotExist
from mtdd_router.types import Isolation, Placement, TenantState
from tenants.errors import (
    NoShardAvailable,
    OperationInterrupted,
    PlacementDisagreement,
    ProvisioningFailed,
    ShardNotRegistered,
    TenantAlreadyExists,
    WrongTenantState,
)
from tenants.models import Shard, Tenant
from tenants.services.agreement import agree, drop_leftovers, find_placement, record
from tenants.services.identity import open_admin
from tenants.services.locks import tenant_lock
from tenants.services.migrating.newcomers import migrate_newcomer
from tenants.services.placement import choose_shard, new_namespace, require_shard
from tenants.services.routes import forget

__all__ = [
    "activate",
    "create_tenant",
    "delete_tenant",
    "finish_deletion",
    "freeze_tenant",
    "get_tenant",
    "remove_unfinished",
    "rename_tenant",
    "unfreeze_tenant",
    "validate_new_name",
]

# Dropping a large schema takes PostgreSQL its time.
_DROP_TIMEOUT: Final = 300.0


def get_tenant(name: str) -> Tenant:
    """Return the tenant of that *name*, with its shard.

    Raises:
        TenantDoesNotExist: naming it.
    """
    tenant = Tenant.objects.select_related("shard").filter(name=name).first()
    if tenant is None:
        raise TenantDoesNotExist(
            f"No tenant {name!r} is registered; list_tenants shows those that are."
        )
    return tenant


def validate_new_name(name: str) -> str:
    """Return *name* if a new tenant may have it.

    Raises:
        InvalidTenantName: naming the rule it breaks.
    """
    return mtdd_settings.check_tenant_name(name)


def create_tenant(
    name: str, *, shard: str | None = None, isolation: Isolation = Isolation.SCHEMA
) -> Tenant:
    """Create the tenant, migrate it, and return it active.

    Args:
        name: of the new tenant, valid and unused.
        shard: the name of its shard; the least loaded one by default.
        isolation: how it is kept apart from others.

    Raises:
        InvalidTenantName, TenantAlreadyExists, TenantBusy: about the name.
        ShardNotRegistered, NoShardAvailable, ShardUnavailable, ...: about the shard;
            then nothing was begun.
        ProvisioningFailed: nothing of the tenant is left.
        OperationInterrupted: the tenant is left `creating`, for check_shards to mend.
    """
    validate_new_name(name)
    with tenant_lock(name):
        if Tenant.objects.filter(name=name).exists():
            raise _already_exists(name)
        chosen = choose_shard() if shard is None else require_shard(shard)
        tenant = _insert(name, chosen, isolation)
        with open_admin(chosen) as admin:
            _provision(tenant, admin)
            activate(tenant, admin, migrated=True)
        return tenant


def rename_tenant(name: str, new_name: str) -> Tenant:
    """Give the tenant another name, which is also its alias; its data stays.

    Raises:
        TenantDoesNotExist, InvalidTenantName, TenantAlreadyExists, TenantBusy,
        WrongTenantState, PlacementDisagreement, ShardUnavailable: nothing has changed.
        OperationInterrupted: `check_shards --repair` settles it.
    """
    validate_new_name(new_name)
    with tenant_lock(name, new_name):
        tenant = get_tenant(name)
        if Tenant.objects.filter(name=new_name).exists():
            raise _already_exists(new_name)
        with open_admin(tenant.shard) as admin:
            _settle(tenant, admin)
            _change(tenant, admin, name=new_name)
    return tenant


def freeze_tenant(name: str) -> Tenant:
    """Refuse all queries of the tenant until it is unfrozen; doing so twice is harmless.

    Raises: as `rename_tenant`.
    """
    return _set_state(name, TenantState.FROZEN)


def unfreeze_tenant(name: str) -> Tenant:
    """Let a frozen tenant answer again; doing so twice is harmless.

    Raises: as `rename_tenant`.
    """
    return _set_state(name, TenantState.ACTIVE)


def delete_tenant(name: str) -> None:
    """Delete the tenant and all its data, whatever its state; nothing brings it back.

    Raises:
        TenantDoesNotExist, TenantBusy, PlacementDisagreement, ShardUnavailable:
            nothing has changed.
        OperationInterrupted: repeating it, or check_shards, completes it.
    """
    with tenant_lock(name):
        tenant = get_tenant(name)
        with open_admin(tenant.shard, timeout=_DROP_TIMEOUT) as admin:
            placement = find_placement(admin, tenant)
            if placement is not None and placement.tenant != name:
                raise PlacementDisagreement(
                    f"On shard {tenant.shard.name!r}, tenant {name!r} is called "
                    f"{placement.tenant!r}: a renaming stopped half way. "
                    "Run `manage.py check_shards --repair` first."
                )
            finish_deletion(tenant, admin, placement)


def activate(tenant: Tenant, admin: ShardAdmin, *, migrated: bool = False) -> None:
    """Make a tenant that is provisioned and migrated active, on its shard and here.

    Raises:
        OperationInterrupted: naming tenant and shard.
    """
    epoch = tenant.epoch + 1
    try:
        admin.update_placement(
            tenant.name, expected_epoch=tenant.epoch, state=TenantState.ACTIVE, epoch=epoch
        )
        if migrated:
            record(tenant, state=TenantState.ACTIVE.value, epoch=epoch, migrated_at=timezone.now())
        else:
            record(tenant, state=TenantState.ACTIVE.value, epoch=epoch)
    except MTDDError as exc:
        raise OperationInterrupted(
            f"Tenant {tenant.name!r} is complete on {_where(tenant)}, but could not be made "
            f"active: {_sentence(exc)} Run `manage.py check_shards --repair`, which does it."
        ) from exc


def finish_deletion(tenant: Tenant, admin: ShardAdmin, placement: Placement | None) -> None:
    """Delete the tenant, from whichever step on is left to do.

    Raises:
        OperationInterrupted: naming tenant and shard.
    """
    if tenant.state != TenantState.DELETING:
        known = placement.epoch if placement else 0
        record(tenant, state=TenantState.DELETING.value, epoch=max(tenant.epoch, known) + 1)
    try:
        if placement is not None:
            if placement.state is not TenantState.DELETING:
                admin.update_placement(
                    tenant.name,
                    expected_epoch=placement.epoch,
                    state=TenantState.DELETING,
                    epoch=max(tenant.epoch, placement.epoch + 1),
                )
            admin.drop_namespace(tenant.name)
        else:
            drop_leftovers(tenant, admin)
    except ShardError as exc:
        raise OperationInterrupted(
            f"Deleting tenant {tenant.name!r} stopped half way on {_where(tenant)}: "
            f"{_sentence(exc)} It answers no more queries; repeat the command to complete it."
        ) from exc
    _delete_row(tenant)


def remove_unfinished(tenant: Tenant, admin: ShardAdmin) -> None:
    """Remove a tenant that was never active, from its shard and from here.

    Raises:
        ShardError: if the shard fails; then the row stays.
        PlacementDisagreement: if it is active on the shard.
    """
    placement = find_placement(admin, tenant)
    if placement is not None:
        if placement.state not in {TenantState.CREATING, TenantState.DELETING}:
            raise PlacementDisagreement(
                f"Tenant {tenant.name!r} is {placement.state} on shard {tenant.shard.name!r}; "
                "it is not removed as unfinished."
            )
        admin.drop_namespace(placement.tenant)
    else:
        drop_leftovers(tenant, admin)
    _delete_row(tenant)


def _insert(name: str, shard: Shard, isolation: Isolation) -> Tenant:
    namespace = new_namespace(name)
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            # Against the removal of the shard at the same moment.
            locked = Shard.objects.select_for_update(no_key=True).get(pk=shard.pk)
            if not locked.accepts_tenants:
                raise NoShardAvailable(f"Shard {shard.name!r} has just ceased to accept tenants.")
            tenant = Tenant.objects.create(
                name=name,
                shard=locked,
                isolation=isolation.value,
                namespace=namespace,
                role=namespace,
                epoch=1,
                state=TenantState.CREATING.value,
            )
    except Shard.DoesNotExist:
        raise ShardNotRegistered(f"Shard {shard.name!r} has just been removed.") from None
    except IntegrityError as exc:
        raise _already_exists(name) from exc
    forget(name)
    return tenant


def _provision(tenant: Tenant, admin: ShardAdmin) -> None:
    try:
        admin.create_namespace(tenant.placement())
        migrate_newcomer(tenant, admin)
    # Also Ctrl-C must not leave half a tenant, if that can be helped.
    except BaseException as exc:
        _undo(tenant, admin, exc)
        raise


def _undo(tenant: Tenant, admin: ShardAdmin, cause: BaseException) -> None:
    """Remove what there is of the tenant; raise what *cause* means to the caller."""
    try:
        remove_unfinished(tenant, admin)
    except MTDDError as exc:
        raise OperationInterrupted(
            f"Tenant {tenant.name!r} could not be created, for {_where(tenant)} failed half "
            f"way: {_sentence(cause)} It is left in state 'creating'; when the shard is back, run "
            "`manage.py check_shards --repair`."
        ) from exc
    if isinstance(cause, Exception):
        raise ProvisioningFailed(
            f"Tenant {tenant.name!r} could not be created on {_where(tenant)}: "
            f"{_sentence(cause)} Nothing of it is left."
        ) from cause


def _set_state(name: str, state: TenantState) -> Tenant:
    with tenant_lock(name):
        tenant = get_tenant(name)
        with open_admin(tenant.shard) as admin:
            _settle(tenant, admin)
            if tenant.state != state:
                _change(tenant, admin, state=state)
    return tenant


def _settle(tenant: Tenant, admin: ShardAdmin) -> None:
    """Refuse a tenant that is no whole one; complete what was interrupted."""
    if tenant.state not in {TenantState.ACTIVE, TenantState.FROZEN}:
        raise WrongTenantState(
            f"Tenant {tenant.name!r} is {tenant.state}; if no operation on it is under way, "
            "run `manage.py check_shards --repair`."
        )
    agree(tenant, admin)


def _change(
    tenant: Tenant, admin: ShardAdmin, *, name: str = "", state: TenantState | None = None
) -> None:
    """Change name or state of a settled tenant: on the shard, then in the registry."""
    epoch = tenant.epoch + 1
    try:
        admin.update_placement(
            tenant.name, expected_epoch=tenant.epoch, name=name, state=state, epoch=epoch
        )
        record(
            tenant,
            name=name or tenant.name,
            state=state.value if state else tenant.state,
            epoch=epoch,
        )
    except ShardRefused:
        raise
    except MTDDError as exc:
        raise OperationInterrupted(
            f"The change of tenant {tenant.name!r} on {_where(tenant)} stopped half way: "
            f"{_sentence(exc)} Run `manage.py check_shards --repair`, which settles it."
        ) from exc


def _delete_row(tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).delete()
    forget(tenant.name)


def _already_exists(name: str) -> TenantAlreadyExists:
    other = Tenant.objects.filter(name=name).first()
    if other is not None and other.state == TenantState.CREATING:
        return TenantAlreadyExists(
            f"A tenant {name!r} already exists, in state 'creating'; if nobody is creating it "
            "now, run `manage.py check_shards --repair`."
        )
    return TenantAlreadyExists(f"A tenant {name!r} already exists; choose another name.")


def _where(tenant: Tenant) -> str:
    return f"shard {tenant.shard.name!r} ({tenant.shard.address})"


def _sentence(exc: BaseException) -> str:
    """Return the first line of an error's message, ended so that another may follow."""
    line = str(exc).strip().partition("\n")[0] or type(exc).__name__
    return line if line.endswith((".", "!", "?")) else f"{line}."
