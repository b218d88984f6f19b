"""``__all__`` of each public package and module is right."""

import ast
import importlib
from pathlib import Path

import django
import pytest

# It stands on django.tasks.
FROM_DJANGO_6 = (
    {"mtdd_router.task_backends", "tenants.services.jobs.task"}
    if django.VERSION < (6, 0)
    else set()
)
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "mtdd_router",
    "mtdd_router.backend",
    "mtdd_router.client",
    "mtdd_router.contrib.celery",
    "mtdd_router.dbapi",
    "mtdd_router.embedded",
    "mtdd_router.server",
    "mtdd_router.testing",
    "mtdd_router.wire",
    "tenants",
    "tenants.testing",
)


def modules_with_all() -> list[str]:
    found = []
    for package in ("mtdd_router", "tenants"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "pb" in path.parts or "__main__" in path.name:
                continue
            if "__all__" in path.read_text():
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.append(".".join(part for part in parts if part != "__init__"))
    return [name for name in found if name not in FROM_DJANGO_6]


@pytest.mark.parametrize("name", modules_with_all())
def test_every_name_in_all_exists_and_stands_in_order(name: str) -> None:
    module = importlib.import_module(name)
    missing = [exported for exported in module.__all__ if not hasattr(module, exported)]
    assert not missing
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_exactly_the_public_names_that_it_imports(name: str) -> None:
    path = ROOT.joinpath(*name.split("."), "__init__.py")
    tree = ast.parse(path.read_text())
    imported = {
        (alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(name)
        for alias in node.names
    }
    exported = set(getattr(importlib.import_module(name), "__all__", ()))
    assert {public for public in imported if not public.startswith("_")} <= exported


@pytest.mark.parametrize("name", ["mtdd_router", "tenants"])
def test_a_package_says_that_it_is_typed(name: str) -> None:
    assert (ROOT / name / "py.typed").exists()
