"""The other workers of this server, for calls about their sessions.

A session lives in one worker; Cancel and Outcome come on a connection of their own,
and so may reach any worker. The id of a session begins with its worker's number. Who
calls was checked by the worker that passes the call on, which shows the server's secret.
"""

import hmac
from pathlib import Path
from typing import Any, Final

import grpc

from mtdd_router.pb import shard_service_pb2 as pb
from mtdd_router.server.calls import CallRefused, Metadata
from mtdd_router.server.runtime_folder import worker_secret, worker_socket
from mtdd_router.wire.status import StatusCode

__all__ = ["Sibling", "Siblings"]

_SERVICE: Final = "/mtdd.v1.ShardService"
_CALL_SECONDS: Final = 10.0
_HEADER: Final = "mtdd-worker"


class Sibling:
    """Another worker of this server."""

    def __init__(self, socket: Path, secret: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}")
        self._secret = secret

    async def cancel(self, request: pb.CancelRequest) -> pb.CancelResponse:
        """Pass Cancel on.

        Raises:
            CallRefused: if the worker refuses it, or cannot be reached.
        """
        response: pb.CancelResponse = await self._call("Cancel", request, pb.CancelResponse)
        return response

    async def outcome(self, request: pb.OutcomeRequest) -> pb.OutcomeResponse:
        """Pass Outcome on.

        Raises:
            CallRefused: if the worker refuses it, or cannot be reached.
        """
        response: pb.OutcomeResponse = await self._call("Outcome", request, pb.OutcomeResponse)
        return response

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _call(self, method: str, request: Any, response: Any) -> Any:
        call = self._channel.unary_unary(
            f"{_SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return await call(request, metadata=((_HEADER, self._secret),), timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as exc:
            raise CallRefused(StatusCode[exc.code().name], exc.details() or "") from exc


class Siblings:
    """The workers beside this one.

    Args:
        folder: where each worker's gRPC server has its socket.
        worker: this worker's number, from 0.
        workers: how many there are.
    """

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        self._folder = folder
        self._worker = worker
        self._workers = workers
        self._secret = worker_secret(folder)
        self._known: dict[int, Sibling] = {}

    def passed_on(self, metadata: Metadata) -> bool:
        """Whether another worker, which has checked the caller, passed the call on."""
        shown = next((value for name, value in metadata if name == _HEADER), "")
        if isinstance(shown, str):
            shown = shown.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(self._secret.encode(), shown)

    def holding(self, session_id: str) -> Sibling | None:
        """Return the worker that *session_id* belongs to; None if it is this one, or none."""
        number, dash, _ = session_id.partition("-")
        if not dash or not number.isascii() or not number.isdecimal():
            return None
        worker = int(number)
        if worker == self._worker or worker >= self._workers:
            return None
        if worker not in self._known:
            self._known[worker] = Sibling(worker_socket(self._folder, worker), self._secret)
        return self._known[worker]

    async def close(self) -> None:
        """Close all connections."""
        for sibling in self._known.values():
            await sibling.close()
