"""What is measured, done once: through the ORM as an application would write it, and
straight, as psycopg alone does it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.sites import PLANES, USERS

__all__ = ["WORKS", "Work"]

CREATED_ROWS = 10_000
LISTED_ROWS = 10_000
_FLIGHT = {
    "departs_at": datetime(2013, 1, 1, tzinfo=UTC),
    "origin": "JFK",
    "destination": "SFO",
    "tail_number": "N12345",
    "departure_delay_minutes": 3,
    "arrival_delay_minutes": None,
    "air_time_minutes": 340,
    "distance_miles": 2586,
}
_USER_COLUMNS = (
    "id, password, last_login, is_superuser, username, first_name, last_name, email,"
    " is_staff, is_active, date_joined"
)


@dataclass(frozen=True)
class Work:
    """One thing to do.

    Attributes:
        run: does it once, given a `benchmarks.tables.Tables` and a tenant.
        straight: the same with a psycopg connection and a schema.
        count: how often in each round.
        after: makes good what it did, outside of what is measured.
    """

    run: Callable[[Any, str], object]
    straight: Callable[[Any, str], object] | None = None
    count: int = 1
    after: Callable[[Any, str], object] | None = None


def _get(tables: Any, tenant: str) -> object:
    return tables.users(tenant).get(pk=7)


def _get_straight(connection: Any, schema: str) -> object:
    query = f'SELECT {_USER_COLUMNS} FROM "{schema}".auth_user WHERE id = %s LIMIT 21'
    return connection.execute(query, [7]).fetchone()


def _atomic(tables: Any, tenant: str) -> None:
    from django.db import transaction

    with transaction.atomic(using=tables.alias(tenant)):
        user = tables.users(tenant).get(pk=8)
        user.first_name = "changed"
        user.save()


def _atomic_said(tables: Any, tenant: str) -> None:
    """The same, where the application says that the save is the last statement."""
    from django.db import transaction

    from mtdd_router import last_write

    alias = tables.alias(tenant)
    with transaction.atomic(using=alias):
        user = tables.users(tenant).get(pk=8)
        user.first_name = "changed"
        with last_write(using=alias):
            user.save()


def _atomic_straight(connection: Any, schema: str) -> None:
    with connection.transaction():
        query = f'SELECT {_USER_COLUMNS} FROM "{schema}".auth_user WHERE id = %s LIMIT 21'
        row = connection.execute(query, [8]).fetchone()
        connection.execute(
            f'UPDATE "{schema}".auth_user SET first_name = %s WHERE id = %s', ["changed", row[0]]
        )


def _list(tables: Any, tenant: str) -> None:
    columns = ("pk", "username", "email", "is_active", "date_joined")
    rows = list(tables.users(tenant).values_list(*columns))
    assert len(rows) == LISTED_ROWS


def _list_straight(connection: Any, schema: str) -> None:
    query = f'SELECT id, username, email, is_active, date_joined FROM "{schema}".auth_user'
    assert len(connection.execute(query).fetchall()) == LISTED_ROWS


def _bulk_create(tables: Any, tenant: str) -> None:
    flight = tables.flights(tenant).model
    tables.flights(tenant).bulk_create(
        [flight(number=number, **_FLIGHT) for number in range(CREATED_ROWS)]
    )


def _empty(tables: Any, tenant: str) -> None:
    with tables.connection(tenant).cursor() as cursor:
        cursor.execute("TRUNCATE flights_flight")


def _iterate(tables: Any, tenant: str) -> None:
    count = 0
    for _ in tables.planes(tenant).order_by().iterator():
        count += 1
    assert count == PLANES.rows


def _mixed(tables: Any, tenant: str) -> None:
    """Three reads and a write, each of a row of this thread's own choice."""
    for _ in range(3):
        tables.users(tenant).get(pk=tables.random.randint(1, USERS.rows))
    written = tables.users(tenant).filter(pk=tables.random.randint(1, USERS.rows))
    written.update(first_name="changed")


WORKS = {
    "get": Work(_get, _get_straight, count=150),
    "atomic": Work(_atomic, _atomic_straight, count=60),
    "atomic, last_write": Work(_atomic_said, count=60),
    "list": Work(_list, _list_straight, count=6),
    "bulk_create": Work(_bulk_create, count=1, after=_empty),
    "iterate": Work(_iterate),
    "mixed": Work(_mixed),
}
