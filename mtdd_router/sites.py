"""The sites of tenants, if ``django.contrib.sites`` is a tenant app.

Django keeps sites by id and by host in a dict of the process, where one tenant would find
another's. Invariant: that dict holds sites of `default` alone; a tenant's is read each time.
"""

from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model
from django.http import HttpRequest
from django.http.request import split_domain_port

from mtdd_router.managers import TenantManager

__all__ = ["SITE_MANAGER", "TenantSiteManager"]

SITE_MANAGER: Final = "django.contrib.sites.models.SiteManager"


class TenantSiteManager(TenantManager[Model]):
    """A SiteManager of a tenant app."""

    def get_current(self, request: HttpRequest | None = None) -> Any:
        """Return the site of SITE_ID, or of the request's host, as Django's own does.

        Raises:
            Site.DoesNotExist: if the tenant has no such site.
            ImproperlyConfigured: without SITE_ID and without a request.
        """
        site_id = getattr(settings, "SITE_ID", "")
        if self.db == DEFAULT_DB_ALIAS or not (site_id or request):
            own: Any = super()
            return own.get_current(request)
        sites = self.get_queryset()
        if site_id or request is None:
            return sites.get(pk=site_id)
        host = request.get_host()
        exact = sites.filter(domain__iexact=host).first()
        return exact or sites.get(domain__iexact=split_domain_port(host)[0])
