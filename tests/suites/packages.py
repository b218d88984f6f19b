"""The test suites of packages that lean on the database, as their authors publish them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import django

from tests.suites.environments import (
    CACHE,
    Environment,
    find_python,
    prepare_environment,
    source_of,
)
from tests.suites.running import Suite

__all__ = ["PACKAGES", "package_suite"]


@dataclass(frozen=True)
class Package:
    """How a package's suite is run: its settings, what it needs, what its settings read."""

    settings: str
    requirements: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


PACKAGES: Final[Mapping[str, Package]] = {
    # Trees by SQL of its own, PostgreSQL's ltree among it.
    "django-treebeard": Package("tests.settings", environment={"DATABASE_ENGINE": "psql"}),
    # Permissions of single objects: joins and casts of generic keys, and migrations.
    "django-guardian": Package("guardian.testapp.testsettings", ("django-environ",)),
    "django-filter": Package(
        "tests.settings", ("djangorestframework", "django-crispy-forms", "markdown", "pytz")
    ),
}


def package_suite(name: str, python: str, options: dict[str, Any]) -> tuple[Suite, Environment]:
    """Return the suite of a package's newest release, and its environment.

    Raises:
        SuiteError: if something is missing and cannot be fetched.
    """
    package = PACKAGES[name]
    interpreter = find_python(python)
    source = source_of(name, interpreter)
    # Else pytest would find this project's own settings above a package that has none.
    (CACHE / "pytest.ini").write_text("[pytest]\n")
    environment = prepare_environment(
        f"{name}-python-{python}",
        interpreter,
        [
            *(f"django=={django.__version__}", str(source), *package.requirements),
            *("pytest", "pytest-django", "psycopg-pool"),
        ],
    )
    command = [
        *(str(environment.python), "-m", "pytest", "--ds=suite_settings"),
        *("-p", "suite_pytest", "--create-db", "-q"),
    ]
    return (
        Suite(
            source.name,
            command,
            source,
            options,
            {"SUITE_SETTINGS": package.settings, **package.environment},
        ),
        environment,
    )
