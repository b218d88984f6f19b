"""``python -m tests.suites``: other people's test suites, over gRPC and straight, compared.

``django`` is Django's own suite, ``packages`` those of packages that lean on the database.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

from tests.suites.django import DATABASE_LABELS, django_suite, newest_python_of
from tests.suites.environments import Environment, SuiteError
from tests.suites.packages import PACKAGES, package_suite
from tests.suites.postgres import postgres_with_icu
from tests.suites.report import Comparison, write_json
from tests.suites.running import Suite, run_examined, run_routed, run_straight


def main() -> int:
    """Run what the command line names; return 1 if a test is lost, 2 if nothing could run."""
    options = _arguments()
    # An end that is asked for leaves nothing running, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if getattr(options, "examined", False):
            return max(_examine(*prepared) for prepared in options.prepare(options))
        comparisons = [_compare(*prepared) for prepared in options.prepare(options)]
    except SuiteError as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    for comparison in comparisons:
        comparison.print()
    if options.json:
        write_json(comparisons, options.json)
    return 0 if all(comparison.holds for comparison in comparisons) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description=__doc__)
    kinds = parser.add_subparsers(required=True)
    of_django = kinds.add_parser("django", help="Django's own suite")
    of_django.set_defaults(prepare=_prepare_django)
    of_django.add_argument("labels", nargs="*", help="as Django's runtests.py takes; default all")
    of_django.add_argument(
        "--database-labels",
        action="store_true",
        help=f"the labels that exercise a database most: {', '.join(DATABASE_LABELS)}",
    )
    of_django.add_argument(
        "--django",
        default=django.__version__,
        metavar="VERSION",
        help="a release or a series of Django (default: the installed one, %(default)s)",
    )
    of_django.add_argument(
        "--python", metavar="VERSION", help="default: 3.11 for Django 5.2, 3.13 for later ones"
    )
    of_django.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    of_django.add_argument(
        "--examined",
        action="store_true",
        help="run it over gRPC only, and list what a tenant would be refused of its statements",
    )
    of_packages = kinds.add_parser("packages", help="the suites of other packages")
    of_packages.set_defaults(prepare=_prepare_packages)
    of_packages.add_argument("names", nargs="*", help=f"of {', '.join(PACKAGES)}; default all")
    for each in (of_django, of_packages):
        each.add_argument(
            "--server-side-binding", action="store_true", help="parameters beside statements"
        )
        each.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser.parse_args()


def _database_options(options: argparse.Namespace) -> dict[str, Any]:
    return {"server_side_binding": True} if options.server_side_binding else {}


def _prepare_django(options: argparse.Namespace) -> Iterator[tuple[Suite, Environment]]:
    yield django_suite(
        options.django,
        options.python or newest_python_of(options.django),
        [*options.labels, *(DATABASE_LABELS if options.database_labels else ())],
        processes=options.processes,
        options=_database_options(options),
    )


def _prepare_packages(options: argparse.Namespace) -> Iterator[tuple[Suite, Environment]]:
    for name in options.names or PACKAGES:
        if name not in PACKAGES:
            raise SuiteError(f"{name} is none of {', '.join(PACKAGES)}.")
        yield package_suite(name, newest_python_of(django.__version__), _database_options(options))


def _examine(suite: Suite, environment: Environment) -> int:
    with postgres_with_icu() as postgres:
        run, refusals = run_examined(suite, postgres)
    print(f"\n{suite.name} on Python {environment.python_version}: {suite.scope}")
    print(", ".join(f"{count:,} {kind}" for kind, count in run.counts().items()))
    refusals.print()
    examined = refusals.statements and run.counts()["passed"]
    return 1 if refusals.unexpected or not examined else 0


def _compare(suite: Suite, environment: Environment) -> Comparison:
    with postgres_with_icu() as postgres:
        routed, leftovers = run_routed(suite, postgres)
        straight = run_straight(suite, postgres)
        settings = "".join(f", {name}" for name in suite.options)
        title = (
            f"{suite.name} on Django {environment.versions['django']}, "
            f"Python {environment.python_version}, psycopg {environment.versions['psycopg']}, "
            f"PostgreSQL {postgres.version}{settings}: {suite.scope}"
        )
    return Comparison(title, routed, straight, leftovers)


if __name__ == "__main__":
    sys.exit(main())
