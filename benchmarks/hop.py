"""``python -m benchmarks.hop PORT SOCKET``: a hop that does nothing.

What arrives on the port of the loopback address goes on to the unix socket, and back, by
uvloop, as in a shard server. So it is the least that a program in Python between an
application and PostgreSQL can cost: two more wake-ups, and their system calls.
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One side of a connection; what it receives is written to the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Near(_Side):
    """The application's side, which opens the far one."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, far = await loop.create_unix_connection(_Side, self._path)
        far.other, self.other = self, far
        if self.early and far.transport is not None:
            far.transport.write(b"".join(self.early))


async def _serve(port: int, path: str) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Near(path), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
