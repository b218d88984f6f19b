"""Where the statements of a connection go."""

from dataclasses import dataclass
from typing import Protocol

from mtdd_router.client.endpoint import Endpoint
from mtdd_router.pb import messages_pb2 as pb

__all__ = ["Location", "Locator"]


@dataclass(frozen=True, slots=True)
class Location:
    """A target on a shard server.

    Attributes:
        endpoint: the shard server.
        tenant: the tenant's name, or empty for a whole database.
        epoch: the epoch of the tenant's route.
        maintenance: reach the tenant although it is not active.
        database: the database, if there is no tenant.
    """

    endpoint: Endpoint
    tenant: str = ""
    epoch: int = 0
    maintenance: bool = False
    database: str = ""

    def context(self, settings: tuple[tuple[str, str], ...]) -> pb.Context:
        """Return the context that requests to this location carry."""
        context = pb.Context()
        if self.tenant:
            tenant = context.target.tenant
            tenant.name, tenant.epoch = self.tenant, self.epoch
            tenant.maintenance = self.maintenance
        else:
            context.target.database = self.database
        for name, value in settings:
            context.settings.add(name=name, value=value)
        return context


class Locator(Protocol):
    """Finds the location of a connection's target, before each transaction."""

    def permit(self) -> None:
        """Refuse the target if the running work may not use it; asked before each request.

        Raises:
            MTDDError: what the work is told.
        """

    def locate(self) -> Location:
        """Return the location; the same object as long as nothing changed."""

    def relocate(self, stale: Location) -> Location:
        """Return the location anew after the shard said that *stale* is out of date."""
