"""ShardService, as this process's gRPC server offers it.

Handlers check, delegate, and map errors; the work is in ``sessions`` and ``session``.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import grpc

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server import session as one
from mtdd_router.server.calls import CallRefused, Metadata, Taker
from mtdd_router.server.execute import execute
from mtdd_router.server.peers import Peer, RelayedPeers
from mtdd_router.server.sessions import Sessions
from mtdd_router.server.siblings import Siblings
from mtdd_router.wire.framing import messages
from mtdd_router.wire.status import StatusCode

__all__ = ["ShardService"]

Context = grpc.aio.ServicerContext[Any, Any]
R = TypeVar("R")
Handler = Callable[[Any, Any, Context], Awaitable[R]]

_POLL_SECONDS: Final = 5.0


def _refusing(handler: Handler[R]) -> Handler[R]:
    """Let *handler* refuse its call by raising CallRefused."""

    async def refusing(self: Any, request: Any, context: Context) -> R:
        try:
            return await handler(self, request, context)
        except CallRefused as exc:
            await context.abort(grpc.StatusCode[exc.code.name], exc.message)

    return refusing


class ShardService:
    """The data path of one worker process.

    Args:
        sessions: the sessions of this worker.
        siblings: the other workers, who have sessions of their own.
        peers: who is behind the connections that are relayed here.
    """

    def __init__(self, sessions: Sessions, siblings: Siblings, peers: RelayedPeers) -> None:
        self._sessions = sessions
        self._siblings = siblings
        self._peers = peers

    @_refusing
    async def Session(self, _requests: object, context: Context) -> None:  # noqa: N802 - the protocol's
        """Run one session."""
        await self._sessions.serve(_GrpcCall(context, self._peers.of(context.peer())))

    @_refusing
    async def Execute(  # noqa: N802 - the protocol's
        self, request: service_pb.ExecuteRequest, context: Context
    ) -> service_pb.ExecuteResponse:
        """Run one statement in a transaction of its own."""
        async with self._open(context) as session:
            return await execute(session, request)

    @_refusing
    async def Listen(self, request: service_pb.ListenRequest, context: Context) -> None:  # noqa: N802 - the protocol's
        """Stream the notifications of one channel."""
        async with self._open(context) as session:
            await self._listen(session, request, context)

    @_refusing
    async def Cancel(  # noqa: N802 - the protocol's
        self, request: service_pb.CancelRequest, context: Context
    ) -> service_pb.CancelResponse:
        """Cancel a running request."""
        self._authorize(context)
        if (sibling := self._siblings.holding(request.session_id)) is not None:
            return await sibling.cancel(request)
        found = await self._sessions.cancel(request.session_id, request.serial)
        return service_pb.CancelResponse(found=found)

    @_refusing
    async def Outcome(  # noqa: N802 - the protocol's
        self, request: service_pb.OutcomeRequest, context: Context
    ) -> service_pb.OutcomeResponse:
        """Tell what became of a request."""
        self._authorize(context)
        if (sibling := self._siblings.holding(request.session_id)) is not None:
            return await sibling.outcome(request)
        outcome = self._sessions.outcome(request.session_id, request.serial)
        return service_pb.OutcomeResponse(outcome=outcome)

    # internals

    def _open(self, context: Context) -> AbstractAsyncContextManager[one.Session]:
        return self._sessions.opened(_metadata(context), self._peers.of(context.peer()))

    def _authorize(self, context: Context) -> None:
        """Let the call of a caller pass, or of another worker.

        Raises:
            CallRefused: if it is neither.
        """
        metadata = _metadata(context)
        if not self._siblings.passed_on(metadata):
            self._sessions.authorize(metadata, self._peers.of(context.peer()))

    async def _listen(
        self, session: one.Session, request: service_pb.ListenRequest, context: Context
    ) -> None:
        responses: list[pb.SessionResponse] = []

        async def keep(response: pb.SessionResponse) -> None:
            responses.append(response)

        quoted = b'"' + request.channel.encode().replace(b'"', b'""') + b'"'
        step = pb.SessionRequest(context=request.context, serial=1, statement=b"LISTEN " + quoted)
        await session.handle(step, keep)
        if responses[-1].HasField("error"):
            raise CallRefused(StatusCode.FAILED_PRECONDITION, responses[-1].error.message)
        await context.write(service_pb.ListenResponse())
        while not self._sessions.draining.is_set():
            responses.clear()
            poll = pb.SessionRequest(serial=step.serial + 1, poll=pb.Poll())
            poll.timeout_ms = int(_POLL_SECONDS * 1000)
            step = poll
            await session.handle(poll, keep)
            if responses[-1].HasField("error"):
                raise CallRefused(StatusCode.UNAVAILABLE, responses[-1].error.message)
            for kind, body in messages(responses[-1].messages):
                if kind == b"A":
                    await context.write(_notification(body))


class _GrpcCall:
    """A Session call that gRPC's server carries."""

    def __init__(self, context: Context, peer: Peer) -> None:
        self._context = context
        self.peer = peer
        self.metadata = _metadata(context)
        self.write = context.write

    async def read(self) -> pb.SessionRequest | None:
        request = await self._context.read()
        return None if request is grpc.aio.EOF else request

    def offer_to(self, taker: Taker) -> None:
        """Let ``read`` have all of them: gRPC's server has woken the task already."""


def _metadata(context: Context) -> Metadata:
    return tuple(context.invocation_metadata() or ())


def _notification(body: bytes) -> service_pb.ListenResponse:
    channel, payload, _ = body[4:].split(b"\0")
    return service_pb.ListenResponse(
        channel=channel.decode(),
        payload=payload.decode(),
        backend_pid=int.from_bytes(body[:4], "big"),
    )
