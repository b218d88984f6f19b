"""What each kind of job does.

Invariant: a job that was begun and not ended can be begun again. What it had finished is
found and kept, what it had left half done is removed first.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from time import monotonic
from typing import Any, Final

from django.db.models.signals import post_save

from mtdd_router.types import Isolation, TenantState
from tenants.errors import JobError, PathNotWritable
from tenants.models import Job, Tenant
from tenants.services.archives.archive import archive_tenant
from tenants.services.archives.clone import clone_tenant
from tenants.services.deletion import purge_tenant
from tenants.services.jobs.queue import archive_folder
from tenants.services.migrating.results import MigrationOutcome, MigrationResult
from tenants.services.migrating.runs import migrate_tenants, resume_migrations
from tenants.services.tenants import create_tenant

__all__ = ["perform"]

_TELL_EVERY: Final = 0.5


def perform(job: Job) -> str:
    """Do *job*, which the caller has claimed; return what came of it, for people.

    Raises:
        MTDDError, django.db.Error: what it failed with.
        KeyboardInterrupt: if it was interrupted; it can be done again.
    """
    return _ACTIONS[Job.Kind(job.kind)](job)


def _create(job: Job) -> str:
    if not _is_made(job):
        with _noting_what_is_made(job):
            create_tenant(
                job.tenant,
                shard=job.parameters["shard"],
                isolation=Isolation(job.parameters["isolation"]),
            )
    return f"Tenant {job.tenant} is there."


def _clone(job: Job) -> str:
    source = job.parameters["source"]
    if not _is_made(job):
        with _noting_what_is_made(job):
            clone_tenant(
                source,
                job.tenant,
                shard=job.parameters["shard"],
                structure_only=job.parameters["structure_only"],
            )
    return f"Tenant {job.tenant} is there, made after {source}."


def _archive(job: Job) -> str:
    moment = job.created_at.astimezone(UTC)
    folder = archive_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise PathNotWritable(f"{folder} cannot be made: {exc.strerror}.") from exc
    path = folder / f"{job.tenant}-{moment:%Y%m%dT%H%M%SZ}-{job.pk}.dump"
    # Under this name there is a whole file or none, and nobody else's.
    if not path.exists():
        archive_tenant(job.tenant, path)
    return f"{path.name} in MTDD_ARCHIVE_ROOT; restore it with `manage.py restore_tenant`."


def _migrate(job: Job) -> str:
    chosen = Tenant.objects.select_related("shard").order_by("name")
    if job.parameters["tenants"] is not None:
        chosen = chosen.filter(name__in=job.parameters["tenants"])
    if job.parameters["shards"] is not None:
        chosen = chosen.filter(shard__name__in=job.parameters["shards"])
    tenants = list(chosen)
    counting = _Counting(job, len(tenants))
    results = migrate_tenants(tenants, on_run=counting.begin, on_result=counting)
    return _conclusion(results)


def _resume(job: Job) -> str:
    counting = _Counting(job, 0)
    run = int(job.parameters["run"])
    counting.begin(run)
    results = resume_migrations(
        run=run, on_begin=lambda left: counting.expect(len(left)), on_result=counting
    )
    return _conclusion(results)


_ACTIONS: Final[Mapping[Job.Kind, Callable[[Job], str]]] = {
    Job.Kind.CREATE: _create,
    Job.Kind.CLONE: _clone,
    Job.Kind.ARCHIVE: _archive,
    Job.Kind.MIGRATE: _migrate,
    Job.Kind.RESUME: _resume,
}


def _is_made(job: Job) -> bool:
    """Whether an earlier attempt has made the tenant; what it left half made is removed."""
    made = Tenant.objects.filter(pk=job.made_tenant).first() if job.made_tenant else None
    if made is None:
        return False
    if made.state != TenantState.CREATING:
        return True
    purge_tenant(made.name)
    return False


@contextmanager
def _noting_what_is_made(job: Job) -> Iterator[None]:
    """Note, in the transaction that begins a tenant, that it is this job's."""

    def note(instance: Tenant, created: bool, **_: Any) -> None:  # noqa: FBT001 - Django's
        if created and instance.name == job.tenant:
            Job.objects.filter(pk=job.pk).update(made_tenant=instance.pk)

    post_save.connect(note, sender=Tenant, weak=False)
    try:
        yield
    finally:
        post_save.disconnect(note, sender=Tenant)


class _Counting:
    """Keeps the progress of a migration in its job, written now and then."""

    def __init__(self, job: Job, total: int) -> None:
        self._job = Job.objects.filter(pk=job.pk, attempts=job.attempts)
        self._total = total
        self._done = 0
        self._told = 0.0

    def begin(self, run: int) -> None:
        """Note which run of the ledger it is."""
        self._job.update(migration_run=run, total=self._total)

    def expect(self, total: int) -> None:
        """Note how many tenants there are."""
        self._total = total
        self._job.update(total=total)

    def __call__(self, _: MigrationResult) -> None:
        """Count a tenant."""
        self._done += 1
        now = monotonic()
        if self._done == self._total or now - self._told >= _TELL_EVERY:
            self._told = now
            self._job.update(progress=self._done)


def _conclusion(results: list[MigrationResult]) -> str:
    """Return the counts of a run.

    Raises:
        JobError: if a tenant has failed.
    """
    counts = Counter(result.outcome for result in results)
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MigrationOutcome)
    failed = [result for result in results if result.outcome is MigrationOutcome.FAILED]
    if not failed:
        return f"{len(results)} tenants: {said}."
    raise JobError(
        f"{len(results)} tenants: {said}. The first failure is of {failed[0].tenant}: "
        f"{failed[0].error} The migration run has all; mend what is wrong and retry."
    )
