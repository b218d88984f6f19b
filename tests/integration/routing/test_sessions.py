"""Whoever is logged in somewhere is nobody elsewhere, also with the same id and password."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from mtdd_router import tenant_context

PASSWORD = "the same hash everywhere"


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


urlpatterns = [path("who/", who)]


@pytest.fixture
def people(tenant_factory: Callable[..., Any], settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    tenant_factory("abc", shard="shard1")
    tenant_factory("xyz", shard="shard2")
    project = User.objects.create_user("of-the-project", password=PASSWORD)
    for name in ("abc", "xyz"):
        twin = User(pk=project.pk, username=f"of-{name}", password=project.password)
        twin.save(using=name, force_insert=True)


def asked(client: Client, tenant: str | None) -> str:
    response = client.get(f"/t/{tenant}/who/" if tenant else "/who/")
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("home", ["abc", "xyz", None])
def test_a_session_counts_only_where_it_was_made(home: str | None) -> None:
    name = f"of-{home}" if home else "of-the-project"
    for other in ("abc", "xyz", None):
        client = Client()
        with tenant_context(home) if home else nullcontext():
            assert client.login(username=name, password=PASSWORD)
        assert asked(client, other) == (name if other == home else "")
