"""Every exception that the registry raises, besides those of ``mtdd_router``.

::

    MTDDError
     +-- ShardRegistryError
     |    +-- ShardNotRegistered        (also LookupError)
     |    +-- ShardAlreadyRegistered
     |    +-- InvalidShardAddress       (also ValueError)
     |    +-- InvalidShard              (also ValueError)
     |    +-- NotAShardServer
     |    +-- ShardIdentityChanged
     |    +-- ShardInUse
     |    +-- NoShardAvailable
     +-- InvalidMigrationTarget         (also ValueError)
     +-- MigrationRunError
     +-- InvalidTenantList              (also ValueError)
     +-- ProgramMissing                 (also LookupError)
     +-- InvalidArchive                 (also ValueError)
     +-- PathNotWritable                (also ValueError)
     +-- JobError
     +-- EntryTooYoung                  (also ValueError)
     +-- DomainError
     |    +-- InvalidDomain             (also ValueError)
     |    +-- DomainTaken
     |    +-- DomainDoesNotExist        (also LookupError)
     +-- TenantError
          +-- TenantAlreadyExists
          +-- TenantBusy
          +-- WrongTenantState
          +-- OperationRefused
          +-- PlacementDisagreement
          +-- OperationInterrupted
          +-- ProvisioningFailed
          +-- MigrationFailed
          +-- DumpFailed
          +-- RestoreFailed

A class's docstring is its default message. What a caller must do next stands in
the message.
"""

from collections.abc import Sequence

from mtdd_router.errors import MTDDError, TenantError

__all__ = [
    "DomainDoesNotExist",
    "DomainError",
    "DomainTaken",
    "DumpFailed",
    "EntryTooYoung",
    "InvalidArchive",
    "InvalidDomain",
    "InvalidMigrationTarget",
    "InvalidShard",
    "InvalidShardAddress",
    "InvalidTenantList",
    "JobError",
    "MigrationFailed",
    "MigrationRunError",
    "NoShardAvailable",
    "NotAShardServer",
    "OperationInterrupted",
    "OperationRefused",
    "PathNotWritable",
    "PlacementDisagreement",
    "ProgramMissing",
    "ProvisioningFailed",
    "RestoreFailed",
    "ShardAlreadyRegistered",
    "ShardIdentityChanged",
    "ShardInUse",
    "ShardNotRegistered",
    "ShardRegistryError",
    "TenantAlreadyExists",
    "TenantBusy",
    "WrongTenantState",
]


class ShardRegistryError(MTDDError):
    """Something is wrong with a registered shard."""


class ShardNotRegistered(ShardRegistryError, LookupError):
    """No such shard is registered; see list_shards."""


class ShardAlreadyRegistered(ShardRegistryError):
    """A shard of that name, address or identity is already registered."""


class InvalidShardAddress(ShardRegistryError, ValueError):
    """A shard's address is host:port or unix:/path."""


class InvalidShard(ShardRegistryError, ValueError):
    """A shard cannot have such a name or weight."""


class NotAShardServer(ShardRegistryError):
    """What answers at that address is not a shard server."""


class ShardIdentityChanged(ShardRegistryError):
    """Another shard than the registered one answers at its address."""


class ShardInUse(ShardRegistryError):
    """Tenants live on that shard; delete or move them first."""


class NoShardAvailable(ShardRegistryError):
    """No shard can take a new tenant; register one, or let one accept tenants."""


class InvalidMigrationTarget(MTDDError, ValueError):
    """There is no such migration."""


class InvalidTenantList(MTDDError, ValueError):
    """A list of new tenants cannot be used; nothing was created."""

    def __init__(self, message: str = "", *, problems: Sequence[tuple[int, str]] = ()) -> None:
        # The numbers of the lines that are wrong, and why.
        self.problems = tuple(problems)
        said = " ".join(f"Line {line}: {problem}" for line, problem in problems)
        super().__init__(message or said)


class MigrationRunError(MTDDError):
    """Tenants cannot be migrated now: another run is under way, or there is none to resume."""


class ProgramMissing(MTDDError, LookupError):
    """A program of PostgreSQL, such as pg_dump, is not installed, or too old."""


class InvalidArchive(MTDDError, ValueError):
    """That file is no archive of a tenant, or cannot be restored there."""


class PathNotWritable(MTDDError, ValueError):
    """Nothing can be written there, or something is there already."""


class JobError(MTDDError):
    """The job cannot be requested, handed over or retried."""


class EntryTooYoung(MTDDError, ValueError):
    """Entries of the audit log are kept for a while."""


class DomainError(MTDDError):
    """Something is wrong with a tenant's domain."""


class InvalidDomain(DomainError, ValueError):
    """That is not a domain."""


class DomainTaken(DomainError):
    """Another tenant has that domain."""


class DomainDoesNotExist(DomainError, LookupError):
    """No tenant has that domain; see list_domains."""


class TenantAlreadyExists(TenantError):
    """A tenant of that name already exists."""


class TenantBusy(TenantError):
    """Another operation on that tenant is under way; try again when it has ended."""


class WrongTenantState(TenantError):
    """The tenant's state does not allow that."""


class OperationRefused(TenantError):
    """A receiver of a signal refused the operation; nothing was begun."""


class PlacementDisagreement(TenantError):
    """Registry and shard disagree about the tenant; run check_shards --repair."""


class OperationInterrupted(TenantError):
    """The operation stopped half way; run check_shards --repair when the shard is back."""


class ProvisioningFailed(TenantError):
    """The tenant could not be created; nothing of it is left."""


class MigrationFailed(TenantError):
    """The tenant could not be migrated."""


class DumpFailed(TenantError):
    """The tenant's contents could not be read; the tenant is as it was."""


class RestoreFailed(TenantError):
    """A dump could not be restored; nothing of it is there."""
