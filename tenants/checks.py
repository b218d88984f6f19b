"""System checks of the registry: where its tables live, and what its rows say.

Ids: tenants.E001 (the registry among the tenant apps), tenants.E002 (its database is
not PostgreSQL), tenants.E003 (a tenant's name is a static alias; with --database),
tenants.E004 (MTDD_ARCHIVE_ROOT is no absolute path), tenants.E005 (MTDD_TASK_BACKEND is
not in TASKS).
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError

from mtdd_router.conf import mtdd_settings

__all__ = ["check_database", "check_jobs", "check_names", "check_placement"]


@register(Tags.models)
def check_placement(**_: Any) -> list[CheckMessage]:
    """Refuse a registry that would itself live with a tenant."""
    if not mtdd_settings.is_tenant_app("tenants"):
        return []
    return [
        Error(
            "The registry 'tenants' is listed in TENANT_APPS.",
            hint="Its tables say where tenants live, so they stay on 'default': "
            "list it in SHARED_APPS instead.",
            id="tenants.E001",
        )
    ]


@register(Tags.models)
def check_database(**_: Any) -> list[CheckMessage]:
    """Refuse a registry on anything but PostgreSQL, whose advisory locks it needs."""
    vendor = connections[DEFAULT_DB_ALIAS].vendor
    if vendor == "postgresql":
        return []
    return [
        Error(
            f"The registry's database {DEFAULT_DB_ALIAS!r} is {vendor}, not PostgreSQL.",
            hint="Set DATABASES['default'] to a PostgreSQL server.",
            id="tenants.E002",
        )
    ]


@register()
def check_jobs(**_: Any) -> Iterator[CheckMessage]:
    """Refuse a folder that would be another one for each process, and an unknown backend."""
    root = getattr(settings, "MTDD_ARCHIVE_ROOT", None)
    if root and not (isinstance(root, str | os.PathLike) and Path(root).is_absolute()):
        yield Error(
            f"MTDD_ARCHIVE_ROOT = {root!r} is no absolute path.",
            hint="Give the full path of a folder that the workers can write.",
            id="tenants.E004",
        )
    alias = getattr(settings, "MTDD_TASK_BACKEND", "")
    if alias and alias not in getattr(settings, "TASKS", ()):
        yield Error(
            f"MTDD_TASK_BACKEND = {alias!r} is not in TASKS.",
            hint="Name one of TASKS, which Django has from 6.0 on, or '' for none.",
            id="tenants.E005",
        )


@register(Tags.database)
def check_names(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Find tenants that can no longer be reached, for DATABASES has an alias of their name."""
    from tenants.models import Tenant

    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    aliases = list(mtdd_settings.static_aliases)
    try:
        names = list(Tenant.objects.filter(name__in=aliases).values_list("name", flat=True))
    except DatabaseError:
        # Not migrated yet, or down: that is reported where it matters.
        return []
    return [
        Error(
            f"Tenant {name!r} has the name of an alias of DATABASES and cannot be reached.",
            hint=f"Rename the alias, or the tenant: manage.py rename_tenant {name} NEW_NAME",
            id="tenants.E003",
        )
        for name in names
    ]
