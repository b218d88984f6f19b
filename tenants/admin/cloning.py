"""The page that asks what a clone shall be called, and where it shall live."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib.admin import helpers
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from tenants import services
from tenants.admin.forms import ShardChoiceField
from tenants.models import Job, Shard, Tenant

if TYPE_CHECKING:
    from tenants.admin.tenants import TenantAdmin

__all__ = ["CloneForm", "clone_page"]


class CloneForm(forms.Form):
    """A tenant that is as another one."""

    name = forms.CharField(label=_("Name"), max_length=63, help_text=_("Of the new tenant."))
    shard = ShardChoiceField(
        Shard.objects.filter(accepts_tenants=True),
        required=False,
        label=_("Shard"),
        empty_label=_("the same one"),
    )
    structure_only = forms.BooleanField(
        label=_("Structure only"),
        required=False,
        help_text=_("Leave the tables empty, but for what migrating writes."),
    )

    def request(self, source: Tenant, requested_by: str) -> Job:
        """Ask for the clone of *source* that the valid form describes.

        Raises: as `services.request_clone`.
        """
        shard = self.cleaned_data["shard"]
        return services.request_clone(
            source.name,
            self.cleaned_data["name"],
            shard=shard.name if shard else None,
            structure_only=self.cleaned_data["structure_only"],
            requested_by=requested_by,
        )

    def refuse(self, exc: Exception, fields: Mapping[type[Exception], str]) -> None:
        """Show *exc* at the field that *fields* says it is about."""
        field = next((name for kind, name in fields.items() if isinstance(exc, kind)), None)
        self.add_error(field, str(exc))


def clone_page(
    model_admin: "TenantAdmin", request: HttpRequest, tenant: Tenant, form: CloneForm
) -> HttpResponse:
    """Return the page with *form*, for a clone of *tenant*."""
    fieldsets = [(None, {"fields": list(form.fields)})]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": gettext("Clone tenant %(name)s") % {"name": tenant.name},
        "subtitle": None,
        "original": tenant,
        "opts": model_admin.opts,
        "adminform": helpers.AdminForm(cast(Any, form), fieldsets, {}, model_admin=model_admin),
        "errors": form.errors,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "admin/tenants/clone.html", context)
