"""Operations that die at every one of their steps, and the repair afterwards."""

import itertools

import pytest

from mtdd_router.types import TenantState
from tenants import services
from tenants.models import Tenant
from tests.integration.tenants.conftest import names, repair_everything, works

_MOST_STEPS = 150


def _steps(dying):
    """Yield contexts that die ever later, until one does not die."""
    for step in itertools.count(1):
        assert step < _MOST_STEPS
        yield dying.at(step)
        if not dying.died:
            return


def _agreed(placements):
    for tenant in Tenant.objects.all():
        assert tenant.placement() == placements().pop(tenant.name)
    assert set(placements()) == names()


def test_a_creation_that_dies_anywhere_leaves_a_whole_tenant_or_none(dying, placements):
    outcomes = set()
    for scope in _steps(dying):
        with scope:
            services.create_tenant("abc", shard="shard1")
        repair_everything()
        _agreed(placements)
        outcomes.add(len(names()))
        if names():
            assert services.get_tenant("abc").state == TenantState.ACTIVE
            assert works("abc")
            services.purge_tenant("abc")
    assert outcomes == {0, 1}


def test_a_purge_that_dies_anywhere_has_no_effect_or_is_completed(dying, placements):
    outcomes = set()
    for scope in _steps(dying):
        if not names():
            services.create_tenant("abc", shard="shard1")
        with scope:
            services.purge_tenant("abc")
        repair_everything()
        _agreed(placements)
        outcomes.add(len(names()))
        assert not names() or works("abc")
    assert outcomes == {0, 1}


CHANGES = {
    "rename": lambda: services.rename_tenant("abc", "xyz"),
    "rename with redirect": lambda: services.rename_tenant("abc", "xyz", redirect=60),
    "freeze": lambda: services.freeze_tenant("abc"),
    "delete": lambda: services.delete_tenant("abc"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_dies_anywhere_has_no_effect_or_is_completed(dying, placements, change):
    services.create_tenant("abc", shard="shard1")
    outcomes = set()
    for scope in _steps(dying):
        with scope:
            CHANGES[change]()
        repair_everything()
        _agreed(placements)
        tenant = Tenant.objects.get()
        outcomes.add((tenant.name, tenant.state))
        if tenant.name == "xyz":
            services.rename_tenant("xyz", "abc")
        services.undelete_tenant("abc")
        services.unfreeze_tenant("abc")
        assert works("abc")
    after = {"freeze": ("abc", "frozen"), "delete": ("abc", "deleted")}
    assert outcomes == {("abc", "active"), after.get(change, ("xyz", "active"))}


def test_an_undeletion_that_dies_anywhere_has_no_effect_or_is_completed(dying, placements):
    services.create_tenant("abc", shard="shard1")
    outcomes = set()
    for scope in _steps(dying):
        services.delete_tenant("abc")
        with scope:
            services.undelete_tenant("abc")
        repair_everything()
        _agreed(placements)
        outcomes.add(Tenant.objects.get().state)
    assert outcomes == {"active", "deleted"}
