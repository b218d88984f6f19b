"""What Django's own commands say of tenants."""

import sys
from typing import Any, TextIO

from django.apps.registry import Apps
from django.db import DEFAULT_DB_ALIAS

__all__ = ["tell_what_migrates_tenants"]


def tell_what_migrates_tenants(
    *,
    using: str,
    verbosity: int,
    apps: Apps | None = None,
    stdout: TextIO | None = None,
    **_: Any,
) -> None:
    """After `migrate`, say that the tenants were not touched, and what migrates them.

    A receiver of Django's post_migrate; *apps* are those of the migrations' end, where the
    registry may be older, or gone; `flush`, which sends the signal too, has none.
    """
    if using != DEFAULT_DB_ALIAS or not verbosity or apps is None:
        return
    try:
        tenants = apps.get_model("tenants", "Tenant")._default_manager.count()
    except LookupError:
        return
    if tenants:
        (stdout or sys.stdout).write(
            f"The tenants ({tenants}) were not touched; "
            "`manage.py migrate_tenants` migrates them.\n"
        )
