"""A gRPC server that is not ours, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mtdd_router.client.call import Call
from mtdd_router.client.endpoint import TLS, Endpoint

PROGRAM = Path(__file__).resolve().parents[2] / "programs" / "grpc_peer.py"
TALK = "/test.Peer/Talk"


@dataclass
class Peer:
    """The server process, and where it listens."""

    process: "subprocess.Popen[str]"
    address: str

    def endpoint(self, *, token: str = "", tls: TLS | None = None) -> Endpoint:
        return Endpoint(self.address, "peer", token, tls)

    def talk(self, **options: Any) -> Call:
        """Open a call; its first message has been received."""
        call = Call(self.endpoint(**options), TALK, limit=10.0)
        call.receive()
        call.unlimited()
        return call


StartPeer = Callable[..., Peer]


@pytest.fixture
def start_peer() -> Iterator[StartPeer]:
    """Start such a server: ``start_peer("127.0.0.1:0", **options)``."""
    processes = []

    def start(address: str = "127.0.0.1:0", **options: Any) -> Peer:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), address, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the peer did not start"
        return Peer(
            process, address.removesuffix(":0") + f":{port}" if ":0" in address else address
        )

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def peer(start_peer: StartPeer) -> Peer:
    """One of them, as it comes."""
    return start_peer()


@dataclass(frozen=True)
class Identity:
    """A certificate that is its own authority."""

    certificate: str
    key: str


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """The server's, the client's, and a stranger's."""
    folder = tmp_path_factory.mktemp("certificates")
    names = {"server": "DNS:localhost,IP:127.0.0.1", "client": "DNS:client", "stranger": "DNS:x"}
    return {name: make_identity(folder, name, subject) for name, subject in names.items()}


def make_identity(folder: Path, name: str, subject: str) -> Identity:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "1"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"),
        ],
        check=True,
        capture_output=True,
    )
    return Identity(str(certificate), str(key))
