"""The row about sessions that idle: as many as PgBouncer holds, and what each costs.

What the kernel keeps for sockets is not counted.
"""

import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from benchmarks.candidates import ROOT
from benchmarks.figures import Check, Result
from benchmarks.middle import PgBouncer
from benchmarks.rows.row import Row, in_turns
from benchmarks.servers import Shard
from benchmarks.world import World
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.wire.grpc_stream import ONE_CALL_HEADER, ClientStream

__all__ = ["Held"]

_PATH = "/mtdd.v1.ShardService/Session"
_BACKENDS = 20
_WARM = 100
_MOST_KB = 60.0


@dataclass(frozen=True)
class Held(Row):
    """So many *sessions* at once, each of which runs a statement now and then."""

    sessions: int

    def measure(self, world: World, rounds: int) -> Result:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        result = Result(self.number, self.title)
        held: dict[str, list[float]] = {"ours": [], "PgBouncer": []}
        cost: dict[str, list[float]] = {"ours": [], "PgBouncer": []}
        for number in range(rounds):
            for name in in_turns(tuple(held), number):
                measure = self._ours if name == "ours" else self._theirs
                found, kilobytes = measure(world, number)
                held[name].append(found)
                cost[name].append(kilobytes)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        least = min(held["PgBouncer"])
        result.checks += [
            Check("sessions held and answered", held["ours"], least=least, unit=""),
            Check("memory of ours, each", cost["ours"], most=_MOST_KB, unit="KB"),
            Check("memory of PgBouncer, each", cost["PgBouncer"], unit="KB"),
        ]
        return result

    def _ours(self, world: World, number: int) -> tuple[int, float]:
        database = f"held{number}"
        dsn = world.postgres.create_shard_database(database)
        with Shard(dsn, root=ROOT, pool=_BACKENDS) as shard:
            return self._hold(shard.pid, lambda: _Session(shard.address))

    def _theirs(self, world: World, _: int) -> tuple[int, float]:
        with PgBouncer(world.postgres, "postgres", "public", pool=_BACKENDS) as bouncer:
            dsn = f"host=127.0.0.1 port={bouncer.port} user=postgres dbname=postgres"
            return self._hold(bouncer.pid, lambda: _Connection(dsn))

    def _hold(self, pid: int, open_one: Callable[[], Any]) -> tuple[int, float]:
        """Return how many sessions answer while all are open, and the kilobytes of each."""
        process = psutil.Process(pid)
        with ExitStack() as stack:
            for _ in range(_WARM):
                stack.callback(open_one().close)
            before = _resident(process)
            sessions = []
            for _ in range(self.sessions):
                session = open_one()
                stack.callback(session.close)
                sessions.append(session)
            grown = _resident(process) - before
            answered = sum(session.ask() for session in sessions)
        return answered, grown / self.sessions / 1024


def _resident(process: psutil.Process) -> int:
    total: int = process.memory_info().rss
    return total + sum(child.memory_info().rss for child in process.children(recursive=True))


class _Connection:
    """A session of PgBouncer's."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        self.ask()

    def ask(self) -> bool:
        """Run a statement; return whether it was answered."""
        return self._connection.execute("SELECT 1").fetchone() == (1,)

    def close(self) -> None:
        self._connection.close()


class _Session:
    """A session of ours, without a client's own memory."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._stream = ClientStream(_PATH, authority="benchmark", metadata=[ONE_CALL_HEADER])
        self._serial = 0
        self._answer()
        self.ask()

    def ask(self) -> bool:
        """Run a statement; return whether it was answered."""
        self._serial += 1
        request = pb.SessionRequest(serial=self._serial, statement=b"SELECT 1")
        if self._serial == 1:
            request.context.target.database = ""
        self._socket.sendall(self._stream.message(request.SerializeToString()))
        response = pb.SessionResponse.FromString(self._answer())
        return response.complete and not response.HasField("error")

    def _answer(self) -> bytes:
        messages: list[bytes] = []
        while not messages:
            while data := self._stream.outgoing():
                self._socket.sendall(data)
            messages = self._stream.receive(self._socket.recv(1 << 16))
        return messages[0]

    def close(self) -> None:
        self._socket.close()
