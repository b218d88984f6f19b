"""The README's recipe for an existing project, followed word for word in a new one."""

import os
import re
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from mtdd_router.embedded import Stack, administrator_dsns
from mtdd_router.embedded.ports import choose_port
from mtdd_router.embedded.processes import wait_until
from mtdd_router.embedded.shard_server import shard_answers
from tests.databases import drop_database

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
RECIPE = README.partition("## In an existing project")[2].partition("\n## ")[0]
PATIENCE = 60.0

MODELS = """
from django.db import models

class Book(models.Model):
    title = models.CharField(max_length=100)
    owner = models.ForeignKey("auth.User", models.CASCADE)
"""
URLS = """
from django.contrib import admin
from django.http import HttpResponse
from django.urls import path
from shop.models import Book

def books(request):
    return HttpResponse(", ".join(f"{book.title} of {book.owner}" for book in Book.objects.all()))

urlpatterns = [path("admin/", admin.site.urls), path("books/", books)]
"""
USE = """
from django.contrib.auth.models import User
from django.test import Client
from mtdd_router import tenant_context
from shop.models import Book

user = User.objects.mtdd("abc").create(username="ann")
Book.objects.mtdd("abc").create(title="Emma", owner=user)
assert User.objects.mtdd("abc").filter(id=user.id).get() == user
assert User.objects.filter(id=user.id).mtdd("abc").get() == user
assert User.objects.using("abc").get(id=user.id) == user
with tenant_context("abc"):
    assert User.objects.get(id=user.id) == user
assert not User.objects.exists()
assert Client().get("/t/abc/books/").content == b"Emma of ann"
assert Client().get("/t/nobody/books/").status_code == 404
assert Client().get("/admin/login/").status_code == 200
print("used")
"""

Manage = Callable[..., str]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", RECIPE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(stack: Stack) -> Iterator[Mapping[str, str]]:
    """What the README calls by names that may be taken here, and what it is called instead."""
    token = secrets.token_hex(4)
    dsn = administrator_dsns(stack.folder)["shard1"]
    port = conninfo_to_dict(dsn)["port"]
    name, registry = f"recipe_{token}", f"recipe_registry_{token}"
    with psycopg.connect(stack.registry_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(registry)))
    yield {
        "mtdd_shard": name,
        "DATABASE mtdd ": f"DATABASE {name} ",
        "127.0.0.1/mtdd": f"127.0.0.1:{port}/{name}",
        "127.0.0.1:7401": f"127.0.0.1:{choose_port()}",
        "the registry": registry,
    }
    with psycopg.connect(stack.registry_dsn, autocommit=True) as connection:
        drop_database(connection, registry)
    with psycopg.connect(dsn, autocommit=True) as connection:
        drop_database(connection, name)
        roles = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 't\\_abc\\_%%' OR rolname = %s", [name]
        ).fetchall()
        for role in roles:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role[0])))


@pytest.fixture
def manage(tmp_path: Path, stack: Stack, names: Mapping[str, str]) -> Manage:
    """A new project with an app, and its manage.py."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, sys.path))),
        "DJANGO_SETTINGS_MODULE": "bookshop.settings",
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "bookshop", "."], cwd=tmp_path, check=True
    )
    run("startapp", "shop")
    (tmp_path / "shop" / "models.py").write_text(MODELS)
    (tmp_path / "bookshop" / "urls.py").write_text(URLS)
    registry = conninfo_to_dict(stack.registry_dsn)
    with (tmp_path / "bookshop" / "settings.py").open("a") as settings:
        settings.write(
            textwrap.dedent(f"""
            INSTALLED_APPS += ["shop"]
            ALLOWED_HOSTS = ["testserver"]
            DATABASES = {{
                "default": {{
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": {names["the registry"]!r},
                    "USER": {registry["user"]!r},
                    "PASSWORD": {registry["password"]!r},
                    "HOST": {registry["host"]!r},
                    "PORT": {registry["port"]!r},
                }}
            }}
            """)
        )
        settings.writelines(blocks("python"))
    return run


def test_the_recipe_works_in_a_new_project(
    manage: Manage, stack: Stack, names: Mapping[str, str], tmp_path: Path
) -> None:
    def here(text: str) -> str:
        for theirs, ours in names.items():
            text = text.replace(theirs, ours)
        return text

    with psycopg.connect(administrator_dsns(stack.folder)["shard1"], autocommit=True) as superuser:
        for statement in filter(str.strip, here(blocks("sql")[0]).split(";")):
            superuser.execute(statement.encode())
    commands = [line for block in blocks("console") for line in block.splitlines()]
    (server_command,) = [line for line in commands if line.startswith("python -m ")]
    arguments = here(server_command).replace('"', "").split()[1:]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=log, stderr=log)
    try:
        address = names["127.0.0.1:7401"]
        assert wait_until(lambda: shard_answers(address), timeout=PATIENCE)
        manage("makemigrations", "shop")
        for line in commands:
            if line.startswith("python manage.py "):
                manage(*here(line).split()[2:])
        assert manage("check") == "System check identified no issues (0 silenced).\n"
        assert "No changes detected" in manage("makemigrations", "--check")
        assert manage("shell", "--no-imports", "-c", USE).endswith("used\n")
    finally:
        server.terminate()
        server.wait()
