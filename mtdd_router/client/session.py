"""A session: one stream to a shard server, and the pool of idle ones.

A session is used by one thread at a time. It sends a request and receives the
answer's parts; what they mean is the caller's business. Invariant: only a
session that finished its last answer, holds no transaction and is not pinned
goes back to the pool.
"""

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, Final

import grpc

from mtdd_router.client.backoff import Backoff
from mtdd_router.client.channels import Endpoint, channels_of
from mtdd_router.errors import ShardUnavailable
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.wire import status

__all__ = ["Session", "SessionPool", "StreamLost", "sessions_of"]

_SERVICE: Final = "/mtdd.v1.ShardService"
_RETRIED: Final = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED))
_SIDE_CALL_SECONDS: Final = 10.0


class StreamLost(Exception):
    """The stream broke; ``error`` is gRPC's error."""

    def __init__(self, error: grpc.RpcError | None) -> None:
        super().__init__(str(error))
        self.error = error


class Session:
    """One open stream.

    Attributes:
        session_id: the server's name for it.
        parameters: PostgreSQL's parameter statuses on a fresh connection.
        context: the context that the server knows, so that it is sent only when it changes.
        serial: the number of the last request.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_channel",
        "_endpoint",
        "_requests",
        "context",
        "parameters",
        "serial",
        "session_id",
    )

    def __init__(self, endpoint: Endpoint, limit: float) -> None:
        self._endpoint = endpoint
        self._channel = channels_of(endpoint).next()
        self._requests: SimpleQueue[pb.SessionRequest | None] = SimpleQueue()
        open_stream = self._channel.stream_stream(
            f"{_SERVICE}/Session",
            request_serializer=pb.SessionRequest.SerializeToString,
            response_deserializer=pb.SessionResponse.FromString,
        )
        self._call: Any = open_stream(iter(self._requests.get, None), metadata=endpoint.metadata)
        self.context: pb.Context | None = None
        self.serial = 0
        _open.add(self)
        # The stream itself has no deadline; its opening has.
        timer = threading.Timer(limit, self._call.cancel)
        timer.daemon = True
        timer.start()
        try:
            hello = self.receive().hello
        finally:
            timer.cancel()
        self.session_id: str = hello.session_id
        self.parameters: Mapping[str, str] = {item.name: item.value for item in hello.parameters}

    @property
    def alive(self) -> bool:
        """Whether the stream is not known to be broken."""
        return bool(self._call.is_active())

    def send(self, request: pb.SessionRequest, context: pb.Context) -> None:
        """Send *request* in *context*."""
        if context is not self.context:
            request.context.CopyFrom(context)
            self.context = context
        self.serial += 1
        request.serial = self.serial
        self._requests.put(request)

    def receive(self) -> pb.SessionResponse:
        """Return the next part of the answer.

        Raises:
            StreamLost: if the stream broke or ended.
        """
        try:
            response: pb.SessionResponse = next(self._call)
        except grpc.RpcError as exc:
            raise StreamLost(exc) from exc
        except StopIteration:
            raise StreamLost(None) from None
        return response

    def cancel(self, serial: int) -> None:
        """Ask the server to cancel request *serial*, from any thread."""
        self._call_beside("Cancel", service_pb.CancelRequest, service_pb.CancelResponse, serial)

    def outcome(self, serial: int) -> service_pb.Outcome:
        """Return what became of request *serial*; unspecified if the server cannot tell.

        While the server cannot be reached that is still open, as it is for a running request.
        """
        try:
            answer = self._call_beside(
                "Outcome", service_pb.OutcomeRequest, service_pb.OutcomeResponse, serial
            )
        except grpc.RpcError as exc:
            if status.status_of(exc)[0] in _RETRIED:
                return service_pb.OUTCOME_RUNNING
            return service_pb.OUTCOME_UNSPECIFIED
        found: service_pb.Outcome = answer.outcome
        return found

    def close(self) -> None:
        """End the session; the server rolls back and cleans what it left behind."""
        self._requests.put(None)

    def abandon(self) -> None:
        """End the session at once, in the middle of whatever it does."""
        self._call.cancel()
        self._requests.put(None)

    def _call_beside(self, method: str, request: Any, response: Any, serial: int) -> Any:
        call = self._channel.unary_unary(
            f"{_SERVICE}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(
            request(session_id=self.session_id, serial=serial),
            timeout=_SIDE_CALL_SECONDS,
            metadata=self._endpoint.metadata,
        )


class SessionPool:
    """The idle sessions to one shard server.

    There is no bound: a session is cheap, and there are as many as statements
    and transactions run at once.
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

    def release(self, session: Session) -> None:
        """Take back a session that is idle."""
        self._idle.append(session)

    def _open(self, limit: float) -> Session:
        endpoint = self.endpoint
        backoff = Backoff(time.monotonic(), limit)
        while True:
            left = backoff.deadline - time.monotonic()
            try:
                return Session(endpoint, max(left, 0.05))
            except StreamLost as exc:
                error = exc.error
                if error is None:
                    text = f"Shard {endpoint.shard!r} at {endpoint.address} closed the session."
                    raise ShardUnavailable(text) from None
                code, _ = status.status_of(error)
                pause = backoff.pause(time.monotonic()) if code in _RETRIED else None
                if pause is None:
                    raise status.exception_for(error, endpoint.shard, endpoint.address) from error
            time.sleep(pause)


_pools: dict[Endpoint, SessionPool] = {}


def sessions_of(endpoint: Endpoint) -> SessionPool:
    """Return this process's pool of sessions to *endpoint*."""
    pool = _pools.get(endpoint)
    if pool is None:
        pool = _pools.setdefault(endpoint, SessionPool(endpoint))
    return pool


_open: weakref.WeakSet[Session] = weakref.WeakSet()
# A parent's calls, kept from being cleaned up in the child, which would disturb the parent.
_inherited: list[Session] = []


def _after_fork() -> None:
    _inherited.extend(_open)
    _pools.clear()
    _open.clear()


def _at_exit() -> None:
    # gRPC's own clean-up of a call fails once the interpreter is being torn down.
    for session in list(_open):
        session.abandon()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
