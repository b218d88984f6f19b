"""Calls of one message each way, served on a connection of their own.

They do what gRPC's server does with the same methods of the same servicers, without
its threads, and without the relay that leads to it.
"""

from typing import Any, Final, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from mtdd_router.server.calls import Call, CallRefused, Metadata, Method
from mtdd_router.server.peers import Peer
from mtdd_router.wire.status import StatusCode

__all__ = ["unary_methods"]


def unary_methods(descriptor: ServiceDescriptor, servicer: object) -> dict[str, Method]:
    """Return how each such method of *descriptor* is served, by its path.

    Raises:
        AttributeError: if the servicer lacks a method.
    """
    return {
        f"/{descriptor.full_name}/{method.name}": _method(method, servicer)
        for method in descriptor.methods
        if not method.client_streaming and not method.server_streaming
    }


def _method(method: MethodDescriptor, servicer: object) -> Method:
    handle: Final = getattr(servicer, method.name)

    async def serve(call: Call[Any, Any]) -> None:
        try:
            request = await call.read()
        except DecodeError as exc:
            raise CallRefused(StatusCode.INTERNAL, "the request cannot be decoded") from exc
        if request is None:
            raise CallRefused(StatusCode.INTERNAL, "the call ended without a request")
        await call.write(await handle(request, _Context(call)))

    return Method(GetMessageClass(method.input_type).FromString, serve)


class _Context:
    """What a handler is told of its call."""

    def __init__(self, call: Call[Any, Any]) -> None:
        self._call = call

    def invocation_metadata(self) -> Metadata:
        return self._call.metadata

    def peer(self) -> Peer:
        return self._call.peer

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise CallRefused(StatusCode[code.name], details)
