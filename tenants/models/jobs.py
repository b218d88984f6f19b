"""Jobs: operations that somebody asked for and a worker does, outside of the request.

A job outlives the process that asked for it, and the one that does it. It names tenants
and shards instead of pointing at them, for it outlives these as well.
"""

from collections.abc import Mapping
from typing import Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

__all__ = ["JOB_TRANSITIONS", "Job"]


class Job(models.Model):
    """One operation, from its request to its end; see `JOB_TRANSITIONS`."""

    class Kind(models.TextChoices):
        """What is to be done; ``tenants.services.jobs.kinds`` does it."""

        CREATE = "create", _("create a tenant")
        CLONE = "clone", _("clone a tenant")
        ARCHIVE = "archive", _("archive a tenant")
        MIGRATE = "migrate", _("migrate tenants")
        RESUME = "resume", _("resume a migration run")

    class State(models.TextChoices):
        """How far it is; one whose worker died says RUNNING until somebody looks."""

        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        INTERRUPTED = "interrupted", _("interrupted")

    kind = models.CharField(_("what"), max_length=16, choices=Kind.choices)
    tenant = models.CharField(
        _("tenant"),
        max_length=63,
        blank=True,
        help_text=_("The tenant to make or to read; empty if it is about many."),
    )
    parameters = models.JSONField(_("parameters"), default=dict)
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.QUEUED)
    progress = models.PositiveIntegerField(_("tenants done"), default=0)
    total = models.PositiveIntegerField(
        _("tenants in all"), default=0, help_text=_("Zero: not known, or not counted.")
    )
    result = models.TextField(_("result"), blank=True)
    error = models.TextField(_("error"), blank=True)
    warnings = models.JSONField(_("warnings"), default=list)
    requested_by = models.CharField(_("requested by"), max_length=255, blank=True)
    worker = models.CharField(
        _("worker"), max_length=255, blank=True, help_text=_("User, machine and process.")
    )
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    made_tenant = models.BigIntegerField(
        _("id of the tenant it made"), null=True, blank=True, editable=False
    )
    migration_run = models.BigIntegerField(
        _("its migration run"), null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(_("requested"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    state__in=["queued", "running", "done", "failed", "interrupted"]
                ),
                name="tenants_job_state",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["create", "clone", "archive", "migrate", "resume"]),
                name="tenants_job_kind",
            ),
        )
        indexes = (
            models.Index(
                fields=("state", "id"),
                condition=models.Q(state__in=["queued", "running"]),
                name="tenants_job_unfinished",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_kind_display()} {self.tenant}".rstrip()

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits for a worker, or one is at it."""
        return self.state in {Job.State.QUEUED, Job.State.RUNNING}

    @property
    def can_be_retried(self) -> bool:
        """Whether it ended without having done what it should."""
        return Job.State.QUEUED in JOB_TRANSITIONS[Job.State(self.state)]


# A job is only ever changed from one state to another of these, by a statement that names
# the state it is in.
JOB_TRANSITIONS: Final[Mapping[Job.State, frozenset[Job.State]]] = {
    Job.State.QUEUED: frozenset({Job.State.RUNNING, Job.State.FAILED}),
    Job.State.RUNNING: frozenset({Job.State.DONE, Job.State.FAILED, Job.State.INTERRUPTED}),
    Job.State.DONE: frozenset(),
    Job.State.FAILED: frozenset({Job.State.QUEUED}),
    Job.State.INTERRUPTED: frozenset({Job.State.QUEUED}),
}
