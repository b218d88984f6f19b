"""The source of routes that the router asks: the registry's two tables.

One query on the ``default`` database answers for one tenant. A failure of that
database is always RegistryUnavailable, never "no such tenant".
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, Error, ProgrammingError, connections
from django.db.models import QuerySet
from django.utils import timezone

from mtdd_router.errors import RegistryUnavailable
from mtdd_router.types import Route, TenantState
from tenants.models import Tenant, TenantDomain, TenantRedirect

__all__ = ["DatabaseRegistry"]

_FIELDS: Final = (
    *("name", "shard__name", "shard__address", "epoch", "state", "pk"),
    "shard__shard_id",
)
_ROWS_AT_A_TIME: Final = 2000


class DatabaseRegistry:
    """The default of the setting MTDD_REGISTRY."""

    def route(self, tenant: str) -> Route | None:
        """Return the tenant's route, or None if there is no such tenant.

        Raises:
            RegistryUnavailable: if the database cannot be asked.
        """
        # A string with a NUL is no tenant; PostgreSQL would refuse to compare with it.
        if "\0" in tenant:
            return None
        try:
            rows = list(self._rows().filter(name=tenant).order_by()[:1])
        except Error as exc:
            raise _unavailable(f"the route of tenant {tenant!r}", exc) from exc
        return _route(rows[0]) if rows else None

    def present_name(self, name: str) -> str | None:
        """Return the name of the tenant that *name* leads to since its renaming, or None.

        Raises:
            RegistryUnavailable: if the database cannot be asked.
        """
        if "\0" in name:
            return None
        redirects = TenantRedirect.objects.using(DEFAULT_DB_ALIAS).filter(
            name=name, expires_at__gt=timezone.now()
        )
        try:
            return redirects.values_list("tenant__name", flat=True).first()
        except Error as exc:
            raise _unavailable(f"who was called {name!r}", exc) from exc

    def tenant_of_domain(self, domain: str) -> str | None:
        """Return the present name of the tenant that has *domain*, or None.

        Raises:
            RegistryUnavailable: if the database cannot be asked.
        """
        if "\0" in domain:
            return None
        rows = TenantDomain.objects.using(DEFAULT_DB_ALIAS).filter(domain=domain)
        try:
            return rows.order_by().values_list("tenant__name", flat=True).first()
        except Error as exc:
            raise _unavailable(f"the tenant of the domain {domain!r}", exc) from exc

    def routes(self) -> Iterable[Route]:
        """Yield the route of every tenant, by its key, never holding them all.

        A tenant that is made, renamed or deleted meanwhile is among them once or not at all.

        Raises:
            RegistryUnavailable: if the database cannot be asked.
        """
        try:
            for rows in self._pages():
                yield from map(_route, rows)
        except Error as exc:
            raise _unavailable("the routes of all tenants", exc) from exc

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        """Return the routes of those of *tenants* that there are.

        Raises:
            RegistryUnavailable: if the database cannot be asked, or in a transaction: that may
                see them as they were long ago, and would end with a failure of this query.
        """
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            raise RegistryUnavailable("Routes are not read together in a transaction.")
        try:
            return [*map(_route, self._rows().filter(name__in=tenants).order_by())]
        except Error as exc:
            raise _unavailable(f"the routes of {len(tenants)} tenants", exc) from exc

    def _rows(self) -> "QuerySet[Tenant, tuple[Any, ...]]":
        # The alias is written out: a route must not depend on the routing it feeds.
        return Tenant.objects.using(DEFAULT_DB_ALIAS).values_list(*_FIELDS)

    def _pages(self) -> Iterator[list[tuple[Any, ...]]]:
        # Of a cursor outside of a transaction, PostgreSQL writes all rows down before the first
        # is there; and a transaction would have to be open while whoever iterates works.
        rest = self._rows().order_by("pk")
        page = list(rest[:_ROWS_AT_A_TIME])
        while page:
            yield page
            if len(page) < _ROWS_AT_A_TIME:
                return
            last = page[-1][_FIELDS.index("pk")]
            page = list(rest.filter(pk__gt=last)[:_ROWS_AT_A_TIME])


def _route(row: tuple[Any, ...]) -> Route:
    tenant, shard, address, epoch, state, key, shard_id = row
    return Route(tenant, shard, address, epoch, TenantState(state), key, shard_id or "")


def _unavailable(what: str, exc: Error) -> RegistryUnavailable:
    cause = str(exc).strip().partition("\n")[0]
    advice = (
        "are its tables there? Run `manage.py migrate`."
        if isinstance(exc, ProgrammingError)
        else "is PostgreSQL running, and DATABASES['default'] right?"
    )
    return RegistryUnavailable(
        f"The registry's database ({DEFAULT_DB_ALIAS!r}) could not be asked for {what}: "
        f"{cause} - {advice}"
    )
