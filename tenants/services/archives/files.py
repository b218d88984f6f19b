"""Files and folders that are there as a whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tenants.errors import FileTaken

__all__ = ["new_file", "new_folder"]

_UNFINISHED: Final = ".partial"


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to fill, which only its owner may read; at the end it is at *path*.

    Raises:
        FileTaken: if something is there already, or it cannot be made there.
    """
    _require_free(path)
    try:
        descriptor, name = tempfile.mkstemp(_UNFINISHED, f"{path.name}.", path.parent)
    except OSError as exc:
        raise _cannot(path, exc) from exc
    os.close(descriptor)
    unfinished = Path(name)
    try:
        with unfinished.open("w+b") as file:
            yield file
            os.fsync(file.fileno())
        _require_free(path)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which only its owner may enter; at the end it is at *path*.

    Raises:
        FileTaken: if something is there already, or it cannot be made there.
    """
    _require_free(path)
    try:
        unfinished = Path(tempfile.mkdtemp(_UNFINISHED, f"{path.name}.", path.parent))
    except OSError as exc:
        raise _cannot(path, exc) from exc
    try:
        yield unfinished
        _require_free(path)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _require_free(path: Path) -> None:
    """Refuse a path where something is already."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
        raise FileTaken(f"{path} is there already; it is not written over.")


def _cannot(path: Path, exc: OSError) -> FileTaken:
    return FileTaken(f"{path} cannot be made: {exc.strerror}.")
