"""kill -9 of a worker at random points of each kind of job, and the retry afterwards."""

import random
import time

import pytest
from django.contrib.auth.models import User

from tenants import services
from tenants.models import Job, Tenant
from tests.integration.tenants.conftest import names, repair_everything, works
from tests.integration.tenants.rich_contents import execute
from tests.integration.tenants.test_migrating_faults import ZERO, applied, command

# About as long as the longest of them takes.
_SECONDS = 0.6


def ask_for(kind):
    if kind == "create":
        return services.request_creation("new", shard="shard2")
    if kind == "clone":
        return services.request_clone("abc", "new", shard="shard2")
    if kind == "archive":
        return services.request_archive("abc")
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=ZERO)
    return services.request_migration()


@pytest.mark.parametrize("kind", ["create", "clone", "archive", "migrate"])
def test_a_retry_completes_what_a_killed_worker_left(
    tenant_factory, placements, kind, kills, archives
):
    tenant_factory("abc", shard="shard1")
    execute("abc", "CREATE TABLE many AS SELECT generate_series(1, 20000) AS n")
    User.objects.using("abc").create(username="ada")
    for _ in range(kills):
        job = ask_for(kind)
        worker = command("run_jobs")
        while job.state == Job.State.QUEUED:
            assert worker.poll() is None, worker.communicate()
            job.refresh_from_db()
        time.sleep(random.uniform(0, _SECONDS))
        worker.kill()
        worker.communicate()
        while job.state == Job.State.RUNNING:
            services.note_interrupted()
            job.refresh_from_db()
        if job.state != Job.State.DONE:
            services.retry_job(job)
            services.do_waiting_jobs()
            job.refresh_from_db()
        assert (job.state, job.error) == ("done", "")
        assert repair_everything() == []
        assert set(placements()) == names()
        if kind == "migrate":
            assert applied("abc") == 1
        elif kind == "archive":
            assert [path.name for path in archives.iterdir()] == [job.result.split()[0]]
            services.restore_tenant(next(archives.iterdir()), name="new")
            next(archives.iterdir()).unlink()
        else:
            assert Tenant.objects.get(name="new").state == "active"
        if "new" in names():
            assert works("new")
            assert User.objects.using("new").exists() is (kind != "create")
            services.purge_tenant("new")
