"""The sessions of one worker: opening, serving and ending them, and the drain."""

import asyncio
import contextlib
import math
import secrets
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server.auth import Authority, Grant
from mtdd_router.server.calls import CallRefused, Metadata, SessionCall
from mtdd_router.server.logs import get_logger
from mtdd_router.server.outcomes import Outcomes
from mtdd_router.server.peers import Peer
from mtdd_router.server.pool import BackendPool, DatabaseUnavailable, PoolExhausted
from mtdd_router.server.session import Done, Session
from mtdd_router.server.targets import Targets, error
from mtdd_router.server.tenure import Tenure
from mtdd_router.wire.status import StatusCode

__all__ = ["Sessions"]

_log = get_logger(__name__)

_DRAIN_STEP_SECONDS: Final = 0.05
# They may follow the last statement that a session may run.
_ENDINGS: Final = frozenset((b"COMMIT", b"ROLLBACK"))


class Sessions:
    """The open sessions of one worker process.

    Args:
        pool: the backend connections.
        targets: checks the contexts of requests.
        authority: tells what a call may do.
        tenure: bounds how many sessions there are, and how long.
        worker: this worker's number, from 0; session ids begin with it.
        queue_timeout: how long a request may wait for a backend connection, in seconds.
        statements: how many requests a session takes; zero for any number.
        version: the version of django-mtdd.

    Attributes:
        draining: is set once no new work is taken.
    """

    def __init__(
        self,
        pool: BackendPool,
        targets: Targets,
        authority: Authority,
        tenure: Tenure,
        *,
        worker: int,
        queue_timeout: float,
        statements: int,
        version: str,
    ) -> None:
        self._pool = pool
        self._targets = targets
        self._authority = authority
        self._tenure = tenure
        self._worker = worker
        self._queue_timeout = queue_timeout
        self._statements = statements or math.inf
        self._version = version
        self._outcomes = Outcomes()
        self._open: dict[str, Session] = {}
        self.draining = asyncio.Event()

    @property
    def count(self) -> int:
        """How many Session calls are open."""
        return len(self._open)

    def authorize(self, metadata: Metadata, peer: Peer) -> Grant:
        """Return what the caller may do.

        Raises:
            CallRefused: if that is nothing.
        """
        return self._authority.authorize(metadata, peer)

    async def serve(self, call: SessionCall) -> None:
        """Serve a Session call until its client ends it.

        Raises:
            CallRefused: if it is refused, at first or later.
        """
        if self.draining.is_set():
            raise CallRefused(StatusCode.UNAVAILABLE, "the shard server is shutting down")
        grant = self.authorize(call.metadata, call.peer)
        parameters = await self._parameters()
        session = self._new(grant)
        self._open[session.session_id] = session
        try:
            with self._tenure.of(session):
                await call.write(
                    pb.SessionResponse(hello=self._hello(session.session_id, parameters))
                )
                call.offer_to(partial(self._start, session))
                while (request := await call.read()) is not None:
                    if ending := self._ending(session, request):
                        refusal = error(pb.REASON_DRAINING, ending)
                        await call.write(pb.SessionResponse(complete=True, error=refusal))
                        break
                    await session.handle(request, call.write)
        except DecodeError as exc:
            raise CallRefused(StatusCode.INTERNAL, "a request cannot be decoded") from exc
        finally:
            del self._open[session.session_id]
            self.end_later(session)

    @contextlib.asynccontextmanager
    async def opened(self, metadata: Metadata, peer: Peer) -> AsyncIterator[Session]:
        """Lend a session to another call than Session.

        Raises:
            CallRefused: if the caller has no permissions, or when the session is cut.
        """
        session = self._new(self.authorize(metadata, peer))
        try:
            with self._tenure.of(session):
                yield session
        finally:
            self.end_later(session)

    def end_later(self, session: Session) -> None:
        """End a session on a task of its own: the client may be gone, and this one cancelled."""
        self._pool.keep(asyncio.get_running_loop().create_task(self._end(session)))

    async def cancel(self, session_id: str, serial: int) -> bool:
        """Cancel a running request; return whether the session was running it."""
        session = self._open.get(session_id)
        return session is not None and await session.cancel(serial)

    def outcome(self, session_id: str, serial: int) -> service_pb.Outcome:
        """Return what became of a request."""
        return self._outcomes.of(session_id, serial)

    async def drain(self, limit: float) -> None:
        """Refuse new sessions, and return when no transaction is open, or after *limit* seconds."""
        self.draining.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while any(not session.idle for session in self._open.values()):  # noqa: ASYNC110
                    # Sessions come and go by the thousand; none should have to tell.
                    await asyncio.sleep(_DRAIN_STEP_SECONDS)
        _log.info("drained", open_sessions=len(self._open))

    # internals

    def _start(self, session: Session, request: pb.SessionRequest, done: Done) -> bool:
        if self.draining.is_set() or session.over or session.requests >= self._statements:
            return False
        return session.start(request, done)

    def _ending(self, session: Session, request: pb.SessionRequest) -> str:
        """Return why a session takes no more requests, which the client sends elsewhere.

        Raises:
            CallRefused: if it takes no more although something would be lost.
        """
        if session.running:
            # It has begun already.
            return ""
        if self.draining.is_set() and session.free:
            return "The shard server is shutting down."
        if session.over and session.free:
            return f"This session is over: {session.over}."
        if session.requests >= self._statements:
            if session.free:
                return "This session is over: it has run all that --statements-per-session allows."
            if session.stretch >= self._statements and request.statement not in _ENDINGS:
                raise CallRefused(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"the session has run {session.stretch} statements at a stretch, "
                    "all that --statements-per-session allows",
                )
        return ""

    def _new(self, grant: Grant) -> Session:
        session_id = f"{self._worker}-{secrets.token_hex(16)}"
        return Session(
            session_id,
            self._pool,
            self._targets,
            grant=grant,
            outcome=self._outcomes.opened(session_id),
            queue_timeout=self._queue_timeout,
        )

    async def _end(self, session: Session) -> None:
        try:
            await session.end()
        finally:
            self._outcomes.ended(session.session_id)

    def _hello(self, session_id: str, parameters: Mapping[str, str]) -> pb.Hello:
        hello = pb.Hello(session_id=session_id, server_version=self._version)
        for name, value in parameters.items():
            hello.parameters.add(name=name, value=value)
        return hello

    async def _parameters(self) -> Mapping[str, str]:
        try:
            return await self._pool.parameters(self._targets.database)
        except (DatabaseUnavailable, PoolExhausted) as exc:
            raise CallRefused(
                StatusCode.UNAVAILABLE, f"its PostgreSQL cannot be used: {exc}"
            ) from exc
