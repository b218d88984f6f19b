"""Jobs in the admin: asking for them, seeing how far they are, retrying them; and who may."""

import re

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from mtdd_router import tenant_context
from tenants import services
from tenants.models import Job, MigrationRun, Tenant
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import names, page_of, works
from tests.integration.tenants.rich_contents import execute
from tests.integration.tenants.test_migrating_faults import ZERO

JOBS = "admin:tenants_job_changelist"
JOB = "admin:tenants_job_change"
TENANT = "admin:tenants_tenant_change"
CLONE = "admin:tenants_tenant_clone"
RUN = "admin:tenants_migrationrun_change"
REFRESH = 'http-equiv="refresh"'


@pytest.fixture
def abc(tenant_factory):
    return tenant_factory("abc", shard="shard1")


@pytest.fixture
def with_permissions(client):
    """Log in somebody with these permissions, and no others."""

    def log_in(*codenames):
        user = User.objects.db_manager("default").create_user("somebody", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return log_in


def done():
    """Do the one job that waits, and return it."""
    assert services.do_waiting_jobs() == 1
    return Job.objects.first()


def test_the_page_of_a_job_reads_itself_again_until_the_job_has_ended(staff, registered_shards):
    page = page_of(staff, "admin:tenants_tenant_add", post={"name": "abc", "isolation": "schema"})
    job = Job.objects.get()
    assert REFRESH in page
    assert "queued" in page
    assert REFRESH in page_of(staff, JOBS)
    done()
    page = page_of(staff, JOB, job.pk)
    assert REFRESH not in page
    assert "Tenant abc is there." in page
    assert reverse(TENANT, args=[Tenant.objects.get().pk]) in page
    assert REFRESH not in page_of(staff, JOBS)
    assert "_retry" not in page


@pytest.mark.parametrize("model", ["tenant", "migrationrun"])
def test_what_makes_a_job_offers_no_other_way_to_go_on(staff, registered_shards, model):
    page = page_of(staff, f"admin:tenants_{model}_add")
    assert 'name="_save"' in page
    assert "_addanother" not in page
    assert "_continue" not in page


def test_a_job_that_nobody_takes_says_what_is_missing(staff, registered_shards):
    job = services.request_creation("abc")
    words = "Does `manage.py run_jobs` run?"
    assert words not in page_of(staff, JOB, job.pk)
    earlier = job.created_at.replace(year=2020)
    Job.objects.filter(pk=job.pk).update(created_at=earlier)
    assert words in page_of(staff, JOB, job.pk)
    assert words in page_of(staff, JOBS)


def test_a_job_that_failed_shows_why_and_is_retried(staff, abc):
    job = services.request_clone("abc", "xyz")
    with tenant_lock("abc"):
        done()
    page = page_of(staff, JOB, job.pk)
    assert "Another operation on tenant" in page
    assert 'name="_retry"' in page
    page = page_of(staff, JOB, job.pk, post={"_retry": "1"})
    assert "waits for a worker again" in page
    page = page_of(staff, JOB, job.pk, post={"_retry": "1"})
    assert "is not retried" in page
    assert done().state == "done"
    assert works("xyz")


def test_a_job_whose_worker_died_is_shown_as_interrupted_also_without_any_worker(staff, abc):
    job = services.request_clone("abc", "xyz")
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING)
    page = page_of(staff, JOBS)
    assert re.search(r"mtdd-bad[^>]*>interrupted<", page)
    assert 'name="_retry"' in page_of(staff, JOB, job.pk)


def test_a_tenant_is_cloned(staff, abc):
    User.objects.using("abc").create(username="ada")
    assert reverse(CLONE, args=[abc.pk]) in page_of(staff, TENANT, abc.pk)
    assert "Clone tenant abc" in page_of(staff, CLONE, abc.pk)
    page = page_of(staff, CLONE, abc.pk, post={"name": "xyz", "shard": ""})
    assert "waits for a worker" in page
    assert done().state == "done"
    assert User.objects.using("xyz").get().username == "ada"
    about = LogEntry.objects.values_list("action_flag", "object_repr")
    assert set(about) == {(ADDITION, str(Job.objects.get())), (CHANGE, "abc")}


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "required"), ("A b", "name"), ("abc", "already exists"), ("default", "")],
)
def test_a_name_that_a_clone_cannot_have_is_an_error_of_the_form(staff, abc, name, said):
    page = page_of(staff, CLONE, abc.pk, post={"name": name})
    (errors,) = re.findall(r'class="errorlist[^>]*>(.*?)</ul>', page, re.DOTALL)
    assert said in errors
    assert "id_name_error" in page
    assert not Job.objects.exists()


def test_a_tenant_is_archived_into_the_folder_of_the_setting(staff, abc, archives, tenant_factory):
    page_of(staff, TENANT, abc.pk, post={"_archive": "1", "path": "/etc/passwd"})
    assert done().state == "done"
    (file,) = archives.iterdir()
    assert file.name in page_of(staff, JOB, Job.objects.get().pk)
    other = tenant_factory("xyz")
    post = {"action": "archive_selected", "_selected_action": [abc.pk, other.pk]}
    page = page_of(staff, "admin:tenants_tenant_changelist", post=post)
    assert "Archives asked for: 2" in page
    assert services.do_waiting_jobs() == 2
    assert len(list(archives.iterdir())) == 3
    logged = LogEntry.objects.filter(action_flag=ADDITION).values_list("object_repr", flat=True)
    assert set(logged) == {str(job) for job in Job.objects.all()}


def test_without_the_setting_archiving_says_what_to_set(staff, abc, settings):
    settings.MTDD_ARCHIVE_ROOT = None
    page = page_of(staff, TENANT, abc.pk, post={"_archive": "1"})
    assert "set MTDD_ARCHIVE_ROOT" in page
    assert not Job.objects.exists()


def test_tenants_are_migrated_from_their_page_their_list_and_their_shard(
    staff, abc, tenant_factory
):
    other = tenant_factory("xyz", shard="shard2")
    page = page_of(staff, TENANT, abc.pk, post={"_migrate": "1"})
    assert "waits for a worker" in page
    assert done().parameters == {"tenants": ["abc"], "shards": None}
    post = {"action": "migrate_selected", "_selected_action": [abc.pk, other.pk]}
    page_of(staff, "admin:tenants_tenant_changelist", post=post)
    assert done().parameters == {"tenants": ["abc", "xyz"], "shards": None}
    post = {"action": "migrate_tenants", "_selected_action": [other.shard_id]}
    page_of(staff, "admin:tenants_shard_changelist", post=post)
    assert done().parameters == {"tenants": None, "shards": ["shard2"]}
    assert set(Job.objects.values_list("state", flat=True)) == {"done"}


def test_a_migration_run_is_begun_seen_and_resumed(staff, abc, tenant_factory):
    tenant_factory("xyz", shard="shard1")
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=ZERO)
    execute("xyz", "CREATE TABLE flights_flight (id int)")
    page = page_of(staff, "admin:tenants_migrationrun_add", post={"shards": [abc.shard_id]})
    assert "waits for a worker" in page
    job = done()
    assert job.state == "failed"
    run = MigrationRun.objects.get(pk=job.migration_run)
    assert reverse(RUN, args=[run.pk]) in page_of(staff, JOB, job.pk)
    page = page_of(staff, RUN, run.pk)
    assert "1 / 2" in page
    assert "flights_flight" in page
    execute("xyz", "DROP TABLE flights_flight")
    assert "waits for a worker" in page_of(staff, RUN, run.pk, post={"_resume": "1"})
    assert done().state == "done"
    page = page_of(staff, RUN, run.pk)
    assert "2 / 2" in page
    assert "_resume" not in page


def test_nobody_writes_in_what_jobs_tell(staff, abc):
    job = services.request_migration()
    done()
    for name in ("job", "migrationrun"):
        number = job.pk if name == "job" else MigrationRun.objects.get().pk
        for page in ("change", "delete"):
            url = reverse(f"admin:tenants_{name}_{page}", args=[number])
            assert staff.post(url, {"state": "queued", "post": "yes"}).status_code == 403
    assert staff.get(reverse("admin:tenants_job_add")).status_code == 403
    assert "delete_selected" not in page_of(staff, JOBS)


# Who may


def test_who_may_only_look_asks_for_nothing(with_permissions, abc, archives):
    client = with_permissions("view_tenant", "view_job", "view_migrationrun", "view_shard")
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=ZERO)
    run = MigrationRun.objects.get()
    run.items.update(state="failed")
    job = services.request_clone("abc", "xyz")
    with tenant_lock("abc"):
        done()
    page = page_of(client, TENANT, abc.pk)
    assert not any(word in page for word in ("_archive", "_migrate", "/clone/"))
    assert "_retry" not in page_of(client, JOB, job.pk)
    assert "_resume" not in page_of(client, RUN, run.pk)
    for name, args, post in (
        (TENANT, [abc.pk], {"_archive": "1"}),
        (TENANT, [abc.pk], {"_migrate": "1"}),
        (CLONE, [abc.pk], {"name": "other"}),
        (JOB, [job.pk], {"_retry": "1"}),
        (RUN, [run.pk], {"_resume": "1"}),
        ("admin:tenants_migrationrun_add", [], {"shards": []}),
    ):
        assert client.post(reverse(name, args=args), post).status_code == 403, name
    shard = {"action": "migrate_tenants", "_selected_action": [abc.shard_id]}
    client.post(reverse("admin:tenants_shard_changelist"), shard)
    assert list(Job.objects.values_list("pk", "state")) == [(job.pk, "failed")]


def test_a_retry_needs_the_right_to_what_the_job_does(with_permissions, abc, archives):
    client = with_permissions("view_job", "change_tenant", "view_tenant")
    clone, archive = services.request_clone("abc", "xyz"), services.request_archive("abc")
    with tenant_lock("abc"):
        assert services.do_waiting_jobs() == 2
    assert client.post(reverse(JOB, args=[clone.pk]), {"_retry": "1"}).status_code == 403
    page_of(client, JOB, archive.pk, post={"_retry": "1"})
    assert dict(Job.objects.values_list("kind", "state")) == {
        "clone": "failed",
        "archive": "queued",
    }


def test_who_may_create_but_not_see_jobs_is_told_and_led_to_the_tenants(
    with_permissions, registered_shards
):
    client = with_permissions("add_tenant", "view_tenant")
    new = {"name": "abc", "shard": "", "isolation": "schema"}
    page = page_of(client, "admin:tenants_tenant_add", post=new)
    assert "Select tenant to view" in page
    assert "waits for a worker" in page
    assert done().state == "done"
    assert names() == {"abc"}


def test_a_tenants_own_administrator_sees_no_jobs(client, abc):
    job = services.request_migration()
    with tenant_context("abc"):
        client.force_login(User.objects.create_superuser("chief", "a@example.com", "pw"))
    for url in (reverse(JOBS), reverse(JOB, args=[job.pk]), reverse(CLONE, args=[abc.pk])):
        assert client.get(f"/t/abc{url}").status_code == 403
    job_url = reverse(JOB, args=[job.pk])
    assert client.post(f"/t/abc{job_url}", {"_retry": "1"}).status_code == 403


def test_the_jobs_of_a_tenant_are_found_from_its_page_also_those_that_read_it(
    staff, abc, tenant_factory
):
    other = tenant_factory("other")
    services.request_clone("abc", "xyz")
    services.request_migration(tenants=["other"])
    for tenant, text in ((abc, "clone a tenant xyz"), (other, "migrate tenants other")):
        query = f"?q={tenant.name}"
        assert f'href="{reverse(JOBS)}{query}"' in page_of(staff, TENANT, tenant.pk)
        listed = page_of(staff, JOBS, query=query)
        assert text in listed
        assert len(re.findall(r'<th class="field-__str__', listed)) == 1
