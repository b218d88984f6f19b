"""What idle sessions cost a shard server: ``python -m benchmarks.idle [--sessions 2000]``.

Each has opened a connection and run one statement, as a borrowed session has. Counted is
what the server's process grew by, and what the kernel keeps for its sockets is not.
"""

import argparse
import socket
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.servers import Shard, started
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire.grpc_stream import ONE_CALL_HEADER, ClientStream

_ROOT = Path(__file__).resolve().parent.parent
_PATH = "/mtdd.v1.ShardService/Session"
_WARM = 100


class _Session:
    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._stream = ClientStream(_PATH, authority="benchmark", metadata=[ONE_CALL_HEADER])
        self._answer()
        request = pb.SessionRequest(serial=1, statement=b"SELECT 1")
        request.context.target.database = ""
        self._socket.sendall(self._stream.message(request.SerializeToString()))
        self._answer()

    def _answer(self) -> None:
        messages: list[bytes] = []
        while not messages:
            while data := self._stream.outgoing():
                self._socket.sendall(data)
            messages = self._stream.receive(self._socket.recv(1 << 16))

    def close(self) -> None:
        self._socket.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle")
    parser.add_argument("--sessions", type=int, default=2000)
    count = parser.parse_args().sessions
    with started() as postgres:
        dsn = postgres.create_shard_database("idle")
        with Shard(dsn, root=_ROOT) as shard:
            process = psutil.Process(shard.pid)
            sessions = [_Session(shard.address) for _ in range(_WARM)]
            before = process.memory_info().rss
            sessions += [_Session(shard.address) for _ in range(count)]
            grown = process.memory_info().rss - before
            for session in sessions:
                session.close()
    Console().print(
        f"{count:,} idle sessions: {grown / count / 1024:.1f} KiB of the server's memory each"
    )


if __name__ == "__main__":
    main()
