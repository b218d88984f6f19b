"""What may be asked of a stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = ["DEFAULT_SHARDS", "StackOptions"]

DEFAULT_SHARDS: Final = 2


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How to run a stack.

    Args:
        shards: their number; None for as many as last time, at first 2.
        registry_dsn: an existing PostgreSQL database for the registry.
        shard_dsns: existing PostgreSQL databases, one for each shard.
        data_folder: where PostgreSQL's data goes, if not into the stack's folder.
        pool_size: backend connections of each shard server.
        workers: processes of each shard server.
        durable: whether a commit survives a crash of the machine.
        settings: the Django settings of the project whose jobs a worker does; None for no
            worker.
    """

    shards: int | None = None
    registry_dsn: str | None = None
    shard_dsns: tuple[str, ...] = ()
    data_folder: Path | None = None
    pool_size: int = 20
    workers: int = 1
    durable: bool = True
    settings: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read MTDD_STACK_REGISTRY_DSN, and MTDD_STACK_SHARD_DSNS with one in a line."""
        lines = environment.get("MTDD_STACK_SHARD_DSNS", "").splitlines()
        return cls(
            registry_dsn=environment.get("MTDD_STACK_REGISTRY_DSN") or None,
            shard_dsns=tuple(filter(None, map(str.strip, lines))),
        )
