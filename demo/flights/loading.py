"""Making each carrier a tenant with its own planes, flights and users.

All rows go through the ORM, so over gRPC. Everything may be repeated: a carrier
whose flights are there is left alone, one that was interrupted is loaded anew.
"""

from collections.abc import Callable, Mapping, Sequence

from django.contrib.auth.models import User
from django.db import transaction

from demo.flights.dataset import Carrier, Row, departure, number
from demo.flights.models import Flight, Plane
from tenants.models import Tenant
from tenants.services import create_tenant

__all__ = ["ensure_tenant", "load_carrier"]

_ROWS_PER_STATEMENT = 1_000
# The same names, and so the same ids, in every tenant: they are different people.
_USERS = ("chief", "dispatcher", "pilot")


def ensure_tenant(carrier: Carrier) -> Tenant:
    """Return the carrier's tenant, created on the least loaded shard if need be."""
    found = Tenant.objects.select_related("shard").filter(name=carrier.tenant).first()
    return found or create_tenant(carrier.tenant)


def load_carrier(
    carrier: Carrier,
    rows: Sequence[Row],
    aircraft: Mapping[str, Row],
    progress: Callable[[int], object],
) -> bool:
    """Load the carrier's *rows* into its tenant; return False if they were there.

    *progress* is called with the number of flights just stored.
    """
    name = carrier.tenant
    if Flight.objects.mtdd(name).count() == len(rows):
        progress(len(rows))
        return False
    with transaction.atomic(using=name):
        for model in (Flight, Plane, User):
            model.objects.mtdd(name).all().delete()
        for identity, username in enumerate(_USERS, start=1):
            User.objects.mtdd(name).create(
                pk=identity,
                username=username,
                first_name=username.title(),
                last_name=f"of {carrier.name}",
                email=f"{username}@{name}.example",
            )
        planes = _store_planes(name, rows, aircraft)
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            Flight.objects.mtdd(name).bulk_create([_flight(row, planes) for row in part])
            progress(len(part))
    return True


def _store_planes(tenant: str, rows: Sequence[Row], aircraft: Mapping[str, Row]) -> dict[str, int]:
    used = sorted({row["tailnum"] for row in rows} & aircraft.keys())
    stored = Plane.objects.mtdd(tenant).bulk_create(
        [
            Plane(
                tail_number=tail_number,
                built=number(aircraft[tail_number]["year"]),
                manufacturer=aircraft[tail_number]["manufacturer"],
                model=aircraft[tail_number]["model"],
                seats=int(aircraft[tail_number]["seats"]),
            )
            for tail_number in used
        ],
        batch_size=_ROWS_PER_STATEMENT,
    )
    return {plane.tail_number: plane.pk for plane in stored}


def _flight(row: Row, planes: Mapping[str, int]) -> Flight:
    tail_number = "" if row["tailnum"] == "NA" else row["tailnum"]
    return Flight(
        number=int(row["flight"]),
        departs_at=departure(row),
        origin=row["origin"],
        destination=row["dest"],
        tail_number=tail_number,
        plane_id=planes.get(tail_number),
        departure_delay_minutes=number(row["dep_delay"]),
        arrival_delay_minutes=number(row["arr_delay"]),
        air_time_minutes=number(row["air_time"]),
        distance_miles=int(row["distance"]),
    )
