"""HTTP/2 against an implementation that is not ours, and against peers that mean harm."""

import random
import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from h2.settings import SettingCodes

from mtdd_router.wire.grpc_stream import (
    ONE_CALL_HEADER,
    ClientStream,
    MessageTooLong,
    ServerStream,
    Status,
)
from mtdd_router.wire.http2 import MAX_HEADER_BYTES, PREFACE, ErrorCode, ProtocolError
from mtdd_router.wire.status import StatusCode

PATH = "/mtdd.v1.ShardService/Session"
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "shard"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8


def grpc(payload: bytes) -> bytes:
    return struct.pack("!BI", 0, len(payload)) + payload


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack("!IBI", len(payload) << 8 | kind, flags, stream) + payload


class Peer:
    """The other end, by the library h2, and what happened there."""

    def __init__(self, ours: ClientStream | ServerStream, **settings: int) -> None:
        self.ours = ours
        client = isinstance(ours, ServerStream)
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client, header_encoding="utf-8")
        )
        for name, value in settings.items():
            code = getattr(SettingCodes, name)
            self.h2.local_settings[code] = value
            self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.received: list[bytes] = []
        self.data = bytearray()

    def run(self) -> None:
        """Carry bytes to and fro until neither side has more to say."""
        while True:
            theirs = self.h2.data_to_send()
            self.received += self.ours.receive(theirs) if theirs else []
            mine = self.ours.outgoing()
            if mine:
                self.take(mine)
            if not theirs and not mine:
                return

    def take(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.data += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def find(self, kind: type) -> h2.events.Event:
        (event,) = [event for event in self.events if isinstance(event, kind)]
        return event


def client_and_peer(**settings: int) -> tuple[ClientStream, Peer]:
    client = ClientStream(PATH, authority="shard", metadata=[ONE_CALL_HEADER])
    peer = Peer(client, **settings)
    peer.run()
    peer.h2.send_headers(1, RESPONSE)
    peer.run()
    return client, peer


def server_and_peer(**settings: int) -> tuple[ServerStream, Peer]:
    server = ServerStream()
    peer = Peer(server, **settings)
    peer.h2.send_headers(1, [*REQUEST, ONE_CALL_HEADER])
    peer.run()
    server.accept()
    peer.run()
    return server, peer


# A peer that keeps to the protocol


def test_our_client_opens_a_call_that_another_server_understands():
    client, peer = client_and_peer()
    headers = peer.find(h2.events.RequestReceived).headers
    assert dict(headers)[":path"] == PATH
    assert ONE_CALL_HEADER in headers
    peer.take(client.message(b"question"))
    assert peer.data == grpc(b"question")
    peer.h2.send_data(1, grpc(b"answer"))
    peer.h2.send_headers(1, [("grpc-status", "5"), ("grpc-message", "n%C3%B6")], end_stream=True)
    peer.run()
    assert peer.received == [b"answer"]
    assert client.status == (StatusCode.NOT_FOUND, "nö")


def test_our_server_answers_a_call_of_another_client():
    server, peer = server_and_peer()
    assert server.path == PATH
    peer.h2.send_data(1, grpc(b"question"), end_stream=True)
    peer.run()
    assert peer.received == [b"question"]
    assert server.ended
    peer.take(server.message(b"answer"))
    server.finish(Status(StatusCode.ABORTED, "why"))
    peer.run()
    assert peer.data == grpc(b"answer")
    assert dict(peer.find(h2.events.ResponseReceived).headers) == dict(RESPONSE)
    trailers = dict(peer.find(h2.events.TrailersReceived).headers)
    assert trailers == {"grpc-status": "10", "grpc-message": "why"}
    peer.find(h2.events.StreamEnded)


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_small_windows_are_respected_and_nothing_is_lost(make):
    ours, peer = make(INITIAL_WINDOW_SIZE=10, MAX_FRAME_SIZE=16_384)
    payload = random.Random(1).randbytes(3000)
    # h2 raises if a byte more comes than it allowed.
    peer.take(ours.message(payload))
    assert ours.blocked == 3005 - 10
    peer.take(ours.message(b"behind it"))
    peer.run()
    assert not ours.blocked
    assert bytes(peer.data) == grpc(payload) + grpc(b"behind it")


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_the_connections_window_holds_back_as_well(make):
    ours, peer = make(INITIAL_WINDOW_SIZE=1 << 20)
    first = ours.message(bytes(100_000))
    assert ours.blocked == 100_005 - 65_535
    peer.take(first)
    peer.run()
    assert not ours.blocked
    assert len(peer.data) == 100_005


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_a_window_that_shrinks_under_what_is_on_its_way_may_be_negative(make):
    ours, peer = make()
    peer.take(ours.message(bytes(1000)))
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
    peer.run()
    assert ours.message(b"waits") == b""
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 70_000})
    peer.run()
    assert bytes(peer.data[-10:]) == grpc(b"waits")


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_a_peer_may_send_gigabytes_without_its_window_running_dry(make):
    ours, _ = make()
    chunk = grpc(bytes(16_000))
    raw = frame(DATA, 0, 1, chunk)
    windows = 2 * ((1 << 31) - 1)
    credited = 0
    for _ in range(600):
        # As if this many of them had come: the count alone is what matters.
        ours._uncredited += 100 * len(chunk)
        ours.receive(raw)
        while credit := ours.outgoing():
            for start in range(0, len(credit), 13):
                head, _, _, increment = struct.unpack("!IBII", credit[start : start + 13])
                assert head == 4 << 8 | WINDOW
                credited += increment
    sent = 600 * 101 * len(chunk)
    assert 0 <= 2 * sent - credited < windows


def test_a_ping_is_answered_while_nothing_else_happens():
    client, peer = client_and_peer()
    peer.h2.ping(b"12345678")
    peer.run()
    assert peer.find(h2.events.PingAckReceived).ping_data == b"12345678"
    assert client.status is None


def test_padding_and_priority_are_passed_over():
    server = ServerStream()
    peer = Peer(server)
    peer.h2.send_headers(1, REQUEST, priority_weight=7, priority_depends_on=0)
    peer.run()
    peer.h2.send_data(1, grpc(b"one")[:4], pad_length=200)
    peer.h2.send_data(1, grpc(b"one")[4:] + grpc(b"two"), pad_length=0)
    peer.h2.prioritize(1, weight=9)
    peer.run()
    assert peer.received == [b"one", b"two"]


def test_headers_longer_than_a_frame_are_continued_both_ways():
    long = ("x-long", "v" * 40_000)
    server = ServerStream()
    peer = Peer(server)
    peer.h2.send_headers(1, [*REQUEST, long])
    peer.run()
    assert long in server.metadata
    client = ClientStream(PATH, authority="shard", metadata=[long])
    other = Peer(client)
    other.run()
    assert long in other.find(h2.events.RequestReceived).headers


def test_a_going_away_lets_the_call_finish_and_begins_nothing_new():
    client, peer = client_and_peer()
    peer.h2.close_connection(last_stream_id=1)
    peer.run()
    assert client.going_away
    assert client.status is None
    late = client.receive(frame(DATA, 0, 1, grpc(b"late")))
    assert late == [b"late"]


def test_a_going_away_before_the_call_was_taken_ends_it_as_unavailable():
    client, peer = client_and_peer()
    peer.h2.close_connection(last_stream_id=0)
    peer.run()
    assert client.status.code is StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ErrorCode.REFUSED_STREAM, StatusCode.UNAVAILABLE),
        (ErrorCode.CANCEL, StatusCode.CANCELLED),
        (ErrorCode.ENHANCE_YOUR_CALM, StatusCode.RESOURCE_EXHAUSTED),
        (ErrorCode.INTERNAL_ERROR, StatusCode.INTERNAL),
        (77, StatusCode.INTERNAL),
    ],
)
def test_a_reset_ends_the_call_with_a_status(reason, code):
    client, _ = client_and_peer()
    client.receive(frame(RST_STREAM, 0, 1, struct.pack("!I", reason)))
    assert client.status.code is code
    assert client.message(b"x") == b""


def test_giving_up_tells_the_server_and_sends_nothing_more():
    client, peer = client_and_peer(INITIAL_WINDOW_SIZE=10)
    peer.take(client.message(bytes(100)))
    client.reset()
    peer.run()
    assert peer.find(h2.events.StreamReset).error_code == ErrorCode.CANCEL
    assert not client.blocked


def test_our_server_notices_that_the_client_gave_up():
    server, peer = server_and_peer()
    peer.h2.reset_stream(1, ErrorCode.CANCEL)
    peer.run()
    assert server.aborted


def test_our_server_refuses_a_second_stream_and_goes_on_with_the_first():
    server, peer = server_and_peer()
    assert peer.h2.remote_settings.max_concurrent_streams == 1
    encoder = peer.h2.encoder
    second = frame(HEADERS, END_HEADERS, 3, encoder.encode(REQUEST))
    messages = server.receive(
        second
        + frame(DATA, 0, 3, grpc(b"for the second"))
        + frame(DATA, PADDED, 3, b"\x05" + bytes(10))
        + frame(WINDOW, 0, 3, struct.pack("!I", 5))
        + frame(DATA, 0, 1, grpc(b"for the first"))
    )
    assert messages == [b"for the first"]
    assert server.outgoing() == frame(RST_STREAM, 0, 3, struct.pack("!I", ErrorCode.REFUSED_STREAM))


def test_frames_of_a_later_version_are_passed_over_piece_by_piece():
    client, _ = client_and_peer()
    data = frame(200, 255, 9, bytes(50_000)) + frame(DATA, 0, 1, grpc(b"after"))
    messages = []
    for start in range(0, len(data), 1000):
        messages += client.receive(data[start : start + 1000])
    assert messages == [b"after"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 4096])
def test_any_cut_of_the_bytes_gives_the_same_messages(size):
    client, _ = client_and_peer()
    generator = random.Random(size)
    sent = [generator.randbytes(generator.choice([0, 1, 5, 300, 20_000])) for _ in range(50)]
    stream = b"".join(map(grpc, sent))
    data = bytearray()
    while stream:
        cut = generator.randrange(1, 9000)
        part, stream = stream[:cut], stream[cut:]
        if generator.random() < 0.3:
            data += frame(PING, 0, 0, bytes(8))
        if generator.random() < 0.3:
            part = bytes([7]) + part + bytes(7)
            data += frame(DATA, PADDED, 1, part)
        else:
            data += frame(DATA, 0, 1, part)
    got = []
    for start in range(0, len(data), size):
        got += client.receive(bytes(data[start : start + size]))
        while client.outgoing():
            pass
    assert got == sent


# Answers that are not gRPC's


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([(":status", "404"), ("content-type", "text/html")], StatusCode.UNIMPLEMENTED),
        ([(":status", "200"), ("content-type", "text/html")], StatusCode.UNKNOWN),
        ([(":status", "503")], StatusCode.UNAVAILABLE),
        ([(":status", "401")], StatusCode.UNAUTHENTICATED),
    ],
)
def test_an_http_answer_becomes_a_status_that_says_so(headers, code):
    client = ClientStream(PATH, authority="shard")
    peer = Peer(client)
    peer.run()
    peer.h2.send_headers(1, headers)
    peer.run()
    assert client.status.code is code
    assert "not gRPC" in client.status.message


def test_an_interim_answer_is_passed_over():
    client = ClientStream(PATH, authority="shard")
    peer = Peer(client)
    peer.run()
    peer.h2.send_headers(1, [(":status", "103")])
    peer.h2.send_headers(1, RESPONSE)
    peer.run()
    assert client.metadata == [("content-type", "application/grpc")]


def test_a_status_without_a_message_and_one_that_nobody_knows_are_understood():
    for sent, code in (("0", StatusCode.OK), ("99", StatusCode.UNKNOWN), ("x", StatusCode.UNKNOWN)):
        client, peer = client_and_peer()
        peer.h2.send_headers(1, [("grpc-status", sent)], end_stream=True)
        peer.run()
        assert client.status.code is code


def test_an_answer_that_ends_without_a_status_is_an_error():
    client, peer = client_and_peer()
    peer.h2.send_data(1, b"", end_stream=True)
    peer.run()
    assert client.status.code is StatusCode.INTERNAL


# Peers that mean harm, or are somebody else


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"E\x00\x00\x00\x91SFATAL\x00",
        b"\x15\x03\x01\x00\x02\x02F",
        b"\x00" * 40,
        frame(HEADERS, END_HEADERS, 1, b""),
        frame(SETTINGS, ACK),
    ],
)
def test_another_protocol_is_told_from_http2(words):
    client = ClientStream(PATH, authority="shard")
    with pytest.raises(ProtocolError, match="does not speak HTTP/2"):
        client.receive(words)
    server = ServerStream()
    with pytest.raises(ProtocolError, match="does not speak HTTP/2"):
        server.receive(words)


WRONG = {
    "a frame that is too large": (
        frame(DATA, 0, 1, b"")[:0] + struct.pack("!IBI", (1 << 23) << 8, 0, 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a compressed message": (frame(DATA, 0, 1, b"\x01" + bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "data on no stream": (frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on another stream": (frame(DATA, 0, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
    "only padding and more": (frame(DATA, PADDED, 1, b"\x02x"), ErrorCode.PROTOCOL_ERROR),
    "padding of an empty frame": (
        frame(DATA, PADDED, 1) + frame(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "padding beyond the headers": (
        frame(HEADERS, PADDED | END_HEADERS, 1, b"\x05abc"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "headers on no stream": (frame(HEADERS, END_HEADERS, 0), ErrorCode.PROTOCOL_ERROR),
    "headers that decode to nothing good": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "headers that are no text": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01\xff"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "a header block without end": (
        frame(HEADERS, 0, 1, bytes(60_000)) + frame(CONTINUATION, 0, 1, bytes(60_000)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "continuations of nothing": (
        frame(HEADERS, 0, 1) + 50 * frame(CONTINUATION, 0, 1),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a continuation alone": (frame(CONTINUATION, END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR),
    "a header block cut by another frame": (
        frame(HEADERS, 0, 1) + frame(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a header block cut by data": (
        frame(HEADERS, 0, 1) + frame(DATA, 0, 1, grpc(b"x")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a header bomb": (
        # One entry of 4,000 bytes in the table, then referred to 1,000 times.
        frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 1000),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "settings of a wrong length": (frame(SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
    "settings on a stream": (frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "an acknowledgement with a body": (
        frame(SETTINGS, ACK, 0, bytes(6)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a huge initial window": (
        frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 1 << 31)),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "frames of a byte": (
        frame(SETTINGS, 0, 0, struct.pack("!HI", 5, 1)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a control frame of a megabyte": (
        frame(SETTINGS, 0, 0, bytes(6 * 100_000)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a ping of a wrong length": (frame(PING, 0, 0, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    "a ping on a stream": (frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "no credit": (frame(WINDOW, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "too much credit": (
        frame(WINDOW, 0, 1, struct.pack("!I", (1 << 31) - 1)),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "credit of a wrong length": (frame(WINDOW, 0, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    "credit for another stream": (frame(WINDOW, 0, 9, b"\0\0\0\1"), ErrorCode.PROTOCOL_ERROR),
    "a reset of a wrong length": (frame(RST_STREAM, 0, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    "a reset of no stream": (frame(RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a priority of a wrong length": (frame(PRIORITY, 0, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
    "a push": (frame(PUSH, END_HEADERS, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a going away without its body": (frame(GOAWAY, 0, 0, b"1"), ErrorCode.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_what_breaks_the_protocol_ends_the_connection(make, name):
    data, code = WRONG[name]
    ours, _ = make()
    with pytest.raises(ProtocolError) as caught:
        ours.receive(data)
    assert caught.value.code is code
    # The peer is told, and nothing it says is heard any more.
    farewell = b"".join(iter(ours.outgoing, b""))
    assert farewell[3] in (GOAWAY, PING, SETTINGS)
    assert struct.pack("!I", code) in farewell
    assert ours.receive(data) == []
    assert ours.message(b"x") == b""


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_a_message_that_is_too_long_is_refused_before_it_is_read(make):
    ours, _ = make()
    with pytest.raises(MessageTooLong) as caught:
        ours.receive(frame(DATA, 0, 1, struct.pack("!BI", 0, 1 << 31)))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_request_that_goes_on_after_its_end_breaks_the_protocol():
    server, _ = server_and_peer()
    with pytest.raises(ProtocolError) as caught:
        server.receive(frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"x"))
    assert caught.value.code is ErrorCode.STREAM_CLOSED


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_a_flood_of_pings_is_answered_with_no_more_than_came_in(make):
    ours, _ = make()
    flood = frame(PING, 0, 0, bytes(8)) * 1000 + frame(SETTINGS) * 1000 + frame(DATA, 0, 1) * 1000
    assert ours.receive(flood) == []
    assert sum(map(len, iter(ours.outgoing, b""))) <= len(flood)


@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_a_flood_of_pings_whose_answers_cannot_be_written_ends_the_connection(make):
    ours, _ = make()
    with pytest.raises(ProtocolError) as caught:
        for _ in range(1000):
            ours.receive(frame(PING, 0, 0, bytes(8)) * 1000)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("make", [client_and_peer, server_and_peer])
def test_noise_ends_in_a_protocol_error_or_in_nothing(make, seed):
    generator = random.Random(seed)
    ours, _ = make()
    try:
        for _ in range(200):
            kind, flags = generator.randrange(11), generator.randrange(256)
            payload = generator.randbytes(generator.randrange(20))
            ours.receive(frame(kind, flags, generator.randrange(4), payload))
    except ProtocolError:
        assert ours.outgoing()


def test_a_header_block_of_the_allowed_size_is_taken():
    server = ServerStream()
    value = "v" * (MAX_HEADER_BYTES - 1000)
    client = ClientStream(PATH, authority="shard", metadata=[("x-large", value)])
    while data := client.outgoing():
        server.receive(data)
    assert ("x-large", value) in server.metadata


def test_the_first_write_of_a_client_holds_all_that_tells_what_it_wants():
    opening = ClientStream(PATH, authority="shard", metadata=[ONE_CALL_HEADER]).outgoing()
    assert opening.startswith(PREFACE)
    settings = 9 + int.from_bytes(opening[24:27], "big")
    assert opening[24 + 3] == SETTINGS
    assert opening[24 + settings + 3] == HEADERS
    # Neither indexed nor compressed.
    assert b"mtdd-connection" in opening
    assert b"session" in opening
