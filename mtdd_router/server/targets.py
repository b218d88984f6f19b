"""From the context of a request to the profile it runs in, checked on the server.

Invariant: a tenant's profile is made of the shard's own placement, never of
what the client says about it.
"""

from dataclasses import dataclass
from typing import Final

from mtdd_router.errors import ShardUnavailable
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.auth import Grant, Permission
from mtdd_router.server.placements import PlacementTable
from mtdd_router.server.profile import Profile, tenant_profile
from mtdd_router.server.read_only import READ_ONLY_SETTING, READ_ONLY_SETTINGS
from mtdd_router.server.statements import FORBIDDEN_SETTINGS, Statement
from mtdd_router.types import Isolation, Placement, TenantState
from mtdd_router.wire.placements import STATES

__all__ = ["Refused", "Resolved", "Targets", "error"]

_INTERNED: Final = 50_000


class Refused(Exception):
    """The server refuses a request; ``error`` is what the client is told."""

    def __init__(self, error: pb.Error) -> None:
        super().__init__(error.message)
        self.error = error


def error(reason: pb.Reason, message: str, *, executed: bool = False) -> pb.Error:
    """Return the Error for *reason*."""
    return pb.Error(reason=reason, message=message, executed=executed)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A checked target.

    Attributes:
        profile: what a backend connection must be set to.
        tenant: the tenant's name, or empty for a whole database.
        placement: the placement that was checked, or None for a database.
        guarded: statements must stay inside the tenant's role.
        hears: notifications are passed on.
        read_only: statements must change nothing.
        caller: who may do that, for messages.
    """

    profile: Profile
    tenant: str = ""
    placement: Placement | None = None
    guarded: bool = True
    hears: bool = True
    read_only: bool = False
    caller: str = ""

    def refusal(self, statement: Statement) -> str:
        """Return why *statement* must not run here; empty if it may."""
        if not self.guarded:
            return ""
        if statement.listens and not self.hears:
            return (
                "LISTEN hears what other tenants of the database notify; "
                "it needs a tenant with a database of its own"
            )
        return statement.refusal


class Targets:
    """Checks targets against the placements of this shard.

    Args:
        placements: the shard's own table.
        database: the database that holds the tenants' schemas.
        extension_schema: where extensions live.
        guards_strict: whether statements are examined where PostgreSQL alone keeps the
            tenant inside its role as well.
    """

    def __init__(
        self,
        placements: PlacementTable,
        database: str,
        extension_schema: str,
        *,
        guards_strict: bool = True,
    ) -> None:
        self._placements = placements
        self.database = database
        self._extension_schema = extension_schema
        self._guards_strict = guards_strict
        self._profiles: dict[Profile, tuple[Placement | None, Profile]] = {}
        self._known: dict[tuple[tuple[object, ...], bytes], Resolved] = {}

    def still_valid(self, resolved: Resolved) -> bool:
        """Whether the placement is still the one that was checked, by the cache alone."""
        placement = resolved.placement
        return placement is None or self._placements.get(placement.tenant) is placement

    def known(self, context: pb.Context, grant: Grant) -> Resolved | None:
        """Return what ``resolve`` would, or None if it had to wait or to refuse."""
        key = grant.rights, context.SerializeToString()
        resolved = self._known.get(key)
        # What was resolved depends on nothing else than the key and the placement.
        if resolved is None or not self.still_valid(resolved):
            resolved = self._resolve_known(context, grant)
            if resolved is not None:
                if len(self._known) >= _INTERNED:
                    self._known.clear()
                self._known[key] = resolved
        return resolved

    def _resolve_known(self, context: pb.Context, grant: Grant) -> Resolved | None:
        if context.target.WhichOneof("target") != "tenant":
            return None
        target = context.target.tenant
        placement = self._placements.get(target.name)
        if placement is None or placement.epoch != target.epoch:
            return None
        try:
            return self._placed(placement, target, _settings(context), grant)
        except Refused:
            return None

    async def resolve(self, context: pb.Context, grant: Grant) -> Resolved:
        """Return the checked target of *context*, for a caller with that *grant*.

        Raises:
            Refused: naming the tenant and what is wrong.
        """
        settings = _settings(context)
        match context.target.WhichOneof("target"):
            case "tenant":
                target = context.target.tenant
                try:
                    placement = await self._placement(target, grant)
                except ShardUnavailable as exc:
                    raise Refused(error(pb.REASON_DATABASE_UNAVAILABLE, str(exc))) from exc
                return self._placed(placement, target, settings, grant)
            case "database":
                return self._whole_database(context.target.database, settings, grant)
            case _:
                raise Refused(error(pb.REASON_INVALID_REQUEST, "The request names no target."))

    async def _placement(self, target: pb.TenantTarget, grant: Grant) -> Placement:
        """Return the placement of *target*, which the caller may know of."""
        name = target.name
        _check_caller(target, grant)
        placement = await self._placements.lookup(name)
        if placement is None or target.epoch > placement.epoch:
            placement = await self._placements.lookup(name, fresh=True)
        if placement is None or target.epoch > placement.epoch:
            raise Refused(
                error(pb.REASON_TENANT_NOT_HERE, f"Tenant {name!r} does not live on this shard.")
            )
        return placement

    def _placed(
        self,
        placement: Placement,
        target: pb.TenantTarget,
        settings: tuple[tuple[str, str], ...],
        grant: Grant,
    ) -> Resolved:
        """Return the checked target of a tenant with that *placement*."""
        name = target.name
        _check_caller(target, grant)
        for setting, _ in settings:
            if setting.lower() in FORBIDDEN_SETTINGS or (
                grant.read_only and setting.lower() in READ_ONLY_SETTINGS
            ):
                raise Refused(
                    error(pb.REASON_STATEMENT_REFUSED, f"{setting} cannot be set for a tenant.")
                )
        if grant.read_only:
            settings = (*settings, READ_ONLY_SETTING)
        if target.epoch < placement.epoch:
            refusal = error(
                pb.REASON_STALE_EPOCH,
                f"Tenant {name!r} is at epoch {placement.epoch}; the route is of {target.epoch}.",
            )
            refusal.epoch = placement.epoch
            raise Refused(refusal)
        if placement.state is not TenantState.ACTIVE and not target.maintenance:
            refusal = error(
                pb.REASON_TENANT_UNAVAILABLE, f"Tenant {name!r} is {placement.state.value}."
            )
            refusal.state = STATES[placement.state]
            raise Refused(refusal)
        profile = tenant_profile(
            placement,
            self.database,
            self._extension_schema,
            settings,
            maintenance=target.maintenance,
        )
        strict = placement.isolation is Isolation.STRICT
        # PostgreSQL lets everybody leave a mode that is only read in.
        examined = not strict or self._guards_strict or grant.read_only
        return Resolved(
            self._intern(profile, placement),
            name,
            placement,
            guarded=examined and not target.maintenance,
            # PostgreSQL has one set of channels for all who share a database.
            hears=target.maintenance or not placement.isolation.has_schema,
            read_only=grant.read_only,
            caller=grant.caller,
        )

    def _whole_database(
        self,
        database: str,
        settings: tuple[tuple[str, str], ...],
        grant: Grant,
    ) -> Resolved:
        if Permission.ADMIN not in grant.permissions:
            raise _denied(
                f"Database {database!r} as a whole needs the admin permission, which caller "
                f"{grant.caller!r} lacks."
            )
        profile = Profile(database or self.database, "", "", settings)
        return Resolved(self._intern(profile, None), guarded=False)

    def _intern(self, profile: Profile, placement: Placement | None) -> Profile:
        """Return the one profile like *profile* of this placement, as it was read last.

        A role that was dropped and made again is another one to PostgreSQL, whatever its
        name, and a connection that was set to the former must be switched.
        """
        known = self._profiles.get(profile)
        if known is not None and known[0] is placement:
            return known[1]
        if len(self._profiles) > _INTERNED:
            self._profiles.clear()
        self._profiles[profile] = placement, profile
        return profile


def _settings(context: pb.Context) -> tuple[tuple[str, str], ...]:
    return tuple((item.name, item.value) for item in context.settings)


def _check_caller(target: pb.TenantTarget, grant: Grant) -> None:
    """Refuse a tenant that is not the caller's, before anything is said of it.

    Raises:
        Refused: naming the caller and the tenant.
    """
    name = target.name
    if Permission.DATA not in grant.permissions or not grant.covers(name):
        raise _denied(f"Caller {grant.caller!r} may not use tenant {name!r}.")
    if target.maintenance and Permission.ADMIN not in grant.permissions:
        raise _denied(
            f"Maintenance of tenant {name!r} needs the admin permission, which caller "
            f"{grant.caller!r} lacks."
        )


def _denied(message: str) -> Refused:
    return Refused(error(pb.REASON_PERMISSION_DENIED, message))
