"""The admin of migration runs: how far each is, and what went wrong.

It is for reading. Runs are begun and resumed by ``migrate_tenants``.
"""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mtdd_router.context import current_tenant
from tenants.admin.badges import badge
from tenants.admin.generics import ModelAdmin, TabularInline
from tenants.models import MigrationItem, MigrationRun

__all__ = ["MigrationRunAdmin"]

_BADGES: Final = {
    MigrationRun.State.RUNNING: "waiting",
    MigrationRun.State.FINISHED: "good",
    MigrationRun.State.FAILED: "bad",
    MigrationRun.State.INTERRUPTED: "bad",
}
_OPEN: Final = (MigrationItem.State.FAILED, MigrationItem.State.PENDING)


class _ReadOnly:
    """Nobody changes a ledger; and a tenant's own administrators are nobody here."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        return False


class OpenItemInline(_ReadOnly, TabularInline[MigrationItem, MigrationRun]):
    """The tenants of a run that failed, or were not reached."""

    model = MigrationItem
    verbose_name_plural = _("tenants that are not migrated")
    fields = ("tenant", "shard", "state", "error", "finished_at")
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[MigrationItem]:
        return super().get_queryset(request).filter(state__in=_OPEN).order_by("state", "tenant")


@admin.register(MigrationRun)
class MigrationRunAdmin(_ReadOnly, ModelAdmin[MigrationRun]):
    """Runs, the last first."""

    list_display = (
        "__str__", "state_badge", "tenants", "done", "failed", "pending", "started_at",
        "finished_at", "operator",
    )  # fmt: skip
    list_filter = ("state",)
    fields = (
        "state_badge", "app_label", "migration", "fake", "operator", "tenants", "unchanged",
        "done", "failed", "pending", "started_at", "finished_at",
    )  # fmt: skip
    readonly_fields = ("state_badge", "done", "failed", "pending")
    inlines = (OpenItemInline,)

    class Media:
        css = {"all": ("tenants/admin.css",)}

    def has_module_permission(self, request: HttpRequest) -> bool:
        return current_tenant() is None and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: MigrationRun | None = None) -> bool:
        return current_tenant() is None and super().has_view_permission(request, obj)

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

    @admin.display(description=_("migrated"), ordering="done_items")
    def done(self, obj: MigrationRun) -> int:
        return int(vars(obj)["done_items"])

    @admin.display(description=_("failed"), ordering="failed_items")
    def failed(self, obj: MigrationRun) -> int:
        return int(vars(obj)["failed_items"])

    @admin.display(description=_("pending"), ordering="pending_items")
    def pending(self, obj: MigrationRun) -> int:
        return int(vars(obj)["pending_items"])
