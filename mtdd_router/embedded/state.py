"""What a stack remembers in its folder: ``stack.json`` and ``credentials.json``.

``stack.json`` holds no secret and may be read by anybody; ``credentials.json`` may
be read by its owner only. Both are replaced whole, never written in part.
"""

import dataclasses
import json
import os
import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from mtdd_router.embedded.errors import StackError
from mtdd_router.embedded.processes import Identity

__all__ = ["Credentials", "ShardState", "StackState"]

_STATE: Final = "stack.json"
_CREDENTIALS: Final = "credentials.json"
_VERSION: Final = 1


@dataclass(slots=True)
class ShardState:
    """One shard: its server's port, and its PostgreSQL's, or None if that is not ours."""

    name: str
    port: int
    postgres_port: int | None


@dataclass(slots=True)
class StackState:
    """The stack of one folder, as it runs or last ran.

    *status* is ``starting``, ``running`` or ``stopped``; after a crash it may say
    ``running`` although *supervisor* has ended.
    """

    stack_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = "stopped"
    supervisor: Identity | None = None
    data_folder: str = ""
    registry_port: int | None = None
    shards: list[ShardState] = field(default_factory=list)
    has_worker: bool = False

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the state kept in *folder*, or None if there is none.

        Raises:
            StackError: if the file is there but cannot be understood.
        """
        content = _read(folder / _STATE)
        if content is None:
            return None
        try:
            content.pop("version")
            supervisor = content.pop("supervisor")
            shards = content.pop("shards")
            return cls(
                supervisor=Identity(**supervisor) if supervisor else None,
                shards=[ShardState(**shard) for shard in shards],
                **content,
            )
        except (KeyError, TypeError) as exc:
            raise StackError(
                f"{folder / _STATE} is not what this version writes; "
                "start anew with mtdd_up --reset."
            ) from exc

    def write(self, folder: Path) -> None:
        """Keep the state in *folder*."""
        _replace(folder / _STATE, {"version": _VERSION, **dataclasses.asdict(self)}, mode=0o644)


@dataclass(slots=True)
class Credentials:
    """The passwords of the stack's PostgreSQL servers, and DSNs of those not ours."""

    superuser: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    registry: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    shard: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    registry_dsn: str | None = field(default=None, repr=False)
    shard_dsns: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the credentials kept in *folder*, or None if there are none."""
        content = _read(folder / _CREDENTIALS)
        return None if content is None else cls(**content)

    def write(self, folder: Path) -> None:
        """Keep the credentials in *folder*, for its owner's eyes only."""
        _replace(folder / _CREDENTIALS, dataclasses.asdict(self), mode=0o600)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except PermissionError as exc:
        raise StackError(f"{path} belongs to another user; run this as that user.") from exc
    except json.JSONDecodeError as exc:
        raise StackError(f"{path} is not JSON; start anew with mtdd_up --reset.") from exc
    if not isinstance(content, dict):
        raise StackError(f"{path} is not a JSON object; start anew with mtdd_up --reset.")
    return content


def _replace(path: Path, content: dict[str, Any], *, mode: int) -> None:
    new = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
