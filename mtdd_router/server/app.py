"""One worker process: its front, its gRPC server, its pool, its control connection."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_admin_service_pb2 as admin_pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server.admin_service import ShardAdminService
from mtdd_router.server.auth import Authority
from mtdd_router.server.bootstrap import PLACEMENT_CHANNEL, bootstrap
from mtdd_router.server.calls import Method
from mtdd_router.server.config import ServerConfig
from mtdd_router.server.control import AsyncConnection, ControlConnection
from mtdd_router.server.front import Front
from mtdd_router.server.handlers import service_handler
from mtdd_router.server.health import HealthReporter, add_reflection
from mtdd_router.server.logs import get_logger
from mtdd_router.server.peers import RelayedPeers
from mtdd_router.server.placements import PlacementTable
from mtdd_router.server.pool import BackendPool
from mtdd_router.server.requirements import check_rights
from mtdd_router.server.runtime_folder import worker_socket
from mtdd_router.server.service import ShardService
from mtdd_router.server.sessions import Sessions
from mtdd_router.server.siblings import Siblings
from mtdd_router.server.streams import CallStreams
from mtdd_router.server.targets import Targets
from mtdd_router.server.tenant_logins import TenantLogins
from mtdd_router.server.tenure import Tenure
from mtdd_router.server.unary import unary_methods
from mtdd_router.server.version import server_version
from mtdd_router.wire.address import Address

__all__ = ["Shutdown", "serve_worker"]

_SHARD: Final = service_pb.DESCRIPTOR.services_by_name["ShardService"]
_ADMIN: Final = admin_pb.DESCRIPTOR.services_by_name["ShardAdminService"]
# What is being written when the drain ends may still arrive.
_LAST_WORDS: Final = 0.2
_BACKSTOP: Final = 30.0

log = get_logger(__name__)


@dataclass(slots=True)
class Shutdown:
    """How a worker is told to end: first to drain, then at once."""

    drain: asyncio.Event = field(default_factory=asyncio.Event)
    now: asyncio.Event = field(default_factory=asyncio.Event)

    def request(self) -> None:
        """Ask for a drain; asked twice, for an end at once."""
        if self.drain.is_set():
            self.now.set()
        self.drain.set()


async def serve_worker(
    config: ServerConfig,
    addresses: Sequence[Address],
    shutdown: Shutdown,
    *,
    folder: Path,
    worker: int = 0,
    on_ready: Callable[[], None] = lambda: None,
    guards_strict: bool = True,
) -> None:
    """Serve until *shutdown* is asked for.

    Args:
        config: the server's settings.
        addresses: where to listen; their ports are real.
        shutdown: ends this.
        folder: for sockets that only this server's processes use.
        worker: this worker's number, from 0.
        on_ready: called once connections are accepted. PostgreSQL may be down by then.
        guards_strict: no setting leads here; tests show by False that tenants with strict
            isolation need no guard. All others are guarded in any case.

    Raises:
        AddressInUse: if an address cannot be listened on.
    """
    worker_process = _Worker(config, folder, worker, guards_strict=guards_strict)
    await worker_process.serve(addresses, shutdown, on_ready)


class _Worker:
    """The objects of a worker, wired."""

    def __init__(
        self, config: ServerConfig, folder: Path, worker: int, *, guards_strict: bool
    ) -> None:
        self._config = config
        self._worker = worker
        dsn = config.postgres
        self._authority = Authority(config)
        self._tenure = Tenure(self._authority, config)
        peers = RelayedPeers(folder, worker)
        self._control = ControlConnection(
            config.dsn.get_secret_value(),
            channel=PLACEMENT_CHANNEL,
            prepare=self._prepare,
            connect_timeout=dsn.connect_timeout,
        )
        self._logins = TenantLogins(dsn, self._control)
        placements = PlacementTable(self._control)
        self._health = HealthReporter([_SHARD.full_name, _ADMIN.full_name])
        self._control.watch(self._health)
        self._pool = BackendPool(
            dsn,
            self._logins,
            size=config.data_connections(worker),
            queue_size=config.queue_size,
            tenants=config.tenants_per_connection,
            settings=_session_settings(config),
        )
        self._sessions = Sessions(
            self._pool,
            Targets(placements, dsn.database, config.extension_schema, guards_strict=guards_strict),
            self._authority,
            self._tenure,
            worker=worker,
            queue_timeout=config.queue_timeout,
            statements=config.statements_per_session,
            version=server_version(),
        )
        self._siblings = Siblings(folder, worker, config.workers)
        self._service = ShardService(self._sessions, self._siblings, peers)
        self._admin = ShardAdminService(
            config,
            placements,
            self._authority,
            peers,
            self._logins,
            pool_size=self._pool.size,
            load=self._load,
        )
        self._streams = CallStreams(
            {
                f"/{_SHARD.full_name}/Session": Method(
                    pb.SessionRequest.FromString, self._sessions.serve
                ),
                **unary_methods(_SHARD, self._service),
                **unary_methods(_ADMIN, self._admin),
            }
        )
        self._socket = worker_socket(folder, worker)
        self._front = Front(
            config, self._socket, self._streams.take_over, self._streams.paths, peers
        )

    async def serve(
        self, addresses: Sequence[Address], shutdown: Shutdown, on_ready: Callable[[], None]
    ) -> None:
        self._front.bind(addresses)
        server = self._server()
        async with asyncio.TaskGroup() as tasks:
            kept = [
                tasks.create_task(self._control.run()),
                tasks.create_task(self._health.run()),
                tasks.create_task(self._streams.watch()),
                tasks.create_task(self._tenure.watch()),
            ]
            # The first answer about health is then the right one.
            await self._control.attempted()
            await self._health.publish()
            await server.start()
            try:
                await self._front.start()
                on_ready()
                await shutdown.drain.wait()
                await self._drain(shutdown)
            finally:
                patience = 0 if shutdown.now.is_set() else _LAST_WORDS
                self._front.close()
                await asyncio.gather(self._streams.close(patience), server.stop(patience))
                await self._siblings.close()
                await self._admin.close()
                await self._pool.close()
                for task in kept:
                    task.cancel()

    async def _prepare(self, connection: AsyncConnection) -> None:
        await check_rights(connection, self._config)
        shard_id = await bootstrap(connection, self._config.extension_schema)
        self._authority.shard_id = str(shard_id)
        await self._logins.prepare(connection)

    async def _drain(self, shutdown: Shutdown) -> None:
        log.info("draining", worker=self._worker, timeout=self._config.drain_timeout)
        await self._health.drain()
        self._streams.go_away()
        await _first(self._sessions.drain(self._config.drain_timeout), shutdown.now.wait())
        log.info("stopping", worker=self._worker, at_once=shutdown.now.is_set())

    def _server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=_options(self._config))
        names = [_SHARD.full_name, _ADMIN.full_name, self._health.service_name()]
        server.add_generic_rpc_handlers(
            (
                service_handler(_SHARD, self._service),
                service_handler(_ADMIN, self._admin),
                self._health.handler(),
            )
        )
        if self._config.reflection:
            add_reflection(server, names)
        server.add_insecure_port(f"unix:{self._socket}")
        return server

    def _load(self) -> tuple[int, int, int]:
        return self._pool.open_count, self._pool.busy_count, self._sessions.count


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Wait for the first of *awaitables*, and cancel the others."""
    tasks = [asyncio.ensure_future(item) for item in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _session_settings(config: ServerConfig) -> dict[str, str]:
    """Return the startup parameters of backend connections; what resets return to."""
    idle = config.idle_in_transaction_timeout
    return {
        "statement_timeout": f"{round(config.statement_timeout * 1000)}ms",
        # The limit is ``tenure``'s; should this process hang, locks are released all the same.
        "idle_in_transaction_session_timeout": (
            f"{round((idle + _BACKSTOP) * 1000) if idle else 0}ms"
        ),
    }


def _options(config: ServerConfig) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        # A client that vanished without a word is noticed, and its transaction rolled back.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
