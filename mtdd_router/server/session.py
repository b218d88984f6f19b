"""One session: requests that run in order, on a backend connection.

A session borrows a backend connection for one statement, or keeps it while it
is in a transaction or pinned. Invariants: a request runs only after its target
was checked against the placements, on a connection that is known to be set to
the target's profile; what is in doubt at the end is closed, not reused.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server.auth import Grant
from mtdd_router.server.dispatch import (
    SwitchFailed,
    check_switch,
    refuse,
    send,
    send_at_once,
)
from mtdd_router.server.examination import LONG_BYTES, examine, examined, is_long
from mtdd_router.server.failures import lost_connection, no_connection, not_switched
from mtdd_router.server.leftovers import Leftovers
from mtdd_router.server.logs import get_logger, log_session_statement
from mtdd_router.server.outcomes import SessionOutcome
from mtdd_router.server.pool import Backend, BackendPool, DatabaseUnavailable, PoolExhausted
from mtdd_router.server.postgres.connection import ConnectionLost
from mtdd_router.server.read_only import refusal_of
from mtdd_router.server.statements import ORDINARY, Statement, look
from mtdd_router.server.targets import Refused, Resolved, Targets, error
from mtdd_router.wire import frontend
from mtdd_router.wire.begin import is_begin

__all__ = ["Done", "Session"]

_log = get_logger(__name__)

_SETTLE_SECONDS: Final = 5.0
# Before a request is tried on another connection, in seconds.
_PAUSES: Final = (0.0, 0.05, 0.25)

Write = Callable[[pb.SessionResponse], Awaitable[None]]
Done = Callable[[pb.SessionResponse | None], None]


class _Started(NamedTuple):
    """What ``start`` has sent, for whom."""

    backend: Backend
    resolved: Resolved
    statement: Statement
    done: Done
    error: Exception | None = None


class Session:
    """The state of one session.

    Args:
        session_id: names it in the log, in Cancel and in Outcome.
        pool: the backend connections.
        targets: checks contexts.
        grant: what the caller may do.
        outcome: the record to keep of the last request.
        queue_timeout: how long to wait for a backend connection, in seconds.

    Attributes:
        requests: how many it was given.
        stretch: how many of them since it was last ``free``.
        idle_since: when the last one was done, on the loop's clock.
        over: why it takes no more once it is ``free``; empty while it goes on.
    """

    def __init__(
        self,
        session_id: str,
        pool: BackendPool,
        targets: Targets,
        *,
        grant: Grant,
        outcome: SessionOutcome,
        queue_timeout: float,
    ) -> None:
        self.session_id = session_id
        self._pool = pool
        self._targets = targets
        self.grant = grant
        self._outcome = outcome
        self._queue_timeout = queue_timeout
        self._loop = asyncio.get_running_loop()
        self._context: pb.Context | None = None
        self._resolved: Resolved | None = None
        self._backend: Backend | None = None
        self._leftovers = Leftovers()
        self._running = False
        self._copying = False
        self._whole = False
        self._timer: asyncio.TimerHandle | None = None
        self._started: _Started | None = None
        self._opened_at = self._loop.time()
        self._logs_requests = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self.requests = self.stretch = 0
        self.idle_since = self._opened_at
        self.over = ""

    @property
    def running(self) -> bool:
        """Whether a request runs."""
        return self._running

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._backend is not None and self._backend.in_transaction

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is open."""
        return not self._running and not self.in_transaction

    @property
    def free(self) -> bool:
        """Whether nothing runs, and nothing would be lost with the session."""
        return not self._running and self._backend is None

    def start(self, request: pb.SessionRequest, done: Done) -> bool:
        """Send an ordinary statement at once; return whether it was, or is left to ``handle``.

        Args:
            request: the next request, while nothing runs.
            done: called with the answer, or with None if ``handle`` is to go on with *request*.
        """
        text, begin, held = request.statement, request.begin, self._backend
        if (
            not text
            or len(text) > LONG_BYTES
            or self._running
            or self._logs_requests
            or (statement := look(text)) is None
            or (begin and not is_begin(begin.encode()))
            or (resolved := self._known(request)) is None
            or resolved.read_only
        ):
            return False
        if held is None:
            backend = self._pool.take(resolved.profile)
            if backend is None:
                return False
        elif held.batch_open or held.lost is not None:
            return False
        else:
            backend = held
        backend.hears = resolved.hears
        try:
            sent = send_at_once(backend, resolved, request, statement)
        except ValueError:
            sent = False  # It meets that again in ``handle``, which says what is wrong.
        if not sent:
            if held is None:
                self._pool.release(backend)
            return False
        self._note_request(request)
        if request.HasField("context"):
            self._context = request.context
        self._resolved = resolved
        self._backend = backend
        self._whole = statement.whole or text == b"COMMIT"
        self._started = _Started(backend, resolved, statement, done)
        backend.heard = self._heard
        self._limit(request)
        return True

    async def handle(self, request: pb.SessionRequest, write: Write) -> None:
        """Run *request* and write its answer.

        Errors of PostgreSQL and refusals are written; nothing is raised but
        cancellation, after which the session is only good for ``end``.
        """
        started, self._started = self._started, None
        if started is None:
            self._note_request(request)
        begun = self._loop.time() if self._logs_requests else 0.0
        try:
            await self._run_somewhere(request, started, write)
        except Refused as exc:
            self._outcome.outcome = service_pb.OUTCOME_FAILED
            held = self._backend is not None
            await write(pb.SessionResponse(complete=True, error=exc.error, pinned=held))
        except SwitchFailed as exc:
            self._outcome.outcome = service_pb.OUTCOME_FAILED
            self._discard_backend()
            await write(not_switched(exc, self._resolved))
        except ConnectionLost as exc:
            await self._lost(exc, request, write)
        except Exception:
            # A mistake of this server, or an answer that could not be written: the stream
            # ends with it, and what is not known yet is not guessed.
            if self._outcome.outcome == service_pb.OUTCOME_RUNNING:
                self._outcome.outcome = service_pb.OUTCOME_UNSPECIFIED
            self._discard_backend()
            raise
        finally:
            self._note_done()
            if self._logs_requests:
                log_session_statement(
                    tenant=self._tenant,
                    session=self.session_id,
                    duration_ms=(self._loop.time() - begun) * 1000,
                )

    async def cancel(self, serial: int) -> bool:
        """Cancel request *serial* if it is running; return whether it was."""
        if not self._running or self._outcome.serial != serial or self._backend is None:
            return False
        with contextlib.suppress(OSError, TimeoutError):
            await self._backend.cancel()
        return True

    async def end(self) -> None:
        """Leave: roll back, clean or close the backend connection, and log."""
        backend, self._backend = self._backend, None
        self._unlimit()
        if backend is not None:
            backend.heard = None
            if self._running_on(backend):
                await self._settle(backend)
            elif self._leftovers or backend.status != b"I":
                self._pool.clean(backend)
            else:
                self._pool.release(backend)
        _log.info(
            "session ended",
            tenant=self._tenant,
            session=self.session_id[:8],
            caller=self.grant.caller,
            requests=self.requests,
            duration_ms=round((self._loop.time() - self._opened_at) * 1000, 3),
        )

    # internals

    @property
    def _tenant(self) -> str:
        return self._resolved.tenant if self._resolved else ""

    def _running_on(self, backend: Backend) -> bool:
        return self._outcome.outcome == service_pb.OUTCOME_RUNNING or not backend.quiet

    def _known(self, request: pb.SessionRequest) -> Resolved | None:
        """Return the checked target of *request*, or None if ``_resolve`` must find it."""
        if not request.HasField("context"):
            return self._resolved_before()
        if self._backend is not None:
            return None
        return self._targets.known(request.context, self.grant)

    def _resolved_before(self) -> Resolved | None:
        """Return the target of the request before, or None if it must be checked anew."""
        resolved = self._resolved
        # Inside a transaction the tenant was checked when it began.
        if self._backend is None and resolved and not self._targets.still_valid(resolved):
            return None
        return resolved

    def _note_request(self, request: pb.SessionRequest) -> None:
        self.requests += 1
        self.stretch = 1 if self._backend is None else self.stretch + 1
        self._outcome.serial = request.serial
        self._outcome.outcome = service_pb.OUTCOME_RUNNING
        self._running = True

    def _note_done(self) -> None:
        self._running = False
        self.idle_since = self._loop.time()
        self._unlimit()

    def _heard(self) -> None:
        """Write the answer to what was started, or leave that to ``handle``."""
        started = self._started
        assert started is not None
        started.backend.heard = None
        if not started.backend.whole:
            started.done(None)
            return
        try:
            part = started.backend.take()
            response = self._response(started.backend, started.resolved, started.statement, part)
        except Exception as exc:  # noqa: BLE001 - ``handle`` raises it, in a task that can end
            self._started = started._replace(error=exc)
            started.done(None)
            return
        self._started = None
        self._note_done()
        started.done(response)

    async def _run_somewhere(
        self, request: pb.SessionRequest, started: _Started | None, write: Write
    ) -> None:
        """Run *request*, or go on with it, on a connection that may become the tenant's role."""
        for pause in (*_PAUSES, None):
            try:
                if started is None:
                    await self._run(request, write)
                else:
                    await self._go_on(started, write)
            except SwitchFailed as exc:
                if not exc.denied or pause is None:
                    raise
            else:
                return
            # Nothing of it has run.
            self._discard_backend()
            self._unlimit()
            started = None
            await asyncio.sleep(pause)

    def _discard_backend(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            self._pool.discard(backend)

    async def _go_on(self, started: _Started, write: Write) -> None:
        if started.error is not None:
            raise started.error
        await self._answer(started.backend, started.resolved, started.statement, write)

    async def _run(self, request: pb.SessionRequest, write: Write) -> None:
        kind = request.WhichOneof("payload")
        if kind == "copy":
            await self._copy(request.copy, write)
            return
        # Before the placement is looked at, for it may take a while.
        statement = await examined(request) if is_long(request) else examine(request)
        resolved = await self._resolve(request)
        match kind:
            case "statement" | "batch":
                pass
            case "poll":
                await self._poll(request.timeout_ms / 1000, write)
                return
            case _:
                raise Refused(error(pb.REASON_INVALID_REQUEST, "The request has no payload."))
        await self._execute(request, resolved, statement, write)

    async def _execute(
        self, request: pb.SessionRequest, resolved: Resolved, statement: Statement, write: Write
    ) -> None:
        self._whole = statement.whole or request.statement == b"COMMIT"
        if statement.parsed and (refusal := resolved.refusal(statement)):
            await refuse(self._backend, resolved, refusal)
        if resolved.read_only and (refusal := refusal_of(request)):
            refusal = f"caller {resolved.caller!r} may only read, and {refusal}"
            await refuse(self._backend, resolved, refusal)
        if statement.database and not resolved.guarded:
            self._pool.leave(statement.database)
        backend = self._backend or self._pool.take(resolved.profile)
        if backend is None:
            backend = await self._acquire(resolved, request.timeout_ms)
        self._backend = backend
        backend.hears = resolved.hears
        self._limit(request)
        try:
            await send(backend, resolved, request, statement)
        except ValueError as exc:
            self._settled(backend)
            raise Refused(error(pb.REASON_INVALID_REQUEST, str(exc))) from exc
        await self._answer(backend, resolved, statement, write)

    async def _resolve(self, request: pb.SessionRequest) -> Resolved:
        held = self._backend
        if request.HasField("context"):
            if held is not None and request.context != self._context:
                raise Refused(
                    error(
                        pb.REASON_INVALID_REQUEST,
                        "A session cannot change its target inside a transaction.",
                    )
                )
            self._context = request.context
            if held is None:
                self._resolved = None
        if request.begin and not is_begin(request.begin.encode()):
            raise Refused(error(pb.REASON_INVALID_REQUEST, "begin is not a plain BEGIN."))
        if self._context is None:
            raise Refused(error(pb.REASON_INVALID_REQUEST, "The first request has no context."))
        resolved = self._resolved_before()
        if resolved is None:
            resolved = self._resolved = await self._targets.resolve(self._context, self.grant)
        return resolved

    async def _acquire(self, resolved: Resolved, timeout_ms: int) -> Backend:
        limit = self._queue_timeout
        if timeout_ms:
            limit = min(limit, timeout_ms / 1000)
        try:
            return await self._pool.acquire(resolved.profile, limit)
        except (PoolExhausted, DatabaseUnavailable) as exc:
            raise no_connection(exc, resolved) from exc

    async def _answer(
        self, backend: Backend, resolved: Resolved, statement: Statement, write: Write
    ) -> None:
        part, done = await backend.answer()
        check_switch(backend)
        while not done:
            await write(pb.SessionResponse(messages=part))
            part, done = await backend.answer()
        if backend.prelude_error is not None:
            part = backend.prelude_error + part
        if backend.copying_in:
            self._copying = True
            await write(pb.SessionResponse(messages=part, complete=True))
            return
        await write(self._response(backend, resolved, statement, part))

    def _response(
        self, backend: Backend, resolved: Resolved, statement: Statement, part: bytes
    ) -> pb.SessionResponse:
        """Draw the conclusions of a finished request; return the last part of its answer."""
        self._note(backend, resolved, statement)
        pinned = self._settled(backend)
        return pb.SessionResponse(messages=part, complete=True, pinned=pinned)

    def _note(self, backend: Backend, resolved: Resolved, statement: Statement) -> None:
        self._outcome.outcome = self._became_of(backend)
        idle = backend.status == b"I"
        if backend.profile is None and not backend.failed and idle:
            # The switch shared the statement's Sync, and both were committed.
            backend.profile = resolved.profile
        rolled_back = idle and backend.tag == b"ROLLBACK"
        self._leftovers.note(statement, failed=backend.failed, rolled_back=rolled_back)

    def _became_of(self, backend: Backend) -> service_pb.Outcome:
        """Return what became of the request that just finished on *backend*."""
        # The COMMIT of a failed transaction is answered with ROLLBACK. What was done
        # inside a transaction that is still open has had no effect yet.
        if not backend.failed and backend.status == b"I" and backend.tag != b"ROLLBACK":
            return service_pb.OUTCOME_SUCCEEDED
        # A script may have committed before it failed, and so may a procedure: the
        # client must not take that for a failure and send it again.
        if self._whole or backend.status != b"I":
            return service_pb.OUTCOME_FAILED
        return service_pb.OUTCOME_UNSPECIFIED

    def _settled(self, backend: Backend) -> bool:
        """Give the backend connection back unless the session must keep it.

        Return whether it must because of what statements have left on it.
        """
        pinned = bool(self._leftovers)
        if not pinned and backend.status == b"I" and backend.quiet:
            self._backend = None
            self._pool.release(backend)
        return pinned

    async def _copy(self, copy: pb.CopyIn, write: Write) -> None:
        backend, resolved = self._backend, self._resolved
        if backend is None or resolved is None or not self._copying:
            raise Refused(error(pb.REASON_INVALID_REQUEST, "No COPY is under way."))
        done = copy.done or bool(copy.failure)
        backend.send_copy(frontend.copy_bytes(copy), done=done)
        if not done:
            await backend.drained()
            part, _ = await backend.answer()
            await write(pb.SessionResponse(messages=part, complete=True))
            return
        self._copying = False
        await self._answer(backend, resolved, ORDINARY, write)

    async def _poll(self, limit: float, write: Write) -> None:
        messages = b""
        if self._backend is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    messages = await self._backend.unasked()
        self._outcome.outcome = service_pb.OUTCOME_SUCCEEDED
        await write(
            pb.SessionResponse(messages=messages, complete=True, pinned=bool(self._leftovers))
        )

    def _limit(self, request: pb.SessionRequest) -> None:
        if request.timeout_ms:
            seconds = request.timeout_ms / 1000
            self._timer = self._loop.call_later(seconds, self._expire, request.serial)

    def _unlimit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, serial: int) -> None:
        task = self._loop.create_task(self.cancel(serial))
        self._pool.keep(task)

    async def _lost(self, exc: ConnectionLost, request: pb.SessionRequest, write: Write) -> None:
        backend, self._backend = self._backend, None
        self._leftovers.clear()
        self._copying = False
        last_words = backend.last_words if backend is not None else b""
        executed = True
        if request.commit and backend is not None and (request.begin or backend.in_transaction):
            # A transaction that was to end with its last write did not, before COMMIT was sent.
            executed = backend.committing
        if backend is not None:
            self._pool.discard(backend)
        self._outcome.outcome = service_pb.OUTCOME_UNSPECIFIED
        await write(lost_connection(exc, self._resolved, last_words=last_words, executed=executed))

    async def _settle(self, backend: Backend) -> None:
        """The client is gone while a request runs: cancel it, and note what became of it."""
        if self._copying:
            # A COPY whose end was not sent never takes effect.
            self._outcome.outcome = service_pb.OUTCOME_FAILED
            self._pool.discard(backend)
            return
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await backend.cancel()
                await backend.complete()
        except (ConnectionLost, TimeoutError, OSError):
            self._outcome.outcome = service_pb.OUTCOME_UNSPECIFIED
        else:
            self._outcome.outcome = self._became_of(backend)
        finally:
            self._pool.discard(backend)
