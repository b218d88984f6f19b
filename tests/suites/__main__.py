"""``python -m tests.suites``: other people's test suites, over gRPC and straight, compared."""

import argparse
import sys
from pathlib import Path
from typing import Any

import django

from tests.suites.django import DATABASE_LABELS, django_suite, newest_python_of
from tests.suites.environments import SuiteError
from tests.suites.postgres import postgres_with_icu
from tests.suites.report import Comparison
from tests.suites.running import run_routed, run_straight


def main() -> int:
    """Run what the command line names; return 1 if a test is lost, 2 if nothing could run."""
    options = _arguments()
    try:
        comparison = _compare_django(options)
    except SuiteError as exc:
        print(exc, file=sys.stderr)
        return 2
    comparison.print()
    if options.json:
        comparison.write_json(options.json)
    return 0 if comparison.holds else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make django-suite", description=__doc__)
    parser.add_argument("labels", nargs="*", help="as Django's runtests.py takes them; default all")
    parser.add_argument(
        "--database-labels",
        action="store_true",
        help=f"the labels that exercise a database most: {', '.join(DATABASE_LABELS)}",
    )
    parser.add_argument(
        "--django",
        default=django.__version__,
        metavar="VERSION",
        help="a release or a series of Django (default: the installed one, %(default)s)",
    )
    parser.add_argument(
        "--python", metavar="VERSION", help="default: 3.11 for Django 5.2, 3.13 for later ones"
    )
    parser.add_argument(
        "--server-side-binding", action="store_true", help="parameters travel beside statements"
    )
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser.parse_args()


def _compare_django(options: argparse.Namespace) -> Comparison:
    labels = [*options.labels, *(DATABASE_LABELS if options.database_labels else ())]
    of_databases: dict[str, Any] = (
        {"server_side_binding": True} if options.server_side_binding else {}
    )
    suite, environment = django_suite(
        options.django,
        options.python or newest_python_of(options.django),
        labels,
        processes=options.processes,
        options=of_databases,
    )
    with postgres_with_icu() as postgres:
        routed, leftovers = run_routed(suite, postgres)
        straight = run_straight(suite, postgres)
        title = (
            f"{suite.name}, Python {environment.python_version}, "
            f"psycopg {environment.versions['psycopg']}, PostgreSQL {postgres.version}, "
            f"{options.processes} processes{', server_side_binding' if of_databases else ''}: "
            f"{' '.join(labels) or 'all labels'}"
        )
    return Comparison(title, routed, straight, leftovers)


if __name__ == "__main__":
    sys.exit(main())
