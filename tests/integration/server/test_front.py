"""What connects to a shard server without being its client: garbage, silence, other tools."""

import contextlib
import os
import random
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.address import Address
from mtdd_router.server.front import listening_socket
from mtdd_router.types import Placement
from mtdd_router.wire.http2 import PREFACE
from tests.integration.server.by_hand import BareSession, session
from tests.integration.server.running import (
    SERVING,
    RunningServer,
    StartServer,
    make_certificate,
    wait_until,
)

NewPlacement = Callable[..., Placement]
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
# Longer than the server's patience with those who do not say what they want.
PATIENCE = 15.0


def frame(kind: int, payload: bytes, *, flags: int = 0, stream: int = 0) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field of HPACK, without indexing."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def connect(server: RunningServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ends the connection; what it says before that does not matter."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def assert_serves(server: RunningServer) -> None:
    """Both ways through the server work."""
    assert server.health() == SERVING
    with session(server.address, "nobody", marked=True) as mine:
        assert mine.run("SELECT 1").error.reason == pb.REASON_TENANT_NOT_HERE


GARBAGE = {
    "text": b"hello?\r\n\r\n",
    "zeros": bytes(1000),
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"x" * 160,
    "PostgreSQL": bytes.fromhex("0000000804d2162f"),
    "a preface and garbage": PREFACE + b"x" * 100,
    "a frame other than SETTINGS": PREFACE + frame(6, b"8 bytes."),
    "data without a stream": PREFACE + SETTINGS + frame(0, b"data", stream=1),
    "a header block that is none": PREFACE + SETTINGS + frame(1, b"\xff" * 50, flags=5, stream=1),
    "a huge control frame": PREFACE + SETTINGS + b"\x0f\xff\xff\x01\4\0\0\0\1",
    "headers without end": PREFACE
    + SETTINGS
    + frame(1, literal(b"a", b"b"), stream=1)
    + frame(9, literal(b"a", b"b" * 100) * 100, stream=1) * 20,
    "headers that unfold": PREFACE
    + SETTINGS
    + frame(1, b"\x40\x01a\x7f\x81\x1e" + b"b" * 4000 + b"\xbe" * 12_000, flags=5, stream=1),
    "control frames without end": PREFACE + SETTINGS + frame(8, b"\0\0\0\1") * 20_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_what_is_not_http2_is_closed_at_once(shared_server: RunningServer, garbage: bytes) -> None:
    with connect(shared_server) as connection:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            connection.sendall(garbage)
        assert is_closed(connection)
        assert time.monotonic() - started < PATIENCE / 3
    assert_serves(shared_server)


def test_those_who_say_nothing_are_closed_in_time_and_hinder_nobody(
    shared_server: RunningServer,
) -> None:
    request = PREFACE + SETTINGS + frame(1, literal(b":path", b"/x"), flags=4, stream=1)
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(connect(shared_server)) for _ in range(300)]
        halves = [opened.enter_context(connect(shared_server)) for _ in range(10)]
        slow = opened.enter_context(connect(shared_server))
        for half in halves:
            half.sendall(PREFACE[:12])
        assert_serves(shared_server)
        for byte in request[:30]:
            slow.sendall(bytes((byte,)))
            time.sleep(0.3)
        assert_serves(shared_server)
        assert all(map(is_closed, [*silent, *halves, slow]))


def test_a_connection_that_rests_before_its_first_call_stays(
    shared_server: RunningServer,
) -> None:
    with connect(shared_server) as connection:
        connection.sendall(PREFACE + SETTINGS)
        connection.settimeout(PATIENCE)
        seen = b""
        with contextlib.suppress(TimeoutError):
            while data := connection.recv(1 << 16):
                seen += data
                connection.settimeout(PATIENCE)
        # It is gRPC's by now, which answers PINGs.
        connection.sendall(frame(6, b"8 bytes."))
        connection.settimeout(PATIENCE)
        while frame(6, b"8 bytes.", flags=1) not in seen:
            data = connection.recv(1 << 16)
            assert data
            seen += data


def _nonsense(chance: random.Random) -> bytes:
    """Return a call's proper beginning, and frames that no client sends."""
    names = (b":method", b":scheme", b":path", b"content-type", b"te")
    values = (b"POST", b"http", b"/grpc.health.v1.Health/Check", b"application/grpc", b"trailers")
    block = b"".join(map(literal, names, values))
    sent = PREFACE + SETTINGS + frame(1, block, flags=4, stream=1)
    for _ in range(chance.randint(1, 30)):
        body = chance.randbytes(chance.choice([0, 1, 4, 5, 8, 9, 50, 300]))
        flags, stream = chance.choice([0, 1, 4, 5, 8, 32, 255]), chance.choice([0, 1, 1, 3, 5])
        sent += frame(chance.randint(0, 12), body, flags=flags, stream=stream)
    return sent


def test_frames_that_no_client_sends_do_not_crash_the_grpc_server(
    shared_server: RunningServer,
) -> None:
    chance, before = random.Random(7), shared_server.worker
    for _ in range(150):
        with connect(shared_server) as connection, contextlib.suppress(OSError):
            connection.sendall(_nonsense(chance))
            connection.settimeout(0.05)
            while connection.recv(1 << 16):
                pass
    assert_serves(shared_server)
    assert shared_server.worker == before


def test_a_slow_client_of_grpc_is_relayed_byte_by_byte(shared_server: RunningServer) -> None:
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/grpc.health.v1.Health/Check"),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    block = b"".join(literal(*pair) for pair in headers)
    acknowledgement = frame(4, b"", flags=1)
    call = (
        PREFACE
        + SETTINGS
        + frame(1, block, flags=4, stream=1)
        + acknowledgement * 2
        + frame(0, bytes(5), flags=1, stream=1)
    )
    with connect(shared_server) as connection:
        for byte in call:
            connection.sendall(bytes((byte,)))
        seen = b""
        while b"grpc-status" not in seen and b"\x40\x0bgrpc" not in seen:
            data = connection.recv(1 << 16)
            assert data, seen
            seen += data
        # A message of two bytes: the status SERVING.
        assert b"\0\0\0\0\x02\x08\x01" in seen


def test_large_messages_pass_the_relay(shared_server: RunningServer) -> None:
    with session(shared_server.address, "nobody") as mine:
        for _ in range(3):
            mine.send(statement=b"x" * (20 << 20))
            assert mine.receive().error.reason == pb.REASON_TENANT_NOT_HERE


# Addresses


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
def test_tls_is_ended_for_sessions_of_both_kinds(
    start_server: StartServer, tmp_path: Path, marked: bool
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(tls_certificate=certificate, tls_key=key)
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with session(server.address, "", marked=marked, credentials=credentials) as mine:
        answer = mine.run("SELECT repeat('x', 1000) FROM generate_series(1, 5000)").messages
        assert answer.count(b"x" * 1000) == 5000
        text = "y" * (3 << 20)
        assert text.encode() in mine.run(f"SELECT '{text}'").messages
        mine.end()
        with pytest.raises(StopIteration):
            mine.receive()


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
def test_without_the_demanded_certificate_no_session_is_opened(
    start_server: StartServer, tmp_path: Path, marked: bool
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(tls_certificate=certificate, tls_key=key, tls_client_ca=certificate)
    with (
        pytest.raises(grpc.RpcError),
        session(
            server.address,
            "abc",
            marked=marked,
            credentials=grpc.ssl_channel_credentials(certificate.read_bytes()),
        ),
    ):
        pass
    right = grpc.ssl_channel_credentials(
        certificate.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    with session(server.address, "abc", marked=marked, credentials=right) as mine:
        assert mine.run("SELECT 1").error.reason == pb.REASON_TENANT_NOT_HERE
    assert len(server.events("session ended")) <= 1


def test_nothing_is_read_on_a_tls_address_before_tls(
    start_server: StartServer, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(tls_certificate=certificate, tls_key=key)
    for garbage in GARBAGE.values():
        with connect(server) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
            assert is_closed(connection)
    with (
        pytest.raises((EOFError, ConnectionError)),
        contextlib.closing(BareSession(server.address, "abc")),
    ):
        pass
    old = ssl.create_default_context(cafile=str(certificate))
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_alpn_protocols(["h2"])
    with old.wrap_socket(connect(server), server_hostname="localhost") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.2"
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(server.address, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == SERVING


@pytest.mark.parametrize("marked", [True, False], ids=["own", "grpc"])
def test_a_unix_socket_carries_sessions(
    start_server: StartServer, new_placement: NewPlacement, tmp_path: Path, marked: bool
) -> None:
    server = start_server(address=f"unix:{tmp_path / 'shard.sock'}")
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with session(server.address, "abc", marked=marked) as mine:
        assert b"SELECT 1" in mine.run("SELECT 1").messages


def test_ipv6_is_served(start_server: StartServer) -> None:
    server = start_server(address="[::1]:0")
    with session(server.address, "abc", marked=True) as mine:
        assert mine.run("SELECT 1").error.reason == pb.REASON_TENANT_NOT_HERE


def test_accepted_connections_are_probed_for_life() -> None:
    with listening_socket(Address("127.0.0.1", 0)) as bound:
        bound.listen()
        with socket.create_connection(bound.getsockname()):
            accepted, _ = bound.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                probes = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
                values = [
                    accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in probes
                    if hasattr(socket, name)
                ]
                assert values[-3:] == [20, 5, 4][-len(values) :]


# The private sockets


def private_folders(folder: Path) -> list[Path]:
    return list(folder.glob("mtdd-shard-*"))


def test_nobody_else_can_reach_the_grpc_server_behind(
    start_server: StartServer, short_folder: Path
) -> None:
    environment = {"TMPDIR": str(short_folder)}
    server = start_server(environment=environment, workers=2)
    (private,) = private_folders(short_folder)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {path.name for path in private.iterdir()} == {
        "workers",
        "worker-0.sock",
        "worker-1.sock",
    }
    assert server.stop() == 0
    assert not private_folders(short_folder)


def test_what_a_killed_server_left_is_removed_and_what_lives_is_not(
    start_server: StartServer, short_folder: Path
) -> None:
    environment = {"TMPDIR": str(short_folder)}
    alive, killed = (start_server(environment=environment) for _ in range(2))
    assert len(private_folders(short_folder)) == 2
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    assert len(private_folders(short_folder)) == 2
    third = start_server(environment=environment)
    assert len(private_folders(short_folder)) == 2
    assert_serves(alive)
    assert_serves(third)


def test_a_path_that_is_too_long_for_a_socket_is_not_used(
    start_server: StartServer, tmp_path: Path
) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    server = start_server(environment={"TMPDIR": str(folder)})
    assert_serves(server)
    assert not private_folders(folder)


# The drain


def test_at_a_drain_clients_are_told_at_once_to_begin_nothing_new(
    start_server: StartServer, new_placement: NewPlacement
) -> None:
    server = start_server(drain_timeout=20)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with session(server.address, "abc", marked=True) as busy:
        busy.run("SELECT 1", begin="BEGIN")
        idle = BareSession(server.address, "abc")
        with contextlib.closing(idle):
            server.process.send_signal(signal.SIGTERM)
            idle.wait(lambda: idle.going_away)
            assert idle.run("SELECT 1").error.reason == pb.REASON_DRAINING
        assert b"SELECT 1" in busy.run("SELECT 1").messages
        assert b"COMMIT" in busy.run("COMMIT").messages
        assert server.process.wait(10) == 0


def test_sessions_that_are_open_at_the_end_are_told_so(
    start_server: StartServer, new_placement: NewPlacement
) -> None:
    server = start_server(drain_timeout=0)
    admin = server.admin()
    admin.create_namespace(new_placement("abc"))
    with session(server.address, "abc", marked=True) as mine:
        mine.run("SELECT 1", begin="BEGIN")
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            mine.receive()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in caught.value.details()
        assert server.process.wait(10) == 0
    wait_until(lambda: server.process.poll() is not None)
    assert "Traceback" not in server.log.read_text()
