"""The mapping for DATABASES."""

import copy
import pickle
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.utils import ConnectionDoesNotExist, ConnectionHandler
from django.test import override_settings

from mtdd_router import ConfigurationError, InvalidTenantName, databases, tenant_context
from mtdd_router.backend.routes import note_closed, note_open
from mtdd_router.context import TenantScope
from mtdd_router.databases import Databases

BAD_NAMES = [
    "",
    "Abc",
    "a b",
    "a.b",
    "a'b",
    'a"; DROP TABLE x; --',
    "é",
    "a" * 64,
    "1abc",
    "-abc",
    "abc\n",
    "__no_db__",
]


def repickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


@pytest.fixture
def mapping() -> Databases:
    return databases(
        {
            "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "registry"},
            "replica": {"ENGINE": "django.db.backends.postgresql", "NAME": "other"},
        },
        tenant={"OPTIONS": {"statement_timeout": 3.0}, "CONN_MAX_AGE": 10},
    )


def test_static_aliases_are_given_as_they_were_written(mapping: Databases) -> None:
    assert mapping["default"] == {"ENGINE": "django.db.backends.postgresql", "NAME": "registry"}


def test_a_tenant_has_every_default_that_django_gives_to_static_aliases(
    mapping: Databases,
) -> None:
    completed = ConnectionHandler({"default": {}, "x": {}}).settings["x"]
    tenant = mapping["abc"]
    assert set(completed) <= set(tenant)
    assert set(completed["TEST"]) <= set(tenant["TEST"])
    untouched = set(completed) - {"ENGINE", "NAME", "OPTIONS", "CONN_MAX_AGE"}
    assert {key: completed[key] for key in untouched} == {key: tenant[key] for key in untouched}


def test_a_tenant_is_named_to_the_backend(mapping: Databases) -> None:
    tenant = mapping["abc"]
    assert tenant["ENGINE"] == "mtdd_router.backend"
    assert tenant["NAME"] == "abc"
    assert tenant["OPTIONS"] == {"tenant": "abc", "statement_timeout": 3.0}
    assert tenant["CONN_MAX_AGE"] == 10


def test_the_options_of_two_tenants_are_not_shared(mapping: Databases) -> None:
    mapping["abc"]["OPTIONS"]["mine"] = True
    mapping["abc"]["TEST"]["mine"] = True
    assert "mine" not in mapping["xyz"]["OPTIONS"]
    assert "mine" not in mapping["xyz"]["TEST"]


def test_any_valid_name_is_contained_and_is_not_stored(mapping: Databases) -> None:
    assert "abc" in mapping
    assert mapping.get("abc") == mapping["abc"]
    assert list(mapping) == list(mapping.keys()) == ["default", "replica"]
    assert len(mapping) == len(mapping.values()) == len(mapping.items()) == 2


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_invalid_name_is_not_contained_and_says_why_at_lookup(
    mapping: Databases, name: str
) -> None:
    assert name not in mapping
    assert mapping.get(name) is None
    with pytest.raises(InvalidTenantName):
        mapping[name]


@pytest.mark.parametrize("key", [None, 3, ("a",)])
def test_what_is_no_string_is_not_contained(mapping: Databases, key: Any) -> None:
    assert key not in mapping
    with pytest.raises(KeyError):
        mapping[key]


def test_an_invalid_name_is_unknown_to_django(mapping: Databases) -> None:
    with pytest.raises(ConnectionDoesNotExist):
        ConnectionHandler(mapping)["Not A Name"]


def test_a_missing_default_is_djangos_own_error() -> None:
    handler = ConnectionHandler(databases({"replica": {}}))
    with pytest.raises(ImproperlyConfigured, match="define a 'default' database"):
        handler["replica"]
    assert "default" not in databases({})


def test_iteration_reaches_the_tenants_that_this_thread_has_open(mapping: Databases) -> None:
    note_open("abc")
    try:
        assert list(mapping) == ["default", "replica", "abc"]
        assert len(mapping) == 3
        assert dict(mapping.items())["abc"]["NAME"] == "abc"
    finally:
        note_closed("abc")
    assert list(mapping) == ["default", "replica"]


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, repickled, databases, Databases.copy],
)
def test_a_copy_has_the_static_aliases_and_the_tenants_template(
    mapping: Databases, duplicate: Any
) -> None:
    twin = duplicate(mapping)
    assert isinstance(twin, Databases)
    assert twin is not mapping
    assert twin == mapping
    assert twin["abc"] == mapping["abc"]


def test_a_deep_copy_shares_no_settings(mapping: Databases) -> None:
    copy.deepcopy(mapping)["default"]["NAME"] = "changed"
    assert mapping["default"]["NAME"] == "registry"


def test_a_plain_dict_of_it_has_the_static_aliases(mapping: Databases) -> None:
    assert dict(mapping) == {**mapping} == mapping.static


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_override_settings_accepts_it_and_puts_the_old_one_back(mapping: Databases) -> None:
    before = list(connections)
    with override_settings(DATABASES=mapping):
        pass
    assert list(connections) == before


@pytest.mark.parametrize("wrong", [None, [], "default", {"default": "postgres://"}])
def test_something_else_than_a_dict_of_dicts_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        databases(wrong)


@pytest.mark.parametrize("key", ["ENGINE", "NAME", "HOST"])
def test_the_template_cannot_say_where_tenants_live(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        databases({"default": {}}, tenant={key: "x"})


def test_only_items_and_only_of_the_running_request_say_that_a_tenant_is_atomic() -> None:
    configured = databases(
        {"default": {"ATOMIC_REQUESTS": False}}, tenant={"ATOMIC_REQUESTS": True}
    )

    def atomic() -> list[str]:
        return [alias for alias, found in configured.items() if found.get("ATOMIC_REQUESTS")]

    assert configured["abc"]["ATOMIC_REQUESTS"] is False
    assert atomic() == []
    with TenantScope("abc", atomic=lambda: True):
        assert atomic() == ["abc"]
        assert list(configured) == ["default"]
        assert configured["abc"]["ATOMIC_REQUESTS"] is False
        # Another tenant is not, nor one of code that the request has called.
        with tenant_context("xyz"):
            assert atomic() == []
    for nobody in (
        TenantScope("abc", atomic=lambda: False),
        TenantScope(None, atomic=lambda: True),
    ):
        with nobody:
            assert atomic() == []
