"""Every command and every line of code in the README is true.

``make demo`` and ``make test`` are run by ``.ci/run``; a test within ``make test``
cannot run them. Here each command is parsed by the program that it names;
``tests/e2e/test_existing_project.py`` follows the recipe for an existing project.
"""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.utils.module_loading import import_string

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("console") for line in block.splitlines() if line]
CI = (ROOT / ".ci" / "run").read_text()


def of(program: str) -> list[str]:
    return [line for line in COMMANDS if line.startswith(program)]


def test_there_is_no_command_that_these_tests_do_not_know() -> None:
    known = {*of("make "), *of("pip install "), *of("python manage.py "), *of("python -m ")}
    assert set(COMMANDS) == known


@pytest.mark.parametrize("line", of("make "))
def test_the_makefile_has_the_target_and_ci_runs_it(line: str) -> None:
    target = shlex.split(line)[1]
    subprocess.run(
        ["make", "--dry-run", "--silent", target], cwd=ROOT, check=True, capture_output=True
    )
    assert f"make --no-print-directory {target}\n" in CI


@pytest.mark.parametrize("line", of("python manage.py "))
def test_the_management_command_takes_these_arguments(line: str) -> None:
    name, *arguments = shlex.split(line)[2:]
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(arguments)


@pytest.mark.parametrize("line", of("pip install "))
def test_the_extras_exist(line: str) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.fullmatch(rf"{project['name']}\[([a-z,]+)\]", shlex.split(line)[2])
    assert named
    assert set(named[1].split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("line", of("python -m "))
def test_the_shard_server_takes_these_arguments(line: str) -> None:
    from mtdd_router.server.config import load_config

    assert line.split()[2] == "mtdd_router.server"
    load_config(shlex.split(line)[3:], {})


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_is_python(code: str) -> None:
    ast.parse(code)


def test_the_settings_name_things_that_exist() -> None:
    code = next(block for block in blocks("python") if "DATABASES" in block)
    namespace: dict[str, object] = {"DATABASES": {}, "INSTALLED_APPS": [], "MIDDLEWARE": []}
    exec(code, namespace)  # noqa: S102 - it is our own README
    for setting in ("DATABASE_ROUTERS", "MIDDLEWARE", "MTDD_RESOLVERS"):
        for path in namespace[setting]:  # type: ignore[attr-defined]
            import_string(path)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()
