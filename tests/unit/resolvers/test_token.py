"""A claim counts once it is verified; everything else about a token is refused."""

import base64
import datetime
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.test import RequestFactory

from mtdd_router import ConfigurationError, InvalidToken
from mtdd_router.resolvers import JWTResolver, load_resolvers
from mtdd_router.resolvers.loading import is_blocking

factory = RequestFactory()
SECRET = "a secret of more than thirty-two bytes, for HS256"
OTHER = "another secret of more than thirty-two bytes long"


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())


def token(
    key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any
) -> str:
    claims = {"tenant": "abc", "exp": time.time() + 9000, **claims}
    wanted = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(wanted, key, algorithm, headers={"kid": kid} if kid else None)


def asked(resolver: JWTResolver, value: str, header: str = "Authorization") -> str | None:
    return resolver(factory.get("/", headers={header: value}))


def hs256(**options: Any) -> JWTResolver:
    return JWTResolver(["HS256"], SECRET, **options)


def unnamed(_: object) -> str:
    """Name a case by nothing that is made anew in each process."""
    return "case"


@pytest.mark.parametrize(
    ("resolver", "good"),
    [
        (hs256(), token()),
        (hs256(claim="org"), token(org="abc", tenant="xyz")),
        (hs256(audience="shop", issuer="idp"), token(aud="shop", iss="idp")),
        (hs256(audience=["shop", "pos"]), token(aud=["other", "pos"])),
        (hs256(leeway=9000), token(exp=time.time() - 5)),
        (hs256(), token(aud="whoever", iss="whoever")),
        (JWTResolver(["RS256", "PS256"], public_pem(RSA)), token(RSA, "PS256")),
        (JWTResolver(["ES256"], public_pem(ELLIPTIC)), token(ELLIPTIC, "ES256")),
        (JWTResolver(["HS256"], keys={"1": OTHER, "2": SECRET}), token(kid="2")),
        (JWTResolver(["HS256"], lambda _token: SECRET), token()),
    ],
    ids=unnamed,
)
def test_a_verified_claim_names_the_tenant(resolver: JWTResolver, good: str) -> None:
    assert asked(resolver, f"Bearer {good}") == "abc"
    assert asked(resolver, f"bearer  {good} ") == "abc"


def forged(header: dict[str, Any], key: str = "") -> str:
    """A token that is made by hand, as an attacker makes it."""
    parts = [header, {"tenant": "abc", "exp": time.time() + 9000}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    signed = b".".join(encoded)
    signature = hmac.new(key.encode(), signed, hashlib.sha256).digest() if key else b""
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_the_forger_can_forge() -> None:
    assert asked(hs256(), f"Bearer {forged({'alg': 'HS256'}, SECRET)}") == "abc"


DEEP = base64.urlsafe_b64encode(b"[" * 6000).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("resolver", "bad"),
    [
        (hs256(), token(OTHER)),
        (hs256(), token(exp=time.time() - 5)),
        (hs256(), token(exp=None)),
        (hs256(), token(nbf=time.time() + 9000)),
        (hs256(), token()[:-4]),
        (hs256(), token() + "x"),
        (hs256(), forged({"alg": "none"})),
        (hs256(), forged({"alg": "NONE"})),
        (hs256(), forged({"alg": "HS512"}, SECRET)),
        # The public key, which everybody has, as the secret of an HMAC.
        (JWTResolver(["RS256"], public_pem(RSA)), forged({"alg": "HS256"}, public_pem(RSA))),
        (JWTResolver(["RS256"], public_pem(RSA)), forged({"alg": "none"})),
        (JWTResolver(["ES256"], public_pem(ELLIPTIC)), token(RSA, "RS256")),
        (hs256(audience="shop"), token()),
        (hs256(audience="shop"), token(aud="other")),
        (hs256(issuer="idp"), token()),
        (hs256(issuer="idp"), token(iss="other")),
        (JWTResolver(["HS256"], keys={"1": SECRET}), token()),
        (JWTResolver(["HS256"], keys={"1": SECRET}), token(kid="2")),
        (JWTResolver(["HS256"], keys={"1": SECRET, "2": OTHER}), token(kid="2")),
        (hs256(), token(tenant=["abc"])),
        (hs256(), token(tenant=3)),
        (hs256(), token(tenant="")),
        (hs256(), ""),
        (hs256(), "not a token"),
        (hs256(), f"{DEEP}.e30.x"),
        (JWTResolver(["HS256"], keys={"1": SECRET}), f"{DEEP}.e30.x"),
    ],
    ids=unnamed,
)
def test_any_other_token_is_refused_and_not_quoted(resolver: JWTResolver, bad: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        asked(resolver, f"Bearer {bad}")
    assert "abc" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None


def test_a_request_without_a_bearer_token_names_no_tenant() -> None:
    for value in ("", "Basic YWJjOnh5eg==", f"Token {token()}"):
        assert asked(hs256(), value) is None
    assert asked(hs256(header="X-Token"), f"Bearer {token()}") is None
    assert asked(hs256(header="X-Token"), f"Bearer {token()}", "X-Token") == "abc"


def test_a_valid_token_without_the_claim_names_no_tenant() -> None:
    assert asked(hs256(), f"Bearer {token(tenant=None)}") is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"key": SECRET},
        {"algorithms": []},
        {"algorithms": ["none"], "key": SECRET},
        {"algorithms": ["HS256", "none"], "key": SECRET},
        {"algorithms": ["HS256", "RS256"], "key": public_pem(RSA)},
        {"algorithms": "HS256", "key": SECRET},
        {"algorithms": ["HS256"]},
        {"algorithms": ["HS256"], "key": SECRET, "keys": {"1": SECRET}},
        {"algorithms": ["HS256"], "keys": {}},
        {"algorithms": ["HS256"], "key": "short"},
        {"algorithms": ["HS256"], "key": public_pem(RSA)},
        {"algorithms": ["RS256"], "key": SECRET},
        {"algorithms": ["RS256"], "keys": {"1": public_pem(ELLIPTIC)}},
    ],
)
def test_a_wrong_configuration_is_refused_and_no_key_is_shown(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_resolvers([("mtdd_router.resolvers.JWTResolver", options)])
    assert SECRET not in str(caught.value)
    assert "short" not in str(caught.value).replace("too short", "")


def test_only_a_function_that_fetches_keys_blocks() -> None:
    assert not is_blocking(hs256())
    assert is_blocking(JWTResolver(["HS256"], lambda _token: SECRET))


def test_the_time_is_looked_at_anew_for_each_request() -> None:
    resolver = hs256()
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    value = f"Bearer {token(exp=ends)}"
    assert asked(resolver, value) == "abc"
    time.sleep(1.1)
    with pytest.raises(InvalidToken, match="ExpiredSignatureError"):
        asked(resolver, value)
