"""Requests that no client of ours would send: in a wrong order, cut, mangled, without end.

``pytest --noise=20000 tests/integration/server/test_malformed.py`` tries that many sessions.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from statistics import median

import pytest

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.types import Placement
from mtdd_router.wire.status import StatusCode
from tests.integration.server.by_hand import BareSession, session
from tests.integration.server.running import RunningServer

MEBIBYTE = 1 << 20
IDLE = 5000
NAMES = (b"", b"a", b"b", b"mtdd_switch", b"\0", b"x" * 70, b"\xff", b"\xc3\xa9")
STATEMENTS = (
    b"SELECT 1",
    b"SELECT $1::int, $2::text",
    b"SELECT 1; SELECT 2",
    b"SELECT * FROM generate_series(1, 1000)",
    b"SELECT 1/0",
    b"INSERT INTO t VALUES (1)",
    b"COPY t FROM STDIN",
    b"COPY t TO STDOUT",
    b"DECLARE a CURSOR WITH HOLD FOR SELECT 1",
    b"PREPARE a AS SELECT 1",
    b"CREATE TEMP TABLE IF NOT EXISTS own (id int)",
    b"LISTEN a",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"SAVEPOINT a",
    b"RESET ROLE",
    b"SELECT 'no end",
    b"",
    b"\xff\0",
)
BEGINS = ("", "", "", "BEGIN", "BEGIN READ ONLY", "SELECT 1", "BEGIN; SELECT 1", "é")
TENANTS = ("abc", "abc", "abc", "", "nobody", "ABC", "x" * 100)


class Noise:
    """Requests at random, from *seed*."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def requests(self) -> Iterator[bytes]:
        """Yield the messages of one session, as bytes."""
        choice = self._random
        messages = [self._request(number).SerializeToString() for number in range(1, 6)]
        if choice.random() < 0.3:
            choice.shuffle(messages)
        for message in messages[: choice.randint(1, 5)]:
            yield self._mangled(message) if choice.random() < 0.3 else message

    def _request(self, number: int) -> pb.SessionRequest:
        choice = self._random
        request = pb.SessionRequest(serial=choice.choice((number, number, number, 0, 1 << 63)))
        request.begin = choice.choice(BEGINS)
        request.timeout_ms = choice.choice((0, 1, 500, 1000))
        if number == 1 or choice.random() < 0.2:
            self._fill(request.context)
        kind = choice.choice(("statement", "batch", "batch", "batch", "copy", "poll", ""))
        if kind == "statement":
            request.statement = choice.choice(STATEMENTS)
        elif kind == "batch":
            for _ in range(choice.randint(0, 8)):
                request.batch.messages.append(self._message())
        elif kind == "copy":
            request.copy.data = choice.choice((b"", b"1\n", b"\\.\n", b"x" * 10_000))
            request.copy.done = choice.random() < 0.5
            request.copy.failure = choice.choice(("", "", "no\0more"))
        elif kind == "poll":
            request.poll.SetInParent()
            request.timeout_ms = choice.choice((1, 50))
        return request

    def _fill(self, context: pb.Context) -> None:
        choice = self._random
        if choice.random() < 0.1:
            return
        context.target.tenant.name = choice.choice(TENANTS)
        context.target.tenant.epoch = choice.choice((0, 1, 1, 1, -1, (1 << 63) - 1))
        context.target.tenant.maintenance = choice.random() < 0.1
        if choice.random() < 0.2:
            name = choice.choice(("TimeZone", "role", "search_path", "a.b", "", "no\0", "é" * 99))
            context.settings.add(name=name, value=choice.choice(("UTC", "", "none", "'", "\0")))

    def _message(self) -> pb.BatchMessage:
        choice = self._random
        name = choice.choice(NAMES)
        numbers = [choice.choice((0, 1, 2, 23, (1 << 32) - 1)) for _ in range(choice.randint(0, 3))]
        return choice.choice(
            (
                pb.BatchMessage(
                    parse=pb.Parse(
                        name=name, statement=choice.choice(STATEMENTS), parameter_types=numbers
                    )
                ),
                pb.BatchMessage(
                    bind=pb.Bind(
                        portal=choice.choice(NAMES),
                        name=name,
                        parameter_formats=numbers,
                        parameters=[pb.Parameter(value=b"1"), pb.Parameter()][: len(numbers)],
                        result_formats=numbers,
                    )
                ),
                pb.BatchMessage(describe=pb.Describe(portal=choice.random() < 0.5, name=name)),
                pb.BatchMessage(execute=pb.Execution(portal=name, max_rows=choice.choice((0, 1)))),
                pb.BatchMessage(close=pb.Close(portal=choice.random() < 0.5, name=name)),
                pb.BatchMessage(sync=pb.Sync()),
                pb.BatchMessage(flush=pb.Flush()),
                pb.BatchMessage(),
            )
        )

    def _mangled(self, message: bytes) -> bytes:
        choice = self._random
        data = bytearray(message)
        for _ in range(choice.randint(1, 4)):
            place = choice.randint(0, len(data))
            action = choice.randint(0, 3)
            if action == 0:
                del data[place:]
            elif action == 1:
                data[place:place] = choice.randbytes(choice.randint(1, 20))
            elif action == 2:
                data[place : place + 1] = choice.randbytes(1)
            else:
                # A field of a later version, and one that is longer than what follows.
                data += choice.choice(
                    (b"\xfa\x07\x03abc", b"\x2a\xff\xff\xff\xff\x0fx", b"\x78\x63")
                )
        return bytes(data)


@pytest.fixture
def tenant(
    shared_admin: ShardAdmin,
    shared_server: RunningServer,
    new_placement: Callable[..., Placement],
) -> Placement:
    placement = shared_admin.create_namespace(new_placement("abc"))
    with session(shared_server.address, "abc") as mine:
        assert b"CREATE TABLE" in mine.run("CREATE TABLE t (id int)").messages
    return placement


def memory(server: RunningServer) -> int:
    """Return how much the server's process holds, in bytes."""
    return int(server.worker.memory_info().rss)


def test_noise_is_answered_or_ends_with_a_status_and_disturbs_nobody(
    shared_server: RunningServer, tenant: Placement, noise: int
) -> None:
    log = shared_server.log.stat().st_size
    statuses = set()
    for seed in (random.randrange(1 << 32) for _ in range(noise)):
        mine = BareSession(shared_server.address, "")
        with contextlib.closing(mine):
            mine.socket.settimeout(20)
            try:
                for message in Noise(seed).requests():
                    mine.send_raw(message)
                statuses.add(mine.finish())
            except (EOFError, TimeoutError) as exc:
                pytest.fail(f"seed {seed}: no status, but {exc!r}")
            # The server ends the connection with the stream that it has refused.
            except ConnectionError:
                continue
    assert StatusCode.OK in statuses
    with session(shared_server.address, "abc", marked=True) as other:
        assert b"SELECT 1" in other.run("SELECT 1").messages
    written = shared_server.log.read_text()[log:]
    assert "Traceback" not in written, written[-3000:]
    before = memory(shared_server)
    for seed in range(noise // 2):
        with contextlib.closing(BareSession(shared_server.address, "")) as mine:
            with contextlib.suppress(ConnectionError):
                for message in Noise(seed).requests():
                    mine.send_raw(message)
    assert memory(shared_server) - before < 16 * MEBIBYTE


def test_a_statement_that_cannot_be_sent_keeps_no_backend_connection(
    shared_server: RunningServer, shared_admin: ShardAdmin, tenant: Placement
) -> None:
    with session(shared_server.address, "abc", marked=True) as mine:
        for _ in range(3):
            assert b"SELECT 1" in mine.run("SELECT 1").messages
            refused = mine.run("SELECT 1\0")
            assert refused.error.reason == pb.REASON_INVALID_REQUEST
        assert shared_admin.info().pool_busy == 0


def test_idle_streams_by_the_thousand_slow_nobody_down(
    shared_server: RunningServer, tenant: Placement
) -> None:
    def pace() -> float:
        with session(shared_server.address, "abc", marked=True) as mine:
            times = []
            for _ in range(200):
                started = time.perf_counter()
                mine.run("SELECT 1")
                times.append(time.perf_counter() - started)
        return median(times)

    pace()
    before, memory_before = pace(), memory(shared_server)
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(contextlib.closing(BareSession(shared_server.address, "abc")))
        during = pace()
        grown = memory(shared_server) - memory_before
    print(f"{before * 1e6:.0f} us before, {during * 1e6:.0f} during, {grown / MEBIBYTE:.0f} MiB")
    assert grown < IDLE * 60 * 1024
