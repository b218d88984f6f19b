"""Programs of their own, on the registry of the tests."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def program_environment(django_db_setup: None) -> Mapping[str, str]:
    """The environment in which Django finds the registry of the tests."""
    from django.db import connections

    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROGRAMS))),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start_program(program_environment: Mapping[str, str]) -> Iterator[Start]:
    """Start a program of tests/programs by its name; it dies with the test."""
    with contextlib.ExitStack() as cleanup:

        def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments],
                env=program_environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            cleanup.callback(_end, process)
            return process

        yield start


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()
