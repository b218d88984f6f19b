"""The folder where a shard server keeps the sockets that only its own processes use.

Invariants: nobody but this user can enter it; a lock on the folder itself tells that
its server lives, and keeps those who tidy up old files away (systemd-tmpfiles honours
it). What a killed server left is removed by the next one.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["runtime_folder", "worker_secret", "worker_socket"]

_PREFIX: Final = "mtdd-shard-"
# The smallest sun_path of the systems that Python runs on, macOS's, less its end.
_SOCKET_PATH_BYTES: Final = 103
_RANDOM_BYTES: Final = 8
_KNOWN_TO_WORKERS: Final = "workers"


def worker_socket(folder: Path, worker: int) -> Path:
    """Return the path of the socket of *worker*, from 0."""
    return folder / f"worker-{worker}.sock"


def worker_secret(folder: Path) -> str:
    """Return what the workers of one server know, and nobody else."""
    return (folder / _KNOWN_TO_WORKERS).read_text(encoding="ascii")


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """Make the folder, and remove it at the end."""
    base = _base()
    _remove_abandoned(base)
    folder, lock = _make(base)
    try:
        (folder / _KNOWN_TO_WORKERS).write_text(secrets.token_hex(32), encoding="ascii")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _base() -> Path:
    """Return where temporary files go, unless that makes too long a path for a socket."""
    base = Path(tempfile.gettempdir())
    longest = worker_socket(base / (_PREFIX + "x" * _RANDOM_BYTES), 999)
    return base if len(os.fsencode(longest)) <= _SOCKET_PATH_BYTES else Path("/tmp")  # noqa: S108


def _make(base: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        # Another server may take it for abandoned before it is locked.
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _remove_abandoned(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
