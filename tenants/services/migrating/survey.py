"""Which schema states tenants are in, asked from all shards at once."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mtdd_router.errors import ShardError
from mtdd_router.types import SchemaDetail, SchemaState
from tenants.models import Shard, Tenant
from tenants.services.identity import admin_of

__all__ = ["Survey", "survey"]

_CALL_TIMEOUT: Final = 600.0
# A backend of PostgreSQL remembers each relation that it has looked at.
_TENANTS_PER_CALL: Final[Mapping[SchemaDetail, int]] = {
    SchemaDetail.APPLIED: 1000,
    SchemaDetail.FINGERPRINT: 100,
    SchemaDetail.FACTS: 20,
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, by tenant; and why nothing was found for others."""

    states: Mapping[str, SchemaState]
    errors: Mapping[str, str]


def survey(tenants: Iterable[Tenant], detail: SchemaDetail = SchemaDetail.APPLIED) -> Survey:
    """Ask the shards of *tenants* for the states of their schemas."""
    by_shard: dict[Shard, list[str]] = {}
    for tenant in tenants:
        by_shard.setdefault(tenant.shard, []).append(tenant.name)
    states: dict[str, SchemaState] = {}
    errors: dict[str, str] = {}
    if by_shard:
        with ThreadPoolExecutor(len(by_shard), thread_name_prefix="survey") as pool:
            asked = [pool.submit(_ask, shard, names, detail) for shard, names in by_shard.items()]
            for answer in asked:
                found, failed = answer.result()
                states.update(found)
                errors.update(failed)
    return Survey(states, errors)


def _ask(
    shard: Shard, names: Sequence[str], detail: SchemaDetail
) -> tuple[dict[str, SchemaState], dict[str, str]]:
    states: dict[str, SchemaState] = {}
    try:
        admin = admin_of(shard, timeout=_CALL_TIMEOUT)
        size = _TENANTS_PER_CALL[detail]
        for start in range(0, len(names), size):
            states.update(admin.inspect_schemas(names[start : start + size], detail))
    except ShardError as exc:
        return states, {name: str(exc) for name in names if name not in states}
    return states, {
        name: f"Shard {shard.name!r} does not know tenant {name!r}; run `manage.py check_shards`."
        for name in names
        if name not in states
    }
