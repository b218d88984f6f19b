"""One backend connection, ready for queries.

Invariants: PostgreSQL's messages are forwarded in order and unchanged, but for the position
that an error or notice has in a query to which the server has put a beginning of its own; the
answers to statements that the server itself put in front of a request (the
prelude), and behind it (a COMMIT), never reach the client, nor do notifications unless it
``hears`` them; after ``lost`` nothing is sent any more. The error with which PostgreSQL
ends the connection is kept in ``last_words``.

An answer is awaited with ``answer``, or ``heard`` is set and called as soon as there is
more of it: that spares a task's wake-up, which is much of what an ordinary statement costs.
"""

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Final, Self, cast

from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.server.postgres.startup import Started, request_cancel, start
from mtdd_router.wire import frontend
from mtdd_router.wire.backend import error_fields, has_written, moved

__all__ = ["ConnectionLost", "PostgresConnection"]

_LENGTH: Final = Struct("!I")
_BUFFER_BYTES: Final = 1 << 20
# How long PostgreSQL may take to end a connection that says goodbye.
_LEAVE_SECONDS: Final = 1.0

# Rows and COPY data may be large, and are passed on as they come.
_PASSED_ON: Final = (ord("D"), ord("d"))
_COPY_STARTS: Final = (ord("G"), ord("W"))
_READY, _COMPLETE, _ERROR = ord("Z"), ord("C"), ord("E")
_PARAMETER, _NOTIFICATION, _NOTICE = ord("S"), ord("A"), ord("N")
_COPY_IN, _COPY_BOTH = ord("G"), ord("W")
_UNASKED: Final = frozenset((_PARAMETER, _NOTIFICATION, _NOTICE))
_NOTED: Final = frozenset((_READY, _COMPLETE, _ERROR, _PARAMETER, _NOTICE, *_COPY_STARTS))
_OF_COMMIT: Final = frozenset((_READY, _COMPLETE, _ERROR))
_COMMIT: Final = frontend.simple_query(b"COMMIT")
# What ends the answer to one message of a batch that ends without Sync.
_REPLIES: Final = frozenset(map(ord, "12Tn3CIs"))


class ConnectionLost(Exception):
    """The backend connection broke."""


class PostgresConnection(asyncio.Protocol):
    """A connection to one database of the shard's PostgreSQL."""

    def __init__(self, dsn: Dsn, database: str, started: Started) -> None:
        self.dsn = dsn
        self.database = database
        self.parameters = started.parameters
        self.process_id = started.process_id
        self._secret_key = started.secret_key
        # The writer closes its transport when collected, so it lives as long as this.
        self._writer = started.writer
        self._transport = cast(asyncio.Transport, started.writer.transport)
        self._loop = asyncio.get_running_loop()
        self.lost: str | None = None
        self.last_words = b""
        self.gone = False
        self.when_gone: Callable[[], None] | None = None
        self.heard: Callable[[], None] | None = None
        self.cancelled = False
        self.hears = True
        self.status = b"I"
        self.tag = b""
        self.failed = False
        self.prelude_error: bytes | None = None
        self._partial = b""
        self._row_rest = 0
        self._prelude = 0
        self._sync_if_failed = False
        self._commits = False
        self.committing = False
        self.own_characters = 0
        self._syncs = 0
        self._replies = 0
        self._replies_after = 0
        self._copy_in = False
        self._open_batch = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport.set_write_buffer_limits(_BUFFER_BYTES)
        self._transport.set_protocol(self)

    @classmethod
    async def connect(cls, dsn: Dsn, database: str, settings: dict[str, str]) -> Self:
        """Open a connection to *database* with startup *settings*.

        Raises:
            ConnectFailed: with PostgreSQL's words, or the system's.
        """
        return cls(dsn, database, await start(dsn, database, settings))

    def send(
        self,
        data: bytes,
        *,
        syncs: int = 0,
        replies: int = 0,
        prelude: int = 0,
        query: bool = False,
        commit: bool = False,
        own_characters: int = 0,
    ) -> None:
        """Send *data*, and expect its answer.

        Args:
            data: whole frontend messages.
            syncs: how many ReadyForQuery the answer ends with.
            replies: to what follows the last Sync of a batch, or to all of it without one.
            prelude: how many CommandComplete to swallow first.
            query: *data* ends with a Query, which counts as a Sync; but if the prelude fails,
                PostgreSQL passes over it and waits for a Sync, which is sent then.
            commit: send COMMIT when it has written rows in a transaction, and take its answer
                for a part of this one.
            own_characters: how many of the query are the server's own, at its beginning.

        Raises:
            ConnectionLost: if the connection is known to be lost.
        """
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        # After an error PostgreSQL skips what comes until the next Sync.
        skipping = self._open_batch and self.failed
        self._sync_if_failed = query
        self._commits = commit
        self.committing = False
        self.own_characters = own_characters
        self._replies = 0 if skipping or syncs else replies
        self._replies_after = replies if syncs else 0
        self._syncs = syncs
        self._prelude = prelude
        self._copy_in = False
        self._open_batch = syncs == 0 and (replies > 0 or self._open_batch)
        self.prelude_error = None
        if syncs:
            self.failed = False
            self.tag = b""
        self._transport.write(data)

    def send_copy(self, data: bytes, *, done: bool) -> None:
        """Continue a COPY FROM STDIN; *done* if *data* ends it.

        Raises:
            ConnectionLost: if the connection is known to be lost.
        """
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        # After an error PostgreSQL is ready already and ignores what comes.
        self._copy_in = not done
        self._transport.write(data)

    @property
    def _answered(self) -> bool:
        return (self._syncs == 0 and self._replies == 0) or self._copy_in

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""
        return self.status != b"I"

    @property
    def copying_in(self) -> bool:
        """Whether PostgreSQL waits for the data of a COPY FROM STDIN."""
        return self._copy_in

    @property
    def batch_open(self) -> bool:
        """Whether a batch was sent whose Sync is still to come."""
        return self._open_batch

    @property
    def quiet(self) -> bool:
        """Whether everything sent was answered and no batch is open."""
        return self._syncs == 0 and not self._open_batch and not self._copy_in

    @property
    def whole(self) -> bool:
        """Whether the answer to all that was sent is there, without any oddity."""
        return self._answered and not (
            self._prelude or self._copy_in or self.lost or self.prelude_error or self.last_words
        )

    def take(self) -> bytes:
        """Return what is there of the answer, which may be nothing yet."""
        chunks = self._chunks
        taken = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        if self._paused and self.lost is None:
            self._paused = False
            self._transport.resume_reading()
        return taken

    def unread(self, messages: bytes) -> None:
        """Put back what ``complete`` returned, to be answered again."""
        self._chunks.insert(0, messages)

    async def answer(self) -> tuple[bytes, bool]:
        """Return the next part of the answer, and whether it is the last.

        Raises:
            ConnectionLost: if the connection broke before the answer was whole.
        """
        while not self._chunks and not self._answered:
            if self.lost is not None:
                raise ConnectionLost(self.lost)
            await self._wait()
        return self.take(), self._answered and self._prelude == 0

    async def complete(self) -> bytes:
        """Return the whole answer."""
        parts = []
        done = False
        while not done:
            part, done = await self.answer()
            parts.append(part)
        return b"".join(parts)

    async def ask(self, data: bytes) -> bool:
        """Send one statement of the server's own; return whether it succeeded."""
        self.send(data, syncs=1)
        await self.complete()
        return not self.failed

    async def unasked(self) -> bytes:
        """Wait for messages that arrive unasked, and return them.

        Raises:
            ConnectionLost: if the connection broke.
        """
        while not self._chunks:
            if self.lost is not None:
                raise ConnectionLost(self.lost)
            await self._wait()
        return self.take()

    async def cancel(self) -> None:
        """Ask PostgreSQL to cancel what this connection runs.

        The cancel may arrive late; ``cancelled`` tells that this connection
        must not be handed on to anybody else.
        """
        self.cancelled = True
        await request_cancel(self.dsn, self.process_id, self._secret_key)

    async def drained(self) -> None:
        """Wait until PostgreSQL has taken most of what was sent."""
        await self._writable.wait()

    def close(self) -> None:
        """End the connection; PostgreSQL rolls back what is open.

        ``when_gone`` is called when PostgreSQL has ended its side too, which is when
        its process no longer counts as a connection.
        """
        if self.lost is None:
            self.lost = "closed"
            if self.quiet:
                self._transport.write(frontend.TERMINATE)
                self._loop.call_later(_LEAVE_SECONDS, self._transport.abort)
            else:
                self._transport.abort()
        self._wake()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        size = len(data)
        forward_from = 0
        position = min(self._row_rest, size)
        self._row_rest -= position
        while size - position >= 5:
            kind = data[position]
            end = position + 1 + _LENGTH.unpack_from(data, position + 1)[0]
            if kind in _PASSED_ON:
                if end > size and not self._prelude:
                    # A large row is passed on as it comes.
                    self._row_rest = end - size
                    position = size
                    break
                if end > size:
                    break
            elif end > size:
                break
            elif kind in _NOTED or self._replies:
                forward_from = self._note(kind, data, forward_from, position, end)
            if (
                self.last_words
                or (self._prelude and kind not in _UNASKED)
                or (kind == _NOTIFICATION and not self.hears)
            ):
                forward_from = self._swallow(kind, data, forward_from, position, end)
            position = end
        if position < size:
            self._partial = data[position:]
        if forward_from < position:
            self._forward(data[forward_from:position] if position - forward_from < size else data)
        # While it commits, little more is to come, which is no part of its own.
        if self._answered or (self._chunks and (self._paused or not self.committing)):
            self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if self.lost is None:
            said = error_fields(self.last_words[5:]).get("M")
            self.lost = said or (str(exc) if exc else "PostgreSQL closed the connection")
        self.gone = True
        self._wake()
        if self.when_gone is not None:
            self.when_gone()

    # internals

    def _note(self, kind: int, data: bytes, start: int, position: int, end: int) -> int:
        """Draw conclusions from a message; return where to go on passing on from *start*."""
        if kind == _READY:
            self._syncs -= 1
            self._open_batch = False
            if self._syncs == 0 and self._replies_after:
                self._replies, self._replies_after = self._replies_after, 0
                self._open_batch, self.failed = True, False
            self.status = data[position + 5 : position + 6]
            if self._commits and self._answered:
                self._commit()
        elif kind == _COMPLETE:
            self.tag = data[position + 5 : end - 1]
        elif kind == _ERROR and _is_fatal(data[position:end]):
            self.last_words = data[position:end]
        elif kind == _ERROR:
            self.failed = True
            self._replies = 0
            if self.own_characters and not self._prelude:
                start = self._move(data, start, position, end)
        elif kind == _NOTICE and self.own_characters:
            start = self._move(data, start, position, end)
        elif kind in _COPY_STARTS:
            self._copy_in = True
        elif kind == _PARAMETER:
            name, value = data[position + 5 : end - 1].split(b"\0")
            self.parameters[name.decode()] = value.decode()
        if self._replies and kind in _REPLIES:
            self._replies -= 1
        return start

    def _move(self, data: bytes, start: int, position: int, end: int) -> int:
        """Let an error or notice point into the client's own text; return where to go on."""
        if start < position:
            self._forward(data[start:position])
        self._forward(moved(data[position:end], self.own_characters))
        return end

    def _swallow(self, kind: int, data: bytes, start: int, position: int, end: int) -> int:
        """Keep a message from being passed on with the answer; return where to go on."""
        if start < position:
            self._forward(data[start:position])
        if self.committing and kind in _OF_COMMIT and not self.last_words:
            return self._swallow_of_commit(kind, position, end)
        if kind == _COMPLETE:
            self._prelude -= 1
        elif kind == _ERROR and not self.last_words:
            self.prelude_error = moved(data[position:end], self.own_characters)
            if self._sync_if_failed:
                self._sync_if_failed = False
                self._transport.write(frontend.SYNC)
            if self._syncs == 0:
                # PostgreSQL passes over the rest, and answers no more.
                self._prelude = 0
        elif kind == _READY:
            self._prelude = 0
            return position
        return end

    def _swallow_of_commit(self, kind: int, position: int, end: int) -> int:
        if kind == _READY:
            # Before the COMMIT; it is after it that all is answered.
            return end
        self._prelude = 0
        # Its error is the answer's.
        return end if kind == _COMPLETE else position

    def _commit(self) -> None:
        """End the transaction, if it is one and the statement wrote in it."""
        self._commits = False
        if self.status == b"T" and not self.failed and has_written(self.tag):
            self.committing = True
            self._syncs = 1
            # The answer is whole after one more CommandComplete, or an error.
            self._prelude = 1
            self._sync_if_failed = False
            self._transport.write(_COMMIT)

    def _forward(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > _BUFFER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _wait(self) -> "asyncio.Future[None]":
        """Return what is done when something has happened."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        if self.heard is not None:
            self.heard()
            return
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _is_fatal(message: bytes) -> bool:
    """Whether PostgreSQL ends the connection with this error."""
    return error_fields(message[5:]).get("V") in ("FATAL", "PANIC")
