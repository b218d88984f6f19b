"""Each tenant's e-mail goes out by its own account."""

from collections.abc import Iterator
from typing import Any, ClassVar

import django
import pytest
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend

from mtdd_router import ConfigurationError, tenant_context
from mtdd_router.mail import EmailAccount

HERE = __name__
BACKEND = "mtdd_router.mail.TenantEmailBackend"
LOCMEM = "django.core.mail.backends.locmem.EmailBackend"


class Server(BaseEmailBackend):
    """Keeps what it was made with and given."""

    sent: ClassVar[list[tuple[str, str, str]]] = []

    def __init__(self, host: str = "", password: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.host = host

    def send_messages(self, email_messages: Any) -> int:
        self.sent.extend((self.host, m.from_email, m.subject) for m in email_messages)
        return len(email_messages)


ACCOUNTS = {
    "abc": EmailAccount(
        "shop@abc.example", f"{HERE}.Server", {"host": "smtp.abc", "password": "hidden"}
    ),
    "xyz": EmailAccount(backend=f"{HERE}.Server", options={"host": "smtp.xyz"}),
    None: EmailAccount(backend=LOCMEM),
}


@pytest.fixture(autouse=True)
def _configured(settings: Any) -> Iterator[None]:
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": BACKEND}}
    else:
        settings.EMAIL_BACKEND = BACKEND
    settings.DEFAULT_FROM_EMAIL = "project@example.com"
    settings.MTDD_EMAIL_ACCOUNTS = ACCOUNTS.get
    Server.sent.clear()
    return


def test_a_message_goes_out_by_the_account_of_its_tenant() -> None:
    for tenant in ("abc", "xyz"):
        with tenant_context(tenant):
            assert mail.send_mail("hello", "text", None, ["to@example.org"]) == 1
            mail.send_mail("named", "text", "me@example.com", ["to@example.org"])
    assert Server.sent == [
        ("smtp.abc", "shop@abc.example", "hello"),
        ("smtp.abc", "me@example.com", "named"),
        ("smtp.xyz", "project@example.com", "hello"),
        ("smtp.xyz", "me@example.com", "named"),
    ]
    assert mail.outbox == []


def test_without_a_tenant_it_is_the_projects_own() -> None:
    mail.send_mail("hello", "text", None, ["to@example.org"])
    assert Server.sent == []
    assert [message.from_email for message in mail.outbox] == ["project@example.com"]


def test_one_message_sent_twice_is_each_tenants() -> None:
    message = mail.EmailMessage("hello", "text", None, ["to@example.org"])
    for tenant in ("abc", "xyz", "abc"):
        with tenant_context(tenant):
            message.send()
    assert [sender for _, sender, _ in Server.sent] == [
        "shop@abc.example",
        "project@example.com",
        "shop@abc.example",
    ]


def test_an_account_does_not_show_its_password() -> None:
    assert "hidden" not in repr(ACCOUNTS["abc"])


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "nothing.here",
        3,
        lambda _: EmailAccount(backend="mtdd_router.mail.TenantEmailBackend"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_sent(settings: Any, wrong: Any) -> None:
    settings.MTDD_EMAIL_ACCOUNTS = wrong
    with pytest.raises(ConfigurationError, match="MTDD_EMAIL_ACCOUNTS"), tenant_context("abc"):
        mail.send_mail("hello", "text", None, ["to@example.org"])
    assert mail.outbox == []


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
def test_any_mailer_may_be_the_tenants(settings: Any) -> None:
    settings.MAILERS = {
        "default": {"BACKEND": LOCMEM},
        "tenants": {"BACKEND": BACKEND, "OPTIONS": {"host": "smtp.common"}},
    }
    settings.MTDD_EMAIL_ACCOUNTS = lambda tenant: EmailAccount(f"of@{tenant}", f"{HERE}.Server")
    with tenant_context("abc"):
        mail.send_mail("default", "text", None, ["to@example.org"])
        mail.send_mail("hello", "text", None, ["to@example.org"], using="tenants")
    assert [message.subject for message in mail.outbox] == ["default"]
    assert Server.sent == [("smtp.common", "of@abc", "hello")]
