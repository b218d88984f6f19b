"""The version matrix: ``nox`` runs the tests on each Python and Django there is here.

``nox -s tests-3.13(django='6.1')`` runs one; arguments after ``--`` go to pytest.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

# Django's own table: https://docs.djangoproject.com/en/dev/faq/install/
SUPPORTED = {
    "5.2": ("3.11", "3.12", "3.13"),
    "6.0": ("3.12", "3.13"),
    "6.1": ("3.12", "3.13"),
}
MATRIX = [(python, django) for django, pythons in SUPPORTED.items() for python in pythons]


@nox.session
@nox.parametrize(("python", "django"), MATRIX)
def tests(session: nox.Session, django: str) -> None:
    """Run the tests."""
    session.install("--quiet", "--editable", ".[dev]", f"django~={django}.0")
    session.run("python", "-m", "django", "--version")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the unit and integration tests on the lowest versions that pyproject.toml allows."""
    import tomllib
    from pathlib import Path

    from packaging.requirements import Requirement

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = []
    for line in [*project["dependencies"], *extras["server"], *extras["embedded"]]:
        requirement = Requirement(line)
        lowest_version = [s.version for s in requirement.specifier if s.operator == ">="]
        if lowest_version:
            named = ",".join(sorted(requirement.extras))
            pins.append(f"{requirement.name}{f'[{named}]' if named else ''}=={lowest_version[0]}")
    session.install(
        "--quiet",
        "--editable",
        ".[embedded]",
        *pins,
        "pytest",
        "pytest-django",
        "mypy",
        "django-stubs",
    )
    session.run("pytest", "tests/unit", "tests/integration", *session.posargs)
