"""The forms of tenants, domains and migration runs."""

from django.forms import FloatField, ModelMultipleChoiceField
from django.utils.translation import gettext_lazy as _

from tenants.admin.generics import ModelChoiceField, ModelForm
from tenants.models import MigrationRun, Shard, Tenant, TenantDomain
from tenants.validators import normalize_domain

__all__ = ["DomainForm", "MigrationRunForm", "RenameForm", "ShardChoiceField", "TenantForm"]


class ShardChoiceField(ModelChoiceField[Shard]):
    """A choice of shards that shows where each one is."""

    def label_from_instance(self, obj: Shard) -> str:
        return f"{obj.name} ({obj.address})"


class TenantForm(ModelForm[Tenant]):
    """A new tenant: where it lives may be left to the placement."""

    shard = ShardChoiceField(
        Shard.objects.filter(accepts_tenants=True),
        required=False,
        label=_("Shard"),
        empty_label=_("the least loaded one"),
        help_text=_("Where its data will live. It cannot be changed here later."),
    )

    class Meta:
        model = Tenant
        fields = ("name", "shard", "isolation")


class RenameForm(ModelForm[Tenant]):
    """What can be changed of a tenant: its name."""

    redirect_days = FloatField(
        label=_("Redirect for days"),
        required=False,
        min_value=0,
        max_value=3650,
        help_text=_("For so long, requests that name the old one are still served."),
    )

    class Meta:
        model = Tenant
        fields = ("name",)
        help_texts = {
            "name": _(
                "Also its Django alias. Renaming moves no data; code that names the tenant "
                "must use the new name at once."
            )
        }


class DomainForm(ModelForm[TenantDomain]):
    """A domain of a tenant, in whatever spelling."""

    class Meta:
        model = TenantDomain
        fields = ("domain", "tenant")

    def clean_domain(self) -> str:
        """Return the domain as it is kept, so that two spellings are one."""
        return normalize_domain(self.cleaned_data["domain"])


class MigrationRunForm(ModelForm[MigrationRun]):
    """A run that a worker is asked for: to the newest migrations, of all or of some shards."""

    shards = ModelMultipleChoiceField(
        Shard.objects.all(),
        required=False,
        label=_("Shards"),
        help_text=_("Those whose tenants are migrated; none chosen means all."),
    )

    class Meta:
        model = MigrationRun
        fields = ()
