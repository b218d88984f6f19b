"""Files and folders that are there as a whole, or not at all."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tenants.errors import PathNotWritable

__all__ = ["new_file", "new_folder"]

_UNFINISHED: Final = ".partial"
_PRIVATE: Final = 0o600


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to fill, which only its owner may read; at the end it is at *path*.

    Raises:
        PathNotWritable: if something is there already, or it cannot be written.
    """
    with _unfinished(path) as folder:
        file = folder / path.name
        file.touch(_PRIVATE)
        with file.open("w+b") as opened:
            yield opened
            os.fsync(opened.fileno())
        _require_free(path)
        file.rename(path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which only its owner may enter; at the end it is at *path*.

    Raises:
        PathNotWritable: if something is there already, or it cannot be written.
    """
    with _unfinished(path) as folder:
        yield folder
        _require_free(path)
        folder.rename(path)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give a folder beside *path*, which is gone after the block."""
    _require_free(path)
    try:
        _remove_abandoned(path)
        folder = Path(tempfile.mkdtemp(_UNFINISHED, f"{path.name}.", path.parent))
        try:
            with _locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        raise PathNotWritable(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of *path*; one at work has its folder locked."""
    for folder in path.parent.glob(f"{glob.escape(path.name)}.*{_UNFINISHED}"):
        with suppress(OSError), _locked(folder):
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of *folder*, which ends with the process.

    Raises:
        BlockingIOError: if another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _require_free(path: Path) -> None:
    """Refuse a path where something is already."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
        raise PathNotWritable(f"{path} is there already; it is not written over.")
