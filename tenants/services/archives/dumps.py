"""What pg_dump and pg_restore are asked for, and the name that they pass on.

Owners and rights are left out: a tenant's role owns all it has, and every tenant has
another. Of a schema only what lies in it is restored, for the schema itself is there.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import IO, Final, Self

from django.db.backends.base.base import BaseDatabaseWrapper

from mtdd_router.client.programs import Program
from mtdd_router.types import Isolation
from tenants.models import Tenant
from tenants.services.archives.programs import Run, choose_pg_dump, path_of, running

__all__ = ["Label", "pattern", "run_pg_dump", "run_pg_restore", "server_major"]

_SAME: Final = ("--no-owner", "--no-privileges", "--no-tablespaces")
_DUMP: Final = (
    *_SAME, "--no-publications", "--no-subscriptions", "--no-security-labels", "--no-sync",
    # Large objects, which have had two long names; a snapshot has none.
    "-B",
)  # fmt: skip
_RESTORE: Final = (*_SAME, "--format=custom", "--exit-on-error")


@dataclass(frozen=True, slots=True)
class Label:
    """What an archive says of itself, as the name of its database.

    Attributes:
        tenant: its name, when it was archived.
        isolation: likewise.
        schema: what its schema is called in the archive; empty for a database.
    """

    tenant: str
    isolation: Isolation
    schema: str

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """Return a new label, whose schema's name is used nowhere else."""
        isolation = Isolation(tenant.isolation)
        schema = f"mtdd_archive_{token_hex(12)}" if isolation.has_schema else ""
        return cls(tenant.name, isolation, schema)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the label that *text* is, or None if it is none."""
        match = _LABEL.fullmatch(text)
        if match is None:
            return None
        isolation, tenant, schema = match.groups(default="")
        if bool(schema) != Isolation(isolation).has_schema:
            return None
        return cls(tenant, Isolation(isolation), schema)

    def __str__(self) -> str:
        return f"{_KIND} {self.isolation} {self.tenant} {self.schema}".rstrip()


_KIND: Final = "mtdd-tenant/1"
_LABEL: Final = re.compile(rf"{_KIND} ({'|'.join(Isolation)}) (\S+)(?: (mtdd_archive_[0-9a-f]+))?")


@contextmanager
def run_pg_dump(
    snapshot: BaseDatabaseWrapper,
    schema: str,
    options: Sequence[str],
    *,
    label: object,
    to: IO[bytes],
) -> Iterator[Run]:
    """Let pg_dump read a tenant's snapshot; inside the block it runs.

    Args:
        snapshot: the connection that sees the tenant.
        schema: what the tenant's schema is called there; empty for a whole database.
        options: besides those that all dumps have.
        label: what the dump calls its database.
        to: the file to write.

    Raises:
        ProgramMissing: saying what to install.
    """
    program = choose_pg_dump(server_major(snapshot))
    scope = [f"--schema={pattern(schema)}"] if schema else []
    # Not its standard output, to which pg_dump appends: it could not tell, at the beginning
    # of an archive, where everything is.
    arguments = [*_DUMP, f"--file={path_of(to)}", *scope, *options]
    with running(program, arguments, on=snapshot, database=str(label), writes=to) as run:
        yield run


def pattern(*names: str) -> str:
    """Return what means exactly this name, schema first, to pg_dump."""
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names)


@contextmanager
def run_pg_restore(
    filling: BaseDatabaseWrapper, program: Program, label: Label, source: IO[bytes]
) -> Iterator[Run]:
    """Let pg_restore fill a tenant from the file *source*; inside the block it runs.

    Args:
        filling: the connection to the tenant.
        program: the pg_restore.
        label: of the archive.
        source: the archive.
    """
    scope = [f"--schema={label.schema}"] if label.schema else []
    arguments = [*_RESTORE, *scope, f"--dbname={label}"]
    # Its position is the program's as well.
    source.seek(0)
    with running(program, arguments, on=filling, database=str(label), stdin=source) as run:
        yield run


def server_major(connection: BaseDatabaseWrapper) -> int:
    """Return the major version of the PostgreSQL behind *connection*."""
    return int(connection.connection.info.server_version) // 10000
