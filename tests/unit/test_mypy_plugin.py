"""What mypy says of ``.mtdd()``."""

import subprocess
import sys
from pathlib import Path

CONFIG = """
[tool.mypy]
strict = true
plugins = ["mtdd_router.mypy_plugin", "mypy_django_plugin.main"]
[tool.django-stubs]
django_settings_module = "settings.test"
"""

SAMPLE = """
from django.contrib.auth.models import User
from django.db import models

class BookQuerySet(models.QuerySet["Book"]):
    def cheap(self) -> "BookQuerySet":
        return self

class Book(models.Model):
    objects = BookQuerySet.as_manager()
    class Meta:
        app_label = "flights"

reveal_type(User.objects.mtdd("abc"))
reveal_type(User.objects.filter(id=1).mtdd("abc"))
reveal_type(User.objects.mtdd("abc").get(id=1))
reveal_type(User.objects.values_list("id", flat=True).mtdd("abc"))
reveal_type(Book.objects.mtdd("abc").cheap())
User.objects.mtdd(3)
User.objects.mtdd()
"""

EXPECTED = [
    "QuerySet[django.contrib.auth.models.User, django.contrib.auth.models.User]",
    "QuerySet[django.contrib.auth.models.User, django.contrib.auth.models.User]",
    '"django.contrib.auth.models.User"',
    "QuerySet[django.contrib.auth.models.User, int]",
    "sample.BookQuerySet",
    'incompatible type "int"; expected "str"',
    'Missing positional argument "tenant"',
]


def test_managers_and_querysets_keep_their_types(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    (tmp_path / "sample.py").write_text(SAMPLE)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            str(tmp_path / "pyproject.toml"),
            "--cache-dir",
            str(tmp_path / "cache"),
            str(tmp_path / "sample.py"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    lines = [line for line in done.stdout.splitlines() if "sample.py:" in line]
    assert len(lines) == len(EXPECTED), done.stdout + done.stderr
    for line, expected in zip(lines, EXPECTED, strict=True):
        assert expected in line
