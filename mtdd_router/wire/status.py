"""The one table of gRPC status codes <-> exceptions."""

from enum import IntEnum
from typing import Final, cast

import grpc

from mtdd_router import errors

__all__ = ["EXCEPTIONS", "StatusCode", "exception_for", "status_of"]


class StatusCode(IntEnum):
    """How a gRPC call ended; https://grpc.github.io/grpc/core/md_doc_statuscodes.html."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


EXCEPTIONS: Final[dict[grpc.StatusCode, type[errors.ShardError]]] = {
    grpc.StatusCode.OK: errors.ShardUnavailable,
    grpc.StatusCode.CANCELLED: errors.ShardUnavailable,
    grpc.StatusCode.UNKNOWN: errors.ShardRefused,
    grpc.StatusCode.INVALID_ARGUMENT: errors.ShardRefused,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.ShardUnavailable,
    grpc.StatusCode.NOT_FOUND: errors.ShardRefused,
    grpc.StatusCode.ALREADY_EXISTS: errors.ShardRefused,
    grpc.StatusCode.PERMISSION_DENIED: errors.ShardRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ShardOverloaded,
    grpc.StatusCode.FAILED_PRECONDITION: errors.ShardRefused,
    grpc.StatusCode.ABORTED: errors.ShardRefused,
    grpc.StatusCode.OUT_OF_RANGE: errors.ShardRefused,
    grpc.StatusCode.UNIMPLEMENTED: errors.ShardRefused,
    grpc.StatusCode.INTERNAL: errors.ShardRefused,
    grpc.StatusCode.UNAVAILABLE: errors.ShardUnavailable,
    grpc.StatusCode.DATA_LOSS: errors.ShardRefused,
    grpc.StatusCode.UNAUTHENTICATED: errors.ShardRefused,
}


def status_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return the status code and details of a failed call."""
    # Every RpcError of a call is that call as well, which the types do not say.
    call = cast(grpc.Call, error)
    return call.code(), call.details() or ""


def exception_for(error: grpc.RpcError, shard: str, address: str) -> errors.ShardError:
    """Return the exception for a failed call, naming the shard and its address."""
    where = f"shard {shard!r} at {address}" if shard else f"the shard server at {address}"
    code, details = status_of(error)
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            text = f"What answers as {where} is not a shard server ({details}). Check the address."
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"Cannot reach {where} ({details}). Is it running, and is the address right?"
        case _:
            text = f"{details} [{where}, {code.name}]"
    return EXCEPTIONS[code](text)
