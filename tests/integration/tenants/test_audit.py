"""The audit log: who changed what of the registry, and that nobody changes it."""

import getpass
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from tenants import services
from tenants.errors import ProvisioningFailed
from tenants.models import AuditEntry, Tenant
from tenants.services.audit import note
from tests.integration.tenants.conftest import page_of, run, run_json

CHANGELIST = "admin:tenants_auditentry_changelist"


def told(**matching):
    """Return what is logged, the first first."""
    found = []
    for entry in AuditEntry.objects.filter(**matching).order_by("pk"):
        about = entry.tenant or entry.shard
        found.append(f"{entry.action} {about}".strip())
    return found


def test_a_tenants_life_is_logged(registered_shards, tmp_path):
    services.create_tenant("abc", shard="shard1")
    services.freeze_tenant("abc")
    services.unfreeze_tenant("abc")
    services.rename_tenant("abc", "xyz", redirect=3600.0)
    services.drop_redirect("abc")
    services.add_domain("xyz", "xyz.example.com")
    services.remove_domain("xyz.example.com")
    services.delete_tenant("xyz")
    services.undelete_tenant("xyz")
    services.purge_tenant("xyz")
    assert told() == [
        "register shard shard1",
        "register shard shard2",
        "create tenant abc",
        "change tenant abc",
        "change tenant abc",
        "keep name abc",
        "change tenant abc",
        "name tenant xyz",
        "drop redirect xyz",
        "add domain xyz",
        "remove domain xyz",
        "change tenant xyz",
        "change tenant xyz",
        "change tenant xyz",
        "purge tenant xyz",
    ]
    details = list(AuditEntry.objects.filter(action="change tenant").order_by("pk"))
    assert [entry.details.get("state") or entry.details["name"] for entry in details] == [
        "frozen", "active", "xyz", "deleted", "active", "deleting",
    ]  # fmt: skip
    assert all(getpass.getuser() in entry.who for entry in details)


def test_shards_and_copies_are_logged(registered_shards, tmp_path):
    services.create_tenant("abc", shard="shard1")
    services.archive_tenant("abc", tmp_path / "abc.dump")
    services.clone_tenant("abc", "copy", shard="shard2")
    services.restore_tenant(tmp_path / "abc.dump", name="back", shard="shard1")
    services.export_csv("abc", tmp_path / "csv")
    services.edit_shard("shard1", weight=3, new_name="one")
    services.edit_shard("one", new_name="shard1")
    assert told(tenant="abc") == [
        "create tenant abc", "archive tenant abc", "clone tenant abc", "export tenant abc",
    ]  # fmt: skip
    assert told(tenant="copy") == ["create tenant copy"]
    assert told(tenant="back") == ["create tenant back", "restore tenant back"]
    edited = AuditEntry.objects.get(action="edit shard", shard="one")
    assert edited.details == {"weight": 3, "name": "one"}
    assert AuditEntry.objects.get(action="archive tenant").details == {
        "file": str(tmp_path / "abc.dump")
    }


def test_a_creation_that_failed_is_logged_as_undone(registered_shards, monkeypatch):
    from tenants import signals

    def fails(**_):
        raise ValueError("no rows today")

    signals.initial_data.connect(fails)
    try:
        with pytest.raises(ProvisioningFailed):
            services.create_tenant("abc", shard="shard1")
    finally:
        signals.initial_data.disconnect(fails)
    assert told(tenant="abc") == ["create tenant abc", "undo creation abc"]


def test_commands_are_named_and_jobs_have_their_asker(registered_shards, staff):
    run("create_tenant", "abc", "--shard=shard1")
    entry = AuditEntry.objects.get(tenant="abc")
    assert entry.who.startswith(f"{getpass.getuser()}@")
    assert entry.who.endswith("manage.py create_tenant")
    job = services.request_creation("xyz", shard="shard2", requested_by="ann")
    services.do_waiting_jobs()
    assert AuditEntry.objects.get(tenant="xyz").who == f"ann (job #{job.pk})"
    job = services.request_migration(requested_by="ann")
    services.do_waiting_jobs()
    run_entry = AuditEntry.objects.get(action="migrate tenants")
    assert run_entry.who == f"ann (job #{job.pk})"


def test_what_is_done_in_the_admin_is_the_users(registered_shards, staff, tenant_factory):
    abc = tenant_factory("abc", shard="shard1")
    page_of(staff, "admin:tenants_tenant_change", abc.pk, post={"_freeze": "1"})
    assert Tenant.objects.get().state == "frozen"
    assert AuditEntry.objects.get(action="change tenant").who == "admin (admin)"
    chosen = {"action": "unfreeze_selected", "_selected_action": [abc.pk]}
    staff.post(reverse("admin:tenants_tenant_changelist"), chosen, follow=True)
    assert Tenant.objects.get().state == "active"
    assert {entry.who for entry in AuditEntry.objects.filter(action="change tenant")} == {
        "admin (admin)"
    }


def test_an_entry_is_of_the_changes_transaction(transactional_db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        note("create tenant", tenant="abc")
        raise ZeroDivisionError
    assert told() == []


def test_postgresql_itself_refuses_changes(transactional_db):
    note("create tenant", tenant="abc")
    entry = AuditEntry.objects.get()
    for change in (
        lambda: AuditEntry.objects.update(who="nobody"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(at=timezone.now()),
        entry.delete,
        entry.save,
    ):
        with pytest.raises(DatabaseError, match="are not changed"), transaction.atomic():
            change()
    assert AuditEntry.objects.get().who == entry.who


def test_old_entries_can_be_let_go_and_no_others(transactional_db):
    now = timezone.now()
    for days in (0, 89, 91, 400):
        AuditEntry.objects.create(at=now - timedelta(days=days), who="ann", action=f"{days} ago")
    with pytest.raises(CommandError, match="kept for 90 days at least, not 30"):
        run("audit_log", "--expire=30")
    assert run_json("audit_log", "--expire=365") == {"deleted": 1}
    assert run_json("audit_log", "--expire=90") == {"deleted": 1}
    assert sorted(told()) == ["0 ago", "89 ago"]


def test_the_command_lists_and_chooses(transactional_db):
    old = timezone.now() - timedelta(days=2)
    AuditEntry.objects.create(at=old, who="ann", action="create tenant", tenant="abc")
    note("change tenant", tenant="abc", state="frozen")
    note("create tenant", tenant="xyz", shard="one")
    assert [entry["tenant"] for entry in run_json("audit_log")] == ["xyz", "abc", "abc"]
    assert len(run_json("audit_log", "--tenant=abc")) == 2
    assert len(run_json("audit_log", "--shard=one")) == 1
    yesterday = (timezone.now() - timedelta(days=1)).date().isoformat()
    (entry,) = run_json("audit_log", "--tenant=abc", f"--since={yesterday}")
    assert entry["details"] == {"state": "frozen"}
    assert len(run_json("audit_log", "--limit=1")) == 1
    text = run("audit_log")
    assert "state=frozen" in text
    assert "ann" in text
    with pytest.raises(CommandError, match="is no date"):
        run("audit_log", "--since=yesterday")
    assert json.loads(json.dumps(run_json("audit_log", "--tenant=none"))) == []


def test_the_admin_shows_entries_and_changes_none(staff):
    note("create tenant", tenant="abc")
    entry = AuditEntry.objects.get()
    assert "create tenant" in page_of(staff, CHANGELIST)
    page = page_of(staff, "admin:tenants_auditentry_change", entry.pk)
    assert "create tenant" in page
    assert 'name="_save"' not in page
    for name, args in (("add", ()), ("delete", (entry.pk,)), ("change", (entry.pk,))):
        url = reverse(f"admin:tenants_auditentry_{name}", args=args)
        assert staff.post(url, {"who": "nobody", "post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"}
    staff.post(reverse(CHANGELIST), chosen)
    assert AuditEntry.objects.get().who == entry.who
