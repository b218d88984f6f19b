"""A tenant in a file of PostgreSQL's custom format, and back.

The file is what pg_dump wrote, and nothing else. What must be known before it is
restored stands where pg_dump keeps the name of the database, in the file's header.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from tenants import signals
from tenants.errors import DumpFailed, InvalidArchive, RestoreFailed
from tenants.models import Tenant
from tenants.services.agreement import record
from tenants.services.archives.dumps import Label, run_pg_dump, run_pg_restore, server_major
from tenants.services.archives.files import new_file
from tenants.services.archives.programs import choose_pg_restore, choose_reader
from tenants.services.archives.transactions import restoring, snapshot
from tenants.services.audit import note
from tenants.services.changing import get_tenant, settle
from tenants.services.identity import admin_of
from tenants.services.locks import tenant_lock
from tenants.services.migrating.batches import Limits
from tenants.services.migrating.planning import NEWEST
from tenants.services.migrating.single import run_django
from tenants.services.notifying import tell
from tenants.services.tenants import filled_tenant, validate_new_name

__all__ = [
    "Archive",
    "archive_tenant",
    "fill",
    "read_archive",
    "restore_tenant",
    "settled_tenant",
    "write_archive",
]

_HEADER: Final = re.compile(
    r"^;\s+(?P<name>dbname|Dumped from database version|Dumped by pg_dump version): (?P<value>.*)$",
    re.MULTILINE,
)
_VERSION: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Archive:
    """What a file that holds a tenant says of itself.

    Attributes:
        name: of the file, for messages.
        label: which tenant, and how it is kept apart.
        server: the version of the PostgreSQL that it is from, such as 18.6.
        writer: likewise of the pg_dump that wrote it.
    """

    name: str
    label: Label
    server: str
    writer: str


def archive_tenant(name: str, path: Path) -> Archive:
    """Write the tenant to a new file at *path*; it can be used meanwhile.

    Raises:
        TenantDoesNotExist, TenantBusy, WrongTenantState: about the tenant.
        PathNotWritable: if there is a file already, or none can be made.
        ProgramMissing: if there is no pg_dump, or it is older than the shard.
        DumpFailed: if the tenant cannot be read; then there is no file.
    """
    with tenant_lock(name), new_file(path) as file:
        write_archive(settled_tenant(name), file)
        note("archive tenant", tenant=name, file=str(path))
        return read_archive(file, str(path))


def write_archive(
    tenant: Tenant,
    file: IO[bytes],
    *options: str,
    choose: Callable[[BaseDatabaseWrapper, str], Iterable[str]] | None = None,
) -> None:
    """Let pg_dump write the tenant to *file*; the caller holds its lock.

    Args:
        tenant: to read.
        file: to write.
        options: for pg_dump.
        choose: gives more of them, from the snapshot and the name of its schema.

    Raises:
        ProgramMissing, DumpFailed: as `archive_tenant`.
    """
    label = Label.of(tenant)
    with snapshot(tenant, label.schema) as connection:
        chosen = choose(connection, label.schema) if choose else ()
        arguments = ["--format=custom", *options, *chosen]
        with run_pg_dump(connection, label.schema, arguments, label=label, to=file) as run:
            if failure := run.failure():
                raise DumpFailed(f"Tenant {tenant.name!r} could not be dumped: {failure}")


def settled_tenant(name: str) -> Tenant:
    """Return the tenant, if it is in use, so that it can be read; the caller holds its lock.

    Raises:
        TenantDoesNotExist, WrongTenantState, PlacementDisagreement, ShardUnavailable:
            naming it.
    """
    tenant = get_tenant(name)
    admin = admin_of(tenant.shard)
    settle(tenant, admin)
    return tenant


def read_archive(file: IO[bytes], name: str) -> Archive:
    """Return what *file* says of itself; *name* is for messages.

    Raises:
        InvalidArchive: if it is no archive of a tenant, or a later program's.
        ProgramMissing: if there is no pg_restore.
    """
    reader = choose_reader()
    # Its position is the program's as well.
    file.seek(0)
    done = subprocess.run(
        [reader.path, "--list", "--format=custom"],
        check=False,
        stdin=file,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InvalidArchive(f"{name} cannot be read by {reader}: {lines[0]}")
    header = dict(_HEADER.findall(done.stdout))
    label = Label.parse(header.get("dbname", ""))
    if label is None:
        raise InvalidArchive(
            f"{name} is an archive of PostgreSQL's, but not one of a tenant: archive_tenant "
            "did not write it."
        )
    return Archive(
        name, label, header["Dumped from database version"], header["Dumped by pg_dump version"]
    )


def restore_tenant(path: Path, *, name: str | None = None, shard: str | None = None) -> Tenant:
    """Make a tenant of the archive at *path*, migrate it, and return it active.

    An archive is SQL that is run as the new tenant: restore only what you trust.

    Args:
        path: of the file.
        name: of the tenant; the one it had by default.
        shard: the name of its shard; the least loaded one by default.

    Raises:
        InvalidArchive, ProgramMissing: about the file.
        InvalidTenantName, TenantAlreadyExists, TenantBusy: about the name.
        ShardNotRegistered, NoShardAvailable, ShardUnavailable, ...: about the shard;
            then nothing was begun.
        ProvisioningFailed: nothing of the tenant is left.
        OperationInterrupted: the tenant is left `creating`, for check_shards to mend.
    """
    try:
        file = path.open("rb")
    except OSError as exc:
        raise InvalidArchive(f"{path} cannot be read: {exc.strerror}.") from exc
    with file:
        if not file.seekable():
            raise InvalidArchive(f"{path} is no file: an archive is read more than once.")
        archive = read_archive(file, str(path))
        wanted = validate_new_name(name or archive.label.tenant)
        with (
            tenant_lock(wanted),
            filled_tenant(wanted, shard, archive.label.isolation) as tenant,
        ):
            note("restore tenant", tenant=wanted, file=str(path))
            fill(tenant, archive, file)
            run_django(tenant, NEWEST, Limits())
            record(tenant, migrated_at=timezone.now())
    tell(signals.post_create, wanted, tenant=tenant)
    return tenant


def fill(tenant: Tenant, archive: Archive, file: IO[bytes]) -> None:
    """Let pg_restore fill a new tenant from *file*, all or nothing.

    Raises:
        InvalidArchive, ProgramMissing: if there is no pg_restore that can.
        RestoreFailed: saying why.
    """
    label = archive.label
    with restoring(tenant, label.schema) as connection:
        server, origin = server_major(connection), _major(archive.server)
        if origin > server:
            raise InvalidArchive(
                f"{archive.name} is from PostgreSQL {origin}, and shard {tenant.shard.name!r} has "
                f"{server}, which may not understand it; choose a shard that is as new."
            )
        program = choose_pg_restore(server, _major(archive.writer))
        with run_pg_restore(connection, program, label, file) as run:
            if failure := run.failure():
                raise RestoreFailed(f"{archive.name} could not be restored: {failure}")


def _major(version: str) -> int:
    match = _VERSION.match(version)
    return int(match[0]) if match else 0
