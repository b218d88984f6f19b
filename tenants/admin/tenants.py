"""The admin of tenants: what takes long is asked for here, as jobs; deleting one twice drops it.

Placement and isolation cannot be changed once a tenant is there; its name can, which
renames it through the service.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import InvalidTenantName, MTDDError, ShardError
from mtdd_router.types import Isolation, TenantState
from tenants import services
from tenants.admin.badges import badge, link, size
from tenants.admin.base import ServiceAdmin
from tenants.admin.cloning import CloneForm, clone_page
from tenants.admin.domains import DomainInline
from tenants.admin.forms import RenameForm, TenantForm
from tenants.admin.generics import ModelForm
from tenants.admin.registry import guarded, permitted, user_name
from tenants.errors import ShardRegistryError, TenantAlreadyExists
from tenants.models import Job, Tenant, TenantRedirect

__all__ = ["TenantAdmin"]

_KINDS = {
    TenantState.ACTIVE: "good",
    TenantState.FROZEN: "cold",
    TenantState.CREATING: "waiting",
    TenantState.DELETED: "bad",
    TenantState.DELETING: "bad",
}
_SIZE_TIMEOUT = 1.0
_DAY = 86400.0


@admin.register(Tenant)
class TenantAdmin(ServiceAdmin[Tenant]):
    """Tenants, with their sizes."""

    list_display = (
        "name",
        "state_badge",
        "shard_link",
        "isolation",
        "live_size",
        "migrated_at",
    )
    list_filter = ("state", "shard", "isolation")
    list_select_related = ("shard",)
    list_per_page = 50
    search_fields = ("name", "namespace")
    search_help_text = _("Search by name or namespace.")
    actions = (
        "freeze_selected",
        "unfreeze_selected",
        "undelete_selected",
        "migrate_selected",
        "archive_selected",
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": ("name", "shard", "isolation"),
                "description": _(
                    "Saving asks a worker to create the tenant: its role and namespace on the "
                    "shard, and its tables. The next page shows how far that is."
                ),
            },
        ),
    )
    placement_fields = ("shard_link", "isolation", "namespace", "role", "epoch")
    life_fields = (
        "state_badge",
        "former_names",
        "purge_at",
        "live_size",
        "migrated_at",
        "created_at",
        "updated_at",
    )
    change_fieldsets = (
        (None, {"fields": ("name", "redirect_days")}),
        (_("Life"), {"fields": life_fields}),
        (_("Placement"), {"fields": placement_fields}),
    )
    error_fields: ClassVar[Mapping[type[Exception], str]] = {
        InvalidTenantName: "name",
        TenantAlreadyExists: "name",
        ShardRegistryError: "shard",
        ShardError: "shard",
    }
    inlines = (DomainInline,)
    creates_by_jobs = True
    object_actions: ClassVar[Mapping[str, str]] = {
        "_freeze": "Freeze",
        "_unfreeze": "Unfreeze",
        "_undelete": "Undelete",
        "_migrate": "Migrate",
        "_archive": "Archive",
    }

    def get_form(
        self,
        request: HttpRequest,
        obj: Tenant | None = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        **kwargs: Any,
    ) -> type[ModelForm[Tenant]]:
        kwargs["form"] = TenantForm if obj is None else RenameForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: Tenant | None = None,
    ) -> Any:
        return self.add_fieldsets if obj is None else self.change_fieldsets

    def get_readonly_fields(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: Tenant | None = None,
    ) -> Any:
        return () if obj is None else (*self.life_fields, *self.placement_fields)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changes = super().get_changelist_instance(request)
        if request.method == "GET":
            rows: list[Tenant] = list(changes.result_list)
            sizes = services.tenant_sizes(rows, timeout=_SIZE_TIMEOUT)
            for tenant in rows:
                vars(tenant)["live_size"] = sizes.get(tenant.name)
            changes.result_list = rows
        return changes

    def available_actions(self, obj: Tenant) -> dict[str, str]:
        wanted = {
            TenantState.ACTIVE: ("_freeze", "_migrate", "_archive"),
            TenantState.FROZEN: ("_unfreeze", "_migrate", "_archive"),
            TenantState.DELETED: ("_undelete",),
        }.get(TenantState(obj.state), ())
        return {name: self.object_actions[name] for name in wanted}

    # Columns

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, tenant: Tenant) -> str:
        word, kind = str(tenant.get_state_display()), _KINDS[TenantState(tenant.state)]
        if tenant.purge_at is None:
            return badge(word, kind)
        until = gettext("Purged after %(time)s") % {"time": _when(tenant.purge_at)}
        return badge(word, kind, until)

    @admin.display(description=_("shard"), ordering="shard__name")
    def shard_link(self, tenant: Tenant) -> str:
        return link(self.url("tenants_shard_change", tenant.shard_id), tenant.shard.name)

    @admin.display(description=_("former names"))
    def former_names(self, tenant: Tenant) -> str:
        until = gettext("%(name)s, until %(time)s")
        return "; ".join(
            until % {"name": one.name, "time": _when(one.expires_at)}
            for one in TenantRedirect.objects.filter(tenant=tenant, expires_at__gt=now())
        )

    @admin.display(description=_("size"))
    def live_size(self, tenant: Tenant) -> str:
        if "live_size" not in vars(tenant):
            sizes = services.tenant_sizes([tenant], timeout=_SIZE_TIMEOUT)
            vars(tenant)["live_size"] = sizes.get(tenant.name)
        return size(vars(tenant)["live_size"])

    # Actions

    @admin.action(description=_("Freeze: answer no queries"), permissions=["change"])
    def freeze_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self.for_each(request, queryset, lambda t: services.freeze_tenant(t.name), "Frozen")

    @admin.action(description=_("Unfreeze: answer again"), permissions=["change"])
    def unfreeze_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self.for_each(request, queryset, lambda t: services.unfreeze_tenant(t.name), "Unfrozen")

    @admin.action(description=_("Undelete: bring back"), permissions=["delete"])
    def undelete_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        self.for_each(request, queryset, lambda t: services.undelete_tenant(t.name), "Undeleted")

    @admin.action(description=_("Migrate to the newest migrations"), permissions=["change"])
    def migrate_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> Any:
        names = [tenant.name for tenant in queryset]
        return self.ask(
            request,
            lambda: services.request_migration(tenants=names, requested_by=user_name(request)),
            *queryset,
        )

    @admin.action(description=_("Archive: write each to a file"), permissions=["change"])
    def archive_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        user = user_name(request)
        self.for_each(
            request,
            queryset,
            lambda t: services.request_archive(t.name, requested_by=user),
            "Archives asked for",
        )

    def act(self, request: HttpRequest, obj: Tenant, action: str) -> str | Job:
        user = user_name(request)
        if action == "_freeze":
            services.freeze_tenant(obj.name)
            return f"Tenant {obj.name} is frozen: it answers no queries until it is unfrozen."
        if action == "_unfreeze":
            services.unfreeze_tenant(obj.name)
            return f"Tenant {obj.name} is active."
        if action == "_undelete":
            tenant = services.undelete_tenant(obj.name)
            return f"Tenant {tenant.name} is {tenant.state} again; migrate it if others were."
        if action == "_archive":
            return services.request_archive(obj.name, requested_by=user)
        return services.request_migration(tenants=[obj.name], requested_by=user)

    def links(self, request: HttpRequest, obj: Tenant) -> Sequence[tuple[str, str]]:
        links = []
        if _is_in_use(obj) and self.may_clone(request, obj):
            links.append((self.url("tenants_tenant_clone", obj.pk), gettext("Clone")))
        if permitted(request, "tenants.view_job"):
            jobs = self.url("tenants_job_changelist")
            links.append((f"{jobs}?{urlencode({'q': obj.name})}", gettext("Jobs")))
        if permitted(request, "tenants.add_tenantdomain"):
            adding = self.url("tenants_tenantdomain_add")
            links.append((f"{adding}?{urlencode({'tenant': obj.pk})}", gettext("Add a domain")))
        return links

    # Cloning

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.clone_view)
        return [
            path("<path:object_id>/clone/", page, name="tenants_tenant_clone"),
            *super().get_urls(),
        ]

    def may_clone(self, request: HttpRequest, obj: Tenant) -> bool:
        """Whether the user may make a tenant with all that is in this one."""
        return self.has_add_permission(request) and self.has_change_permission(request, obj)

    @transaction.non_atomic_requests
    @guarded
    def clone_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the name and the place of a clone, and then for the job that makes it."""
        tenant = self.found(request, object_id)
        if not self.may_clone(request, tenant):
            raise PermissionDenied
        form = CloneForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                job = form.request(tenant, user_name(request))
            except (MTDDError, DatabaseError) as exc:
                form.refuse(exc, self.error_fields)
            else:
                return self.asked_for(request, job, tenant)
        return clone_page(self, request, tenant, form)

    # Services

    def create(self, request: HttpRequest, form: ModelForm[Tenant]) -> Job:
        data = form.cleaned_data
        return services.request_creation(
            data["name"],
            shard=data["shard"].name if data["shard"] else None,
            isolation=Isolation(data["isolation"]),
            requested_by=user_name(request),
        )

    def change(self, original: Tenant, form: ModelForm[Tenant]) -> Tenant:
        if form.cleaned_data["name"] == original.name:
            return original
        days = form.cleaned_data["redirect_days"] or 0.0
        return services.rename_tenant(
            original.name, form.cleaned_data["name"], redirect=days * _DAY
        )

    def remove(self, obj: Tenant) -> None:
        if _is_in_use(obj):
            services.delete_tenant(obj.name)
        else:
            services.purge_tenant(obj.name)

    def delete_words(self, obj: Tenant) -> tuple[str, str]:
        if not _is_in_use(obj):
            return super().delete_words(obj)
        days = mtdd_settings.deletion_grace / _DAY
        return (
            gettext(
                "It will answer no more queries, at once. For %(days)g days it can be brought "
                "back; then this will be lost:"
            )
            % {"days": days},
            gettext("Delete"),
        )

    def must_type(self, obj: Tenant) -> str:
        return obj.name

    def losses(self, obj: Tenant) -> Mapping[str, object]:
        contents = services.measure_contents(obj)
        unknown = _("not known")
        rows: dict[object, object] = {
            _("tenant"): obj.name,
            _("shard"): f"{obj.shard.name} ({obj.shard.address})",
            obj.get_isolation_display(): obj.namespace,
            _("size"): unknown if contents.size_bytes is None else size(contents.size_bytes),
            _("tables"): unknown if contents.tables is None else contents.tables,
            _("rows"): unknown if contents.rows is None else f"about {contents.rows:,}",
        }
        if contents.error:
            rows[_("warning")] = contents.error
        return {str(name): value for name, value in rows.items()}


def _is_in_use(tenant: Tenant) -> bool:
    """Whether a deletion is one that can be undone; any other is for ever."""
    return tenant.state in {TenantState.ACTIVE, TenantState.FROZEN}


def _when(moment: datetime) -> str:
    return date_format(localtime(moment), "DATETIME_FORMAT")
