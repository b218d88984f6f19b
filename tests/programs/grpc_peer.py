"""A gRPC server of grpcio's own, for the client to meet; prints its port, or nothing more.

Usage: grpc_peer.py ADDRESS OPTIONS, the latter a JSON object: gRPC's own options, and
beside them ``certificate``, ``key`` and ``authority``, paths of PEM files. It ends with
its standard input; SIGTERM lets calls finish for ten seconds.
"""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc


def talk(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Do what each request says: a word, and an argument behind a colon."""
    yield dict(context.invocation_metadata()).get("authorization", "hello").encode()
    for request in requests:
        word, _, argument = request[:100].partition(b":")
        match word:
            case b"many":
                # This many messages of a mebibyte.
                for _ in range(int(argument)):
                    yield bytes(1 << 20)
            case b"size":
                yield b"%d" % len(request)
            case b"fail":
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, argument.decode())
            case _:
                yield request


def add(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Add two numbers, if asked nicely."""
    if not request:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "nothing to add")
    return b"%d" % sum(map(int, request.split(b"+")))


handlers = grpc.method_handlers_generic_handler(
    "test.Peer",
    {
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Add": grpc.unary_unary_rpc_method_handler(add),
    },
)
address, options = sys.argv[1], json.loads(sys.argv[2])
files = {name: options.pop(name, None) for name in ("certificate", "key", "authority")}
pem = {name: Path(path).read_bytes() for name, path in files.items() if path}
server = grpc.server(
    ThreadPoolExecutor(64),
    handlers=[handlers],
    options=[*({"grpc.max_receive_message_length": -1} | options).items()],
)
if "certificate" in pem:
    credentials = grpc.ssl_server_credentials(
        [(pem["key"], pem["certificate"])], pem.get("authority"), "authority" in pem
    )
    port = server.add_secure_port(address, credentials)
else:
    port = server.add_insecure_port(address)
server.start()
print(port, flush=True)
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
stopped.wait()
server.stop(10).wait()
