"""A shard server that does not examine the statements of tenants with strict isolation.

Only a program of its own can start one: no setting of the real server leads there.
Its arguments are those of ``python -m mtdd_router.server``.
"""

import asyncio
import signal
import sys

import uvloop

from mtdd_router.server.address import reserve
from mtdd_router.server.app import Shutdown, serve_worker
from mtdd_router.server.config import load_config
from mtdd_router.server.logs import configure_logging, get_logger
from mtdd_router.server.runtime_folder import runtime_folder


async def serve() -> None:
    config = load_config(sys.argv[1:])
    configure_logging(config.log_format, config.log_level)
    shutdown = Shutdown()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, shutdown.request)
    reservation = reserve(config.listen_address)
    with runtime_folder() as folder:
        await serve_worker(
            config,
            reservation.addresses,
            shutdown,
            folder=folder,
            guards_strict=False,
            on_ready=lambda: get_logger(__name__).info(
                "listening", address=" ".join(map(str, reservation.addresses))
            ),
        )


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(serve())
