"""The tenant in a claim of a JSON Web Token (RFC 7519), verified by PyJWT.

Invariants: nothing of a token is believed before its signature, its end and whatever else
is configured are verified. The algorithms are the project's choice, all of one family, so
a public key never serves as the secret of an HMAC, and there is no ``none``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.http import HttpRequest

from mtdd_router.errors import ConfigurationError, InvalidToken

__all__ = ["JWTResolver"]

_FAMILIES: Final[Mapping[str, frozenset[str]]] = {
    "HMAC": frozenset({"HS256", "HS384", "HS512"}),
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "ECDSA": frozenset({"ES256", "ES256K", "ES384", "ES512"}),
    "EdDSA": frozenset({"EdDSA"}),
}
_SCHEME: Final = "bearer"


class JWTResolver:
    """Take the tenant from a verified claim of the request's bearer token.

    A request without such a token, or whose valid token lacks the claim, names no tenant
    here. One whose token is expired or cannot be verified is refused: to go on without it
    could mean another tenant than the token's, or the project's own rows.

    Args:
        algorithms: those that count, of one family, such as ``["RS256"]``.
        key: the secret or public key (PEM), or what returns it of a token, such as
            ``PyJWKClient(url).get_signing_key_from_jwt``.
        keys: instead, keys by their id (``kid``), while they are rotated.
        claim: which claim has the tenant's name.
        audience, issuer: what the token must be meant for, and from; None for whatever.
        leeway: seconds that clocks may differ by.
        header: where the token is, as ``Bearer TOKEN``.

    Raises:
        InvalidToken: for a token that is refused; never with anything of its contents.
    """

    blocking: bool = False

    def __init__(
        self,
        algorithms: Iterable[str],
        key: Any = None,
        keys: Mapping[str, Any] | None = None,
        *,
        claim: str = "tenant",
        audience: str | Iterable[str] | None = None,
        issuer: str | None = None,
        leeway: float = 0.0,
        header: str = "Authorization",
    ) -> None:
        self._algorithms = _checked(algorithms)
        if bool(key) == bool(keys):
            raise ConfigurationError("JWTResolver needs either `key` or `keys`.")
        self._key, self._keys = key, dict(keys or {})
        self._claim, self._audience, self._issuer = claim, audience, issuer
        self._leeway, self._header = leeway, header
        # Whoever fetches keys may have to wait for them.
        self.blocking = callable(key)
        self._jwt = _library()
        for one in [key, *self._keys.values()]:
            if one and not callable(one):
                self._check_key(one)

    def __call__(self, request: HttpRequest) -> str | None:
        scheme, _, token = request.headers.get(self._header, "").strip().partition(" ")
        if scheme.lower() != _SCHEME:
            return None
        try:
            claims = self._verified(token.strip())
        except (self._jwt.PyJWTError, ValueError, RecursionError) as exc:
            # The name of the class says what is wrong; its message may quote the token.
            raise InvalidToken(f"The bearer token is refused: {type(exc).__name__}.") from None
        if self._claim not in claims:
            return None
        tenant = claims[self._claim]
        if not isinstance(tenant, str) or not tenant:
            raise InvalidToken(f"The claim {self._claim!r} of the bearer token is no name.")
        return tenant

    def _verified(self, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = self._jwt.decode(
            token,
            key=self._key_for(token),
            algorithms=self._algorithms,
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway,
            options={
                "require": ["exp"],
                # PyJWT would refuse a token for somebody only if we say that we are somebody.
                "verify_aud": self._audience is not None,
                "enforce_minimum_key_length": True,
            },
        )
        return claims

    def _key_for(self, token: str) -> Any:
        if callable(self._key):
            return self._key(token)
        if not self._keys:
            return self._key
        # Not verified yet, and only used to choose among keys that all are trusted.
        key_id = self._jwt.get_unverified_header(token).get("kid")
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise self._jwt.InvalidKeyError
        return self._keys[key_id]

    def _check_key(self, key: Any) -> None:
        """Refuse, at start, a key that cannot be used, or is too short to be safe."""
        for name in self._algorithms:
            try:
                algorithm = self._jwt.get_algorithm_by_name(name)
                problem = algorithm.check_key_length(algorithm.prepare_key(key))
            except (self._jwt.PyJWTError, NotImplementedError, TypeError, ValueError) as exc:
                # Never the key.
                raise ConfigurationError(
                    f"JWTResolver: a key cannot be used with {name} ({type(exc).__name__}); "
                    "RS, PS, ES and EdDSA need a public key and `pip install cryptography`."
                ) from None
            if problem:
                raise ConfigurationError(f"JWTResolver: {problem}")


def _checked(algorithms: Iterable[str]) -> list[str]:
    names = [] if isinstance(algorithms, str) else list(algorithms)
    for family in _FAMILIES.values():
        if names and family.issuperset(names):
            return names
    known = "; ".join(", ".join(sorted(family)) for family in _FAMILIES.values())
    raise ConfigurationError(
        f"JWTResolver: algorithms = {algorithms!r} must be a list of algorithms of one family: "
        f"{known}."
    )


def _library() -> Any:
    # Imported late: an optional dependency.
    try:
        import jwt
    except ImportError as exc:
        raise ConfigurationError(
            'JWTResolver needs PyJWT: pip install "django-mtdd[jwt]".'
        ) from exc
    return jwt
