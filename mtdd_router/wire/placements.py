"""Placement values <-> messages."""

from typing import Final

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.types import Isolation, Placement, TenantState

__all__ = [
    "STATES",
    "InvalidPlacement",
    "placement_from_message",
    "placement_message",
    "state_from_message",
]

_ISOLATIONS: Final = {
    Isolation.SCHEMA: pb.ISOLATION_SCHEMA,
    Isolation.DATABASE: pb.ISOLATION_DATABASE,
    Isolation.STRICT: pb.ISOLATION_STRICT,
}
STATES: Final = {
    TenantState.CREATING: pb.PLACEMENT_STATE_CREATING,
    TenantState.ACTIVE: pb.PLACEMENT_STATE_ACTIVE,
    TenantState.FROZEN: pb.PLACEMENT_STATE_FROZEN,
    TenantState.DELETED: pb.PLACEMENT_STATE_DELETED,
    TenantState.DELETING: pb.PLACEMENT_STATE_DELETING,
}
_ISOLATION_OF: Final = {value: key for key, value in _ISOLATIONS.items()}
_STATE_OF: Final = {value: key for key, value in STATES.items()}


class InvalidPlacement(ValueError):
    """A placement in a message is not valid."""


def placement_message(placement: Placement) -> pb.Placement:
    """Return the message of *placement*."""
    return pb.Placement(
        tenant=placement.tenant,
        isolation=_ISOLATIONS[placement.isolation],
        namespace=placement.namespace,
        role=placement.role,
        epoch=placement.epoch,
        state=STATES[placement.state],
    )


def placement_from_message(message: pb.Placement) -> Placement:
    """Return the placement of *message*.

    Raises:
        InvalidPlacement: naming the field that is wrong.
    """
    state = state_from_message(message.state)
    if message.isolation not in _ISOLATION_OF or state is None:
        missing = "state" if state is None else "isolation"
        raise InvalidPlacement(f"The placement's {missing} is missing or unknown.")
    if message.epoch < 1:
        raise InvalidPlacement(f"The placement's epoch is {message.epoch}; 1 is the first.")
    return Placement(
        tenant=message.tenant,
        isolation=_ISOLATION_OF[message.isolation],
        namespace=message.namespace,
        role=message.role,
        epoch=message.epoch,
        state=state,
    )


def state_from_message(state: pb.PlacementState) -> TenantState | None:
    """Return the state, or None if it is unspecified or unknown."""
    return _STATE_OF.get(state)
