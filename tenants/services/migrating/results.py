"""What became of a tenant in a run."""

import enum
from dataclasses import dataclass

__all__ = ["MigrationOutcome", "MigrationResult"]


class MigrationOutcome(enum.StrEnum):
    """How a tenant came out of a run."""

    MIGRATED = "migrated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What happened to one tenant; *seconds* is how long it took."""

    tenant: str
    shard: str
    outcome: MigrationOutcome
    changed: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""
