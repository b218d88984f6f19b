"""The admin of shards: what is registered, and how each one is at this moment.

An unreachable shard shows as such: all are asked at once, with a short timeout, and
no page fails for one that does not answer.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mtdd_router.errors import ShardError
from tenants import services
from tenants.admin.badges import UNKNOWN, badge, link, size
from tenants.admin.base import ServiceAdmin
from tenants.admin.generics import ModelForm
from tenants.admin.registry import permitted, user_name
from tenants.errors import (
    InvalidShard,
    InvalidShardAddress,
    NotAShardServer,
    ShardAlreadyRegistered,
    ShardIdentityChanged,
)
from tenants.models import Shard
from tenants.validators import normalize_address, validate_address

__all__ = ["ShardAdmin"]

_TIMEOUT = 1.0


class ShardForm(ModelForm[Shard]):
    """What can be typed of a shard."""

    class Meta:
        model = Shard
        fields = ("name", "address", "weight", "accepts_tenants")

    def clean_address(self) -> str:
        """Write the address in the one way it is stored, before it is compared."""
        validate_address(self.cleaned_data["address"])
        return normalize_address(self.cleaned_data["address"])


@admin.register(Shard)
class ShardAdmin(ServiceAdmin[Shard]):
    """Shards, with live health."""

    form = ShardForm
    list_display = (
        "name",
        "address",
        "health_in_short",
        "accepts_new_tenants",
        "weight",
        "tenants_there",
        "live_size",
        "connections_in_use",
        "version",
    )
    search_fields = ("name", "address")
    actions = ("migrate_tenants",)
    fieldsets = (
        (None, {"fields": ("name", "address")}),
        (_("New tenants"), {"fields": ("accepts_tenants", "weight")}),
    )
    live_fieldset = (
        _("At this moment"),
        {
            "fields": (
                "health",
                "version",
                "connections_in_use",
                "tenants_there",
                "live_size",
                "shard_id",
                "created_at",
            )
        },
    )
    error_fields: ClassVar[Mapping[type[Exception], str]] = {
        InvalidShardAddress: "address",
        NotAShardServer: "address",
        ShardIdentityChanged: "address",
        ShardError: "address",
        ShardAlreadyRegistered: "address",
        InvalidShard: "name",
    }

    def get_fieldsets(self, request: HttpRequest, obj: Shard | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is None else (*fieldsets, self.live_fieldset)

    def get_readonly_fields(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: Shard | None = None,
    ) -> Any:
        return () if obj is None else self.live_fieldset[1]["fields"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shard]:
        return super().get_queryset(request).annotate(tenants_registered=Count("tenants"))

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changes = super().get_changelist_instance(request)
        if request.method == "GET":
            _ask(changes.result_list)
        return changes

    # Columns

    @admin.display(description=_("health"))
    def health_in_short(self, shard: Shard) -> str:
        status = _status(shard)
        if status.info is not None and status.error:
            return badge("another shard", "bad", status.error)
        return self.health(shard) if status.healthy else badge("down", "bad", status.error)

    @admin.display(description=_("health"))
    def health(self, shard: Shard) -> str:
        status = _status(shard)
        if status.healthy:
            return badge("up", "good", f"answered in {status.latency * 1000:.0f} ms")
        return format_html("{} {}", badge("down", "bad"), status.error)

    @admin.display(description=_("new tenants"), boolean=True, ordering="accepts_tenants")
    def accepts_new_tenants(self, shard: Shard) -> bool:
        return shard.accepts_tenants

    @admin.display(description=_("tenants"), ordering="tenants_registered")
    def tenants_there(self, shard: Shard) -> str:
        count = getattr(shard, "tenants_registered", 0)
        url = self.url("tenants_tenant_changelist")
        return link(f"{url}?shard__id__exact={shard.pk}", str(count))

    @admin.display(description=_("size"))
    def live_size(self, shard: Shard) -> str:
        info = _status(shard).info
        return size(info.database_bytes if info else None)

    @admin.display(description=_("connections busy / open / most"))
    def connections_in_use(self, shard: Shard) -> str:
        info = _status(shard).info
        return f"{info.pool_busy} / {info.pool_open} / {info.pool_size}" if info else UNKNOWN

    @admin.display(description=_("version"))
    def version(self, shard: Shard) -> str:
        info = _status(shard).info
        if info is None:
            return UNKNOWN
        return f"{info.server_version}, PostgreSQL {info.postgres_version}"

    @admin.action(description=_("Migrate the tenants that live there"), permissions=["migrate"])
    def migrate_tenants(self, request: HttpRequest, queryset: QuerySet[Shard]) -> Any:
        names = [shard.name for shard in queryset]
        return self.ask(
            request,
            lambda: services.request_migration(shards=names, requested_by=user_name(request)),
            *queryset,
        )

    def has_migrate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may begin migration runs."""
        return permitted(request, "tenants.add_migrationrun")

    # Services

    def create(
        self,
        request: HttpRequest,  # noqa: ARG002 - for jobs
        form: ModelForm[Shard],
    ) -> Shard:
        data = form.cleaned_data
        return services.register_shard(
            data["name"],
            data["address"],
            weight=data["weight"],
            accepts_tenants=data["accepts_tenants"],
        )

    def change(self, original: Shard, form: ModelForm[Shard]) -> Shard:
        data = form.cleaned_data
        return services.edit_shard(
            original.name,
            new_name=data["name"],
            address=data["address"],
            weight=data["weight"],
            accepts_tenants=data["accepts_tenants"],
        )

    def remove(self, obj: Shard) -> None:
        services.remove_shard(obj.name)

    def losses(self, obj: Shard) -> Mapping[str, object]:
        return {
            gettext("shard"): obj.name,
            gettext("address"): obj.address,
            gettext("tenants there"): obj.tenants.count(),
            gettext("lost"): gettext(
                "Only what the registry knows of it: its server and its data stay as they are. "
                "Refused while tenants live there."
            ),
        }


def _ask(shards: Iterable[Shard]) -> None:
    """Ask all *shards* at once, and keep each answer with its row for this page."""
    rows = list(shards)
    for shard, status in zip(rows, services.inspect_shards(rows, timeout=_TIMEOUT), strict=True):
        vars(shard)["live_status"] = status


def _status(shard: Shard) -> "services.ShardStatus":
    if "live_status" not in vars(shard):
        _ask([shard])
    status = vars(shard)["live_status"]
    assert isinstance(status, services.ShardStatus)
    return status
