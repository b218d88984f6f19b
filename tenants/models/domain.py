"""Domains that tenants have for themselves."""

from typing import Final

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from mtdd_router.types import DOMAIN_MAX_LENGTH
from tenants.models.placement import Tenant
from tenants.validators import validate_domain

__all__ = ["TenantDomain"]

# As `normalize_domain` writes it, so that no two rows mean the same host.
_NORMAL: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"


class TenantDomain(models.Model):
    """A host whose requests are a tenant's, for `DomainResolver`."""

    domain = models.CharField(
        _("domain"),
        max_length=DOMAIN_MAX_LENGTH,
        unique=True,
        validators=[validate_domain],
        help_text=_("Such as shop.example.org, without a port; letters beyond ASCII may be used."),
    )
    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="domains", verbose_name=_("tenant")
    )
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    class Meta:
        verbose_name = _("domain")
        verbose_name_plural = _("domains")
        ordering = ("domain",)
        constraints = (
            models.CheckConstraint(
                condition=Q(domain__regex=_NORMAL), name="tenants_tenantdomain_normal"
            ),
        )

    def __str__(self) -> str:
        return self.domain
