"""``mtdd_up``: run real PostgreSQL servers and shard servers on this machine."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mtdd_router.embedded import (
    Stack,
    StackOptions,
    StackRunning,
    asked_to_stop,
    stack_status,
    start_detached,
    stop_stack,
    supervise,
)
from tenants.management.base import RegistryCommand
from tenants.management.stack import (
    prepare_in_child,
    stack_folder,
    status_as_data,
    status_table,
)

_NEXT = """
[bold]Next[/]
  python manage.py create_tenant abc      a tenant, on the least loaded shard
  python manage.py createsuperuser        somebody who may use the admin
  python manage.py runserver              the admin: http://127.0.0.1:8000/admin/
  python manage.py mtdd_status            how the stack is
"""


_NEXT_DETACHED = "  python manage.py mtdd_down              stop it; its data stays"


class Command(RegistryCommand):
    """Start, migrate, register, do jobs, and supervise until Ctrl-C."""

    help = (
        "Start PostgreSQL for the registry and for each shard, and the shard servers; "
        "migrate, register the shards, start a worker for the jobs that the admin asks for, and "
        "keep all running until Ctrl-C."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--shards", type=_positive, help="how many; at first 2")
        parser.add_argument("--detach", action="store_true", help="go on in the background")
        parser.add_argument(
            "--registry-dsn",
            help="an existing PostgreSQL for the registry (also MTDD_STACK_REGISTRY_DSN)",
        )
        parser.add_argument(
            "--shard-dsn",
            action="append",
            default=[],
            help="an existing PostgreSQL for a shard; once for each "
            "(also MTDD_STACK_SHARD_DSNS, one in a line)",
        )
        parser.add_argument("--data-dir", type=Path, help="where PostgreSQL keeps its data")
        parser.add_argument("--pool-size", type=_positive, default=20)
        parser.add_argument("--workers", type=_positive, default=1)
        parser.add_argument(
            "--reset", action="store_true", help="delete all data of the stack first"
        )
        parser.add_argument("--no-input", action="store_true", help="ask nothing")

    def run(self, options: dict[str, Any]) -> None:
        folder = stack_folder()
        wanted = _options(options)
        try:
            if options["reset"]:
                self._reset(folder, ask=not options["no_input"])
            if options["detach"]:
                self._run_detached(folder, wanted)
            else:
                self._run_here(folder, wanted)
        except StackRunning:
            prepare_in_child()
            self._show(
                folder,
                "The stack is already running, and goes on as it was started; see mtdd_down.",
            )

    def _run_here(self, folder: Path, wanted: StackOptions) -> None:
        with asked_to_stop() as stop, Stack(folder, wanted, report=self.output.text) as stack:
            if stop.is_set():
                return
            prepare_in_child()
            self._show(folder, _NEXT, "Ctrl-C stops the stack; its data stays.")
            supervise(stack, stop)
            self.output.text("Stopping ...")

    def _run_detached(self, folder: Path, wanted: StackOptions) -> None:
        if stack_status(folder).status in {"running", "starting"}:
            raise StackRunning
        self.output.text("Starting the stack ...")
        start_detached(folder, wanted)
        try:
            prepare_in_child()
        except CommandError:
            stop_stack(folder)
            raise
        self._show(folder, _NEXT + _NEXT_DETACHED)

    def _show(self, folder: Path, *words: str) -> None:
        status = stack_status(folder)
        self.output.data(status_as_data(status))
        self.output.text(status_table(status))
        for word in words:
            self.output.text(word)
        self.stdout.flush()

    def _reset(self, folder: Path, *, ask: bool) -> None:
        if ask:
            answer = input(
                f"Delete all data of the stack in {folder}, every tenant's too? [yes/no] "
            )
            if answer.strip().lower() != "yes":
                raise CommandError("Nothing was deleted.")
        try:
            Stack(folder).reset()
        except StackRunning as exc:
            raise CommandError("The stack is running; stop it with mtdd_down first.") from exc


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _options(options: dict[str, Any]) -> StackOptions:
    given = StackOptions.from_environment(os.environ)
    return dataclasses.replace(
        given,
        shards=options["shards"],
        registry_dsn=options["registry_dsn"] or given.registry_dsn,
        shard_dsns=tuple(options["shard_dsn"]) or given.shard_dsns,
        data_folder=options["data_dir"].absolute() if options["data_dir"] else None,
        pool_size=options["pool_size"],
        workers=options["workers"],
        settings=settings.SETTINGS_MODULE,
    )
