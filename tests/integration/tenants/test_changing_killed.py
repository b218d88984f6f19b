"""Commands that are killed while they change a tenant; repair settles what they left."""

import random
import time

import pytest
from django.contrib.auth.models import User
from django.db import connections

from tenants import services
from tenants.models import Tenant, TenantRedirect
from tests.integration.tenants.conftest import names, repair_everything
from tests.integration.tenants.test_migrating_faults import KILLS, command

# What is killed, and what brings the tenant back to where it began.
COMMANDS = {
    "rename": ("rename_tenant", "abc", "xyz", "--redirect=1"),
    "delete": ("delete_tenant", "abc", "--noinput"),
    "undelete": ("undelete_tenant", "abc"),
    "freeze": ("freeze_tenant", "abc"),
    "purge": ("delete_tenant", "abc", "--now", "--noinput"),
}


def _prepare(what):
    """Put tenant abc where the command expects it, whatever the last one left."""
    if not names():
        services.create_tenant("abc", shard="shard1")
        User.objects.using("abc").create(username="somebody")
    if names() == {"xyz"}:
        services.rename_tenant("xyz", "abc")
    services.undelete_tenant("abc")
    services.unfreeze_tenant("abc")
    TenantRedirect.objects.all().delete()
    if what == "undelete":
        services.delete_tenant("abc")


def _wait_until_it_is_at_work(process):
    """Wait until the process holds the tenant's lock, or has ended."""
    with connections["default"].cursor() as cursor:
        while process.poll() is None:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.001)


@pytest.mark.parametrize("what", COMMANDS)
def test_a_killed_command_leaves_what_repair_settles(registered_shards, placements, what):
    chance = random.Random()
    for _ in range(KILLS):
        _prepare(what)
        process = command(*COMMANDS[what])
        _wait_until_it_is_at_work(process)
        time.sleep(chance.uniform(0.0, 0.04))
        process.kill()
        process.communicate()
        _wait_until_its_lock_is_gone()
        repair_everything()
        assert placements() == {t.name: t.placement() for t in Tenant.objects.all()}
        assert names() in ({"abc"}, {"xyz"}, set())
        assert names() or what == "purge"
        for name in names():
            services.undelete_tenant(name)
            services.unfreeze_tenant(name)
            assert User.objects.using(name).get().username == "somebody"
        if names() == {"xyz"}:
            assert TenantRedirect.objects.get().name == "abc"


def _wait_until_its_lock_is_gone():
    with connections["default"].cursor() as cursor:
        while True:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            if not cursor.fetchone()[0]:
                return
            time.sleep(0.005)
