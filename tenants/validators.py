"""Rules for the names and addresses that people type."""

import re
from typing import Final

from django.core.exceptions import ValidationError

from mtdd_router.errors import InvalidTenantName
from mtdd_router.types import DOMAIN_MAX_LENGTH, validate_tenant_name
from tenants.errors import InvalidDomain, InvalidShardAddress

__all__ = [
    "normalize_address",
    "normalize_domain",
    "validate_address",
    "validate_domain",
    "validate_name",
]

_HOST_AND_PORT: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?):(?P<port>\d{1,5})\Z"
)
# The size of sun_path less its closing NUL: on macOS, the least there is; Linux has 4 more.
_UNIX_PATH_MAX_BYTES: Final = 103


def normalize_address(address: str) -> str:
    """Return *address* in the one way it is stored.

    Raises:
        InvalidShardAddress: if it is neither ``host:port`` nor ``unix:/path``.
    """
    address = address.strip()
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if path.startswith("///"):
            path = path[2:]
        if (
            not path.startswith("/")
            or len(path.encode()) > _UNIX_PATH_MAX_BYTES
            or not path.isprintable()
        ):
            raise InvalidShardAddress(
                f"{address!r} is not a shard's address: a UNIX socket is written "
                f"unix:/path, absolute, with {_UNIX_PATH_MAX_BYTES} bytes at most."
            )
        return f"unix:{path}"
    match = _HOST_AND_PORT.match(address)
    if not match or not address.isascii():
        raise InvalidShardAddress(
            f"{address!r} is not a shard's address: write host:port, such as "
            "127.0.0.1:7401, or unix:/path."
        )
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise InvalidShardAddress(f"{address!r} names port {port}; ports are 1 to 65535.")
    return f"{match['host'].lower()}:{port}"


def normalize_domain(domain: str) -> str:
    """Return *domain* in the one way it is stored: as browsers send it, in lower case.

    A port and the dot at the end of a complete name are left out; letters beyond ASCII
    become A-labels, by UTS 46 without its transitional rules, as in browsers.

    Raises:
        InvalidDomain: naming it and the rule that it breaks.
    """
    # Imported late, with its tables: no request needs it.
    import idna

    host, colon, port = domain.strip().partition(":")
    if colon and not (port.isascii() and port.isdigit()):
        raise InvalidDomain(f"{domain!r} is not a domain: give a host, without a path or scheme.")
    try:
        ascii_host = idna.encode(host, uts46=True).decode("ascii").lower().removesuffix(".")
    except idna.IDNAError as exc:
        raise InvalidDomain(f"{domain!r} is not a domain: {exc}.") from exc
    if len(ascii_host) > DOMAIN_MAX_LENGTH:
        raise InvalidDomain(f"A domain has {DOMAIN_MAX_LENGTH} characters at most.")
    # A top-level domain has no digits, so this is no address either (RFC 3696, section 2).
    if ascii_host.rpartition(".")[2].isdigit():
        raise InvalidDomain(f"{domain!r} is an address; a tenant's domain is a name.")
    return ascii_host


def validate_domain(value: str) -> None:
    """Refuse what is not a domain, as a validator of a field."""
    try:
        normalize_domain(value)
    except InvalidDomain as exc:
        raise ValidationError(str(exc), code="invalid_domain") from exc


def validate_address(value: str) -> None:
    """Refuse what is not a shard's address, as a validator of a field."""
    try:
        normalize_address(value)
    except InvalidShardAddress as exc:
        raise ValidationError(str(exc), code="invalid_address") from exc


def validate_name(value: str) -> None:
    """Refuse what cannot name a tenant, as a validator of a field."""
    try:
        validate_tenant_name(value)
    except InvalidTenantName as exc:
        raise ValidationError(str(exc), code="invalid_tenant_name") from exc
