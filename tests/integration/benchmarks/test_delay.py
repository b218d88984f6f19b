"""The line that stands in for a network takes the time that it is to take, and loses nothing."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.middle import DelayLine, echo

ROUND_TRIP = 0.004


@pytest.fixture
def line() -> Iterator[DelayLine]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=echo, args=[server])
        thread.start()
        with DelayLine(str(server.getsockname()[1]), ROUND_TRIP) as started:
            yield started
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_it_delays_each_way_and_passes_everything_on(line: DelayLine) -> None:
    sent = os.urandom(3 << 20)
    with socket.create_connection(("127.0.0.1", line.port)) as connection:
        durations = []
        for _ in range(20):
            started = time.perf_counter()
            connection.sendall(b"ping")
            assert connection.recv(100) == b"ping"
            durations.append(time.perf_counter() - started)
        assert min(durations) >= ROUND_TRIP
        assert min(durations) < 2 * ROUND_TRIP
        writer = threading.Thread(target=connection.sendall, args=[sent])
        writer.start()
        received = bytearray()
        while len(received) < len(sent):
            received += connection.recv(1 << 16)
        writer.join()
        assert received == sent
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
