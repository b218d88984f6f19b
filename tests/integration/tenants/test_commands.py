"""The commands: tables for people, JSON for programs, exit codes for scripts."""

import io
import json
import os
import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections

from mtdd_router.embedded.ports import choose_port
from tenants import services
from tenants.models import Shard, Tenant
from tenants.services import MigrationTarget
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import kill, names, run, run_json

BACK = MigrationTarget("auth", "0011_update_proxy_permissions")


@pytest.fixture
def abc(tenant_factory):
    tenant = tenant_factory("abc", shard="shard1")
    User.objects.using("abc").create(username="somebody")
    return tenant


# Shards


def test_a_shard_is_registered_listed_edited_and_removed(transactional_db, spare_server):
    address = spare_server.address
    assert "Registered shard spare" in run("register_shard", "spare", address, "--weight=3")
    listed = run("list_shards")
    assert all(word in listed for word in ("spare", address, "up", "PostgreSQL"))
    (data,) = run_json("list_shards")
    assert (data["name"], data["weight"], data["healthy"], data["tenants"]) == ("spare", 3, True, 0)
    assert data["info"]["shard_id"] == data["shard_id"]
    assert "does not accept" in run("edit_shard", "spare", "--no-accept", "--weight=2")
    assert run_json("edit_shard", "spare", "--name=other", "--accept")["accepts_tenants"]
    assert "Removed" in run("remove_shard", "other")
    assert "register_shard" in run("list_shards")
    assert run_json("list_shards") == []


def test_a_dead_shard_is_listed_as_such(spare_shard, spare_server):
    kill(spare_server)
    listed = run("list_shards")
    assert "down" in listed
    assert f"'spare' at {spare_server.address}" in listed
    (data,) = run_json("list_shards")
    assert (data["healthy"], data["info"]) == (False, None)


def test_a_refusal_is_one_sentence_for_people_and_json_for_programs(transactional_db):
    address = f"127.0.0.1:{choose_port()}"
    with pytest.raises(CommandError, match=rf"Nothing answers at {address}") as caught:
        run("register_shard", "one", address)
    assert "\n" not in str(caught.value)
    error = run_json("register_shard", "one", address)["error"]
    assert error == {"type": "ShardUnavailable", "message": str(caught.value)}


def test_edit_shard_wants_something_to_change(spare_shard):
    with pytest.raises(CommandError, match=r"Nothing to change"):
        run("edit_shard", "spare")


def test_remove_shard_is_refused_while_tenants_live_there(abc):
    with pytest.raises(CommandError, match=r"1 tenant lives on shard 'shard1' \(abc\)"):
        run("remove_shard", "shard1")
    assert Shard.objects.count() == 2


def test_check_shards_fails_until_repaired(abc):
    assert "agrees" in run("check_shards")
    Tenant.objects.update(state="deleting")
    with pytest.raises(CommandError, match=r"1 thing to settle: abc; run check_shards --repair"):
        run("check_shards")
    data = run_json("check_shards", "shard1")
    assert not data["agrees"]
    (finding,) = data["shards"][0]["findings"]
    assert (finding["kind"], finding["subject"]) == ("interrupted deletion", "abc")
    assert "done: complete the deletion" in run("check_shards", "--repair")
    assert run_json("check_shards")["agrees"]


# Tenants


def test_a_tenant_is_created_listed_and_shown(registered_shards):
    assert "Created tenant abc on shard shard2" in run("create_tenant", "abc", "--shard=shard2")
    data = run_json("create_tenant", "xyz", "--shard=shard1", "--isolation=database")
    assert (data["name"], data["state"], data["isolation"]) == ("xyz", "active", "database")
    listed = run("list_tenants", "--sizes")
    assert all(word in listed for word in ("abc", "xyz", "shard1", "shard2", "active", "B"))
    assert [t["name"] for t in run_json("list_tenants", "--shard=shard2")] == ["abc"]
    assert run_json("list_tenants", "--state=frozen") == []
    assert "No tenants" in run("list_tenants", "--state=frozen")
    shown = run("show_tenant", "abc")
    assert all(word in shown for word in ("abc", "shard2", "t_abc_", "epoch", "active"))
    contents = run_json("show_tenant", "abc")["contents"]
    assert contents["tables"] > 5
    assert contents["rows"] > 5
    assert contents["size_bytes"] > 0


def test_an_unknown_tenant_is_named(registered_shards):
    for arguments in (
        ("show_tenant", "nobody"),
        ("freeze_tenant", "nobody"),
        ("unfreeze_tenant", "nobody"),
        ("rename_tenant", "nobody", "somebody"),
        ("delete_tenant", "nobody", "--noinput"),
        ("undelete_tenant", "nobody"),
        ("migrate_tenants", "--tenant=nobody"),
        ("tenant_command", "nobody", "check"),
        ("tenant_shell", "nobody", "-c", "pass"),
    ):
        with pytest.raises(CommandError, match=r"'nobody'"):
            run(*arguments)


def test_an_unknown_shard_is_named(registered_shards):
    for arguments in (
        ("list_tenants", "--shard=nowhere"),
        ("create_tenant", "abc", "--shard=nowhere"),
        ("migrate_tenants", "--shard=nowhere"),
        ("all_tenants_command", "--shard=nowhere", "check"),
        ("check_shards", "nowhere"),
        ("edit_shard", "nowhere", "--accept"),
        ("remove_shard", "nowhere"),
    ):
        with pytest.raises(CommandError, match=r"'nowhere'"):
            run(*arguments)


def test_a_tenant_is_renamed_frozen_and_unfrozen(abc):
    assert "is now called xyz" in run("rename_tenant", "abc", "xyz")
    assert "is frozen" in run("freeze_tenant", "xyz")
    assert run_json("list_tenants", "--state=frozen")[0]["name"] == "xyz"
    assert run_json("unfreeze_tenant", "xyz")["state"] == "active"


def test_delete_tenant_asks_for_the_name_and_says_what_is_lost(abc, monkeypatch):
    asked = []

    def answer(text):
        def ask(prompt):
            asked.append(prompt)
            return text

        monkeypatch.setattr("builtins.input", ask)

    answer("yes")
    with pytest.raises(CommandError, match=r"nothing was deleted"):
        run("delete_tenant", "abc")
    assert names() == {"abc"}
    answer("abc")
    said = run("delete_tenant", "abc", "--now")
    assert all(word in said for word in ("shard1", abc.namespace, "about", "Deleted tenant abc"))
    assert "abc" in asked[0]
    assert names() == set()


def test_delete_tenant_without_anybody_to_ask_wants_noinput(abc, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandError, match=r"--noinput"):
        run("delete_tenant", "abc")
    assert "--noinput" in run_json("delete_tenant", "abc")["error"]["message"]
    assert names() == {"abc"}
    assert run_json("delete_tenant", "abc", "--now", "--noinput") == {"purged": "abc"}


def test_a_loss_that_cannot_be_measured_is_said_to_be_unknown(spare_shard, spare_server):
    services.create_tenant("abc")
    kill(spare_server)
    shown = run("show_tenant", "abc")
    assert "not known" in shown
    assert spare_server.address in shown


# Migrations


def test_migrate_tenants_says_what_became_of_each(abc, tenant_factory):
    tenant_factory("xyz", shard="shard2")
    assert "2 tenants: 0 migrated, 2 unchanged" in run("migrate_tenants")
    undone = run_json("migrate_tenants", "auth", "0011", "--tenant=abc")
    assert undone["counts"]["migrated"] == 1
    assert undone["results"][0]["changed"] == ["auth.0012_alter_user_first_name_max_length"]
    said = run("migrate_tenants", "--parallel=2")
    assert "migrated  abc (shard1): 1 migration in" in said
    assert "xyz" not in said
    assert "unchanged xyz (shard2)" in run("migrate_tenants", "--shard=shard2", verbosity=2)


def test_migrate_tenants_fails_if_one_does_and_the_json_stays_one_document(abc):
    out = io.StringIO()
    with tenant_lock("abc"), pytest.raises(CommandError, match=r"1 of 1 tenant failed \(abc\)"):
        call_command("migrate_tenants", "auth", "0011", "--json", stdout=out)
    data = json.loads(out.getvalue())
    assert data["counts"]["failed"] == 1
    assert "'abc'" in data["results"][0]["error"]
    with pytest.raises(CommandError, match=r"No migration of 'auth' begins with '9999'"):
        run("migrate_tenants", "auth", "9999")
    with pytest.raises(CommandError, match=r"Not on shard 'shard2': abc"):
        run("migrate_tenants", "--tenant=abc", "--shard=shard2")
    with pytest.raises(CommandError, match=r"--parallel"):
        run("migrate_tenants", "--parallel=0")


def test_migrate_tenants_interrupted_half_way_says_so_and_is_completed_by_another(
    tenant_factory, monkeypatch
):
    for name in ("a", "b", "c"):
        tenant_factory(name)
    services.migrate_tenants(Tenant.objects.select_related("shard"), target=BACK)
    from tenants.management.commands.migrate_tenants import Command

    def interrupt(self, result):
        raise KeyboardInterrupt

    monkeypatch.setattr(Command, "_tell", interrupt)
    with pytest.raises(CommandError, match=r"Interrupted with 2 tenants not begun") as caught:
        run("migrate_tenants", "--parallel=1")
    assert caught.value.returncode == 130
    monkeypatch.undo()
    counts = run_json("migrate_tenants")["counts"]
    assert (counts["migrated"], counts["unchanged"]) == (2, 1)


# Other commands, for tenants


def test_any_command_runs_for_a_tenant(abc, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "pw")
    arguments = ["createsuperuser", "--noinput", "--username=root", "--email=r@example.com"]
    assert "created" in run("tenant_command", "abc", *arguments)
    assert User.objects.using("abc").filter(username="root", is_superuser=True).exists()
    assert not User.objects.using("default").exists()


def test_a_command_for_a_tenant_may_be_read_by_programs(abc):
    out = io.StringIO()
    with pytest.raises(CommandError, match="there is no prompt"):
        call_command("tenant_shell", "--json", "abc", stdout=out)
    assert "-c" in json.loads(out.getvalue())["error"]["message"]
    out = io.StringIO()
    code = "from django.contrib.auth.models import User; print(User.objects.count())"
    call_command("tenant_shell", "--json", "abc", "-v0", "-c", code, stdout=out)
    data = json.loads(out.getvalue())
    assert (data["tenant"], data["ok"], data["stdout"].strip()) == ("abc", True, "1")


def test_a_command_that_fails_for_a_tenant_fails(abc):
    with pytest.raises(CommandError, match=r"no command 'nonsense'"):
        run("tenant_command", "abc", "nonsense")
    with pytest.raises(CommandError, match=r"--nonsense"):
        run("tenant_command", "abc", "check", "--nonsense")
    with pytest.raises(CommandError, match=r"ZeroDivisionError"):
        run("tenant_shell", "abc", "-c", "1 / 0")
    with pytest.raises(CommandError, match=r"exit code 3") as caught:
        run("tenant_shell", "abc", "-c", "raise SystemExit(3)")
    assert caught.value.returncode == 3


def test_a_frozen_tenant_takes_commands_only_in_maintenance(abc):
    services.freeze_tenant("abc")
    code = "from django.contrib.auth.models import User; print('users', User.objects.count())"
    with pytest.raises(CommandError, match=r"abc"):
        run("tenant_shell", "abc", "-c", code)
    run("tenant_shell", "--maintenance", "abc", "-c", code)


def test_a_command_runs_for_all_active_tenants_and_each_failure_is_told(abc, tenant_factory):
    tenant_factory("frozen")
    services.freeze_tenant("frozen")
    tenant_factory("xyz", shard="shard2")
    code = "from mtdd_router import current_tenant; print(1 // (current_tenant() == 'abc'))"
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"shell failed for 1 of 2 tenants: xyz"):
        call_command("all_tenants_command", "--json", "shell", "-v0", "-c", code, stdout=out)
    data = json.loads(out.getvalue())
    assert [(entry["tenant"], entry["ok"], entry["stdout"].strip()) for entry in data] == [
        ("abc", True, "1"),
        ("xyz", False, ""),
    ]
    said = io.StringIO()
    with pytest.raises(CommandError, match=r"shell failed for 1 of 2 tenants: xyz"):
        call_command("all_tenants_command", "shell", "-c", code, stdout=said)
    assert "xyz failed" in said.getvalue()
    assert "ZeroDivisionError" in said.getvalue()


def test_a_script_sees_the_exit_code_and_pipes_the_json(abc, tmp_path):
    def manage(*arguments):
        database = connections["default"].settings_dict["NAME"]
        settings = tmp_path / "script_settings.py"
        settings.write_text(
            f"from settings.test import *\nDATABASES['default']['NAME'] = {database!r}\n"
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "DJANGO_SETTINGS_MODULE": "script_settings",
        }
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    good = manage("list_tenants", "--json")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)[0]["name"] == "abc"
    bad = manage("create_tenant", "abc", "--json")
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["error"]["type"] == "TenantAlreadyExists"
    assert bad.stderr.startswith("CommandError: A tenant 'abc' already exists")
    assert manage("tenant_shell", "abc", "-c", "raise SystemExit(3)").returncode == 3
    shown = manage("run_shard", "--settings=script_settings", "--help")
    assert shown.returncode == 0
    assert "--pool-size" in shown.stdout
    assert manage("run_shard", "--pool-size=nonsense").returncode != 0
