"""What the pages in docs/ show is right: commands, code, settings and links."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def found(pattern: str, flags: int = 0) -> list[tuple[str, str]]:
    """Return (page, what the pattern's group matched) of all pages."""
    return [
        (page.name, match)
        for page in PAGES
        for match in re.findall(pattern, page.read_text(), flags)
    ]


def blocks(language: str) -> list[tuple[str, str]]:
    return found(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_the_code_is_python(page: str, code: str) -> None:
    ast.parse(code)


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (page, line)
        for page, block in blocks("console")
        for line in block.splitlines()
        if line.startswith("python manage.py ")
    ],
)
def test_the_management_command_takes_these_arguments(page: str, line: str) -> None:
    name, *arguments = shlex.split(line)[2:]
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(arguments)


@pytest.mark.parametrize(
    ("page", "path"), sorted(set(found(r"\"((?:mtdd_router|tenants)(?:\.\w+)+)\"")))
)
def test_every_path_leads_to_something(page: str, path: str) -> None:
    try:
        import_module(path)  # A module, as SESSION_ENGINE wants it.
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name)


@pytest.mark.parametrize(("page", "target"), found(r"\]\(([^)#]+)"))
def test_every_link_leads_somewhere(page: str, target: str) -> None:
    assert target.startswith("https://") or (ROOT / "docs" / target).exists()
