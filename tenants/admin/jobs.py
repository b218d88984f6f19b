"""The admin of jobs: what was asked for, how far it is, what it failed with; and to retry it."""

from collections.abc import Mapping
from typing import ClassVar, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from tenants import services
from tenants.admin.badges import UNKNOWN, badge, link, progress_bar
from tenants.admin.registry import RegistryAdmin, permitted
from tenants.models import Job, MigrationRun, Tenant

__all__ = ["JobAdmin"]

_BADGES: Final = {
    Job.State.QUEUED: "waiting",
    Job.State.RUNNING: "waiting",
    Job.State.DONE: "good",
    Job.State.FAILED: "bad",
    Job.State.INTERRUPTED: "bad",
}
_PAGE_REFRESH: Final = 2
_LIST_REFRESH: Final = 5
# A worker that is there takes a job sooner.
_WAITS_LONG: Final = 10.0


@admin.register(Job)
class JobAdmin(RegistryAdmin[Job]):
    """Jobs, the last first. Nobody changes them."""

    list_display = (
        "__str__", "state_badge", "how_far", "duration", "requested_by", "created_at",
    )  # fmt: skip
    list_filter = ("state", "kind")
    search_fields = ("tenant", "parameters__source")
    search_help_text = _("Search by tenant.")
    fields = (
        "kind", "about", "state_badge", "how_far", "result", "shown_error", "shown_warnings",
        "run_link", "requested_by", "created_at", "started_at", "finished_at", "duration",
        "attempts", "worker",
    )  # fmt: skip
    readonly_fields = (
        "about", "state_badge", "how_far", "shown_error", "shown_warnings", "run_link", "duration",
    )  # fmt: skip
    object_actions: ClassVar[Mapping[str, str]] = {"_retry": "Retry"}

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Job | None = None,  # noqa: ARG002
    ) -> bool:
        return False

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Job | None = None,  # noqa: ARG002
    ) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        # Also where no worker is left that would see it.
        services.note_interrupted()
        return super().get_queryset(request)

    def may_act(self, request: HttpRequest, obj: Job, action: str) -> bool:  # noqa: ARG002
        return permitted(request, *_needed_for(obj))

    def available_actions(self, obj: Job) -> dict[str, str]:
        return dict(self.object_actions) if obj.can_be_retried else {}

    def act(self, request: HttpRequest, obj: Job, action: str) -> str:  # noqa: ARG002
        services.retry_job(obj)
        return gettext("Job %(job)s waits for a worker again.") % {"job": obj}

    def refresh_after(self, obj: Job | None) -> int:
        if obj is not None:
            return _PAGE_REFRESH if obj.is_unfinished else 0
        unfinished = Job.objects.filter(state__in=(Job.State.QUEUED, Job.State.RUNNING))
        return _LIST_REFRESH if unfinished.exists() else 0

    # Columns

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, job: Job) -> str:
        return badge(job.get_state_display(), _BADGES[Job.State(job.state)])

    @admin.display(description=_("progress"))
    def how_far(self, job: Job) -> str:
        if job.total:
            return progress_bar(job.progress, job.total)
        waits = (now() - job.created_at).total_seconds()
        if job.state == Job.State.QUEUED and waits > _WAITS_LONG:
            return gettext("No worker has taken it yet. Does `manage.py run_jobs` run?")
        return UNKNOWN

    @admin.display(description=_("duration"))
    def duration(self, job: Job) -> str:
        if job.started_at is None:
            return UNKNOWN
        seconds = ((job.finished_at or now()) - job.started_at).total_seconds()
        return gettext("%(seconds).1f s") % {"seconds": seconds}

    @admin.display(description=_("about"))
    def about(self, job: Job) -> str:
        tenant = Tenant.objects.filter(name=job.tenant).first() if job.tenant else None
        name = link(self.url("tenants_tenant_change", tenant.pk), tenant.name) if tenant else None
        rows = [(_("tenant"), name or job.tenant)] if job.tenant else []
        rows += [(key.replace("_", " "), _in_words(value)) for key, value in job.parameters.items()]
        return format_html_join("", "{}: {}<br>", rows)

    @admin.display(description=_("error"))
    def shown_error(self, job: Job) -> str:
        return (
            format_html('<span class="mtdd-error">{}</span>', job.error) if job.error else UNKNOWN
        )

    @admin.display(description=_("warnings"))
    def shown_warnings(self, job: Job) -> str:
        return format_html_join("", "{}<br>", ((text,) for text in job.warnings)) or UNKNOWN

    @admin.display(description=_("migration run"))
    def run_link(self, job: Job) -> str:
        if job.migration_run is None:
            return UNKNOWN
        run = MigrationRun.objects.filter(pk=job.migration_run).first()
        return link(self.url("tenants_migrationrun_change", run.pk), str(run)) if run else UNKNOWN


def _needed_for(job: Job) -> tuple[str, ...]:
    """Return the permissions for a retry: those of who might ask for the job."""
    match Job.Kind(job.kind):
        case Job.Kind.CREATE:
            return ("tenants.add_tenant",)
        case Job.Kind.CLONE:
            return ("tenants.add_tenant", "tenants.change_tenant")
        case Job.Kind.ARCHIVE:
            return ("tenants.change_tenant",)
        case Job.Kind.MIGRATE if job.parameters["tenants"] is not None:
            return ("tenants.change_tenant",)
        case Job.Kind.MIGRATE:
            return ("tenants.add_migrationrun",)
        case Job.Kind.RESUME:
            return ("tenants.change_migrationrun",)


def _in_words(value: object) -> str:
    if value is None:
        return gettext("any")
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
