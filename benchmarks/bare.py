"""``python -m benchmarks.bare``: a shard server that passes statements on, and does nothing else.

It speaks to the client as a shard server does, and has a PostgreSQL connection for each
session, which it sets to another tenant in the statement's own query. It checks neither
caller nor tenant nor statement, shares nothing, cancels nothing, and does not know what
became of a statement. So it is the least that messages of gRPC between two sockets can cost
in Python: what is beyond it is the shard server's own work.
"""

import argparse
import asyncio
import os
from typing import Final, cast

import psycopg
import uvloop
from psycopg.conninfo import make_conninfo

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.postgres.dsn import Dsn
from mtdd_router.server.postgres.startup import start
from mtdd_router.server.requests import begin_messages
from mtdd_router.wire import frontend
from mtdd_router.wire.backend import command_complete, ready_for_query
from mtdd_router.wire.grpc_stream import ServerStream

_SETTINGS: Final = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_READY: Final = ready_for_query(b"I")[:-1]
# To the Parse, Bind and Execute of a BEGIN, and to a switch.
_BEGUN: Final = b"1\0\0\0\4" + b"2\0\0\0\4" + command_complete(b"BEGIN")
_SWITCHED: Final = command_complete(b"SET") * 2


class _Session(asyncio.Protocol):
    """The client's side of a session."""

    _transport: asyncio.Transport
    _backend: "_Backend"
    _opening: asyncio.Task[None]

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stream = ServerStream()
        self._accepted = False
        self._switches: dict[str, bytes] = {}
        self._tenant = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_SETTINGS)

    def data_received(self, data: bytes) -> None:
        for message in self._stream.receive(data):
            request = pb.SessionRequest.FromString(message)
            statement, before = request.statement, b""
            tenant = request.context.target.tenant.name or self._tenant
            if tenant != self._tenant:
                statement = self._switches[tenant] + statement
                before, self._tenant = _SWITCHED, tenant
            query = frontend.simple_query(statement)
            if request.begin:
                query, before = begin_messages(request.begin) + query, _BEGUN + before
            self._backend.ask(query, before)
        if not self._accepted and self._stream.metadata is not None:
            self._accepted = True
            self._opening = asyncio.get_running_loop().create_task(self._open())
        self._flush()

    def answer(self, messages: bytes) -> None:
        """Pass an answer on."""
        response = pb.SessionResponse(messages=messages, complete=True)
        self._transport.write(self._stream.message(response.SerializeToString()))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._accepted:
            self._backend.ask(frontend.TERMINATE, b"")

    async def _open(self) -> None:
        with psycopg.connect(self._dsn) as connection:
            rows = connection.execute("SELECT tenant, namespace, role FROM mtdd.placement")
            for tenant, namespace, role in rows:
                switch = f'SET search_path = "{namespace}"; SET ROLE "{role}"; '
                self._switches[tenant] = switch.encode()
        dsn = Dsn.parse(self._dsn)
        started = await start(dsn, dsn.database, {})
        self._backend = _Backend(self, started.writer)
        hello = pb.Hello(session_id="bare")
        for name, value in started.parameters.items():
            hello.parameters.add(name=name, value=value)
        self._stream.accept()
        self._flush()
        message = pb.SessionResponse(hello=hello).SerializeToString()
        self._transport.write(self._stream.message(message))

    def _flush(self) -> None:
        while data := self._stream.outgoing():
            self._transport.write(data)


class _Backend(asyncio.Protocol):
    """PostgreSQL's side."""

    def __init__(self, session: _Session, writer: asyncio.StreamWriter) -> None:
        self._session = session
        # It closes its transport when it is collected.
        self._writer = writer
        self._received = self._before = b""
        self._transport = cast(asyncio.Transport, writer.transport)
        self._transport.set_protocol(self)

    def ask(self, messages: bytes, before: bytes) -> None:
        """Send *messages*; the client is not told the part *before* of the answer."""
        self._before = before
        self._transport.write(messages)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received[-6:-1] == _READY:
            answer, self._received = self._received, b""
            self._session.answer(answer.removeprefix(self._before))


async def _serve(address: str, dsn: str) -> None:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Session(dsn), host, int(port))
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="where to listen, HOST:PORT")
    given, _ = parser.parse_known_args()
    uvloop.run(_serve(given.address, make_conninfo(os.environ["MTDD_SHARD_DSN"])))
