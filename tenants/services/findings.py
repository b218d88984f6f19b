"""What a comparison of registry and shards finds, as plain values."""

import enum
from dataclasses import dataclass

__all__ = ["Finding", "FindingKind", "ShardReport"]


class FindingKind(enum.StrEnum):
    """What is wrong with a tenant, a namespace or a shard."""

    UNREACHABLE = "shard unreachable"
    INTERRUPTED_CREATION = "interrupted creation"
    INTERRUPTED_DELETION = "interrupted deletion"
    DISAGREEMENT = "disagreement"
    NO_PLACEMENT = "tenant without placement"
    NO_NAMESPACE = "tenant without namespace"
    UNKNOWN_TENANT = "placement without tenant"
    ORPHAN = "namespace without placement"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong on a shard.

    *subject* is the tenant, namespace or address; *action* what repair does, or did;
    empty if a person must decide, and then *detail* says what about. *error* is why
    a repair failed.
    """

    kind: FindingKind
    shard: str
    subject: str
    detail: str
    action: str = ""
    repaired: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What was found on one shard; *busy* are tenants with an operation under way."""

    shard: str
    address: str
    tenants: int
    findings: tuple[Finding, ...] = ()
    busy: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing is wrong, or all of it has been repaired."""
        return all(finding.repaired for finding in self.findings)
