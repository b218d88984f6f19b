"""Which database a model's rows are in. In the tests' settings auth is in both."""

import pytest
from django.contrib.auth.models import Group, User
from django.db.models import Model

from demo.flights.models import Flight
from mtdd_router import CrossTenantError, TenantRequired, TenantRouter, tenant_context
from tenants.models import Shard

router = TenantRouter()


def row(model: type[Model], alias: str | None) -> Model:
    instance = model()
    instance._state.db = alias
    return instance


@pytest.mark.parametrize("choose", [router.db_for_read, router.db_for_write])
class TestTheAliasOf:
    def test_a_tenant_model_without_a_tenant_is_an_error_that_names_it(self, choose) -> None:
        with pytest.raises(TenantRequired, match=r"flights\.Flight"):
            choose(Flight)

    def test_a_tenant_model_is_the_running_works_tenant(self, choose) -> None:
        with tenant_context("abc"):
            assert choose(Flight) == "abc"

    def test_the_rows_own_tenant_wins_over_the_context(self, choose) -> None:
        with tenant_context("abc"):
            assert choose(Flight, instance=row(Flight, "xyz")) == "xyz"

    def test_the_tenant_of_the_queryset_wins_over_the_context(self, choose) -> None:
        with tenant_context("abc"):
            assert choose(Flight, tenant="xyz") == "xyz"

    def test_the_rows_own_tenant_wins_over_that_of_the_queryset(self, choose) -> None:
        assert choose(Flight, instance=row(Flight, "abc"), tenant="xyz") == "abc"

    def test_a_tenant_model_is_never_on_default_because_a_row_is(self, choose) -> None:
        for instance in (row(Shard, "default"), row(Flight, "default"), row(Flight, None)):
            with pytest.raises(TenantRequired):
                choose(Flight, instance=instance)
            with tenant_context("abc"):
                assert choose(Flight, instance=instance) == "abc"

    def test_an_app_in_both_is_in_the_tenant_if_there_is_one(self, choose) -> None:
        assert choose(User) is None
        with tenant_context("abc"):
            assert choose(User) == "abc"

    def test_an_app_in_both_stays_where_the_row_is(self, choose) -> None:
        with tenant_context("abc"):
            assert choose(Group, instance=row(User, "default")) == "default"
        assert choose(Group, instance=row(User, "abc")) == "abc"

    def test_a_shared_model_is_left_to_others(self, choose) -> None:
        with tenant_context("abc"):
            assert choose(Shard) is None
            assert choose(Shard, instance=row(Shard, "default")) is None

    def test_a_shared_model_is_not_looked_for_in_the_tenant_of_a_row(self, choose) -> None:
        assert choose(Shard, instance=row(User, "abc")) == "default"

    def test_hints_of_others_are_ignored(self, choose) -> None:
        with tenant_context("abc"):
            assert choose(Flight, whatever=1) == "abc"


@pytest.mark.parametrize(
    ("one", "two", "allowed"),
    [
        ((Flight, "abc"), (Flight, "abc"), None),
        ((Flight, "abc"), (Shard, "default"), True),
        ((Shard, "default"), (Flight, "abc"), True),
        ((Flight, None), (Flight, "abc"), None),
        ((Shard, "default"), (User, "default"), None),
    ],
)
def test_relations_to_shared_rows_are_allowed(one, two, allowed) -> None:
    assert router.allow_relation(row(*one), row(*two)) is allowed


@pytest.mark.parametrize(
    ("one", "two", "names"),
    [
        ((Flight, "abc"), (Flight, "xyz"), "tenant 'abc'.*tenant 'xyz'"),
        ((User, "abc"), (User, "default"), "tenant 'abc'.*database 'default'"),
        ((User, "default"), (User, "abc"), "database 'default'.*tenant 'abc'"),
    ],
)
def test_relations_that_cross_tenants_are_refused_with_both_names(one, two, names) -> None:
    with pytest.raises(CrossTenantError, match=names):
        router.allow_relation(row(*one), row(*two))


@pytest.mark.parametrize(
    ("alias", "label", "allowed"),
    [
        ("abc", "flights", True),
        ("abc", "auth", True),
        ("abc", "tenants", False),
        ("abc", "messages", False),
        ("default", "flights", False),
        ("default", "auth", None),
        ("default", "tenants", None),
    ],
)
def test_tables_are_made_where_their_rows_belong(alias, label, allowed) -> None:
    assert router.allow_migrate(alias, label, model_name="x") is allowed


def test_a_whole_database_on_a_shard_takes_every_table(settings) -> None:
    settings.DATABASES["raw"] = {"ENGINE": "mtdd_router.backend", "NAME": "all", "HOST": "h"}
    try:
        assert router.allow_migrate("raw", "flights") is None
        assert router.db_for_read(Flight, instance=row(Flight, "raw")) == "raw"
    finally:
        del settings.DATABASES["raw"]
