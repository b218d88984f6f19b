"""``manage.py dbshell``: real psql, in a database of a shard and in a tenant."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mtdd_router.embedded.binaries import postgres_programs

SETTINGS = """
DATABASES = {{
    "default": {{
        "ENGINE": "mtdd_router.backend", "HOST": {host!r}, "PORT": {port!r}, "NAME": {name!r},
    }},
}}
SECRET_KEY = "of a test"
"""


@pytest.fixture(autouse=True)
def psql_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{postgres_programs(None)}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PSQLRC", os.devnull)
    # Else psql would start a pager in a terminal.
    monkeypatch.setenv("PAGER", "")


@pytest.fixture
def dbshell(
    shard_addresses: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start ``manage.py dbshell`` on a database of a shard."""
    host, _, port = shard_addresses["shard1"].rpartition(":")
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, database: str = "mtdd") -> "subprocess.Popen[str]":
        settings = SETTINGS.format(host=host, port=port, name=database)
        (tmp_path / "shell_settings.py").write_text(settings)
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "dbshell", "--", *arguments],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "shell_settings",
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_it_runs_what_psql_is_given(dbshell):
    script = """
        CREATE TABLE of_dbshell (id int, word text);
        BEGIN; SELECT 1/0; SELECT 2; ROLLBACK;
        \\copy of_dbshell from stdin
1\tone
2\tzwölf
\\.
        COPY of_dbshell TO STDOUT;
        \\d of_dbshell
        LISTEN news; NOTIFY news, 'heard';
        DROP TABLE of_dbshell;
    """
    out, err = dbshell("-A").communicate(script, timeout=60)
    assert "1\tone\n2\tzwölf\n" in out
    assert "word|text" in out
    assert 'notification "news" with payload "heard"' in out
    assert err.count("ERROR:") == 2
    assert "division by zero" in err


def test_a_large_result_comes_whole(dbshell):
    query = "SELECT n, repeat('x', 50) FROM generate_series(1, 100000) n"
    out, err = dbshell("-A", "-t", "-c", query).communicate(timeout=60)
    assert not err
    assert out.count("\n") == 100_000
    assert out.endswith(f"100000|{'x' * 50}\n")


def test_control_c_cancels_the_statement(dbshell):
    process = dbshell("-c", "SELECT pg_sleep(60)")
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert "canceling statement due to user request" in err
    assert process.returncode == 1


def test_what_cannot_be_reached_is_said(dbshell):
    process = dbshell("-c", "SELECT 1", database="nowhere")
    _, err = process.communicate(timeout=60)
    assert 'database "nowhere" does not exist' in err
    assert process.returncode == 1


def test_a_tenant_has_its_own_tables_only(tenant_factory, capfd):
    tenant_factory("abc", shard="shard1")
    query = "SELECT current_schema() = current_user, count(*) FROM auth_user"
    call_command("tenant_command", "abc", "dbshell", "--", "-A", "-t", "-c", query)
    assert "t|0" in capfd.readouterr().out
    with pytest.raises(CommandError):
        call_command("tenant_command", "abc", "dbshell", "--", "-c", "SET ROLE mtdd_shard")
    assert "refused" in capfd.readouterr().err


def test_a_tenant_that_there_is_not_is_named(tenant_factory: Any, capfd):
    with pytest.raises(Exception, match="nobody"):
        call_command("tenant_command", "nobody", "dbshell")
