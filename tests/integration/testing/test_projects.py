"""docs/testing.md, followed word for word in a new project, by Django's runner and by pytest."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.embedded import Stack
from mtdd_router.embedded.shard_server import shard_answers
from mtdd_router.types import Isolation, Placement, TenantState

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "testing.md").read_text()
ADDRESS = "127.0.0.1:7401"
SETTINGS, DJANGO, PYTEST = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMON = """
import mtdd_router

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
IN_BOTH = [f"django.contrib.{app}" for app in ("auth", "contenttypes", "sessions")]
INSTALLED_APPS = [*IN_BOTH, "mtdd_router", "tenants", "shop"]
TENANT_APPS, SHARED_APPS = [*IN_BOTH, "shop"], [*IN_BOTH, "tenants"]
MIDDLEWARE = [
    "mtdd_router.TenantMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]
MTDD_RESOLVERS = ["mtdd_router.resolvers.PathResolver"]
DATABASE_ROUTERS = ["mtdd_router.TenantRouter"]
DATABASES = mtdd_router.databases({"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": %(NAME)r, "USER": %(user)r,
    "PASSWORD": %(password)r, "HOST": %(host)r, "PORT": %(port)r,
}})
"""
FILES = {
    "shop/__init__.py": "",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models

class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Book", [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=100)),
    ])]
""",
    "shop/models.py": """
from django.db import models

class Book(models.Model):
    title = models.CharField(max_length=100)
""",
    "shop/urls.py": """
from django.http import HttpResponse
from django.urls import path
from shop.models import Book

def books(request):
    return HttpResponse(", ".join(book.title for book in Book.objects.all()))

urlpatterns = [path("books/", books)]
""",
    "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = project_settings\npythonpath = .\n",
}
WHERE = """
from tenants.models import Shard
from tenants.testing import TenantTestCase

class First(TenantTestCase):
    def test_where(self):
        print("at", Shard.objects.get().address, flush=True)

class Second(First):
    pass
"""
Run = Callable[..., str]


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    """The address of a shard on which a real tenant lives."""
    return stack.shard_servers[0].address


@pytest.fixture
def run(tmp_path: Path, stack: Stack, address: str) -> Run:
    """Make the project; run a module of Python in it, and return what it printed."""
    registry = conninfo_to_dict(stack.registry_dsn)
    common = COMMON % {**registry, "NAME": f"shop_{secrets.token_hex(4)}"}
    given = SETTINGS.replace(ADDRESS, address)
    assert given != SETTINGS
    files = FILES | {
        "project_settings.py": common + given,
        "shop/test_books.py": DJANGO,
        "tests/test_with_pytest.py": PYTEST,
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def run(*arguments: str, well: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
                "DJANGO_SETTINGS_MODULE": "project_settings",
                "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is well, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def tenants(address: str) -> dict[str, Placement]:
    return dict(ShardAdmin(address).placements().placements)


def test_djangos_runner_runs_them_in_processes_and_leaves_nothing(run: Run, address: str) -> None:
    real = Placement("test-school", Isolation.SCHEMA, "t_school", "t_school", 1, TenantState.ACTIVE)
    admin = ShardAdmin(address)
    admin.create_namespace(real)
    before = tenants(address)
    try:
        said = run("-m", "django", "test", "--noinput", "--parallel=2")
        assert "Ran 4 tests" in said
        assert said.count("Cloning test database") == 2
        assert tenants(address) == before
    finally:
        admin.drop_namespace("test-school")


def test_they_are_kept_on_demand_and_used_again(run: Run, address: str) -> None:
    before = set(tenants(address))
    test = ("-m", "django", "test", "--noinput", "shop.test_books.BookTests")
    run(*test, "--keepdb")
    there = tenants(address)
    assert {name.rpartition("-")[2] for name in set(there) - before} == {"emma", "ann"}
    run(*test, "--keepdb")
    assert tenants(address) == there
    # As after a run that was killed: the registry is new, and what it had is found by its mark.
    run(*test)
    assert set(tenants(address)) == before


def test_pytest_runs_them_and_leaves_nothing(run: Run, address: str) -> None:
    before = tenants(address)
    said = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", "shop/test_books.py::BookTests"
    )
    assert "6 passed" in said
    assert tenants(address) == before


def test_a_registry_that_is_not_for_tests_is_left_alone(run: Run, address: str) -> None:
    before = tenants(address)
    without = "import django, unittest; django.setup(); unittest.main('shop.test_books')"
    said = run("-c", without, well=False)
    assert "not one that Django has made for tests" in said
    assert tenants(address) == before


def test_a_stack_of_the_run_alone_is_shared_by_its_processes_and_gone_with_it(
    run: Run, tmp_path: Path
) -> None:
    settings = tmp_path / "project_settings.py"
    settings.write_text(settings.read_text() + "\nMTDD_TEST_SHARDS = 'embedded'\n")
    (tmp_path / "shop" / "test_where.py").write_text(WHERE)
    said = run("-m", "django", "test", "--noinput", "--parallel=2", "shop")
    assert "Ran 6 tests" in said
    addresses = set(re.findall(r"at (127\.0\.0\.1:\d+)", said))
    assert len(addresses) == 1
    assert not shard_answers(addresses.pop())
