"""Secrets are planted everywhere, and looked for wherever people look."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command, get_commands
from django.db import connections
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from django.views.debug import ExceptionReporter
from psycopg.conninfo import conninfo_to_dict

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import TLS
from mtdd_router.client.tokens import TokenSigner, make_key
from mtdd_router.directory import directory
from mtdd_router.embedded import make_certificates
from mtdd_router.errors import MTDDError
from tenants import services
from tenants.models import Shard, Tenant
from tests.integration.server.running import RunningServer, StartServer

ADMIN_TOKEN = "planted-admin-token-5f1c"
DATA_TOKEN = "planted-data-token-77ab"
WRONG_TOKEN = "planted-wrong-token-90de"
VALUE = "planted-value-31c4"


@dataclass
class Planted:
    """A shard whose server, and a project whose settings, are full of secrets."""

    server: RunningServer
    folder: Path
    secrets: dict[str, str]

    def found_in(self, text: str) -> list[str]:
        return [name for name, secret in self.secrets.items() if secret in text]


@pytest.fixture
def planted(
    transactional_db: None,
    start_server: StartServer,
    shard_dsn: str,
    tmp_path: Path,
    settings: Any,
) -> Iterator[Planted]:
    made = make_certificates(tmp_path, ["127.0.0.1", "localhost"], 1)
    make_key(tmp_path / "web.pem")
    (tmp_path / "callers.toml").write_text('[web]\nkeys = ["web.pub"]\ntenants = ["*"]\n')
    server = start_server(
        callers=tmp_path / "callers.toml",
        tls_certificate=made.server,
        tls_key=made.server_key,
        tls_client_ca=made.authority,
        log_level="debug",
        workers=2,
        environment={
            "MTDD_SHARD_ADMIN_TOKEN": ADMIN_TOKEN,
            "MTDD_SHARD_DATA_TOKEN": DATA_TOKEN,
        },
    )
    settings.MTDD_SHARD_TOKEN = ADMIN_TOKEN
    settings.MTDD_SHARD_TLS = {
        "authorities": str(made.authority),
        "certificate": str(made.client),
        "key": str(made.client_key),
    }
    secrets = {
        "the admin token": ADMIN_TOKEN,
        "the data token": DATA_TOKEN,
        "a wrong token": WRONG_TOKEN,
        "a value": VALUE,
        "PostgreSQL's password": str(conninfo_to_dict(shard_dsn)["password"]),
        "the registry's password": settings.DATABASES["default"]["PASSWORD"] + "@never",
    }
    for name in ("web", "server-key", "client-key", "ca-key"):
        lines = (tmp_path / f"{name}.pem").read_text().splitlines()
        secrets[f"the key {name}"] = lines[1]
    directory.forget()
    services.register_shard("one", server.address)
    services.create_tenant("abc", shard="one")
    yield Planted(server, tmp_path, secrets)
    connections.close_all()
    directory.forget()


def signed(planted: Planted, **bounds: Any) -> str:
    shard_id = Shard.objects.get().shard_id
    assert shard_id
    return TokenSigner("web", str(planted.folder / "web.pem"), **bounds).token(shard_id)


def failures(planted: Planted) -> list[str]:
    """Do all kinds of things that fail; return what is said."""
    said = []
    address, tls = planted.server.address, TLS.of(settings_tls())
    token = signed(planted)
    planted.secrets["a signed token"] = token
    planted.secrets["a long-lived token"] = signed(planted, lifetime=9000.0)
    for shown in (WRONG_TOKEN, token, f"{token}x", planted.secrets["a long-lived token"], ""):
        try:
            ShardAdmin(address, token=shown, tls=tls).info()
        except MTDDError as exc:
            said += [str(exc), repr(exc)]
    with contextlib.suppress(MTDDError):
        ShardAdmin(address, token=ADMIN_TOKEN).info()
    users = User.objects.mtdd("abc")
    users.create(username=VALUE)
    for statement, values in (
        ("INSERT INTO auth_user (username) VALUES (%s)", [VALUE]),
        ("SELECT %s::int", [VALUE]),
        ("SELECT set_config('role', %s, false)", [VALUE]),
        ("SELECT nonsense FROM nowhere WHERE x = %s", [VALUE]),
        (f"SELECT '{VALUE}' FROM", []),
        (f"DO $$ BEGIN RAISE EXCEPTION '{VALUE}'; END $$", []),
    ):
        try:
            connections["abc"].cursor().execute(statement, values)
        except Exception as exc:
            # What PostgreSQL says of a statement to who sent it is theirs.
            if not isinstance(exc.__cause__, psycopg.Error) or isinstance(exc, MTDDError):
                said.append(str(exc))
    return said


def settings_tls() -> Any:
    from django.conf import settings

    return settings.MTDD_SHARD_TLS


def test_logs_and_errors_hold_none(planted: Planted) -> None:
    said = "\n".join(failures(planted))
    assert "the token is missing or wrong" in said
    assert planted.found_in(said) == []
    log = planted.server.log.read_text()
    assert '"level": "debug"' in log
    assert planted.found_in(log) == []
    # A session's id lets one cancel what it runs.
    assert not re.search(r"\b\d-[0-9a-f]{32}\b", log)


def test_the_list_of_processes_holds_none(planted: Planted) -> None:
    process = psutil.Process(planted.server.process.pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) >= 3
    shown = "\n".join(f"{item.name()} {' '.join(item.cmdline())}" for item in family)
    assert planted.found_in(shown) == []


# What each command is given; those that are not here start, stop or open something.
COMMANDS: dict[str, list[str]] = {
    "add_domain": ["abc", "abc.example.com"],
    "archive_tenant": ["abc", "--to={folder}/abc.dump"],
    "audit_log": [],
    "check_shards": [],
    "check_tenants": [],
    "clone_tenant": ["abc", "copy"],
    "create_tenant": ["xyz"],
    "create_tenants": ["{folder}/new.csv"],
    "delete_tenant": ["copy"],
    "drop_redirect": ["nobody"],
    "edit_shard": ["one", "--weight=2"],
    "export_tenant": ["abc", "--to={folder}/abc-csv", "--format=csv"],
    "freeze_tenant": ["abc"],
    "list_domains": [],
    "list_shards": [],
    "list_tenants": ["--sizes"],
    "migrate_tenants": [],
    "mtdd_certs": ["--folder={folder}/certs"],
    "mtdd_key": ["ops", "--to={folder}/ops.pem"],
    "purge_tenants": [],
    "register_shard": ["two", "{address}"],
    "remove_domain": ["abc.example.com"],
    "remove_shard": ["one"],
    "rename_tenant": ["xyz", "xyz2"],
    "restore_tenant": ["{folder}/abc.dump", "--name=back"],
    "show_tenant": ["abc"],
    "undelete_tenant": ["copy"],
    "unfreeze_tenant": ["abc"],
}
# They run a server or a shell, or what they print is the token that was asked for.
OTHERS = {
    "all_tenants_command", "mtdd_down", "mtdd_prepare", "mtdd_status", "mtdd_token", "mtdd_up",
    "run_jobs", "run_shard", "tenant_command", "tenant_shell",
}  # fmt: skip


def test_what_commands_print_holds_none(planted: Planted) -> None:
    ours = {name for name, app in get_commands().items() if app == "tenants"}
    assert set(COMMANDS) | OTHERS == ours
    (planted.folder / "new.csv").write_text("name\nnew\n")
    User.objects.mtdd("abc").create(username=VALUE)
    for name, arguments in COMMANDS.items():
        given = [
            item.format(folder=planted.folder, address=planted.server.address) for item in arguments
        ]
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command(name, *given, "--json", stdout=out, stderr=err)
        except CommandError as exc:
            err.write(str(exc))
        json.loads(out.getvalue())
        assert planted.found_in(out.getvalue() + err.getvalue()) == [], name


def test_the_admins_pages_hold_none(planted: Planted, client: Client) -> None:
    client.force_login(User.objects.db_manager("default").create_superuser("admin"))
    services.freeze_tenant("abc")
    pages = [reverse("admin:index")]
    models = ("shard", "tenant", "job", "migrationrun", "auditentry", "tenantdomain")
    pages += [reverse(f"admin:tenants_{model}_changelist") for model in models]
    pages.append(reverse("admin:tenants_shard_change", args=[Shard.objects.get().pk]))
    pages.append(reverse("admin:tenants_tenant_change", args=[Tenant.objects.get().pk]))
    for token in (ADMIN_TOKEN, WRONG_TOKEN):
        # The pages tell what a shard says, a refusal, too.
        with override_settings(MTDD_SHARD_TOKEN=token):
            for page in pages:
                answer = client.get(page)
                assert answer.status_code == 200, page
                assert planted.found_in(answer.content.decode()) == [], page


@pytest.mark.parametrize("how", ["html", "text"])
def test_django_s_page_of_an_error_holds_none(
    planted: Planted, rf: RequestFactory, settings: Any, how: str
) -> None:
    settings.MTDD_SHARD_KEY = {"caller": "web", "file": str(planted.folder / "web.pem")}
    environment = {
        "MTDD_SHARD_ADMIN_TOKEN": ADMIN_TOKEN,
        "MTDD_SHARD_DSN": f"password={DATA_TOKEN}",
    }
    request = rf.get("/", **environment)
    shown = []
    for token in (ADMIN_TOKEN, WRONG_TOKEN):
        settings.MTDD_SHARD_TOKEN = token
        connections.close_all()
        if hasattr(connections._connections, "abc"):
            del connections["abc"]
        try:
            if token == ADMIN_TOKEN:
                connections["abc"].settings_dict["OPTIONS"]["sslmode"] = "require"
            User.objects.mtdd("abc").count()
        except Exception:
            reporter = ExceptionReporter(request, *sys.exc_info())
            shown.append(
                reporter.get_traceback_html() if how == "html" else reporter.get_traceback_text()
            )
    assert len(shown) == 2
    for page in shown:
        assert "MTDD_SHARD_TOKEN" in page
        assert planted.found_in(page) == []
