"""The models, as each kind of candidate reaches them in a tenant."""

import random
from collections.abc import Mapping
from typing import Any

__all__ = ["Tables", "tables_of"]


class Tables:
    """Django direct: a tenant is a schema of the default database, which is set already."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.random = random.Random(1)

    def alias(self, tenant: str) -> str:  # noqa: ARG002
        """The tenant's alias in DATABASES."""
        return "default"

    def connection(self, tenant: str) -> Any:
        """The tenant's DatabaseWrapper."""
        from django.db import connections

        return connections[self.alias(tenant)]

    def users(self, tenant: str) -> Any:
        """The tenant's users."""
        from django.contrib.auth.models import User

        return self._of(User.objects, tenant)

    def flights(self, tenant: str) -> Any:
        """The tenant's flights."""
        from demo.flights.models import Flight

        return self._of(Flight.objects, tenant)

    def planes(self, tenant: str) -> Any:
        """The tenant's planes."""
        from demo.flights.models import Plane

        return self._of(Plane.objects, tenant)

    def done(self, tenant: str) -> None:
        """What an application does at the end of a request."""

    def _of(self, manager: Any, tenant: str) -> Any:  # noqa: ARG002
        return manager


class DatabaseTables(Tables):
    """Django direct: each tenant is a database of its own, and an alias."""

    def alias(self, tenant: str) -> str:
        return tenant

    def done(self, tenant: str) -> None:
        if self.settings["reconnects"]:
            self.connection(tenant).close()

    def _of(self, manager: Any, tenant: str) -> Any:
        return manager.using(tenant)


class SchemaTables(Tables):
    """django-tenants: a tenant is a schema, which the connection is set to."""

    def _of(self, manager: Any, tenant: str) -> Any:
        self.connection(tenant).set_schema(self.settings["namespaces"][tenant])
        return manager


class MtddTables(Tables):
    """django-mtdd."""

    def alias(self, tenant: str) -> str:
        return tenant

    def _of(self, manager: Any, tenant: str) -> Any:
        return manager.mtdd(tenant)


def tables_of(settings: Mapping[str, Any]) -> Tables:
    """Return the tables of the candidate with these *settings*."""
    kind = settings["kind"]
    if kind == "django-tenants":
        return SchemaTables(settings)
    if kind == "django-mtdd":
        return MtddTables(settings)
    return DatabaseTables(settings) if settings["databases"] else Tables(settings)
