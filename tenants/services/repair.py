"""Comparing the registry with the shards, and mending what an interruption left.

Invariants: what differs at first sight is looked at again under the tenant's lock
before it is reported or mended, so that an operation under way is never taken for
one that stopped. Data that was ever in use is dropped only where a deletion had
begun. Of a row and a placement, the one with the higher epoch is the later.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from django.db import DEFAULT_DB_ALIAS, Error, transaction
from django.db.models import Q
from django.utils import timezone

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import MTDDError, ShardError
from mtdd_router.types import Placement, TenantState
from tenants.errors import ShardRegistryError, TenantBusy
from tenants.models import Shard, Tenant
from tenants.services.agreement import purge_date, record
from tenants.services.audit import note
from tenants.services.changing import WHOLE
from tenants.services.deletion import finish_deletion, remove_unfinished
from tenants.services.findings import Finding, FindingKind, ShardReport
from tenants.services.identity import admin_of
from tenants.services.locks import tenant_lock
from tenants.services.routes import forget
from tenants.services.shards import get_shard, identify_as

__all__ = ["check_shards"]

_REPAIR_TIMEOUT: Final = 300.0


def check_shards(
    names: Iterable[str] | None = None, *, repair: bool = False
) -> Iterator[ShardReport]:
    """Compare the registry with each shard in turn, and mend what differs if *repair*.

    Args:
        names: of the shards; all by default.
        repair: whether to mend.

    Raises:
        ShardNotRegistered: at once, naming the shard.
    """
    if names is None:
        shards = list(Shard.objects.order_by("name"))
    else:
        shards = [get_shard(name) for name in names]
    return (_check(shard, repair=repair) for shard in shards)


def _check(shard: Shard, *, repair: bool) -> ShardReport:
    comparison = _Comparison(shard, repair=repair)
    try:
        identify_as(shard)
        admin = admin_of(shard, timeout=_REPAIR_TIMEOUT)
        comparison.run(admin)
    except (ShardError, ShardRegistryError) as exc:
        comparison.report(FindingKind.UNREACHABLE, shard.address, str(exc))
    return ShardReport(
        shard=shard.name,
        address=shard.address,
        tenants=shard.tenants.count(),
        findings=tuple(comparison.findings),
        busy=tuple(comparison.busy),
    )


class _Comparison:
    """The comparison of one shard with the registry."""

    def __init__(self, shard: Shard, *, repair: bool) -> None:
        self.shard = shard
        self.repair = repair
        self.findings: list[Finding] = []
        self.busy: list[str] = []

    def run(self, admin: ShardAdmin) -> None:
        # The shard is read first: whatever is there had its row before.
        found = admin.placements(orphans=True)
        rows = list(Tenant.objects.filter(shard=self.shard))
        strangers = {placement.namespace: placement for placement in found.placements.values()}
        for row in rows:
            placement = strangers.pop(row.namespace, None)
            whole = row.state in WHOLE and row.name not in found.missing
            if whole and placement == row.placement():
                continue
            names = {row.name, placement.tenant} if placement else {row.name}
            self._locked(names, partial(self._tenant, admin, row.pk, names))
        for stranger in strangers.values():
            self._locked({stranger.tenant}, partial(self._stranger, admin, stranger.tenant))
        for orphan in found.orphans:
            self._orphan(admin, orphan)

    def report(
        self,
        kind: FindingKind,
        subject: str,
        detail: str,
        action: str = "",
        mend: Callable[[], object] | None = None,
    ) -> None:
        """Keep a finding, mended with *mend* if that is asked for."""
        repaired, error = False, ""
        if self.repair and mend is not None:
            try:
                mend()
                repaired = True
            except (MTDDError, Error) as exc:
                error = str(exc)
        self.findings.append(
            Finding(kind, self.shard.name, subject, detail, action, repaired, error)
        )

    def _locked(self, names: set[str], look: Callable[[], None]) -> None:
        try:
            with tenant_lock(*names):
                look()
        except TenantBusy:
            self.busy.append(min(names))

    def _tenant(self, admin: ShardAdmin, pk: int, names: set[str]) -> None:
        """Look at a row that does not fit; its lock is held."""
        row = Tenant.objects.select_related("shard").filter(pk=pk, shard=self.shard).first()
        if row is None or row.name not in names:
            return
        placement, missing = _placement_of(admin, row, names)
        if row.state == TenantState.DELETING:
            self.report(
                FindingKind.INTERRUPTED_DELETION,
                row.name,
                "Its deletion stopped half way.",
                "complete the deletion",
                lambda: finish_deletion(row, admin, placement),
            )
        elif row.state == TenantState.CREATING:
            self._unfinished(admin, row, placement)
        elif placement is None:
            self.report(
                FindingKind.NO_PLACEMENT,
                row.name,
                f"The shard does not know the namespace {row.namespace!r}. Restore it from a "
                "backup, or give the tenant up with delete_tenant --now.",
            )
        elif missing:
            self.report(
                FindingKind.NO_NAMESPACE,
                row.name,
                f"The namespace {row.namespace!r} or its role is gone from the shard. Restore "
                "it from a backup, or give the tenant up with delete_tenant --now.",
            )
        elif placement != row.placement():
            self._disagreement(admin, row, placement)

    def _unfinished(self, admin: ShardAdmin, row: Tenant, placement: Placement | None) -> None:
        """Complete a creation that did all but say so; remove any other."""
        detail, action = "Its creation stopped half way.", "complete the creation"
        if placement is not None and placement.state in WHOLE:
            later = placement
            mend: Callable[[], object] = lambda: record(  # noqa: E731
                row,
                name=later.tenant,
                state=later.state.value,
                epoch=later.epoch,
                role=later.role,
            )
        else:
            # Its tables may be there, but whether all its first rows are cannot be told.
            action = "remove what is left of it"
            mend = lambda: remove_unfinished(row, admin)  # noqa: E731
        self.report(FindingKind.INTERRUPTED_CREATION, row.name, detail, action, mend)

    def _disagreement(self, admin: ShardAdmin, row: Tenant, placement: Placement) -> None:
        mine, theirs = row.placement(), placement
        differences = "; ".join(
            f"{word} {mine_word} here, {theirs_word} there"
            for word, mine_word, theirs_word in (
                ("name", mine.tenant, theirs.tenant),
                ("epoch", mine.epoch, theirs.epoch),
                ("state", mine.state, theirs.state),
                ("isolation", mine.isolation, theirs.isolation),
                ("role", mine.role, theirs.role),
            )
            if mine_word != theirs_word
        )
        name, state, epoch = _settled(row, placement)
        self.report(
            FindingKind.DISAGREEMENT,
            row.name,
            f"Registry and shard differ: {differences}.",
            f"make it {name!r}, {state}, epoch {epoch} in both",
            lambda: _settle(admin, row, placement, name=name, state=state, epoch=epoch),
        )

    def _stranger(self, admin: ShardAdmin, name: str) -> None:
        """Look at a placement without a row; its lock is held."""
        placement = admin.placements(name).placements.get(name)
        if placement is None or self._claimed(placement.namespace):
            return
        detail = f"The namespace {placement.namespace!r} is {placement.state} on the shard."
        other = Tenant.objects.select_related("shard").filter(name=name).first()
        if placement.state not in WHOLE:
            self.report(
                FindingKind.UNKNOWN_TENANT,
                name,
                detail,
                "remove it from the shard",
                lambda: admin.drop_namespace(name),
            )
        elif other is not None:
            self.report(
                FindingKind.UNKNOWN_TENANT,
                name,
                f"{detail} But tenant {name!r} lives on shard {other.shard.name!r}, so this "
                "is another copy: compare the two, and drop the wrong one by hand.",
            )
        else:
            self.report(
                FindingKind.UNKNOWN_TENANT,
                name,
                detail,
                "register it again",
                lambda: self._adopt(placement),
            )

    def _orphan(self, admin: ShardAdmin, name: str) -> None:
        if not self._claimed(name):
            self.report(
                FindingKind.ORPHAN,
                name,
                "A namespace or role that belongs to no placement.",
                "drop it",
                lambda: self._drop(admin, name),
            )

    def _drop(self, admin: ShardAdmin, name: str) -> None:
        note("drop orphan", shard=self.shard.name, orphan=name)
        admin.drop_orphan(name)

    def _claimed(self, namespace: str) -> bool:
        return self.shard.tenants.filter(Q(namespace=namespace) | Q(role=namespace)).exists()

    def _adopt(self, placement: Placement) -> None:
        deleted = placement.state is TenantState.DELETED
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            Tenant.objects.create(
                name=placement.tenant,
                shard=self.shard,
                isolation=placement.isolation.value,
                namespace=placement.namespace,
                role=placement.role,
                epoch=placement.epoch,
                state=placement.state.value,
                purge_at=purge_date(timezone.now()) if deleted else None,
                state_before_deletion=TenantState.FROZEN.value if deleted else "",
            )
            note("adopt tenant", tenant=placement.tenant, shard=self.shard.name)
        forget(placement.tenant)


def _placement_of(admin: ShardAdmin, row: Tenant, names: set[str]) -> tuple[Placement | None, bool]:
    """Return the placement of the row's namespace, and whether its namespace is gone."""
    found = admin.placements(*names)
    for name in sorted(names):
        placement = found.placements.get(name)
        if placement is not None and placement.namespace == row.namespace:
            return placement, name in found.missing
    return None, False


def _settled(row: Tenant, placement: Placement) -> tuple[str, TenantState, int]:
    """Return the name, state and epoch that both shall have."""
    state = TenantState(row.state)
    if placement.state not in WHOLE:
        # Here it was in use, there it was being made or deleted: no data is dropped,
        # and no query answered, until a person unfreezes or deletes it.
        return row.name, TenantState.FROZEN, max(row.epoch, placement.epoch) + 1
    if placement.epoch < row.epoch:
        return row.name, state, row.epoch
    if placement.epoch == row.epoch:
        # Which of two states is the later cannot be told: the safe one loses nothing.
        same = state is placement.state
        return row.name, state if same else TenantState.FROZEN, row.epoch + 1
    if placement.tenant != row.name and Tenant.objects.filter(name=placement.tenant).exists():
        # The new name was given to another tenant after the renaming stopped.
        return row.name, placement.state, placement.epoch + 1
    return placement.tenant, placement.state, placement.epoch


def _settle(
    admin: ShardAdmin,
    row: Tenant,
    placement: Placement,
    *,
    name: str,
    state: TenantState,
    epoch: int,
) -> None:
    if epoch > placement.epoch:
        admin.update_placement(
            placement.tenant,
            expected_epoch=placement.epoch,
            name=name if name != placement.tenant else "",
            state=state,
            epoch=epoch,
        )
    record(
        row,
        name=name,
        state=state.value,
        epoch=epoch,
        isolation=placement.isolation.value,
        role=placement.role,
    )
