"""The admin of the audit log, which is only looked at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from mtdd_router.context import current_tenant
from tenants.admin.generics import ModelAdmin
from tenants.models import AuditEntry

__all__ = ["AuditEntryAdmin"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ModelAdmin[AuditEntry]):
    """Entries, the last first. Nobody adds, changes or deletes one here."""

    list_display = ("at", "who", "action", "tenant", "shard", "details")
    search_fields = ("=tenant", "=shard", "who", "action")
    date_hierarchy = "at"
    actions = None
    # A log is long, and nobody needs to know how long.
    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return current_tenant() is None and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return current_tenant() is None and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Any = None,  # noqa: ARG002
    ) -> bool:
        return False

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: Any = None,  # noqa: ARG002
    ) -> bool:
        return False
