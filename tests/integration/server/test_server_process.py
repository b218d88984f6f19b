"""The shard server as a process: starting, refusing, draining, surviving."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import psycopg
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.embedded import Stack
from mtdd_router.errors import ShardRefused, ShardUnavailable
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.types import Placement
from tests.integration.server.by_hand import session
from tests.integration.server.running import (
    NOT_SERVING,
    SERVING,
    RunningServer,
    StartServer,
    make_certificate,
    wait_until,
)

NewPlacement = Callable[..., Placement]


def wait_health(server: RunningServer, status: int, limit: float = 20.0) -> None:
    wait_until(lambda: server.health() == status, limit=limit)
    assert server.health() == status


# Start


def test_a_started_server_serves_and_tells_what_it_offers(start_server: StartServer) -> None:
    server = start_server(environment={"MTDD_SHARD_REFLECTION": "true"})
    for service in ("", "mtdd.v1.ShardService", "mtdd.v1.ShardAdminService"):
        assert server.health(service) == SERVING
    with grpc.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
    names = {service.name for service in answer.list_services_response.service}
    assert {"mtdd.v1.ShardService", "mtdd.v1.ShardAdminService", "grpc.health.v1.Health"} <= names


def refusal(start_server: StartServer, code: int, **options: Any) -> str:
    server = start_server(listening=False, **options)
    assert server.process.wait(20) == code
    return server.log.read_text()


def test_a_wrong_setting_is_refused_by_name_with_exit_code_2(start_server: StartServer) -> None:
    text = refusal(start_server, 2, pool_size=1, log_level="loud")
    assert text.splitlines() == [
        "mtdd shard server: log_level: input should be 'debug', 'info', 'warning' or 'error'",
    ]


def test_an_address_in_use_is_refused_with_exit_code_1(
    start_server: StartServer, server: RunningServer
) -> None:
    text = refusal(start_server, 1, address=server.address)
    assert f"cannot listen on {server.address}" in text
    assert "already in use" in text


def test_a_role_that_may_not_create_is_refused_with_the_statements_that_mend_it(
    start_server: StartServer, shard_dsn: str, new_placement: NewPlacement
) -> None:
    role = new_placement("weak").role
    parts = conninfo_to_dict(shard_dsn)
    with psycopg.connect(shard_dsn, autocommit=True) as connection:
        name = sql.Identifier(role)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'weak'").format(name))
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
        try:
            dsn = make_conninfo(**{**parts, "user": role, "password": "weak"})
            text = refusal(start_server, 2, dsn=dsn)
        finally:
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))
    assert f'run: ALTER ROLE "{role}" CREATEROLE;' in text
    assert f'run: GRANT CREATE ON DATABASE "{parts["dbname"]}" TO "{role}";' in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"password": "wrong-secret"}, "password authentication failed"),
        ({"user": "nobody_here"}, "password authentication failed"),
        ({"dbname": "no_such_database"}, 'run: CREATE DATABASE "no_such_database";'),
    ],
)
def test_a_wrong_login_or_database_is_refused(
    start_server: StartServer, shard_dsn: str, change: dict[str, str], expected: str
) -> None:
    dsn = make_conninfo(**{**conninfo_to_dict(shard_dsn), **change})
    text = refusal(start_server, 2, dsn=dsn)
    assert expected in text
    assert "wrong-secret" not in text
    assert "Traceback" not in text


def test_a_pool_larger_than_postgresql_allows_is_refused(start_server: StartServer) -> None:
    text = refusal(start_server, 2, pool_size=9000)
    assert "pool_size: 9000 is more than the" in text


def test_a_unix_socket_is_served_and_goes_with_the_server(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = tmp_path / "shard.sock"
    server = start_server(address=f"unix:{path}")
    admin = server.admin()
    assert admin.info().tenants == 0
    assert server.stop() == 0
    assert not path.exists()


# Permissions


def test_tokens_decide_who_may_administer(start_server: StartServer) -> None:
    server = start_server(
        environment={"MTDD_SHARD_DATA_TOKEN": "data", "MTDD_SHARD_ADMIN_TOKEN": "admin"}
    )
    admin = server.admin(token="admin")
    assert admin.info().tenants == 0
    with pytest.raises(ShardRefused, match="PERMISSION_DEN"):
        server.admin(token="data").info()
    for token in ("", "wrong"):
        with pytest.raises(ShardRefused, match="UNAUTHENTICATED"):
            server.admin(token=token).info()
    # Probes of a load balancer have no token.
    assert server.health() == SERVING


def test_tls_is_served_and_client_certificates_can_be_demanded(
    start_server: StartServer, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(
        address="0.0.0.0:0",
        tls_certificate=certificate,
        tls_key=key,
        tls_client_ca=certificate,
        environment={"MTDD_SHARD_REFLECTION": "true"},
    )
    target = f"localhost:{server.address.rpartition(':')[2]}"

    def check(**mine: bytes) -> None:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes(), **mine)
        with grpc.secure_channel(target, credentials) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            next(stub.ServerReflectionInfo(iter([request]), timeout=5))

    check(private_key=key.read_bytes(), certificate_chain=certificate.read_bytes())
    with pytest.raises(grpc.RpcError) as caught:
        check()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# PostgreSQL


def test_a_server_whose_postgresql_is_down_at_start_comes_alive_with_it(
    make_stack: Callable[..., Stack], start_server: StartServer
) -> None:
    stack = make_stack()
    (shard,) = stack.shard_servers
    postgres = next(item for item in stack.postgres if f"port={item.port}" in shard.dsn)
    shard.stop()
    postgres.stop()

    server = start_server(dsn=shard.dsn)
    assert server.health() == NOT_SERVING
    with pytest.raises(ShardUnavailable, match="refused"):
        server.admin().info()
    postgres.start()
    postgres.wait_ready()
    wait_health(server, SERVING)
    admin = server.admin()
    assert admin.info().tenants == 0

    # And when it dies later.
    postgres.stop()
    wait_health(server, NOT_SERVING, limit=5)
    postgres.start()
    postgres.wait_ready()
    wait_health(server, SERVING)
    assert server.process.poll() is None
    assert server.stop() == 0


def test_the_log_holds_no_secret(
    start_server: StartServer, shard_dsn: str, new_placement: NewPlacement
) -> None:
    server = start_server(log_level="debug", environment={"MTDD_SHARD_ADMIN_TOKEN": "admin-secret"})
    admin = server.admin(token="admin-secret")
    admin.create_namespace(new_placement("abc"))
    admin.drop_namespace("abc")
    with psycopg.connect(shard_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'mtdd_shard' AND datname = current_database()"
        )
    server.wait_event("postgres_connected", count=2)
    assert server.stop() == 0
    text = server.log.read_text()
    calls = server.events("admin_call")
    assert [call["method"] for call in calls] == ["CreateNamespace", "DropNamespace"]
    assert calls[0]["tenant"] == "abc"
    assert calls[0]["duration_ms"] > 0
    assert "admin-secret" not in text
    assert str(conninfo_to_dict(shard_dsn)["password"]) not in text


# Drain


def test_an_idle_server_ends_at_once_when_told(server: RunningServer) -> None:
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 3
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_drain_lets_a_transaction_finish_and_refuses_new_work(
    start_server: StartServer, new_placement: NewPlacement, workers: int, marked: bool
) -> None:
    server = start_server(workers=workers, drain_timeout=20)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with session(server.address, "abc", marked=marked) as mine:
        assert b"CREATE TABLE" in mine.run("CREATE TABLE a (id int)", begin="BEGIN").messages
        server.process.send_signal(signal.SIGTERM)
        server.wait_event("draining")
        wait_health(server, NOT_SERVING)
        with pytest.raises((grpc.RpcError, StopIteration)):
            session(server.address, "abc", marked=marked).__enter__()
        assert server.process.poll() is None
        assert b"INSERT 0 1" in mine.run("INSERT INTO a VALUES (1)").messages
        assert b"COMMIT" in mine.run("COMMIT").messages
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
def test_a_session_that_holds_state_is_served_as_long_as_the_drain_takes(
    start_server: StartServer, new_placement: NewPlacement, marked: bool
) -> None:
    server = start_server(drain_timeout=20)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with (
        session(server.address, "abc", marked=marked) as mine,
        session(server.address, "abc", marked=marked) as kept,
        session(server.address, "abc", marked=marked) as none,
    ):
        mine.run("SELECT 1", begin="BEGIN")
        assert kept.run("CREATE TEMPORARY TABLE mine (id int)").pinned
        server.process.send_signal(signal.SIGTERM)
        server.wait_event("draining")
        # Sent elsewhere, the table would not be there.
        assert b"INSERT 0 1" in kept.run("INSERT INTO mine VALUES (1)").messages
        # What holds nothing is sent elsewhere.
        assert none.run("SELECT 1").error.reason == pb.REASON_DRAINING
        assert b"COMMIT" in mine.run("COMMIT").messages
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_transaction_that_outlasts_the_drain_is_rolled_back(
    start_server: StartServer,
    shard_dsn: str,
    new_placement: NewPlacement,
    workers: int,
    marked: bool,
) -> None:
    server = start_server(workers=workers, drain_timeout=1)
    placement = new_placement("abc")
    admin = server.admin()
    admin.create_namespace(placement)
    with session(server.address, "abc", marked=marked) as mine:
        mine.run("CREATE TABLE a (id int)", begin="BEGIN")
        started = time.monotonic()
        assert server.stop() == 0
        assert 0.9 < time.monotonic() - started < 6
    with psycopg.connect(shard_dsn) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
        row = connection.execute("SELECT to_regclass(%s)", [f"{placement.namespace}.a"]).fetchone()
        assert row == (None,)


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_the_drain(
    start_server: StartServer, new_placement: NewPlacement, workers: int, marked: bool
) -> None:
    server = start_server(workers=workers, drain_timeout=60)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with session(server.address, "abc", marked=marked) as mine:
        mine.run("SELECT 1", begin="BEGIN")
        server.process.send_signal(signal.SIGINT)
        server.wait_event("draining")
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0


def process_of(server: RunningServer, tenant: str) -> bytes:
    """Return the backend process that serves a statement of the tenant."""
    with session(server.address, tenant) as mine:
        answer = mine.run("SELECT 'process ' || pg_backend_pid()").messages
    found = re.search(rb"process \d+", answer)
    assert found
    return found[0]


def test_a_connection_that_has_served_many_tenants_takes_no_others_and_makes_room_at_last(
    start_server: StartServer, new_placement: NewPlacement
) -> None:
    # Three of its connections are the server's own.
    server = start_server(tenants_per_connection=2, pool_size=5)
    for tenant in ("a", "b", "c", "d", "e"):
        server.admin().create_namespace(new_placement(tenant))

    first = process_of(server, "a")
    assert process_of(server, "b") == first
    second = process_of(server, "c")
    assert second != first
    assert [process_of(server, tenant) for tenant in "dabcd"] == [
        second,
        first,
        first,
        second,
        second,
    ]
    third = process_of(server, "e")
    assert third not in {first, second}
    assert process_of(server, "d") == second
    assert process_of(server, "a") == third


def test_all_who_find_no_connection_that_may_serve_them_get_another(
    start_server: StartServer, new_placement: NewPlacement
) -> None:
    server = start_server(tenants_per_connection=1, pool_size=5)
    for tenant in ("a", "b", "c", "d"):
        server.admin().create_namespace(new_placement(tenant))
    both_began = threading.Barrier(2, timeout=20)

    def hold(tenant: str) -> None:
        with session(server.address, tenant) as mine:
            mine.run("SELECT 1", begin="BEGIN")
            both_began.wait()
            mine.run("COMMIT")

    with ThreadPoolExecutor(2) as threads:
        for pair in ("ab", "cd") * 5:
            list(threads.map(hold, pair))


# Workers


def workers_of(server: RunningServer) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_workers_share_one_address_and_one_pool(
    start_server: StartServer, shard_dsn: str, new_placement: NewPlacement
) -> None:
    server = start_server(workers=3, pool_size=14)
    assert len(workers_of(server)) == 3
    sizes = set()
    for _ in range(40):
        admin = server.admin()
        sizes.add(admin.info().pool_size)
    assert sizes <= {1, 2}
    # A change made by one worker is known to all.
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    for _ in range(10):
        with session(server.address, "abc") as mine:
            assert b"SELECT 1" in mine.run("SELECT 1").messages
    with psycopg.connect(shard_dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mtdd_shard'"
            " AND datname = current_database()"
        ).fetchone()
    assert row is not None
    assert row[0] <= 14
    assert server.stop() == 0


def test_a_crashed_worker_is_replaced(start_server: StartServer) -> None:
    server = start_server(workers=2)
    before = {worker.pid for worker in workers_of(server)}
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    crash = server.wait_event("worker_crashed")
    assert crash["exit_code"] == -signal.SIGKILL
    wait_until(lambda: len(workers_of(server)) == 2)
    after = {worker.pid for worker in workers_of(server)}
    assert victim not in after
    assert len(after & before) == 1
    wait_until(lambda: len(server.events("postgres_connected")) == 3)
    for _ in range(10):
        assert server.health() == SERVING
    assert server.stop() == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_crash_of_the_only_worker_costs_a_second(
    start_server: StartServer, short_folder: Path, kind: str
) -> None:
    server = start_server(**({"address": f"unix:{short_folder}/s"} if kind == "unix" else {}))
    before = server.worker
    # As native code does.
    before.send_signal(signal.SIGSEGV)
    assert server.wait_event("worker_crashed")["exit_code"] == -signal.SIGSEGV
    wait_until(lambda: len(server.events("postgres_connected")) == 2)
    assert server.health() == SERVING
    assert server.worker != before
    assert server.stop() == 0


def test_the_only_worker_does_not_outlive_its_parent(start_server: StartServer) -> None:
    server = start_server()
    worker = server.worker
    server.process.kill()
    server.process.wait()
    worker.wait(5)
    # And somebody who kills it by a signal lets it end as the parent would.
    again = start_server(address=server.address)
    again.worker.terminate()
    again.wait_event("draining")
    assert again.stop() == 0


def test_a_worker_that_is_killed_while_it_starts_is_replaced(start_server: StartServer) -> None:
    server = start_server(workers=2, listening=False)
    wait_until(lambda: len(workers_of(server)) == 2)
    workers_of(server)[0].kill()
    server.wait_event("worker_crashed")
    server.wait_event("listening")
    assert server.stop() == 0


def test_no_worker_outlives_a_killed_parent(start_server: StartServer) -> None:
    server = start_server(workers=2)
    workers = workers_of(server)
    server.process.kill()
    server.process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=5)
    assert len(gone) == 2
    assert not alive
    host, _, port = server.address.rpartition(":")
    with socket.socket() as probe:
        probe.bind((host, int(port)))


def test_a_signal_to_the_whole_group_counts_once(
    start_server: StartServer, new_placement: NewPlacement
) -> None:
    server = start_server(workers=2, drain_timeout=30)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with session(server.address, "abc") as mine:
        mine.run("SELECT 1", begin="BEGIN")
        # As a terminal's Ctrl-C or a service manager does.
        for worker in workers_of(server):
            worker.send_signal(signal.SIGINT)
            worker.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        server.wait_event("draining", count=2)
        assert b"SELECT 1" in mine.run("SELECT 1").messages
        assert b"COMMIT" in mine.run("COMMIT").messages
        assert server.process.wait(10) == 0
    assert server.events("worker_crashed") == []


def test_the_module_imports_no_django() -> None:
    code = (
        "import sys, mtdd_router.server.app, mtdd_router.server.__main__;"
        "sys.exit(any(name.split('.')[0] == 'django' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_that_is_something_else_is_told_from_a_shard_server(
    server: RunningServer,
) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/other.Service/Method")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert isinstance(server.admin(), ShardAdmin)
