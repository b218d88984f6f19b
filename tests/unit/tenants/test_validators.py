"""Names and addresses that people type."""

import pytest
from django.core.exceptions import ValidationError

from tenants.errors import InvalidDomain, InvalidShardAddress
from tenants.validators import (
    normalize_address,
    normalize_domain,
    validate_address,
    validate_domain,
    validate_name,
)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("127.0.0.1:7401", "127.0.0.1:7401"),
        (" Shard-1.Example.COM:7401 ", "shard-1.example.com:7401"),
        ("localhost:1", "localhost:1"),
        ("[::1]:65535", "[::1]:65535"),
        ("unix:/run/shard.sock", "unix:/run/shard.sock"),
        ("unix:///run/shard.sock", "unix:/run/shard.sock"),
        ("shard_1:7401", "shard_1:7401"),
    ],
)
def test_an_address_is_stored_in_one_way(typed, stored):
    assert normalize_address(typed) == stored
    validate_address(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "host",
        "host:",
        ":7401",
        "host:port",
        "host:0",
        "host:65536",
        "host:-1",
        "host:٣",
        "::1:7401",
        "http://host:7401",
        "host:7401/path",
        "host name:7401",
        "höst:7401",
        "unix:relative",
        "unix:",
        "unix:/" + "x" * 103,
        "unix:/a\0b",
        "a,b:7401",
    ],
)
def test_a_malformed_address_is_refused_with_an_example(typed):
    with pytest.raises(InvalidShardAddress, match=r"address|port"):
        normalize_address(typed)
    with pytest.raises(ValidationError) as caught:
        validate_address(typed)
    assert caught.value.code == "invalid_address"


def test_a_tenants_name_is_validated_as_forms_do():
    validate_name("abc")
    with pytest.raises(ValidationError) as caught:
        validate_name("ABC")
    assert caught.value.code == "invalid_tenant_name"
    assert "'ABC'" in caught.value.message


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a.example", "a.example"),
        ("Shop.Example.ORG", "shop.example.org"),
        ("a.example.", "a.example"),
        (" a.example:8000 ", "a.example"),
        ("abc.localhost", "abc.localhost"),
        ("intranet", "intranet"),
        ("straße.example", "xn--strae-oqa.example"),
        ("MÜLLER.example", "xn--mller-kva.example"),
        ("mu\u0308ller.example", "xn--mller-kva.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("a\u3002example", "a.example"),
        ("\uff41.example", "a.example"),
        ("1and1.example", "1and1.example"),
    ],
)
def test_a_domain_is_kept_as_browsers_send_it(written: str, kept: str) -> None:
    assert normalize_domain(written) == kept == normalize_domain(kept)
    validate_domain(written)


@pytest.mark.parametrize(
    "wrong",
    [
        "", " ", ".", ":80", "a..example", ".a.example", "-a.example", "a_b.example", "*.example",
        "http://a.example", "a.example/path", "a.example:port", "a.example:", "192.0.2.1", "[::1]",
        "::1", "a b.example", "a.example\0", "xn--\u00fc.example", "xn--zz--.example",
        ("a" * 64) + ".example", ("a." * 130) + "example", "user@a.example", "a.1",
    ],
)  # fmt: skip
def test_what_is_no_domain_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidDomain):
        normalize_domain(wrong)
    with pytest.raises(ValidationError):
        validate_domain(wrong)
