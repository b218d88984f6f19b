"""The admin of tenants' domains, and what the page of a tenant shows of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mtdd_router.context import current_tenant
from mtdd_router.errors import MTDDError
from tenants import services
from tenants.admin.base import ServiceAdmin
from tenants.admin.forms import DomainForm
from tenants.admin.generics import ModelForm, TabularInline
from tenants.models import Tenant, TenantDomain

__all__ = ["DomainInline", "TenantDomainAdmin"]


class DomainInline(TabularInline[TenantDomain, Tenant]):
    """The domains of a tenant, each with a link to where it can be removed."""

    model = TenantDomain
    fields = ("domain", "created_at")
    readonly_fields = fields
    extra = 0
    show_change_link = True
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False  # Services add them, on a page of their own.

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return current_tenant() is None and super().has_view_permission(request, obj)


@admin.register(TenantDomain)
class TenantDomainAdmin(ServiceAdmin[TenantDomain]):
    """Domains: added and removed, never changed."""

    list_display = ("domain", "tenant", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("domain", "tenant__name")
    autocomplete_fields = ("tenant",)
    form = DomainForm
    error_fields: ClassVar[Mapping[type[Exception], str]] = {MTDDError: "domain"}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def create(self, request: HttpRequest, form: ModelForm[TenantDomain]) -> TenantDomain:  # noqa: ARG002
        return services.add_domain(form.cleaned_data["tenant"].name, form.cleaned_data["domain"])

    def remove(self, obj: TenantDomain) -> None:
        services.remove_domain(obj.domain)

    def losses(self, obj: TenantDomain) -> Mapping[str, object]:
        return {str(_("domain")): obj.domain, str(_("tenant")): obj.tenant.name}
