"""What is measured: each work, through the ORM, as an application would write it.

A work is a function of ``Tables`` that does the work once. The table it writes to is
emptied between the timed runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["TENANT", "WORKS", "Tables", "Work"]

TENANT = "bench"
_LIST_ROWS = 10_000
_CREATED_ROWS = 1_000


class Tables:
    """The models, as the candidate reaches them.

    Args:
        tenant: the tenant's name, or None for Django's default database.
    """

    def __init__(self, tenant: str | None) -> None:
        from django.contrib.auth.models import User
        from django.db import connections

        from demo.flights.models import Flight

        self._tenant = tenant
        self.alias = tenant or "default"
        self.connection = connections[self.alias]
        self._users: Any = User.objects
        self._flights: Any = Flight.objects
        self.flight = Flight

    @property
    def users(self) -> Any:
        """The users, addressed the way this candidate's users do."""
        return self._users.mtdd(self._tenant) if self._tenant else self._users

    @property
    def flights(self) -> Any:
        """The flights, likewise."""
        return self._flights.mtdd(self._tenant) if self._tenant else self._flights

    def fill(self) -> None:
        """Make the rows that are read."""
        from django.contrib.auth.models import User

        self.users.bulk_create(
            [
                User(username=f"user{number}", email=f"user{number}@example.org")
                for number in range(1, _LIST_ROWS + 1)
            ],
            batch_size=1000,
        )

    def empty(self) -> None:
        """Empty the table that is written to."""
        with self.connection.cursor() as cursor:
            cursor.execute("TRUNCATE flights_flight")


@dataclass(frozen=True)
class Work:
    """One thing to measure.

    Attributes:
        name: on the command line and in the results.
        title: in tables.
        run: does it once.
        count: how often in each round.
        writes: the written table is emptied after each run.
    """

    name: str
    title: str
    run: Callable[[Tables], object]
    count: int
    writes: bool = False


def _get(tables: Tables) -> object:
    return tables.users.get(pk=7)


def _atomic(tables: Tables) -> None:
    from django.db import transaction

    with transaction.atomic(using=tables.alias):
        user = tables.users.get(pk=8)
        user.first_name = "changed"
        user.save()


def _list_users(tables: Tables) -> object:
    return list(tables.users.order_by("pk")[:50])


def _list_rows(tables: Tables) -> object:
    columns = ("pk", "username", "email", "is_active", "date_joined")
    rows = list(tables.users.values_list(*columns))
    assert len(rows) == _LIST_ROWS
    return rows


def _bulk_create(tables: Tables) -> object:
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    return tables.flights.bulk_create(
        [
            tables.flight(
                number=number,
                departs_at=moment,
                origin="JFK",
                destination="SFO",
                tail_number="N12345",
                departure_delay_minutes=3,
                arrival_delay_minutes=None,
                air_time_minutes=340,
                distance_miles=2586,
            )
            for number in range(_CREATED_ROWS)
        ]
    )


def _raw(tables: Tables) -> object:
    with tables.connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()


WORKS = {
    work.name: work
    for work in (
        Work("get", ".get(pk)", _get, 300),
        Work("atomic", "atomic: get + save", _atomic, 100),
        Work("list50", "list of 50 users", _list_users, 120),
        Work("list10k", "list of 10,000 rows of 5 columns", _list_rows, 6),
        Work("bulk", "bulk_create of 1,000 rows", _bulk_create, 5, writes=True),
        Work("raw", 'cursor: "SELECT 1"', _raw, 300),
    )
}
