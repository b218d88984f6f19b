"""``run_shard``: run a shard server; the same as ``python -m mtdd_router.server``."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Hand every option on to the shard server, which knows nothing of Django."""

    help = "Run a shard server. All options are its own: run_shard --help shows them."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        # Django's own options are spent: they have chosen the settings.
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for option in ("--settings", "--pythonpath"):
            parser.add_argument(option)
        _, options = parser.parse_known_args(argv[2:])
        sys.exit(_run(options))

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("options", nargs="*")

    def handle(self, *args: Any, **options: Any) -> None:
        if code := _run([*args, *options["options"]]):
            sys.exit(code)


def _run(options: Sequence[str]) -> int:
    # Imported late: it is a program of its own, and an optional extra.
    from mtdd_router.server.__main__ import main

    return int(main(options) or 0)
