"""A shard server process, as tests see it."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mtdd_router.client.admin import ShardAdmin

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class RunningServer:
    """A shard server process and what it logged."""

    process: "subprocess.Popen[bytes]"
    log: Path
    address: str = ""

    def events(self, name: str) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    def wait_event(self, name: str, *, count: int = 1) -> dict[str, Any]:
        wait_until(lambda: len(self.events(name)) >= count or self.process.poll() is not None)
        events = self.events(name)
        assert len(events) >= count, self.log.read_text()
        return events[count - 1]

    def admin(self, **options: Any) -> ShardAdmin:
        return ShardAdmin(self.address, **{"timeout": 20.0, **options})

    @property
    def worker(self) -> psutil.Process:
        """The process that serves, of a server with one."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def health(self, service: str = "") -> int:
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=service)
            return int(stub.Check(request, timeout=5, wait_for_ready=True).status)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


StartServer = Callable[..., RunningServer]


def wait_until(condition: Callable[[], bool], *, limit: float = 20.0) -> None:
    """Return when *condition* holds, or after *limit* seconds."""
    deadline = time.monotonic() + limit
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for this machine, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
