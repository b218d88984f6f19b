"""Changing a placement.

Invariants: a change is made only to the epoch that the caller expects, and an
epoch never falls. A change that was made already is not an error, so a caller
that lost the answer may ask again.
"""

from typing import Final

from psycopg import sql

from mtdd_router.server.namespaces import AlreadyExists, Namespaces, NotPossible
from mtdd_router.server.placements import PLACEMENT_COLUMNS, placement_from_row
from mtdd_router.types import TRANSITIONS, Placement, TenantState

__all__ = ["NoSuchTenant", "update_placement"]


class NoSuchTenant(LookupError):
    """No such tenant lives on this shard."""


# All that most changes take, in one round trip.
_CHANGE_STATE: Final = sql.SQL(
    "UPDATE mtdd.placement SET state = {state}, epoch = {epoch}, changed_at = pg_catalog.now()"
    " WHERE tenant = {tenant} AND epoch = {expected_epoch} AND state = ANY ({before})"
    f" RETURNING {PLACEMENT_COLUMNS}"
)


async def update_placement(
    namespaces: Namespaces,
    tenant: str,
    *,
    expected_epoch: int,
    name: str = "",
    state: TenantState | None = None,
    epoch: int = 0,
) -> Placement:
    """Change what is given, and return the placement as stored.

    Raises:
        NoSuchTenant: if it does not live here.
        NotPossible: if the placement has another epoch, the new one is not larger, or its
            state cannot become *state*.
        AlreadyExists: if *name* is another tenant's.
    """
    if state is not None and not name and epoch > expected_epoch:
        changed = await _change_state(namespaces, tenant, expected_epoch, state, epoch)
        if changed is not None:
            return changed
    async with namespaces.transaction(f"Tenant {tenant!r}"):
        stored = await namespaces.find(tenant, lock=True)
        if stored is None:
            renamed = await namespaces.find(name) if name else None
            if renamed is not None and epoch and renamed.epoch == epoch:
                return renamed
            raise NoSuchTenant(f"Tenant {tenant!r} does not live on this shard.")
        wanted = Placement(
            tenant=name or tenant,
            isolation=stored.isolation,
            namespace=stored.namespace,
            role=stored.role,
            epoch=epoch or stored.epoch,
            state=state or stored.state,
        )
        if stored == wanted and epoch:
            return stored
        if stored.epoch != expected_epoch:
            raise NotPossible(
                f"Tenant {tenant!r} is at epoch {stored.epoch}, not {expected_epoch}: somebody "
                "else has changed its placement; read it again."
            )
        if epoch and epoch <= stored.epoch:
            raise NotPossible(
                f"Tenant {tenant!r} is at epoch {stored.epoch}; the new epoch {epoch} must be "
                "larger."
            )
        if wanted.state is not stored.state and wanted.state not in TRANSITIONS[stored.state]:
            raise NotPossible(
                f"Tenant {tenant!r} is {stored.state.value}; it cannot become {wanted.state.value}."
            )
        if wanted.tenant != tenant and await namespaces.find(wanted.tenant) is not None:
            raise AlreadyExists(f"Tenant {name!r} lives on this shard already.")
        cursor = await namespaces.connection.execute(
            "UPDATE mtdd.placement"
            " SET tenant = %s, state = %s, epoch = %s, changed_at = pg_catalog.now()"
            f" WHERE tenant = %s RETURNING {PLACEMENT_COLUMNS}",
            [wanted.tenant, wanted.state.value, wanted.epoch, tenant],
        )
        row = await cursor.fetchone()
        assert row is not None
        return placement_from_row(row)


async def _change_state(
    namespaces: Namespaces, tenant: str, expected_epoch: int, state: TenantState, epoch: int
) -> Placement | None:
    """Change state and epoch; None if the placement is not as it would have to be for that."""
    before = [known.value for known, following in TRANSITIONS.items() if state in following]
    change = _CHANGE_STATE.format(
        state=state.value,
        epoch=epoch,
        tenant=tenant,
        expected_epoch=expected_epoch,
        before=[*before, state.value],
    )
    rows = await namespaces.run_alone(f"Tenant {tenant!r}", change)
    return placement_from_row(rows[0]) if rows else None
