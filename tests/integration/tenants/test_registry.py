"""The registry as the router asks it, and the rules of its tables."""

import types

import pytest
from django.db import IntegrityError, connection, transaction

from mtdd_router.errors import RegistryUnavailable
from mtdd_router.types import Route, TenantState
from tenants import registry
from tenants.checks import check_names
from tenants.models import Shard, Tenant
from tenants.registry import DatabaseRegistry


@pytest.fixture
def shard(db):
    return Shard.objects.create(name="one", address="127.0.0.1:1", shard_id="1")


@pytest.fixture
def abc(shard):
    return Tenant.objects.create(
        name="abc", shard=shard, namespace="t_abc", role="t_abc", state="active", epoch=5
    )


def test_a_route_costs_one_query(abc, django_assert_num_queries):
    with django_assert_num_queries(1):
        route = DatabaseRegistry().route("abc")
    assert route == Route("abc", "one", "127.0.0.1:1", 5, TenantState.ACTIVE, abc.pk, "1")
    assert route == abc.route()


@pytest.mark.django_db(transaction=True)
def test_the_routes_of_some_cost_one_query(abc, shard, django_assert_num_queries):
    Tenant.objects.create(name="aaa", shard=shard, namespace="t_aaa", role="t_aaa")
    with django_assert_num_queries(1):
        assert DatabaseRegistry().routes_of(["abc", "nobody"]) == [abc.route()]


def test_routes_are_not_read_together_in_a_transaction(abc, django_assert_num_queries):
    with django_assert_num_queries(0), pytest.raises(RegistryUnavailable, match="transaction"):
        DatabaseRegistry().routes_of(["abc"])


@pytest.mark.parametrize("name", ["", "ABC", "a'b", "a\0b", "ü", "x" * 10_000])
def test_what_is_no_tenant_has_no_route(abc, name):
    assert DatabaseRegistry().route(name) is None


def test_all_routes_are_streamed_in_the_order_they_were_made(shard, abc, django_assert_num_queries):
    Tenant.objects.create(name="aaa", shard=shard, namespace="t_aaa", role="t_aaa")
    with django_assert_num_queries(1):
        routes = DatabaseRegistry().routes()
        assert isinstance(routes, types.GeneratorType)
        assert [(route.tenant, route.state) for route in routes] == [
            ("abc", TenantState.ACTIVE),
            ("aaa", TenantState.CREATING),
        ]


@pytest.mark.parametrize("others", [0, 1, 2, 3, 4])
def test_each_tenant_is_among_all_routes_once_though_some_are_renamed_meanwhile(
    shard, abc, monkeypatch, others
):
    monkeypatch.setattr(registry, "_ROWS_AT_A_TIME", 2)
    made = [
        Tenant.objects.create(name=f"t{n}", shard=shard, namespace=f"t_{n}", role=f"t_{n}")
        for n in range(others)
    ]
    routes = DatabaseRegistry().routes()
    keys = [next(iter(routes)).key]
    Tenant.objects.filter(pk=made[-1].pk if made else abc.pk).update(name="aaa")
    keys += [route.key for route in routes]
    assert keys == [abc.pk, *(tenant.pk for tenant in made)]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_down_is_said_and_never_a_missing_tenant(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    connection.close()
    asked = (lambda r: r.route("abc"), lambda r: list(r.routes()), lambda r: r.routes_of(["abc"]))
    for ask in asked:
        with pytest.raises(RegistryUnavailable, match=r"'default'.*is PostgreSQL running"):
            ask(DatabaseRegistry())


def test_tables_that_are_missing_are_said_with_the_command_that_makes_them(db):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tenants_tenant RENAME TO elsewhere")
        with pytest.raises(RegistryUnavailable, match=r"manage\.py migrate"), transaction.atomic():
            DatabaseRegistry().route("abc")
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "asleep"},
        {"isolation": "row"},
        {"epoch": 0},
        {"name": "abc"},
        {"namespace": "t_abc"},
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(shard, abc, wrong):
    fields = {"name": "xyz", "namespace": "t_xyz", "role": "t_xyz", "shard": shard, **wrong}
    with pytest.raises(IntegrityError):
        Tenant.objects.create(**fields)


@pytest.mark.parametrize("wrong", [{"name": "one"}, {"address": "127.0.0.1:1"}, {"weight": 0}])
def test_the_database_refuses_a_shard_that_cannot_be(shard, wrong):
    with pytest.raises(IntegrityError):
        Shard.objects.create(**{"name": "two", "address": "127.0.0.1:2", **wrong})


def test_the_same_namespace_may_be_on_two_shards(shard, abc):
    other = Shard.objects.create(name="two", address="127.0.0.1:2")
    Tenant.objects.create(name="xyz", shard=other, namespace="t_abc", role="t_abc")


def test_a_row_is_shown_by_its_name(shard, abc):
    assert (str(abc), str(shard)) == ("abc", "one")


def test_a_tenant_that_a_static_alias_hides_is_found_by_the_checks(shard):
    Tenant.objects.create(name="default", shard=shard, namespace="t_d", role="t_d")
    (message,) = check_names(databases=["default"])
    assert message.id == "tenants.E003"
    assert "rename_tenant default" in message.hint
