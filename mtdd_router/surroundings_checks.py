"""System checks of what stands around the database, where one tenant could meet another's.

mtdd.W052  a cache in use has no tenant in its keys
mtdd.W054  files of tenants' rows are in one folder for all
mtdd.E055  a middleware that caches, or asks for the site, comes before TenantMiddleware
mtdd.E056  sites live in tenants, and their manager is left alone
mtdd.E057  MTDD_EMAIL_ACCOUNTS cannot be used
"""

import warnings
from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - as Django names it
from django.db.models import FileField

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import ConfigurationError
from mtdd_router.mail import TenantEmailBackend, load_accounts
from mtdd_router.managers import is_wanted
from mtdd_router.middleware import TenantMiddleware
from mtdd_router.settings_entries import class_of, position_in
from mtdd_router.storage import TenantFolders

__all__ = ["run_checks"]

_CACHING: Final = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
    "django.middleware.cache.CacheMiddleware",
)
_WITH_SITE: Final = (
    "django.contrib.sites.middleware.CurrentSiteMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
    "django.contrib.redirects.middleware.RedirectFallbackMiddleware",
)


def run_checks(**options: Any) -> Iterator[CheckMessage]:
    """Run every check of this module."""
    for check in (check_caches, check_files, check_order, check_sites, check_email):
        yield from check(**options)


def check_caches(**_: Any) -> Iterator[CheckMessage]:
    """Each cache that the project has configured says whose its keys are."""
    caching = any(name in settings.MIDDLEWARE for name in _CACHING)
    configured: Any = settings
    if not (configured.is_overridden("CACHES") or caching):
        return  # Django's own, which nobody seems to use.
    for alias, options in settings.CACHES.items():
        if not options.get("KEY_FUNCTION") and not options["BACKEND"].endswith(".DummyCache"):
            yield Warning(
                f"CACHES[{alias!r}] has no KEY_FUNCTION: what is cached in one tenant is found in "
                "all others.",
                hint='Set "KEY_FUNCTION": "mtdd_router.cache.tenant_key", or '
                '"mtdd_router.cache.shared_key" if that is meant.',
                id="mtdd.W052",
            )


def check_files(**_: Any) -> Iterator[CheckMessage]:
    """Files of tenants' rows are kept apart."""
    backend = class_of(settings.STORAGES.get("default", {}).get("BACKEND", ""))
    if backend is None or issubclass(backend, TenantFolders):
        return
    for model in apps.get_models():
        if not mtdd_settings.is_tenant_app(model._meta.app_label):
            continue
        for field in model._meta.local_fields:
            # Who gives a field a storage of its own knows what is in there.
            if isinstance(field, FileField) and _is_default(field.storage):
                yield Warning(
                    f"{model._meta.label}.{field.name}: the files of all tenants are in one "
                    "folder, where a tenant's name of a file may be another's.",
                    hint='Use "mtdd_router.storage.TenantFileSystemStorage" or TenantStorage as '
                    "the default of STORAGES.",
                    obj=field,
                    id="mtdd.W054",
                )


def check_order(**_: Any) -> Iterator[CheckMessage]:
    """Nothing that depends on the tenant comes before it is known."""
    order = list(settings.MIDDLEWARE)
    place = position_in("MIDDLEWARE", TenantMiddleware)
    if place is None:
        return
    names = (*_CACHING, *(_WITH_SITE if mtdd_settings.is_tenant_app("sites") else ()))
    for name in names:
        if name in order and order.index(name) < place:
            yield Error(
                f"MIDDLEWARE: {name.rpartition('.')[2]} comes before TenantMiddleware, and would "
                "take one tenant's pages for those of all.",
                hint="Put TenantMiddleware before it.",
                id="mtdd.E055",
            )


def check_sites(**_: Any) -> Iterator[CheckMessage]:
    """Sites of tenants are not found through Django's dict of all sites."""
    if not (apps.is_installed("django.contrib.sites") and mtdd_settings.is_tenant_app("sites")):
        return
    if not is_wanted(apps.get_app_config("sites").get_model("Site")):
        yield Error(
            "Sites live in tenants, but MTDD_TENANT_MANAGERS leaves their manager alone: Django "
            "would give all tenants the site that the first one has.",
            hint='Leave "sites.Site" to MTDD_TENANT_MANAGERS, or move "django.contrib.sites" to '
            "SHARED_APPS.",
            id="mtdd.E056",
        )


def check_email(**_: Any) -> Iterator[CheckMessage]:
    """What gives tenants their e-mail accounts is there if it is needed."""
    used = [cls for cls in map(class_of, _email_backends()) if cls is not None]
    if not any(issubclass(cls, TenantEmailBackend) for cls in used):
        return
    try:
        load_accounts()
    except ConfigurationError as exc:
        yield Error(
            str(exc),
            hint="It is called with a tenant's name, or None, and returns an "
            "mtdd_router.mail.EmailAccount or None.",
            id="mtdd.E057",
        )


def _email_backends() -> list[str]:
    configured: Any = settings
    # Since Django 6.1. To look at the setting before it is deprecated there.
    if hasattr(configured, "MAILERS"):
        return [mailer.get("BACKEND", "") for mailer in configured.MAILERS.values()]
    if not configured.is_overridden("EMAIL_BACKEND"):
        return []
    with warnings.catch_warnings(action="ignore"):
        return [configured.EMAIL_BACKEND]


def _is_default(storage: object) -> bool:
    # Imported late: it is made of the settings.
    from django.core.files.storage import default_storage

    return storage is default_storage
