"""The Session call, whoever carries it: gRPC's server, or ``streams``."""

from collections.abc import Iterable
from typing import Protocol

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire.status import StatusCode

__all__ = ["CallRefused", "Metadata", "SessionCall"]

Metadata = Iterable[tuple[str, str | bytes]]


class CallRefused(Exception):
    """A call ends with a status other than OK; the message is for the caller."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SessionCall(Protocol):
    """One Session call, seen from the server.

    The task that serves it is cancelled when the client is gone.
    """

    @property
    def metadata(self) -> Metadata:
        """What the client sent with the call."""

    async def read(self) -> pb.SessionRequest | None:
        """Return the next request, or None if the client will send no more.

        Raises:
            google.protobuf.message.DecodeError: if what came is no request.
        """

    async def write(self, response: pb.SessionResponse) -> None:
        """Send *response*; returns late if the client does not read."""
