"""Inserting the placement of a new tenant, which gives it what was made ahead for it."""

from dataclasses import dataclass
from typing import Any, Final, Self

from psycopg import sql

from mtdd_router.server.placements import PLACEMENT_COLUMNS, placement_from_row
from mtdd_router.server.preexisting import PREEXISTING, Preexisting
from mtdd_router.server.spare_roles import logs_in
from mtdd_router.server.spare_schemas import USABLE, SpareSchema
from mtdd_router.types import Placement

__all__ = ["Placed", "placing"]

_PLACING: Final = f"""
WITH ready AS (
    SELECT name, role, locked FROM mtdd.spare_schema WHERE script = {{script}} AND {USABLE}
     LIMIT 1 FOR UPDATE SKIP LOCKED
),
spare AS (
    SELECT role FROM mtdd.spare_role
     WHERE login = {{login}} AND usable AND NOT EXISTS (SELECT FROM ready)
     LIMIT 1 FOR UPDATE SKIP LOCKED
),
placed AS (
    INSERT INTO mtdd.placement ({PLACEMENT_COLUMNS})
    SELECT {{tenant}}, {{isolation}}, {{namespace}},
           coalesce((SELECT role FROM ready), (SELECT role FROM spare), {{role}}),
           {{epoch}}, {{state}}
    ON CONFLICT DO NOTHING
    RETURNING {PLACEMENT_COLUMNS}
),
given AS (
    DELETE FROM mtdd.spare_role USING placed WHERE spare_role.role = placed.role
),
filled AS (
    DELETE FROM mtdd.spare_schema USING placed WHERE spare_schema.role = placed.role
)
SELECT placed.*, {PREEXISTING.format(role="placed.role", schema="placed.namespace")},
       (SELECT name FROM ready), (SELECT locked FROM ready)
  FROM placed
"""


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement that was inserted, or was there.

    Attributes:
        placement: as stored.
        there: what there was of what it names.
        spare: the schema made ahead that it gets; None if it gets none.
    """

    placement: Placement
    there: Preexisting
    spare: SpareSchema | None = None

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Self:
        """Return that of the row which `placing` gave."""
        *columns, comment, may_switch, may_connect, retired, owner, spare, table = row
        there = Preexisting(comment, may_switch, may_connect, retired, owner)
        ready = None if spare is None else SpareSchema(spare, table)
        return cls(placement_from_row(tuple(columns)), there, ready)


def placing(placement: Placement, script: bytes | None) -> sql.Composable:
    """Return what inserts the placement, with a spare role instead of its own if there is one.

    It returns a row for `Placed`, or none if what must be unique is taken.

    Args:
        placement: the new one.
        script: that of the spare schema which it may get; None if it may get none.
    """
    return sql.SQL(_PLACING).format(
        script=script,
        login=logs_in(placement.isolation),
        tenant=placement.tenant,
        isolation=placement.isolation.value,
        namespace=placement.namespace,
        role=placement.role,
        epoch=placement.epoch,
        state=placement.state.value,
    )
