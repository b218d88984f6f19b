"""The tools for tests are there when they are asked for, and not before."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

import tenants.testing
from mtdd_router import ConfigurationError, InvalidTenantName
from mtdd_router.backend import showing
from mtdd_router.backend.routes import note_closed, note_open, opening
from mtdd_router.embedded.processes import Identity
from mtdd_router.embedded.state import ShardState, StackState
from mtdd_router.testing import allow_tenants, declare_tenants
from tenants.testing.provisioning import TestTenants, registry_mark
from tenants.testing.shards import find_test_shards


def test_the_plugin_is_pytests_and_imports_no_django() -> None:
    (plugin,) = [point for point in entry_points(group="pytest11") if point.name == "mtdd"]
    code = (
        f"import sys, {plugin.value}; "
        "sys.exit(any(name.split('.')[0] in ('django', 'grpc') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", tenants.testing.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(tenants.testing, name).__name__ == name
    assert name in dir(tenants.testing)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = tenants.testing.nothing


def test_iterating_over_connections_gives_declared_tenants_first() -> None:
    with declare_tenants("abc", "xyz"):
        with declare_tenants("xyz"):
            assert list(connections) == ["abc", "xyz", "default"]
        assert list(connections) == ["abc", "xyz", "default"]
    assert list(connections) == ["default"]


def test_a_declared_tenant_that_is_open_is_given_once() -> None:
    note_open("abc")
    try:
        assert list(connections) == ["default", "abc"]
        with declare_tenants("abc"):
            assert list(connections) == ["abc", "default"]
    finally:
        note_closed("abc")


def test_a_tenant_counts_as_open_while_it_is_opened() -> None:
    with opening("abc"):
        assert list(connections) == ["default", "abc"]
    note_closed("abc")
    with pytest.raises(ZeroDivisionError), opening("abc"):
        raise ZeroDivisionError
    assert list(connections) == ["default"]


@pytest.mark.parametrize("allowed", [(), ("abc",)])
def test_one_that_is_allowed_is_hidden_meanwhile(allowed: tuple[str, ...]) -> None:
    with declare_tenants("abc"), allow_tenants(*allowed):
        with opening("abc"):
            assert list(connections) == ["default"]
        assert list(connections) == ["abc", "default"]
    assert not showing.is_left_out("abc")


def test_allowing_one_allows_no_other() -> None:
    with allow_tenants("abc"):
        assert showing.is_left_out("abc")
        assert not showing.is_left_out("xyz")


def test_a_registry_that_is_not_for_tests_gets_no_tenants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = connections["default"].settings_dict
    for name in ("mtdd", "production", "my_test_database"):
        monkeypatch.setitem(settings, "NAME", name)
        with pytest.raises(ConfigurationError, match=f"{name!r} is not one that Django has made"):
            registry_mark()


def test_each_registry_has_a_mark_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = connections["default"].settings_dict
    marks = set()
    for name in ("test_mtdd", "test_mtdd_1", "test_mtdd_2"):
        monkeypatch.setitem(settings, "NAME", name)
        marks.add(registry_mark())
        assert registry_mark("test_mtdd_1") == registry_mark("test_mtdd_1")
    monkeypatch.setitem(settings, "PORT", "1")
    marks.add(registry_mark())
    assert len(marks) == 4
    assert all(mark.startswith("test-") for mark in marks)


def test_the_shards_of_tests_are_those_that_the_setting_names(settings: Any) -> None:
    settings.MTDD_TEST_SHARDS = {"test": "127.0.0.1:1"}
    assert find_test_shards() == {"test": "127.0.0.1:1"}


@pytest.mark.parametrize("with_folder", [True, False])
def test_without_any_it_is_said_what_to_set(
    settings: Any, tmp_path: Path, with_folder: bool
) -> None:
    settings.MTDD_TEST_SHARDS = None
    if with_folder:
        settings.MTDD_STACK_DIR = tmp_path
    with pytest.raises(ConfigurationError, match="Tests have no shard .* MTDD_TEST_SHARDS"):
        find_test_shards()


def test_without_any_those_of_the_running_stack_are_taken(settings: Any, tmp_path: Path) -> None:
    settings.MTDD_TEST_SHARDS, settings.MTDD_STACK_DIR = None, tmp_path
    state = StackState(shards=[ShardState("shard1", 7401, None)], status="running")
    state.supervisor = Identity.of(os.getpid())
    state.write(tmp_path)
    assert find_test_shards() == {"shard1": "127.0.0.1:7401"}
    state.status = "stopped"
    state.write(tmp_path)
    with pytest.raises(ConfigurationError):
        find_test_shards()


@pytest.mark.parametrize("label", ["", "Abc", "a_b", "-a", "a-", "a" * 31, "a.b"])
def test_a_label_that_no_host_can_have_is_refused(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", "test_mtdd")
    with pytest.raises(InvalidTenantName, match="cannot be part of a test tenant's name"):
        TestTenants().ensure([label])
