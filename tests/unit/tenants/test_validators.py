"""Names and addresses that people type."""

import pytest
from django.core.exceptions import ValidationError

from tenants.errors import InvalidShardAddress
from tenants.validators import normalize_address, validate_address, validate_name


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
