"""``manage.py test`` makes, clones, keeps and destroys its databases over a shard server."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

SETTINGS = """
DATABASES = {{
    "default": {{
        "ENGINE": "mtdd_router.backend", "HOST": {host!r}, "PORT": {port!r}, "NAME": "project",
    }},
}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
SECRET_KEY = "of a test"
"""
TESTS = """
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase


class First(TestCase):
    def test_rows_are_rolled_back(self):
        Group.objects.create(name="one")
        self.assertEqual(Group.objects.count(), 1)

    def test_none_is_left(self):
        self.assertFalse(Group.objects.exists())
        self.assertRegex(connection.settings_dict["NAME"], "^test_project_[12]$")


class Second(TransactionTestCase):
    def test_tables_are_flushed(self):
        with transaction.atomic():
            Group.objects.create(name="two")

    def test_none_is_left(self):
        self.assertFalse(Group.objects.exists())
"""


@pytest.fixture
def run_tests(shard_addresses: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """Run ``manage.py test`` in two processes; return what it printed."""
    host, _, port = shard_addresses["shard1"].rpartition(":")
    (tmp_path / "project_settings.py").write_text(SETTINGS.format(host=host, port=port))
    (tmp_path / "test_project.py").write_text(TESTS)

    def run(*options: str) -> str:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "django", "test", "--noinput", "--parallel=2"),
                *("--settings=project_settings", *options),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Ran 4 tests" in done.stderr
        return done.stderr

    return run


def databases_of_tests(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_project%' ORDER BY 1"
        )
        return [name for (name,) in rows]


def test_they_are_cloned_for_processes_and_destroyed(run_tests, shard_postgres_dsn):
    said = run_tests()
    assert said.count("Cloning test database") == 2
    assert databases_of_tests(shard_postgres_dsn) == []


def test_they_are_kept_on_demand_and_used_again(run_tests, shard_postgres_dsn):
    names = ["test_project", "test_project_1", "test_project_2"]
    try:
        run_tests("--keepdb")
        assert databases_of_tests(shard_postgres_dsn) == names
        assert "Using existing" in run_tests("--keepdb")
    finally:
        run_tests()
    assert databases_of_tests(shard_postgres_dsn) == []
