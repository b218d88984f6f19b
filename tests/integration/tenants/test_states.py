"""The states of a tenant: what may follow what, on both sides, and by which operation."""

import itertools

import pytest

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.errors import ShardRefused
from mtdd_router.types import TRANSITIONS, Isolation, Placement, TenantState
from tenants import services
from tenants.errors import WrongTenantState
from tenants.models import Tenant
from tenants.services.agreement import record
from tests.integration.tenants.conftest import names

CREATING, ACTIVE, FROZEN, DELETED, DELETING = TenantState
PAIRS = [pair for pair in itertools.product(TenantState, repeat=2) if pair[0] is not pair[1]]
ALLOWED = {
    (CREATING, ACTIVE),
    (CREATING, FROZEN),
    (CREATING, DELETING),
    (ACTIVE, FROZEN),
    (ACTIVE, DELETED),
    (ACTIVE, DELETING),
    (FROZEN, ACTIVE),
    (FROZEN, DELETED),
    (FROZEN, DELETING),
    (DELETED, ACTIVE),
    (DELETED, FROZEN),
    (DELETED, DELETING),
    (DELETING, FROZEN),
}
# What each operation makes of a tenant in each state; whatever is not here, it refuses.
OPERATIONS = {
    services.freeze_tenant: {ACTIVE: FROZEN, FROZEN: FROZEN},
    services.unfreeze_tenant: {ACTIVE: ACTIVE, FROZEN: ACTIVE},
    services.delete_tenant: {ACTIVE: DELETED, FROZEN: DELETED, DELETED: DELETED},
    services.undelete_tenant: {ACTIVE: ACTIVE, FROZEN: FROZEN, DELETED: ACTIVE},
    services.migrate_tenant: {ACTIVE: ACTIVE, FROZEN: FROZEN},
}


def test_the_machine_is_this_one_and_knows_every_state():
    assert set(TRANSITIONS) == set(TenantState)
    assert {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]} == ALLOWED


# The paths by which a placement comes into each state.
WAYS = {
    CREATING: (),
    ACTIVE: (ACTIVE,),
    FROZEN: (ACTIVE, FROZEN),
    DELETED: (ACTIVE, DELETED),
    DELETING: (DELETING,),
}


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_shard_lets_a_placement_become_only_what_may_follow(spare_shard, before, after):
    admin = ShardAdmin(spare_shard.address)
    placed = admin.create_namespace(
        Placement("abc", Isolation.SCHEMA, "t_abc_1", "t_abc_1", 1, CREATING)
    )
    for step in WAYS[before]:
        placed = admin.update_placement(
            "abc", expected_epoch=placed.epoch, state=step, epoch=placed.epoch + 1
        )
    change = {"expected_epoch": placed.epoch, "state": after, "epoch": placed.epoch + 1}
    if (before, after) in ALLOWED:
        assert admin.update_placement("abc", **change).state is after
    else:
        with pytest.raises(ShardRefused, match=f"is {before}; it cannot become {after}"):
            admin.update_placement("abc", **change)
        assert admin.placements().placements == {"abc": placed}


def _put_into(state):
    """Give the only tenant, active, another state on both sides."""
    tenant = Tenant.objects.select_related("shard").get()
    for step in WAYS[state][1:] if state is not DELETING else (DELETING,):
        admin = ShardAdmin(tenant.shard.address)
        epoch = tenant.epoch + 1
        admin.update_placement("abc", expected_epoch=tenant.epoch, state=step, epoch=epoch)
        record(tenant, state=step.value, epoch=epoch)
    if state is CREATING:
        Tenant.objects.update(state="creating")


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_the_registry_records_only_what_may_follow(tenant_factory, before, after):
    tenant_factory("abc", shard="shard1")
    _put_into(before)
    tenant = Tenant.objects.get()
    if (before, after) in ALLOWED:
        record(tenant, state=after.value, epoch=tenant.epoch + 1)
    else:
        with pytest.raises(WrongTenantState, match=rf"is {before}; it cannot become {after}"):
            record(tenant, state=after.value, epoch=tenant.epoch + 1)
    tenant.refresh_from_db()
    assert (tenant.state == after) is ((before, after) in ALLOWED)
    assert (tenant.purge_at is not None) is (tenant.state == DELETED)


@pytest.mark.parametrize("state", TenantState)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_an_operation_works_in_its_own_states_and_in_no_other(
    tenant_factory, placements, operation, state
):
    tenant_factory("abc", shard="shard1")
    _put_into(state)
    before = Tenant.objects.select_related("shard").get()
    subject = before if operation is services.migrate_tenant else "abc"
    after = OPERATIONS[operation].get(state)
    if after is None:
        with pytest.raises(WrongTenantState, match=rf"'abc' is {state}"):
            operation(subject)
        assert Tenant.objects.get().placement() == before.placement()
        return
    operation(subject)
    tenant = Tenant.objects.get()
    assert tenant.state == after
    assert placements() == {"abc": tenant.placement()}


@pytest.mark.parametrize("state", TenantState)
def test_a_tenant_is_purged_from_any_state(tenant_factory, placements, state):
    tenant_factory("abc", shard="shard1")
    _put_into(state)
    services.purge_tenant("abc")
    assert (placements(), names()) == ({}, set())
