"""Former names: which requests they serve, for how long, and who may have them next."""

import datetime

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError
from django.db import transaction
from django.test import Client
from django.utils import timezone

from mtdd_router import current_tenant, tenant_context
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.directory import directory
from mtdd_router.errors import TenantDoesNotExist
from tenants import services
from tenants.errors import OperationRefused, TenantAlreadyExists
from tenants.models import TenantRedirect
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import page_of, repair_everything, run, run_json

HOUR = 3600.0


@pytest.fixture
def abc(tenant_factory):
    tenant = tenant_factory("abc", shard="shard1")
    with tenant_context("abc"):
        User.objects.create_superuser("chief", "a@example.com", "pw")
    return tenant


def _visit(name):
    """Return whose page is served under a name: the tenant's own administrator sees it."""
    browser = Client()
    directory.forget()
    page = browser.get(f"/t/{name}/admin/login/")
    if page.status_code != 200:
        return page.status_code
    post = {"username": "chief", "password": "pw", "next": f"/t/{name}/admin/auth/user/"}
    return (
        ">chief</a>" in browser.post(f"/t/{name}/admin/login/", post, follow=True).content.decode()
    )


def _is_over():
    TenantRedirect.objects.update(expires_at=timezone.now() - datetime.timedelta(seconds=1))


def test_requests_for_the_former_name_are_served_until_the_time_is_over(abc):
    services.rename_tenant("abc", "xyz", redirect=HOUR)
    assert _visit("xyz")
    assert _visit("abc") is True
    _is_over()
    assert _visit("abc") == 404
    assert _visit("xyz") is True


def test_without_a_redirect_the_former_name_leads_nowhere(abc):
    services.rename_tenant("abc", "xyz")
    assert _visit("abc") == 404
    assert not TenantRedirect.objects.exists()


def test_nothing_but_a_request_takes_the_former_name(abc):
    services.rename_tenant("abc", "xyz", redirect=HOUR)
    for query in (
        lambda: User.objects.using("abc").count(),
        lambda: User.objects.mtdd("abc").count(),
        lambda: User.objects.get(pk=1),
    ):
        with pytest.raises(TenantDoesNotExist, match=r"'abc'"), tenant_context("abc"):
            query()
    with pytest.raises(TenantDoesNotExist), transaction.atomic(using="abc"):
        Group.objects.using("abc").create(name="crew")
    assert not Group.objects.using("xyz").exists()


def test_what_a_request_by_the_former_name_sees_has_the_present_one(abc, rf):
    from django.http import HttpResponse

    from mtdd_router import TenantMiddleware

    services.rename_tenant("abc", "xyz", redirect=HOUR)
    seen = []

    def view(request):
        user = User.objects.get()
        seen.extend((request.tenant, current_tenant(), user._state.db))
        return HttpResponse()

    assert TenantMiddleware(view)(rf.get("/t/abc/")).status_code == 200
    assert seen == ["xyz", "xyz", "xyz"]


def test_every_former_name_leads_to_the_present_one(abc):
    services.rename_tenant("abc", "def", redirect=HOUR)
    services.rename_tenant("def", "xyz", redirect=HOUR)
    registry = directory._source()
    assert [registry.present_name(name) for name in ("abc", "def")] == ["xyz", "xyz"]
    # And back: the name is its own, whatever led from it.
    services.rename_tenant("xyz", "abc", redirect=HOUR)
    assert _visit("abc") is True
    assert _visit("xyz") is True
    services.rename_tenant("abc", "other")
    assert _visit("abc") == 404


def test_a_former_name_is_nobody_elses_until_it_is_dropped(abc, tenant_factory):
    tenant_factory("other")
    services.rename_tenant("abc", "xyz", redirect=HOUR)
    said = r"'xyz' was called 'abc'.*drop_redirect abc"
    for operation in (
        lambda: services.create_tenant("abc"),
        lambda: services.rename_tenant("other", "abc"),
    ):
        with pytest.raises(TenantAlreadyExists, match=said):
            operation()
    assert services.drop_redirect("abc").name == "xyz"
    services.create_tenant("abc")
    assert _visit("abc") is False
    with pytest.raises(TenantDoesNotExist, match=r"'abc' leads to no tenant"):
        services.drop_redirect("abc")


def test_a_former_name_whose_time_is_over_is_free(abc):
    services.rename_tenant("abc", "xyz", redirect=HOUR)
    _is_over()
    services.create_tenant("abc")
    assert not TenantRedirect.objects.exists()
    assert _visit("abc") is False


def test_with_its_tenant_a_redirect_goes(abc):
    services.rename_tenant("abc", "xyz", redirect=HOUR)
    services.delete_tenant("xyz")
    assert _visit("abc") == 503
    services.purge_tenant("xyz")
    assert not TenantRedirect.objects.exists()
    assert _visit("abc") == 404
    services.create_tenant("abc")


def test_a_redirect_whose_renaming_did_not_happen_leads_nowhere(abc):
    services.rename_tenant("abc", "def", redirect=HOUR)
    TenantRedirect.objects.create(name="def", tenant=abc, expires_at=timezone.now())
    assert _visit("def") is True
    with pytest.raises(TenantDoesNotExist):
        services.drop_redirect("def")
    services.rename_tenant("def", "xyz")
    assert _visit("def") == 404
    assert _visit("abc") is True


def test_a_renaming_that_stopped_half_way_keeps_its_redirect(abc):
    TenantRedirect.objects.create(
        name="abc", tenant=abc, expires_at=timezone.now() + datetime.timedelta(hours=1)
    )
    admin = ShardAdmin(abc.shard.address)
    admin.update_placement("abc", expected_epoch=2, name="xyz", epoch=3)
    repair_everything()
    assert _visit("xyz") is True
    assert _visit("abc") is True


def test_a_refused_renaming_writes_no_redirect(abc):
    from tenants.signals import pre_rename

    def refuse(**_):
        raise ValueError("no")

    pre_rename.connect(refuse)
    try:
        with pytest.raises(OperationRefused):
            services.rename_tenant("abc", "xyz", redirect=HOUR)
    finally:
        pre_rename.disconnect(refuse)
    assert not TenantRedirect.objects.exists()


def test_the_commands_keep_and_drop_a_name(abc):
    with pytest.raises(CommandError, match=r"--redirect must be 0"):
        run("rename_tenant", "abc", "xyz", "--redirect=-1")
    assert "is now called xyz" in run("rename_tenant", "abc", "xyz", "--redirect=30")
    (redirect,) = TenantRedirect.objects.all()
    assert 29 < (redirect.expires_at - timezone.now()).total_seconds() / 86400 <= 30
    assert [r["name"] for r in run_json("show_tenant", "xyz")["redirects"]] == ["abc"]
    assert "abc, until" in run("show_tenant", "xyz")
    with tenant_lock("abc"), pytest.raises(CommandError, match=r"under way"):
        run("drop_redirect", "abc")
    assert "leads no more to tenant xyz" in run("drop_redirect", "abc")
    with pytest.raises(CommandError, match=r"'abc' leads to no tenant"):
        run("drop_redirect", "abc")


def test_the_admin_renames_with_a_redirect(abc, staff):
    change = ("admin:tenants_tenant_change", abc.pk)
    page_of(staff, *change, post={"name": "xyz", "redirect_days": "30"})
    assert TenantRedirect.objects.get().name == "abc"
    page = page_of(staff, *change)
    assert "abc, until" in page
    assert "Ensure this value" in page_of(staff, *change, post={"name": "x", "redirect_days": "-1"})
    page_of(staff, *change, post={"name": "def", "redirect_days": ""})
    assert TenantRedirect.objects.count() == 1
