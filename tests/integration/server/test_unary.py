"""Calls of one message each way: with the mark served without gRPC's server, and the same."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
import pytest
from psycopg import sql

from mtdd_router.pb import shard_admin_service_pb2 as admin_pb
from mtdd_router.types import Placement
from mtdd_router.wire.grpc_stream import ONE_CALL_HEADER, ClientStream
from tests.integration.server.running import RunningServer, wait_until

ADMIN = "/mtdd.v1.ShardAdminService"
BOTH_WAYS = pytest.mark.parametrize("marked", [True, False], ids=["marked", "through gRPC"])


@dataclass
class Answer:
    """What came of a call."""

    status: Any
    messages: list[bytes]
    headers: dict[str, str]


def opened(server: RunningServer, path: str, *, marked: bool) -> tuple[socket.socket, ClientStream]:
    host, _, port = server.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    stream = ClientStream(path, authority="test", metadata=[ONE_CALL_HEADER] if marked else [])
    return connection, stream


def write(connection: socket.socket, stream: ClientStream, first: bytes = b"") -> None:
    connection.sendall(first)
    while data := stream.outgoing():
        connection.sendall(data)


def call(server: RunningServer, path: str, *messages: bytes, marked: bool) -> Answer:
    connection, stream = opened(server, path, marked=marked)
    with closing(connection):
        write(connection, stream)
        for message in messages:
            connection.sendall(stream.message(message))
        stream.end()
        write(connection, stream)
        found: list[bytes] = []
        while stream.status is None:
            data = connection.recv(1 << 16)
            assert data, "the connection ended without a status"
            found += stream.receive(data)
            write(connection, stream)
        return Answer(stream.status, found, dict(stream.metadata or ()))


def test_only_unmarked_calls_reach_grpcs_own_server(shared_server: RunningServer) -> None:
    request = admin_pb.GetInfoRequest().SerializeToString()
    mine = call(shared_server, f"{ADMIN}/GetInfo", request, marked=True)
    theirs = call(shared_server, f"{ADMIN}/GetInfo", request, marked=False)
    # What compressions it understands, gRPC always tells.
    assert "grpc-accept-encoding" in theirs.headers
    assert "grpc-accept-encoding" not in mine.headers
    ids = [admin_pb.GetInfoResponse.FromString(a.messages[0]).shard_id for a in (mine, theirs)]
    assert ids[0] == ids[1] != ""


@BOTH_WAYS
@pytest.mark.parametrize(
    ("path", "messages", "code", "text"),
    [
        (
            f"{ADMIN}/DropNamespace",
            [b""],
            grpc.StatusCode.INVALID_ARGUMENT,
            "Name either a tenant or an orphan.",
        ),
        (
            f"{ADMIN}/UpdatePlacement",
            [admin_pb.UpdatePlacementRequest(tenant="nobody", epoch=2).SerializeToString()],
            grpc.StatusCode.NOT_FOUND,
            "Tenant 'nobody' does not live on this shard.",
        ),
        (f"{ADMIN}/Nothing", [b""], grpc.StatusCode.UNIMPLEMENTED, ""),
        ("/mtdd.v1.Nobody/GetInfo", [b""], grpc.StatusCode.UNIMPLEMENTED, ""),
    ],
    ids=["refused", "not found", "no method", "no service"],
)
def test_a_call_that_fails_ends_with_the_same_status_either_way(
    shared_server: RunningServer,
    path: str,
    messages: list[bytes],
    code: grpc.StatusCode,
    text: str,
    *,
    marked: bool,
) -> None:
    answer = call(shared_server, path, *messages, marked=marked)
    assert (answer.status.code.name, answer.messages) == (code.name, [])
    assert text in answer.status.message


@pytest.mark.parametrize(
    ("messages", "text"), [([], "ended without a request"), ([b"\xff"], "cannot be decoded")]
)
def test_a_call_without_a_proper_request_is_told_so(
    shared_server: RunningServer, messages: list[bytes], text: str
) -> None:
    answer = call(shared_server, f"{ADMIN}/GetInfo", *messages, marked=True)
    assert answer.status.code.name == "INTERNAL"
    assert text in answer.status.message


@contextmanager
def holding_tables(dsn: str, placement: Placement) -> Iterator[None]:
    with psycopg.connect(dsn) as holder:
        holder.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(placement.role)))
        holder.execute(sql.SQL("LOCK TABLE {}.held").format(sql.Identifier(placement.namespace)))
        yield


def test_a_call_whose_client_is_gone_ends_and_its_transaction_with_it(
    shared_server: RunningServer, shared_dsn: str, new_placement: Any
) -> None:
    placement = new_placement()
    admin = shared_server.admin()
    admin.create_namespace(placement)
    with psycopg.connect(shared_dsn, autocommit=True) as owner:
        role, schema = map(sql.Identifier, (placement.role, placement.namespace))
        owner.execute(sql.SQL("SET ROLE {}").format(role))
        owner.execute(sql.SQL("CREATE TABLE {}.held ()").format(schema))
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE %s AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(shared_dsn, autocommit=True) as watcher:

        def is_waiting() -> bool:
            row = watcher.execute(waiting, [f"%{placement.namespace}%"]).fetchone()
            return row is not None and row[0] > 0

        with holding_tables(shared_dsn, placement):
            connection, stream = opened(shared_server, f"{ADMIN}/DropNamespace", marked=True)
            request = admin_pb.DropNamespaceRequest(tenant=placement.tenant)
            write(connection, stream)
            connection.sendall(stream.message(request.SerializeToString()))
            wait_until(is_waiting)
            assert is_waiting()
            connection.close()
            # Before it would have given up waiting for the lock by itself.
            wait_until(lambda: not is_waiting(), limit=4.0)
            assert not is_waiting()
    assert admin.placements(placement.tenant).placements
    assert admin.drop_namespace(placement.tenant)
