"""Requests find their tenant by who is logged in and by tokens, down to the rows."""

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from demo.flights.models import Plane
from mtdd_router import current_tenant, tenant_context

SECRET = "a secret of more than thirty-two bytes, for HS256"


def planes(request: HttpRequest) -> HttpResponse:
    user = getattr(request, "user", None)
    names = ",".join(Plane.objects.values_list("model", flat=True)) if current_tenant() else ""
    return HttpResponse(f"{user}: {current_tenant()}: {names}")


urlpatterns = [path("planes/", planes)]


@pytest.fixture
def shop(settings: Any, tenant_factory: Callable[..., Any]) -> None:
    """Tenants with planes and no users; users are the project's, with a tenant each."""
    settings.TENANT_APPS = ["demo.flights"]
    settings.ROOT_URLCONF = __name__
    for name, shard in (("abc", "shard1"), ("xyz", "shard2")):
        tenant_factory(name, shard=shard)
        with tenant_context(name):
            Plane.objects.create(tail_number=name, model=f"of {name}", seats=1)
        User.objects.create_user(f"user-of-{name}", last_name=name)
    User.objects.create_user("of-nobody")


def test_who_is_logged_in_sees_their_tenant(shop: None, settings: Any) -> None:
    settings.MTDD_RESOLVERS = [("mtdd_router.resolvers.UserResolver", {"attribute": "last_name"})]
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "mtdd_router.TenantMiddleware",
    ]
    client = Client()
    assert client.get("/planes/").content.decode() == "AnonymousUser: None: "
    for name in ("abc", "xyz"):
        client.force_login(User.objects.get(username=f"user-of-{name}"))
        seen = client.get("/planes/").content.decode()
        assert seen == f"user-of-{name}: {name}: of {name}"
    client.force_login(User.objects.get(username="of-nobody"))
    assert client.get("/planes/").content.decode() == "of-nobody: None: "


def bearer(**claims: Any) -> dict[str, str]:
    value = jwt.encode({"exp": time.time() + 900, **claims}, SECRET, "HS256")
    return {"Authorization": f"Bearer {value}"}


def test_a_token_counts_on_the_host_of_its_tenant_only(shop: None, settings: Any) -> None:
    settings.MTDD_RESOLVERS_MUST_AGREE = True
    settings.MTDD_RESOLVERS = [
        ("mtdd_router.resolvers.SubdomainResolver", {"domain": "example.com"}),
        ("mtdd_router.resolvers.JWTResolver", {"algorithms": ["HS256"], "key": SECRET}),
    ]
    settings.MIDDLEWARE = ["mtdd_router.TenantMiddleware"]

    def ask(host: str, headers: dict[str, str]) -> tuple[int, str]:
        answer = Client().get("/planes/", headers={"Host": host, **headers})
        return answer.status_code, answer.content.decode()

    assert ask("abc.example.com", bearer(tenant="abc")) == (200, "None: abc: of abc")
    assert ask("example.com", bearer(tenant="xyz")) == (200, "None: xyz: of xyz")
    assert ask("xyz.example.com", bearer(tenant="abc"))[0] == 400
    assert ask("abc.example.com", bearer(tenant="abc", exp=time.time() - 1))[0] == 401
    assert ask("example.com", bearer(tenant="nobody"))[0] == 404
