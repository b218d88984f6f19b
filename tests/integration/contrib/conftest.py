"""Two tenants of a project with Django's contrib apps and a bookcase, on hosts of their own."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client, override_settings

from mtdd_router import tenant_context

BOOKCASE = "tests.apps.bookcase"
PASSWORD = "the same in every tenant"


@pytest.fixture(scope="module")
def _bookcase(django_db_setup: None) -> Iterator[None]:
    from django.conf import settings

    with (
        # First, for models are imported with the second.
        override_settings(TENANT_APPS=[*settings.TENANT_APPS, BOOKCASE]),
        override_settings(
            INSTALLED_APPS=[*settings.INSTALLED_APPS, BOOKCASE, "rest_framework"],
            ROOT_URLCONF="tests.integration.contrib.urls",
            MTDD_RESOLVERS=[
                ("mtdd_router.resolvers.SubdomainResolver", {"domain": "example.com"}),
            ],
        ),
    ):
        yield


@pytest.fixture
def abc(_bookcase: None, tenant_named: Callable[[str], str]) -> Iterator[str]:
    """A tenant."""
    yield tenant_named("books-abc")
    ContentType.objects.clear_cache()  # What was made in the test is undone.


@pytest.fixture
def xyz(_bookcase: None, tenant_named: Callable[[str], str]) -> str:
    """Another one, whose content types have other ids."""
    name = tenant_named("books-xyz")
    with tenant_context(name):
        for content_type in ContentType.objects.all():
            content_type.delete()
        ContentType.objects.clear_cache()
    return name


@pytest.fixture
def twins(abc: str, xyz: str) -> dict[str, User]:
    """A superuser of each tenant; both have the same id, name, address and password's hash."""
    twins = {}
    password = make_password(PASSWORD)
    for name in (abc, xyz):
        User(
            pk=77,
            username="root",
            email="root@example.com",
            password=password,
            is_staff=True,
            is_superuser=True,
        ).save(using=name, force_insert=True)
        twins[name] = User.objects.using(name).get(pk=77)
    return twins


@pytest.fixture
def visitor() -> Callable[[str], Client]:
    """A browser on a tenant's host: ``visitor(abc)``."""

    def visit(tenant: str) -> Client:
        return Client(SERVER_NAME=f"{tenant}.example.com")

    return visit
