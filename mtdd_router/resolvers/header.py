"""The tenant in a header, which only a trusted proxy may send."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import ClassVar, Final, TypeAlias

from django.http import HttpRequest

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import ConfigurationError, UntrustedHeader

__all__ = ["UNIX", "HeaderResolver", "proxy_networks"]

UNIX: Final = "unix"
"""What stands in MTDD_TRUSTED_PROXIES for a peer without an address, on a unix socket."""

Network: TypeAlias = IPv4Network | IPv6Network


class HeaderResolver:
    """Take the tenant from a request header, as a proxy in MTDD_TRUSTED_PROXIES has set it.

    The proxy must remove what the client itself sent under that name. A request that has
    the header and comes from elsewhere is refused.

    Raises:
        UntrustedHeader: then.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, header: str = "X-Tenant") -> None:
        self.header = header

    def __call__(self, request: HttpRequest) -> str | None:
        tenant = request.headers.get(self.header, "").strip()
        if not tenant:
            return None
        if not _is_trusted(request.META.get("REMOTE_ADDR") or ""):
            raise UntrustedHeader(
                f"The header {self.header} names a tenant, and who sent it is not in "
                "MTDD_TRUSTED_PROXIES."
            )
        return tenant


def proxy_networks(entries: Iterable[str]) -> tuple[Network | None, ...]:
    """Return the networks that MTDD_TRUSTED_PROXIES names; None stands for a unix socket.

    Raises:
        ConfigurationError: naming the entry that is none.
    """
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise ConfigurationError("MTDD_TRUSTED_PROXIES must be a list of networks.")
    return tuple(_network(entry) for entry in entries)


def _network(entry: object) -> Network | None:
    if entry == UNIX:
        return None
    try:
        return ip_network(entry if isinstance(entry, str) else "")
    except ValueError as exc:
        raise ConfigurationError(
            f"MTDD_TRUSTED_PROXIES: {entry!r} is no network, such as '10.0.0.0/8' or "
            f"'127.0.0.1', and not {UNIX!r}: {exc}"
        ) from exc


@lru_cache(maxsize=8)
def _networks(entries: tuple[str, ...]) -> tuple[Network | None, ...]:
    return proxy_networks(entries)


def _is_trusted(address: str) -> bool:
    networks = _networks(tuple(mtdd_settings.trusted_proxies))
    if not address:
        return None in networks
    try:
        peer = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # A socket that listens on IPv6 shows a peer of IPv4 as ::ffff:10.0.0.1.
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(network is not None and peer in network for network in networks)
