"""A secret that is another one in each tenant, for what is signed with it."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mtdd_router.context import current_tenant

__all__ = ["TenantSecret", "bind_password_reset"]


class TenantSecret:
    """Stands for SECRET_KEY, or another secret, as it is in the running work's tenant.

    Without a tenant it is the secret itself. Django asks for its text each time it signs
    or checks: ``Signer(key=TenantSecret())``, or ``generator.secret = TenantSecret()``.

    Args:
        secret: instead of SECRET_KEY.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: object = None) -> None:
        self._secret = secret

    def __str__(self) -> str:
        secret = self._secret or settings.SECRET_KEY
        text = secret.decode("latin-1") if isinstance(secret, bytes) else str(secret)
        tenant = current_tenant()
        # No tenant's name has a colon, so no two texts of tenants are equal.
        return text if tenant is None else f"{text}:{tenant}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Fallbacks:
    """SECRET_KEY_FALLBACKS, as they are in the running work's tenant."""

    def __iter__(self) -> Iterator[TenantSecret]:
        return map(TenantSecret, settings.SECRET_KEY_FALLBACKS)


def bind_password_reset() -> None:
    """Make a link that resets a password good in the tenant only in which it was made.

    Else it would be good in each tenant that has the same user, with the same password's
    hash: in a clone, for instance. Django's own generator has attributes for that.
    """
    from django.contrib.auth.tokens import default_token_generator

    # Whatever has a text will do for Django, which its stubs do not know.
    generator: Any = default_token_generator
    try:
        own = generator.secret
        if isinstance(own, TenantSecret):
            return
        if own == settings.SECRET_KEY:
            own = None
    except ImproperlyConfigured:
        # There is no SECRET_KEY, which is an error only where it is used.
        own = None
    generator.secret = TenantSecret(own)
    if own is None:
        generator.secret_fallbacks = _Fallbacks()
