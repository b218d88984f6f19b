"""TenantClient and AsyncTenantClient."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import aget_user
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse

from mtdd_router import CrossTenantError, InvalidTenantName, TenantRequired, current_tenant
from mtdd_router.testing import AsyncTenantClient, TenantClient

RESOLVERS = [
    ["mtdd_router.resolvers.PathResolver"],
    [("mtdd_router.resolvers.SubdomainResolver", {"domain": "example.com"})],
    [("mtdd_router.resolvers.HeaderResolver", {})],
    [],
]


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user.get_username()} of {current_tenant()} at {reverse('who')}")


async def who_async(request: HttpRequest) -> HttpResponse:
    user = await aget_user(request)
    return HttpResponse(f"{user.get_username()} of {current_tenant()}")


def count(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


urlpatterns = [
    path("who/", who, name="who"),
    path("who-async/", who_async),
    path("count/", count),
]


@pytest.fixture(autouse=True)
def urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def ann(tenant: str) -> User:
    return User.objects.create_user("ann", password="secret")


@pytest.mark.parametrize("resolvers", RESOLVERS)
def test_a_request_is_the_tenants_whatever_resolves(
    tenant_client: TenantClient, tenant: str, ann: User, settings: Any, resolvers: Any
) -> None:
    settings.MTDD_RESOLVERS = resolvers
    tenant_client.force_login(ann)
    assert tenant_client.get("/who/").content.decode() == f"ann of {tenant} at /who/"


def test_users_log_in_and_out_in_the_tenant(
    tenant_client: TenantClient, other_tenant: str, ann: User
) -> None:
    other = TenantClient(other_tenant)
    assert not other.login(username="ann", password="secret")
    assert tenant_client.login(username="ann", password="secret")
    assert tenant_client.get("/who/").content.startswith(b"ann of")
    tenant_client.logout()
    assert tenant_client.get("/who/").content.startswith(b" of")


def test_a_user_of_another_tenant_cannot_be_logged_in(other_tenant: str, ann: User) -> None:
    with pytest.raises(CrossTenantError, match=rf"{ann._state.db}.*{other_tenant}"):
        TenantClient(other_tenant).force_login(ann)


def test_the_session_is_the_tenants_outside_of_its_context(
    tenant_named: Callable[[str], str],
) -> None:
    client = TenantClient(tenant_named("tenant"))
    assert current_tenant() is None
    assert client.get("/count/").content == b"1"
    session = client.session
    session["visits"] = 10
    session.save()
    assert client.get("/count/").content == b"11"


def test_a_project_without_the_middleware_is_not_helped(
    tenant_client: TenantClient, ann: User, settings: Any
) -> None:
    settings.MIDDLEWARE = [m for m in settings.MIDDLEWARE if "TenantMiddleware" not in m]
    assert tenant_client.get("/who/").content == b" of None at /who/"


def test_a_client_needs_a_tenant() -> None:
    with pytest.raises(TenantRequired, match=r'TenantClient\("abc"\)'):
        TenantClient()
    with pytest.raises(InvalidTenantName, match="default"):
        TenantClient("default")


@pytest.mark.django_db(transaction=True)
def test_the_asynchronous_client_is_the_tenants(
    tenant: str, async_tenant_client: AsyncTenantClient
) -> None:
    from asgiref.sync import async_to_sync

    User.objects.create_user("ann", password="secret")

    async def visit() -> list[str]:
        client = async_tenant_client
        answers = []
        assert await client.alogin(username="ann", password="secret")
        answers.append((await client.get("/who-async/")).content.decode())
        await client.alogout()
        answers.append((await client.get("/who-async/")).content.decode())
        await client.aforce_login(await User.objects.aget())
        answers.append((await client.get("/who-async/")).content.decode())
        return answers

    named, nobody = f"ann of {tenant}", f" of {tenant}"
    assert async_to_sync(visit)() == [named, nobody, named]
