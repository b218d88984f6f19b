"""The tenant of who is logged in: in the session, or told by the user."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest
from django.utils.module_loading import import_string

from mtdd_router.context import TenantScope
from mtdd_router.errors import ConfigurationError

__all__ = ["SessionResolver", "UserResolver"]


class SessionResolver:
    """Take the tenant from the session; SessionMiddleware must come first."""

    def __init__(self, key: str = "tenant") -> None:
        self.key = key

    def __call__(self, request: HttpRequest) -> str | None:
        session = getattr(request, "session", None)
        if session is None:
            raise ConfigurationError(
                "SessionResolver needs a session: in MIDDLEWARE, put SessionMiddleware "
                "before TenantMiddleware."
            )
        value = session.get(self.key)
        return value if isinstance(value, str) and value else None


class UserResolver:
    """Take the tenant from who is logged in; AuthenticationMiddleware must come first.

    The users must be the project's own, on `default`: a tenant's own users are found only
    once the tenant is known.

    Args:
        attribute: where a user has the tenant's name, such as ``"tenant_name"`` or
            ``"profile.customer.slug"``.
        function: instead, what returns it of a user: a callable or its dotted path.
    """

    def __init__(
        self, attribute: str | None = None, function: str | Callable[[Any], Any] | None = None
    ) -> None:
        if (attribute is None) == (function is None):
            raise ConfigurationError("UserResolver needs either `attribute` or `function`.")
        if isinstance(function, str):
            function = import_string(function)
        if attribute is None and not callable(function):
            raise ConfigurationError(f"UserResolver: function = {function!r} is not callable.")
        self._path = tuple(attribute.split(".")) if attribute else ()
        self._function = function

    def __call__(self, request: HttpRequest) -> str | None:
        user: Any = getattr(request, "user", None)
        if user is None:
            raise ConfigurationError(
                "UserResolver needs a user: in MIDDLEWARE, put SessionMiddleware and "
                "AuthenticationMiddleware before TenantMiddleware."
            )
        # Not in a tenant that whoever called may be in: the users are the project's.
        with TenantScope(None):
            if not user.is_authenticated:
                return None
            value = self._function(user) if callable(self._function) else self._followed(user)
        return value if isinstance(value, str) and value else None

    def _followed(self, user: Any) -> Any:
        value = user
        for name in self._path:
            try:
                value = getattr(value, name)
            except ObjectDoesNotExist:
                return None  # A one-to-one relation without a row.
            if value is None:
                return None
        return value
