"""What a session answers where PostgreSQL could not be asked, or said no more."""

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.dispatch import SwitchFailed
from mtdd_router.server.pool import DatabaseUnavailable, PoolExhausted
from mtdd_router.server.postgres.connection import ConnectionLost
from mtdd_router.server.targets import Refused, Resolved, error
from mtdd_router.wire.backend import ready_for_query
from mtdd_router.wire.reasons import LOST

__all__ = ["lost_connection", "no_connection", "not_switched"]


def no_connection(exc: PoolExhausted | DatabaseUnavailable, resolved: Resolved) -> Refused:
    """Return the refusal of a request for which there is no backend connection."""
    name = _name(resolved)
    if isinstance(exc, PoolExhausted):
        message = (
            f"No backend connection for {name}: {exc}. Try again, or give the shard a larger pool."
        )
        return Refused(error(pb.REASON_OVERLOADED, message))
    message = f"PostgreSQL cannot be reached for {name}: {exc}"
    return Refused(error(pb.REASON_DATABASE_UNAVAILABLE, message))


def not_switched(exc: SwitchFailed, resolved: Resolved | None) -> pb.SessionResponse:
    """Return the answer to a request that did not run, for the switch before it failed."""
    if exc.cancelled:
        # As if the statement had been cancelled a moment later.
        messages = exc.cancelled + ready_for_query(b"I")
        return pb.SessionResponse(messages=messages, complete=True)
    refusal = error(pb.REASON_INTERNAL, f"Cannot switch to {_name(resolved)}: {exc}")
    return pb.SessionResponse(complete=True, error=refusal)


def lost_connection(
    exc: ConnectionLost, resolved: Resolved | None, *, last_words: bytes, executed: bool
) -> pb.SessionResponse:
    """Return the answer to a request whose backend connection broke.

    Args:
        exc: how it broke.
        resolved: what the request was for.
        last_words: the error with which PostgreSQL ended it, if it said one.
        executed: whether the request may have had its effect.
    """
    message = f"{LOST}: the backend connection of {_name(resolved)} broke: {exc}"
    return pb.SessionResponse(
        messages=last_words,
        complete=True,
        error=error(pb.REASON_CONNECTION_LOST, message, executed=executed),
    )


def _name(resolved: Resolved | None) -> str:
    if resolved is None:
        return "the session"
    if resolved.tenant:
        return f"tenant {resolved.tenant!r}"
    return f"database {resolved.profile.database!r}"
