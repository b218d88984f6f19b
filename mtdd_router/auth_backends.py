"""Django's backend for users, who have the permissions of their own tenant anywhere.

Invariant: whatever tenant the running work is in, permissions are looked for where the
user's row is from; a user who is only in memory is asked about in the running work's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import backends

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import TenantScope, current_tenant, tenant_context

__all__ = ["ModelBackend"]


class ModelBackend(backends.ModelBackend):
    """For AUTHENTICATION_BACKENDS, in the place of Django's."""

    def get_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return what *user_obj* was given himself, in his tenant."""
        with _at_home(user_obj):
            return super().get_user_permissions(user_obj, obj)

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return what *user_obj* was given by his groups, in his tenant."""
        with _at_home(user_obj):
            return super().get_group_permissions(user_obj, obj)

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return all that *user_obj* may do, in his tenant."""
        with _at_home(user_obj):
            return super().get_all_permissions(user_obj, obj)

    async def aget_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """See get_user_permissions()."""
        with _at_home(user_obj):
            return await super().aget_user_permissions(user_obj, obj)

    async def aget_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """See get_group_permissions()."""
        with _at_home(user_obj):
            return await super().aget_group_permissions(user_obj, obj)

    async def aget_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """See get_all_permissions()."""
        with _at_home(user_obj):
            return await super().aget_all_permissions(user_obj, obj)


@contextmanager
def _at_home(user: Any) -> Iterator[None]:
    """Run the block in the tenant of the user's row, or in none if it is the project's.

    Raises:
        TenantLocked: if the running work is locked to another.
    """
    state = getattr(user, "_state", None)
    home = None if state is None else state.db  # An anonymous user has no row.
    if home is None or home == current_tenant():
        yield
        return
    with tenant_context(home) if mtdd_settings.is_tenant_alias(home) else TenantScope(None):
        yield
