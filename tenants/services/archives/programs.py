"""Running pg_dump and pg_restore on a tenant's connection."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from mtdd_router.client.programs import OVERRIDE, Program, find_programs
from tenants.errors import InvalidArchive, ProgramMissing

__all__ = ["Run", "choose_pg_dump", "choose_pg_restore", "choose_reader", "path_of", "running"]

_USER: Final = "mtdd"
_READ_BYTES: Final = 1 << 16
# From this version on pg_restore sets a parameter that servers before it do not know.
_SETS_TRANSACTION_TIMEOUT: Final = 17
_ANY: Final = 1000


@dataclass(frozen=True, slots=True)
class Run:
    """A program that runs, or has run."""

    program: Program
    process: "subprocess.Popen[bytes]"
    errors: IO[bytes]

    def failure(self) -> str:
        """Wait for the program; return what it says went wrong, empty if nothing did."""
        code = self.process.wait()
        if code == 0:
            return ""
        self.errors.seek(0)
        lines = self.errors.read(_READ_BYTES).decode(errors="replace").splitlines()
        name = self.program.path.name
        # What follows, such as a line of data, is not for messages.
        told = [line for line in lines if line.startswith((f"{name}: error:", f"{name}: FATAL"))]
        return told[0] if told else f"{name} ended with exit code {code}."


@contextmanager
def running(
    program: Program,
    arguments: Sequence[str],
    *,
    on: BaseDatabaseWrapper,
    database: str,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    writes: IO[bytes] | None = None,
) -> Iterator[Run]:
    """Run *program* in the open transaction of a tenant's connection.

    It does not outlive the block.

    Args:
        program: to run.
        arguments: of the program.
        on: the connection; nothing else may use it inside the block.
        database: what the program is told to be the database's name.
        stdin: for the program.
        writes: a file that the arguments name, by `path_of`.
    """
    # What is set for a person's psql must not lead the program elsewhere.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    with on.connection.lent() as relay, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [program.path, *arguments],
            env={
                **inherited,
                "LC_ALL": "C",
                "PGHOST": str(relay.folder),
                "PGPORT": str(relay.port),
                "PGUSER": _USER,
                "PGDATABASE": database,
            },
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=() if writes is None else (writes.fileno(),),
        )
        try:
            yield Run(program, process, errors)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def path_of(file: IO[bytes]) -> str:
    """Return what names *file* to a program, whether or not it has a name."""
    return f"/dev/fd/{file.fileno()}"


def choose_pg_dump(server: int) -> Program:
    """Return the pg_dump for a PostgreSQL of the major version *server*.

    Raises:
        ProgramMissing: saying what to install.
    """
    # The oldest that can: an older pg_restore could not read what it writes.
    return _choose("pg_dump", server, _ANY)[0]


def choose_pg_restore(server: int, writer: int) -> Program:
    """Return the pg_restore for what a pg_dump of version *writer* wrote.

    Args:
        server: the major version of the PostgreSQL to restore to.
        writer: likewise.

    Raises:
        InvalidArchive: if there can be none.
        ProgramMissing: saying what to install.
    """
    newest = _ANY if server >= _SETS_TRANSACTION_TIMEOUT else _SETS_TRANSACTION_TIMEOUT - 1
    if writer > newest:
        raise InvalidArchive(
            f"What pg_dump {writer} wrote cannot be restored to PostgreSQL {server}; write it "
            f"with pg_dump {server}, by naming the folder of that version's in {OVERRIDE}."
        )
    return _choose("pg_restore", writer, newest)[-1]


def choose_reader() -> Program:
    """Return the pg_restore that can read most archives.

    Raises:
        ProgramMissing: saying what to install.
    """
    return _choose("pg_restore", 0, _ANY)[-1]


def _choose(name: str, oldest: int, newest: int) -> list[Program]:
    """Return the programs whose major version is one of these, the oldest first."""
    found = find_programs(name)
    if fitting := [program for program in found if oldest <= program.major <= newest]:
        return fitting
    versions = f" {oldest} or newer" if newest == _ANY else f" {oldest} to {newest}"
    there = f"; there is only {', '.join(map(str, found))}" if found else ""
    raise ProgramMissing(
        f"No {name} of PostgreSQL{versions if oldest else ''} was found{there}. Install "
        f"PostgreSQL's client programs of that version and name their folder in {OVERRIDE}, or "
        "run: pip install 'django-mtdd[embedded]'"
    )
