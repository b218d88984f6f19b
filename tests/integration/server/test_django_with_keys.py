"""A Django project that signs its own tokens, and the commands that go with them."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.db import DatabaseError, connections
from django.test import override_settings

from mtdd_router.checks import check_values
from mtdd_router.directory import directory
from mtdd_router.errors import MTDDError
from tenants import services
from tenants.services.identity import admin_of
from tests.integration.server.running import StartServer
from tests.integration.tenants.conftest import run, run_json


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys of web and reports, and a file of callers."""
    for caller in ("web", "reports"):
        run_json("mtdd_key", caller, f"--to={tmp_path / caller}.pem")
    (tmp_path / "callers.toml").write_text(
        '[web]\nkeys = ["web.pub"]\nadmin = true\n'
        '[reports]\nkeys = ["reports.pub"]\ntenants = ["*"]\nread_only = true\n'
    )
    return tmp_path


@pytest.fixture
def shard(transactional_db: None, start_server: StartServer, keys: Path, settings: Any) -> Any:
    """A registered shard with a tenant, of a server that knows the callers."""
    server = start_server(callers=keys / "callers.toml")
    settings.MTDD_SHARD_KEY = {"caller": "web", "file": keys / "web.pem"}
    directory.forget()
    shard = services.register_shard("one", server.address)
    services.create_tenant("abc", shard="one")
    yield shard
    connections.close_all()
    directory.forget()


def _forget_connection() -> None:
    """Let the next query of abc be made under the settings of then."""
    connections.close_all()
    if hasattr(connections._connections, "abc"):
        del connections["abc"]


def test_a_project_makes_and_uses_a_tenant_by_its_key(shard: Any) -> None:
    assert list(check_values()) == []
    User.objects.mtdd("abc").create(username="ann")
    assert [user.username for user in User.objects.mtdd("abc")] == ["ann"]
    assert [status.error for status in services.inspect_shards([shard])] == [""]


def test_a_project_that_may_only_read_reads(shard: Any, keys: Path) -> None:
    User.objects.mtdd("abc").create(username="ann")
    _forget_connection()
    with override_settings(MTDD_SHARD_KEY={"caller": "reports", "file": keys / "reports.pem"}):
        users = User.objects.mtdd("abc")
        assert [user.username for user in users] == ["ann"]
        with pytest.raises(DatabaseError, match="'reports' may only read, and Insert"):
            users.create(username="eve")
        with pytest.raises(DatabaseError, match="'reports' may only read, and Update"):
            users.update(username="eve")
        with pytest.raises(MTDDError, match="'reports' may not administer the shard"):
            services.create_tenant("xyz", shard="one")
        _forget_connection()


def test_another_shard_gets_no_token_of_this_one(shard: Any) -> None:
    # Whatever answers there now is shown only a token for the shard that is registered.
    shard.shard_id = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(MTDDError, match="the token is for another shard than this one"):
        admin_of(shard).info()


def test_a_token_is_made_for_a_caller_and_narrowed(shard: Any, keys: Path) -> None:
    made = run_json("mtdd_token", "one", "--tenant=abc", "--read-only", "--lifetime=60")
    _forget_connection()
    with override_settings(MTDD_SHARD_KEY=None, MTDD_SHARD_TOKEN=made["token"]):
        assert not User.objects.mtdd("abc").exists()
        with pytest.raises(DatabaseError, match="'web' may only read"):
            User.objects.mtdd("abc").create(username="eve")
        _forget_connection()
    other = run("mtdd_token", "one", "--caller=reports", f"--key={keys / 'reports.pem'}")
    assert other.strip().count(".") == 2
    with pytest.raises(CommandError, match="--caller and --key belong together"):
        run("mtdd_token", "one", "--caller=reports")


def test_a_key_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    made = run_json("mtdd_key", "web", f"--to={tmp_path / 'web.pem'}")
    assert Path(made["private"]).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in Path(made["public"]).read_text()
    with pytest.raises(CommandError, match="is there already"):
        run("mtdd_key", "web", f"--to={tmp_path / 'web.pem'}")
    said = run("mtdd_key", "web", f"--to={tmp_path / 'web-2.pem'}")
    assert "[web]" in said
    assert "keys = [" in said


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"caller": "web"}, "lacks file"),
        ({"file": "x"}, "lacks caller"),
        ({"caller": "web", "file": "/nowhere/web.pem"}, "No such file"),
        ({"caller": "web", "file": __file__}, "no unencrypted Ed25519 private key"),
        ({"caller": "web", "file": "x", "life": 3}, "must be a dict of caller, file, lifetime"),
        ({"caller": "web", "file": "x", "lifetime": 0}, "lifetime must be"),
        ("web.pem", "must be a dict"),
    ],
)
def test_a_wrong_key_is_found_by_the_system_check(settings: Any, setting: Any, why: str) -> None:
    settings.MTDD_SHARD_KEY = setting
    (found,) = check_values()
    assert found.id == "mtdd.E070"
    assert why in found.msg
