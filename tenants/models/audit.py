"""Who changed what of the registry, and when."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

__all__ = ["AuditEntry"]


class AuditEntry(models.Model):
    """One change, as it was asked for.

    PostgreSQL itself refuses to update an entry, and to delete one that is younger than 90
    days. It refers to nothing, for it outlives what it tells of.
    """

    at = models.DateTimeField(_("when"), default=timezone.now, db_index=True)
    who = models.CharField(_("who"), max_length=200)
    action = models.CharField(_("what"), max_length=40)
    tenant = models.CharField(_("tenant"), max_length=63, blank=True, db_index=True)
    shard = models.CharField(_("shard"), max_length=63, blank=True)
    details = models.JSONField(_("details"), default=dict, blank=True, encoder=DjangoJSONEncoder)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        ordering = ("-pk",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.action} {self.tenant or self.shard}".strip()
