"""ShardService: sessions, and the unary calls beside them.

Handlers check, delegate, and map errors; the work is in ``session``.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import grpc

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server import session as sessions
from mtdd_router.server.auth import Permission
from mtdd_router.server.execute import execute
from mtdd_router.server.logs import get_logger
from mtdd_router.server.outcomes import Outcomes
from mtdd_router.server.pool import BackendPool, DatabaseUnavailable, PoolExhausted
from mtdd_router.server.targets import Targets, error
from mtdd_router.wire.framing import messages

__all__ = ["ShardService"]

_log = get_logger(__name__)

Metadata = Sequence[tuple[str, str | bytes]]
Context = grpc.aio.ServicerContext[Any, Any]
_POLL_SECONDS: Final = 5.0
_DRAIN_STEP_SECONDS: Final = 0.05


class ShardService:
    """The data path of one worker process.

    Args:
        pool: the backend connections.
        targets: checks the contexts of requests.
        authorize: returns the permissions that a call's metadata proves.
        queue_timeout: how long a request may wait for a backend connection, in seconds.
        version: the version of django-mtdd.
    """

    def __init__(
        self,
        pool: BackendPool,
        targets: Targets,
        authorize: Callable[[Metadata], Collection[Permission]],
        *,
        queue_timeout: float,
        version: str,
    ) -> None:
        self._pool = pool
        self._targets = targets
        self._authorize = authorize
        self._queue_timeout = queue_timeout
        self._version = version
        self._outcomes = Outcomes()
        self._sessions: dict[str, sessions.Session] = {}
        self._draining = asyncio.Event()

    @property
    def session_count(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    async def Session(self, _requests: object, context: Context) -> None:  # noqa: N802 - the protocol's
        """Run one session."""
        if self._draining.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the shard server is shutting down")
        try:
            parameters = await self._pool.parameters(self._targets.database)
        except (DatabaseUnavailable, PoolExhausted) as exc:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"its PostgreSQL cannot be used: {exc}"
            )
        session = await self._new_session(context)
        session_id = session.session_id
        self._sessions[session_id] = session
        loop = asyncio.get_running_loop()
        try:
            await context.write(pb.SessionResponse(hello=self._hello(session_id, parameters)))
            request = await context.read()
            while request is not grpc.aio.EOF:
                # The next request is read while this one runs: the client may send it
                # before gRPC has told that the answer was written.
                following = loop.create_task(context.read())
                try:
                    if self._draining.is_set() and session.idle:
                        refusal = error(pb.REASON_DRAINING, "The shard server is shutting down.")
                        await context.write(pb.SessionResponse(complete=True, error=refusal))
                        break
                    await session.handle(request, context.write)
                    request = await following
                finally:
                    following.cancel()
        finally:
            del self._sessions[session_id]
            self._end_later(session)

    async def Execute(  # noqa: N802 - the protocol's
        self, request: service_pb.ExecuteRequest, context: Context
    ) -> service_pb.ExecuteResponse:
        """Run one statement in a transaction of its own."""
        session = await self._new_session(context)
        try:
            return await execute(session, request)
        finally:
            await self._end(session)

    async def Listen(self, request: service_pb.ListenRequest, context: Context) -> None:  # noqa: N802 - the protocol's
        """Stream the notifications of one channel."""
        session = await self._new_session(context)
        responses: list[pb.SessionResponse] = []

        async def keep(response: pb.SessionResponse) -> None:
            responses.append(response)

        quoted = b'"' + request.channel.encode().replace(b'"', b'""') + b'"'
        step = pb.SessionRequest(context=request.context, serial=1, statement=b"LISTEN " + quoted)
        try:
            await session.handle(step, keep)
            if responses[-1].HasField("error"):
                await context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION, responses[-1].error.message
                )
            await context.write(service_pb.ListenResponse())
            serial = 1
            while not self._draining.is_set():
                responses.clear()
                serial += 1
                poll = pb.SessionRequest(serial=serial, poll=pb.Poll())
                poll.timeout_ms = int(_POLL_SECONDS * 1000)
                await session.handle(poll, keep)
                if responses[-1].HasField("error"):
                    await context.abort(grpc.StatusCode.UNAVAILABLE, responses[-1].error.message)
                for kind, body in messages(responses[-1].messages):
                    if kind == b"A":
                        await context.write(_notification(body))
        finally:
            self._end_later(session)

    async def Cancel(  # noqa: N802 - the protocol's
        self, request: service_pb.CancelRequest, context: Context
    ) -> service_pb.CancelResponse:
        """Cancel a running request."""
        await self._permissions(context)
        session = self._sessions.get(request.session_id)
        found = session is not None and await session.cancel(request.serial)
        return service_pb.CancelResponse(found=found)

    async def Outcome(  # noqa: N802 - the protocol's
        self, request: service_pb.OutcomeRequest, context: Context
    ) -> service_pb.OutcomeResponse:
        """Tell what became of a request."""
        await self._permissions(context)
        return service_pb.OutcomeResponse(
            outcome=self._outcomes.of(request.session_id, request.serial)
        )

    async def drain(self, limit: float) -> None:
        """Refuse new sessions, and return when no transaction is open, or after *limit* seconds."""
        self._draining.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while any(not session.idle for session in self._sessions.values()):  # noqa: ASYNC110
                    # Sessions come and go by the thousand; none should have to tell.
                    await asyncio.sleep(_DRAIN_STEP_SECONDS)
        _log.info("drained", open_sessions=len(self._sessions))

    # internals

    async def _permissions(self, context: Context) -> Collection[Permission]:
        permissions = self._authorize(tuple(context.invocation_metadata() or ()))
        if not permissions:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "the token is missing or wrong; set MTDD_SHARD_TOKEN to the shard server's token",
            )
        return permissions

    async def _new_session(self, context: Context) -> sessions.Session:
        session_id = secrets.token_hex(16)
        return sessions.Session(
            session_id,
            self._pool,
            self._targets,
            permissions=await self._permissions(context),
            outcome=self._outcomes.opened(session_id),
            queue_timeout=self._queue_timeout,
        )

    def _end_later(self, session: sessions.Session) -> None:
        """End a session on a task of its own: the client may be gone, and this one cancelled."""
        self._pool.keep(asyncio.get_running_loop().create_task(self._end(session)))

    async def _end(self, session: sessions.Session) -> None:
        try:
            await session.end()
        finally:
            self._outcomes.ended(session.session_id)

    def _hello(self, session_id: str, parameters: Mapping[str, str]) -> pb.Hello:
        hello = pb.Hello(session_id=session_id, server_version=self._version)
        for name, value in parameters.items():
            hello.parameters.add(name=name, value=value)
        return hello


def _notification(body: bytes) -> service_pb.ListenResponse:
    channel, payload, _ = body[4:].split(b"\0")
    return service_pb.ListenResponse(
        channel=channel.decode(),
        payload=payload.decode(),
        backend_pid=int.from_bytes(body[:4], "big"),
    )
