"""ShardAdminService: the shard's placements, and what they name.

Handlers check, delegate, and map errors. Invariants: two administrative calls at
most use PostgreSQL in a worker, on connections beside the pool, so that a slow one
delays neither statements nor placement changes; a change is known to this worker's
cache before the call returns.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Final
from uuid import UUID

import grpc
import psycopg
from psycopg import errors as pg_errors
from psycopg.conninfo import make_conninfo

from mtdd_router.errors import InvalidTenantName
from mtdd_router.pb import shard_admin_service_pb2 as admin_pb
from mtdd_router.server.admin_connections import AdminConnections
from mtdd_router.server.auth import Authority, Grant, Permission
from mtdd_router.server.calls import CallContext, CallRefused
from mtdd_router.server.config import ADMIN_CONNECTIONS, ServerConfig
from mtdd_router.server.control import AsyncConnection, connect
from mtdd_router.server.identifiers import InvalidIdentifier
from mtdd_router.server.inventory import Inventory
from mtdd_router.server.logs import describe, get_logger
from mtdd_router.server.namespaces import AlreadyExists, Namespaces, NotPossible
from mtdd_router.server.peers import RelayedPeers
from mtdd_router.server.placements import PlacementTable
from mtdd_router.server.schemas import Schemas
from mtdd_router.server.script_parts import SchemaDiffers
from mtdd_router.server.scripts import Scripts
from mtdd_router.server.tenant_logins import TenantLogins
from mtdd_router.server.updates import NoSuchTenant, update_placement
from mtdd_router.server.upkeep import Upkeep
from mtdd_router.server.version import server_version
from mtdd_router.types import Isolation, Placement, TenantState, validate_tenant_name
from mtdd_router.wire.placements import (
    InvalidPlacement,
    placement_from_message,
    placement_message,
    state_from_message,
)
from mtdd_router.wire.schemas import (
    detail_from_message,
    outcome_message,
    part_from_message,
    states_message,
)

__all__ = ["Load", "ShardAdminService"]

Load = Callable[[], tuple[int, int, int]]
"""Returns the worker's open and busy backend connections and its open sessions."""

_PAGE: Final = 10_000

_CODES: Final[tuple[tuple[type[Exception], grpc.StatusCode], ...]] = (
    (InvalidTenantName, grpc.StatusCode.INVALID_ARGUMENT),
    (InvalidIdentifier, grpc.StatusCode.INVALID_ARGUMENT),
    (InvalidPlacement, grpc.StatusCode.INVALID_ARGUMENT),
    (NoSuchTenant, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (NotPossible, grpc.StatusCode.FAILED_PRECONDITION),
    # Two calls made the same thing at once.
    (pg_errors.UniqueViolation, grpc.StatusCode.ALREADY_EXISTS),
    (pg_errors.DuplicateObject, grpc.StatusCode.ALREADY_EXISTS),
    (pg_errors.DuplicateSchema, grpc.StatusCode.ALREADY_EXISTS),
    (pg_errors.DuplicateDatabase, grpc.StatusCode.ALREADY_EXISTS),
    (pg_errors.InsufficientPrivilege, grpc.StatusCode.FAILED_PRECONDITION),
    (pg_errors.LockNotAvailable, grpc.StatusCode.FAILED_PRECONDITION),
    (pg_errors.OutOfMemory, grpc.StatusCode.RESOURCE_EXHAUSTED),
    # The schema mtdd is not made yet: PostgreSQL came up a moment ago.
    (pg_errors.UndefinedTable, grpc.StatusCode.UNAVAILABLE),
    (pg_errors.InvalidSchemaName, grpc.StatusCode.UNAVAILABLE),
    (psycopg.OperationalError, grpc.StatusCode.UNAVAILABLE),
    (psycopg.Error, grpc.StatusCode.INTERNAL),
)

log = get_logger(__name__)


class ShardAdminService:
    """The administration of one shard, from one worker process.

    Args:
        config: the server's settings.
        placements: this worker's cache, told of changes.
        authority: tells what a call may do.
        peers: who is behind the connections that are relayed here.
        logins: how tenants with strict isolation log in.
        pool_size: the bound on this worker's backend connections.
        load: tells how many are in use.
    """

    def __init__(
        self,
        config: ServerConfig,
        placements: PlacementTable,
        authority: Authority,
        peers: RelayedPeers,
        logins: TenantLogins,
        *,
        pool_size: int,
        load: Load,
    ) -> None:
        self._config = config
        self._placements = placements
        self._authority = authority
        self._peers = peers
        self._logins = logins
        self._pool_size = pool_size
        self._load = load
        self._connections = AdminConnections(
            config.dsn.get_secret_value(),
            config.postgres.connect_timeout,
            size=ADMIN_CONNECTIONS,
        )
        # What changes catalogs makes every other backend read them again: two at once take
        # longer than one after the other.
        self._changing = asyncio.Lock()
        self._upkeep = Upkeep(self._connections, self._namespaces)

    async def close(self) -> None:
        """Close what is kept open between calls."""
        await self._upkeep.stop()
        await self._connections.close()

    async def GetIdentity(  # noqa: N802 - the names are the protocol's
        self, _request: admin_pb.GetIdentityRequest, context: CallContext
    ) -> admin_pb.GetIdentityResponse:
        """Tell which shard this is, to anybody: a token has to name it."""
        if not self._authority.shard_id:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "PostgreSQL has not told it yet.")
        return admin_pb.GetIdentityResponse(shard_id=self._authority.shard_id)

    async def GetInfo(  # noqa: N802 - the names are the protocol's
        self, request: admin_pb.GetInfoRequest, context: CallContext
    ) -> admin_pb.GetInfoResponse:
        """Tell what this server is."""
        async with self._call("GetInfo", "", context) as namespaces:
            facts = await Inventory(namespaces).facts(size=request.size)
        pool_open, pool_busy, sessions = self._load()
        return admin_pb.GetInfoResponse(
            shard_id=str(facts.shard_id),
            server_version=server_version(),
            postgres_version=facts.postgres_version,
            database_name=facts.database_name,
            database_bytes=facts.database_bytes,
            tenants=facts.tenants,
            pool_size=self._pool_size,
            pool_open=pool_open,
            pool_busy=pool_busy,
            sessions=sessions,
        )

    async def CreateNamespace(  # noqa: N802
        self, request: admin_pb.CreateNamespaceRequest, context: CallContext
    ) -> admin_pb.CreateNamespaceResponse:
        """Make a tenant's role, namespace and placement."""
        tenant = request.placement.tenant
        async with self._call("CreateNamespace", tenant, context, alone=True) as namespaces:
            if request.shard_id and request.shard_id != str(namespaces.shard_id):
                raise NotPossible(
                    f"Another shard is meant, {request.shard_id}; this one is "
                    f"{namespaces.shard_id}."
                )
            placement = placement_from_message(request.placement)
            validate_tenant_name(placement.tenant)
            if placement.state not in (TenantState.CREATING, TenantState.ACTIVE):
                raise InvalidPlacement("A new placement is creating or active.")
            part = part_from_message(request.part) if request.HasField("part") else None
            ran = False
            try:
                if part is None:
                    stored = await namespaces.create(placement)
                else:
                    filled = await namespaces.create_filled(
                        placement, part, compared=request.compared
                    )
                    stored, ran = filled.placement, filled.ran
            except SchemaDiffers:
                return admin_pb.CreateNamespaceResponse(differs=True)
            finally:
                self._placements.forget(tenant)
        self._upkeep.see_to_roles(stored.isolation)
        if part is not None and stored.isolation is Isolation.SCHEMA:
            self._upkeep.make_schemas(part)
        return admin_pb.CreateNamespaceResponse(placement=placement_message(stored), ran=ran)

    async def DropNamespace(  # noqa: N802
        self, request: admin_pb.DropNamespaceRequest, context: CallContext
    ) -> admin_pb.DropNamespaceResponse:
        """Remove a tenant, or an orphan."""
        async with self._call(
            "DropNamespace", request.tenant or request.orphan, context, alone=True
        ) as namespaces:
            if bool(request.tenant) == bool(request.orphan):
                raise InvalidPlacement("Name either a tenant or an orphan.")
            if request.orphan:
                dropped = await namespaces.drop_orphan(request.orphan)
            else:
                validate_tenant_name(request.tenant)
                try:
                    dropped = await namespaces.drop(request.tenant)
                finally:
                    self._placements.forget(request.tenant)
        if dropped:
            self._upkeep.see_to_roles()
        return admin_pb.DropNamespaceResponse(dropped=dropped)

    async def UpdatePlacement(  # noqa: N802
        self, request: admin_pb.UpdatePlacementRequest, context: CallContext
    ) -> admin_pb.UpdatePlacementResponse:
        """Change name, state or epoch."""
        async with self._call("UpdatePlacement", request.tenant, context) as namespaces:
            validate_tenant_name(request.tenant)
            if request.name:
                validate_tenant_name(request.name)
            state = state_from_message(request.state)
            if request.state and state is None:
                raise InvalidPlacement("The new state is unknown; a newer server may know it.")
            try:
                stored: Placement = await update_placement(
                    namespaces,
                    request.tenant,
                    expected_epoch=request.expected_epoch,
                    name=request.name,
                    state=state,
                    epoch=request.epoch,
                )
            finally:
                self._placements.forget(request.tenant)
                if request.name:
                    self._placements.forget(request.name)
        return admin_pb.UpdatePlacementResponse(placement=placement_message(stored))

    async def ListPlacements(  # noqa: N802
        self, request: admin_pb.ListPlacementsRequest, context: CallContext
    ) -> admin_pb.ListPlacementsResponse:
        """List placements, and what does not fit together."""
        tenants = list(request.tenants)
        tenant = tenants[0] if len(tenants) == 1 else ""
        async with self._call("ListPlacements", tenant, context) as namespaces:
            inventory = Inventory(namespaces)
            placements, missing = await inventory.page(
                tenants, after=request.after, limit=request.limit or _PAGE
            )
            # Once, with the first page.
            orphans = await inventory.orphans() if request.orphans and not request.after else []
        return admin_pb.ListPlacementsResponse(
            placements=[placement_message(placement) for placement in placements],
            orphans=orphans,
            missing=missing,
        )

    async def GetSizes(  # noqa: N802
        self, request: admin_pb.GetSizesRequest, context: CallContext
    ) -> admin_pb.GetSizesResponse:
        """Measure namespaces."""
        async with self._call("GetSizes", "", context) as namespaces:
            sizes = await Inventory(namespaces).sizes(list(request.tenants))
        return admin_pb.GetSizesResponse(bytes_by_tenant=sizes)

    async def InspectSchemas(  # noqa: N802
        self, request: admin_pb.InspectSchemasRequest, context: CallContext
    ) -> admin_pb.InspectSchemasResponse:
        """Read which migrations tenants have, and what their catalogs hold."""
        async with self._call("InspectSchemas", "", context) as namespaces:
            schemas = Schemas(namespaces.connection, self._connect_to)
            states = await schemas.inspect(
                list(request.tenants), detail_from_message(request.detail)
            )
        return states_message(states)

    async def RunScript(  # noqa: N802
        self, request: admin_pb.RunScriptRequest, context: CallContext
    ) -> admin_pb.RunScriptResponse:
        """Run one script on each of some tenants."""
        async with self._call("RunScript", "", context, alone=True) as namespaces:
            scripts = Scripts(
                namespaces.connection,
                self._connect_to,
                extension_schema=self._config.extension_schema,
                lock_timeout_ms=request.lock_timeout_ms,
            )
            parts = [part_from_message(part) for part in request.parts]
            outcomes = []
            async for outcome in scripts.run(request.tenants, parts):
                outcomes.append(outcome)
                if request.fail_fast and outcome.failure:
                    break
        return admin_pb.RunScriptResponse(outcomes=map(outcome_message, outcomes))

    @asynccontextmanager
    async def _connect_to(self, database: str) -> AsyncIterator[AsyncConnection]:
        dsn = make_conninfo(self._config.dsn.get_secret_value(), dbname=database)
        connection = await connect(dsn, self._config.postgres.connect_timeout)
        try:
            yield connection
        finally:
            await connection.close()

    def _namespaces(self, connection: AsyncConnection, shard_id: UUID) -> Namespaces:
        return Namespaces(
            connection, shard_id, self._logins, extension_schema=self._config.extension_schema
        )

    @asynccontextmanager
    async def _call(
        self, method: str, tenant: str, context: CallContext, *, alone: bool = False
    ) -> AsyncIterator[Namespaces]:
        """Check the permission, lend a connection, and turn exceptions into status codes.

        A call that runs *alone* waits for others of its kind.
        """
        caller = (await self._require_admin(context)).caller
        started = asyncio.get_running_loop().time()
        failure = ""
        try:
            async with (
                self._changing if alone else nullcontext(),
                self._connections.use() as (connection, shard_id),
            ):
                yield self._namespaces(connection, shard_id)
        except tuple(kind for kind, _ in _CODES) as exc:
            code, failure = _status(exc), describe(exc)
            if code is grpc.StatusCode.INTERNAL:
                log.exception("admin_failed", method=method, tenant=tenant)
            await context.abort(code, _message(exc))
        finally:
            log.info(
                "admin_call",
                caller=caller,
                method=method,
                tenant=tenant,
                duration_ms=round((asyncio.get_running_loop().time() - started) * 1000, 3),
                **({"failure": failure} if failure else {}),
            )

    async def _require_admin(self, context: CallContext) -> Grant:
        metadata = tuple(context.invocation_metadata() or ())
        try:
            grant = self._authority.authorize(metadata, self._peers.of(context.peer()))
        except CallRefused as exc:
            return await context.abort(grpc.StatusCode[exc.code.name], exc.message)
        if Permission.ADMIN not in grant.permissions:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"Caller {grant.caller!r} may not administer the shard.",
            )
        return grant


def _status(exc: Exception) -> grpc.StatusCode:
    return next(code for kind, code in _CODES if isinstance(exc, kind))


def _message(exc: Exception) -> str:
    if not isinstance(exc, psycopg.Error):
        return str(exc)
    primary = exc.diag.message_primary
    if isinstance(exc, pg_errors.UniqueViolation):
        return "A tenant, namespace or role of that name was made at the same moment; try again."
    if isinstance(exc, pg_errors.InsufficientPrivilege):
        return (
            f"The shard server's login role lacks a right: {primary}. "
            "It must own the tenants' roles and be allowed to create in the database."
        )
    if primary:
        return f"PostgreSQL of this shard said: {primary} (SQLSTATE {exc.sqlstate})"
    return f"PostgreSQL of this shard cannot be reached: {exc}"
