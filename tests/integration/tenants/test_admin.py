"""The admin of shards and tenants, on real shards."""

import re

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from mtdd_router import tenant_context
from tenants import services
from tenants.models import Job, MigrationRun, Shard, Tenant
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import kill, names, page_of, works

ADD_TENANT = "admin:tenants_tenant_add"
TENANTS = "admin:tenants_tenant_changelist"
SHARDS = "admin:tenants_shard_changelist"


@pytest.fixture
def abc(tenant_factory):
    return tenant_factory("abc", shard="shard1")


def _errors(page):
    return " ".join(re.findall(r'class="errorlist[^>]*>(.*?)</ul>', page, re.DOTALL))


def test_a_tenants_own_administrator_sees_nothing_of_the_registry(client, abc):
    with tenant_context("abc"):
        chief = User.objects.create_superuser("chief", "a@example.com", "pw")
        client.force_login(chief)
    index = client.get("/t/abc/admin/")
    assert index.status_code == 200
    assert "Users" in index.content.decode()
    assert "Shards" not in index.content.decode()
    pages = [reverse(name) for name in (TENANTS, SHARDS, ADD_TENANT, "admin:tenants_shard_add")]
    pages.append(reverse("admin:tenants_tenant_change", args=[abc.pk]))
    pages.append(reverse("admin:tenants_tenant_delete", args=[abc.pk]))
    for page in pages:
        assert client.get(f"/t/abc{page}").status_code == 403
    assert client.post(f"/t/abc{pages[-1]}", {"post": "yes", "typed": "abc"}).status_code == 403
    assert works("abc")


def test_what_is_done_in_a_tenants_admin_is_logged_in_the_tenant(client, abc):
    with tenant_context("abc"):
        client.force_login(User.objects.create_superuser("chief", "a@example.com", "pw"))
    client.post("/t/abc/admin/auth/group/add/", {"name": "crew"})
    assert LogEntry.objects.mtdd("abc").get().object_repr == "crew"
    assert not LogEntry.objects.exists()
    # And its author can be deleted with it.
    User.objects.mtdd("abc").get().delete()
    assert not LogEntry.objects.mtdd("abc").exists()


# Tenants


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_creating_a_tenant_is_a_job_that_really_provisions_it(
    staff, registered_shards, placements, settings, atomic_requests
):
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = atomic_requests
    try:
        new = {"name": "abc", "shard": "", "isolation": "schema"}
        page = page_of(staff, ADD_TENANT, post=new)
    finally:
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False
    assert "waits for a worker" in page
    assert names() == set()
    job = Job.objects.get()
    assert job.requested_by == "admin"
    assert LogEntry.objects.get().object_repr == str(job)
    services.do_waiting_jobs()
    assert placements() == {"abc": Tenant.objects.get().placement()}
    assert works("abc")


def test_a_name_that_cannot_be_is_an_error_of_the_form(staff, abc, placements):
    for name in ("", "default", "ABC", "a b", 'a"b', "a.b", "x" * 64, "abc"):
        page = page_of(staff, ADD_TENANT, post={"name": name, "shard": "", "isolation": "schema"})
        assert _errors(page), name
    assert set(placements()) == names() == {"abc"}


def test_a_shard_that_is_dead_is_an_error_of_the_form_and_nothing_half_done(
    staff, spare_shard, spare_server
):
    kill(spare_server)
    post = {"name": "abc", "shard": spare_shard.pk, "isolation": "schema"}
    page = page_of(staff, ADD_TENANT, post=post)
    assert "Nothing answers" in _errors(page)
    assert names() == set()
    post["shard"] = ""
    assert "can be used" in _errors(page_of(staff, ADD_TENANT, post=post))


def test_tenants_are_searched_and_filtered_and_shown_with_their_size(staff, abc, tenant_factory):
    tenant_factory("xyz", shard="shard2")
    services.freeze_tenant("xyz")
    page = page_of(staff, TENANTS)
    assert re.search(r"mtdd-good[^>]*>active<.*KB", page, re.DOTALL)
    assert re.search(r"mtdd-cold[^>]*>frozen<", page)
    found = {
        "?q=xy": "xyz",  # a namespace ends with hexadecimal digits, which may look like "abc"
        "?state__exact=frozen": "xyz",
        f"?shard__id__exact={abc.shard_id}": "abc",
        "?isolation__exact=schema&q=xyz": "xyz",
    }
    for query, name in found.items():
        rows = re.findall(r"field-name[^>]*><a[^>]*>(\w+)<", page_of(staff, TENANTS, query=query))
        assert rows == [name], query


def test_placement_is_read_only_and_saving_a_new_name_renames(staff, abc, placements):
    change = "admin:tenants_tenant_change"
    page = page_of(staff, change, abc.pk)
    assert 'name="shard"' not in page
    assert abc.namespace in page
    post = {"name": "xyz", "shard": "999", "isolation": "database", "epoch": "99"}
    page_of(staff, change, abc.pk, post=post)
    tenant = Tenant.objects.get()
    assert (tenant.name, tenant.shard, tenant.epoch) == ("xyz", abc.shard, 3)
    assert placements() == {"xyz": tenant.placement()}
    page_of(staff, change, abc.pk, post={"name": "xyz"})
    assert Tenant.objects.get().epoch == 3
    page = page_of(staff, change, abc.pk, post={"name": "default"})
    assert "alias" in _errors(page)
    assert "<h2>xyz</h2>" in page


def test_the_buttons_of_a_tenant_freeze_and_unfreeze_it(staff, abc):
    change = ("admin:tenants_tenant_change", abc.pk)
    assert 'name="_freeze"' in page_of(staff, *change)
    page = page_of(staff, *change, post={"_freeze": "1"})
    assert "is frozen" in page
    assert 'name="_unfreeze"' in page
    assert "is active" in page_of(staff, *change, post={"_unfreeze": "1"})
    with tenant_lock("abc"):
        assert "under way" in page_of(staff, *change, post={"_freeze": "1"})
    assert Tenant.objects.get().state == "active"


def test_the_actions_do_what_they_can_and_say_what_they_cannot(staff, abc, tenant_factory):
    other = tenant_factory("xyz", shard="shard2")
    Tenant.objects.filter(pk=other.pk).update(state="deleting")

    def act(action):
        post = {"action": action, "_selected_action": [abc.pk, other.pk]}
        return page_of(staff, TENANTS, post=post)

    page = act("freeze_selected")
    assert "Frozen: 1" in page
    assert "&#x27;xyz&#x27; is deleting" in page
    assert "Unfrozen: 1" in act("unfreeze_selected")
    assert 'value="delete_selected"' not in act("delete_selected")
    assert Tenant.objects.count() == 2


def test_deleting_says_what_is_lost_and_wants_the_name_typed(staff, abc, placements):
    delete = ("admin:tenants_tenant_delete", abc.pk)
    services.delete_tenant("abc")
    page = page_of(staff, *delete)
    assert all(word in page for word in ("shard1", abc.namespace, "KB", "about", "for ever"))
    for typed in ("", "xyz", "ABC"):
        page = page_of(staff, *delete, post={"typed_name": typed, "post": "yes"})
        assert "nothing was deleted" in page
    assert set(placements()) == {"abc"}
    page = page_of(staff, *delete, post={"typed_name": "abc"})
    assert "was deleted successfully" in page
    assert placements() == {}
    assert LogEntry.objects.get(action_flag=DELETION).object_repr == "abc"


def test_deleting_a_tenant_in_use_can_be_undone(staff, abc, placements):
    delete = ("admin:tenants_tenant_delete", abc.pk)
    page = page_of(staff, *delete)
    assert all(word in page for word in (abc.namespace, "For 7 days it can be brought back"))
    assert "nothing was deleted" in page_of(staff, *delete, post={"typed_name": "xyz"})
    assert works("abc")
    assert "was deleted successfully" in page_of(staff, *delete, post={"typed_name": "abc"})
    assert placements()["abc"].state == "deleted"
    listed = page_of(staff, TENANTS, query="?state__exact=deleted")
    assert re.search(r'mtdd-bad" title="Purged after [^"]+">deleted<', listed)
    change = ("admin:tenants_tenant_change", abc.pk)
    page = page_of(staff, *change)
    assert 'name="_freeze"' not in page
    assert "is active again" in page_of(staff, *change, post={"_undelete": "1"})
    assert works("abc")
    services.delete_tenant("abc")
    post = {"action": "undelete_selected", "_selected_action": [abc.pk]}
    assert "Undeleted: 1" in page_of(staff, TENANTS, post=post)
    assert works("abc")


def test_a_tenant_on_a_dead_shard_shows_and_is_not_deleted(staff, spare_shard, spare_server):
    tenant = services.create_tenant("abc")
    kill(spare_server)
    page_of(staff, TENANTS)
    page_of(staff, "admin:tenants_tenant_change", tenant.pk)
    delete = ("admin:tenants_tenant_delete", tenant.pk)
    assert "not known" in page_of(staff, *delete)
    page = page_of(staff, *delete, post={"typed_name": "abc"})
    assert spare_server.address in page
    assert Tenant.objects.get().state == "active"


def test_who_may_only_look_changes_nothing(client, abc):
    user = User.objects.db_manager("default").create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_tenant", "view_shard"]))
    client.force_login(user)
    page = page_of(client, "admin:tenants_tenant_change", abc.pk)
    assert abc.namespace in page
    assert "_freeze" not in page
    for name, args in (
        (ADD_TENANT, ()),
        ("admin:tenants_tenant_change", (abc.pk,)),
        ("admin:tenants_tenant_delete", (abc.pk,)),
        ("admin:tenants_shard_add", ()),
        ("admin:tenants_shard_change", (abc.shard_id,)),
        ("admin:tenants_shard_delete", (abc.shard_id,)),
    ):
        post = {"name": "xyz", "typed_name": "abc", "_freeze": "1"}
        assert client.post(reverse(name, args=args), post).status_code == 403
    assert Tenant.objects.get().state == "active"
    assert names() == {"abc"}


@pytest.mark.parametrize("page", ["change", "delete"])
def test_a_tenant_that_is_gone_is_not_found(staff, page):
    url = reverse(f"admin:tenants_tenant_{page}", args=(123,))
    assert staff.post(url, {"typed_name": "x", "name": "x"}).status_code == 404


# Shards


def test_a_shard_is_registered_edited_and_removed(staff, spare_server):
    post = {"name": "spare", "address": spare_server.address, "weight": 2, "accepts_tenants": "on"}
    page_of(staff, "admin:tenants_shard_add", post=post)
    shard = Shard.objects.get()
    assert shard.shard_id
    assert (shard.weight, shard.accepts_tenants) == (2, True)
    change = ("admin:tenants_shard_change", shard.pk)
    page = page_of(staff, *change)
    assert re.search(r"mtdd-good[^>]*>up<", page)
    assert shard.shard_id in page
    page_of(staff, *change, post={**post, "weight": 5, "name": "other"})
    shard.refresh_from_db()
    assert (shard.name, shard.weight) == ("other", 5)
    delete = ("admin:tenants_shard_delete", shard.pk)
    assert "stay as they are" in page_of(staff, *delete)
    page_of(staff, *delete, post={})
    assert not Shard.objects.exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [("nonsense", "host:port"), ("127.0.0.1:1", "Nothing answers"), ("", "required")],
)
def test_an_address_that_is_wrong_is_an_error_of_its_field(staff, address, said):
    post = {"name": "one", "address": address, "weight": 1}
    page = page_of(staff, "admin:tenants_shard_add", post=post)
    assert said in _errors(page)
    assert 'id="id_address_error"' in page
    assert not Shard.objects.exists()


def test_the_same_shard_under_another_address_is_refused_naming_it(staff, spare_shard):
    port = spare_shard.address.rpartition(":")[2]
    post = {"name": "other", "address": f"localhost:{port}", "weight": 1}
    page = page_of(staff, "admin:tenants_shard_add", post=post)
    assert "spare" in _errors(page)
    assert Shard.objects.count() == 1


def test_a_dead_shard_shows_as_such_and_breaks_nopage_of(staff, registered_shards, spare_server):
    spare = services.register_shard("spare", spare_server.address)
    kill(spare_server)
    page = page_of(staff, SHARDS)
    assert len(re.findall(r"mtdd-good[^>]*>up<", page)) == 2
    assert len(re.findall(r"mtdd-bad[^>]*>down<", page)) == 1
    assert re.search(r"mtdd-bad[^>]*>down<", page_of(staff, "admin:tenants_shard_change", spare.pk))


def test_a_shard_with_tenants_is_not_removed(staff, abc):
    delete = ("admin:tenants_shard_delete", abc.shard_id)
    page = page_of(staff, *delete, post={})
    assert "1 tenant lives on shard" in page
    assert Shard.objects.count() == 2


def test_the_page_of_migration_runs_shows_progress_and_failures_and_changes_nothing(staff):
    run = MigrationRun.objects.create(
        state="failed", app_label="auth", migration="0011", operator="me@here", tenants=5
    )
    for tenant, state, error in (
        ("abc", "migrated", ""),
        ("def", "failed", "13 brings bad luck"),
        ("ghi", "pending", ""),
    ):
        run.items.create(tenant=tenant, shard="shard1", state=state, error=error)
    listed = page_of(staff, "admin:tenants_migrationrun_changelist")
    assert "auth 0011" in listed
    assert "mtdd-bad" in listed
    page = page_of(staff, "admin:tenants_migrationrun_change", run.pk)
    assert "13 brings bad luck" in page
    assert "ghi" in page
    assert 'name="_save"' not in page
    delete = reverse("admin:tenants_migrationrun_delete", args=[run.pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 403


def test_a_tenants_own_administrator_sees_no_migration_runs(client, abc):
    with tenant_context("abc"):
        chief = User.objects.create_superuser("chief", "a@example.com", "pw")
        client.force_login(chief)
    url = reverse("admin:tenants_migrationrun_changelist")
    assert client.get(f"/t/abc{url}").status_code == 403
