"""Clones of tenants, on the same and on another shard."""

import secrets
import threading

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError
from django.db import connections, transaction
from django.db.models import F, Sum

from demo.flights.models import Plane
from mtdd_router.errors import InvalidTenantName, TenantDoesNotExist
from tenants import services
from tenants.errors import (
    NoShardAvailable,
    ProvisioningFailed,
    ShardNotRegistered,
    TenantAlreadyExists,
    TenantBusy,
    WrongTenantState,
)
from tenants.models import Tenant
from tenants.services import MigrationTarget
from tenants.services.locks import tenant_lock
from tests.integration.tenants.conftest import names, run, run_json, works
from tests.integration.tenants.rich_contents import ISOLATIONS, execute, facts, fill, rows


@pytest.mark.parametrize("shard", [None, "shard2"])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_clone_is_as_its_source(tenant_factory, placements, isolation, shard):
    source = tenant_factory("abc", shard="shard1", isolation=isolation)
    fill("abc")
    before = rows("abc")
    tenant = services.clone_tenant("abc", "xyz", shard=shard)
    assert (tenant.state, tenant.isolation) == ("active", isolation)
    assert tenant.shard.name == (shard or "shard1")
    assert tenant.migrated_at == source.migrated_at
    assert placements() == {
        "abc": services.get_tenant("abc").placement(),
        "xyz": tenant.placement(),
    }
    assert rows("xyz") == rows("abc") == before
    assert facts("xyz") == facts("abc")
    execute("xyz", "INSERT INTO work (author, title) VALUES (1, 'new')")
    assert rows("abc") == before


def test_a_clone_may_have_a_role_that_was_made_ahead(tenant_factory, shard_postgres_dsns):
    tenant_factory("abc", shard="shard1")
    fill("abc")
    before = rows("abc")
    spare, maker = (f"mtdd_{kind}_{secrets.token_hex(4)}" for kind in ("role", "maker"))
    with psycopg.connect(shard_postgres_dsns["shard1"], autocommit=True) as connection:
        (login, mark) = connection.execute(
            "SELECT current_user::text, shobj_description(%s::regrole, 'pg_authid')",
            [Tenant.objects.get().role],
        ).fetchone()
        making = f"CREATE ROLE {spare}; COMMENT ON ROLE {spare} IS '{mark}'"
        if connection.info.server_version >= 160000:
            # As whoever makes many makes them.
            option = "WITH INHERIT FALSE, SET TRUE"
            connection.execute(f"CREATE ROLE {maker} CREATEROLE; GRANT {maker} TO {login} {option}")
            connection.execute(f"SET ROLE {maker}; {making}; GRANT {spare} TO {login} {option}")
            connection.execute(f"RESET ROLE; INSERT INTO mtdd.role_maker VALUES ('{maker}')")
        else:
            connection.execute(f"{making}; GRANT {spare} TO {login}")
        connection.execute(f"INSERT INTO mtdd.spare_role VALUES ('{spare}', false, true)")
    clone = services.clone_tenant("abc", "xyz", shard="shard1")
    assert clone.role == spare
    assert rows("xyz") == rows("abc") == before
    execute("xyz", "INSERT INTO work (author, title) VALUES (1, 'new')")
    assert rows("abc") == before
    services.purge_tenant("xyz")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_clone_of_the_structure_has_only_what_migrating_makes(tenant_factory, isolation):
    tenant_factory("abc", isolation=isolation)
    new = rows(tenant_factory("new", isolation=isolation).name)
    fill("abc")
    services.clone_tenant("abc", "xyz", structure_only=True)
    assert facts("xyz") == facts("abc")
    found = rows("xyz")
    assert Permission.objects.using("xyz").count() > 20
    kept = {"django_migrations", "django_content_type", "auth_permission"}
    for table, contents in found.items():
        if table in kept:
            assert contents == rows("abc")[table]
        elif "(sequence)" not in table:
            assert contents == [], table
        elif table in new:
            assert contents == new[table], table
    assert User.objects.using("xyz").create(username="first").pk == 1
    assert services.migrate_tenant(services.get_tenant("xyz")) == ()


def test_a_clone_has_the_migrations_of_its_source(tenant_factory):
    tenant = tenant_factory("abc")
    services.migrate_tenant(tenant, MigrationTarget("flights", "zero"))
    clone = services.clone_tenant("abc", "xyz")
    assert facts("xyz") == facts("abc")
    assert services.migrate_tenant(clone) == ("flights.0001_initial",)


def test_a_clone_is_of_one_moment_and_its_source_stays_in_use(tenant_factory):
    tenant_factory("abc", shard="shard1")
    Plane.objects.using("abc").bulk_create(
        Plane(tail_number=f"N{number}", seats=100) for number in range(2)
    )
    done, moved = threading.Event(), 0

    def move() -> None:
        nonlocal moved
        planes = Plane.objects.using("abc")
        while not done.is_set():
            step = 1 if moved % 2 else -1
            with transaction.atomic(using="abc"):
                planes.filter(tail_number="N0").update(seats=F("seats") - step)
                planes.filter(tail_number="N1").update(seats=F("seats") + step)
            moved += 1
        connections.close_all()

    thread = threading.Thread(target=move)
    thread.start()
    try:
        before = moved
        for name in ("one", "two", "three"):
            services.clone_tenant("abc", name)
    finally:
        done.set()
        thread.join()
    assert moved > before + 10
    for name in ("one", "two", "three"):
        assert Plane.objects.using(name).aggregate(all=Sum("seats"))["all"] == 200


def test_what_cannot_be_cloned_is_said(tenant_factory):
    tenant_factory("abc")
    for arguments, error in (
        (("nobody", "xyz"), TenantDoesNotExist),
        (("abc", "abc"), TenantAlreadyExists),
        (("abc", "No Name"), InvalidTenantName),
    ):
        with pytest.raises(error):
            services.clone_tenant(*arguments)
    with pytest.raises(ShardNotRegistered):
        services.clone_tenant("abc", "xyz", shard="nowhere")
    services.edit_shard("shard2", accepts_tenants=False)
    with pytest.raises(NoShardAvailable):
        services.clone_tenant("abc", "xyz", shard="shard2")
    for name in ("abc", "xyz"):
        with tenant_lock(name), pytest.raises(TenantBusy, match=name):
            services.clone_tenant("abc", "xyz")
    execute("abc", "SELECT lo_create(0)")
    with pytest.raises(ProvisioningFailed, match=r"large objects.*Nothing of it is left"):
        services.clone_tenant("abc", "xyz")
    Tenant.objects.update(state="creating")
    with pytest.raises(WrongTenantState):
        services.clone_tenant("abc", "xyz")
    assert names() == {"abc"}


def test_the_command_says_what_it_did(tenant_factory):
    tenant_factory("abc", shard="shard1")
    assert "Cloned tenant abc as xyz on shard shard1" in run("clone_tenant", "abc", "xyz")
    data = run_json("clone_tenant", "abc", "other", "--shard=shard2", "--structure-only")
    assert (data["name"], data["shard"], data["state"]) == ("other", "shard2", "active")
    assert works("other")
    with pytest.raises(CommandError, match=r"already exists"):
        run("clone_tenant", "abc", "xyz")
