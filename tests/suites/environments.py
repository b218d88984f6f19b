"""Where a suite runs: the source distribution that has the tests, and an environment for it.

Both are kept in a folder that git ignores, one for each release and Python.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CACHE", "Environment", "SuiteError", "find_python", "prepare_environment", "source_of"]

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".suites"


class SuiteError(Exception):
    """The suite cannot run here; the message says what to do."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its interpreter, and the versions in it."""

    python: Path
    python_version: str
    versions: dict[str, str]


def find_python(version: str) -> Path:
    """Return an interpreter of that version (``3.13``).

    Raises:
        SuiteError: if there is none.
    """
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys.executable)
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        found
        for found in (shutil.which(f"python{version}"), shutil.which("python3"))
        if found is not None
    ]
    candidates += [str(path) for path in installed.glob(f"{version}.*/bin/python3")]
    for candidate in candidates:
        done = _run([candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        if done.returncode == 0 and done.stdout.strip() == version:
            return Path(candidate)
    raise SuiteError(f"Python {version} is needed; none was found. Install it, or give --python.")


def source_of(requirement: str, python: Path) -> Path:
    """Return the unpacked source distribution of *requirement* (``django==5.2``).

    Of a series (``django~=6.1.0``) it is the newest that *python* can run.

    Raises:
        SuiteError: if it cannot be fetched.
    """
    key = requirement.replace("==", "-").replace("~=", "-")
    folder = CACHE / "sources" / key
    if found := [path for path in folder.glob("*") if path.is_dir()]:
        return found[0]
    name = re.split("[=~]", requirement)[0]
    shutil.rmtree(folder, ignore_errors=True)
    unfinished = folder.with_name(f"{key}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    done = _run(
        [
            *(str(python), "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--no-binary", name, "--dest", str(unfinished), requirement),
        ]
    )
    archives = list(unfinished.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        raise SuiteError(f"The source of {requirement} cannot be fetched:\n{done.stderr}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(unfinished, filter="data")
    archives[0].unlink()
    unfinished.rename(folder)
    return next(path for path in folder.glob("*") if path.is_dir())


def prepare_environment(name: str, python: Path, requirements: Sequence[str]) -> Environment:
    """Return an environment with this project and *requirements*; make it if there is none.

    It is made anew when the requirements change, or the project's own.

    Raises:
        SuiteError: if something cannot be installed.
    """
    folder = CACHE / "environments" / name
    interpreter = folder / "bin" / "python"
    wanted = hashlib.sha256(
        "\n".join([str(python), *requirements, (ROOT / "pyproject.toml").read_text()]).encode()
    ).hexdigest()
    stamp = folder / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Making the environment {folder.relative_to(ROOT)} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _install(_run([str(python), "-m", "venv", str(folder)]))
        _install(
            _run(
                [
                    *(str(interpreter), "-m", "pip", "install", "--quiet"),
                    *("--editable", str(ROOT), *requirements),
                ]
            )
        )
        stamp.write_text(wanted)
    return Environment(interpreter, _version_of(interpreter), _versions(interpreter))


def _install(done: "subprocess.CompletedProcess[str]") -> None:
    if done.returncode != 0:
        raise SuiteError(f"The environment cannot be made:\n{done.stderr}")


def _version_of(interpreter: Path) -> str:
    return _run(
        [str(interpreter), "-c", "import platform; print(platform.python_version())"]
    ).stdout.strip()


def _versions(interpreter: Path) -> dict[str, str]:
    lines = _run([str(interpreter), "-m", "pip", "list", "--format=freeze"]).stdout.splitlines()
    return {
        name.lower(): version
        for name, separator, version in (line.partition("==") for line in lines)
        if separator
    }


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
