"""A gRPC call over HTTP/2, both roles against each other."""

import pytest

from mtdd_router.wire.grpc_stream import (
    ONE_CALL_HEADER,
    ClientStream,
    GrpcStream,
    ServerStream,
    Status,
)
from mtdd_router.wire.status import StatusCode

PATH = "/mtdd.v1.ShardService/Session"


def carry(source: GrpcStream, target: GrpcStream) -> list[bytes]:
    """Give all that *source* writes to *target*; return the messages that arrive."""
    messages = []
    while data := source.outgoing():
        messages += target.receive(data)
    return messages


@pytest.fixture
def pair() -> tuple[ClientStream, ServerStream]:
    """A call that both sides have opened."""
    client = ClientStream(PATH, authority="shard", metadata=[ONE_CALL_HEADER])
    server = ServerStream()
    carry(client, server)
    server.accept()
    carry(server, client)
    carry(client, server)
    return client, server


def test_the_server_learns_path_and_metadata(pair):
    _, server = pair
    assert server.path == PATH
    assert ONE_CALL_HEADER in server.metadata


def test_messages_arrive_whole_both_ways(pair):
    client, server = pair
    assert server.receive(client.message(b"question")) == [b"question"]
    assert client.receive(server.message(b"answer")) == [b"answer"]
    assert client.receive(server.message(b"")) == [b""]


def test_messages_arrive_whole_byte_by_byte(pair):
    client, server = pair
    data = client.message(b"one") + client.message(b"") + client.message(b"three")
    messages = [message for byte in data for message in server.receive(bytes([byte]))]
    assert messages == [b"one", b"", b"three"]


def test_a_large_message_comes_out_in_pieces_and_arrives_whole(pair):
    client, server = pair
    payload = bytes(range(256)) * (20 << 12)
    messages = server.receive(client.message(payload))
    assert client.blocked
    messages += carry(client, server)
    assert messages == [payload]
    assert not client.blocked


def test_the_status_arrives_with_its_text(pair):
    client, server = pair
    server.finish(Status(StatusCode.NOT_FOUND, "100 % näh"))
    carry(server, client)
    assert client.status == (StatusCode.NOT_FOUND, "100 % näh")
    assert client.ended


def test_a_call_is_refused_without_being_accepted():
    client = ClientStream(PATH, authority="shard")
    server = ServerStream()
    carry(client, server)
    server.finish(Status(StatusCode.UNAUTHENTICATED, "no token"))
    carry(server, client)
    assert client.status == (StatusCode.UNAUTHENTICATED, "no token")


def test_the_server_sees_the_client_end_and_give_up(pair):
    client, server = pair
    client.end()
    carry(client, server)
    assert server.ended
    assert not server.aborted
    client.reset()
    carry(client, server)
    assert server.aborted
