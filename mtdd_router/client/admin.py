"""ShardAdminService, called as plain functions on plain values."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from mtdd_router.client.call import CallFailed, call_once
from mtdd_router.client.endpoint import TLS, Endpoint
from mtdd_router.errors import ShardUnreachable
from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_admin_service_pb2 as admin_pb
from mtdd_router.types import (
    Filled,
    Placement,
    SchemaDetail,
    SchemaState,
    ScriptOutcome,
    ScriptPart,
    ShardInfo,
    ShardPlacements,
    TenantState,
)
from mtdd_router.wire.placements import STATES, placement_from_message, placement_message
from mtdd_router.wire.schemas import (
    DETAILS,
    outcome_from_message,
    part_message,
    states_from_message,
)
from mtdd_router.wire.status import exception_for

__all__ = ["ShardAdmin"]

_SERVICE: Final = "/mtdd.v1.ShardAdminService"
# So many placements are asked for at once.
_PAGE: Final = 10_000


class ShardAdmin:
    """The administration of the shard server at *address*; each call has a connection of its own.

    Args:
        address: ``host:port`` or ``unix:/path``.
        shard: the shard's name, for messages.
        timeout: of each call, in seconds.
        token: the bearer token with the admin permission, or empty.
        tls: None for no TLS.
        endpoint: instead of all these, a whole endpoint.

    Every method raises ShardUnavailable if the server or its PostgreSQL cannot
    be reached, ShardUnreachable if it was not even asked, and ShardRefused, with
    the server's own words, if it refuses.
    """

    def __init__(
        self,
        address: str = "",
        *,
        shard: str = "",
        timeout: float = 10.0,
        token: str = "",
        tls: TLS | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        self._endpoint = endpoint or Endpoint(address, shard, token, tls)
        self._timeout = timeout

    def identity(self) -> str:
        """Return the shard's id, which signed tokens name; no permission is needed."""
        request = admin_pb.GetIdentityRequest()
        answer = self._call("GetIdentity", request, admin_pb.GetIdentityResponse)
        return str(answer.shard_id)

    def info(self, *, size: bool = False) -> ShardInfo:
        """Return what the server tells of itself and its PostgreSQL.

        *size* measures it, which takes as long as the shard has files.
        """
        request = admin_pb.GetInfoRequest(size=size)
        answer = self._call("GetInfo", request, admin_pb.GetInfoResponse)
        return ShardInfo(**{field: getattr(answer, field) for field in ShardInfo.__slots__})

    def create_namespace(self, placement: Placement) -> Placement:
        """Make the tenant's role, namespace and placement, all or nothing.

        Returns the placement as stored: the shard may have given it another role. Another
        shard than the endpoint's refuses.
        """
        request = admin_pb.CreateNamespaceRequest(
            placement=placement_message(placement), shard_id=self._endpoint.shard_id
        )
        answer = self._call("CreateNamespace", request, admin_pb.CreateNamespaceResponse)
        return placement_from_message(answer.placement)

    def create_filled(
        self, placement: Placement, part: ScriptPart, *, compared: bool = False
    ) -> Filled | None:
        """Do as `create_namespace`, and run an atomic *part* in the schema, all or nothing.

        If the shard has run *part* ahead, the tenant gets a schema in which it has.

        Args:
            placement: what to make.
            part: what to run, with the fingerprint that it is known to lead to.
            compared: it has led there on this shard a moment ago; that is not looked at again.

        Returns None if it did not lead there, or failed; then nothing was made.
        """
        request = admin_pb.CreateNamespaceRequest(
            placement=placement_message(placement),
            part=part_message(part),
            shard_id=self._endpoint.shard_id,
            compared=compared,
        )
        answer = self._call("CreateNamespace", request, admin_pb.CreateNamespaceResponse)
        if answer.differs:
            return None
        return Filled(placement_from_message(answer.placement), ran=answer.ran)

    def drop_namespace(self, tenant: str) -> bool:
        """Remove the tenant with everything it has; return whether anything was there."""
        request = admin_pb.DropNamespaceRequest(tenant=tenant)
        answer = self._call("DropNamespace", request, admin_pb.DropNamespaceResponse)
        return bool(answer.dropped)

    def drop_orphan(self, name: str) -> bool:
        """Remove a namespace or role without a placement; return whether it was there."""
        request = admin_pb.DropNamespaceRequest(orphan=name)
        answer = self._call("DropNamespace", request, admin_pb.DropNamespaceResponse)
        return bool(answer.dropped)

    def update_placement(
        self,
        tenant: str,
        *,
        expected_epoch: int,
        name: str = "",
        state: TenantState | None = None,
        epoch: int = 0,
    ) -> Placement:
        """Change what is given, if the placement still has *expected_epoch*."""
        request = admin_pb.UpdatePlacementRequest(
            tenant=tenant,
            expected_epoch=expected_epoch,
            name=name,
            state=STATES[state] if state else pb.PLACEMENT_STATE_UNSPECIFIED,
            epoch=epoch,
        )
        answer = self._call("UpdatePlacement", request, admin_pb.UpdatePlacementResponse)
        return placement_from_message(answer.placement)

    def placements(self, *tenants: str, orphans: bool = False) -> ShardPlacements:
        """Return the placements of *tenants*, or all; *orphans* of the shard as well if asked."""
        placements: dict[str, Placement] = {}
        found: set[str] = set()
        missing: set[str] = set()
        after = ""
        while True:
            request = admin_pb.ListPlacementsRequest(
                tenants=tenants, after=after, limit=_PAGE, orphans=orphans
            )
            answer = self._call("ListPlacements", request, admin_pb.ListPlacementsResponse)
            page = {item.tenant: placement_from_message(item) for item in answer.placements}
            placements.update(page)
            found.update(answer.orphans)
            missing.update(answer.missing)
            if len(page) < _PAGE:
                break
            after = max(page)
        return ShardPlacements(placements, tuple(sorted(found)), tuple(sorted(missing)))

    def sizes(self, tenants: Iterable[str] = ()) -> Mapping[str, int]:
        """Return the sizes of namespaces in bytes, by tenant; of all without *tenants*."""
        request = admin_pb.GetSizesRequest(tenants=tenants)
        answer = self._call("GetSizes", request, admin_pb.GetSizesResponse)
        return dict(answer.bytes_by_tenant)

    def inspect_schemas(
        self, tenants: Iterable[str], detail: SchemaDetail = SchemaDetail.APPLIED
    ) -> dict[str, SchemaState]:
        """Return the states of the schemas of those of *tenants* that live here."""
        request = admin_pb.InspectSchemasRequest(tenants=tenants, detail=DETAILS[detail])
        answer = self._call("InspectSchemas", request, admin_pb.InspectSchemasResponse)
        return states_from_message(answer)

    def run_script(
        self,
        tenants: Iterable[str],
        parts: Iterable[ScriptPart],
        *,
        lock_timeout: float = 0.0,
        fail_fast: bool = False,
    ) -> list[ScriptOutcome]:
        """Run *parts* on each of *tenants*, and return what became of it.

        Args:
            tenants: where; one that fails does not stop the others.
            parts: in order.
            lock_timeout: bounds each wait for a lock, in seconds; zero does not.
            fail_fast: begin no more once one has failed; those have no outcome.
        """
        request = admin_pb.RunScriptRequest(
            tenants=tenants,
            parts=map(part_message, parts),
            lock_timeout_ms=round(lock_timeout * 1000),
            fail_fast=fail_fast,
        )
        answer = self._call("RunScript", request, admin_pb.RunScriptResponse)
        return [outcome_from_message(outcome) for outcome in answer.outcomes]

    def _call(self, method: str, request: Message, response: type[Message]) -> Any:
        endpoint = self._endpoint
        try:
            answer = call_once(
                endpoint,
                f"{_SERVICE}/{method}",
                request.SerializeToString(),
                limit=self._timeout,
            )
        except CallFailed as exc:
            error = exception_for(exc.status, endpoint.shard, endpoint.address)
            raise (error if exc.sent else ShardUnreachable(str(error))) from exc
        return response.FromString(answer)
