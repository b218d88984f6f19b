"""What a signed token says, and how its keys are named: JSON Web Tokens (RFC 7519).

The signature is Ed25519's (RFC 8037): who can check a token cannot make one. A key's id
follows from the key, so that nobody has to agree on names. The libraries are imported
when the first token is made or read; see docs/decisions/0213.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

__all__ = [
    "ALGORITHM",
    "READ_ONLY",
    "TENANTS",
    "KeyFileError",
    "key_id",
    "private_key",
    "public_key",
]

ALGORITHM: Final = "EdDSA"
# Claims of our own; both only take away from what the caller may do.
TENANTS: Final = "tenants"
READ_ONLY: Final = "read_only"

_ID_LENGTH: Final = 16


class KeyFileError(ValueError):
    """A file does not hold the key that it should; the message never shows what it holds."""


def key_id(key: "Ed25519PublicKey") -> str:
    """Return the id of a public key, 16 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_ID_LENGTH]


def private_key(path: Path) -> "Ed25519PrivateKey":
    """Read a private key.

    Raises:
        OSError: if the file cannot be read.
        KeyFileError: if it holds something else.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds no unencrypted Ed25519 private key in PEM format")
    return key


def public_key(path: Path) -> "Ed25519PublicKey":
    """Read a public key.

    Raises:
        OSError: if the file cannot be read.
        KeyFileError: if it holds something else, the private key above all.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = path.read_bytes()
    if b"PRIVATE KEY" in content:
        raise KeyFileError(f"{path} holds a private key, which only its caller should have")
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} holds no Ed25519 public key in PEM format")
    return key
