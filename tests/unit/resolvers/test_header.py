"""A header is heard from a trusted proxy, and from nobody else."""

from typing import Any

import pytest
from django.test import RequestFactory

from mtdd_router import ConfigurationError, UntrustedHeader, resolution_checks
from mtdd_router.resolvers import HeaderResolver
from mtdd_router.resolvers.header import proxy_networks

factory = RequestFactory()
HEADER = "mtdd_router.resolvers.HeaderResolver"


def asked(address: str | None, header: str = "X-Tenant") -> str | None:
    request = factory.get("/", headers={header: "abc"})
    if address is None:
        del request.META["REMOTE_ADDR"]
    else:
        request.META["REMOTE_ADDR"] = address
    return HeaderResolver()(request)


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        (["10.0.0.0/8"], "10.1.2.3"),
        (("192.0.2.7", "10.0.0.0/8"), "192.0.2.7"),
        (["10.0.0.0/8"], "::ffff:10.1.2.3"),
        (["2001:db8::/32"], "2001:db8::1"),
        (["fe80::/10"], "fe80::1%eth0"),
        (["unix"], ""),
        (["unix"], None),
    ],
)
def test_a_trusted_proxy_names_the_tenant(trusted: Any, address: str | None, settings: Any) -> None:
    settings.MTDD_TRUSTED_PROXIES = trusted
    assert asked(address) == "abc"


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        ([], "127.0.0.1"),
        (["10.0.0.0/8"], "11.0.0.1"),
        (["10.0.0.0/8"], ""),
        (["10.0.0.0/8"], None),
        (["10.0.0.0/8"], "10.0.0.1, 11.0.0.1"),
        (["10.0.0.0/8"], "::1"),
        (["10.0.0.0/8"], "not an address"),
        (["unix"], "127.0.0.1"),
    ],
)
def test_anybody_else_who_sends_the_header_is_refused(
    trusted: Any, address: str | None, settings: Any
) -> None:
    settings.MTDD_TRUSTED_PROXIES = trusted
    with pytest.raises(UntrustedHeader, match="MTDD_TRUSTED_PROXIES") as caught:
        asked(address)
    assert "abc" not in str(caught.value)


def test_what_the_client_says_of_its_address_counts_for_nothing(settings: Any) -> None:
    settings.MTDD_TRUSTED_PROXIES = ["10.0.0.0/8"]
    request = factory.get(
        "/",
        headers={"X-Tenant": "abc", "X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1"},
    )
    with pytest.raises(UntrustedHeader):
        HeaderResolver()(request)


def test_a_request_without_the_header_is_let_through_from_anywhere() -> None:
    assert HeaderResolver()(factory.get("/")) is None


@pytest.mark.parametrize("wrong", ["10.0.0.0/8", ["10.0.0.1/8"], ["host.example"], [10], None])
def test_a_wrong_network_is_named(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="MTDD_TRUSTED_PROXIES"):
        proxy_networks(wrong)


@pytest.mark.parametrize(
    ("resolvers", "trusted", "expected"),
    [
        ([HEADER], [], ["mtdd.E050"]),
        ([(HEADER, {"header": "X-Customer"})], (), ["mtdd.E050"]),
        ([HEADER], ["10.0.0.0/8"], []),
        ([HEADER], ["10.0.0.0/8", "0.0.0.0/0"], ["mtdd.W050"]),
        ([HEADER], ["::/0"], ["mtdd.W050"]),
        ([HEADER], "10.0.0.0/8", ["mtdd.E051"]),
        ([], ["10.0.0.0/33"], ["mtdd.E051"]),
        ([], [], []),
    ],
)
def test_the_checks_ask_for_proxies(
    resolvers: Any, trusted: Any, expected: Any, settings: Any
) -> None:
    settings.MTDD_RESOLVERS = resolvers
    settings.MTDD_TRUSTED_PROXIES = trusted
    messages = list(resolution_checks.check_proxies())
    assert [message.id for message in messages] == expected
    assert all(message.hint for message in messages)
