"""Names that were a tenant's until a moment ago."""

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["RestingName"]


class RestingName(models.Model):
    """A name that nobody else may have for a while, since some process may not know better.

    It outlives its tenant, so it keeps the key alone.
    """

    name = models.CharField(_("name"), max_length=63, primary_key=True)
    tenant_key = models.BigIntegerField(_("key of its last tenant"))
    until = models.DateTimeField(_("until"), db_index=True)

    class Meta:
        verbose_name = _("resting name")
        verbose_name_plural = _("resting names")

    def __str__(self) -> str:
        return self.name
