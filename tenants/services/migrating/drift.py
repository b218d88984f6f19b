"""Whether the schemas of tenants are what their migrations give."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import Error

from mtdd_router.errors import MTDDError
from mtdd_router.types import SchemaDetail, SchemaState
from tenants.models import Tenant
from tenants.services.migrating.batches import first_line
from tenants.services.migrating.differences import Difference, differences
from tenants.services.migrating.references import reference_schema
from tenants.services.migrating.survey import survey

__all__ = ["SchemaCheck", "check_schemas"]

# Facts take memory, here and there.
_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """What was found of one tenant.

    Attributes:
        tenant, shard: their names.
        differences: none if its schema is what its migrations give.
        error: why it could not be checked; empty if it was.
    """

    tenant: str
    shard: str
    differences: tuple[Difference, ...] = ()
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Whether its schema is what its migrations give."""
        return not self.differences and not self.error


def check_schemas(tenants: Iterable[Tenant]) -> Iterator[SchemaCheck]:
    """Compare the schemas of *tenants* with what their migrations give.

    Each set of migrations is applied anew to a tenant that is made for this, and removed
    afterwards. The tenants come with their shards; what is found is yielded as it comes.
    """
    chosen = list(tenants)
    found = survey(chosen, SchemaDetail.FINGERPRINT)
    groups: dict[tuple[tuple[str, ...], int], list[Tenant]] = {}
    for tenant in chosen:
        if (state := found.states.get(tenant.name)) is None:
            yield _failed(tenant, found.errors[tenant.name])
        elif not state.fingerprint:
            yield _failed(
                tenant,
                f"Tenant {tenant.name!r} has nothing on shard {tenant.shard.name!r}: its schema is "
                "empty or gone. Restore an archive of it, or run `manage.py check_shards`.",
            )
        else:
            groups.setdefault((state.applied, state.postgres_major), []).append(tenant)
    for members in groups.values():
        try:
            reference = reference_schema(members[0])
        except (MTDDError, Error) as exc:
            yield from (_failed(tenant, first_line(exc)) for tenant in members)
            continue
        others = []
        for tenant in members:
            if found.states[tenant.name].fingerprint == reference.fingerprint:
                yield SchemaCheck(tenant.name, tenant.shard.name)
            else:
                others.append(tenant)
        yield from _compared(others, reference)


def _compared(tenants: Sequence[Tenant], reference: SchemaState) -> Iterator[SchemaCheck]:
    for start in range(0, len(tenants), _AT_ONCE):
        some = tenants[start : start + _AT_ONCE]
        found = survey(some, SchemaDetail.FACTS)
        for tenant in some:
            if (state := found.states.get(tenant.name)) is None:
                yield _failed(tenant, found.errors[tenant.name])
            else:
                differing = differences(reference.facts, state.facts)
                yield SchemaCheck(tenant.name, tenant.shard.name, differing)


def _failed(tenant: Tenant, error: str) -> SchemaCheck:
    return SchemaCheck(tenant.name, tenant.shard.name, error=error)
