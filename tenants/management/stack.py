"""What the commands about the embedded stack share: its folder, and how it is shown."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from rich.console import RenderableType

from mtdd_router.embedded import StackStatus
from tenants.management.output import styled, table

__all__ = ["prepare_in_child", "stack_folder", "status_as_data", "status_table"]


def stack_folder() -> Path:
    """Return the folder that the setting MTDD_STACK_DIR names.

    Raises:
        CommandError: if it is not set, since the stack's shards would then be
            registered in whatever database these settings name.
    """
    folder = getattr(settings, "MTDD_STACK_DIR", None)
    if not folder:
        raise CommandError(
            f"{os.environ.get('DJANGO_SETTINGS_MODULE')} does not run on the embedded stack: "
            "set MTDD_STACK_DIR there, and DATABASES from mtdd_router.embedded.registry_dsn, "
            "as settings/local.py does."
        )
    return Path(folder)


def prepare_in_child() -> None:
    """Run ``mtdd_prepare`` in a new process, whose settings know the ports.

    Raises:
        CommandError: with what it said, if it failed.
    """
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "django", "mtdd_prepare"],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Ctrl-C is the supervisor's; this takes a second or two.
        start_new_session=True,
    )
    if done.returncode != 0:
        raise CommandError(f"The stack runs, but could not be prepared:\n{done.stdout.strip()}")


def status_table(status: StackStatus) -> RenderableType:
    """Return the servers of the stack as a table for people."""
    rows = [
        (service.name, service.kind, service.address, styled("up" if service.answers else "down"))
        for service in status.services
    ]
    return table(("Server", "What", "Address", "State"), rows)


def status_as_data(status: StackStatus) -> dict[str, Any]:
    """Return the status as plain values."""
    return {
        "status": status.status,
        "healthy": status.healthy,
        "supervisor_pid": status.supervisor_pid,
        "data_folder": status.data_folder,
        "services": [
            {
                "name": service.name,
                "kind": service.kind,
                "address": service.address,
                "answers": service.answers,
            }
            for service in status.services
        ],
    }
