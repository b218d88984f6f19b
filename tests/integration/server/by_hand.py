"""Sessions spoken by hand: by grpcio, an HTTP/2 that is not ours, and by a bare socket."""

import contextlib
import queue
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire.grpc_stream import ONE_CALL_HEADER, ClientStream
from mtdd_router.wire.status import Status, StatusCode

PATH = "/mtdd.v1.ShardService/Session"


def _serialize(item: pb.SessionRequest | bytes) -> bytes:
    return item if isinstance(item, bytes) else item.SerializeToString()


class Requests:
    """The requests of one session, numbered; the first one names the tenant.

    An empty name stands for the whole database.
    """

    def __init__(self, tenant: str) -> None:
        self._tenant: str | None = tenant
        self.serial = 0

    def next(self, **payload: Any) -> pb.SessionRequest:
        self.serial += 1
        request = pb.SessionRequest(serial=self.serial, **payload)
        if self._tenant:
            request.context.target.tenant.name = self._tenant
            request.context.target.tenant.epoch = 1
        elif self._tenant is not None:
            request.context.target.database = ""
        self._tenant = None
        return request


class Session:
    """A session that grpcio carries.

    *marked*: it promises that its connection carries nothing else, as our own client does,
    so that the shard server carries it without grpcio.
    """

    def __init__(
        self,
        address: str,
        tenant: str,
        *,
        marked: bool = False,
        token: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        metadata = [ONE_CALL_HEADER] if marked else []
        if token:
            metadata.append(("authorization", f"Bearer {token}"))
        start = self._channel.stream_stream(
            PATH,
            request_serializer=_serialize,
            response_deserializer=pb.SessionResponse.FromString,
        )
        self._queue: queue.Queue[pb.SessionRequest | bytes | None] = queue.Queue()
        self.call = start(iter(self._queue.get, None), timeout=60, metadata=metadata)
        self._requests = Requests(tenant)
        try:
            self.hello = next(self.call).hello
        except BaseException:
            self.close()
            raise

    @property
    def serial(self) -> int:
        return self._requests.serial

    def send(self, **payload: Any) -> None:
        self._queue.put(self._requests.next(**payload))

    def send_raw(self, message: bytes) -> None:
        self._queue.put(message)

    def receive(self) -> pb.SessionResponse:
        response: pb.SessionResponse = next(self.call)
        return response

    def run(self, statement: str, begin: str = "") -> pb.SessionResponse:
        """Run a statement; return its whole answer."""
        self.send(statement=statement.encode(), begin=begin)
        return self.answer()

    def answer(self) -> pb.SessionResponse:
        """Return the parts of an answer as one."""
        parts = [self.receive()]
        while not parts[-1].complete:
            parts.append(self.receive())
        parts[-1].messages = b"".join(part.messages for part in parts)
        return parts[-1]

    def end(self) -> None:
        """Say that no more requests come."""
        self._queue.put(None)

    def close(self) -> None:
        self._queue.put(None)
        self._channel.close()


@contextlib.contextmanager
def session(address: str, tenant: str, **options: Any) -> Iterator[Session]:
    opened = Session(address, tenant, **options)
    try:
        yield opened
    finally:
        opened.close()


class BareSession:
    """A marked session on a bare socket, which does no more than it is told."""

    def __init__(self, address: str, tenant: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self._stream = ClientStream(PATH, authority="test", metadata=[ONE_CALL_HEADER])
        self._requests = Requests(tenant)
        self._messages: list[bytes] = []
        try:
            self._write()
            self.receive()
        except BaseException:
            self.close()
            raise

    def send(self, **payload: Any) -> None:
        self.socket.sendall(self.encoded(**payload))

    def send_raw(self, message: bytes) -> None:
        self.socket.sendall(self._stream.message(message))

    def finish(self) -> StatusCode:
        """Say that no more requests come, read what is left, and return how it ended."""
        self._stream.end()
        self._write()
        self.wait(lambda: self._stream.status is not None)
        assert self._stream.status is not None
        return self._stream.status.code

    def encoded(self, **payload: Any) -> bytes:
        return self._stream.message(self._requests.next(**payload).SerializeToString())

    @property
    def going_away(self) -> bool:
        return self._stream.going_away

    @property
    def status(self) -> Status | None:
        return self._stream.status

    def wait(self, condition: Callable[[], bool]) -> None:
        """Read until *condition* holds."""
        while not condition():
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._messages += self._stream.receive(data)
            self._write()

    def receive(self) -> pb.SessionResponse:
        self.wait(lambda: bool(self._messages))
        return pb.SessionResponse.FromString(self._messages.pop(0))

    def run(self, statement: str, begin: str = "") -> pb.SessionResponse:
        self.send(statement=statement.encode(), begin=begin)
        return self.receive()

    def _write(self) -> None:
        while data := self._stream.outgoing():
            self.socket.sendall(data)

    def give_up(self) -> None:
        """Send RST_STREAM, and leave the connection open."""
        self._stream.reset()
        self._write()

    def close(self, *, reset: bool = False) -> None:
        """Close the socket; with *reset* as a crash does, without a goodbye."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()
