"""Proving on the loaded flights that every promise of the demonstration holds.

Each function proves one thing, prints it, and reports what disagrees to ``Proof``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isclose
from statistics import median
from time import perf_counter
from typing import Any, Final

import psycopg
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.models import Avg, Count
from django.test import Client
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.table import Table

from demo.flights.dataset import Carrier, Figures
from demo.flights.models import Flight
from mtdd_router import TenantDoesNotExist, TenantRequired, TenantUnavailable, tenant_context
from tenants.models import Tenant
from tenants.services import freeze_tenant, unfreeze_tenant

__all__ = ["Proof"]

_DIRECT: Final = "straight"
_WARM_UP: Final = 50
_QUERIES: Final = 500


@dataclass(slots=True)
class Proof:
    """What was looked at, and what did not agree."""

    console: Console
    disagreements: list[str] = field(default_factory=list)

    def expect(self, agrees: object, what: str) -> None:
        """Note *what* as a disagreement unless it *agrees*."""
        if not agrees:
            self.disagreements.append(what)
            self.console.print(f"[bold red]Disagrees:[/] {what}")

    def same_answers(self, tenants: Sequence[str]) -> None:
        """Ask for the user with id 1 in every way there is, in two tenants."""
        table = _table("The user with id 1, asked in four ways", "way", *tenants)
        ways: dict[str, Callable[[str], str]] = {
            "User.objects.mtdd(name).filter(id=1)": lambda name: _name(
                User.objects.mtdd(name).filter(id=1).get()
            ),
            "User.objects.using(name).get(id=1)": lambda name: _name(
                User.objects.using(name).get(id=1)
            ),
            "with tenant_context(name): User.objects.get(id=1)": _in_context,
            "GET /t/name/people/1/  (middleware)": _by_request,
        }
        answers: dict[str, set[str]] = {name: set() for name in tenants}
        for way, ask in ways.items():
            cells = []
            for name in tenants:
                answer = ask(name)
                answers[name].add(answer)
                cells.append(answer)
            table.add_row(way, *cells)
        self.console.print(table)
        for name, found in answers.items():
            self.expect(len(found) == 1, f"the four ways give {sorted(found)} in tenant {name}")
        everything = set().union(*answers.values())
        self.expect(len(everything) == len(tenants), "two tenants have the same person as id 1")

    def figures(self, carriers: Sequence[Carrier], expected: Mapping[str, Figures]) -> None:
        """Compare counts and mean delays from the ORM with those from the CSV files."""
        shards = dict(Tenant.objects.values_list("name", "shard__name"))
        table = _table(
            "Flights and mean arrival delay: through the ORM, and straight from the CSV files",
            "tenant", "carrier", "shard", "flights", "in CSV", "mean delay", "in CSV", "",
        )  # fmt: skip
        total = 0
        for carrier in carriers:
            found = Flight.objects.mtdd(carrier.tenant).aggregate(
                flights=Count("pk"), delay=Avg("arrival_delay_minutes")
            )
            wanted = expected[carrier.code]
            agrees = found["flights"] == wanted.flights and isclose(
                found["delay"], wanted.mean_delay_minutes, rel_tol=1e-9
            )
            total += found["flights"]
            table.add_row(
                carrier.tenant, carrier.name, shards[carrier.tenant],
                f"{found['flights']:,}", f"{wanted.flights:,}",
                f"{found['delay']:.3f}", f"{wanted.mean_delay_minutes:.3f}",
                "[green]same[/]" if agrees else "[red]differs[/]",
            )  # fmt: skip
            self.expect(agrees, f"the figures of tenant {carrier.tenant}")
        all_flights = sum(figures.flights for figures in expected.values())
        table.add_section()
        table.add_row("", "all", "", f"{total:,}", f"{all_flights:,}")
        self.console.print(table)
        self.expect(total == all_flights, "the number of all flights")

    def whereabouts(self, dsns: Mapping[str, str], expected: Mapping[str, int]) -> None:
        """Look with psycopg, past all of this library, which rows each PostgreSQL has.

        *expected* is the number of flights of each tenant.
        """
        places = {
            (tenant.shard.name, tenant.namespace): tenant.name
            for tenant in Tenant.objects.select_related("shard").filter(name__in=expected)
        }
        table = _table(
            "Where the rows are: psycopg on each PostgreSQL",
            "shard", "PostgreSQL", "schema", "owner", "rows", "on disk",
        )  # fmt: skip
        seen: dict[str, int] = {}
        for shard, dsn in dsns.items():
            port = conninfo_to_dict(dsn).get("port", "")
            for schema, owner, rows, size in _flight_tables(dsn):
                table.add_row(shard, f"port {port}", schema, owner, f"{rows:,}", size)
                name = places.get((shard, schema))
                if name is not None:
                    seen[name] = rows
            table.add_section()
        self.console.print(table)
        self.expect(seen == dict(expected), "what PostgreSQL holds, and what the registry says")
        used = {shard for shard, _ in places}
        self.expect(used == set(dsns), "every shard holds some tenants")

    def refusals(self, tenant: str) -> None:
        """Show the errors of a query without a tenant, with an unknown, with a frozen one."""
        table = _table("What is refused", "query", "error", "its message")
        self._refused(table, "Flight.objects.count()", TenantRequired, Flight.objects.count)
        self._refused(
            table,
            'Flight.objects.mtdd("nobody").count()',
            TenantDoesNotExist,
            lambda: Flight.objects.mtdd("nobody").count(),
        )
        freeze_tenant(tenant)
        try:
            self._refused(
                table,
                f'frozen: Flight.objects.mtdd("{tenant}").count()',
                TenantUnavailable,
                lambda: Flight.objects.mtdd(tenant).count(),
            )
        finally:
            unfreeze_tenant(tenant)
        self.console.print(table)
        self.expect(
            Flight.objects.mtdd(tenant).exists(), f"tenant {tenant} answers again when unfrozen"
        )

    def _refused(
        self, table: Table, what: str, kind: type[Exception], query: Callable[[], object]
    ) -> None:
        try:
            answer = query()
        except kind as exc:
            table.add_row(what, type(exc).__name__, str(exc))
        else:
            table.add_row(what, "[red]none[/]", f"it answered {answer}")
            self.expect(False, f"{what} must raise {kind.__name__}")

    def speed(self, tenant: str, dsns: Mapping[str, str]) -> float:
        """Time a point query over gRPC and straight to the same PostgreSQL.

        Returns:
            How many times as long it takes over gRPC, in the median.
        """
        placed = Tenant.objects.select_related("shard").get(name=tenant)
        keys = list(Flight.objects.mtdd(tenant).values_list("pk", flat=True)[:_QUERIES])
        with _straight(dsns[placed.shard.name], placed.namespace):
            times: dict[str, list[float]] = {tenant: [], _DIRECT: []}
            for number, key in enumerate([*keys[:_WARM_UP], *keys]):
                for alias, taken in times.items():
                    started = perf_counter()
                    Flight.objects.using(alias).get(pk=key)
                    if number >= _WARM_UP:
                        taken.append(perf_counter() - started)
        over, straight = (median(taken) * 1e6 for taken in times.values())
        table = _table("One flight by its primary key, through the ORM", "way", "p50")
        table.add_row("over gRPC, through the shard server", f"{over:,.0f} us")
        table.add_row("Django straight on the same PostgreSQL", f"{straight:,.0f} us")
        table.add_row("ratio", f"{over / straight:.2f}")
        self.console.print(table)
        return over / straight


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        numeric = heading in {"flights", "in CSV", "mean delay", "rows", "on disk", "p50"}
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    return table


def _name(user: User) -> str:
    return user.get_full_name()


def _in_context(tenant: str) -> str:
    with tenant_context(tenant):
        return _name(User.objects.get(id=1))


def _by_request(tenant: str) -> str:
    response = Client().get(f"/t/{tenant}/people/1/")
    return str(json.loads(response.content)["name"])


def _flight_tables(dsn: str) -> Iterator[tuple[str, str, int, str]]:
    """Give schema, owner, number of rows and size of every table of flights."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT schemaname, tableowner, "
            "pg_size_pretty(pg_total_relation_size(format('%I.%I', schemaname, tablename))) "
            "FROM pg_tables WHERE tablename = 'flights_flight' ORDER BY schemaname"
        ).fetchall()
        for schema, owner, size in tables:
            query = sql.SQL("SELECT count(*) FROM {}").format(
                sql.Identifier(schema, "flights_flight")
            )
            counted = connection.execute(query).fetchone()
            yield schema, owner, counted[0] if counted else 0, size


@contextmanager
def _straight(dsn: str, schema: str) -> Iterator[None]:
    """Give this thread an alias for one schema of the PostgreSQL at *dsn*, without gRPC."""
    values = conninfo_to_dict(dsn)
    settings: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": values["dbname"],
        "USER": values.get("user", ""),
        "PASSWORD": values.get("password", ""),
        "HOST": values.get("host", ""),
        "PORT": values.get("port", ""),
        "OPTIONS": {"options": f"-c search_path={schema}"},
        "ATOMIC_REQUESTS": False,
        "AUTOCOMMIT": True,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "TIME_ZONE": None,
        "TEST": {},
    }
    wrapper = DatabaseWrapper(settings, _DIRECT)
    connections[_DIRECT] = wrapper
    try:
        yield
    finally:
        wrapper.close()
        del connections[_DIRECT]
