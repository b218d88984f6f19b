"""Secrets are planted everywhere, and looked for wherever people look."""

import contextlib
import io
import json
import re
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
from django.test import Client, override_settings
from django.urls import reverse
from psycopg.conninfo import conninfo_to_dict

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import TLS
from mtdd_router.client.tokens import TokenSigner, make_key
from mtdd_router.directory import directory
from mtdd_router.embedded import Certificates, make_certificates
from mtdd_router.errors import MTDDError
from tenants import services
from tenants.models import Shard, Tenant
from tests.integration.server.conftest import _empty_database, _start
from tests.integration.server.running import RunningServer

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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("secrets"), ["127.0.0.1", "localhost"], 1)


@pytest.fixture(scope="module")
def dsn(postgres_dsn: str) -> Iterator[str]:
    with _empty_database(postgres_dsn) as empty:
        yield empty


@pytest.fixture(scope="module")
def server(made: Certificates, dsn: str) -> Iterator[RunningServer]:
    folder = made.server.parent
    make_key(folder / "web.pem")
    (folder / "callers.toml").write_text('[web]\nkeys = ["web.pub"]\ntenants = ["*"]\n')
    with contextlib.ExitStack() as cleanup:
        yield _start(
            cleanup,
            folder,
            dsn,
            callers=folder / "callers.toml",
            tls_certificate=made.server,
            tls_key=made.server_key,
            tls_client_ca=made.authority,
            log_level="debug",
            environment={
                "MTDD_SHARD_ADMIN_TOKEN": ADMIN_TOKEN,
                "MTDD_SHARD_DATA_TOKEN": DATA_TOKEN,
            },
        )


@pytest.fixture
def planted(
    transactional_db: None, server: RunningServer, made: Certificates, dsn: str, settings: Any
) -> Iterator[Planted]:
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
        "PostgreSQL's password": str(conninfo_to_dict(dsn)["password"]),
    }
    folder = made.server.parent
    for name in ("web", "server-key", "client-key", "ca-key"):
        secrets[f"the key {name}"] = (folder / f"{name}.pem").read_text().splitlines()[1]
    directory.forget()
    services.register_shard("one", server.address)
    services.create_tenant("abc", shard="one")
    yield Planted(server, folder, secrets)
    connections.close_all()
    directory.forget()
    admin = ShardAdmin(server.address, token=ADMIN_TOKEN, tls=TLS.of(settings.MTDD_SHARD_TLS))
    for tenant in admin.placements().placements:
        admin.drop_namespace(tenant)


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
    assert len(family) == 2
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


@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
def test_djangos_page_of_an_error_holds_none(planted: Planted, settings: Any, accept: str) -> None:
    settings.DEBUG = True
    settings.MTDD_SHARD_KEY = {"caller": "web", "file": str(planted.folder / "web.pem")}
    # As a development server has them, beside what the browser sends.
    environment = {
        "MTDD_SHARD_ADMIN_TOKEN": ADMIN_TOKEN,
        "MTDD_SHARD_DSN": f"password={DATA_TOKEN}",
    }
    client = Client(raise_request_exception=False, headers={"accept": accept})
    client.cookies[settings.SESSION_COOKIE_NAME] = "a-session-that-is-looked-up"
    for token, option in ((WRONG_TOKEN, None), (ADMIN_TOKEN, "sslmode")):
        settings.MTDD_SHARD_TOKEN = token
        connections.close_all()
        if hasattr(connections._connections, "abc"):
            del connections["abc"]
        if option:
            connections["abc"].settings_dict["OPTIONS"][option] = "require"
        answer = client.get("/t/abc/admin/", **environment)
        page = answer.content.decode()
        assert answer.status_code == 500
        assert "MTDD_SHARD_TOKEN" in page
        assert "MTDD_SHARD_DSN" in page
        assert planted.found_in(page) == []
    del connections["abc"]
