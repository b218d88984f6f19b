"""Where a new tenant goes, and what its namespace is called."""

import secrets
from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import Any, Final

from mtdd_router.errors import ShardError
from tenants.errors import NoShardAvailable, ShardRegistryError
from tenants.models import Shard, Tenant
from tenants.services.shards import get_shard, identify_as

__all__ = ["choose_shard", "distrust", "new_namespace", "note_placed", "require_shard"]

_NAME_IN_NAMESPACE: Final = 40
_PROBE_TIMEOUT: Final = 2.0
# For so many seconds a shard that has answered is not asked again.
_TRUSTED_SECONDS: Final = 5.0
_answered: Final[dict[tuple[int, str], float]] = {}
# With fewer tenants counting them takes no longer than a statement.
_FEW_TENANTS: Final = 1000
# Each new tenant asks this; as a queryset it takes twice as long to become SQL and rows.
_COUNTED: Final = (
    f'SELECT s.*, (SELECT COUNT(*) FROM "{Tenant._meta.db_table}" t WHERE t.shard_id = s.id)'
    f' AS tenants_there FROM "{Shard._meta.db_table}" s'
)
# For so many seconds more are not counted again, but those that were placed added.
_COUNTED_SECONDS: Final = 5.0


class _Loads:
    """How many tenants shards have."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._counted_at = -inf

    def of_shards(self) -> list[tuple[Shard, int]]:
        """Return all shards, with how many tenants each has."""
        if self._counted_at + _COUNTED_SECONDS > monotonic():
            return [(shard, self._counts.get(shard.pk, 0)) for shard in Shard.objects.all()]
        shards: Iterable[Any] = Shard.objects.raw(_COUNTED)
        counted: list[tuple[Shard, int]] = [(shard, shard.tenants_there) for shard in shards]
        if sum(count for _, count in counted) > _FEW_TENANTS:
            self._counts = {shard.pk: count for shard, count in counted}
            self._counted_at = monotonic()
        return counted

    def add(self, shard: Shard) -> None:
        """Count a tenant that is new on *shard*."""
        self._counts[shard.pk] = self._counts.get(shard.pk, 0) + 1


_loads: Final = _Loads()


def new_namespace(tenant: str) -> str:
    """Return a new name for the schema or database, and the role, of *tenant*.

    It is readable, never used again, and short enough for PostgreSQL; it stays
    when the tenant is renamed.
    """
    readable = tenant[:_NAME_IN_NAMESPACE].replace("-", "_")
    return f"t_{readable}_{secrets.token_hex(4)}"


def choose_shard() -> Shard:
    """Return the least loaded shard that accepts tenants and answers, or has just now.

    The load is that with the new tenant, by weight; of equals, the first by name. Of many
    tenants, what other processes did in the last seconds is not seen.

    Raises:
        NoShardAvailable: saying of each shard why it cannot be.
    """
    loads = _loads.of_shards()
    by_load = sorted(
        ((count + 1) / shard.weight, shard.name, shard)
        for shard, count in loads
        if shard.accepts_tenants
    )
    reasons = []
    for _, _, shard in by_load:
        try:
            _require_answer(shard)
        except (ShardError, ShardRegistryError) as exc:
            reasons.append(str(exc))
        else:
            return shard
    if reasons:
        raise NoShardAvailable(
            f"None of the {len(reasons)} shards that accept tenants can be used: "
            + " ".join(reasons)
        )
    if loads:
        raise NoShardAvailable(
            "No shard accepts new tenants; let one with `manage.py edit_shard NAME --accept`."
        )
    raise NoShardAvailable("No shard is registered; register one with `manage.py register_shard`.")


def note_placed(shard: Shard) -> None:
    """Take into account that *shard* has one tenant more."""
    _loads.add(shard)


def require_shard(name: str) -> Shard:
    """Return the shard of that *name*, if it takes tenants and answers, or has just now.

    Raises:
        ShardNotRegistered, NoShardAvailable, ShardIdentityChanged, NotAShardServer,
        ShardUnavailable: naming the shard.
    """
    shard = get_shard(name)
    if not shard.accepts_tenants:
        raise NoShardAvailable(
            f"Shard {name!r} accepts no new tenants; let it with "
            f"`manage.py edit_shard {name} --accept`."
        )
    _require_answer(shard)
    return shard


def distrust(shard: Shard) -> None:
    """Ask *shard* again before it is next used: it could not be reached."""
    _answered.pop(_trusted(shard), None)


def _require_answer(shard: Shard) -> None:
    """Ask *shard* who it is, unless this process heard that just now.

    Nothing is made on a wrong one: who makes something names the shard that is meant.
    """
    if _answered.get(_trusted(shard), -inf) + _TRUSTED_SECONDS < monotonic():
        identify_as(shard, timeout=_PROBE_TIMEOUT)
        _answered[_trusted(shard)] = monotonic()


def _trusted(shard: Shard) -> tuple[int, str]:
    return shard.pk, shard.address
