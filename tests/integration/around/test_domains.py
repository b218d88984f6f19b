"""Domains of tenants: who has which, and for how long a name rests that had one."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone

from mtdd_router import current_tenant, tenant_context
from mtdd_router.directory import Directory, directory
from mtdd_router.domains import DomainDirectory, domains, load_domain_registry
from mtdd_router.types import TenantState
from tenants import services
from tenants.errors import DomainDoesNotExist, DomainTaken, TenantAlreadyExists
from tenants.models import RestingName, Shard, Tenant, TenantDomain
from tests.integration.tenants.conftest import page_of, run, run_json


@pytest.fixture
def rows(transactional_db: None) -> None:
    """The tenants abc and xyz in the registry alone, for what asks no shard."""
    shard = Shard.objects.create(name="nowhere", address="127.0.0.1:1")
    for name in ("abc", "xyz"):
        Tenant.objects.create(
            name=name, shard=shard, namespace=name, role=name, state=TenantState.ACTIVE.value
        )
    directory.forget()
    domains.forget()


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{current_tenant()} {','.join(u.username for u in User.objects.all())}")


urlpatterns = [path("who/", who)]


@pytest.fixture
def visit(settings: Any, two_tenants: Any) -> Callable[[str], str]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["mtdd_router.TenantMiddleware"]
    settings.MTDD_RESOLVERS = ["mtdd_router.resolvers.DomainResolver"]
    for name in ("abc", "xyz"):
        with tenant_context(name):
            User.objects.create_user(f"of-{name}")

    def visit(host: str) -> str:
        response = Client().get("/who/", headers={"Host": host})
        return response.content.decode() if response.status_code == 200 else "refused"

    return visit


def test_a_domain_leads_to_its_tenants_rows(visit: Callable[[str], str]) -> None:
    services.add_domain("abc", "Shop.Example.ORG.:443")
    services.add_domain("xyz", "straße.example")
    assert visit("SHOP.example.org:8000") == "abc of-abc"
    assert visit("xn--strae-oqa.example") == "xyz of-xyz"
    assert visit("example.org") == "None "
    assert run_json("show_tenant", "abc")["domains"] == ["shop.example.org"]
    assert "shop.example.org" in run("show_tenant", "abc")
    services.remove_domain("shop.example.org")
    assert visit("shop.example.org") == "None "
    services.add_domain("xyz", "shop.example.org")
    assert visit("shop.example.org") == "xyz of-xyz"


@pytest.mark.usefixtures("rows")
def test_a_domain_is_one_tenants_in_any_spelling() -> None:
    services.add_domain("abc", "a.example")
    for again in ("a.example", "A.EXAMPLE.", " a.example:80 "):
        assert services.add_domain("abc", again).domain == "a.example"
        with pytest.raises(DomainTaken, match="'abc'"):
            services.add_domain("xyz", again)
    assert TenantDomain.objects.count() == 1


@pytest.mark.usefixtures("rows")
def test_the_database_itself_keeps_one_spelling() -> None:
    tenant = Tenant.objects.get(name="abc")
    for spelling in ("A.example", "a.example.", "a.example:80", "ä.example", ""):
        with pytest.raises(IntegrityError), transaction.atomic():
            TenantDomain.objects.create(domain=spelling, tenant=tenant)


def test_a_domain_follows_a_renaming_and_ends_with_its_tenant(visit: Callable[[str], str]) -> None:
    services.add_domain("abc", "a.example")
    assert visit("a.example") == "abc of-abc"
    services.rename_tenant("abc", "new")
    assert visit("a.example") == "new of-abc"
    services.freeze_tenant("new")
    assert visit("a.example") == "refused"
    services.purge_tenant("new")
    assert visit("a.example") == "None "
    assert not TenantDomain.objects.exists()


@pytest.fixture
def elsewhere(two_tenants: Any, settings: Any) -> Callable[[str], str | None]:
    """Which tenant another process takes a domain for; it has it in its caches already."""
    settings.MTDD_NAME_REST = 120.0
    routes = Directory()
    routes.route("abc")
    other = DomainDirectory(load_domain_registry, routes)
    services.add_domain("abc", "a.example")
    assert other.tenant("a.example") == "abc"
    return other.tenant


@pytest.mark.parametrize("how", ["rename", "purge", "remove"])
def test_no_other_tenant_gets_a_name_that_a_process_may_still_take_for_the_last_one(
    elsewhere: Callable[[str], str | None], how: str
) -> None:
    if how == "purge":
        services.purge_tenant("abc")
    else:
        if how == "remove":
            services.remove_domain("a.example")
        services.rename_tenant("abc", "new")
    # What the rule is there for: a process that has not learned of it.
    assert elsewhere("a.example") == "abc"
    for take in (
        lambda: services.create_tenant("abc"),
        lambda: services.rename_tenant("xyz", "abc"),
    ):
        with pytest.raises(TenantAlreadyExists, match="MTDD_NAME_REST"):
            take()
    RestingName.objects.update(until=timezone.now() - datetime.timedelta(seconds=1))
    services.rename_tenant("xyz", "abc")
    assert not RestingName.objects.filter(name="abc").exists()


@pytest.mark.usefixtures("two_tenants")
def test_a_tenant_gets_its_own_name_back_at_once_and_rested_names_are_forgotten(
    settings: Any,
) -> None:
    settings.MTDD_NAME_REST = 120.0
    services.rename_tenant("abc", "new")
    services.rename_tenant("new", "abc")
    assert set(RestingName.objects.values_list("name", flat=True)) == {"abc", "new"}
    RestingName.objects.update(until=timezone.now())
    services.rename_tenant("abc", "other")
    assert set(RestingName.objects.values_list("name", flat=True)) == {"abc"}


@pytest.mark.usefixtures("two_tenants")
def test_a_route_has_a_key_that_stays_when_its_tenant_is_renamed() -> None:
    before = {name: directory.route(name).key for name in ("abc", "xyz")}
    services.rename_tenant("abc", "new")
    services.rename_tenant("xyz", "abc")
    assert directory.route("new").key == before["abc"] != 0
    assert directory.route("abc").key == before["xyz"]
    services.purge_tenant("new")
    services.create_tenant("new")
    assert directory.route("new").key not in before.values()
    assert directory.preload() == 2
    assert Tenant.objects.get(name="new").route() == directory.route("new")


# Commands and pages


@pytest.mark.usefixtures("rows")
def test_the_commands_add_list_and_remove() -> None:
    assert "shop.example.org" in run("add_domain", "abc", "SHOP.example.org")
    run("add_domain", "xyz", "z.example")
    listed = run_json("list_domains")
    assert [(row["domain"], row["tenant"]) for row in listed] == [
        ("shop.example.org", "abc"),
        ("z.example", "xyz"),
    ]
    assert "z.example" in run("list_domains", "--tenant", "xyz")
    assert "shop" not in run("list_domains", "--tenant", "xyz")
    with pytest.raises(CommandError, match="remove_domain"):
        run("add_domain", "xyz", "shop.example.org")
    assert run_json("remove_domain", "shop.example.org")["tenant"] == "abc"
    assert "No domains" in run("list_domains", "--tenant", "abc")
    with pytest.raises(CommandError, match="list_domains"):
        run("remove_domain", "shop.example.org")
    with pytest.raises(CommandError):
        run("add_domain", "nobody", "n.example")


@pytest.fixture
def staff(client: Client, two_tenants: Any) -> Client:
    client.force_login(User.objects.db_manager("default").create_superuser("admin"))
    return client


def test_the_admin_adds_shows_and_removes_domains(staff: Client) -> None:
    tenant = Tenant.objects.get(name="abc")
    page = page_of(staff, "admin:tenants_tenant_change", tenant.pk)
    assert f"/admin/tenants/tenantdomain/add/?tenant={tenant.pk}" in page
    post = {"domain": "Shop.Example.org.", "tenant": tenant.pk}
    page_of(staff, "admin:tenants_tenantdomain_add", post=post)
    row = TenantDomain.objects.get()
    assert (row.domain, row.tenant) == ("shop.example.org", tenant)
    assert "shop.example.org" in page_of(staff, "admin:tenants_tenant_change", tenant.pk)
    again = {**post, "tenant": Tenant.objects.get(name="xyz").pk}
    assert "already exists" in page_of(staff, "admin:tenants_tenantdomain_add", post=again)
    assert TenantDomain.objects.count() == 1
    page_of(staff, "admin:tenants_tenantdomain_delete", row.pk, post={"post": "yes"})
    assert not TenantDomain.objects.exists()
    assert domains.tenant("shop.example.org") is None


def test_the_page_of_a_tenant_still_renames_it(staff: Client) -> None:
    tenant = Tenant.objects.get(name="abc")
    services.add_domain("abc", "a.example")
    page_of(staff, "admin:tenants_tenant_change", tenant.pk, post={"name": "new"})
    assert Tenant.objects.using(DEFAULT_DB_ALIAS).get(pk=tenant.pk).name == "new"
    assert TenantDomain.objects.count() == 1


@pytest.mark.usefixtures("rows")
def test_a_missing_domain_is_an_error_of_the_service() -> None:
    with pytest.raises(DomainDoesNotExist):
        services.remove_domain("nobody.example")
