"""Archives of tenants: what comes back, what is refused, what is left."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.db import connections

from mtdd_router.client.programs import find_programs
from mtdd_router.errors import InvalidTenantName
from tenants import services
from tenants import signals as tenant_signals
from tenants.errors import (
    DumpFailed,
    InvalidArchive,
    PathNotWritable,
    ProvisioningFailed,
    TenantAlreadyExists,
    TenantBusy,
    WrongTenantState,
)
from tenants.models import Tenant
from tenants.services import MigrationTarget
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import names, run, run_json, schemas, works
from tests.integration.tenants.rich_contents import ISOLATIONS, execute, facts, fill, rows


@pytest.fixture
def archive(tenant_factory, tmp_path):
    """An archive of tenant abc, which is on shard1 and has a user."""
    tenant_factory("abc", shard="shard1")
    User.objects.using("abc").create(username="somebody")
    services.archive_tenant("abc", tmp_path / "abc.dump")
    return tmp_path / "abc.dump"


@pytest.mark.parametrize("shard", ["shard1", "shard2"])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_tenant_comes_back_as_it_was(tenant_factory, placements, tmp_path, isolation, shard):
    tenant_factory("abc", shard="shard1", isolation=isolation)
    fill("abc")
    before, structure = rows("abc"), facts("abc")
    assert len(before) > 25
    services.archive_tenant("abc", tmp_path / "file")
    assert (rows("abc"), facts("abc")) == (before, structure)
    tenant = services.restore_tenant(tmp_path / "file", name="xyz", shard=shard)
    assert (tenant.state, tenant.isolation, tenant.shard.name) == ("active", isolation, shard)
    assert (rows("xyz"), facts("xyz")) == (before, structure)
    assert placements()["xyz"] == tenant.placement()
    # It is a tenant as any other.
    with connections["xyz"].cursor() as cursor:
        cursor.execute("INSERT INTO work (author, title) VALUES (1, 'new') RETURNING id, always")
        assert cursor.fetchone() == (5, 140)
    assert rows("abc") == before
    services.purge_tenant("xyz")
    assert rows("abc") == before


def test_a_deleted_tenant_comes_back_under_its_name(archive):
    services.purge_tenant("abc")
    tenant = services.restore_tenant(archive)
    assert tenant.name == "abc"
    assert tenant.migrated_at is not None
    assert User.objects.using("abc").get().username == "somebody"


def test_an_archive_is_migrated_when_it_is_restored(tenant_factory, tmp_path):
    tenant = tenant_factory("abc")
    services.migrate_tenant(tenant, MigrationTarget("flights", "zero"))
    services.archive_tenant("abc", tmp_path / "file")
    services.restore_tenant(tmp_path / "file", name="xyz")
    services.migrate_tenant(tenant)
    assert facts("xyz") == facts("abc")


def test_the_login_role_has_no_more_rights_than_before(archive, shard_postgres_dsns):
    query = """
        SELECT rolname, pg_has_role(current_user, oid, 'USAGE') FROM pg_roles
         WHERE rolname LIKE 't\\_%' AND pg_has_role(current_user, oid, 'MEMBER')
    """
    services.restore_tenant(archive, name="xyz", shard="shard1")
    with psycopg.connect(shard_postgres_dsns["shard1"]) as connection:
        found = dict(connection.execute(query).fetchall())
    roles = set(Tenant.objects.filter(name__in=("abc", "xyz")).values_list("role", flat=True))
    assert roles <= set(found)
    assert not any(found[role] for role in roles)


def test_nothing_of_another_tenant_or_of_the_shard_is_in_the_file(
    tenant_factory, tmp_path, shard_postgres_dsns
):
    one, other = tenant_factory("abc", shard="shard1"), tenant_factory("xyz", shard="shard1")
    for name in ("abc", "xyz"):
        User.objects.using(name).create(username=f"secret-of-{name}")
        execute(name, f"CREATE TABLE only_{name} (id int); COMMENT ON TABLE only_{name} IS 'x'")
    services.archive_tenant("abc", tmp_path / "file")
    pg_restore = find_programs("pg_restore")[-1]
    # The owner, which is not restored, is the tenant's own role.
    script = subprocess.run(
        [pg_restore.path, "--no-owner", "-f", "-", tmp_path / "file"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "secret-of-abc" in script
    assert "only_abc" in script
    for word in ("xyz", other.namespace, one.namespace, "mtdd_shard", "placement"):
        assert word not in script
    data = (tmp_path / "file").read_bytes()
    for word in ("xyz", other.namespace, "placement"):
        assert word.encode() not in data
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0


def test_a_file_that_is_cut_off_leaves_nothing(archive, placements, shard_postgres_dsns, tmp_path):
    fill("abc")
    whole = tmp_path / "whole"
    services.archive_tenant("abc", whole)
    data, there = whole.read_bytes(), schemas(shard_postgres_dsns["shard1"])
    size = len(data)
    for end in (0, 3, 20, *range(size // 9, size, size // 9), size - 100, size - 1):
        cut = tmp_path / "cut"
        cut.write_bytes(data[:end])
        with pytest.raises((InvalidArchive, ProvisioningFailed), match=str(cut)):
            services.restore_tenant(cut, name="xyz", shard="shard1")
    assert names() == {"abc"} == set(placements())
    assert schemas(shard_postgres_dsns["shard1"]) == there


def test_a_damaged_file_leaves_nothing(archive, placements):
    data = bytearray(archive.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 200] = bytes(200)
    archive.write_bytes(data)
    with pytest.raises((InvalidArchive, ProvisioningFailed)):
        services.restore_tenant(archive, name="xyz")
    assert names() == {"abc"} == set(placements())


def test_what_is_no_archive_of_a_tenant_is_named(
    registered_shards, tmp_path, shard_postgres_dsn, placements
):
    pg_dump = find_programs("pg_dump")[-1]
    foreign, plain, text = tmp_path / "foreign", tmp_path / "plain", tmp_path / "text"
    for form, path in (("custom", foreign), ("plain", plain)):
        subprocess.run(
            [pg_dump.path, f"--format={form}", "--schema=extensions", f"--file={path}",
             shard_postgres_dsn], check=True,
        )  # fmt: skip
    text.write_text("no archive\n" * 100)
    for path, reason in (
        (foreign, "not one of a tenant"),
        (plain, "cannot be read by"),
        (text, "cannot be read by"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "nowhere", "cannot be read: No such file"),
    ):
        with pytest.raises(InvalidArchive, match=rf"{path} .*{reason}"):
            services.restore_tenant(path, name="xyz")
    assert not names()
    assert not placements()


def test_an_archive_of_a_newer_postgresql_is_refused(archive, placements):
    data = archive.read_bytes()
    version = services.inspect_shards(services.get_tenant("abc").shard.__class__.objects.all())
    server = version[0].info.postgres_version.partition(" ")[0].encode()
    major = server.partition(b".")[0]
    newer = archive.with_name("newer")
    newer.write_bytes(data.replace(server, b"99" + server[len(major) :], 1))
    with pytest.raises(ProvisioningFailed, match=r"is from PostgreSQL 99, and shard 'shard1' has"):
        services.restore_tenant(newer, name="xyz", shard="shard1")
    # The version of the format itself, behind the five letters of PGDMP.
    newer.write_bytes(data[:6] + b"\x63" + data[7:])
    with pytest.raises(InvalidArchive, match=r"unsupported version \(1\.99\)"):
        services.restore_tenant(newer, name="xyz")
    assert names() == {"abc"} == set(placements())


def test_a_restore_that_fails_half_way_leaves_nothing(archive, placements, shard_postgres_dsns):
    there = schemas(shard_postgres_dsns["shard2"])
    # pg_restore empties the search path, and then no row passes.
    execute(
        "abc",
        "CREATE TABLE strict (id int CHECK (current_schema() IS NOT NULL));"
        "INSERT INTO strict VALUES (1)",
    )
    path = archive.with_name("strict")
    services.archive_tenant("abc", path)
    with pytest.raises(
        ProvisioningFailed,
        match=r"pg_restore: error: .*violates check constraint.*Nothing of it is left",
    ):
        services.restore_tenant(path, name="xyz", shard="shard2")
    assert names() == {"abc"} == set(placements())
    assert schemas(shard_postgres_dsns["shard2"]) == there


def test_what_pg_dump_would_leave_out_is_refused(archive):
    execute("abc", "SELECT lo_create(0)")
    path = archive.with_name("other")
    with pytest.raises(DumpFailed, match=r"'abc' has 1 large objects"):
        services.archive_tenant("abc", path)
    assert not path.exists()


def test_names_and_files_that_cannot_be_are_refused(archive, tmp_path):
    with pytest.raises(TenantAlreadyExists, match="abc"):
        services.restore_tenant(archive)
    with pytest.raises(InvalidTenantName):
        services.restore_tenant(archive, name="No Name")
    with pytest.raises(PathNotWritable, match="is there already"):
        services.archive_tenant("abc", archive)
    with pytest.raises(PathNotWritable, match="No such file or directory"):
        services.archive_tenant("abc", tmp_path / "nowhere" / "file")
    with tenant_lock("abc"), pytest.raises(TenantBusy):
        services.archive_tenant("abc", tmp_path / "other")
    with tenant_lock("xyz"), pytest.raises(TenantBusy):
        services.restore_tenant(archive, name="xyz")
    Tenant.objects.update(state="deleting")
    with pytest.raises(WrongTenantState):
        services.archive_tenant("abc", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["abc.dump"]


def test_a_frozen_tenant_is_archived_and_comes_back_active(archive, tmp_path):
    services.freeze_tenant("abc")
    services.archive_tenant("abc", tmp_path / "frozen")
    assert services.restore_tenant(tmp_path / "frozen", name="xyz").state == "active"
    assert works("xyz")


def test_what_the_environment_says_to_psql_leads_nowhere_else(
    tenant_factory, tmp_path, monkeypatch
):
    tenant_factory("abc")
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "LC_ALL"):
        monkeypatch.setenv(name, "1")
    services.archive_tenant("abc", tmp_path / "file")
    services.restore_tenant(tmp_path / "file", name="xyz")
    assert works("xyz")


def test_the_commands_say_what_they_did(archive, tmp_path):
    path = tmp_path / "file"
    assert f"Archived tenant abc to {path} (" in run("archive_tenant", "abc", f"--to={path}")
    assert "Restored tenant xyz on shard shard2" in run(
        "restore_tenant", str(path), "--name=xyz", "--shard=shard2"
    )
    data = run_json("archive_tenant", "abc", f"--to={path}.2")
    assert data["tenant"] == "abc"
    assert data["size_bytes"] == Path(data["file"]).stat().st_size
    data = run_json("restore_tenant", str(path), "--name=new")
    assert (data["name"], data["state"]) == ("new", "active")
    with pytest.raises(CommandError, match=r"already exists"):
        run("restore_tenant", str(path))
    assert run_json("restore_tenant", "/nowhere")["error"]["type"] == "InvalidArchive"


def test_receivers_are_told_of_a_tenant_that_comes_from_another(archive):
    told = []

    def listen(signal, name, tenant=None, **_):
        told.append((signal.name, name, tenant.state if tenant else None))

    signals = (tenant_signals.pre_create, tenant_signals.initial_data, tenant_signals.post_create)
    for signal in signals:
        signal.connect(listen)
    try:
        services.restore_tenant(archive, name="xyz")
        services.clone_tenant("abc", "new")
    finally:
        for signal in signals:
            signal.disconnect(listen)
    assert told == [
        ("pre_create", "xyz", None),
        ("post_create", "xyz", "active"),
        ("pre_create", "new", None),
        ("post_create", "new", "active"),
    ]


@pytest.fixture
def citext(registered_shards, shard_postgres_dsns):
    """The extension, on both shards, where tenants find it."""

    def everywhere(statement: str) -> None:
        for dsn in shard_postgres_dsns.values():
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(statement)

    everywhere("CREATE EXTENSION citext SCHEMA extensions")
    yield
    for tenant in names():
        services.purge_tenant(tenant)
    everywhere("DROP EXTENSION citext")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_types_of_extensions_come_along(citext, tmp_path, isolation):
    services.create_tenant("abc", shard="shard1", isolation=isolation)
    execute(
        "abc",
        "CREATE EXTENSION IF NOT EXISTS citext;"
        "CREATE TABLE words (word citext PRIMARY KEY); INSERT INTO words VALUES ('Word')",
    )
    services.archive_tenant("abc", tmp_path / "file")
    services.restore_tenant(tmp_path / "file", name="xyz", shard="shard2")
    with connections["xyz"].cursor() as cursor:
        cursor.execute("SELECT word FROM words WHERE word = 'wORD'")
        assert cursor.fetchone() == ("Word",)


def test_an_archive_that_ends_the_transaction_leaves_nothing(
    archive, placements, shard_postgres_dsns
):
    execute("abc", "COMMENT ON TABLE auth_user IS 'no archive of ours has another statement'")
    there = schemas(shard_postgres_dsns["shard1"])
    path = archive.with_name("hostile")
    services.archive_tenant("abc", path)
    comment, ending = b"COMMENT ON TABLE mtdd_archive_", b"COMMIT; -- "
    data = path.read_bytes()
    assert data.count(comment) == 1
    path.write_bytes(data.replace(comment, ending.ljust(len(comment), b"-")))
    with pytest.raises(ProvisioningFailed, match=r"has ended its transaction"):
        services.restore_tenant(path, name="xyz", shard="shard1")
    assert names() == {"abc"} == set(placements())
    assert schemas(shard_postgres_dsns["shard1"]) == there
    with psycopg.connect(shard_postgres_dsns["shard1"]) as connection:
        query = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'mtdd_archive%'"
        assert connection.execute(query).fetchone() == (0,)


def test_a_pipe_is_no_archive(archive):
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(InvalidArchive, match=r"is no file"):
        services.restore_tenant(Path(f"/dev/fd/{reading}"))
    os.close(reading)


def test_one_archive_is_restored_by_two_at_once(archive, placements):
    with ThreadPoolExecutor() as pool:
        tenants = list(pool.map(partial(_restore, archive), ("one", "two")))
    assert [tenant.state for tenant in tenants] == ["active", "active"]
    assert set(placements()) == {"abc", "one", "two"}
    assert rows("one") == rows("two") == rows("abc")


def _restore(archive, name):
    try:
        return services.restore_tenant(archive, name=name, shard="shard1")
    finally:
        connections.close_all()
