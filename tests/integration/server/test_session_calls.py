"""The Session call, as a client sees it, whoever carries it on the server.

*marked* sessions are carried by the server itself, the others by grpcio behind it. The
client is grpcio either way, which knows nothing of our own HTTP/2.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest
from psycopg import sql

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.types import Placement
from tests.integration.server.by_hand import BareSession, session
from tests.integration.server.running import RunningServer, StartServer, wait_until

NewPlacement = Callable[..., Placement]
MEBIBYTE = 1 << 20


@pytest.fixture(params=[True, False], ids=["own", "grpc"])
def marked(request: pytest.FixtureRequest) -> bool:
    """Whether the session is carried by the server itself."""
    return bool(request.param)


@pytest.fixture
def tenant(shared_admin: ShardAdmin, new_placement: NewPlacement) -> Placement:
    """A tenant of ``shared_server``."""
    return shared_admin.create_namespace(new_placement("abc"))


def make_table(server: RunningServer, dsn: str, tenant: Placement) -> Callable[[], int]:
    """Give the tenant a table; return what counts its rows, past the server."""
    with session(server.address, tenant.tenant) as mine:
        assert b"CREATE TABLE" in mine.run("CREATE TABLE t (id int)").messages

    def count() -> int:
        with psycopg.connect(dsn) as connection:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(tenant.role)))
            table = sql.Identifier(tenant.namespace, "t")
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        assert row is not None
        return int(row[0])

    return count


def runs(dsn: str, text: str) -> bool:
    """Tell whether the shard server runs a statement with *text* at this moment."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mtdd_shard'"
            " AND datname = current_database() AND state = 'active' AND query LIKE %s",
            [f"%{text}%"],
        ).fetchone()
    assert row is not None
    return bool(row[0])


def open_transactions(dsn: str) -> int:
    """Return how many transactions of the shard server are open."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mtdd_shard'"
            " AND datname = current_database() AND xact_start IS NOT NULL"
        ).fetchone()
    assert row is not None
    return int(row[0])


def memory(server: RunningServer) -> int:
    """Return how much the server's process holds, in bytes."""
    return int(server.worker.memory_info().rss)


# What a session does


def test_a_session_runs_statements_and_transactions(
    shared_server: RunningServer, shared_dsn: str, tenant: Placement, marked: bool
) -> None:
    count = make_table(shared_server, shared_dsn, tenant)
    with session(shared_server.address, "abc", marked=marked) as mine:
        assert "server_version" in {item.name for item in mine.hello.parameters}
        assert b"INSERT 0 1" in mine.run("INSERT INTO t VALUES (1)").messages
        assert b"INSERT 0 1" in mine.run("INSERT INTO t VALUES (2)", begin="BEGIN").messages
        assert count() == 1
        assert b"ROLLBACK" in mine.run("ROLLBACK").messages
        assert b"INSERT 0 1" in mine.run("INSERT INTO t VALUES (2)", begin="BEGIN").messages
        assert b"COMMIT" in mine.run("COMMIT").messages
        assert count() == 2
        mine.end()
        with pytest.raises(StopIteration):
            mine.receive()
        assert mine.call.code() is grpc.StatusCode.OK


def test_answers_and_requests_larger_than_windows_and_frames_arrive_whole(
    shared_server: RunningServer, tenant: Placement, marked: bool
) -> None:
    with session(shared_server.address, "abc", marked=marked) as mine:
        answer = mine.run("SELECT repeat('x', 1000) FROM generate_series(1, 8000)").messages
        assert answer.count(b"x" * 1000) == 8000
        assert b"SELECT 8000" in answer
        text = "y" * (3 * MEBIBYTE)
        assert text.encode() in mine.run(f"SELECT '{text}'").messages


def test_an_error_of_postgresql_is_an_answer_like_others(
    shared_server: RunningServer, tenant: Placement, marked: bool
) -> None:
    with session(shared_server.address, "abc", marked=marked) as mine:
        assert b"22012" in mine.run("SELECT 1/0").messages
        assert b"SELECT 1" in mine.run("SELECT 1").messages


def test_several_requests_sent_at_once_are_answered_in_order(
    shared_server: RunningServer, tenant: Placement, marked: bool
) -> None:
    with session(shared_server.address, "abc", marked=marked) as mine:
        for number in range(100):
            mine.send(statement=b"SELECT 'number %d'" % number)
        for number in range(100):
            assert b"number %d\0" % number in mine.receive().messages.replace(b"C\0", b"\0C")


# What a session is refused


def test_without_the_token_no_session_is_opened(
    start_server: StartServer, new_placement: NewPlacement, marked: bool
) -> None:
    server = start_server(environment={"MTDD_SHARD_DATA_TOKEN": "right"})
    for token in ("", "wrong"):
        with (
            pytest.raises(grpc.RpcError) as caught,
            session(server.address, "abc", marked=marked, token=token),
        ):
            pass
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "MTDD_SHARD_TOKEN" in caught.value.details()
    with session(server.address, "abc", marked=marked, token="right") as mine:
        assert mine.run("SELECT 1").error.reason == pb.REASON_TENANT_NOT_HERE
    assert len(server.events("session ended")) <= 1


def test_what_is_no_request_ends_the_session_with_a_status(
    shared_server: RunningServer, tenant: Placement, marked: bool
) -> None:
    with session(shared_server.address, "abc", marked=marked) as mine:
        mine.send_raw(b"\xff\xff\xff")
        with pytest.raises(grpc.RpcError) as caught:
            mine.receive()
        assert caught.value.code() is grpc.StatusCode.INTERNAL
    with session(shared_server.address, "abc", marked=marked) as mine:
        assert b"SELECT 1" in mine.run("SELECT 1").messages


def test_a_request_that_is_too_large_is_refused_before_it_is_read(
    start_server: StartServer, marked: bool
) -> None:
    server = start_server(max_message_bytes=MEBIBYTE)
    with session(server.address, "abc", marked=marked) as mine:
        before = memory(server)
        mine.send(statement=b"x" * (64 * MEBIBYTE))
        with pytest.raises(grpc.RpcError) as caught:
            mine.receive()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert memory(server) - before < 16 * MEBIBYTE


# A client that is gone


def idle(mine: BareSession) -> None:
    mine.run("SELECT 1")


def in_a_transaction(mine: BareSession) -> None:
    mine.run("INSERT INTO t VALUES (1)", begin="BEGIN")


def in_a_failed_transaction(mine: BareSession) -> None:
    in_a_transaction(mine)
    mine.run("SELECT 1/0")


def while_a_statement_runs(mine: BareSession) -> None:
    mine.send(statement=b"INSERT INTO t SELECT 1 FROM pg_sleep(60)")


def while_a_statement_of_a_transaction_runs(mine: BareSession) -> None:
    in_a_transaction(mine)
    while_a_statement_runs(mine)


def in_a_copy(mine: BareSession) -> None:
    mine.run("COPY t FROM STDIN")
    mine.send(copy=pb.CopyIn(data=b"1\n"))
    mine.receive()


def while_it_does_not_read(mine: BareSession) -> None:
    mine.send(statement=b"SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")


def while_it_sends_ahead(mine: BareSession) -> None:
    while_a_statement_runs(mine)
    for _ in range(5):
        mine.send(statement=b"INSERT INTO t VALUES (1)")


STATES = [
    idle,
    in_a_transaction,
    in_a_failed_transaction,
    while_a_statement_runs,
    while_a_statement_of_a_transaction_runs,
    in_a_copy,
    while_it_does_not_read,
    while_it_sends_ahead,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("leaving", ["closed", "reset", "given up"])
def test_of_a_client_that_vanishes_nothing_stays(  # noqa: PLR0917
    shared_server: RunningServer,
    shared_dsn: str,
    shared_admin: ShardAdmin,
    tenant: Placement,
    state: Callable[[BareSession], None],
    leaving: str,
) -> None:
    count = make_table(shared_server, shared_dsn, tenant)
    # Those of the tests before may just be leaving.
    wait_until(lambda: shared_admin.info().sessions == 0)
    assert shared_admin.info().sessions == 0
    mine = BareSession(shared_server.address, "abc")
    state(mine)
    if "while" in state.__name__:
        wait_until(lambda: runs(shared_dsn, "pg_sleep") or runs(shared_dsn, "generate_series"))
    match leaving:
        case "closed":
            mine.close()
        case "reset":
            mine.close(reset=True)
        case "given up":
            mine.give_up()
    try:
        wait_until(lambda: shared_admin.info().sessions == 0)
        assert shared_admin.info().sessions == 0
        wait_until(lambda: shared_admin.info().pool_busy == 0)
        assert shared_admin.info().pool_busy == 0
        # What was cut off there may just be ending.
        wait_until(lambda: open_transactions(shared_dsn) == 0)
        assert open_transactions(shared_dsn) == 0
        assert not runs(shared_dsn, "pg_sleep")
        assert not runs(shared_dsn, "generate_series")
        assert count() == 0
    finally:
        mine.close()


# A client that does not behave


def test_a_client_that_does_not_read_fills_nothing_and_disturbs_nobody(
    shared_server: RunningServer, tenant: Placement
) -> None:
    slow = BareSession(shared_server.address, "abc")
    with contextlib.closing(slow), session(shared_server.address, "abc", marked=True) as other:
        before = memory(shared_server)
        while_it_does_not_read(slow)
        for _ in range(50):
            assert b"SELECT 1" in other.run("SELECT 1").messages
            time.sleep(0.01)
        assert memory(shared_server) - before < 16 * MEBIBYTE
        # And it gets the rest when it reads again.
        received = 0
        while not (part := slow.receive()).complete:
            received += part.messages.count(b"x" * 1000)
        received += part.messages.count(b"x" * 1000)
        assert b"SELECT 1000000" in part.messages


def test_a_client_that_sends_without_end_is_made_to_wait(
    shared_server: RunningServer, tenant: Placement
) -> None:
    eager = BareSession(shared_server.address, "abc")
    with contextlib.closing(eager), session(shared_server.address, "abc", marked=True) as other:
        before = memory(shared_server)
        while_a_statement_runs(eager)
        eager.socket.settimeout(1)
        sent = 0
        request = eager.encoded(statement=b"SELECT 1 -- " + b"x" * 1000)
        with contextlib.suppress(TimeoutError):
            while sent < 256 * MEBIBYTE:
                sent += eager.socket.send(request * 100)
        assert sent < 64 * MEBIBYTE
        assert memory(shared_server) - before < 16 * MEBIBYTE
        assert b"SELECT 1" in other.run("SELECT 1").messages


def test_a_client_that_pings_without_reading_is_made_to_wait(
    shared_server: RunningServer, tenant: Placement
) -> None:
    ping = b"\0\0\x08\x06\0\0\0\0\0" + b"8 bytes."
    eager = BareSession(shared_server.address, "abc")
    with contextlib.closing(eager), session(shared_server.address, "abc", marked=True) as other:
        before = memory(shared_server)
        eager.socket.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 256 * MEBIBYTE:
                sent += eager.socket.send(ping * 10_000)
        assert sent < 64 * MEBIBYTE
        assert memory(shared_server) - before < 16 * MEBIBYTE
        assert b"SELECT 1" in other.run("SELECT 1").messages


# Several workers


def test_cancel_and_outcome_find_the_worker_that_has_the_session(
    start_server: StartServer, shard_dsn: str, new_placement: NewPlacement, marked: bool
) -> None:
    server = start_server(workers=3, pool_size=12)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))

    def beside(method: str, request: Any, response: Any) -> Any:
        # A connection of its own, which reaches any worker.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.address, options) as channel:
            call = channel.unary_unary(
                f"/mtdd.v1.ShardService/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            return call(request, timeout=10)

    with session(server.address, "abc", marked=marked) as mine:
        mine.run("SELECT 1")
        about = {"session_id": mine.hello.session_id, "serial": mine.serial}
        for _ in range(12):
            request = service_pb.OutcomeRequest(**about)
            answer = beside("Outcome", request, service_pb.OutcomeResponse)
            assert answer.outcome == service_pb.OUTCOME_SUCCEEDED
        for _ in range(6):
            mine.send(statement=b"SELECT pg_sleep(60)")
            wait_until(lambda: runs(shard_dsn, "pg_sleep"))
            request = service_pb.CancelRequest(session_id=mine.hello.session_id, serial=mine.serial)
            assert beside("Cancel", request, service_pb.CancelResponse).found
            assert b"57014" in mine.answer().messages
    unknown = service_pb.OutcomeRequest(session_id="77-" + "0" * 32, serial=1)
    answer = beside("Outcome", unknown, service_pb.OutcomeResponse)
    assert answer.outcome == service_pb.OUTCOME_UNSPECIFIED
