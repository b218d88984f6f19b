"""The life of a tenant: created, renamed, frozen, unfrozen; ``deletion`` has its end.

Invariants: a tenant's row is there before its namespace, and goes after it; all
other changes are made on the shard first (see ``agreement``). Each operation holds
the tenant's lock, may stop at any step, and is then found and mended by
``check_shards``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import MTDDError
from mtdd_router.types import Isolation, Placement, TenantState
from tenants import signals
from tenants.errors import (
    OperationInterrupted,
    ProvisioningFailed,
    ShardNotRegistered,
    TenantAlreadyExists,
)
from tenants.models import Shard, Tenant
from tenants.services.agreement import Changes, adopt_role, record
from tenants.services.audit import note
from tenants.services.changing import (
    change,
    get_tenant,
    sentence,
    set_state,
    settle,
    where,
)
from tenants.services.deletion import remove_unbegun, remove_unfinished
from tenants.services.identity import admin_of
from tenants.services.locks import tenant_lock
from tenants.services.migrating.newcomers import NotBegun, beginning, make_newcomer
from tenants.services.notifying import (
    InitialData,
    ask,
    has_initial_data,
    tell,
    write_initial_data,
)
from tenants.services.placement import (
    choose_shard,
    distrust,
    new_namespace,
    note_placed,
    require_shard,
)
from tenants.services.redirects import keep_name, require_free_name
from tenants.services.routes import forget

__all__ = [
    "activate",
    "create_tenant",
    "filled_tenant",
    "freeze_tenant",
    "rename_tenant",
    "unfreeze_tenant",
    "validate_new_name",
]


def validate_new_name(name: str) -> str:
    """Return *name* if a new tenant may have it.

    Raises:
        InvalidTenantName: naming the rule it breaks.
    """
    return mtdd_settings.check_tenant_name(name)


def create_tenant(
    name: str,
    *,
    shard: str | None = None,
    isolation: Isolation = Isolation.SCHEMA,
    initial_data: InitialData | None = None,
) -> Tenant:
    """Create the tenant, migrate it, and return it active.

    Args:
        name: of the new tenant, valid and unused.
        shard: the name of its shard; the least loaded one by default.
        isolation: how it is kept apart from others.
        initial_data: writes rows that this tenant starts with, after the receivers of the signal
            `initial_data` and like these: in its context, before anybody else reaches it. If it
            raises, nothing of the tenant is left.

    Raises:
        InvalidTenantName, TenantAlreadyExists, TenantBusy: about the name.
        ShardNotRegistered, NoShardAvailable, ShardUnavailable, ...: about the shard;
            then nothing was begun.
        OperationRefused: by a receiver of a signal; then nothing was begun.
        ProvisioningFailed: nothing of the tenant is left.
        OperationInterrupted: the tenant is left `creating`, for check_shards to mend.
    """
    validate_new_name(name)
    with tenant_lock(name):
        require_free_name(name)
        try:
            tenant = _create(name, shard, isolation, initial_data)
        except NotBegun:
            # The shard answered a moment ago. Now it is asked, and another one taken if it may.
            tenant = _create(name, shard, isolation, initial_data)
    tell(signals.post_create, name, tenant=tenant)
    return tenant


@contextmanager
def filled_tenant(name: str, shard: str | None, isolation: Isolation) -> Iterator[Tenant]:
    """Make a tenant that the block fills, and whose lock the caller holds.

    In the block it is `creating` and its namespace is empty; afterwards it is active, and
    the caller sends `post_create`. If the block fails, nothing of it is left.

    Raises: as `create_tenant`.
    """
    require_free_name(name)
    chosen = choose_shard() if shard is None else require_shard(shard)
    ask(signals.pre_create, name, shard=chosen.name, isolation=isolation)
    tenant = _insert(name, chosen, isolation)
    admin = admin_of(chosen)
    try:
        with beginning():
            stored = admin.create_namespace(tenant.placement())
        adopt_role(tenant, stored)
        yield tenant
    except NotBegun:
        _undo_unbegun(tenant)
        raise
    # Also Ctrl-C must not leave half a tenant, if that can be helped.
    except BaseException as exc:
        _undo(tenant, admin, exc)
        raise
    activate(tenant, admin)


def rename_tenant(name: str, new_name: str, *, redirect: float = 0.0) -> Tenant:
    """Give the tenant another name, which is also its alias; its data stays.

    Args:
        name: of the tenant.
        new_name: valid, and unused.
        redirect: for so many seconds, requests that name the old one are still served.

    Raises:
        TenantDoesNotExist, InvalidTenantName, TenantAlreadyExists, TenantBusy,
        WrongTenantState, PlacementDisagreement, ShardUnavailable, OperationRefused:
            nothing has changed.
        OperationInterrupted: `check_shards --repair` settles it.
    """
    validate_new_name(new_name)
    with tenant_lock(name, new_name):
        tenant = get_tenant(name)
        require_free_name(new_name, tenant)
        admin = admin_of(tenant.shard)
        settle(tenant, admin)
        ask(signals.pre_rename, name, tenant=tenant, new_name=new_name)
        keep_name(tenant, redirect)
        change(tenant, admin, name=new_name)
    tell(signals.post_rename, new_name, tenant=tenant, old_name=name)
    return tenant


def freeze_tenant(name: str) -> Tenant:
    """Refuse all queries of the tenant until it is unfrozen; doing so twice is harmless.

    Raises: as `rename_tenant`.
    """
    return set_state(name, lambda _: TenantState.FROZEN, signals.pre_freeze, signals.post_freeze)


def unfreeze_tenant(name: str) -> Tenant:
    """Let a frozen tenant answer again; doing so twice is harmless.

    Raises: as `rename_tenant`.
    """
    return set_state(
        name, lambda _: TenantState.ACTIVE, signals.pre_unfreeze, signals.post_unfreeze
    )


def activate(
    tenant: Tenant,
    admin: ShardAdmin,
    *,
    migrated: bool = False,
    served: Placement | None = None,
) -> None:
    """Make a tenant that is provisioned active, on its shard and here.

    Args:
        tenant: in state `creating`.
        admin: of its shard.
        migrated: whether its migrations were applied just now.
        served: what it has if its shard serves it already.

    Raises:
        OperationInterrupted: naming tenant and shard.
    """
    active = served or _active(tenant)
    changes: Changes = {"state": active.state.value, "epoch": active.epoch, "role": active.role}
    if migrated:
        changes["migrated_at"] = timezone.now()
    try:
        if served is None:
            admin.update_placement(
                tenant.name, expected_epoch=tenant.epoch, state=active.state, epoch=active.epoch
            )
        record(tenant, **changes)
    except MTDDError as exc:
        raise OperationInterrupted(
            f"Tenant {tenant.name!r} is complete on {where(tenant)}, but could not be made "
            f"active: {sentence(exc)} Run `manage.py check_shards --repair`, which settles it."
        ) from exc


def _create(
    name: str, shard: str | None, isolation: Isolation, initial_data: InitialData | None
) -> Tenant:
    """Make the tenant of which nothing is there, and whose lock is held.

    Raises: as `create_tenant`; NotBegun, also if the shard has answered before.
    """
    chosen = choose_shard() if shard is None else require_shard(shard)
    ask(signals.pre_create, name, shard=chosen.name, isolation=isolation)
    tenant = _insert(name, chosen, isolation)
    admin = admin_of(chosen)
    served = _provision(tenant, admin, initial_data)
    activate(tenant, admin, migrated=True, served=served)
    return tenant


def _insert(name: str, shard: Shard, isolation: Isolation) -> Tenant:
    namespace = new_namespace(name)
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            tenant = Tenant.objects.create(
                name=name,
                shard=shard,
                isolation=isolation.value,
                namespace=namespace,
                role=namespace,
                epoch=1,
                state=TenantState.CREATING.value,
            )
            note("create tenant", tenant=name, shard=shard.name, isolation=isolation.value)
    except IntegrityError as exc:
        # Whoever removes a shard locks its row, for which this transaction's end has waited.
        if not Shard.objects.filter(pk=shard.pk).exists():
            raise ShardNotRegistered(f"Shard {shard.name!r} has just been removed.") from None
        raise TenantAlreadyExists(f"A tenant {name!r} already exists.") from exc
    note_placed(shard)
    forget(name)
    return tenant


def _active(tenant: Tenant) -> Placement:
    """Return the placement that a tenant which is being created will have."""
    return replace(tenant.placement(), state=TenantState.ACTIVE, epoch=tenant.epoch + 1)


def _provision(
    tenant: Tenant, admin: ShardAdmin, initial_data: InitialData | None
) -> Placement | None:
    """Make the tenant, with its first rows; return what it has if its shard serves it already."""
    # Who writes its first rows does so before anybody else sees it.
    complete = not has_initial_data(initial_data)
    placement = _active(tenant) if complete else tenant.placement()
    try:
        made = make_newcomer(tenant, placement, admin)
        if made is not None and complete:
            return made
        if made is not None:
            adopt_role(tenant, made)
        write_initial_data(tenant, initial_data)
    except NotBegun:
        _undo_unbegun(tenant)
        raise
    # Also Ctrl-C must not leave half a tenant, if that can be helped.
    except BaseException as exc:
        _undo(tenant, admin, exc)
        raise
    return None


def _undo_unbegun(tenant: Tenant) -> None:
    """Remove the tenant of which its shard has not heard."""
    distrust(tenant.shard)
    remove_unbegun(tenant)


def _undo(tenant: Tenant, admin: ShardAdmin, cause: BaseException) -> None:
    """Remove what there is of the tenant; raise what *cause* means to the caller."""
    try:
        remove_unfinished(tenant, admin, even_served=True)
    except MTDDError as exc:
        raise OperationInterrupted(
            f"Tenant {tenant.name!r} could not be created, for {where(tenant)} failed half "
            f"way: {sentence(cause)} It is left in state 'creating'; when the shard is back, run "
            "`manage.py check_shards --repair`."
        ) from exc
    if isinstance(cause, Exception):
        raise ProvisioningFailed(
            f"Tenant {tenant.name!r} could not be created on {where(tenant)}: "
            f"{sentence(cause)} Nothing of it is left."
        ) from cause
