"""A session: one stream to a shard server, and the pool of idle ones.

A session is used by one thread at a time. It sends a request and receives the
answer's parts; what they mean is the caller's business. Invariant: only a
session that finished its last answer, holds no transaction and is not pinned
goes back to the pool.
"""

import os
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from mtdd_router.client import round_trips
from mtdd_router.client.backoff import Backoff
from mtdd_router.client.call import Call, CallFailed, call_once
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.wire.status import exception_for

__all__ = ["Session", "SessionPool", "sessions_of"]

_SERVICE: Final = "/mtdd.v1.ShardService"
_SIDE_CALL_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 60.0


class Session:
    """One open stream, on a connection of its own.

    Args:
        endpoint: the shard server.
        limit: how long to try to open it, in seconds.

    Attributes:
        session_id: the server's name for it.
        parameters: PostgreSQL's parameter statuses on a fresh connection.
        context: the context that the server knows, so that it is sent only when it changes.
        serial: the number of the last request.
        idle_since: when it came back to the pool, on the monotonic clock.

    Raises:
        CallFailed: if it cannot be opened.
    """

    __slots__ = (
        "_call",
        "_endpoint",
        "context",
        "idle_since",
        "parameters",
        "serial",
        "session_id",
    )

    def __init__(self, endpoint: Endpoint, limit: float) -> None:
        self._endpoint = endpoint
        self.context: pb.Context | None = None
        self.serial = 0
        self.idle_since = 0.0
        self._call = Call(endpoint, f"{_SERVICE}/Session", limit=limit)
        hello = self.receive().hello
        # The stream itself has no deadline; its opening had.
        self._call.unlimited()
        self.session_id: str = hello.session_id
        self.parameters: Mapping[str, str] = {item.name: item.value for item in hello.parameters}

    @property
    def alive(self) -> bool:
        """Whether the stream is not known to be broken; only for a session that is idle."""
        return self._call.alive

    def send(self, request: pb.SessionRequest, context: pb.Context) -> None:
        """Send *request* in *context*.

        Raises:
            CallFailed: if the stream broke or ended.
        """
        if context is not self.context:
            request.context.CopyFrom(context)
            self.context = context
        self.serial += 1
        request.serial = self.serial
        if round_trips.counting:
            round_trips.note(request, context)
        self._call.send(request.SerializeToString())

    def receive(self) -> pb.SessionResponse:
        """Return the next part of the answer.

        Raises:
            CallFailed: if the stream broke or ended.
        """
        return pb.SessionResponse.FromString(self._call.receive())

    def cancel(self, serial: int) -> None:
        """Ask the server to cancel request *serial*, from any thread."""
        request = service_pb.CancelRequest(session_id=self.session_id, serial=serial)
        self._call_beside("Cancel", request.SerializeToString())

    def outcome(self, serial: int) -> service_pb.Outcome:
        """Return what became of request *serial*; unspecified if the server cannot tell.

        While the server cannot be reached that is still open, as it is for a running request.
        """
        request = service_pb.OutcomeRequest(session_id=self.session_id, serial=serial)
        try:
            answer = self._call_beside("Outcome", request.SerializeToString())
        except CallFailed as exc:
            if exc.transient:
                return service_pb.OUTCOME_RUNNING
            return service_pb.OUTCOME_UNSPECIFIED
        found: service_pb.Outcome = service_pb.OutcomeResponse.FromString(answer).outcome
        return found

    def close(self) -> None:
        """End the session; the server rolls back and cleans what it left behind."""
        self._call.close()

    def abandon(self) -> None:
        """End the session at once, in the middle of whatever it does."""
        self._call.abandon()

    def _call_beside(self, method: str, request: bytes) -> bytes:
        return call_once(self._endpoint, f"{_SERVICE}/{method}", request, limit=_SIDE_CALL_SECONDS)


class SessionPool:
    """The idle sessions to one shard server.

    There is no bound: there are as many as statements and transactions have run at
    once within the last minute.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._idle: deque[Session] = deque()

    def acquire(self, limit: float) -> Session:
        """Return an idle session, or a new one.

        Args:
            limit: how long to try to reach the server, in seconds.

        Raises:
            ShardUnavailable: naming the shard and its address.
            ShardError: if the server refuses the session.
        """
        while True:
            try:
                # The one used last is the warmest.
                session = self._idle.pop()
            except IndexError:
                return self._open(limit)
            if session.alive:
                return session
            session.abandon()

    def parameters(self, limit: float) -> Mapping[str, str]:
        """Return PostgreSQL's parameter statuses, of a session that idles or of a new one.

        Raises:
            The same as `acquire`.
        """
        try:
            return self._idle[-1].parameters
        except IndexError:
            session = self.acquire(limit)
            self.release(session)
            return session.parameters

    def release(self, session: Session) -> None:
        """Take back a session that is idle, and close the one that has been idle too long."""
        idle = self._idle
        now = session.idle_since = time.monotonic()
        idle.append(session)
        try:
            # The last one used is used first, so those that are not needed stay at the front.
            if now - idle[0].idle_since > _IDLE_SECONDS:
                idle.popleft().close()
        except IndexError:
            pass  # Another thread was quicker.

    def forget(self) -> None:
        """Leave the idle sessions to the process that this one was forked from."""
        self._idle.clear()

    def _open(self, limit: float) -> Session:
        endpoint = self.endpoint
        backoff = Backoff(time.monotonic(), limit)
        while True:
            left = backoff.deadline - time.monotonic()
            try:
                return Session(endpoint, max(left, 0.05))
            except CallFailed as exc:
                pause = backoff.pause(time.monotonic()) if exc.transient else None
                if pause is None:
                    raise exception_for(exc.status, endpoint.shard, endpoint.address) from exc
            time.sleep(pause)


_pools: Final[dict[Endpoint, SessionPool]] = {}


def sessions_of(endpoint: Endpoint) -> SessionPool:
    """Return this process's pool of sessions to *endpoint*."""
    pool = _pools.get(endpoint)
    if pool is None:
        pool = _pools.setdefault(endpoint, SessionPool(endpoint))
    return pool


def _after_fork() -> None:
    """Leave the parent's sessions to the parent; connections go on to know their pools."""
    for pool in _pools.values():
        pool.forget()


os.register_at_fork(after_in_child=_after_fork)
