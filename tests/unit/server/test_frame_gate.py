"""Which frames pass to the gRPC server."""

import pytest

from mtdd_router.server.frame_gate import FrameGate
from mtdd_router.wire import http2_frames
from mtdd_router.wire.http2_frames import PREFACE, ProtocolError


def frame(kind: int, body: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return http2_frames.frame(kind, flags, stream, body)


SETTINGS, ACK = frame(4), frame(4, flags=1)
HEADERS = frame(1, b"block", flags=4, stream=1)
DATA = frame(0, b"data", stream=1)
LAST = frame(0, b"end", flags=1, stream=1)
GOAWAY = frame(7, bytes(8))
PING = frame(6, b"8 bytes.")


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_clients_send_passes_but_for_two_frames(step: int) -> None:
    trailers = frame(1, b"trailers", flags=5, stream=3)
    window = frame(8, bytes(4)) + frame(8, bytes(4), stream=1) + frame(2, bytes(5), stream=5)
    parts = frame(1, b"a", stream=5) + frame(9, b"b", stream=5) + frame(9, b"c", flags=4, stream=5)
    other = frame(1, b"block", flags=4, stream=3)
    unknown = frame(99, b"of the future")
    passing = [SETTINGS, HEADERS, window, DATA, other, PING, trailers, LAST, parts, ACK, unknown]
    reset = frame(3, bytes(4), stream=5)
    sent = PREFACE + SETTINGS + ACK + b"".join(passing[1:]) + GOAWAY + reset
    gate = FrameGate()
    passed = b"".join(gate.passed(sent[at : at + step]) for at in range(0, len(sent), step))
    assert passed == PREFACE + b"".join(passing) + reset


@pytest.mark.parametrize(
    "wrong",
    [
        frame(6, b"short"),
        frame(6, b"8 bytes.", stream=1),
        frame(4, b"short"),
        frame(4, bytes(6), flags=1),
        frame(4, bytes(6), stream=1),
        frame(3, bytes(3), stream=1),
        frame(3, bytes(4), stream=3),
        frame(8, bytes(5)),
        frame(8, bytes(4), stream=3),
        frame(2, bytes(4), stream=1),
        frame(7, bytes(7)),
        frame(7, bytes(8), stream=1),
        frame(5, bytes(8), flags=4, stream=1),
        frame(0, b"data"),
        frame(0, b"data", stream=2),
        frame(0, b"data", stream=3),
        LAST + DATA,
        LAST + HEADERS,
        frame(3, bytes(4), stream=1) + DATA,
        HEADERS,
        frame(1, b"block", flags=4, stream=2),
        frame(1, b"block", flags=4),
        frame(9, b"block", flags=4, stream=1),
        frame(1, b"block", stream=3) + DATA,
        frame(1, b"block", stream=3) + frame(9, b"x", flags=4, stream=1),
        frame(1, b"block", stream=3) + frame(1, b"block", flags=4, stream=5),
        frame(1, bytes(1 << 17), flags=4, stream=3),
        frame(99, bytes(1 << 17)),
    ],
)
def test_what_no_client_sends_does_not_pass(wrong: bytes) -> None:
    gate = FrameGate()
    gate.passed(PREFACE + SETTINGS + HEADERS + DATA)
    with pytest.raises(ProtocolError):
        gate.passed(wrong)
