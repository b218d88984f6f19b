"""What one connection says to PostgreSQL, carried over sessions.

Takes the bytes that libpq would send and returns the bytes that PostgreSQL
answered. In between it borrows a session for each autocommit statement and
keeps it through a transaction, defers BEGIN until the first statement, follows
a tenant that moved, and finds out what became of a statement whose answer was
lost. It knows nothing of libpq's or Python's state.

Invariants: a request that may have reached PostgreSQL is sent again only if
the server says that it had no effect; inside a transaction nothing is ever
sent again.
"""

import time
from collections.abc import Mapping
from typing import Final, NoReturn

from mtdd_router import errors
from mtdd_router.client.call import CallFailed
from mtdd_router.client.location import Location, Locator
from mtdd_router.client.session import Session, SessionPool, sessions_of
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.wire import frontend, reasons
from mtdd_router.wire.backend import command_complete, error_response, ready_for_query
from mtdd_router.wire.begin import is_begin
from mtdd_router.wire.framing import HEADER_BYTES, messages

__all__ = ["Exchange", "ExchangeFailed"]

_QUERY: Final = ord("Q")
_COPY: Final = frozenset(map(ord, "dcf"))
_SYNC, _FLUSH = b"S", b"H"
_CLOSE: Final = b"CLOSE "
_ENDINGS: Final = {b"COMMIT": b"COMMIT", b"ROLLBACK": b"ROLLBACK"}
_OUTCOME_TRIES: Final = 5
_HELD: Final = "settings, temporary tables, locks, prepared statements"
_WITHOUT_EFFECT: Final = frozenset((service_pb.OUTCOME_FAILED, service_pb.OUTCOME_NOT_RECEIVED))
_STALE: Final = frozenset((pb.REASON_STALE_EPOCH, pb.REASON_TENANT_NOT_HERE))


class ExchangeFailed(Exception):
    """A request failed without an answer of PostgreSQL.

    Attributes:
        error: what the application is to see; None if that is PostgreSQL's own error,
            with which it ended the backend connection.
        answer: what libpq is to be told, so that its own state stays right. After a part
            of an answer, which may have ended inside a row, only PostgreSQL's own error.
        broken: the transaction is lost and the connection with it.
    """

    def __init__(
        self, error: errors.MTDDError | None, answer: bytes, *, broken: bool = False
    ) -> None:
        super().__init__(str(error or "PostgreSQL ended the connection"))
        self.error = error
        self.answer = answer
        self.broken = broken


class Exchange:
    """The conversation of one connection.

    Args:
        locator: finds the shard, before each transaction.
        settings: parameters in force for each statement.
        connect_timeout: how long to try to reach a shard server, in seconds.
        statement_timeout: bounds each request, in seconds; zero leaves it to the server.

    Attributes:
        inflight: whether more of an answer is to come.
        pinned: whether a session is held although no transaction is open.
        commits: whether a request that writes is to end its transaction with COMMIT.
        ended: whether one did, and `end_transaction` has not been called since.
    """

    def __init__(
        self,
        locator: Locator,
        settings: tuple[tuple[str, str], ...],
        *,
        connect_timeout: float,
        statement_timeout: float = 0.0,
    ) -> None:
        self._locator = locator
        self._settings = settings
        self._connect_timeout = connect_timeout
        self._timeout_ms = int(statement_timeout * 1000)
        self._location: Location | None = None
        self._context: pb.Context | None = None
        self._pool: SessionPool | None = None
        self._session: Session | None = None
        self._request: pb.SessionRequest | None = None
        self._begin = ""
        self._in_transaction = False
        self._answered_some = False
        self._copying = False
        self.inflight = False
        self.pinned = False
        self.commits = False
        self.ended = self._refused = False

    @property
    def idle(self) -> bool:
        """Whether no session is held: nothing runs, nothing is open."""
        return self._session is None and not self._begin and not self.inflight

    def open(self) -> dict[str, str]:
        """Make sure that the shard was reached; return PostgreSQL's parameter statuses.

        Raises:
            ShardUnavailable, TenantError: as for any statement.
        """
        self.permit()
        session = self._session
        if session is None:
            parameters = self._locate().parameters(self._connect_timeout)
        else:
            parameters = session.parameters
        return {**parameters, **dict(self._settings)}

    def permit(self) -> None:
        """Refuse the target if the running work may not use it.

        Raises:
            MTDDError: what the work is told.
        """
        self._locator.permit()

    def declare(self, settings: Mapping[str, str]) -> None:
        """Put *settings* in force for the statements to come, while ``idle``."""
        merged = tuple({**dict(self._settings), **settings}.items())
        if merged != self._settings:
            self._settings = merged
            self._location = None

    def end_transaction(self) -> None:
        """Note that the caller is done with the transaction, however it ended."""
        self.ended = self._refused = False

    def submit(self, data: bytes) -> bytes:
        """Send what libpq wrote; return the answer, or its first part.

        ``inflight`` tells afterwards whether more is to come from ``receive``.

        Raises:
            ExchangeFailed: if there is no answer of PostgreSQL.
        """
        if self.ended and not (data[0] == _QUERY and data[5:].startswith(_CLOSE)):
            return self._refuse(data)
        if data[0] in _COPY and not self._copying:
            # PostgreSQL ended the COPY with an error that libpq had not read yet.
            data = _without_copy(data)
            if not data:
                return b""
        if data[0] == _QUERY:
            statement = data[5:-1]
            if (
                not self._in_transaction
                and (self._begin or statement[:5] == b"BEGIN")
                and (local := self._answer_locally(statement))
            ):
                return local
            request = pb.SessionRequest(statement=statement, begin=self._begin)
        elif data[0] in _COPY:
            request = pb.SessionRequest(copy=_copy(data))
        else:
            batch = [frontend.batch_message(kind, body) for kind, body in messages(data)]
            request = pb.SessionRequest(batch=pb.Batch(messages=batch), begin=self._begin)
        if self._timeout_ms:
            request.timeout_ms = self._timeout_ms
        if self.commits:
            request.commit = True
        self._request = request
        self._send(request)
        return self.receive()

    def receive(self) -> bytes:
        """Return the next part of the answer.

        Raises:
            ExchangeFailed: if there is no answer of PostgreSQL.
        """
        while True:
            session = self._session
            assert session is not None
            try:
                response = session.receive()
            except CallFailed as exc:
                if (answer := self._stream_lost(exc)) is not None:
                    return answer
                continue
            if not response.complete:
                self._answered_some = True
                return response.messages
            self.inflight = False
            if response.HasField("error") and self._sent_elsewhere(response):
                continue
            answer = response.messages
            self._completed(session, answer, pinned=response.pinned)
            return answer

    def poll(self, limit: float) -> bytes:
        """Wait for what arrives unasked, up to *limit* seconds; return it, or nothing."""
        session = self._session
        if session is None:
            time.sleep(limit)
            return b""
        request = pb.SessionRequest(poll=pb.Poll(), timeout_ms=max(1, int(limit * 1000)))
        self._request = request
        self._send(request)
        return self.receive()

    def cancel(self) -> None:
        """Cancel what runs, from any thread."""
        session = self._session
        if session is not None and self.inflight:
            session.cancel(session.serial)

    def interrupt(self) -> ExchangeFailed:
        """Give up what runs, as Ctrl-C does; return what libpq is to be told.

        What was read of the answer by then is not known, so the session is left: the
        server cancels the statement, and rolls back.
        """
        error = errors.ShardUnavailable("The statement was interrupted.")
        lost = self.inflight and (self._in_transaction or self.pinned)
        try:
            if self.inflight:
                self.close()
            if lost:
                self._break(error)
            self._fail(error, "57014")
        except ExchangeFailed as failed:
            return failed

    def close(self) -> None:
        """Leave; what is open is rolled back."""
        session, self._session = self._session, None
        self._begin = ""
        self._in_transaction = self.pinned = False
        self.end_transaction()
        if session is not None:
            if self.inflight:
                session.abandon()
            else:
                session.close()
        self.inflight = False

    def disown(self) -> bool:
        """Leave what is open to the parent process; return whether nothing was."""
        idle = self.idle and not self._in_transaction
        self._session = None
        self._begin = ""
        self._in_transaction = self.pinned = self.inflight = self._copying = False
        self.end_transaction()
        return idle

    # internals

    def _answer_locally(self, statement: bytes) -> bytes:
        """Answer BEGIN, and the end of a transaction in which nothing ran."""
        if self._begin:
            if (tag := _ENDINGS.get(statement)) is not None:
                self._begin = ""
                return command_complete(tag) + ready_for_query(b"I")
        elif is_begin(statement) and not self.pinned:
            self._begin = statement.decode()
            return command_complete(b"BEGIN") + ready_for_query(b"T")
        return b""

    def _refuse(self, data: bytes) -> bytes:
        """Refuse what follows the transaction's end; of a batch all up to its Sync."""
        error = errors.TransactionEnded()
        said, ready = error_response("25000", str(error)), ready_for_query(b"I")
        if data[0] == _QUERY:
            raise ExchangeFailed(error, said + ready)
        answer = b""
        for kind, _ in messages(data):
            if kind == _SYNC:
                answer += ready
                self._refused = False
            elif kind != _FLUSH and not self._refused:
                answer += said
                self._refused = True
        if said in answer:
            raise ExchangeFailed(error, answer)
        return answer

    def _locate(self) -> SessionPool:
        """Return the sessions to where the target is now."""
        location = self._locator.locate()
        if location is not self._location:
            self._move(location)
        assert self._pool is not None
        return self._pool

    def _move(self, location: Location) -> None:
        self._location = location
        self._pool = sessions_of(location.endpoint)
        self._context = location.context(self._settings)

    def _forbid(self, request: pb.SessionRequest, why: errors.MTDDError) -> None:
        """Refuse what the running work may not do, also on a session that it holds already."""
        if request.statement == b"ROLLBACK":
            return  # The way out of what was begun before.
        if self._copying:
            self._break(why)
        self._fail(why, "42501")

    def _send(self, request: pb.SessionRequest) -> None:
        try:
            self._locator.permit()
        except errors.MTDDError as exc:
            self._forbid(request, exc)
        session = self._session
        if session is None:
            try:
                session = self._locate().acquire(self._connect_timeout)
            except errors.MTDDError as exc:
                self._fail(exc, "08001")
            self._session = session
        context = self._context
        assert context is not None
        self._answered_some = False
        self.inflight = True
        try:  # noqa: SIM105 - each statement passes here, and this is three calls less
            session.send(request, context)
        except CallFailed:
            # What broke the stream is met again, and handled, by reading the answer.
            pass

    def _completed(self, session: Session, answer: bytes, *, pinned: bool) -> None:
        request, self._request = self._request, None
        began, self._begin = self._in_transaction or bool(self._begin), ""
        self._answered_some = False
        self.pinned = pinned
        self._copying = request is not None and not request.HasField("batch")
        if answer[-6:-1] == _READY:
            self._in_transaction = answer[-1:] != b"I"
            self._copying = False
            if self.commits and began and not self._in_transaction:
                self.ended = True
            if not self._in_transaction and not pinned:
                self._session = None
                assert self._pool is not None
                self._pool.release(session)

    def _sent_elsewhere(self, response: pb.SessionResponse) -> bool:
        """Handle the server's own error: send the request again where that is right, or fail."""
        error, location, session = response.error, self._location, self._session
        assert location is not None and session is not None  # noqa: PT018
        endpoint = location.endpoint
        if not self._in_transaction:
            self._session = None
            self.pinned = False
            if response.pinned or error.reason == pb.REASON_DRAINING:
                # What it still holds there is rolled back and cleaned.
                session.close()
            else:
                assert self._pool is not None
                self._pool.release(session)
            if error.reason == pb.REASON_DRAINING and self._request is not None:
                self._send(self._fresh())
                return True
            if error.reason in _STALE and self._follow(location):
                return True
        if response.messages:
            # PostgreSQL itself said why it ended the connection, and psycopg will say the same.
            if self._in_transaction:
                self._break(None, response.messages)
            self._fail(None, "", response.messages)
        exception = reasons.exception_for(error, endpoint.shard, endpoint.address)
        if error.reason == pb.REASON_CONNECTION_LOST and self._in_transaction:
            if _ends_transaction(self._request) and error.executed:
                self._break(exception)
            where = f"[shard {endpoint.shard!r} at {endpoint.address}]"
            text = f"{error.message} The transaction was rolled back. {where}"
            self._break(errors.ShardUnavailable(text))
        return self._fail(exception, reasons.sqlstate_for(error))

    def _follow(self, stale: Location) -> bool:
        """Send the request to where the tenant is now, if the registry knows better."""
        try:
            location = self._locator.relocate(stale)
        except errors.MTDDError as exc:
            self._fail(exc, "08001")
        if location == stale:
            return False
        self._move(location)
        self._send(self._fresh())
        return True

    def _fresh(self) -> pb.SessionRequest:
        """Return a copy of the request, for another session."""
        assert self._request is not None
        request = pb.SessionRequest()
        request.CopyFrom(self._request)
        request.ClearField("context")
        self._request = request
        return request

    def _stream_lost(self, failed: CallFailed) -> bytes | None:
        """The stream broke under a request: find out what became of it.

        Returns the answer if it is known, None if the request was sent again.
        """
        session, location, request = self._session, self._location, self._request
        assert session is not None and location is not None  # noqa: PT018
        held = self.pinned
        self._session = None
        self.inflight = self.pinned = False
        endpoint = location.endpoint
        where = f"shard {endpoint.shard!r} at {endpoint.address}"
        why = failed.status.message or failed.status.code.name
        reason = f"{reasons.LOST}: the session with {where} broke ({why})."
        ending = _ends_transaction(request)
        if self._in_transaction and not ending:
            self._break(errors.ShardUnavailable(f"{reason} The transaction was rolled back."))
        outcome = self._outcome(session)
        if ending and self._in_transaction:
            return self._end_lost(outcome, reason)
        if held and not self._in_transaction:
            # Sent again elsewhere, it would run without what the session held.
            self._break(errors.ShardUnavailable(f"{reason} What it held is lost: {_HELD}."))
        copy = request.copy if request is not None and request.HasField("copy") else None
        if request is None or (copy is not None and not copy.done):
            # Of a COPY whose end was not sent nothing stays.
            outcome = service_pb.OUTCOME_FAILED
        if outcome not in _WITHOUT_EFFECT:
            self._result_lost(outcome, reason)
        if request is None or copy is not None or self._answered_some:
            self._break(errors.ShardUnavailable(f"{reason} The answer was cut off."))
        if not failed.transient:
            # It is too long, for example, and would break the next stream as well.
            self._fail(errors.ShardRefused(reason), "08006")
        self._send(self._fresh())
        return None

    def _end_lost(self, outcome: service_pb.Outcome, reason: str) -> bytes:
        """The answer to what was to end the transaction is lost; return it if it is known."""
        if outcome in _WITHOUT_EFFECT:
            self._break(errors.ShardUnavailable(f"{reason} The transaction was rolled back."))
        if outcome != service_pb.OUTCOME_SUCCEEDED:
            text = "It is not known whether the COMMIT took effect: look before doing it again."
            self._break(errors.OutcomeUnknown(f"{reason} {text}"))
        if self._request is not None and self._request.commit:
            text = "The transaction was committed with its last write, whose result is lost."
            self._break(errors.OutcomeUnknown(f"{reason} {text}"))
        self._in_transaction = False
        return command_complete(b"COMMIT") + ready_for_query(b"I")

    def _result_lost(self, outcome: service_pb.Outcome, reason: str) -> NoReturn:
        """A statement has taken effect, or may have."""
        text = (
            "It took effect, but its result is lost."
            if outcome == service_pb.OUTCOME_SUCCEEDED
            else "It is not known whether the statement took effect: look before doing it again."
        )
        error = errors.OutcomeUnknown(f"{reason} {text}")
        if self._copying:
            self._break(error)
        self._fail(error, "08007")

    def _outcome(self, session: Session) -> service_pb.Outcome:
        """Ask until the server has settled what became of the last request."""
        outcome: service_pb.Outcome = service_pb.OUTCOME_UNSPECIFIED
        for attempt in range(_OUTCOME_TRIES):
            outcome = session.outcome(session.serial)
            if outcome != service_pb.OUTCOME_RUNNING:
                break
            time.sleep(0.05 * 2**attempt)
        return outcome

    def _fail(
        self, error: errors.MTDDError | None, sqlstate: str, last_words: bytes = b""
    ) -> NoReturn:
        """The request failed and nothing else is lost, unless its answer had begun."""
        if self._answered_some:
            self._break(error, last_words)
        after = b"E" if self._in_transaction else b"I"
        self._begin = ""
        self.inflight = False
        syncs = 1
        if self._request is not None and self._request.HasField("batch"):
            syncs = sum(1 for item in self._request.batch.messages if item.HasField("sync"))
        said = last_words or error_response(sqlstate, str(error))
        answer = said + ready_for_query(after) * syncs
        raise ExchangeFailed(error, answer) from error

    def _break(self, error: errors.MTDDError | None, last_words: bytes = b"") -> NoReturn:
        """The transaction is lost, and the connection with it."""
        self.close()
        answer = last_words
        if not answer and not self._answered_some:
            answer = error_response("08006", str(error), severity="FATAL")
        raise ExchangeFailed(error, answer, broken=True) from error


_READY: Final = ready_for_query(b"I")[:-1]


def _ends_transaction(request: pb.SessionRequest | None) -> bool:
    """Whether *request* may have committed, if its answer is lost."""
    return request is not None and (request.commit or request.statement == b"COMMIT")


def _without_copy(data: bytes) -> bytes:
    """Return what follows the COPY messages at the start of *data*."""
    position = 0
    for kind, body in messages(data):
        if kind[0] not in _COPY:
            break
        position += HEADER_BYTES + len(body)
    return data[position:]


def _copy(data: bytes) -> pb.CopyIn:
    copy = pb.CopyIn()
    parts = []
    for kind, body in messages(data):
        match kind:
            case b"d":
                parts.append(body)
            case b"c":
                copy.done = True
            case b"f":
                copy.failure = body[:-1].decode(errors="replace") or "the client gave up"
    copy.data = b"".join(parts)
    return copy
