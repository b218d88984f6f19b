"""django-debug-toolbar, in a real request: the tenant and shard of each query."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path

from mtdd_router import tenant_context
from mtdd_router.directory import directory

PAGE = "<html><body>{}</body></html>"


def page(request: HttpRequest) -> HttpResponse:
    mine = list(User.objects.filter(username="secret-value"))
    other = list(User.objects.using("xyz").filter(first_name="not-shown"))
    return HttpResponse(PAGE.format(len(mine) + len(other)))


async def async_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(PAGE.format(await User.objects.filter(username="secret-value").acount()))


@pytest.fixture
def toolbar(two_tenants: Any, settings: Any) -> Iterator[Any]:
    """The toolbar, installed, with its SQL panel and ours."""
    settings.DEBUG = True
    settings.INTERNAL_IPS = ["127.0.0.1"]
    settings.DEBUG_TOOLBAR_PANELS = [
        "debug_toolbar.panels.sql.SQLPanel",
        "mtdd_router.toolbar.TenantPanel",
    ]
    settings.DEBUG_TOOLBAR_CONFIG = {"IS_RUNNING_TESTS": False}
    settings.MIDDLEWARE = [
        "mtdd_router.TenantMiddleware",
        "debug_toolbar.middleware.DebugToolbarMiddleware",
    ]
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "debug_toolbar"]):
        from debug_toolbar.toolbar import DebugToolbar, StoredDebugToolbar, debug_toolbar_urls

        global urlpatterns
        urlpatterns = [
            path("page/", page),
            path("async-page/", async_page),
            *debug_toolbar_urls(),
        ]
        settings.ROOT_URLCONF = __name__
        DebugToolbar._panel_classes = None
        yield StoredDebugToolbar
        DebugToolbar._panel_classes = None


urlpatterns: list[Any] = []


def panels_of(stored: Any, html: str) -> tuple[Any, Any]:
    found = re.search(r'data-request-id="([^"]+)"', html)
    assert found, html
    loaded = stored.from_store(found[1])
    return loaded.get_panel_by_id("TenantPanel"), loaded.get_panel_by_id("SQLPanel")


def test_each_query_has_its_tenant_and_shard(toolbar: Any) -> None:
    """Also of tenants to which the thread has had no connection, or has closed it."""
    for name in ("abc", "xyz"):
        directory.route(name)
        connections[name].close()
    del connections["xyz"]
    client = Client()
    html = client.get("/t/abc/page/").content.decode()
    tenants, sql = panels_of(toolbar, html)
    rows = tenants.get_stats()["queries"]
    assert [(row["tenant"], row["shard"], row["other"]) for row in rows] == [
        ("abc", "shard1", False),
        ("xyz", "shard2", True),
    ]
    assert tenants.nav_subtitle == "abc: 2 queries"
    assert directory.route("xyz").address in tenants.content
    assert "auth_user" in tenants.content
    assert "secret-value" not in tenants.content
    # The toolbar's own panel, which shows values, has them too.
    queries = sql.get_stats()["queries"]
    assert [query["alias"] for query in queries] == ["abc", "xyz"]
    assert "secret-value" in queries[0]["sql"]
    # And can run them again, in the tenant, from a request that is in none.
    for action in ("sql_select", "sql_explain"):
        form = re.search(r'name="signed" value="([^"]+)"', sql.content)
        assert form
        again = client.get(f"/__debug__/{action}/", {"signed": form[1].replace("&quot;", '"')})
        assert again.status_code == 200, again.content
        assert "abc" in again.json()["content"]


def test_nothing_is_watched_after_the_request(toolbar: Any) -> None:
    Client().get("/t/abc/page/")
    for name in ("abc", "xyz", "default"):
        wrapper: Any = connections[name]
        assert not wrapper.execute_wrappers
        assert getattr(wrapper, "_djdt_logger", None) is None
    with tenant_context("abc"):
        User.objects.count()
    html = Client().get("/t/xyz/page/").content.decode()
    assert panels_of(toolbar, html)[0].nav_subtitle == "xyz: 2 queries"
    html = Client().get("/page/").content.decode()
    assert "no tenant" in panels_of(toolbar, html)[0].content


def test_an_asynchronous_request_is_shown_as_well(toolbar: Any) -> None:
    directory.route("abc")

    async def ask() -> str:
        response = await AsyncClient().get("/t/abc/async-page/")
        # The thread in which the query ran ends with nobody to close what it had open.
        await sync_to_async(connections.close_all)()
        return str(response.content.decode())

    tenants, _ = panels_of(toolbar, asyncio.run(ask()))
    assert tenants.nav_subtitle == "abc: 1 query"
