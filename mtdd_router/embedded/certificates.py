"""A certificate authority for development, and certificates that it has signed.

For shard servers and the Django processes that talk to them. In production, use the
authority that the company has.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtdd_router.embedded.errors import StackError

__all__ = ["Certificates", "make_certificates"]

_AUTHORITY_DAYS: Final = 3650
# Clocks of other machines may be a little behind.
_SKEW: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: of the authority, and certificate and key of server and client."""

    authority: Path
    authority_key: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path, hosts: Iterable[str], days: int) -> Certificates:
    """Sign new certificates in *folder*, by the authority there, which is made if there is none.

    Args:
        folder: made if it is not there; keys in it are readable by their owner only.
        hosts: names and IP addresses by which clients reach the shard server.
        days: how long the certificates are valid; the authority is for ten years.

    Raises:
        StackError: if the folder cannot be written, or holds no authority of this command's.
    """
    made = Certificates(
        *(folder / f"{name}.pem" for name in ("ca", "ca-key", "server", "server-key")),
        *(folder / f"{name}.pem" for name in ("client", "client-key")),
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, key = _authority(made)
        alternatives = x509.SubjectAlternativeName([_name(host) for host in hosts])
        for purpose, certificate, its_key in (
            (ExtendedKeyUsageOID.SERVER_AUTH, made.server, made.server_key),
            (ExtendedKeyUsageOID.CLIENT_AUTH, made.client, made.client_key),
        ):
            private = ec.generate_private_key(ec.SECP256R1())
            builder = (
                _builder(f"mtdd {certificate.stem}", private, authority.subject, days)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            )
            if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
                builder = builder.add_extension(alternatives, critical=False)
            _write(its_key, private)
            _write(certificate, builder.sign(key, hashes.SHA256()))
    except OSError as exc:
        raise StackError(f"Certificates cannot be written to {folder}: {exc.strerror}.") from exc
    return made


def _authority(files: Certificates) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the authority of the folder, which is made if there is none."""
    if files.authority.exists() or files.authority_key.exists():
        try:
            certificate = x509.load_pem_x509_certificate(files.authority.read_bytes())
            key = serialization.load_pem_private_key(files.authority_key.read_bytes(), None)
        except (FileNotFoundError, ValueError) as exc:
            raise StackError(
                f"{files.authority} and {files.authority_key} are no authority with its key; "
                "remove both to make a new one."
            ) from exc
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return certificate, key
        raise StackError(
            f"{files.authority_key} was not made by this command; name another folder."
        )
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mtdd development authority")])
    certificate = (
        _builder("mtdd development authority", private, subject, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_may_sign(), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(files.authority_key, private)
    _write(files.authority, certificate)
    return certificate, private


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _may_sign() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: x509.Certificate | ec.EllipticCurvePrivateKey) -> None:
    """Write a file as a whole; a key is readable by its owner only."""
    pem = serialization.Encoding.PEM
    if isinstance(content, x509.Certificate):
        data, mode = content.public_bytes(pem), 0o644
    else:
        plain = serialization.NoEncryption()
        data = content.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        mode = 0o600
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    unfinished.replace(path)
