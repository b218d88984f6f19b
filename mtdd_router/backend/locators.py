"""From an alias to the place where its statements go."""

from dataclasses import replace
from functools import lru_cache

from mtdd_router.backend.routes import maintenance_allowed, route_source
from mtdd_router.backend.work import running_work
from mtdd_router.client.endpoint import TLS, Endpoint
from mtdd_router.client.location import Location
from mtdd_router.client.tokens import TokenSigner
from mtdd_router.errors import TenantLocked
from mtdd_router.types import Route

__all__ = ["DatabaseLocator", "TenantLocator"]


_endpoint = lru_cache(maxsize=1024)(Endpoint)


class TenantLocator:
    """Follows a tenant to its shard, by its current route.

    Args:
        tenant: the tenant's name.
        token: the bearer token for shard servers, or empty.
        tls: how to encrypt, or None.
        signer: signs tokens if *token* is empty; or None.
    """

    def __init__(
        self,
        tenant: str,
        token: str,
        tls: TLS | None = None,
        signer: TokenSigner | None = None,
    ) -> None:
        self._tenant = tenant
        self._token = token
        self._tls = tls
        self._signer = signer
        self._route: Route | None = None
        self._location: Location | None = None

    def permit(self) -> None:
        """Let no work that is locked to a tenant use another.

        Raises:
            TenantLocked: naming both.
        """
        locked = running_work().locked_tenant()
        if locked is not None and locked != self._tenant:
            raise TenantLocked.to(locked, self._tenant)

    def locate(self) -> Location:
        """Return the location of the tenant's current route.

        Raises:
            TenantDoesNotExist, TenantUnavailable, RegistryUnavailable
        """
        return self._of(route_source().route(self._tenant))

    def relocate(self, stale: Location) -> Location:  # noqa: ARG002 - the protocol's
        """Return the location of a route that is read anew."""
        route = self._route
        if route is None:
            return self.locate()
        return self._of(route_source().refresh(self._tenant, route))

    def _of(self, route: Route) -> Location:
        location = self._location
        maintenance = maintenance_allowed()
        if location is not None and location.maintenance is maintenance:
            if route is self._route:
                return location
            if route == self._route:
                self._route = route
                return location
        self._route = route
        endpoint = _endpoint(
            route.address, route.shard, self._token, self._tls, self._signer, route.shard_id
        )
        self._location = location = Location(endpoint, self._tenant, route.epoch, maintenance)
        return location


class DatabaseLocator:
    """A whole database of one shard, without a tenant.

    No registry knows which shard that is, so with a *signer* the server itself is asked.
    """

    def __init__(
        self,
        address: str,
        database: str,
        token: str,
        tls: TLS | None = None,
        signer: TokenSigner | None = None,
    ) -> None:
        self._location = Location(_endpoint(address, "", token, tls, signer), database=database)

    def permit(self) -> None:
        """Leave it to the project: its settings name this database."""

    def locate(self) -> Location:
        """Return the location, which never changes.

        Raises:
            ShardUnavailable: if it must be asked for its identity, and does not answer.
        """
        endpoint = self._location.endpoint
        if endpoint.signer is not None and not endpoint.token and not endpoint.shard_id:
            # Few processes need it, and it takes a while to import.
            from mtdd_router.client.admin import ShardAdmin

            shard_id = ShardAdmin(endpoint=endpoint).identity()
            self._location = replace(self._location, endpoint=replace(endpoint, shard_id=shard_id))
        return self._location

    def relocate(self, stale: Location) -> Location:  # noqa: ARG002 - the protocol's
        """Return the location, which never changes."""
        return self._location
