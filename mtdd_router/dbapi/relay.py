"""A PostgreSQL server on a unix socket whose statements run on a shard.

It is for programs that speak PostgreSQL's protocol and nothing else, such as
psql. The socket lies in a folder that only the user who made it can enter, so
no password is asked for. Each connection of the program is an exchange of its own.

Source: PostgreSQL manual, "Message Flow", protocol 3.
"""

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mtdd_router.client.exchange import Exchange, ExchangeFailed
from mtdd_router.dbapi.socket_folder import socket_folder
from mtdd_router.dbapi.startup import Cancel, Startup, read_startup
from mtdd_router.errors import MTDDError
from mtdd_router.wire.backend import error_response, startup_answer
from mtdd_router.wire.framing import compose, messages, whole_messages

__all__ = ["Relay"]

_CHUNK_BYTES: Final = 1 << 18
_END_SECONDS: Final = 5.0
_TERMINATE: Final = b"X"
# After these a frontend waits for an answer.
_ENDS: Final = frozenset((b"Q", b"S", b"H"))
_COPY: Final = frozenset((b"d", b"c", b"f"))


class Relay:
    """The server; as a context manager, listening inside the block.

    Args:
        open_exchange: gives the exchange of a new connection, and closes it; it is
            used in a thread of its own.

    Attributes:
        folder: what a program is to be given as its host.
        port: what it is to be given as its port.
    """

    port: Final = 5432

    def __init__(self, open_exchange: Callable[[], AbstractContextManager[Exchange]]) -> None:
        self._open_exchange = open_exchange
        self._cleanup = contextlib.ExitStack()
        self._exchanges: dict[bytes, Exchange] = {}
        self._threads: list[threading.Thread] = []
        self._ending = False
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(self._cleanup.enter_context(socket_folder()))
        listener = self._cleanup.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(self.folder / f".s.PGSQL.{self.port}"))
        listener.listen()
        self._cleanup.callback(self._end)
        self._start(self._listen, listener)
        self._cleanup.callback(self._stop_listening, listener)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def _start(self, run: Callable[[socket.socket], None], on: socket.socket) -> None:
        thread = threading.Thread(target=run, args=[on], daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stop_listening(self, listener: socket.socket) -> None:
        """Wake the thread that waits for a connection; shutdown() would do so on Linux only."""
        self._ending = True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
            knock.connect(listener.getsockname())

    def _end(self) -> None:
        """Cancel what still runs, for a program that was killed, and wait for the threads."""
        for exchange in list(self._exchanges.values()):
            exchange.cancel()
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def _listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                if self._ending:
                    peer.close()
                    return
                self._start(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        # The program went away, or this relay did.
        with peer, contextlib.suppress(OSError):
            match read_startup(peer):
                case Cancel(key):
                    if (exchange := self._exchanges.get(key)) is not None:
                        exchange.cancel()
                case Startup():
                    self._converse(peer)

    def _converse(self, peer: socket.socket) -> None:
        # The first four bytes are a process id, of which zero is none.
        key = b"\0\0\0\1" + secrets.token_bytes(4)
        with self._open_exchange() as exchange:
            try:
                parameters = exchange.open()
            except MTDDError as exc:
                peer.sendall(error_response("08001", str(exc), severity="FATAL"))
                return
            self._exchanges[key] = exchange
            try:
                peer.sendall(startup_answer(parameters, key))
                for data in _requests(peer):
                    _answer(exchange, data, peer)
            except ExchangeFailed as exc:
                peer.sendall(exc.answer)
            finally:
                del self._exchanges[key]


def _requests(peer: socket.socket) -> Iterator[bytes]:
    """Yield what the program sends, each time up to where it waits for an answer."""
    buffer = bytearray()
    pending = bytearray()
    while chunk := peer.recv(_CHUNK_BYTES):
        buffer += chunk
        size = whole_messages(buffer)
        whole, buffer = bytes(buffer[:size]), buffer[size:]
        for kind, body in messages(whole):
            if kind == _TERMINATE:
                return
            pending += compose(kind, body)
            if kind in _ENDS:
                yield bytes(pending)
                pending.clear()
        if pending and kind in _COPY:
            yield bytes(pending)
            pending.clear()


def _answer(exchange: Exchange, data: bytes, peer: socket.socket) -> None:
    """Pass *data* on, and all of its answer back.

    Raises:
        ExchangeFailed: if the connection is lost.
    """
    try:
        answer = exchange.submit(data)
        while exchange.inflight:
            peer.sendall(answer)
            answer = exchange.receive()
    except ExchangeFailed as exc:
        if exc.broken:
            raise
        answer = exc.answer
    peer.sendall(answer)
