"""What one tenant has cached is nobody else's, in every way that Django caches."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import BaseCache, caches
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.test import Client
from django.urls import path
from django.views.decorators.cache import cache_page

from mtdd_router import TenantDoesNotExist, current_tenant, tenant_context
from mtdd_router.cache import shared_key, tenant_key
from mtdd_router.directory import directory
from mtdd_router.types import Route

OWNERS = ("abc", "xyz", None)


def within(tenant: str | None) -> AbstractContextManager[Any]:
    return tenant_context(tenant) if tenant else nullcontext()


@pytest.fixture(params=["locmem.LocMemCache", "filebased.FileBasedCache"])
def cache(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Iterator[BaseCache]:
    settings.CACHES = {
        "default": {
            "BACKEND": f"django.core.cache.backends.{request.param}",
            "LOCATION": str(tmp_path),
            "KEY_FUNCTION": "mtdd_router.cache.tenant_key",
        },
        "everybodys": {
            "BACKEND": f"django.core.cache.backends.{request.param}",
            "LOCATION": str(tmp_path),
            "KEY_FUNCTION": "mtdd_router.cache.shared_key",
        },
    }
    yield caches["default"]
    caches["default"].clear()


def test_each_tenant_and_work_without_one_has_its_own(cache: BaseCache) -> None:
    for owner in OWNERS:
        with within(owner):
            assert cache.get("key") is None
            cache.set("key", f"of {owner}")
            cache.set_many({"one": owner, "two": owner})
            cache.add("count", 0)
            assert cache.incr("count") == 1
    for owner in OWNERS:
        with within(owner):
            assert cache.get("key") == f"of {owner}"
            assert cache.get_many(["one", "two"]) == {"one": owner, "two": owner}
            assert cache.get_or_set("count", 5) == 1
    with tenant_context("abc"):
        cache.delete("key")
    with tenant_context("xyz"):
        assert cache.get("key") == "of xyz"


def test_a_cache_can_be_everybodys(cache: BaseCache) -> None:
    with tenant_context("abc"):
        caches["everybodys"].set("rate", 3)
    for owner in OWNERS:
        with within(owner):
            assert caches["everybodys"].get("rate") == 3


# A key, a prefix and a version may be anybody's; none may reach another owner's keys.
PARTS = ("k", "", ":", "t:8:p:1:k", "8", "t:8", "-:p:1:k", "-", ":1:k", "p:1:k", "1:k", "7:p")


def test_no_key_prefix_or_version_leads_to_another_owner() -> None:
    made: dict[str, set[str]] = {}
    for owner in OWNERS:
        with within(owner):
            made[str(owner)] = {
                tenant_key(*parts) for parts in itertools.product(PARTS, PARTS, PARTS)
            }
    for one, other in itertools.combinations(made.values(), 2):
        assert not one & other
    assert all(shared_key(*parts) in made["None"] for parts in itertools.product(PARTS, repeat=3))


def test_a_renamed_tenant_keeps_its_cache_and_the_next_of_that_name_has_none_of_it(
    cache: BaseCache, registry: dict[str, Route]
) -> None:
    with tenant_context("abc"):
        cache.set("key", "secret")
    registry["new"] = Route("new", "shard1", "h:1", 3, key=7)
    registry["abc"] = Route("abc", "shard1", "h:1", 2, key=9)
    directory.forget("abc")
    with tenant_context("abc"):
        assert cache.get("key") is None
    with tenant_context("new"):
        assert cache.get("key") == "secret"


def test_an_unknown_tenant_has_no_cache(cache: BaseCache) -> None:
    with pytest.raises(TenantDoesNotExist), tenant_context("nobody"):
        cache.get("key")


def test_without_keys_in_the_registry_names_do(cache: BaseCache, registry: Any) -> None:
    registry["abc"] = Route("abc", "shard1", "h:1", 2)
    with tenant_context("abc"):
        assert tenant_key("k", "p", 1) == "t:abc:p:1:k"


def test_asynchronous_methods_know_the_tenant(cache: BaseCache) -> None:
    async def work() -> None:
        for owner in OWNERS:
            with within(owner):
                await cache.aset("key", owner or "nobody's")
        for owner in OWNERS:
            with within(owner):
                assert await cache.aget("key") == (owner or "nobody's")

    asyncio.run(work())


def test_a_fragment_of_a_template_is_its_tenants(cache: BaseCache) -> None:
    template = Engine(libraries={"cache": "django.templatetags.cache"}).from_string(
        "{% load cache %}{% cache 60 menu user %}{{ secret }}{% endcache %}"
    )
    for owner in OWNERS:
        with within(owner):
            shown = template.render(Context({"secret": f"of {owner}", "user": 5}))
            assert shown == f"of {owner}"
            again = template.render(Context({"secret": "not cached", "user": 5}))
            assert again == f"of {owner}"


def test_a_session_in_the_cache_is_its_tenants(cache: BaseCache) -> None:
    with tenant_context("abc"):
        session = SessionStore()
        session["_auth_user_id"] = "5"
        session.create()
    key = session.session_key
    for owner in ("xyz", None):
        with within(owner):
            assert not SessionStore(key).exists(key)
            assert SessionStore(key).get("_auth_user_id") is None
    with tenant_context("abc"):
        assert SessionStore(key)["_auth_user_id"] == "5"


@cache_page(60)
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.GET.get('n', '')} of {current_tenant()}")


urlpatterns = [path("page/", page)]


@pytest.mark.parametrize("site_wide", [True, False])
def test_a_cached_page_is_its_tenants(cache: BaseCache, settings: Any, site_wide: bool) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MTDD_TRUSTED_PROXIES = ["127.0.0.1"]
    settings.MTDD_RESOLVERS = ["mtdd_router.resolvers.HeaderResolver"]
    caching = [
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    settings.MIDDLEWARE = ["mtdd_router.TenantMiddleware", *(caching if site_wide else [])]
    for _ in range(2):
        for owner in OWNERS:
            # The same URL for all.
            response = Client().get("/page/", headers={"X-Tenant": owner} if owner else {})
            assert response.content.decode() == f" of {owner}"
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "leak"}
    }
    seen = {Client().get("/page/", headers={"X-Tenant": owner}).content for owner in ("abc", "xyz")}
    assert seen == {b" of abc"}  # Without the function, pages do cross.
