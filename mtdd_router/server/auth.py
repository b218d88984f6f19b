"""Who may do what: what a call's bearer token or its connection's certificate proves.

Invariants: where tokens or callers are configured, a call that proves nothing may do
nothing; a wrong token is never made up for by a certificate; a signed token counts for
this shard only, within its time, and never gives more than its caller has. Without
tokens and callers everything is allowed; the configuration permits that only where no
other machine can connect, or where client certificates are demanded.
"""

import enum
import hmac
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mtdd_router.server.callers import Caller, CallersFile, TenantSet
from mtdd_router.server.calls import CallRefused, Metadata
from mtdd_router.server.config import ServerConfig
from mtdd_router.server.peers import NOBODY, Peer
from mtdd_router.wire import tokens as wire
from mtdd_router.wire.status import StatusCode

__all__ = ["ALL", "EVERYBODY", "Authority", "Grant", "Permission"]

_HEADER: Final = "authorization"
_SCHEME: Final = "bearer"
_REMEMBERED: Final = 4096


class Permission(enum.Enum):
    """What a caller may do."""

    DATA = "data"
    """Run statements on tenants."""
    ADMIN = "admin"
    """Manage namespaces, reach whole databases and tenants that are not active."""


ALL: Final = frozenset(Permission)
_DATA_ONLY: Final = frozenset({Permission.DATA})


@dataclass(frozen=True, slots=True)
class Grant:
    """What one call, and the session that it opens, may do.

    Attributes:
        caller: who calls, for messages and the log.
        permissions: what for.
        tenants: on which tenants; None for all.
        read_only: without changing anything.
        expires: until when, in seconds since the epoch.
        origin: the caller's entry that it comes from, and the key or certificate.
        within: the tenants that the token itself is confined to; None for no such bound.
    """

    caller: str
    permissions: frozenset[Permission] = ALL
    tenants: TenantSet | None = None
    read_only: bool = False
    expires: float = math.inf
    origin: tuple[Caller, str] | None = None
    within: TenantSet | None = None

    @property
    def rights(self) -> tuple[object, ...]:
        """What decides which targets it may use, and how; hashable.

        Sets of tenants are the same only if they are one object.
        """
        return self.caller, self.permissions, self.tenants, self.within, self.read_only

    def covers(self, tenant: str) -> bool:
        """Whether it is for *tenant*."""
        return (self.tenants is None or tenant in self.tenants) and (
            self.within is None or tenant in self.within
        )


EVERYBODY: Final = Grant("anyone")


class Authority:
    """Decides on the calls of one worker.

    Args:
        config: the tokens, and the file of callers.

    Attributes:
        shard_id: which shard this is; empty until its PostgreSQL has told.

    Raises:
        ConfigurationError: if the file of callers cannot be used.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.shard_id = ""
        self._file = CallersFile(config.callers)
        self._longest = config.token_lifetime
        self._skew = config.clock_skew
        self._open = not config.has_tokens and config.callers is None
        self._secrets = [
            (token.get_secret_value().encode(), Grant(name, permissions))
            for token, name, permissions in (
                (config.admin_token, "admin-token", ALL),
                (config.data_token, "data-token", _DATA_ONLY),
            )
            if token is not None
        ]
        # Sessions are opened again and again with one token.
        self._remembered: dict[str, Grant] = {}

    def authorize(self, metadata: Metadata, peer: Peer = NOBODY) -> Grant:
        """Return what a call may do.

        Args:
            metadata: the call's.
            peer: what TLS has proved of the client.

        Raises:
            CallRefused: if that is nothing, saying why.
        """
        if self._open:
            return Grant(peer.names[0]) if peer.names else EVERYBODY
        shown = _bearer(metadata)
        if shown is not None:
            return self._by_token(shown)
        for name in peer.names:
            owner = self._file.callers.certificates.get(name)
            if owner is not None:
                return self._grant(owner, name, peer.expires)
        if peer.names and self._file.callers.certificates:
            raise _refused(f"no caller here has a certificate of the name {peer.names[0]!r}")
        raise _refused("the token is missing; set MTDD_SHARD_TOKEN or MTDD_SHARD_KEY")

    def refresh(self) -> bool:
        """Look for changes of the file of callers; return whether grants may be void now."""
        changed = self._file.refresh()
        if changed:
            self._remembered.clear()
        return changed

    def revoked(self, grant: Grant) -> bool:
        """Whether the caller, or the key that it showed, is not listed any more."""
        if grant.origin is None:
            return False
        callers = self._file.callers
        _, proof = grant.origin
        owner, _ = callers.keys.get(proof, (None, None))
        return grant.caller not in (owner, callers.certificates.get(proof))

    def changed(self, grant: Grant) -> bool:
        """Whether the caller may do something else by now."""
        if grant.origin is None:
            return False
        return self._file.callers.callers.get(grant.caller) != grant.origin[0]

    # internals

    def _by_token(self, shown: str) -> Grant:
        encoded = shown.encode("utf-8", "surrogateescape")
        found: Grant | None = None
        # Every secret is compared, so that the time tells nothing.
        for secret, grant in self._secrets:
            if hmac.compare_digest(secret, encoded):
                found = grant
        if found is not None:
            return found
        if not self._file.callers.keys or shown.count(".") != 2:
            raise _refused(
                "the token is missing or wrong; set MTDD_SHARD_TOKEN to the shard server's token"
            )
        remembered = self._remembered.get(shown)
        if remembered is None or remembered.expires <= time.time():
            remembered = self._verified(shown)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[shown] = remembered
        return remembered

    def _verified(self, token: str) -> Grant:
        import jwt

        if not self.shard_id:
            raise CallRefused(
                StatusCode.UNAVAILABLE, "its PostgreSQL has not told yet which shard this is"
            )
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            owner, key = self._file.callers.keys.get(str(kid), ("", None))
            if key is None:
                raise _refused(
                    "the token is signed with a key that no caller here has; "
                    "list its public key in the file of callers"
                )
            claims = jwt.decode(
                token,
                key,
                algorithms=[wire.ALGORITHM],
                audience=self.shard_id,
                leeway=self._skew,
                options={"require": ["aud", "exp", "iat", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("the token has expired; are the clocks right?") from None
        except jwt.ImmatureSignatureError:
            raise _refused("the token is of the future; are the clocks right?") from None
        except jwt.InvalidAudienceError:
            raise _refused(
                f"the token is for another shard than this one, {self.shard_id}"
            ) from None
        except jwt.InvalidTokenError as exc:
            raise _refused(f"the token is no valid one ({type(exc).__name__})") from None
        if claims["sub"] != owner:
            raise _refused(f"the token's key is that of caller {owner}, its sub another")
        if claims["exp"] - claims["iat"] > self._longest:
            raise _refused(
                f"the token lives longer than the {self._longest:g} s that --token-lifetime allows"
            )
        return self._narrowed(self._grant(owner, str(kid), claims["exp"] + self._skew), claims)

    def _grant(self, name: str, proof: str, expires: float) -> Grant:
        caller = self._file.callers.callers[name]
        return Grant(
            name,
            ALL if caller.admin else _DATA_ONLY,
            None if caller.admin or "*" in caller.tenants else TenantSet(caller.tenants),
            read_only=caller.read_only,
            expires=expires,
            origin=(caller, proof),
        )

    @staticmethod
    def _narrowed(grant: Grant, claims: Mapping[str, Any]) -> Grant:
        """Return *grant* with what the token takes away from it."""
        tenants = claims.get(wire.TENANTS)
        read_only = claims.get(wire.READ_ONLY, False)
        if tenants is None and not read_only:
            return grant
        listed = isinstance(tenants, list) and all(isinstance(item, str) for item in tenants)
        if not isinstance(read_only, bool) or not (tenants is None or listed):
            raise _refused("the token's claims tenants and read_only are no list and boolean")
        return Grant(
            grant.caller,
            # Administration is of the whole shard, and changes it.
            _DATA_ONLY,
            grant.tenants,
            read_only=grant.read_only or read_only,
            expires=grant.expires,
            origin=grant.origin,
            within=None if tenants is None else TenantSet(tenants),
        )


def _refused(why: str) -> CallRefused:
    return CallRefused(StatusCode.UNAUTHENTICATED, why)


def _bearer(metadata: Metadata) -> str | None:
    """Return the token that a call shows; None if it shows none, empty for another scheme."""
    for key, value in metadata:
        if key.lower() == _HEADER:
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            scheme, _, token = text.partition(" ")
            return token.strip() if scheme.lower() == _SCHEME else ""
    return None
