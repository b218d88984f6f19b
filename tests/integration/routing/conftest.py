"""Two tenants with a library each, for all tests of a module; each test is undone."""

import itertools
import secrets
import uuid
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.test import override_settings

from mtdd_router import tenant_context
from mtdd_router.backend import routes
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.conf import mtdd_settings
from mtdd_router.context import maintenance_active
from mtdd_router.directory import Directory, directory
from mtdd_router.types import Isolation, Placement, Route, TenantState
from tests.apps.library import models

HERE, THERE = "abc", "xyz"
TABLES = (ContentType, Permission, Group, User, *models.MODELS)
LOOSE = uuid.UUID(int=1)


class Library:
    """The rows of one tenant. Those of the other have the same keys."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    def __getattr__(self, name: str) -> Any:
        """Return a model's rows, as in ``library.books``, or the first, ``library.book``."""
        for model in models.MODELS:
            if name == f"{model._meta.model_name}s":
                return model.objects.using(self.tenant)
            if name == model._meta.model_name:
                return model.objects.using(self.tenant).order_by("pk").first()
        raise AttributeError(name)

    def fill(self) -> None:
        """Make the rows."""
        with tenant_context(self.tenant):
            # Their keys are given by sequences, and so the same in both.
            author, other = (
                models.Author.objects.create(name=f"{name} of {self.tenant}")
                for name in ("Ann", "Bob")
            )
            book = models.Book.objects.create(
                title=f"B1 of {self.tenant}", author=author, editor=author
            )
            models.Book.objects.create(title=f"B2 of {self.tenant}", author=other)
            models.Novel.objects.create(title=f"N of {self.tenant}", author=author)
            book.tags.create(name=f"T1 of {self.tenant}")
            book.tags.create(name=f"T2 of {self.tenant}")
            book.notes.create(text=f"Note of {self.tenant}")
            models.Profile.objects.create(author=author, about=self.tenant)
            for number in (1, 2):
                models.Chapter.objects.create(book=book, title=f"C{number} of {self.tenant}")
            models.Loose.objects.create(pk=LOOSE, name=f"Loose of {self.tenant}")
            currency = models.Currency.objects.create(pk="EUR", name=self.tenant)
            models.Price.objects.create(currency=currency)

    def contents(self) -> list[Any]:
        """Return all that is in the tables, by one statement."""
        tables = [model._meta.db_table for model in (*models.MODELS, models.Book.tags.through)]
        selects = (f"SELECT '{table}', t::text FROM {table} t" for table in tables)
        with connections[self.tenant].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(selects))
            return sorted(cursor.fetchall())


class _Routes:
    """A registry that needs no database: one tenant on each shard."""

    _epochs = itertools.count(1_000_000)

    def __init__(self, addresses: dict[str, str]) -> None:
        # Rising, or a server would know the tenants as the last module's.
        self.epoch = next(self._epochs)
        self._routes = [
            Route(tenant, shard, address, self.epoch)
            for tenant, (shard, address) in zip((HERE, THERE), addresses.items(), strict=True)
        ]

    def route(self, tenant: str) -> Route | None:
        return next((route for route in self._routes if route.tenant == tenant), None)

    def routes(self) -> list[Route]:
        return self._routes

    def routes_of(self, tenants: Collection[str]) -> Iterable[Route]:
        return [route for tenant in tenants if (route := self.route(tenant))]


@pytest.fixture(scope="module")
def two_libraries(
    stack: Any, django_db_blocker: Any, shard_addresses: dict[str, str]
) -> Iterator[tuple[Library, Library]]:
    app = "tests.apps.library"
    registry, token = _Routes(shard_addresses), secrets.token_hex(4)
    admins = [ShardAdmin(address, shard=name) for name, address in shard_addresses.items()]
    with django_db_blocker.unblock(), override_settings(TENANT_APPS=[*settings.TENANT_APPS, app]):
        mtdd_settings.forget()
        with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, app]):
            # Only now: apps that are loaded anew set the source of routes.
            routes.set_route_source(Directory(lambda: registry), maintenance=maintenance_active)
            try:
                libraries = Library(HERE), Library(THERE)
                ContentType.objects.clear_cache()
                for library, admin in zip(libraries, admins, strict=True):
                    admin.create_namespace(
                        Placement(
                            library.tenant,
                            Isolation.SCHEMA,
                            # A name that was dropped may still be some connection's path.
                            f"t_{library.tenant}_{token}",
                            f"t_{library.tenant}_{token}",
                            registry.epoch,
                            TenantState.ACTIVE,
                        )
                    )
                    with connections[library.tenant].schema_editor() as editor:
                        for model in TABLES:
                            editor.create_model(model)
                    library.fill()
                yield libraries
            finally:
                connections.close_all()
                routes.set_route_source(directory, maintenance=maintenance_active)
                for tenant, admin in zip((HERE, THERE), admins, strict=True):
                    admin.drop_namespace(tenant)


@pytest.fixture
def libraries(two_libraries: tuple[Library, Library], django_db_blocker: Any) -> Any:
    """Both libraries; what a test writes is undone."""
    with transaction.atomic(using=HERE), transaction.atomic(using=THERE):
        yield two_libraries
        for tenant in (HERE, THERE):
            transaction.set_rollback(True, using=tenant)
