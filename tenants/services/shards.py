"""Registering shards, changing what is registered, and looking at them.

A shard is its database, known by the id that this carries, not its address: the
same shard cannot be registered twice, and an address at which another shard
answers is noticed.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.db.models.deletion import ProtectedError

from mtdd_router.errors import ShardError, ShardUnavailable
from mtdd_router.types import ShardInfo
from tenants.errors import (
    InvalidShard,
    ShardAlreadyRegistered,
    ShardIdentityChanged,
    ShardInUse,
    ShardNotRegistered,
)
from tenants.models import SHARD_NAME_MAX_LENGTH, Shard, Tenant
from tenants.services.audit import note
from tenants.services.identity import admin_of, identify
from tenants.services.routes import forget_tenants
from tenants.validators import normalize_address

__all__ = [
    "ShardStatus",
    "edit_shard",
    "get_shard",
    "inspect_shards",
    "move_addresses",
    "register_shard",
    "remove_shard",
    "tenant_sizes",
]

_INSPECT_WORKERS: Final = 16
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """What a shard said when it was asked; *latency* in seconds."""

    shard: Shard
    info: ShardInfo | None
    error: str = ""
    latency: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the registered shard answered, and its PostgreSQL did."""
        return self.info is not None and not self.error


def get_shard(name: str) -> Shard:
    """Return the shard of that *name*.

    Raises:
        ShardNotRegistered: naming it.
    """
    try:
        return Shard.objects.get(name=name)
    except Shard.DoesNotExist:
        raise ShardNotRegistered(
            f"No shard {name!r} is registered; list_shards shows those that are."
        ) from None


def register_shard(
    name: str, address: str, *, weight: int = 1, accepts_tenants: bool = True
) -> Shard:
    """Register the shard whose server answers at *address*, and return it.

    Raises:
        InvalidShard: if the name is no slug or the weight below 1.
        InvalidShardAddress: if the address is malformed.
        NotAShardServer: if something else answers there.
        ShardUnavailable: if nothing answers, or its PostgreSQL is down.
        ShardAlreadyRegistered: if the name, the address or the shard itself is
            registered already, naming the shard that has it.
    """
    _validate(name, weight)
    address = normalize_address(address)
    # Said before the shard is asked, so that a second try needs no running shard.
    _refuse_taken(name=name, address=address)
    info = identify(address, shard=name)
    _refuse_taken(name=name, address=address, shard_id=info.shard_id)
    shard = Shard(
        name=name,
        address=address,
        shard_id=info.shard_id,
        weight=weight,
        accepts_tenants=accepts_tenants,
    )
    _write(shard)
    return shard


def edit_shard(
    name: str,
    *,
    new_name: str | None = None,
    address: str | None = None,
    weight: int | None = None,
    accepts_tenants: bool | None = None,
) -> Shard:
    """Change what is given, and return the shard.

    A new address must be answered by the same shard.

    Raises:
        ShardNotRegistered, ShardIdentityChanged: naming the shard.
        InvalidShard, InvalidShardAddress, NotAShardServer, ShardUnavailable,
        ShardAlreadyRegistered: as `register_shard`.
    """
    shard = get_shard(name)
    before = (shard.name, shard.address)
    given = {"weight": weight, "accepts_tenants": accepts_tenants, "name": new_name}
    changed = [field for field, value in given.items() if value is not None]
    for field in changed:
        setattr(shard, field, given[field])
    _validate(shard.name, shard.weight)
    if address is not None:
        shard.address = normalize_address(address)
    _refuse_taken(name=shard.name, address=shard.address, besides=shard)
    if shard.address != before[1]:
        shard.shard_id = identify_as(shard).shard_id
        changed += ["address", "shard_id"]
    if changed:
        _write(shard, changed)
    if (shard.name, shard.address) != before:
        forget_tenants(shard)
    return shard


def move_addresses(addresses: Mapping[str, str]) -> list[Shard]:
    """Give several shards, by name, their new addresses in one transaction.

    This is what a restart of a whole stack on other ports needs: shards may also
    have swapped addresses. Each new address must be answered by the same shard.

    Raises:
        The exceptions of `edit_shard`; then nothing has changed.
    """
    moved = []
    for name, address in addresses.items():
        shard = get_shard(name)
        new = normalize_address(address)
        if new != shard.address:
            shard.address = new
            shard.shard_id = identify_as(shard).shard_id
            moved.append(shard)
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        for shard in moved:
            # Out of the way first: an address is unique at every moment.
            Shard.objects.filter(pk=shard.pk).update(address=f"unix:/moving/{shard.pk}")
        for shard in moved:
            _refuse_taken(name=shard.name, address=shard.address, besides=shard)
            _write(shard, ["address", "shard_id"])
    for shard in moved:
        forget_tenants(shard)
    return moved


def remove_shard(name: str, *, force: bool = False) -> None:
    """Forget the shard; its server and its data stay as they are.

    Args:
        name: of the shard.
        force: forget it even if it cannot be asked what lives there.

    Raises:
        ShardInUse: if tenants are registered there, or if the shard itself knows
            of tenants, or of what is left of some.
        ShardUnavailable, ShardIdentityChanged: if it cannot be asked, unless *force*.
    """
    shard = get_shard(name)
    _refuse_in_use(shard)
    if not force:
        _refuse_inhabited(shard)
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS):
            # A tenant that is being created there locks the same row.
            Shard.objects.select_for_update().get(pk=shard.pk)
            _refuse_in_use(shard)
            note("remove shard", shard=name, force=force)
            shard.delete()
    except Shard.DoesNotExist:
        raise ShardNotRegistered(f"Shard {name!r} has just been removed by another.") from None
    except ProtectedError as exc:
        raise ShardInUse(f"Tenants live on shard {name!r}; delete them first.") from exc


def identify_as(shard: Shard, *, timeout: float | None = None) -> ShardInfo:
    """Ask the shard who it is, and return that if it is the registered one.

    Raises:
        ShardIdentityChanged: if another shard answers at its address.
        NotAShardServer, ShardUnavailable: as `register_shard`.
    """
    info = identify(shard.address, shard=shard.name, shard_id=shard.shard_id or "", timeout=timeout)
    if shard.shard_id is not None and info.shard_id != shard.shard_id:
        other = Shard.objects.filter(shard_id=info.shard_id).first()
        who = f"shard {other.name!r}" if other else "a shard that is not registered"
        raise ShardIdentityChanged(
            f"At {shard.address}, {who} answers instead of shard {shard.name!r}; "
            "correct its address with edit_shard."
        )
    return info


def inspect_shards(shards: Iterable[Shard], *, timeout: float = 1.0) -> list[ShardStatus]:
    """Ask all *shards* at once how they are; one that fails says so in its status.

    Args:
        shards: in the order of the result.
        timeout: of each answer, in seconds.
    """
    asked = list(shards)
    if not asked:
        return []
    # The threads use no database: each gets its row, and gives back a plain value.
    with ThreadPoolExecutor(min(len(asked), _INSPECT_WORKERS)) as pool:
        return list(pool.map(lambda shard: _inspect(shard, timeout), asked))


def tenant_sizes(tenants: Sequence[Tenant], *, timeout: float = 1.0) -> dict[str, int]:
    """Return the sizes, in bytes, of those *tenants* whose shard answers in time."""
    by_shard: dict[Shard, list[str]] = {}
    for tenant in tenants:
        by_shard.setdefault(tenant.shard, []).append(tenant.name)
    if not by_shard:
        return {}

    def measure(shard: Shard) -> Mapping[str, int]:
        try:
            return admin_of(shard, timeout=timeout).sizes(by_shard[shard])
        except ShardError:
            return {}

    sizes: dict[str, int] = {}
    with ThreadPoolExecutor(min(len(by_shard), _INSPECT_WORKERS)) as pool:
        for part in pool.map(measure, by_shard):
            sizes.update(part)
    return sizes


def _inspect(shard: Shard, timeout: float) -> ShardStatus:
    start = perf_counter()
    try:
        info = admin_of(shard, timeout=timeout).info(size=True)
    except ShardError as exc:
        return ShardStatus(shard, None, str(exc), perf_counter() - start)
    error = ""
    if shard.shard_id is not None and info.shard_id != shard.shard_id:
        error = f"Another shard answers at {shard.address}; correct it with edit_shard."
    return ShardStatus(shard, info, error, perf_counter() - start)


def _validate(name: str, weight: int) -> None:
    try:
        validate_slug(name)
    except ValidationError:
        raise InvalidShard(
            f"{name!r} is not a shard's name: use letters, digits, '-' and '_' only."
        ) from None
    if len(name) > SHARD_NAME_MAX_LENGTH:
        raise InvalidShard(
            f"A shard's name has {SHARD_NAME_MAX_LENGTH} characters at most; this has {len(name)}."
        )
    if not 1 <= weight < 2**31:
        raise InvalidShard(f"The weight of shard {name!r} must be 1 or more, not {weight}.")


def _refuse_taken(
    *, name: str, address: str, shard_id: str | None = None, besides: Shard | None = None
) -> None:
    others = Shard.objects.exclude(pk=besides.pk) if besides else Shard.objects.all()
    if others.filter(name=name).exists():
        raise ShardAlreadyRegistered(f"A shard {name!r} is already registered.")
    if other := others.filter(address=address).first():
        raise ShardAlreadyRegistered(
            f"The address {address} is already registered, as shard {other.name!r}."
        )
    if shard_id and (other := others.filter(shard_id=shard_id).first()):
        raise ShardAlreadyRegistered(
            f"What answers at {address} is already registered as shard {other.name!r} "
            f"({other.address}); edit_shard changes its address."
        )


def _write(shard: Shard, fields: Sequence[str] | None = None) -> None:
    """Save *shard*; of two who write the same at once, the second is refused here."""
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS):
            shard.save(update_fields=fields)
            values = {field: getattr(shard, field) for field in fields or ("address", "weight")}
            note("register shard" if fields is None else "edit shard", shard=shard.name, **values)
    except IntegrityError as exc:
        _refuse_taken(
            name=shard.name,
            address=shard.address,
            shard_id=shard.shard_id,
            besides=shard if shard.pk else None,
        )
        raise ShardAlreadyRegistered(
            f"Shard {shard.name!r} could not be registered beside another: {exc}"
        ) from exc


def _refuse_in_use(shard: Shard) -> None:
    names = list(shard.tenants.order_by("name").values_list("name", flat=True)[: _NAMES_SHOWN + 1])
    if not names:
        return
    count = shard.tenants.count()
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if count > _NAMES_SHOWN else "")
    raise ShardInUse(
        f"{count} tenant{'s live' if count > 1 else ' lives'} on shard {shard.name!r} "
        f"({shown}); delete them first."
    )


def _refuse_inhabited(shard: Shard) -> None:
    """Refuse if the shard itself knows of tenants that the registry does not."""
    try:
        identify_as(shard)
        found = admin_of(shard).placements(orphans=True)
    except ShardUnavailable as exc:
        raise ShardUnavailable(
            f"Shard {shard.name!r} cannot be asked what lives there ({exc}). Start it, or "
            "remove it unasked with --force."
        ) from exc
    left = sorted({*found.placements, *found.orphans})
    if left:
        raise ShardInUse(
            f"Shard {shard.name!r} still holds {', '.join(left[:_NAMES_SHOWN])}"
            f"{', ...' if len(left) > _NAMES_SHOWN else ''}, which the registry does not know; "
            "run check_shards --repair first, or use --force to leave it there."
        )
