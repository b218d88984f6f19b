"""Who may do what: tokens that are the server's own, signed ones, and certificates."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from mtdd_router.client.tokens import TokenSigner, make_key
from mtdd_router.embedded import make_certificates
from mtdd_router.server.auth import ALL, EVERYBODY, Authority, Grant, Permission
from mtdd_router.server.calls import CallRefused
from mtdd_router.server.config import load_config
from mtdd_router.server.peers import NOBODY, Peer
from mtdd_router.wire.status import StatusCode
from mtdd_router.wire.tokens import private_key

BOTH = ("--data-token", "data-secret", "--admin-token", "admin-secret")
SHARD = "2b6bd4a0-7b0c-4f0e-9c39-0c1cf0a3a4d1"
DATA = frozenset({Permission.DATA})


def authority(*flags: str) -> Authority:
    config = load_config(flags, {"MTDD_SHARD_DSN": "postgresql://shard@localhost/shard"})
    made = Authority(config)
    made.shard_id = SHARD
    return made


def ask(
    deciding: Authority, header: str | bytes | None = None, peer: Peer = NOBODY
) -> Grant | CallRefused:
    metadata = [("x-other", "1")]
    if header is not None:
        metadata.append(("authorization", header))  # type: ignore[arg-type]
    try:
        return deciding.authorize(metadata, peer)
    except CallRefused as exc:
        return exc


def granted(*args: Any) -> Grant:
    found = ask(*args)
    assert isinstance(found, Grant), found
    return found


def refused(*args: Any) -> str:
    found = ask(*args)
    assert isinstance(found, CallRefused), found
    assert found.code is StatusCode.UNAUTHENTICATED
    return found.message


# The server's own tokens


def test_without_tokens_and_callers_everything_is_allowed() -> None:
    assert granted(authority()) is EVERYBODY
    assert granted(authority(), "Bearer whatever").permissions == ALL


@pytest.mark.parametrize(
    ("header", "permissions"),
    [
        ("Bearer data-secret", DATA),
        ("Bearer admin-secret", ALL),
        ("bearer data-secret", DATA),
        ("BEARER  data-secret ", DATA),
        (b"Bearer data-secret", DATA),
    ],
)
def test_a_token_gives_its_permissions(header: str | bytes, permissions: object) -> None:
    found = granted(authority(*BOTH), header)
    assert (found.permissions, found.expires, found.covers("any")) == (permissions, math.inf, True)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "data-secret",
        "Basic data-secret",
        "Bearer data-secre",
        "Bearer é",
        "Bearer a.b.c",
    ],
)
def test_anything_else_gives_nothing(header: str | None) -> None:
    assert "token is missing" in refused(authority(*BOTH), header)


def test_with_one_token_only_the_other_permission_is_nobodys() -> None:
    assert granted(authority("--data-token", "x"), "Bearer x").permissions == DATA
    refused(authority("--data-token", "x"))
    assert granted(authority("--admin-token", "x"), "Bearer x").permissions == ALL


# Signed tokens

CALLERS = """
[web]
keys = ["web.pub", "web-2.pub"]
tenants = ["*"]

[reports]
keys = ["reports.pub"]
tenants = ["acme", "eu-*"]
read_only = true

[ops]
keys = ["ops.pub"]
admin = true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("callers")
    for name in ("web", "web-2", "reports", "ops", "stranger"):
        make_key(made / f"{name}.pem")
    (made / "callers.toml").write_text(CALLERS)
    return made


@pytest.fixture
def deciding(folder: Path) -> Authority:
    return authority("--callers", str(folder / "callers.toml"))


def sign(folder: Path, key: str = "web", *, caller: str = "", **bounds: Any) -> str:
    signer = TokenSigner(caller or key, str(folder / f"{key}.pem"), **bounds)
    return "Bearer " + signer.token(SHARD)


def forge(folder: Path, key: str = "web", *, algorithm: str = "EdDSA", **claims: Any) -> str:
    """Return a token with claims that are not the client's.

    Those that are None are left out; times as text are seconds from now.
    """
    now = int(time.time())
    said = {"sub": key, "aud": SHARD, "iat": now, "exp": now + 60, **claims}
    for name in ("iat", "exp"):
        if isinstance(said[name], str):
            said[name] = now + int(said[name])
    signed_with: Any = private_key(folder / f"{key}.pem")
    kid = jwt.get_unverified_header(sign(folder, key).split()[1])["kid"]
    if algorithm == "HS256":
        # The trick: what is public taken for a shared secret.
        signed_with = signed_with.public_key().public_bytes_raw()
    return "Bearer " + jwt.encode(
        {name: value for name, value in said.items() if value is not None},
        None if algorithm == "none" else signed_with,
        algorithm=algorithm,
        headers={"kid": kid},
    )


def test_a_signed_token_gives_what_its_caller_may(deciding: Authority, folder: Path) -> None:
    web = granted(deciding, sign(folder))
    assert (web.caller, web.permissions, web.read_only) == ("web", DATA, False)
    assert web.covers("anything")
    assert time.time() + 300 < web.expires < time.time() + 400
    reports = granted(deciding, sign(folder, "reports"))
    assert (reports.permissions, reports.read_only) == (DATA, True)
    assert [name for name in ("acme", "acme2", "eu-1", "eu", "us-1", "xeu-1")
            if reports.covers(name)] == ["acme", "eu-1"]  # fmt: skip
    assert granted(deciding, sign(folder, "ops")).permissions == ALL


def test_two_keys_of_a_caller_count_at_once(deciding: Authority, folder: Path) -> None:
    assert granted(deciding, sign(folder, "web-2", caller="web")).caller == "web"


def test_a_token_only_narrows(deciding: Authority, folder: Path) -> None:
    one = granted(deciding, sign(folder, tenants=("acme",), read_only=True))
    assert (one.read_only, one.covers("acme"), one.covers("other")) == (True, True, False)
    both = granted(deciding, sign(folder, "reports", tenants=("*",)))
    assert (both.read_only, both.covers("eu-1"), both.covers("other")) == (True, True, False)
    # Administration is of a whole shard.
    assert granted(deciding, sign(folder, "ops", tenants=("acme",))).permissions == DATA
    assert granted(deciding, sign(folder, "ops", read_only=True)).permissions == DATA


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": "-61"}, "has expired"),
        ({"iat": "3600", "exp": "3700"}, "of the future"),
        ({"aud": "another"}, f"for another shard than this one, {SHARD}"),
        ({"aud": None}, "no valid one"),
        ({"exp": None}, "no valid one"),
        ({"iat": None}, "no valid one"),
        ({"sub": None}, "no valid one"),
        ({"sub": "ops"}, "key is that of caller web"),
        ({"exp": "4000"}, "longer than the 3600 s that --token-lifetime"),
        ({"tenants": "acme"}, "no list"),
        ({"tenants": [1]}, "no list"),
        ({"read_only": "yes"}, "no list and boolean"),
        ({"algorithm": "none"}, "no valid one"),
        ({"algorithm": "HS256"}, "no valid one"),
    ],
)
def test_a_token_that_is_not_right_gives_nothing(
    deciding: Authority, folder: Path, claims: dict[str, Any], why: str
) -> None:
    assert why in refused(deciding, forge(folder, **claims))


def test_clocks_may_differ_by_a_minute(deciding: Authority, folder: Path) -> None:
    now = int(time.time())
    granted(deciding, forge(folder, iat=now - 100, exp=now - 50))
    granted(deciding, forge(folder, iat=now + 50, exp=now + 100))


def test_a_key_that_no_caller_has_gives_nothing(deciding: Authority, folder: Path) -> None:
    assert "a key that no caller here has" in refused(deciding, sign(folder, "stranger"))
    assert "a key that no caller" in refused(deciding, sign(folder, "stranger", caller="ops"))


def test_a_token_with_a_changed_byte_gives_nothing(deciding: Authority, folder: Path) -> None:
    token = sign(folder)
    for place in range(len("Bearer "), len(token), 7):
        if token[place] != ".":
            other = "A" if token[place] != "A" else "B"
            refused(deciding, token[:place] + other + token[place + 1 :])


def test_before_the_shard_is_known_a_token_cannot_be_checked(folder: Path) -> None:
    early = authority("--callers", str(folder / "callers.toml"))
    early.shard_id = ""
    found = ask(early, sign(folder))
    assert isinstance(found, CallRefused)
    assert found.code is StatusCode.UNAVAILABLE


def test_the_servers_own_tokens_may_stand_beside_callers(folder: Path) -> None:
    mixed = authority("--callers", str(folder / "callers.toml"), "--admin-token", "admin-secret")
    assert granted(mixed, "Bearer admin-secret").permissions == ALL
    assert granted(mixed, sign(folder)).caller == "web"
    refused(mixed, "Bearer else")


def test_no_message_shows_the_token(deciding: Authority, folder: Path) -> None:
    for header in (sign(folder, "stranger"), forge(folder, aud="another"), "Bearer top-secret"):
        assert header.split()[1] not in refused(deciding, header)


# Certificates


def test_a_certificate_is_its_callers(folder: Path) -> None:
    file = folder / "with-certificates.toml"
    file.write_text(CALLERS.replace("[web]", '[web]\ncertificates = ["web.example"]'))
    made = make_certificates(folder, ["localhost"], 1)
    tls = ("--tls-certificate", made.server, "--tls-key", made.server_key)
    flags = ("--callers", file, *tls, "--tls-client-ca", made.authority)
    deciding = authority(*map(str, flags))
    known = Peer(("mtdd client", "web.example"), 12345.0)
    found = granted(deciding, None, known)
    assert (found.caller, found.expires) == ("web", 12345.0)
    assert "no caller here has a certificate" in refused(deciding, None, Peer(("other",), 1.0))
    # What is shown counts, even if it is wrong.
    refused(deciding, "Bearer wrong", known)
    assert granted(deciding, sign(folder, "ops"), known).caller == "ops"


# Changes of the file


@pytest.fixture
def changeable(folder: Path, tmp_path: Path) -> Callable[[str], None]:
    for file in folder.glob("*.pub"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for file in folder.glob("*.pem"):
        (tmp_path / file.name).write_bytes(file.read_bytes())

    def write(text: str) -> None:
        # As editors do, and at another time than before.
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(tmp_path / "callers.toml")

    write(CALLERS)
    return write


def test_a_rotated_key_counts_without_a_restart(
    changeable: Callable[[str], None], tmp_path: Path
) -> None:
    changeable(CALLERS.replace(', "web-2.pub"', ""))
    deciding = authority("--callers", str(tmp_path / "callers.toml"))
    old, new = sign(tmp_path), sign(tmp_path, "web-2", caller="web")
    first = granted(deciding, old)
    refused(deciding, new)
    assert not deciding.refresh()
    changeable(CALLERS)
    assert deciding.refresh()
    granted(deciding, old)
    granted(deciding, new)
    assert not deciding.revoked(first)
    changeable(CALLERS.replace('"web.pub", ', ""))
    assert deciding.refresh()
    assert "a key that no caller" in refused(deciding, old)
    assert deciding.revoked(first)
    assert not deciding.revoked(granted(deciding, new))


def test_changed_permissions_are_seen(changeable: Callable[[str], None], tmp_path: Path) -> None:
    deciding = authority("--callers", str(tmp_path / "callers.toml"))
    before = granted(deciding, sign(tmp_path, "reports"))
    changeable(CALLERS.replace('"eu-*"', '"us-*"'))
    deciding.refresh()
    assert deciding.changed(before)
    assert not deciding.revoked(before)
    after = granted(deciding, sign(tmp_path, "reports"))
    assert (after.covers("eu-1"), after.covers("us-1")) == (False, True)


def test_a_key_replaced_in_its_file_is_seen(
    changeable: Callable[[str], None], tmp_path: Path
) -> None:
    deciding = authority("--callers", str(tmp_path / "callers.toml"))
    refused(deciding, sign(tmp_path, "stranger", caller="reports"))
    (tmp_path / "stranger.pub").replace(tmp_path / "reports.pub")
    assert deciding.refresh()
    assert granted(deciding, sign(tmp_path, "stranger", caller="reports")).caller == "reports"


def test_a_broken_file_changes_nothing(changeable: Callable[[str], None], tmp_path: Path) -> None:
    deciding = authority("--callers", str(tmp_path / "callers.toml"))
    changeable("[web]\nkeys = 3\n")
    assert not deciding.refresh()
    assert granted(deciding, sign(tmp_path)).caller == "web"
    changeable(CALLERS.replace("read_only = true", ""))
    assert deciding.refresh()
