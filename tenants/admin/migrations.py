"""The admin of migration runs: how far each is, and what went wrong; to begin and resume them.

A run here is a job; those of ``migrate_tenants`` show as well.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import services
from tenants.admin.badges import UNKNOWN, badge, progress_bar
from tenants.admin.base import ServiceAdmin
from tenants.admin.forms import MigrationRunForm
from tenants.admin.generics import ModelForm, TabularInline
from tenants.admin.registry import permitted, user_name
from tenants.models import Job, MigrationItem, MigrationRun

__all__ = ["MigrationRunAdmin"]

_BADGES: Final = {
    MigrationRun.State.RUNNING: "waiting",
    MigrationRun.State.FINISHED: "good",
    MigrationRun.State.FAILED: "bad",
    MigrationRun.State.INTERRUPTED: "bad",
}
_REFRESH: Final = 5
_OPEN: Final = (MigrationItem.State.FAILED, MigrationItem.State.PENDING)


class OpenItemInline(TabularInline[MigrationItem, MigrationRun]):
    """The tenants of a run that failed, or were not reached."""

    model = MigrationItem
    verbose_name_plural = _("tenants that are not migrated")
    fields = ("tenant", "shard", "state", "error", "finished_at")
    extra = 0

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[MigrationItem]:
        return super().get_queryset(request).filter(state__in=_OPEN).order_by("state", "tenant")


@admin.register(MigrationRun)
class MigrationRunAdmin(ServiceAdmin[MigrationRun]):
    """Runs, the last first. Nobody changes what they tell."""

    form = MigrationRunForm
    list_display = (
        "__str__", "state_badge", "how_far", "tenants", "done", "failed", "pending",
        "started_at", "finished_at", "operator",
    )  # fmt: skip
    list_filter = ("state",)
    add_fieldsets = (
        (
            None,
            {
                "fields": ("shards",),
                "description": _(
                    "Saving asks a worker to migrate the tenants to the newest migrations. "
                    "Those that are there already are left alone."
                ),
            },
        ),
    )
    shown_fields = (
        "state_badge", "how_far", "app_label", "migration", "fake", "operator", "tenants",
        "unchanged", "done", "failed", "pending", "started_at", "finished_at",
    )  # fmt: skip
    inlines = (OpenItemInline,)
    creates_by_jobs = True
    object_actions: ClassVar[Mapping[str, str]] = {"_resume": "Resume, and retry what failed"}

    def has_change_permission(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: MigrationRun | None = None,  # noqa: ARG002
    ) -> bool:
        return False

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: MigrationRun | None = None,  # noqa: ARG002
    ) -> bool:
        return False

    def get_fieldsets(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: MigrationRun | None = None,
    ) -> Any:
        return self.add_fieldsets if obj is None else ((None, {"fields": self.shown_fields}),)

    def get_readonly_fields(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: MigrationRun | None = None,
    ) -> Any:
        return () if obj is None else self.shown_fields

    def get_inlines(self, request: HttpRequest, obj: MigrationRun | None = None) -> Any:
        return () if obj is None else super().get_inlines(request, obj)

    def create(self, request: HttpRequest, form: ModelForm[MigrationRun]) -> Job:
        shards = [shard.name for shard in form.cleaned_data["shards"]]
        return services.request_migration(shards=shards or None, requested_by=user_name(request))

    def may_act(self, request: HttpRequest, obj: MigrationRun, action: str) -> bool:  # noqa: ARG002
        return permitted(request, "tenants.change_migrationrun")

    def available_actions(self, obj: MigrationRun) -> dict[str, str]:
        # One whose process has died says that it is running; if it is, the job says so.
        left = obj.items.filter(state__in=_OPEN).exists()
        later = MigrationRun.objects.filter(pk__gt=obj.pk).exists()
        return dict(self.object_actions) if left and not later else {}

    def act(self, request: HttpRequest, obj: MigrationRun, action: str) -> Job:  # noqa: ARG002
        return services.request_resumption(obj, requested_by=user_name(request))

    def refresh_after(self, obj: MigrationRun | None) -> int:
        running = MigrationRun.objects.filter(state=MigrationRun.State.RUNNING)
        return _REFRESH if (running.exists() if obj is None else obj in running) else 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[MigrationRun]:
        def number(state: MigrationItem.State) -> Count:
            return Count("items", filter=Q(items__state=state))

        return (
            super()
            .get_queryset(request)
            .annotate(
                done_items=number(MigrationItem.State.MIGRATED),
                failed_items=number(MigrationItem.State.FAILED),
                pending_items=number(MigrationItem.State.PENDING),
            )
        )

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, obj: MigrationRun) -> str:
        return badge(obj.get_state_display(), _BADGES[MigrationRun.State(obj.state)])

    @admin.display(description=_("progress"))
    def how_far(self, obj: MigrationRun) -> str:
        done = self.done(obj)
        expected = done + self.failed(obj) + self.pending(obj)
        return progress_bar(done, expected) if expected else UNKNOWN

    @admin.display(description=_("migrated"), ordering="done_items")
    def done(self, obj: MigrationRun) -> int:
        return int(vars(obj)["done_items"])

    @admin.display(description=_("failed"), ordering="failed_items")
    def failed(self, obj: MigrationRun) -> int:
        return int(vars(obj)["failed_items"])

    @admin.display(description=_("pending"), ordering="pending_items")
    def pending(self, obj: MigrationRun) -> int:
        return int(vars(obj)["pending_items"])
