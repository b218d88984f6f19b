"""Calls to a gRPC server that is not ours: what arrives, what breaks, and how that is told."""

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from mtdd_router.client.call import Call, CallFailed, call_once
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.errors import ConfigurationError
from mtdd_router.wire.status import StatusCode
from tests.integration.client.conftest import TALK

MB = 1 << 20


@contextlib.contextmanager
def failing(code: StatusCode, match: str = ".") -> Iterator[None]:
    with pytest.raises(CallFailed, match=match) as caught:
        yield
    assert caught.value.status.code is code, caught.value


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def gone(call: Call, *, limit: float = 5.0) -> bool:
    """Whether the call is found to be over in time."""
    deadline = time.monotonic() + limit
    while call.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    return not call.alive


# What arrives


def test_messages_go_both_ways_in_order(peer):
    with peer.talk() as call:
        for number in range(100):
            call.send(b"%d" % number)
        assert [call.receive() for _ in range(100)] == [b"%d" % number for number in range(100)]
        assert call.alive


def test_metadata_carries_the_token(peer):
    with Call(peer.endpoint(token="secret"), TALK, limit=10.0) as call:
        assert call.receive() == b"Bearer secret"


def test_large_messages_arrive_whole_both_ways(peer):
    payload = os.urandom(MB) * 100
    with peer.talk() as call:
        call.send(payload)
        assert call.receive() == payload


def test_a_peer_with_small_windows_is_sent_no_more_than_it_allows(start_peer):
    peer = start_peer(
        **{
            "grpc.http2.lookahead_bytes": 1024,
            "grpc.http2.bdp_probe": 0,
            "grpc.http2.max_frame_size": 16384,
        }
    )
    payload = os.urandom(5 * MB)
    with peer.talk() as call:
        call.send(payload)
        call.send(b"behind it")
        assert call.receive() == payload
        assert call.receive() == b"behind it"


def test_more_than_a_window_arrives_in_one_call(peer):
    with peer.talk() as call:
        call.send(b"many:2500")
        for _ in range(2500):
            assert len(call.receive()) == MB
        call.send(b"after")
        assert call.receive() == b"after"


def test_who_writes_while_the_peer_writes_does_not_hang(peer):
    # Neither reads before it has written; the answers fill every buffer on the way.
    with peer.talk() as call:
        call.send(b"many:64")
        call.send(os.urandom(64 * MB))
        for _ in range(64):
            assert len(call.receive()) == MB
        assert len(call.receive()) == 64 * MB


def test_one_message_each_way_is_a_call_as_well(peer):
    assert call_once(peer.endpoint(), "/test.Peer/Add", b"1+2", limit=5.0) == b"3"
    with failing(StatusCode.INVALID_ARGUMENT, "nothing to add"):
        call_once(peer.endpoint(), "/test.Peer/Add", b"", limit=5.0)


# Where the peer is


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_a_peer_is_reached_by_its_name_and_address(start_peer, host):
    peer = start_peer(f"{host}:0")
    with peer.talk() as call:
        call.send(b"x")
        assert call.receive() == b"x"


def test_the_addresses_of_a_name_are_tried_in_turn(start_peer, monkeypatch):
    peer = start_peer()
    real = socket.getaddrinfo

    def several(host, port, *arguments, **options):
        first = real("127.0.0.2", port, *arguments, **options)
        return first + real("127.0.0.1", port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", several)
    with peer.talk() as call:
        call.send(b"x")
        assert call.receive() == b"x"


def test_a_peer_is_reached_through_a_unix_socket(start_peer, tmp_path):
    peer = start_peer(f"unix:{tmp_path}/peer.sock")
    with peer.talk() as call:
        call.send(b"x")
        assert call.receive() == b"x"


# When it cannot be reached


def test_a_dead_address_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = address_of(free)
    started = time.monotonic()
    with failing(StatusCode.UNAVAILABLE, "refused"):
        Call(Endpoint(address), TALK, limit=5.0)
    with failing(StatusCode.UNAVAILABLE, "No such file"):
        Call(Endpoint("unix:/nowhere/at/all.sock"), TALK, limit=5.0)
    assert time.monotonic() - started < 2.0


def test_an_address_that_swallows_everything_costs_no_more_than_the_limit():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with contextlib.ExitStack() as fillers:
            for _ in range(4):
                filler = fillers.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            started = time.monotonic()
            with failing(StatusCode.DEADLINE_EXCEEDED):
                call = Call(Endpoint(address_of(full)), TALK, limit=0.5)
                call.receive()
            assert 0.4 < time.monotonic() - started < 3.0


@pytest.mark.parametrize("address", ["nonsense", "host:port", "::1:7", "unix:here", "host:99999"])
def test_a_malformed_address_is_told_and_not_tried_again(address):
    with pytest.raises(CallFailed, match="neither|number|brackets|absolute") as caught:
        Call(Endpoint(address), TALK, limit=5.0)
    assert not caught.value.transient


def test_a_token_that_cannot_be_one_is_told_without_being_shown():
    with pytest.raises(ConfigurationError) as caught:
        Call(Endpoint("127.0.0.1:1", token="se\ncret"), TALK, limit=5.0)
    assert "cret" not in str(caught.value)


# When something else is there


@contextlib.contextmanager
def _http() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_another_service_is_told_from_a_grpc_server():
    with _http() as port, failing(StatusCode.UNIMPLEMENTED, "does not speak HTTP/2.*HTML"):
        Call(Endpoint(f"127.0.0.1:{port}"), TALK, limit=5.0).receive()


def test_another_grpc_service_says_that_it_is_another(peer):
    with failing(StatusCode.UNIMPLEMENTED):
        Call(peer.endpoint(), "/mtdd.v1.ShardService/Session", limit=5.0).receive()


def test_a_postgresql_is_no_grpc_server(shard_postgres_dsn):
    dsn = conninfo_to_dict(shard_postgres_dsn)
    with failing(StatusCode.UNAVAILABLE, "closed the connection"):
        Call(Endpoint(f"{dsn['host']}:{dsn['port']}"), TALK, limit=5.0).receive()


def test_a_service_that_says_nothing_costs_no_more_than_the_limit():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = address_of(mute)
        with failing(StatusCode.DEADLINE_EXCEEDED):
            Call(Endpoint(address), TALK, limit=0.3).receive()
        with failing(StatusCode.DEADLINE_EXCEEDED):
            call_once(Endpoint(address), "/test.Peer/Add", b"1+2", limit=0.3)


# When it ends


def test_a_refusal_carries_the_servers_words(peer):
    call = peer.talk()
    call.send("fail:Grüße, 100 %".encode())
    with failing(StatusCode.FAILED_PRECONDITION, "Grüße, 100 %"):
        call.receive()
    # The same again, however often it is asked.
    with failing(StatusCode.FAILED_PRECONDITION):
        call.receive()
    with failing(StatusCode.FAILED_PRECONDITION):
        call.send(b"x")
    assert not call.alive


def test_a_request_larger_than_the_server_takes_is_refused_with_its_words(start_peer):
    peer = start_peer(**{"grpc.max_receive_message_length": 1000})
    call = peer.talk()
    with failing(StatusCode.RESOURCE_EXHAUSTED):
        call.send(bytes(50 * MB))
        call.receive()


def test_a_killed_server_is_noticed_idle_and_waiting(peer):
    idle, waiting = peer.talk(), peer.talk()
    failed = []

    def wait():
        with pytest.raises(CallFailed) as caught:
            waiting.receive()
        failed.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    peer.process.kill()
    thread.join(5)
    assert failed[0].status.code is StatusCode.UNAVAILABLE
    assert failed[0].transient
    assert gone(idle)
    with failing(StatusCode.UNAVAILABLE):
        idle.send(b"x")
        idle.receive()


def test_a_stopping_server_lets_a_call_finish_and_is_not_used_again(peer):
    call = peer.talk()
    assert call.alive
    peer.process.send_signal(signal.SIGTERM)
    assert gone(call)
    call.send(b"still answered")
    assert call.receive() == b"still answered"
    call.close()
    assert peer.process.wait(5) == 0


def test_a_server_that_asks_an_idle_client_whether_it_lives_is_answered(start_peer):
    peer = start_peer(
        **{
            "grpc.keepalive_time_ms": 100,
            "grpc.keepalive_timeout_ms": 1000,
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.min_sent_ping_interval_without_data_ms": 100,
        }
    )
    call = peer.talk()
    ends = time.monotonic() + 3.0
    while time.monotonic() < ends:
        assert call.alive
        time.sleep(0.2)
    call.send(b"x")
    assert call.receive() == b"x"


class Interruption(Exception):
    """Raised by a signal's handler."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Let SIGALRM raise."""

    def interrupt(*_: object) -> None:
        raise Interruption

    previous = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.usefixtures("alarm")
def test_what_interrupts_a_wait_ends_the_call(peer):
    call = peer.talk()
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(Interruption):
        call.receive()
    assert not call.alive
    with failing(StatusCode.UNAVAILABLE):
        call.receive()
    with failing(StatusCode.UNAVAILABLE):
        call.send(b"x")


@pytest.mark.usefixtures("alarm")
def test_what_interrupts_a_large_write_ends_the_call(peer):
    call = peer.talk()
    # Its answers are not read, so that it stops reading.
    call.send(b"many:64")
    os.kill(peer.process.pid, signal.SIGSTOP)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Interruption):
            call.send(bytes(64 * MB))
    finally:
        os.kill(peer.process.pid, signal.SIGCONT)
    assert not call.alive


def test_a_program_that_leaves_calls_open_ends_without_a_word(peer):
    program = f"""
from mtdd_router.client.call import Call
from mtdd_router.client.endpoint import Endpoint
import sys, threading
assert threading.active_count() == 1 and "grpc" not in sys.modules
calls = [Call(Endpoint({peer.address!r}), {TALK!r}, limit=5.0) for _ in range(3)]
for call in calls:
    call.receive()
    call.unlimited()
threading.Thread(target=calls[0].receive, daemon=True).start()
del calls[1]
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
