"""Jobs: asked for, done by real workers, killed, retried."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connections

from mtdd_router.errors import ConfigurationError, InvalidTenantName, TenantDoesNotExist
from tenants import services
from tenants.errors import JobError, ShardNotRegistered, TenantAlreadyExists
from tenants.models import Job, MigrationRun, Shard, Tenant
from tenants.services.jobs.queue import claimed
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import kill, names, repair_everything, run_json, works
from tests.integration.tenants.rich_contents import execute
from tests.integration.tenants.test_archives_killed import wait_until_rows_move
from tests.integration.tenants.test_migrating_faults import ZERO, applied, command

_HEAVY = """
CREATE TABLE heavy (id int PRIMARY KEY, text text UNIQUE);
INSERT INTO heavy SELECT n, md5(n::text) FROM generate_series(1, 150000) n;
"""


def again(job):
    job.refresh_from_db()
    return job


def until(done, process=None):
    """Wait until *done* says yes."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


# What jobs do


def test_a_job_waits_until_a_worker_does_it(registered_shards, placements):
    job = services.request_creation("abc", shard="shard2", requested_by="chief")
    assert (job.state, names()) == ("queued", set())
    assert services.do_waiting_jobs() == 1
    assert again(job).state == "done"
    assert (job.attempts, job.error, job.requested_by) == (1, "", "chief")
    assert job.created_at <= job.started_at <= job.finished_at
    assert "process" in job.worker
    tenant = Tenant.objects.get()
    assert tenant.shard.name == "shard2"
    assert placements() == {"abc": tenant.placement()}
    assert works("abc")
    assert services.do_waiting_jobs() == 0


def test_the_command_does_jobs_in_their_order_and_tells_of_each(registered_shards):
    services.request_creation("abc")
    services.do_waiting_jobs()
    services.request_clone("abc", "xyz", structure_only=True)
    services.request_migration()
    told = run_json("run_jobs", "--once")
    assert [(job["kind"], job["state"]) for job in told] == [("clone", "done"), ("migrate", "done")]
    assert names() == {"abc", "xyz"}


def test_a_clone_has_the_rows_or_only_the_tables(tenant_factory):
    tenant_factory("abc")
    User.objects.using("abc").create(username="somebody")
    services.request_clone("abc", "full")
    services.request_clone("abc", "bare", structure_only=True)
    services.do_waiting_jobs()
    assert User.objects.using("full").count() == 1
    assert User.objects.using("bare").count() == 0


def test_an_archive_goes_to_the_folder_of_the_setting_and_can_be_restored(tenant_factory, archives):
    tenant_factory("abc")
    User.objects.using("abc").create(username="somebody")
    job = services.request_archive("abc")
    services.do_waiting_jobs()
    (file,) = archives.iterdir()
    assert file.name in again(job).result
    assert file.stat().st_mode & 0o777 == 0o600
    services.restore_tenant(file, name="xyz")
    assert User.objects.using("xyz").get().username == "somebody"


def test_a_migration_shows_its_progress_and_its_run(tenant_factory):
    for name in ("abc", "xyz"):
        tenant_factory(name, shard="shard1")
    tenant_factory("other", shard="shard2")
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=ZERO)
    one = services.request_migration(shards=["shard1"])
    services.do_waiting_jobs()
    assert (again(one).state, one.progress, one.total) == ("done", 2, 2)
    assert "2 migrated" in one.result
    run = MigrationRun.objects.get(pk=one.migration_run)
    assert set(run.items.values_list("tenant", flat=True)) == {"abc", "xyz"}
    two = services.request_migration(tenants=["other"])
    assert two.tenant == "other"
    services.do_waiting_jobs()
    assert "1 migrated" in again(two).result


# What is refused


def test_what_cannot_be_done_is_refused_at_once(tenant_factory, settings):
    tenant_factory("abc")
    settings.MTDD_ARCHIVE_ROOT = None
    with pytest.raises(InvalidTenantName):
        services.request_creation("default")
    with pytest.raises(TenantAlreadyExists):
        services.request_creation("abc")
    with pytest.raises(ShardNotRegistered):
        services.request_creation("xyz", shard="nowhere")
    with pytest.raises(TenantDoesNotExist):
        services.request_clone("nobody", "xyz")
    with pytest.raises(TenantDoesNotExist):
        services.request_archive("nobody")
    with pytest.raises(ConfigurationError, match="MTDD_ARCHIVE_ROOT"):
        services.request_archive("abc")
    with pytest.raises(ShardNotRegistered):
        services.request_migration(shards=["nowhere"])
    assert not Job.objects.exists()


def test_a_name_is_given_to_one_waiting_job_only(registered_shards):
    services.request_creation("abc")
    with pytest.raises(TenantAlreadyExists, match="Job"):
        services.request_creation("abc")


def test_a_job_that_fails_says_why_and_what_to_do_and_is_retried(tenant_factory):
    tenant_factory("abc")
    job = services.request_clone("abc", "xyz")
    with pytest.raises(JobError, match="queued"):
        services.retry_job(job)
    with tenant_lock("abc"):
        services.do_waiting_jobs()
    assert again(job).state == "failed"
    assert "try again" in job.error
    services.retry_job(job)
    services.do_waiting_jobs()
    assert (again(job).state, job.error, job.attempts) == ("done", "", 2)
    with pytest.raises(JobError, match="done"):
        services.retry_job(job)


def test_a_run_with_failures_is_a_failed_job_and_is_resumed(spare_shard, tenant_factory):
    for name in ("abc", "xyz"):
        services.create_tenant(name)
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=ZERO)
    execute("xyz", "CREATE TABLE flights_flight (id int)")
    job = services.request_migration()
    services.do_waiting_jobs()
    assert again(job).state == "failed"
    assert "1 failed" in job.error
    assert "xyz" in job.error
    execute("xyz", "DROP TABLE flights_flight")
    run = MigrationRun.objects.get(pk=job.migration_run)
    resumed = services.request_resumption(run)
    services.do_waiting_jobs()
    assert (again(resumed).state, resumed.total, resumed.migration_run) == ("done", 1, run.pk)
    services.migrate_tenants(Tenant.objects.select_related("shard"))
    with pytest.raises(JobError, match="not the last"):
        services.request_resumption(run)


# Workers


def test_two_workers_never_do_one_job_twice(registered_shards):
    jobs = [services.request_creation(f"t{number}") for number in range(6)]
    workers = [command("run_jobs", "--once", "--json") for _ in range(2)]
    told = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    assert sorted(job["job"] for one in told for job in one) == [job.pk for job in jobs]
    assert {again(job).state for job in jobs} == {"done"}
    assert {job.attempts for job in jobs} == {1}
    assert names() == {f"t{number}" for number in range(6)}


def test_a_job_can_be_claimed_once(registered_shards):
    job = services.request_creation("abc")

    def other():
        try:
            with claimed(job.pk) as mine:
                return mine
        finally:
            connections.close_all()

    with claimed(job.pk) as mine, ThreadPoolExecutor(1) as pool:
        assert mine == job
        assert pool.submit(other).result() is None
        assert services.note_interrupted() == 0
    assert services.note_interrupted() == 1
    assert again(job).state == "interrupted"


def test_a_worker_that_is_killed_leaves_a_job_that_is_seen_and_retried(
    tenant_factory, shard_postgres_dsns, placements
):
    tenant_factory("abc", shard="shard1")
    execute("abc", _HEAVY)
    job = services.request_clone("abc", "xyz", shard="shard1")
    worker = command("run_jobs")
    wait_until_rows_move(worker, shard_postgres_dsns["shard1"])
    until(lambda: "xyz" in names(), worker)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    until(services.note_interrupted)
    assert again(job).state == "interrupted"
    assert "Retry" in job.error
    assert Tenant.objects.get(name="xyz").state == "creating"
    services.retry_job(job)
    services.do_waiting_jobs()
    assert (again(job).state, job.error, job.attempts) == ("done", "", 2)
    assert repair_everything() == []
    with connections["xyz"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM heavy")
        assert cursor.fetchone() == (150000,)


def test_a_worker_that_is_killed_while_it_archives_leaves_no_file_and_a_retry_writes_it(
    tenant_factory, archives
):
    tenant_factory("abc", shard="shard1")
    execute("abc", _HEAVY)
    job = services.request_archive("abc")
    worker = command("run_jobs")
    until(lambda: list(archives.glob("*.partial")), worker)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert not list(archives.glob("*.dump"))
    until(services.note_interrupted)
    services.retry_job(again(job))
    services.do_waiting_jobs()
    assert again(job).state == "done"
    (file,) = archives.iterdir()
    assert file.name in job.result


def test_a_worker_that_is_killed_while_it_migrates_leaves_a_run_that_a_retry_completes(
    tenant_factory, shard_postgres_dsns
):
    for name in ("abc", "xyz"):
        tenant_factory(name, shard="shard1")
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=ZERO)
    job = services.request_migration()
    xyz = Tenant.objects.get(name="xyz")
    table = f'"{xyz.namespace}".django_migrations'
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with (
        psycopg.connect(shard_postgres_dsns["shard1"], autocommit=True) as watching,
        psycopg.connect(shard_postgres_dsns["shard1"]) as holding,
    ):
        for connection in (watching, holding):
            connection.execute(f'SET ROLE "{xyz.role}"')
        # It lets xyz be read, and not be migrated.
        holding.execute(f"LOCK TABLE {table} IN SHARE MODE")
        worker = command("run_jobs")
        until(lambda: watching.execute(waiting, [table]).rowcount, worker)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    until(services.note_interrupted)
    assert again(job).state == "interrupted"
    assert MigrationRun.objects.get(pk=job.migration_run).state == "running"
    services.retry_job(job)
    services.do_waiting_jobs()
    assert (again(job).state, job.total) == ("done", 2)
    assert applied("abc") == applied("xyz") == 1
    states = set(MigrationRun.objects.filter(pk__gte=job.migration_run - 1).values_list("state"))
    assert states == {("interrupted",), ("finished",)}


def test_a_worker_that_is_stopped_undoes_its_job_which_is_retried(
    tenant_factory, shard_postgres_dsns, placements
):
    tenant_factory("abc", shard="shard1")
    execute("abc", _HEAVY)
    job = services.request_clone("abc", "xyz", shard="shard1")
    worker = command("run_jobs")
    wait_until_rows_move(worker, shard_postgres_dsns["shard1"])
    worker.send_signal(signal.SIGTERM)
    out, error = worker.communicate(timeout=60)
    assert (worker.returncode, error) == (0, ""), out
    assert again(job).state == "interrupted"
    assert names() == {"abc"} == set(placements())
    services.retry_job(job)
    services.do_waiting_jobs()
    assert again(job).state == "done"


def test_a_worker_that_is_stopped_ends_also_if_it_can_undo_nothing(spare_shard, spare_server):
    services.create_tenant("abc")
    execute("abc", _HEAVY)
    job = services.request_clone("abc", "xyz")
    worker = command("run_jobs")
    wait_until_rows_move(worker, spare_server.dsn)
    kill(spare_server)
    worker.send_signal(signal.SIGTERM)
    # The signal may come at any moment, also while the failure is noted.
    out = worker.communicate(timeout=60)
    assert worker.returncode == 0, out
    services.note_interrupted()
    assert again(job).state in {"failed", "interrupted"}, out
    spare_server.start()
    spare_server.wait_ready()
    services.retry_job(job)
    services.do_waiting_jobs()
    assert again(job).state == "done"
    assert repair_everything() == []
    assert names() == {"abc", "xyz"}


def test_creating_that_dies_anywhere_is_completed_by_a_retry(registered_shards, dying, placements):
    """As a killed worker, whose locks end with it; each step of the registry and shards."""
    attempts = set()
    for step in range(1, 100):
        job = services.request_creation("abc", shard="shard1")
        with dying.at(step):
            services.do_waiting_jobs()
        services.note_interrupted()
        if again(job).state == "interrupted":
            services.retry_job(job)
        services.do_waiting_jobs()
        assert again(job).state == "done", (step, job.error)
        assert works("abc")
        assert set(placements()) == names() == {"abc"}
        attempts.add(job.attempts)
        services.purge_tenant("abc")
        if not dying.died:
            break
    assert attempts == {1, 2}
    assert not dying.died


def test_a_tenant_of_somebody_else_is_no_success_of_a_retry(registered_shards):
    job = services.request_creation("abc")
    services.create_tenant("abc")
    services.do_waiting_jobs()
    services.retry_job(again(job))
    services.do_waiting_jobs()
    assert again(job).state == "failed"
    assert "already exists" in job.error


def test_a_folder_that_cannot_be_made_is_a_failure_that_names_it(
    tenant_factory, archives, settings
):
    tenant_factory("abc")
    (archives / "file").touch()
    settings.MTDD_ARCHIVE_ROOT = str(archives / "file" / "folder")
    job = services.request_archive("abc")
    services.do_waiting_jobs()
    assert again(job).state == "failed"
    assert settings.MTDD_ARCHIVE_ROOT in job.error


def test_a_whole_archive_of_a_killed_attempt_is_kept(tenant_factory, archives):
    tenant_factory("abc")
    job = services.request_archive("abc")
    services.do_waiting_jobs()
    (file,) = archives.iterdir()
    before = file.stat()
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING)
    services.note_interrupted()
    services.retry_job(again(job))
    services.do_waiting_jobs()
    assert again(job).state == "done"
    assert file.stat() == before


def test_a_worker_waits_for_a_registry_that_is_away(registered_shards, stack):
    worker = command("run_jobs")
    assert "Waiting" in worker.stdout.readline()
    try:
        registry = str(connections["default"].settings_dict["NAME"])
        superuser = next(s for s in stack.postgres if s.name == "registry").superuser_dsn
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid()",
                [registry],
            )
        connections["default"].close()
        job = services.request_creation("abc")
        until(lambda: again(job).state == "done", worker)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)
    assert Shard.objects.exists()
