"""Schema states and scripts <-> messages."""

from collections.abc import Iterable, Mapping
from typing import Final

from mtdd_router.pb import shard_admin_service_pb2 as admin_pb
from mtdd_router.types import (
    SchemaDetail,
    SchemaFact,
    SchemaState,
    ScriptOutcome,
    ScriptPart,
    Settled,
    applied_digest,
)

__all__ = [
    "DETAILS",
    "detail_from_message",
    "outcome_from_message",
    "outcome_message",
    "part_from_message",
    "part_message",
    "states_from_message",
    "states_message",
]

DETAILS: Final[Mapping[SchemaDetail, "admin_pb.SchemaDetail"]] = {
    SchemaDetail.APPLIED: admin_pb.SCHEMA_DETAIL_APPLIED,
    SchemaDetail.FINGERPRINT: admin_pb.SCHEMA_DETAIL_FINGERPRINT,
    SchemaDetail.FACTS: admin_pb.SCHEMA_DETAIL_FACTS,
}
_DETAIL_OF: Final = {value: key for key, value in DETAILS.items()}


def detail_from_message(detail: admin_pb.SchemaDetail) -> SchemaDetail:
    """Return the detail; APPLIED if it is unspecified or unknown."""
    return _DETAIL_OF.get(detail, SchemaDetail.APPLIED)


def states_message(states: Iterable[SchemaState]) -> admin_pb.InspectSchemasResponse:
    """Return the message of *states*, which has each set of migrations once."""
    response = admin_pb.InspectSchemasResponse()
    digests: dict[tuple[str, ...], str] = {}
    for state in states:
        if state.applied not in digests:
            digests[state.applied] = applied_digest(state.applied)
            response.applied.add(digest=digests[state.applied], names=state.applied)
        response.postgres_major = state.postgres_major
        response.states.add(
            tenant=state.tenant,
            applied=digests[state.applied],
            fingerprint=state.fingerprint,
            facts=[
                admin_pb.SchemaFact(kind=f.kind, object=f.object, definition=f.definition)
                for f in state.facts
            ],
        )
    return response


def states_from_message(response: admin_pb.InspectSchemasResponse) -> dict[str, SchemaState]:
    """Return the states of the message, by tenant."""
    applied = {entry.digest: tuple(entry.names) for entry in response.applied}
    return {
        state.tenant: SchemaState(
            tenant=state.tenant,
            applied=applied[state.applied],
            postgres_major=response.postgres_major,
            fingerprint=state.fingerprint,
            facts=tuple(SchemaFact(f.kind, f.object, f.definition) for f in state.facts),
        )
        for state in response.states
    }


def part_message(part: ScriptPart) -> admin_pb.ScriptPart:
    """Return the message of *part*."""
    return admin_pb.ScriptPart(
        statements=part.statements,
        atomic=part.atomic,
        expected=part.expected,
        fingerprint=part.fingerprint,
        settled=_settled_message(part.settled) if part.settled else None,
    )


def part_from_message(message: admin_pb.ScriptPart) -> ScriptPart:
    """Return the part of *message*."""
    return ScriptPart(
        statements=tuple(message.statements),
        atomic=message.atomic,
        expected=message.expected,
        fingerprint=message.fingerprint,
        settled=_settled_from_message(message.settled) if message.HasField("settled") else None,
    )


def _settled_message(settled: Settled) -> admin_pb.Settled:
    return admin_pb.Settled(
        statements=settled.statements, query=settled.query, answer=settled.answer
    )


def _settled_from_message(message: admin_pb.Settled) -> Settled:
    return Settled(message.statements, message.query, message.answer)


def outcome_message(outcome: ScriptOutcome) -> admin_pb.ScriptOutcome:
    """Return the message of *outcome*."""
    return admin_pb.ScriptOutcome(
        tenant=outcome.tenant,
        parts_done=outcome.parts_done,
        seconds=outcome.seconds,
        failure=outcome.failure,
        sqlstate=outcome.sqlstate,
        differs=outcome.differs,
    )


def outcome_from_message(message: admin_pb.ScriptOutcome) -> ScriptOutcome:
    """Return the outcome of *message*."""
    return ScriptOutcome(
        tenant=message.tenant,
        parts_done=message.parts_done,
        seconds=message.seconds,
        failure=message.failure,
        sqlstate=message.sqlstate,
        differs=message.differs,
    )
