"""Sending a request to PostgreSQL, after what must come before it.

Invariants: a statement runs only on a connection that is set to its profile, or in the
same Query or Sync as the switch to it, and not at all if that fails; a switch never
shares a transaction with BEGIN, since a rollback would undo it; nor with the statement
where the switch is to or from reading only, which holds for the next transaction.
"""

from typing import Final, NoReturn

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.pool import Backend
from mtdd_router.server.read_only import READ_ONLY_SETTING
from mtdd_router.server.requests import (
    BEGIN_REPLIES,
    begin_messages,
    expected_of,
    one_statement,
)
from mtdd_router.server.statements import Statement, is_surely_one
from mtdd_router.server.targets import Refused, Resolved, error
from mtdd_router.wire import frontend
from mtdd_router.wire.backend import error_fields

__all__ = ["SwitchFailed", "check_switch", "refuse", "send", "send_at_once"]

# A statement that fails whatever else is true.
_FAILURE: Final = frontend.simple_query(b"REFUSED")
# What PostgreSQL may say of a text as a whole without a position: a character that is none,
# and, until version 15, some errors of syntax. A switch is never refused so.
_UNREADABLE: Final = frozenset(("22021", "42601"))
_QUERY_CANCELED: Final = "57014"
_INSUFFICIENT_PRIVILEGE: Final = "42501"


class SwitchFailed(Exception):
    """A switch failed, in PostgreSQL's words; what the connection is set to is not known.

    Attributes:
        cancelled: PostgreSQL's ErrorResponse, where the client's cancelling is all that was
            wrong; else empty.
        denied: whether this connection may not become the tenant's role, as it remembers it.
            Another one may: what a backend remembers of memberships can be that of a moment
            before they changed, until they change again.
    """

    def __init__(self, message: str, cancelled: bytes = b"", *, denied: bool = False) -> None:
        super().__init__(message)
        self.cancelled = cancelled
        self.denied = denied


async def send(
    backend: Backend, resolved: Resolved, request: pb.SessionRequest, known: Statement
) -> None:
    """Send *request*; what *backend* answers next is its answer.

    Raises:
        SwitchFailed: before the request was sent.
        Refused: if a tenant's statement cannot be understood.
        ValueError: if a message of a batch is malformed, or out of order.
    """
    if backend.batch_open and (request.begin or not request.HasField("batch")):
        # After an error PostgreSQL would pass over it, and never answer.
        raise ValueError("A batch is open; it ends with a Sync.")
    if resolved.read_only and not backend.in_transaction and not _reads_only(backend):
        # A function may have set it; the next transaction could write.
        backend.profile = None
    if request.HasField("batch"):
        await _send_batch(backend, resolved, request)
    elif known.parsed or not resolved.guarded:
        await _send_statement(backend, resolved, request, known)
    else:
        await _only_parse(backend, resolved, request)


def check_switch(backend: Backend) -> None:
    """Make sure that the switch in front of the answer succeeded, if there was one.

    Raises:
        SwitchFailed: if it did not.
    """
    said = backend.prelude_error
    if backend.profile is None and said is not None:
        fields = error_fields(said[5:])
        sqlstate = fields.get("C")
        about_text = int(fields.get("P", 0)) > 0 or sqlstate in _UNREADABLE
        if backend.own_characters and about_text:
            # It is the statement's, which PostgreSQL has read with the switch before it did any.
            return
        raise SwitchFailed(
            fields.get("M", ""),
            said if sqlstate == _QUERY_CANCELED else b"",
            denied=sqlstate == _INSUFFICIENT_PRIVILEGE,
        )


async def refuse(backend: Backend | None, resolved: Resolved, refusal: str) -> NoReturn:
    """Refuse a statement; an open transaction on *backend* fails, as with any other error.

    Raises:
        Refused: always.
    """
    if backend is not None and backend.in_transaction:
        if backend.batch_open:
            backend.send(frontend.SYNC + _FAILURE, syncs=2)
        else:
            backend.send(_FAILURE, syncs=1)
        await backend.complete()
    message = f"A statement for tenant {resolved.tenant!r} was refused: {refusal}."
    raise Refused(error(pb.REASON_STATEMENT_REFUSED, message))


def send_at_once(
    backend: Backend, resolved: Resolved, request: pb.SessionRequest, known: Statement
) -> bool:
    """Send a statement, and all that must come before it, in one flush; return whether it may be.

    Nothing is sent if it may not.

    Raises:
        ConnectionLost: if the connection is known to be lost.
    """
    begin, text = request.begin, request.statement
    if backend.profile is resolved.profile:
        query, commit = frontend.simple_query(text), request.commit
        if begin:
            before = begin_messages(begin)
            backend.send(before + query, syncs=1, prelude=1, query=True, commit=commit)
        else:
            backend.send(query, syncs=1, commit=commit)
    elif known.fusable and not begin and not resolved.read_only and not _reads_only(backend):
        # In no transaction, so there is nothing to commit.
        switch = backend.start_switch(resolved.profile)
        if switch.text and is_surely_one(text):
            query = frontend.simple_query(switch.text + text)
            own = switch.characters
            backend.send(query, syncs=1, prelude=switch.commands, own_characters=own)
        else:
            # PostgreSQL refuses a second statement in this form, whatever was found in it.
            messages = switch.messages + one_statement(text)
            backend.send(messages, syncs=1, prelude=switch.commands)
    else:
        return False
    return True


async def _send_statement(
    backend: Backend, resolved: Resolved, request: pb.SessionRequest, known: Statement
) -> None:
    if not send_at_once(backend, resolved, request, known):
        await _switch(backend, resolved)
        send_at_once(backend, resolved, request, known)


async def _only_parse(backend: Backend, resolved: Resolved, request: pb.SessionRequest) -> None:
    """Let PostgreSQL say what is wrong with a statement that the parser did not understand."""
    if backend.profile is not resolved.profile:
        await _switch(backend, resolved)
    before = begin_messages(request.begin) if request.begin else b""
    parse = frontend.parse(b"", request.statement, [])
    backend.send(before + parse + frontend.SYNC, syncs=1, prelude=1 if before else 0)
    said = await backend.complete()
    if not backend.failed:
        await refuse(backend, resolved, "the server cannot parse it")
    backend.unread(said)


async def _send_batch(backend: Backend, resolved: Resolved, request: pb.SessionRequest) -> None:
    if backend.profile is not resolved.profile:
        await _switch(backend, resolved)
    syncs, replies = expected_of(request.batch)
    data = frontend.batch_bytes(request.batch)
    if replies and request.batch.messages[-1].WhichOneof("message") != "flush":
        # PostgreSQL would keep them to itself.
        data += frontend.FLUSH
    prelude = 0
    if request.begin:
        data, prelude = begin_messages(request.begin) + data, 1
        replies += 0 if syncs else BEGIN_REPLIES
    backend.send(data, syncs=syncs, replies=replies, prelude=prelude, commit=request.commit)


async def _switch(backend: Backend, resolved: Resolved) -> None:
    switch = backend.start_switch(resolved.profile)
    backend.send(switch.messages + frontend.SYNC, syncs=1, prelude=switch.commands)
    await backend.complete()
    check_switch(backend)
    if resolved.read_only and not _reads_only(backend):
        raise SwitchFailed("its transactions do not become read-only")
    backend.profile = resolved.profile


def _reads_only(backend: Backend) -> bool:
    """Whether the next transaction may only read; PostgreSQL reports each change of that."""
    name, value = READ_ONLY_SETTING
    return backend.parameters.get(name) == value
