"""Sites, flat pages and redirects that live in tenants: Django's own caches cross none."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.sites.shortcuts import get_current_site
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from mtdd_router import TenantRequired, tenant_context
from mtdd_router.sites import TenantSiteManager

CONTRIB = ["django.contrib.sites", "django.contrib.flatpages", "django.contrib.redirects"]


def model() -> Any:
    """Return Site, which can be imported while its app is installed only."""
    return apps.get_model("sites.Site")


def cache() -> dict[Any, Any]:
    """Return the dict in which Django keeps sites."""
    from django.contrib.sites import models

    return models.SITE_CACHE


def where(request: HttpRequest) -> HttpResponse:
    return HttpResponse(get_current_site(request).name)


urlpatterns = [path("where/", where)]


@pytest.fixture
def sites(
    transactional_db: None, settings: Any, tenant_factory: Callable[..., Any]
) -> Iterator[None]:
    """Two tenants with sites of their own; that of id 1, and that of shop.example, in both."""
    settings.TENANT_APPS = [*settings.TENANT_APPS, *CONTRIB]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *CONTRIB]
    settings.ROOT_URLCONF = __name__
    for name, shard in (("abc", "shard1"), ("xyz", "shard2")):
        tenant_factory(name, shard=shard)
        with tenant_context(name):
            model().objects.update_or_create(
                pk=1, defaults={"domain": "shop.example", "name": f"of {name}"}
            )
    cache().clear()
    yield
    cache().clear()


def test_the_current_site_is_the_tenants(sites: None, settings: Any) -> None:
    assert isinstance(model().objects, TenantSiteManager)
    request = RequestFactory().get("/", headers={"Host": "shop.example:8000"})
    elsewhere = model().objects.db_manager("xyz")
    for settings.SITE_ID in (1, None, 1):
        for name in ("abc", "xyz"):
            with tenant_context(name):
                assert model().objects.get_current(request).name == f"of {name}"
                assert get_current_site(request).name == f"of {name}"
                assert elsewhere.get_current(request).name == "of xyz"
                assert copy.copy(elsewhere).get_current(request).name == "of xyz"
        assert cache() == {}
        with pytest.raises(TenantRequired):
            model().objects.get_current(request)
    with tenant_context("abc"):
        model().objects.filter(pk=1).update(name="changed")
        assert model().objects.get_current().name == "changed"
    settings.SITE_ID = None
    only = RequestFactory().get("/", headers={"Host": "only.example"})
    with tenant_context("abc"):
        model().objects.create(domain="only.example", name="only")
        assert model().objects.get_current(only).name == "only"
        with pytest.raises(ImproperlyConfigured):
            model().objects.get_current()
    with tenant_context("xyz"), pytest.raises(model().DoesNotExist):
        model().objects.get_current(only)


def test_pages_and_redirects_are_the_tenants(sites: None, settings: Any) -> None:
    settings.SITE_ID = 1
    settings.MIDDLEWARE = [
        "mtdd_router.TenantMiddleware",
        "django.contrib.sites.middleware.CurrentSiteMiddleware",
        "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
        "django.contrib.redirects.middleware.RedirectFallbackMiddleware",
    ]
    settings.MTDD_RESOLVERS = [
        ("mtdd_router.resolvers.SubdomainResolver", {"domain": "example.com"})
    ]
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {"flatpages/default.html": "{{ flatpage.content }}"},
                    )
                ]
            },
        }
    ]
    page, redirect = apps.get_model("flatpages.FlatPage"), apps.get_model("redirects.Redirect")
    for name in ("abc", "xyz"):
        with tenant_context(name):
            made = page.objects.create(url="/about/", title="About", content=f"of {name}")
            made.sites.add(model().objects.get_current())
            redirect.objects.create(site_id=1, old_path="/old/", new_path=f"/of-{name}/")
    with tenant_context("abc"):
        page.objects.create(url="/secret/", content="secret").sites.add(1)
    for _ in range(2):
        for name in ("abc", "xyz"):
            host = {"Host": f"{name}.example.com"}
            answer = Client().get("/about/", headers=host)
            assert answer.content.decode() == f"of {name}"
            assert Client().get("/where/", headers=host).content.decode() == f"of {name}"
            moved = Client().get("/old/", headers=host)
            assert moved.headers["Location"] == f"/of-{name}/"
            found = Client().get("/secret/", headers=host).status_code
            assert found == (200 if name == "abc" else 404)
    call_command("makemigrations", "--check", "--dry-run", "sites", verbosity=0)


def test_the_projects_own_site_is_cached_as_before_and_no_tenants_is(
    transactional_db: None, settings: Any, tenant_factory: Callable[..., Any]
) -> None:
    settings.SHARED_APPS = [*settings.SHARED_APPS, "django.contrib.sites"]
    settings.TENANT_APPS = [*settings.TENANT_APPS, "django.contrib.sites"]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sites"]
    settings.SITE_ID = 1
    cache().clear()
    cached = model()(pk=1, domain="project.example", name="the project's")
    cache()[1] = cached
    try:
        tenant_factory("abc", shard="shard1")
        cache()[1] = cached
        assert model().objects.get_current() is cached
        with tenant_context("abc"):
            assert model().objects.get_current().domain == "example.com"
        assert model().objects.get_current() is cached
    finally:
        cache().clear()
