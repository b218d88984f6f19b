"""E-mail of tenants: each may have a sender and a mail server of its own.

Invariant: which account is used is decided when a message is sent, by the tenant of the
running work; no connection is kept from one tenant for the next.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from mtdd_router.conf import mtdd_settings
from mtdd_router.context import current_tenant
from mtdd_router.errors import ConfigurationError

__all__ = ["EmailAccount", "TenantEmailBackend", "load_accounts"]

_SMTP: Final = "django.core.mail.backends.smtp.EmailBackend"


@dataclass(frozen=True, slots=True)
class EmailAccount:
    """How a tenant sends e-mail.

    Attributes:
        from_email: stands for DEFAULT_FROM_EMAIL; empty keeps that.
        backend: the dotted path of Django's or another backend.
        options: what it is made with, such as ``host``, ``username`` and ``password``. What is
            missing is that of Django's settings for SMTP, or of the OPTIONS in MAILERS.
    """

    from_email: str = ""
    backend: str = _SMTP
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class TenantEmailBackend(BaseEmailBackend):
    """Send each message by the account that MTDD_EMAIL_ACCOUNTS says.

    ::

        EMAIL_BACKEND = "mtdd_router.mail.TenantEmailBackend"
        # From Django 6.1 on: MAILERS = {"default": {"BACKEND": the same}}
        MTDD_EMAIL_ACCOUNTS = "shop.mail.account_of"  # def account_of(tenant): ...
    """

    def __init__(
        self,
        fail_silently: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        *,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        # The alias is that of MAILERS; older versions of Django have neither.
        self._passed_on: dict[str, Any] = {} if alias is None else {"alias": alias}
        super().__init__(**self._passed_on)
        self.alias = alias
        self.fail_silently = fail_silently
        if fail_silently:
            self._passed_on["fail_silently"] = True
        self._passed_on |= {name: value for name, value in options.items() if value is not None}

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Send the messages and return how many were."""
        account = load_accounts()(current_tenant()) or EmailAccount()
        backend = import_string(account.backend)
        if isinstance(backend, type) and issubclass(backend, TenantEmailBackend):
            raise ConfigurationError(
                f"MTDD_EMAIL_ACCOUNTS gives {account.backend!r} as backend, which is itself what "
                "asks for one."
            )
        connection = backend(**{**self._passed_on, **account.options})
        sent = connection.send_messages([_from(account, message) for message in email_messages])
        return int(sent or 0)


def load_accounts() -> Callable[[str | None], EmailAccount | None]:
    """Return the function that MTDD_EMAIL_ACCOUNTS names: of a tenant, or of None.

    Raises:
        ConfigurationError: if it cannot be used.
    """
    configured = mtdd_settings.email_accounts
    try:
        found = import_string(configured) if isinstance(configured, str) else configured
    except ImportError as exc:
        raise ConfigurationError(f"MTDD_EMAIL_ACCOUNTS cannot be imported: {exc}") from exc
    if not callable(found):
        raise ConfigurationError(
            "MTDD_EMAIL_ACCOUNTS must be a function of a tenant's name, or its dotted path."
        )
    accounts: Callable[[str | None], EmailAccount | None] = found
    return accounts


def _from(account: EmailAccount, message: EmailMessage) -> EmailMessage:
    """Return the message with the tenant's sender, if the code that made it named none."""
    if not account.from_email or message.from_email != settings.DEFAULT_FROM_EMAIL:
        return message
    # A copy: the message may be sent once more, for somebody else.
    sent = copy.copy(message)
    sent.from_email = account.from_email
    return sent
