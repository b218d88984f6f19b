"""A call, whoever carries it: gRPC's server, or ``streams``."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.peers import Peer
from mtdd_router.wire.status import StatusCode

__all__ = ["Call", "CallContext", "CallRefused", "Metadata", "Method", "SessionCall", "Taker"]

Metadata = Iterable[tuple[str, str | bytes]]
Request_co = TypeVar("Request_co", bound=Message, covariant=True)
Response_contra = TypeVar("Response_contra", bound=Message, contravariant=True)


Done = Callable[[Any], None]
Taker = Callable[[Any, Done], bool]
"""Takes a request at once and returns True, or leaves it to ``read``.

What it has taken is done when it calls ``Done``: with the response, which is then sent, or
with None, and then ``read`` returns the request after all.
"""


class CallRefused(Exception):
    """A call ends with a status other than OK; the message is for the caller."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class CallContext(Protocol):
    """What a method of one message each way needs to know; gRPC's own context is one."""

    def invocation_metadata(self) -> Metadata | None:
        """Return what the client sent with the call."""

    def peer(self) -> str | Peer:
        """Return who calls, or the address that ``RelayedPeers`` knows."""

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with a status other than OK, by raising."""


class Call(Protocol[Request_co, Response_contra]):
    """One call, seen from the server.

    The task that serves it is cancelled when the client is gone.
    """

    @property
    def metadata(self) -> Metadata:
        """What the client sent with the call."""

    @property
    def peer(self) -> Peer:
        """What TLS has proved of the client."""

    async def read(self) -> Request_co | None:
        """Return the next request, or None if the client will send no more.

        Raises:
            google.protobuf.message.DecodeError: if what came is no request.
        """

    async def write(self, response: Response_contra) -> None:
        """Send *response*; returns late if the client does not read."""

    def offer_to(self, taker: Taker) -> None:
        """Ask *taker*, from now on, about requests that arrive while ``read`` waits.

        That spares the wake-ups of a task. It need not be asked about any.
        """


SessionCall = Call[pb.SessionRequest, pb.SessionResponse]


@dataclass(frozen=True, slots=True)
class Method:
    """How the calls of one method are served.

    Attributes:
        parse: makes a request of its bytes.
        serve: answers a call; raises CallRefused to end it with another status than OK.
    """

    parse: Callable[[bytes], Message]
    serve: Callable[[Call[Any, Any]], Awaitable[None]]
