"""gRPC's status, and the one table of status codes <-> exceptions."""

from enum import IntEnum
from typing import Final, NamedTuple

from mtdd_router import errors

__all__ = ["EXCEPTIONS", "Status", "StatusCode", "exception_for"]


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


class Status(NamedTuple):
    """How a call ended, and why."""

    code: StatusCode
    message: str = ""


EXCEPTIONS: Final[dict[StatusCode, type[errors.ShardError]]] = {
    StatusCode.OK: errors.ShardUnavailable,
    StatusCode.CANCELLED: errors.ShardUnavailable,
    StatusCode.UNKNOWN: errors.ShardRefused,
    StatusCode.INVALID_ARGUMENT: errors.ShardRefused,
    StatusCode.DEADLINE_EXCEEDED: errors.ShardUnavailable,
    StatusCode.NOT_FOUND: errors.ShardRefused,
    StatusCode.ALREADY_EXISTS: errors.ShardRefused,
    StatusCode.PERMISSION_DENIED: errors.ShardRefused,
    StatusCode.RESOURCE_EXHAUSTED: errors.ShardOverloaded,
    StatusCode.FAILED_PRECONDITION: errors.ShardRefused,
    StatusCode.ABORTED: errors.ShardRefused,
    StatusCode.OUT_OF_RANGE: errors.ShardRefused,
    StatusCode.UNIMPLEMENTED: errors.ShardRefused,
    StatusCode.INTERNAL: errors.ShardRefused,
    StatusCode.UNAVAILABLE: errors.ShardUnavailable,
    StatusCode.DATA_LOSS: errors.ShardRefused,
    StatusCode.UNAUTHENTICATED: errors.ShardRefused,
}


def exception_for(status: Status, shard: str, address: str) -> errors.ShardError:
    """Return the exception for a failed call, naming the shard and its address."""
    where = f"shard {shard!r} at {address}" if shard else f"the shard server at {address}"
    code, details = status
    match code:
        case StatusCode.OK:
            text = f"The session was closed by {where}."
        case StatusCode.UNIMPLEMENTED:
            text = f"What answers as {where} is not a shard server ({details}). Check the address."
        case StatusCode.UNAVAILABLE | StatusCode.DEADLINE_EXCEEDED:
            text = f"Cannot reach {where} ({details}). Is it running, and is the address right?"
        case _:
            text = f"{details} [{where}, {code.name}]"
    return EXCEPTIONS[code](text)
