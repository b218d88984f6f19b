"""A psycopg connection whose server is a shard.

It is psycopg's own class, and its cursors are psycopg's own. Different is only
how it waits: what libpq wrote is carried over the client's exchange, instead of
waiting for a socket.

Invariants: a connection that is idle keeps no session of the shard; in one
thread only the last few idle connections keep a loopback.
"""

import functools
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import AdaptContext, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.rows import Row, TupleRow
from psycopg.waiting import Ready, Wait

from mtdd_router.client.exchange import Exchange, ExchangeFailed
from mtdd_router.client.location import Locator
from mtdd_router.dbapi import loopback
from mtdd_router.dbapi.relay import Relay
from mtdd_router.errors import MTDDError
from mtdd_router.wire.framing import whole_messages

__all__ = ["Connection", "connect"]

_T = TypeVar("_T")
_LOOPBACKS_PER_THREAD: Final = 4
_POLL_SECONDS: Final = 1.0
_COPY_DATA: Final = ord("d")
_COPY_BYTES: Final = 1 << 20
# One is enough for a statement; who needs more than this waits for what will never come.
_READS_WHEN_INTERRUPTED: Final = 100


class _Found:
    """The ``pgconn`` of a connection that has none as an attribute, as psycopg gives it one.

    psycopg asks for it a dozen times a statement, which is cheapest where it is an attribute.
    It is taken away while the connection is parked or closed, and when the process has forked.
    """

    def __get__(self, connection: "Connection[Any] | None", owner: object) -> Any:
        return self if connection is None else connection.find_pgconn()


class Connection(psycopg.Connection[Row]):
    """A connection to a tenant, or to a database of a shard.

    Use ``connect``. psycopg's documentation holds; ``fileno`` returns a
    descriptor that never becomes readable by itself, so use ``notifies``.
    """

    pgconn: pq.abc.PGconn = _Found()  # type: ignore[assignment]

    def __init__(self, exchange: Exchange, database: str) -> None:
        # Until all is there, it is as if closed: what fails here leaves nothing to close.
        self._shut = True
        self._exchange = exchange
        self._database = database
        self._parameters = exchange.open()
        self._undelivered: bytes | memoryview = b""
        self._unsent = bytearray()
        self._notified: deque[psycopg.Notify] = deque()
        self._on_notify: list[Callable[[psycopg.Notify], None]] = []
        self._failure: MTDDError | None = None
        self._ending = False
        self._own_adapters: AdaptersMap | None = None
        self._loopback: loopback.Loopback | None = loopback.borrow(database, self._parameters)
        super().__init__(self._loopback.pgconn)
        self._notice_handler_of_psycopg = self.pgconn.notice_handler
        self._attach(self._loopback)
        self._shut = False

    def find_pgconn(self) -> pq.abc.PGconn:
        """Return libpq's end of the loopback, with another loopback if that was given back."""
        link = self._loopback
        if link is None:
            return self._unpark()
        if link.inherited:
            return self._after_fork()
        return link.pgconn

    def _attach(self, link: loopback.Loopback) -> None:
        link.pgconn.notice_handler = self._notice_handler_of_psycopg
        myself = weakref.ref(self)

        def notify(arrived: pq.PGnotify) -> None:
            if (connection := myself()) is not None:
                connection.receive_notify(arrived)

        def forked() -> None:
            if (connection := myself()) is not None:
                connection.detach()

        link.pgconn.notify_handler = notify
        link.when_forked = forked
        self.pgconn = link.pgconn
        _loopbacks.keep(self)

    def detach(self) -> None:
        """Look for libpq's end anew when it is needed next."""
        self.__dict__.pop("pgconn", None)

    def fileno(self) -> int:
        """Return a descriptor, which never becomes readable by itself; so use ``notifies``.

        Raises:
            psycopg.InterfaceError: if it was opened before a fork: then it is the parent's, and
                here there is nothing that a child, such as a worker of Celery, could close.
        """
        if self._loopback is not None and self._loopback.inherited:
            raise psycopg.InterfaceError("The connection was opened before the process forked.")
        return self.pgconn.socket

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._shut or (
            self._loopback is not None and self._loopback.pgconn.status == pq.ConnStatus.BAD
        )

    @property
    def broken(self) -> bool:
        """Whether the connection was lost, not closed."""
        return self.closed and not self._shut

    @property
    def adapters(self) -> AdaptersMap:
        """The adapters of this connection."""
        return self._own_adapters if self._own_adapters is not None else super().adapters

    def use_adapters(self, adapters: AdaptersMap) -> None:
        """Start from a copy of *adapters*."""
        self._own_adapters = AdaptersMap(adapters)

    @property
    def busy(self) -> bool:
        """Whether a session of the shard is held."""
        return not self._exchange.idle

    def declare(self, settings: Mapping[str, str]) -> None:
        """Put *settings* in force for the statements to come; the connection is idle."""
        self._exchange.declare(settings)
        self._parameters.update(settings)
        if self._loopback is not None:
            self._loopback.set_parameters(settings)

    def wait(
        self,
        gen: PQGen[_T],
        interval: float = 0.0,  # noqa: ARG002 - there is no socket to look at now and then
        timeout: float | None = None,  # noqa: ARG002 - only notifies() uses it, which is ours
    ) -> _T:
        """Run one of psycopg's generators, carrying what it writes and reads."""
        try:
            want = next(gen)
            while True:
                try:
                    ready = self._step(want)
                except BaseException:
                    # Not only Ctrl-C: a signal's handler may raise what it likes.
                    self._interrupt(gen)
                    raise
                want = gen.send(ready)
        except StopIteration as stop:
            result: _T = stop.value
            return result
        except psycopg.Error:
            if (failure := self._failure) is not None:
                self._failure = None
                raise failure from None
            raise
        except BaseException:
            self._abandon()
            raise

    def _step(self, want: Wait) -> Ready:
        """Do what libpq waits for."""
        link = self._loopback
        assert link is not None
        if self._undelivered or link.hung_up:
            self._deliver(link)
            return Ready.R
        if want != Wait.R:
            # libpq has more to write than fits, or does not wait for the answer yet.
            self._unsent += link.take()
            if len(self._unsent) > _COPY_BYTES and self._unsent[0] == _COPY_DATA:
                self._forward_copy(link)
            return Ready.W
        exchange = self._exchange
        try:
            if exchange.inflight:
                answer = exchange.receive()
            else:
                data = link.take()
                if self._unsent:
                    data = bytes(self._unsent + data)
                    self._unsent.clear()
                if data:
                    answer = exchange.submit(data)
                elif link.unread:
                    return Ready.R
                else:
                    answer = exchange.poll(_POLL_SECONDS)
        except ExchangeFailed as exc:
            self._failed(link, exc)
        else:
            if answer:
                self._undelivered = link.give(answer)
        return Ready.R

    def _deliver(self, link: loopback.Loopback) -> None:
        """Let libpq read more of what it was to be told."""
        self._undelivered = link.give(self._undelivered)
        if self._ending and not self._undelivered:
            link.hang_up()

    def _forward_copy(self, link: loopback.Loopback) -> None:
        """Send on the whole messages of a COPY, so that memory stays bounded."""
        data = bytes(self._unsent)
        whole = whole_messages(data)
        self._unsent = bytearray(data[whole:])
        try:
            if answer := self._exchange.submit(data[:whole]):
                self._undelivered = link.give(answer)
        except ExchangeFailed as exc:
            self._failed(link, exc)

    def _failed(self, link: loopback.Loopback, failed: ExchangeFailed) -> None:
        """Tell libpq of the failure; what psycopg then raises gives way to it."""
        self._failure = failed.error
        self._unsent.clear()
        self._undelivered = failed.answer
        self._ending = failed.broken
        self._deliver(link)

    def _interrupt(self, gen: PQGen[Any]) -> None:
        """Ctrl-C: give up what runs, and let libpq read that until it is ready again."""
        link = self._loopback
        if link is None or self._undelivered:
            self.close()
            return
        try:
            link.take()
            self._failed(link, self._exchange.interrupt())
            for _ in range(_READS_WHEN_INTERRUPTED):
                gen.send(Ready.R)
            self.close()
        except (StopIteration, psycopg.Error):
            self._failure = None
        except BaseException:
            self.close()
            raise

    def _abandon(self) -> None:
        """What psycopg did ended with an exception, of a dumper or a signal's handler.

        If libpq waits for an answer, nobody is left to read it. In a pipeline psycopg
        goes on by itself, as on a direct connection.
        """
        link = self._loopback
        if link is not None and link.stuck:
            self.close()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Let a statement in the block that writes rows end its transaction with COMMIT.

        Until ``commit`` or ``rollback`` is called, which then have nothing to do, the
        connection takes no further statement: it would be another transaction's. So it is
        not for a block of psycopg's ``transaction()``, which calls neither.
        """
        self._exchange.commits = True
        try:
            yield
        finally:
            self._exchange.commits = False

    def commit(self) -> None:
        """Commit, unless a statement has done so in `committing`."""
        super().commit()
        self._exchange.end_transaction()

    def rollback(self) -> None:
        """Roll back what no statement has committed in `committing`."""
        super().rollback()
        self._exchange.end_transaction()

    def cancel(self) -> None:
        """Cancel the statement that runs, from any thread."""
        if not self.closed:
            self._exchange.cancel()

    def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ARG002 - bounded by the client
        """Cancel the statement that runs, from any thread."""
        self.cancel()

    def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> Generator[psycopg.Notify]:
        """Yield notifications as they arrive; see psycopg.

        Args:
            timeout: how long to wait, in seconds; None is for ever.
            stop_after: how many to return at least before stopping.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        received = 0
        while True:
            while self._notified:
                yield self._notified.popleft()
                received += 1
            if stop_after is not None and received >= stop_after:
                return
            left = _POLL_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            with self.lock:
                self._listen(min(left, _POLL_SECONDS))

    @contextmanager
    def lent(self) -> Iterator[Relay]:
        """Let a program of PostgreSQL speak on this connection, in the open transaction.

        The relay is where the program connects to. Until the end of the block nothing else
        may use this connection; what the program has set stays set, and if it failed,
        only closing is safe.
        """
        # The program is another thread's, which knows nothing of the running work.
        self._exchange.permit()
        turn = threading.Lock()

        @contextmanager
        def exchange() -> Iterator[Exchange]:
            with turn:
                yield self._exchange

        with Relay(exchange) as relay:
            yield relay

    def add_notify_handler(self, callback: Callable[[psycopg.Notify], None]) -> None:
        """Call *callback* with each notification that is received."""
        self._on_notify.append(callback)

    def remove_notify_handler(self, callback: Callable[[psycopg.Notify], None]) -> None:
        """No longer call *callback*."""
        self._on_notify.remove(callback)

    def receive_notify(self, arrived: pq.PGnotify) -> None:
        """Pass on a notification that libpq has read."""
        notify = psycopg.Notify(arrived.relname.decode(), arrived.extra.decode(), arrived.be_pid)
        if not self._on_notify:
            self._notified.append(notify)
        for callback in self._on_notify:
            callback(notify)

    def _listen(self, limit: float) -> None:
        """Let libpq read what arrives unasked within *limit* seconds."""
        link = self._loopback
        if link is None:
            time.sleep(limit)
            return
        try:
            link.give(self._exchange.poll(limit))
        except ExchangeFailed as exc:
            link.give(exc.answer)
            link.hang_up()
            if exc.error is not None:
                raise exc.error from None
        self.pgconn.consume_input()
        while notify := self.pgconn.notifies():
            if (handler := self.pgconn.notify_handler) is not None:
                handler(notify)

    def close(self) -> None:
        """Close the connection; what is open is rolled back."""
        self._close(reuse=True)

    def _close(self, *, reuse: bool) -> None:
        if self._shut:
            return
        if self._loopback is not None and self._loopback.inherited:
            self._exchange.disown()
        self._exchange.close()
        _loopbacks.forget(self)
        self.detach()
        link, self._loopback = self._loopback, _closed_loopback()
        self._shut = True
        if link is not None and not link.inherited:
            if reuse and self._clean(link):
                loopback.give_back(link)
            else:
                link.close()
        self._unsent.clear()
        self._undelivered = b""

    def park(self) -> bool:
        """Give the loopback back if this connection is idle; return whether it did."""
        link = self._loopback
        if link is None:
            return True
        if self.busy:
            return False
        self.detach()
        if not link.reusable or not self._clean(link):
            self.pgconn = link.pgconn
            return False
        self._loopback = None
        loopback.give_back(link)
        return True

    def _unpark(self) -> pq.abc.PGconn:
        self._loopback = link = loopback.borrow(self._database, self._parameters)
        self._attach(link)
        return link.pgconn

    def _after_fork(self) -> pq.abc.PGconn:
        """Leave the parent's loopback and session to the parent."""
        if self._exchange.disown() and not self._shut:
            return self._unpark()
        # The parent is in the middle of something that cannot be shared.
        self._loopback = _closed_loopback()
        return self._loopback.pgconn

    def _clean(self, link: loopback.Loopback) -> bool:
        if self._unsent or self._undelivered or self.busy or link.hung_up:
            return False
        return not link.take()

    def __del__(self, _warn: Any = None) -> None:
        # It holds nothing that anybody else waits for, so there is nothing to warn of.
        # The loopback may be garbage as well, and finalised next: nobody must get it.
        if not getattr(self, "_shut", True):
            self._close(reuse=False)


class _Loopbacks(threading.local):
    """The connections of this thread that keep a loopback, least recently made first."""

    def __init__(self) -> None:
        self._connections: OrderedDict[int, Any] = OrderedDict()

    def keep(self, connection: Connection[Any]) -> None:
        """Note that *connection* has one; take it from others that are idle."""
        self._connections[id(connection)] = weakref.ref(connection)
        if len(self._connections) <= _LOOPBACKS_PER_THREAD:
            return
        for key, reference in list(self._connections.items()):
            other = reference()
            if other is connection:
                continue
            if other is None or other.park():
                del self._connections[key]
            if len(self._connections) <= _LOOPBACKS_PER_THREAD:
                return

    def forget(self, connection: Connection[Any]) -> None:
        """Note that *connection* has none any more."""
        self._connections.pop(id(connection), None)


_loopbacks = _Loopbacks()


@functools.cache
def _closed_loopback() -> loopback.Loopback:
    """Return a loopback that is closed, for connections that are."""
    closed = loopback.Loopback("closed", {})
    closed.close()
    return closed


def connect(
    locator: Locator,
    *,
    database: str,
    settings: Mapping[str, str] | None = None,
    autocommit: bool = False,
    context: AdaptContext | None = None,
    cursor_factory: type[psycopg.Cursor[Any]] | None = None,
    prepare_threshold: int | None = None,
    connect_timeout: float = 5.0,
    statement_timeout: float = 0.0,
) -> Connection[TupleRow]:
    """Connect to the target that *locator* finds.

    Args:
        locator: finds the shard, before each transaction.
        database: what ``connection.info.dbname`` is to say.
        settings: parameters in force for each statement, such as TimeZone.
        autocommit: see psycopg.
        context: its adapters are used; see psycopg.
        cursor_factory: see psycopg.
        prepare_threshold: see psycopg.
        connect_timeout: how long to try to reach the shard server, in seconds.
        statement_timeout: bounds each statement, in seconds; zero leaves it to the server.

    Raises:
        ShardUnavailable: naming the shard and its address.
        TenantError: if there is no such tenant, or it is not active.
    """
    exchange = Exchange(
        locator,
        tuple((settings or {}).items()),
        connect_timeout=connect_timeout,
        statement_timeout=statement_timeout,
    )
    connection: Connection[TupleRow] = Connection(exchange, database)
    if autocommit:
        connection.autocommit = autocommit
    connection.prepare_threshold = prepare_threshold
    if context is not None:
        connection.use_adapters(context.adapters)
    if cursor_factory is not None:
        connection.cursor_factory = cursor_factory
    return connection
