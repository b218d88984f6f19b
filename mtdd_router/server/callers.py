"""Who calls, and what each may do: a TOML file with a table for each caller.

::

    [web]
    keys = ["web.pub"]  # beside this file; several while one replaces another
    certificates = ["web.example"]  # names of client certificates
    tenants = ["*"]  # names, or patterns with *
    [reports]
    keys = ["reports.pub"]
    tenants = ["acme", "acme-*"]
    read_only = true
    [ops]
    keys = ["ops.pub"]
    admin = true

Invariants: the file is used as a whole or not at all; a change of it, or of a key's
file, is seen without a restart; a key, and a certificate's name, belong to one caller.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validator

from mtdd_router.errors import ConfigurationError
from mtdd_router.server.logs import get_logger
from mtdd_router.wire.tokens import KeyFileError, key_id, public_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Caller", "Callers", "CallersFile", "TenantSet", "load_callers"]

log = get_logger(__name__)

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_*-]{1,63}$")]
_NonEmpty = Annotated[str, StringConstraints(min_length=1)]
_Signature = tuple[tuple[str, int, int, int], ...]


class TenantSet:
    """The tenants that some names and patterns with ``*`` match."""

    __slots__ = ("_matches", "_patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        alternatives = (".*".join(map(re.escape, item.split("*"))) for item in self._patterns)
        self._matches = re.compile("|".join(alternatives) or r"(?!)").fullmatch

    def __contains__(self, tenant: object) -> bool:
        return isinstance(tenant, str) and self._matches(tenant) is not None

    def __repr__(self) -> str:
        return f"TenantSet({list(self._patterns)!r})"


class Caller(BaseModel):
    """A caller's table in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    keys: tuple[_NonEmpty, ...] = Field((), strict=False)
    certificates: tuple[_NonEmpty, ...] = Field((), strict=False)
    tenants: tuple[_Pattern, ...] = Field((), strict=False)
    admin: bool = False
    read_only: bool = False

    @validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.keys and not self.certificates:
            raise ValueError("it needs keys or certificates, by which it is known")
        if self.admin and (self.read_only or self.tenants):
            raise ValueError("admin reaches everything; leave tenants and read_only out")
        if not self.admin and not self.tenants:
            raise ValueError('it needs tenants, such as ["*"] for all, or admin = true')
        return self


@dataclass(frozen=True, slots=True)
class Callers:
    """What a file of callers says.

    Attributes:
        callers: by name.
        keys: the caller's name and the public key, by the key's id.
        certificates: the caller's name, by a name of its certificate.
    """

    callers: Mapping[str, Caller] = field(default_factory=dict)
    keys: Mapping[str, "tuple[str, Ed25519PublicKey]"] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)


def load_callers(path: Path) -> Callers:
    """Read a file of callers.

    Raises:
        ConfigurationError: with one line for each problem.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"callers: cannot read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"callers: {path} is not TOML: {exc}") from exc
    reader = _Reader(path.parent)
    for name, entry in table.items():
        reader.read(name, entry)
    if not table:
        reader.problems.append("it names no caller")
    if reader.problems:
        raise ConfigurationError("\n".join(f"callers: {path}: {text}" for text in reader.problems))
    return Callers(reader.callers, reader.keys, reader.certificates)


class _Reader:
    """Collects callers, and what is wrong with them; keys are in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[str] = []
        self.callers: dict[str, Caller] = {}
        self.keys: dict[str, tuple[str, Ed25519PublicKey]] = {}
        self.certificates: dict[str, str] = {}

    def read(self, name: str, entry: object) -> None:
        if not _NAME.match(name):
            self.problems.append(
                f"{name!r}: a caller's name is of a-z, 0-9, dots, dashes and underscores"
            )
            return
        try:
            caller = Caller.model_validate(entry)
        except ValidationError as exc:
            self.problems += [f"{name}{where}: {what}" for where, what in _explain(exc)]
            return
        self.callers[name] = caller
        for file in caller.keys:
            self._read_key(name, file)
        for certificate in caller.certificates:
            owner = self.certificates.setdefault(certificate, name)
            if owner != name:
                self.problems.append(
                    f"{name}.certificates: {certificate!r} belongs to caller {owner}"
                )

    def _read_key(self, name: str, file: str) -> None:
        try:
            key = public_key(self._folder / file)
        except OSError as exc:
            self.problems.append(f"{name}.keys: cannot read {file}: {exc.strerror}")
        except KeyFileError as exc:
            self.problems.append(f"{name}.keys: {exc}")
        else:
            owner, _ = self.keys.setdefault(key_id(key), (name, key))
            if owner != name:
                self.problems.append(f"{name}.keys: {file} is the key of caller {owner}")


def _explain(exc: ValidationError) -> Iterable[tuple[str, str]]:
    for error in exc.errors(include_input=False, include_url=False):
        message = error["msg"].removeprefix("Value error, ")
        where = "".join(f".{part}" for part in error["loc"] if isinstance(part, str))
        yield where, f"{message[:1].lower()}{message[1:]}"


class CallersFile:
    """A file of callers, read again when it has changed.

    Args:
        path: the file; None is no caller.

    Raises:
        ConfigurationError: with one line for each problem.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.callers = Callers() if path is None else load_callers(path)
        self._signature = self._sign()

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether what it says may have.

        A file that cannot be used is reported in the log, and the last good one stays.
        """
        signature = self._sign()
        if self._path is None or signature == self._signature:
            return False
        self._signature = signature
        try:
            self.callers = load_callers(self._path)
        except ConfigurationError as exc:
            log.error("callers_unusable", problems=str(exc).splitlines())  # noqa: TRY400
            return False
        # The new file may name other keys.
        self._signature = self._sign()
        log.info("callers_read", callers=sorted(self.callers.callers))
        return True

    def _sign(self) -> _Signature:
        if self._path is None:
            return ()
        files = {file for caller in self.callers.callers.values() for file in caller.keys}
        found = []
        for path in (self._path, *(self._path.parent / file for file in sorted(files))):
            try:
                status = path.stat()
            except OSError:
                found.append((str(path), 0, 0, 0))
            else:
                found.append((str(path), status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)
