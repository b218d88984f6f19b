"""The production settings take everything from the environment, or refuse by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from settings.environment import Environment, as_bool, as_database, as_list

ROOT = Path(__file__).resolve().parents[3]
REQUIRED = {
    "DJANGO_SECRET_KEY": "0123456789abcdef" * 4,
    "DJANGO_ALLOWED_HOSTS": "example.com, www.example.com",
    "MTDD_SHARD_TOKEN": "token-of-the-shards",
    "MTDD_REGISTRY_DSN": "postgresql://user:secret@db.example.com:6432/registry?sslmode=require",
}


def load(variables: dict[str, str], show: str = "") -> subprocess.CompletedProcess[str]:
    """Import the production settings in a process with these variables only."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", f"from settings import production as p\n{show}"],
        env=inherited | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_missing_variables_are_named_at_once() -> None:
    done = load({})
    assert done.returncode != 0
    assert all(f"{name} is not set" in done.stderr for name in REQUIRED)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_single_missing_variable_is_named(name: str) -> None:
    done = load({key: value for key, value in REQUIRED.items() if key != name})
    assert f"{name} is not set." in done.stderr


def test_a_caller_with_a_key_needs_no_token() -> None:
    signing = {**REQUIRED, "MTDD_SHARD_CALLER": "web", "MTDD_SHARD_KEY_FILE": "/etc/web.pem"}
    del signing["MTDD_SHARD_TOKEN"]
    done = load(signing, show="print(p.MTDD_SHARD_KEY)")
    assert done.stdout == "{'caller': 'web', 'file': '/etc/web.pem'}\n"
    del signing["MTDD_SHARD_KEY_FILE"]
    assert "MTDD_SHARD_KEY_FILE is not set." in load(signing).stderr


def test_a_wrong_variable_is_named_without_its_value() -> None:
    done = load(REQUIRED | {"MTDD_REGISTRY_DSN": "hunter2", "DJANGO_HTTPS": "perhaps"})
    assert "MTDD_REGISTRY_DSN is wrong: not a PostgreSQL connection string" in done.stderr
    assert "DJANGO_HTTPS is wrong: say 1 or 0" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_complete_environment_is_taken() -> None:
    done = load(
        REQUIRED,
        show="d = p.DATABASES['default']; print(d['HOST'], d['PORT'], d['NAME'], d['OPTIONS'], "
        "p.ALLOWED_HOSTS, p.DEBUG, p.SECURE_SSL_REDIRECT)",
    )
    assert done.stderr == ""
    assert done.stdout.split(maxsplit=3) == [
        "db.example.com",
        "6432",
        "registry",
        "{'sslmode': 'require'} ['example.com', 'www.example.com'] False True\n",
    ]


def test_django_finds_nothing_to_complain_about_for_a_deployment() -> None:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--settings", "settings.production"],
        env=inherited | REQUIRED,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # HSTS for subdomains and preloading are promises about a whole domain.
    warnings = [line for line in done.stderr.splitlines() if line.startswith("?:")]
    assert all("security.W005" in line or "security.W021" in line for line in warnings)


def test_an_optional_variable_has_its_default() -> None:
    environment = Environment({"EMPTY": ""})
    assert environment.optional("ABSENT", 7, int) == 7
    assert environment.optional("EMPTY", 7, int) == 7
    environment.check()


def test_a_required_variable_that_is_empty_counts_as_missing() -> None:
    environment = Environment({"EMPTY": ""})
    assert environment.required("EMPTY", str) is None
    with pytest.raises(ImproperlyConfigured, match="EMPTY is not set"):
        environment.check()


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("Yes", True), ("off", False), ("0", False)]
)
def test_a_switch_is_read(text: str, *, value: bool) -> None:
    assert as_bool(text) is value


def test_a_list_is_parted_by_commas_or_white_space() -> None:
    assert as_list("a, b c") == ["a", "b", "c"]


def test_a_dsn_becomes_an_entry_of_databases() -> None:
    assert as_database("host=/run/pg dbname=x connect_timeout=3") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "x",
        "USER": "",
        "PASSWORD": "",
        "HOST": "/run/pg",
        "PORT": "",
        "OPTIONS": {"connect_timeout": "3"},
    }
