"""Django's own test suite, as the Django Software Foundation publishes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.suites.environments import Environment, find_python, prepare_environment, source_of
from tests.suites.running import Suite

__all__ = ["DATABASE_LABELS", "django_suite", "newest_python_of"]

# What exercises a database backend most; the rest of the suite is about other things.
DATABASE_LABELS: Final = (
    "aggregation",
    "aggregation_regress",
    "annotations",
    "async",
    "backends",
    "basic",
    "bulk_create",
    "constraints",
    "custom_lookups",
    "datatypes",
    "db_functions",
    "delete",
    "expressions",
    "expressions_case",
    "expressions_window",
    "get_or_create",
    "inspectdb",
    "introspection",
    "lookup",
    "migrations",
    "model_fields",
    "multiple_database",
    "ordering",
    "postgres_tests",
    "prefetch_related",
    "queries",
    "schema",
    "select_for_update",
    "test_utils",
    "timezones",
    "transaction_hooks",
    "transactions",
    "update",
)
_REQUIREMENTS: Final = ("py3.txt", "postgres.txt")
# What some tests expect of settings is in the sample that comes with them.
_SAMPLE_SETTINGS: Final = "test_sqlite"
_NEED_LIBRARIES: Final = ("pylibmc", "pywatchman")


def newest_python_of(django: str) -> str:
    """Return the Python that a release of Django is tested on here: ``5.2`` on 3.11."""
    major, minor = (int(part) for part in django.split(".")[:2])
    return "3.11" if (major, minor) < (6, 0) else "3.13"


def django_suite(
    django: str,
    python: str,
    labels: Sequence[str],
    *,
    processes: int,
    options: dict[str, Any],
) -> tuple[Suite, Environment]:
    """Return the suite of a release, and its environment; fetch both where they are missing.

    Args:
        django: a release, ``5.2.19``, or a series, ``6.1``, of which the newest is taken.
        python: the version of the interpreter, as ``3.13``.
        labels: as ``runtests.py`` takes them; none means all.
        processes: how many run tests at once.
        options: OPTIONS of both databases.

    Raises:
        SuiteError: if something is missing and cannot be fetched.
    """
    exact = django.count(".") == 2
    interpreter = find_python(python)
    source = source_of(f"django=={django}" if exact else f"django~={django}.0", interpreter)
    release = source.name.partition("-")[2]
    environment = prepare_environment(
        f"django-{release}-python-{python}",
        interpreter,
        ["--editable", str(source), *_requirements(source)],
    )
    command = [
        *(str(environment.python), "runtests.py", "--settings=suite_settings", "--noinput"),
        *(f"--parallel={processes}", *labels),
    ]
    scope = f"{' '.join(labels) or 'all labels'}, {processes} processes"
    settings = {"SUITE_SETTINGS": _SAMPLE_SETTINGS}
    suite = Suite(f"django-{release}", command, source / "tests", options, settings, scope)
    return suite, environment


def _requirements(source: Path) -> list[str]:
    """Return what Django's lists ask for, but what is made of a C library that may be missing.

    Its tests skip without it, over gRPC and straight.
    """
    lists = [source / "tests" / "requirements" / name for name in _REQUIREMENTS]
    lines = [
        line.partition("#")[0].strip() for path in lists for line in path.read_text().split("\n")
    ]
    return [line for line in lines if line and not line.startswith(_NEED_LIBRARIES)]
