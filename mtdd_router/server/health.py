"""grpc.health.v1: a worker serves while its PostgreSQL answers and it is not draining."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from mtdd_router.server.handlers import service_handler

__all__ = ["HealthReporter", "add_reflection"]

_HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"]


class HealthReporter:
    """The health of this worker; a watcher of its control connection.

    Args:
        services: the full names to report beside the server as a whole.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._names = ("", *services)
        self._servicer: Any = HealthServicer()
        self._serving = False
        self._changed = asyncio.Event()
        self._changed.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the health service."""
        return service_handler(_HEALTH, self._servicer)

    def service_name(self) -> str:
        """Return the health service's own full name."""
        return str(_HEALTH.full_name)

    def connected(self) -> None:
        """PostgreSQL answers."""
        self._serving = True
        self._changed.set()

    def lost(self) -> None:
        """PostgreSQL is gone."""
        self._serving = False
        self._changed.set()

    def notified(self, payload: str) -> None:
        """Placements do not matter here."""

    async def run(self) -> None:
        """Publish changes until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.publish()

    async def publish(self) -> None:
        """Publish the present status, for whoever checks or watches."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        for name in self._names:
            await self._servicer.set(name, status.SERVING if self._serving else status.NOT_SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, whatever PostgreSQL does."""
        await self._servicer.enter_graceful_shutdown()


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Let tools such as grpcurl ask which methods there are."""
    reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), server)
