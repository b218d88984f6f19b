"""Web servers as they are used, in threads, on the tests' Django, and clients by hand."""

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn

__all__ = ["exchange", "half_read", "serve_asgi", "serve_wsgi"]

PATIENCE = 20.0


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def get_stderr(self) -> Any:
        return self.server.errors  # type: ignore[attr-defined]


class _OneThread(WSGIServer):
    """Serves one request after the other, so that the next finds what the last one left."""

    errors: Any

    def handle_error(self, *_: Any) -> None:
        pass  # A client that hangs up.


class _Threads(socketserver.ThreadingMixIn, _OneThread):
    """Serves each request in a thread of its own."""

    daemon_threads = False


@contextlib.contextmanager
def serve_wsgi(app: Callable[..., Any], errors: Any, *, threads: bool = False) -> Iterator[int]:
    """Serve *app* with the standard library's server; the value is the port."""
    server = (_Threads if threads else _OneThread)(("127.0.0.1", 0), _Quiet)
    server.errors = errors
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serve_asgi(app: Any) -> Iterator[int]:
    """Serve *app* with uvicorn; the value is the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_level="critical", ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def exchange(port: int, path: str) -> tuple[int, str]:
    """Ask, and read all of the answer: its status and body."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def half_read(port: int, path: str, until: bytes) -> None:
    """Ask, read the answer until those bytes are there, and hang up, rudely."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        read = b""
        while until not in read:
            part = client.recv(4096)
            assert part, read
            read += part
        # Not the four-way farewell: a reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
