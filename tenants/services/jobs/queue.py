"""Asking for jobs, and their states.

Invariants: what cannot be done is refused when it is asked for, as far as that is known
then. Who does a job holds its lock, which ends with the process; so a job that says
RUNNING and whose lock is free has lost its worker. A state is changed by one statement
that names the state before, so of two who want to change it one does.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import ConfigurationError
from mtdd_router.types import Isolation
from tenants.errors import JobError, TenantAlreadyExists
from tenants.models import JOB_TRANSITIONS, Job, MigrationRun
from tenants.services.changing import get_tenant
from tenants.services.jobs.handover import hand_over
from tenants.services.locks import job_lock, unlocked_jobs
from tenants.services.operator import operator
from tenants.services.placement import choose_shard, require_shard
from tenants.services.redirects import require_free_name
from tenants.services.shards import get_shard
from tenants.services.tenants import validate_new_name

__all__ = [
    "archive_folder",
    "claimed",
    "end",
    "note_interrupted",
    "request_archive",
    "request_clone",
    "request_creation",
    "request_migration",
    "request_resumption",
    "retry_job",
    "waiting_jobs",
]

_MAKING: Final = (Job.Kind.CREATE, Job.Kind.CLONE)
_UNFINISHED: Final = (Job.State.QUEUED, Job.State.RUNNING)


def request_creation(
    name: str,
    *,
    shard: str | None = None,
    isolation: Isolation = Isolation.SCHEMA,
    requested_by: str = "",
) -> Job:
    """Ask for a tenant to be created; the arguments are those of `create_tenant`.

    Raises:
        InvalidTenantName, TenantAlreadyExists: about the name.
        ShardNotRegistered, NoShardAvailable, ShardUnavailable, ...: about the shard.
        JobError: if the job could not be handed to a worker.
    """
    _require_new(name)
    # If none is named, it is chosen again when the job is done.
    if shard is None:
        choose_shard()
    else:
        require_shard(shard)
    parameters = {"shard": shard, "isolation": isolation.value}
    return _add(Job.Kind.CREATE, name, parameters, requested_by)


def request_clone(
    source: str,
    name: str,
    *,
    shard: str | None = None,
    structure_only: bool = False,
    requested_by: str = "",
) -> Job:
    """Ask for a copy of the tenant *source*; the arguments are those of `clone_tenant`.

    Raises:
        TenantDoesNotExist: about *source*.
        InvalidTenantName, ...: as `request_creation`.
    """
    original = get_tenant(source)
    _require_new(name)
    require_shard(shard or original.shard.name)
    parameters = {"source": source, "shard": shard, "structure_only": structure_only}
    return _add(Job.Kind.CLONE, name, parameters, requested_by)


def request_archive(name: str, *, requested_by: str = "") -> Job:
    """Ask for an archive of the tenant, in a new file in the folder MTDD_ARCHIVE_ROOT.

    Raises:
        TenantDoesNotExist: naming it.
        ConfigurationError: if there is no such folder.
        JobError: if the job could not be handed to a worker.
    """
    get_tenant(name)
    archive_folder()
    return _add(Job.Kind.ARCHIVE, name, {}, requested_by)


def request_migration(
    *,
    tenants: Iterable[str] | None = None,
    shards: Iterable[str] | None = None,
    requested_by: str = "",
) -> Job:
    """Ask for tenants to be migrated to the newest migrations.

    Args:
        tenants: their names; all by default.
        shards: only those that live there when the job is done; everywhere by default.
        requested_by: the name of the user, for people.

    Raises:
        ShardNotRegistered: naming the shard.
        JobError: if the job could not be handed to a worker.
    """
    names = None if tenants is None else sorted(tenants)
    there = None if shards is None else sorted(get_shard(shard).name for shard in shards)
    about = names[0] if names and len(names) == 1 else ""
    return _add(Job.Kind.MIGRATE, about, {"tenants": names, "shards": there}, requested_by)


def request_resumption(run: MigrationRun, *, requested_by: str = "") -> Job:
    """Ask for the last migration *run* to be resumed, and its failures tried again.

    Raises:
        JobError: if it is not the last run, or the job could not be handed to a worker.
    """
    if MigrationRun.objects.filter(pk__gt=run.pk).exists():
        raise JobError(f"Migration run #{run.pk} is not the last one; start a new one.")
    return _add(Job.Kind.RESUME, "", {"run": run.pk}, requested_by)


def retry_job(job: Job) -> Job:
    """Let a job that failed or was interrupted be done once more.

    Raises:
        JobError: if it is in another state, or could not be handed to a worker.
    """
    again = Job.State.QUEUED
    if not _change(job, *_before(again), to=again, finished_at=None):
        job.refresh_from_db()
        raise JobError(f"Job #{job.pk} is {job.get_state_display()}; it is not retried.")
    job.refresh_from_db()
    transaction.on_commit(partial(_hand_over, job), using=DEFAULT_DB_ALIAS)
    return job


def waiting_jobs() -> QuerySet[Job]:
    """Return the jobs that wait for a worker, the first that was asked for first."""
    return Job.objects.filter(state=Job.State.QUEUED).order_by("pk")


@contextmanager
def claimed(number: int) -> Iterator[Job | None]:
    """Give the job of that number, if it waits, to be done in the block by nobody else.

    Raises:
        RegistryUnavailable: if the registry's database cannot be asked.
        RuntimeError: inside a transaction of the registry's database.
    """
    with job_lock(number) as mine:
        job = Job(pk=number)
        if not mine or not _change(
            job,
            Job.State.QUEUED,
            to=Job.State.RUNNING,
            worker=operator(),
            attempts=F("attempts") + 1,
            started_at=timezone.now(),
            progress=0,
            total=0,
            result="",
            error="",
            warnings=[],
        ):
            yield None
            return
        job.refresh_from_db()
        yield job


def end(job: Job, state: Job.State, **what: Any) -> bool:
    """Note how a running job ended; return whether it was this attempt that ran."""
    return _change(job, Job.State.RUNNING, to=state, finished_at=timezone.now(), **what)


def note_interrupted() -> int:
    """Mark the jobs whose workers have died; return how many these are."""
    running = Job.objects.filter(state=Job.State.RUNNING)
    numbers = list(running.values_list("pk", flat=True))
    if not numbers:
        return 0
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        return running.filter(pk__in=unlocked_jobs(numbers)).update(
            state=Job.State.INTERRUPTED,
            finished_at=timezone.now(),
            error="The worker that did it has died. Retry the job: it goes on from what is there.",
        )


def archive_folder() -> Path:
    """Return the folder for archives.

    Raises:
        ConfigurationError: saying what to set.
    """
    root = mtdd_settings.archive_root
    if root is None:
        raise ConfigurationError(
            "There is no folder for archives: set MTDD_ARCHIVE_ROOT to the path of one that "
            "workers can write, or use `manage.py archive_tenant`."
        )
    return root


def _require_new(name: str) -> None:
    validate_new_name(name)
    require_free_name(name)
    other = Job.objects.filter(tenant=name, kind__in=_MAKING, state__in=_UNFINISHED).first()
    if other is not None:
        raise TenantAlreadyExists(f"Job {other} is to make a tenant {name!r} already.")


def _add(kind: Job.Kind, tenant: str, parameters: dict[str, Any], requested_by: str) -> Job:
    job = Job.objects.create(
        kind=kind, tenant=tenant, parameters=parameters, requested_by=requested_by
    )
    # Not before others can see it.
    transaction.on_commit(partial(_hand_over, job), using=DEFAULT_DB_ALIAS)
    return job


def _hand_over(job: Job) -> None:
    """Tell the project's own workers of the job, if there are any; others find it themselves."""
    try:
        hand_over(job.pk)
    # Of whatever the project's queue is made.
    except Exception as exc:
        error = (
            f"Job #{job.pk} could not be handed to the task backend "
            f"{mtdd_settings.task_backend!r} ({type(exc).__name__}: {exc}); retry it when that "
            "works, or set MTDD_TASK_BACKEND to '' and run `manage.py run_jobs`."
        )
        _change(job, Job.State.QUEUED, to=Job.State.FAILED, error=error)
        raise JobError(error) from exc


def _before(state: Job.State) -> list[Job.State]:
    return [before for before, after in JOB_TRANSITIONS.items() if state in after]


def _change(job: Job, *before: Job.State, to: Job.State, **what: Any) -> bool:
    """Change the state of the job, and *what* else, if its state is one of *before*."""
    assert all(to in JOB_TRANSITIONS[state] for state in before)
    row = Job.objects.filter(pk=job.pk, state__in=before)
    if job.attempts:
        # An attempt that was taken for dead must not speak for the next one.
        row = row.filter(attempts=job.attempts)
    return bool(row.update(state=to, **what))
