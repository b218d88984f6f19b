"""Names that tenants had before."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models.placement import Tenant

__all__ = ["TenantRedirect"]


class TenantRedirect(models.Model):
    """A former name of a tenant, which requests may still use for a while.

    It counts only where no tenant has the name, so a row may stand before its renaming.
    """

    name = models.CharField(_("former name"), max_length=63, unique=True)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="redirects", verbose_name=_("tenant")
    )
    expires_at = models.DateTimeField(_("ends"))

    class Meta:
        verbose_name = _("redirect")
        verbose_name_plural = _("redirects")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
