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
        target = pb.Target(database=self.database)
        if self.tenant:
            target = pb.Target(
                tenant=pb.TenantTarget(
                    name=self.tenant, epoch=self.epoch, maintenance=self.maintenance
                )
            )
        pairs = [pb.Setting(name=name, value=value) for name, value in settings]
        return pb.Context(target=target, settings=pairs)


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
