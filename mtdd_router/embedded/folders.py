"""The folder of a stack, its lock, and a place for data that PostgreSQL can reach."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from mtdd_router.embedded.account import Account
from mtdd_router.embedded.binaries import ROOT_FOLDER
from mtdd_router.embedded.errors import StackError, StackRunning

__all__ = ["FolderLock", "data_folder", "prepare_folder", "scratch_folder"]

_LOCK: Final = "lock"
# Linux keeps files there in memory, if anywhere.
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder made there has a name of its own
_SCRATCH_BYTES: Final = 8 * 2**30


def prepare_folder(folder: Path) -> None:
    """Create the stack's folder, which git then ignores by itself.

    Raises:
        StackError: if it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    except OSError as exc:
        raise StackError(f"The folder {folder} cannot be written: {exc.strerror}.") from exc
    # PostgreSQL's account, which is not ours if we are root, passes through it.
    folder.chmod(0o711)


def scratch_folder(prefix: str) -> Path:
    """Make a folder for servers whose data nobody keeps: in memory, if plenty of that is free.

    A tenant is some sixty files, and to make one takes milliseconds on many a disk.
    PostgreSQL's own account, which is not ours if we are root, passes through it.
    """
    in_memory = os.access(_IN_MEMORY, os.W_OK) and (
        shutil.disk_usage(_IN_MEMORY).free >= _SCRATCH_BYTES
    )
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_IN_MEMORY if in_memory else None))
    folder.chmod(0o711)
    return folder


def data_folder(folder: Path, account: Account | None, wanted: Path | None = None) -> Path:
    """Return a folder for PostgreSQL's data, made and reachable by *account*.

    It is *wanted*, or a subfolder of the stack's *folder*. If root's stack lies
    where PostgreSQL's account cannot pass, such as below /root, the data goes to
    /var/lib/django-mtdd, under a name made from the stack's folder.

    Raises:
        StackError: if *wanted* cannot be reached or made.
    """
    place = wanted or folder / "postgres"
    _make(place, account)
    if account is None or account.reaches(place, "w"):
        return place
    if wanted is not None:
        raise StackError(
            f"PostgreSQL runs as the user {account.name!r}, who cannot reach {wanted}. "
            f"Choose a folder whose parents everybody may pass (chmod o+x), "
            f"such as {ROOT_FOLDER}/data."
        )
    place.rmdir()
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    place = ROOT_FOLDER / f"{folder.resolve().parent.name or 'stack'}-{digest}"
    _make(place, account)
    if not account.reaches(place, "w"):
        raise StackError(
            f"PostgreSQL runs as the user {account.name!r}, who can reach neither {folder} "
            f"nor {place}. Give a folder that it can reach with --data-dir."
        )
    return place


def _make(place: Path, account: Account | None) -> None:
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            os.chown(place, account.uid, account.gid)
    except OSError as exc:
        raise StackError(f"The data folder {place} cannot be made: {exc.strerror}.") from exc


class FolderLock:
    """The right to run the stack of *folder*; the kernel takes it back from the dead."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StackRunning: if another process holds it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            if exc.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            raise StackRunning(f"The stack in {self._path.parent} is already running.") from exc
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back, if held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
