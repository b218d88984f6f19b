"""Bearer tokens that a client signs by itself, one for each shard, and again in time.

Invariants: a token names one shard and lives for minutes; it is signed anew when half of
its life is over, or when the key's file has changed, so a key can be replaced while
programs run. Keys are read when they are needed, and never kept.
"""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from mtdd_router.errors import ConfigurationError
from mtdd_router.wire import tokens as wire

__all__ = ["DEFAULT_LIFETIME", "TokenSigner", "make_key"]

DEFAULT_LIFETIME: Final = 300.0
_INSTALL: Final = 'Signed tokens need PyJWT: pip install "django-mtdd[jwt]".'


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Who signs, and what the tokens allow.

    Attributes:
        caller: the name by which shard servers know this client.
        file: the PEM file of the private key.
        lifetime: of a token, in seconds.
        tenants: names or patterns, to which the tokens are confined; none means that the
            caller's own permissions are not narrowed.
        read_only: the tokens are for reading only.
    """

    caller: str
    file: str
    lifetime: float = DEFAULT_LIFETIME
    tenants: tuple[str, ...] = ()
    read_only: bool = False

    @classmethod
    def of(cls, setting: Mapping[str, Any] | None) -> Self | None:
        """Return what a mapping of the attributes says; None for None, which is no signer.

        Raises:
            ConfigurationError: naming what is wrong with it.
        """
        if setting is None:
            return None
        names = [field.name for field in fields(cls)]
        if not isinstance(setting, Mapping) or not set(setting) <= set(names):
            raise ConfigurationError(f"It must be a dict of {', '.join(names)}.")
        if missing := [name for name in ("caller", "file") if not setting.get(name)]:
            raise ConfigurationError(f"It lacks {' and '.join(missing)}.")
        lifetime = setting.get("lifetime", DEFAULT_LIFETIME)
        if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)) or lifetime < 1:
            raise ConfigurationError("lifetime must be a number of seconds, 1 or more.")
        tenants = setting.get("tenants", ())
        if isinstance(tenants, str):
            raise ConfigurationError("tenants must be a list of names.")
        return cls(
            caller=str(setting["caller"]),
            file=os.fspath(setting["file"]),
            lifetime=float(lifetime),
            tenants=tuple(map(str, tenants)),
            read_only=bool(setting.get("read_only", False)),
        )

    def token(self, shard_id: str) -> str:
        """Return a token for the shard of that id, which has half of its life before it.

        Raises:
            ConfigurationError: if the key cannot be read, or PyJWT is not installed.
        """
        now = time.time()
        try:
            changed = Path(self.file).stat().st_mtime_ns
        except OSError as exc:
            raise self._unreadable(exc.strerror or str(exc)) from exc
        made = _made.get((self, shard_id))
        # A clock that was set back makes them all look as if they were of the future.
        if made is None or made.key != changed or not made.since <= now < made.until:
            made = _Made(self._sign(shard_id, now), changed, now, now + self.lifetime / 2)
            _made[self, shard_id] = made
        return made.token

    def _sign(self, shard_id: str, now: float) -> str:
        try:
            import jwt
        except ImportError as exc:
            raise ConfigurationError(_INSTALL) from exc
        try:
            key = wire.private_key(Path(self.file))
        except OSError as exc:
            raise self._unreadable(exc.strerror or str(exc)) from exc
        except wire.KeyFileError as exc:
            raise self._unreadable(str(exc)) from None
        claims: dict[str, Any] = {
            "sub": self.caller,
            "aud": shard_id,
            "iat": int(now),
            "exp": math.ceil(now + self.lifetime),
        }
        if self.tenants:
            claims[wire.TENANTS] = list(self.tenants)
        if self.read_only:
            claims[wire.READ_ONLY] = True
        headers = {"kid": wire.key_id(key.public_key())}
        return jwt.encode(claims, key, algorithm=wire.ALGORITHM, headers=headers)

    def _unreadable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"The key of caller {self.caller!r}, {self.file}: {why}.")


@dataclass(frozen=True, slots=True)
class _Made:
    token: str
    key: int
    since: float
    until: float


_made: Final[dict[tuple[TokenSigner, str], _Made]] = {}


def make_key(file: Path) -> tuple[Path, str]:
    """Make a new private key in *file*, and its public key beside it.

    Returns the public key's file and the key's id.

    Raises:
        ConfigurationError: if one of the files is there, or cannot be written.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as exc:
        raise ConfigurationError(_INSTALL) from exc
    key = Ed25519PrivateKey.generate()
    public = file.with_suffix(".pub")
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        for path, content, mode in ((public, shown, 0o644), (file, secret, 0o600)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
    except FileExistsError as exc:
        raise ConfigurationError(
            f"{exc.filename} is there already; name another file for a new key."
        ) from exc
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename} cannot be written: {exc.strerror}.") from exc
    return public, wire.key_id(key.public_key())
