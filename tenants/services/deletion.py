"""Deleting tenants: softly, for a while, and for ever.

A deleted tenant answers no queries and keeps all its data until it is purged.
Invariants: what was deleted by date is purged only where registry and shard agree that
it is deleted; a purge may stop at any step, and goes on when it is repeated.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from time import perf_counter
from typing import Final

from django.db import DEFAULT_DB_ALIAS, Error, transaction
from django.db.models import Q
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import MTDDError, ShardError, TenantDoesNotExist
from mtdd_router.types import Placement, TenantState
from tenants import signals
from tenants.errors import OperationInterrupted, PlacementDisagreement
from tenants.models import Shard, Tenant
from tenants.services.agreement import (
    drop_leftovers,
    find_placement,
    find_placements,
    record,
    record_purging,
)
from tenants.services.audit import note_each
from tenants.services.changing import WHOLE, get_tenant, sentence, set_state, where
from tenants.services.identity import admin_of
from tenants.services.locks import busy, tenant_lock, tenant_locks
from tenants.services.notifying import ask, tell
from tenants.services.parallel import in_parallel
from tenants.services.resting import let_rest
from tenants.services.routes import forget

__all__ = [
    "PurgeOutcome",
    "PurgeResult",
    "delete_tenant",
    "due_tenants",
    "finish_deletion",
    "purge_tenant",
    "purge_tenants",
    "remove_unbegun",
    "remove_unfinished",
    "undelete_tenant",
]

# Dropping a large schema takes PostgreSQL its time.
_DROP_TIMEOUT: Final = 300.0
_PARALLEL: Final = 4
# The registry is asked for so many at once.
_TOGETHER: Final = 20


class PurgeOutcome(StrEnum):
    """What became of a tenant whose time was over."""

    PURGED = "purged"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What became of one tenant; *seconds* is how long it took."""

    tenant: str
    shard: str
    outcome: PurgeOutcome
    seconds: float = 0.0
    error: str = ""


def delete_tenant(name: str) -> Tenant:
    """Refuse all queries of the tenant at once, and let it be purged after MTDD_DELETION_GRACE.

    Until then its data and its name stay, and `undelete_tenant` brings it back. Doing so
    twice is harmless, and does not defer the purge.

    Raises:
        TenantDoesNotExist, TenantBusy, WrongTenantState, PlacementDisagreement,
        ShardUnavailable: nothing has changed.
        OperationInterrupted: `check_shards --repair` settles it.
    """
    return set_state(
        name,
        lambda _: TenantState.DELETED,
        signals.pre_delete,
        signals.post_delete,
        allowed=WHOLE,
    )


def undelete_tenant(name: str) -> Tenant:
    """Bring a deleted tenant back as it was, active or frozen; doing so twice is harmless.

    Migrations that others were given meanwhile are not applied to it.

    Raises: as `delete_tenant`.
    """
    return set_state(name, _undeleted, signals.pre_undelete, signals.post_undelete, allowed=WHOLE)


def purge_tenant(name: str) -> None:
    """Drop the tenant and all its data, whatever its state; nothing brings it back.

    Raises:
        TenantDoesNotExist, TenantBusy, PlacementDisagreement, ShardUnavailable:
            nothing has changed.
        OperationInterrupted: repeating it, or check_shards, completes it.
    """
    with tenant_lock(name):
        tenant = get_tenant(name)
        admin = admin_of(tenant.shard, timeout=_DROP_TIMEOUT)
        placement = find_placement(admin, tenant)
        if placement is not None and placement.tenant != name:
            raise PlacementDisagreement(
                f"On shard {tenant.shard.name!r}, tenant {name!r} is called "
                f"{placement.tenant!r}: a renaming stopped half way. "
                "Run `manage.py check_shards --repair` first."
            )
        ask(signals.pre_purge, name, tenant=tenant)
        finish_deletion(tenant, admin, placement)
    tell(signals.post_purge, name, tenant=tenant)


def due_tenants(shard: Shard | None = None) -> list[Tenant]:
    """Return the tenants that are to be purged now, those whose purge has begun included."""
    due = Tenant.objects.select_related("shard").order_by("name").filter(_is_due())
    return list(due if shard is None else due.filter(shard=shard))


def purge_tenants(
    tenants: Iterable[Tenant],
    *,
    parallel: int = _PARALLEL,
    on_result: Callable[[PurgeResult], None] = lambda _: None,
) -> list[PurgeResult]:
    """Purge those of *tenants* that are still due; one that fails does not stop the others.

    Args:
        tenants: of `due_tenants`.
        parallel: how many at a time.
        on_result: called with each result as it comes, one call at a time.

    Raises:
        KeyboardInterrupt: after those at hand are finished.
    """
    wanted = list(tenants)
    together = max(1, min(_TOGETHER, len(wanted) // parallel))
    results = []
    batches = _batches(wanted, together)
    with closing(in_parallel(batches, _purge_batch, parallel=parallel)) as done:
        for batch in done:
            for result in batch:
                results.append(result)
                on_result(result)
    return results


def finish_deletion(tenant: Tenant, admin: ShardAdmin, placement: Placement | None) -> None:
    """Drop the tenant, from whichever step on is left to do.

    Raises:
        OperationInterrupted: naming tenant and shard.
    """
    _drop(tenant, admin, placement)
    _delete_rows(tenant, rest=True)


def _drop(tenant: Tenant, admin: ShardAdmin, placement: Placement | None) -> None:
    """Do as `finish_deletion` does, but leave the row."""
    if tenant.state != TenantState.DELETING:
        known = placement.epoch if placement else 0
        record(tenant, state=TenantState.DELETING.value, epoch=max(tenant.epoch, known) + 1)
    try:
        if placement is not None:
            admin.drop_namespace(tenant.name)
        else:
            drop_leftovers(tenant, admin)
    except ShardError as exc:
        raise OperationInterrupted(
            f"Deleting tenant {tenant.name!r} stopped half way on {where(tenant)}: "
            f"{sentence(exc)} It answers no more queries; repeat the command to complete it."
        ) from exc


def remove_unfinished(tenant: Tenant, admin: ShardAdmin, *, even_served: bool = False) -> None:
    """Remove a tenant that was never active, from its shard and from here.

    *even_served* removes it also if its shard would serve it, which nobody has learned yet.

    Raises:
        ShardError: if the shard fails; then the row stays.
        PlacementDisagreement: if it is active on the shard.
    """
    placement = find_placement(admin, tenant)
    if placement is not None:
        unfinished = placement.state in {TenantState.CREATING, TenantState.DELETING}
        if not (unfinished or even_served):
            raise PlacementDisagreement(
                f"Tenant {tenant.name!r} is {placement.state} on shard {tenant.shard.name!r}; "
                "it is not removed as unfinished."
            )
        admin.drop_namespace(placement.tenant)
    else:
        drop_leftovers(tenant, admin)
    _delete_rows(tenant)


def remove_unbegun(tenant: Tenant) -> None:
    """Remove a tenant from here of which its shard has not heard."""
    _delete_rows(tenant)


def _delete_rows(*tenants: Tenant, rest: bool = False) -> None:
    """Delete the rows of tenants of which nothing is left on their shards.

    *rest* lets their names rest: they were in use.
    """
    names = [tenant.name for tenant in tenants]
    with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
        if rest:
            let_rest(*tenants)
        note_each("purge tenant" if rest else "undo creation", names)
        Tenant.objects.filter(pk__in=[tenant.pk for tenant in tenants]).delete()
    forget(*names)


def _is_due() -> Q:
    return Q(state=TenantState.DELETING.value) | Q(
        state=TenantState.DELETED.value, purge_at__lte=timezone.now()
    )


def _undeleted(tenant: Tenant) -> TenantState:
    before = tenant.state_before_deletion
    return TenantState(before if tenant.state == TenantState.DELETED else tenant.state)


def _batches(tenants: Iterable[Tenant], size: int) -> list[list[Tenant]]:
    """Return *tenants* in batches of one shard each, the shards in turn."""
    by_shard: dict[int, list[list[Tenant]]] = {}
    for tenant in tenants:
        batches = by_shard.setdefault(tenant.shard_id, [])
        if not batches or len(batches[-1]) == size:
            batches.append([])
        batches[-1].append(tenant)
    in_turn = zip_longest(*by_shard.values(), fillvalue=[])
    return [batch for batches in in_turn for batch in batches if batch]


def _purge_batch(batch: Sequence[Tenant]) -> list[PurgeResult]:
    """Purge tenants of one shard, each by itself but for what is asked and written of all."""
    return _Purge(batch).run()


class _Purge:
    """A purge of tenants of one shard, of which some may be due no more."""

    def __init__(self, batch: Sequence[Tenant]) -> None:
        self._batch = batch
        self._results: dict[str, PurgeResult] = {}

    def run(self) -> list[PurgeResult]:
        gone: list[Tenant] = []
        try:
            with tenant_locks(tenant.name for tenant in self._batch) as held:
                rows = self._still_due(held)
                if rows:
                    admin = admin_of(rows[0].shard, timeout=_DROP_TIMEOUT)
                    gone = self._drop(rows, admin)
                if gone:
                    _delete_rows(*gone, rest=True)
        except (MTDDError, Error) as exc:
            for tenant in self._batch:
                known = self._results.get(tenant.name)
                if known is None or known.outcome is PurgeOutcome.PURGED:
                    self._came(tenant, PurgeOutcome.FAILED, exc)
        else:
            for row in gone:
                tell(signals.post_purge, row.name, tenant=row)
        return list(self._results.values())

    def _still_due(self, held: frozenset[str]) -> list[Tenant]:
        """Return the rows of those that were not brought back, nor are just being brought back."""
        rows = Tenant.objects.select_related("shard").filter(
            _is_due(),
            # One that was renamed since is not locked.
            name__in=held,
            pk__in=[tenant.pk for tenant in self._batch],
            shard=self._batch[0].shard_id,
        )
        found = {row.name: row for row in rows}
        for tenant in self._batch:
            if tenant.name not in held:
                self._came(tenant, PurgeOutcome.SKIPPED, busy(tenant.name))
            elif tenant.name not in found:
                self._came(tenant, PurgeOutcome.SKIPPED, _not_due(tenant.name))
        return list(found.values())

    def _drop(self, rows: list[Tenant], admin: ShardAdmin) -> list[Tenant]:
        """Drop those of *rows* that nothing speaks against, but for the rows; return them."""
        placements = find_placements(admin, rows)
        wanted, gone = [], []
        for row in rows:
            try:
                _require_agreement(row, placements.get(row.pk))
                ask(signals.pre_purge, row.name, tenant=row)
            except (MTDDError, Error) as exc:
                self._came(row, PurgeOutcome.FAILED, exc)
            else:
                wanted.append(row)
        record_purging(wanted)
        for row in wanted:
            started = perf_counter()
            try:
                _drop(row, admin, placements.get(row.pk))
            except (MTDDError, Error) as exc:
                self._came(row, PurgeOutcome.FAILED, exc, perf_counter() - started)
            else:
                self._came(row, PurgeOutcome.PURGED, None, perf_counter() - started)
                gone.append(row)
        return gone

    def _came(
        self,
        tenant: Tenant,
        outcome: PurgeOutcome,
        error: Exception | None,
        seconds: float = 0.0,
    ) -> None:
        self._results[tenant.name] = PurgeResult(
            tenant.name, tenant.shard.name, outcome, seconds, str(error or "")
        )


def _not_due(name: str) -> TenantDoesNotExist:
    return TenantDoesNotExist(f"Tenant {name!r} is not to be purged any more.")


def _require_agreement(row: Tenant, placement: Placement | None) -> None:
    """Refuse to purge what the shard does not know as deleted."""
    if row.state == TenantState.DELETED and placement != row.placement():
        raise PlacementDisagreement(
            f"Tenant {row.name!r} is deleted in the registry, but not on {where(row)}; run "
            "`manage.py check_shards --repair`."
        )
