"""The one table of the shard server's own refusals: Reason <-> exception.

It is complete both ways, which a test asserts.
"""

from typing import Final

from mtdd_router import errors
from mtdd_router.pb import messages_pb2 as pb

__all__ = ["EXCEPTIONS", "LOST", "exception_for", "sqlstate_for"]

# libpq's words, which code that tells lost connections from other errors looks for.
LOST: Final = "server closed the connection unexpectedly"

# What the application sees for each reason. TENANT_NOT_HERE and STALE_EPOCH
# reach it only if a fresh route gives the same answer.
EXCEPTIONS: Final[dict[int, type[errors.MTDDError]]] = {
    pb.REASON_UNSPECIFIED: errors.ShardRefused,
    pb.REASON_INVALID_REQUEST: errors.ShardRefused,
    pb.REASON_PERMISSION_DENIED: errors.ShardRefused,
    pb.REASON_TENANT_NOT_HERE: errors.StaleRoute,
    pb.REASON_STALE_EPOCH: errors.StaleRoute,
    pb.REASON_TENANT_UNAVAILABLE: errors.TenantUnavailable,
    pb.REASON_OVERLOADED: errors.ShardOverloaded,
    pb.REASON_DATABASE_UNAVAILABLE: errors.ShardUnavailable,
    pb.REASON_CONNECTION_LOST: errors.OutcomeUnknown,
    pb.REASON_DRAINING: errors.ShardUnavailable,
    pb.REASON_STATEMENT_REFUSED: errors.StatementRefused,
    pb.REASON_ALREADY_EXISTS: errors.ShardRefused,
    pb.REASON_INTERNAL: errors.ShardRefused,
}

# What libpq is told, so that its own state stays that of a failed statement.
_SQLSTATES: Final[dict[int, str]] = {
    pb.REASON_PERMISSION_DENIED: "42501",
    pb.REASON_STATEMENT_REFUSED: "42501",
    pb.REASON_OVERLOADED: "53300",
    pb.REASON_DATABASE_UNAVAILABLE: "08001",
    pb.REASON_CONNECTION_LOST: "08006",
    pb.REASON_DRAINING: "57P01",
    pb.REASON_INTERNAL: "XX000",
}


def exception_for(error: pb.Error, shard: str, address: str) -> errors.MTDDError:
    """Return the exception for *error*, naming the shard and its address."""
    where = f"shard {shard!r} at {address}" if shard else f"shard server at {address}"
    kind = EXCEPTIONS.get(error.reason, errors.ShardRefused)
    return kind(f"{error.message} [{where}]")


def sqlstate_for(error: pb.Error) -> str:
    """Return the SQLSTATE that stands for *error*."""
    return _SQLSTATES.get(error.reason, "08P01")
