"""What a server bounds, up to the bound and beyond, through our own client."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mtdd_router import dbapi, errors
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.location import Location
from mtdd_router.client.session import Session, sessions_of
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.types import Placement
from tests.integration.server.conftest import _empty_database, _start
from tests.integration.server.running import RunningServer, wait_until
from tests.integration.server.test_tenant_sessions import Fixed

BYTES = 1 << 16
SESSIONS = 4
STATEMENTS = 5
IDLE = 2
numbers = itertools.count()


@pytest.fixture(scope="module")
def limited(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("limited")
    with contextlib.ExitStack() as cleanup:
        dsn = cleanup.enter_context(_empty_database(postgres_dsn))
        server = _start(
            cleanup,
            folder,
            dsn,
            max_message_bytes=BYTES,
            sessions_per_caller=SESSIONS,
            statements_per_session=STATEMENTS,
            idle_timeout=IDLE,
            idle_in_transaction_timeout=IDLE,
        )
        yield server


@pytest.fixture
def endpoint(limited: RunningServer, new_placement: Callable[..., Placement]) -> Iterator[Endpoint]:
    """An endpoint with a pool of its own, while no other session is open."""
    admin = limited.admin()
    wait_until(lambda: admin.info().sessions == 0)
    admin.create_namespace(new_placement())
    yield Endpoint(limited.address, f"limited-{next(numbers)}")
    admin.drop_namespace("abc")


@pytest.fixture
def connection(endpoint: Endpoint) -> Iterator[Any]:
    with contextlib.closing(
        dbapi.connect(Fixed(Location(endpoint, "abc", 1)), database="abc", autocommit=True)
    ) as opened:
        yield opened


def one(connection: Any) -> Any:
    return connection.execute("SELECT 1").fetchone()[0]


def send(session: Session, size: int) -> None:
    """Send a statement in a message of that size."""
    context = Location(session._endpoint, "abc", 1).context(())
    request = pb.SessionRequest(serial=session.serial + 1, context=context)
    request.statement = b"SELECT 1 --"
    request.statement += b"x" * (size - request.ByteSize() - 2)
    assert request.ByteSize() == size
    session.context = context
    session.send(request, context)


def test_a_message_may_be_as_long_as_the_limit_and_no_longer(endpoint: Endpoint) -> None:
    session = sessions_of(endpoint).acquire(5.0)
    send(session, BYTES)
    while not session.receive().complete:
        pass
    send(session, BYTES + 1)
    text = rf"a message of {BYTES + 1} bytes; {BYTES} are allowed: .*--max-message-bytes"
    with pytest.raises(Exception, match=text):
        session.receive()


def test_what_is_too_long_is_told_to_the_application(connection: Any) -> None:
    with pytest.raises(errors.ShardRefused, match="all that --max-message-bytes allows"):
        connection.execute("SELECT %s", ["x" * 2 * BYTES])
    assert one(connection) == 1


def test_a_caller_has_as_many_sessions_as_the_limit_and_no_more(endpoint: Endpoint) -> None:
    pool = sessions_of(endpoint)
    held = [pool.acquire(5.0) for _ in range(SESSIONS)]
    text = f"'anyone' has {SESSIONS} sessions open in this worker, all that --sessions-per-caller"
    with pytest.raises(errors.ShardOverloaded, match=text):
        pool.acquire(5.0)
    held.pop().close()

    def opened() -> bool:
        with contextlib.suppress(errors.ShardOverloaded):
            held.append(pool.acquire(5.0))
            return True
        return False

    wait_until(opened)
    assert len(held) == SESSIONS
    for session in held:
        session.close()


def test_nobody_notices_that_a_session_has_run_enough(connection: Any) -> None:
    assert [one(connection) for _ in range(4 * STATEMENTS)] == [1] * 4 * STATEMENTS


def test_a_transaction_may_be_as_long_as_the_limit_and_no_longer(connection: Any) -> None:
    # What the session ran before does not count.
    one(connection)
    connection.execute("CREATE TABLE t (i int)")
    with connection.transaction():
        for i in range(STATEMENTS):
            connection.execute(f"INSERT INTO t VALUES ({i})")
    text = f"has run {STATEMENTS} statements at a stretch, all that --statements-per-session"
    with pytest.raises(psycopg.OperationalError, match=f"{text}.*rolled back"):
        with connection.transaction():
            for i in range(STATEMENTS + 1):
                connection.execute(f"INSERT INTO t VALUES ({100 + i})")
                assert i < STATEMENTS
    assert connection.closed


def test_a_session_that_works_is_not_idle(limited: RunningServer, connection: Any) -> None:
    cut = len(limited.events("session_cut"))
    deadline = time.monotonic() + 2 * IDLE
    with connection.transaction():
        for _ in range(STATEMENTS - 1):
            connection.execute("SELECT pg_sleep(0.9)")
    while time.monotonic() < deadline:
        assert one(connection) == 1
        time.sleep(0.1)
    assert len(limited.events("session_cut")) == cut


def test_an_idle_session_is_ended_and_nobody_notices(
    limited: RunningServer, connection: Any
) -> None:
    cut = len(limited.events("session_cut"))
    assert one(connection) == 1
    wait_until(lambda: len(limited.events("session_cut")) > cut)
    assert "--idle-timeout allows" in limited.events("session_cut")[-1]["reason"]
    assert one(connection) == 1


def test_an_idle_session_that_holds_something_is_missed(
    limited: RunningServer, connection: Any
) -> None:
    cut = len(limited.events("session_cut"))
    connection.execute("CREATE TEMP TABLE mine (i int)")
    wait_until(lambda: len(limited.events("session_cut")) > cut)
    with pytest.raises(psycopg.OperationalError, match="--idle-timeout.*What it held is lost"):
        connection.execute("SELECT 1")


@pytest.mark.parametrize("evasion", ["", "SET LOCAL idle_in_transaction_session_timeout = 0"])
def test_an_idle_transaction_is_rolled_back(
    limited: RunningServer, connection: Any, evasion: str
) -> None:
    connection.execute("CREATE TABLE t (i int)")
    cut = len(limited.events("session_cut"))
    with pytest.raises(
        psycopg.OperationalError, match="--idle-in-transaction-timeout allows.*was rolled back"
    ):
        with connection.transaction():
            connection.execute("INSERT INTO t VALUES (1)")
            if evasion:
                connection.execute(evasion)
            wait_until(lambda: len(limited.events("session_cut")) > cut)
            connection.execute("SELECT 1")


def test_a_commit_after_an_idle_transaction_was_ended_says_that_it_failed(
    limited: RunningServer, connection: Any
) -> None:
    cut = len(limited.events("session_cut"))
    with pytest.raises(errors.ShardUnavailable, match="was rolled back"):
        with connection.transaction():
            connection.execute("SELECT 1")
            wait_until(lambda: len(limited.events("session_cut")) > cut)


def test_reflection_is_off_unless_it_is_asked_for(limited: RunningServer) -> None:
    with grpc.insecure_channel(limited.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ServerReflectionInfo(iter([request]), timeout=10))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
