"""Changing the name or the state of a tenant that is whole.

Invariants: the tenant's lock is held, what an interrupted operation left is completed
before the change, and a change is made on the shard before it is recorded (see
``agreement``). A change of state does not ask first whether anything was interrupted: the
shard refuses it at an epoch that is not the registry's.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import MTDDError, ShardRefused, ShardUnreachable, TenantDoesNotExist
from mtdd_router.types import TenantState
from tenants.errors import OperationInterrupted, WrongTenantState
from tenants.models import Tenant
from tenants.services.agreement import agree, record
from tenants.services.identity import admin_of
from tenants.services.locks import tenant_lock
from tenants.services.notifying import ask, tell
from tenants.signals import TenantSignal

__all__ = [
    "IN_USE",
    "WHOLE",
    "change",
    "for_people",
    "get_tenant",
    "sentence",
    "set_state",
    "settle",
    "until",
    "where",
]

IN_USE: Final = frozenset({TenantState.ACTIVE, TenantState.FROZEN})
WHOLE: Final = IN_USE | {TenantState.DELETED}
"""The states in which a tenant has all its data."""


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


def settle(tenant: Tenant, admin: ShardAdmin, allowed: Collection[TenantState] = IN_USE) -> None:
    """Complete what was interrupted, and refuse a tenant that is in none of the *allowed* states.

    Raises:
        WrongTenantState: saying what to do.
        PlacementDisagreement: if registry and shard differ in what no interruption explains.
    """
    if tenant.state in WHOLE:
        agree(tenant, admin)
    if tenant.state in allowed:
        return
    if tenant.state == TenantState.DELETED:
        raise WrongTenantState(
            f"Tenant {tenant.name!r} is deleted, and will be purged after {until(tenant)}; bring "
            f"it back with `manage.py undelete_tenant {tenant.name}`."
        )
    raise WrongTenantState(
        f"Tenant {tenant.name!r} is {tenant.state}; if no operation on it is under way, "
        "run `manage.py check_shards --repair`."
    )


def change(
    tenant: Tenant, admin: ShardAdmin, *, name: str = "", state: TenantState | None = None
) -> None:
    """Change name or state of a settled tenant: on the shard, then in the registry.

    Raises:
        ShardRefused, ShardUnreachable: nothing has changed.
        OperationInterrupted: `check_shards --repair` settles it.
    """
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
    except (ShardRefused, ShardUnreachable):
        raise
    except MTDDError as exc:
        raise OperationInterrupted(
            f"The change of tenant {tenant.name!r} on {where(tenant)} stopped half way: "
            f"{sentence(exc)} Run `manage.py check_shards --repair`, which settles it."
        ) from exc


def set_state(
    name: str,
    state: Callable[[Tenant], TenantState],
    before: TenantSignal,
    after: TenantSignal,
    *,
    allowed: Collection[TenantState] = IN_USE,
) -> Tenant:
    """Bring the tenant into a state; if it is in it already, nothing is done.

    Args:
        name: of the tenant.
        state: returns the state for the settled tenant.
        before: the signal that may refuse.
        after: the signal that tells.
        allowed: the states from which this can be done.

    Raises: as `settle` and `change`; TenantDoesNotExist, TenantBusy, OperationRefused.
    """
    with tenant_lock(name):
        tenant = get_tenant(name)
        admin = admin_of(tenant.shard)
        if tenant.state not in allowed or tenant.state == state(tenant):
            settle(tenant, admin, allowed)
            if tenant.state == state(tenant):
                return tenant
        ask(before, name, tenant=tenant)
        _change_state(tenant, admin, state, allowed)
    tell(after, name, tenant=tenant)
    return tenant


def _change_state(
    tenant: Tenant,
    admin: ShardAdmin,
    state: Callable[[Tenant], TenantState],
    allowed: Collection[TenantState],
) -> None:
    """Change the state of a tenant that is settled, as a rule: only if not, the shard refuses."""
    try:
        change(tenant, admin, state=state(tenant))
    except ShardRefused:
        known = tenant.epoch
        settle(tenant, admin, allowed)
        if tenant.epoch == known:
            raise
        if tenant.state != (wanted := state(tenant)):
            change(tenant, admin, state=wanted)


def until(tenant: Tenant) -> str:
    """Return the time until which a deleted tenant can be brought back, for people."""
    return "-" if tenant.purge_at is None else for_people(tenant.purge_at)


def for_people(moment: datetime) -> str:
    """Return a time for messages, in the project's time zone."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def where(tenant: Tenant) -> str:
    """Return the tenant's shard and its address, for messages."""
    return f"shard {tenant.shard.name!r} ({tenant.shard.address})"


def sentence(exc: BaseException) -> str:
    """Return the first line of an error's message, ended so that another may follow."""
    line = str(exc).strip().partition("\n")[0] or type(exc).__name__
    return line if line.endswith((".", "!", "?")) else f"{line}."
