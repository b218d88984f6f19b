"""Requests that cannot leave their tenant, and those whose view is one transaction in it."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import AsyncClient, Client

from mtdd_router import TenantLocked, TenantMiddleware, tenant_context
from mtdd_router.databases import Databases
from tests.integration.context import views

pytestmark = pytest.mark.usefixtures("two_tenants", "_served")


@pytest.fixture
def _served(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = views.__name__
    yield
    connections.close_all()


class Locked(TenantMiddleware):
    locked = True


class Open(TenantMiddleware):
    locked = False


def with_middleware(settings: Any, cls: type) -> None:
    settings.MIDDLEWARE = [
        f"{cls.__module__}.{cls.__qualname__}" if "Tenant" in entry else entry
        for entry in settings.MIDDLEWARE
    ]


def test_a_request_may_name_another_tenant_unless_it_is_locked(
    client: Client, settings: Any
) -> None:
    assert client.get("/t/abc/switches/").content == b"1"
    settings.MTDD_LOCK_REQUESTS = True
    with pytest.raises(TenantLocked, match=r"'abc'.*'xyz'"):
        client.get("/t/abc/switches/")
    with pytest.raises(TenantLocked):
        client.get("/t/abc/forgets/")
    # Its own tenant, one without a tenant, and operators' code are not concerned.
    assert client.get("/t/abc/plain/").content == b"abc abc abc"
    assert client.get("/t/xyz/switches/").content == b"1"
    assert client.get("/switches/").content == b"1"
    assert client.get("/t/abc/supports/").content == b"xyz xyz"
    # Nothing of it is left.
    with tenant_context("xyz"):
        assert views.whose() == "xyz"

    with_middleware(settings, Open)
    assert Client().get("/t/abc/switches/").content == b"1"
    settings.MTDD_LOCK_REQUESTS = False
    settings.MIDDLEWARE = [entry.replace("Open", "Locked") for entry in settings.MIDDLEWARE]
    with pytest.raises(TenantLocked):
        Client().get("/t/abc/switches/")


def test_what_a_locked_request_streams_is_locked_as_well(client: Client, settings: Any) -> None:
    settings.MTDD_LOCK_REQUESTS = True
    response = client.get("/t/abc/stream/1/")
    with pytest.raises(TenantLocked):
        b"".join(response)
    response.close()


@pytest.fixture
def _atomic(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    configured = settings.DATABASES
    assert isinstance(configured, Databases)
    monkeypatch.setitem(configured.template, "ATOMIC_REQUESTS", True)


def groups(tenant: str) -> list[str]:
    return sorted(Group.objects.using(tenant).values_list("name", flat=True))


def write(path: str, client: Client | None = None) -> Any:
    return (client or Client(raise_request_exception=False)).get(path)


@pytest.mark.parametrize("opened", [False, True])
def test_what_stands_in_for_djangos_opening_may_come_back_to_ours(opened: bool) -> None:
    connection = connections["abc"]
    connection.close()
    ours = connection.ensure_connection
    if opened:
        ours()
    with mock.patch.object(BaseDatabaseWrapper, "ensure_connection", side_effect=ours) as stand_in:
        assert groups("abc") == []
        with transaction.atomic(using="abc"):
            Group.objects.using("abc").create(name="works")
    assert stand_in.called
    assert groups("abc") == ["works"]


def test_without_the_setting_a_view_is_no_transaction() -> None:
    assert write("/t/abc/writes/fails/").status_code == 500
    assert groups("abc") == ["fails"]
    assert write("/t/abc/writes/works/").content == b""


@pytest.mark.usefixtures("_atomic")
def test_a_view_is_one_transaction_of_its_requests_tenant() -> None:
    # Connections that this thread has open already make no difference.
    for name in ("abc", "xyz"):
        connections[name].ensure_connection()
    assert write("/t/abc/writes/works/").content == b"abc"
    assert write("/t/abc/writes/fails/").status_code == 500
    assert groups("abc") == ["works"]
    assert write("/t/xyz/writes/fails/").status_code == 500
    assert groups("xyz") == []
    # Without a tenant there is nothing to wrap; `default` has a setting of its own.
    assert write("/writes/fails/").status_code == 500
    assert groups("default") == ["fails"]


@pytest.mark.usefixtures("_atomic")
def test_a_view_can_be_exempted_by_djangos_own_decorator() -> None:
    for name in ("abc", "xyz"):
        assert write(f"/t/{name}/writes-apart/works/").content == b""
        assert write(f"/t/{name}/writes-apart/fails/").status_code == 500
        assert groups(name) == ["fails", "works"]
        Group.objects.using(name).all().delete()
    # By name, for that tenant only.
    assert write("/t/abc/writes-apart-in-abc/fails/").status_code == 500
    assert write("/t/xyz/writes-apart-in-abc/fails/").status_code == 500
    assert (groups("abc"), groups("xyz")) == (["fails"], [])


async def _ask_async() -> tuple[int, bytes]:
    client = AsyncClient(raise_request_exception=False)
    failed = await client.get("/t/abc/writes/fails/")
    works = await client.get("/t/abc/writes/works/")
    with pytest.raises(RuntimeError, match="ATOMIC_REQUESTS with async views"):
        await AsyncClient().get("/t/abc/awrites/")
    # An async view of a request without a tenant is as ever.
    assert (await client.get("/awrites/")).status_code == 200
    await sync_to_async(connections.close_all)()
    return failed.status_code, works.content


@pytest.mark.usefixtures("_atomic")
def test_under_asgi_it_is_so_for_sync_views_and_async_ones_are_refused_as_django_does() -> None:
    import asyncio

    assert asyncio.run(_ask_async()) == (500, b"abc")
    assert groups("abc") == ["works"]
